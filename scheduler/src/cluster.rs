//! What the scheduler knows: the snapshot, the queue, and the pods it has placed but not yet seen placed. Pure.
//!
//! An assumed pod counts on its node from the moment it is decided, so the next decision sees it. It is assumed until the
//! watch shows it bound or gone, or binding fails; what an older watch event says about it in between is ignored.

use crate::queue::{Event, Queue};
use crate::schedule::{Unschedulable, schedule};
use crate::snapshot::Snapshot;
use k8s_openapi::api::core::v1::{Node, Pod};
use k8s_openapi::jiff::Timestamp;
use std::collections::HashSet;
use std::sync::Arc;

/// What was decided about one pod.
#[derive(Debug)]
pub enum Decision {
    /// It goes to this node.
    Bind(Arc<Pod>, String),
    /// It goes nowhere for now.
    Refuse(Arc<Pod>, Unschedulable),
}

/// See the module.
#[derive(Debug, Default)]
pub struct Cluster {
    scheduler_name: String,
    snapshot: Snapshot,
    queue: Queue,
    assumed: HashSet<String>,
    /// Pods seen on nodes.
    bound: HashSet<String>,
}

fn uid(pod: &Pod) -> &str {
    pod.metadata.uid.as_deref().unwrap_or_default()
}

impl Cluster {
    /// Knows nothing yet; takes pods that name this scheduler.
    #[must_use]
    pub fn new(scheduler_name: &str) -> Self {
        Self {
            scheduler_name: scheduler_name.to_owned(),
            ..Self::default()
        }
    }

    /// Takes a pod in as the watch shows it.
    pub fn pod_seen(&mut self, pod: Pod, now: Timestamp) {
        let uid = uid(&pod).to_owned();
        let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
        if matches!(phase, Some("Succeeded" | "Failed")) {
            return self.pod_gone(&uid, now);
        }
        let spec = pod.spec.as_ref();
        if let Some(node) = spec
            .and_then(|spec| spec.node_name.as_deref())
            .filter(|node| !node.is_empty())
        {
            self.queue.remove(&uid);
            self.assumed.remove(&uid);
            self.snapshot.place(&uid, &pod, node);
            self.bound.insert(uid);
        } else if !self.is_ours(&pod) {
            self.queue.remove(&uid);
        } else if !self.assumed.contains(&uid) {
            self.queue.add(&uid, Arc::new(pod), now);
        }
    }

    /// Whether this pod is for this scheduler, now: it names it, no gate holds it back, and it is not on its way out.
    fn is_ours(&self, pod: &Pod) -> bool {
        let spec = pod.spec.as_ref();
        let name = spec
            .and_then(|spec| spec.scheduler_name.as_deref())
            .unwrap_or("default-scheduler");
        let gated = spec
            .and_then(|spec| spec.scheduling_gates.as_ref())
            .is_some_and(|gates| !gates.is_empty());
        name == self.scheduler_name && !gated && pod.metadata.deletion_timestamp.is_none()
    }

    /// A pod is no more, or finished.
    pub fn pod_gone(&mut self, uid: &str, now: Timestamp) {
        self.queue.remove(uid);
        self.assumed.remove(uid);
        self.bound.remove(uid);
        if self.snapshot.remove_pod(uid) {
            self.queue.wake(Event::Pods, now);
        }
    }

    /// A new list of all pods was shown; what was known and is not among them is gone.
    pub fn pods_listed(&mut self, uids: &HashSet<String>, now: Timestamp) {
        let known = self.queue.uids().chain(&self.assumed).chain(&self.bound);
        let gone: Vec<_> = known.filter(|uid| !uids.contains(*uid)).cloned().collect();
        for uid in gone {
            self.pod_gone(&uid, now);
        }
    }

    /// Takes a node in as the watch shows it; wakes pods if it changed in what decides.
    pub fn node_seen(&mut self, node: &Node, now: Timestamp) {
        if self.snapshot.set_node(node) {
            self.queue.wake(Event::Nodes, now);
        }
    }

    /// A node is no more.
    pub fn node_gone(&mut self, name: &str) {
        self.snapshot.remove_node(name);
    }

    /// A new list of all nodes was shown; what was known and is not among them is gone.
    pub fn nodes_listed(&mut self, names: &HashSet<String>) {
        let known = self.snapshot.facts.iter().map(|facts| facts.name.clone());
        let gone: Vec<_> = known.filter(|name| !names.contains(name)).collect();
        for name in gone {
            self.node_gone(&name);
        }
    }

    /// Decides about the next pod, if one is ready.
    pub fn decide(&mut self, random: u64, now: Timestamp) -> Option<Decision> {
        let (uid, pod) = self.queue.pop(now)?;
        Some(match schedule(&self.snapshot, &pod, random) {
            Ok(placement) => {
                self.snapshot.place(&uid, &pod, &placement.node);
                self.assumed.insert(uid);
                Decision::Bind(pod, placement.node)
            }
            Err(why) => {
                self.queue.refused(&uid, why.waits_for_pods(), now);
                Decision::Refuse(pod, why)
            }
        })
    }

    /// Whether [`Cluster::decide`] has something to decide.
    #[must_use]
    pub fn is_ready(&self, now: Timestamp) -> bool {
        self.queue.is_ready(now)
    }

    /// When [`Cluster::decide`] may next have something to decide, if nothing changes.
    #[must_use]
    pub fn due(&self) -> Option<Timestamp> {
        self.queue.due()
    }

    /// Binding failed: the pod counts no more and is tried again. A pod that was meanwhile seen bound or gone stays so.
    pub fn bind_failed(&mut self, pod: &Pod, now: Timestamp) {
        let uid = uid(pod);
        if self.assumed.remove(uid) {
            self.snapshot.remove_pod(uid);
            self.queue.failed(uid, now);
            self.queue.wake(Event::Pods, now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::{NodeBuilder, PodBuilder};

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn cluster() -> Cluster {
        let mut cluster = Cluster::new("default-scheduler");
        cluster.node_seen(&NodeBuilder::new("a").cpu("1").build(), at(0));
        cluster
    }

    fn bound_to(decision: Option<Decision>) -> Option<String> {
        match decision? {
            Decision::Bind(_, node) => Some(node),
            Decision::Refuse(..) => None,
        }
    }

    #[test]
    fn an_assumed_pod_counts_and_is_not_decided_twice() {
        let mut cluster = cluster();
        let first = PodBuilder::new("first").cpu("1").build();
        cluster.pod_seen(first.clone(), at(0));
        assert_eq!(bound_to(cluster.decide(0, at(0))).as_deref(), Some("a"));
        cluster.pod_seen(first, at(0));
        assert!(
            cluster.decide(0, at(0)).is_none(),
            "an old event about it changes nothing"
        );
        cluster.pod_seen(PodBuilder::new("second").cpu("1").build(), at(0));
        assert!(matches!(cluster.decide(0, at(0)), Some(Decision::Refuse(..))));
    }

    #[test]
    fn a_failed_binding_frees_the_node_and_is_tried_again() {
        let mut cluster = cluster();
        let pod = PodBuilder::new("p").cpu("1").build();
        cluster.pod_seen(pod.clone(), at(0));
        cluster.decide(0, at(0));
        cluster.bind_failed(&pod, at(0));
        assert!(cluster.decide(0, at(0)).is_none(), "it backs off");
        assert_eq!(bound_to(cluster.decide(0, at(1))).as_deref(), Some("a"));
    }

    #[test]
    fn a_pod_that_leaves_makes_room() {
        let mut cluster = cluster();
        let mut first = PodBuilder::new("first").cpu("1").build();
        first.spec.as_mut().unwrap().node_name = Some("a".to_owned());
        cluster.pod_seen(first, at(0));
        cluster.pod_seen(PodBuilder::new("second").cpu("1").build(), at(0));
        assert!(matches!(cluster.decide(0, at(0)), Some(Decision::Refuse(..))));
        cluster.pods_listed(&["uid-second".to_owned()].into(), at(5));
        assert_eq!(bound_to(cluster.decide(0, at(5))).as_deref(), Some("a"));
    }

    #[test]
    fn gated_foreign_and_terminating_pods_are_left_alone() {
        use k8s_openapi::api::core::v1::PodSchedulingGate;
        use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
        let mut cluster = cluster();
        let mut gated = PodBuilder::new("gated").build();
        gated.spec.as_mut().unwrap().scheduling_gates = Some(vec![PodSchedulingGate {
            name: "wait".to_owned(),
        }]);
        let mut foreign = PodBuilder::new("foreign").build();
        foreign.spec.as_mut().unwrap().scheduler_name = Some("other".to_owned());
        let mut leaving = PodBuilder::new("leaving").build();
        leaving.metadata.deletion_timestamp = Some(Time(at(0)));
        for pod in [gated.clone(), foreign, leaving] {
            cluster.pod_seen(pod, at(0));
        }
        assert!(cluster.decide(0, at(0)).is_none());
        gated.spec.as_mut().unwrap().scheduling_gates = None;
        cluster.pod_seen(gated, at(0));
        assert!(cluster.decide(0, at(0)).is_some());
    }

    #[test]
    fn a_heartbeat_wakes_nobody() {
        let mut cluster = cluster();
        cluster.pod_seen(PodBuilder::new("p").cpu("2").build(), at(0));
        cluster.decide(0, at(0));
        cluster.node_seen(&NodeBuilder::new("a").cpu("1").build(), at(20));
        assert!(cluster.decide(0, at(20)).is_none());
        cluster.node_seen(&NodeBuilder::new("a").cpu("2").build(), at(20));
        assert_eq!(bound_to(cluster.decide(0, at(20))).as_deref(), Some("a"));
    }
}
