//! Init containers, probes and hooks.

use serde_json::{Value, json};

use crate::support::cluster::{is_ready, pod_with, status};
use crate::support::images::WORK_IMAGE;
use crate::support::runtime::available;
use crate::{NS, node, reasons};

#[tokio::test(flavor = "multi_thread")]
async fn init_containers_probes_and_hooks() {
    if !available() {
        return;
    }
    let (api, runtime, _agent) = node("probes").await;
    let get = |period: i32| json!({"httpGet": {"port": 8080, "path": "/"}, "periodSeconds": period, "failureThreshold": 1});
    let serving = json!({
        "readinessProbe": get(1), "livenessProbe": get(1), "startupProbe": {"tcpSocket": {"port": 8080}, "periodSeconds": 1},
        "lifecycle": {"postStart": {"exec": {"command": ["/work", "touch", "/tmp/started"]}}},
    });
    let init = json!({"initContainers": [
        {"name": "first", "image": WORK_IMAGE, "args": ["exit", "0"]},
        {"name": "side", "image": WORK_IMAGE, "args": ["sleep"], "restartPolicy": "Always"},
    ]});
    api.put("pods", pod_with("probed", &["serve", "8080"], serving, init));
    let ready = api
        .wait_for("pod becomes ready", "pods", NS, "probed", is_ready)
        .await
        .unwrap();
    assert_eq!(
        ready["status"]["initContainerStatuses"][0]["state"]["terminated"]["reason"],
        "Completed"
    );
    assert_eq!(ready["status"]["initContainerStatuses"][1]["started"], true);
    // The server answers 500 from now on, so liveness has it restarted.
    let id = status(Some(&ready))["containerID"]
        .as_str()
        .unwrap()
        .trim_start_matches("containerd://")
        .to_owned();
    let root = runtime
        .dir
        .join("state/io.containerd.runtime.v2.task/k8s.io")
        .join(&id)
        .join("rootfs/tmp/sick");
    let exec = std::process::Command::new("nsenter")
        .args([
            "--target",
            &runtime.pid(),
            "--mount",
            "touch",
            &root.to_string_lossy(),
        ])
        .status()
        .unwrap();
    assert!(exec.success());
    let restarted = |p: Option<&Value>| status(p)["restartCount"].as_i64() == Some(1) && is_ready(p);
    api.wait_for("container is restarted", "pods", NS, "probed", restarted)
        .await;
    let seen = reasons(&api);
    assert!(seen.iter().any(|r| r == "Unhealthy"), "{seen:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn commands_tell_readiness_and_the_last_word_is_heard() {
    if !available() {
        return;
    }
    let (api, runtime, _agent) = node("commands").await;
    let shared = runtime.dir.join("shared");
    std::fs::create_dir(&shared).unwrap();
    let command = |words: [&str; 2]| json!({"exec": {"command": ["/work", words[0], words[1]]}});
    let mut probe = command(["exists", "/shared/ready"]);
    probe["periodSeconds"] = json!(1);
    probe["failureThreshold"] = json!(1);
    let container = json!({
        "readinessProbe": probe, "lifecycle": {"preStop": command(["touch", "/shared/stopping"])},
        "volumeMounts": [{"name": "shared", "mountPath": "/shared"}],
    });
    let volume = json!({"name": "shared", "hostPath": {"path": shared}});
    let more = json!({"volumes": [volume], "terminationGracePeriodSeconds": 5});
    api.put("pods", pod_with("told", &["sleep"], container, more));
    let started = |p: Option<&Value>| status(p)["started"] == true && !is_ready(p);
    api.wait_for("it runs and is not ready", "pods", NS, "told", started)
        .await;
    std::fs::write(shared.join("ready"), "").unwrap();
    api.wait_for("it is ready", "pods", NS, "told", is_ready).await;
    std::fs::remove_file(shared.join("ready")).unwrap();
    api.wait_for("it is not ready any more", "pods", NS, "told", |p| !is_ready(p))
        .await;
    assert_eq!(status(api.get("pods", NS, "told").as_ref())["restartCount"], 0);
    assert!(!shared.join("stopping").exists());
    api.delete_pod(NS, "told", 5);
    api.wait_for("it is gone", "pods", NS, "told", |p| p.is_none())
        .await;
    assert!(shared.join("stopping").exists(), "preStop has run");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_container_whose_first_hook_fails_is_killed_and_says_why() {
    if !available() {
        return;
    }
    let (api, _runtime, _agent) = node("hooks").await;
    let hook = json!({"postStart": {"exec": {"command": ["/work", "exit", "9"]}}});
    let never = json!({"restartPolicy": "Never"});
    api.put(
        "pods",
        pod_with("hooked", &["sleep"], json!({"lifecycle": hook}), never),
    );
    let failed = |p: Option<&Value>| p.is_some_and(|p| p["status"]["phase"] == "Failed");
    api.wait_for("it is killed", "pods", NS, "hooked", failed).await;
    let seen = reasons(&api);
    assert!(seen.iter().any(|r| r == "FailedPostStartHook"), "{seen:?}");
}
