//! What a Deployment wants done, from itself, its ReplicaSets and their pods. Pure.

use super::facts::{self, Facts};
use super::revisions;
use super::scaling::{self, Sizes};
use super::status::{self, NewSet, Seen};
use crate::labels;
use crate::observed::Pod;
use crate::owners::{Claim, claim, is_controlled_by};
use crate::workloads::pods;
use k8s_openapi::api::apps::v1::{Deployment, DeploymentStatus, ReplicaSet};
use k8s_openapi::jiff::Timestamp;
use std::collections::BTreeMap;
use std::sync::Arc;

/// All that the plan is made from.
pub(crate) struct Observed<'a> {
    pub(crate) deployment: &'a Deployment,
    /// The ReplicaSets it controls and those of its namespace that nobody controls.
    pub(crate) replica_sets: &'a [Arc<ReplicaSet>],
    /// The pods of the ReplicaSets it controls.
    pub(crate) pods: &'a [Arc<Pod>],
}

/// A change to one ReplicaSet.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Change {
    pub(crate) set: Arc<ReplicaSet>,
    /// The size it gets, if that changes.
    pub(crate) replicas: Option<i32>,
    /// The minReadySeconds it gets, if that changes.
    pub(crate) min_ready_seconds: Option<i32>,
    /// Annotations it gets.
    pub(crate) annotations: BTreeMap<String, String>,
}

/// What is to be done.
#[derive(Debug, Default)]
pub(crate) struct Plan {
    pub(crate) adopt: Vec<Arc<ReplicaSet>>,
    pub(crate) release: Vec<Arc<ReplicaSet>>,
    pub(crate) create: Option<ReplicaSet>,
    pub(crate) change: Vec<Change>,
    pub(crate) delete: Vec<Arc<ReplicaSet>>,
    /// The revision the Deployment is to be annotated with, if it says another.
    pub(crate) revision: Option<String>,
    /// The status, if it differs.
    pub(crate) status: Option<DeploymentStatus>,
    /// The Deployment selects every pod, which is refused with an event.
    pub(crate) selects_all: bool,
    /// When to look again, if nothing happens.
    pub(crate) look_again: Option<Timestamp>,
}

impl Plan {
    /// Whether nothing is to be done.
    #[cfg(test)]
    pub(crate) fn is_empty(&self) -> bool {
        self.adopt.is_empty()
            && self.release.is_empty()
            && self.create.is_none()
            && self.change.is_empty()
            && self.delete.is_empty()
            && self.revision.is_none()
            && self.status.is_none()
    }
}

/// Decides one step of the rollout.
pub(crate) fn plan(observed: &Observed<'_>, now: Timestamp) -> Plan {
    let deployment = observed.deployment;
    let facts = Facts::of(deployment);
    if deployment
        .spec
        .as_ref()
        .is_none_or(|spec| labels::is_empty(&spec.selector))
    {
        return refuse(deployment);
    }
    let (mut plan, sets) = claims(observed);
    let new = revisions::find_new(deployment, &sets);
    let old: Vec<_> = sets
        .iter()
        .filter(|set| Some(*set) != new.as_ref())
        .cloned()
        .collect();
    let leaving = deployment.metadata.deletion_timestamp.is_some();
    let scaled_only = facts.paused || is_scaling(&facts, &sets);
    if !leaving {
        let step = Step {
            observed,
            facts: &facts,
            new: new.as_ref(),
            old: &old,
        };
        if scaled_only {
            step.scale(&mut plan);
        } else {
            step.roll_out(&mut plan);
        }
    }
    let created = plan.create.as_ref().and_then(|set| set.metadata.name.clone());
    let new_set = match (&created, &new) {
        (Some(name), _) => NewSet::Created(name),
        (None, Some(set)) => NewSet::Found(set.metadata.name.as_deref().unwrap_or_default()),
        (None, None) => NewSet::Absent,
    };
    let rolling = !leaving && !scaled_only;
    let seen = Seen {
        deployment,
        facts: &facts,
        new: new.as_ref(),
        old: &old,
        new_set,
        rolling,
    };
    let (status, next) = status::status(&seen, now);
    plan.look_again = next;
    plan.status = (!status::same(deployment.status.as_ref(), &status)).then_some(status);
    plan
}

/// The status to tell that the new ReplicaSet could not be made.
pub(crate) fn failed_create(
    observed: &Observed<'_>,
    name: &str,
    error: &str,
    now: Timestamp,
) -> DeploymentStatus {
    let facts = Facts::of(observed.deployment);
    let (_, old) = claims(observed);
    let new_set = NewSet::Failed(name, error);
    let seen = Seen {
        deployment: observed.deployment,
        facts: &facts,
        new: None,
        old: &old,
        new_set,
        rolling: true,
    };
    status::status(&seen, now).0
}

/// A Deployment that selects everything would fight with everyone.
fn refuse(deployment: &Deployment) -> Plan {
    let mut status = deployment.status.clone().unwrap_or_default();
    let behind = status.observed_generation < deployment.metadata.generation;
    status.observed_generation = deployment.metadata.generation;
    Plan {
        selects_all: true,
        status: behind.then_some(status),
        ..Plan::default()
    }
}

/// Which ReplicaSets are taken and let go, and which are the Deployment's after that.
fn claims(observed: &Observed<'_>) -> (Plan, Vec<Arc<ReplicaSet>>) {
    let mut plan = Plan::default();
    let mut kept = Vec::new();
    let spec = observed.deployment.spec.as_ref();
    let Some(selector) = spec.and_then(|spec| labels::compile(&spec.selector)) else {
        return (plan, kept);
    };
    for set in observed.replica_sets {
        let matches = labels::matches(&selector, set.metadata.labels.as_ref());
        match claim(&observed.deployment.metadata, &set.metadata, matches) {
            Claim::Keep => kept.push(set.clone()),
            Claim::Adopt => {
                plan.adopt.push(set.clone());
                kept.push(set.clone());
            }
            Claim::Release => plan.release.push(set.clone()),
            Claim::Ignore => {}
        }
    }
    (plan, kept)
}

/// Whether `replicas` changed since the active ReplicaSets were sized.
fn is_scaling(facts: &Facts, sets: &[Arc<ReplicaSet>]) -> bool {
    let active = sets.iter().filter(|set| facts::spec_replicas(set) > 0);
    let mut desired = active.filter_map(|set| {
        facts::annotation(&set.metadata, facts::DESIRED_REPLICAS).and_then(|text| text.parse::<i32>().ok())
    });
    desired.any(|desired| desired != facts.replicas)
}

struct Step<'a> {
    observed: &'a Observed<'a>,
    facts: &'a Facts,
    new: Option<&'a Arc<ReplicaSet>>,
    old: &'a [Arc<ReplicaSet>],
}

impl Step<'_> {
    /// Paused, or `replicas` changed: sizes are adjusted, and no ReplicaSet is made.
    fn scale(&self, plan: &mut Plan) {
        let sizes = scaling::scale(self.facts, self.new, self.old);
        self.change(plan, &sizes);
        if self.facts.paused {
            plan.delete = revisions::superfluous(self.facts, self.old);
        }
    }

    fn roll_out(&self, plan: &mut Plan) {
        let all: Vec<_> = self.old.iter().chain(self.new).cloned().collect();
        let sizes = if self.facts.recreate {
            let emptied = scaling::empty_old(self.old);
            if emptied.is_empty() && !self.old_pods_run() {
                self.make_new(plan, &all);
                self.new
                    .map(|new| (name(new), self.facts.replicas))
                    .into_iter()
                    .collect()
            } else {
                emptied
            }
        } else {
            self.make_new(plan, &all);
            scaling::roll(self.facts, self.new, self.old)
        };
        self.change(plan, &sizes);
        let status = self.observed.deployment.status.clone().unwrap_or_default();
        if status::is_complete(self.facts, &status) && plan.create.is_none() && self.new.is_some() {
            plan.delete = revisions::superfluous(self.facts, self.old);
        }
    }

    /// Plans the new ReplicaSet if there is none.
    fn make_new(&self, plan: &mut Plan, all: &[Arc<ReplicaSet>]) {
        if self.new.is_none() {
            let size = scaling::new_set_size(self.facts, None, all);
            let revision = revisions::next_revision(self.old);
            plan.create = Some(revisions::new_set(
                self.observed.deployment,
                self.facts,
                size,
                revision,
            ));
            plan.revision = self.revision_to_tell(&revision.to_string());
        }
    }

    /// Whether a pod of an old ReplicaSet still runs, be it on its way out.
    fn old_pods_run(&self) -> bool {
        let old = |pod: &Pod| {
            let mut uids = self.old.iter().filter_map(|set| set.metadata.uid.as_deref());
            uids.any(|uid| is_controlled_by(&pod.metadata, uid))
        };
        self.observed
            .pods
            .iter()
            .any(|pod| !pods::is_finished(pod) && old(pod))
    }

    /// Turns sizes into changes, with the annotations that go along, and brings the new ReplicaSet's annotations,
    /// minReadySeconds and the Deployment's revision up to date.
    fn change(&self, plan: &mut Plan, sizes: &Sizes) {
        for set in self.old.iter().chain(self.new) {
            let size = sizes.get(&name(set)).copied();
            let mut change = Change {
                set: set.clone(),
                replicas: size.filter(|size| *size != facts::spec_replicas(set)),
                min_ready_seconds: None,
                annotations: BTreeMap::new(),
            };
            if size.is_some() {
                change.annotations = revisions::size_annotations(self.facts);
            }
            if self.new == Some(set) {
                self.bring_up_to_date(&mut change, plan);
            }
            change
                .annotations
                .retain(|key, value| facts::annotation(&set.metadata, key) != Some(value));
            let idle = change.replicas.is_none() && change.annotations.is_empty();
            if !idle || change.min_ready_seconds.is_some() {
                plan.change.push(change);
            }
        }
    }

    fn bring_up_to_date(&self, change: &mut Change, plan: &mut Plan) {
        let deployment = self.observed.deployment;
        let meta = &change.set.metadata;
        let revision = revisions::next_revision(self.old);
        let annotations = revisions::annotation_changes(deployment, meta, revision);
        let is = |spec: Option<i32>| spec.unwrap_or(0);
        let wanted = is(deployment.spec.as_ref().and_then(|spec| spec.min_ready_seconds));
        let current = is(change.set.spec.as_ref().and_then(|spec| spec.min_ready_seconds));
        let told = revision.max(facts::revision(meta));
        change.annotations.extend(annotations);
        change.min_ready_seconds = (wanted != current).then_some(wanted);
        plan.revision = self.revision_to_tell(&told.to_string());
    }

    fn revision_to_tell(&self, revision: &str) -> Option<String> {
        let told = facts::annotation(&self.observed.deployment.metadata, facts::REVISION);
        (told != Some(revision)).then(|| revision.to_owned())
    }
}

fn name(set: &ReplicaSet) -> String {
    set.metadata.name.clone().unwrap_or_default()
}

#[cfg(test)]
mod tests;
