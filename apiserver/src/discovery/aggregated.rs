//! The aggregated document (KEP-3352): every group, version and resource at once.

use serde_json::{Map, Value, json};

use super::groups::{Entry, Group, SubEntry, Text};
use super::told::Frame;

/// A list of groups, in a version of apidiscovery.k8s.io.
pub(super) fn frame(version: &str) -> Frame {
    Frame {
        list: json!({
            "kind": "APIGroupDiscoveryList",
            "apiVersion": format!("apidiscovery.k8s.io/{version}"),
            "metadata": {},
        }),
        items: "items",
        // v2beta1 has the same messages as v2.
        known_as: "apidiscovery.k8s.io/v2",
    }
}

/// What the list says of a group.
pub(super) fn group(group: &Group) -> Value {
    let versions: Vec<Value> = group
        .versions
        .iter()
        .map(|version| {
            let resources: Vec<Value> = version.resources.iter().map(|entry| resource(entry)).collect();
            json!({"version": version.version, "resources": resources, "freshness": "Current"})
        })
        .collect();
    let metadata = if group.name.is_empty() {
        json!({})
    } else {
        json!({"name": group.name})
    };
    json!({"metadata": metadata, "versions": versions})
}

fn resource(entry: &Entry) -> Value {
    let mut value = Map::new();
    value.insert("resource".to_owned(), entry.resource.as_ref().into());
    value.insert("responseKind".to_owned(), kind(entry.of.as_ref(), &entry.kind));
    value.insert(
        "scope".to_owned(),
        if entry.namespaced { "Namespaced" } else { "Cluster" }.into(),
    );
    value.insert("singularResource".to_owned(), entry.singular.as_ref().into());
    value.insert("verbs".to_owned(), json!(entry.verbs));
    if !entry.short_names.is_empty() {
        value.insert("shortNames".to_owned(), json!(entry.short_names));
    }
    if !entry.categories.is_empty() {
        value.insert("categories".to_owned(), json!(entry.categories));
    }
    if !entry.subresources.is_empty() {
        value.insert(
            "subresources".to_owned(),
            entry
                .subresources
                .iter()
                .map(|sub| subresource(sub, entry))
                .collect(),
        );
    }
    Value::Object(value)
}

fn subresource(sub: &SubEntry, of: &Entry) -> Value {
    let own = (sub.group.clone(), sub.version.clone());
    let place = if sub.version.is_empty() {
        of.of.as_ref()
    } else {
        None
    };
    json!({
        "subresource": sub.name,
        "responseKind": kind(place.or(Some(&own)), &sub.kind),
        "verbs": sub.verbs,
    })
}

/// A kind with the group and version that are told with it, if any.
fn kind(place: Option<&(Text, Text)>, kind: &str) -> Value {
    let (group, version) = match place {
        Some((group, version)) => (group.as_ref(), version.as_ref()),
        None => ("", ""),
    };
    json!({"group": group, "version": version, "kind": kind})
}
