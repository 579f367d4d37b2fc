//! The frames of a watch: JSON lines, or protobuf messages with their length in front.

use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};
use coracle_api::codec::protobuf;
use coracle_api::status::ApiError;
use serde_json::{Value, json};

use super::encode;
use super::negotiate::{Accepted, Format, View};
use super::served::Served;
use crate::cache::entry::{Entry, Representation};
use crate::cache::event::{Event, EventType};
use crate::tables;

/// Marks the bookmark after which a watch has told all of the initial state (KEP-3157).
const INITIAL_EVENTS_END: &str = "k8s.io/initial-events-end";

/// Writes frames for one watcher.
pub(super) struct Frames {
    served: Arc<Served>,
    accepted: Accepted,
    /// A table's columns are described in the first frame only.
    columns_told: bool,
}

impl Frames {
    /// Frames of a resource in a form.
    pub(super) fn new(served: Arc<Served>, accepted: Accepted) -> Self {
        Self {
            served,
            accepted,
            columns_told: false,
        }
    }

    /// An object that is there.
    ///
    /// # Errors
    /// Where it cannot be encoded.
    pub(super) fn state(&mut self, entry: &Entry) -> Result<Bytes, ApiError> {
        let object = self.object(entry)?;
        self.wrap(EventType::Added.as_str(), &object)
    }

    /// A change.
    ///
    /// # Errors
    /// Where it cannot be encoded.
    pub(super) fn event(&mut self, kind: EventType, event: &Event) -> Result<Bytes, ApiError> {
        if self.accepted.view == View::Table {
            // Ages are as of now, so rows are not shared.
            let shown = event.shown_as(kind);
            let object = self.object(&shown)?;
            return self.wrap(kind.as_str(), &object);
        }
        let representation = Representation {
            version: self.served.version * 2 + u32::from(self.accepted.view_version != "v1"),
            format: self.accepted.format,
            view: self.accepted.view,
        };
        let (served, accepted) = (&self.served, self.accepted);
        event.frame(kind, representation, |entry| {
            wrap(
                accepted.format,
                kind.as_str(),
                &encode::object(served, entry, accepted)?,
            )
        })
    }

    /// A change, of which the object is as it is to be shown.
    ///
    /// # Errors
    /// Where it cannot be encoded.
    pub(super) fn change(&mut self, kind: EventType, shown: &Entry) -> Result<Bytes, ApiError> {
        let object = self.object(shown)?;
        self.wrap(kind.as_str(), &object)
    }

    /// The resource whose changes are told.
    pub(super) fn served(&self) -> &Served {
        &self.served
    }

    /// Says how far the watch has come.
    ///
    /// # Errors
    /// Where it cannot be encoded.
    pub(super) fn bookmark(&mut self, revision: u64, initial_end: bool) -> Result<Bytes, ApiError> {
        let mut metadata = json!({"resourceVersion": revision.to_string(), "creationTimestamp": null});
        if initial_end {
            metadata["annotations"] = json!({INITIAL_EVENTS_END: "true"});
        }
        let resource = &self.served.resource;
        let object = match self.accepted.view {
            View::Object => json!({
                "kind": resource.kind, "apiVersion": resource.api_version(), "metadata": metadata,
            }),
            View::Metadata => json!({
                "kind": "PartialObjectMetadata",
                "apiVersion": format!("meta.k8s.io/{}", self.accepted.view_version),
                "metadata": metadata,
            }),
            View::Table => {
                let partial = json!({
                    "kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": metadata,
                });
                json!({
                    "kind": "Table",
                    "apiVersion": format!("meta.k8s.io/{}", self.accepted.view_version),
                    "metadata": {"resourceVersion": revision.to_string()},
                    "columnDefinitions": [],
                    "rows": [{"cells": [], "object": partial}],
                })
            }
        };
        let object = encode::value(&object, self.accepted.format)?;
        self.wrap("BOOKMARK", &object)
    }

    /// Says why the watch ends.
    ///
    /// # Errors
    /// Where it cannot be encoded.
    pub(super) fn error(&mut self, error: &ApiError) -> Result<Bytes, ApiError> {
        let object = encode::value(&error.to_status(), self.accepted.format)?;
        self.wrap("ERROR", &object)
    }

    fn object(&mut self, entry: &Entry) -> Result<Bytes, ApiError> {
        if self.accepted.view != View::Table {
            return encode::object(&self.served, entry, self.accepted);
        }
        let now = jiff::Timestamp::now();
        let mut table = tables::of_object(&self.served, entry, self.accepted, now)?;
        if std::mem::replace(&mut self.columns_told, true) {
            table["columnDefinitions"] = Value::Null;
        }
        encode::value(&table, self.accepted.format)
    }

    fn wrap(&self, kind: &str, object: &Bytes) -> Result<Bytes, ApiError> {
        wrap(self.accepted.format, kind, object)
    }
}

fn wrap(format: Format, kind: &str, object: &Bytes) -> Result<Bytes, ApiError> {
    if format == Format::Protobuf {
        let message = protobuf::watch_event(kind, object);
        let mut out = BytesMut::with_capacity(message.len() + 4);
        let length = u32::try_from(message.len()).map_err(ApiError::internal)?;
        out.put_u32(length);
        out.put_slice(&message);
        return Ok(out.freeze());
    }
    let object = object.strip_suffix(b"\n").unwrap_or(object);
    let mut out = BytesMut::with_capacity(object.len() + kind.len() + 24);
    out.put_slice(br#"{"type":""#);
    out.put_slice(kind.as_bytes());
    out.put_slice(br#"","object":"#);
    out.put_slice(object);
    out.put_slice(b"}\n");
    Ok(out.freeze())
}
