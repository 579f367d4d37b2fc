//! The binder of volumes: gives claims the volumes that suit them, has volumes made where a class says by whom, and sees to
//! what becomes of a volume whose claim is gone.
//!
//! [`plan`] decides one step. This shell makes it and looks again, until there is nothing left to do. A claim or a volume is
//! looked at when it changes, when its other side does, and when somebody comes or goes who uses it.

mod acts;
mod change;
mod folders;
mod ledger;
mod plan;
mod plugins;
#[cfg(test)]
mod tests;

use super::protection::claim_names;
use crate::observed::Pod;
use crate::run::{Context, Informers};
use crate::runtime::{Cache, ObjectKey, Queue, Reconcile, ReconcileError, Recorder};
use crate::target::Target;
use change::{Side, Told};
use coracle_api::volumes::{Claim, Volume};
use k8s_openapi::api::core::v1::{Node, PersistentVolume, PersistentVolumeClaim};
use kube::api::{Api, ApiResource, DynamicObject};
use ledger::{Key, Ledger};
use plan::{Books, CLEANERS, Cleaner, Plan, cleaner_name, plan_claim, plan_volume};
use serde::Serialize;
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

/// More steps than one claim or volume can have ahead.
const MOST_STEPS: usize = 12;

pub(crate) struct Binder {
    client: kube::Client,
    recorder: Recorder,
    ledger: Arc<Mutex<Ledger>>,
    claims: Arc<Cache<PersistentVolumeClaim>>,
    volumes: Arc<Cache<PersistentVolume>>,
    pods: Arc<Cache<Pod>>,
    nodes: Arc<Cache<Node>>,
    makes_folders: bool,
    /// The pods that this process has made to empty volumes: uids by the names of volumes.
    cleaners: Mutex<BTreeMap<String, String>>,
}

/// Builds the controller and its queue, fed by the informers.
pub(crate) fn start(context: &Context, informers: &Informers) -> (Arc<Binder>, Arc<Queue<Key>>) {
    let (queue, ledger) = (Arc::new(Queue::new()), Arc::<Mutex<Ledger>>::default());
    follow_both(informers, &queue, &ledger);
    follow_others(informers, &queue, &ledger);
    let controller = Binder {
        client: context.client.clone(),
        recorder: context.recorder.clone(),
        ledger,
        claims: informers.claims.cache().clone(),
        volumes: informers.volumes.cache().clone(),
        pods: informers.pods.cache().clone(),
        nodes: informers.nodes.cache().clone(),
        makes_folders: context.config.enable_host_path_provisioner,
        cleaners: Mutex::default(),
    };
    (Arc::new(controller), queue)
}

/// Keeps the ledger of claims and volumes, and has them looked at.
fn follow_both(informers: &Informers, queue: &Arc<Queue<Key>>, ledger: &Arc<Mutex<Ledger>>) {
    let (own, books) = (queue.clone(), ledger.clone());
    informers.claims.subscribe(move |change| {
        let key = ObjectKey::of(&change.object().metadata);
        let concerned = locked(&books).claim(&key, change.standing().and_then(|claim| value(&**claim)));
        concerned.into_iter().for_each(|key| own.add(key));
    });
    let (own, books) = (queue.clone(), ledger.clone());
    informers.volumes.subscribe(move |change| {
        let name = change.object().metadata.name.as_deref().unwrap_or_default();
        let concerned = locked(&books).volume(name, change.standing().and_then(|volume| value(&**volume)));
        concerned.into_iter().for_each(|key| own.add(key));
    });
}

/// Has those looked at whom a class or a pod concerns.
fn follow_others(informers: &Informers, queue: &Arc<Queue<Key>>, ledger: &Arc<Mutex<Ledger>>) {
    let (own, books) = (queue.clone(), ledger.clone());
    informers.storage_classes.subscribe(move |change| {
        let name = change.object().metadata.name.as_deref().unwrap_or_default();
        let concerned = locked(&books).class(name, change.standing().and_then(|class| value(&**class)));
        concerned.into_iter().for_each(|key| own.add(key));
    });
    let (own, books) = (queue.clone(), ledger.clone());
    informers.pods.subscribe(move |change| {
        let pod = change.object();
        let key = ObjectKey::of(&pod.metadata);
        if key.namespace == CLEANERS
            && let Some(volume) = key.name.strip_prefix(&cleaner_name(""))
        {
            own.add(Key::volume(volume));
        }
        for name in claim_names(pod) {
            let claim = ObjectKey::new(&key.namespace, &name);
            let books = locked(&books);
            if books.is_open(&claim) {
                own.add(Key::claim(claim));
            } else if ended(pod) || change.standing().is_none() {
                books.kept_for(&claim).into_iter().for_each(|key| own.add(key));
            }
        }
    });
}

fn locked(ledger: &Mutex<Ledger>) -> MutexGuard<'_, Ledger> {
    ledger.lock().expect("no holder of the lock panics")
}

/// An object as the plan reads it.
fn value(object: &impl Serialize) -> Option<Arc<Value>> {
    serde_json::to_value(object).ok().map(Arc::new)
}

/// Whether a pod uses nothing any more.
fn ended(pod: &Pod) -> bool {
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    matches!(phase, Some("Succeeded" | "Failed"))
}

impl Reconcile for Binder {
    type Key = Key;

    async fn reconcile(&self, key: &Key) -> Result<Option<Duration>, ReconcileError> {
        for _ in 0..MOST_STEPS {
            let plan = self.plan(key);
            let Some(act) = plan.act else {
                plan.notes.into_iter().for_each(|note| self.tell(note));
                return Ok(None);
            };
            self.act(act).await?;
        }
        Err(ReconcileError::Waiting(format!("{key} does not come to rest")))
    }
}

impl Binder {
    fn plan(&self, key: &Key) -> Plan {
        let ledger = locked(&self.ledger);
        let books = Books {
            claims: &ledger.claims,
            volumes: &ledger.volumes,
            classes: &ledger.classes,
            waiting: &|claim| self.waiting(claim),
            using: &|key| self.using(key),
            has_node: &|name| self.nodes.get(&ObjectKey::cluster(name)).is_some(),
            cleaner: &|volume| self.cleaner(volume),
            makes_folders: self.makes_folders,
        };
        match key.side {
            Side::Claim => ledger
                .claims
                .get(&key.object)
                .map(|claim| plan_claim(books, Claim(claim))),
            Side::Volume => ledger
                .volumes
                .get(&key.object.name)
                .map(|volume| plan_volume(books, volume)),
        }
        .unwrap_or_default()
    }

    fn users(&self, claim: &ObjectKey) -> Vec<Arc<Pod>> {
        let mut pods = self.pods.in_namespace(&claim.namespace);
        pods.retain(|pod| !ended(pod) && claim_names(pod).contains(&claim.name));
        pods
    }

    fn waiting(&self, claim: Claim<'_>) -> Vec<String> {
        let mut pods = self.users(&ObjectKey::new(claim.namespace(), claim.name()));
        let node = |pod: &Pod| pod.spec.as_ref().and_then(|spec| spec.node_name.clone());
        pods.retain(|pod| node(pod).is_none_or(|node| node.is_empty()));
        pods.iter().filter_map(|pod| pod.metadata.name.clone()).collect()
    }

    fn using(&self, claim: &ObjectKey) -> Vec<String> {
        let pods = self.users(claim);
        pods.iter()
            .map(|pod| ObjectKey::of(&pod.metadata).to_string())
            .collect()
    }

    fn cleaner(&self, volume: Volume<'_>) -> Cleaner {
        let Some(pod) = self
            .pods
            .get(&ObjectKey::new(CLEANERS, &cleaner_name(volume.name())))
        else {
            return Cleaner::Absent;
        };
        let target = Target::of(&pod.metadata);
        let own = self.cleaners.lock().expect("no holder of the lock panics");
        if own.get(volume.name()) != Some(&target.uid) {
            return Cleaner::Strange(target);
        }
        let status = pod.status.as_ref();
        match status.and_then(|status| status.phase.as_deref()) {
            Some("Succeeded") => Cleaner::Succeeded(target),
            Some("Failed") => {
                let why = status.and_then(|status| status.message.clone());
                let why = why.unwrap_or_else(|| "pod failed, pod.Status.Message unknown".to_owned());
                Cleaner::Failed(target, why)
            }
            _ => Cleaner::AtWork,
        }
    }

    fn tell(&self, told: Told) {
        self.recorder.record(&told.about, told.note);
    }

    /// The objects of one side, untyped, so that what this program does not know of them survives.
    fn api(&self, side: Side, namespace: &str) -> Api<DynamicObject> {
        let client = self.client.clone();
        match side {
            Side::Claim => {
                let resource = ApiResource::erase::<PersistentVolumeClaim>(&());
                Api::namespaced_with(client, namespace, &resource)
            }
            Side::Volume => Api::all_with(client, &ApiResource::erase::<PersistentVolume>(&())),
        }
    }

    /// Waits until what was written of one side is seen.
    async fn seen(&self, side: Side, version: Option<&str>) {
        match side {
            Side::Claim => self.claims.shows(self.claims.mark(version)).await,
            Side::Volume => self.volumes.shows(self.volumes.mark(version)).await,
        }
    }
}
