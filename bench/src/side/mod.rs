//! What is measured: a control plane of our own, its peer, or any cluster that a kubeconfig names.

mod control_plane;
mod credentials;
mod dns;
mod peer;
mod proxy;

pub(crate) use control_plane::{ControlPlane, Program};
pub(crate) use credentials::Credentials;
pub(crate) use dns::DnsServer;
pub(crate) use peer::{Peer, PeerPrograms};
pub(crate) use proxy::{NODE, ServiceProxy};

use crate::cluster;
use crate::load::Sample;
use crate::process;
use anyhow::{Context, bail};
use kube::Client;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::net::TcpListener;
use std::path::Path;
use std::time::Duration;
use tokio::process::Child;
use tokio::time::{Instant, timeout};

/// How often readiness is asked for: the error of a measured start.
const POLL: Duration = Duration::from_millis(2);
const START_LIMIT: Duration = Duration::from_secs(120);
const STOP_LIMIT: Duration = Duration::from_secs(60);

/// Room for a network per node, for thousands of nodes.
pub(crate) const CLUSTER_CIDR: &str = "10.128.0.0/9";
/// The addresses of Services, by default of both sides.
pub(crate) const SERVICE_CIDR: &str = "10.96.0.0/12";
/// As good as no limit to requests a second.
const RATE: &str = "100000";
/// Nodes that are objects only have no heartbeat; nobody is to find them silent while it is measured.
const NODE_GRACE_PERIOD: &str = "10h";

/// A running cluster, and the processes that serve it.
#[derive(Clone)]
pub(crate) struct Target {
    pub(crate) client: Client,
    config: kube::Config,
    /// Whose CPU time and memory count; may be none.
    pub(crate) pids: Vec<u32>,
}

impl Target {
    /// What a kubeconfig names, with the processes that serve it.
    pub(crate) async fn of(kubeconfig: &Path, pids: Vec<u32>) -> anyhow::Result<Target> {
        let config = cluster::config(Some(kubeconfig)).await?;
        let client = Client::try_from(config.clone()).context("make a client")?;
        Ok(Target { client, config, pids })
    }

    /// A client with a connection of its own, for HTTP/2.
    pub(crate) fn multiplexing(&self) -> anyhow::Result<Client> {
        cluster::multiplexing(&self.config)
    }

    /// Has some work done, and looks at what it costs the servers. The work answers how long each part of it took.
    pub(crate) async fn observe(
        &self,
        work: impl Future<Output = anyhow::Result<Vec<Duration>>>,
    ) -> anyhow::Result<Sample> {
        process::reset_peaks(&self.pids)?;
        let (started, cpu) = (Instant::now(), process::cpu_time_of(&self.pids)?);
        let mut latencies = work.await?;
        let (took, cpu) = (
            started.elapsed(),
            process::cpu_time_of(&self.pids)?.saturating_sub(cpu),
        );
        if latencies.is_empty() {
            bail!("nothing was done");
        }
        latencies.sort_unstable();
        Ok(Sample {
            cpu,
            took,
            latencies,
            peak: process::peak_of(&self.pids)?,
        })
    }
}

/// A port that nobody listens on now.
fn free_port() -> anyhow::Result<u16> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).context("find a free port")?;
    Ok(listener.local_addr().context("find a free port")?.port())
}

/// Stops a process that may not call a signal a success.
async fn end(name: &str, child: &mut Child) -> anyhow::Result<()> {
    match terminate(name, child).await {
        Err(error) if child.try_wait().context("look after a process")?.is_none() => Err(error),
        _ => Ok(()),
    }
}

/// Stops a process as an init system would.
async fn terminate(name: &str, child: &mut Child) -> anyhow::Result<()> {
    let pid = child.id().with_context(|| format!("{name} has ended"))?;
    let pid = Pid::from_raw(i32::try_from(pid).context("a pid")?);
    kill(pid, Signal::SIGTERM).with_context(|| format!("ask {name} to stop"))?;
    let status = timeout(STOP_LIMIT, child.wait())
        .await
        .with_context(|| format!("{name} does not stop"))?
        .with_context(|| format!("wait for {name}"))?;
    if !status.success() {
        bail!("{name} stopped with {status}");
    }
    Ok(())
}
