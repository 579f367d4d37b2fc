//! A Deployment's status and conditions, worded as upstream words them. Pure.

use super::facts::{self, Facts};
use k8s_openapi::api::apps::v1::{Deployment, DeploymentCondition, DeploymentStatus, ReplicaSet};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use std::sync::Arc;

const AVAILABLE: &str = "Available";
const PROGRESSING: &str = "Progressing";
const REPLICA_FAILURE: &str = "ReplicaFailure";
const NEW_AVAILABLE: &str = "NewReplicaSetAvailable";
const TIMED_OUT: &str = "ProgressDeadlineExceeded";
const PAUSED: &str = "DeploymentPaused";

/// What happened to the new ReplicaSet in this plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NewSet<'a> {
    /// There is none, and none is to be made now.
    Absent,
    /// This one is there.
    Found(&'a str),
    /// This one is being made.
    Created(&'a str),
    /// This one could not be made.
    Failed(&'a str, &'a str),
}

impl<'a> NewSet<'a> {
    fn name(self) -> Option<&'a str> {
        match self {
            Self::Absent => None,
            Self::Found(name) | Self::Created(name) | Self::Failed(name, _) => Some(name),
        }
    }
}

/// All the status is made from.
pub(crate) struct Seen<'a> {
    pub(crate) deployment: &'a Deployment,
    pub(crate) facts: &'a Facts,
    pub(crate) new: Option<&'a Arc<ReplicaSet>>,
    pub(crate) old: &'a [Arc<ReplicaSet>],
    pub(crate) new_set: NewSet<'a>,
    /// Whether a rollout is under way whose progress counts: not while paused, scaled or deleted.
    pub(crate) rolling: bool,
}

/// The status the Deployment should have, and when its progress deadline passes.
pub(crate) fn status(seen: &Seen<'_>, now: Timestamp) -> (DeploymentStatus, Option<Timestamp>) {
    let old = seen.deployment.status.clone().unwrap_or_default();
    let mut conditions = Conditions(old.conditions.clone().unwrap_or_default());
    if seen.deployment.metadata.deletion_timestamp.is_none() && seen.facts.progress_deadline.is_some() {
        pause(&mut conditions, seen.facts.paused, now);
        introduce(&mut conditions, seen.new_set, now);
    }
    let mut status = counts(seen, &old);
    let enough = status.available_replicas.unwrap_or(0) >= seen.facts.min_available();
    conditions.set(available(enough, now));
    if seen.rolling {
        progress(&mut conditions, seen, &old, &status, now);
        failures(&mut conditions, seen);
    }
    let next = deadline(&conditions, seen, &status);
    status.conditions = Some(conditions.0);
    (status, next)
}

fn counts(seen: &Seen<'_>, old: &DeploymentStatus) -> DeploymentStatus {
    let all = || seen.old.iter().chain(seen.new);
    let actual = |set: &ReplicaSet| set.status.as_ref().map_or(0, |status| status.replicas);
    let ready = |set: &ReplicaSet| set.status.as_ref().and_then(|s| s.ready_replicas).unwrap_or(0);
    let leaving = |set: &ReplicaSet| {
        set.status
            .as_ref()
            .and_then(|s| s.terminating_replicas)
            .unwrap_or(0)
    };
    let available = facts::sum(all(), facts::available);
    let unavailable = (facts::sum(all(), facts::spec_replicas) - available).max(0);
    let nonzero = |count: i32| (count != 0).then_some(count);
    DeploymentStatus {
        observed_generation: seen.deployment.metadata.generation,
        replicas: nonzero(facts::sum(all(), actual)),
        updated_replicas: nonzero(facts::sum(seen.new, actual)),
        ready_replicas: nonzero(facts::sum(all(), ready)),
        available_replicas: nonzero(available),
        unavailable_replicas: nonzero(unavailable),
        terminating_replicas: Some(facts::sum(all(), leaving)),
        collision_count: old.collision_count,
        conditions: None,
    }
}

/// Whether the rollout has arrived: as many pods as asked for, all of the new template, all available.
pub(crate) fn is_complete(facts: &Facts, status: &DeploymentStatus) -> bool {
    let wanted = facts.replicas;
    let count = |value: Option<i32>| value.unwrap_or(0);
    count(status.updated_replicas) == wanted
        && count(status.replicas) == wanted
        && count(status.available_replicas) == wanted
}

/// Progress does not count while paused, unless the lack of it has been told already.
fn pause(conditions: &mut Conditions, paused: bool, now: Timestamp) {
    let reason = conditions
        .get(PROGRESSING)
        .and_then(|condition| condition.reason.as_deref());
    match (paused, reason) {
        (_, Some(TIMED_OUT)) | (true, Some(PAUSED)) => {}
        (true, _) => conditions.set(condition(
            PROGRESSING,
            "Unknown",
            PAUSED,
            "Deployment is paused",
            now,
        )),
        (false, Some(PAUSED)) => {
            conditions.set(condition(
                PROGRESSING,
                "Unknown",
                "DeploymentResumed",
                "Deployment is resumed",
                now,
            ));
        }
        (false, _) => {}
    }
}

fn introduce(conditions: &mut Conditions, new_set: NewSet<'_>, now: Timestamp) {
    let (status, reason, message) = match new_set {
        NewSet::Absent => return,
        NewSet::Found(_) if conditions.get(PROGRESSING).is_some() => return,
        NewSet::Found(name) => (
            "True",
            "FoundNewReplicaSet",
            format!("Found new replica set \"{name}\""),
        ),
        NewSet::Created(name) => (
            "True",
            "NewReplicaSetCreated",
            format!("Created new replica set \"{name}\""),
        ),
        NewSet::Failed(name, error) => (
            "False",
            "ReplicaSetCreateError",
            format!("Failed to create new replica set \"{name}\": {error}"),
        ),
    };
    conditions.set(condition(PROGRESSING, status, reason, &message, now));
}

fn available(enough: bool, now: Timestamp) -> DeploymentCondition {
    if enough {
        let message = "Deployment has minimum availability.";
        condition(AVAILABLE, "True", "MinimumReplicasAvailable", message, now)
    } else {
        let message = "Deployment does not have minimum availability.";
        condition(AVAILABLE, "False", "MinimumReplicasUnavailable", message, now)
    }
}

fn progress(
    conditions: &mut Conditions,
    seen: &Seen<'_>,
    old: &DeploymentStatus,
    status: &DeploymentStatus,
    now: Timestamp,
) {
    let Some(deadline) = seen.facts.progress_deadline else {
        conditions.remove(PROGRESSING);
        return;
    };
    let current = conditions.get(PROGRESSING).cloned();
    let arrived = current
        .as_ref()
        .is_some_and(|current| current.reason.as_deref() == Some(NEW_AVAILABLE));
    if arrived && status.replicas == status.updated_replicas {
        return;
    }
    if matches!(seen.new_set, NewSet::Failed(..)) {
        return;
    }
    let subject = match seen.new_set.name() {
        Some(name) => format!("ReplicaSet \"{name}\""),
        None => format!("Deployment \"{}\"", seen.facts.name),
    };
    if is_complete(seen.facts, status) {
        let message = format!("{subject} has successfully progressed.");
        conditions.set(condition(PROGRESSING, "True", NEW_AVAILABLE, &message, now));
    } else if has_progressed(old, status) {
        let message = format!("{subject} is progressing.");
        let mut new = condition(PROGRESSING, "True", "ReplicaSetUpdated", &message, now);
        if let Some(current) = current.filter(|current| current.status == "True") {
            new.last_transition_time = current.last_transition_time;
        }
        conditions.remove(PROGRESSING);
        conditions.set(new);
    } else if has_timed_out(current.as_ref(), deadline, now) {
        let message = format!("{subject} has timed out progressing.");
        conditions.set(condition(PROGRESSING, "False", TIMED_OUT, &message, now));
    }
}

fn has_progressed(old: &DeploymentStatus, new: &DeploymentStatus) -> bool {
    let count = |value: Option<i32>| value.unwrap_or(0);
    let old_template = |s: &DeploymentStatus| count(s.replicas) - count(s.updated_replicas);
    count(new.updated_replicas) > count(old.updated_replicas)
        || old_template(new) < old_template(old)
        || count(new.ready_replicas) > count(old.ready_replicas)
        || count(new.available_replicas) > count(old.available_replicas)
}

fn has_timed_out(current: Option<&DeploymentCondition>, deadline: i32, now: Timestamp) -> bool {
    let Some(current) = current else { return false };
    match current.reason.as_deref() {
        Some(NEW_AVAILABLE) => false,
        Some(TIMED_OUT) => true,
        _ => due(current, deadline).is_some_and(|due| due < now),
    }
}

fn due(current: &DeploymentCondition, deadline: i32) -> Option<Timestamp> {
    let from = current
        .last_update_time
        .as_ref()
        .map_or(Timestamp::UNIX_EPOCH, |time| time.0);
    from.checked_add(SignedDuration::from_secs(i64::from(deadline)))
        .ok()
}

fn deadline(conditions: &Conditions, seen: &Seen<'_>, status: &DeploymentStatus) -> Option<Timestamp> {
    let deadline = seen.facts.progress_deadline.filter(|_| seen.rolling)?;
    let current = conditions.get(PROGRESSING)?;
    let settled = matches!(current.reason.as_deref(), Some(NEW_AVAILABLE | TIMED_OUT));
    if settled || is_complete(seen.facts, status) {
        return None;
    }
    due(current, deadline)
}

/// A ReplicaSet's failure to make pods is the Deployment's; the new one's before an old one's.
fn failures(conditions: &mut Conditions, seen: &Seen<'_>) {
    let failure = |set: &Arc<ReplicaSet>| {
        let all = set.status.as_ref()?.conditions.as_ref()?;
        all.iter()
            .find(|condition| condition.type_ == REPLICA_FAILURE)
            .cloned()
    };
    let found = seen
        .new
        .and_then(failure)
        .or_else(|| seen.old.iter().find_map(failure));
    match found {
        None => conditions.remove(REPLICA_FAILURE),
        Some(found) => conditions.set(DeploymentCondition {
            type_: found.type_,
            status: found.status,
            reason: found.reason,
            message: found.message,
            last_update_time: found.last_transition_time.clone(),
            last_transition_time: found.last_transition_time,
        }),
    }
}

fn condition(kind: &str, status: &str, reason: &str, message: &str, now: Timestamp) -> DeploymentCondition {
    DeploymentCondition {
        type_: kind.to_owned(),
        status: status.to_owned(),
        reason: Some(reason.to_owned()),
        message: Some(message.to_owned()),
        last_update_time: Some(Time(now)),
        last_transition_time: Some(Time(now)),
    }
}

/// A list of conditions, one of each type.
struct Conditions(Vec<DeploymentCondition>);

impl Conditions {
    fn get(&self, kind: &str) -> Option<&DeploymentCondition> {
        self.0.iter().find(|condition| condition.type_ == kind)
    }

    fn remove(&mut self, kind: &str) {
        self.0.retain(|condition| condition.type_ != kind);
    }

    /// Replaces the condition of this type, unless status and reason stay; the transition time changes with the status.
    fn set(&mut self, mut new: DeploymentCondition) {
        if let Some(current) = self.get(&new.type_) {
            if current.status == new.status && current.reason == new.reason {
                return;
            }
            if current.status == new.status {
                new.last_transition_time.clone_from(&current.last_transition_time);
            }
        }
        self.remove(&new.type_);
        self.0.push(new);
    }
}

/// Whether writing `new` over `old` would say anything: zero and absent counts are the same.
pub(crate) fn same(old: Option<&DeploymentStatus>, new: &DeploymentStatus) -> bool {
    let zeroed = |status: &DeploymentStatus| DeploymentStatus {
        replicas: status.replicas.or(Some(0)),
        updated_replicas: status.updated_replicas.or(Some(0)),
        ready_replicas: status.ready_replicas.or(Some(0)),
        available_replicas: status.available_replicas.or(Some(0)),
        unavailable_replicas: status.unavailable_replicas.or(Some(0)),
        terminating_replicas: status.terminating_replicas.or(Some(0)),
        conditions: status.conditions.clone().or_else(|| Some(Vec::new())),
        ..status.clone()
    };
    old.is_some_and(|old| zeroed(old) == zeroed(new))
}
