//! `metadata.managedFields`: who owns what of an object.

use serde_json::{Map, Value, json};

use super::field_set::FieldSet;
use crate::object::Fields;
use crate::quote::quote;

/// How a manager came to own fields.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Operation {
    /// It applied a configuration, which holds all that it owns.
    Apply,
    /// It wrote the object in another way, and owns what it changed.
    Update,
}

/// A field manager: a program in one of its ways of writing.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Manager {
    /// The name that the program gives itself.
    pub name: String,
    /// How it writes.
    pub operation: Operation,
    /// The version of the API it writes in, `apps/v1`.
    pub api_version: String,
    /// The subresource it writes through; empty for the object itself.
    pub subresource: String,
}

impl Manager {
    /// Whether two entries are of one manager. One that applies is the same in every version.
    fn is(&self, other: &Manager) -> bool {
        let version = self.operation == Operation::Apply || self.api_version == other.api_version;
        version
            && (&self.name, self.operation, &self.subresource)
                == (&other.name, other.operation, &other.subresource)
    }

    /// As a conflict names it: `"kubectl" using v1`.
    pub(super) fn shown(&self) -> String {
        let mut shown = quote(&self.name);
        if !self.subresource.is_empty() {
            shown = format!("{shown} with subresource {}", quote(&self.subresource));
        }
        match self.operation {
            Operation::Apply => shown,
            Operation::Update => format!("{shown} using {}", self.api_version),
        }
    }
}

/// What one manager owns.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Entry {
    pub(super) manager: Manager,
    /// When it last changed something, in RFC 3339; an application that changed nothing has no time.
    pub(super) time: Option<String>,
    pub(super) set: FieldSet,
}

/// What all managers own.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Managed(pub(super) Vec<Entry>);

impl Managed {
    /// Reads `metadata.managedFields` of an object.
    pub(super) fn of(object: &Value) -> Self {
        Self(
            object["metadata"]
                .items("managedFields")
                .iter()
                .filter_map(entry)
                .collect(),
        )
    }

    /// Whether what an object says of its managed fields can be read; upstream takes no half of it.
    pub(super) fn is_sound(object: &Value) -> bool {
        object["metadata"].items("managedFields").iter().all(|one| {
            one.text("fieldsType") == "FieldsV1"
                && one.field("fieldsV1").is_some_and(has_elements)
                && entry(one).is_some()
        })
    }

    /// Writes `metadata.managedFields`: appliers first, then by time, so that the order is always the same.
    pub(super) fn write(mut self, object: &mut Value) {
        self.0.retain(|entry| !entry.set.is_empty());
        let key = |entry: &Entry| (entry.manager.operation, entry.time.clone(), entry.manager.clone());
        self.0.sort_by_key(key);
        let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) else {
            return;
        };
        if self.0.is_empty() {
            metadata.remove("managedFields");
        } else {
            metadata.insert("managedFields".into(), self.0.into_iter().map(value).collect());
        }
    }

    pub(super) fn position(&self, manager: &Manager) -> Option<usize> {
        self.0.iter().position(|entry| manager.is(&entry.manager))
    }

    /// What a manager owns, and nothing when it is new.
    pub(super) fn set_of(&self, manager: &Manager) -> FieldSet {
        self.position(manager)
            .map_or(FieldSet::EMPTY, |at| self.0[at].set.clone())
    }

    /// Says what a manager owns now; a time only when it has changed something.
    pub(super) fn put(&mut self, manager: &Manager, set: FieldSet, time: Option<&str>) {
        let time = time.map(str::to_owned);
        match self.position(manager) {
            Some(at) => {
                let entry = &mut self.0[at];
                entry.set = set;
                entry.manager = manager.clone();
                if time.is_some() {
                    entry.time = time;
                }
            }
            None => self.0.push(Entry {
                manager: manager.clone(),
                time,
                set,
            }),
        }
    }
}

fn entry(value: &Value) -> Option<Entry> {
    let operation = match value.text("operation") {
        "Apply" => Operation::Apply,
        "Update" => Operation::Update,
        _ => return None,
    };
    let manager = Manager {
        name: value.text("manager").to_owned(),
        operation,
        api_version: value.text("apiVersion").to_owned(),
        subresource: value.text("subresource").to_owned(),
    };
    let time = value.field("time").and_then(Value::as_str).map(str::to_owned);
    Some(Entry {
        manager,
        time,
        set: FieldSet::from_fields(value.field("fieldsV1")?),
    })
}

/// Whether a set of fields has nothing in it but path elements.
fn has_elements(set: &Value) -> bool {
    let Value::Object(fields) = set else { return false };
    fields.iter().all(|(element, below)| {
        let known = match element.split_once(':') {
            Some(("f", _)) => true,
            Some(("i", index)) => index.parse::<i64>().is_ok(),
            Some(("k" | "v", json)) => serde_json::from_str::<Value>(json).is_ok(),
            _ => element == ".",
        };
        known && has_elements(below)
    })
}

fn value(entry: Entry) -> Value {
    let mut out = Map::new();
    let operation = if entry.manager.operation == Operation::Apply {
        "Apply"
    } else {
        "Update"
    };
    let texts = [
        ("manager", entry.manager.name.as_str()),
        ("operation", operation),
        ("apiVersion", &entry.manager.api_version),
        ("time", entry.time.as_deref().unwrap_or_default()),
        ("fieldsType", "FieldsV1"),
        ("subresource", &entry.manager.subresource),
    ];
    for (name, text) in texts.into_iter().filter(|(_, text)| !text.is_empty()) {
        out.insert(name.into(), json!(text));
    }
    out.insert("fieldsV1".into(), entry.set.into_fields());
    Value::Object(out)
}
