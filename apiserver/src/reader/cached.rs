//! Reading from the watch cache.

use std::sync::Arc;

use serde_json::Value;
use tokio::sync::watch;

use super::{GroupResource, ObjectReader, Revision};
use crate::registry::Catalog;

/// Reads from the watch cache: what was answered to a writer is seen here.
pub(crate) struct CacheReader {
    catalog: Arc<Catalog>,
}

impl CacheReader {
    /// Reads any resource of the catalog.
    pub(crate) fn new(catalog: Arc<Catalog>) -> Self {
        Self { catalog }
    }
}

impl ObjectReader for CacheReader {
    fn get(&self, resource: &GroupResource, namespace: &str, name: &str) -> Option<Arc<Value>> {
        let served = self.catalog.stored(&resource.group, &resource.resource)?;
        served
            .cache
            .get(&served.key(namespace, name))
            .map(|entry| entry.value())
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
        served
            .cache
            .snapshot()
            .entries
            .with_prefix(&prefix)
            .map(|entry| entry.value())
            .collect()
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
