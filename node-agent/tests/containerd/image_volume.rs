//! Images as volumes.

use serde_json::json;

use crate::support::cluster::{is_ready, pod_with};
use crate::support::images::WORK_IMAGE;
use crate::support::runtime::available;
use crate::{NS, node, support};

#[tokio::test(flavor = "multi_thread")]
async fn an_image_is_a_volume() {
    if !available() {
        return;
    }
    let (api, runtime, agent) = node("image").await;
    let volumes =
        json!({"volumes": [{"name": "tools", "image": {"reference": WORK_IMAGE, "pullPolicy": "Never"}}]});
    let mounts =
        json!({"volumeMounts": [{"name": "tools", "mountPath": "/tools"}], "command": ["/tools/work"]});
    api.put("pods", pod_with("i", &["sleep"], mounts, volumes));
    let pod = api.wait_for("pod runs", "pods", NS, "i", is_ready).await.unwrap();
    let uid = pod["metadata"]["uid"].as_str().unwrap();
    let volume = support::cluster::root_dir(&runtime)
        .join("pods")
        .join(uid)
        .join("volumes/kubernetes.io~image/tools");
    assert!(volume.join("work").is_file(), "the image's files are there");
    assert!(
        std::fs::write(volume.join("new"), "").is_err(),
        "and cannot be changed"
    );
    api.delete_pod(NS, "i", 1);
    api.wait_for("pod is gone", "pods", NS, "i", |p| p.is_none())
        .await;
    let gone = async {
        while volume.exists() {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(20), gone)
        .await
        .expect("the volume goes");
    agent.stop();
}
