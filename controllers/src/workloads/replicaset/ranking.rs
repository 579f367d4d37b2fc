//! Which pods of a ReplicaSet go first when there are too many. Pure.
//!
//! Upstream's order: not yet on a node, earlier phase, not ready, cheaper (`controller.kubernetes.io/pod-deletion-cost`), more
//! siblings on the same node, shorter time ready, more restarts, younger. Times count in doublings only, so that pods of
//! about the same age are told apart by uid and not by who came last.

use crate::observed::Pod;
use crate::workloads::pods;
use k8s_openapi::jiff::Timestamp;
use std::cmp::Reverse;
use std::collections::HashMap;
use std::sync::Arc;

const DELETION_COST: &str = "controller.kubernetes.io/pod-deletion-cost";

/// A pod's place in the order; the least is deleted first.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Worth<'a> {
    assigned: bool,
    phase: u8,
    ready: bool,
    cost: i32,
    siblings: Reverse<usize>,
    ready_doublings: u32,
    restarts: Reverse<i32>,
    age_doublings: u32,
    uid: &'a str,
}

/// The `excess` pods to delete. `siblings` are all active pods of ReplicaSets with the same owner, these included.
pub(crate) fn victims<'a>(
    active: &'a [Arc<Pod>],
    siblings: &[Arc<Pod>],
    excess: usize,
    now: Timestamp,
) -> Vec<&'a Arc<Pod>> {
    let mut on_node: HashMap<&str, usize> = HashMap::new();
    for pod in siblings.iter().filter(|pod| pods::is_active(pod)) {
        *on_node.entry(node(pod)).or_default() += 1;
    }
    let mut ranked: Vec<_> = active
        .iter()
        .map(|pod| (worth(pod, &on_node, now), pod))
        .collect();
    ranked.sort_by(|(a, _), (b, _)| a.cmp(b));
    ranked.into_iter().take(excess).map(|(_, pod)| pod).collect()
}

fn worth<'a>(pod: &'a Pod, on_node: &HashMap<&str, usize>, now: Timestamp) -> Worth<'a> {
    let node = node(pod);
    let created = pod
        .metadata
        .creation_timestamp
        .as_ref()
        .map_or(now, |time| time.0);
    Worth {
        assigned: !node.is_empty(),
        phase: match pods::phase(pod) {
            "Pending" => 0,
            "Unknown" => 1,
            _ => 2,
        },
        ready: pods::is_ready(pod),
        cost: deletion_cost(pod),
        siblings: Reverse(if node.is_empty() {
            0
        } else {
            on_node.get(node).copied().unwrap_or(0)
        }),
        ready_doublings: pods::ready_since(pod).map_or(0, |since| doublings(since, now)),
        restarts: Reverse(pods::restarts(pod)),
        age_doublings: doublings(created, now),
        uid: pod.metadata.uid.as_deref().unwrap_or_default(),
    }
}

fn node(pod: &Pod) -> &str {
    pod.spec
        .as_ref()
        .and_then(|spec| spec.node_name.as_deref())
        .unwrap_or_default()
}

fn deletion_cost(pod: &Pod) -> i32 {
    let annotation = pod
        .metadata
        .annotations
        .as_ref()
        .and_then(|all| all.get(DELETION_COST));
    annotation.and_then(|cost| cost.parse().ok()).unwrap_or(0)
}

/// How often one second must be doubled to reach the time passed since.
fn doublings(since: Timestamp, now: Timestamp) -> u32 {
    let seconds = now.duration_since(since).as_secs().max(0).unsigned_abs();
    u64::BITS - seconds.leading_zeros()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workloads::replicaset::fixtures::PodBuilder;

    fn first(pods: &[Arc<Pod>]) -> String {
        let now = Timestamp::from_second(100_000).unwrap();
        victims(pods, pods, 1, now)[0].metadata.name.clone().unwrap()
    }

    #[test]
    fn the_less_settled_pod_goes_first() {
        let settled = || {
            PodBuilder::new("stays")
                .node("n1")
                .ready_at(1_000)
                .created_at(500)
        };
        let cases = [
            ("no node", PodBuilder::new("goes")),
            ("pending", PodBuilder::new("goes").node("n2").phase("Pending")),
            ("not ready", PodBuilder::new("goes").node("n2").created_at(500)),
            (
                "cheap",
                settled().name("goes").node("n2").annotation(DELETION_COST, "-1"),
            ),
            (
                "ready for less time",
                settled().name("goes").node("n2").ready_at(99_000),
            ),
            ("restarted more", settled().name("goes").node("n2").restarts(3)),
            ("younger", settled().name("goes").node("n2").created_at(90_000)),
        ];
        for (why, goes) in cases {
            let pods = [settled().build(), goes.build()];
            assert_eq!(first(&pods), "goes", "{why}");
        }
    }

    #[test]
    fn the_node_with_more_siblings_gives_one_up() {
        let ready = |name: &str, node: &str| {
            PodBuilder::new(name)
                .node(node)
                .ready_at(1_000)
                .created_at(500)
                .build()
        };
        let pods = [ready("a", "n1"), ready("b", "n2"), ready("c", "n2")];
        assert_ne!(first(&pods), "a");
    }
}
