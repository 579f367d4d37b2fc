//! All measurements, as one section of the page of figures.

use crate::{creates, facts, memory, pod, server, store};
use anyhow::Context;
use std::path::PathBuf;

/// What stands above the figures.
const INTRODUCTION: &str = "\
Measured by `coracle-bench figures` in the release profile; `coracle-bench --help` tells how to repeat one of them, also
against another cluster. For comparison, kube-apiserver 1.36 with etcd on two cores of this kind takes 2.6 to 5 s until it
is ready and 310 MB, and creates 770 pods a second with 32 clients at 2.3 ms of CPU time each.
";

#[derive(clap::Args, Clone)]
pub(crate) struct Args {
    /// A cluster with a node, for what needs one
    #[arg(long)]
    node_kubeconfig: Option<PathBuf>,
    #[command(flatten)]
    server: server::Args,
}

/// Measures, and answers with the section.
pub(crate) async fn run(args: &Args) -> anyhow::Result<String> {
    let dir = &args.server.program.dir;
    let mut page = format!("{INTRODUCTION}\n{}\n", facts::describe(dir)?);
    let mut add = |table: crate::report::Table| page.push_str(&format!("{table}\n"));
    add(server::run(&args.server)
        .await
        .context("measure the control plane")?);
    let creates = creates::Args::of_our_own(args.server.program.clone(), args.server.runs);
    add(creates::run(&creates).await.context("measure creates")?);
    let store = store::Args::in_dir(dir.clone(), args.server.runs);
    add(store::run(&store).await.context("measure the store")?);
    if let Some(kubeconfig) = &args.node_kubeconfig {
        add(pod::run(&pod::Args::on(kubeconfig.clone(), args.server.runs))
            .await
            .context("measure a pod")?);
        add(memory::run(&memory::Args::default()).context("measure the memory of the cluster")?);
    }
    Ok(page)
}
