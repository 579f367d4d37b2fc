//! A resource in one version, with everything that answering for it needs.

use std::collections::HashMap;
use std::sync::Arc;

use coracle_api::resources::{self, Resource};

use serde_json::Value;

use super::fields::{Selectable, selectable};
use crate::cache::entry::Entry;
use crate::cache::resource::{ResourceCache, StoredKind};
use crate::cache::{Cache, ROOT};

/// A stored resource as one of its versions shows it.
#[derive(Debug)]
pub(crate) struct Served {
    /// The version that was asked for.
    pub resource: &'static Resource,
    /// The version its objects are stored in.
    pub stored: &'static Resource,
    /// Which of the versions this is: 0 for the stored one.
    pub version: u8,
    /// What comes before namespace and name in the store's keys.
    pub prefix: String,
    /// Its objects.
    pub cache: Arc<ResourceCache>,
    /// What field selectors may name.
    pub selectable: Selectable,
    /// What comes before the JSON of an entry to make it an object of its own: `{"kind":…,"apiVersion":…,`.
    pub head: String,
}

/// Every stored resource in every version.
#[derive(Debug)]
pub(crate) struct Catalog {
    served: HashMap<(&'static str, &'static str), Vec<Arc<Served>>>,
}

/// What the cache must keep: each stored resource once.
pub(super) fn stored_kinds() -> Vec<StoredKind> {
    let stored = resources::all()
        .iter()
        .filter(|resource| resource.is_stored() && is_stored_version(resource));
    stored
        .map(|resource| StoredKind {
            prefix: prefix_of(resource),
            head: head_of(resource).into(),
            fields: selectable(resource.group, resource.resource).extract,
        })
        .collect()
}

impl Catalog {
    /// Describes every stored resource.
    pub(crate) fn new(cache: &Cache) -> Self {
        let mut served: HashMap<_, Vec<_>> = HashMap::new();
        for resource in resources::all().iter().filter(|resource| resource.is_stored()) {
            let versions = served.entry((resource.group, resource.resource)).or_default();
            versions.push(Arc::new(Served::new(resource, cache)));
        }
        Self { served }
    }

    /// The resource of a group, version and plural name.
    pub(crate) fn find(&self, group: &str, version: &str, resource: &str) -> Option<&Arc<Served>> {
        let resource = resources::find(group, version, resource)?;
        let versions = self.served.get(&(resource.group, resource.resource))?;
        versions
            .iter()
            .find(|served| std::ptr::eq(served.resource, resource))
    }

    /// The other versions in which the same objects are served.
    pub(crate) fn served_alike(&self, served: &Served) -> Vec<Arc<Served>> {
        let all = self.served.values().flatten();
        let alike = all.filter(|other| {
            Arc::ptr_eq(&other.cache, &served.cache) && !std::ptr::eq(other.resource, served.resource)
        });
        let mut alike: Vec<_> = alike.cloned().collect();
        alike.sort_by_key(|other| (other.resource.group, other.resource.version));
        alike
    }

    /// The resource in the version it is stored in. `events.k8s.io` events are found as core events.
    pub(crate) fn stored(&self, group: &str, resource: &str) -> Option<&Arc<Served>> {
        let resource = resources::versions(group, resource).next()?;
        let versions = self.served.get(&(resource.group, resource.resource))?;
        versions
            .iter()
            .find(|served| is_stored_version(served.resource))
            .or_else(|| versions.first())
    }
}

impl Served {
    fn new(resource: &'static Resource, cache: &Cache) -> Self {
        let stored = resource.stored_as();
        let prefix = prefix_of(stored);
        let cache = cache
            .resource(&prefix)
            .expect("the cache was made for every stored resource");
        Self {
            resource,
            stored,
            version: u8::from(!is_stored_version(resource)),
            cache: Arc::clone(cache),
            prefix,
            selectable: selectable(resource.group, resource.resource),
            head: head_of(resource),
        }
    }

    /// The key below [`Self::prefix`].
    pub(crate) fn key(&self, namespace: &str, name: &str) -> String {
        if self.resource.namespaced {
            format!("{namespace}/{name}")
        } else {
            name.to_owned()
        }
    }

    /// An entry of an object that is shown as it would be at a revision.
    pub(crate) fn entry(&self, key: &str, revision: u64, object: Value) -> Arc<Entry> {
        Arc::new(Entry::new(key, revision, object, self.cache.kind()))
    }

    /// Whether it is the resource of a group and plural name.
    pub(crate) fn is(&self, group: &str, resource: &str) -> bool {
        self.resource.group == group && self.resource.resource == resource
    }
}

fn head_of(resource: &Resource) -> String {
    format!(
        r#"{{"kind":"{}","apiVersion":"{}","#,
        resource.kind,
        resource.api_version()
    )
}

fn prefix_of(stored: &Resource) -> String {
    format!("{ROOT}{}/", stored.storage_prefix())
}

fn is_stored_version(resource: &'static Resource) -> bool {
    std::ptr::eq(resource, resource.stored_as())
}
