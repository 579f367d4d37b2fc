//! The ReplicaSet controller: keeps the number of a set's pods. That of ReplicationControllers is the same, with another
//! [`kind`].
//!
//! [`plan`] decides; this shell asks, creates in batches that grow while creating succeeds, deletes, and writes the status.

#[cfg(test)]
pub(crate) mod fixtures;
mod kind;
pub(crate) mod plan;
mod ranking;

use crate::Clock;
use crate::owners::{controller_of, controller_reference};
use crate::run::{Context, Informers};
use crate::runtime::events::reference;
use crate::runtime::worker::until;
use crate::runtime::write::{self, Part};
use crate::runtime::{Cache, Change, Informer, Note, ObjectKey, Queue, Reconcile, ReconcileError, Recorder};
use crate::target::Target;
use futures::future::join_all;
use k8s_openapi::api::apps::v1::{ReplicaSet, ReplicaSetStatus};
use k8s_openapi::api::core::v1::{Pod, ReplicationController};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kind::KeepsReplicas;
use kube::Resource;
use kube::api::{Api, ApiResource, DynamicObject, PostParams};
use plan::{Failure, Observed, Plan};
use serde_json::json;
use std::sync::Arc;
use std::time::Duration;

/// The first batch of pods that is created; each later one is twice as large.
const SLOW_START: usize = 1;

pub(crate) struct ReplicaSets<S: KeepsReplicas> {
    client: kube::Client,
    clock: Clock,
    sets: Arc<Cache<S>>,
    pods: Arc<Cache<Pod>>,
    recorder: Recorder,
}

/// A controller and its queue.
type Started<S> = (Arc<ReplicaSets<S>>, Arc<Queue<ObjectKey>>);

/// Builds the controller of ReplicaSets, fed by the informers.
pub(crate) fn start(context: &Context, informers: &Informers) -> Started<ReplicaSet> {
    start_for(context, &informers.replica_sets, &informers.pods)
}

/// Builds the controller of ReplicationControllers, fed by the informers.
pub(crate) fn start_older(context: &Context, informers: &Informers) -> Started<ReplicationController> {
    start_for(context, &informers.replication_controllers, &informers.pods)
}

fn start_for<S: KeepsReplicas>(
    context: &Context,
    informer: &Informer<S>,
    pods: &Informer<Pod>,
) -> Started<S> {
    let queue = Arc::new(Queue::new());
    let own = queue.clone();
    informer.subscribe(move |change| own.add(ObjectKey::of(Resource::meta(&**change.object()))));
    let (own, sets) = (queue.clone(), informer.cache().clone());
    pods.subscribe(move |change| enqueue_for_pod(&own, &sets, change));
    let controller = ReplicaSets {
        client: context.client.clone(),
        clock: context.config.clock,
        sets: informer.cache().clone(),
        pods: pods.cache().clone(),
        recorder: context.recorder.clone(),
    };
    (Arc::new(controller), queue)
}

/// A pod concerns the set that controls it, the set that did before, and if nobody does, every set that may adopt it.
fn enqueue_for_pod<S: KeepsReplicas>(queue: &Queue<ObjectKey>, sets: &Cache<S>, change: &Change<'_, Pod>) {
    let pod = change.object();
    let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
    let owners = [Some(pod), change.old()]
        .into_iter()
        .flatten()
        .filter_map(|pod| controller_of(&pod.metadata));
    for owner in owners.filter(|owner| owner.kind == S::kind(&())) {
        queue.add(ObjectKey::new(namespace, &owner.name));
    }
    if controller_of(&pod.metadata).is_some() || matches!(change, Change::Deleted(_)) {
        return;
    }
    for set in sets.in_namespace(namespace) {
        let set = set.as_replica_set();
        let selector = set
            .spec
            .as_ref()
            .and_then(|spec| crate::labels::compile(&spec.selector));
        if selector.is_some_and(|selector| crate::labels::matches(&selector, pod.metadata.labels.as_ref())) {
            queue.add(ObjectKey::of(&set.metadata));
        }
    }
}

impl<S: KeepsReplicas> Reconcile for ReplicaSets<S> {
    type Key = ObjectKey;

    async fn reconcile(&self, key: &ObjectKey) -> Result<Option<Duration>, ReconcileError> {
        let Some(found) = self.sets.get(key) else {
            return Ok(None);
        };
        let set = found.as_replica_set();
        let (pods, siblings) = self.observe(&set);
        let now = self.clock.now();
        let plan = plan::plan(
            &Observed {
                replica_set: &set,
                pods: &pods,
                siblings: &siblings,
            },
            now,
        );
        let failure = self.act(&set, &plan).await?;
        let (mut status, next) = plan::status(&set, &plan.claimed, failure.as_ref(), now);
        if !S::COUNTS_TERMINATING {
            status.terminating_replicas = None;
        }
        if !plan::same_status(set.status.as_ref(), &status) {
            self.write_status(&set, status).await?;
        }
        match failure {
            Some(failure) => Err(ReconcileError::Unexpected(failure.message)),
            None => Ok(next.map(|at| until(now, at))),
        }
    }
}

impl<S: KeepsReplicas> ReplicaSets<S> {
    fn observe(&self, set: &ReplicaSet) -> (Vec<Arc<Pod>>, Vec<Arc<Pod>>) {
        let uid = set.metadata.uid.as_deref().unwrap_or_default();
        let namespace = set.metadata.namespace.as_deref().unwrap_or_default();
        let mut pods = self.pods.by_term(&format!("owner/{uid}"));
        pods.extend(self.pods.by_term(&format!("orphan/{namespace}")));
        let siblings = match controller_of(&set.metadata) {
            None => self.pods.by_term(&format!("owner/{uid}")),
            Some(owner) => {
                let sets = self.sets.by_term(&format!("owner/{}", owner.uid));
                let uids = sets
                    .iter()
                    .filter_map(|set| Resource::meta(&**set).uid.as_deref());
                uids.flat_map(|uid| self.pods.by_term(&format!("owner/{uid}")))
                    .collect()
            }
        };
        (pods, siblings)
    }

    /// Does what is planned and waits until the pods' cache shows it. A failure to create or delete is the status's to tell.
    async fn act(&self, set: &ReplicaSet, plan: &Plan) -> Result<Option<Failure>, ReconcileError> {
        let namespace = set.metadata.namespace.as_deref().unwrap_or_default();
        let api: Api<Pod> = Api::namespaced(self.client.clone(), namespace);
        self.adopt_and_release(&api, set, plan).await?;
        let created = self.create(&api, set, plan.create).await;
        let deleted = self.delete(&api, set, &plan.delete).await;
        Ok(created.err().or(deleted.err()))
    }

    async fn adopt_and_release(
        &self,
        api: &Api<Pod>,
        set: &ReplicaSet,
        plan: &Plan,
    ) -> Result<(), ReconcileError> {
        if !plan.adopt.is_empty() {
            let target = Target::of(&set.metadata);
            let own: Api<S> = Api::namespaced(self.client.clone(), &target.namespace);
            if !write::is_still_there(&own, &target).await? {
                return Err(ReconcileError::Stale(target.name));
            }
        }
        for pod in &plan.adopt {
            let mut owners = pod.metadata.owner_references.clone().unwrap_or_default();
            owners.push(owner_reference::<S>(&set.metadata));
            self.set_owners(api, pod, json!(owners)).await?;
        }
        for pod in &plan.release {
            let mut owners = pod.metadata.owner_references.clone().unwrap_or_default();
            owners.retain(|owner| Some(&owner.uid) != set.metadata.uid.as_ref());
            self.set_owners(api, pod, json!(owners)).await?;
        }
        Ok(())
    }

    async fn set_owners(
        &self,
        api: &Api<Pod>,
        pod: &Pod,
        owners: serde_json::Value,
    ) -> Result<(), ReconcileError> {
        let target = Target::of(&pod.metadata);
        let change = json!({"metadata": {"ownerReferences": owners}});
        match write::patch(api, &target, change).await {
            Ok(pod) => {
                self.pods
                    .shows(self.pods.mark(pod.metadata.resource_version.as_deref()))
                    .await
            }
            Err(error) if write::is_gone(&error) => {}
            Err(error) => {
                return Err(ReconcileError::request(format!(
                    "changing the owner of pod {}",
                    target.name
                ))(error));
            }
        }
        Ok(())
    }

    /// Creates pods in batches of 1, 2, 4…, and stops at the first batch with a failure: what fails once, such as a quota,
    /// would fail as often.
    async fn create(&self, api: &Api<Pod>, set: &ReplicaSet, count: usize) -> Result<(), Failure> {
        let pod = plan::new_pod(set, owner_reference::<S>(&set.metadata));
        let mut left = count;
        let mut batch = SLOW_START;
        let params = PostParams::default();
        while left > 0 {
            batch = batch.min(left);
            let answers = join_all((0..batch).map(|_| api.create(&params, &pod))).await;
            let mut failed = None;
            for answer in answers {
                match answer {
                    Ok(pod) => self.created(set, &pod).await,
                    Err(error) => failed = Some(error),
                }
            }
            if let Some(error) = failed {
                return self.create_failed(set, &error);
            }
            left -= batch;
            batch *= 2;
        }
        Ok(())
    }

    async fn created(&self, set: &ReplicaSet, pod: &Pod) {
        let name = pod.metadata.name.as_deref().unwrap_or_default();
        self.note(
            set,
            Note::normal("SuccessfulCreate", format!("Created pod: {name}")),
        );
        self.pods
            .shows(self.pods.mark(pod.metadata.resource_version.as_deref()))
            .await;
    }

    fn create_failed(&self, set: &ReplicaSet, error: &kube::Error) -> Result<(), Failure> {
        if write::is_namespace_terminating(error) {
            return Ok(());
        }
        let message = write::api_message(error);
        self.note(
            set,
            Note::warning("FailedCreate", format!("Error creating: {message}")),
        );
        Err(Failure {
            reason: "FailedCreate",
            message,
        })
    }

    async fn delete(&self, api: &Api<Pod>, set: &ReplicaSet, victims: &[Arc<Pod>]) -> Result<(), Failure> {
        let deletes = victims.iter().map(|pod| async {
            let target = Target::of(&pod.metadata);
            let answer = write::delete(api, &target, None).await;
            (target.name, answer)
        });
        let mut failed = None;
        for (name, answer) in join_all(deletes).await {
            match answer {
                Ok(version) => {
                    self.note(
                        set,
                        Note::normal("SuccessfulDelete", format!("Deleted pod: {name}")),
                    );
                    self.pods.shows(self.pods.mark(version.as_deref())).await;
                }
                Err(error) => {
                    let message = write::api_message(&error);
                    self.note(
                        set,
                        Note::warning("FailedDelete", format!("Error deleting: {message}")),
                    );
                    failed = Some(Failure {
                        reason: "FailedDelete",
                        message,
                    });
                }
            }
        }
        failed.map_or(Ok(()), Err)
    }

    async fn write_status(&self, set: &ReplicaSet, status: ReplicaSetStatus) -> Result<(), ReconcileError> {
        let target = Target::of(&set.metadata);
        let resource = ApiResource::erase::<S>(&());
        let api: Api<DynamicObject> = Api::namespaced_with(self.client.clone(), &target.namespace, &resource);
        let written = write::update(&api, &target, Part::Status, |object| {
            object.data["status"] = json!(status)
        });
        match written.await {
            Ok(set) => {
                self.sets
                    .shows(self.sets.mark(set.metadata.resource_version.as_deref()))
                    .await;
                Ok(())
            }
            Err(error) if error.is_gone() => Ok(()),
            Err(error) => Err(error),
        }
    }

    fn note(&self, set: &ReplicaSet, note: Note) {
        let about = reference(&S::api_version(&()), &S::kind(&()), &set.metadata);
        self.recorder.record(&about, note);
    }
}

/// What marks a pod as a set's.
fn owner_reference<S: KeepsReplicas>(set: &ObjectMeta) -> OwnerReference {
    controller_reference(&S::api_version(&()), &S::kind(&()), set)
}
