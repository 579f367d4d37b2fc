//! `ObjectMeta`: what the server alone decides about it, on create and on update. Pure.

use coracle_api::status::ApiError;
use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::served::Served;

/// A string of `metadata`; empty where absent.
pub(super) fn text<'a>(object: &'a Value, field: &str) -> &'a str {
    get(object, field).and_then(Value::as_str).unwrap_or_default()
}

/// A field of `metadata`.
pub(super) fn get<'a>(object: &'a Value, field: &str) -> Option<&'a Value> {
    object
        .get("metadata")?
        .get(field)
        .filter(|value| !value.is_null())
}

/// Sets a field of `metadata`.
pub(super) fn set(object: &mut Value, field: &str, value: Value) {
    if let Some(metadata) = metadata_mut(object) {
        metadata.insert(field.to_owned(), value);
    }
}

/// Takes a field of `metadata` away.
pub(super) fn remove(object: &mut Value, field: &str) {
    if let Some(metadata) = metadata_mut(object) {
        metadata.remove(field);
    }
}

fn metadata_mut(object: &mut Value) -> Option<&mut Map<String, Value>> {
    let metadata = object
        .as_object_mut()?
        .entry("metadata")
        .or_insert_with(|| json!({}));
    if metadata.is_null() {
        *metadata = json!({});
    }
    metadata.as_object_mut()
}

/// The names in `metadata.finalizers`.
pub(super) fn finalizers(object: &Value) -> Vec<&str> {
    let list = get(object, "finalizers").and_then(Value::as_array);
    list.into_iter().flatten().filter_map(Value::as_str).collect()
}

/// Whether a deletion has begun.
pub(super) fn is_deleting(object: &Value) -> bool {
    get(object, "deletionTimestamp").is_some()
}

/// A time as the API writes it: whole seconds, UTC.
pub(super) fn time(at: Timestamp) -> Value {
    Value::from(at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string())
}

/// Puts an object into the namespace of the request.
///
/// # Errors
/// 400 where it names another.
pub(super) fn in_namespace(served: &Served, namespace: &str, mut object: Value) -> Result<Value, ApiError> {
    if !served.resource.namespaced {
        remove(&mut object, "namespace");
        return Ok(object);
    }
    let (wanted, sent) = (namespace, text(&object, "namespace"));
    if !sent.is_empty() && sent != wanted {
        let why = "the namespace of the provided object does not match the namespace sent on the request";
        return Err(ApiError::bad_request(why));
    }
    if !wanted.is_empty() {
        set(&mut object, "namespace", Value::from(wanted));
    }
    Ok(object)
}

/// Checks that an object in a body is the one in the path.
///
/// # Errors
/// 400 where it is another.
pub(super) fn check_name(object: &Value, name: &str, namespace: &str) -> Result<(), ApiError> {
    let (sent, sent_namespace) = (text(object, "name"), text(object, "namespace"));
    if sent.is_empty() {
        return Err(ApiError::bad_request(format!(
            "the name of the object ({name} based on URL) was undeterminable: name must be provided"
        )));
    }
    if sent != name {
        return Err(ApiError::bad_request(format!(
            "the name of the object ({sent}) does not match the name on the URL ({name})"
        )));
    }
    if !namespace.is_empty() && !sent_namespace.is_empty() && sent_namespace != namespace {
        return Err(ApiError::bad_request(format!(
            "the namespace of the object ({sent_namespace}) does not match the namespace on the URL ({namespace})"
        )));
    }
    Ok(())
}

/// What a new object cannot say about itself.
pub(super) fn wipe(object: &mut Value) {
    for field in ["deletionTimestamp", "deletionGracePeriodSeconds", "selfLink"] {
        remove(object, field);
    }
}

/// Leaves an owner that stands several times standing once. Its writer is warned, with where in the life of the write it was seen.
pub(super) fn single_owners(object: &mut Value, seen: &str) -> Vec<String> {
    let owners = object
        .get_mut("metadata")
        .and_then(|meta| meta.get_mut("ownerReferences"));
    let Some(Value::Array(owners)) = owners else {
        return Vec::new();
    };
    let mut first: Vec<Value> = Vec::with_capacity(owners.len());
    let mut again: Vec<String> = Vec::new();
    for owner in owners.drain(..) {
        if first.contains(&owner) {
            again.push(owner["uid"].as_str().unwrap_or_default().to_owned());
        } else {
            first.push(owner);
        }
    }
    *owners = first;
    if again.is_empty() {
        return Vec::new();
    }
    vec![format!(
        ".metadata.ownerReferences contains duplicate entries{seen}; API server dedups owner references in 1.20+, and may reject such \
         requests as early as 1.24; please fix your requests; duplicate UID(s) observed: {}",
        again.join(", ")
    )]
}

/// What a new object gets from the server.
pub(super) fn prepare_create(object: &mut Value, now: Timestamp, uid: String) {
    set(object, "creationTimestamp", time(now));
    set(object, "uid", Value::from(uid));
}

/// What an update cannot change: it is as it was.
pub(super) fn prepare_update(object: &mut Value, old: &Value) {
    if text(object, "uid").is_empty() {
        copy(object, old, "uid");
    }
    copy(object, old, "creationTimestamp");
    if is_deleting(old) {
        copy(object, old, "deletionTimestamp");
        if get(object, "deletionGracePeriodSeconds").is_none() {
            copy(object, old, "deletionGracePeriodSeconds");
        }
    }
    copy(object, old, "generation");
    copy(object, old, "resourceVersion");
}

fn copy(object: &mut Value, from: &Value, field: &str) {
    match get(from, field) {
        Some(value) => set(object, field, value.clone()),
        None => remove(object, field),
    }
}

/// Raises the generation of an object that has one.
pub(super) fn bump_generation(object: &mut Value) {
    if let Some(generation) = get(object, "generation")
        .and_then(Value::as_i64)
        .filter(|g| *g > 0)
    {
        set(object, "generation", Value::from(generation + 1));
    }
}

/// Writes that a deletion has begun, as far as that is not written yet.
pub(super) fn mark_deleting(object: &mut Value, now: Timestamp) {
    if !is_deleting(object) {
        set(object, "deletionTimestamp", time(now));
        bump_generation(object);
    }
    set(object, "deletionGracePeriodSeconds", Value::from(0));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_owner_that_stands_twice_is_told_of_and_stands_once() {
        let (a, b) = (json!({"kind": "A", "uid": "1"}), json!({"kind": "B", "uid": "1"}));
        let mut object = json!({"metadata": {"ownerReferences": [a, b, a]}});
        let warnings = single_owners(&mut object, "");
        assert_eq!(object, json!({"metadata": {"ownerReferences": [a, b]}}));
        assert!(
            warnings.len() == 1 && warnings[0].ends_with("duplicate UID(s) observed: 1"),
            "{warnings:?}"
        );
        assert_eq!(single_owners(&mut object, ""), Vec::<String>::new());
    }

    #[test]
    fn an_update_cannot_undo_a_deletion_or_claim_another_birth() {
        let old = json!({"metadata": {
            "uid": "u", "creationTimestamp": "2026-01-01T00:00:00Z", "deletionTimestamp": "2026-01-02T00:00:00Z",
            "deletionGracePeriodSeconds": 30, "generation": 4, "resourceVersion": "9",
        }});
        let mut new = json!({"metadata": {"creationTimestamp": null, "generation": 77}});
        prepare_update(&mut new, &old);
        assert_eq!(new, old);
    }

    #[test]
    fn times_are_whole_seconds() {
        assert_eq!(
            time("2026-11-22T08:00:00.75Z".parse().unwrap()),
            "2026-11-22T08:00:00Z"
        );
    }

    #[test]
    fn deletion_is_marked_once() {
        let mut object = json!({"metadata": {"generation": 1}});
        mark_deleting(&mut object, Timestamp::UNIX_EPOCH);
        mark_deleting(&mut object, Timestamp::MAX);
        assert_eq!(object["metadata"]["deletionTimestamp"], "1970-01-01T00:00:00Z");
        assert_eq!(object["metadata"]["generation"], 2);
    }
}
