//! From the JSON of a schema to nodes.

use serde_json::Value;

use super::pattern::Pattern;
use super::{Additional, Checks, Kind, List, Schema, formats};
use crate::object::Fields;
use crate::table::ListType;

pub(super) fn schema(json: &Value) -> Schema {
    let kind = kind(json.text("type"));
    let int_or_string = json.flag("x-kubernetes-int-or-string");
    let mut node = Schema {
        kind,
        int_or_string,
        nullable: json.flag("nullable"),
        embedded: json.flag("x-kubernetes-embedded-resource"),
        preserve: json.flag("x-kubernetes-preserve-unknown-fields"),
        atomic: json.text("x-kubernetes-map-type") == "atomic",
        default: json.field("default").cloned(),
        properties: json
            .entries("properties")
            .map(|(name, below)| (name.to_owned(), schema(below)))
            .collect(),
        additional: match json.field("additionalProperties") {
            None => Additional::Unsaid,
            Some(Value::Bool(allowed)) => Additional::Allowed(*allowed),
            Some(below) => Additional::Schema(Box::new(schema(below))),
        },
        items: json
            .field("items")
            .filter(|items| items.is_object())
            .map(|items| Box::new(schema(items))),
        list: list(json),
        checks: checks(json, kind.filter(|_| !int_or_string), int_or_string),
        has_rules: !json.items("x-kubernetes-validations").is_empty(),
        rules: None,
    };
    node.has_rules |= node.has_rules_below();
    node
}

impl Schema {
    fn has_rules_below(&self) -> bool {
        let additional = match &self.additional {
            Additional::Schema(schema) => Some(&**schema),
            Additional::Unsaid | Additional::Allowed(_) => None,
        };
        let mut below = self
            .properties
            .values()
            .chain(self.items.as_deref())
            .chain(additional);
        below.any(|schema| schema.has_rules)
    }
}

fn kind(text: &str) -> Option<Kind> {
    Some(match text {
        "array" => Kind::Array,
        "boolean" => Kind::Boolean,
        "integer" => Kind::Integer,
        "number" => Kind::Number,
        "object" => Kind::Object,
        "string" => Kind::String,
        _ => return None,
    })
}

fn list(json: &Value) -> List {
    List {
        ty: match json.text("x-kubernetes-list-type") {
            "map" => ListType::Map,
            "set" => ListType::Set,
            "atomic" => ListType::Atomic,
            _ => ListType::Unset,
        },
        keys: texts(json, "x-kubernetes-list-map-keys"),
    }
}

fn texts(json: &Value, name: &str) -> Vec<String> {
    let texts = json.items(name).iter().filter_map(Value::as_str);
    texts.map(str::to_owned).collect()
}

/// The fields of JSON schema that make [`Checks`]; where a node has none of them, nothing is kept for it.
const CHECKS: [&str; 20] = [
    "format",
    "maximum",
    "minimum",
    "multipleOf",
    "maxLength",
    "minLength",
    "pattern",
    "maxItems",
    "minItems",
    "uniqueItems",
    "maxProperties",
    "minProperties",
    "required",
    "enum",
    "allOf",
    "anyOf",
    "oneOf",
    "not",
    "exclusiveMaximum",
    "exclusiveMinimum",
];

fn checks(json: &Value, kind: Option<Kind>, int_or_string: bool) -> Option<Box<Checks>> {
    if !CHECKS.iter().any(|name| json.has(name)) {
        return None;
    }
    let size = |name: &str| json.number(name).map(|size| usize::try_from(size).unwrap_or(0));
    let limit = |name: &str| json.field(name).and_then(Value::as_f64);
    let all = |name: &str| json.items(name).iter().map(schema).collect();
    let format = json.text("format");
    Some(Box::new(Checks {
        format: formats::is_for(format, kind, int_or_string).then(|| format.to_owned()),
        maximum: limit("maximum"),
        exclusive_maximum: json.flag("exclusiveMaximum"),
        minimum: limit("minimum"),
        exclusive_minimum: json.flag("exclusiveMinimum"),
        multiple_of: limit("multipleOf"),
        max_length: size("maxLength"),
        min_length: size("minLength"),
        pattern: Some(json.text("pattern"))
            .filter(|pattern| !pattern.is_empty())
            .map(Pattern::new),
        max_items: size("maxItems"),
        min_items: size("minItems"),
        unique_items: json.flag("uniqueItems"),
        max_properties: size("maxProperties"),
        min_properties: size("minProperties"),
        required: texts(json, "required"),
        values: json.items("enum").to_vec(),
        all_of: all("allOf"),
        any_of: all("anyOf"),
        one_of: all("oneOf"),
        not: json.field("not").map(schema),
    }))
}
