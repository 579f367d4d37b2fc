//! Follows one resource by list and watch, fills its cache and tells its handlers.
//!
//! A watch that ends is resumed where it stopped; one that is too old (410) is replaced by a new list, whose difference to
//! the cache reaches the handlers as ordinary changes. Nothing is asked on a timer except the retry after an error.

use super::cache::{Cache, Index};
use super::key::ObjectKey;
use futures::{Stream, StreamExt, TryStreamExt};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{Api, ListParams, ObjectList, WatchEvent, WatchParams};
use serde::de::DeserializeOwned;
use std::collections::BTreeMap;
use std::fmt::Debug;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, RwLock};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// The first and the longest pause after an error.
const RETRY: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(30));

/// One object's change, as a handler sees it.
#[derive(Debug)]
pub(crate) enum Change<'a, K> {
    /// It was not there before.
    Added(&'a Arc<K>),
    /// It was there; the older one first.
    Updated(&'a Arc<K>, &'a Arc<K>),
    /// It is gone; this is what was last seen of it.
    Deleted(&'a Arc<K>),
}

impl<'a, K> Change<'a, K> {
    /// The object as it stands, or stood last.
    pub(crate) fn object(&self) -> &'a Arc<K> {
        match self {
            Self::Added(object) | Self::Updated(_, object) | Self::Deleted(object) => object,
        }
    }

    /// The object as it stands; none where it is gone.
    pub(crate) fn standing(&self) -> Option<&'a Arc<K>> {
        match self {
            Self::Added(object) | Self::Updated(_, object) => Some(object),
            Self::Deleted(_) => None,
        }
    }

    /// The object before, where there was one.
    pub(crate) fn old(&self) -> Option<&'a Arc<K>> {
        match self {
            Self::Updated(old, _) => Some(old),
            Self::Added(_) | Self::Deleted(_) => None,
        }
    }
}

type Handler<K> = Box<dyn Fn(&Change<'_, K>) + Send + Sync>;

/// What an informer can follow.
pub(crate) trait Observable: Clone + Debug + DeserializeOwned + Send + Sync + 'static {
    fn meta(&self) -> &ObjectMeta;
    fn meta_mut(&mut self) -> &mut ObjectMeta;
}

impl<K: kube::Resource + Clone + Debug + DeserializeOwned + Send + Sync + 'static> Observable for K {
    fn meta(&self) -> &ObjectMeta {
        kube::Resource::meta(self)
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        kube::Resource::meta_mut(self)
    }
}

/// One resource, followed for everyone in the process who asks.
pub(crate) struct Informer<K> {
    name: String,
    api: Api<K>,
    fields: Option<String>,
    cache: Arc<Cache<K>>,
    handlers: RwLock<Vec<Handler<K>>>,
    wanted: AtomicBool,
    slim: fn(&mut ObjectMeta),
}

impl<K: Observable> Informer<K> {
    pub(crate) fn new(name: &str, api: Api<K>, index: Index<K>) -> Self {
        Self {
            name: name.to_owned(),
            api,
            fields: None,
            cache: Arc::new(Cache::new(index)),
            handlers: RwLock::default(),
            wanted: AtomicBool::new(false),
            slim,
        }
    }

    /// Follows only what this field selector selects.
    pub(crate) fn with_fields(mut self, selector: &str) -> Self {
        self.fields = Some(selector.to_owned());
        self
    }

    /// Keeps less of each object's metadata than is usual.
    pub(crate) fn with_slimming(mut self, slim: fn(&mut ObjectMeta)) -> Self {
        self.slim = slim;
        self
    }

    /// The cache that this informer fills. Asking for it makes the resource wanted.
    pub(crate) fn cache(&self) -> &Arc<Cache<K>> {
        self.wanted.store(true, Ordering::Relaxed);
        &self.cache
    }

    /// Whether anyone needs this resource to be followed.
    pub(crate) fn is_wanted(&self) -> bool {
        self.wanted.load(Ordering::Relaxed)
    }

    /// Tells `handler` every change from here on, beginning with the first list if that is still to come. It runs on the
    /// informer's task, so it must not wait.
    pub(crate) fn subscribe(&self, handler: impl Fn(&Change<'_, K>) + Send + Sync + 'static) {
        self.wanted.store(true, Ordering::Relaxed);
        self.handlers
            .write()
            .expect("no holder of the lock panics")
            .push(Box::new(handler));
    }

    /// Follows the resource until the token is cancelled.
    pub(crate) async fn follow(&self, shutdown: CancellationToken) {
        shutdown.run_until_cancelled(self.follow_forever()).await;
    }

    async fn follow_forever(&self) {
        let mut pause = RETRY.0;
        loop {
            match self.list_and_watch(&mut pause).await {
                Ok(()) => pause = RETRY.0,
                Err(error) => {
                    tracing::warn!(resource = self.name, %error, "could not follow the resource");
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(RETRY.1);
                }
            }
        }
    }

    /// Lists, then watches until a new list is needed (`Ok`) or something else went wrong.
    async fn list_and_watch(&self, pause: &mut Duration) -> Result<(), kube::Error> {
        self.cache.begin_list();
        let mut list_params = ListParams::default();
        list_params.field_selector.clone_from(&self.fields);
        let list = self.api.list(&list_params).await?;
        let mut version = list
            .metadata
            .resource_version
            .clone()
            .unwrap_or_else(|| "0".to_owned());
        self.take_list(list);
        let mut watch_params = WatchParams::default();
        watch_params.field_selector.clone_from(&self.fields);
        loop {
            *pause = RETRY.0;
            let events = match self.api.watch(&watch_params, &version).await {
                Ok(events) => events,
                Err(kube::Error::Api(status)) if status.code == 410 => return Ok(()),
                Err(error) => return Err(error),
            };
            match self.take_events(events, &mut version).await {
                WatchEnd::Closed => {}
                WatchEnd::Expired => return Ok(()),
                WatchEnd::Failed(error) => return Err(error),
            }
        }
    }

    async fn take_events(
        &self,
        events: impl Stream<Item = kube::Result<WatchEvent<K>>>,
        version: &mut String,
    ) -> WatchEnd {
        let mut events = pin!(events.into_stream());
        while let Some(event) = events.next().await {
            match event {
                Ok(WatchEvent::Added(object) | WatchEvent::Modified(object)) => {
                    self.take(object, true, version)
                }
                Ok(WatchEvent::Deleted(object)) => self.take(object, false, version),
                Ok(WatchEvent::Bookmark(bookmark)) => {
                    *version = bookmark.metadata.resource_version;
                    self.cache.advance(Some(version), false);
                }
                Ok(WatchEvent::Error(status)) if status.code == 410 => return WatchEnd::Expired,
                Ok(WatchEvent::Error(status)) => return WatchEnd::Failed(kube::Error::Api(status)),
                // A connection that breaks in the middle of the stream is resumed like one that was closed.
                Err(kube::Error::ReadEvents(_) | kube::Error::HyperError(_)) => return WatchEnd::Closed,
                Err(error) => return WatchEnd::Failed(error),
            }
        }
        WatchEnd::Closed
    }

    fn take(&self, mut object: K, stays: bool, version: &mut String) {
        (self.slim)(object.meta_mut());
        let key = ObjectKey::of(object.meta());
        if let Some(seen) = &object.meta().resource_version {
            version.clone_from(seen);
        }
        let object = Arc::new(object);
        let old = self.cache.put(&key, stays.then(|| object.clone()));
        match (old, stays) {
            (Some(old), true) => self.tell(&Change::Updated(&old, &object)),
            (None, true) => self.tell(&Change::Added(&object)),
            (_, false) => self.tell(&Change::Deleted(&object)),
        }
        self.cache.advance(Some(version), false);
    }

    fn take_list(&self, list: ObjectList<K>) {
        let mut objects = BTreeMap::new();
        for mut object in list.items {
            (self.slim)(object.meta_mut());
            objects.insert(ObjectKey::of(object.meta()), Arc::new(object));
        }
        let mut before = self.cache.replace(objects.clone());
        for (key, object) in &objects {
            match before.remove(key) {
                None => self.tell(&Change::Added(object)),
                Some(old) if old.meta().uid != object.meta().uid => {
                    self.tell(&Change::Deleted(&old));
                    self.tell(&Change::Added(object));
                }
                Some(old) if old.meta().resource_version != object.meta().resource_version => {
                    self.tell(&Change::Updated(&old, object));
                }
                Some(_) => {}
            }
        }
        for gone in before.values() {
            self.tell(&Change::Deleted(gone));
        }
        self.cache
            .advance(list.metadata.resource_version.as_deref(), true);
    }

    fn tell(&self, change: &Change<'_, K>) {
        for handler in self.handlers.read().expect("no holder of the lock panics").iter() {
            handler(change);
        }
    }
}

/// How a watch ended.
enum WatchEnd {
    Closed,
    Expired,
    Failed(kube::Error),
}

/// Drops what no controller reads and what is large.
fn slim(meta: &mut ObjectMeta) {
    meta.managed_fields = None;
}
