//! Schemas of custom resources: structural, and fit for lists, maps and defaults.

use serde_json::Value;

use crate::cel::rules::Rules;
use crate::object::Fields;
use crate::validation::field::{BadValue, FieldErrors, Path};

const TYPES: [&str; 6] = ["array", "boolean", "integer", "number", "object", "string"];

/// Where a schema stands.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Level {
    Root,
    Item,
    Field,
}

pub(super) fn validation(validation: &Value, at: &Path<'_>, errors: &mut FieldErrors) {
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
        defaults_in_enums(schema, &at, errors);
        rules(schema, Level::Root, &at, errors);
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

/// A default that may only be one of some values is one of them. What else its schema asks of it is not judged here.
fn defaults_in_enums(schema: &Value, at: &Path<'_>, errors: &mut FieldErrors) {
    if let Some(default) = schema.field("default")
        && schema.has("enum")
        && !schema.items("enum").contains(default)
    {
        let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        let values: Vec<String> = schema.items("enum").iter().map(text).collect();
        errors.not_supported(&at.child("default"), default, &values);
    }
    below(schema, at, &mut |schema, _, at| {
        defaults_in_enums(schema, at, errors)
    });
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
    let list = at.child("x-kubernetes-validations");
    for (index, rule) in schema.items("x-kubernetes-validations").iter().enumerate() {
        if rule.text("rule").trim().is_empty() {
            errors.required(&list.index(index).child("rule"), "rule is not specified");
        }
    }
}

/// Rules have to compile against the types that their schema declares.
fn rules(schema: &Value, level: Level, at: &Path<'_>, errors: &mut FieldErrors) {
    below(schema, at, &mut |schema, level, at| {
        rules(schema, level, at, errors)
    });
    let own = schema.items("x-kubernetes-validations");
    if own.is_empty() {
        return;
    }
    let resource = level == Level::Root || schema.flag("x-kubernetes-embedded-resource");
    let list = at.child("x-kubernetes-validations");
    for fault in Rules::faults(schema, resource) {
        let Some(rule) = own
            .get(fault.index)
            .filter(|rule| !rule.text("rule").trim().is_empty())
        else {
            continue;
        };
        let at = list.index(fault.index);
        errors.invalid(&at.child(fault.field), as_in_go(rule), fault.message);
    }
}

/// A rule as Go writes the struct that upstream keeps it in.
fn as_in_go(rule: &Value) -> BadValue {
    let text = |name: &str| Value::from(rule.text(name)).to_string();
    let or_null = |name: &str| {
        rule.field(name)
            .map_or_else(|| "null".to_owned(), Value::to_string)
    };
    let fields = [
        ("Rule", text("rule")),
        ("Message", text("message")),
        ("MessageExpression", text("messageExpression")),
        ("Reason", or_null("reason")),
        ("FieldPath", text("fieldPath")),
        ("OptionalOldSelf", or_null("optionalOldSelf")),
    ];
    let fields: Vec<String> = fields
        .iter()
        .map(|(name, value)| format!("\"{name}\":{value}"))
        .collect();
    let escaped = fields
        .join(",")
        .replace('<', "\\u003c")
        .replace('>', "\\u003e")
        .replace('&', "\\u0026");
    BadValue::rendered(format!("{{{escaped}}}"))
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
