//! Custom resources as they are served: a definition's facts and schemas, and the cache of its objects.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use coracle_api::custom::{Definition, Version, decode};
use coracle_api::object::Fields as _;
use coracle_api::resources::Resource;
use coracle_api::schema::Schema;
use serde_json::Value;

use super::fields::Refusal;
use super::served::{Handle, Served, head, head_of};
use crate::cache::ROOT;
use crate::cache::entry::{Entry, Fields};
use crate::cache::resource::{Particulars, ResourceCache, StoredKind};
use crate::discovery::{self, Group};
use crate::openapi::CustomResource;

/// One version of a custom resource.
#[derive(Clone, Debug)]
pub(crate) struct Custom {
    /// What its definition says of it.
    pub version: Arc<Version>,
    /// What its definition says beyond that.
    pub definition: Arc<Definition>,
    /// The schemas of all versions.
    pub schemas: Arc<Schemas>,
    /// What discovery tells of it.
    pub told: Arc<discovery::Entry>,
    /// Changes whenever the definition does.
    pub mark: [u8; 32],
}

/// The schemas of a definition's versions, each read when it is first needed: most definitions of a cluster are idle, and a
/// schema in memory takes many times the room that it takes as text.
#[derive(Debug)]
pub(crate) struct Schemas {
    definition: Arc<Entry>,
    read: Mutex<HashMap<&'static str, Arc<Schema>>>,
}

impl Schemas {
    /// Those of a definition as it is stored.
    pub(crate) fn of(definition: Arc<Entry>) -> Self {
        Self {
            definition,
            read: Mutex::default(),
        }
    }

    /// The JSON of the schema of a version.
    fn json(&self, version: &str) -> Value {
        let definition = self.definition.value();
        let versions = definition["spec"].items("versions");
        let found = versions.iter().find(|other| other.text("name") == version);
        found.map_or(Value::Null, |version| {
            version["schema"]["openAPIV3Schema"].clone()
        })
    }

    /// The schema of a version.
    pub(crate) fn get(&self, version: &'static str) -> Arc<Schema> {
        let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        let schema = read
            .entry(version)
            .or_insert_with(|| Arc::new(Definition::schema(&self.definition.value(), version)));
        Arc::clone(schema)
    }
}

impl Custom {
    /// The schema of this version.
    pub(crate) fn schema(&self) -> Arc<Schema> {
        self.schemas.get(self.version.resource.version)
    }

    /// The field that a selector's term means.
    ///
    /// # Errors
    /// The words of the refusal.
    pub(crate) fn field(&self, name: &str) -> Result<&'static str, String> {
        match name {
            "metadata.name" => return Ok("metadata.name"),
            "metadata.namespace" if self.version.resource.namespaced => return Ok("metadata.namespace"),
            _ => {}
        }
        let field = self.version.selectable.iter().find(|field| field.name == name);
        field
            .map(|field| field.name)
            .ok_or_else(|| Refusal::NotSupported.message(name))
    }

    /// Whether clients are told of it.
    fn is_told(&self) -> bool {
        self.version.served && self.definition.is_established
    }

    fn described(&self) -> CustomResource {
        let (schemas, version) = (Arc::clone(&self.schemas), self.version.resource.version);
        CustomResource {
            version: Arc::clone(&self.version),
            list_kind: self.definition.list_kind,
            mark: self.mark,
            schema: Arc::new(move || schemas.json(version)),
        }
    }

    /// An object of this version as the store will give it back, where no webhook converts it.
    pub(crate) fn keep(&self, object: &mut Value, storage: &Resource) {
        let converts_itself = self.definition.conversion.is_none();
        if converts_itself && self.version.resource.version != storage.version {
            decode::kept(object, storage, &self.schemas.get(storage.version));
        }
    }

    /// An object of another version as one of this.
    pub(crate) fn convert(&self, object: &mut Value) {
        decode::converted(object, &self.version.resource, &self.schema());
    }
}

/// How objects of a custom resource are kept in the cache: in the version that they are stored in.
#[derive(Debug)]
struct Stored {
    definition: Arc<Definition>,
    storage: Arc<Version>,
    schemas: Arc<Schemas>,
}

impl Particulars for Stored {
    fn fields(&self, object: &Value) -> Fields {
        let mut fields = Fields::new();
        for field in self
            .definition
            .versions
            .iter()
            .flat_map(|version| &version.selectable)
        {
            if fields.iter().all(|(name, _)| *name != field.name) {
                fields.push((field.name, field.value(object)));
            }
        }
        fields
    }

    /// An object that was stored when another version was the storage version is brought into the present one, unless that
    /// takes a webhook: then it is kept as it was written, and converted when somebody asks for it.
    fn settle(&self, object: &mut Value) -> bool {
        let storage = &self.storage.resource;
        let written = self.written(object);
        let version = written.map_or(storage.version, |version| version.resource.version);
        decode::stored(object, &self.schemas.get(version));
        let stale = written.is_none_or(|written| !written.storage);
        if stale && self.definition.conversion.is_none() {
            decode::converted(object, storage, &self.schemas.get(storage.version));
        }
        stale
    }

    fn head(&self, object: &Value) -> Option<Arc<str>> {
        self.definition.conversion.as_ref()?;
        let (kind, api_version) = (object.text("kind"), object.text("apiVersion"));
        let is_stored = api_version == self.storage.resource.api_version();
        (!is_stored && !api_version.is_empty()).then(|| head(kind, api_version).into())
    }
}

impl Stored {
    /// The version that an object names.
    fn written(&self, object: &Value) -> Option<&Version> {
        let version = object.text("apiVersion");
        let mut versions = self.definition.versions.iter();
        versions
            .find(|other| other.resource.api_version() == version)
            .map(AsRef::as_ref)
    }
}

/// What the cache must know of a definition's objects.
pub(super) fn stored_kind(definition: &Arc<Definition>, schemas: &Arc<Schemas>) -> Option<StoredKind> {
    let storage = definition.storage()?;
    Some(StoredKind {
        prefix: format!("{ROOT}{}/{}/", definition.group, definition.plural),
        head: head_of(&storage.resource).into(),
        particulars: Arc::new(Stored {
            definition: Arc::clone(definition),
            storage: Arc::clone(storage),
            schemas: Arc::clone(schemas),
        }),
    })
}

/// A definition's resource in every version that is served.
pub(super) fn served(
    definition: &Arc<Definition>,
    schemas: &Arc<Schemas>,
    cache: &Arc<ResourceCache>,
    mark: [u8; 32],
) -> Vec<Arc<Served>> {
    let Some(storage) = definition.storage() else {
        return Vec::new();
    };
    let versions = definition.versions.iter().zip(1..);
    let served = versions.filter(|(version, _)| version.served || version.storage);
    served
        .map(|(version, place)| {
            Arc::new(Served {
                resource: Handle::Custom(Arc::clone(version)),
                stored: Handle::Custom(Arc::clone(storage)),
                version: if version.storage { 0 } else { place },
                prefix: cache.kind().prefix.clone(),
                cache: Arc::clone(cache),
                custom: Some(Custom {
                    version: Arc::clone(version),
                    definition: Arc::clone(definition),
                    schemas: Arc::clone(schemas),
                    told: Arc::new(discovery::custom_entry(version, storage.resource.version)),
                    mark,
                }),
                selectable: super::fields::selectable("", ""),
                head: head_of(&version.resource),
                raw: None,
            })
        })
        .collect()
}

/// Everything that definitions have brought, as of one moment.
#[derive(Debug, Default)]
pub(crate) struct Customs {
    /// Which moment: it grows with every change.
    pub(crate) generation: u64,
    served: HashMap<&'static str, HashMap<&'static str, Vec<Arc<Served>>>>,
}

impl Customs {
    /// What these resources are together.
    pub(super) fn new(generation: u64, resources: impl IntoIterator<Item = Vec<Arc<Served>>>) -> Self {
        let mut served: HashMap<_, HashMap<_, Vec<_>>> = HashMap::new();
        for versions in resources {
            let Some(first) = versions.first() else { continue };
            let (group, resource) = (first.resource.group, first.resource.resource);
            served.entry(group).or_default().insert(resource, versions);
        }
        Self { generation, served }
    }

    /// A resource in all its versions, those among them that are stored and not served.
    pub(super) fn versions(&self, group: &str, resource: &str) -> &[Arc<Served>] {
        let found = self.served.get(group).and_then(|group| group.get(resource));
        found.map_or(&[], Vec::as_slice)
    }

    /// A resource in a version, where it is served in that.
    pub(crate) fn served(&self, group: &str, version: &str, resource: &str) -> Option<&Arc<Served>> {
        let mut versions = self.versions(group, resource).iter();
        versions.find(|served| served.resource.version == version && served.is_served())
    }

    /// Every resource in every version that is served and established.
    pub(crate) fn established(&self) -> impl Iterator<Item = &Custom> {
        let all = self.served.values().flat_map(HashMap::values).flatten();
        all.filter_map(|served| served.custom.as_ref())
            .filter(|custom| custom.is_told())
    }

    /// Whether anything of a group is served and established.
    pub(crate) fn has_group(&self, group: &str) -> bool {
        let served = self.served.get(group).into_iter();
        let mut customs = served
            .flat_map(HashMap::values)
            .flatten()
            .filter_map(|served| served.custom.as_ref());
        customs.any(Custom::is_told)
    }

    /// What OpenAPI tells of them, in the order of their groups, versions and names.
    pub(crate) fn described(&self) -> Vec<CustomResource> {
        let mut described: Vec<CustomResource> = self.established().map(Custom::described).collect();
        described.sort_by_key(|custom| {
            let resource = &custom.version.resource;
            (resource.group, resource.version, resource.resource)
        });
        described
    }

    /// What discovery tells of them, in the order of their groups' names.
    pub(crate) fn groups(&self) -> Vec<Group> {
        let mut facts: Vec<(&Version, &Arc<discovery::Entry>)> = self
            .established()
            .map(|custom| (&*custom.version, &custom.told))
            .collect();
        facts.sort_by_key(|(version, _)| (version.resource.group, version.resource.resource));
        discovery::custom(&facts)
    }
}
