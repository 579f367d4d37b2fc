//! What is asked of a definition, and what is not asked of one that broke a rule before there was that rule.
//!
//! Ratcheting as upstream has it (`validationOptions`): a rule that came later is not held against definitions that are stored and
//! break it, so that these can still be changed otherwise. What breaks no rule yet may not begin to.

use serde_json::Value;

use super::conversion;
use super::schema::{TYPES, map_list_keys};
use super::structural;
use crate::custom::conditions;
use crate::object::{Fields, same};
use crate::schema::Schema;
use crate::validation::field::{FieldErrors, Path};

/// What is asked.
#[derive(Clone, Copy, Debug)]
#[allow(clippy::struct_excessive_bools, reason = "each rule came by itself")]
pub(super) struct Options {
    /// Every version has a schema.
    pub(super) schemas: bool,
    /// Types are those of OpenAPI.
    pub(super) types: bool,
    /// Schemas are structural.
    pub(super) structural: bool,
    /// Defaults have nothing that would be pruned.
    pub(super) pruned_defaults: bool,
    /// Items of a set are atomic.
    pub(super) atomic_sets: bool,
    /// Keys of lists that are maps are always there, and items of maps and sets are never null.
    pub(super) map_list_keys: bool,
    /// A webhook that converts takes reviews of a known version.
    pub(super) review_versions: bool,
    /// Those that a webhook's certificate is signed by can be read.
    pub(super) authorities: bool,
}

impl Options {
    /// What is asked of a new definition. Its webhook may not be there yet.
    pub(super) const NEW: Self = Self {
        schemas: true,
        types: true,
        structural: true,
        pruned_defaults: true,
        atomic_sets: true,
        map_list_keys: true,
        review_versions: true,
        authorities: false,
    };

    /// What is asked of a change of a definition.
    pub(super) fn of_change(old: &Value) -> Self {
        let spec = &old["spec"];
        let any = |broken: fn(&Value) -> bool| schemas(spec).any(|schema| has(schema, broken));
        let conversion = &spec["conversion"]["webhook"];
        Self {
            schemas: schemas(spec).count() == spec.items("versions").len(),
            types: !any(|schema| !is_type(schema.text("type"))),
            structural: schemas(spec).all(structural::is_structural),
            pruned_defaults: !schemas(spec).any(has_unpruned_defaults),
            atomic_sets: !any(|schema| set_of_no_atoms(schema).is_some()),
            map_list_keys: !any(|schema| {
                let mut faults = FieldErrors::new();
                map_list_keys(schema, &Path::ROOT, &mut faults);
                !faults.is_empty()
            }),
            review_versions: conversion::is_known_or_none(conversion),
            authorities: conditions::is_true(old, conditions::ESTABLISHED)
                && conversion::unreadable_authorities(conversion).is_none(),
        }
    }

    /// What the definition itself asks for: objects are pruned by its schemas, so they have to be structural.
    pub(super) fn with(self, spec: &Value) -> Self {
        let prunes = !spec.flag("preserveUnknownFields");
        let extended =
            || schemas(spec).any(|schema| has(schema, |schema| is_extended(schema) || schema.has("default")));
        Self {
            structural: self.structural || prunes || extended(),
            ..self
        }
    }
}

/// The schemas of a definition's versions.
fn schemas(spec: &Value) -> impl Iterator<Item = &Value> {
    let versions = spec.items("versions").iter();
    versions.filter_map(|version| version["schema"].field("openAPIV3Schema"))
}

/// Whether a definition has defaults anywhere.
pub(super) fn has_defaults(spec: &Value) -> bool {
    schemas(spec).any(|schema| has(schema, |schema| schema.has("default")))
}

/// Whether a type may be written: none may, too.
fn is_type(kind: &str) -> bool {
    kind.is_empty() || TYPES.contains(&kind)
}

fn is_extended(schema: &Value) -> bool {
    let flags = ["x-kubernetes-embedded-resource", "x-kubernetes-int-or-string"];
    let others = ["x-kubernetes-preserve-unknown-fields", "x-kubernetes-list-type"];
    let lists = ["x-kubernetes-list-map-keys", "x-kubernetes-validations"];
    flags.iter().any(|name| schema.flag(name))
        || others.iter().any(|name| schema.has(name))
        || lists.iter().any(|name| !schema.items(name).is_empty())
}

fn has_unpruned_defaults(schema: &Value) -> bool {
    let unpruned = |schema: &Value| match schema.field("default") {
        Some(default) => !crate::schema::prune::keeps(default, &Schema::read(schema)),
        None => false,
    };
    structural::is_structural(schema) && has(schema, unpruned)
}

/// What an item of a set says that makes it no atom: the extension that is wrong.
pub(super) fn set_of_no_atoms(schema: &Value) -> Option<&'static str> {
    let items = schema.field("items").filter(|items| items.is_object())?;
    if schema.text("x-kubernetes-list-type") != "set" {
        return None;
    }
    match items.text("type") {
        "array"
            if items.has("x-kubernetes-list-type") && items.text("x-kubernetes-list-type") != "atomic" =>
        {
            Some("x-kubernetes-list-type")
        }
        "object" if items.text("x-kubernetes-map-type") != "atomic" => Some("x-kubernetes-map-type"),
        _ => None,
    }
}

/// Whether something holds of a schema or of any within it, wherever it may stand.
pub(super) fn has(schema: &Value, holds: impl Fn(&Value) -> bool + Copy) -> bool {
    let lists = ["allOf", "anyOf", "oneOf"];
    let maps = ["properties", "patternProperties", "definitions", "dependencies"];
    let single = ["not", "additionalProperties", "additionalItems"];
    let within = |schema: &Value| schema.is_object() && has(schema, holds);
    holds(schema)
        || match schema.field("items") {
            Some(Value::Array(items)) => items.iter().any(within),
            Some(items) => within(items),
            None => false,
        }
        || lists.iter().any(|name| schema.items(name).iter().any(within))
        || maps
            .iter()
            .any(|name| schema.entries(name).any(|(_, below)| within(below)))
        || single.iter().any(|name| schema.field(name).is_some_and(within))
}

/// Whether a version has as many fields to select by as it had, and these are more than there may be.
pub(super) fn had_too_many_fields(version: &Value, old: Option<&Value>, most: usize) -> bool {
    let mut before = old.map_or(&[][..], |old| old.items("versions")).iter();
    before.any(|other| {
        other["name"] == version["name"]
            && other.items("selectableFields").len() > most
            && same(other.get("selectableFields"), version.get("selectableFields"))
    })
}
