//! What another server serves: its `APIResourceList` as discovery tells of it. Pure.

use coracle_api::object::Fields;
use serde_json::Value;

use crate::discovery::{Entry, SubEntry};

/// The resources of a list, each with what lies below it.
pub(super) fn read(list: &Value) -> Vec<Entry> {
    let mut entries: Vec<Entry> = Vec::new();
    let (parts, whole): (Vec<_>, Vec<_>) = list
        .items("resources")
        .iter()
        .partition(|resource| resource.text("name").contains('/'));
    for resource in whole {
        entries.push(entry(resource));
    }
    for part in parts {
        let (name, below) = part.text("name").split_once('/').unwrap_or_default();
        let sub = SubEntry {
            name: below.to_owned().into(),
            group: part.text("group").to_owned().into(),
            version: part.text("version").to_owned().into(),
            kind: part.text("kind").to_owned().into(),
            verbs: texts(part, "verbs"),
        };
        if let Some(entry) = entries.iter_mut().find(|entry| entry.resource == name) {
            entry.subresources.push(sub);
        }
    }
    entries
}

fn entry(resource: &Value) -> Entry {
    let text = |name: &str| resource.text(name).to_owned();
    Entry {
        resource: text("name").into(),
        singular: text("singularName").into(),
        kind: text("kind").into(),
        namespaced: resource.flag("namespaced"),
        verbs: texts(resource, "verbs"),
        short_names: texts(resource, "shortNames"),
        categories: texts(resource, "categories"),
        subresources: Vec::new(),
        storage_version_hash: text("storageVersionHash"),
        of: None,
    }
}

fn texts<T: From<String>>(resource: &Value, field: &str) -> Vec<T> {
    let items = resource.items(field).iter().filter_map(Value::as_str);
    items.map(|text| T::from(text.to_owned())).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn parts_are_found_below_their_resources() {
        let list = json!({"kind": "APIResourceList", "groupVersion": "g/v1", "resources": [
            {"name": "things/scale", "kind": "Scale", "group": "autoscaling", "version": "v1", "verbs": ["get"]},
            {"name": "things", "singularName": "thing", "namespaced": true, "kind": "Thing", "verbs": ["get", "list"],
                "shortNames": ["th"]},
            {"name": "lost/status", "kind": "Lost", "verbs": ["get"]}]});
        let entries = read(&list);
        assert_eq!(entries.len(), 1);
        let thing = &entries[0];
        assert_eq!(
            (&*thing.kind, thing.namespaced, thing.short_names.len()),
            ("Thing", true, 1)
        );
        assert_eq!(
            (&*thing.subresources[0].name, &*thing.subresources[0].group),
            ("scale", "autoscaling")
        );
    }
}
