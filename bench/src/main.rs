//! Benchmarks of Coracle: what it costs, in seconds, bytes and CPU time.
//!
//! `coracle-bench figures` measures Coracle alone, `coracle-bench compare` side by side with kube-apiserver, etcd,
//! kube-controller-manager, kube-scheduler, CoreDNS and kube-proxy; `make bench` puts what both print into `docs/figures.md`.
//! The other commands measure one thing and print it. Those that talk to a cluster take any kubeconfig.
//!
//! | module | what it does |
//! |---|---|
//! | `store`, `server`, `creates`, `cached`, `pod`, `memory` | one measurement each: its options, its run, its table |
//! | `figures` | those that need no node, together |
//! | `load` | the work that both sides are asked for, row by row, and the looking at the answers |
//! | `side` | who is asked: a `coracle server` of our own, its peer, started and stopped |
//! | `compare` | both sides in turn, pair by pair, and what that comes to |
//! | `cluster` | requests to whatever a kubeconfig names |
//! | `namespace` | a network of its own for what writes rules into the kernel |
//! | `process`, `facts` | what the kernel says about processes and the machine |
//! | `stats`, `report` | what many measurements come to, as Markdown (pure) |

mod cached;
mod cluster;
mod compare;
mod creates;
mod facts;
mod figures;
mod load;
mod memory;
mod namespace;
mod pod;
mod process;
mod report;
mod server;
mod side;
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
    /// Synced creates per second of the embedded store alone
    Store(store::Args),
    /// Time from starting `coracle server` until it is ready, and what it takes when idle
    Server(server::Args),
    /// Creates per second through the API, their latency and the server's CPU time for each
    Creates(creates::Args),
    /// Time from `kubectl apply` until the pod is Running
    Pod(pod::Args),
    /// Resident memory of a cluster on this machine
    Memory(memory::Args),
    /// Measure what needs no node, for docs/figures.md
    Figures(figures::Args),
    /// Measure side by side with kube-apiserver, etcd and what else Coracle stands for
    Compare(compare::Args),
}

fn main() -> anyhow::Result<()> {
    let cli = Cli::parse();
    rustls::crypto::ring::default_provider()
        .install_default()
        .ok()
        .context("the TLS provider is set once")?;
    let runtime = tokio::runtime::Runtime::new().context("start the runtime")?;
    let text = runtime.block_on(async {
        Ok::<_, anyhow::Error>(match cli.command {
            Command::Store(args) => store::run(&args).await?.to_string(),
            Command::Server(args) => server::run(&args).await?.to_string(),
            Command::Creates(args) => creates::run(&args).await?.to_string(),
            Command::Pod(args) => pod::run(&args).await?.to_string(),
            Command::Memory(args) => memory::run(&args)?.to_string(),
            Command::Figures(args) => figures::run(&args).await?,
            Command::Compare(args) => compare::run(&args).await?,
        })
    })?;
    writeln!(std::io::stdout().lock(), "{text}").context("print the result")
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_fits_together() {
        Cli::command().debug_assert();
    }
}
