//! Who runs here: the workers by pod uid, and what each last saw, for the HTTP server to look up.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use k8s_openapi::api::core::v1::Pod;
use tokio::sync::{Notify, watch};

use super::context::Context;
use super::worker::Worker;
use crate::runtime::{PodIdentity, PodRuntime};

/// What a worker is to bring about: the pod as the API has it, or had it last.
#[derive(Clone, Debug)]
pub(super) struct Wish {
    pub(super) pod: Arc<Pod>,
    pub(super) removed: bool,
}

/// What a worker last saw and said of its pod.
#[derive(Clone, Debug, Default)]
pub(crate) struct Known {
    /// With the newest status.
    pub(crate) pod: Arc<Pod>,
    pub(crate) runtime: Arc<PodRuntime>,
}

struct Handle {
    identity: PodIdentity,
    wish: watch::Sender<Wish>,
    look: Arc<Notify>,
    known: watch::Receiver<Known>,
}

/// All workers; clones share them.
#[derive(Clone, Default)]
pub(crate) struct Directory {
    handles: Arc<Mutex<BTreeMap<String, Handle>>>,
    /// The API was listed once, so that a pod that is not here is truly unknown.
    synced: Arc<std::sync::atomic::AtomicBool>,
}

impl Directory {
    fn with<T>(&self, f: impl FnOnce(&mut BTreeMap<String, Handle>) -> T) -> T {
        f(&mut self.handles.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Tells the pod's worker of its newest state, and makes the worker if there is none.
    pub(super) fn apply(&self, context: &Arc<Context>, pod: Pod) {
        let wish = Wish {
            pod: Arc::new(pod),
            removed: false,
        };
        self.send(context, wish);
    }

    /// The API no longer has the pod.
    pub(super) fn remove(&self, uid: &str) {
        self.with(|handles| {
            if let Some(handle) = handles.get(uid) {
                handle.wish.send_modify(|wish| wish.removed = true);
            }
        });
    }

    /// Takes away a pod that is in the runtime and nowhere else.
    pub(super) fn adopt_orphan(&self, context: &Arc<Context>, identity: PodIdentity) {
        let mut pod = Pod::default();
        pod.metadata.uid = Some(identity.uid);
        pod.metadata.name = Some(identity.name);
        pod.metadata.namespace = Some(identity.namespace);
        self.send(
            context,
            Wish {
                pod: Arc::new(pod),
                removed: true,
            },
        );
    }

    fn send(&self, context: &Arc<Context>, wish: Wish) {
        let meta = &wish.pod.metadata;
        let identity = PodIdentity {
            uid: meta.uid.clone().unwrap_or_default(),
            namespace: meta.namespace.clone().unwrap_or_default(),
            name: meta.name.clone().unwrap_or_default(),
        };
        self.with(|handles| {
            if let Some(handle) = handles.get(&identity.uid) {
                handle.wish.send_replace(wish);
                return;
            }
            let (sender, receiver) = watch::channel(wish);
            let look = Arc::new(Notify::new());
            let (worker, known) = Worker::new(context.clone(), identity.clone(), receiver, look.clone());
            let directory = self.clone();
            let uid = identity.uid.clone();
            handles.insert(
                uid.clone(),
                Handle {
                    identity,
                    wish: sender,
                    look,
                    known,
                },
            );
            context.tasks.spawn(async move {
                worker.run().await;
                directory.with(|handles| handles.remove(&uid));
            });
        });
    }

    /// Something about these pods changed in the runtime.
    pub(super) fn look(&self, uid: &str) -> bool {
        self.with(|handles| match handles.get(uid) {
            Some(handle) => {
                handle.look.notify_one();
                true
            }
            None => false,
        })
    }

    pub(super) fn set_synced(&self) {
        self.synced.store(true, std::sync::atomic::Ordering::Release);
    }

    pub(super) fn is_synced(&self) -> bool {
        self.synced.load(std::sync::atomic::Ordering::Acquire)
    }

    pub(super) fn contains(&self, uid: &str) -> bool {
        self.with(|handles| handles.contains_key(uid))
    }

    pub(super) fn uids(&self) -> Vec<String> {
        self.with(|handles| handles.keys().cloned().collect())
    }

    /// What is known of every pod.
    pub(crate) fn all(&self) -> Vec<Known> {
        self.with(|handles| handles.values().map(|h| h.known.borrow().clone()).collect())
    }

    /// The pod of a name; where an old one still goes away, the one that stays.
    pub(crate) fn find(&self, namespace: &str, name: &str) -> Option<Known> {
        self.with(|handles| {
            handles
                .values()
                .filter(|h| h.identity.namespace == namespace && h.identity.name == name)
                .min_by_key(|h| h.wish.borrow().removed)
                .map(|h| h.known.borrow().clone())
        })
    }
}
