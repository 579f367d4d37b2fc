//! A pod that counts on a node, as far as decisions ask about it. Pure.

use crate::resources::{Amounts, requested, requested_for_score};
use crate::snapshot::{HostPort, host_ports};
use k8s_openapi::api::core::v1::{Pod, PodCondition};
use k8s_openapi::jiff::Timestamp;
use std::cmp::Reverse;
use std::collections::BTreeMap;

/// The condition of a pod that is about to be disrupted (KEP-3329).
pub(crate) const DISRUPTION_TARGET: &str = "DisruptionTarget";
/// Its reason where a scheduler makes room.
pub(crate) const BY_SCHEDULER: &str = "PreemptionByScheduler";

/// A pod that counts on a node.
#[derive(Clone, Debug, PartialEq)]
pub struct Placed {
    /// Its uid.
    pub uid: String,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// The node it counts on.
    pub node: String,
    /// `spec.priority`; 0 where there is none.
    pub priority: i32,
    /// Its labels, by which disruption budgets select it.
    pub labels: BTreeMap<String, String>,
    /// `metadata.generation`.
    pub generation: Option<i64>,
    /// `status.startTime`: nothing until its node took it up.
    pub started: Option<Timestamp>,
    /// Whether it is being deleted.
    pub terminating: bool,
    /// Whether it has a true `DisruptionTarget` condition.
    pub disrupted: bool,
    /// Whether it is being deleted because a scheduler made room.
    pub preempted: bool,
    pub(crate) requested: Amounts,
    pub(crate) scored: Amounts,
    pub(crate) ports: Vec<HostPort>,
}

/// A pod's priority; 0 where admission gave it none.
#[must_use]
pub(crate) fn priority(pod: &Pod) -> i32 {
    pod.spec.as_ref().and_then(|spec| spec.priority).unwrap_or(0)
}

impl Placed {
    /// What counts of a pod on this node.
    #[must_use]
    pub fn of(pod: &Pod, node: &str) -> Self {
        let meta = &pod.metadata;
        let status = pod.status.as_ref();
        let conditions = status
            .iter()
            .flat_map(|status| status.conditions.iter().flatten());
        let is_target =
            |condition: &&PodCondition| condition.type_ == DISRUPTION_TARGET && condition.status == "True";
        let target = conditions.into_iter().find(is_target);
        let terminating = meta.deletion_timestamp.is_some();
        let by_scheduler = target.is_some_and(|target| target.reason.as_deref() == Some(BY_SCHEDULER));
        Self {
            uid: meta.uid.clone().unwrap_or_default(),
            namespace: meta.namespace.clone().unwrap_or_default(),
            name: meta.name.clone().unwrap_or_default(),
            node: node.to_owned(),
            priority: priority(pod),
            labels: meta.labels.clone().unwrap_or_default(),
            generation: meta.generation,
            started: status
                .and_then(|status| status.start_time.as_ref())
                .map(|time| time.0),
            terminating,
            disrupted: target.is_some(),
            preempted: terminating && by_scheduler,
            requested: requested(pod),
            scored: requested_for_score(pod),
            ports: host_ports(pod),
        }
    }

    /// Orders pods from the most important to the least: by priority, then by how long they run. One that its node has not
    /// taken up counts as started just now.
    pub(crate) fn importance(&self) -> (Reverse<i32>, Timestamp) {
        (Reverse(self.priority), self.started.unwrap_or(Timestamp::MAX))
    }
}
