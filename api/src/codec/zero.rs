//! What Go writes for fields that were not given, and which given ones it leaves out.
//!
//! The rules are those of `encoding/json` for struct tags: a pointer without value is left out (or `null`, where the tag has
//! no `omitempty`); an empty string, list or map or a zero number is left out with `omitempty`; a struct that is no pointer
//! is always written. Lists and maps that are empty and always written are `null`, for that is what protobuf, in which
//! built-in objects are stored, makes of them.

use serde_json::{Map, Value};

use crate::table::{Field, Item, Omit, Outer, Shape, Type};

/// What stands in JSON for a field without value; nothing where it is left out.
pub(super) fn absent(field: &Field) -> Option<Value> {
    let keep = field.omit == Omit::Never;
    if field.pointer || field.ty.outer != Outer::Value {
        return keep.then_some(Value::Null);
    }
    match field.ty.item {
        Item::Type(_) if field.omit == Omit::Zero => None,
        Item::Type(ty) => Some(zero(ty)),
        Item::Bytes => keep.then_some(Value::Null),
        item => keep.then(|| zero_scalar(item)),
    }
}

/// The zero value of a type as Go writes it.
pub(super) fn zero(ty: &'static Type) -> Value {
    match ty.shape {
        Shape::Struct => Value::Object(empty(ty)),
        Shape::Quantity => "0".into(),
        Shape::IntOrString => 0.into(),
        _ => Value::Null,
    }
}

/// An object of a type with nothing given.
pub(super) fn empty(ty: &'static Type) -> Map<String, Value> {
    ty.fields
        .iter()
        .filter_map(|field| Some((field.name.to_owned(), absent(field)?)))
        .collect()
}

/// The zero value of an item in a container, which a `null` there stands for.
pub(super) fn zero_item(item: Item) -> Value {
    match item {
        Item::Type(ty) => zero(ty),
        item => zero_scalar(item),
    }
}

fn zero_scalar(item: Item) -> Value {
    match item {
        Item::Bool => false.into(),
        Item::Int32 | Item::Int64 | Item::Double => 0.into(),
        Item::String | Item::Bytes | Item::Type(_) => "".into(),
    }
}

/// Whether a value is what [`absent`] stands for, so that it has to be replaced by that.
pub(super) fn counts_as_absent(field: &Field, value: &Value) -> bool {
    match value {
        Value::Null => true,
        _ if field.ty.outer != Outer::Value => is_empty(value),
        _ if field.pointer || field.omit == Omit::Never || matches!(field.ty.item, Item::Type(_)) => false,
        Value::String(text) => text.is_empty(),
        Value::Bool(flag) => !flag,
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::Array(_) | Value::Object(_) => false,
    }
}

fn is_empty(container: &Value) -> bool {
    match container {
        Value::Array(items) => items.is_empty(),
        Value::Object(map) => map.is_empty(),
        _ => false,
    }
}

/// Adds what is absent and always written, and takes away what is present and left out. What stands in the fields has the
/// right types and is settled already.
pub(super) fn settle(map: &mut Map<String, Value>, ty: &'static Type) {
    let mut fields = ty.fields.iter().peekable();
    let mut added: Vec<(&'static str, Value)> = Vec::new();
    let mut dropped: Vec<&'static str> = Vec::new();
    // Both are sorted by name: one pass over each.
    for (key, value) in map.iter_mut() {
        while let Some(field) = fields.next_if(|field| field.name < key.as_str()) {
            added.extend(absent(field).map(|value| (field.name, value)));
        }
        let Some(field) = fields.next_if(|field| field.name == key) else {
            continue;
        };
        if counts_as_absent(field, value) {
            match absent(field) {
                Some(zero) => *value = zero,
                None => dropped.push(field.name),
            }
        }
    }
    added.extend(fields.filter_map(|field| Some((field.name, absent(field)?))));
    for name in dropped {
        map.remove(name);
    }
    map.extend(added.into_iter().map(|(name, value)| (name.to_owned(), value)));
}

/// Puts apiVersion and kind into the claim templates of a StatefulSet, as upstream's conversion from its internal type
/// does: protobuf has them only for the outermost object.
pub(super) fn name_claim_templates(map: &mut Map<String, Value>, ty: &'static Type) {
    if ty.name != "io.k8s.api.apps.v1.StatefulSetSpec" {
        return;
    }
    let templates = map.get_mut("volumeClaimTemplates").and_then(Value::as_array_mut);
    for template in templates.into_iter().flatten().filter_map(Value::as_object_mut) {
        template.insert("apiVersion".to_owned(), "v1".into());
        template.insert("kind".to_owned(), "PersistentVolumeClaim".into());
    }
}
