//! What pods refer to in the API, kept current by watches: ConfigMaps and Secrets by name, and all services.
//!
//! As upstream's kubelet does, each object is watched on its own, by name, so that the node may be allowed to see only
//! what its pods use. An API that is away leaves the last known state.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt::Debug;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::StreamExt;
use k8s_openapi::api::core::v1::{ConfigMap, PodSpec, Secret, Service};
use kube::api::Api;
use kube::runtime::reflector::{self, Store};
use kube::runtime::{WatchStreamExt, watcher};
use serde::de::DeserializeOwned;
use tokio::sync::{Notify, watch};
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use crate::env::References;

/// How long the start of a container waits for an object to be seen for the first time.
const FIRST_SIGHT: Duration = Duration::from_secs(10);

/// An object's name: namespace, name.
type Name = (String, String);

/// Not yet seen, seen to be absent, or there.
#[derive(Clone, Debug)]
enum Sight<K> {
    NotYet,
    Absent,
    There(Arc<K>),
}

struct Watched<K> {
    sight: watch::Receiver<Sight<K>>,
    /// Uids of the pods that refer to it.
    users: Arc<Mutex<BTreeMap<String, Arc<Notify>>>>,
    _stop: DropGuard,
}

type Objects<K> = Arc<Mutex<HashMap<Name, Watched<K>>>>;

/// The names that a pod refers to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Referred {
    pub(crate) config_maps: BTreeSet<String>,
    pub(crate) secrets: BTreeSet<String>,
}

/// Everything a pod's spec refers to. Pure.
pub(crate) fn referred(spec: &PodSpec) -> Referred {
    let mut out = Referred::default();
    for container in spec
        .containers
        .iter()
        .chain(spec.init_containers.iter().flatten())
    {
        for from in container.env_from.iter().flatten() {
            out.config_maps
                .extend(from.config_map_ref.iter().map(|r| r.name.clone()));
            out.secrets.extend(from.secret_ref.iter().map(|r| r.name.clone()));
        }
        for source in container
            .env
            .iter()
            .flatten()
            .filter_map(|v| v.value_from.as_ref())
        {
            out.config_maps
                .extend(source.config_map_key_ref.iter().map(|r| r.name.clone()));
            out.secrets
                .extend(source.secret_key_ref.iter().map(|r| r.name.clone()));
        }
    }
    for volume in spec.volumes.iter().flatten() {
        out.config_maps
            .extend(volume.config_map.iter().map(|v| v.name.clone()));
        out.secrets
            .extend(volume.secret.iter().filter_map(|v| v.secret_name.clone()));
        for source in volume.projected.iter().flat_map(|p| p.sources.iter().flatten()) {
            out.config_maps
                .extend(source.config_map.iter().map(|v| v.name.clone()));
            out.secrets.extend(source.secret.iter().map(|v| v.name.clone()));
        }
    }
    out.secrets
        .extend(spec.image_pull_secrets.iter().flatten().map(|s| s.name.clone()));
    out
}

/// The cache; clones share it.
#[derive(Clone)]
pub(crate) struct ApiCache {
    client: kube::Client,
    config_maps: Objects<ConfigMap>,
    secrets: Objects<Secret>,
    services: Store<Service>,
    tasks: TaskTracker,
    shutdown: CancellationToken,
}

impl ApiCache {
    /// Starts watching services.
    pub(crate) fn start(client: kube::Client, tasks: TaskTracker, shutdown: CancellationToken) -> Self {
        let (services, writer) = reflector::store();
        let stream =
            watcher(Api::<Service>::all(client.clone()), watcher::Config::default()).default_backoff();
        let end = shutdown.clone();
        tasks.spawn(async move {
            let mut stream = std::pin::pin!(reflector::reflector(writer, stream));
            loop {
                tokio::select! {
                    () = end.cancelled() => return,
                    event = stream.next() => match event {
                        None => return,
                        Some(Err(error)) => tracing::debug!(%error, "watch of services interrupted"),
                        Some(Ok(_)) => {}
                    },
                }
            }
        });
        Self {
            client,
            config_maps: Arc::default(),
            secrets: Arc::default(),
            services,
            tasks,
            shutdown,
        }
    }

    /// The services, once they were listed; an API that is away is not waited for longer than first sight takes.
    pub(crate) async fn services(&self) -> Vec<Arc<Service>> {
        let _ = tokio::time::timeout(FIRST_SIGHT, self.services.wait_until_ready()).await;
        self.services.state()
    }

    /// Keeps watching what a pod refers to; `changed` is told of every change.
    pub(crate) fn subscribe(&self, uid: &str, namespace: &str, names: &Referred, changed: &Arc<Notify>) {
        for name in &names.config_maps {
            self.watch(&self.config_maps, namespace, name, uid, changed);
        }
        for name in &names.secrets {
            self.watch(&self.secrets, namespace, name, uid, changed);
        }
    }

    /// The pod is gone: what nobody else refers to is watched no longer.
    pub(crate) fn unsubscribe(&self, uid: &str) {
        forget(&self.config_maps, uid);
        forget(&self.secrets, uid);
    }

    /// The current state of what a pod refers to; it must have subscribed.
    pub(crate) async fn references(&self, namespace: &str, names: &Referred) -> References {
        let mut out = References::default();
        for name in &names.config_maps {
            if let Some(object) = look(&self.config_maps, namespace, name).await {
                out.config_maps.insert(name.clone(), (*object).clone());
            }
        }
        for name in &names.secrets {
            if let Some(object) = look(&self.secrets, namespace, name).await {
                out.secrets.insert(name.clone(), (*object).clone());
            }
        }
        out
    }

    fn watch<K>(&self, objects: &Objects<K>, namespace: &str, name: &str, uid: &str, changed: &Arc<Notify>)
    where
        K: kube::Resource<Scope = k8s_openapi::NamespaceResourceScope>
            + Clone
            + Debug
            + DeserializeOwned
            + Send
            + Sync
            + 'static,
        K::DynamicType: Default,
    {
        let key = (namespace.to_owned(), name.to_owned());
        let mut objects = objects.lock().unwrap_or_else(PoisonError::into_inner);
        let watched = objects.entry(key).or_insert_with(|| {
            let stop = self.shutdown.child_token();
            let (sender, sight) = watch::channel(Sight::NotYet);
            let users = Arc::default();
            let api = Api::<K>::namespaced(self.client.clone(), namespace);
            self.tasks.spawn(follow(
                api,
                name.to_owned(),
                sender,
                Arc::clone(&users),
                stop.clone(),
            ));
            Watched {
                sight,
                users,
                _stop: stop.drop_guard(),
            }
        });
        let mut users = watched.users.lock().unwrap_or_else(PoisonError::into_inner);
        users.insert(uid.to_owned(), changed.clone());
    }
}

fn forget<K>(objects: &Objects<K>, uid: &str) {
    let mut objects = objects.lock().unwrap_or_else(PoisonError::into_inner);
    objects.retain(|_, watched| {
        let mut users = watched.users.lock().unwrap_or_else(PoisonError::into_inner);
        users.remove(uid);
        !users.is_empty()
    });
}

async fn look<K: Clone + Debug>(objects: &Objects<K>, namespace: &str, name: &str) -> Option<Arc<K>> {
    let key = (namespace.to_owned(), name.to_owned());
    let mut sight = objects
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .get(&key)?
        .sight
        .clone();
    let seen = tokio::time::timeout(FIRST_SIGHT, sight.wait_for(|s| !matches!(s, Sight::NotYet))).await;
    match seen {
        Ok(Ok(sight)) => match &*sight {
            Sight::There(object) => Some(object.clone()),
            _ => None,
        },
        _ => None,
    }
}

async fn follow<K>(
    api: Api<K>,
    name: String,
    sender: watch::Sender<Sight<K>>,
    users: Arc<Mutex<BTreeMap<String, Arc<Notify>>>>,
    stop: CancellationToken,
) where
    K: kube::Resource + Clone + Debug + DeserializeOwned + Send + Sync + 'static,
    K::DynamicType: Default,
{
    let mut stream = std::pin::pin!(kube::runtime::watcher::watch_object(api, &name));
    loop {
        let next = tokio::select! {
            () = stop.cancelled() => return,
            next = stream.next() => next,
        };
        let sight = match next {
            None => return,
            Some(Ok(Some(object))) => Sight::There(Arc::new(object)),
            Some(Ok(None)) => Sight::Absent,
            Some(Err(error)) => {
                tracing::debug!(%error, name, "watch of a referred object interrupted");
                tokio::select! {
                    () = stop.cancelled() => return,
                    () = tokio::time::sleep(Duration::from_secs(1)) => continue,
                }
            }
        };
        sender.send_replace(sight);
        users
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .values()
            .for_each(|n| n.notify_one());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn everything_that_a_pod_refers_to() {
        let spec: PodSpec = serde_json::from_value(json!({
            "initContainers": [{"name": "i", "envFrom": [{"configMapRef": {"name": "c1"}}, {"secretRef": {"name": "s1"}}]}],
            "containers": [{"name": "c", "env": [
                {"name": "A", "valueFrom": {"configMapKeyRef": {"name": "c2", "key": "k"}}},
                {"name": "B", "valueFrom": {"secretKeyRef": {"name": "s2", "key": "k"}}}]}],
            "volumes": [
                {"name": "a", "configMap": {"name": "c3"}}, {"name": "b", "secret": {"secretName": "s3"}},
                {"name": "c", "projected": {"sources": [{"configMap": {"name": "c4"}}, {"secret": {"name": "s4"}}]}}],
            "imagePullSecrets": [{"name": "s5"}],
        }))
        .unwrap();
        let referred = referred(&spec);
        assert_eq!(
            referred.config_maps.into_iter().collect::<Vec<_>>(),
            ["c1", "c2", "c3", "c4"]
        );
        assert_eq!(
            referred.secrets.into_iter().collect::<Vec<_>>(),
            ["s1", "s2", "s3", "s4", "s5"]
        );
    }
}
