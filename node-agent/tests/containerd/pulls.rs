//! Images that come from a registry.

use base64::Engine as _;
use serde_json::{Value, json};

use crate::support::cluster::{is_ready, phase, pod_with, status};
use crate::support::images::{REGISTRY, serve};
use crate::support::runtime::available;
use crate::{NS, node, reasons, wait_for_text};

/// A secret as `kubectl create secret docker-registry` makes it.
fn pull_secret(name: &str, user: &str, password: &str) -> Value {
    let auths = json!({"auths": {REGISTRY: {"username": user, "password": password}}});
    let encoded = base64::engine::general_purpose::STANDARD.encode(auths.to_string());
    json!({
        "metadata": {"name": name, "namespace": NS},
        "type": "kubernetes.io/dockerconfigjson",
        "data": {".dockerconfigjson": encoded},
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_is_pulled_by_those_who_may() {
    if !available() {
        return;
    }
    let (api, runtime, _agent) = node("registry").await;
    serve(&runtime.pid(), "puller", "secret word");
    api.put("secrets", pull_secret("right", "puller", "secret word"));
    api.put("secrets", pull_secret("wrong", "puller", "guess"));
    let image = json!({"image": format!("{REGISTRY}/work:1"), "imagePullPolicy": "Always"});
    let with = |secret: &str| json!({"imagePullSecrets": [{"name": secret}]});

    api.put(
        "pods",
        pod_with("refused", &["sleep"], image.clone(), with("wrong")),
    );
    api.put("pods", pod_with("stranger", &["sleep"], image.clone(), json!({})));
    let held_back = |p: Option<&Value>| {
        let reason = status(p)["state"]["waiting"]["reason"].clone();
        matches!(reason.as_str(), Some("ErrImagePull" | "ImagePullBackOff")) && phase(p) == "Pending"
    };
    for name in ["refused", "stranger"] {
        api.wait_for("the pull is refused", "pods", NS, name, held_back)
            .await;
    }
    api.put("pods", pod_with("pulled", &["sleep"], image, with("right")));
    let pulled = api.wait_for("pod runs", "pods", NS, "pulled", is_ready).await;
    let id = status(pulled.as_ref())["imageID"].clone();
    let start = format!("{REGISTRY}/work@sha256:");
    assert!(id.as_str().is_some_and(|id| id.starts_with(&start)), "{id}");
    wait_for_text(|| reasons(&api).join(" "), "Pulled").await;
}
