//! One step of a StatefulSet: which pods and claims to make, which to delete, and its status. Pure.

use super::identity::{REVISION, Wanted, revision};
use super::retention::Sides;
use crate::observed::Pod;
use crate::runtime::ObjectKey;
use crate::workloads::amounts::{Rounding, resolve};
use crate::workloads::pods;
use k8s_openapi::api::apps::v1::StatefulSetStatus;
use k8s_openapi::api::core::v1::{self, PersistentVolumeClaim, PodTemplateSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use k8s_openapi::jiff::Timestamp;
use std::collections::BTreeMap;
use std::sync::Arc;

/// All that the plan is made from.
pub(crate) struct Observed<'a> {
    pub(crate) wanted: Wanted<'a>,
    /// The pods it has.
    pub(crate) pods: &'a [Arc<Pod>],
    /// The claims of its namespace.
    pub(crate) claims: &'a BTreeMap<ObjectKey, Arc<PersistentVolumeClaim>>,
    /// The template that pods had before the one that is being rolled out, by its revision's name.
    pub(crate) current: (&'a PodTemplateSpec, &'a str),
    /// The template that is being rolled out.
    pub(crate) update: (&'a PodTemplateSpec, &'a str),
    pub(crate) collisions: i32,
    pub(crate) reference: &'a OwnerReference,
}

/// What is to be done, in this order.
#[derive(Clone, Debug)]
pub(crate) enum Action {
    /// Make this claim for the pod of this name.
    CreateClaim(Box<PersistentVolumeClaim>, String),
    /// Make this pod.
    CreatePod(Box<v1::Pod>),
    DeletePod(Arc<Pod>),
    /// Label the pod by its name and number.
    Label(Arc<Pod>, i32),
    /// Have others own the claim, or nobody.
    Own(Arc<PersistentVolumeClaim>, Vec<OwnerReference>),
    /// Say that somebody else controls this claim.
    Contested(String),
    /// A pod cannot be made for this reason.
    Refuse(String, String),
}

/// What comes of looking once.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) actions: Vec<Action>,
    pub(crate) status: StatefulSetStatus,
    pub(crate) look_again: Option<Timestamp>,
}

/// Decides one step. Where order is kept, a step goes no further than the first pod that is not there and well.
pub(crate) fn plan(observed: &Observed<'_>, now: Timestamp) -> Plan {
    let mut step = Step::new(observed, now);
    if observed.wanted.set.metadata.deletion_timestamp.is_none() && step.replicate() && step.condemn() {
        step.roll();
    }
    let mut status = step.status();
    complete(&observed.wanted, &mut status);
    Plan {
        actions: step.actions,
        status,
        look_again: next_available(observed, now),
    }
}

/// When one of the ready pods comes to be available.
fn next_available(observed: &Observed<'_>, now: Timestamp) -> Option<Timestamp> {
    let from = |pod: &Arc<Pod>| pods::available_from(pod, observed.wanted.min_ready_seconds());
    observed.pods.iter().filter_map(from).filter(|at| *at > now).min()
}

struct Step<'a> {
    observed: &'a Observed<'a>,
    wanted: Wanted<'a>,
    now: Timestamp,
    /// By place; none where there is no such pod.
    replicas: Vec<Option<Arc<Pod>>>,
    /// Pods of numbers that the set is not to have, the highest first.
    condemned: Vec<Arc<Pod>>,
    actions: Vec<Action>,
    /// Pods of the current revision that are being deleted for the update.
    replaced: i32,
}

impl<'a> Step<'a> {
    fn new(observed: &'a Observed<'a>, now: Timestamp) -> Self {
        let wanted = observed.wanted;
        let mut replicas = vec![None; usize::try_from(wanted.replicas()).unwrap_or(0)];
        let mut condemned = Vec::new();
        for pod in observed.pods {
            let Some(ordinal) = wanted.ordinal(pod) else {
                continue;
            };
            let place = usize::try_from(ordinal - wanted.ordinals().start).ok();
            match place.and_then(|place| replicas.get_mut(place)) {
                Some(place) => *place = Some(pod.clone()),
                None => condemned.push(pod.clone()),
            }
        }
        condemned.sort_by_key(|pod| std::cmp::Reverse(wanted.ordinal(pod)));
        Self {
            observed,
            wanted,
            now,
            replicas,
            condemned,
            actions: Vec::new(),
            replaced: 0,
        }
    }

    fn is_available(&self, pod: &Pod) -> bool {
        let from = pods::available_from(pod, self.wanted.min_ready_seconds());
        from.is_some_and(|from| from <= self.now)
    }

    /// Neither available nor going to be.
    fn is_unavailable(&self, pod: Option<&Arc<Pod>>) -> bool {
        pod.is_none_or(|pod| !self.is_available(pod) || pods::is_terminating(pod))
    }

    /// Sees to every pod that is to be there. Says whether to go on.
    fn replicate(&mut self) -> bool {
        for place in 0..self.replicas.len() {
            let ordinal = self.wanted.ordinals().start + i32::try_from(place).unwrap_or(i32::MAX);
            let goes_on = match self.replicas[place].clone() {
                None => self.create(ordinal),
                Some(pod) => self.tend(&pod, ordinal),
            };
            if !goes_on && self.wanted.is_ordered() {
                return false;
            }
        }
        true
    }

    fn create(&mut self, ordinal: i32) -> bool {
        let template = if self.keeps_current(ordinal) {
            self.observed.current
        } else {
            self.observed.update
        };
        let pod = self
            .wanted
            .new_pod(ordinal, template, self.observed.reference.clone());
        let awaits = self.claims_of(ordinal).iter().any(|claim| {
            claim
                .as_ref()
                .is_some_and(|claim| Sides::new(self.wanted, &pod.metadata).awaits_deletion(claim))
        });
        if !awaits && self.provide(&pod.metadata, ordinal) {
            self.actions.push(Action::CreatePod(Box::new(pod)));
        }
        false
    }

    /// Whether a new pod of this number has the template from before the update.
    fn keeps_current(&self, ordinal: i32) -> bool {
        let place = ordinal - self.wanted.ordinals().start;
        !self.wanted.is_on_delete() && place < self.wanted.partition()
    }

    fn claims_of(&self, ordinal: i32) -> Vec<Option<Arc<PersistentVolumeClaim>>> {
        let namespace = self.wanted.set.metadata.namespace.as_deref().unwrap_or_default();
        let names = self.wanted.claim_templates().iter();
        names
            .map(|template| ObjectKey::new(namespace, &self.wanted.claim_name(template, ordinal)))
            .map(|key| self.observed.claims.get(&key).cloned())
            .collect()
    }

    /// Makes the claims that are missing. Says whether the pod can be made then.
    fn provide(&mut self, pod: &ObjectMeta, ordinal: i32) -> bool {
        let name = pod.name.clone().unwrap_or_default();
        let found = self.claims_of(ordinal);
        let mut able = true;
        for (claim, found) in self.wanted.claims(ordinal).into_iter().zip(found) {
            match found {
                None => self
                    .actions
                    .push(Action::CreateClaim(Box::new(claim), name.clone())),
                Some(found) if found.metadata.deletion_timestamp.is_some() => {
                    let claim = claim.metadata.name.unwrap_or_default();
                    let why = format!("pvc {claim} is being deleted");
                    self.actions.push(Action::Refuse(name.clone(), why));
                    able = false;
                }
                Some(_) => {}
            }
        }
        able
    }

    /// Sees to a pod that is there. Says whether all is well with it.
    fn tend(&mut self, pod: &Arc<Pod>, ordinal: i32) -> bool {
        if pods::is_finished(pod) {
            if !pods::is_terminating(pod) {
                self.actions.push(Action::DeletePod(pod.clone()));
            }
            return false;
        }
        if pods::phase(pod) == "Pending" && !pods::is_terminating(pod) {
            self.provide(&pod.metadata, ordinal);
            self.own_claims(pod, ordinal);
        }
        let well = !pods::is_terminating(pod) && self.is_available(pod) && pods::phase(pod) == "Running";
        if !well && self.wanted.is_ordered() {
            return false;
        }
        if !self.wanted.is_labelled(pod) {
            self.actions.push(Action::Label(pod.clone(), ordinal));
        }
        if pods::phase(pod) != "Pending" {
            self.own_claims(pod, ordinal);
        }
        true
    }

    /// Has those own the pod's claims whom the policy names.
    fn own_claims(&mut self, pod: &Pod, ordinal: i32) {
        let sides = Sides::new(self.wanted, &pod.metadata);
        for claim in self.claims_of(ordinal).into_iter().flatten() {
            let Some(owners) = sides.correction(&claim) else {
                continue;
            };
            if sides.is_contested(&claim) {
                let name = claim.metadata.name.clone().unwrap_or_default();
                self.actions.push(Action::Contested(name));
            }
            self.actions.push(Action::Own(claim, owners));
        }
    }

    /// Sees to the pods that are not to be there. Says whether none is left.
    fn condemn(&mut self) -> bool {
        let condemned = self.condemned.clone();
        for pod in &condemned {
            if let Some(ordinal) = self.wanted.ordinal(pod) {
                self.own_claims(pod, ordinal);
            }
        }
        let first_unwell = self.first_unwell();
        for pod in &condemned {
            let is_first = first_unwell.as_ref().is_some_and(|first| Arc::ptr_eq(first, pod));
            let waits = self.wanted.is_ordered() && !self.is_available(pod) && !is_first;
            if !pods::is_terminating(pod) && !waits {
                self.actions.push(Action::DeletePod(pod.clone()));
            }
            if self.wanted.is_ordered() {
                return false;
            }
        }
        true
    }

    /// The pod with the lowest number that is not well.
    fn first_unwell(&self) -> Option<Arc<Pod>> {
        // A replica that is not there at all is unwell too, but is none of the condemned.
        if self.replicas.iter().any(|pod| self.is_unavailable(pod.as_ref())) {
            return self
                .replicas
                .iter()
                .flatten()
                .find(|pod| self.is_unavailable(Some(pod)))
                .cloned();
        }
        let mut rising = self.condemned.iter().rev();
        rising.find(|pod| self.is_unavailable(Some(pod))).cloned()
    }

    /// Deletes pods of an older revision, from the highest number down, as many at once as may be missing.
    fn roll(&mut self) {
        if self.wanted.is_on_delete() {
            return;
        }
        let from = usize::try_from(self.wanted.partition()).unwrap_or(0);
        let update = self.observed.update.1;
        let strategy = self.wanted.spec.update_strategy.as_ref();
        let rolling = strategy.and_then(|strategy| strategy.rolling_update.as_ref());
        let missing = self
            .replicas
            .iter()
            .filter(|pod| self.is_unavailable(pod.as_ref()));
        // One at a time, and none behind one that is not well, unless another number is asked for.
        let Some(most) = rolling.and_then(|rolling| rolling.max_unavailable.as_ref()) else {
            for pod in self.replicas.iter().skip(from).rev() {
                let old = pod
                    .as_ref()
                    .filter(|pod| revision(pod) != update && !pods::is_terminating(pod));
                if let Some(pod) = old {
                    self.actions.push(Action::DeletePod(pod.clone()));
                    self.replaced = i32::from(revision(pod) == self.observed.current.1);
                    return;
                }
                if self.is_unavailable(pod.as_ref()) {
                    return;
                }
            }
            return;
        };
        let most = resolve(most, self.wanted.replicas(), Rounding::Down).max(1);
        let room = usize::try_from(most).unwrap_or(1).saturating_sub(missing.count());
        let old = self.replicas.iter().skip(from).rev().flatten();
        let old = old.filter(|pod| revision(pod) != update && !pods::is_terminating(pod));
        let gone: Vec<_> = old.take(room).cloned().collect();
        self.replaced = i32::try_from(gone.len()).unwrap_or(0);
        self.actions.extend(gone.into_iter().map(Action::DeletePod));
    }

    fn status(&self) -> StatefulSetStatus {
        let (current, update) = (self.observed.current.1, self.observed.update.1);
        let all = self.observed.pods;
        let count = |holds: &dyn Fn(&Pod) -> bool| {
            i32::try_from(all.iter().filter(|pod| holds(pod)).count()).unwrap_or(i32::MAX)
        };
        let of = |name: &str| count(&|pod| !pods::is_terminating(pod) && revision(pod) == name);
        let is_running = |pod: &Pod| pods::phase(pod) == "Running" && pods::is_ready(pod);
        StatefulSetStatus {
            replicas: count(&|_| true),
            ready_replicas: nonzero(count(&is_running)),
            available_replicas: Some(count(&|pod| is_running(pod) && self.is_available(pod))),
            current_replicas: nonzero(of(current) - self.replaced),
            updated_replicas: nonzero(of(update)),
            current_revision: Some(current.to_owned()),
            update_revision: Some(update.to_owned()),
            collision_count: Some(self.observed.collisions),
            observed_generation: self.wanted.set.metadata.generation,
            conditions: self
                .wanted
                .set
                .status
                .as_ref()
                .and_then(|status| status.conditions.clone()),
        }
    }
}

/// Once all pods are of the new revision and ready, it is the current one.
fn complete(wanted: &Wanted<'_>, status: &mut StatefulSetStatus) {
    let replicas = wanted.replicas();
    let all = |count: Option<i32>| count.unwrap_or(0) == replicas;
    if !wanted.is_on_delete()
        && all(status.updated_replicas)
        && all(status.ready_replicas)
        && status.replicas == replicas
    {
        status.current_replicas = status.updated_replicas;
        status.current_revision.clone_from(&status.update_revision);
    }
}

/// Whether writing `new` over `old` would say anything.
pub(crate) fn same_status(old: Option<&StatefulSetStatus>, new: &StatefulSetStatus) -> bool {
    let Some(old) = old else { return false };
    let zero = |count: Option<i32>| count.unwrap_or(0);
    let plain = |status: &StatefulSetStatus| StatefulSetStatus {
        ready_replicas: Some(zero(status.ready_replicas)),
        available_replicas: Some(zero(status.available_replicas)),
        current_replicas: Some(zero(status.current_replicas)),
        updated_replicas: Some(zero(status.updated_replicas)),
        collision_count: Some(zero(status.collision_count)),
        ..status.clone()
    };
    plain(old) == plain(new)
}

/// The pod's labels with those that tell who it is.
pub(crate) fn identity(wanted: &Wanted<'_>, ordinal: i32) -> BTreeMap<&'static str, String> {
    [
        (super::identity::NAME, wanted.pod_name(ordinal)),
        (super::identity::INDEX, ordinal.to_string()),
    ]
    .into()
}

/// Whether a pod was made from the revision of this name.
pub(crate) fn uses(pods: &[Arc<Pod>], name: Option<&String>) -> bool {
    pods.iter().any(|pod| {
        let labels = pod.metadata.labels.as_ref();
        labels.and_then(|labels| labels.get(REVISION)) == name
    })
}

fn nonzero(count: i32) -> Option<i32> {
    (count != 0).then_some(count)
}
