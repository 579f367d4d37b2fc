//! The DaemonSet controller: keeps one pod on every node that is meant.
//!
//! [`plan`] decides; this shell settles the revision of the template first, then acts, and writes the status from what is seen
//! after that.

mod nodes;
pub(crate) mod plan;
#[cfg(test)]
mod tests;

use super::control::{self, PodControl, concerned};
use super::hash;
use super::history::control::{Chosen, History};
use super::history::{self, Revisions};
use super::pods::Failure;
use crate::Clock;
use crate::observed::Pod;
use crate::run::{Context, Informers};
use crate::runtime::worker::until;
use crate::runtime::{Cache, Change, Note, ObjectKey, Queue, Reconcile, ReconcileError};
use k8s_openapi::api::apps::v1::{ControllerRevision, DaemonSet, DaemonSetStatus};
use k8s_openapi::api::core::v1::{self, Node};
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use plan::{HASH, Observed, Pauses};
use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// The pause after a failed pod was replaced; each further one on the same node doubles it.
const FIRST_PAUSE: SignedDuration = SignedDuration::from_secs(1);
/// The longest pause.
const LONGEST_PAUSE: SignedDuration = SignedDuration::from_mins(15);

pub(crate) struct DaemonSets {
    client: kube::Client,
    clock: Clock,
    sets: Arc<Cache<DaemonSet>>,
    nodes: Arc<Cache<Node>>,
    control: PodControl<DaemonSet>,
    history: History<DaemonSet>,
    /// Failed pods that were replaced, by the set's uid and the node: how long the last pause was, and when it ends.
    failures: Mutex<HashMap<(String, String), (SignedDuration, Timestamp)>>,
}

/// Builds the controller and its queue, fed by the informers.
pub(crate) fn start(context: &Context, informers: &Informers) -> (Arc<DaemonSets>, Arc<Queue<ObjectKey>>) {
    let queue = Arc::new(Queue::new());
    let own = queue.clone();
    informers
        .daemon_sets
        .subscribe(move |change| own.add(ObjectKey::of(&change.object().metadata)));
    let (own, sets) = (queue.clone(), informers.daemon_sets.cache().clone());
    informers.pods.subscribe(move |change| {
        let selector = |set: &DaemonSet| set.spec.as_ref().map(|spec| spec.selector.clone());
        for key in concerned(&sets, change, selector) {
            own.add(key);
        }
    });
    let (own, sets) = (queue.clone(), informers.daemon_sets.cache().clone());
    informers.nodes.subscribe(move |change| {
        for set in sets.all() {
            if concerns(&set, change) {
                own.add(ObjectKey::of(&set.metadata));
            }
        }
    });
    let controller = DaemonSets {
        client: context.client.clone(),
        clock: context.config.clock,
        sets: informers.daemon_sets.cache().clone(),
        nodes: informers.nodes.cache().clone(),
        control: PodControl::new(context, informers),
        history: History::new(context, informers),
        failures: Mutex::default(),
    };
    (Arc::new(controller), queue)
}

/// Whether the node has come to mean something else to the set.
fn concerns(set: &DaemonSet, change: &Change<'_, Node>) -> bool {
    match change {
        Change::Updated(old, new) => nodes::place(set, old) != nodes::place(set, new),
        Change::Added(_) | Change::Deleted(_) => true,
    }
}

impl Reconcile for DaemonSets {
    type Key = ObjectKey;

    async fn reconcile(&self, key: &ObjectKey) -> Result<Option<Duration>, ReconcileError> {
        let Some(set) = self.sets.get(key) else {
            return Ok(None);
        };
        let Some(spec) = set.spec.as_ref() else {
            return Ok(None);
        };
        if crate::labels::is_empty(&spec.selector) {
            let message = "This daemon set is selecting all pods. A non-empty selector is required.";
            self.control
                .note(&set.metadata, Note::warning("SelectingAll", message.to_owned()));
            return Ok(None);
        }
        if set.metadata.deletion_timestamp.is_some() {
            return Ok(None);
        }
        let revisions = self.history.of(&set.metadata, &spec.selector);
        self.history.adopt(&set.metadata, &revisions).await?;
        let claims = plan::own(&set, &self.control.candidates(&set.metadata));
        self.control.settle(&set.metadata, &claims, None).await?;
        let Some(current) = self.revision(&set, &revisions).await? else {
            return Ok(None);
        };
        self.keep(&set, (&revisions, &current)).await
    }
}

impl DaemonSets {
    /// The revision of the set's template, which is made where there is none yet. None where it is to be hashed apart from
    /// another first.
    async fn revision(
        &self,
        set: &DaemonSet,
        revisions: &Revisions,
    ) -> Result<Option<Arc<ControllerRevision>>, ReconcileError> {
        let template = set
            .spec
            .as_ref()
            .map(|spec| spec.template.clone())
            .unwrap_or_default();
        let reference = PodControl::<DaemonSet>::reference(&set.metadata);
        let mut new = history::new_revision(&set.metadata, reference, &template, revisions.next_number());
        let collisions = set.status.as_ref().and_then(|status| status.collision_count);
        let hash = hash::of(&template, collisions);
        let name = set.metadata.name.as_deref().unwrap_or_default();
        new.metadata.name = Some(format!("{name}-{hash}"));
        new.metadata
            .labels
            .get_or_insert_default()
            .insert(HASH.to_owned(), hash);
        match self.history.settle(&set.metadata, revisions.choose(new)).await? {
            Chosen::Revision(revision) => Ok(Some(revision)),
            Chosen::Collision => {
                let mut status = set.status.clone().unwrap_or_default();
                status.collision_count = Some(collisions.unwrap_or(0).saturating_add(1));
                self.write_status(set, status).await?;
                Ok(None)
            }
        }
    }

    /// Brings pods, status and history to where they should be.
    async fn keep(
        &self,
        set: &DaemonSet,
        (revisions, current): (&Revisions, &ControllerRevision),
    ) -> Result<Option<Duration>, ReconcileError> {
        let now = self.clock.now();
        let uid = set.metadata.uid.clone().unwrap_or_default();
        let label = |revision: &ControllerRevision| {
            let labels = revision.metadata.labels.as_ref();
            labels
                .and_then(|labels| labels.get(HASH))
                .cloned()
                .unwrap_or_default()
        };
        let (hash, nodes, pauses) = (label(current), self.nodes.all(), self.pauses(&uid));
        let pods = plan::own(set, &self.control.candidates(&set.metadata)).claimed;
        let observed = |pods| Observed {
            set,
            nodes: &nodes,
            pods,
            hash: &hash,
            pauses: &pauses,
        };
        let mut plan = plan::plan(&observed(&pods), now);
        for note in plan.notes.drain(..) {
            self.control.note(&set.metadata, note);
        }
        self.pause(&uid, &plan.failed, now);
        let failure = self.act(set, &plan, &hash).await;
        let pods = plan::own(set, &self.control.candidates(&set.metadata)).claimed;
        let status = plan::status(&observed(&pods), now);
        if set.status.as_ref() != Some(&status) {
            self.write_status(set, status).await?;
        }
        if let Some(failure) = failure {
            return Err(ReconcileError::Unexpected(failure.message));
        }
        let is_used = |revision: &ControllerRevision| {
            let hash = label(revision);
            revision.metadata.name == current.metadata.name || pods.iter().any(|pod| hash_of(pod) == hash)
        };
        let limit = set.spec.as_ref().and_then(|spec| spec.revision_history_limit);
        let superfluous = revisions.superfluous(is_used, limit);
        self.history.delete(&set.metadata, &superfluous).await?;
        Ok(plan.look_again.map(|at| until(now, at)))
    }

    async fn act(&self, set: &DaemonSet, plan: &plan::Plan, hash: &str) -> Option<Failure> {
        let reference = PodControl::<DaemonSet>::reference(&set.metadata);
        let new = plan.create.iter();
        let new: Vec<v1::Pod> = new
            .map(|node| plan::new_pod(set, node, hash, reference.clone()))
            .collect();
        let created = self.control.create(&set.metadata, &new).await;
        let deleted = self.control.delete(&set.metadata, &plan.delete).await;
        created.failure.or(deleted.failure)
    }

    fn pauses(&self, set: &str) -> Pauses {
        let failures = self.failures();
        let own = failures.iter().filter(|((uid, _), _)| uid == set);
        own.map(|((_, node), (_, until))| (node.clone(), *until))
            .collect()
    }

    /// Has the next failed pod of these nodes wait longer than the last, unless that was long ago.
    fn pause(&self, set: &str, nodes: &[String], now: Timestamp) {
        let mut failures = self.failures();
        failures.retain(|_, (pause, until)| {
            until
                .saturating_add(*pause + LONGEST_PAUSE)
                .is_ok_and(|end| end > now)
        });
        for node in nodes {
            let entry = failures.entry((set.to_owned(), node.clone()));
            let entry = entry.or_insert((SignedDuration::ZERO, now));
            let pause = (entry.0 + entry.0).clamp(FIRST_PAUSE, LONGEST_PAUSE);
            *entry = (pause, now.saturating_add(pause).unwrap_or(now));
        }
    }

    fn failures(&self) -> std::sync::MutexGuard<'_, HashMap<(String, String), (SignedDuration, Timestamp)>> {
        self.failures.lock().expect("no holder of the lock panics")
    }

    async fn write_status(&self, set: &DaemonSet, status: DaemonSetStatus) -> Result<(), ReconcileError> {
        control::write_status(&self.client, &self.sets, &set.metadata, &status).await
    }
}

fn hash_of(pod: &Pod) -> String {
    let labels = pod.metadata.labels.as_ref();
    labels
        .and_then(|labels| labels.get(HASH))
        .cloned()
        .unwrap_or_default()
}
