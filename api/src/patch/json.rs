//! JSON patch (RFC 6902): a list of operations, all applied or none.

use crate::codec::body::json_kind;
use serde_json::{Map, Value};

use super::{PatchError, spelling};

/// The most operations in one patch, as upstream has it.
pub const OPERATIONS_MAX: usize = 10_000;
/// The most bytes that all `copy` operations of a patch may add, as upstream has it.
pub const COPY_BYTES_MAX: usize = 3 * 1024 * 1024;

/// Applies `patch`, whose texts and numbers are taken as Go writes them, to `object`.
///
/// # Errors
/// When the patch is malformed or has too many operations, and when an operation fails; `object` is then left in between, so give
/// a copy.
pub fn apply(object: &mut Value, patch: &Value) -> Result<(), PatchError> {
    apply_with(object, patch, patch, |value| value.to_string().len())
}

/// Applies `patch`, which was sent as `text`, to `object`. What it tests is compared as upstream compares it: as bytes.
///
/// # Errors
/// Those of [`apply`].
pub fn apply_sent(object: &mut Value, patch: &Value, text: &str) -> Result<(), PatchError> {
    let operations = patch.as_array().map(Vec::as_slice).unwrap_or_default();
    let tests = operations.iter().any(|operation| operation["op"] == "test");
    let spelled = tests.then(|| spelling::sent(text)).flatten();
    match spelled.filter(|spelled| *spelled != spelling::written(patch)) {
        None => apply(object, patch),
        Some(spelled) => {
            let mut written = spelling::written(object);
            let size = |value: &Value| spelling::meant(value.clone()).to_string().len();
            apply_with(&mut written, patch, &spelled, size)?;
            *object = spelling::meant(written);
            Ok(())
        }
    }
}

/// Applies a patch whose operations have the values of those in `values`; `size` is how many bytes a value takes.
fn apply_with(
    object: &mut Value,
    patch: &Value,
    values: &Value,
    size: impl Fn(&Value) -> usize,
) -> Result<(), PatchError> {
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
    for (index, operation) in operations.iter().enumerate() {
        let Value::Object(operation) = operation else {
            let kind = json_kind(operation);
            let message = format!("json: cannot unmarshal {kind} into Go value of type jsonpatch.Operation");
            return Err(PatchError::Malformed(message));
        };
        step(object, operation, &values[index]["value"], |source| {
            copied += size(source);
            copied
        })?;
    }
    Ok(())
}

fn fails<T>(message: String) -> Result<T, PatchError> {
    Err(PatchError::DoesNotApply(message))
}

/// One operation with its value; `copied` is told what is copied and tells how many bytes that makes with all before.
fn step(
    object: &mut Value,
    operation: &Map<String, Value>,
    value: &Value,
    copied: impl FnOnce(&Value) -> usize,
) -> Result<(), PatchError> {
    let text = |name: &str| match operation.get(name).and_then(Value::as_str) {
        Some(text) => Ok(text),
        None => fails(format!("operation has no {name}")),
    };
    let path = pointer(text("path")?)?;
    match text("op")? {
        "add" => add(object, &path, value.clone()),
        "remove" => remove(object, &path).map(drop),
        "replace" => replace(object, &path, value.clone()),
        "move" => {
            let from = pointer(text("from")?)?;
            if path.len() > from.len() && path.starts_with(&from) {
                return fails("cannot move a value into itself".into());
            }
            let moved = remove(object, &from)?;
            add(object, &path, moved)
        }
        "copy" => {
            let source = get(object, &pointer(text("from")?)?)?;
            let copied = copied(&source);
            if copied > COPY_BYTES_MAX {
                return fails(format!(
                    "Unable to complete the copy, the accumulated size increase of copy is {copied}, exceeding the limit {COPY_BYTES_MAX}"
                ));
            }
            add(object, &path, source)
        }
        "test" => test(object, &path, text("path")?, value),
        other => fails(format!("Unexpected kind: {other}")),
    }
}

/// The reference tokens of a JSON pointer (RFC 6901). What stands before the first slash says nothing to upstream's library.
fn pointer(text: &str) -> Result<Vec<String>, PatchError> {
    if text.is_empty() {
        return Ok(Vec::new());
    }
    let Some((_, rest)) = text.split_once('/') else {
        return fails(format!("path does not start with a slash: {text}"));
    };
    Ok(rest
        .split('/')
        .map(|token| token.replace("~1", "/").replace("~0", "~"))
        .collect())
}

/// An index into a list of `length` items, as Go reads a number; a negative one counts from the end, as upstream's library has it.
fn index(token: &str, length: usize) -> Result<usize, PatchError> {
    let number = token.parse::<i64>().ok();
    let at = number.and_then(|number| match usize::try_from(number) {
        Ok(at) => Some(at),
        Err(_) => length.checked_sub(usize::try_from(number.unsigned_abs()).ok()?),
    });
    match at {
        Some(at) if at < length => Ok(at),
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

/// What stands at a place; null for a member that its object does not have, as upstream's library reads it.
fn get(object: &mut Value, path: &[String]) -> Result<Value, PatchError> {
    let (last, parents) = place(path)?;
    match find(object, parents)? {
        Value::Object(fields) => Ok(fields.get(last).cloned().unwrap_or_default()),
        parent => find(parent, std::slice::from_ref(last)).cloned(),
    }
}

/// The last token of a path and those before it. The whole document is no place in it.
fn place(path: &[String]) -> Result<(&String, &[String]), PatchError> {
    match path.split_last() {
        Some(place) => Ok(place),
        None => fails("doc is missing path: \"\"".into()),
    }
}

fn add(object: &mut Value, path: &[String], value: Value) -> Result<(), PatchError> {
    let (last, parents) = place(path)?;
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

/// A member of an object is replaced whether it is there or not.
fn replace(object: &mut Value, path: &[String], value: Value) -> Result<(), PatchError> {
    if path.is_empty() {
        if !value.is_object() && !value.is_array() {
            return fails("replace operation value must be object or array".into());
        }
        *object = value;
        return Ok(());
    }
    let (last, parents) = place(path)?;
    match find(object, parents)? {
        Value::Object(fields) => {
            fields.insert(last.clone(), value);
        }
        parent => *find(parent, std::slice::from_ref(last))? = value,
    }
    Ok(())
}

fn remove(object: &mut Value, path: &[String]) -> Result<Value, PatchError> {
    let (last, parents) = place(path)?;
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
    let found = if path.is_empty() {
        object.clone()
    } else {
        get(object, path)?
    };
    if equal(&found, want) {
        return Ok(());
    }
    fails(format!("testing value {shown} failed"))
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
                json!([{"op": "copy", "from": "/none", "path": "/b"}]),
                json!({"a": 1, "b": null}),
            ),
            (
                json!({"a": [1, 2]}),
                json!([{"op": "replace", "path": "/b", "value": 1}, {"op": "remove", "path": "/a/-1"}]),
                json!({"a": [1], "b": 1}),
            ),
            (
                json!({"a": [1, 2]}),
                json!([{"op": "add", "path": "/a/-1", "value": 3}, {"op": "test", "path": "/none", "value": null}]),
                json!({"a": [1, 2, 3]}),
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
    fn what_is_tested_is_compared_as_it_was_sent() {
        let test = |object: Value, text: &str| {
            let patch: Value = serde_json::from_str(text).unwrap();
            let mut patched = object;
            apply_sent(&mut patched, &patch, text).map(|()| patched)
        };
        let object = || json!({"a": "<b>", "n": 1, "o": {"t": "é"}});
        let same = [
            r#"[{"op": "test", "path": "/a", "value": "\u003cb\u003e"}]"#,
            r#"[{"op": "test", "path": "/o", "value": {"t": "é"}}]"#,
            r#"[{"op": "test", "path": "/n", "value": 1}]"#,
            r#"[{"op": "test", "path": "/none", "value": null}]"#,
            r#"[{"op": "add", "path": "/x", "value": "<"}, {"op": "test", "path": "/x", "value": "<"}, {"op": "remove", "path": "/x"}]"#,
        ];
        for text in same {
            assert_eq!(test(object(), text), Ok(object()), "{text}");
        }
        let other = [
            r#"[{"op": "test", "path": "/a", "value": "<b>"}]"#,
            r#"[{"op": "test", "path": "/o", "value": {"t": "\u00e9"}}]"#,
            r#"[{"op": "test", "path": "/n", "value": 1.0}]"#,
        ];
        for text in other {
            assert!(test(object(), text).is_err(), "{text}");
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
