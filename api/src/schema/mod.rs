//! Structural schemas: what a custom resource definition says of its objects, and all that follows from it.
//!
//! A [`Schema`] is read once from the JSON of `openAPIV3Schema`. By it objects are pruned ([`prune`]), filled in
//! ([`defaults`]), coerced and judged where they embed resources ([`embedded`]), and validated ([`check`], [`lists`], [`rules`]), each
//! in upstream's order and words. Everything here is pure and total: a definition was validated before, and what a schema
//! does not say is simply not asked for.

pub mod check;
pub mod defaults;
mod email;
pub mod embedded;
pub mod formats;
pub mod lists;
mod pattern;
pub mod prune;
mod read;
pub mod rules;

use std::collections::BTreeMap;

use serde_json::Value;

pub use pattern::Pattern;

use crate::table::ListType;

/// What a value may be, by `type`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names are those of JSON")]
pub enum Kind {
    Array,
    Boolean,
    Integer,
    Number,
    Object,
    String,
}

/// What a schema says of fields that it does not name.
#[derive(Debug, Default)]
pub enum Additional {
    /// Nothing: they are unknown.
    #[default]
    Unsaid,
    /// `additionalProperties: true` or `false`.
    Allowed(bool),
    /// They all have this schema.
    Schema(Box<Schema>),
}

/// A node of a structural schema.
#[derive(Debug, Default)]
pub struct Schema {
    /// `type`; none where any will do, or where [`Schema::int_or_string`] says it.
    pub kind: Option<Kind>,
    /// `x-kubernetes-int-or-string`.
    pub int_or_string: bool,
    /// `nullable`.
    pub nullable: bool,
    /// `x-kubernetes-embedded-resource`: apiVersion, kind and metadata are there besides what is named.
    pub embedded: bool,
    /// `x-kubernetes-preserve-unknown-fields`.
    pub preserve: bool,
    /// `x-kubernetes-map-type: atomic`.
    pub atomic: bool,
    /// `default`.
    pub default: Option<Value>,
    /// `properties`.
    pub properties: BTreeMap<String, Schema>,
    /// `additionalProperties`.
    pub additional: Additional,
    /// `items`.
    pub items: Option<Box<Schema>>,
    /// `x-kubernetes-list-type`.
    pub list: List,
    /// What is asked of values beyond their type; none for most nodes.
    pub checks: Option<Box<Checks>>,
    /// Whether there are rules in CEL (`x-kubernetes-validations`) here or anywhere below.
    pub has_rules: bool,
    /// The rules themselves: at the root of a schema that is served and has some.
    pub rules: Option<Box<rules::Compiled>>,
}

/// How the items of a list are told apart.
#[derive(Debug)]
pub struct List {
    /// The type.
    pub ty: ListType,
    /// `x-kubernetes-list-map-keys`.
    pub keys: Vec<String>,
}

impl Default for List {
    fn default() -> Self {
        Self {
            ty: ListType::Unset,
            keys: Vec::new(),
        }
    }
}

/// What a node asks of values beyond their type. Absent limits do not limit.
#[derive(Debug, Default)]
#[allow(missing_docs, reason = "the names are those of JSON schema")]
pub struct Checks {
    /// As far as there is such a format for the type.
    pub format: Option<String>,
    pub maximum: Option<f64>,
    pub exclusive_maximum: bool,
    pub minimum: Option<f64>,
    pub exclusive_minimum: bool,
    pub multiple_of: Option<f64>,
    pub max_length: Option<usize>,
    pub min_length: Option<usize>,
    pub pattern: Option<Pattern>,
    pub max_items: Option<usize>,
    pub min_items: Option<usize>,
    pub unique_items: bool,
    pub max_properties: Option<usize>,
    pub min_properties: Option<usize>,
    pub required: Vec<String>,
    /// `enum`.
    pub values: Vec<Value>,
    pub all_of: Vec<Schema>,
    pub any_of: Vec<Schema>,
    pub one_of: Vec<Schema>,
    pub not: Option<Schema>,
}

impl Schema {
    /// Reads the JSON of an `openAPIV3Schema`.
    pub fn read(json: &Value) -> Self {
        read::schema(json)
    }

    /// The same, ready to serve by: its defaults hold nothing that it does not have.
    pub fn served(json: &Value) -> Self {
        let mut schema = Self::read(json);
        schema.prune_defaults();
        schema.rules = schema.has_rules.then(|| Box::new(rules::Compiled::of(json)));
        schema
    }

    /// The schema of a field: its own, or that of all fields which are not named.
    pub fn field(&self, name: &str) -> Option<&Schema> {
        match (self.properties.get(name), &self.additional) {
            (Some(schema), _) => Some(schema),
            (None, Additional::Schema(schema)) => Some(schema),
            (None, _) => None,
        }
    }
}

/// The fields of an object that every resource has, embedded ones too.
pub(crate) fn is_meta_field(name: &str) -> bool {
    matches!(name, "apiVersion" | "kind" | "metadata")
}
