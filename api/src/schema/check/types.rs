//! Types: what a value is, and whether its schema takes it.

use serde_json::Value;

use super::{Fault, Outcome, What, failed};
use crate::quote::quote;
use crate::schema::{Checks, Kind, Schema};

/// Whether anything is asked about the type.
pub(super) fn applies(schema: &Schema, checks: &Checks) -> bool {
    schema.kind.is_some() || schema.int_or_string || checks.format.is_some()
}

/// What a value is, and what is said of it where it is to be of a type that it is not.
pub(crate) fn type_fault(value: &Value, wanted: &str) -> (&'static str, String) {
    let found = match value {
        Value::Null => "null",
        Value::Bool(_) => name(Kind::Boolean),
        Value::String(_) => name(Kind::String),
        Value::Array(_) => name(Kind::Array),
        Value::Object(_) => name(Kind::Object),
        Value::Number(number) if number.is_i64() => name(Kind::Integer),
        Value::Number(_) => name(Kind::Number),
    };
    (found, fault("", wanted, found).message)
}

/// `in body must be of type`, with what the value is.
pub(super) fn fault(path: &str, wanted: &str, found: &str) -> Fault {
    Fault {
        at: Some(path.to_owned()),
        message: format!("{path} in body must be of type {wanted}: {}", quote(found)),
        what: What::Type(found.to_owned()),
    }
}

/// The types that a schema takes, as upstream lists them.
fn wanted(schema: &Schema) -> &'static str {
    match schema.kind {
        _ if schema.int_or_string => "integer,string",
        None => "",
        Some(kind) => name(kind),
    }
}

fn name(kind: Kind) -> &'static str {
    match kind {
        Kind::Array => "array",
        Kind::Boolean => "boolean",
        Kind::Integer => "integer",
        Kind::Number => "number",
        Kind::Object => "object",
        Kind::String => "string",
    }
}

fn takes(schema: &Schema, kind: Kind) -> bool {
    if schema.int_or_string {
        matches!(kind, Kind::Integer | Kind::String)
    } else {
        schema.kind == Some(kind)
    }
}

pub(super) fn null(schema: &Schema, path: &str) -> Outcome {
    let wanted = wanted(schema);
    if wanted.is_empty() || schema.nullable {
        return Outcome {
            matches: 1,
            ..Outcome::default()
        };
    }
    failed(fault(path, wanted, "null"))
}

pub(super) fn check(value: &Value, schema: &Schema, checks: &Checks, path: &str) -> Outcome {
    let (kind, format) = match value {
        Value::Null => return null(schema, path),
        Value::Bool(_) => (Kind::Boolean, ""),
        Value::String(_) => (Kind::String, ""),
        Value::Array(_) => (Kind::Array, ""),
        Value::Object(_) => (Kind::Object, ""),
        Value::Number(number) if number.is_i64() => (Kind::Integer, "int64"),
        Value::Number(_) => (Kind::Number, "float64"),
    };
    let numeric = takes(schema, Kind::Number) || takes(schema, Kind::Integer);
    let fits = takes(schema, kind)
        || kind == Kind::Integer && takes(schema, Kind::Number)
        || kind == Kind::Number && is_whole(value) && takes(schema, Kind::Integer);
    let sized = matches!(kind, Kind::String | Kind::Array);
    if let Some(wanted) = &checks.format {
        // Texts and lists are held against the format alone.
        if sized && !numeric {
            return Outcome {
                matches: 1,
                ..Outcome::default()
            };
        }
        if !sized && !fits && format != wanted {
            return failed(fault(path, wanted, format));
        }
    }
    if fits {
        Outcome {
            matches: 1,
            ..Outcome::default()
        }
    } else {
        failed(fault(path, wanted(schema), name(kind)))
    }
}

/// Whether a number is an integer in JSON's eyes, however it is written.
fn is_whole(value: &Value) -> bool {
    value.as_f64().is_some_and(|number| number.fract() == 0.0)
}
