//! Claims and volumes of the cluster, and the pods that wait for theirs to be bound. Pure.

use super::{Cluster, uid};
use crate::schedule::Placement;
use crate::volumes::{Choices, ClaimName, Outcome, Volumes, claim_name, uses};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use serde_json::Value;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

/// How long a pod waits at a node for its claims to be bound (upstream's `bindTimeoutSeconds`).
const PATIENCE: SignedDuration = SignedDuration::from_mins(10);

/// A pod that waits at its node.
#[derive(Debug)]
struct Waiting {
    pod: Arc<Pod>,
    node: String,
    choices: Choices,
    until: Timestamp,
    /// Whether what was chosen stands in the API.
    written: bool,
}

/// Pods that wait for their claims to be bound, by uid.
#[derive(Debug, Default)]
pub(super) struct Providing {
    waiting: BTreeMap<String, Waiting>,
    bound: VecDeque<(Arc<Pod>, String)>,
}

impl Providing {
    pub(super) fn begin(&mut self, uid: &str, pod: &Arc<Pod>, placement: &Placement, now: Timestamp) {
        let waiting = Waiting {
            pod: pod.clone(),
            node: placement.node.clone(),
            choices: placement.choices.clone(),
            until: now.saturating_add(PATIENCE).unwrap_or(now),
            written: false,
        };
        self.waiting.insert(uid.to_owned(), waiting);
    }

    /// The pod waits no more; what was chosen for it is told.
    pub(super) fn forget(&mut self, gone: &str) -> Option<Choices> {
        self.bound.retain(|(pod, _)| uid(pod) != gone);
        self.waiting.remove(gone).map(|waiting| waiting.choices)
    }

    /// A pod whose claims have come to be bound, and its node.
    pub(super) fn next_bound(&mut self) -> Option<(Arc<Pod>, String)> {
        self.bound.pop_front()
    }

    pub(super) fn is_ready(&self, now: Timestamp) -> bool {
        !self.bound.is_empty() || self.due().is_some_and(|due| due <= now)
    }

    pub(super) fn due(&self) -> Option<Timestamp> {
        self.waiting.values().map(|waiting| waiting.until).min()
    }
}

impl Cluster {
    /// Claims and volumes, as a new list shows them.
    pub fn volumes(&mut self) -> &mut Volumes {
        &mut self.snapshot.volumes
    }

    /// Takes a claim in as the watch shows it.
    pub fn claim_seen(&mut self, claim: Value, now: Timestamp) {
        let name = claim_name(&claim);
        self.snapshot.volumes.set_claim(claim);
        self.volumes_moved(Some(&name), now);
    }

    /// A claim is no more.
    pub fn claim_gone(&mut self, claim: &ClaimName, now: Timestamp) {
        self.snapshot.volumes.remove_claim(claim);
        self.volumes_moved(Some(claim), now);
    }

    /// Takes a volume in as the watch shows it.
    pub fn volume_seen(&mut self, volume: Value, now: Timestamp) {
        self.snapshot.volumes.set_volume(volume);
        self.volumes_moved(None, now);
    }

    /// A volume is no more.
    pub fn volume_gone(&mut self, volume: &str, now: Timestamp) {
        self.snapshot.volumes.remove_volume(volume);
        self.volumes_moved(None, now);
    }

    /// Takes a class in as the watch shows it.
    pub fn class_seen(&mut self, class: Value, now: Timestamp) {
        self.snapshot.volumes.set_class(class);
        self.volumes_moved(None, now);
    }

    /// Looks at pods that use this claim, or any, again; and at those that wait for theirs.
    pub fn volumes_moved(&mut self, claim: Option<&ClaimName>, now: Timestamp) {
        self.queue.wake_if(now, |pod| uses(pod, claim));
        self.look_after_waiting(now);
    }

    fn look_after_waiting(&mut self, now: Timestamp) {
        let volumes = &self.snapshot.volumes;
        let outcomes: Vec<_> = self
            .providing
            .waiting
            .iter()
            .filter(|(_, waiting)| waiting.written)
            .map(|(uid, waiting)| (uid.clone(), volumes.outcome(&waiting.choices, &waiting.node)))
            .collect();
        for (uid, outcome) in outcomes {
            match outcome {
                Outcome::Open => {}
                Outcome::Undone => self.provide_failed(&uid, now),
                Outcome::Bound => {
                    if let Some(waiting) = self.providing.waiting.remove(&uid) {
                        self.providing.bound.push_back((waiting.pod, waiting.node));
                    }
                }
            }
        }
    }

    /// What was chosen for a pod's claims has been written down like this; or not all of it.
    pub fn provided(&mut self, pod: &Pod, written: Option<Choices>, now: Timestamp) {
        let uid = uid(pod);
        let Some(written) = written else {
            return self.provide_failed(uid, now);
        };
        if let Some(waiting) = self.providing.waiting.get_mut(uid) {
            self.snapshot.volumes.assume(&written);
            waiting.choices = written;
            waiting.written = true;
        }
        self.look_after_waiting(now);
    }

    /// Gives up on pods that have waited for too long.
    pub(super) fn give_up_providing(&mut self, now: Timestamp) {
        let late = self
            .providing
            .waiting
            .iter()
            .filter(|(_, waiting)| waiting.until <= now);
        let late: Vec<_> = late.map(|(uid, _)| uid.clone()).collect();
        late.iter().for_each(|uid| self.provide_failed(uid, now));
    }

    /// The pod is tried again, from the start.
    fn provide_failed(&mut self, uid: &str, now: Timestamp) {
        let Some(waiting) = self.providing.waiting.remove(uid) else {
            return;
        };
        self.snapshot.volumes.revert(&waiting.choices);
        self.bind_failed(&waiting.pod, now);
    }
}
