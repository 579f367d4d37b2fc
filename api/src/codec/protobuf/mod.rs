//! Kubernetes' protobuf: messages of the table's types, and the envelope around those that stand alone.
//!
//! An envelope is the four bytes `k8s\0` and a `runtime.Unknown` message with the object's apiVersion and kind and the
//! bytes of its own message. Bytes are upstream's to the last: fields in the order of their numbers, every field that is no
//! pointer in Go written even when zero, maps in the order of their keys.

mod decode;
mod encode;
mod reader;
mod revision;
mod special;
mod writer;

use serde_json::Value;

use super::{DecodeError, Decoded, raw};
use crate::table::{self, Type};

use reader::Reader;
use writer::{Writer, varint_bytes, write_varint};

pub use encode::EncodeError;
pub use revision::with_revision;

/// What every envelope starts with.
pub const PREFIX: [u8; 4] = *b"k8s\0";

/// What follows the message in an envelope: empty content encoding and content type.
pub const ENVELOPE_TAIL: [u8; 4] = [0x1a, 0, 0x22, 0];

/// An envelope as it was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Envelope<'a> {
    /// `v1`, `apps/v1`; may be empty.
    pub api_version: &'a str,
    /// The kind; may be empty.
    pub kind: &'a str,
    /// The message.
    pub message: &'a [u8],
}

/// Takes an envelope apart without looking at the message.
pub fn open(bytes: &[u8]) -> Result<Envelope<'_>, DecodeError> {
    let rest = bytes.strip_prefix(&PREFIX).ok_or(DecodeError::NoProtobufPrefix)?;
    let mut envelope = Envelope {
        api_version: "",
        kind: "",
        message: &[],
    };
    let mut reader = Reader::new(rest);
    while let Some(tag) = reader.tag()? {
        match tag.number {
            1 => {
                let mut meta = Reader::new(reader.bytes(tag, "typeMeta")?);
                while let Some(tag) = meta.tag()? {
                    match tag.number {
                        1 => envelope.api_version = meta.text(tag, "apiVersion")?,
                        2 => envelope.kind = meta.text(tag, "kind")?,
                        _ => meta.skip(tag)?,
                    }
                }
            }
            2 => envelope.message = reader.bytes(tag, "raw")?,
            _ => reader.skip(tag)?,
        }
    }
    Ok(envelope)
}

/// Reads a message of a type, without an envelope. Fields that the type does not know are skipped.
pub fn decode_message(bytes: &[u8], ty: &'static Type) -> Result<Value, DecodeError> {
    let mut value = decode::message(bytes, ty, 0).map(Value::Object)?;
    raw::open(&mut value, ty);
    Ok(value)
}

/// Reads an object of a type from its envelope; `apiVersion` and `kind` are the envelope's.
pub fn decode(bytes: &[u8], ty: &'static Type) -> Result<Decoded, DecodeError> {
    let mut value = open(bytes)?.into_object(ty, 0)?;
    raw::open(&mut value, ty);
    Ok(Decoded {
        value,
        findings: Vec::new(),
    })
}

/// Reads an object of any built-in type from its envelope.
pub fn decode_any(bytes: &[u8]) -> Result<Value, DecodeError> {
    decode_any_at(bytes, 0)
}

/// The same, but texts that upstream keeps as they were sent stay such; see [`raw`].
pub fn decode_keeping(bytes: &[u8]) -> Result<Value, DecodeError> {
    let envelope = open(bytes)?;
    envelope.into_object(envelope.ty()?, 0)
}

fn decode_any_at(bytes: &[u8], depth: usize) -> Result<Value, DecodeError> {
    let envelope = open(bytes)?;
    let ty = envelope.ty()?;
    let mut value = envelope.into_object(ty, depth)?;
    raw::open(&mut value, ty);
    Ok(value)
}

impl Envelope<'_> {
    fn ty(&self) -> Result<&'static Type, DecodeError> {
        table::by_api_version(self.api_version, self.kind).ok_or_else(|| {
            DecodeError::Protobuf(format!("no type {} {} is known", self.api_version, self.kind))
        })
    }

    fn into_object(self, ty: &'static Type, depth: usize) -> Result<Value, DecodeError> {
        let mut object = decode::message(self.message, ty, depth)?;
        for (name, text) in [("apiVersion", self.api_version), ("kind", self.kind)] {
            if !text.is_empty() && ty.field(name).is_some() {
                object.insert(name.to_owned(), text.into());
            }
        }
        Ok(Value::Object(object))
    }
}

/// Writes the message of an object of a type, without an envelope: what stands in lists and in other messages.
pub fn encode_message(value: &Value, ty: &'static Type) -> Result<Vec<u8>, EncodeError> {
    let mut writer = Writer::new();
    encode::message(&mut writer, value, ty)?;
    Ok(writer.into_bytes())
}

/// Writes an object of a type in its envelope, with the `apiVersion` and `kind` that it says itself.
pub fn encode(value: &Value, ty: &'static Type) -> Result<Vec<u8>, EncodeError> {
    let text = |name: &str| value.get(name).and_then(Value::as_str).unwrap_or_default();
    let mut writer = Writer::new();
    writer.put(&ENVELOPE_TAIL);
    let end = writer.len();
    encode::message(&mut writer, value, ty)?;
    writer.close(2, end);
    writer.put(&type_meta(text("apiVersion"), text("kind")));
    writer.put(&PREFIX);
    Ok(writer.into_bytes())
}

/// Writes an object of a built-in type in its envelope; the type is the one that it says itself.
pub fn encode_any(value: &Value) -> Result<Vec<u8>, EncodeError> {
    let text = |name: &str| value.get(name).and_then(Value::as_str).unwrap_or_default();
    let (api_version, kind) = (text("apiVersion"), text("kind"));
    let ty = table::by_api_version(api_version, kind).ok_or_else(|| EncodeError::UnknownType {
        api_version: api_version.to_owned(),
        kind: kind.to_owned(),
    })?;
    encode(value, ty)
}

/// What stands before the message in an envelope, for a message of a known length that is written piece by piece. After
/// the message comes [`ENVELOPE_TAIL`].
pub fn envelope_head(api_version: &str, kind: &str, message_len: usize) -> Vec<u8> {
    let mut head = PREFIX.to_vec();
    head.extend(type_meta(api_version, kind));
    head.push(0x12);
    head.extend(varint_bytes(message_len as u64));
    head
}

/// What stands before a field that is a message or text of a known length: the field's tag and the length. The items of a
/// list are field 2, its metadata field 1.
pub fn field_head(number: u32, len: usize) -> FieldHead {
    let mut head = FieldHead {
        bytes: [0; 20],
        len: 0,
    };
    for number in [u64::from(number) << 3 | 2, len as u64] {
        let mut varint = [0; 10];
        let taken = write_varint(&mut varint, number);
        head.bytes[head.len..head.len + taken].copy_from_slice(&varint[..taken]);
        head.len += taken;
    }
    head
}

/// The bytes before a field; a list has them before each item, so they take no memory of their own.
#[derive(Clone, Copy, Debug)]
pub struct FieldHead {
    bytes: [u8; 20],
    len: usize,
}

impl std::ops::Deref for FieldHead {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

/// A `metav1.WatchEvent` around an object's envelope. In a stream each has its length before it, in four bytes, the
/// highest first.
pub fn watch_event(event: &str, envelope: &[u8]) -> Vec<u8> {
    let raw_head = field_head(1, envelope.len());
    let mut bytes = field_head(1, event.len()).to_vec();
    bytes.extend(event.as_bytes());
    bytes.extend_from_slice(&field_head(2, raw_head.len() + envelope.len()));
    bytes.extend_from_slice(&raw_head);
    bytes.extend(envelope);
    bytes
}

/// Field 1 of an envelope.
fn type_meta(api_version: &str, kind: &str) -> Vec<u8> {
    let mut writer = Writer::new();
    let end = writer.len();
    writer.text(2, kind);
    writer.text(1, api_version);
    writer.close(1, end);
    writer.into_bytes()
}

#[cfg(test)]
mod tests;
