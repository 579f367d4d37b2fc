//! The StatefulSet controller: keeps pods that have names, numbers and claims of their own.
//!
//! [`plan`] decides one step; this shell settles the revisions first, then does the step in order, and stops where something fails:
//! order is what such a set is for.

mod identity;
pub(crate) mod plan;
mod retention;
#[cfg(test)]
mod tests;

use super::claims::{Claims, claims};
use super::control::{self, PodControl, concerned};
use super::history::control::{Chosen, History};
use super::history::{self, Revisions};
use crate::Clock;
use crate::observed::Pod;
use crate::owners::controller_of;
use crate::run::{Context, Informers};
use crate::runtime::worker::until;
use crate::runtime::write::{self, Part};
use crate::runtime::{Cache, Change, Note, ObjectKey, Queue, Reconcile, ReconcileError};
use crate::target::Target;
use identity::Wanted;
use k8s_openapi::api::apps::v1::{ControllerRevision, StatefulSet, StatefulSetStatus};
use k8s_openapi::api::core::v1::{self, PersistentVolumeClaim};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::api::{Api, ApiResource, DynamicObject, PostParams};
use plan::{Action, Observed, Plan};
use serde_json::json;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// The label of a revision that tells its hash.
const HASH: &str = "controller.kubernetes.io/hash";

pub(crate) struct StatefulSets {
    client: kube::Client,
    clock: Clock,
    sets: Arc<Cache<StatefulSet>>,
    pods: Arc<Cache<Pod>>,
    claims: Arc<Cache<PersistentVolumeClaim>>,
    control: PodControl<StatefulSet>,
    history: History<StatefulSet>,
}

/// Builds the controller and its queue, fed by the informers.
pub(crate) fn start(context: &Context, informers: &Informers) -> (Arc<StatefulSets>, Arc<Queue<ObjectKey>>) {
    let queue = Arc::new(Queue::new());
    let own = queue.clone();
    informers
        .stateful_sets
        .subscribe(move |change| own.add(ObjectKey::of(&change.object().metadata)));
    let (own, sets) = (queue.clone(), informers.stateful_sets.cache().clone());
    informers.pods.subscribe(move |change| {
        let selector = |set: &StatefulSet| set.spec.as_ref().map(|spec| spec.selector.clone());
        for key in concerned(&sets, change, selector) {
            own.add(key);
        }
    });
    let own = queue.clone();
    informers.controller_revisions.subscribe(move |change| {
        let revision = change.object();
        let owner = controller_of(&revision.metadata).filter(|owner| owner.kind == "StatefulSet");
        if let Some(owner) = owner {
            let namespace = revision.metadata.namespace.as_deref().unwrap_or_default();
            own.add(ObjectKey::new(namespace, &owner.name));
        }
    });
    // A pod that is to come again waits until the claim of the one before it is gone.
    let (own, sets) = (queue.clone(), informers.stateful_sets.cache().clone());
    informers.claims.subscribe(move |change| {
        let Change::Deleted(claim) = change else { return };
        let key = ObjectKey::of(&claim.metadata);
        for set in sets.in_namespace(&key.namespace) {
            if Wanted::of(&set).is_some_and(|wanted| wanted.has_claim(&key.name)) {
                own.add(ObjectKey::of(&set.metadata));
            }
        }
    });
    let controller = StatefulSets {
        client: context.client.clone(),
        clock: context.config.clock,
        sets: informers.stateful_sets.cache().clone(),
        pods: informers.pods.cache().clone(),
        claims: informers.claims.cache().clone(),
        control: PodControl::new(context, informers),
        history: History::new(context, informers),
    };
    (Arc::new(controller), queue)
}

impl Reconcile for StatefulSets {
    type Key = ObjectKey;

    async fn reconcile(&self, key: &ObjectKey) -> Result<Option<Duration>, ReconcileError> {
        let Some(set) = self.sets.get(key) else {
            return Ok(None);
        };
        let Some(wanted) = Wanted::of(&set) else {
            return Ok(None);
        };
        let revisions = self.history.of(&set.metadata, &wanted.spec.selector);
        self.history.adopt(&set.metadata, &revisions).await?;
        let claims = self.pods_of(&wanted);
        self.control.settle(&set.metadata, &claims, None).await?;
        let Some(update) = self.update_revision(&wanted, &revisions).await? else {
            return Ok(None);
        };
        let now = self.clock.now();
        let (current, plan) = self.plan(&wanted, &claims.claimed, (&revisions, &update), now);
        let acted = self.act(&wanted, &plan).await;
        if !plan::same_status(set.status.as_ref(), &plan.status) {
            self.write_status(&wanted, &plan.status).await?;
        }
        acted?;
        let is_used = |revision: &ControllerRevision| {
            let name = revision.metadata.name.as_ref();
            name == current.metadata.name.as_ref()
                || name == update.metadata.name.as_ref()
                || plan::uses(&claims.claimed, name)
        };
        let superfluous = revisions.superfluous(is_used, wanted.spec.revision_history_limit);
        self.history.delete(&set.metadata, &superfluous).await?;
        Ok(plan.look_again.map(|at| until(now, at)))
    }
}

impl StatefulSets {
    /// Only pods that bear the set's name can be its own.
    fn pods_of(&self, wanted: &Wanted<'_>) -> Claims {
        let candidates = self.control.candidates(&wanted.set.metadata);
        let own = candidates.iter().filter(|pod| {
            let controlled = controller_of(&pod.metadata).is_some();
            controlled || wanted.ordinal(pod).is_some()
        });
        claims(&wanted.set.metadata, &wanted.spec.selector, own)
    }

    /// The revision of the set's template, which is made where there is none yet. None where it is to be hashed apart from
    /// another first.
    async fn update_revision(
        &self,
        wanted: &Wanted<'_>,
        revisions: &Revisions,
    ) -> Result<Option<Arc<ControllerRevision>>, ReconcileError> {
        let meta = &wanted.set.metadata;
        let collisions = collisions(wanted);
        let reference = Self::reference(wanted);
        let template = &wanted.spec.template;
        let mut new = history::new_revision(meta, reference, template, revisions.next_number());
        history::name(&mut new, meta, HASH, Some(collisions));
        match self.history.settle(meta, revisions.choose(new)).await? {
            Chosen::Revision(revision) => Ok(Some(revision)),
            Chosen::Collision => {
                let mut status = wanted.set.status.clone().unwrap_or_default();
                status.collision_count = Some(collisions.saturating_add(1));
                self.write_status(wanted, &status).await?;
                Ok(None)
            }
        }
    }

    fn reference(wanted: &Wanted<'_>) -> OwnerReference {
        PodControl::<StatefulSet>::reference(&wanted.set.metadata)
    }

    /// The plan, and the revision that was current when it was made.
    fn plan(
        &self,
        wanted: &Wanted<'_>,
        pods: &[Arc<Pod>],
        (revisions, update): (&Revisions, &Arc<ControllerRevision>),
        now: k8s_openapi::jiff::Timestamp,
    ) -> (Arc<ControllerRevision>, Plan) {
        let status = wanted.set.status.as_ref();
        let named = status.and_then(|status| status.current_revision.as_ref());
        let mut all = revisions.all.iter();
        let current = all.find(|revision| named.is_some() && revision.metadata.name.as_ref() == named);
        let current = current.unwrap_or(update).clone();
        let namespace = wanted.set.metadata.namespace.as_deref().unwrap_or_default();
        let claims: BTreeMap<_, _> = self
            .claims
            .in_namespace(namespace)
            .into_iter()
            .map(|claim| (ObjectKey::of(&claim.metadata), claim))
            .collect();
        let before = history::template(&current).unwrap_or_default();
        let observed = Observed {
            wanted: *wanted,
            pods,
            claims: &claims,
            current: (&before, current.metadata.name.as_deref().unwrap_or_default()),
            update: (
                &wanted.spec.template,
                update.metadata.name.as_deref().unwrap_or_default(),
            ),
            collisions: collisions(wanted),
            reference: &Self::reference(wanted),
        };
        let plan = plan::plan(&observed, now);
        (current, plan)
    }

    async fn act(&self, wanted: &Wanted<'_>, plan: &Plan) -> Result<(), ReconcileError> {
        for action in &plan.actions {
            match action {
                Action::CreateClaim(claim, pod) => self.create_claim(wanted, claim, pod).await?,
                Action::CreatePod(pod) => self.create_pod(wanted, pod).await?,
                Action::DeletePod(pod) => self.delete_pod(wanted, pod).await?,
                Action::Label(pod, ordinal) => {
                    let labels = plan::identity(wanted, *ordinal);
                    let change = json!({"labels": labels});
                    let changed = self.control.change(&wanted.set.metadata, pod, change).await;
                    let name = pod.metadata.name.as_deref().unwrap_or_default();
                    self.tell(
                        wanted,
                        "Update",
                        name,
                        changed.as_ref().err().map(ToString::to_string),
                    );
                    changed?;
                }
                Action::Own(claim, owners) => self.own(claim, owners).await?,
                Action::Contested(claim) => {
                    let message = format!(
                        "PersistentVolumeClaim {claim} has a conflicting OwnerReference that acts as a manging controller, the retention policy is ignored for this claim"
                    );
                    self.control.note(
                        &wanted.set.metadata,
                        Note::warning("ConflictingController", message),
                    );
                }
                Action::Refuse(pod, why) => {
                    self.tell(wanted, "Create", pod, Some(why.clone()));
                    return Err(ReconcileError::Waiting(why.clone()));
                }
            }
        }
        Ok(())
    }

    /// Tells what became of a pod.
    fn tell(&self, wanted: &Wanted<'_>, verb: &str, pod: &str, failure: Option<String>) {
        let name = wanted.name();
        let note = match failure {
            None => Note::normal(
                format!("Successful{verb}"),
                format!("{verb} Pod {pod} in StatefulSet {name} successful"),
            ),
            Some(why) => Note::warning(
                format!("Failed{verb}"),
                format!("{verb} Pod {pod} in StatefulSet {name} failed error: {why}"),
            ),
        };
        self.control.note(&wanted.set.metadata, note);
    }

    async fn create_claim(
        &self,
        wanted: &Wanted<'_>,
        claim: &PersistentVolumeClaim,
        pod: &str,
    ) -> Result<(), ReconcileError> {
        let (set, namespace) = (wanted.name(), claim.metadata.namespace.as_deref());
        let name = claim.metadata.name.as_deref().unwrap_or_default();
        let api: Api<PersistentVolumeClaim> =
            Api::namespaced(self.client.clone(), namespace.unwrap_or_default());
        let error = match api.create(&PostParams::default(), claim).await {
            Ok(claim) => {
                let mark = self.claims.mark(claim.metadata.resource_version.as_deref());
                self.claims.shows(mark).await;
                let message = format!("Create Claim {name} Pod {pod} in StatefulSet {set} success");
                let note = Note::normal("SuccessfulCreate", message);
                self.control.note(&wanted.set.metadata, note);
                return Ok(());
            }
            Err(error) => error,
        };
        if !write::is_conflict(&error) && !write::is_namespace_terminating(&error) {
            let why = write::api_message(&error);
            let message =
                format!("Create Claim {name} for Pod {pod} in StatefulSet {set} failed error: {why}");
            self.control
                .note(&wanted.set.metadata, Note::warning("FailedCreate", message));
            self.tell(
                wanted,
                "Create",
                pod,
                Some(format!("failed to create PVC {name}: {why}")),
            );
        }
        Err(ReconcileError::request(format!("creating claim {name}"))(error))
    }

    async fn create_pod(&self, wanted: &Wanted<'_>, pod: &v1::Pod) -> Result<(), ReconcileError> {
        let name = pod.metadata.name.as_deref().unwrap_or_default();
        let error = match write::create_pod(&self.client, pod).await {
            Ok(pod) => {
                let mark = self.pods.mark(pod.metadata.resource_version.as_deref());
                self.pods.shows(mark).await;
                self.tell(wanted, "Create", name, None);
                return Ok(());
            }
            Err(error) => error,
        };
        if write::is_namespace_terminating(&error) {
            return Ok(());
        }
        if !write::is_conflict(&error) {
            self.tell(wanted, "Create", name, Some(write::api_message(&error)));
        }
        Err(ReconcileError::request(format!("creating pod {name}"))(error))
    }

    async fn delete_pod(&self, wanted: &Wanted<'_>, pod: &Pod) -> Result<(), ReconcileError> {
        let target = Target::of(&pod.metadata);
        let api: Api<Pod> = Api::namespaced(self.client.clone(), &target.namespace);
        match write::delete(&api, &target, None).await {
            Ok(version) => {
                self.pods.shows(self.pods.mark(version.as_deref())).await;
                self.tell(wanted, "Delete", &target.name, None);
                Ok(())
            }
            Err(error) => {
                self.tell(wanted, "Delete", &target.name, Some(write::api_message(&error)));
                Err(ReconcileError::request(format!("deleting pod {}", target.name))(
                    error,
                ))
            }
        }
    }

    async fn own(
        &self,
        claim: &PersistentVolumeClaim,
        owners: &[OwnerReference],
    ) -> Result<(), ReconcileError> {
        let target = Target::of(&claim.metadata);
        let resource = ApiResource::erase::<PersistentVolumeClaim>(&());
        let api: Api<DynamicObject> = Api::namespaced_with(self.client.clone(), &target.namespace, &resource);
        let written = write::update(&api, &target, Part::Main, |object| {
            object.metadata.owner_references = Some(owners.to_vec());
        });
        match written.await {
            Ok(claim) => {
                let mark = self.claims.mark(claim.metadata.resource_version.as_deref());
                self.claims.shows(mark).await;
                Ok(())
            }
            Err(error) if error.is_gone() => Ok(()),
            Err(error) => Err(error),
        }
    }

    async fn write_status(
        &self,
        wanted: &Wanted<'_>,
        status: &StatefulSetStatus,
    ) -> Result<(), ReconcileError> {
        control::write_status(&self.client, &self.sets, &wanted.set.metadata, status).await
    }
}

fn collisions(wanted: &Wanted<'_>) -> i32 {
    let status = wanted.set.status.as_ref();
    status.and_then(|status| status.collision_count).unwrap_or(0)
}
