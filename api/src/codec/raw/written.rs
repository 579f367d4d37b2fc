//! Objects with kept texts as JSON. `serde_json` writes what has none; only the way down to the texts is gone by hand.

use serde_json::{Map, Value};

use super::{compact, inner_of, text_of};
use crate::table::{Outer, Shape, Type};

/// Writes an object of a type as one line of JSON, texts in the place of what is kept.
pub fn json(object: &Value, ty: &'static Type) -> Vec<u8> {
    let mut out = Vec::new();
    write(object, ty, &mut out);
    out
}

fn write(value: &Value, ty: &'static Type, out: &mut Vec<u8>) {
    match (ty.shape, value) {
        (Shape::Raw, value) => match text_of(value) {
            Some(text) => out.extend(compact(text).into_bytes()),
            None => write_plain(value, out),
        },
        (Shape::Struct, Value::Object(fields)) => write_map(fields, out, |name, value, out| {
            match ty.field(name).and_then(|field| Some((field, inner_of(field)?))) {
                Some((field, inner)) => write_field(value, field.ty.outer, inner, out),
                None => write_plain(value, out),
            }
        }),
        (_, value) => write_plain(value, out),
    }
}

fn write_field(value: &Value, outer: Outer, inner: &'static Type, out: &mut Vec<u8>) {
    match (outer, value) {
        (Outer::Value, value) => write(value, inner, out),
        (Outer::List, Value::Array(items)) => {
            out.push(b'[');
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    out.push(b',');
                }
                write(item, inner, out);
            }
            out.push(b']');
        }
        (Outer::Map, Value::Object(entries)) => {
            write_map(entries, out, |_, entry, out| write(entry, inner, out));
        }
        (_, value) => write_plain(value, out),
    }
}

fn write_map(fields: &Map<String, Value>, out: &mut Vec<u8>, write: impl Fn(&str, &Value, &mut Vec<u8>)) {
    out.push(b'{');
    for (index, (name, value)) in fields.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        serde_json::to_writer(&mut *out, name).expect("a string is JSON, and memory takes all");
        out.push(b':');
        write(name, value, out);
    }
    out.push(b'}');
}

fn write_plain(value: &Value, out: &mut Vec<u8>) {
    serde_json::to_writer(out, value).expect("a value is JSON, and memory takes all");
}
