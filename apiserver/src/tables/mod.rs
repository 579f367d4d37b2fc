//! Server-side printing: the rows that `kubectl get` shows, per kind as upstream's printers make them.

mod cells;
mod cluster;
mod network;
mod pods;
mod policy;
mod show;
mod workloads;

use std::sync::Arc;

use coracle_api::resources::Resource;
use jiff::Timestamp;
use serde_json::{Map, Value, json};

use crate::cache::entry::Entry;
use crate::registry::negotiate::{Accepted, Include};

/// A table of one object.
pub(crate) fn of_object(
    resource: &'static Resource,
    entry: &Entry,
    accepted: Accepted,
    now: Timestamp,
) -> Value {
    let meta = json!({"resourceVersion": entry.revision().to_string()});
    table(resource, [entry], meta, accepted, now)
}

/// A table of a list's items.
pub(crate) fn of_list(
    resource: &'static Resource,
    entries: &[Arc<Entry>],
    meta: Value,
    accepted: Accepted,
    now: Timestamp,
) -> Value {
    table(resource, entries.iter().map(Arc::as_ref), meta, accepted, now)
}

fn table<'a>(
    resource: &'static Resource,
    entries: impl IntoIterator<Item = &'a Entry>,
    meta: Value,
    accepted: Accepted,
    now: Timestamp,
) -> Value {
    let columns: Vec<Value> = resource
        .columns
        .iter()
        .map(|column| {
            json!({
                "name": column.name, "type": column.ty, "format": column.format, "description": "",
                "priority": column.priority,
            })
        })
        .collect();
    let rows: Vec<Value> = entries
        .into_iter()
        .map(|entry| row(resource, entry, accepted, now))
        .collect();
    json!({
        "kind": "Table",
        "apiVersion": format!("meta.k8s.io/{}", accepted.view_version),
        "metadata": meta,
        "columnDefinitions": columns,
        "rows": rows,
    })
}

fn row(resource: &'static Resource, entry: &Entry, accepted: Accepted, now: Timestamp) -> Value {
    let object = entry.value();
    let cells = cells::of(resource, &object, now);
    let mut row = Map::new();
    row.insert("cells".to_owned(), Value::Array(cells));
    if let Some(conditions) = pods::row_conditions(&object).filter(|_| resource.kind == "Pod") {
        row.insert("conditions".to_owned(), conditions);
    }
    match accepted.include {
        Include::None => {}
        Include::Object => {
            row.insert("object".to_owned(), Value::clone(&object));
        }
        Include::Metadata => {
            let metadata = object.get("metadata").cloned().unwrap_or_default();
            let partial = json!({
                "kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": metadata,
            });
            row.insert("object".to_owned(), partial);
        }
    }
    Value::Object(row)
}
