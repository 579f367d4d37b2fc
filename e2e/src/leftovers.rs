//! What a cluster leaves behind, which is to be nothing.
//!
//! Other clusters come and go on the same machine, of tests beside this one too: what bears another cluster's name is theirs.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::cluster::{Cluster, tag};
use crate::machine::{Belongings, Process};
use crate::wait::await_condition;

/// Checks that a cluster that was taken down has left the machine as it was `before`. The kernel takes some things away a
/// moment after the processes that held them.
///
/// # Errors
/// When something is left: with what.
pub async fn nothing_is_left(cluster: &Cluster, before: &Belongings) -> Result<()> {
    let clean = async || {
        let processes = Process::all()?;
        let processes: Vec<_> = processes
            .iter()
            .filter(|process| process.belongs_to(cluster.name()))
            .collect();
        ensure!(processes.is_empty(), "processes: {processes:?}");
        let mut others = others(cluster).await?;
        let left = Belongings::look().await?.beyond(before);
        others.extend(self::others(cluster).await?);
        let left: Vec<_> = left
            .into_iter()
            .filter(|thing| is_of(thing, cluster.name()) || !is_of_any(thing, &others))
            .collect();
        ensure!(left.is_empty(), "{left:#?}");
        Ok(Some(()))
    };
    await_condition("the machine as it was", Duration::from_secs(20), clean).await?;
    let kubeconfig = std::fs::read_to_string(cluster.kubeconfig()).unwrap_or_default();
    ensure!(
        !kubeconfig.contains(cluster.name()),
        "the context is taken out of the kubeconfig: {kubeconfig}"
    );
    Ok(())
}

/// The names of the other clusters that there are now.
async fn others(cluster: &Cluster) -> Result<BTreeSet<String>> {
    let listed = cluster.coracle().json(&["list", "--output", "json"]).await?;
    let names = listed.as_array().context("a list of clusters")?.iter();
    Ok(names
        .filter_map(|name| name.as_str().map(str::to_owned))
        .filter(|name| name != cluster.name())
        .collect())
}

/// Whether a cluster has this thing, by its name or by its tag.
fn is_of(thing: &str, cluster: &str) -> bool {
    has_word(thing, cluster) || thing.contains(&tag(cluster))
}

/// Whether one of these clusters has this thing, or any cluster needs it.
fn is_of_any(thing: &str, clusters: &BTreeSet<String>) -> bool {
    const SHARED: [&str; 3] = [
        "setting ip_forward=1",
        "state folder .forwarding-was-off",
        "/coracle",
    ];
    let needed = !clusters.is_empty() && SHARED.iter().any(|shared| thing.ends_with(shared));
    needed || clusters.iter().any(|name| is_of(thing, name))
}

/// Whether a name stands in a text by itself, not as a part of a longer one.
fn has_word(text: &str, name: &str) -> bool {
    let inner = |c: char| c.is_ascii_alphanumeric() || c == '-';
    text.match_indices(name).any(|(at, _)| {
        let (head, tail) = (&text[..at], &text[at + name.len()..]);
        let node = tail.strip_prefix("-node-");
        !head.ends_with(inner) && (!tail.starts_with(inner) || node.is_some())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn things_of_other_clusters_are_known_by_name_and_tag() {
        let others: BTreeSet<String> = ["e2e-1".to_owned(), "coracle".to_owned()].into();
        let theirs = [
            "cgroup /sys/fs/cgroup/pids/coracle/e2e-1".to_owned(),
            "cgroup /sys/fs/cgroup/pids/coracle/e2e-1/e2e-1-node-2".to_owned(),
            "state folder e2e-1".to_owned(),
            format!("interface cor-{}", tag("e2e-1")),
            "rule filter -A FORWARD -m comment --comment \"coracle e2e-1\" -j ACCEPT".to_owned(),
            "setting ip_forward=1".to_owned(),
        ];
        for thing in theirs {
            assert!(is_of_any(&thing, &others), "{thing}");
        }
        let ours = [
            "state folder e2e-12".to_owned(),
            format!("interface cv{}-0", tag("e2e-12")),
        ];
        for thing in ours {
            assert!(!is_of_any(&thing, &others), "{thing}");
        }
        assert!(!is_of_any("setting ip_forward=1", &BTreeSet::new()));
    }
}
