//! The nodes of a cluster: how many there are to be, and their start, side by side.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use crate::cluster::nodes::on_each;
use crate::cluster::process::{self, ProcessId};
use crate::cluster::sandbox::{self, Specification};
use crate::cluster::state::{Node, Paths, State};
use crate::cluster::{cgroups, containerd, images, network};
use crate::credentials;
use crate::parts::NodeFiles;
use crate::progress::Progress;

/// How long a node's containerd may take to listen.
const CONTAINERD_STARTS: Duration = Duration::from_secs(30);

/// Writes the nodes that are asked for into the state: those that it has, and new ones after them.
///
/// # Errors
/// When there are more already, or the net has too few addresses.
pub(super) fn set_count(state: &mut State, asked: Option<usize>) -> Result<()> {
    let present = state.nodes.len();
    let wanted = asked.unwrap_or(present.max(1));
    if wanted < present {
        bail!(
            "cluster {name} has {present} nodes, and `up` takes none away: ask for at least as many, or start anew \
             after `coracle down --name {name}`",
            name = state.name
        );
    }
    ensure!(
        (1..=network::MOST_NODES).contains(&wanted),
        "a cluster has from 1 to {} nodes",
        network::MOST_NODES
    );
    let new = (present..wanted).map(|index| Node {
        name: format!("{}-node-{}", state.name, index + 1),
        address: network::node_address(state.subnet, index),
        sandbox: None,
    });
    state.nodes.extend(new.collect::<Vec<_>>());
    Ok(())
}

/// Starts every node that does not run, with its images, and names those that were started.
///
/// # Errors
/// The first fault, once every node has got as far as it can.
pub(super) fn start(state: &mut State, paths: &Paths, progress: &Progress) -> Result<Vec<String>> {
    let archive = images::built_in()?;
    let nodes = state.nodes.clone();
    let state = Mutex::new(state);
    let started = on_each(&nodes, |index, node| {
        if node.sandbox.is_some_and(ProcessId::is_alive) {
            return Ok(None);
        }
        let first = progress.step(&format!("{} started", node.name), || {
            start_one(&state, index, paths)
        })?;
        progress.step(&format!("Images loaded into {}", node.name), || {
            load_images(&node.name, first, &archive)
        })?;
        Ok(Some(node.name.clone()))
    })?;
    Ok(started.into_iter().flatten().collect())
}

fn start_one(shared: &Mutex<&mut State>, index: usize, paths: &Paths) -> Result<ProcessId> {
    let state = shared.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let node = &state.nodes[index];
    let folder = paths.node(&node.name);
    let server = format!("https://{}:{}", network::gateway(state.subnet), state.api_port);
    let files = NodeFiles::below(&folder);
    credentials::write_for_node(&state.data_dir, &node.name, node.address.into(), &server, &files)?;
    let specification = Specification {
        name: node.name.clone(),
        folder: folder.clone(),
        address: node.address,
        agent: node_arguments(&state, node, &folder, &files),
    };
    let waiting = sandbox::make(&specification)?;
    {
        let mut state = shared.lock().unwrap_or_else(PoisonError::into_inner);
        state.nodes[index].sandbox = Some(waiting.first);
        paths.write(&state)?;
    }
    cgroups::make(&state.name, &node.name, waiting.first.pid)?;
    connect(&state, index, waiting.first)?;
    let first = waiting.first;
    waiting.go()?;
    Ok(first)
}

/// The kernel takes an ended node's interfaces away by itself, yet not at once: what is still there goes first.
fn connect(state: &State, index: usize, first: ProcessId) -> Result<()> {
    if network::is_connected(&state.name, index) {
        let deleted = network::ip(&network::disconnect_node(&state.name, index));
        if network::is_connected(&state.name, index) {
            deleted?;
        }
    }
    network::ip(&network::connect_node(&state.name, index, first.pid))
}

/// The flags with which a node's parts run inside its namespaces.
fn node_arguments(state: &State, node: &Node, folder: &Path, files: &NodeFiles) -> Vec<String> {
    let flags: BTreeMap<&str, String> = [
        ("hostname-override", node.name.clone()),
        ("node-ip", node.address.to_string()),
        ("kubeconfig", files.kubelet.display().to_string()),
        ("proxy-kubeconfig", files.proxy.display().to_string()),
        ("dns-kubeconfig", files.dns.display().to_string()),
        ("tls-cert-file", files.serving_certificate.display().to_string()),
        ("tls-private-key-file", files.serving_key.display().to_string()),
        ("client-ca-file", files.client_ca.display().to_string()),
        (
            "root-dir",
            Specification::agent_root(folder).display().to_string(),
        ),
        ("pod-log-dir", folder.join("logs").display().to_string()),
        (
            "cni-conf-dir",
            Specification::network_config(folder).display().to_string(),
        ),
        (
            "container-runtime-endpoint",
            format!("unix://{}", containerd::SOCKET),
        ),
        ("cgroup-root", cgroups::path(&state.name, &node.name)),
        ("cluster-cidr", network::pod_cidr(state)),
    ]
    .into();
    let valued = flags.into_iter().map(|(flag, value)| format!("--{flag}={value}"));
    std::iter::once("node".to_owned())
        .chain(valued)
        .chain(["--pod-routes".to_owned()])
        .collect()
}

/// Imports the images that the binary carries, as soon as the node's containerd listens.
fn load_images(node: &str, first: ProcessId, archive: &[u8]) -> Result<()> {
    let socket = containerd::socket_from_outside(first.pid);
    let listens = process::wait_until(CONTAINERD_STARTS, || {
        std::os::unix::net::UnixStream::connect(&socket).is_ok() || !first.is_alive()
    });
    ensure!(
        listens && first.is_alive(),
        "containerd does not start in {node}: see its containerd.log"
    );
    images::load(&socket, archive).with_context(|| format!("cannot load images into {node}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(nodes: usize) -> State {
        let mut state = State {
            name: "c".parse().unwrap(),
            api_port: 6443,
            data_dir: "/data".into(),
            subnet: [10, 89, 0, 0].into(),
            pod_network: [10, 244, 0, 0].into(),
            server: None,
            nodes: Vec::new(),
        };
        if nodes > 0 {
            set_count(&mut state, Some(nodes)).unwrap();
        }
        state
    }

    #[test]
    fn nodes_are_added_after_those_that_are_there() {
        let names = |present, asked| {
            let mut state = state(present);
            set_count(&mut state, asked).unwrap();
            state
                .nodes
                .iter()
                .map(|node| format!("{} {}", node.name, node.address))
                .collect::<Vec<_>>()
        };
        let (one, two) = ("c-node-1 10.89.0.10", "c-node-2 10.89.0.11");
        assert_eq!(names(0, None), [one], "one unless said");
        assert_eq!(names(0, Some(2)), [one, two]);
        assert_eq!(names(1, Some(2)), [one, two]);
        assert_eq!(names(2, None), [one, two], "as many as there are unless said");
    }

    #[test]
    fn fewer_nodes_or_too_many_are_refused() {
        let refusal = |present, asked| {
            let mut state = state(present);
            let error = set_count(&mut state, Some(asked)).unwrap_err().to_string();
            assert_eq!(state.nodes.len(), present, "nothing has changed");
            error
        };
        assert!(refusal(3, 2).contains("has 3 nodes"));
        assert!(refusal(0, 0).contains("from 1 to 245"));
        assert!(refusal(0, 246).contains("from 1 to 245"));
    }
}
