//! Which pods nobody else will end. Pure.

use crate::observed::Pod;
use crate::workloads::pods;
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// How long a node must be gone before its pods are (upstream's quarantine).
const QUARANTINE: SignedDuration = SignedDuration::from_secs(40);

/// Why a pod is collected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Why {
    /// There are more finished pods than may stay.
    Finished,
    /// Its node is gone.
    NodeGone,
    /// It is being deleted and never had a node whose agent would end it.
    NeverAssigned,
}

/// What is to be done.
#[derive(Debug, Default)]
pub(crate) struct Plan {
    pub(crate) delete: Vec<(Arc<Pod>, Why)>,
    /// Nodes that pods refer to and that are not there, with when that was first seen.
    pub(crate) missing: BTreeMap<String, Timestamp>,
    pub(crate) look_again: Option<Timestamp>,
}

/// The name of a pod's node; empty while it has none.
pub(crate) fn node(pod: &Pod) -> &str {
    pod.spec
        .as_ref()
        .and_then(|spec| spec.node_name.as_deref())
        .unwrap_or_default()
}

/// Decides which pods to delete. `missing` is what the last plan said.
pub(crate) fn plan(
    all: &[Arc<Pod>],
    nodes: &BTreeSet<String>,
    missing: &BTreeMap<String, Timestamp>,
    threshold: usize,
    now: Timestamp,
) -> Plan {
    let mut plan = Plan::default();
    for pod in all {
        let name = node(pod);
        if !name.is_empty() && !nodes.contains(name) {
            let since = missing.get(name).copied().unwrap_or(now);
            plan.missing.insert(name.to_owned(), since);
            if since + QUARANTINE <= now {
                plan.delete.push((pod.clone(), Why::NodeGone));
            }
        } else if name.is_empty() && pods::is_terminating(pod) {
            plan.delete.push((pod.clone(), Why::NeverAssigned));
        }
    }
    plan.look_again = plan
        .missing
        .values()
        .map(|since| *since + QUARANTINE)
        .filter(|at| *at > now)
        .min();
    plan.delete.extend(
        excess(all, nodes, threshold)
            .into_iter()
            .map(|pod| (pod, Why::Finished)),
    );
    plan
}

/// The oldest finished pods beyond the threshold.
fn excess(all: &[Arc<Pod>], nodes: &BTreeSet<String>, threshold: usize) -> Vec<Arc<Pod>> {
    if threshold == 0 {
        return Vec::new();
    }
    let stays =
        |pod: &&Arc<Pod>| pods::is_finished(pod) && (node(pod).is_empty() || nodes.contains(node(pod)));
    let mut finished: Vec<_> = all.iter().filter(stays).collect();
    finished.sort_by_key(|pod| pod.metadata.creation_timestamp.as_ref().map(|time| time.0));
    let excess = finished.len().saturating_sub(threshold);
    finished.into_iter().take(excess).cloned().collect()
}

/// Whether a pod may be one to collect, so that a change of it is worth a plan.
pub(crate) fn is_candidate(pod: &Pod, node_is_there: bool) -> bool {
    pods::is_finished(pod)
        || (node(pod).is_empty() && pods::is_terminating(pod))
        || (!node(pod).is_empty() && !node_is_there)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workloads::replicaset::fixtures::PodBuilder;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn pods_of_a_node_that_is_gone_go_after_the_quarantine() {
        let pods = [
            PodBuilder::new("a").node("gone").build(),
            PodBuilder::new("b").node("n1").build(),
        ];
        let nodes = ["n1".to_owned()].into();
        let first = plan(&pods, &nodes, &BTreeMap::new(), 10, at(0));
        assert!(first.delete.is_empty());
        assert_eq!(first.look_again, Some(at(40)));
        let second = plan(&pods, &nodes, &first.missing, 10, at(40));
        assert_eq!(
            second.delete.iter().map(|(_, why)| *why).collect::<Vec<_>>(),
            [Why::NodeGone]
        );
    }

    #[test]
    fn the_oldest_finished_pods_go_when_there_are_too_many() {
        let finished = |name: &str, age| {
            PodBuilder::new(name)
                .node("n1")
                .phase("Succeeded")
                .created_at(age)
                .build()
        };
        let pods = [finished("young", 30), finished("old", 10), finished("middle", 20)];
        let names = |threshold| {
            let plan = plan(
                &pods,
                &["n1".to_owned()].into(),
                &BTreeMap::new(),
                threshold,
                at(100),
            );
            plan.delete
                .iter()
                .map(|(pod, _)| pod.metadata.name.clone().unwrap())
                .collect::<Vec<_>>()
        };
        assert_eq!(names(1), ["old", "middle"]);
        assert!(names(0).is_empty(), "zero keeps all");
    }

    #[test]
    fn a_pod_that_never_had_a_node_ends_here() {
        use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
        let mut pod = Arc::unwrap_or_clone(PodBuilder::new("p").phase("Pending").build());
        pod.metadata.deletion_timestamp = Some(Time(at(0)));
        let plan = plan(&[Arc::new(pod)], &BTreeSet::new(), &BTreeMap::new(), 10, at(0));
        assert_eq!(plan.delete[0].1, Why::NeverAssigned);
    }
}
