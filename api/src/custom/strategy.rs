//! What a write to a custom resource may not change (upstream's strategies for custom resources).

use serde_json::{Map, Value};

use super::Version;
use crate::object::{Fields, object_in};

/// Resets what a new object may not bring.
pub fn prepare_create(version: &Version, object: &mut Value) {
    let Value::Object(fields) = object else { return };
    if version.has_status {
        fields.remove("status");
    }
    if let Some(metadata) = object_in(fields, "metadata") {
        metadata.insert("generation".to_owned(), 1.into());
    }
}

/// Resets what an update through the main resource may not change, and counts changes of all but the metadata.
pub fn prepare_update(version: &Version, new: &mut Value, old: &Value) {
    let Value::Object(fields) = new else { return };
    if version.has_status {
        match old.get("status") {
            Some(status) => fields.insert("status".to_owned(), status.clone()),
            None => fields.remove("status"),
        };
    }
    let generation = old["metadata"].number("generation").unwrap_or_default();
    if differ_beside_metadata(fields, old)
        && let Some(metadata) = object_in(fields, "metadata")
    {
        metadata.insert("generation".to_owned(), (generation + 1).into());
    }
}

fn differ_beside_metadata(new: &Map<String, Value>, old: &Value) -> bool {
    let none = Map::new();
    let old = old.as_object().unwrap_or(&none);
    let names = new.keys().chain(old.keys());
    names
        .filter(|name| *name != "metadata")
        .any(|name| new.get(name) != old.get(name))
}

/// Resets what an update through `/status` may not change: everything but the status, and who owns it.
pub fn prepare_status_update(new: &mut Value, old: &Value) {
    let sent = std::mem::replace(new, old.clone());
    let Value::Object(fields) = new else { return };
    match sent.get("status") {
        Some(status) => fields.insert("status".to_owned(), status.clone()),
        None => fields.remove("status"),
    };
    if let Some(metadata) = object_in(fields, "metadata") {
        match sent["metadata"].field("managedFields") {
            Some(managed) => metadata.insert("managedFields".to_owned(), managed.clone()),
            None => metadata.remove("managedFields"),
        };
    }
}

/// The fields that nobody owns by a write to the resource or to one of its subresources.
pub fn resets(version: &Version, subresource: &str) -> &'static [&'static str] {
    match subresource {
        "status" => &["metadata", "spec"],
        "" if version.has_status => &["status"],
        _ => &[],
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::Definition;
    use super::*;

    fn version(subresources: Value) -> std::sync::Arc<Version> {
        let definition =
            json!({"spec": {"versions": [{"name": "v1", "storage": true, "subresources": subresources}]}});
        Definition::read(&definition).versions.remove(0)
    }

    #[test]
    fn the_status_is_a_part_of_its_own_where_it_is_a_subresource() {
        let (apart, whole) = (version(json!({"status": {}})), version(json!({})));
        let old = json!({"metadata": {"generation": 1, "labels": {"a": "b"}}, "spec": 1, "status": 1});
        let update = |version: &Version, mut new: Value| {
            prepare_update(version, &mut new, &old);
            new
        };
        let sent = json!({"metadata": {"generation": 1}, "spec": 1, "status": 2});
        let want = json!({"metadata": {"generation": 1}, "spec": 1, "status": 1});
        assert_eq!(update(&apart, sent.clone()), want);
        assert_eq!(update(&whole, sent)["metadata"]["generation"], 2);
        assert_eq!(update(&apart, json!({"spec": 2}))["metadata"]["generation"], 2);

        let mut new = json!({"metadata": {"labels": {}, "managedFields": [1]}, "spec": 2, "status": 2});
        prepare_status_update(&mut new, &old);
        let want = json!({"metadata": {"generation": 1, "labels": {"a": "b"}, "managedFields": [1]}, "spec": 1, "status": 2});
        assert_eq!(new, want);

        let mut new = json!({"status": 1});
        prepare_create(&apart, &mut new);
        assert_eq!(new, json!({"metadata": {"generation": 1}}));
    }
}
