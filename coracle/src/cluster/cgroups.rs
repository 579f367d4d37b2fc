//! The cgroups of a cluster's nodes: `coracle/<cluster>/<node>` below each hierarchy of version 1, or below the one of
//! version 2.
//!
//! A node has `system` for its own processes; its node agent makes `kubepods` beside it.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};

use super::process::wait_until;
use super::state::ClusterName;

const MOUNT: &str = "/sys/fs/cgroup";
/// What a node's own processes run in.
const SYSTEM: &str = "system";

/// The path of a node's cgroup as node agent and runtime name it: from the root of the hierarchy, with a slash before it.
pub(crate) fn path(cluster: &ClusterName, node: &str) -> String {
    format!("/coracle/{cluster}/{node}")
}

/// The hierarchies in use: the one of version 2, or each controller's of version 1.
fn hierarchies() -> Vec<PathBuf> {
    let mount = Path::new(MOUNT);
    if mount.join("cgroup.controllers").exists() {
        return vec![mount.to_owned()];
    }
    let entries = fs::read_dir(mount).into_iter().flatten().flatten();
    // Controllers mounted together (cpu,cpuacct) have links for each name; the links lead to the same place.
    let mut found: Vec<PathBuf> = entries
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .map(|entry| entry.path())
        .filter(|path| path.join("cgroup.procs").exists())
        .collect();
    found.sort();
    found
}

/// Makes a node's cgroups and moves a process into its `system` part.
///
/// # Errors
/// When a hierarchy cannot be written.
pub(crate) fn make(cluster: &ClusterName, node: &str, pid: i32) -> Result<()> {
    for hierarchy in hierarchies() {
        let mut here = hierarchy.clone();
        for part in path(cluster, node)
            .split('/')
            .filter(|part| !part.is_empty())
            .chain([SYSTEM])
        {
            enable_controllers(&here);
            here.push(part);
            make_one(&here).with_context(|| format!("cannot make the cgroup {}", here.display()))?;
        }
        fs::write(here.join("cgroup.procs"), pid.to_string())
            .with_context(|| format!("cannot enter the cgroup {}", here.display()))?;
    }
    Ok(())
}

/// In version 2 a controller serves a cgroup only once its parent hands it on. One that cannot be handed on is left out.
fn enable_controllers(parent: &Path) {
    let Ok(controllers) = fs::read_to_string(parent.join("cgroup.controllers")) else {
        return;
    };
    for controller in controllers.split_whitespace() {
        let _ = fs::write(parent.join("cgroup.subtree_control"), format!("+{controller}"));
    }
}

/// Makes one cgroup. A cpuset of version 1 starts empty and takes no process until it is filled.
fn make_one(cgroup: &Path) -> io::Result<()> {
    match fs::create_dir(cgroup) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        other => other?,
    }
    for file in ["cpuset.cpus", "cpuset.mems"] {
        let own = cgroup.join(file);
        if cgroup.join("cgroup.controllers").exists()
            || !own.exists()
            || !fs::read_to_string(&own)?.trim().is_empty()
        {
            continue;
        }
        let parent = cgroup.parent().expect("a cgroup lies below a hierarchy");
        fs::write(&own, fs::read_to_string(parent.join(file))?.trim())?;
    }
    Ok(())
}

/// Removes a cluster's cgroups, deepest first. Their processes must be gone or going.
///
/// # Errors
/// When one is still in use after some seconds.
pub(crate) fn remove(cluster: &ClusterName) -> Result<()> {
    for hierarchy in hierarchies() {
        let top = hierarchy.join("coracle");
        let root = top.join(cluster.to_string());
        let gone = wait_until(Duration::from_secs(10), || remove_tree(&root).is_ok());
        anyhow::ensure!(gone, "the cgroup {} is still in use", root.display());
        // Shared by all clusters: goes with the last.
        let _ = fs::remove_dir(top);
    }
    Ok(())
}

fn remove_tree(cgroup: &Path) -> io::Result<()> {
    let entries = match fs::read_dir(cgroup) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    for entry in entries {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            remove_tree(&entry.path())?;
        }
    }
    fs::remove_dir(cgroup)
}
