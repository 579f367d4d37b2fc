//! From `kubectl apply` to a Running pod.

use crate::cluster;
use crate::report::Table;
use crate::stats::Spread;
use anyhow::{Context, bail};
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::DeleteParams;
use kube::runtime::wait::await_condition;
use kube::runtime::wait::conditions::{is_deleted, is_pod_running};
use serde_json::json;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::process::Command;
use tokio::time::{Instant, timeout};

const LIMIT: Duration = Duration::from_secs(60);

const IMAGE: &str = "coracle.dev/hello:1";
const KUBECTL: &str = "kubectl";

#[derive(clap::Args, Clone)]
pub(crate) struct Args {
    /// The cluster, which has a node
    #[arg(long)]
    kubeconfig: Option<PathBuf>,
    /// The pod's image, present on the node
    #[arg(long, default_value = IMAGE)]
    image: String,
    /// The kubectl program
    #[arg(long, default_value = KUBECTL)]
    kubectl: PathBuf,
    /// How often the measurement is made
    #[arg(long, default_value_t = 5)]
    runs: usize,
}

pub(crate) async fn run(args: &Args) -> anyhow::Result<Table> {
    let pods: Api<Pod> = Api::namespaced(cluster::client(args.kubeconfig.as_deref()).await?, "default");
    let mut times = Vec::new();
    for run in 0..args.runs {
        times.push(measure(args, &pods, &format!("bench-{run}")).await?.as_secs_f64());
    }
    let note = format!(
        "A pod whose image is present on the node; {} runs: median (least–most).",
        args.runs
    );
    let mut table = Table::new("A pod", &note, ["what", "s"]);
    table.row([
        "`kubectl apply` started, to phase Running seen by a watch".to_owned(),
        Spread::of(times).to_string(),
    ]);
    Ok(table)
}

async fn measure(args: &Args, pods: &Api<Pod>, name: &str) -> anyhow::Result<Duration> {
    let place = tempfile::tempdir().context("make a directory for the manifest")?;
    let manifest = place.path().join("pod.json");
    let pod = json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {
            "terminationGracePeriodSeconds": 0,
            "containers": [{"name": "main", "image": args.image, "imagePullPolicy": "Never"}],
        },
    });
    std::fs::write(&manifest, pod.to_string()).context("write the manifest")?;
    let started = Instant::now();
    let running = timeout(LIMIT, await_condition(pods.clone(), name, is_pod_running()));
    let (applied, running) = tokio::join!(apply(args, &manifest), running);
    let took = started.elapsed();
    applied?;
    let pod = running
        .context("the pod is not Running after a minute")?
        .context("watch the pod")?;
    let uid = pod
        .and_then(|pod| pod.metadata.uid)
        .context("the pod has a uid")?;
    pods.delete(name, &DeleteParams::default().grace_period(0))
        .await
        .context("delete the pod")?;
    let deleted = timeout(LIMIT, await_condition(pods.clone(), name, is_deleted(&uid))).await;
    deleted
        .context("the pod is there a minute after its deletion")?
        .context("watch the pod")?;
    Ok(took)
}

async fn apply(args: &Args, manifest: &Path) -> anyhow::Result<()> {
    let mut command = Command::new(&args.kubectl);
    if let Some(kubeconfig) = &args.kubeconfig {
        command.arg("--kubeconfig").arg(kubeconfig);
    }
    let output = command
        .arg("apply")
        .arg("-f")
        .arg(manifest)
        .output()
        .await
        .context("run kubectl")?;
    if !output.status.success() {
        bail!(
            "kubectl apply failed: {}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
    Ok(())
}
