//! A DNS server of either side: Coracle's, or CoreDNS with what kubeadm configures of its `kubernetes` plugin and its cache,
//! and neither metrics nor health checks.

use super::{Program, Target, terminate};
use anyhow::Context;
use std::fs::{self, File};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use tokio::process::{Child, Command};

/// Loopback addresses that nothing else listens on; the port of DNS is root's to take.
const OURS: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 53, 0, 1));
const THEIRS: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 53, 0, 2));
const PORT: u16 = 53;

/// A server that runs until it is stopped or dropped.
pub(crate) struct DnsServer {
    child: Child,
    /// Where it answers.
    pub(crate) address: SocketAddr,
    target: Target,
}

impl DnsServer {
    /// Coracle's.
    pub(crate) async fn ours(
        program: &Program,
        kubeconfig: &Path,
        folder: &Path,
    ) -> anyhow::Result<DnsServer> {
        let mut command = Command::new(program.path()?);
        command
            .args([
                "dns",
                "--hostname-override",
                "bench",
                "--node-ip",
                &OURS.to_string(),
                "--kubeconfig",
            ])
            .arg(kubeconfig);
        DnsServer::start(command, OURS, kubeconfig, folder).await
    }

    /// CoreDNS.
    pub(crate) async fn theirs(
        programs: &Path,
        kubeconfig: &Path,
        folder: &Path,
    ) -> anyhow::Result<DnsServer> {
        let config = format!(
            ".:{PORT} {{\n bind {THEIRS}\n errors\n kubernetes cluster.local in-addr.arpa ip6.arpa {{\n  kubeconfig {}\n  \
             pods insecure\n  ttl 30\n }}\n cache 30\n loadbalance\n}}\n",
            kubeconfig.display()
        );
        let file = folder.join("Corefile");
        fs::write(&file, config).context("configure CoreDNS")?;
        let mut command = Command::new(programs.join("coredns"));
        command.arg("-conf").arg(file);
        DnsServer::start(command, THEIRS, kubeconfig, folder).await
    }

    async fn start(
        mut command: Command,
        address: IpAddr,
        kubeconfig: &Path,
        folder: &Path,
    ) -> anyhow::Result<DnsServer> {
        let output = File::create(folder.join("dns.log")).context("make a file for the server's output")?;
        command
            .stdout(output.try_clone().context("share the output file")?)
            .stderr(output)
            .kill_on_drop(true);
        let child = command.spawn().context("start a DNS server")?;
        let pid = child.id().context("the DNS server has ended")?;
        let target = Target::of(kubeconfig, vec![pid]).await?;
        Ok(DnsServer {
            child,
            address: SocketAddr::new(address, PORT),
            target,
        })
    }

    /// For loads; the client is the API server's that it reads from.
    pub(crate) fn target(&self) -> &Target {
        &self.target
    }

    /// Stops it as an init system would.
    pub(crate) async fn stop(mut self) -> anyhow::Result<()> {
        terminate("the DNS server", &mut self.child).await
    }
}
