//! What a watch has shown so far: objects by key, indexed, with the revision they stand at.
//!
//! Resource versions of one resource are numbers that grow (KEP-5647), so a cache can tell whether it has seen a write: it
//! stands at or past the write's revision, or it was listed anew after the write. Waiting for that ([`Cache::shows`]) is
//! what keeps a controller from planning on a world older than its own deeds.

use super::key::ObjectKey;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, RwLock};
use tokio::sync::watch;

/// The terms an object is found by besides its key, such as `owner/UID`.
pub(crate) type Index<K> = fn(&K) -> Vec<String>;

/// How far a cache has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Progress {
    /// Everything up to this revision has been seen.
    revision: u64,
    /// Lists begun so far.
    begun: u64,
    /// The number of the last list that was applied; 0 before the first.
    applied: u64,
}

/// A point in a resource's history that a write made.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Mark {
    revision: u64,
    begun: u64,
}

struct Objects<K> {
    by_key: BTreeMap<ObjectKey, Arc<K>>,
    by_term: HashMap<String, BTreeSet<ObjectKey>>,
}

/// The objects of one kind as last observed.
pub(crate) struct Cache<K> {
    index: Index<K>,
    objects: RwLock<Objects<K>>,
    progress: watch::Sender<Progress>,
}

impl<K> Cache<K> {
    pub(crate) fn new(index: Index<K>) -> Self {
        let objects = Objects {
            by_key: BTreeMap::new(),
            by_term: HashMap::new(),
        };
        Self {
            index,
            objects: RwLock::new(objects),
            progress: watch::Sender::new(Progress::default()),
        }
    }

    pub(crate) fn get(&self, key: &ObjectKey) -> Option<Arc<K>> {
        self.read().by_key.get(key).cloned()
    }

    /// All objects, in the order of their keys.
    pub(crate) fn all(&self) -> Vec<Arc<K>> {
        self.read().by_key.values().cloned().collect()
    }

    /// The objects of one namespace.
    pub(crate) fn in_namespace(&self, namespace: &str) -> Vec<Arc<K>> {
        let from = ObjectKey::new(namespace, "");
        let objects = self.read();
        let range = objects.by_key.range(from..);
        range
            .take_while(|(key, _)| key.namespace == namespace)
            .map(|(_, object)| object.clone())
            .collect()
    }

    /// The objects that the index files under this term.
    pub(crate) fn by_term(&self, term: &str) -> Vec<Arc<K>> {
        let objects = self.read();
        let keys = objects.by_term.get(term).into_iter().flatten();
        keys.filter_map(|key| objects.by_key.get(key).cloned()).collect()
    }

    /// The point a write with this answer made. Take it before the answer is waited for, or after: both are right, the
    /// earlier one only returns sooner after a new list.
    pub(crate) fn mark(&self, resource_version: Option<&str>) -> Mark {
        let revision = resource_version
            .and_then(|version| version.parse().ok())
            .unwrap_or(0);
        Mark {
            revision,
            begun: self.progress.borrow().begun,
        }
    }

    /// Whether the cache has been filled once, and its handlers know.
    pub(crate) fn is_synced(&self) -> bool {
        self.progress.borrow().applied > 0
    }

    /// Waits until the cache has been filled once.
    pub(crate) async fn synced(&self) {
        self.wait(|progress| progress.applied > 0).await;
    }

    /// Waits until the cache shows the write that made this mark.
    pub(crate) async fn shows(&self, mark: Mark) {
        self.wait(|progress| progress.revision >= mark.revision || progress.applied > mark.begun)
            .await;
    }

    async fn wait(&self, done: impl FnMut(&Progress) -> bool) {
        let mut progress = self.progress.subscribe();
        progress
            .wait_for(done)
            .await
            .expect("the sender lives as long as the cache that is borrowed here");
    }

    /// Says that a list begins whose answer will hold all that was written before.
    pub(super) fn begin_list(&self) {
        self.progress.send_modify(|progress| progress.begun += 1);
    }

    /// Takes a whole list in place of what stood here and returns what stood here.
    pub(super) fn replace(&self, objects: BTreeMap<ObjectKey, Arc<K>>) -> BTreeMap<ObjectKey, Arc<K>> {
        let mut by_term: HashMap<String, BTreeSet<ObjectKey>> = HashMap::new();
        for (key, object) in &objects {
            for term in (self.index)(object) {
                by_term.entry(term).or_default().insert(key.clone());
            }
        }
        let mut guard = self.write();
        guard.by_term = by_term;
        std::mem::replace(&mut guard.by_key, objects)
    }

    /// Sets or removes one object and returns the one that stood there.
    pub(super) fn put(&self, key: &ObjectKey, object: Option<Arc<K>>) -> Option<Arc<K>> {
        let mut guard = self.write();
        let old = guard.by_key.remove(key);
        for term in old.iter().flat_map(|old| (self.index)(old)) {
            if let Some(keys) = guard.by_term.get_mut(&term) {
                keys.remove(key);
                if keys.is_empty() {
                    guard.by_term.remove(&term);
                }
            }
        }
        if let Some(object) = object {
            for term in (self.index)(&object) {
                guard.by_term.entry(term).or_default().insert(key.clone());
            }
            guard.by_key.insert(key.clone(), object);
        }
        old
    }

    /// Says how far the cache has come, after its handlers know.
    pub(super) fn advance(&self, resource_version: Option<&str>, listed: bool) {
        let revision = resource_version.and_then(|version| version.parse().ok());
        self.progress.send_modify(|progress| {
            // A list may stand before what was seen when the store was restored from a backup: take it as it is.
            if let Some(revision) = revision {
                progress.revision = if listed {
                    revision
                } else {
                    progress.revision.max(revision)
                };
            }
            if listed {
                progress.applied = progress.begun;
            }
        });
    }

    fn read(&self) -> std::sync::RwLockReadGuard<'_, Objects<K>> {
        self.objects.read().expect("no holder of the lock panics")
    }

    fn write(&self) -> std::sync::RwLockWriteGuard<'_, Objects<K>> {
        self.objects.write().expect("no holder of the lock panics")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt;

    fn cache() -> Cache<String> {
        Cache::new(|object| vec![format!("first/{}", object.chars().next().unwrap_or('-'))])
    }

    #[test]
    fn terms_follow_the_objects() {
        let cache = cache();
        let key = ObjectKey::new("ns", "a");
        cache.put(&key, Some(Arc::new("xy".to_owned())));
        assert_eq!(cache.by_term("first/x").len(), 1);
        cache.put(&key, Some(Arc::new("zy".to_owned())));
        assert!(cache.by_term("first/x").is_empty());
        assert_eq!(cache.by_term("first/z").len(), 1);
        cache.put(&key, None);
        assert!(cache.by_term("first/z").is_empty());
    }

    #[test]
    fn a_namespace_is_a_range() {
        let cache = cache();
        for (namespace, name) in [("a", "1"), ("b", "1"), ("b", "2"), ("ba", "1")] {
            cache.put(
                &ObjectKey::new(namespace, name),
                Some(Arc::new(format!("{namespace}{name}"))),
            );
        }
        let names: Vec<_> = cache.in_namespace("b").iter().map(ToString::to_string).collect();
        assert_eq!(names, ["b1", "b2"]);
    }

    #[test]
    fn a_write_is_shown_by_its_revision_or_by_a_later_list() {
        let cache = cache();
        cache.begin_list();
        cache.advance(Some("5"), true);
        let mark = cache.mark(Some("7"));
        assert!(cache.shows(mark).now_or_never().is_none());
        cache.advance(Some("7"), false);
        assert!(cache.shows(mark).now_or_never().is_some());

        let mark = cache.mark(Some("9"));
        cache.begin_list();
        cache.advance(Some("8"), true);
        assert!(
            cache.shows(mark).now_or_never().is_some(),
            "a list begun after the write holds it"
        );
    }

    #[test]
    fn a_list_that_was_under_way_does_not_show_a_write() {
        let cache = cache();
        cache.begin_list();
        let mark = cache.mark(Some("9"));
        cache.advance(Some("8"), true);
        assert!(cache.shows(mark).now_or_never().is_none());
    }
}
