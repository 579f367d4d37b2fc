//! Messages to objects.

use serde_json::{Map, Value};

use super::super::zero::{name_claim_templates, settle, zero_item};
use super::super::{DecodeError, MAX_DEPTH, base64};
use super::reader::{BYTES, FIXED64, Reader, Tag, VARINT};
use super::special;
use crate::table::{Field, Item, Outer, Shape, Type};

/// Reads the message of a type with fields, `depth` messages deep.
pub(super) fn message(
    bytes: &[u8],
    ty: &'static Type,
    depth: usize,
) -> Result<Map<String, Value>, DecodeError> {
    let mut map = Map::new();
    fields(&mut map, bytes, ty, ty.by_number, 0, depth)?;
    settle(&mut map, ty);
    name_claim_templates(&mut map, ty);
    Ok(map)
}

/// Reads the fields at places `order`, all of which stand within the same `inside` embedded messages.
fn fields(
    map: &mut Map<String, Value>,
    bytes: &[u8],
    ty: &'static Type,
    order: &'static [u16],
    inside: usize,
    depth: usize,
) -> Result<(), DecodeError> {
    if depth > MAX_DEPTH {
        return Err(DecodeError::TooDeep);
    }
    let number_of = |at: u16| {
        let field = &ty.fields[usize::from(at)];
        field.inside.get(inside).copied().unwrap_or(field.number)
    };
    let mut reader = Reader::new(bytes);
    while let Some(tag) = reader.tag()? {
        let start = order.partition_point(|at| number_of(*at) < tag.number);
        let Some(at) = order
            .get(start)
            .copied()
            .filter(|at| number_of(*at) == tag.number)
        else {
            reader.skip(tag)?;
            continue;
        };
        let field = &ty.fields[usize::from(at)];
        if field.inside.len() > inside {
            let end = order.partition_point(|at| number_of(*at) <= tag.number);
            let embedded = reader.bytes(tag, field.name)?;
            fields(map, embedded, ty, &order[start..end], inside + 1, depth)?;
        } else {
            read_field(map, &mut reader, tag, field, depth)?;
        }
    }
    Ok(())
}

fn read_field(
    map: &mut Map<String, Value>,
    reader: &mut Reader<'_>,
    tag: Tag,
    field: &'static Field,
    depth: usize,
) -> Result<(), DecodeError> {
    match field.ty.outer {
        Outer::Value => {
            let value = read_item(reader, tag, field, depth)?;
            set(map, field, value);
        }
        Outer::List if field.wrapped => {
            let items = read_wrapped(reader.bytes(tag, field.name)?, field)?;
            set(map, field, Value::Array(items));
        }
        Outer::List => {
            let list = list_of(map, field);
            if tag.wire_type == BYTES && is_packable(field.ty.item) {
                let mut packed = Reader::new(reader.bytes(tag, field.name)?);
                let tag = Tag {
                    number: tag.number,
                    wire_type: wire_type(field.ty.item),
                };
                while !packed.is_empty() {
                    list.push(read_item(&mut packed, tag, field, depth)?);
                }
            } else {
                list.push(read_item(reader, tag, field, depth)?);
            }
        }
        Outer::Map | Outer::MapOfLists => {
            let (key, value) = read_entry(reader.bytes(tag, field.name)?, field, depth)?;
            map_of(map, field).insert(key, value);
        }
    }
    Ok(())
}

fn set(map: &mut Map<String, Value>, field: &Field, value: Value) {
    map.insert(field.name.to_owned(), value);
}

/// The list of a field, made when it is not there.
fn list_of<'a>(map: &'a mut Map<String, Value>, field: &Field) -> &'a mut Vec<Value> {
    let value = map.entry(field.name).or_insert_with(|| Value::Array(Vec::new()));
    value
        .as_array_mut()
        .expect("a list field is only ever set to a list")
}

/// The map of a field, made when it is not there.
fn map_of<'a>(map: &'a mut Map<String, Value>, field: &Field) -> &'a mut Map<String, Value> {
    let value = map.entry(field.name).or_insert_with(|| Value::Object(Map::new()));
    value
        .as_object_mut()
        .expect("a map field is only ever set to a map")
}

/// Key and value of a map's entry; a part that is missing is zero.
fn read_entry(bytes: &[u8], field: &'static Field, depth: usize) -> Result<(String, Value), DecodeError> {
    let (mut key, mut value) = (String::new(), None);
    let mut reader = Reader::new(bytes);
    while let Some(tag) = reader.tag()? {
        match tag.number {
            1 => key = reader.text(tag, field.name)?.to_owned(),
            2 if field.ty.outer == Outer::MapOfLists => {
                value = Some(Value::Array(read_wrapped(reader.bytes(tag, field.name)?, field)?));
            }
            2 => value = Some(read_item(&mut reader, tag, field, depth)?),
            _ => reader.skip(tag)?,
        }
    }
    let value = value.unwrap_or_else(|| match field.ty.outer {
        Outer::MapOfLists => Value::Array(Vec::new()),
        _ => zero_item(field.ty.item),
    });
    Ok((key, value))
}

/// The strings of a message that is a list.
fn read_wrapped(bytes: &[u8], field: &Field) -> Result<Vec<Value>, DecodeError> {
    let mut items = Vec::new();
    let mut reader = Reader::new(bytes);
    while let Some(tag) = reader.tag()? {
        match tag.number {
            1 => items.push(reader.text(tag, field.name)?.into()),
            _ => reader.skip(tag)?,
        }
    }
    Ok(items)
}

fn wire_type(item: Item) -> u8 {
    match item {
        Item::Int32 | Item::Int64 | Item::Bool => VARINT,
        Item::Double => FIXED64,
        Item::String | Item::Bytes | Item::Type(_) => BYTES,
    }
}

fn is_packable(item: Item) -> bool {
    wire_type(item) != BYTES
}

fn read_item(
    reader: &mut Reader<'_>,
    tag: Tag,
    field: &'static Field,
    depth: usize,
) -> Result<Value, DecodeError> {
    tag.expect(wire_type(field.ty.item), field.name)?;
    Ok(match field.ty.item {
        Item::String => reader.text(tag, field.name)?.into(),
        Item::Bytes => base64::encode(reader.bytes(tag, field.name)?).into(),
        Item::Bool => (reader.varint()? != 0).into(),
        Item::Int64 => reader.varint()?.cast_signed().into(),
        // Go keeps the low 32 bits, as every protobuf reader does.
        #[allow(
            clippy::cast_possible_truncation,
            reason = "that is how protobuf reads an int32"
        )]
        Item::Int32 => (reader.varint()? as i32).into(),
        Item::Double => number(reader.double()?)?,
        Item::Type(ty) => {
            let bytes = reader.bytes(tag, field.name)?;
            if ty.shape == Shape::Struct {
                Value::Object(message(bytes, ty, depth + 1)?)
            } else {
                special::read(bytes, ty, depth + 1)?
            }
        }
    })
}

fn number(number: f64) -> Result<Value, DecodeError> {
    const EXACT: f64 = 9_007_199_254_740_992.0;
    if number.fract() == 0.0 && number.abs() < EXACT {
        #[allow(clippy::cast_possible_truncation, reason = "whole and within 53 bits")]
        return Ok((number as i64).into());
    }
    let number = serde_json::Number::from_f64(number);
    number
        .map(Value::Number)
        .ok_or_else(|| DecodeError::Protobuf("not a finite number".to_owned()))
}
