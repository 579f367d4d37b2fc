//! The verbs that only look, or hand something to a running cluster: `status`, `list`, `logs`, `kubeconfig`, `load`.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Seek};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde::Serialize;

use super::{existing, print};
use crate::cluster::nodes::on_each;
use crate::cluster::state::{ClusterName, Node, Paths, State, all, require_root};
use crate::cluster::{containerd, images, network};
use crate::progress::Progress;

/// How a result is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Output {
    /// For people.
    Text,
    /// For programs.
    Json,
}

/// What `status -o json` prints.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Status {
    name: String,
    server: String,
    running: bool,
    data_dir: PathBuf,
    kubeconfig: PathBuf,
    /// The bridge between this machine and the nodes.
    bridge: String,
    /// The network of the cluster's pods.
    pod_network: String,
    control_plane: Part,
    nodes: Vec<Part>,
}

/// A process of the cluster.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Part {
    name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    address: Option<String>,
    running: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pid: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    resident_bytes: Option<u64>,
}

impl Part {
    fn new(name: &str, address: Option<String>, process: Option<crate::cluster::process::ProcessId>) -> Self {
        let alive = process.filter(|process| process.is_alive());
        Self {
            name: name.to_owned(),
            address,
            running: alive.is_some(),
            pid: alive.map(|process| process.pid),
            resident_bytes: alive.and_then(crate::cluster::process::ProcessId::resident_bytes),
        }
    }
}

impl Status {
    fn of(state: &State) -> Self {
        let control_plane = Part::new("control-plane", None, state.server);
        let nodes: Vec<Part> = state
            .nodes
            .iter()
            .map(|node| Part::new(&node.name, Some(node.address.to_string()), node.sandbox))
            .collect();
        Self {
            name: state.name.to_string(),
            server: format!("https://127.0.0.1:{}", state.api_port),
            running: control_plane.running && nodes.iter().all(|node| node.running),
            data_dir: state.data_dir.clone(),
            kubeconfig: state.data_dir.join(crate::parts::ADMIN_KUBECONFIG),
            bridge: network::bridge(&state.name),
            pod_network: network::pod_cidr(state),
            control_plane,
            nodes,
        }
    }

    fn text(&self) -> String {
        let mut text = format!("{}  {}\n", self.name, self.server);
        for part in std::iter::once(&self.control_plane).chain(&self.nodes) {
            let memory = part
                .resident_bytes
                .map_or_else(String::new, |bytes| format!("  {} MiB", bytes >> 20));
            let process = part
                .pid
                .map_or_else(String::new, |pid| format!("  process {pid}"));
            let address = part
                .address
                .as_deref()
                .map_or_else(String::new, |address| format!("  {address}"));
            let state = if part.running { "running" } else { "stopped" };
            text.push_str(&format!("  {:<24}{state}{address}{process}{memory}\n", part.name));
        }
        text
    }
}

/// Says what of a cluster runs; fails when something does not.
///
/// # Errors
/// When there is no such cluster, or a part of it is stopped.
pub(crate) fn status(name: &ClusterName, output: Output) -> Result<()> {
    let (_, state) = existing(name)?;
    let status = Status::of(&state);
    match output {
        Output::Text => print(&status.text())?,
        Output::Json => print(&format!("{}\n", serde_json::to_string_pretty(&status)?))?,
    }
    if !status.running {
        bail!("a part of cluster {name} is stopped: start it again with `coracle up --name {name}`");
    }
    Ok(())
}

/// Names every cluster of this user.
///
/// # Errors
/// When the state folder cannot be read.
pub(crate) fn list(output: Output) -> Result<()> {
    let names: Vec<String> = all()?.iter().map(ToString::to_string).collect();
    match output {
        Output::Text => print(&names.iter().map(|name| format!("{name}\n")).collect::<String>()),
        Output::Json => print(&format!("{}\n", serde_json::to_string(&names)?)),
    }
}

/// Prints the last `lines` of a part's log.
///
/// # Errors
/// When there is no such cluster or part.
pub(crate) fn logs(name: &ClusterName, part: Option<&str>, lines: usize) -> Result<()> {
    let (paths, state) = existing(name)?;
    let file = match part {
        None | Some("control-plane") => paths.server_log(),
        Some(part) => log_of_node(&paths, &state, part)?,
    };
    let lines = tail(&file, lines).with_context(|| format!("cannot read {}", file.display()))?;
    print(&lines.iter().map(|line| format!("{line}\n")).collect::<String>())
}

fn log_of_node(paths: &Paths, state: &State, part: &str) -> Result<PathBuf> {
    let (node, log) = part.split_once('/').unwrap_or((part, "node"));
    if !state.nodes.iter().any(|known| known.name == node) || !["node", "containerd"].contains(&log) {
        let nodes: Vec<&str> = state.nodes.iter().map(|node| node.name.as_str()).collect();
        bail!(
            "no part {part}: choose control-plane, or one of {} (with /containerd for its runtime)",
            nodes.join(", ")
        );
    }
    Ok(paths.node(node).join(format!("{log}.log")))
}

/// The last lines of a file, reading no more than its last megabyte.
///
/// # Errors
/// When the file cannot be read.
pub(crate) fn tail(file: &Path, lines: usize) -> io::Result<Vec<String>> {
    const MOST: u64 = 1 << 20;
    let mut file = File::open(file)?;
    let size = file.metadata()?.len();
    file.seek(io::SeekFrom::Start(size.saturating_sub(MOST)))?;
    let mut kept = std::collections::VecDeque::new();
    for line in BufReader::new(file).split(b'\n') {
        kept.push_back(String::from_utf8_lossy(&line?).into_owned());
        if kept.len() > lines {
            kept.pop_front();
        }
    }
    Ok(kept.into())
}

/// Prints the cluster's own kubeconfig.
///
/// # Errors
/// When there is no such cluster.
pub(crate) fn kubeconfig(name: &ClusterName) -> Result<()> {
    let (_, state) = existing(name)?;
    let file = state.data_dir.join(crate::parts::ADMIN_KUBECONFIG);
    print(&std::fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?)
}

/// Imports image archives into every node.
///
/// # Errors
/// When an archive cannot be read, a node does not run, or its containerd refuses.
pub(crate) fn load(name: &ClusterName, archives: &[PathBuf]) -> Result<()> {
    require_root("load")?;
    let (_, state) = existing(name)?;
    let progress = Progress::begin();
    for archive in archives {
        on_each(&state.nodes, |_, node| {
            progress.step(
                &format!("{} loaded into {}", archive.display(), node.name),
                || load_into(name, node, archive),
            )
        })?;
    }
    Ok(())
}

fn load_into(cluster: &ClusterName, node: &Node, archive: &Path) -> Result<()> {
    let file = File::open(archive).with_context(|| format!("cannot read {}", archive.display()))?;
    let first = node.sandbox.filter(|first| first.is_alive());
    let first =
        first.with_context(|| format!("it is stopped: start it with `coracle up --name {cluster}`"))?;
    images::load(&containerd::socket_from_outside(first.pid), file)
        .with_context(|| format!("cannot load {}", archive.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tail_is_the_last_lines() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "one\ntwo\nthree\n").unwrap();
        assert_eq!(tail(file.path(), 2).unwrap(), ["two", "three"]);
        assert_eq!(tail(file.path(), 9).unwrap(), ["one", "two", "three"]);
    }
}
