//! The old documents: one of all groups, one per group, one per group version.

use serde_json::{Map, Value, json};

use super::groups::{Entry, Group, SubEntry, Version, group_version};
use super::told::Frame;

/// `/api`: the versions of core. As upstream, without an apiVersion of its own.
pub(super) fn api_versions<'g>(core: impl Iterator<Item = &'g Group>, server_address: &str) -> Value {
    let versions: Vec<&str> = core
        .flat_map(|core| &core.versions)
        .map(|version| version.version.as_ref())
        .collect();
    json!({
        "kind": "APIVersions",
        "versions": versions,
        "serverAddressByClientCIDRs": [{"clientCIDR": "0.0.0.0/0", "serverAddress": server_address}],
    })
}

/// `/apis`: every group but core.
pub(super) fn frame() -> Frame {
    Frame {
        list: json!({"kind": "APIGroupList", "apiVersion": "v1"}),
        items: "groups",
        known_as: "v1",
    }
}

/// `/apis/GROUP`.
pub(super) fn group(group: &Group) -> Value {
    let mut value = bare_group(group);
    value["kind"] = "APIGroup".into();
    value["apiVersion"] = "v1".into();
    value
}

/// What the list of groups says of one.
pub(super) fn bare_group(group: &Group) -> Value {
    let versions: Vec<Value> = group
        .versions
        .iter()
        .map(|version| {
            let group_version = group_version(&group.name, &version.version);
            json!({"groupVersion": group_version, "version": version.version})
        })
        .collect();
    let preferred = versions.first().cloned().unwrap_or_default();
    json!({"name": group.name, "versions": versions, "preferredVersion": preferred})
}

/// `/api/VERSION` and `/apis/GROUP/VERSION`: resources and subresources in the order of their names.
pub(super) fn resource_list(group: &Group, version: &Version) -> Value {
    let mut entries: Vec<(String, Value)> = Vec::new();
    for entry in &version.resources {
        entries.push((entry.resource.to_string(), resource(entry)));
        for sub in &entry.subresources {
            let name = format!("{}/{}", entry.resource, sub.name);
            entries.push((name.clone(), subresource(name, entry, sub)));
        }
    }
    // Those of definitions stand as they are told by these.
    if version.resources.iter().all(|entry| entry.of.is_none()) {
        entries.sort_by(|(a, _), (b, _)| a.cmp(b));
    }
    let resources: Vec<Value> = entries.into_iter().map(|(_, value)| value).collect();
    let mut list = json!({
        "kind": "APIResourceList",
        "groupVersion": group_version(&group.name, &version.version),
        "resources": resources,
    });
    // Upstream's core list is made by a serializer that does not know its version.
    if !group.name.is_empty() {
        list["apiVersion"] = "v1".into();
    }
    list
}

fn resource(entry: &Entry) -> Value {
    let mut value = Map::new();
    value.insert("name".to_owned(), entry.resource.as_ref().into());
    value.insert("singularName".to_owned(), entry.singular.as_ref().into());
    value.insert("namespaced".to_owned(), entry.namespaced.into());
    value.insert("kind".to_owned(), entry.kind.as_ref().into());
    value.insert("verbs".to_owned(), json!(entry.verbs));
    if !entry.short_names.is_empty() {
        value.insert("shortNames".to_owned(), json!(entry.short_names));
    }
    if !entry.categories.is_empty() {
        value.insert("categories".to_owned(), json!(entry.categories));
    }
    if !entry.storage_version_hash.is_empty() {
        value.insert(
            "storageVersionHash".to_owned(),
            entry.storage_version_hash.as_str().into(),
        );
    }
    Value::Object(value)
}

fn subresource(name: String, entry: &Entry, sub: &SubEntry) -> Value {
    let mut value = json!({
        "name": name,
        "singularName": "",
        "namespaced": entry.namespaced,
        "kind": sub.kind,
        "verbs": sub.verbs,
    });
    if !sub.version.is_empty() {
        value["group"] = sub.group.as_ref().into();
        value["version"] = sub.version.as_ref().into();
    }
    value
}
