//! Coracle: Kubernetes in one binary.
//!
//! `cli` is the command line as data; `commands` look after local clusters (`cluster` holds what such a cluster is made of);
//! `parts` run one or several components in the foreground. Nothing here decides what Kubernetes does.

use std::process::ExitCode;

mod cli;
mod cluster;
mod commands;
mod credentials;
mod parts;
mod progress;

use cli::{Cli, Command, SandboxStep};

/// A server allocates small things on every thread. glibc's allocator takes half as much CPU time again for a write, and
/// keeps more memory after a load. How soon memory goes back to the system is said in `.cargo/config.toml`.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    let cli = Cli::read();
    // One provider for every TLS connection of the process; only a second installation could fail.
    let _ = rustls::crypto::ring::default_provider().install_default();
    match run(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // An error's sources belong to the sentence; a broken pipe leaves nobody to read it.
            use std::io::Write;
            let _ = writeln!(std::io::stderr(), "coracle: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(cli: Cli) -> anyhow::Result<()> {
    match cli.command {
        Command::Up(up) => waiting(commands::up::run(&up.into())),
        Command::Down { cluster, keep_data } => commands::down::run(&cluster.name, keep_data),
        Command::Status { cluster, output } => commands::inspect::status(&cluster.name, output),
        Command::List { output } => commands::inspect::list(output),
        Command::Logs { cluster, part, tail } => {
            commands::inspect::logs(&cluster.name, part.as_deref(), tail)
        }
        Command::Kubeconfig { cluster } => commands::inspect::kubeconfig(&cluster.name),
        Command::Load { cluster, archives } => commands::inspect::load(&cluster.name, &archives),
        Command::Completion { shell } => cli::complete(shell),
        Command::Server(flags) => parts::serve(parts::server::run(flags)),
        Command::Apiserver(flags) => parts::serve(parts::server::run_apiserver(flags)),
        Command::ControllerManager(flags) => parts::serve(parts::clients::run_controllers(flags)),
        Command::Scheduler(flags) => parts::serve(parts::clients::run_scheduler(flags)),
        Command::Node(flags) => parts::serve(parts::node::run(flags)),
        Command::Proxy(flags) => parts::serve(parts::clients::run_proxy(flags)),
        Command::Dns(flags) => parts::serve(parts::clients::run_dns(flags)),
        Command::Sandbox { step } => sandbox(&step),
    }
}

/// Runs a command that waits for the API, on this one thread.
fn waiting(command: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<()> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?
        .block_on(command)
}

fn sandbox(step: &SandboxStep) -> anyhow::Result<()> {
    parts::log_to_stderr();
    match step {
        SandboxStep::Enter { folder } => cluster::sandbox::enter(folder, std::io::stdout()),
        SandboxStep::Run { folder } => cluster::sandbox::first_process(folder),
    }
}
