//! Why an object in memory is none of its type, in the words of upstream's converter from maps to structs
//! (`runtime.DefaultUnstructuredConverter`), which reads what a strategic patch leaves. It goes through a struct in the order of
//! its fields and stops at the first that does not fit; it names no place.

use serde_json::Value;

use super::base64;
use super::conform::conform;
use super::go_order::declared;
use super::path::go_type_within;
use crate::table::{Field, Item, Outer, Shape, Type};

/// The first thing that does not fit; none where the converter finds nothing.
pub fn fault(value: &Value, ty: &'static Type) -> Option<String> {
    if value.is_null() {
        return None;
    }
    if ty.shape != Shape::Struct {
        // Such types read JSON themselves, whoever reads what is around them.
        return conform(&mut value.clone(), ty)
            .err()
            .map(|error| error.to_string());
    }
    let Value::Object(fields) = value else {
        return Some(format!("cannot restore struct from: {}", kind(value)));
    };
    let type_meta = ["kind", "apiVersion"].into_iter().filter(|_| ty.gvk.is_some());
    type_meta.chain(declared(ty)).find_map(|name| {
        let (value, field) = (fields.get(name)?, ty.field(name)?);
        of_field(value, field)
    })
}

fn of_field(value: &Value, field: &'static Field) -> Option<String> {
    match (field.ty.outer, value) {
        (_, Value::Null) => None,
        (Outer::Value, value) => of_item(value, field, 0),
        (Outer::List, value) => of_list(value, field, 0),
        (Outer::Map, Value::Object(entries)) => entries.values().find_map(|value| of_item(value, field, 1)),
        (Outer::MapOfLists, Value::Object(entries)) => {
            entries.values().find_map(|value| of_list(value, field, 1))
        }
        (Outer::Map | Outer::MapOfLists, other) => Some(format!("cannot restore map from {}", kind(other))),
    }
}

fn of_list(value: &Value, field: &'static Field, depth: usize) -> Option<String> {
    match value {
        Value::Null => None,
        Value::Array(items) => items.iter().find_map(|item| of_item(item, field, depth + 1)),
        other => Some(format!("cannot restore slice from {}", kind(other))),
    }
}

fn of_item(value: &Value, field: &'static Field, depth: usize) -> Option<String> {
    let unrecognized = |go_kind: &str| Some(format!("unrecognized type: {go_kind}"));
    let unconvertible = || {
        let go_type = go_type_within(field, depth);
        Some(format!("cannot convert {} to {go_type}", kind(value)))
    };
    match (field.ty.item, value) {
        (_, Value::Null) => None,
        (Item::Type(ty), value) => fault(value, ty),
        (Item::Bytes, Value::String(text)) => {
            let wrong = base64::decode(text).err()?;
            Some(format!("error decoding from json: {}", base64::error(wrong)))
        }
        (Item::Bytes, Value::Array(_)) => None,
        (Item::Bytes, other) => Some(format!("cannot restore slice from {}", kind(other))),
        (Item::String, Value::String(_)) | (Item::Bool, Value::Bool(_)) => None,
        (Item::String, Value::Number(number)) if !number.is_f64() => unconvertible(),
        (Item::String, _) => unrecognized("string"),
        (Item::Bool, _) => unrecognized("bool"),
        (Item::Int32 | Item::Int64, Value::Number(number)) => {
            let part = number.as_f64().filter(|_| number.is_f64()).map(f64::fract);
            part.filter(|part| *part != 0.0).and_then(|_| unconvertible())
        }
        (Item::Double, Value::Number(_)) => None,
        (Item::Int32, _) => unrecognized("int32"),
        (Item::Int64, _) => unrecognized("int64"),
        (Item::Double, _) => unrecognized("float64"),
    }
}

/// What Go's reflection calls a value that was read from JSON.
fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "invalid",
        Value::Bool(_) => "bool",
        Value::Number(number) if number.is_f64() => "float64",
        Value::Number(_) => "int64",
        Value::String(_) => "string",
        Value::Array(_) => "slice",
        Value::Object(_) => "map",
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::table;

    #[test]
    fn faults_in_the_converter_s_words() {
        let of = |kind: &str, object: Value| {
            let ty = table::by_api_version(if kind == "Deployment" { "apps/v1" } else { "v1" }, kind);
            fault(&object, ty.unwrap()).unwrap_or_default()
        };
        for (object, want) in [
            (
                json!({"metadata": {"labels": {"a": "b"}}, "spec": {"replicas": 1}}),
                "",
            ),
            (json!({"metadata": "x"}), "cannot restore struct from: string"),
            (
                json!({"metadata": {"labels": "x"}}),
                "cannot restore map from string",
            ),
            (
                json!({"metadata": {"labels": {"a": 5}}}),
                "cannot convert int64 to string",
            ),
            (
                json!({"metadata": {"labels": {"a": ["x"]}}}),
                "unrecognized type: string",
            ),
            (
                json!({"spec": {"minReadySeconds": [1]}}),
                "unrecognized type: int32",
            ),
            (
                json!({"spec": {"minReadySeconds": 1.5}}),
                "cannot convert float64 to int32",
            ),
            (json!({"spec": {"minReadySeconds": 2.0}}), ""),
            (
                json!({"spec": {"selector": {"matchExpressions": {}}}}),
                "cannot restore slice from map",
            ),
            (
                json!({"spec": {"strategy": {"rollingUpdate": {"maxSurge": [1]}}}}),
                "json: cannot unmarshal array into Go value of type int32",
            ),
            (
                json!({"spec": {"strategy": {"type": 5}}}),
                "cannot convert int64 to v1.DeploymentStrategyType",
            ),
            // The first of the fields is told, as Go declares them.
            (
                json!({"spec": {"template": "x", "replicas": "y"}}),
                "unrecognized type: int32",
            ),
        ] {
            assert_eq!(of("Deployment", object.clone()), want, "{object}");
        }
        assert_eq!(
            of("Secret", json!({"data": {"a": "Bad_Value!"}})),
            "error decoding from json: illegal base64 data at input byte 3"
        );
        assert_eq!(
            of("Secret", json!({"data": {"a": 1}})),
            "cannot restore slice from int64"
        );
    }
}
