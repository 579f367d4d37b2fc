//! A service proxy of either side: Coracle's, or kube-proxy in iptables mode with what kubeadm configures. To be started in a
//! network namespace of its own, where it writes its rules.
//!
//! Where the two could differ to the peer's harm, it is given the better of it: no client-side rate limit and no shortest
//! time between two restores, which is a second by default. It leaves the machine's conntrack limits alone.

use super::{CLUSTER_CIDR, Program, RATE, Target, end};
use crate::namespace::NODE_IP;
use anyhow::{Context, anyhow};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use tokio::process::{Child, Command};
use tokio::time::Instant;

/// The node that it proxies for.
pub(crate) const NODE: &str = "bench-proxied";

/// How much of what a proxy has written tells why it failed.
const LAST_LINES: usize = 5;

/// A proxy that runs until it is stopped or dropped.
pub(crate) struct ServiceProxy {
    child: Child,
    log: PathBuf,
    /// When it was started.
    pub(crate) started: Instant,
    target: Target,
}

impl ServiceProxy {
    /// Coracle's.
    pub(crate) async fn ours(
        program: &Program,
        kubeconfig: &Path,
        folder: &Path,
    ) -> anyhow::Result<ServiceProxy> {
        let flags = [("node-ip", NODE_IP.to_string())];
        let mut command = Command::new(program.path()?);
        command.arg("proxy").args(written(&flags));
        ServiceProxy::start(command, kubeconfig, folder).await
    }

    /// kube-proxy.
    pub(crate) async fn theirs(
        programs: &Path,
        kubeconfig: &Path,
        folder: &Path,
    ) -> anyhow::Result<ServiceProxy> {
        let flags = [
            ("proxy-mode", "iptables".to_owned()),
            ("iptables-min-sync-period", "0s".to_owned()),
            ("kube-api-qps", RATE.to_owned()),
            ("kube-api-burst", RATE.to_owned()),
            ("conntrack-max-per-core", "0".to_owned()),
            ("conntrack-min", "0".to_owned()),
            ("conntrack-tcp-timeout-established", "0s".to_owned()),
            ("conntrack-tcp-timeout-close-wait", "0s".to_owned()),
        ];
        let mut command = Command::new(programs.join("kube-proxy"));
        command.args(written(&flags));
        ServiceProxy::start(command, kubeconfig, folder).await
    }

    async fn start(mut command: Command, kubeconfig: &Path, folder: &Path) -> anyhow::Result<ServiceProxy> {
        let log = folder.join("proxy.log");
        let output = File::create(&log).context("make a file for the proxy's output")?;
        let same = [
            ("hostname-override", NODE.to_owned()),
            ("cluster-cidr", CLUSTER_CIDR.to_owned()),
            ("kubeconfig", kubeconfig.to_string_lossy().into_owned()),
        ];
        command
            .args(written(&same))
            .stdout(output.try_clone().context("share the output file")?)
            .stderr(output)
            .kill_on_drop(true);
        let mut target = Target::of(kubeconfig, Vec::new()).await?;
        let started = Instant::now();
        let child = command.spawn().context("start a proxy")?;
        target.pids.push(child.id().context("the proxy has ended")?);
        Ok(ServiceProxy {
            child,
            log,
            started,
            target,
        })
    }

    /// For loads; the client is the API server's that it reads from.
    pub(crate) fn target(&self) -> Target {
        self.target.clone()
    }

    /// Has some work done for as long as the proxy runs. Why the work failed, the proxy may know.
    pub(crate) async fn during<T>(
        &mut self,
        work: impl Future<Output = anyhow::Result<T>>,
    ) -> anyhow::Result<T> {
        let result = tokio::select! {
            result = work => result,
            status = self.child.wait() => match status {
                Ok(status) => Err(anyhow!("the proxy ended with {status}")),
                Err(error) => Err(error).context("wait for the proxy"),
            },
        };
        result.with_context(|| {
            let written = fs::read_to_string(&self.log).unwrap_or_default();
            format!("the proxy wrote:\n{}", last_lines(&written, LAST_LINES))
        })
    }

    /// Stops it as an init system would.
    pub(crate) async fn stop(mut self) -> anyhow::Result<()> {
        end("the proxy", &mut self.child).await
    }
}

fn written(flags: &[(&str, String)]) -> Vec<String> {
    let flags = flags.iter();
    flags.map(|(flag, value)| format!("--{flag}={value}")).collect()
}

fn last_lines(text: &str, amount: usize) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(amount)..].join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_tells_why() {
        assert_eq!(last_lines("a\nb\nc\n", 2), "b\nc");
        assert_eq!(last_lines("a\n", 2), "a");
        assert_eq!(last_lines("", 2), "");
    }

    #[test]
    fn flags_have_their_values_with_them() {
        assert_eq!(written(&[("a-b", "c".to_owned())]), ["--a-b=c"]);
    }
}
