//! Objects and items as bytes, each made at most once per representation.

use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};
use coracle_api::codec::{protobuf, raw, yaml};
use coracle_api::status::ApiError;
use coracle_api::table;
use serde_json::Value;

use super::negotiate::{Accepted, Format, View};
use super::pieces::Item;
use super::served::Served;
use super::{conversion, raw_parts, rules};
use crate::cache::entry::{Entry, Representation, headed};

const LIST_META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.ListMeta";

/// An object that stands alone, with its kind and version.
///
/// # Errors
/// Where the stored object cannot be shown in that form.
pub(super) fn object(served: &Served, entry: &Entry, accepted: Accepted) -> Result<Bytes, ApiError> {
    match (accepted.format, accepted.view) {
        (Format::Json, View::Metadata) => metadata(served, entry, accepted),
        (Format::Json, _) if is_written_as_shown(served, entry) => Ok(entry.headed(&served.head)),
        (Format::Json, _) => Ok(headed(&served.head, &bare(served, entry, accepted)?)),
        (Format::Yaml, _) => value(&*full_value(served, entry, accepted)?, Format::Yaml),
        (Format::Protobuf, _) => entry.encoded(representation(served, accepted), |entry| {
            value(&*full_value(served, entry, accepted)?, Format::Protobuf)
        }),
    }
}

/// The JSON of an object as an item of a list: without kind and version, unless it is a custom resource or a view that
/// names its own. What the cache keeps is written only when its turn comes.
///
/// # Errors
/// Where the stored object cannot be shown in that form.
pub(super) fn item(served: &Served, entry: &Arc<Entry>, accepted: Accepted) -> Result<Item, ApiError> {
    if accepted.view == View::Metadata {
        return metadata(served, entry, accepted).map(Item::Made);
    }
    Ok(match (&served.custom, is_written_as_shown(served, entry)) {
        (None, true) => Item::Json(Arc::clone(entry)),
        (None, false) => Item::Made(bare(served, entry, accepted)?),
        (Some(_), true) => Item::Alone(Arc::clone(entry)),
        (Some(_), false) => Item::Made(headed(&served.head, &bare(served, entry, accepted)?)),
    })
}

/// The JSON of an object without kind and version.
fn bare(served: &Served, entry: &Entry, accepted: Accepted) -> Result<Bytes, ApiError> {
    if is_kept_as_shown(served, entry) {
        return Ok(raw_parts::json(served, entry).unwrap_or_else(|| entry.json()));
    }
    let json = Accepted {
        format: Format::Json,
        ..accepted
    };
    entry.encoded(representation(served, json), |entry| {
        let mut object = Arc::unwrap_or_clone(in_version(served, entry)?);
        if let Value::Object(map) = &mut object {
            map.remove("apiVersion");
            map.remove("kind");
        }
        match served.raw {
            Some(ty) => Ok(raw::json(&object, ty).into()),
            None => value(&object, Format::Json),
        }
    })
}

/// The protobuf message of an object as an item of a list: what is inside its envelope. What is stored is
/// written only when its turn comes.
///
/// # Errors
/// Where the stored object cannot be shown in that form.
pub(super) fn message(served: &Served, entry: &Arc<Entry>, accepted: Accepted) -> Result<Item, ApiError> {
    if representation(served, accepted) == Representation::AS_STORED && entry.message_len().is_some() {
        return Ok(Item::Message(Arc::clone(entry)));
    }
    let envelope = object(served, entry, accepted)?;
    let message = protobuf::open(&envelope).map_err(ApiError::internal)?.message;
    Ok(Item::Made(envelope.slice_ref(message)))
}

/// The protobuf message of a list's metadata.
///
/// # Errors
/// Where it is no such metadata.
pub(super) fn list_meta(meta: &Value) -> Result<Vec<u8>, ApiError> {
    let ty = table::by_name(LIST_META).ok_or_else(|| ApiError::internal(LIST_META))?;
    protobuf::encode_message(meta, ty).map_err(ApiError::internal)
}

/// The object as a value in the version asked for, with kind and version.
///
/// # Errors
/// Where it cannot be converted.
pub(super) fn full_value(served: &Served, entry: &Entry, accepted: Accepted) -> Result<Arc<Value>, ApiError> {
    match accepted.view {
        View::Metadata => partial(served, entry, accepted).map(Arc::new),
        _ => in_version(served, entry).map(|object| raw_parts::to_write(served, object, accepted.format)),
    }
}

/// Any value as bytes.
///
/// # Errors
/// Where the type table does not know it, for protobuf.
pub(super) fn value(value: &Value, format: Format) -> Result<Bytes, ApiError> {
    match format {
        Format::Json => serde_json::to_vec(value)
            .map(Bytes::from)
            .map_err(ApiError::internal),
        Format::Yaml => Ok(Bytes::from(yaml::encode(value))),
        Format::Protobuf => protobuf::encode_any(value)
            .map(Bytes::from)
            .map_err(ApiError::internal),
    }
}

/// The object in the version asked for, with kind and version, as everybody sees it: without kept texts.
///
/// # Errors
/// Where it cannot be converted.
pub(crate) fn shown(served: &Served, entry: &Entry) -> Result<Arc<Value>, ApiError> {
    in_version(served, entry).map(|object| raw_parts::open(served, object).0)
}

/// The object in the version asked for, with kind and version; shared where that is the version it is kept in. What a
/// webhook converts must have been [converted ahead](conversion::ahead).
///
/// # Errors
/// Where it cannot be converted.
pub(super) fn in_version(served: &Served, entry: &Entry) -> Result<Arc<Value>, ApiError> {
    if is_kept_as_shown(served, entry) {
        return Ok(entry.value());
    }
    let converted = match &served.custom {
        None => rules::convert(Value::clone(&entry.value()), &served.stored, &served.resource)?,
        Some(_) if conversion::asks(served) => conversion::made(served, entry)?,
        Some(custom) => {
            let mut object = Value::clone(&entry.value());
            custom.convert(&mut object);
            object
        }
    };
    Ok(Arc::new(converted))
}

/// Whether an entry stands in the cache in the version that is asked for.
pub(super) fn is_kept_as_shown(served: &Served, entry: &Entry) -> bool {
    match &served.custom {
        None => served.version == 0,
        Some(_) => entry.head() == served.head,
    }
}

/// Whether the JSON that the cache has of an entry is what is shown of it: in the version asked for, and without kept texts.
fn is_written_as_shown(served: &Served, entry: &Entry) -> bool {
    is_kept_as_shown(served, entry) && !raw_parts::are_in(served, entry)
}

/// The object as the registry works on it: as it is stored, where versions are converted in code; in the version asked for,
/// where each version has rules of its own.
///
/// # Errors
/// Where it cannot be converted.
pub(super) fn worked_on(served: &Served, entry: &Entry) -> Result<Arc<Value>, ApiError> {
    match &served.custom {
        None => Ok(entry.value()),
        Some(_) => in_version(served, entry),
    }
}

/// The metadata of an object as an object of its own. It is cut out, for the garbage collector is told of every change so.
fn metadata(served: &Served, entry: &Entry, accepted: Accepted) -> Result<Bytes, ApiError> {
    let head = format!(
        r#"{{"kind":"PartialObjectMetadata","apiVersion":"meta.k8s.io/{}","metadata":"#,
        accepted.view_version
    );
    let metadata = if conversion::asks(served) && !is_kept_as_shown(served, entry) {
        // A webhook may change labels and annotations.
        value(&in_version(served, entry)?["metadata"], Format::Json)?
    } else if rules::has_foreign_annotations(served) {
        let mut metadata = entry.value()["metadata"].clone();
        rules::without_foreign_annotations(served, &mut metadata);
        value(&metadata, Format::Json)?
    } else {
        entry.metadata()
    };
    let mut out = BytesMut::with_capacity(head.len() + metadata.len() + 1);
    out.put_slice(head.as_bytes());
    out.put_slice(&metadata);
    out.put_u8(b'}');
    Ok(out.freeze())
}

fn partial(served: &Served, entry: &Entry, accepted: Accepted) -> Result<Value, ApiError> {
    serde_json::from_slice(&metadata(served, entry, accepted)?).map_err(ApiError::internal)
}

fn representation(served: &Served, accepted: Accepted) -> Representation {
    let version = if accepted.view == View::Metadata {
        version_of(accepted)
    } else {
        served.version
    };
    Representation {
        version,
        format: accepted.format,
        view: accepted.view,
    }
}

fn version_of(accepted: Accepted) -> u32 {
    u32::from(accepted.view_version != "v1")
}
