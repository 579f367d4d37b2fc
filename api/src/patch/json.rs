//! JSON patch (RFC 6902): a list of operations, all applied or none.

use crate::codec::body::json_kind;
use serde_json::{Map, Value};

use super::PatchError;

/// The most operations in one patch, as upstream has it.
pub const OPERATIONS_MAX: usize = 10_000;
/// The most bytes that all `copy` operations of a patch may add, as upstream has it.
pub const COPY_BYTES_MAX: usize = 3 * 1024 * 1024;

/// Applies `patch` to `object`.
///
/// # Errors
/// When the patch is malformed or has too many operations, and when an operation fails; `object` is then left in between, so give
/// a copy.
pub fn apply(object: &mut Value, patch: &Value) -> Result<(), PatchError> {
    // Nothing is no operations, as Go reads it.
    if patch.is_null() {
        return Ok(());
    }
    let Value::Array(operations) = patch else {
        let kind = json_kind(patch);
        let message = format!("json: cannot unmarshal {kind} into Go value of type jsonpatch.Patch");
        return Err(PatchError::Malformed(message));
    };
    if operations.len() > OPERATIONS_MAX {
        return Err(PatchError::TooManyOperations {
            most: OPERATIONS_MAX,
            found: operations.len(),
        });
    }
    let mut copied = 0;
    for operation in operations {
        let Value::Object(operation) = operation else {
            let kind = json_kind(operation);
            let message = format!("json: cannot unmarshal {kind} into Go value of type jsonpatch.Operation");
            return Err(PatchError::Malformed(message));
        };
        step(object, operation, &mut copied)?;
    }
    Ok(())
}

fn fails<T>(message: String) -> Result<T, PatchError> {
    Err(PatchError::DoesNotApply(message))
}

fn step(object: &mut Value, operation: &Map<String, Value>, copied: &mut usize) -> Result<(), PatchError> {
    let text = |name: &str| match operation.get(name).and_then(Value::as_str) {
        Some(text) => Ok(text),
        None => fails(format!("operation has no {name}")),
    };
    let value = || operation.get("value").cloned().unwrap_or_default();
    let path = pointer(text("path")?)?;
    match text("op")? {
        "add" => add(object, &path, value()),
        "remove" if path.is_empty() => fails("Unable to remove the whole document".into()),
        "remove" => remove(object, &path).map(drop),
        "replace" => {
            *find(object, &path)? = value();
            Ok(())
        }
        "move" => {
            let from = pointer(text("from")?)?;
            if path.len() > from.len() && path.starts_with(&from) {
                return fails("cannot move a value into itself".into());
            }
            let moved = remove(object, &from)?;
            add(object, &path, moved)
        }
        "copy" => {
            let source = find(object, &pointer(text("from")?)?)?.clone();
            *copied += source.to_string().len();
            if *copied > COPY_BYTES_MAX {
                return fails(format!(
                    "Unable to complete the copy, the accumulated size increase of copy is {copied}, exceeding the limit {COPY_BYTES_MAX}"
                ));
            }
            add(object, &path, source)
        }
        "test" => test(object, &path, text("path")?, &value()),
        other => fails(format!("Unexpected kind: {other}")),
    }
}

/// The reference tokens of a JSON pointer (RFC 6901).
fn pointer(text: &str) -> Result<Vec<String>, PatchError> {
    if text.is_empty() {
        return Ok(Vec::new());
    }
    let Some(rest) = text.strip_prefix('/') else {
        return fails(format!("path does not start with a slash: {text}"));
    };
    Ok(rest
        .split('/')
        .map(|token| token.replace("~1", "/").replace("~0", "~"))
        .collect())
}

/// An index into a list of `length` items: digits without leading zeros.
fn index(token: &str, length: usize) -> Result<usize, PatchError> {
    let plain = token == "0" || (!token.starts_with('0') && token.bytes().all(|b| b.is_ascii_digit()));
    match token.parse::<usize>() {
        Ok(at) if plain && at < length => Ok(at),
        _ => fails(format!("Unable to access invalid index: {token}")),
    }
}

fn find<'a>(object: &'a mut Value, path: &[String]) -> Result<&'a mut Value, PatchError> {
    let mut here = object;
    for token in path {
        here = match here {
            Value::Object(fields) => match fields.get_mut(token) {
                Some(value) => value,
                None => return fails(format!("Unable to find nonexistent key: {token}")),
            },
            Value::Array(items) => {
                let at = index(token, items.len())?;
                &mut items[at]
            }
            _ => return fails(format!("doc is missing path: {token}")),
        };
    }
    Ok(here)
}

fn add(object: &mut Value, path: &[String], value: Value) -> Result<(), PatchError> {
    let Some((last, parents)) = path.split_last() else {
        *object = value;
        return Ok(());
    };
    match find(object, parents)? {
        Value::Object(fields) => {
            fields.insert(last.clone(), value);
        }
        Value::Array(items) if last == "-" => items.push(value),
        Value::Array(items) => {
            let at = index(last, items.len() + 1)?;
            items.insert(at, value);
        }
        _ => return fails(format!("doc is missing path: {last}")),
    }
    Ok(())
}

fn remove(object: &mut Value, path: &[String]) -> Result<Value, PatchError> {
    let Some((last, parents)) = path.split_last() else {
        return Ok(object.take());
    };
    match find(object, parents)? {
        Value::Object(fields) => match fields.remove(last) {
            Some(value) => Ok(value),
            None => fails(format!("Unable to remove nonexistent key: {last}")),
        },
        Value::Array(items) => {
            let at = index(last, items.len())?;
            Ok(items.remove(at))
        }
        _ => fails(format!("doc is missing path: {last}")),
    }
}

fn test(object: &mut Value, path: &[String], shown: &str, want: &Value) -> Result<(), PatchError> {
    match find(object, path) {
        Ok(found) if equal(found, want) => Ok(()),
        // As upstream: a field that is not there equals null.
        Err(_) if want.is_null() => Ok(()),
        _ => fails(format!("testing value {shown} failed")),
    }
}

/// Equality of JSON: numbers by their value, however they are written.
fn equal(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => a == b || a.as_f64() == b.as_f64(),
        (Value::Array(a), Value::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| equal(a, b)),
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len() && a.iter().all(|(name, a)| b.get(name).is_some_and(|b| equal(a, b)))
        }
        _ => a == b,
    }
}

#[cfg(test)]
mod tests {
    use super::super::merge::tests::any_json;
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    #[test]
    fn operations_change_the_object() {
        let cases = [
            (
                json!({"a": [1]}),
                json!([{"op": "add", "path": "/a/-", "value": 2}]),
                json!({"a": [1, 2]}),
            ),
            (
                json!({"a": [1]}),
                json!([{"op": "add", "path": "/a/0", "value": 2}]),
                json!({"a": [2, 1]}),
            ),
            (
                json!({"a/b": 1}),
                json!([{"op": "remove", "path": "/a~1b"}]),
                json!({}),
            ),
            (
                json!({"a": 1}),
                json!([{"op": "move", "from": "/a", "path": "/b"}]),
                json!({"b": 1}),
            ),
            (
                json!({"a": 1}),
                json!([{"op": "copy", "from": "/a", "path": "/b"}]),
                json!({"a": 1, "b": 1}),
            ),
            (
                json!({"a": 1}),
                json!([{"op": "test", "path": "/a", "value": 1.0}]),
                json!({"a": 1}),
            ),
        ];
        for (mut object, patch, want) in cases {
            apply(&mut object, &patch).unwrap();
            assert_eq!(object, want, "{patch}");
        }
    }

    #[test]
    fn limits_hold() {
        let many: Vec<Value> = (0..=OPERATIONS_MAX)
            .map(|_| json!({"op": "test", "path": "/a", "value": 1}))
            .collect();
        let error = apply(&mut json!({"a": 1}), &Value::Array(many)).unwrap_err();
        assert_eq!(
            error,
            PatchError::TooManyOperations {
                most: OPERATIONS_MAX,
                found: OPERATIONS_MAX + 1
            }
        );
        let double = json!({"op": "copy", "from": "/a", "path": "/a/-"});
        let error = apply(
            &mut json!({"a": ["x".repeat(1000)]}),
            &Value::Array(vec![double; 40]),
        )
        .unwrap_err();
        assert!(matches!(error, PatchError::DoesNotApply(_)));
    }

    proptest! {
        #[test]
        fn what_was_added_is_found_and_removing_it_undoes(object in any_json(), value in any_json(), name in "[a-c~/]{1,2}") {
            let mut patched = json!({ "o": object });
            let before = patched.clone();
            let path = format!("/new{}", name.replace('~', "~0").replace('/', "~1"));
            let patch = json!([{"op": "add", "path": path, "value": value}, {"op": "test", "path": path, "value": value}]);
            apply(&mut patched, &patch).unwrap();
            apply(&mut patched, &json!([{"op": "remove", "path": path}])).unwrap();
            prop_assert_eq!(patched, before);
        }

        #[test]
        fn no_patch_panics(object in any_json(), patch in any_json(), path in "(/[a-c0-3-]){0,3}") {
            let mut patched = object.clone();
            let _ = apply(&mut patched, &patch);
            for op in ["add", "remove", "replace", "move", "copy", "test"] {
                let mut patched = object.clone();
                let _ = apply(&mut patched, &json!([{"op": op, "path": path, "from": "/a", "value": patch}]));
            }
        }
    }
}
