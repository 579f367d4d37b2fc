//! How ends and waits of containers are told.

use serde_json::{Value, json};

use crate::support::cluster::{is_ready, phase, pod, pod_with, status};
use crate::support::images::WORK_IMAGE;
use crate::support::runtime::available;
use crate::{NS, node, reasons, wait_for_text};

#[tokio::test(flavor = "multi_thread")]
async fn ends_are_told_in_upstreams_words() {
    if !available() {
        return;
    }
    let (api, _runtime, _agent) = node("ends").await;
    let never = || json!({"restartPolicy": "Never"});
    api.put("pods", pod("once", &["exit", "0"], never()));
    api.put("pods", pod("failed", &["exit", "7"], never()));
    api.put(
        "pods",
        pod_with("no-program", &[], json!({"command": ["/nothing"]}), never()),
    );
    for (name, want, code, reason) in [
        ("once", "Succeeded", 0, "Completed"),
        ("failed", "Failed", 7, "Error"),
        ("no-program", "Failed", 128, "StartError"),
    ] {
        let ended = api
            .wait_for("pod ends", "pods", NS, name, |p| phase(p) == want)
            .await;
        let state = status(ended.as_ref())["state"]["terminated"].clone();
        assert_eq!(
            (state["exitCode"].as_i64(), state["reason"].as_str()),
            (Some(code), Some(reason)),
            "{name}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn waits_are_told_in_upstreams_words() {
    if !available() {
        return;
    }
    let (api, _runtime, _agent) = node("waits").await;
    api.put("pods", pod("crash", &["last-words", "farewell"], json!({})));
    let never = json!({"image": "coracle.test/none:1", "imagePullPolicy": "Never"});
    api.put("pods", pod_with("no-image", &[], never, json!({})));
    let missing = json!({"envFrom": [{"configMapRef": {"name": "none"}}]});
    api.put("pods", pod_with("no-config", &["sleep"], missing, json!({})));
    let waits_for =
        |p: Option<&Value>, reason: &str| status(p)["state"]["waiting"]["reason"].as_str() == Some(reason);
    let looping = |p: Option<&Value>| waits_for(p, "CrashLoopBackOff");
    let crash = api.wait_for("loop is seen", "pods", NS, "crash", looping).await;
    let crashed = status(crash.as_ref());
    assert_eq!(crashed["lastState"]["terminated"]["message"], "farewell");
    assert_eq!(crashed["lastState"]["terminated"]["exitCode"], 3);
    assert_eq!(crashed["restartCount"], 1);
    assert!(
        crashed["state"]["waiting"]["message"]
            .as_str()
            .unwrap()
            .starts_with("back-off 10s restarting failed")
    );
    let no_image = |p: Option<&Value>| waits_for(p, "ErrImageNeverPull");
    api.wait_for("image is missed", "pods", NS, "no-image", no_image)
        .await;
    let no_config = |p: Option<&Value>| waits_for(p, "CreateContainerConfigError");
    api.wait_for("map is missed", "pods", NS, "no-config", no_config)
        .await;
    api.put(
        "configmaps",
        json!({"metadata": {"name": "none", "namespace": NS}, "data": {}}),
    );
    api.wait_for("map is found", "pods", NS, "no-config", is_ready)
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn images_that_cannot_be_had_are_asked_for_less_and_less_often() {
    if !available() {
        return;
    }
    let (api, _runtime, _agent) = node("pulls").await;
    // Nobody listens there, and nobody outside is asked.
    let image = "127.0.0.1:1/none:1";
    for policy in ["Always", "IfNotPresent"] {
        let never_there = json!({"image": image, "imagePullPolicy": policy});
        let name = policy.to_lowercase();
        api.put("pods", pod_with(&name, &["sleep"], never_there, json!({})));
        let waits_for = |p: Option<&Value>, reason: &str| {
            status(p)["state"]["waiting"]["reason"].as_str() == Some(reason) && phase(p) == "Pending"
        };
        let failed = |p: Option<&Value>| waits_for(p, "ErrImagePull");
        api.wait_for("the pull fails", "pods", NS, &name, failed).await;
        let held_back = |p: Option<&Value>| waits_for(p, "ImagePullBackOff");
        let held_back = api
            .wait_for("it is held back", "pods", NS, &name, held_back)
            .await;
        let message = status(held_back.as_ref())["state"]["waiting"]["message"].clone();
        let start = format!("Back-off pulling image \"{image}\"");
        assert!(message.as_str().unwrap().starts_with(&start), "{message}");
    }
    for reason in ["Pulling", "Failed", "BackOff"] {
        wait_for_text(|| reasons(&api).join(" "), reason).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn restart_policies_decide_what_follows_an_end() {
    if !available() {
        return;
    }
    let (api, _runtime, _agent) = node("policies").await;
    let on_failure = || json!({"restartPolicy": "OnFailure"});
    api.put("pods", pod("done", &["exit", "0"], on_failure()));
    api.put("pods", pod("again", &["exit", "7"], on_failure()));
    api.put("pods", pod("always", &["exit", "0"], json!({})));
    let failing = json!([{"name": "first", "image": WORK_IMAGE, "args": ["exit", "3"]}]);
    let never = json!({"restartPolicy": "Never", "initContainers": failing});
    api.put("pods", pod("init-fails", &["sleep"], never));

    let done = |p: Option<&Value>| phase(p) == "Succeeded";
    let done = api.wait_for("pod ends well", "pods", NS, "done", done).await;
    assert_eq!(status(done.as_ref())["restartCount"], 0);
    for (name, code) in [("again", 7), ("always", 0)] {
        let restarted = |p: Option<&Value>| status(p)["restartCount"].as_i64() >= Some(1);
        let restarted = api.wait_for("it is run again", "pods", NS, name, restarted).await;
        let last = status(restarted.as_ref())["lastState"]["terminated"]["exitCode"].clone();
        assert_eq!(
            (phase(restarted.as_ref()), last),
            ("Running", json!(code)),
            "{name}"
        );
    }
    let failed = |p: Option<&Value>| phase(p) == "Failed";
    let failed = api
        .wait_for("pod fails", "pods", NS, "init-fails", failed)
        .await
        .unwrap();
    let first = &failed["status"]["initContainerStatuses"][0]["state"]["terminated"];
    assert_eq!(
        (&first["exitCode"], &first["reason"]),
        (&json!(3), &json!("Error"))
    );
    let never_started = status(Some(&failed))["state"]["waiting"]["reason"].clone();
    assert_eq!(never_started, "PodInitializing");
}
