//! As much of a Kubernetes API as a node agent uses, in memory, with real patches and resumable watches.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use coracle_api::patch;
use coracle_api::table;
use http::{Method, Request, Response};
use http_body_util::{BodyExt, Full, StreamBody, combinators::UnsyncBoxBody};
use hyper::body::Frame;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio_stream::wrappers::ReceiverStream;

/// Resource, namespace, name.
type Key = (String, String, String);

#[derive(Default)]
struct State {
    objects: BTreeMap<Key, Value>,
    log: Vec<(u64, &'static str, Key, Value)>,
}

/// The API; clones share it.
#[derive(Clone)]
pub(crate) struct FakeApi {
    state: Arc<Mutex<State>>,
    revision: watch::Sender<u64>,
    away: Arc<AtomicBool>,
    uids: Arc<Mutex<u64>>,
    /// Held from reading an object to storing its next state.
    writes: Arc<Mutex<()>>,
}

struct Target {
    resource: String,
    namespace: String,
    name: Option<String>,
    subresource: Option<String>,
}

impl FakeApi {
    pub(crate) fn new() -> Self {
        Self {
            state: Arc::default(),
            revision: watch::Sender::new(1),
            away: Arc::default(),
            uids: Arc::default(),
            writes: Arc::default(),
        }
    }

    pub(crate) fn client(&self) -> kube::Client {
        kube::Client::new(self.clone(), "default")
    }

    /// An API that is away answers nothing and ends every watch.
    pub(crate) fn set_away(&self, away: bool) {
        self.away.store(away, Ordering::SeqCst);
        self.revision.send_modify(|_| {});
    }

    /// Stores an object as a client would create it.
    pub(crate) fn put(&self, resource: &str, object: Value) -> Value {
        let _write = self.writes.lock().unwrap();
        self.insert(resource, object)
    }

    /// Changes an object as it is at this moment.
    pub(crate) fn edit(&self, resource: &str, namespace: &str, name: &str, edit: impl FnOnce(&mut Value)) {
        let _write = self.writes.lock().unwrap();
        let mut object = self.get(resource, namespace, name).expect("object to edit");
        edit(&mut object);
        self.store((resource.into(), namespace.into(), name.into()), object);
    }

    fn insert(&self, resource: &str, mut object: Value) -> Value {
        let text = |v: &Value| v.as_str().unwrap_or_default().to_owned();
        let (namespace, name) = (
            text(&object["metadata"]["namespace"]),
            text(&object["metadata"]["name"]),
        );
        if object["metadata"]["uid"].is_null() {
            let mut uids = self.uids.lock().unwrap();
            *uids += 1;
            object["metadata"]["uid"] = json!(format!("00000000-0000-4000-8000-{:012}", *uids));
            object["metadata"]["generation"] = json!(1);
        }
        self.store((resource.to_owned(), namespace, name), object)
    }

    pub(crate) fn get(&self, resource: &str, namespace: &str, name: &str) -> Option<Value> {
        let key = (resource.to_owned(), namespace.to_owned(), name.to_owned());
        self.state.lock().unwrap().objects.get(&key).cloned()
    }

    /// All objects of a resource.
    pub(crate) fn all(&self, resource: &str) -> Vec<Value> {
        let state = self.state.lock().unwrap();
        state
            .objects
            .iter()
            .filter(|(k, _)| k.0 == resource)
            .map(|(_, v)| v.clone())
            .collect()
    }

    /// Marks a pod deleted with a grace period, as the API does on behalf of users.
    pub(crate) fn delete_pod(&self, namespace: &str, name: &str, grace: i64) {
        let at = jiff::Timestamp::now() + jiff::SignedDuration::from_secs(grace);
        self.edit("pods", namespace, name, |pod| {
            pod["metadata"]["deletionTimestamp"] = json!(at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string());
            pod["metadata"]["deletionGracePeriodSeconds"] = json!(grace);
        });
    }

    /// Takes an object away as if it had never been.
    pub(crate) fn forget(&self, resource: &str, namespace: &str, name: &str) {
        self.remove(&(resource.to_owned(), namespace.to_owned(), name.to_owned()));
    }

    /// Waits until `check` holds of an object (or of its absence).
    pub(crate) async fn wait_for(
        &self,
        what: &str,
        resource: &str,
        namespace: &str,
        name: &str,
        check: impl Fn(Option<&Value>) -> bool,
    ) -> Option<Value> {
        let mut revision = self.revision.subscribe();
        let wait = async {
            loop {
                revision.borrow_and_update();
                let object = self.get(resource, namespace, name);
                if check(object.as_ref()) {
                    return object;
                }
                revision
                    .changed()
                    .await
                    .expect("the API lives as long as the test");
            }
        };
        match tokio::time::timeout(Duration::from_secs(60), wait).await {
            Ok(object) => object,
            Err(_) => {
                let last = self.get(resource, namespace, name);
                let events: Vec<Value> = self
                    .all("events")
                    .iter()
                    .map(|e| json!([e["reason"], e["message"], e["count"]]))
                    .collect();
                panic!("{what}: {resource} {namespace}/{name} is {last:#?}, events {events:#?}");
            }
        }
    }

    fn store(&self, key: Key, mut object: Value) -> Value {
        let mut state = self.state.lock().unwrap();
        let revision = *self.revision.borrow() + 1;
        object["metadata"]["resourceVersion"] = json!(revision.to_string());
        let kind = if state.objects.insert(key.clone(), object.clone()).is_some() {
            "MODIFIED"
        } else {
            "ADDED"
        };
        state.log.push((revision, kind, key, object.clone()));
        self.revision.send_replace(revision);
        object
    }

    fn remove(&self, key: &Key) {
        let mut state = self.state.lock().unwrap();
        if let Some(object) = state.objects.remove(key) {
            let revision = *self.revision.borrow() + 1;
            state.log.push((revision, "DELETED", key.clone(), object));
            self.revision.send_replace(revision);
        }
    }

    fn answer(&self, method: &Method, uri: &http::Uri, body: &Bytes, content_type: &str) -> Response<Body> {
        let query: BTreeMap<String, String> = uri
            .query()
            .unwrap_or_default()
            .split('&')
            .filter_map(|p| p.split_once('='))
            .map(|(k, v)| (k.to_owned(), v.replace("%3D", "=").replace("%2C", ",")))
            .collect();
        let target = target(uri.path());
        let _write = (*method != Method::GET).then(|| self.writes.lock().unwrap());
        let body: Value = serde_json::from_slice(body).unwrap_or(Value::Null);
        let Some(name) = target.name.clone() else {
            return match *method {
                Method::GET if query.get("watch").map(String::as_str) == Some("true") => {
                    self.watch(target, query)
                }
                Method::GET => self.list(&target, &query),
                _ => self.create(target, body),
            };
        };
        let key = (target.resource.clone(), target.namespace.clone(), name);
        match (method, target.subresource.as_deref()) {
            (_, Some("token")) => token(),
            (&Method::POST, _) => self.create(target, body),
            _ => match self.get(&key.0, &key.1, &key.2) {
                None => fault(404, "NotFound"),
                Some(current) => self.on_existing(method, key, current, body, content_type),
            },
        }
    }

    fn on_existing(
        &self,
        method: &Method,
        key: Key,
        mut current: Value,
        body: Value,
        content_type: &str,
    ) -> Response<Body> {
        match *method {
            Method::GET => ok(&current),
            Method::PUT => {
                let (sent, now) = (
                    &body["metadata"]["resourceVersion"],
                    &current["metadata"]["resourceVersion"],
                );
                if !sent.is_null() && sent != now {
                    return fault(409, "Conflict");
                }
                ok(&self.store(key, body))
            }
            Method::PATCH => {
                let uid = &body["metadata"]["uid"];
                if !uid.is_null() && *uid != current["metadata"]["uid"] {
                    return fault(409, "Conflict");
                }
                if content_type.contains("strategic") {
                    let kind = if key.0 == "pods" { "Pod" } else { "Node" };
                    let ty = table::by_gvk("", "v1", kind).expect("a built-in kind");
                    patch::strategic::apply(&mut current, &body, ty).expect("a good patch");
                } else {
                    patch::merge::apply(&mut current, &body).expect("a good patch");
                }
                ok(&self.store(key, current))
            }
            Method::DELETE => {
                let uid = &body["preconditions"]["uid"];
                if !uid.is_null() && *uid != current["metadata"]["uid"] {
                    return fault(409, "Conflict");
                }
                self.remove(&key);
                ok(&current)
            }
            _ => fault(405, "MethodNotAllowed"),
        }
    }

    fn create(&self, target: Target, mut body: Value) -> Response<Body> {
        let name = body["metadata"]["name"].as_str().unwrap_or_default().to_owned();
        if self.get(&target.resource, &target.namespace, &name).is_some() {
            return fault(409, "AlreadyExists");
        }
        body["metadata"]["namespace"] = json!(target.namespace);
        ok(&self.insert(&target.resource, body))
    }

    fn list(&self, target: &Target, query: &BTreeMap<String, String>) -> Response<Body> {
        let state = self.state.lock().unwrap();
        let items: Vec<&Value> = state
            .objects
            .iter()
            .filter(|(k, v)| selects(target, query, k, v))
            .map(|(_, v)| v)
            .collect();
        let revision = self.revision.borrow().to_string();
        ok(
            &json!({"kind": "List", "apiVersion": "v1", "metadata": {"resourceVersion": revision}, "items": items}),
        )
    }

    fn watch(&self, target: Target, query: BTreeMap<String, String>) -> Response<Body> {
        let (sender, receiver) = tokio::sync::mpsc::channel(64);
        let api = self.clone();
        let mut from: u64 = query
            .get("resourceVersion")
            .and_then(|r| r.parse().ok())
            .unwrap_or(0);
        tokio::spawn(async move {
            let mut revision = api.revision.subscribe();
            loop {
                revision.borrow_and_update();
                let events: Vec<(u64, String)> = {
                    let state = api.state.lock().unwrap();
                    let news = state
                        .log
                        .iter()
                        .filter(|(r, _, k, v)| *r > from && selects(&target, &query, k, v));
                    news.map(|(r, kind, _, v)| (*r, format!("{}\n", json!({"type": kind, "object": v}))))
                        .collect()
                };
                for (at, line) in events {
                    from = at;
                    if sender
                        .send(Ok::<_, Infallible>(Frame::data(Bytes::from(line))))
                        .await
                        .is_err()
                    {
                        return;
                    }
                }
                let changed = tokio::select! {
                    changed = revision.changed() => changed,
                    () = sender.closed() => return,
                };
                if changed.is_err() || api.away.load(Ordering::SeqCst) {
                    return;
                }
            }
        });
        Response::new(StreamBody::new(ReceiverStream::new(receiver)).boxed_unsync())
    }
}

fn selects(target: &Target, query: &BTreeMap<String, String>, key: &Key, object: &Value) -> bool {
    let field = |path: &str| {
        path.split('.')
            .fold(object, |v, part| &v[part])
            .as_str()
            .unwrap_or_default()
            .to_owned()
    };
    key.0 == target.resource
        && (target.namespace.is_empty() || key.1 == target.namespace)
        && query.get("fieldSelector").is_none_or(|s| {
            s.split(',')
                .filter_map(|term| term.split_once('='))
                .all(|(path, want)| field(path) == want)
        })
}

fn target(path: &str) -> Target {
    let mut parts: Vec<&str> = path.trim_matches('/').split('/').collect();
    parts.drain(..if parts[0] == "api" { 2 } else { 3 });
    let namespace = match parts.as_slice() {
        ["namespaces", ns, _, ..] => Some((*ns).to_owned()),
        _ => None,
    };
    if namespace.is_some() {
        parts.drain(..2);
    }
    let at = |i: usize| parts.get(i).map(|p| (*p).to_owned());
    Target {
        resource: at(0).unwrap_or_default(),
        namespace: namespace.unwrap_or_default(),
        name: at(1),
        subresource: at(2),
    }
}

fn token() -> Response<Body> {
    let ends = jiff::Timestamp::now() + jiff::SignedDuration::from_hours(1);
    let ends = ends.strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    ok(
        &json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "metadata": {},
        "spec": {"audiences": []}, "status": {"token": "a-token", "expirationTimestamp": ends}}),
    )
}

fn ok(value: &Value) -> Response<Body> {
    Response::new(Full::new(Bytes::from(value.to_string())).boxed_unsync())
}

fn fault(code: u16, reason: &str) -> Response<Body> {
    let status = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": reason,
        "message": reason, "code": code});
    let mut response = ok(&status);
    *response.status_mut() = http::StatusCode::from_u16(code).unwrap();
    response
}

type Body = UnsyncBoxBody<Bytes, Infallible>;

impl tower::Service<Request<kube::client::Body>> for FakeApi {
    type Response = Response<Body>;
    type Error = std::io::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<kube::client::Body>) -> Self::Future {
        let api = self.clone();
        Box::pin(async move {
            if api.away.load(Ordering::SeqCst) {
                return Err(std::io::Error::other("connection refused"));
            }
            let (head, body) = request.into_parts();
            let body = body.collect().await.map_err(std::io::Error::other)?.to_bytes();
            let content_type = head
                .headers
                .get("content-type")
                .and_then(|v| v.to_str().ok())
                .unwrap_or_default()
                .to_owned();
            Ok(api.answer(&head.method, &head.uri, &body, &content_type))
        })
    }
}
