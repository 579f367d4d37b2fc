//! Schemas of custom resources: structural, and fit for lists, maps and defaults.

use serde_json::Value;

use super::rules;
use crate::object::Fields;
use crate::schema::{Schema, check, embedded, prune};
use crate::validation::field::{FieldErrors, Path};

const TYPES: [&str; 6] = ["array", "boolean", "integer", "number", "object", "string"];

/// Where a schema stands.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Level {
    Root,
    Item,
    Field,
}

/// Judges the schema of a version; `unchanged` where it is as it was.
pub(super) fn validation(validation: &Value, at: &Path<'_>, unchanged: bool, errors: &mut FieldErrors) {
    let Some(schema) = validation.field("openAPIV3Schema") else {
        return;
    };
    let at = at.child("openAPIV3Schema");
    if schema.flag("nullable") {
        errors.forbidden(&at.child("nullable"), "nullable cannot be true at the root");
    }
    let mut structural = FieldErrors::default();
    self::structural(schema, Level::Root, &at, &mut structural);
    if structural.is_empty() {
        defaults(schema, &at, errors);
        rules::validate(schema, &at, unchanged, errors);
    }
    structural.sort();
    errors.extend(structural);
    open_api(schema, &at, errors);
}

/// Calls back for every schema right below one.
fn below(schema: &Value, at: &Path<'_>, visit: &mut dyn FnMut(&Value, Level, &Path<'_>)) {
    if let Some(items) = schema.field("items") {
        visit(items, Level::Item, &at.child("items"));
    }
    let properties = at.child("properties");
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        visit(property, Level::Field, &properties.key(name));
    }
    if let Some(Value::Object(_)) = schema.field("additionalProperties") {
        visit(
            &schema["additionalProperties"],
            Level::Field,
            &at.child("additionalProperties"),
        );
    }
}

/// What every schema must say of itself so that objects can be pruned by it.
fn structural(schema: &Value, level: Level, at: &Path<'_>, errors: &mut FieldErrors) {
    let kind = schema.text("type");
    if kind == "array" && !schema.has("items") {
        errors.required(&at.child("items"), "must be specified");
    }
    below(schema, at, &mut |schema, level, at| {
        structural(schema, level, at, errors)
    });
    if level == Level::Root && schema.has("additionalProperties") {
        errors.forbidden(&at.child("additionalProperties"), "must not be used at the root");
    }
    let [either, embedded, preserving] = ["int-or-string", "embedded-resource", "preserve-unknown-fields"]
        .map(|name| schema.flag(&format!("x-kubernetes-{name}")));
    for (set, name) in [
        (preserving, "preserve-unknown-fields"),
        (embedded, "embedded-resource"),
    ] {
        if either && set {
            let name = format!("x-kubernetes-{name}");
            errors.invalid(
                &at.child(&name),
                true,
                "must be false if x-kubernetes-int-or-string is true",
            );
        }
    }
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
    if level == Level::Root && !kind.is_empty() && kind != "object" {
        errors.invalid(&at.child("type"), kind, "must be object at the root");
    }
    if embedded
        && !preserving
        && schema["properties"]
            .as_object()
            .is_none_or(serde_json::Map::is_empty)
    {
        let rule = "must not be empty if x-kubernetes-embedded-resource is true without x-kubernetes-preserve-unknown-fields";
        errors.required(&at.child("properties"), rule);
    }
}

/// A default is as its schema wants values to be, and has nothing in it that would be pruned.
fn defaults(schema: &Value, at: &Path<'_>, errors: &mut FieldErrors) {
    if let Some(default) = schema.field("default") {
        let (node, at) = (Schema::read(schema), at.child("default"));
        if !prune::keeps(default, &node) {
            errors.invalid(&at, default, "must not have unknown fields");
        }
        let mut coerced = default.clone();
        match embedded::coerce(&mut coerced, &node) {
            Err(_) => errors.invalid(&at, default, "must result in valid metadata"),
            Ok(_) => check::check(default, &node, &at, errors),
        }
    }
    below(schema, at, &mut |schema, _, at| defaults(schema, at, errors));
}

/// What upstream asks of a schema besides being structural.
fn open_api(schema: &Value, at: &Path<'_>, errors: &mut FieldErrors) {
    let kind = schema.text("type");
    below(schema, at, &mut |schema, _, at| open_api(schema, at, errors));
    if !kind.is_empty() && !TYPES.contains(&kind) {
        errors.not_supported(&at.child("type"), kind, &TYPES);
    }
    map_type(schema, at, errors);
    list_type(schema, at, errors);
}

fn map_type(schema: &Value, at: &Path<'_>, errors: &mut FieldErrors) {
    let Some(value) = schema.field("x-kubernetes-map-type") else {
        return;
    };
    let rule = "must be object if x-kubernetes-map-type is specified";
    match schema.text("type") {
        "object" => {}
        "" => errors.required(&at.child("type"), rule),
        other => errors.invalid(&at.child("type"), other, rule),
    }
    if value != "atomic" && value != "granular" {
        errors.not_supported(&at.child("x-kubernetes-map-type"), value, &["atomic", "granular"]);
    }
}

fn list_type(schema: &Value, at: &Path<'_>, errors: &mut FieldErrors) {
    let (at_type, at_keys) = (
        at.child("x-kubernetes-list-type"),
        at.child("x-kubernetes-list-map-keys"),
    );
    let value = schema.field("x-kubernetes-list-type");
    let keys = schema.items("x-kubernetes-list-map-keys");
    if let Some(value) = value {
        let rule = "must be array if x-kubernetes-list-type is specified";
        match schema.text("type") {
            "array" => {}
            "" => errors.required(&at.child("type"), rule),
            other => errors.invalid(&at.child("type"), other, rule),
        }
        if !["atomic", "set", "map"].iter().any(|known| value == known) {
            errors.not_supported(&at_type, value, &["atomic", "set", "map"]);
        }
    }
    if !keys.is_empty() {
        let rule = "must be map if x-kubernetes-list-map-keys is non-empty";
        match value {
            None => errors.required(&at_type, rule),
            Some(value) if value != "map" => errors.invalid(&at_type, value, rule),
            Some(_) => {}
        }
    }
    if value.is_some_and(|value| value == "map") {
        if keys.is_empty() {
            errors.required(&at_keys, "must not be empty if x-kubernetes-list-type is map");
        }
        map_list(schema, at, errors);
    }
}

/// A list that is a map by keys: every key is a scalar that all items have.
fn map_list(schema: &Value, at: &Path<'_>, errors: &mut FieldErrors) {
    let (items, at_keys) = (at.child("items"), at.child("x-kubernetes-list-map-keys"));
    let Some(item) = schema.field("items") else {
        errors.required(&items, "must have a schema if x-kubernetes-list-type is map");
        return;
    };
    if item.text("type") != "object" {
        let rule = "must be object if parent array's x-kubernetes-list-type is map";
        errors.invalid(&items.child("type"), item.text("type"), rule);
        return;
    }
    let keys = schema.items("x-kubernetes-list-map-keys");
    let (shown, properties) = (&schema["x-kubernetes-list-map-keys"], items.child("properties"));
    for (index, key) in keys.iter().enumerate() {
        let name = key.as_str().unwrap_or_default();
        match item["properties"].field(name) {
            None => errors.invalid(&at_keys, shown, "entries must all be names of item properties"),
            Some(property) if matches!(property.text("type"), "array" | "object") => {
                let rule = "must be a scalar type if parent array's x-kubernetes-list-type is map";
                errors.invalid(&properties.key(name).child("type"), item.text("type"), rule);
            }
            Some(property) => {
                if !item.items("required").contains(key) && !property.has("default") {
                    let rule = "this property is in x-kubernetes-list-map-keys, so it must have a default or be a required property";
                    errors.required(&properties.key(name).child("default"), rule);
                }
                if property.flag("nullable") {
                    let rule = "this property is in x-kubernetes-list-map-keys, so it cannot be nullable";
                    errors.forbidden(&properties.key(name).child("nullable"), rule);
                }
            }
        }
        if keys[..index].contains(key) {
            errors.invalid(&at_keys, shown, "must not contain duplicate entries");
        }
    }
}
