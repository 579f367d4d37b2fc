//! A network namespace of its own for whatever writes rules into the kernel: the machine's tables are never touched, and each
//! measurement finds empty ones. It is gone, with its rules, when what runs in it has ended.
//!
//! A namespace belongs to a thread, and to the threads and processes that this one starts. So the work runs on a thread of
//! its own, in a runtime that has no other.

use anyhow::{Context, ensure};
use nix::sched::{CloneFlags, unshare};
use std::net::Ipv4Addr;
use std::process::Command;

/// The address of the namespace as a node.
pub(crate) const NODE_IP: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);

/// What makes loopback all the network that a node needs: its own address, a way for packets to Services until they are
/// sent elsewhere, and pods that are all here.
fn links(pods: &str, services: &str) -> [String; 4] {
    [
        "link set lo up".to_owned(),
        format!("address add {NODE_IP}/32 dev lo"),
        format!("route add local {pods} dev lo"),
        format!("route add {services} dev lo src {NODE_IP}"),
    ]
}

/// Does some work in a namespace that looks like a node with these pods and Services. Root's to ask for.
pub(crate) async fn within<T, F>(
    pods: &'static str,
    services: &'static str,
    work: impl FnOnce() -> F + Send + 'static,
) -> anyhow::Result<T>
where
    T: Send + 'static,
    F: Future<Output = anyhow::Result<T>>,
{
    let (sender, done) = tokio::sync::oneshot::channel();
    let thread = std::thread::Builder::new().name("namespace".to_owned());
    thread
        .spawn(move || {
            let result = enter(pods, services).and_then(|()| run(work()));
            // Whoever waited may have given up.
            let _ = sender.send(result);
        })
        .context("start a thread")?;
    done.await.context("the thread in the namespace has panicked")?
}

fn enter(pods: &str, services: &str) -> anyhow::Result<()> {
    unshare(CloneFlags::CLONE_NEWNET).context("the kernel refuses a network namespace")?;
    links(pods, services).iter().try_for_each(|arguments| {
        let output = Command::new("ip").args(arguments.split(' ')).output();
        let output = output.context("run ip")?;
        let message = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "ip {arguments}: {}", message.trim());
        Ok(())
    })
}

fn run<T>(work: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("start the runtime")?
        .block_on(work)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_is_on_loopback() {
        assert_eq!(
            links("10.128.0.0/9", "10.96.0.0/12"),
            [
                "link set lo up",
                "address add 192.0.2.1/32 dev lo",
                "route add local 10.128.0.0/9 dev lo",
                "route add 10.96.0.0/12 dev lo src 192.0.2.1",
            ]
        );
    }
}
