//! Requests to whatever a kubeconfig names, with as little work on this side as possible: bodies are bytes.

use anyhow::{Context, bail};
use http::{Method, Request, StatusCode};
use http_body_util::BodyExt;
use kube::Client;
use kube::client::Body;
use kube::config::{KubeConfigOptions, Kubeconfig};
use serde_json::{Value, json};
use std::path::Path;

/// The namespace that loads go to.
pub(crate) const NAMESPACE: &str = "coracle-bench";

/// A client for the current context of a kubeconfig file, or of the usual one.
pub(crate) async fn client(kubeconfig: Option<&Path>) -> anyhow::Result<Client> {
    let file = match kubeconfig {
        Some(path) => Kubeconfig::read_from(path).with_context(|| format!("read {}", path.display()))?,
        None => Kubeconfig::read().context("read the kubeconfig")?,
    };
    let config = kube::Config::from_custom_kubeconfig(file, &KubeConfigOptions::default()).await;
    Client::try_from(config.context("understand the kubeconfig")?).context("make a client")
}

/// Sends a request and reads the whole answer.
pub(crate) async fn send(
    client: &Client,
    method: Method,
    path: &str,
    body: Vec<u8>,
) -> anyhow::Result<(StatusCode, Vec<u8>)> {
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header("content-type", "application/json")
        .body(Body::from(body))
        .context("make a request")?;
    let response = client
        .send(request)
        .await
        .with_context(|| format!("ask for {path}"))?;
    let status = response.status();
    let body = response
        .into_body()
        .collect()
        .await
        .context("read the answer")?
        .to_bytes();
    Ok((status, body.to_vec()))
}

/// Creates an object; it may be there already.
async fn ensure(client: &Client, path: &str, object: &Value) -> anyhow::Result<()> {
    let (status, answer) = send(client, Method::POST, path, object.to_string().into_bytes()).await?;
    if status != StatusCode::CREATED && status != StatusCode::CONFLICT {
        bail!(
            "creating at {path} answered {status}: {}",
            String::from_utf8_lossy(&answer)
        );
    }
    Ok(())
}

/// Makes the namespace for loads, with the service account that pods need.
pub(crate) async fn prepare(client: &Client) -> anyhow::Result<()> {
    let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}});
    ensure(client, "/api/v1/namespaces", &namespace).await?;
    let account = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default"}});
    ensure(
        client,
        &format!("/api/v1/namespaces/{NAMESPACE}/serviceaccounts"),
        &account,
    )
    .await
}

/// Removes what loads have made.
pub(crate) async fn clean_up(client: &Client) -> anyhow::Result<()> {
    let pods = format!("/api/v1/namespaces/{NAMESPACE}/pods?gracePeriodSeconds=0");
    for path in [pods, format!("/api/v1/namespaces/{NAMESPACE}")] {
        let (status, answer) = send(client, Method::DELETE, &path, Vec::new()).await?;
        if !status.is_success() && status != StatusCode::NOT_FOUND {
            bail!(
                "deleting {path} answered {status}: {}",
                String::from_utf8_lossy(&answer)
            );
        }
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
