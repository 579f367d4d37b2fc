//! What a ReplicaSet wants done, from the set and the pods in its namespace. Pure.

use super::ranking;
use crate::labels;
use crate::observed::Pod;
use crate::owners::is_controlled_by;
use crate::workloads::claims::{Claims, claims};
use crate::workloads::pods::{self, Failure};
use k8s_openapi::api::apps::v1::{ReplicaSet, ReplicaSetCondition, ReplicaSetStatus};
use k8s_openapi::api::core::v1;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{OwnerReference, Time};
use k8s_openapi::jiff::Timestamp;
use std::sync::Arc;

/// Pods created or deleted in one go at most (upstream's burst).
pub(crate) const BURST: usize = 500;

/// All that the plan is made from.
pub(crate) struct Observed<'a> {
    pub(crate) replica_set: &'a ReplicaSet,
    /// The pods it controls and the pods of its namespace that nobody controls.
    pub(crate) pods: &'a [Arc<Pod>],
    /// Pods of ReplicaSets with the same owner, for the deletion order.
    pub(crate) siblings: &'a [Arc<Pod>],
}

/// What is to be done to pods.
#[derive(Debug, Default)]
pub(crate) struct Plan {
    /// Those it has count for the status.
    pub(crate) claims: Claims,
    /// So many new pods, each as [`new_pod`] makes it.
    pub(crate) create: usize,
    pub(crate) delete: Vec<Arc<Pod>>,
}

impl Plan {
    /// Whether no pod needs anything.
    #[cfg(test)]
    pub(crate) fn is_empty(&self) -> bool {
        self.claims.is_settled() && self.create == 0 && self.delete.is_empty()
    }
}

/// Decides which pods to take, let go, create and delete.
pub(crate) fn plan(observed: &Observed<'_>, now: Timestamp) -> Plan {
    let set = observed.replica_set;
    let mut plan = Plan {
        claims: own(set, observed.pods),
        ..Plan::default()
    };
    if set.metadata.deletion_timestamp.is_some() {
        return plan;
    }
    let active: Vec<_> = plan
        .claims
        .claimed
        .iter()
        .filter(|pod| pods::is_active(pod))
        .cloned()
        .collect();
    let wanted = usize::try_from(replicas(set)).unwrap_or(0);
    if active.len() < wanted {
        plan.create = (wanted - active.len()).min(BURST);
    } else {
        let excess = (active.len() - wanted).min(BURST);
        plan.delete = ranking::victims(&active, observed.siblings, excess, now)
            .into_iter()
            .cloned()
            .collect();
    }
    plan
}

/// Finished pods are neither taken in nor let go.
fn own(set: &ReplicaSet, all: &[Arc<Pod>]) -> Claims {
    let selector = set
        .spec
        .as_ref()
        .map(|spec| spec.selector.clone())
        .unwrap_or_default();
    let candidates = all
        .iter()
        .filter(|pod| !pods::is_finished(pod) || is_controlled_by(&pod.metadata, uid(set)));
    let mut claims = claims(&set.metadata, &selector, candidates);
    claims.release.retain(|pod| pods::is_active(pod));
    claims
}

/// The number of pods the set asks for.
pub(crate) fn replicas(set: &ReplicaSet) -> i32 {
    set.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1)
}

fn uid(set: &ReplicaSet) -> &str {
    set.metadata.uid.as_deref().unwrap_or_default()
}

/// A pod from the set's template, controlled by its owner.
pub(crate) fn new_pod(set: &ReplicaSet, owner: OwnerReference) -> v1::Pod {
    let template = set.spec.as_ref().and_then(|spec| spec.template.clone());
    pods::from_template(&template.unwrap_or_default(), &set.metadata, owner)
}

/// The status the set should have, and when it will change by the passing of time alone.
pub(crate) fn status(
    set: &ReplicaSet,
    claimed: &[Arc<Pod>],
    failure: Option<&Failure>,
    now: Timestamp,
) -> (ReplicaSetStatus, Option<Timestamp>) {
    let spec = set.spec.as_ref();
    let min_ready = spec.and_then(|spec| spec.min_ready_seconds).unwrap_or(0);
    let template = spec.and_then(|spec| spec.template.as_ref());
    let template_labels = template
        .and_then(|t| t.metadata.as_ref())
        .and_then(|meta| meta.labels.clone());
    let template_labels = template_labels.unwrap_or_default();
    let mut counts = Counts::default();
    let mut next: Option<Timestamp> = None;
    for pod in claimed {
        if pods::is_terminating(pod) && !pods::is_finished(pod) {
            counts.terminating += 1;
        }
        if !pods::is_active(pod) {
            continue;
        }
        counts.replicas += 1;
        counts.labeled += i32::from(labels::contains_all(
            pod.metadata.labels.as_ref(),
            &template_labels,
        ));
        counts.ready += i32::from(pods::is_ready(pod));
        match pods::available_from(pod, min_ready) {
            Some(from) if from <= now => counts.available += 1,
            Some(from) => next = Some(next.map_or(from, |next| next.min(from))),
            None => {}
        }
    }
    let old = set.status.clone().unwrap_or_default();
    let status = ReplicaSetStatus {
        replicas: counts.replicas,
        fully_labeled_replicas: nonzero(counts.labeled),
        ready_replicas: nonzero(counts.ready),
        available_replicas: nonzero(counts.available),
        terminating_replicas: Some(counts.terminating),
        observed_generation: set.metadata.generation,
        conditions: conditions(old.conditions, failure, now),
    };
    (status, next)
}

/// Counts of zero are left out, as upstream leaves them out.
fn nonzero(count: i32) -> Option<i32> {
    (count != 0).then_some(count)
}

#[derive(Default)]
struct Counts {
    replicas: i32,
    labeled: i32,
    ready: i32,
    available: i32,
    terminating: i32,
}

/// `ReplicaFailure` while acting fails; its first failure stands until one act succeeds.
fn conditions(
    old: Option<Vec<ReplicaSetCondition>>,
    failure: Option<&Failure>,
    now: Timestamp,
) -> Option<Vec<ReplicaSetCondition>> {
    let mut conditions = old.unwrap_or_default();
    let standing = conditions
        .iter()
        .any(|condition| condition.type_ == "ReplicaFailure");
    match failure {
        None => conditions.retain(|condition| condition.type_ != "ReplicaFailure"),
        Some(_) if standing => {}
        Some(failure) => conditions.push(ReplicaSetCondition {
            type_: "ReplicaFailure".to_owned(),
            status: "True".to_owned(),
            reason: Some(failure.reason.to_owned()),
            message: Some(failure.message.clone()),
            last_transition_time: Some(Time(now)),
        }),
    }
    (!conditions.is_empty()).then_some(conditions)
}

/// Whether writing `new` over `old` would say anything: zero and absent counts are the same.
pub(crate) fn same_status(old: Option<&ReplicaSetStatus>, new: &ReplicaSetStatus) -> bool {
    let Some(old) = old else { return false };
    let count = |value: Option<i32>| value.unwrap_or(0);
    old.replicas == new.replicas
        && count(old.fully_labeled_replicas) == count(new.fully_labeled_replicas)
        && count(old.ready_replicas) == count(new.ready_replicas)
        && count(old.available_replicas) == count(new.available_replicas)
        && count(old.terminating_replicas) == count(new.terminating_replicas)
        && old.observed_generation == new.observed_generation
        && old.conditions.as_deref().unwrap_or_default() == new.conditions.as_deref().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workloads::replicaset::fixtures::{PodBuilder, replica_set};

    fn now() -> Timestamp {
        Timestamp::from_second(100_000).unwrap()
    }

    fn planned(set: &ReplicaSet, pods: &[Arc<Pod>]) -> Plan {
        plan(
            &Observed {
                replica_set: set,
                pods,
                siblings: pods,
            },
            now(),
        )
    }

    #[test]
    fn the_difference_is_created_or_deleted() {
        let set = replica_set("web", 3);
        let owned = |name: &str| PodBuilder::new(name).owned_by(&set).build();
        let cases: [(Vec<Arc<Pod>>, usize, usize); 5] = [
            (vec![], 3, 0),
            (vec![owned("a"), owned("b")], 1, 0),
            (vec![owned("a"), owned("b"), owned("c")], 0, 0),
            (vec![owned("a"), owned("b"), owned("c"), owned("d")], 0, 1),
            (
                vec![
                    owned("a"),
                    PodBuilder::new("b").owned_by(&set).phase("Failed").build(),
                ],
                2,
                0,
            ),
        ];
        for (pods, create, delete) in cases {
            let plan = planned(&set, &pods);
            assert_eq!(
                (plan.create, plan.delete.len()),
                (create, delete),
                "{} pods",
                pods.len()
            );
        }
    }

    #[test]
    fn strays_are_adopted_and_count_and_mismatches_are_let_go() {
        let set = replica_set("web", 2);
        let stray = PodBuilder::new("stray").label("app", "web").build();
        let foreign = PodBuilder::new("foreign").label("app", "other").build();
        let renamed = PodBuilder::new("renamed")
            .owned_by(&set)
            .label("app", "other")
            .build();
        let plan = planned(&set, &[stray, foreign, renamed]);
        assert_eq!(plan.claims.adopt.len(), 1);
        assert_eq!(plan.claims.release.len(), 1);
        assert_eq!(plan.create, 1, "the adopted one counts");
    }

    #[test]
    fn a_set_that_is_being_deleted_leaves_its_pods_alone() {
        let mut set = replica_set("web", 3);
        set.metadata.deletion_timestamp = Some(Time(now()));
        assert!(planned(&set, &[]).is_empty());
    }

    #[test]
    fn availability_comes_with_time() {
        let mut set = replica_set("web", 2);
        set.spec.as_mut().unwrap().min_ready_seconds = Some(30);
        let pods = [
            PodBuilder::new("a").owned_by(&set).ready_at(99_000).build(),
            PodBuilder::new("b").owned_by(&set).ready_at(99_990).build(),
        ];
        let (status, next) = status(&set, &pods, None, now());
        assert_eq!(
            (status.ready_replicas, status.available_replicas),
            (Some(2), Some(1))
        );
        assert_eq!(next, Some(Timestamp::from_second(100_020).unwrap()));
    }

    #[test]
    fn a_failure_stands_until_an_act_succeeds() {
        let mut set = replica_set("web", 1);
        let failure = Failure {
            reason: "FailedCreate",
            message: "quota".to_owned(),
        };
        let (failed, _) = status(&set, &[], Some(&failure), now());
        assert_eq!(
            failed.conditions.as_ref().unwrap()[0].reason.as_deref(),
            Some("FailedCreate")
        );
        set.status = Some(failed);
        let (healed, _) = status(&set, &[], None, now());
        assert_eq!(healed.conditions, None);
    }
}
