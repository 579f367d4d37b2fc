//! `coracle down`: takes away everything that `up` made.
//!
//! Goes by names and by the state file, in the opposite order of `up`; every step holds when its thing is gone already, so
//! that a second `down` ends what a first could not.

use std::fs;
use std::io;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};

use super::context_name;
use crate::cluster::nodes::on_each;
use crate::cluster::state::{ClusterName, Paths, Shared, State, require_root};
use crate::cluster::{cgroups, kubeconfig, network};
use crate::progress::Progress;

/// How long the control plane may take to end by itself.
const GRACE: Duration = Duration::from_secs(10);

/// Stops the named cluster and removes it; `keep_data` leaves the control plane's data for a later `up`.
///
/// # Errors
/// The first thing that cannot be taken away.
pub(crate) fn run(name: &ClusterName, keep_data: bool) -> Result<()> {
    require_root("down")?;
    let progress = Progress::begin();
    let paths = Paths::of(name);
    // A damaged state file must not make a cluster immortal: what goes by name still goes.
    let state = paths.read().unwrap_or_else(|error| {
        progress.say(&format!("{error:#}"));
        None
    });
    if state.is_none() && !paths.root().exists() {
        progress.say(&format!("There is no cluster {name}."));
        return Ok(());
    }
    if let Some(state) = &state {
        progress.step("Nodes stopped", || stop_nodes(state))?;
        progress.step("Control plane stopped", || {
            state.server.map_or(Ok(()), |server| server.end(GRACE))
        })?;
    }
    let shared = Shared::hold()?;
    progress.step("Network, rules and cgroups removed", || {
        remove_network(name, state.as_ref())?;
        restore_forwarding(name, &shared)?;
        cgroups::remove(name)
    })?;
    progress.step("Files and kubeconfig context removed", || {
        kubeconfig::remove(&kubeconfig::default_path(), &context_name(name))?;
        remove_files(&paths, state.as_ref(), keep_data)
    })?;
    drop(shared);
    progress.say(&format!("Cluster {name} is gone ({:.1} s).", progress.seconds()));
    Ok(())
}

/// Kills each node's first process; the kernel takes the rest of its namespaces.
fn stop_nodes(state: &State) -> Result<()> {
    on_each(&state.nodes, |_, node| {
        node.sandbox.map_or(Ok(()), |first| first.end(Duration::ZERO))
    })
    .map(drop)
}

fn remove_network(name: &ClusterName, state: Option<&State>) -> Result<()> {
    if let Some(state) = state {
        for rule in network::host_rules(state) {
            while network::iptables("-C", &rule)? && network::iptables("-D", &rule)? {}
        }
    }
    if network::bridge_exists(name) {
        network::ip(&format!("link delete {}\n", network::bridge(name)))?;
    }
    Ok(())
}

/// Forwarding is off again once the last cluster goes, if a cluster switched it on.
fn restore_forwarding(name: &ClusterName, shared: &Shared) -> Result<()> {
    let note = shared.forwarding_was_off();
    let needed = shared
        .others(name)?
        .iter()
        .any(|other| network::bridge_exists(&other.name));
    if note.exists() && !needed {
        network::set_forwarding(false)?;
        fs::remove_file(&note).with_context(|| format!("cannot remove {}", note.display()))?;
    }
    Ok(())
}

fn remove_files(paths: &Paths, state: Option<&State>, keep_data: bool) -> Result<()> {
    remove_folder(&paths.root().join("nodes"))?;
    if keep_data {
        if let Some(state) = state {
            let mut stopped = State {
                server: None,
                ..state.clone()
            };
            for node in &mut stopped.nodes {
                node.sandbox = None;
            }
            paths.write(&stopped)?;
        }
        return Ok(());
    }
    if let Some(state) = state {
        remove_folder(&state.data_dir)?;
    }
    remove_folder(paths.root())
}

fn remove_folder(folder: &Path) -> Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", folder.display()))
        }
        _ => Ok(()),
    }
}
