//! Objects to messages. Everything is written from its end to its start; see [`Writer`].

use serde_json::{Map, Value};

use super::super::base64;
use super::special;
use super::writer::Writer;
use crate::table::{Field, Item, Outer, Shape, Type};

/// Why an object cannot be written: it was not conformed to its type.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EncodeError {
    /// A field holds something that its type does not.
    #[error("{ty}.{field} does not hold what its type says")]
    Shape {
        /// The OpenAPI name of the type.
        ty: &'static str,
        /// The JSON name of the field; empty for the object itself.
        field: &'static str,
    },
    /// No such type is in the table.
    #[error("no type {kind} of {api_version} is known")]
    UnknownType {
        /// What the object says.
        api_version: String,
        /// What the object says.
        kind: String,
    },
}

type Encoded = Result<(), EncodeError>;

/// Writes the message of a value of a type, without tag and length.
pub(super) fn message(w: &mut Writer, value: &Value, ty: &'static Type) -> Encoded {
    if ty.shape != Shape::Struct {
        return special::write(w, value, ty);
    }
    match value {
        Value::Object(map) => fields(w, map, ty, ty.by_number, 0),
        Value::Null => fields(w, &Map::new(), ty, ty.by_number, 0),
        _ => Err(EncodeError::Shape {
            ty: ty.name,
            field: "",
        }),
    }
}

/// Writes the fields at places `order`, all of which stand within the same `depth` embedded messages.
fn fields(
    w: &mut Writer,
    map: &Map<String, Value>,
    ty: &'static Type,
    order: &[u16],
    depth: usize,
) -> Encoded {
    let mut rest = order;
    while let Some((last, before)) = rest.split_last() {
        let field = &ty.fields[usize::from(*last)];
        match field.inside.get(depth) {
            None => {
                rest = before;
                let value = map.get(field.name).filter(|value| !value.is_null());
                write_field(w, field, value, ty)?;
            }
            Some(number) => {
                let is_outside = |at: &u16| ty.fields[usize::from(*at)].inside.get(depth) != Some(number);
                let start = rest.iter().rposition(is_outside).map_or(0, |at| at + 1);
                let end = w.len();
                fields(w, map, ty, &rest[start..], depth + 1)?;
                w.close(*number, end);
                rest = &rest[..start];
            }
        }
    }
    Ok(())
}

fn write_field(w: &mut Writer, field: &'static Field, value: Option<&Value>, ty: &'static Type) -> Encoded {
    let misshapen = || EncodeError::Shape {
        ty: ty.name,
        field: field.name,
    };
    match (field.ty.outer, value) {
        (Outer::Value, Some(value)) => item(w, field.number, value, field.ty.item, misshapen),
        (Outer::Value, None) => {
            if !field.pointer {
                zero(w, field.number, field.ty.item)?;
            }
            Ok(())
        }
        (_, None) => Ok(()),
        (Outer::List, Some(Value::Array(items))) if field.wrapped => {
            wrapped(w, field.number, items, misshapen)
        }
        (Outer::List, Some(Value::Array(items))) => {
            for value in items.iter().rev() {
                item(w, field.number, value, field.ty.item, misshapen)?;
            }
            Ok(())
        }
        (Outer::Map | Outer::MapOfLists, Some(Value::Object(entries))) => {
            for (key, value) in entries.iter().rev() {
                let end = w.len();
                match (field.ty.outer, value) {
                    (Outer::Map, value) => item(w, 2, value, field.ty.item, misshapen)?,
                    (_, Value::Array(items)) => wrapped(w, 2, items, misshapen)?,
                    (_, Value::Null) => wrapped(w, 2, &[], misshapen)?,
                    _ => return Err(misshapen()),
                }
                w.text(1, key);
                w.close(field.number, end);
            }
            Ok(())
        }
        _ => Err(misshapen()),
    }
}

/// A list of strings in a message of its own.
fn wrapped(w: &mut Writer, number: u32, items: &[Value], misshapen: impl Fn() -> EncodeError) -> Encoded {
    let end = w.len();
    for item in items.iter().rev() {
        w.text(1, item.as_str().ok_or_else(&misshapen)?);
    }
    w.close(number, end);
    Ok(())
}

fn item(
    w: &mut Writer,
    number: u32,
    value: &Value,
    item: Item,
    misshapen: impl FnOnce() -> EncodeError,
) -> Encoded {
    let written = match (item, value) {
        (Item::Type(ty), value) => {
            let end = w.len();
            message(w, value, ty)?;
            w.close(number, end);
            return Ok(());
        }
        (item, Value::Null) => return zero(w, number, item),
        (Item::String, Value::String(text)) => {
            w.text(number, text);
            true
        }
        (Item::Bytes, Value::String(text)) => {
            base64::decode(text).map(|bytes| w.bytes(number, &bytes)).is_ok()
        }
        (Item::Bool, Value::Bool(flag)) => {
            w.number(number, u64::from(*flag));
            true
        }
        (Item::Int32 | Item::Int64, value) => value
            .as_i64()
            .map(|value| w.number(number, value.cast_unsigned()))
            .is_some(),
        (Item::Double, value) => value.as_f64().map(|value| w.double(number, value)).is_some(),
        _ => false,
    };
    if written { Ok(()) } else { Err(misshapen()) }
}

/// The zero value of a field that is no pointer; bytes have none.
fn zero(w: &mut Writer, number: u32, item: Item) -> Encoded {
    match item {
        Item::String => w.text(number, ""),
        Item::Int32 | Item::Int64 | Item::Bool => w.number(number, 0),
        Item::Double => w.double(number, 0.0),
        Item::Bytes => {}
        Item::Type(ty) => {
            let end = w.len();
            message(w, &Value::Null, ty)?;
            w.close(number, end);
        }
    }
    Ok(())
}
