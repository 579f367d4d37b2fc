//! The registry as its clients see it, on a store in memory.

mod addresses;
mod admission;
mod conversions;
mod custom_objects;
mod customs;
mod device_claims;
mod many_definitions;
mod node_ports;
mod plugins;
mod policies;
mod raw_parts;
mod reads;
mod start;
mod watches;
mod webhooks;
mod writes;

use std::sync::Arc;

use bytes::Bytes;
use coracle_store::model::ModelStore;
use http::{HeaderMap, HeaderValue, Method, header};
use http_body_util::{BodyExt, Full};
use serde_json::{Value, json};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::services::ServiceConfig;
use super::{Config, Registry};
use crate::admission::AdmissionOptions;
use crate::http::respond::with_warnings;
use crate::request::{RequestBody, RequestContext, RequestInfo, ResponseBody, UserInfo};

/// Services of the namespace `default`.
const SERVICES: &str = "/api/v1/namespaces/default/services";

/// A registry of its own, which ends with the test.
pub(crate) struct Fixture {
    pub registry: Arc<Registry>,
    pub store: Arc<ModelStore>,
    _cancel: DropGuard,
}

/// An answer, read to its end.
#[derive(Debug)]
pub(crate) struct Answer {
    pub code: u16,
    pub headers: HeaderMap,
    pub bytes: Bytes,
}

impl Answer {
    /// The body as JSON.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.bytes).expect("a JSON body")
    }

    /// `metadata.resourceVersion`.
    pub(crate) fn revision(&self) -> u64 {
        self.json()["metadata"]["resourceVersion"]
            .as_str()
            .expect("a resourceVersion")
            .parse()
            .unwrap()
    }

    /// The texts of its warnings.
    pub(crate) fn warnings(&self) -> Vec<String> {
        let headers = self.headers.get_all(header::WARNING).iter();
        let texts = headers.filter_map(|value| value.to_str().ok()?.strip_prefix("299 - \""));
        texts
            .map(|text| text.strip_suffix('"').unwrap_or(text).replace("\\\"", "\""))
            .collect()
    }

    /// What a failure says.
    pub(crate) fn message(&self) -> String {
        self.json()["message"].as_str().unwrap_or_default().to_owned()
    }
}

impl Fixture {
    /// With the namespace `default` and its service account, and a range for addresses of services.
    pub(crate) async fn new() -> Self {
        Self::admitting(AdmissionOptions::default()).await
    }

    /// The same, with these admission plugins.
    pub(crate) async fn admitting(options: AdmissionOptions) -> Self {
        let config = Config {
            admission: Arc::new(options.chain().expect("the options are in order")),
            ..Config::default()
        };
        let fixture = Self::start(Arc::new(ModelStore::new()), config).await;
        fixture
            .create("/api/v1/namespaces", json!({"metadata": {"name": "default"}}))
            .await;
        let account = json!({"metadata": {"name": "default"}});
        fixture
            .create("/api/v1/namespaces/default/serviceaccounts", account)
            .await;
        let network = crate::bootstrap::network(&fixture.registry).await;
        network.expect("the model store takes it");
        fixture
    }

    /// On a store that may hold something already.
    pub(crate) async fn on(store: Arc<ModelStore>) -> Self {
        Self::start(store, Config::default()).await
    }

    /// With the namespace `default` and what a server with these flags makes for its services, on a store that other servers may
    /// use too.
    async fn serving(store: Arc<ModelStore>, services: ServiceConfig) -> Self {
        let config = Config {
            services,
            ..Config::default()
        };
        let fixture = Self::start(store, config).await;
        let network = crate::bootstrap::network(&fixture.registry).await;
        network.expect("the model store takes it");
        let home = json!({"metadata": {"name": "default"}});
        let made = fixture.ask(Method::POST, "/api/v1/namespaces", Some(home)).await;
        assert!(matches!(made.code, 201 | 409), "{}", made.message());
        fixture
    }

    /// Asks for a service in the namespace `default`, which may be refused.
    async fn try_service(&self, service: Value) -> Answer {
        self.ask(Method::POST, SERVICES, Some(service)).await
    }

    async fn start(store: Arc<ModelStore>, config: Config) -> Self {
        let cancel = CancellationToken::new();
        let registry = Registry::start(Arc::clone(&store) as _, config, cancel.clone()).await;
        Self {
            registry: registry.expect("the model store answers"),
            store,
            _cancel: cancel.drop_guard(),
        }
    }

    /// Asks, and reads the answer to its end.
    pub(crate) async fn ask(&self, method: Method, target: &str, body: Option<Value>) -> Answer {
        let body = body.map(|body| body.to_string()).unwrap_or_default();
        self.ask_with(context(method, target, &[]), body).await
    }

    pub(crate) async fn ask_with(&self, ctx: RequestContext, body: impl Into<Bytes>) -> Answer {
        let body = RequestBody::new(Full::new(body.into()));
        let warnings = ctx.warnings.clone();
        let served = self.registry.serve(ctx, body).await;
        match served.map(|response| with_warnings(response, &warnings.sent())) {
            Ok(response) => {
                let (parts, body) = response.into_parts();
                let bytes = body.collect().await.expect("the body is whole").to_bytes();
                Answer {
                    code: parts.status.as_u16(),
                    headers: parts.headers,
                    bytes,
                }
            }
            Err(error) => Answer {
                code: error.code(),
                headers: HeaderMap::new(),
                bytes: error.to_status().to_string().into(),
            },
        }
    }

    /// Asks in the name of somebody.
    pub(crate) async fn ask_as(&self, user: &UserInfo, method: Method, target: &str, body: Value) -> Answer {
        let ctx = RequestContext {
            user: user.clone(),
            ..context(method, target, &[])
        };
        self.ask_with(ctx, body.to_string()).await
    }

    pub(crate) async fn get(&self, target: &str) -> Answer {
        self.ask(Method::GET, target, None).await
    }

    /// Creates, and wants it to succeed.
    pub(crate) async fn create(&self, target: &str, object: Value) -> Answer {
        let answer = self.ask(Method::POST, target, Some(object)).await;
        assert_eq!(answer.code, 201, "{}", String::from_utf8_lossy(&answer.bytes));
        answer
    }

    pub(crate) async fn put(&self, target: &str, object: Value) -> Answer {
        self.ask(Method::PUT, target, Some(object)).await
    }

    pub(crate) async fn delete(&self, target: &str, options: Option<Value>) -> Answer {
        self.ask(Method::DELETE, target, options).await
    }

    pub(crate) async fn patch(&self, target: &str, media_type: &str, patch: Value) -> Answer {
        let ctx = context(Method::PATCH, target, &[("content-type", media_type)]);
        self.ask_with(ctx, patch.to_string()).await
    }

    /// Opens a watch.
    pub(crate) async fn watch(&self, target: &str) -> ResponseBody {
        let response = self
            .registry
            .serve(context(Method::GET, target, &[]), RequestBody::empty())
            .await;
        response.expect("the watch begins").into_body()
    }
}

/// A ConfigMap of a name.
pub(crate) fn config_map(name: &str, data: &str) -> Value {
    json!({"metadata": {"name": name, "labels": {"data": data}}, "data": {"key": data}})
}

/// What the front would make of a request.
pub(crate) fn context(method: Method, target: &str, headers: &[(&'static str, &str)]) -> RequestContext {
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let query: Vec<(String, String)> = query
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
    let info = info(&method, path, &query);
    let mut map = HeaderMap::new();
    for (name, value) in headers {
        map.insert(*name, HeaderValue::from_str(value).unwrap());
    }
    if !map.contains_key(header::ACCEPT) {
        map.insert(header::ACCEPT, HeaderValue::from_static("application/json"));
    }
    let user = UserInfo {
        name: "admin".to_owned(),
        groups: vec!["system:masters".to_owned()],
        ..Default::default()
    };
    RequestContext {
        info,
        user,
        method,
        query,
        headers: map,
        warnings: Default::default(),
    }
}

fn info(method: &Method, path: &str, query: &[(String, String)]) -> RequestInfo {
    let segments: Vec<&str> = path.trim_matches('/').split('/').collect();
    let (prefix, group, version, rest) = match segments[..] {
        ["api", version, ref rest @ ..] => ("api", "", version, rest),
        ["apis", group, version, ref rest @ ..] => ("apis", group, version, rest),
        _ => panic!("no resource path: {path}"),
    };
    let (namespace, rest) = match rest {
        ["namespaces", namespace, tail @ ..]
            if !tail.is_empty() && !["finalize", "status"].contains(&tail[0]) =>
        {
            (*namespace, tail)
        }
        _ => ("", rest),
    };
    let name = rest.get(1).copied().unwrap_or_default();
    let watching = query
        .iter()
        .any(|(name, value)| name == "watch" && value != "false");
    let verb = match (method.as_str(), name.is_empty()) {
        ("GET", false) => "get",
        ("GET", true) if watching => "watch",
        ("GET", true) => "list",
        ("POST", _) => "create",
        ("PUT", _) => "update",
        ("PATCH", _) => "patch",
        ("DELETE", false) => "delete",
        ("DELETE", true) => "deletecollection",
        _ => "",
    };
    RequestInfo {
        is_resource_request: true,
        path: path.to_owned(),
        verb: verb.to_owned(),
        api_prefix: prefix.to_owned(),
        api_group: group.to_owned(),
        api_version: version.to_owned(),
        namespace: namespace.to_owned(),
        resource: rest[0].to_owned(),
        subresource: rest.get(2).copied().unwrap_or_default().to_owned(),
        name: name.to_owned(),
        parts: rest.iter().map(|part| (*part).to_owned()).collect(),
    }
}
