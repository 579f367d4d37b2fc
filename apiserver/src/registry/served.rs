//! A resource in one version, with everything that answering for it needs.

use std::collections::HashMap;
use std::ops::Deref;
use std::sync::Arc;

use arc_swap::ArcSwap;
use coracle_api::apply::Model;
use coracle_api::custom::Version;
use coracle_api::resources::{self, Resource, Subresource};
use coracle_api::status::ApiError;
use coracle_api::table::Type;
use serde_json::Value;

use super::custom::{Custom, Customs};
use super::fields::{Selectable, selectable};
use super::negotiate::{self, Accepted, Purpose};
use super::raw_parts;
use crate::cache::entry::{Entry, Fields};
use crate::cache::resource::{ResourceCache, StoredKind};
use crate::cache::{Cache, ROOT};
use crate::request::RequestContext;

/// After how many seconds a list of what cannot be read is to be asked for again.
const REINITIALIZED_AFTER: u32 = 30;

/// The facts of a resource, wherever they stand: in the table, or in a definition that may change.
#[derive(Clone, Debug)]
pub(crate) enum Handle {
    /// In the table.
    BuiltIn(&'static Resource),
    /// In a version of a definition.
    Custom(Arc<Version>),
}

impl Deref for Handle {
    type Target = Resource;

    fn deref(&self) -> &Resource {
        match self {
            Self::BuiltIn(resource) => resource,
            Self::Custom(version) => &version.resource,
        }
    }
}

/// A stored resource as one of its versions shows it.
#[derive(Debug)]
pub(crate) struct Served {
    /// The version that was asked for.
    pub resource: Handle,
    /// The version its objects are stored in.
    pub stored: Handle,
    /// Which of the versions this is: 0 for the stored one.
    pub version: u32,
    /// What comes before namespace and name in the store's keys.
    pub prefix: String,
    /// Its objects.
    pub cache: Arc<ResourceCache>,
    /// What a definition says of it; none for what is built in.
    pub custom: Option<Custom>,
    /// What field selectors may name, of what is built in.
    pub selectable: Selectable,
    /// What comes before the JSON of an entry to make it an object of its own: `{"kind":…,"apiVersion":…,`.
    pub head: String,
    /// The type of its objects, where these have fields that are kept as they were sent.
    pub raw: Option<&'static Type>,
}

/// Every stored resource in every version.
#[derive(Debug)]
pub(crate) struct Catalog {
    /// By group and plural name.
    served: HashMap<&'static str, HashMap<&'static str, Vec<Arc<Served>>>>,
    /// What definitions have brought so far; replaced as a whole when they change.
    customs: ArcSwap<Customs>,
}

/// What the cache must keep: each stored resource once.
pub(super) fn stored_kinds() -> Vec<StoredKind> {
    let stored = resources::all()
        .iter()
        .filter(|resource| resource.is_stored() && is_stored_version(resource));
    stored
        .map(|resource| {
            let fields: fn(&Value) -> Fields = selectable(resource.group, resource.resource).extract;
            StoredKind {
                prefix: prefix_of(resource),
                head: head_of(resource).into(),
                particulars: Arc::new(fields),
            }
        })
        .collect()
}

impl Catalog {
    /// Describes every stored resource that is built in.
    pub(crate) fn new(cache: &Cache) -> Self {
        let mut served: HashMap<_, HashMap<_, Vec<_>>> = HashMap::new();
        for resource in resources::all() {
            let group = served.entry(resource.group).or_default();
            let versions = group.entry(resource.resource).or_default();
            if resource.is_stored() {
                versions.push(Arc::new(Served::built_in(resource, cache)));
            }
        }
        Self {
            served,
            customs: ArcSwap::default(),
        }
    }

    /// The resource of a group, version and plural name.
    pub(crate) fn find(&self, group: &str, version: &str, resource: &str) -> Option<Arc<Served>> {
        self.with_versions((group, resource), |versions| {
            let found = versions.iter().find(|served| served.resource.version == version);
            found.cloned()
        })
    }

    /// The other versions in which the same objects are served.
    pub(crate) fn served_alike(&self, served: &Served) -> Vec<Arc<Served>> {
        let (group, version) = (served.resource.group, served.resource.version);
        let mut alike: Vec<Arc<Served>> = match served.custom {
            None => {
                let all = self.served.values().flat_map(HashMap::values).flatten();
                let alike = all.filter(|other| Arc::ptr_eq(&other.cache, &served.cache));
                alike.cloned().collect()
            }
            Some(_) => self
                .customs
                .load()
                .versions(group, served.resource.resource)
                .to_vec(),
        };
        alike.retain(|other| {
            other.is_served() && (other.resource.group, other.resource.version) != (group, version)
        });
        alike.sort_by_key(|other| (other.resource.group, other.resource.version));
        alike
    }

    /// The resource in the version it is stored in. `events.k8s.io` events are found as core events.
    pub(crate) fn stored(&self, group: &str, resource: &str) -> Option<Arc<Served>> {
        self.with_versions((group, resource), |versions| {
            let stored = versions.iter().find(|served| served.version == 0);
            stored.or_else(|| versions.first()).cloned()
        })
    }

    /// Looks at a resource in all its versions. What is built in is no definition's, and where it is not stored there are none.
    fn with_versions<R>(&self, (group, resource): (&str, &str), look: impl FnOnce(&[Arc<Served>]) -> R) -> R {
        match self.served.get(group).and_then(|group| group.get(resource)) {
            Some(built_in) => look(built_in),
            None => look(self.customs.load().versions(group, resource)),
        }
    }

    /// What definitions have brought.
    pub(crate) fn customs(&self) -> Arc<Customs> {
        self.customs.load_full()
    }

    /// Serves what definitions bring from now on, all at once.
    pub(crate) fn replace_customs(&self, customs: Arc<Customs>) {
        self.customs.store(customs);
    }
}

impl Served {
    fn built_in(resource: &'static Resource, cache: &Cache) -> Self {
        let stored = resource.stored_as();
        let prefix = prefix_of(stored);
        let cache = cache
            .resource(&prefix)
            .expect("the cache was made for every stored resource");
        Self {
            raw: raw_parts::type_of(&Handle::BuiltIn(resource)),
            resource: Handle::BuiltIn(resource),
            stored: Handle::BuiltIn(stored),
            version: u32::from(!is_stored_version(resource)),
            cache: Arc::clone(cache),
            prefix,
            custom: None,
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

    /// Whether everything that is stored of it can be read, so that lists and watches are what they say.
    ///
    /// # Errors
    /// What upstream answers as long as its cache cannot be filled for that reason.
    pub(super) fn whole(&self) -> Result<(), ApiError> {
        let Some((key, why)) = self.cache.unreadable() else {
            return Ok(());
        };
        let (resource, key) = (&self.resource, format!("{}{key}", self.prefix));
        let listed = match self.custom {
            None => {
                let package = resource.group.split('.').next().filter(|group| !group.is_empty());
                format!("*{}.{}", package.unwrap_or("core"), resource.kind)
            }
            Some(_) => format!("{}, Kind={}", resource.api_version(), resource.kind),
        };
        let message = format!(
            "storage is (re)initializing: failed to list {listed}: unable to transform key {key:?}: {why}"
        );
        Err(ApiError::too_many_requests(message, REINITIALIZED_AFTER))
    }

    /// An entry of an object that is shown as it would be at a revision.
    pub(crate) fn entry(&self, key: &str, revision: u64, object: Value) -> Arc<Entry> {
        Arc::new(Entry::new(key, revision, object, self.cache.kind()))
    }

    /// Whether it is the resource of a group and plural name.
    pub(crate) fn is(&self, group: &str, resource: &str) -> bool {
        self.resource.group == group && self.resource.resource == resource
    }

    /// The subresource of a name.
    pub(crate) fn subresource(&self, name: &str) -> Option<&Subresource> {
        match &self.custom {
            None => self.resource.subresource(name),
            Some(custom) => custom.version.subresource(name),
        }
    }

    /// Whether it may be asked for in this version: a custom resource may be stored in one that is not served.
    pub(crate) fn is_served(&self) -> bool {
        self.custom.as_ref().is_none_or(|custom| custom.version.served)
    }

    /// The kind of a list of its objects.
    pub(crate) fn list_kind(&self) -> String {
        match &self.custom {
            None => format!("{}List", self.resource.kind),
            Some(custom) => custom.definition.list_kind.to_owned(),
        }
    }

    /// Picks the form in which its objects are answered.
    ///
    /// # Errors
    /// 406 where nothing that the client accepts can be made.
    pub(crate) fn accepted(&self, ctx: &RequestContext, purpose: Purpose) -> Result<Accepted, ApiError> {
        negotiate::accepted_of(ctx, purpose, self.custom.is_none())
    }

    /// The field that a selector's term means, by the name it has inside.
    ///
    /// # Errors
    /// The words of the refusal.
    pub(crate) fn field(&self, name: &str) -> Result<&'static str, String> {
        match &self.custom {
            None => self.selectable.resolve(name),
            Some(custom) => custom.field(name),
        }
    }

    /// Calls back with what is known of its objects in this version.
    pub(crate) fn with_model<T>(&self, act: impl FnOnce(Model<'_>) -> T) -> T {
        match &self.custom {
            None => act(Model::Type(self.resource.ty())),
            Some(custom) => act(Model::Custom(&custom.schema(), self.resource.gvk())),
        }
    }
}

/// The beginning of the JSON of every object of a resource.
pub(super) fn head_of(resource: &Resource) -> String {
    head(resource.kind, &resource.api_version())
}

/// The beginning of the JSON of an object of a kind.
pub(super) fn head(kind: &str, api_version: &str) -> String {
    format!(r#"{{"kind":"{kind}","apiVersion":"{api_version}","#)
}

fn prefix_of(stored: &Resource) -> String {
    format!("{ROOT}{}/", stored.storage_prefix())
}

fn is_stored_version(resource: &'static Resource) -> bool {
    std::ptr::eq(resource, resource.stored_as())
}
