//! Every command of kubectl, of two minor versions, against one cluster.
//!
//! A chapter is a table of command lines and what they are to say. Each chapter has a namespace of its own and runs beside
//! the others; only what takes a node out of service runs after them.

mod access;
mod containers;
mod create;
mod declare;
mod nodes;
mod read;
mod workloads;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use coracle_e2e::cluster::Cluster;
use coracle_e2e::program::Program;
use coracle_e2e::script::Script;
use coracle_e2e::{kubectl_binaries, toolbox, unique};
use futures::future::join_all;

/// A Deployment of the example's program, as chapters that need one apply it.
const WEB: &str = "
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, labels: {app: web}}
spec:
  replicas: 1
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      terminationGracePeriodSeconds: 1
      containers:
      - {name: hello, image: \"coracle.dev/hello:1\", args: [serve], ports: [{name: http, containerPort: 8080}]}
";

const SETTINGS: &str = "
apiVersion: v1
kind: ConfigMap
metadata: {name: settings}
data: {a: \"1\", b: \"2\"}
";

#[tokio::test]
async fn every_command_of_kubectl() -> Result<()> {
    let mut cluster = Cluster::new()?;
    cluster.up_with(&["--nodes", "2"]).await?;
    toolbox::load(&cluster).await?;
    let binaries = kubectl_binaries();
    let beside = binaries
        .iter()
        .flat_map(|binary| CHAPTERS.map(|chapter| told(&cluster, binary, chapter)));
    let mut outcomes = join_all(beside).await;
    for binary in &binaries {
        outcomes.push(told(&cluster, binary, "nodes").await);
    }
    let faults: Vec<String> = outcomes
        .into_iter()
        .filter_map(|outcome| Some(format!("{:#}", outcome.err()?)))
        .collect();
    if !faults.is_empty() {
        bail!("{}", faults.join("\n\n"));
    }
    cluster.down().await
}

const CHAPTERS: [&str; 6] = ["access", "containers", "create", "declare", "read", "workloads"];

/// A chapter told with one kubectl.
async fn told(cluster: &Cluster, binary: &Path, chapter: &str) -> Result<()> {
    let tale = async {
        let kubectl = kubectl(cluster, binary, chapter).await?;
        let told = match chapter {
            "access" => access::walk(&kubectl).await,
            "containers" => containers::walk(&kubectl).await,
            "create" => create::walk(&kubectl).await,
            "declare" => declare::walk(&kubectl).await,
            "nodes" => nodes::walk(&kubectl).await,
            "read" => read::walk(&kubectl).await,
            "workloads" => workloads::walk(&kubectl).await,
            other => bail!("no chapter {other}"),
        };
        // Whatever became of it: what it leaves would be in the way of draining nodes.
        let deleted = kubectl.text("delete namespace @ns --timeout=120s").await;
        told.and(deleted.map(drop))
    };
    tale.await
        .with_context(|| format!("{chapter} with {}", binary.display()))
}

/// A kubectl that speaks to the cluster in a namespace made for it. Its kubeconfig is a copy, so that it may be changed.
async fn kubectl(cluster: &Cluster, binary: &Path, chapter: &str) -> Result<Script> {
    let namespace = format!("{chapter}-{}", unique());
    let kubeconfig = own_kubeconfig(cluster, &namespace)?;
    let program = Program::new(binary)
        .with("HOME", kubeconfig.parent().context("a file is in a folder")?)
        .with("KUBECONFIG", &kubeconfig);
    let script = Script::new(program, &namespace)?;
    let editor = script.folder().join("editor").display().to_string();
    let script = script.with("KUBE_EDITOR", &editor);
    script.text("create namespace @ns").await?;
    script
        .text("config set-context --current --namespace=@ns")
        .await?;
    Ok(script)
}

fn own_kubeconfig(cluster: &Cluster, namespace: &str) -> Result<PathBuf> {
    let own = cluster.kubeconfig().with_file_name(namespace).join("config");
    std::fs::create_dir_all(own.parent().context("a file is in a folder")?)?;
    std::fs::copy(cluster.kubeconfig(), &own).context("a copy of the kubeconfig")?;
    Ok(own)
}
