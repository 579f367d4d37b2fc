//! A client that keeps what it asks and what it is told. The keys are ConfigMaps of one namespace.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use form_urlencoded::Serializer;
use http::{Method, Request, StatusCode};
use kube::client::Body;
use serde_json::{Value as Json, json};
use tokio::time::timeout;

use super::history::{Action, Answer, Call, Object, Revision, Value};
use super::observer::Observer;

/// How long to wait for an answer.
const PATIENCE: Duration = Duration::from_secs(20);

/// How many keys a page of a list has.
const PAGE: usize = 3;

/// Asks one server, in one of its lives.
#[derive(Clone)]
pub struct Recorder {
    client: kube::Client,
    namespace: String,
    observer: Arc<Observer>,
}

/// An HTTP status with its body.
type Reply = (StatusCode, Json);

impl Recorder {
    /// A client that writes to this observer.
    pub fn new(client: kube::Client, namespace: &str, observer: Arc<Observer>) -> Self {
        Self {
            client,
            namespace: namespace.to_owned(),
            observer,
        }
    }

    /// Who keeps the history.
    pub fn observer(&self) -> &Arc<Observer> {
        &self.observer
    }

    /// The client beneath, for what is not to be kept.
    pub fn client(&self) -> &kube::Client {
        &self.client
    }

    /// Makes the namespace, if it is not there.
    ///
    /// # Errors
    /// When the server refuses.
    pub async fn make_namespace(&self) -> Result<()> {
        let namespace =
            json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": self.namespace}});
        let (status, answer) = self
            .send(Method::POST, "/api/v1/namespaces", Some(&namespace))
            .await?;
        ensure!(status.is_success() || status == StatusCode::CONFLICT, "{answer}");
        Ok(())
    }

    /// Asks, and keeps what comes back.
    pub async fn call(&self, key: &str, action: Action, padding: usize) -> Answer {
        let began = self.observer.tick();
        let asked = match &action {
            Action::Create(value) => self.create(key, *value, padding).await,
            Action::Replace { value, over } => self.replace(key, *value, *over, padding).await,
            Action::Delete { uid } => self.delete(key, uid.as_deref()).await,
            Action::Get => self.get(key).await,
            Action::List { at } => self.list(*at).await,
        };
        let answer = asked.unwrap_or(Answer::Unknown);
        self.observer.keep(Call {
            key: key.to_owned(),
            action,
            began,
            ended: self.observer.tick(),
            answer: answer.clone(),
        });
        answer
    }

    async fn create(&self, key: &str, value: Value, padding: usize) -> Result<Answer> {
        let object = config_map(key, value, None, padding);
        written(self.send(Method::POST, &self.all(), Some(&object)).await?)
    }

    async fn replace(
        &self,
        key: &str,
        value: Value,
        over: Option<Revision>,
        padding: usize,
    ) -> Result<Answer> {
        let object = config_map(key, value, over, padding);
        // A patch is the server's own read and write; half of the unconditional ones are made so.
        let method = if over.is_none() && value.token.is_multiple_of(2) {
            Method::PATCH
        } else {
            Method::PUT
        };
        written(self.send(method, &self.one(key), Some(&object)).await?)
    }

    async fn delete(&self, key: &str, uid: Option<&str>) -> Result<Answer> {
        let mut options = json!({"apiVersion": "v1", "kind": "DeleteOptions"});
        if let Some(uid) = uid {
            options["preconditions"] = json!({"uid": uid});
        }
        let (status, answer) = self.send(Method::DELETE, &self.one(key), Some(&options)).await?;
        if !status.is_success() {
            return refused(status, &answer);
        }
        let uid = answer["details"]["uid"]
            .as_str()
            .context("a deletion tells the uid")?;
        Ok(Answer::Deleted { uid: uid.to_owned() })
    }

    async fn get(&self, key: &str) -> Result<Answer> {
        let (status, answer) = self.send(Method::GET, &self.one(key), None).await?;
        if status.is_success() {
            return Ok(Answer::Found(Some(object(&answer)?)));
        }
        Ok(match refused(status, &answer)? {
            Answer::Missing => Answer::Found(None),
            other => other,
        })
    }

    /// By pages, all of one revision, unless an old one is good enough.
    async fn list(&self, at: Option<Revision>) -> Result<Answer> {
        let mut objects = BTreeMap::new();
        let mut next = String::new();
        loop {
            let path = format!("{}?{}", self.all(), page_query(at, &next));
            let (status, page) = self.send(Method::GET, &path, None).await?;
            if !status.is_success() {
                return refused(status, &page);
            }
            for item in page["items"].as_array().context("items")? {
                if let Some(key) = own_key(item) {
                    objects.insert(key, object(item)?);
                }
            }
            next = page["metadata"]["continue"]
                .as_str()
                .unwrap_or_default()
                .to_owned();
            if next.is_empty() {
                let revision = revision(&page)?;
                return Ok(Answer::Listed { revision, objects });
            }
        }
    }

    async fn send(&self, method: Method, path: &str, body: Option<&Json>) -> Result<Reply> {
        let media_type = match method {
            Method::PATCH => "application/merge-patch+json",
            _ => "application/json",
        };
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("content-type", media_type);
        let body = body.map(Json::to_string).unwrap_or_default();
        let request = request.body(Body::from(body.into_bytes()))?;
        let answer = async {
            let answer = self.client.send(request).await?;
            let status = answer.status();
            let bytes = answer.into_body().collect_bytes().await?;
            Ok((status, serde_json::from_slice(&bytes)?))
        };
        timeout(PATIENCE, answer).await?
    }

    /// The path of all keys.
    pub fn all(&self) -> String {
        format!("/api/v1/namespaces/{}/configmaps", self.namespace)
    }

    fn one(&self, key: &str) -> String {
        format!("{}/{key}", self.all())
    }
}

/// Asks for a page of a list as of some time, or for the one after.
fn page_query(at: Option<Revision>, next: &str) -> String {
    let mut query = Serializer::new(String::new());
    match at {
        Some(Revision(0)) => drop(query.append_pair("resourceVersion", "0")),
        Some(exactly) if next.is_empty() => {
            query.append_pair("resourceVersion", &exactly.to_string());
            query.append_pair("resourceVersionMatch", "Exact");
        }
        _ => {}
    }
    if at != Some(Revision(0)) {
        query.append_pair("limit", &PAGE.to_string());
    }
    if !next.is_empty() {
        query.append_pair("continue", next);
    }
    query.finish()
}

fn config_map(key: &str, value: Value, over: Option<Revision>, padding: usize) -> Json {
    let mut object = json!({
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": key, "labels": {"shard": value.shard.to_string()}},
        "data": {"token": value.token.to_string(), "padding": "x".repeat(padding)},
    });
    if let Some(over) = over {
        object["metadata"]["resourceVersion"] = Json::from(over.to_string());
    }
    object
}

fn written((status, answer): Reply) -> Result<Answer> {
    if status.is_success() {
        Ok(Answer::Written(object(&answer)?))
    } else {
        refused(status, &answer)
    }
}

/// What a refusal says was not done. Of other failures nothing is known.
fn refused(status: StatusCode, answer: &Json) -> Result<Answer> {
    Ok(match (status, answer["reason"].as_str()) {
        (StatusCode::NOT_FOUND, _) => Answer::Missing,
        (StatusCode::CONFLICT, Some("AlreadyExists")) => Answer::Exists,
        (StatusCode::CONFLICT, _) => Answer::Conflict,
        (StatusCode::TOO_MANY_REQUESTS | StatusCode::GONE, _) => Answer::Refused,
        _ if status.is_server_error() => Answer::Unknown,
        _ => bail!("{status}: {answer}"),
    })
}

/// The key of an object that a test wrote; the server puts others beside them.
pub(super) fn own_key(object: &Json) -> Option<String> {
    object["data"]["token"].as_str()?;
    object["metadata"]["name"].as_str().map(str::to_owned)
}

pub(super) fn revision(object: &Json) -> Result<Revision> {
    let text = object["metadata"]["resourceVersion"]
        .as_str()
        .context("a resourceVersion")?;
    Ok(Revision(text.parse()?))
}

pub(super) fn object(object: &Json) -> Result<Object> {
    let token = object["data"]["token"].as_str().context("a token")?;
    let shard = object["metadata"]["labels"]["shard"]
        .as_str()
        .context("a shard")?;
    let uid = object["metadata"]["uid"].as_str().context("a uid")?;
    Ok(Object {
        revision: revision(object)?,
        uid: uid.to_owned(),
        value: Value {
            token: token.parse()?,
            shard: shard.parse()?,
        },
    })
}
