//! Schemas of custom resources: structural, and fit for lists, maps and defaults.

use serde_json::Value;

use super::options::{Options, set_of_no_atoms};
use super::rules;
use super::structural::{self, Level, below};
use crate::object::Fields;
use crate::schema::{Schema, check, embedded, prune};
use crate::validation::field::{FieldErrors, Path};

/// The types that a schema may name.
pub(super) const TYPES: [&str; 6] = ["array", "boolean", "integer", "number", "object", "string"];

/// What may stand at the root of a schema whose version has a status of its own, in Go's names: the schema of the status is
/// taken out of its properties, and nothing that is said of it elsewhere is to be lost by that.
const AT_ROOT: &str = "[Description Type Format Title Maximum ExclusiveMaximum Minimum ExclusiveMinimum MaxLength MinLength Pattern \
                       MaxItems MinItems UniqueItems MultipleOf Required Items Properties ExternalDocs Example \
                       XPreserveUnknownFields XValidations]";
const NOT_AT_ROOT: [&str; 19] = [
    "nullable",
    "default",
    "enum",
    "maxProperties",
    "minProperties",
    "allOf",
    "oneOf",
    "anyOf",
    "not",
    "additionalProperties",
    "patternProperties",
    "dependencies",
    "additionalItems",
    "definitions",
    "x-kubernetes-embedded-resource",
    "x-kubernetes-int-or-string",
    "x-kubernetes-list-map-keys",
    "x-kubernetes-list-type",
    "x-kubernetes-map-type",
];

/// How a schema is judged.
#[derive(Clone, Copy)]
pub(super) struct Case {
    pub(super) options: Options,
    /// Whether it is as it was.
    pub(super) unchanged: bool,
    /// Whether its version has a status of its own.
    pub(super) has_status: bool,
}

/// Judges the schema of a version.
pub(super) fn validation(validation: &Value, at: &Path<'_>, case: Case, errors: &mut FieldErrors) {
    let Some(schema) = validation.field("openAPIV3Schema") else {
        return;
    };
    let at = at.child("openAPIV3Schema");
    let before = errors.len();
    if case.has_status {
        root(schema, &at, errors);
    }
    if schema.flag("nullable") {
        errors.forbidden(&at.child("nullable"), "nullable cannot be true at the root");
    }
    let mut otherwise = FieldErrors::new();
    let around = Around::default();
    open_api(schema, Level::Root, around, case.options, &at, &mut otherwise);
    let unreadable = structural::unreadable(schema).filter(|_| case.options.structural);
    if case.options.structural && unreadable.is_none() {
        let faults = structural::faults(schema, &at);
        if faults.is_empty() {
            let before = errors.len();
            defaults(schema, &at, case.options, errors);
            if errors.len() == before {
                let broken: Vec<String> = otherwise.iter().map(|fault| fault.field.clone()).collect();
                rules::validate(schema, &at, case.unchanged, &broken, errors);
            }
        }
        errors.extend(faults);
    }
    errors.extend(otherwise);
    if let Some(why) = unreadable.filter(|_| errors.len() == before) {
        errors.invalid(&at, "", why);
    }
}

/// What stands at the root beside the properties of which one is the status.
fn root(schema: &Value, at: &Path<'_>, errors: &mut FieldErrors) {
    let rule = format!(
        "only {AT_ROOT} fields are allowed at the root of the schema if the status subresource is enabled"
    );
    let there = |name: &&str| match schema.field(name) {
        Some(Value::Bool(flag)) => *flag,
        Some(Value::Array(items)) => !items.is_empty(),
        Some(Value::Object(fields)) => !fields.is_empty(),
        found => found.is_some(),
    };
    let kind = schema.text("type");
    // In the order of Go's struct, and only the first of them is told.
    if ["id", "$schema", "$ref"].iter().any(there) {
        errors.invalid(at, schema, rule);
    } else if !kind.is_empty() && kind != "object" {
        let rule = "only \"object\" is allowed as the type at the root of the schema if the status subresource is enabled";
        errors.invalid(&at.child("type"), kind, rule);
    } else if NOT_AT_ROOT.iter().any(there) {
        errors.invalid(at, schema, rule);
    }
}

/// A default is as its schema wants values to be, and has nothing in it that would be pruned.
fn defaults(schema: &Value, at: &Path<'_>, options: Options, errors: &mut FieldErrors) {
    if let Some(default) = schema.field("default") {
        let (node, at) = (Schema::read(schema), at.child("default"));
        if options.pruned_defaults && !prune::keeps(default, &node) {
            errors.invalid(&at, default, "must not have unknown fields");
        }
        let (wanted, mut coerced) = (schema.text("type"), default.clone());
        // Nothing is of a type that there is not.
        if !wanted.is_empty() && !TYPES.contains(&wanted) {
            let (found, why) = check::type_fault(default, wanted);
            errors.type_invalid(&at, found, why);
        }
        match embedded::coerce(&mut coerced, &node) {
            Err(_) => errors.invalid(&at, default, "must result in valid metadata"),
            Ok(_) => check::check(default, &node, &at, errors),
        }
    }
    below(schema, at, &mut |schema, _, at| {
        defaults(schema, at, options, errors);
    });
}

/// Where a schema stands, as far as that forbids something.
#[derive(Clone, Copy, Default)]
struct Around {
    /// Within apiVersion, kind or metadata of a whole object.
    meta: bool,
    /// Why there may be no defaults.
    no_defaults: Option<&'static str>,
}

/// What upstream asks of a schema besides being structural.
fn open_api(
    schema: &Value,
    level: Level,
    around: Around,
    options: Options,
    at: &Path<'_>,
    errors: &mut FieldErrors,
) {
    let kind = schema.text("type");
    unsupported(schema, around, at, errors);
    if schema.flag("uniqueItems") {
        let rule = "uniqueItems cannot be set to true since the runtime complexity becomes quadratic";
        errors.forbidden(&at.child("uniqueItems"), rule);
    }
    let additional = schema.field("additionalProperties");
    let has_properties = schema.entries("properties").next().is_some();
    if has_properties && additional.is_some_and(|additional| additional != &Value::Bool(true)) {
        let rule = "additionalProperties and properties are mutual exclusive";
        errors.forbidden(&at.child("additionalProperties"), rule);
    }
    let whole = level == Level::Root || schema.flag("x-kubernetes-embedded-resource");
    below(schema, at, &mut |below, of, path| {
        let name = schema
            .entries("properties")
            .find(|(_, other)| std::ptr::eq(*other, below));
        let around = match name {
            Some((name, _)) if whole => around.of_field(name, level == Level::Root),
            None if of == Level::Field && around.meta => Around {
                no_defaults: Some("inside additionalProperties applying to object metadata"),
                ..around
            },
            _ => around,
        };
        open_api(below, of, around, options, path, errors);
    });
    parts(schema, at, &mut |part, at| {
        open_api(part, Level::Field, around, options, at, errors);
    });
    if options.types && !kind.is_empty() && !TYPES.contains(&kind) {
        errors.not_supported(&at.child("type"), kind, &TYPES);
    }
    if schema.field("x-kubernetes-preserve-unknown-fields") == Some(&Value::Bool(false)) {
        let rule = "must be true or undefined";
        errors.invalid(&at.child("x-kubernetes-preserve-unknown-fields"), false, rule);
    }
    map_type(schema, at, errors);
    list_type(schema, options, at, errors);
}

impl Around {
    /// A field of a whole object.
    fn of_field(self, name: &str, outermost: bool) -> Self {
        let no_defaults = match name {
            "metadata" => "in top-level metadata",
            "kind" => "in top-level kind",
            "apiVersion" => "in top-level apiVersion",
            _ => return self,
        };
        Self {
            meta: true,
            no_defaults: if outermost {
                Some(no_defaults)
            } else {
                self.no_defaults
            },
        }
    }
}

/// Calls back for every schema that only asks something of values.
fn parts(schema: &Value, at: &Path<'_>, visit: &mut dyn FnMut(&Value, &Path<'_>)) {
    if let Some(not) = schema.field("not") {
        visit(not, &at.child("not"));
    }
    for name in ["allOf", "oneOf", "anyOf"] {
        let list = at.child(name);
        for (index, part) in schema.items(name).iter().enumerate() {
            visit(part, &list.index(index));
        }
    }
}

/// What JSON schema has and definitions may not.
fn unsupported(schema: &Value, around: Around, at: &Path<'_>, errors: &mut FieldErrors) {
    if let Some(why) = around.no_defaults.filter(|_| schema.has("default")) {
        errors.forbidden(&at.child("default"), format!("must not be set {why}"));
    }
    if !schema.text("id").is_empty() {
        errors.forbidden(&at.child("id"), "id is not supported");
    }
    for name in [
        "additionalItems",
        "patternProperties",
        "definitions",
        "dependencies",
        "$ref",
    ] {
        let there = match schema.field(name) {
            Some(Value::Object(fields)) => !fields.is_empty() || name == "additionalItems",
            found => found.is_some(),
        };
        if there {
            errors.forbidden(&at.child(name), format!("{name} is not supported"));
        }
    }
    if schema.text("type") == "null" {
        let rule = "type cannot be set to null, use nullable as an alternative";
        errors.forbidden(&at.child("type"), rule);
    }
    if schema["items"].is_array() {
        errors.forbidden(
            &at.child("items"),
            "items must be a schema object and not an array",
        );
    }
    if around.meta && schema.flag("x-kubernetes-embedded-resource") {
        let rule = "must not be used inside of resource meta";
        errors.forbidden(&at.child("x-kubernetes-embedded-resource"), rule);
    }
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

fn list_type(schema: &Value, options: Options, at: &Path<'_>, errors: &mut FieldErrors) {
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
        if let Some(wrong) = set_of_no_atoms(schema).filter(|_| options.atomic_sets) {
            // Upstream shows the type of the list either way.
            let shown = &schema["items"]["x-kubernetes-list-type"];
            let rule = "must be atomic as item of a list with x-kubernetes-list-type=set";
            errors.invalid(&at.child("items").child(wrong), shown, rule);
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
    if options.map_list_keys {
        map_list_keys(schema, at, errors);
    }
}

/// Items that are told apart by what they are, or by keys, are never null, and keys are always there.
pub(super) fn map_list_keys(schema: &Value, at: &Path<'_>, errors: &mut FieldErrors) {
    let kind = schema.text("x-kubernetes-list-type");
    let Some(item) = schema
        .field("items")
        .filter(|item| item.is_object() && matches!(kind, "set" | "map"))
    else {
        return;
    };
    let items = at.child("items");
    if item.flag("nullable") {
        let rule = format!("cannot be nullable when x-kubernetes-list-type is {kind}");
        errors.forbidden(&items.child("nullable"), rule);
    }
    let keys = schema.items("x-kubernetes-list-map-keys").iter();
    let properties = items.child("properties");
    for key in keys.filter(|_| kind == "map") {
        let name = key.as_str().unwrap_or_default();
        let Some(property) = item["properties"].field(name) else {
            continue;
        };
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

/// A list that is a map by keys: every key is a scalar that items have.
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
            Some(_) => {}
        }
        if keys[..index].contains(key) {
            errors.invalid(&at_keys, shown, "must not contain duplicate entries");
        }
    }
}
