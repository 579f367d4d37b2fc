//! A node that only says what a kubelet would say: it is ready, its pods run, those that are deleted end.

use futures::StreamExt;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::ResourceExt;
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams};
use kube::runtime::{WatchStreamExt, watcher};
use serde_json::{Value, json};
use std::pin::pin;

const NODE: &str = "n1";

pub(crate) async fn run(client: kube::Client) {
    register(&client).await;
    let all: Api<Pod> = Api::all(client.clone());
    let config = watcher::Config::default().fields(&format!("spec.nodeName={NODE}"));
    let mut pods = pin!(watcher(all, config).applied_objects());
    let mut addresses = 1;
    while let Some(pod) = pods.next().await {
        let pod = pod.unwrap();
        let api: Api<Pod> = Api::namespaced(client.clone(), &pod.namespace().unwrap());
        let running = pod.status.as_ref().and_then(|status| status.phase.as_deref()) == Some("Running");
        if pod.metadata.deletion_timestamp.is_some() {
            // Someone else may have ended it meanwhile.
            let _ = api
                .delete(&pod.name_any(), &DeleteParams::default().grace_period(0))
                .await;
        } else if !running {
            addresses += 1;
            let change = Patch::Strategic(runs(&format!("10.244.0.{addresses}")));
            let _ = api
                .patch_status(&pod.name_any(), &PatchParams::default(), &change)
                .await;
        }
    }
}

async fn register(client: &kube::Client) {
    let node = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": NODE}});
    let nodes: Api<Node> = Api::all(client.clone());
    nodes
        .create(&PostParams::default(), &serde_json::from_value(node).unwrap())
        .await
        .unwrap();
    let status = json!({"status": {
        "capacity": {"cpu": "8", "memory": "16Gi", "pods": "110"},
        "allocatable": {"cpu": "8", "memory": "16Gi", "pods": "110"},
        "conditions": [{"type": "Ready", "status": "True", "reason": "KubeletReady"}],
    }});
    nodes
        .patch_status(NODE, &PatchParams::default(), &Patch::Merge(status))
        .await
        .unwrap();
    let lease = json!({
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": {"name": NODE},
        "spec": {"holderIdentity": NODE, "leaseDurationSeconds": 40},
    });
    let leases: Api<Lease> = Api::namespaced(client.clone(), "kube-node-lease");
    leases
        .create(&PostParams::default(), &serde_json::from_value(lease).unwrap())
        .await
        .unwrap();
}

fn runs(ip: &str) -> Value {
    json!({"status": {
        "phase": "Running",
        "podIP": ip,
        "podIPs": [{"ip": ip}],
        "conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"}],
    }})
}
