//! Giving roles and bindings back what they lost. Pure.
//!
//! As upstream's RBAC reconciliation: rules, subjects, selectors, labels and annotations are added, never removed, but for an
//! aggregation where there is to be none; an object whose annotation says so is left alone.

use serde_json::{Value, json};

const AUTOUPDATE: &str = "rbac.authorization.kubernetes.io/autoupdate";

/// The object as it should be, where it is not.
pub(crate) fn restored(current: &Value, wanted: &Value) -> Option<Value> {
    let annotations = current.pointer("/metadata/annotations");
    let told = annotations
        .and_then(|annotations| annotations.get(AUTOUPDATE))
        .and_then(Value::as_str);
    if told == Some("false") {
        return None;
    }
    let mut next = current.clone();
    // The rules of an aggregated role are gathered from others.
    if wanted.get("aggregationRule").is_none() {
        add_missing(&mut next, wanted, "rules");
    }
    add_missing(&mut next, wanted, "subjects");
    aggregate(&mut next, wanted);
    for map in ["labels", "annotations"] {
        add_entries(&mut next, wanted, map);
    }
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

fn aggregate(object: &mut Value, wanted: &Value) {
    let rule = |of: &Value| of.get("aggregationRule").filter(|rule| !rule.is_null()).cloned();
    match (rule(object), rule(wanted)) {
        (Some(_), None) => {
            if let Some(object) = object.as_object_mut() {
                object.remove("aggregationRule");
            }
        }
        (None, Some(wanted)) => object["aggregationRule"] = wanted,
        (Some(mut own), Some(wanted)) => {
            add_missing(&mut own, &wanted, "clusterRoleSelectors");
            object["aggregationRule"] = own;
        }
        (None, None) => {}
    }
}

/// What stands already is left as it is.
fn add_entries(object: &mut Value, wanted: &Value, map: &str) {
    let Some(wanted) = wanted
        .pointer(&format!("/metadata/{map}"))
        .and_then(Value::as_object)
    else {
        return;
    };
    let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) else {
        return;
    };
    let entries = metadata.entry(map).or_insert_with(|| json!({}));
    if let Some(entries) = entries.as_object_mut() {
        for (name, value) in wanted {
            entries.entry(name).or_insert_with(|| value.clone());
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
    #[test]
    fn an_object_without_the_annotation_is_restored_and_gets_it() {
        let wanted = role("true", json!([]));
        let mut bare = wanted.clone();
        bare["metadata"] = json!({"name": "r", "labels": {"own": "x"}});
        let restored = restored(&bare, &wanted).unwrap();
        assert_eq!(restored["metadata"]["annotations"][AUTOUPDATE], "true");
        assert_eq!(restored["metadata"]["labels"], json!({"own": "x"}));
    }

    #[test]
    fn an_aggregation_is_as_wanted() {
        let selector = |label: &str| json!({"matchLabels": {label: "true"}});
        let mut wanted = role("true", Value::Null);
        wanted["aggregationRule"] = json!({"clusterRoleSelectors": [selector("a")]});
        let mut current = wanted.clone();
        current["aggregationRule"] = json!({"clusterRoleSelectors": [selector("b")]});
        let next = restored(&current, &wanted).unwrap();
        let both = json!([selector("b"), selector("a")]);
        assert_eq!(next["aggregationRule"]["clusterRoleSelectors"], both);
        let plain = role("true", json!([]));
        assert!(
            restored(&current, &plain)
                .unwrap()
                .get("aggregationRule")
                .is_none()
        );
    }
}
