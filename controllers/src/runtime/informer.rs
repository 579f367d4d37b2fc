//! Follows one resource by watch, fills its cache and tells its handlers.
//!
//! The watch begins by telling what there is; a server that does not do so is asked for a list first.
//! A watch that ends is resumed where it stopped; one that is too old (410) is replaced by a new list, whose difference to
//! the cache reaches the handlers as ordinary changes. Nothing is asked on a timer except the retry after an error.

use super::cache::{Cache, Index};
use super::key::ObjectKey;
use futures::stream::BoxStream;
use futures::{Stream, StreamExt, TryStreamExt};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{Api, ListParams, WatchEvent, WatchParams};
use kube::core::watch::Bookmark;
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
        let (mut version, mut begun) = self.begin().await?;
        let mut watch_params = WatchParams::default();
        watch_params.field_selector.clone_from(&self.fields);
        loop {
            *pause = RETRY.0;
            let events = match begun.take() {
                Some(events) => events,
                None => match self.api.watch(&watch_params, &version).await {
                    Ok(events) => events.boxed(),
                    Err(kube::Error::Api(status)) if status.code == 410 => return Ok(()),
                    Err(error) => return Err(error),
                },
            };
            match self.take_events(events, &mut version).await {
                WatchEnd::Closed => {}
                WatchEnd::Expired => return Ok(()),
                WatchEnd::Failed(error) => return Err(error),
            }
        }
    }

    /// Takes in what there is, and answers with its revision, and with the watch that goes on from there where it was told
    /// by one.
    async fn begin(&self) -> Result<(String, Option<Events<K>>), kube::Error> {
        match self.begin_with_watch().await {
            Err(kube::Error::Api(status)) if refuses_to_stream(status.code) => {
                self.list().await.map(|version| (version, None))
            }
            begun => begun.map(|(version, events)| (version, Some(events))),
        }
    }

    /// Has a watch tell what there is (KEP-3157), so that a list is never in memory as a whole: neither its text nor its
    /// objects before what nobody reads is dropped.
    async fn begin_with_watch(&self) -> Result<(String, Events<K>), kube::Error> {
        let mut params = WatchParams::default().initial_events();
        params.field_selector.clone_from(&self.fields);
        let mut events = self.api.watch(&params, "").await?.boxed();
        let mut objects = BTreeMap::new();
        while let Some(event) = events.next().await {
            match event? {
                WatchEvent::Added(object) | WatchEvent::Modified(object) => {
                    self.collect(object, &mut objects)
                }
                WatchEvent::Deleted(object) => {
                    objects.remove(&ObjectKey::of(object.meta()));
                }
                WatchEvent::Bookmark(bookmark) if ends_initial_events(&bookmark) => {
                    let version = bookmark.metadata.resource_version;
                    self.take_list(objects, Some(&version));
                    return Ok((version, events));
                }
                WatchEvent::Bookmark(_) => {}
                WatchEvent::Error(status) => return Err(kube::Error::Api(status)),
            }
        }
        let cut = std::io::Error::new(
            std::io::ErrorKind::UnexpectedEof,
            "the watch ended before all was told",
        );
        Err(kube::Error::ReadEvents(cut))
    }

    async fn list(&self) -> Result<String, kube::Error> {
        let mut params = ListParams::default();
        params.field_selector.clone_from(&self.fields);
        let list = self.api.list(&params).await?;
        let mut objects = BTreeMap::new();
        for object in list.items {
            self.collect(object, &mut objects);
        }
        let version = list.metadata.resource_version;
        self.take_list(objects, version.as_deref());
        Ok(version.unwrap_or_else(|| "0".to_owned()))
    }

    fn collect(&self, mut object: K, objects: &mut BTreeMap<ObjectKey, Arc<K>>) {
        (self.slim)(object.meta_mut());
        objects.insert(ObjectKey::of(object.meta()), Arc::new(object));
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

    fn take_list(&self, objects: BTreeMap<ObjectKey, Arc<K>>, version: Option<&str>) {
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
        self.cache.advance(version, true);
    }

    fn tell(&self, change: &Change<'_, K>) {
        for handler in self.handlers.read().expect("no holder of the lock panics").iter() {
            handler(change);
        }
    }
}

/// What a watch tells.
type Events<K> = BoxStream<'static, kube::Result<WatchEvent<K>>>;

/// Whether a server that answers so does not tell what there is in a watch: its store cannot say how far it is (422), it is
/// older (400), or this account may watch and list, but not so (403).
fn refuses_to_stream(code: u16) -> bool {
    matches!(code, 400 | 403 | 422)
}

/// Whether everything that there was has been told.
fn ends_initial_events(bookmark: &Bookmark) -> bool {
    let end = bookmark.metadata.annotations.get("k8s.io/initial-events-end");
    end.is_some_and(|end| end == "true")
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
