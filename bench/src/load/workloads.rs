//! What controllers and scheduler do with much: nodes are objects only, and nothing runs on them.

use super::{Named, Scale, read, share_out};
use crate::cluster::{self, Call};
use crate::side::Target;
use anyhow::{Context, ensure};
use serde_json::{Value, json};
use std::time::Duration;
use tokio::time::{Instant, sleep, timeout};

const CLIENTS: usize = 32;
const LIMIT: Duration = Duration::from_secs(900);
/// How often it is asked whether all is done: the error of a measured time.
const POLL: Duration = Duration::from_millis(100);

/// A Deployment with many replicas, until all are bound.
pub(super) async fn deployment(target: &Target, scale: Scale) -> anyhow::Result<Vec<Named>> {
    const NAMESPACE: &str = "coracle-bench-deployment";
    let (replicas, nodes) = (scale.of(5000), scale.of(500));
    cluster::make_namespace(&target.client, NAMESPACE).await?;
    make_nodes(target, nodes).await?;
    let deployment = json!({
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "wide"},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": "wide"}},
            "template": {"metadata": {"labels": {"app": "wide"}}, "spec": schedulable()},
        },
    });
    let started = Instant::now();
    let work = async {
        let path = format!("/apis/apps/v1/namespaces/{NAMESPACE}/deployments");
        Call::post(path, &deployment).succeed(&target.client).await?;
        all_bound(target, NAMESPACE, replicas).await?;
        Ok(vec![started.elapsed()])
    };
    let sample = target.observe(work).await?;
    Ok(vec![(
        format!("a Deployment of {replicas} replicas bound to {nodes} nodes"),
        sample,
    )])
}

/// Many pods on many nodes.
pub(super) async fn scheduling(target: &Target, scale: Scale) -> anyhow::Result<Vec<Named>> {
    const NAMESPACE: &str = "coracle-bench-scheduling";
    let (pods, nodes) = (scale.of(10_000), scale.of(5000));
    cluster::make_namespace(&target.client, NAMESPACE).await?;
    make_nodes(target, nodes).await?;
    let path = &format!("/api/v1/namespaces/{NAMESPACE}/pods");
    let started = Instant::now();
    let work = async {
        share_out(CLIENTS, pods, |number| async move {
            let pod = json!({
                "apiVersion": "v1",
                "kind": "Pod",
                "metadata": {"name": format!("pod-{number}"), "labels": {"app": "many"}},
                "spec": schedulable(),
            });
            Call::post(path.clone(), &pod).succeed(&target.client).await?;
            Ok(Duration::ZERO)
        })
        .await?;
        all_bound(target, NAMESPACE, pods).await?;
        Ok(vec![started.elapsed()])
    };
    let sample = target.observe(work).await?;
    Ok(vec![(
        format!("{pods} pods created and bound to {nodes} nodes"),
        sample,
    )])
}

/// A namespace with many objects, until it is gone.
pub(super) async fn namespace(target: &Target, scale: Scale) -> anyhow::Result<Vec<Named>> {
    const NAMESPACE: &str = "coracle-bench-doomed";
    let objects = scale.of(10_000);
    cluster::make_namespace(&target.client, NAMESPACE).await?;
    let path = &format!("/api/v1/namespaces/{NAMESPACE}/configmaps");
    share_out(CLIENTS, objects, |number| async move {
        let object = json!({
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": format!("filler-{number}")},
            "data": {"text": "x".repeat(256)},
        });
        Call::post(path.clone(), &object).succeed(&target.client).await?;
        Ok(Duration::ZERO)
    })
    .await?;
    let started = Instant::now();
    let doomed = format!("/api/v1/namespaces/{NAMESPACE}");
    let work = async {
        Call::delete(&doomed).succeed(&target.client).await?;
        until("the namespace is gone", async || {
            let (status, _) = Call::get(&doomed).send(&target.client).await?;
            Ok(status == http::StatusCode::NOT_FOUND)
        })
        .await?;
        Ok(vec![started.elapsed()])
    };
    let sample = target.observe(work).await?;
    Ok(vec![(
        format!("a namespace with {objects} ConfigMaps deleted"),
        sample,
    )])
}

fn schedulable() -> Value {
    json!({
        "containers": [{
            "name": "main",
            "image": "registry.example/bench/app:1.0",
            "resources": {"requests": {"cpu": "100m", "memory": "64Mi"}},
        }],
    })
}

/// Makes nodes that are ready, and waits until pods may be scheduled to all of them.
async fn make_nodes(target: &Target, amount: usize) -> anyhow::Result<()> {
    share_out(CLIENTS, amount, |number| async move {
        let answer = Call::post("/api/v1/nodes", &node(number))
            .send(&target.client)
            .await?;
        // Another group may have made it.
        let made = answer.0.is_success() || answer.0 == http::StatusCode::CONFLICT;
        ensure!(made, "a node was answered {}", String::from_utf8_lossy(&answer.1));
        Ok(Duration::ZERO)
    })
    .await?;
    until("all nodes can be used", async || {
        let nodes = Call::get("/api/v1/nodes").object(&target.client).await?;
        let nodes = nodes["items"].as_array().context("nodes")?;
        let usable = |node: &&Value| node["spec"]["taints"].as_array().is_none_or(Vec::is_empty);
        Ok(nodes.iter().filter(usable).count() >= amount)
    })
    .await
}

fn node(number: usize) -> Value {
    let room = json!({"cpu": "32", "memory": "256Gi", "pods": "110", "ephemeral-storage": "100Gi"});
    json!({
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {
            "name": format!("bench-node-{number}"),
            "labels": {
                "kubernetes.io/hostname": format!("bench-node-{number}"),
                "topology.kubernetes.io/zone": format!("zone-{}", number % 3),
            },
        },
        "status": {
            "capacity": room,
            "allocatable": room,
            "conditions": [{
                "type": "Ready",
                "status": "True",
                "reason": "KubeletReady",
                "lastHeartbeatTime": "2026-01-01T00:00:00Z",
                "lastTransitionTime": "2026-01-01T00:00:00Z",
            }],
        },
    })
}

async fn all_bound(target: &Target, namespace: &str, pods: usize) -> anyhow::Result<()> {
    // Asked by a selector that the servers answer from what they know, so that asking costs them little.
    let pending = format!("/api/v1/namespaces/{namespace}/pods?limit=1&fieldSelector=spec.nodeName%3D");
    until("all pods are bound", async || {
        let answer = Call::get(&pending).succeed(&target.client).await?;
        if read::json_list(&answer)?.items > 0 {
            return Ok(false);
        }
        let all = Call::get(format!("/api/v1/namespaces/{namespace}/pods"))
            .succeed(&target.client)
            .await?;
        Ok(read::json_list(&all)?.items == pods)
    })
    .await
}

async fn until(what: &str, done: impl AsyncFn() -> anyhow::Result<bool>) -> anyhow::Result<()> {
    let wait = async {
        while !done().await? {
            sleep(POLL).await;
        }
        Ok::<_, anyhow::Error>(())
    };
    timeout(LIMIT, wait)
        .await
        .with_context(|| format!("waiting until {what}"))?
}
