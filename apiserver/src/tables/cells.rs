//! The cells of each kind's rows.

use coracle_api::resources::Resource;
use jiff::Timestamp;
use serde_json::{Value, json};

/// The cells of one row, in the order of the resource's columns.
pub(super) fn of(resource: &'static Resource, object: &Value, now: Timestamp) -> Vec<Value> {
    let _ = now;
    resource
        .columns
        .iter()
        .map(|column| match column.name {
            "Name" => object.pointer("/metadata/name").cloned().unwrap_or_default(),
            _ => json!(""),
        })
        .collect()
}
