//! Server-side printing: the rows that `kubectl get` shows, per kind as upstream's printers make them.

mod cells;
mod cluster;
mod custom;
mod described;
mod network;
mod pods;
mod policy;
mod scale;
mod show;
mod workloads;

use std::sync::Arc;

use coracle_api::resources::Resource;
use coracle_api::status::ApiError;
use jiff::Timestamp;
use serde_json::{Map, Value, json};

pub(crate) use self::scale::of_scale;
use crate::cache::entry::Entry;
use crate::registry::Served;
use crate::registry::negotiate::{Accepted, Include};
use crate::registry::{shown, without_foreign_annotations};

/// A table of one object.
///
/// # Errors
/// Where the object cannot be shown in the version asked for.
pub(crate) fn of_object(
    served: &Served,
    entry: &Entry,
    accepted: Accepted,
    now: Timestamp,
) -> Result<Value, ApiError> {
    // What was only tried has no revision.
    let meta = match entry.revision() {
        0 => json!({}),
        revision => json!({"resourceVersion": revision.to_string()}),
    };
    table(served, [entry], meta, accepted, now)
}

/// A table of a list's items.
///
/// # Errors
/// Where one of them cannot be shown in the version asked for.
pub(crate) fn of_list(
    served: &Served,
    entries: &[Arc<Entry>],
    meta: Value,
    accepted: Accepted,
    now: Timestamp,
) -> Result<Value, ApiError> {
    if served.is("flowcontrol.apiserver.k8s.io", "flowschemas") {
        let mut entries: Vec<&Entry> = entries.iter().map(Arc::as_ref).collect();
        entries.sort_by(|a, b| policy::precedence(&a.value()).cmp(&policy::precedence(&b.value())));
        return table(served, entries, meta, accepted, now);
    }
    table(served, entries.iter().map(Arc::as_ref), meta, accepted, now)
}

/// A table of objects that are not stored, in the columns of their resource.
pub(crate) fn of_answer(resource: &Resource, objects: &[Value], accepted: Accepted, now: Timestamp) -> Value {
    let rows: Vec<Value> = objects
        .iter()
        .map(|object| {
            let mut row = Map::new();
            row.insert("cells".to_owned(), Value::Array(cells::of(resource, object, now)));
            row.insert("object".to_owned(), included(object, accepted, |_| {}));
            Value::Object(row)
        })
        .collect();
    json!({
        "kind": "Table",
        "apiVersion": format!("meta.k8s.io/{}", accepted.view_version),
        "metadata": {},
        "columnDefinitions": columns(resource),
        "rows": rows,
    })
}

fn table<'a>(
    served: &Served,
    entries: impl IntoIterator<Item = &'a Entry>,
    meta: Value,
    accepted: Accepted,
    now: Timestamp,
) -> Result<Value, ApiError> {
    let columns = match &served.custom {
        None => columns(&served.resource),
        Some(custom) => custom::columns(&custom.version),
    };
    let rows: Result<Vec<Value>, ApiError> = entries
        .into_iter()
        .map(|entry| row(served, entry, accepted, now))
        .collect();
    Ok(json!({
        "kind": "Table",
        "apiVersion": format!("meta.k8s.io/{}", accepted.view_version),
        "metadata": meta,
        "columnDefinitions": columns,
        "rows": rows?,
    }))
}

fn columns(resource: &Resource) -> Vec<Value> {
    let columns = resource.columns.iter().map(|column| {
        json!({
            "name": column.name, "type": column.ty, "format": column.format,
            "description": described::column(resource, column.name), "priority": column.priority,
        })
    });
    columns.collect()
}

fn row(served: &Served, entry: &Entry, accepted: Accepted, now: Timestamp) -> Result<Value, ApiError> {
    // What is built in is printed as it is stored, whichever version is asked for.
    let object = match &served.custom {
        None => entry.value(),
        Some(_) => shown(served, entry)?,
    };
    let cells = match &served.custom {
        None => cells::of(&served.resource, &object, now),
        Some(custom) => custom::cells(&custom.version, &object, now),
    };
    let mut row = Map::new();
    row.insert("cells".to_owned(), Value::Array(cells));
    if let Some(conditions) = pods::row_conditions(&object).filter(|_| served.is("", "pods")) {
        row.insert("conditions".to_owned(), conditions);
    }
    // What comes with it whole is in the version that was asked for.
    let whole = match accepted.include {
        Include::Object => shown(served, entry)?,
        _ => object,
    };
    row.insert(
        "object".to_owned(),
        included(&whole, accepted, |metadata| {
            without_foreign_annotations(served, metadata)
        }),
    );
    Ok(Value::Object(row))
}

/// What a row carries of its object.
fn included(object: &Value, accepted: Accepted, settle: impl FnOnce(&mut Value)) -> Value {
    match accepted.include {
        Include::None => Value::Null,
        Include::Object => object.clone(),
        Include::Metadata => {
            let mut metadata = object.get("metadata").cloned().unwrap_or_default();
            settle(&mut metadata);
            json!({
                "kind": "PartialObjectMetadata", "apiVersion": format!("meta.k8s.io/{}", accepted.view_version),
                "metadata": metadata,
            })
        }
    }
}
