//! All measurements of Coracle alone, as one section of the page of figures.

use crate::{creates, facts, memory, pod, server, store};
use anyhow::Context;
use std::path::PathBuf;

#[derive(clap::Args, Clone)]
pub(crate) struct Args {
    /// A cluster with a node, for what needs one
    #[arg(long, requires = "pid")]
    node_kubeconfig: Option<PathBuf>,
    /// The processes of that cluster: the control plane, and the first of each node
    #[arg(long, value_delimiter = ',')]
    pid: Vec<u32>,
    #[command(flatten)]
    server: server::Args,
}

/// Measures, and answers with the section.
pub(crate) async fn run(args: &Args) -> anyhow::Result<String> {
    let dir = &args.server.program.dir;
    let runs = args.server.runs;
    let mut section = format!("## Coracle alone\n\n{}\n", facts::describe(dir)?);
    let mut add = |table: crate::report::Table| section.push_str(&format!("{table}\n"));
    add(server::run(&args.server)
        .await
        .context("measure the control plane")?);
    if let Some(kubeconfig) = &args.node_kubeconfig {
        let memory = memory::run(&memory::Args::of(args.pid.clone()));
        add(memory.context("measure the memory of the cluster")?);
        let pod = pod::run(&pod::Args::on(kubeconfig.clone(), runs)).await;
        add(pod.context("measure a pod")?);
    }
    let creates = creates::run(&creates::Args::of_our_own(args.server.program.clone(), runs)).await;
    add(creates.context("measure creates")?);
    let store = store::run(&store::Args::in_dir(dir.clone(), runs)).await;
    add(store.context("measure the store")?);
    Ok(section)
}
