//! How many of a budget's pods may be disrupted. Pure.

use crate::observed::Pod;
use crate::runtime::Note;
use crate::workloads::amounts::{Rounding, resolve};
use crate::workloads::pods;
use k8s_openapi::api::policy::v1::{PodDisruptionBudget, PodDisruptionBudgetStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use std::collections::BTreeMap;
use std::sync::Arc;

/// How long an evicted pod may take until it is seen to be deleted. After that it counts as healthy again.
const DELETION: SignedDuration = SignedDuration::from_mins(2);
/// How long a pod may be said to be on its way without being so.
const STALE: SignedDuration = SignedDuration::from_mins(2);

/// How many pods there should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Expected {
    pub(crate) pods: i32,
    pub(crate) healthy: i32,
}

/// Whether the budget is in relation to what the pods' controllers want, which has to be found out.
pub(crate) fn needs_scale(budget: &PodDisruptionBudget) -> bool {
    let spec = budget.spec.clone().unwrap_or_default();
    spec.max_unavailable.is_some() || matches!(spec.min_available, Some(IntOrString::String(_)))
}

/// How many pods should be there and be healthy, where their controllers want `scale`, or there are so many.
pub(crate) fn expected(budget: &PodDisruptionBudget, scale: i32) -> Expected {
    let spec = budget.spec.clone().unwrap_or_default();
    let healthy = match (spec.max_unavailable, spec.min_available) {
        (Some(unavailable), _) => (scale - resolve(&unavailable, scale, Rounding::Up)).max(0),
        (None, Some(available)) => resolve(&available, scale, Rounding::Up),
        (None, None) => return Expected { pods: 0, healthy: 0 },
    };
    Expected { pods: scale, healthy }
}

/// What the status says, and what comes of it.
#[derive(Debug)]
pub(crate) struct Judged {
    pub(crate) status: PodDisruptionBudgetStatus,
    /// Pods that were evicted and are still there, and what there is to say about each.
    pub(crate) lingering: Vec<(Arc<Pod>, Note)>,
    pub(crate) look_again: Option<Timestamp>,
}

/// Counts a budget's pods.
pub(crate) fn judge(
    budget: &PodDisruptionBudget,
    pods: &[Arc<Pod>],
    expected: Expected,
    now: Timestamp,
) -> Judged {
    let old = budget.status.clone().unwrap_or_default();
    let namespace = budget.metadata.namespace.as_deref().unwrap_or_default();
    let mut disrupted = BTreeMap::new();
    let (mut lingering, mut look_again) = (Vec::new(), None::<Timestamp>);
    for pod in pods.iter().filter(|pod| !pods::is_terminating(pod)) {
        let name = pod.metadata.name.clone().unwrap_or_default();
        let Some(since) = old.disrupted_pods.as_ref().and_then(|pods| pods.get(&name)) else {
            continue;
        };
        let until = since.0.saturating_add(DELETION).unwrap_or(Timestamp::MAX);
        if until < now {
            let message =
                format!("Pod was expected by PDB {namespace}/{namespace} to be deleted but it wasn't");
            lingering.push((pod.clone(), Note::warning("NotDeleted", message)));
        } else {
            look_again = Some(look_again.map_or(until, |other| other.min(until)));
            disrupted.insert(name, since.clone());
        }
    }
    let healthy = pods.iter().filter(|pod| {
        let name = pod.metadata.name.as_deref().unwrap_or_default();
        !pods::is_terminating(pod) && pods::is_ready(pod) && !disrupted.contains_key(name)
    });
    let healthy = i32::try_from(healthy.count()).unwrap_or(i32::MAX);
    let allowed = if expected.pods > 0 {
        (healthy - expected.healthy).max(0)
    } else {
        0
    };
    let reason = if allowed > 0 {
        "SufficientPods"
    } else {
        "InsufficientPods"
    };
    let generation = budget.metadata.generation;
    let status = PodDisruptionBudgetStatus {
        current_healthy: Some(healthy),
        desired_healthy: Some(expected.healthy),
        expected_pods: Some(expected.pods),
        disruptions_allowed: Some(allowed),
        disrupted_pods: (!disrupted.is_empty()).then_some(disrupted),
        observed_generation: generation,
        conditions: Some(with_condition(
            old.conditions,
            allowed > 0,
            reason,
            "",
            generation,
            now,
        )),
    };
    Judged {
        status,
        lingering,
        look_again,
    }
}

/// The status where the pods could not be counted: nothing may be disrupted.
pub(crate) fn failed(budget: &PodDisruptionBudget, why: &str, now: Timestamp) -> PodDisruptionBudgetStatus {
    let old = budget.status.clone().unwrap_or_default();
    let conditions = with_condition(
        old.conditions.clone(),
        false,
        "SyncFailed",
        why,
        old.observed_generation,
        now,
    );
    PodDisruptionBudgetStatus {
        disruptions_allowed: Some(0),
        conditions: Some(conditions),
        ..old
    }
}

fn with_condition(
    old: Option<Vec<Condition>>,
    allowed: bool,
    reason: &str,
    message: &str,
    observed_generation: Option<i64>,
    now: Timestamp,
) -> Vec<Condition> {
    let mut conditions = old.unwrap_or_default();
    let mut new = Condition {
        type_: "DisruptionAllowed".to_owned(),
        status: if allowed { "True" } else { "False" }.to_owned(),
        reason: reason.to_owned(),
        message: message.to_owned(),
        observed_generation,
        last_transition_time: Time(now),
    };
    match conditions.iter_mut().find(|one| one.type_ == new.type_) {
        Some(old) => {
            if old.status == new.status {
                new.last_transition_time = old.last_transition_time.clone();
            }
            *old = new;
        }
        None => conditions.push(new),
    }
    conditions
}

/// Until when a pod may be said to be a target of disruption without being deleted, if it is said.
pub(crate) fn stale_from(pod: &Pod) -> Option<Timestamp> {
    if pods::is_terminating(pod) || pods::is_finished(pod) {
        return None;
    }
    let target = pods::condition(pod, "DisruptionTarget")?;
    let holds = target.status == "True" && target.reason.as_deref() != Some("TerminationByKubelet");
    let since = target
        .last_transition_time
        .as_ref()
        .map_or(Timestamp::UNIX_EPOCH, |time| time.0);
    since.checked_add(STALE).ok().filter(|_| holds)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workloads::replicaset::fixtures::PodBuilder;
    use serde_json::{Value, json};

    fn budget(spec: Value, status: Value) -> PodDisruptionBudget {
        let metadata = json!({"name": "b", "namespace": "ns", "generation": 1});
        serde_json::from_value(json!({"metadata": metadata, "spec": spec, "status": status})).unwrap()
    }

    fn now() -> Timestamp {
        Timestamp::from_second(1000).unwrap()
    }

    #[test]
    fn shares_round_up() {
        for (spec, scale, pods, healthy) in [
            (json!({"minAvailable": 2}), 3, 3, 2),
            (json!({"minAvailable": "50%"}), 5, 5, 3),
            (json!({"maxUnavailable": "30%"}), 5, 5, 3),
            (json!({"maxUnavailable": 1}), 3, 3, 2),
            (json!({"maxUnavailable": 9}), 3, 3, 0),
            (json!({}), 3, 0, 0),
        ] {
            let budget = budget(spec.clone(), json!({}));
            assert_eq!(expected(&budget, scale), Expected { pods, healthy }, "{spec}");
        }
    }

    #[test]
    fn what_is_healthy_beyond_what_must_be_may_be_disrupted() {
        let pods = [
            PodBuilder::new("a").ready_at(1).build(),
            PodBuilder::new("b").ready_at(1).build(),
            PodBuilder::new("c").build(),
        ];
        let expect = |healthy| Expected { pods: 3, healthy };
        let new = budget(json!({}), json!({}));
        let judged = judge(&new, &pods, expect(1), now());
        assert_eq!(judged.status.current_healthy, Some(2));
        assert_eq!(judged.status.disruptions_allowed, Some(1));
        assert_eq!(
            judged.status.conditions.as_ref().unwrap()[0].reason,
            "SufficientPods"
        );
        let judged = judge(&new, &pods, expect(2), now());
        assert_eq!(judged.status.disruptions_allowed, Some(0));
        assert_eq!(
            judged.status.conditions.as_ref().unwrap()[0].reason,
            "InsufficientPods"
        );
        let none = judge(&new, &pods, Expected { pods: 0, healthy: 0 }, now());
        assert_eq!(none.status.disruptions_allowed, Some(0));
    }

    #[test]
    fn an_evicted_pod_does_not_count_until_it_is_too_late() {
        let pods = [PodBuilder::new("a").ready_at(1).build()];
        let evicted = |second: i64| {
            let at = Timestamp::from_second(second).unwrap();
            let budget = budget(json!({}), json!({"disruptedPods": {"a": at, "gone": at}}));
            judge(&budget, &pods, Expected { pods: 1, healthy: 0 }, now())
        };
        let lately = evicted(950);
        assert_eq!(lately.status.current_healthy, Some(0));
        assert_eq!(lately.status.disrupted_pods.unwrap().len(), 1);
        assert_eq!(lately.look_again, Timestamp::from_second(1070).ok());
        let long_ago = evicted(800);
        assert_eq!(long_ago.status.current_healthy, Some(1));
        assert_eq!(
            (long_ago.status.disrupted_pods, long_ago.lingering.len()),
            (None, 1)
        );
    }

    #[test]
    fn judging_again_says_the_same() {
        let mut budget = budget(json!({}), json!({}));
        let pods = [PodBuilder::new("a").ready_at(1).build()];
        let expected = Expected { pods: 1, healthy: 1 };
        budget.status = Some(judge(&budget, &pods, expected, now()).status);
        let later = Timestamp::from_second(2000).unwrap();
        assert_eq!(budget.status, Some(judge(&budget, &pods, expected, later).status));
    }
}
