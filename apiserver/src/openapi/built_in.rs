//! The entries of what is built in, and of what other servers say along with that: the same for every set of custom resources.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use coracle_api::codec::json;
use coracle_api::object::Fields as _;
use serde_json::{Map, Value, json as json_value};

use super::entries::{Entries, Parts};
use super::{CustomResource, Form, Made, Opened, figures, hashes, merge, operations, v2, v3};

/// What is made of it, when first asked for.
#[derive(Debug, Default)]
pub(super) struct BuiltIn {
    v2: OnceLock<Parts>,
    gnostic: OnceLock<Parts>,
    /// Documents by their places below `/openapi/v3/`.
    v3: Mutex<HashMap<String, Made>>,
    /// Types that custom resources refer to, without and with a scale.
    custom_types: [OnceLock<Parts>; 2],
    /// What is told of `metrics.k8s.io` in OpenAPI 2.
    figures: OnceLock<Arc<Value>>,
    /// What the newest parts of others come to, for a cluster has but one set.
    added: Mutex<Option<Arc<Added>>>,
}

/// What other servers add to OpenAPI 2.
#[derive(Debug)]
pub(super) struct Added {
    parts: Vec<Arc<Value>>,
    taken: Taken,
    json: Parts,
    gnostic: Parts,
}

/// What custom resources have taken of the names that others have, too.
#[derive(Debug, Default, PartialEq)]
struct Taken {
    paths: BTreeSet<String>,
    /// Names of definitions, and the kinds they are of.
    definitions: Vec<(String, Value)>,
}

impl BuiltIn {
    /// Its part of OpenAPI 2.
    pub(super) fn v2(&self, form: Form, descriptions: &Opened) -> &Parts {
        let entries = || v2::built_in(descriptions.get());
        match form {
            Form::Json => self.v2.get_or_init(|| entries().in_json()),
            Form::Protobuf => self.gnostic.get_or_init(|| entries().in_gnostic()),
        }
    }

    /// The document at a place below `/openapi/v3/`.
    pub(super) fn v3(&self, below: &str, descriptions: &Opened) -> Made {
        let kept = |made: &HashMap<String, Made>| made.get(below).cloned();
        if let Some(made) = kept(&self.v3.lock().unwrap_or_else(PoisonError::into_inner)) {
            return made;
        }
        let made = Made::of(&json::encode(&v3::document(below, descriptions.get())));
        let mut all = self.v3.lock().unwrap_or_else(PoisonError::into_inner);
        all.entry(below.to_owned()).or_insert(made).clone()
    }

    /// The hash of that document, which is not made for it where the hash is known.
    pub(super) fn v3_hash(&self, below: &str, descriptions: &Opened) -> String {
        match hashes::of(below) {
            Some(hash) => hash.to_owned(),
            None => self.v3(below, descriptions).etag,
        }
    }

    /// The part of OpenAPI 2 about `metrics.k8s.io`, which is added as those of other servers are.
    pub(super) fn figures(&self, descriptions: &Opened) -> Arc<Value> {
        let made = || Arc::new(figures::part(descriptions));
        Arc::clone(self.figures.get_or_init(made))
    }

    /// The types of the table that custom resources refer to.
    pub(super) fn custom_types(&self, scaled: bool, descriptions: &Opened) -> &Parts {
        self.custom_types[usize::from(scaled)]
            .get_or_init(|| Parts::of_schemas(v3::custom_types(scaled, descriptions.get())))
    }

    /// What others add to what is built in and to custom resources; made again where they say something else.
    pub(super) fn added(
        &self,
        parts: &[Arc<Value>],
        customs: &[&CustomResource],
        descriptions: &Opened,
    ) -> Arc<Added> {
        let taken = Taken::of(parts, customs);
        let same = |added: &&Arc<Added>| {
            let pairs = || added.parts.iter().zip(parts);
            added.taken == taken
                && added.parts.len() == parts.len()
                && pairs().all(|(ours, theirs)| Arc::ptr_eq(ours, theirs))
        };
        let kept = self.added.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(kept) = kept.as_ref().filter(same) {
            return Arc::clone(kept);
        }
        let made = Arc::new(Added::of(parts, taken, v2::built_in(descriptions.get())));
        *self.added.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&made));
        made
    }
}

impl Added {
    fn of(parts: &[Arc<Value>], taken: Taken, own: Entries) -> Self {
        let Entries {
            mut paths,
            mut schemas,
        } = own;
        paths.extend(taken.paths.iter().map(|path| (path.clone(), Value::Null)));
        let definitions = taken.definitions.iter().cloned();
        schemas.extend(definitions.map(|(name, kind)| (name, json_value!({merge::KINDS: [kind]}))));
        let before: [BTreeSet<String>; 2] = [&paths, &schemas].map(|map| map.keys().cloned().collect());
        let mut document = json_value!({"paths": paths, "definitions": schemas});
        merge::add(&mut document, parts);
        let mut new = |field: &str, before: &BTreeSet<String>| match document[field].take() {
            Value::Object(all) => all
                .into_iter()
                .filter(|(name, _)| !before.contains(name))
                .collect(),
            _ => Map::new(),
        };
        let (paths, schemas) = (new("paths", &before[0]), new("definitions", &before[1]));
        let entries = |paths, schemas| Entries { paths, schemas };
        Self {
            parts: parts.to_vec(),
            taken,
            json: entries(paths.clone(), schemas.clone()).in_json(),
            gnostic: entries(paths, schemas).in_gnostic(),
        }
    }

    pub(super) fn of_form(&self, form: Form) -> &Parts {
        match form {
            Form::Json => &self.json,
            Form::Protobuf => &self.gnostic,
        }
    }
}

impl Taken {
    /// Of those names only which the parts have: custom resources come and go, and what others say stays the same by that.
    fn of(parts: &[Arc<Value>], customs: &[&CustomResource]) -> Self {
        let named: BTreeSet<&str> = parts
            .iter()
            .flat_map(|part| part.entries("definitions"))
            .map(|(name, _)| name)
            .collect();
        let kinds: BTreeSet<String> = parts
            .iter()
            .flat_map(|part| part.entries("definitions"))
            .flat_map(|(_, schema)| schema.items(merge::KINDS))
            .map(Value::to_string)
            .collect();
        let mut taken = Self::default();
        for custom in customs {
            let resource = &custom.version.resource;
            for kind in [resource.kind, custom.list_kind] {
                let name = operations::customs::model_name(resource.group, resource.version, kind);
                let kind = json_value!({"group": resource.group, "version": resource.version, "kind": kind});
                if named.contains(name) || kinds.contains(&kind.to_string()) {
                    taken.definitions.push((name.to_owned(), kind));
                }
            }
            let below = format!("/apis/{}/", resource.api_version());
            let there = |path: &str| path.starts_with(&below);
            let shares = |part: &Arc<Value>| part.entries("paths").any(|(path, _)| there(path));
            if parts.iter().any(shares) {
                let paths = operations::customs::paths(&custom.version, custom.list_kind);
                taken.paths.extend(paths.into_iter().map(|path| path.path));
            }
        }
        taken
    }
}
