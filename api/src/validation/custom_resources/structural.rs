//! That schemas are structural: that every value an object may have is described, so that objects can be pruned by them.
//!
//! Follows upstream's `ValidateStructural`, in its words.

use serde_json::{Map, Value, json};

use super::options;
use crate::object::Fields;
use crate::validation::field::{FieldErrors, Path};

/// Where a schema stands.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Level {
    Root,
    Item,
    Field,
}

/// Calls back for every schema right below one.
pub(super) fn below(schema: &Value, at: &Path<'_>, visit: &mut dyn FnMut(&Value, Level, &Path<'_>)) {
    if let Some(items) = schema.field("items") {
        visit(items, Level::Item, &at.child("items"));
    }
    let properties = at.child("properties");
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        visit(property, Level::Field, &properties.key(name));
    }
    if let Some(additional @ Value::Object(_)) = schema.field("additionalProperties") {
        visit(additional, Level::Field, &at.child("additionalProperties"));
    }
}

/// What keeps a schema from being read as a structural one at all.
pub(super) fn unreadable(schema: &Value) -> Option<&'static str> {
    let items_are_many = |schema: &Value| schema["items"].is_array();
    if options::has(schema, items_are_many) {
        return Some("OpenAPIV3Schema 'items' must be a schema, but is an array");
    }
    let kept =
        |schema: &Value| schema.field("x-kubernetes-preserve-unknown-fields") == Some(&Value::Bool(false));
    if options::has(schema, kept) {
        return Some("internal error: 'x-kubernetes-preserve-unknown-fields' must be true or undefined");
    }
    let unsupported = [
        ("id", "OpenAPIV3Schema 'id' is not supported"),
        ("$schema", "OpenAPIV3Schema 'schema' is not supported"),
        ("$ref", "OpenAPIV3Schema '$ref' is not supported"),
        (
            "patternProperties",
            "OpenAPIV3Schema 'patternProperties' is not supported",
        ),
        ("dependencies", "OpenAPIV3Schema 'dependencies' is not supported"),
        (
            "additionalItems",
            "OpenAPIV3Schema 'additionalItems' is not supported",
        ),
        ("definitions", "OpenAPIV3Schema 'definitions' is not supported"),
    ];
    let mut found = unsupported
        .into_iter()
        .filter(|(name, _)| options::has(schema, |schema| schema.get(*name).is_some_and(is_set)));
    found.next().map(|(_, why)| why)
}

/// Whether a schema is structural.
pub(super) fn is_structural(schema: &Value) -> bool {
    unreadable(schema).is_none() && faults(schema, &Path::ROOT).is_empty()
}

/// Why a schema is not structural, in the order of the messages.
pub(super) fn faults(schema: &Value, at: &Path<'_>) -> FieldErrors {
    let mut errors = FieldErrors::new();
    invariants(schema, Level::Root, at, &mut errors);
    complete(schema, Some(schema), at, at, &mut errors);
    errors.sort();
    errors
}

/// Whether something is said at all: Go does not tell an empty value from none.
fn is_set(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(flag) => *flag,
        Value::String(text) => !text.is_empty(),
        Value::Array(items) => !items.is_empty(),
        Value::Object(fields) => !fields.is_empty(),
        Value::Number(_) => true,
    }
}

/// What every schema must say of itself so that objects can be pruned by it.
fn invariants(schema: &Value, level: Level, at: &Path<'_>, errors: &mut FieldErrors) {
    let kind = schema.text("type");
    if kind == "array" && !schema.has("items") {
        errors.required(&at.child("items"), "must be specified");
    }
    below(schema, at, &mut |schema, level, at| {
        invariants(schema, level, at, errors)
    });
    if level == Level::Root && schema.has("additionalProperties") {
        errors.forbidden(&at.child("additionalProperties"), "must not be used at the root");
    }
    let [either, embedded, preserving] = ["int-or-string", "embedded-resource", "preserve-unknown-fields"]
        .map(|name| schema.flag(&format!("x-kubernetes-{name}")));
    for (set, name) in [
        (preserving, "x-kubernetes-preserve-unknown-fields"),
        (embedded, "x-kubernetes-embedded-resource"),
    ] {
        if either && set {
            let rule = "must be false if x-kubernetes-int-or-string is true";
            errors.invalid(&at.child(name), true, rule);
        }
    }
    let skip = Skip::of(schema);
    values(schema, skip, at, errors);
    if embedded && kind != "object" {
        let rule = "must be object if x-kubernetes-embedded-resource is true";
        match kind {
            "" => errors.required(&at.child("type"), rule),
            other => errors.invalid(&at.child("type"), other, rule),
        }
    } else if kind.is_empty() && !either && !preserving {
        let rule = match level {
            Level::Root => "must not be empty at the root",
            Level::Item => "must not be empty for specified array items",
            Level::Field => "must not be empty for specified object fields",
        };
        errors.required(&at.child("type"), rule);
    }
    if embedded && schema.has("additionalProperties") {
        let rule = "must not be used if x-kubernetes-embedded-resource is set";
        errors.forbidden(&at.child("additionalProperties"), rule);
    }
    if level == Level::Root && !kind.is_empty() && kind != "object" {
        errors.invalid(&at.child("type"), kind, "must be object at the root");
    }
    if level == Level::Root || embedded {
        of_every_object(schema, level, at, errors);
    }
    if embedded && !preserving && schema["properties"].as_object().is_none_or(Map::is_empty) {
        let rule = "must not be empty if x-kubernetes-embedded-resource is true without x-kubernetes-preserve-unknown-fields";
        errors.required(&at.child("properties"), rule);
    }
}

/// What a schema of whole objects may say of apiVersion, kind and metadata.
fn of_every_object(schema: &Value, level: Level, at: &Path<'_>, errors: &mut FieldErrors) {
    let properties = at.child("properties");
    for (name, wanted) in [
        ("kind", "string"),
        ("apiVersion", "string"),
        ("metadata", "object"),
    ] {
        let Some(property) = schema["properties"].get(name) else {
            continue;
        };
        let at = properties.key(name);
        if property.text("type") != wanted {
            let rule = format!("must be {wanted}");
            errors.invalid(&at.child("type"), property.text("type"), rule);
        }
        if name == "metadata" && level == Level::Root && says_more_than_names(property) {
            let rule = "must not specify anything other than name and generateName, but metadata is implicitly specified";
            errors.forbidden(&at, rule);
        }
    }
}

fn says_more_than_names(metadata: &Value) -> bool {
    let fields = metadata.as_object().into_iter().flatten();
    let mut other = fields.filter(|(name, value)| match name.as_str() {
        "type" | "default" | "example" | "externalDocs" => false,
        "properties" => value
            .as_object()
            .into_iter()
            .flatten()
            .any(|(name, _)| !matches!(name.as_str(), "name" | "generateName")),
        "additionalProperties" | "x-kubernetes-preserve-unknown-fields" => !value.is_null(),
        _ => is_set(value),
    });
    other.next().is_some()
}

/// The pair of alternatives that an integer or a string is spelled as, which may name types.
#[derive(Clone, Copy, Default)]
struct Skip {
    /// `anyOf` is that pair.
    any_of: bool,
    /// The `anyOf` of the first of `allOf` is.
    first_all_of: bool,
}

impl Skip {
    fn of(schema: &Value) -> Self {
        let pair = json!([{"type": "integer"}, {"type": "string"}]);
        Self {
            any_of: schema.get("anyOf") == Some(&pair),
            first_all_of: schema["allOf"][0].get("anyOf") == Some(&pair),
        }
    }
}

/// What may be asked of values beside their structure.
fn values(schema: &Value, skip: Skip, at: &Path<'_>, errors: &mut FieldErrors) {
    for name in ["anyOf", "allOf", "oneOf"] {
        if name == "anyOf" && skip.any_of {
            continue;
        }
        let list = at.child(name);
        for (index, part) in schema.items(name).iter().enumerate() {
            let skip = Skip {
                any_of: name == "allOf" && index == 0 && skip.first_all_of,
                first_all_of: false,
            };
            nested(part, skip, &list.index(index), errors);
        }
    }
    if let Some(not) = schema.field("not") {
        nested(not, Skip::default(), &at.child("not"), errors);
    }
    let pattern = schema.text("pattern");
    if let Err(why) = is_pattern(pattern) {
        let rule = format!("must be a valid regular expression, but isn't: {why}");
        errors.invalid(&at.child("pattern"), pattern, rule);
    }
}

/// Whether a pattern can be read, and is not too large where counted repeats may make it so: compiling each of thousands takes
/// longer than all else that is asked of a definition, and is left to the first value.
fn is_pattern(pattern: &str) -> Result<(), String> {
    if pattern.contains('{') {
        return match regex::Regex::new(pattern) {
            Ok(_) => Ok(()),
            Err(why) => Err(why.to_string()),
        };
    }
    match regex_syntax::parse(pattern) {
        Ok(_) => Ok(()),
        Err(why) => Err(why.to_string()),
    }
}

/// A schema that only asks something of values: structure is told outside.
fn nested(schema: &Value, skip: Skip, at: &Path<'_>, errors: &mut FieldErrors) {
    values(schema, skip, at, errors);
    if let Some(items) = schema.field("items") {
        nested(items, Skip::default(), &at.child("items"), errors);
    }
    let properties = at.child("properties");
    for (name, property) in schema.entries("properties") {
        nested(property, Skip::default(), &properties.key(name), errors);
    }
    let (empty, undefined, not) = (
        "must be empty to be structural",
        "must be undefined to be structural",
        "must be false to be structural",
    );
    let forbidden = [
        ("type", empty),
        ("additionalProperties", undefined),
        ("default", undefined),
        ("title", empty),
        ("description", empty),
        ("nullable", not),
        ("x-kubernetes-preserve-unknown-fields", not),
        ("x-kubernetes-embedded-resource", not),
        ("x-kubernetes-int-or-string", not),
        ("x-kubernetes-list-map-keys", empty),
        ("x-kubernetes-list-type", undefined),
        ("x-kubernetes-map-type", undefined),
        ("x-kubernetes-validations", empty),
    ];
    for (name, rule) in forbidden {
        let there = match name {
            "additionalProperties" | "default" => schema.has(name),
            name => schema.get(name).is_some_and(is_set),
        };
        if there {
            errors.forbidden(&at.child(name), rule);
        }
    }
    if schema["properties"].get("metadata").is_some() {
        let rule = "must not be specified in a nested context";
        errors.forbidden(&properties.key("metadata"), rule);
    }
}

/// What is asked of values that the structure does not know. `of` asks, and `schema` is the structure for it.
fn complete(of: &Value, schema: Option<&Value>, at: &Path<'_>, asked: &Path<'_>, errors: &mut FieldErrors) {
    if let Some(not) = of.field("not") {
        complete_nested(not, schema, at, &asked.child("not"), errors);
    }
    for name in ["allOf", "anyOf", "oneOf"] {
        let list = asked.child(name);
        for (index, part) in of.items(name).iter().enumerate() {
            complete_nested(part, schema, at, &list.index(index), errors);
        }
    }
}

fn complete_nested(
    of: &Value,
    schema: Option<&Value>,
    at: &Path<'_>,
    asked: &Path<'_>,
    errors: &mut FieldErrors,
) {
    let Some(schema) = schema else {
        return errors.required(at, format!("because it is defined in {asked}"));
    };
    complete(of, Some(schema), at, asked, errors);
    if let Some(items) = of.field("items") {
        let (at, asked) = (at.child("items"), asked.child("items"));
        complete_nested(items, schema.field("items"), &at, &asked, errors);
    }
    let (at, asked) = (at.child("properties"), asked.child("properties"));
    for (name, property) in of.entries("properties") {
        let known = schema["properties"].get(name);
        complete_nested(property, known, &at.key(name), &asked.key(name), errors);
    }
}
