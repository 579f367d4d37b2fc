//! Reading from the watch cache.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::Value;
use tokio::sync::watch;

use super::{GroupResource, ObjectReader, Revision};
use crate::cache::entry::Entry;
use crate::cache::ordered::Keyed;
use crate::registry::Catalog;

/// How many objects are held parsed.
const HELD: usize = 64;
/// Lists of more objects are not held: they would push everything else out.
const FEW: usize = 8;

/// Reads from the watch cache: what was answered to a writer is seen here.
///
/// The same few objects are read for every write: its namespace, a service account, the priority classes. They are held, so that
/// nobody has to parse them again. What has changed is another entry of the cache, and parsed anew.
pub(crate) struct CacheReader {
    catalog: Arc<Catalog>,
    held: Mutex<[Option<Arc<Value>>; HELD]>,
}

impl CacheReader {
    /// Reads any resource of the catalog.
    pub(crate) fn new(catalog: Arc<Catalog>) -> Self {
        Self {
            catalog,
            held: Mutex::new([const { None }; HELD]),
        }
    }

    /// An object, which is held until another one takes its place.
    fn opened(&self, entry: &Entry) -> Arc<Value> {
        let value = entry.value();
        let mut hasher = DefaultHasher::new();
        (entry.key(), entry.revision()).hash(&mut hasher);
        #[allow(clippy::cast_possible_truncation, reason = "any place will do")]
        let place = hasher.finish() as usize % HELD;
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let before = held[place].replace(Arc::clone(&value));
        drop(held);
        // Whatever that was, it is dropped without the lock.
        drop(before);
        value
    }
}

impl ObjectReader for CacheReader {
    fn get(&self, resource: &GroupResource, namespace: &str, name: &str) -> Option<Arc<Value>> {
        let served = self.catalog.stored(&resource.group, &resource.resource)?;
        let entry = served.cache.get(&served.key(namespace, name))?;
        Some(self.opened(&entry))
    }

    fn list(&self, resource: &GroupResource, namespace: &str) -> Vec<Arc<Value>> {
        let Some(served) = self.catalog.stored(&resource.group, &resource.resource) else {
            return Vec::new();
        };
        let prefix = if namespace.is_empty() {
            String::new()
        } else {
            format!("{namespace}/")
        };
        let snapshot = served.cache.snapshot();
        let entries: Vec<_> = snapshot.entries.with_prefix(&prefix).collect();
        if entries.len() > FEW {
            return entries.iter().map(|entry| entry.value()).collect();
        }
        entries.iter().map(|entry| self.opened(entry)).collect()
    }

    fn revisions(&self, resource: &GroupResource) -> Vec<Revision> {
        let Some(served) = self.catalog.stored(&resource.group, &resource.resource) else {
            return Vec::new();
        };
        let snapshot = served.cache.snapshot();
        let entries = snapshot.entries.with_prefix("");
        entries
            .map(|entry| Revision {
                name: entry.name().to_owned(),
                revision: entry.revision(),
            })
            .collect()
    }

    fn changes(&self, resource: &GroupResource) -> watch::Receiver<u64> {
        match self.catalog.stored(&resource.group, &resource.resource) {
            Some(served) => served.cache.changes(),
            // A resource that is not stored never changes.
            None => watch::Sender::new(0).subscribe(),
        }
    }
}
