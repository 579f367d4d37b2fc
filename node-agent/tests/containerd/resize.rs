//! Resources that change while containers run on.

use serde_json::{Value, json};

use crate::support::cluster::{is_ready, pod_with, status};
use crate::support::runtime::available;
use crate::{NS, node, reasons, wait_for_text};

/// The cpu quota in microseconds of a cgroup of this machine, whichever version it has.
fn cpu_quota(path: &str) -> String {
    let v1 = std::fs::read_to_string(format!("/sys/fs/cgroup/cpu{path}/cpu.cfs_quota_us"));
    let text = v1.or_else(|_| std::fs::read_to_string(format!("/sys/fs/cgroup{path}/cpu.max")));
    let text = text.unwrap_or_else(|e| e.to_string());
    text.split_whitespace().next().unwrap_or_default().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn resources_change_while_a_container_runs() {
    if !available() {
        return;
    }
    let (api, runtime, agent) = node("resize").await;
    let limits = |cpu: &str| json!({"requests": {"cpu": "10m"}, "limits": {"cpu": cpu, "memory": "64Mi"}});
    let mut pod = pod_with("r", &["sleep"], json!({"resources": limits("100m")}), json!({}));
    pod["metadata"]["generation"] = json!(1);
    api.put("pods", pod);
    let made = api.wait_for("pod runs", "pods", NS, "r", is_ready).await.unwrap();
    let uid = made["metadata"]["uid"].as_str().unwrap();
    let id = status(Some(&made))["containerID"].as_str().unwrap().to_owned();
    let pod_cgroup = format!("{}/kubepods/burstable/pod{uid}", runtime.cgroup_root);
    let container_cgroup = format!("{pod_cgroup}/{}", id.trim_start_matches("containerd://"));
    assert_eq!(cpu_quota(&container_cgroup), "10000");
    for (generation, cpu, quota) in [(2, "300m", "30000"), (3, "50m", "5000")] {
        api.edit("pods", NS, "r", |pod| {
            pod["spec"]["containers"][0]["resources"] = limits(cpu);
            pod["metadata"]["generation"] = json!(generation);
        });
        let told = |pod: Option<&Value>| {
            let resizing = pod.is_some_and(|p| p["status"]["conditions"].to_string().contains("PodResize"));
            status(pod)["resources"]["limits"]["cpu"] == cpu && !resizing
        };
        let pod = api
            .wait_for("the resize is through", "pods", NS, "r", told)
            .await
            .unwrap();
        assert_eq!(
            status(Some(&pod))["containerID"],
            id.as_str(),
            "the same container runs on"
        );
        assert_eq!(pod["status"]["observedGeneration"], generation);
        assert_eq!(cpu_quota(&container_cgroup), quota);
        assert_eq!(cpu_quota(&pod_cgroup), quota);
    }
    api.edit("pods", NS, "r", |pod| {
        pod["spec"]["containers"][0]["resources"] =
            json!({"requests": {"cpu": "9000"}, "limits": {"cpu": "9000", "memory": "64Mi"}});
    });
    let refused = |pod: Option<&Value>| {
        pod.is_some_and(|p| p["status"]["conditions"].to_string().contains("Infeasible"))
    };
    let pod = api
        .wait_for("the resize is refused", "pods", NS, "r", refused)
        .await
        .unwrap();
    assert_eq!(status(Some(&pod))["resources"]["limits"]["cpu"], "50m");
    assert_eq!(cpu_quota(&container_cgroup), "5000");
    for reason in ["ResizeStarted", "ResizeCompleted", "ResizeInfeasible"] {
        wait_for_text(|| reasons(&api).join(" "), reason).await;
    }
    agent.stop();
}
