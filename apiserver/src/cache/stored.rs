//! The form of an object in the store: a protobuf envelope for built-in kinds, JSON for what has no protobuf form; never
//! with a `resourceVersion`, which is the key's own.

use bytes::Bytes;
use coracle_api::codec::{DecodeError, protobuf};
use serde_json::Value;

use crate::encryption::{ENCRYPTED, UNREADABLE};

/// Why stored bytes are not an object.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StoredError {
    /// Not JSON.
    #[error("not an object in JSON: {0}")]
    Json(#[from] serde_json::Error),
    /// Not protobuf, or of an unknown type.
    #[error("not an object in protobuf: {0}")]
    Protobuf(#[from] DecodeError),
    /// Encrypted, and nobody has the key.
    #[error("{0}")]
    Encrypted(String),
    /// The object does not fit its type.
    #[error(transparent)]
    Encode(#[from] protobuf::EncodeError),
}

/// Reads an object as it was stored, by this server or by upstream's, with its kept texts.
///
/// # Errors
/// Where the bytes are neither form.
pub(crate) fn decode(bytes: &[u8]) -> Result<Value, StoredError> {
    if let Some(why) = bytes.strip_prefix(UNREADABLE) {
        return Err(StoredError::Encrypted(String::from_utf8_lossy(why).into_owned()));
    }
    if bytes.starts_with(ENCRYPTED) {
        let why = "identity transformer tried to read encrypted data";
        return Err(StoredError::Encrypted(why.to_owned()));
    }
    if bytes.first() == Some(&b'{') {
        return Ok(serde_json::from_slice(bytes)?);
    }
    Ok(protobuf::decode_keeping(bytes)?)
}

/// Writes an object for the store, and takes off it what the store itself knows: its revision.
///
/// # Errors
/// Where the object does not fit its type.
pub(crate) fn encode(object: &mut Value) -> Result<Bytes, StoredError> {
    strip(object);
    Ok(Bytes::from(protobuf::encode_any(object)?))
}

/// Writes a custom resource for the store, in the version that it is stored in.
///
/// # Errors
/// None that is known: every value is JSON.
pub(crate) fn encode_custom(object: &mut Value, api_version: &str) -> Result<Bytes, StoredError> {
    strip(object);
    if let Some(fields) = object.as_object_mut() {
        fields.insert("apiVersion".to_owned(), api_version.into());
    }
    Ok(Bytes::from(serde_json::to_vec(object)?))
}

fn strip(object: &mut Value) {
    if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.remove("resourceVersion");
    }
}
