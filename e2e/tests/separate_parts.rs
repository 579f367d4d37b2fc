//! Apiserver, controllers and scheduler as three processes that meet at the API alone.

use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use coracle_e2e::kubectl_binaries;
use coracle_e2e::parts::Parts;
use coracle_e2e::program::Program;
use coracle_e2e::wait::{DEADLINE, await_condition};
use serde_json::{Value, json};

#[tokio::test]
async fn three_processes_bring_a_deployment_to_a_node() -> Result<()> {
    let binary = kubectl_binaries().into_iter().next().context("a kubectl")?;
    let folder = tempfile::tempdir()?;
    let parts = Parts::in_folder(&folder.path().join("data"))?;
    let kubectl = parts.kubectl(&binary);
    let apiserver = parts.start_server("apiserver", &binary).await?;
    make_node(&kubectl, folder.path().join("node.json")).await?;
    let account = kubectl.run(&["get", "serviceaccount", "default"]).await?;
    ensure!(
        account.code == Some(1),
        "without controllers there is none: {account:?}"
    );

    let controllers = parts.start_client("controller-manager", "controller-manager.conf")?;
    let ready = async || {
        Ok(kubectl
            .text(&["get", "serviceaccount", "default"])
            .await
            .ok()
            .map(drop))
    };
    await_condition("the controllers make the service account", DEADLINE, ready).await?;
    let deploy = [
        "create",
        "deployment",
        "web",
        "--image=example.test/none:1",
        "--replicas=2",
    ];
    kubectl.text(&deploy).await?;
    await_pods(&kubectl, "two pods on no node", |pods| {
        pods == [Value::Null, Value::Null]
    })
    .await?;

    let scheduler = parts.start_client("scheduler", "scheduler.conf")?;
    await_pods(&kubectl, "both on the node", |pods| pods == ["fake", "fake"]).await?;

    // What the controllers did not see while they were away is done when they come back.
    controllers.kill().await?;
    kubectl
        .text(&["scale", "deployment", "web", "--replicas=3"])
        .await?;
    let controllers = parts.start_client("controller-manager", "controller-manager.conf")?;
    await_pods(&kubectl, "three on the node", |pods| {
        pods == ["fake", "fake", "fake"]
    })
    .await?;

    for part in [scheduler, controllers, apiserver] {
        part.end().await?;
    }
    Ok(())
}

/// A node that nobody runs: it says itself that it is ready and has room.
async fn make_node(kubectl: &Program, file: PathBuf) -> Result<()> {
    let room = json!({"cpu": "4", "memory": "8Gi", "pods": "110"});
    let condition = json!({"type": "Ready", "status": "True", "reason": "KubeletReady"});
    let status = json!({"capacity": room, "allocatable": room, "conditions": [condition]});
    let node = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "fake"}, "status": status});
    std::fs::write(&file, node.to_string())?;
    let file = file.to_str().context("the file's path is text")?;
    kubectl.text(&["create", "--filename", file]).await?;
    let patch = json!({"status": status}).to_string();
    kubectl
        .text(&[
            "patch",
            "node",
            "fake",
            "--subresource=status",
            "--type=merge",
            "--patch",
            &patch,
        ])
        .await
        .map(drop)
}

/// Waits until the nodes of all pods, in order, are as they should be.
async fn await_pods(kubectl: &Program, what: &str, as_wanted: impl Fn(&[Value]) -> bool) -> Result<()> {
    let look = async || {
        let pods = kubectl.json(&["get", "pods", "--output", "json"]).await?;
        let pods = pods["items"].as_array().context("a list of pods")?;
        let nodes: Vec<Value> = pods.iter().map(|pod| pod["spec"]["nodeName"].clone()).collect();
        ensure!(as_wanted(&nodes), "they are on {nodes:?}");
        Ok(Some(()))
    };
    await_condition(what, DEADLINE, look).await
}
