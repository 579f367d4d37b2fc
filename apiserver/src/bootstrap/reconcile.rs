//! Giving roles and bindings back what they lost. Pure.
//!
//! As upstream's RBAC reconciliation: rules and subjects are added, never removed, and only where the object's annotation
//! lets the server do so.

use serde_json::{Value, json};

const AUTOUPDATE: &str = "rbac.authorization.kubernetes.io/autoupdate";

/// The object as it should be, where it is not.
pub(crate) fn restored(current: &Value, wanted: &Value) -> Option<Value> {
    let annotations = current.pointer("/metadata/annotations")?;
    if annotations.get(AUTOUPDATE).and_then(Value::as_str) != Some("true") {
        return None;
    }
    let mut next = current.clone();
    // The rules of an aggregated role are gathered from others.
    if wanted.get("aggregationRule").is_none() {
        add_missing(&mut next, wanted, "rules");
    }
    add_missing(&mut next, wanted, "subjects");
    add_labels(&mut next, wanted);
    (next != *current).then_some(next)
}

fn add_missing(object: &mut Value, wanted: &Value, field: &str) {
    let Some(wanted) = wanted.get(field).and_then(Value::as_array) else {
        return;
    };
    let Some(object) = object.as_object_mut() else {
        return;
    };
    let present = object.entry(field).or_insert_with(|| json!([]));
    if present.is_null() {
        *present = json!([]);
    }
    let Some(present) = present.as_array_mut() else {
        return;
    };
    for item in wanted {
        if !present.iter().any(|other| covers(other, item)) {
            present.push(item.clone());
        }
    }
}

/// Whether an item says all that another says.
fn covers(present: &Value, wanted: &Value) -> bool {
    match (present, wanted) {
        (Value::Object(present), Value::Object(wanted)) => wanted
            .iter()
            .all(|(name, value)| present.get(name).is_some_and(|other| covers(other, value))),
        (Value::Array(present), Value::Array(wanted)) => wanted.iter().all(|item| present.contains(item)),
        _ => present == wanted,
    }
}

fn add_labels(object: &mut Value, wanted: &Value) {
    let Some(wanted) = wanted.pointer("/metadata/labels").and_then(Value::as_object) else {
        return;
    };
    let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) else {
        return;
    };
    let labels = metadata.entry("labels").or_insert_with(|| json!({}));
    if let Some(labels) = labels.as_object_mut() {
        for (name, value) in wanted {
            labels.insert(name.clone(), value.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn role(autoupdate: &str, rules: Value) -> Value {
        json!({"metadata": {"name": "r", "annotations": {AUTOUPDATE: autoupdate}}, "rules": rules})
    }

    #[test]
    fn what_is_missing_is_added_and_nothing_taken_away() {
        let rule = |verbs: Value| json!({"apiGroups": [""], "resources": ["pods"], "verbs": verbs});
        let wanted = role("true", json!([rule(json!(["get"])), rule(json!(["list"]))]));
        let current = role("true", json!([rule(json!(["get", "delete"]))]));
        let restored = restored(&current, &wanted).unwrap();
        assert_eq!(
            restored["rules"],
            json!([rule(json!(["get", "delete"])), rule(json!(["list"]))])
        );
        assert_eq!(super::restored(&restored, &wanted), None);
        assert_eq!(super::restored(&role("false", json!([])), &wanted), None);
    }
}
