//! What the scheduler knows: the snapshot, the queue, and the pods it has placed but not yet seen placed. Pure.
//!
//! An assumed pod counts on its node from the moment it is decided, so the next decision sees it. It is assumed until the
//! watch shows it bound or gone, or binding fails; what an older watch event says about it in between is ignored.
//!
//! A pod for which room is being made is not decided about again before its victims have been told to leave. Meanwhile, and
//! until it is bound, its node is kept for it.

use crate::budgets::Budgets;
use crate::placed::{Placed, priority};
use crate::preemption::{Candidate, Preemption};
use crate::queue::{Event, Queue};
use crate::schedule::{Unschedulable, schedule};
use crate::snapshot::Snapshot;
use crate::volumes::Choices;
use k8s_openapi::api::core::v1::{Node, Pod};
use k8s_openapi::jiff::Timestamp;
use std::collections::HashSet;
use std::sync::Arc;
use volumes::Providing;

/// What was decided about one pod.
#[derive(Debug)]
pub enum Decision {
    /// It goes to this node.
    Bind(Arc<Pod>, String),
    /// It is to go to a node, once its claims are bound; this is to be written so that they come to be.
    Provide(Arc<Pod>, Choices),
    /// It goes nowhere for now.
    Refuse(Arc<Pod>, Unschedulable, Nomination),
    /// It goes nowhere for now, but others are to make room for it.
    MakeRoom(Arc<Pod>, Unschedulable, Displacement),
}

/// What `status.nominatedNodeName` is to say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Nomination {
    /// Whatever it says.
    AsItIs,
    /// Nothing.
    None,
    /// This node.
    Node(String),
}

/// How room is made for a pod.
#[derive(Clone, Debug, PartialEq)]
pub struct Displacement {
    /// Where; this node is kept for it.
    pub node: String,
    /// Who must leave.
    pub victims: Vec<Arc<Placed>>,
    /// Pods of lower priority that this node was kept for, and is no more.
    pub outranked: Vec<Arc<Placed>>,
}

/// The node that a pod's status says is kept for it.
pub(crate) fn nominated(pod: &Pod) -> Option<&str> {
    let node = pod.status.as_ref()?.nominated_node_name.as_deref();
    node.filter(|node| !node.is_empty())
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
    /// Pods that are assumed, but whose claims are not bound yet, by uid.
    providing: Providing,
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
            self.providing.forget(&uid);
            self.settle_on(&uid, node, now);
            self.snapshot.place(&uid, &pod, node);
            self.bound.insert(uid);
        } else if !self.is_ours(&pod) {
            self.queue.remove(&uid);
            self.withdraw(&uid, now);
        } else if !self.assumed.contains(&uid) {
            self.take_up(&uid, pod, now);
        }
    }

    /// Queues a pod, or takes in what changed about it, and keeps the node for it that its status says. Where the status says
    /// nothing yet, what was decided here holds.
    fn take_up(&mut self, uid: &str, mut pod: Pod, now: Timestamp) {
        // It is kept until it is bound, and this is much of it.
        pod.metadata.managed_fields = None;
        let owned = |node: Option<&str>| node.map(ToOwned::to_owned);
        let before = owned(self.queue.pod(uid).and_then(|pod| nominated(pod)));
        let told = owned(nominated(&pod));
        let kept = match (&before, &told) {
            (None, None) => owned(self.snapshot.nominations.node_of(uid)),
            _ => told.clone(),
        };
        match kept {
            Some(node) => self.snapshot.nominations.add(Placed::of(&pod, &node)),
            None => drop(self.snapshot.nominations.withdraw(uid)),
        }
        let priority = priority(&pod);
        self.queue.add(uid, Arc::new(pod), now);
        if before.is_some() && before != told {
            self.queue.wake_up_to(priority, now);
        }
    }

    /// Keeps no node for the pod any more, and lets others have what was kept.
    fn withdraw(&mut self, uid: &str, now: Timestamp) -> bool {
        let kept = self.snapshot.nominations.withdraw(uid);
        if let Some(kept) = &kept {
            self.queue.wake_up_to(kept.priority, now);
        }
        kept.is_some()
    }

    /// The pod goes to a node: to that which was kept for it, or else others may have that.
    fn settle_on(&mut self, uid: &str, node: &str, now: Timestamp) {
        let kept = self.snapshot.nominations.withdraw(uid);
        if let Some(elsewhere) = kept.filter(|kept| kept.node != node) {
            self.queue.wake_up_to(elsewhere.priority, now);
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
        if let Some(choices) = self.providing.forget(uid) {
            self.snapshot.volumes.revert(&choices);
        }
        self.withdraw(uid, now);
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

    /// The budgets of disruptions, which count when room is made.
    pub fn budgets(&mut self) -> &mut Budgets {
        &mut self.snapshot.budgets
    }

    /// Decides about the next pod, if one is ready.
    pub fn decide(&mut self, random: u64, now: Timestamp) -> Option<Decision> {
        if let Some((pod, node)) = self.providing.next_bound() {
            return Some(Decision::Bind(pod, node));
        }
        self.give_up_providing(now);
        let (uid, pod) = self.queue.pop(now)?;
        Some(match schedule(&self.snapshot, &pod, random) {
            Ok(placement) => {
                self.settle_on(&uid, &placement.node, now);
                self.snapshot.place(&uid, &pod, &placement.node);
                self.assumed.insert(uid.clone());
                if placement.choices.is_empty() {
                    return Some(Decision::Bind(pod, placement.node));
                }
                self.snapshot.volumes.assume(&placement.choices);
                self.providing.begin(&uid, &pod, &placement, now);
                Decision::Provide(pod, placement.choices)
            }
            Err(why) => self.refuse(&uid, pod, why, now),
        })
    }

    fn refuse(&mut self, uid: &str, pod: Arc<Pod>, why: Unschedulable, now: Timestamp) -> Decision {
        let nomination = match &why.preemption {
            Preemption::Candidate(candidate) => {
                let displacement = self.make_room(uid, &pod, candidate, now);
                return Decision::MakeRoom(pod, why, displacement);
            }
            Preemption::Never | Preemption::Waiting => Nomination::AsItIs,
            // No node will do: one that was kept is given back.
            Preemption::Helpless(_) if self.withdraw(uid, now) || nominated(&pod).is_some() => {
                Nomination::None
            }
            Preemption::Helpless(_) => Nomination::AsItIs,
        };
        self.queue.refused(uid, why.waits_for_pods(), now);
        Decision::Refuse(pod, why, nomination)
    }

    fn make_room(&mut self, uid: &str, pod: &Pod, candidate: &Candidate, now: Timestamp) -> Displacement {
        let own = priority(pod);
        let kept_for = self.snapshot.nominations.on(&candidate.node).iter();
        let outranked: Vec<_> = kept_for.filter(|other| other.priority < own).cloned().collect();
        for other in &outranked {
            self.snapshot.nominations.withdraw(&other.uid);
            self.queue.wake_one(&other.uid, now);
        }
        self.settle_on(uid, &candidate.node, now);
        self.snapshot.nominations.add(Placed::of(pod, &candidate.node));
        for victim in &candidate.victims {
            self.snapshot.condemn(&victim.uid);
        }
        Displacement {
            node: candidate.node.clone(),
            victims: candidate.victims.clone(),
            outranked,
        }
    }

    /// The victims were told to leave, but for those of the uids in `spared`. The pod waits until they are gone; where they
    /// are by now, or some stay, it is tried again.
    pub fn displaced(&mut self, pod: &Pod, displacement: &Displacement, spared: &[String], now: Timestamp) {
        for uid in spared {
            self.snapshot.pardon(uid);
        }
        let stays = |victim: &Arc<Placed>| self.snapshot.node_of(&victim.uid).is_some();
        if spared.is_empty() && displacement.victims.iter().any(stays) {
            self.queue.refused(uid(pod), true, now);
        } else {
            self.queue.failed(uid(pod), now);
        }
    }

    /// Whether [`Cluster::decide`] has something to decide.
    #[must_use]
    pub fn is_ready(&self, now: Timestamp) -> bool {
        self.providing.is_ready(now) || self.queue.is_ready(now)
    }

    /// When [`Cluster::decide`] may next have something to decide, if nothing changes.
    #[must_use]
    pub fn due(&self) -> Option<Timestamp> {
        [self.queue.due(), self.providing.due()]
            .into_iter()
            .flatten()
            .min()
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
mod tests;
mod volumes;
