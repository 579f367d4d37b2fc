//! Objects as trees of owned parts: their field sets, their differences, their merging, and taking parts away.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use super::field_set::FieldSet;
use super::schema::Schema;
use crate::object::Fields;

/// A part of an applied configuration that its type does not have, as upstream words it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{path}: {fault}")]
pub(super) struct TypedError {
    path: String,
    fault: String,
}

fn is_empty_map(value: &Value) -> bool {
    value.as_object().is_some_and(Map::is_empty)
}

/// Every part that a configuration names.
///
/// # Errors
/// When it names a field that the type does not have, or an item of a list without its keys.
pub(super) fn field_set(value: &Value, schema: Schema<'_>) -> Result<FieldSet, TypedError> {
    let mut set = FieldSet::EMPTY;
    collect(value, schema, &mut set, &mut String::new())?;
    Ok(set)
}

fn collect(
    value: &Value,
    schema: Schema<'_>,
    set: &mut FieldSet,
    path: &mut String,
) -> Result<(), TypedError> {
    match value {
        Value::Object(fields) if schema.has_fields() => {
            for (name, value) in fields {
                let length = path.len();
                path.push('.');
                path.push_str(name);
                let Some(inner) = schema.child(name) else {
                    return Err(TypedError {
                        path: path.clone(),
                        fault: "field not declared in schema".into(),
                    });
                };
                let below = set.below(format!("f:{name}"));
                collect(value, inner, below, path)?;
                below.member |= value.is_null() || is_empty_map(value) || !schema.names(name);
                path.truncate(length);
            }
        }
        Value::Array(items) if schema.has_items() => {
            let element = |index: usize, item: &Value| {
                schema.element(item).map_err(|why| TypedError {
                    path: path.clone(),
                    fault: format!("element {index}: {why}"),
                })
            };
            let elements: Result<Vec<String>, TypedError> = items
                .iter()
                .enumerate()
                .map(|(index, item)| element(index, item))
                .collect();
            let elements = elements?;
            let mut times: BTreeMap<&str, usize> = BTreeMap::new();
            for element in &elements {
                *times.entry(element).or_default() += 1;
            }
            for (element, item) in elements.iter().zip(items) {
                let below = set.below(element.clone());
                below.member = true;
                // Items that are there several times are owned as they are together.
                if times[element.as_str()] == 1 {
                    collect(item, schema.item(), below, path)?;
                }
            }
        }
        Value::Null if !matches!(schema, Schema::Atomic | Schema::Deduced) => {}
        _ => set.member = true,
    }
    Ok(())
}

/// Whether every item of the lists that merge by keys has its keys.
pub(super) fn has_all_keys(value: &Value, schema: Schema<'_>) -> bool {
    match value {
        Value::Object(fields) if schema.has_fields() => fields
            .iter()
            .all(|(name, value)| schema.child(name).is_none_or(|inner| has_all_keys(value, inner))),
        Value::Array(items) if schema.has_items() => items
            .iter()
            .all(|item| schema.is_told_apart(item) && has_all_keys(item, schema.item())),
        _ => true,
    }
}

/// What differs between two objects.
#[derive(Debug, Default)]
pub(super) struct Difference {
    pub(super) added: FieldSet,
    pub(super) modified: FieldSet,
    pub(super) removed: FieldSet,
}

impl Difference {
    /// What is there now and was not so before.
    pub(super) fn changed(&self) -> FieldSet {
        self.added.union(&self.modified)
    }

    /// Passes over what a way of writing resets: whatever is written there comes to nothing.
    pub(super) fn leave_out(&mut self, resets: &[&str]) {
        for set in [&mut self.added, &mut self.modified, &mut self.removed] {
            for place in resets {
                let path: Vec<String> = place.split('.').map(|name| format!("f:{name}")).collect();
                set.cut(path.iter().map(String::as_str));
            }
        }
    }

    /// The same, when nothing else is wanted.
    pub(super) fn into_changed(self) -> FieldSet {
        let mut changed = self.added;
        changed.absorb(self.modified);
        changed
    }
}

/// Compares what was with what is; absent on either side is no value.
pub(super) fn compare(old: Option<&Value>, new: Option<&Value>, schema: Schema<'_>) -> Difference {
    let mut difference = Difference::default();
    let Difference {
        added,
        modified,
        removed,
    } = &mut difference;
    walk(old, new, schema, added, modified, removed);
    difference
}

fn walk(
    old: Option<&Value>,
    new: Option<&Value>,
    schema: Schema<'_>,
    added: &mut FieldSet,
    modified: &mut FieldSet,
    removed: &mut FieldSet,
) {
    let (old, new) = match (old, new) {
        (None, None) => return,
        (None, Some(new)) => return everything(new, schema, added),
        (Some(old), None) => return everything(old, schema, removed),
        // Most of an object stays as it is.
        (Some(old), Some(new)) if old == new => return,
        (Some(old), Some(new)) => (old, new),
    };
    let has_items = |value: &Value| value.as_array().is_some_and(|items| !items.is_empty());
    if schema.has_items() && (has_items(old) || has_items(new)) {
        walk_items(old, new, schema, [added, modified, removed]);
        return;
    }
    let parts = parts(old, new, schema);
    modified.member = parts.is_empty();
    for (element, inner, old, new) in parts {
        let (mut a, mut m, mut r) = (FieldSet::EMPTY, FieldSet::EMPTY, FieldSet::EMPTY);
        walk(old, new, inner, &mut a, &mut m, &mut r);
        for (set, found) in [(&mut *added, a), (&mut *modified, m), (&mut *removed, r)] {
            if !found.is_empty() {
                set.children.insert(element.clone(), found);
            }
        }
    }
}

/// A value that is on one side only, with all its parts.
fn everything(value: &Value, schema: Schema<'_>, set: &mut FieldSet) {
    set.member = true;
    match (value, schema) {
        (Value::Array(items), schema) if schema.has_items() => {
            for item in items {
                let Ok(element) = schema.element(item) else {
                    continue;
                };
                match set.children.entry(element) {
                    Entry::Vacant(first) => {
                        everything(item, schema.item(), first.insert(FieldSet::EMPTY));
                    }
                    // Items that are there several times are owned as they are together.
                    Entry::Occupied(mut several) => *several.get_mut() = FieldSet::leaf(),
                }
            }
        }
        (Value::Object(fields), schema) if schema.has_fields() => {
            let parts = fields.iter().map(|(name, value)| {
                let mut part = FieldSet::EMPTY;
                everything(value, schema.child(name).unwrap_or(Schema::Atomic), &mut part);
                (format!("f:{name}"), part)
            });
            set.children = parts.collect();
        }
        _ => {}
    }
}

type Part<'a> = (String, Schema<'a>, Option<&'a Value>, Option<&'a Value>);

/// The parts of two values side by side; none where they are owned as a whole or are both empty.
fn parts<'a>(old: &'a Value, new: &'a Value, schema: Schema<'a>) -> Vec<Part<'a>> {
    match schema {
        Schema::Atomic => Vec::new(),
        Schema::Deduced if !(old.is_object() && new.is_object()) => Vec::new(),
        Schema::Struct(_) | Schema::Map(_) | Schema::Custom(..) | Schema::Deduced => {
            let (old, new) = (old.as_object(), new.as_object());
            let names: BTreeSet<&String> = old.into_iter().chain(new).flat_map(Map::keys).collect();
            let part = |name: &String| {
                let inner = schema.child(name).unwrap_or(Schema::Atomic);
                let of = |object: Option<&'a Map<String, Value>>| object.and_then(|fields| fields.get(name));
                (format!("f:{name}"), inner, of(old), of(new))
            };
            names.into_iter().map(part).collect()
        }
        Schema::Set | Schema::Keyed(..) => Vec::new(),
    }
}

/// The items of a list by what tells them apart, which several may share.
fn by_element<'a>(list: &'a Value, schema: Schema<'_>) -> BTreeMap<String, Vec<&'a Value>> {
    let mut out: BTreeMap<String, Vec<&'a Value>> = BTreeMap::new();
    for item in list.as_array().into_iter().flatten() {
        if let Ok(element) = schema.element(item) {
            out.entry(element).or_default().push(item);
        }
    }
    out
}

/// Compares lists item by item. Items that are there several times are compared, and owned, as if they were one value.
fn walk_items(old: &Value, new: &Value, schema: Schema<'_>, [added, modified, removed]: [&mut FieldSet; 3]) {
    let (old, new) = (by_element(old, schema), by_element(new, schema));
    let elements: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    let none = Vec::new();
    for element in elements {
        let (before, after) = (
            old.get(element).unwrap_or(&none),
            new.get(element).unwrap_or(&none),
        );
        let (first, second) = (before.first().copied(), after.first().copied());
        let (mut a, mut m, mut r) = (FieldSet::EMPTY, FieldSet::EMPTY, FieldSet::EMPTY);
        match (before.len(), after.len()) {
            (0..=1, 0..=1) => walk(first, second, schema.item(), &mut a, &mut m, &mut r),
            (2.., 2..) => m.member = before != after,
            (2.., _) => {
                walk(None, second, schema.item(), &mut a, &mut m, &mut r);
                r.member = true;
            }
            (_, 2..) => {
                walk(first, None, schema.item(), &mut a, &mut m, &mut r);
                a.member = true;
            }
        }
        for (set, found) in [(&mut *added, a), (&mut *modified, m), (&mut *removed, r)] {
            if !found.is_empty() {
                set.children.insert(element.clone(), found);
            }
        }
    }
}

/// The live value with the configuration laid over it.
pub(super) fn merge(live: Option<&Value>, config: &Value, schema: Schema<'_>) -> Value {
    match (live, config) {
        (Some(Value::Object(live)), Value::Object(config)) if schema.has_fields() => {
            let mut out = live.clone();
            for (name, value) in config {
                let inner = schema.child(name).unwrap_or(Schema::Atomic);
                out.insert(name.clone(), merge(live.field(name), value, inner));
            }
            Value::Object(out)
        }
        (Some(Value::Array(live)), Value::Array(config)) if schema.has_items() => {
            Value::Array(merge_lists(live, config, schema))
        }
        _ => config.clone(),
    }
}

/// Items of both lists: the order is that of the configuration, with items that only the live list has where they were.
fn merge_lists(live: &[Value], config: &[Value], schema: Schema<'_>) -> Vec<Value> {
    let element = |item: &Value| schema.element(item).unwrap_or_default();
    let live: Vec<(String, &Value)> = live.iter().map(|item| (element(item), item)).collect();
    let config: Vec<(String, &Value)> = config.iter().map(|item| (element(item), item)).collect();
    let applied: BTreeSet<&String> = config.iter().map(|(element, _)| element).collect();
    let mut merged: BTreeSet<&String> = BTreeSet::new();
    let mut out = Vec::with_capacity(live.len() + config.len());
    let (mut left, mut right) = (live.iter().peekable(), config.iter().peekable());
    loop {
        if let Some((element, item)) = left.peek() {
            if !applied.contains(element) {
                out.push((*item).clone());
                left.next();
                continue;
            }
            if merged.contains(element) {
                left.next();
                continue;
            }
        }
        let Some((element, item)) = right.next() else {
            return out;
        };
        let before = live
            .iter()
            .find(|(other, _)| other == element)
            .map(|(_, item)| *item);
        out.push(merge(before, item, schema.item()));
        merged.insert(element);
    }
}

/// The value without the parts in the set; none when it is itself in it.
pub(super) fn remove(value: &Value, gone: &FieldSet, schema: Schema<'_>) -> Value {
    if gone.children.is_empty() {
        return value.clone();
    }
    match value {
        Value::Object(fields) if schema.has_fields() => {
            let kept = fields.iter().filter_map(|(name, value)| {
                let inner = schema.child(name).unwrap_or(Schema::Atomic);
                keep(value, gone.children.get(&format!("f:{name}")), inner).map(|value| (name.clone(), value))
            });
            Value::Object(kept.collect())
        }
        Value::Array(items) if schema.has_items() => {
            let kept = items.iter().filter_map(|item| {
                let element = schema.element(item).unwrap_or_default();
                keep(item, gone.children.get(&element), schema.item())
            });
            Value::Array(kept.collect())
        }
        _ => value.clone(),
    }
}

fn keep(value: &Value, gone: Option<&FieldSet>, schema: Schema<'_>) -> Option<Value> {
    match gone {
        Some(gone) if gone.member => None,
        Some(gone) => Some(remove(value, gone, schema)),
        None => Some(value.clone()),
    }
}
