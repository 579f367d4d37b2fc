//! Requests to whatever a kubeconfig names, with as little work on this side as possible: bodies are bytes.

use anyhow::{Context, bail};
use http::{Method, Request, Response, StatusCode};
use http_body_util::BodyExt;
use hyper_rustls::HttpsConnectorBuilder;
use hyper_util::client::legacy;
use hyper_util::rt::TokioExecutor;
use kube::Client;
use kube::client::{Body, ClientBuilder, ConfigExt};
use kube::config::{KubeConfigOptions, Kubeconfig};
use serde_json::{Value, json};
use std::path::Path;
use tower::BoxError;
use tower::util::MapErrLayer;

/// The namespace that loads go to.
pub(crate) const NAMESPACE: &str = "coracle-bench";

pub(crate) const JSON: &str = "application/json";
pub(crate) const PROTOBUF: &str = "application/vnd.kubernetes.protobuf";
pub(crate) const STRATEGIC: &str = "application/strategic-merge-patch+json";
pub(crate) const APPLY: &str = "application/apply-patch+yaml";

/// A client for the current context of a kubeconfig file, or of the usual one.
pub(crate) async fn client(kubeconfig: Option<&Path>) -> anyhow::Result<Client> {
    Client::try_from(config(kubeconfig).await?).context("make a client")
}

/// A client that sends all its requests over one connection, by HTTP/2, as client-go does.
pub(crate) fn multiplexing(config: &kube::Config) -> anyhow::Result<Client> {
    let tls = config
        .rustls_client_config()
        .context("understand the certificates")?;
    let connector = HttpsConnectorBuilder::new()
        .with_tls_config(tls)
        .https_only()
        .enable_http2()
        .build();
    let sender = legacy::Client::builder(TokioExecutor::new())
        .http2_only(true)
        .build(connector);
    let credentials = config.auth_layer().context("understand the credentials")?;
    let client = ClientBuilder::new(sender, config.default_namespace.clone())
        .with_layer(&MapErrLayer::new(BoxError::from))
        .with_layer(&config.base_uri_layer())
        .with_layer(&credentials.context("credentials for a header")?);
    Ok(client.build())
}

/// How to reach what a kubeconfig file names, or the usual one.
pub(crate) async fn config(kubeconfig: Option<&Path>) -> anyhow::Result<kube::Config> {
    let file = match kubeconfig {
        Some(path) => Kubeconfig::read_from(path).with_context(|| format!("read {}", path.display()))?,
        None => Kubeconfig::read().context("read the kubeconfig")?,
    };
    let config = kube::Config::from_custom_kubeconfig(file, &KubeConfigOptions::default()).await;
    config.context("understand the kubeconfig")
}

/// One request.
#[derive(Clone)]
pub(crate) struct Call {
    method: Method,
    path: String,
    content_type: &'static str,
    accept: &'static str,
    body: Vec<u8>,
}

impl Call {
    fn new(method: Method, path: impl Into<String>, content_type: &'static str, body: Vec<u8>) -> Call {
        Call {
            method,
            path: path.into(),
            content_type,
            accept: JSON,
            body,
        }
    }

    pub(crate) fn get(path: impl Into<String>) -> Call {
        Call::new(Method::GET, path, JSON, Vec::new())
    }

    pub(crate) fn delete(path: impl Into<String>) -> Call {
        Call::new(Method::DELETE, path, JSON, Vec::new())
    }

    pub(crate) fn post(path: impl Into<String>, object: &Value) -> Call {
        Call::new(Method::POST, path, JSON, object.to_string().into_bytes())
    }

    pub(crate) fn put(path: impl Into<String>, object: &Value) -> Call {
        Call::new(Method::PUT, path, JSON, object.to_string().into_bytes())
    }

    pub(crate) fn patch(path: impl Into<String>, content_type: &'static str, patch: &Value) -> Call {
        Call::new(Method::PATCH, path, content_type, patch.to_string().into_bytes())
    }

    pub(crate) fn accept(self, accept: &'static str) -> Call {
        Call { accept, ..self }
    }

    /// Sends it; the answer's body is still to come.
    pub(crate) async fn open(self, client: &Client) -> anyhow::Result<Response<Body>> {
        let path = self.path.clone();
        let request = Request::builder()
            .method(self.method)
            .uri(self.path)
            .header("content-type", self.content_type)
            .header("accept", self.accept)
            .body(Body::from(self.body))
            .context("make a request")?;
        client
            .send(request)
            .await
            .with_context(|| format!("ask for {path}"))
    }

    /// Sends it and reads the whole answer.
    pub(crate) async fn send(self, client: &Client) -> anyhow::Result<(StatusCode, Vec<u8>)> {
        let response = self.open(client).await?;
        let status = response.status();
        let body = response.into_body().collect().await;
        Ok((status, body.context("read the answer")?.to_bytes().to_vec()))
    }

    /// Sends it and reads the answer, which must be a success.
    pub(crate) async fn succeed(self, client: &Client) -> anyhow::Result<Vec<u8>> {
        let what = format!("{} {}", self.method, self.path);
        match self.send(client).await? {
            (status, answer) if status.is_success() => Ok(answer),
            (status, answer) => bail!(
                "{what} was answered {status}: {}",
                String::from_utf8_lossy(&answer)
            ),
        }
    }

    /// The same for an answer in JSON.
    pub(crate) async fn object(self, client: &Client) -> anyhow::Result<Value> {
        serde_json::from_slice(&self.succeed(client).await?).context("read the answer as JSON")
    }
}

/// Creates an object; it may be there already.
async fn ensure(client: &Client, path: &str, object: &Value) -> anyhow::Result<()> {
    match Call::post(path, object).send(client).await? {
        (StatusCode::CREATED | StatusCode::CONFLICT, _) => Ok(()),
        (status, answer) => bail!(
            "creating at {path} was answered {status}: {}",
            String::from_utf8_lossy(&answer)
        ),
    }
}

/// Lets a user do everything, by RBAC.
pub(crate) async fn bind_administrator(client: &Client, user: &str) -> anyhow::Result<()> {
    let binding = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRoleBinding",
        "metadata": {"name": format!("bench-{user}")},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": user}],
    });
    ensure(
        client,
        "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings",
        &binding,
    )
    .await
}

/// Makes a namespace for loads, with the service account that pods need.
pub(crate) async fn make_namespace(client: &Client, name: &str) -> anyhow::Result<()> {
    let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
    ensure(client, "/api/v1/namespaces", &namespace).await?;
    let account = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default"}});
    let path = format!("/api/v1/namespaces/{name}/serviceaccounts");
    ensure(client, &path, &account).await
}

/// Removes what loads have made.
pub(crate) async fn clean_up(client: &Client) -> anyhow::Result<()> {
    let pods = format!("/api/v1/namespaces/{NAMESPACE}/pods?gracePeriodSeconds=0");
    for path in [pods, format!("/api/v1/namespaces/{NAMESPACE}")] {
        Call::delete(path).succeed(client).await?;
    }
    Ok(())
}

/// A pod that no scheduler takes, of ordinary size.
pub(crate) fn unscheduled_pod(name: &str) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": {"app": "bench", "tier": "load"}},
        "spec": {
            "schedulerName": "none",
            "containers": [{
                "name": "main",
                "image": "registry.example/bench/app:1.0",
                "args": ["--listen=:8080", "--verbose=false"],
                "env": [{"name": "MODE", "value": "load"}, {"name": "LEVEL", "value": "info"}],
                "ports": [{"name": "http", "containerPort": 8080}],
                "resources": {"requests": {"cpu": "100m", "memory": "64Mi"}, "limits": {"memory": "128Mi"}},
            }],
        },
    })
}
