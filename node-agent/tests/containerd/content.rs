//! What containers are given: environment, volumes, limits.

use std::path::Path;

use serde_json::{Value, json};

use crate::support::cluster::{is_ready, pod_with, root_dir};
use crate::support::runtime::available;
use crate::{NS, log, node, wait_for_text};

/// A pod that shows its environment and the files of every kind of volume.
fn filled_pod(host: &Path) -> Value {
    let volumes = json!([
        {"name": "cm", "configMap": {"name": "cm"}}, {"name": "s", "secret": {"secretName": "s", "defaultMode": 256}},
        {"name": "scratch", "emptyDir": {}}, {"name": "memory", "emptyDir": {"medium": "Memory", "sizeLimit": "1Mi"}},
        {"name": "host", "hostPath": {"path": host, "type": "Directory"}},
        {"name": "down", "downwardAPI": {"items": [{"path": "name", "fieldRef": {"fieldPath": "metadata.name"}},
            {"path": "memory", "resourceFieldRef": {"containerName": "c", "resource": "limits.memory", "divisor": "1Mi"}}]}},
        {"name": "all", "projected": {"sources": [{"serviceAccountToken": {"path": "token"}},
            {"downwardAPI": {"items": [{"path": "labels", "fieldRef": {"fieldPath": "metadata.labels"}}]}}]}},
    ]);
    let mounts = json!([
        {"name": "cm", "mountPath": "/cm"}, {"name": "s", "mountPath": "/s"}, {"name": "scratch", "mountPath": "/scratch"},
        {"name": "memory", "mountPath": "/memory"}, {"name": "all", "mountPath": "/all"},
        {"name": "cm", "mountPath": "/one", "subPath": "file"}, {"name": "host", "mountPath": "/host", "readOnly": true},
        {"name": "down", "mountPath": "/down"},
    ]);
    let env = json!([
        {"name": "GREETING", "valueFrom": {"configMapKeyRef": {"name": "cm", "key": "greeting"}}},
        {"name": "PASSWORD", "valueFrom": {"secretKeyRef": {"name": "s", "key": "password"}}},
        {"name": "BOTH", "value": "$(GREETING)-$(PASSWORD)"},
        {"name": "FILE", "value": "file"},
        {"name": "POD_IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
        {"name": "CPU", "valueFrom": {"resourceFieldRef": {"resource": "limits.cpu", "divisor": "1m"}}},
    ]);
    let limits = json!({"limits": {"cpu": "200m", "memory": "64Mi"}});
    let files = [
        "/cm/$(FILE)",
        "/s/password",
        "/all/token",
        "/all/labels",
        "/host/greeting",
        "/down/name",
        "/down/memory",
        "/one",
        "/etc/hosts",
        "/etc/resolv.conf",
    ];
    let args: Vec<&str> = ["show"].into_iter().chain(files).collect();
    let from = json!([{"prefix": "ALL_", "secretRef": {"name": "s"}}, {"configMapRef": {"name": "cm"}}]);
    let container = json!({"env": env, "envFrom": from, "volumeMounts": mounts, "resources": limits});
    pod_with(
        "filled",
        &args,
        container,
        json!({"volumes": volumes, "hostname": "host"}),
    )
}

fn config_map(file: &str) -> Value {
    json!({"metadata": {"name": "cm", "namespace": NS}, "data": {"greeting": "hello", "file": file}})
}

#[tokio::test(flavor = "multi_thread")]
async fn environment_and_volumes_are_filled_in_and_stay_current() {
    if !available() {
        return;
    }
    let (api, runtime, _agent) = node("volumes").await;
    api.put("configmaps", config_map("one"));
    api.put(
        "secrets",
        json!({"metadata": {"name": "s", "namespace": NS}, "data": {"password": "aHVudGVyMg=="}}),
    );
    let ports = json!([{"name": "http", "port": 80, "protocol": "TCP"}]);
    let service = json!({"clusterIP": "10.96.7.7", "ports": ports});
    api.put(
        "services",
        json!({"metadata": {"name": "front-end", "namespace": NS}, "spec": service}),
    );
    let host = runtime.dir.join("host");
    std::fs::create_dir(&host).unwrap();
    std::fs::write(host.join("greeting"), "from the host").unwrap();
    api.put("pods", filled_pod(&host));
    let filled = api
        .wait_for("pod runs", "pods", NS, "filled", is_ready)
        .await
        .unwrap();
    let ip = filled["status"]["podIP"].as_str().unwrap();
    let text = wait_for_text(|| log(&runtime, &filled, "c", 0), "nameserver").await;
    for line in [
        "GREETING=hello",
        "BOTH=hello-hunter2",
        "ALL_password=hunter2",
        "greeting=hello",
        "FRONT_END_SERVICE_HOST=10.96.7.7",
        "FRONT_END_SERVICE_PORT_HTTP=80",
        &format!("POD_IP={ip}"),
        "CPU=200",
        "/cm/file: one",
        "/s/password: hunter2",
        "/all/token: a-token",
        "/all/labels: app=\"filled\"",
        "/host/greeting: from the host",
        "/down/name: filled",
        "/down/memory: 64",
        "/one: one",
        &format!("{ip}\thost"),
        "nameserver 10.96.0.10",
        "search default.svc.cluster.local svc.cluster.local cluster.local",
    ] {
        assert!(text.contains(line), "{line} in\n{text}");
    }
    let uid = filled["metadata"]["uid"].as_str().unwrap();
    let volume = format!("pods/{uid}/volumes/kubernetes.io~configmap/cm/file");
    let file = root_dir(&runtime).join(volume);
    api.put("configmaps", config_map("two"));
    wait_for_text(|| std::fs::read_to_string(&file).unwrap_or_default(), "two").await;
    assert_eq!(filled["status"]["qosClass"], "Guaranteed");
    let limit = format!(
        "/sys/fs/cgroup/memory{}/kubepods/pod{uid}/memory.limit_in_bytes",
        runtime.cgroup_root
    );
    if std::path::Path::new("/sys/fs/cgroup/memory").exists() {
        assert_eq!(
            std::fs::read_to_string(limit).unwrap().trim(),
            (64 << 20).to_string()
        );
    }
}
