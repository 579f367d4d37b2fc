//! A pod from its first container to its last, also while agent or API are away.

use serde_json::{Value, json};

use crate::support::cluster::{Agent, is_ready, pod, root_dir, status};
use crate::support::images::WORK_IMAGE;
use crate::support::runtime::{Containerd, available};
use crate::{NS, node, reasons, wait_for_text};

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_lives_and_dies() {
    if !available() {
        return;
    }
    let (api, runtime, agent) = node("life").await;
    api.put("pods", pod("web", &["sleep"], json!({})));
    let web = api
        .wait_for("pod runs", "pods", NS, "web", is_ready)
        .await
        .unwrap();
    assert_eq!(web["status"]["phase"], "Running");
    assert_eq!(status(Some(&web))["image"], WORK_IMAGE);
    assert!(web["status"]["podIP"].as_str().unwrap().starts_with("10.244.7."));
    assert_eq!(web["status"]["hostIP"], "127.0.0.1");
    assert_eq!(web["status"]["qosClass"], "BestEffort");
    api.delete_pod(NS, "web", 1);
    api.wait_for("pod is gone", "pods", NS, "web", |p| p.is_none())
        .await;
    let uid = web["metadata"]["uid"].as_str().unwrap();
    let dir = root_dir(&runtime).join("pods").join(uid);
    let gone = async {
        while dir.exists() {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(20), gone)
        .await
        .expect("the pod's directory goes");
    let seen = reasons(&api);
    for reason in ["Pulled", "Created", "Started", "Killing"] {
        assert!(seen.iter().any(|r| r == reason), "{reason} in {seen:?}");
    }
    agent.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn pods_outlive_the_agent_and_the_api() {
    if !available() {
        return;
    }
    let (api, runtime, agent) = node("adopt").await;
    for name in ["stays", "goes"] {
        api.put("pods", pod(name, &["sleep"], json!({})));
        api.wait_for("pod runs", "pods", NS, name, is_ready).await;
    }
    let id = |p: Option<&Value>| status(p)["containerID"].as_str().unwrap_or_default().to_owned();
    let before = id(api.get("pods", NS, "stays").as_ref());
    agent.stop();
    // While nobody looks, one pod is taken out of the API.
    let gone = api.get("pods", NS, "goes").unwrap();
    api.forget("pods", NS, "goes");
    let _agent = Agent::start(&api, &runtime, None);
    let dir = root_dir(&runtime)
        .join("pods")
        .join(gone["metadata"]["uid"].as_str().unwrap());
    wait_for_text(|| (!dir.exists()).to_string(), "true").await;
    let after = api.get("pods", NS, "stays");
    assert_eq!(
        id(after.as_ref()),
        before,
        "the container was adopted, not restarted"
    );
    assert_eq!(status(after.as_ref())["restartCount"], 0);
    // Without an API, a container that dies is restarted, and the API hears of it later.
    api.set_away(true);
    kill(&runtime, before.trim_start_matches("containerd://"));
    let log = || {
        let pod = after.clone().unwrap();
        let dir = format!("default_stays_{}", pod["metadata"]["uid"].as_str().unwrap());
        runtime
            .dir
            .join("logs")
            .join(dir)
            .join("c/1.log")
            .exists()
            .to_string()
    };
    wait_for_text(log, "true").await;
    api.set_away(false);
    let back = |p: Option<&Value>| status(p)["restartCount"] == 1 && is_ready(p);
    api.wait_for("the restart is told", "pods", NS, "stays", back)
        .await;
}

fn kill(runtime: &Containerd, container: &str) {
    let path = runtime
        .dir
        .join("state/io.containerd.runtime.v2.task/k8s.io")
        .join(container)
        .join("init.pid");
    let script = format!("kill -9 $(cat {})", path.display());
    let done = std::process::Command::new("nsenter")
        .args([
            "--target",
            &runtime.pid(),
            "--mount",
            "--pid",
            "sh",
            "-c",
            &script,
        ])
        .status()
        .unwrap();
    assert!(done.success());
}
