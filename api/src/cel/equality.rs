//! Which values are equal, and which comes first.

use std::cmp::Ordering;

use super::error::EvalError;
use super::meter::Meter;
use super::value::{List, Map, Value};
use crate::object::Fields;
use serde_json::Value as Json;

/// What it costs to hold two values against one another.
pub(super) fn cost(a: &Value<'_>, b: &Value<'_>) -> u64 {
    if matches!(a, Value::Opaque(_)) {
        return 1;
    }
    a.size().min(b.size()).div_ceil(10)
}

/// Whether two values are equal. Values of different types are not, but numbers are compared as numbers.
///
/// # Errors
/// Too many comparisons, or an object that is not as its schema says.
pub(super) fn equal(meter: &Meter, a: &Value<'_>, b: &Value<'_>) -> Result<bool, EvalError> {
    meter.work(1)?;
    Ok(match (a, b) {
        (Value::Null, Value::Null) => true,
        (Value::Bool(a), Value::Bool(b)) => a == b,
        (Value::String(a), Value::String(b)) => {
            meter.work(a.len().min(b.len()) as u64 / 64)?;
            **a == **b
        }
        (Value::Bytes(a), Value::Bytes(b)) => a == b,
        (Value::Duration(a), Value::Duration(b)) => a == b,
        (Value::Timestamp(a), Value::Timestamp(b)) => a == b,
        (Value::Type(a), Value::Type(b)) => a.bare_name() == b.bare_name(),
        (Value::Opaque(a), Value::Opaque(b)) => a.same(b),
        (Value::Optional(a), Value::Optional(b)) => match (a, b) {
            (Some(a), Some(b)) => equal(meter, a, b)?,
            (None, None) => true,
            _ => false,
        },
        (Value::List(a), Value::List(b)) => lists(meter, a, b)?,
        (Value::Map(a), Value::Map(b)) => maps(meter, a, b)?,
        (Value::Object(a), Value::Object(b)) => {
            if a.name != b.name || a.fields.len() != b.fields.len() {
                return Ok(false);
            }
            for (name, value) in &a.fields {
                match b.fields.get(name) {
                    Some(other) if equal(meter, value, other)? => {}
                    _ => return Ok(false),
                }
            }
            true
        }
        _ => numbers(a, b) == Some(Ordering::Equal),
    })
}

/// How a list merges, and by which keys, where its schema says so.
pub(super) fn list_type<'v>(list: &List<'v>) -> (&'v str, Vec<&'v str>) {
    let List::Json(_, Some(schema)) = list else {
        return ("", Vec::new());
    };
    let keys = schema.items("x-kubernetes-list-map-keys");
    (
        schema.text("x-kubernetes-list-type"),
        keys.iter().filter_map(Json::as_str).collect(),
    )
}

/// Whether two items of a list of type map are one, by its keys.
pub(super) fn same_key(
    meter: &Meter,
    a: &Value<'_>,
    b: &Value<'_>,
    keys: &[&str],
) -> Result<bool, EvalError> {
    let (Value::Map(a), Value::Map(b)) = (a, b) else {
        return Ok(false);
    };
    for key in keys {
        let same = match (a.field(key)?, b.field(key)?) {
            (Some(a), Some(b)) => equal(meter, &a, &b)?,
            (None, None) => true,
            _ => false,
        };
        if !same {
            return Ok(false);
        }
    }
    Ok(true)
}

fn lists(meter: &Meter, a: &List<'_>, b: &List<'_>) -> Result<bool, EvalError> {
    if a.len() != b.len() {
        return Ok(false);
    }
    // The order of items means nothing in lists that are sets or maps.
    let (list_type, _) = list_type(a);
    if matches!(list_type, "set" | "map") {
        for item in a.iter() {
            if !contains(meter, b, &item?)? {
                return Ok(false);
            }
        }
        return Ok(true);
    }
    for (a, b) in a.iter().zip(b.iter()) {
        if !equal(meter, &a?, &b?)? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Whether an item is in a list.
pub(super) fn contains(meter: &Meter, list: &List<'_>, item: &Value<'_>) -> Result<bool, EvalError> {
    for other in list.iter() {
        if equal(meter, &other?, item)? {
            return Ok(true);
        }
    }
    Ok(false)
}

fn maps(meter: &Meter, a: &Map<'_>, b: &Map<'_>) -> Result<bool, EvalError> {
    if a.len() != b.len() {
        return Ok(false);
    }
    for (key, value) in a.entries()? {
        match b.get(&key.value())? {
            Some(other) if equal(meter, &value, &other)? => {}
            _ => return Ok(false),
        }
    }
    Ok(true)
}

#[allow(
    clippy::cast_precision_loss,
    reason = "numbers of different types are compared so"
)]
fn numbers(a: &Value<'_>, b: &Value<'_>) -> Option<Ordering> {
    let whole = |value: &Value<'_>| match value {
        Value::Int(number) => Some(i128::from(*number)),
        Value::Uint(number) => Some(i128::from(*number)),
        _ => None,
    };
    match (a, b) {
        (Value::Double(a), Value::Double(b)) => a.partial_cmp(b),
        (Value::Double(a), b) => a.partial_cmp(&(whole(b)? as f64)),
        (a, Value::Double(b)) => (whole(a)? as f64).partial_cmp(b),
        (a, b) => Some(whole(a)?.cmp(&whole(b)?)),
    }
}

/// Which of two values comes first; none where they cannot be compared.
pub(super) fn compare(a: &Value<'_>, b: &Value<'_>) -> Option<Ordering> {
    match (a, b) {
        (Value::Bool(a), Value::Bool(b)) => Some(a.cmp(b)),
        (Value::String(a), Value::String(b)) => Some((**a).cmp(&**b)),
        (Value::Bytes(a), Value::Bytes(b)) => Some(a.cmp(b)),
        (Value::Duration(a), Value::Duration(b)) => Some(a.cmp(b)),
        (Value::Timestamp(a), Value::Timestamp(b)) => Some(a.cmp(b)),
        _ => numbers(a, b),
    }
}
