//! Types whose JSON is not the fields of their message.
//!
//! Their messages are written by hand upstream too, and have not changed since they were made; the numbers are those of
//! the published .proto files.

use serde_json::Value;

use super::super::DecodeError;
use super::super::conform::schema_type;
use super::super::raw;
use super::super::time::{self, Moment};
use super::encode::EncodeError;
use super::reader::Reader;
use super::writer::Writer;
use super::{decode, encode};
use crate::quantity;
use crate::table::{Shape, Type};

/// Writes the message of a value of such a type.
pub(super) fn write(w: &mut Writer, value: &Value, ty: &'static Type) -> Result<(), EncodeError> {
    let written = match (ty.shape, value) {
        (Shape::Time | Shape::MicroTime, value) => write_time(w, value, ty.shape),
        (Shape::Quantity, Value::Null) => {
            w.text(1, "0");
            true
        }
        (Shape::Quantity, Value::String(text)) => {
            w.text(1, text);
            true
        }
        (Shape::IntOrString, value) => write_int_or_string(w, value),
        (Shape::Raw | Shape::FieldsV1 | Shape::Json, Value::Null) => true,
        (Shape::Raw, value) => {
            w.bytes(1, &raw::written(value));
            true
        }
        (Shape::FieldsV1 | Shape::Json, value) => {
            w.bytes(1, &super::super::json::encode(value));
            true
        }
        (Shape::SchemaOrArray | Shape::SchemaOrBool | Shape::SchemaOrStrings, value) => {
            return write_schema_or(w, value, ty);
        }
        _ => false,
    };
    if written {
        Ok(())
    } else {
        Err(EncodeError::Shape {
            ty: ty.name,
            field: "",
        })
    }
}

/// `Timestamp`: seconds and nanoseconds. A `Time` has whole seconds, a `MicroTime` whole microseconds.
fn write_time(w: &mut Writer, value: &Value, shape: Shape) -> bool {
    let Value::String(text) = value else {
        return value.is_null();
    };
    let (moment, nanos) = match shape {
        Shape::MicroTime => {
            let Ok(moment) = time::parse_micro(text) else {
                return false;
            };
            (moment, moment.nanos / 1000 * 1000)
        }
        _ => {
            let Ok(moment) = time::parse(text) else {
                return false;
            };
            (moment, 0)
        }
    };
    w.number(2, u64::from(nanos));
    w.number(1, moment.seconds.cast_unsigned());
    true
}

/// `IntOrString`: which it is, and both.
fn write_int_or_string(w: &mut Writer, value: &Value) -> bool {
    let (kind, number, text) = match value {
        Value::Null => (0, 0, ""),
        Value::String(text) => (1, 0, text.as_str()),
        Value::Number(number) => match number.as_i64() {
            Some(number) => (0, number, ""),
            None => return false,
        },
        _ => return false,
    };
    w.text(3, text);
    w.number(2, number.cast_unsigned());
    w.number(1, kind);
    true
}

/// The three messages of which one part is a schema and the other a list of schemas, a boolean, or a list of strings.
fn write_schema_or(w: &mut Writer, value: &Value, ty: &'static Type) -> Result<(), EncodeError> {
    let misshapen = || EncodeError::Shape {
        ty: ty.name,
        field: "",
    };
    let schema = schema_type();
    let schema_number = if ty.shape == Shape::SchemaOrBool { 2 } else { 1 };
    match (value, ty.shape) {
        (Value::Object(_), shape) => {
            let end = w.len();
            encode::message(w, value, schema)?;
            w.close(schema_number, end);
            if shape == Shape::SchemaOrBool {
                w.number(1, 1);
            }
        }
        (Value::Array(items), Shape::SchemaOrArray) => {
            for item in items.iter().rev() {
                let end = w.len();
                encode::message(w, item, schema)?;
                w.close(2, end);
            }
        }
        (Value::Array(items), Shape::SchemaOrStrings) => {
            for item in items.iter().rev() {
                w.text(2, item.as_str().ok_or_else(misshapen)?);
            }
        }
        (Value::Bool(allows), Shape::SchemaOrBool) => w.number(1, u64::from(*allows)),
        (Value::Null, Shape::SchemaOrBool) => w.number(1, 0),
        (Value::Null, _) => {}
        _ => return Err(misshapen()),
    }
    Ok(())
}

/// Reads the message of a value of such a type.
pub(super) fn read(bytes: &[u8], ty: &'static Type, depth: usize) -> Result<Value, DecodeError> {
    match ty.shape {
        Shape::Struct => decode::message(bytes, ty, depth).map(Value::Object),
        Shape::Time | Shape::MicroTime => read_time(bytes, ty.shape),
        Shape::Quantity => read_quantity(bytes),
        Shape::IntOrString => read_int_or_string(bytes),
        Shape::Raw | Shape::FieldsV1 | Shape::Json => read_raw(bytes, ty.shape, depth),
        Shape::SchemaOrArray | Shape::SchemaOrBool | Shape::SchemaOrStrings => {
            read_schema_or(bytes, ty.shape, depth)
        }
    }
}

fn read_time(bytes: &[u8], shape: Shape) -> Result<Value, DecodeError> {
    if bytes.is_empty() {
        return Ok(Value::Null);
    }
    let (mut seconds, mut nanos) = (0_i64, 0_i64);
    let mut reader = Reader::new(bytes);
    while let Some(tag) = reader.tag()? {
        match tag.number {
            1 => seconds = reader.number(tag, "seconds")?.cast_signed(),
            2 => nanos = reader.number(tag, "nanos")?.cast_signed(),
            _ => reader.skip(tag)?,
        }
    }
    let nanos = u32::try_from(nanos).ok().filter(|nanos| *nanos < 1_000_000_000);
    let format = if shape == Shape::MicroTime {
        time::format_micro
    } else {
        time::format
    };
    let moment = nanos.map(|nanos| Moment { seconds, nanos });
    if moment == Some(time::ZERO) {
        return Ok(Value::Null);
    }
    let text = moment.and_then(format);
    text.map(Value::String)
        .ok_or_else(|| DecodeError::Protobuf("time out of range".to_owned()))
}

fn read_quantity(bytes: &[u8]) -> Result<Value, DecodeError> {
    let mut text = "";
    let mut reader = Reader::new(bytes);
    while let Some(tag) = reader.tag()? {
        match tag.number {
            1 => text = reader.text(tag, "string")?,
            _ => reader.skip(tag)?,
        }
    }
    if text.is_empty() {
        return Ok("0".into());
    }
    quantity::canonical(text)
        .map(Value::String)
        .map_err(|error| DecodeError::Type(error.to_string()))
}

fn read_int_or_string(bytes: &[u8]) -> Result<Value, DecodeError> {
    let (mut kind, mut number, mut text) = (0, 0_i64, "");
    let mut reader = Reader::new(bytes);
    while let Some(tag) = reader.tag()? {
        match tag.number {
            1 => kind = reader.number(tag, "type")?,
            2 => number = reader.number(tag, "intVal")?.cast_signed(),
            3 => text = reader.text(tag, "strVal")?,
            _ => reader.skip(tag)?,
        }
    }
    if kind == 1 {
        return Ok(text.into());
    }
    let number =
        i32::try_from(number).map_err(|_| DecodeError::Protobuf("intVal out of range".to_owned()))?;
    Ok(number.into())
}

/// JSON, or the envelope of a built-in object.
fn read_raw(bytes: &[u8], shape: Shape, depth: usize) -> Result<Value, DecodeError> {
    let mut text: &[u8] = &[];
    let mut reader = Reader::new(bytes);
    while let Some(tag) = reader.tag()? {
        match tag.number {
            1 => text = reader.bytes(tag, "raw")?,
            _ => reader.skip(tag)?,
        }
    }
    if text.is_empty() {
        return Ok(Value::Null);
    }
    if text.starts_with(&super::PREFIX) {
        return super::decode_any_at(text, depth + 1);
    }
    match shape {
        Shape::Raw => raw::read(text),
        _ => Ok(super::super::json::parse(text)?.value),
    }
}

fn read_schema_or(bytes: &[u8], shape: Shape, depth: usize) -> Result<Value, DecodeError> {
    let (mut one, mut list, mut allows) = (None, Vec::new(), false);
    let mut reader = Reader::new(bytes);
    while let Some(tag) = reader.tag()? {
        match (shape, tag.number) {
            (Shape::SchemaOrBool, 1) => allows = reader.number(tag, "allows")? != 0,
            (Shape::SchemaOrBool, 2) | (Shape::SchemaOrArray | Shape::SchemaOrStrings, 1) => {
                one = Some(read_schema(reader.bytes(tag, "schema")?, depth)?);
            }
            (Shape::SchemaOrArray, 2) => list.push(read_schema(reader.bytes(tag, "jSONSchemas")?, depth)?),
            (Shape::SchemaOrStrings, 2) => list.push(reader.text(tag, "property")?.into()),
            _ => reader.skip(tag)?,
        }
    }
    Ok(match (one, shape) {
        (one, Shape::SchemaOrArray | Shape::SchemaOrStrings) if list.is_empty() => one.unwrap_or_default(),
        (one, Shape::SchemaOrBool) => one.unwrap_or(Value::Bool(allows)),
        _ => Value::Array(list),
    })
}

fn read_schema(bytes: &[u8], depth: usize) -> Result<Value, DecodeError> {
    decode::message(bytes, schema_type(), depth + 1).map(Value::Object)
}
