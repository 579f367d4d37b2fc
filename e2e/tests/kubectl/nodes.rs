//! What is done to nodes: taint, cordon, drain, top.

use anyhow::{Context, Result, ensure};
use coracle_e2e::script::Script;

use crate::WEB;

pub(crate) async fn walk(kubectl: &Script) -> Result<()> {
    let nodes = kubectl
        .text("get nodes -o jsonpath={.items[*].metadata.name}")
        .await?;
    let nodes: Vec<&str> = nodes.split(' ').collect();
    let [kept, emptied] = nodes[..] else {
        anyhow::bail!("two nodes: {nodes:?}")
    };
    tainted(kubectl, kept, emptied).await?;
    drained(kubectl, emptied).await?;
    measured(kubectl).await
}

async fn tainted(kubectl: &Script, kept: &str, emptied: &str) -> Result<()> {
    kubectl
        .says(&[
            (
                &format!("taint node {kept} only=@ns:NoSchedule"),
                &format!("node/{kept} tainted"),
            ),
            (
                "run away --image=coracle.dev/hello:1 --restart=Never -- serve",
                "created",
            ),
            (
                "wait --for=condition=Ready pod/away --timeout=90s",
                "condition met",
            ),
            ("get pod away -o jsonpath={.spec.nodeName}", emptied),
            (
                &format!("taint node {kept} only=other:NoSchedule --overwrite"),
                "modified",
            ),
            (&format!("describe node {kept}"), "only=other:NoSchedule"),
        ])
        .await?;
    kubectl
        .refuses(&[(
            &format!("taint node {kept} only=more:NoSchedule"),
            "already has only taint(s) with same effect(s) and --overwrite is false",
        )])
        .await?;
    kubectl
        .says(&[
            (
                &format!("taint node {kept} only:NoSchedule-"),
                &format!("node/{kept} untainted"),
            ),
            ("delete pod away --now", "deleted"),
        ])
        .await
}

async fn drained(kubectl: &Script, node: &str) -> Result<()> {
    let pinned = WEB.replace("replicas: 1", "replicas: 4");
    kubectl.write("web.yaml", &pinned)?;
    kubectl.write("bare.yaml", &BARE.replace("NODE", node))?;
    kubectl
        .says(&[
            ("apply -f web.yaml -f bare.yaml", "pod/bare created"),
            ("create pdb all --selector=app=bare --min-available=1", "created"),
            ("rollout status deployment/web --timeout=90s", "rolled out"),
            (
                "wait --for=condition=Ready pod/bare --timeout=90s",
                "condition met",
            ),
            (&format!("cordon {node}"), &format!("node/{node} cordoned")),
            (&format!("cordon {node}"), "already cordoned"),
            (&format!("get node {node}"), "Ready,SchedulingDisabled"),
        ])
        .await?;
    kubectl
        .refuses(&[
            (
                &format!("drain {node} --force"),
                "cannot delete Pods with local storage (use --delete-emptydir-data to override): @ns/bare",
            ),
            (
                &format!("drain {node} --force --ignore-daemonsets --delete-emptydir-data --timeout=4s"),
                "Cannot evict pod as it would violate the pod's disruption budget.",
            ),
        ])
        .await?;
    kubectl
        .says(&[
            ("delete pdb all", "deleted"),
            (
                &format!("drain {node} --force --ignore-daemonsets --delete-emptydir-data --timeout=120s"),
                "drained",
            ),
        ])
        .await?;
    let left = kubectl
        .json(&format!("get pods -o json --field-selector=spec.nodeName={node}"))
        .await?;
    let left = left["items"].as_array().context("a list of pods")?;
    ensure!(left.is_empty(), "the node is empty: {left:?}");
    kubectl
        .says(&[
            (&format!("uncordon {node}"), &format!("node/{node} uncordoned")),
            ("rollout status deployment/web --timeout=90s", "rolled out"),
        ])
        .await
}

/// A pod without a controller, with data that draining destroys.
const BARE: &str = "
apiVersion: v1
kind: Pod
metadata: {name: bare, labels: {app: bare}}
spec:
  nodeName: NODE
  terminationGracePeriodSeconds: 1
  volumes: [{name: scratch, emptyDir: {}}]
  containers:
  - {name: hello, image: \"coracle.dev/hello:1\", args: [serve], volumeMounts: [{name: scratch, mountPath: /scratch}]}
";

/// There is no metrics API in a cluster without a metrics server, and kubectl says so.
async fn measured(kubectl: &Script) -> Result<()> {
    kubectl
        .says(&[
            (
                "run busy --image=coracle.dev/hello:1 --restart=Never -- serve",
                "created",
            ),
            (
                "wait --for=condition=Ready pod/busy --timeout=90s",
                "condition met",
            ),
            ("top nodes", "%"),
            ("top pods --containers", "busy"),
            ("top pod busy --no-headers", "Mi"),
            (
                "get pods.metrics.k8s.io busy -o jsonpath={.containers[*].name}",
                "busy",
            ),
            ("get nodes.metrics.k8s.io", "WINDOW"),
            ("delete pod busy --now", "deleted"),
        ])
        .await
}
