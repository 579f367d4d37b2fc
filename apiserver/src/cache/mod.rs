//! The watch cache: every stored object in memory, encoded once, following the store.
//!
//! What always holds: a read that first waits for [`Cache::current`] sees every write that was answered before it
//! began; lists and watches are served from shared bytes and decode nothing; nothing here grows without bound except
//! with the objects themselves. The one task that does IO is [`Cache::follow`].

mod alike;
pub(crate) mod entry;
pub(crate) mod event;
mod feed;
mod handed;
mod history;
pub(crate) mod ordered;
mod past;
mod recent;
pub(crate) mod resource;
mod ring;
pub(crate) mod selection;
pub(crate) mod stored;
mod terms;
mod unreadable;
mod watchers;

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::{Arc, PoisonError, RwLock, Weak};
use std::time::Duration;

use bytes::Bytes;
use coracle_store::{KeyRange, ListRequest, ReadError, Revision, Store};
use serde_json::Value;
use tokio::sync::{Notify, watch};

use entry::Entry;
use handed::{Handed, Ticket};
pub(crate) use past::PastError;
use recent::Recent;
use resource::{ResourceCache, StoredKind};

/// The prefix of every key.
pub(crate) const ROOT: &str = "/registry/";

/// How many keys are read from the store at a time.
const PAGE: usize = 2000;

/// The cache of all resources.
pub(crate) struct Cache {
    store: Arc<dyn Store>,
    /// By prefix: what is built in.
    resources: BTreeMap<String, Arc<ResourceCache>>,
    /// By prefix: what came and may go again. It is kept current for as long as somebody holds it; where a resource is
    /// described anew, its old cache and its new one stand side by side until the last request lets go of the old.
    joined: RwLock<BTreeMap<String, Vec<Weak<ResourceCache>>>>,
    progress: watch::Sender<u64>,
    /// Wakes the feed, so that it tries to read what could not be read.
    again: Notify,
    /// What was read last: it is asked for again by whoever wrote it, and by who changes it next.
    recent: Recent,
    /// What is being written, in the shape in which it will be read.
    handed: Handed,
}

/// Why the cache could not be filled.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The store did not answer.
    #[error("the stored objects could not be read")]
    Read(#[from] ReadError),
}

/// Why a read could not wait for a revision.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WaitError {
    /// The store did not say how far it is.
    #[error("the store could not be asked for its revision")]
    Read(#[from] ReadError),
    /// The revision did not come in time.
    #[error("revision {wanted} was not reached in time; the cache is at {current}")]
    TooFarAhead {
        /// What was waited for.
        wanted: u64,
        /// How far the cache came.
        current: u64,
    },
}

type Loaded = BTreeMap<String, Vec<Entry>>;

impl Cache {
    /// Reads everything that is stored.
    ///
    /// # Errors
    /// Where the store cannot be read.
    pub(crate) async fn start(
        store: Arc<dyn Store>,
        kinds: impl IntoIterator<Item = StoredKind>,
    ) -> Result<Arc<Self>, LoadError> {
        let progress = watch::Sender::new(0);
        let resources = kinds
            .into_iter()
            .map(|kind| {
                let prefix = kind.prefix.clone();
                (
                    prefix,
                    Arc::new(ResourceCache::new(kind, Vec::new(), 0, progress.subscribe())),
                )
            })
            .collect();
        let cache = Self {
            store,
            resources,
            joined: RwLock::default(),
            progress,
            again: Notify::new(),
            recent: Recent::default(),
            handed: Handed::default(),
        };
        let (revision, mut loaded) = cache.load().await?;
        for (prefix, resource) in &cache.resources {
            resource.replace(loaded.remove(prefix).unwrap_or_default(), revision);
        }
        cache.progress.send_replace(revision);
        Ok(Arc::new(cache))
    }

    /// A cache of one more resource, which is kept current while it is held.
    ///
    /// # Errors
    /// Where its objects cannot be read.
    pub(crate) async fn join(&self, kind: StoredKind) -> Result<Arc<ResourceCache>, LoadError> {
        let prefix = kind.prefix.clone();
        let resource = Arc::new(ResourceCache::joining(kind, self.progress.subscribe()));
        {
            let mut joined = self.joined.write().unwrap_or_else(PoisonError::into_inner);
            joined.retain(|_, caches| {
                caches.retain(|cache| cache.strong_count() > 0);
                !caches.is_empty()
            });
            joined
                .entry(prefix.clone())
                .or_default()
                .push(Arc::downgrade(&resource));
        }
        let (entries, revision) = self.read_resource(&resource).await?;
        resource.fill(entries, revision);
        Ok(resource)
    }

    async fn read_resource(&self, resource: &ResourceCache) -> Result<(Vec<Entry>, u64), LoadError> {
        let mut entries = Vec::new();
        resource.unreadables().clear();
        let revision = self
            .read(&resource.kind().prefix, None, |kv| {
                let read = key_in(resource, kv).and_then(|key| feed::read_entry(resource, key, kv));
                entries.extend(read.map(|(entry, _)| entry));
            })
            .await?;
        Ok((entries, revision))
    }

    /// The cache of the built-in resource with this prefix.
    pub(crate) fn resource(&self, prefix: &str) -> Option<&Arc<ResourceCache>> {
        self.resources.get(prefix)
    }

    /// The store behind it.
    pub(crate) fn store(&self) -> &Arc<dyn Store> {
        &self.store
    }

    /// Takes an object that is about to be written as these bytes, so that it need not be read from them. It must be what
    /// reading them gives.
    pub(crate) fn hand(&self, bytes: &Bytes, object: Value) -> Ticket<'_> {
        self.handed.hand(bytes, object)
    }

    /// How far the cache has come.
    pub(crate) fn revision(&self) -> u64 {
        *self.progress.borrow()
    }

    /// Waits until the cache holds every write that was answered before this call, and says the revision.
    ///
    /// # Errors
    /// See [`WaitError`].
    pub(crate) async fn current(&self, patience: Duration) -> Result<u64, WaitError> {
        let revision = self.store.revision().await?.0;
        self.reached(revision, patience).await?;
        Ok(revision)
    }

    /// Waits until the cache has come to a revision.
    ///
    /// # Errors
    /// Where it does not come to it within `patience`.
    pub(crate) async fn reached(&self, revision: u64, patience: Duration) -> Result<(), WaitError> {
        let mut progress = self.progress.subscribe();
        if *progress.borrow_and_update() >= revision {
            return Ok(());
        }
        let wait = async {
            // A store that other servers write to does not tell by itself that nothing happened.
            let soon = tokio::time::sleep(Duration::from_millis(20));
            tokio::pin!(soon);
            let mut asked = false;
            loop {
                tokio::select! {
                    () = &mut soon, if !asked => {
                        asked = true;
                        if let Err(error) = self.store.request_progress().await {
                            tracing::warn!(%error, "the store was not asked for progress");
                        }
                    }
                    changed = progress.changed() => {
                        if changed.is_err() || *progress.borrow_and_update() >= revision {
                            return;
                        }
                    }
                }
            }
        };
        // Running out of time is seen by looking at how far the cache came.
        let _ = tokio::time::timeout(patience, wait).await;
        match self.revision() {
            current if current >= revision => Ok(()),
            current => Err(WaitError::TooFarAhead {
                wanted: revision,
                current,
            }),
        }
    }

    async fn load(&self) -> Result<(u64, Loaded), LoadError> {
        let mut loaded = Loaded::new();
        for resource in self.resources.values() {
            resource.unreadables().clear();
        }
        let revision = self
            .read(ROOT, None, |kv| {
                let Some((resource, key)) = self.built_in(&kv.key) else {
                    return;
                };
                if let Some((entry, _)) = feed::read_entry(resource, key, kv) {
                    loaded
                        .entry(resource.kind().prefix.clone())
                        .or_default()
                        .push(entry);
                }
            })
            .await?;
        Ok((revision, loaded))
    }

    /// Reads a whole prefix page by page, all as of one revision, which is answered.
    async fn read(
        &self,
        prefix: &str,
        at: Option<Revision>,
        mut each: impl FnMut(&coracle_store::KeyValue) + Send,
    ) -> Result<u64, ReadError> {
        let mut range = KeyRange::prefix(prefix.to_owned());
        let mut at = at;
        loop {
            let request = ListRequest {
                range: range.clone(),
                at,
                limit: Some(PAGE),
                count: false,
            };
            let page = self.store.list(request).await?;
            at = Some(page.revision);
            page.items.iter().for_each(&mut each);
            match page.items.last() {
                Some(last) if page.more => {
                    let mut next = last.key.to_vec();
                    next.push(0);
                    range = range.starting_at(next);
                }
                _ => return Ok(page.revision.0),
            }
        }
    }

    /// The built-in resource that a key belongs to, and the rest of the key.
    fn built_in<'a>(&self, key: &'a [u8]) -> Option<(&Arc<ResourceCache>, &'a str)> {
        prefixed(&self.resources, std::str::from_utf8(key).ok()?)
    }

    /// Every cache that a key belongs to, and the rest of the key.
    fn caches_of<'a>(&self, key: &'a [u8]) -> Option<(Vec<Arc<ResourceCache>>, &'a str)> {
        if let Some((resource, rest)) = self.built_in(key) {
            return Some((vec![Arc::clone(resource)], rest));
        }
        let joined = self.joined.read().unwrap_or_else(PoisonError::into_inner);
        let (caches, rest) = prefixed(&joined, std::str::from_utf8(key).ok()?)?;
        Some((caches.iter().filter_map(Weak::upgrade).collect(), rest))
    }

    /// Every cache that joined and is still held.
    fn all_joined(&self) -> Vec<Arc<ResourceCache>> {
        let joined = self.joined.read().unwrap_or_else(PoisonError::into_inner);
        joined.values().flatten().filter_map(Weak::upgrade).collect()
    }
}

/// What stands in a map under a prefix of a key, and the rest of the key.
fn prefixed<'m, 'k, T>(map: &'m BTreeMap<String, T>, key: &'k str) -> Option<(&'m T, &'k str)> {
    let below = (Bound::Unbounded, Bound::Included(key));
    let (prefix, found) = map.range::<str, _>(below).next_back()?;
    Some((found, key.strip_prefix(prefix.as_str())?))
}

fn key_in<'a>(resource: &ResourceCache, kv: &'a coracle_store::KeyValue) -> Option<&'a str> {
    let key = std::str::from_utf8(&kv.key).ok()?;
    key.strip_prefix(&resource.kind().prefix)
}

fn entry_in(resource: &ResourceCache, kv: &coracle_store::KeyValue) -> Option<Entry> {
    let (entry, _) = feed::entry_of(resource, key_in(resource, kv)?, kv).ok()?;
    Some(entry)
}
