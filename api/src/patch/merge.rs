//! JSON merge patch (RFC 7386): null removes, objects merge, anything else replaces.

use serde_json::{Map, Value};

use super::PatchError;

/// The most levels that a patch may nest; serde_json's own limit for parsed text.
const DEPTH_MAX: usize = 128;

/// Merges `patch` into `object`.
///
/// # Errors
/// When the patch is no object: what it would leave is no Kubernetes object.
pub fn apply(object: &mut Value, patch: &Value) -> Result<(), PatchError> {
    if !patch.is_object() {
        return Err(PatchError::Malformed("Invalid JSON Patch".into()));
    }
    merge(object, patch, 0);
    Ok(())
}

fn merge(target: &mut Value, patch: &Value, depth: usize) {
    let Value::Object(changes) = patch else {
        *target = patch.clone();
        return;
    };
    if depth > DEPTH_MAX {
        return;
    }
    if !target.is_object() {
        *target = Value::Object(Map::new());
    }
    let Value::Object(fields) = target else { return };
    for (name, change) in changes {
        if change.is_null() {
            fields.remove(name);
        } else {
            merge(
                fields.entry(name.as_str()).or_insert(Value::Null),
                change,
                depth + 1,
            );
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    /// Any JSON value of a few levels, with names few enough to meet again.
    pub(crate) fn any_json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            (-3i64..3).prop_map(Value::from),
            "[ab~/]{0,3}".prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 24, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::btree_map("[a-c]", inner, 0..4)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    fn any_object() -> impl Strategy<Value = Value> {
        any_json().prop_map(|value| {
            if value.is_object() {
                value
            } else {
                json!({"a": value})
            }
        })
    }

    #[test]
    fn the_examples_of_rfc_7386() {
        let cases = [
            (json!({"a": "b"}), json!({"a": "c"}), json!({"a": "c"})),
            (json!({"a": "b"}), json!({"b": "c"}), json!({"a": "b", "b": "c"})),
            (json!({"a": "b"}), json!({"a": null}), json!({})),
            (json!({"a": ["b"]}), json!({"a": "c"}), json!({"a": "c"})),
            (
                json!({"a": {"b": "c"}}),
                json!({"a": {"b": "d", "c": null}}),
                json!({"a": {"b": "d"}}),
            ),
            (json!({"a": [{"b": "c"}]}), json!({"a": [1]}), json!({"a": [1]})),
            (json!({"e": null}), json!({"a": 1}), json!({"e": null, "a": 1})),
            (json!([1, 2]), json!({"a": "b", "c": null}), json!({"a": "b"})),
            (
                json!({}),
                json!({"a": {"bb": {"ccc": null}}}),
                json!({"a": {"bb": {}}}),
            ),
        ];
        for (mut object, patch, want) in cases {
            apply(&mut object, &patch).unwrap();
            assert_eq!(object, want);
        }
        assert!(apply(&mut json!({}), &json!([1])).is_err());
    }

    proptest! {
        #[test]
        fn merging_twice_is_merging_once(object in any_object(), patch in any_object()) {
            let mut once = object;
            apply(&mut once, &patch).unwrap();
            let mut twice = once.clone();
            apply(&mut twice, &patch).unwrap();
            prop_assert_eq!(once, twice);
        }

        #[test]
        fn an_empty_patch_changes_nothing(object in any_object()) {
            let mut patched = object.clone();
            apply(&mut patched, &json!({})).unwrap();
            prop_assert_eq!(patched, object);
        }
    }
}
