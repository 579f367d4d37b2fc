//! Structural schemas, as CustomResourceDefinitions hold them: which type a value of one has, and what value JSON is.
//!
//! A schema is the JSON of a `JSONSchemaProps`. Formats make moments, lengths of time and bytes of strings; names of
//! properties are escaped.

use std::borrow::Cow;
use std::sync::Arc;

use base64::Engine;
use serde_json::{Value as Json, json};

use super::error::EvalError;
use super::escape::{escape, unescape};
use super::library::time;
use super::moment::{self, Moment};
use super::types::{ObjectType, Type};
use super::value::{List, Map, Text, Value};
use crate::object::Fields;

fn is_set(schema: &Json, name: &str) -> bool {
    schema[name] == Json::Bool(true)
}

/// The schema of the values of a map; none where there is none, or it is a boolean.
fn of_values(schema: &Json) -> Option<&Json> {
    schema.get("additionalProperties").filter(|of| of.is_object())
}

fn has_properties(schema: &Json) -> bool {
    is_set(schema, "x-kubernetes-embedded-resource") || schema.get("properties").is_some()
}

/// The schema of one property, or of all values of a map.
pub(super) fn of_field<'s>(schema: &'s Json, name: &str) -> Option<&'s Json> {
    if has_properties(schema) {
        schema.get("properties").and_then(|all| all.get(name))
    } else {
        of_values(schema)
    }
}

/// The property that a name in an expression means.
pub(super) fn field_name<'n>(schema: &Json, name: &'n str) -> Cow<'n, str> {
    if has_properties(schema) {
        unescape(name)
    } else {
        Cow::Borrowed(name)
    }
}

/// The name in expressions of a property.
pub(super) fn escaped_name<'v>(schema: &Json, name: &'v str) -> Text<'v> {
    match escape(name) {
        Some(Cow::Owned(escaped)) if has_properties(schema) => Text::Shared(escaped.into()),
        _ => Text::Borrowed(name),
    }
}

/// The value that JSON is under its schema.
///
/// # Errors
/// That it is not as the schema says. Values are validated before rules see them, so this is seldom met.
pub fn value<'v>(json: &'v Json, schema: Option<&'v Json>) -> Result<Value<'v>, EvalError> {
    let Some(schema) = schema else {
        return Ok(Value::json(json));
    };
    if json.is_null() {
        return if is_set(schema, "nullable") {
            Ok(Value::Null)
        } else {
            Err(EvalError::new(
                "invalid data, got null for schema with nullable=false",
            ))
        };
    }
    if is_set(schema, "x-kubernetes-int-or-string") {
        return match json {
            Json::String(text) => Ok(Value::String(Text::Borrowed(text))),
            Json::Number(number) if number.is_i64() => Ok(Value::json(json)),
            _ => Err(EvalError::new(
                "invalid data, expected XIntOrString value to be either a string or integer",
            )),
        };
    }
    let wrong = |what: &str| EvalError::new(format!("invalid data, expected {what}"));
    match (schema.text("type"), json) {
        ("object", Json::Object(fields)) => Ok(Value::Map(Map::Json(fields, Some(schema)))),
        ("object", _) => Err(wrong("a map for the provided schema with type=object")),
        ("array", Json::Array(items)) => Ok(Value::List(List::Json(items, Some(schema)))),
        ("array", _) => Err(wrong("an array for the provided schema with type=array")),
        ("string", Json::String(text)) => of_format(text, schema.text("format")),
        ("string", other) => Err(wrong(&format!("string, got {other}"))),
        ("number", Json::Number(number)) => Ok(Value::Double(number.as_f64().unwrap_or(f64::NAN))),
        ("number", other) => Err(wrong(&format!("float, got {other}"))),
        ("integer", Json::Number(number)) if number.is_i64() => Ok(Value::json(json)),
        ("integer", other) => Err(wrong(&format!("int, got {other}"))),
        ("boolean", Json::Bool(truth)) => Ok(Value::Bool(*truth)),
        ("boolean", other) => Err(wrong(&format!("bool, got {other}"))),
        (_, other) => Ok(Value::json(other)),
    }
}

fn of_format<'v>(text: &'v str, format: &str) -> Result<Value<'v>, EvalError> {
    match format {
        "duration" => time::duration_in_words(text).map(Value::Duration).ok_or_else(|| {
            EvalError::new(format!(
                "Invalid duration {text}: unable to parse {text} as duration"
            ))
        }),
        "date" => Moment::of_day(text)
            .map(Value::Timestamp)
            .ok_or_else(|| EvalError::new(format!("Invalid date formatted string {text}: unable to parse"))),
        "date-time" => Moment::parse_loosely(text).map(Value::Timestamp).ok_or_else(|| {
            let why = moment::fault(text);
            EvalError::new(format!("Invalid date-time formatted string {text}: {why}"))
        }),
        // By the alphabet of URLs, as upstream: not the one by which the format is judged.
        "byte" => base64::engine::general_purpose::URL_SAFE
            .decode(text)
            .map(|bytes| Value::Bytes(bytes.into()))
            .map_err(|_| {
                let fine = |byte: u8| byte.is_ascii_alphanumeric() || b"-_=".contains(&byte);
                let at = text.bytes().position(|byte| !fine(byte)).unwrap_or(text.len());
                EvalError::new(format!(
                    "Invalid byte formatted string {text}: illegal base64 data at input byte {at}"
                ))
            }),
        _ => Ok(Value::String(Text::Borrowed(text))),
    }
}

/// The type of values of a schema; none for those that expressions cannot reach.
///
/// `name` is how messages name it, and `resource` whether it is that of a whole resource, which has `apiVersion`, `kind` and
/// `metadata` even when it does not list them.
pub fn type_of(schema: &Json, name: &str, resource: bool) -> Option<Type> {
    if is_set(schema, "x-kubernetes-int-or-string") {
        return Some(Type::Dyn);
    }
    let resource = resource || is_set(schema, "x-kubernetes-embedded-resource");
    match schema.text("type") {
        "array" => {
            let items = schema.get("items").filter(|items| items.is_object())?;
            Some(Type::list(type_of(items, &format!("{name}.@idx"), false)?))
        }
        "object" if of_values(schema).is_some() && schema.get("properties").is_none() => {
            let values = type_of(of_values(schema)?, &format!("{name}.@elem"), false)?;
            Some(Type::map(Type::String, values))
        }
        "object" => Some(Type::Object(Arc::new(Schema::new(schema, name, resource)))),
        "string" => Some(match schema.text("format") {
            "byte" => Type::Bytes,
            "duration" => Type::Duration,
            "date" | "date-time" => Type::Timestamp,
            _ => Type::String,
        }),
        "boolean" => Some(Type::Bool),
        "number" => Some(Type::Double),
        "integer" => Some(Type::Int),
        _ => None,
    }
}

/// The schema with what every resource has.
pub fn with_type_and_meta(schema: &Json) -> Json {
    let mut whole = schema.clone();
    let text = json!({"type": "string"});
    if !whole["properties"].is_object() {
        whole["properties"] = json!({});
    }
    for name in ["apiVersion", "kind"] {
        whole["properties"][name] = text.clone();
    }
    let listed = schema["properties"]["metadata"]["properties"].clone();
    let mut properties = match listed {
        Json::Object(properties) => properties,
        _ => serde_json::Map::new(),
    };
    for name in ["name", "generateName"] {
        properties.entry(name).or_insert_with(|| text.clone());
    }
    whole["properties"]["metadata"] = json!({"type": "object", "properties": properties});
    whole
}

/// What types and values are made by; the rest of a schema, of which descriptions are the most, says nothing to expressions.
const COUNT: [&str; 9] = [
    "type",
    "format",
    "nullable",
    "x-kubernetes-int-or-string",
    "x-kubernetes-embedded-resource",
    "x-kubernetes-preserve-unknown-fields",
    "x-kubernetes-list-type",
    "x-kubernetes-list-map-keys",
    "x-kubernetes-map-type",
];

/// A copy of a schema with nothing but what counts for expressions.
pub(super) fn lean(schema: &Json) -> Json {
    let kept = COUNT.iter().filter_map(|name| Some((*name, schema.get(name)?)));
    let mut copy: serde_json::Map<String, Json> = kept
        .map(|(name, value)| (name.to_owned(), value.clone()))
        .collect();
    for name in ["items", "additionalProperties"] {
        if let Some(below) = schema.get(name) {
            let below = if below.is_object() {
                lean(below)
            } else {
                below.clone()
            };
            copy.insert(name.to_owned(), below);
        }
    }
    if let Some(Json::Object(properties)) = schema.get("properties") {
        let properties = properties.iter().map(|(name, of)| (name.clone(), lean(of)));
        copy.insert("properties".to_owned(), properties.collect());
    }
    Json::Object(copy)
}

/// An object by its schema.
#[derive(Debug)]
struct Schema {
    name: String,
    schema: Json,
}

impl Schema {
    fn new(schema: &Json, name: &str, resource: bool) -> Self {
        let schema = if resource {
            with_type_and_meta(&lean(schema))
        } else {
            lean(schema)
        };
        Self {
            name: name.to_owned(),
            schema,
        }
    }
}

impl ObjectType for Schema {
    fn name(&self) -> &str {
        &self.name
    }

    fn field(&self, name: &str) -> Option<Type> {
        let property = unescape(name);
        if escape(&property).as_deref() != Some(name) {
            return None;
        }
        let of = self.schema["properties"].get(property.as_ref())?;
        type_of(of, &format!("{}.{name}", self.name), false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_make_values() {
        let schema = json!({"type": "object", "properties": {
            "at": {"type": "string", "format": "date-time"}, "for": {"type": "string", "format": "duration"},
            "size": {"x-kubernetes-int-or-string": true}, "many": {"type": "array", "items": {"type": "integer"}}}});
        let ty = type_of(&schema, "self", true);
        let Some(Type::Object(object)) = ty else {
            panic!("{ty:?}")
        };
        assert_eq!(object.field("at"), Some(Type::Timestamp));
        assert_eq!(object.field("__for__"), Some(Type::Duration));
        assert_eq!(object.field("for"), None);
        assert_eq!(object.field("size"), Some(Type::Dyn));
        assert_eq!(object.field("many"), Some(Type::list(Type::Int)));
        assert!(object.field("metadata").is_some());
        let json = json!({"for": "1h", "at": "2026-01-02T03:04:05Z"});
        let Ok(Value::Map(map)) = value(&json, Some(&schema)) else {
            panic!()
        };
        assert!(matches!(
            map.field("__for__"),
            Ok(Some(Value::Duration(3_600_000_000_000)))
        ));
        assert!(matches!(map.field("at"), Ok(Some(Value::Timestamp(_)))));
    }
}
