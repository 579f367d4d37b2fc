//! What the body of a patch, and what a patch leaves, must look like before anything else is asked. Pure.
//!
//! The words are those of Go's decoder, for the types that upstream decodes the kinds of patches into.

use coracle_api::codec::body::{SCHEME, internal_name, json_kind};
use coracle_api::quote::quote;
use coracle_api::table::{self, Gvk};
use serde_json::{Map, Value};

use super::PatchType;

/// Whether a body can be a patch of this kind.
///
/// # Errors
/// Where Go's decoder would stumble.
pub(super) fn check(kind: PatchType, body: &Value) -> Result<(), String> {
    match (kind, body) {
        (_, Value::Null) => Ok(()),
        (PatchType::Json, Value::Array(operations)) => operations.iter().try_for_each(check_operation),
        (PatchType::Json, other) => Err(cannot(other, "value of type []handlers.jsonPatchOp")),
        (PatchType::Merge | PatchType::Strategic, Value::Object(_)) => Ok(()),
        (PatchType::Merge | PatchType::Strategic, other) => {
            Err(cannot(other, "value of type map[string]interface {}"))
        }
    }
}

fn check_operation(operation: &Value) -> Result<(), String> {
    let fields = match operation {
        Value::Null => return Ok(()),
        Value::Object(fields) => fields,
        other => return Err(cannot(other, "value of type handlers.jsonPatchOp")),
    };
    for name in ["op", "path", "from"] {
        match fields.get(name) {
            None | Some(Value::Null | Value::String(_)) => {}
            Some(other) => {
                let at = format!("struct field jsonPatchOp.{name} of type string");
                return Err(cannot(other, &at));
            }
        }
    }
    Ok(())
}

/// Whether what a patch leaves still says that it is of this kind.
///
/// # Errors
/// Where it says that it is another, or of a version that there is not.
pub(super) fn check_kind(expected: Gvk, object: &Value) -> Result<(), String> {
    let text = |name: &str| object.get(name).and_then(Value::as_str).unwrap_or_default();
    let (version, kind) = (text("apiVersion"), text("kind"));
    let is_expected = version == expected.api_version() && kind == expected.kind;
    if is_expected || version.is_empty() || kind.is_empty() {
        return Ok(());
    }
    match table::by_api_version(version, kind) {
        Some(_) if kind == expected.kind => Ok(()),
        Some(ty) => Err(format!(
            "converting ({}) to ({}): unknown conversion",
            ty.go_name(),
            internal_name(expected)
        )),
        None => {
            let (kind, version) = (quote(kind), quote(version));
            Err(format!(
                "no kind {kind} is registered for version {version} in scheme \"{SCHEME}\""
            ))
        }
    }
}

/// The objects that the operations of a JSON patch go through on the way to their places: the nested names of them.
pub(super) fn opened(operations: &Value) -> Value {
    let mut opened = Value::Object(Map::new());
    let operations = operations.as_array().map(Vec::as_slice).unwrap_or_default();
    let paths = operations.iter().flat_map(|operation| {
        let text = |name: &str| operation.get(name).and_then(Value::as_str);
        [text("path"), text("from")].into_iter().flatten()
    });
    for path in paths {
        let tokens: Vec<&str> = path.split('/').skip(1).collect();
        let mut here = &mut opened;
        for token in tokens.iter().take(tokens.len().saturating_sub(1)) {
            here = &mut here[token.replace("~1", "/").replace("~0", "~")];
            if here.is_null() {
                *here = Value::Object(Map::new());
            }
        }
    }
    opened
}

fn cannot(value: &Value, what: &str) -> String {
    format!("json: cannot unmarshal {} into Go {what}", json_kind(value))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn bodies_that_are_no_patch() {
        use PatchType::{Json, Merge, Strategic};
        let map = "value of type map[string]interface {}";
        for (kind, body, want) in [
            (Json, json!(null), None),
            (Json, json!([{"op": "add"}, null]), None),
            (
                Json,
                json!({}),
                Some("object into Go value of type []handlers.jsonPatchOp".to_owned()),
            ),
            (
                Json,
                json!(["a"]),
                Some("string into Go value of type handlers.jsonPatchOp".to_owned()),
            ),
            (
                Json,
                json!([{"op": 5}]),
                Some("number into Go struct field jsonPatchOp.op of type string".to_owned()),
            ),
            (Merge, json!({}), None),
            (Merge, json!([]), Some(format!("array into Go {map}"))),
            (Strategic, json!(null), None),
            (Strategic, json!("a"), Some(format!("string into Go {map}"))),
        ] {
            let want = want.map(|want| format!("json: cannot unmarshal {want}"));
            assert_eq!(check(kind, &body).err(), want, "{body}");
        }
    }

    #[test]
    fn operations_open_what_is_above_their_places() {
        let operations = json!([{"op": "add", "path": "/metadata/labels/a", "value": "b"}, {"op": "remove", "path": "/spec"}]);
        assert_eq!(opened(&operations), json!({"metadata": {"labels": {}}}));
    }

    #[test]
    fn a_patch_does_not_change_the_kind_into_none() {
        let gvk = Gvk {
            group: "",
            version: "v1",
            kind: "ConfigMap",
        };
        let check = |kind: &str| check_kind(gvk, &json!({"apiVersion": "v1", "kind": kind}));
        assert_eq!(check("ConfigMap"), Ok(()));
        assert!(
            check("Other")
                .unwrap_err()
                .starts_with("no kind \"Other\" is registered for version \"v1\"")
        );
        assert_eq!(
            check("Pod").unwrap_err(),
            "converting (v1.Pod) to (core.ConfigMap): unknown conversion"
        );
    }
}
