//! What other servers say of themselves in OpenAPI 2, put into our own document. Pure.
//!
//! As upstream's aggregator does it: paths of our own stay, definitions that are the same are shared, and others of the same
//! name get another. A kind stays with the definition that was there first, so that clients find one for each.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use coracle_api::object::Fields;
use serde_json::{Map, Value, json};

const REFERENCE: &str = "#/definitions/";
/// The extension of a definition that names the kinds it is of.
pub(super) const KINDS: &str = "x-kubernetes-group-version-kind";

/// The part of a document that is about a group version: its paths, and the definitions that they lead to.
pub(crate) fn part(document: &Value, group: &str, version: &str) -> Value {
    let below = format!("/apis/{group}/{version}/");
    let paths: Map<String, Value> = document
        .entries("paths")
        .filter(|(path, _)| path.starts_with(&below))
        .map(|(path, item)| (path.to_owned(), item.clone()))
        .collect();
    let mut wanted: Vec<String> = Vec::new();
    for item in paths.values() {
        references(item, &mut wanted);
    }
    // Kinds of the group version that no path names, such as those in events of watches.
    for (name, schema) in document.entries("definitions") {
        let own = |kind: &&Value| kind.text("group") == group && kind.text("version") == version;
        if schema.items(KINDS).iter().any(|kind| own(&kind)) {
            wanted.push(name.to_owned());
        }
    }
    let mut definitions: BTreeMap<String, Value> = BTreeMap::new();
    while let Some(name) = wanted.pop() {
        if definitions.contains_key(&name) {
            continue;
        }
        if let Some(schema) = document["definitions"].field(&name) {
            references(schema, &mut wanted);
            definitions.insert(name, schema.clone());
        }
    }
    json!({"paths": paths, "definitions": definitions})
}

/// Puts such parts into a document.
pub(crate) fn add(document: &mut Value, parts: &[Arc<Value>]) {
    let mut given = Given::default();
    let known = kinds(document);
    for part in parts {
        let (names, new) = given.names(document, part);
        for (name, schema) in part
            .entries("definitions")
            .filter(|(name, _)| new.contains(*name))
        {
            let mut schema = schema.clone();
            rename(&mut schema, &names);
            drop_kinds(&mut schema, &known);
            document["definitions"][&names[name]] = schema;
        }
        for (path, item) in part.entries("paths") {
            if document["paths"].field(path).is_none() {
                let mut item = item.clone();
                rename(&mut item, &names);
                document["paths"][path] = item;
            }
        }
    }
}

/// The definitions of others that were given a place in the document.
#[derive(Default)]
struct Given {
    /// By name: as others wrote them, and what they are called here.
    by_name: BTreeMap<String, Vec<(Value, String)>>,
    /// All that they are called here.
    names: BTreeSet<String>,
}

impl Given {
    /// The names under which the definitions of a part stand in the document, and which of them are to be put there.
    fn names<'p>(
        &mut self,
        document: &Value,
        part: &'p Value,
    ) -> (BTreeMap<String, String>, BTreeSet<&'p str>) {
        let (mut names, mut new) = (BTreeMap::new(), BTreeSet::new());
        for (name, schema) in part.entries("definitions") {
            let before = self.by_name.entry(name.to_owned()).or_default();
            let own = document["definitions"].field(name);
            let to = match before.iter().find(|(given, _)| given == schema) {
                Some((_, to)) => to.clone(),
                None if before.is_empty() && own == Some(schema) => name.to_owned(),
                None => {
                    let to = free(document, &self.names, name);
                    self.names.insert(to.clone());
                    before.push((schema.clone(), to.clone()));
                    new.insert(name);
                    to
                }
            };
            names.insert(name.to_owned(), to);
        }
        (names, new)
    }
}

/// A name like this one that nothing in the document has or is going to have.
fn free(document: &Value, given: &BTreeSet<String>, name: &str) -> String {
    let taken = |to: &String| document["definitions"].field(to).is_some() || given.contains(to);
    let mut to = name.to_owned();
    let mut number = 2;
    while taken(&to) {
        to = format!("{name}_v{number}");
        number += 1;
    }
    to
}

fn kinds(document: &Value) -> BTreeSet<String> {
    let kinds = document
        .entries("definitions")
        .flat_map(|(_, schema)| schema.items(KINDS));
    kinds.map(Value::to_string).collect()
}

fn drop_kinds(schema: &mut Value, known: &BTreeSet<String>) {
    let Some(schema) = schema.as_object_mut() else {
        return;
    };
    if let Some(Value::Array(kinds)) = schema.get_mut(KINDS) {
        kinds.retain(|kind| !known.contains(&kind.to_string()));
        if kinds.is_empty() {
            schema.remove(KINDS);
        }
    }
}

/// The definitions that a value refers to.
fn references(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            if let Some(name) = fields.get("$ref").and_then(referred) {
                found.push(name.to_owned());
            }
            fields.values().for_each(|value| references(value, found));
        }
        Value::Array(items) => items.iter().for_each(|item| references(item, found)),
        _ => {}
    }
}

fn rename(value: &mut Value, names: &BTreeMap<String, String>) {
    match value {
        Value::Object(fields) => {
            if let Some(reference) = fields.get_mut("$ref")
                && let Some(to) = referred(reference).and_then(|name| names.get(name))
            {
                *reference = json!(format!("{REFERENCE}{to}"));
            }
            fields.values_mut().for_each(|value| rename(value, names));
        }
        Value::Array(items) => items.iter_mut().for_each(|item| rename(item, names)),
        _ => {}
    }
}

fn referred(reference: &Value) -> Option<&str> {
    reference.as_str()?.strip_prefix(REFERENCE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_has_what_its_paths_lead_to_and_no_more() {
        let document = json!({
            "paths": {"/apis/g/v1/things": {"get": {"schema": {"$ref": "#/definitions/ThingList"}}}, "/apis/h/v1/": {}},
            "definitions": {
                "ThingList": {"properties": {"items": {"items": {"$ref": "#/definitions/Thing"}}}},
                "Thing": {"properties": {"metadata": {"$ref": "#/definitions/Meta"}}},
                "Meta": {"type": "object"}, "Other": {"type": "object"},
                "Event": {"x-kubernetes-group-version-kind": [{"group": "g", "version": "v1", "kind": "Event"}]},
            },
        });
        let part = part(&document, "g", "v1");
        let names = |field: &str| {
            part.entries(field)
                .map(|(name, _)| name.to_owned())
                .collect::<Vec<_>>()
        };
        assert_eq!(names("paths"), ["/apis/g/v1/things"]);
        assert_eq!(names("definitions"), ["Event", "Meta", "Thing", "ThingList"]);
    }

    #[test]
    fn what_is_the_same_is_shared_and_what_is_not_gets_another_name() {
        let kind = |group: &str| json!([{"group": group, "version": "v1", "kind": "Meta"}]);
        let mut document = json!({
            "paths": {"/apis/own/v1/": {"get": {}}},
            "definitions": {"Same": {"type": "string"}, "Meta": {"type": "object", "x-kubernetes-group-version-kind": kind("own")}},
        });
        let part = json!({
            "paths": {"/apis/own/v1/": {"put": {}}, "/apis/g/v1/things": {"$ref": "#/definitions/Thing"}},
            "definitions": {
                "Same": {"type": "string"},
                "Meta": {"type": "array", "x-kubernetes-group-version-kind": kind("own")},
                "Thing": {"properties": {"a": {"$ref": "#/definitions/Meta"}, "b": {"$ref": "#/definitions/Same"}}},
            },
        });
        let other = json!({"paths": {"/apis/g/v2/things": {"$ref": "#/definitions/Meta"}},
            "definitions": {"Meta": part["definitions"]["Meta"]}});
        add(&mut document, &[Arc::new(part), Arc::new(other)]);
        assert_eq!(
            document["paths"]["/apis/g/v2/things"],
            json!({"$ref": "#/definitions/Meta_v2"})
        );
        assert_eq!(document["paths"]["/apis/own/v1/"], json!({"get": {}}));
        assert_eq!(document["definitions"]["Meta_v2"], json!({"type": "array"}));
        assert_eq!(
            document["definitions"]["Thing"]["properties"],
            json!({"a": {"$ref": "#/definitions/Meta_v2"}, "b": {"$ref": "#/definitions/Same"}})
        );
    }
}
