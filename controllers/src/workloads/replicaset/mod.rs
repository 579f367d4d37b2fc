//! The ReplicaSet controller: keeps the number of a set's pods. That of ReplicationControllers is the same, with another
//! [`kind`].
//!
//! [`plan`] decides; this shell asks, acts, and writes the status.

#[cfg(test)]
pub(crate) mod fixtures;
mod kind;
pub(crate) mod plan;
mod ranking;

use super::control::{self, PodControl, concerned};
use super::pods::Failure;
use crate::Clock;
use crate::observed::Pod;
use crate::owners::controller_of;
use crate::run::{Context, Informers};
use crate::runtime::worker::until;
use crate::runtime::{Cache, Informer, ObjectKey, Queue, Reconcile, ReconcileError};
use k8s_openapi::api::apps::v1::{ReplicaSet, ReplicaSetStatus};
use k8s_openapi::api::core::v1::ReplicationController;
use kind::KeepsReplicas;
use kube::Resource;
use plan::{Observed, Plan};
use std::sync::Arc;
use std::time::Duration;

pub(crate) struct ReplicaSets<S: KeepsReplicas> {
    client: kube::Client,
    clock: Clock,
    sets: Arc<Cache<S>>,
    pods: Arc<Cache<Pod>>,
    control: PodControl<S>,
}

/// A controller and its queue.
type Started<S> = (Arc<ReplicaSets<S>>, Arc<Queue<ObjectKey>>);

/// Builds the controller of ReplicaSets, fed by the informers.
pub(crate) fn start(context: &Context, informers: &Informers) -> Started<ReplicaSet> {
    start_for(context, &informers.replica_sets, informers)
}

/// Builds the controller of ReplicationControllers, fed by the informers.
pub(crate) fn start_older(context: &Context, informers: &Informers) -> Started<ReplicationController> {
    start_for(context, &informers.replication_controllers, informers)
}

fn start_for<S: KeepsReplicas>(
    context: &Context,
    informer: &Informer<S>,
    informers: &Informers,
) -> Started<S> {
    let pods = &informers.pods;
    let queue = Arc::new(Queue::new());
    let own = queue.clone();
    informer.subscribe(move |change| own.add(ObjectKey::of(Resource::meta(&**change.object()))));
    let (own, sets) = (queue.clone(), informer.cache().clone());
    pods.subscribe(move |change| {
        let selector = |set: &S| {
            set.as_replica_set()
                .spec
                .as_ref()
                .map(|spec| spec.selector.clone())
        };
        for key in concerned(&sets, change, selector) {
            own.add(key);
        }
    });
    let controller = ReplicaSets {
        client: context.client.clone(),
        clock: context.config.clock,
        sets: informer.cache().clone(),
        pods: pods.cache().clone(),
        control: PodControl::new(context, informers),
    };
    (Arc::new(controller), queue)
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
        let (mut status, next) = plan::status(&set, &plan.claims.claimed, failure.as_ref(), now);
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
        let pods = self.control.candidates(&set.metadata);
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

    /// Does what is planned. A failure to create or delete is the status's to tell.
    async fn act(&self, set: &ReplicaSet, plan: &Plan) -> Result<Option<Failure>, ReconcileError> {
        self.control.settle(&set.metadata, &plan.claims, None).await?;
        let new = plan::new_pod(set, PodControl::<S>::reference(&set.metadata));
        let created = self.control.create(&set.metadata, &vec![new; plan.create]).await;
        let deleted = self.control.delete(&set.metadata, &plan.delete).await;
        Ok(created.failure.or(deleted.failure))
    }

    async fn write_status(&self, set: &ReplicaSet, status: ReplicaSetStatus) -> Result<(), ReconcileError> {
        control::write_status(&self.client, &self.sets, &set.metadata, &status).await
    }
}
