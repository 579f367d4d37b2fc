//! A server whose resources are a stand-in, or a whole one on a store in memory, and clients for both.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use bytes::Bytes;
use coracle_api::status::ApiError;
use coracle_apiserver::reader::{GroupResource, ObjectReader};
use coracle_apiserver::request::{RequestBody, RequestContext, ResourceHandler, ResponseBody, full_body};
use coracle_apiserver::{ApiServer, Config, Resources, Running};
use coracle_store::Store;
use coracle_store::model::ModelStore;
use futures::StreamExt;
use http::{Request, Response};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use kube::client::Body;
use kube::config::{KubeConfigOptions, Kubeconfig};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::sync::watch;

/// Answers by resource name: what each does is its name.
pub(crate) struct StandIn;

#[async_trait]
impl ResourceHandler for StandIn {
    async fn serve(
        &self,
        context: RequestContext,
        body: RequestBody,
    ) -> Result<Response<ResponseBody>, ApiError> {
        match (context.info.verb.as_str(), context.info.resource.as_str()) {
            ("watch", _) => Ok(Response::new(endless())),
            (_, "panics") => panic!("as asked"),
            (_, "sleepers") => std::future::pending().await,
            ("list", "bigs") => Ok(Response::new(full_body(vec![b'x'; 256 * 1024]))),
            ("create", _) => {
                let read = body.read().await?;
                Ok(json_response(&json!({"bytes": read.len()})))
            }
            _ => Ok(json_response(&json!({
                "user": context.user.name, "groups": context.user.groups, "verb": context.info.verb,
                "authorization": context.headers.contains_key("authorization"),
            }))),
        }
    }
}

fn json_response(value: &Value) -> Response<ResponseBody> {
    Response::new(full_body(value.to_string()))
}

/// One event, then nothing, for ever.
fn endless() -> ResponseBody {
    let first = futures::stream::iter([Ok(Frame::data(Bytes::from_static(b"{}\n")))]);
    StreamBody::new(first.chain(futures::stream::pending())).boxed_unsync()
}

/// Roles and bindings that a test writes down.
#[derive(Default)]
pub(crate) struct Objects {
    objects: Mutex<Vec<(GroupResource, Arc<Value>)>>,
}

impl Objects {
    pub(crate) fn with(mut self, group: &str, resource: &str, object: Value) -> Self {
        self.objects
            .get_mut()
            .unwrap()
            .push((GroupResource::new(group, resource), Arc::new(object)));
        self
    }
}

impl ObjectReader for Objects {
    fn get(&self, resource: &GroupResource, namespace: &str, name: &str) -> Option<Arc<Value>> {
        let found = self.list(resource, namespace);
        found
            .into_iter()
            .find(|object| object.pointer("/metadata/name").is_some_and(|own| own == name))
    }

    fn list(&self, resource: &GroupResource, namespace: &str) -> Vec<Arc<Value>> {
        let home =
            |object: &Value| object.pointer("/metadata/namespace").and_then(Value::as_str) == Some(namespace);
        let objects = self.objects.lock().unwrap();
        let held = objects
            .iter()
            .filter(|(held, object)| held == resource && (namespace.is_empty() || home(object)));
        held.map(|(_, object)| object.clone()).collect()
    }

    fn changes(&self, _resource: &GroupResource) -> watch::Receiver<u64> {
        watch::channel(1).1
    }
}

pub(crate) struct Server {
    pub(crate) running: Running,
    pub(crate) home: TempDir,
}

/// `jane` may read pods in the namespace `a`, and everybody may read what is public.
pub(crate) fn policy() -> Objects {
    let group = "rbac.authorization.k8s.io";
    let role = |name: &str, rules: Value| json!({"metadata": {"name": name}, "rules": rules});
    let pods = json!([{"verbs": ["get", "list"], "apiGroups": [""], "resources": ["pods"]}]);
    let public =
        json!([{"verbs": ["get"], "nonResourceURLs": ["/healthz", "/livez", "/readyz", "/version"]}]);
    let binding = json!({"metadata": {"name": "jane", "namespace": "a"}, "roleRef": {"kind": "ClusterRole", "name": "pods"},
        "subjects": [{"kind": "User", "name": "jane"}]});
    let everybody = json!({"metadata": {"name": "public"}, "roleRef": {"kind": "ClusterRole", "name": "public"},
        "subjects": [{"kind": "Group", "name": "system:unauthenticated"}, {"kind": "Group", "name": "system:authenticated"}]});
    Objects::default()
        .with(group, "clusterroles", role("pods", pods))
        .with(group, "clusterroles", role("public", public))
        .with(group, "rolebindings", binding)
        .with(group, "clusterrolebindings", everybody)
}

impl Server {
    pub(crate) async fn start() -> Self {
        Self::start_with(|_| {}).await
    }

    pub(crate) async fn start_with(change: impl FnOnce(&mut Config)) -> Self {
        Self::start_among(policy(), change).await
    }

    /// Starts among objects that stand already.
    pub(crate) async fn start_among(objects: Objects, change: impl FnOnce(&mut Config)) -> Self {
        Self::start_in(tempfile::tempdir().unwrap(), objects, change).await
    }

    /// Starts in a directory that may hold keys and certificates already.
    pub(crate) async fn start_in(home: TempDir, objects: Objects, change: impl FnOnce(&mut Config)) -> Self {
        let tokens = home.path().join("tokens.csv");
        std::fs::write(&tokens, "root-token,root,1,system:masters\njane-token,jane,2\n").unwrap();
        let mut config = Config::new(home.path());
        config.listen = vec!["127.0.0.1:0".parse().unwrap()];
        config.token_auth_file = Some(tokens);
        change(&mut config);
        let resources = Resources {
            handler: Arc::new(StandIn),
            reader: Arc::new(objects),
        };
        let running = ApiServer::start_over(config, Arc::new(ModelStore::new()), resources)
            .await
            .unwrap();
        Self { running, home }
    }

    /// With the administrator's certificate.
    pub(crate) async fn admin(&self) -> kube::Client {
        client_of(&self.running).await
    }

    /// With a bearer token, or with nothing.
    pub(crate) async fn with_token(&self, token: Option<&str>) -> kube::Client {
        self.with(kube::config::AuthInfo {
            token: token.map(|token| token.to_owned().into()),
            ..Default::default()
        })
        .await
    }

    /// With whatever proves something.
    pub(crate) async fn with(&self, proof: kube::config::AuthInfo) -> kube::Client {
        client_with(&self.running, proof).await
    }
}

/// A client with the administrator's certificate.
pub(crate) async fn client_of(running: &Running) -> kube::Client {
    client(Kubeconfig::read_from(running.admin_kubeconfig()).unwrap()).await
}

/// A client that proves who it is by something of its own.
pub(crate) async fn client_with(running: &Running, proof: kube::config::AuthInfo) -> kube::Client {
    let mut kubeconfig = Kubeconfig::read_from(running.admin_kubeconfig()).unwrap();
    kubeconfig.auth_infos[0].auth_info = Some(proof);
    client(kubeconfig).await
}

/// A client that takes every answer as it comes, also those after which others would ask again.
async fn client(kubeconfig: Kubeconfig) -> kube::Client {
    let mut config = kube::Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default())
        .await
        .unwrap();
    config.default_retry = false;
    kube::Client::try_from(config).unwrap()
}

/// An apiserver with everything behind it, on a store of its own.
pub(crate) async fn start_whole(store: Arc<dyn Store>) -> (Running, TempDir) {
    start_whole_with(store, |_| {}).await
}

/// The same, set up otherwise.
pub(crate) async fn start_whole_with(
    store: Arc<dyn Store>,
    change: impl FnOnce(&mut Config),
) -> (Running, TempDir) {
    let home = tempfile::tempdir().unwrap();
    let mut config = Config::new(home.path());
    config.listen = vec!["127.0.0.1:0".parse().unwrap()];
    change(&mut config);
    (ApiServer::start(config, store).await.unwrap(), home)
}

pub(crate) struct Answer {
    pub(crate) code: u16,
    pub(crate) headers: http::HeaderMap,
    pub(crate) text: String,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {}", self.text))
    }
}

pub(crate) async fn get(client: &kube::Client, path: &str) -> Answer {
    send(client, Request::get(path).body(Body::empty()).unwrap()).await
}

/// Sends an object as JSON.
pub(crate) async fn post(client: &kube::Client, path: &str, object: &Value) -> Answer {
    let request = Request::post(path).header("content-type", "application/json");
    let body = Body::from(object.to_string().into_bytes());
    send(client, request.body(body).unwrap()).await
}

pub(crate) async fn send(client: &kube::Client, request: Request<Body>) -> Answer {
    let response = client.send(request).await.unwrap();
    let (head, body) = response.into_parts();
    let bytes = body.collect().await.unwrap().to_bytes();
    let text = String::from_utf8_lossy(&bytes).into_owned();
    Answer {
        code: head.status.as_u16(),
        headers: head.headers,
        text,
    }
}
