//! The garbage collector's shell: follows the metadata of every resource that can be collected, and does what the graph
//! decides.
//!
//! Which resources there are is found out by discovery at the start and whenever a CustomResourceDefinition changes.

use super::graph::{Answers, Decision, Graph, Item, Policy};
use crate::run::Context;
use crate::runtime::discovery::{Served, discover};
use crate::runtime::worker::ReconcileError;
use crate::runtime::{Change, Informer, ObjectKey, Queue, Reconcile, write};
use crate::target::Target;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube::api::{Api, DynamicObject, PartialObjectMeta, PropagationPolicy};
use serde_json::json;
use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

type Meta = PartialObjectMeta<DynamicObject>;

/// How long the collector waits for all resources to be listed before it begins regardless.
const SYNC: Duration = Duration::from_secs(30);
/// The pause before discovery is tried again.
const RETRY: Duration = Duration::from_secs(5);
const DEFINITIONS: (&str, &str) = ("apiextensions.k8s.io", "customresourcedefinitions");

pub(crate) struct Collector {
    client: kube::Client,
    graph: Arc<Mutex<Graph>>,
    queue: Arc<Queue<ObjectKey>>,
    /// What is served, by group and kind.
    served: Mutex<HashMap<(String, String), Served>>,
}

/// Builds the collector. Its queue holds uids.
pub(crate) fn start(context: &Context) -> (Arc<Collector>, Arc<Queue<ObjectKey>>) {
    let queue = Arc::new(Queue::new());
    let collector = Collector {
        client: context.client.clone(),
        graph: Arc::default(),
        queue: queue.clone(),
        served: Mutex::default(),
    };
    (Arc::new(collector), queue)
}

impl Collector {
    /// Follows all resources until the token is cancelled; says through `ready` when they have been listed once.
    pub(crate) async fn follow(
        self: Arc<Self>,
        client: kube::Client,
        ready: watch::Sender<bool>,
        shutdown: CancellationToken,
    ) {
        let tasks = TaskTracker::new();
        let changed = Arc::new(tokio::sync::Notify::new());
        let work = async {
            let mut followed: HashMap<(String, String), CancellationToken> = HashMap::new();
            loop {
                match discover(&client).await {
                    Ok(served) => {
                        let started =
                            self.refollow(&client, served, &mut followed, &tasks, &changed, &shutdown);
                        if !*ready.borrow() {
                            let synced =
                                futures::future::join_all(started.iter().map(|one| one.cache().synced()));
                            if tokio::time::timeout(SYNC, synced).await.is_err() {
                                tracing::warn!(
                                    "some resources could not be listed; collecting garbage regardless"
                                );
                            }
                            ready.send_replace(true);
                        }
                    }
                    Err(error) => {
                        tracing::warn!(%error, "could not find out which resources there are");
                        tokio::time::sleep(RETRY).await;
                        continue;
                    }
                }
                changed.notified().await;
            }
        };
        shutdown.run_until_cancelled(work).await;
        tasks.close();
        tasks.wait().await;
    }

    /// Starts following what is new, and stops following what is served no more.
    fn refollow(
        &self,
        client: &kube::Client,
        served: Vec<Served>,
        followed: &mut HashMap<(String, String), CancellationToken>,
        tasks: &TaskTracker,
        changed: &Arc<tokio::sync::Notify>,
        shutdown: &CancellationToken,
    ) -> Vec<Arc<Informer<Meta>>> {
        let key = |one: &Served| (one.resource.group.clone(), one.resource.kind.clone());
        let is_event = |one: &Served| one.resource.kind == "Event";
        let collectable: Vec<_> = served
            .iter()
            .filter(|one| one.is_collectable() && !is_event(one))
            .cloned()
            .collect();
        followed.retain(|kind, token| {
            let stays = collectable.iter().any(|one| key(one) == *kind);
            if !stays {
                token.cancel();
                self.forget_kind(&kind.0, &kind.1);
            }
            stays
        });
        *self.served.lock().expect("no holder of the lock panics") =
            served.into_iter().map(|one| (key(&one), one)).collect();
        let mut started = Vec::new();
        for one in collectable {
            if followed.contains_key(&key(&one)) {
                continue;
            }
            let token = shutdown.child_token();
            followed.insert(key(&one), token.clone());
            let informer = self.informer(client, &one, changed);
            started.push(informer.clone());
            tasks.spawn(async move { informer.follow(token).await });
        }
        started
    }

    fn informer(
        &self,
        client: &kube::Client,
        one: &Served,
        changed: &Arc<tokio::sync::Notify>,
    ) -> Arc<Informer<Meta>> {
        let api: Api<Meta> = Api::all_with(client.clone(), &one.resource);
        let informer = Informer::new(&one.resource.plural, api, |_| Vec::new()).with_slimming(slim);
        let (graph, queue) = (self.graph.clone(), self.queue.clone());
        let (group, kind) = (one.resource.group.clone(), one.resource.kind.clone());
        informer.subscribe(move |change| {
            let concerned = {
                let mut graph = graph.lock().expect("no holder of the lock panics");
                let meta = &change.object().metadata;
                match change {
                    Change::Deleted(_) => graph.forget(meta.uid.as_deref().unwrap_or_default()),
                    Change::Added(_) | Change::Updated(..) => graph.observe(read(&group, &kind, meta)),
                }
            };
            concerned
                .into_iter()
                .for_each(|uid| queue.add(ObjectKey::cluster(&uid)));
        });
        if (one.resource.group.as_str(), one.resource.plural.as_str()) == DEFINITIONS {
            let changed = changed.clone();
            informer.subscribe(move |_| changed.notify_one());
        }
        Arc::new(informer)
    }

    fn forget_kind(&self, group: &str, kind: &str) {
        let mut graph = self.graph.lock().expect("no holder of the lock panics");
        for uid in graph.of_kind(group, kind) {
            for concerned in graph.forget(&uid) {
                self.queue.add(ObjectKey::cluster(&concerned));
            }
        }
    }

    fn served(&self, group: &str, kind: &str) -> Option<Served> {
        let served = self.served.lock().expect("no holder of the lock panics");
        served.get(&(group.to_owned(), kind.to_owned())).cloned()
    }
}

/// Keeps of an object's metadata what the graph reads.
fn slim(meta: &mut ObjectMeta) {
    let meta_before = std::mem::take(meta);
    *meta = ObjectMeta {
        name: meta_before.name,
        namespace: meta_before.namespace,
        uid: meta_before.uid,
        resource_version: meta_before.resource_version,
        owner_references: meta_before.owner_references,
        finalizers: meta_before.finalizers,
        deletion_timestamp: meta_before.deletion_timestamp,
        ..ObjectMeta::default()
    };
}

fn read(group: &str, kind: &str, meta: &ObjectMeta) -> Item {
    Item {
        uid: meta.uid.clone().unwrap_or_default(),
        group: group.to_owned(),
        kind: kind.to_owned(),
        namespace: meta.namespace.clone().unwrap_or_default(),
        name: meta.name.clone().unwrap_or_default(),
        resource_version: meta.resource_version.clone().unwrap_or_default(),
        owners: meta.owner_references.clone().unwrap_or_default(),
        finalizers: meta.finalizers.clone().unwrap_or_default(),
        deleting: meta.deletion_timestamp.is_some(),
    }
}

impl Reconcile for Collector {
    type Key = ObjectKey;

    async fn reconcile(&self, key: &ObjectKey) -> Result<Option<Duration>, ReconcileError> {
        let mut decision = self.decide(&key.name, &Answers::new());
        if let Decision::Ask(item, owners) = &decision {
            let answers = self.ask(item, owners).await?;
            decision = self.decide(&key.name, &answers);
        }
        self.act(decision).await.map(|()| None)
    }
}

impl Collector {
    fn decide(&self, uid: &str, answers: &Answers) -> Decision {
        self.graph
            .lock()
            .expect("no holder of the lock panics")
            .decide(uid, answers)
    }

    /// Asks the API server whether owners are there that no watch has shown.
    async fn ask(&self, item: &Item, owners: &[OwnerReference]) -> Result<Answers, ReconcileError> {
        let mut answers = Answers::new();
        for owner in owners {
            let group = owner.api_version.rsplit_once('/').map_or("", |(group, _)| group);
            let Some(served) = self.served(group, &owner.kind) else {
                // Nobody can say what becomes of owners of an unknown kind, so nothing is done to what they own.
                answers.insert(owner.uid.clone(), true);
                continue;
            };
            // A cluster-scoped object cannot be owned by one in a namespace: there is no telling which.
            if served.namespaced && item.namespace.is_empty() {
                answers.insert(owner.uid.clone(), true);
                continue;
            }
            let api: Api<Meta> = served.api(self.client.clone(), &item.namespace);
            let found = api.get_opt(&owner.name).await;
            let found = found.map_err(ReconcileError::request(format!("reading owner {}", owner.name)))?;
            let there = found.is_some_and(|found| found.metadata.uid.as_ref() == Some(&owner.uid));
            answers.insert(owner.uid.clone(), there);
        }
        Ok(answers)
    }

    async fn act(&self, decision: Decision) -> Result<(), ReconcileError> {
        match decision {
            Decision::Nothing | Decision::Ask(..) => Ok(()),
            Decision::Delete(item, policy) => self.delete(&item, policy).await,
            Decision::SetOwners(item, owners) => self.set_owners(&item, &owners).await,
            Decision::SetFinalizers(item, finalizers) => self.set_finalizers(&item, &finalizers).await,
            Decision::Visit(uids) => {
                uids.iter()
                    .for_each(|uid| self.queue.add(ObjectKey::cluster(uid)));
                Ok(())
            }
            Decision::SetFree(item, dependents, finalizers) => {
                for (dependent, owners) in &dependents {
                    self.set_owners(dependent, owners).await?;
                }
                self.set_finalizers(&item, &finalizers).await
            }
        }
    }

    fn api_of(&self, item: &Item) -> Option<Api<Meta>> {
        let served = self.served(&item.group, &item.kind)?;
        Some(served.api(self.client.clone(), &item.namespace))
    }

    async fn delete(&self, item: &Item, policy: Policy) -> Result<(), ReconcileError> {
        let Some(served) = self.served(&item.group, &item.kind) else {
            return Ok(());
        };
        let api: Api<DynamicObject> = served.api(self.client.clone(), &item.namespace);
        let policy = match policy {
            Policy::Background => PropagationPolicy::Background,
            Policy::Foreground => PropagationPolicy::Foreground,
            Policy::Orphan => PropagationPolicy::Orphan,
        };
        let deleted = write::delete_observed(&api, &target(item), Some(policy)).await;
        deleted.map_err(ReconcileError::request(format!(
            "deleting {} {}",
            item.kind, item.name
        )))
    }

    async fn set_owners(&self, item: &Item, owners: &[OwnerReference]) -> Result<(), ReconcileError> {
        self.patch(item, json!({"metadata": {"ownerReferences": owners}}))
            .await
    }

    async fn set_finalizers(&self, item: &Item, finalizers: &[String]) -> Result<(), ReconcileError> {
        self.patch(item, json!({"metadata": {"finalizers": finalizers}}))
            .await
    }

    async fn patch(&self, item: &Item, change: serde_json::Value) -> Result<(), ReconcileError> {
        let Some(api) = self.api_of(item) else {
            return Ok(());
        };
        match write::patch(&api, &target(item), change).await {
            Ok(_) => Ok(()),
            Err(error) if write::is_gone(&error) => Ok(()),
            Err(error) => Err(ReconcileError::request(format!(
                "changing the owners of {} {}",
                item.kind, item.name
            ))(error)),
        }
    }
}

fn target(item: &Item) -> Target {
    Target {
        namespace: item.namespace.clone(),
        name: item.name.clone(),
        uid: item.uid.clone(),
        resource_version: item.resource_version.clone(),
    }
}
