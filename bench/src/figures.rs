//! What is measured of the control plane alone, as a part of the page of figures.

use crate::{cached, creates, facts, server, store};
use anyhow::Context;

#[derive(clap::Args, Clone)]
pub(crate) struct Args {
    #[command(flatten)]
    server: server::Args,
}

/// Measures, and answers with the section.
pub(crate) async fn run(args: &Args) -> anyhow::Result<String> {
    let dir = &args.server.program.dir;
    let runs = args.server.runs;
    let server = server::run(&args.server).await;
    let server = server.context("measure the control plane")?;
    let creates = creates::run(&creates::Args::of_our_own(args.server.program.clone(), runs)).await;
    let creates = creates.context("measure creates")?;
    let cached = cached::run(&args.server.program, runs).await;
    let cached = cached.context("measure what cached pods take")?;
    let store = store::run(&store::Args::in_dir(dir.clone(), runs)).await;
    let store = store.context("measure the store")?;
    let machine = facts::describe(dir)?;
    Ok(format!(
        "## Coracle alone\n\n{machine}\n{server}\n{creates}\n{cached}\n{store}"
    ))
}
