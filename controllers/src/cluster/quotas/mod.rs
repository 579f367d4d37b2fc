//! The ResourceQuota controller: counts what a namespace's objects use of its quotas, when a quota is new or asks for other
//! amounts, when something goes that was counted, and every few minutes.
//!
//! Admission charges what is written to the status; only what goes is found here. What is counted is listed after the quota
//! was read, and written against the revision that was read: a charge in between makes the write fail, and it is counted
//! again. Which kinds are followed depends on what quotas name.

mod plan;

use crate::run::{Context, Informers};
use crate::runtime::discovery::{Served, discover};
use crate::runtime::informer::Observable;
use crate::runtime::{Cache, Change, Informer, ObjectKey, Queue, Reconcile, ReconcileError};
use coracle_api::amounts::{self, Amounts};
use coracle_api::quota::{Counted, is_merely_counted, recount};
use k8s_openapi::api::core::v1::ResourceQuota;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::jiff::Timestamp;
use kube::Api;
use kube::api::{ApiResource, DynamicObject, ListParams, PartialObjectMeta, PostParams};
use kube::core::discovery::verbs;
use serde::Serialize;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

type Meta = PartialObjectMeta<DynamicObject>;

/// How long a count stands without being looked at again (`--resource-quota-sync-period`).
const RESYNC: Duration = Duration::from_secs(300);
/// How long the first list of a kind is waited for.
const SYNC: Duration = Duration::from_secs(10);
/// Objects that are asked for at a time.
const PAGE: u32 = 500;

pub(crate) struct Quotas {
    client: kube::Client,
    /// Follows what is counted.
    shared: kube::Client,
    cache: Arc<Cache<ResourceQuota>>,
    queue: Arc<Queue<ObjectKey>>,
    served: Mutex<Arc<Vec<Served>>>,
    /// The group and plural name of kinds that are followed.
    followed: Mutex<BTreeSet<(String, String)>>,
    tasks: TaskTracker,
    shutdown: CancellationToken,
}

/// Builds the controller and its queue, fed by the informers. Kinds that quotas name are followed with the shared client.
pub(crate) fn start(
    context: &Context,
    informers: &Informers,
    shared: kube::Client,
    (tasks, shutdown): (TaskTracker, CancellationToken),
) -> (Arc<Quotas>, Arc<Queue<ObjectKey>>) {
    let queue = Arc::new(Queue::new());
    let own = queue.clone();
    informers.resource_quotas.subscribe(move |change| {
        let hard = |quota: &ResourceQuota| quota.spec.as_ref().and_then(|spec| spec.hard.clone());
        let asks_for_others = change.old().is_none_or(|old| hard(old) != hard(change.object()));
        if asks_for_others && !matches!(change, Change::Deleted(_)) {
            own.add(ObjectKey::of(&change.object().metadata));
        }
    });
    let cache = informers.resource_quotas.cache().clone();
    on_leaving(&informers.pods, ("", "pods"), &cache, &queue, plan::frees);
    on_leaving(
        &informers.services,
        ("", "services"),
        &cache,
        &queue,
        |old, new| old.spec != new.spec,
    );
    let quotas = Quotas {
        client: context.client.clone(),
        shared,
        cache,
        queue: queue.clone(),
        served: Mutex::default(),
        followed: Mutex::new([("", "pods"), ("", "services")].map(owned).into()),
        tasks,
        shutdown,
    };
    (Arc::new(quotas), queue)
}

fn owned((group, resource): (&str, &str)) -> (String, String) {
    (group.to_owned(), resource.to_owned())
}

fn value(object: &impl Serialize) -> Value {
    serde_json::to_value(object).unwrap_or_default()
}

/// Has the quotas that count a resource counted again when one of its objects is gone, or changes so that it may use less.
fn on_leaving<K: Observable>(
    informer: &Informer<K>,
    resource: (&'static str, &'static str),
    quotas: &Arc<Cache<ResourceQuota>>,
    queue: &Arc<Queue<ObjectKey>>,
    frees: fn(&K, &K) -> bool,
) {
    let (quotas, queue) = (quotas.clone(), queue.clone());
    informer.subscribe(move |change| {
        let leaves = match change {
            Change::Added(_) => false,
            Change::Updated(old, new) => frees(old, new),
            Change::Deleted(_) => true,
        };
        if leaves {
            count_again(&quotas, &queue, resource, change.object().meta());
        }
    });
}

fn count_again(
    quotas: &Cache<ResourceQuota>,
    queue: &Queue<ObjectKey>,
    (group, resource): (&str, &str),
    gone: &ObjectMeta,
) {
    for quota in quotas.in_namespace(gone.namespace.as_deref().unwrap_or_default()) {
        if plan::counts(&value(&*quota), Counted::new(group, resource)) {
            queue.add(ObjectKey::of(&quota.metadata));
        }
    }
}

impl Reconcile for Quotas {
    type Key = ObjectKey;

    async fn reconcile(&self, key: &ObjectKey) -> Result<Option<Duration>, ReconcileError> {
        if self.cache.get(key).is_none() {
            return Ok(None);
        }
        let Some(mut quota) = self.read(key).await? else {
            return Ok(None);
        };
        let seen = value(&quota);
        let mut counted = Amounts::new();
        for served in self.named_by(&seen).await? {
            self.follow(&served).await;
            let objects = self.list(&served, &key.namespace).await?;
            let resource = Counted::new(&served.resource.group, &served.resource.plural);
            counted.extend(recount(&seen, resource, &objects, Timestamp::now()));
        }
        if let Some(status) = plan::status(&seen, &counted) {
            quota.data["status"] = status;
            let written = self
                .api(&key.namespace)
                .replace_status(&key.name, &PostParams::default(), &quota)
                .await;
            written.map_err(ReconcileError::request(format!("updating resource quota {key}")))?;
        }
        Ok(Some(RESYNC))
    }
}

impl Quotas {
    fn api(&self, namespace: &str) -> Api<DynamicObject> {
        let resource = ApiResource::erase::<ResourceQuota>(&());
        Api::namespaced_with(self.client.clone(), namespace, &resource)
    }

    /// The quota as it stands. The controller's role lets it list, not get.
    async fn read(&self, key: &ObjectKey) -> Result<Option<DynamicObject>, ReconcileError> {
        let this = ListParams::default().fields(&format!("metadata.name={}", key.name));
        let found = self.api(&key.namespace).list(&this).await;
        let found = found.map_err(ReconcileError::request(format!("reading resource quota {key}")))?;
        let typed = |mut quota: DynamicObject| {
            quota.types = Some(kube::core::TypeMeta::resource::<ResourceQuota>());
            quota
        };
        Ok(found.items.into_iter().next().map(typed))
    }

    /// The resources that a quota counts objects of.
    async fn named_by(&self, quota: &Value) -> Result<Vec<Served>, ReconcileError> {
        let counted = |served: &Served| {
            let resource = Counted::new(&served.resource.group, &served.resource.plural);
            served.namespaced && served.takes(verbs::LIST) && plan::counts(quota, resource)
        };
        let known = self.served.lock().expect("no holder of the lock panics").clone();
        let found: Vec<Served> = known.iter().filter(|served| counted(served)).cloned().collect();
        let hard = amounts::read(&quota["spec"]["hard"]);
        let is_named = |name: &String| {
            found.iter().any(|served| {
                Counted::new(&served.resource.group, &served.resource.plural).is_tracked_by(name)
            })
        };
        if hard.keys().all(is_named) {
            return Ok(found);
        }
        // A name that nothing answers to may be that of a kind that is new.
        let now = discover(&self.shared).await;
        let now = Arc::new(now.map_err(ReconcileError::request("finding out what is served"))?);
        *self.served.lock().expect("no holder of the lock panics") = now.clone();
        Ok(now.iter().filter(|served| counted(served)).cloned().collect())
    }

    /// Begins to follow the objects of a resource, and waits until they have been listed.
    async fn follow(&self, served: &Served) {
        let name = (served.resource.group.clone(), served.resource.plural.clone());
        let new = self
            .followed
            .lock()
            .expect("no holder of the lock panics")
            .insert(name.clone());
        if !new || !served.takes(verbs::WATCH) {
            return;
        }
        let api: Api<Meta> = Api::all_with(self.shared.clone(), &served.resource);
        let informer =
            Arc::new(Informer::new(&served.resource.plural, api, |_| Vec::new()).with_slimming(slim));
        let (quotas, queue) = (self.cache.clone(), self.queue.clone());
        informer.subscribe(move |change| {
            if let Change::Deleted(gone) = change {
                count_again(&quotas, &queue, (&name.0, &name.1), &gone.metadata);
            }
        });
        let (following, shutdown) = (informer.clone(), self.shutdown.clone());
        self.tasks.spawn(async move { following.follow(shutdown).await });
        if tokio::time::timeout(SYNC, informer.cache().synced())
            .await
            .is_err()
        {
            tracing::warn!(
                resource = served.resource.plural,
                "counted before its objects could be followed"
            );
        }
    }

    /// The objects of a namespace, whole or, where it is enough to know that they are there, their metadata.
    async fn list(&self, served: &Served, namespace: &str) -> Result<Vec<Value>, ReconcileError> {
        let resource = Counted::new(&served.resource.group, &served.resource.plural);
        let mut objects = Vec::new();
        let mut page = ListParams::default().limit(PAGE);
        loop {
            let doing = ReconcileError::request(format!("counting {}", served.resource.plural));
            let more = if is_merely_counted(resource) {
                let api: Api<Meta> = served.api(self.client.clone(), namespace);
                let list = api.list_metadata(&page).await.map_err(doing)?;
                objects.extend(list.items.iter().map(|_| json!({})));
                list.metadata.continue_
            } else {
                let api: Api<DynamicObject> = served.api(self.client.clone(), namespace);
                let list = api.list(&page).await.map_err(doing)?;
                objects.extend(list.items.iter().map(value));
                list.metadata.continue_
            };
            match more.filter(|token| !token.is_empty()) {
                Some(token) => page = page.continue_token(&token),
                None => return Ok(objects),
            }
        }
    }
}

/// Keeps of an object's metadata what tells where it was.
fn slim(meta: &mut ObjectMeta) {
    let before = std::mem::take(meta);
    *meta = ObjectMeta {
        name: before.name,
        namespace: before.namespace,
        uid: before.uid,
        resource_version: before.resource_version,
        ..ObjectMeta::default()
    };
}
