//! Reading current objects inside the apiserver: what authentication, authorization and admission look things up in.
//!
//! Reads come from the watch cache, which on RocksDB is consistent with what was last acknowledged.

mod cached;
mod followed;
#[cfg(test)]
pub(crate) mod memory;
mod prepared;

use std::sync::Arc;

use serde_json::Value;
use tokio::sync::watch;

pub(crate) use cached::CacheReader;
pub(crate) use followed::Followed;
pub(crate) use prepared::Prepared;

/// A resource as the store keeps it: group and plural name, without a version.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct GroupResource {
    /// The API group, empty for core.
    pub group: String,
    /// The plural name.
    pub resource: String,
}

impl GroupResource {
    /// Names a resource.
    pub fn new(group: &str, resource: &str) -> Self {
        Self {
            group: group.to_owned(),
            resource: resource.to_owned(),
        }
    }
}

/// An object that belongs to no namespace, and the revision that it is at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Revision {
    /// Its name.
    pub name: String,
    /// Its revision.
    pub revision: u64,
}

/// Read access to the current state of any resource.
pub trait ObjectReader: Send + Sync {
    /// One object, with `apiVersion`, `kind` and `resourceVersion` set; `namespace` is empty for cluster-scoped ones.
    fn get(&self, resource: &GroupResource, namespace: &str, name: &str) -> Option<Arc<Value>>;
    /// Every object of a resource; of one namespace where `namespace` is not empty.
    fn list(&self, resource: &GroupResource, namespace: &str) -> Vec<Arc<Value>>;
    /// The revisions of every object of a resource that belongs to no namespace: without reading any, where that can be done.
    fn revisions(&self, resource: &GroupResource) -> Vec<Revision> {
        let metadata = |object: &Arc<Value>, name: &str| object["metadata"][name].as_str().map(str::to_owned);
        let objects = self.list(resource, "").into_iter();
        objects
            .map(|object| Revision {
                name: metadata(&object, "name").unwrap_or_default(),
                revision: metadata(&object, "resourceVersion")
                    .and_then(|revision| revision.parse().ok())
                    .unwrap_or_default(),
            })
            .collect()
    }
    /// Tells of changes: the receiver is marked changed after each committed write to the resource, and holds the
    /// revision of the newest.
    fn changes(&self, resource: &GroupResource) -> watch::Receiver<u64>;
}
