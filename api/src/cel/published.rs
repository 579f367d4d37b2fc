//! Kinds that a server has beyond those of the table, by what it tells of them: their resources in discovery, and their schemas in
//! OpenAPI 3. Asking for that is for whoever uses this.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value as Json};

use super::objects::of_table;
use super::schema::type_of;
use super::types::Type;
use crate::object::Fields;
use crate::{resources, table};

/// Where references within a document lead to.
const COMPONENTS: &str = "#/components/schemas/";
const KINDS: &str = "x-kubernetes-group-version-kind";

/// What a server tells of some group versions; of all others the table knows.
#[derive(Debug, Default)]
pub struct Published {
    by_version: BTreeMap<String, GroupVersion>,
}

#[derive(Debug)]
struct GroupVersion {
    /// Kinds by resources.
    kinds: BTreeMap<String, String>,
    /// The schemas of the document.
    schemas: Json,
}

impl Published {
    /// The group versions (`group/version`) that the `spec` of a policy names and the table does not know.
    pub fn wanted(spec: &Json) -> BTreeSet<String> {
        let mut wanted = BTreeSet::new();
        let mut want = |group: &str, version: &str| {
            let known = resources::all();
            let is_known = known
                .iter()
                .any(|one| one.group == group && one.version == version);
            if !group.is_empty() && !is_known && !format!("{group}{version}").contains('*') {
                wanted.insert(format!("{group}/{version}"));
            }
        };
        for rule in spec["matchConstraints"].items("resourceRules") {
            for group in rule.items("apiGroups").iter().filter_map(Json::as_str) {
                for version in rule.items("apiVersions").iter().filter_map(Json::as_str) {
                    want(group, version);
                }
            }
        }
        if let Some((group, version)) = spec["paramKind"].text("apiVersion").split_once('/') {
            want(group, version);
        }
        wanted
    }

    /// Adds what is told of a group version: its list of resources, and its document.
    pub fn add(&mut self, group_version: String, resources: &Json, document: &Json) {
        let listed = resources.items("resources").iter();
        let kinds = listed
            .filter(|one| !one.text("name").contains('/'))
            .map(|one| (one.text("name").to_owned(), one.text("kind").to_owned()))
            .collect();
        let schemas = document["components"]["schemas"].clone();
        self.by_version
            .insert(group_version, GroupVersion { kinds, schemas });
    }

    /// The kind of a resource's objects, and their type.
    pub(super) fn of_resource(&self, group: &str, version: &str, resource: &str) -> Option<(String, Type)> {
        if let Some(found) = resources::find(group, version, resource) {
            return Some((found.kind.to_owned(), of_table(found.ty())));
        }
        let api_version = format!("{group}/{version}");
        let kind = self.by_version.get(&api_version)?.kinds.get(resource)?;
        Some((kind.clone(), self.of_kind(&api_version, kind)?))
    }

    /// The type of a kind's objects.
    pub(super) fn of_kind(&self, api_version: &str, kind: &str) -> Option<Type> {
        if let Some(found) = table::by_api_version(api_version, kind) {
            return Some(of_table(found));
        }
        let (group, version) = api_version.split_once('/')?;
        let schemas = &self.by_version.get(api_version)?.schemas;
        let is_meant = |schema: &&Json| {
            schema.items(KINDS).iter().any(|own| {
                own.text("group") == group && own.text("version") == version && own.text("kind") == kind
            })
        };
        let schema = schemas.as_object()?.values().find(is_meant)?;
        let whole = inlined(schema, schemas, &mut Vec::new())?;
        Some(type_of(&whole, kind, false).unwrap_or(Type::Dyn))
    }
}

/// Where a schema refers to: by itself, or wrapped so that it can have a description.
fn reference(schema: &Json) -> Option<&str> {
    let own = schema.text("$ref");
    if !own.is_empty() {
        return own.strip_prefix(COMPONENTS);
    }
    schema.items("allOf").iter().find_map(reference)
}

/// A schema with what it refers to in place; none where it refers to itself, or to nothing.
fn inlined<'s>(schema: &'s Json, schemas: &'s Json, open: &mut Vec<&'s str>) -> Option<Json> {
    if let Some(name) = reference(schema) {
        if open.contains(&name) {
            return None;
        }
        open.push(name);
        let meant = inlined(schemas.get(name)?, schemas, open);
        open.pop();
        return meant;
    }
    let fields = schema.as_object()?;
    let mut whole = Map::with_capacity(fields.len());
    for (name, value) in fields {
        let value = match (name.as_str(), value) {
            ("items" | "additionalProperties", Json::Object(_)) => inlined(value, schemas, open)?,
            ("properties", Json::Object(properties)) => {
                let mut all = Map::with_capacity(properties.len());
                for (name, property) in properties {
                    all.insert(name.clone(), inlined(property, schemas, open)?);
                }
                Json::Object(all)
            }
            _ => value.clone(),
        };
        whole.insert(name.clone(), value);
    }
    Some(Json::Object(whole))
}
