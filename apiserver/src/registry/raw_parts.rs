//! What the registry does about fields that are kept as they were sent ([`raw`]): ControllerRevisions' data, and what claims say to
//! drivers.
//!
//! Objects stand in the store, the cache and the middle of a write with their kept texts. Everybody who looks into such fields sees
//! values instead: patches, configurations, admission, rows of tables. Whatever comes from those gets its texts back where
//! the value is still the same, unless upstream has written it anew meanwhile. Of other kinds nothing is touched.

use std::borrow::Cow;
use std::sync::Arc;

use bytes::Bytes;
use coracle_api::codec::body::MediaType;
use coracle_api::codec::raw::{self, Texts};
use coracle_api::table::Type;
use serde_json::Value;

use super::meta;
use super::negotiate::Format;
use super::served::{Handle, Served};
use crate::cache::entry::Entry;

/// The type of a resource's objects, where these have such fields. Custom resources have none.
pub(super) fn type_of(resource: &Handle) -> Option<&'static Type> {
    match resource {
        Handle::BuiltIn(resource) => Some(resource.ty()).filter(|ty| raw::reaches(ty)),
        Handle::Custom(_) => None,
    }
}

/// Gives an object that was read of a body the texts that were sent.
pub(super) fn keep_sent(served: &Served, body: &[u8], media_type: MediaType, object: &mut Value) {
    if let Some(ty) = served.raw {
        raw::shield(object, ty);
        Texts::sent(body, media_type, ty).put_back(object, ty);
    }
}

/// An object with values in the place of its texts, and these.
pub(super) fn open(served: &Served, object: Arc<Value>) -> (Arc<Value>, Texts) {
    let Some(ty) = served.raw else {
        return (object, Texts::default());
    };
    let mut object = Arc::unwrap_or_clone(object);
    let texts = raw::open(&mut object, ty);
    (Arc::new(object), texts)
}

/// The same, where nobody asks for the texts.
pub(super) fn opened<'a>(served: &Served, object: &'a Value) -> Cow<'a, Value> {
    match served.raw {
        Some(ty) => raw::opened(object, ty),
        None => Cow::Borrowed(object),
    }
}

/// Gives an object that was made of an opened one its texts again.
pub(super) fn put_back(served: &Served, texts: Texts, object: &mut Value) {
    if let Some(ty) = served.raw {
        raw::shield(object, ty);
        texts.put_back(object, ty);
    }
}

/// The texts that a configuration leaves to the object it was applied to: all of them where it changed nothing but who owns what,
/// for then upstream goes on with the object as it stood; none otherwise, for who merges has read and written all of it.
pub(super) fn left_by_configuration(served: &Served, stood: Option<&Entry>, applied: &Value) -> Texts {
    let (Some(ty), Some(stood)) = (served.raw, stood) else {
        return Texts::default();
    };
    let mut before = Value::clone(&stood.value());
    let texts = raw::open(&mut before, ty);
    let mut after = applied.clone();
    for object in [&mut before, &mut after] {
        meta::remove(object, "managedFields");
    }
    if before == after { texts } else { Texts::default() }
}

/// An object as a value to be written in a format. Protobuf has the texts as they are.
pub(super) fn to_write(served: &Served, object: Arc<Value>, format: Format) -> Arc<Value> {
    match format {
        Format::Protobuf => object,
        Format::Json | Format::Yaml => open(served, object).0,
    }
}

/// Whether there are texts in the JSON of an entry.
pub(super) fn are_in(served: &Served, entry: &Entry) -> bool {
    served.raw.is_some() && raw::is_kept_in(&entry.json())
}

/// The JSON of an entry without kind and version, where there are texts in it: the entry's own has them as they are.
pub(super) fn json(served: &Served, entry: &Entry) -> Option<Bytes> {
    let ty = served.raw.filter(|_| are_in(served, entry))?;
    let mut object = Value::clone(&entry.value());
    if let Value::Object(fields) = &mut object {
        fields.remove("apiVersion");
        fields.remove("kind");
    }
    Some(raw::json(&object, ty).into())
}
