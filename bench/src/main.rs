//! Benchmarks of Coracle: what it costs, in seconds, bytes and CPU time.

mod facts;
mod report;
mod stats;
mod store;

use anyhow::Context;
use clap::{Parser, Subcommand};
use std::io::Write;

#[derive(Parser)]
#[command(about, version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Synced writes per second of the embedded store alone
    Store(store::Args),
}

fn main() -> anyhow::Result<()> {
    let cli = Cli::parse();
    let runtime = tokio::runtime::Runtime::new().context("start the runtime")?;
    let table = runtime.block_on(async {
        match cli.command {
            Command::Store(args) => store::run(&args).await,
        }
    })?;
    let mut out = std::io::stdout().lock();
    writeln!(out, "{}\n{table}", facts::describe(std::path::Path::new("."))?).context("print the result")
}
