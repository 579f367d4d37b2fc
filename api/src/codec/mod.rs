//! Bytes to objects and back: JSON, YAML and Kubernetes' protobuf.
//!
//! An object in memory is a `serde_json::Value` in exactly the shape in which a kube-apiserver's Go types would be written
//! as JSON: nothing that the type does not know, no `null` where Go has none, zero values where Go writes them always,
//! quantities, times and base64 in their canonical form. [`conform`] brings any value into that shape and reports what it
//! had to drop; the decoders here all end in it. So an object looks the same whichever encoding it came in, and encoding it
//! twice gives the same bytes. Only empty lists and maps stay as they were given in text, for some rules tell them from absent
//! ones; [`conform::settle`] takes them away before an object is stored or answered.
//!
//! Always holds: a decoder bounds depth and size and never panics, whatever it is given; wording of errors is upstream's.

pub mod body;
pub mod conform;
pub mod equality;
pub mod go_order;
pub mod json;
pub mod protobuf;
pub mod raw;
pub mod time;
pub mod unstructured;
pub mod yaml;

mod base64;
mod overlaid;
mod path;
mod syntax;
mod zero;

use serde_json::Value;

/// The most bytes that a request body may have, as upstream's `MaxRequestBodyBytes`.
pub const MAX_BODY_BYTES: usize = 3 * 1024 * 1024;

/// How deep objects may be nested, in every encoding.
pub const MAX_DEPTH: usize = 120;

/// What is done about fields that are unknown or stand twice (`fieldValidation`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum FieldValidation {
    /// They are dropped in silence.
    Ignore,
    /// They are dropped with a warning each.
    #[default]
    Warn,
    /// They make the request fail.
    Strict,
}

impl FieldValidation {
    /// The value of the query parameter; empty means [`FieldValidation::Warn`], upstream's default.
    pub fn parse(text: &str) -> Option<FieldValidation> {
        match text {
            "" | "Warn" => Some(FieldValidation::Warn),
            "Ignore" => Some(FieldValidation::Ignore),
            "Strict" => Some(FieldValidation::Strict),
            _ => None,
        }
    }
}

/// An object as it was read.
#[derive(Clone, Debug, PartialEq)]
pub struct Decoded {
    /// The object in canonical shape.
    pub value: Value,
    /// Unknown and duplicate fields, in upstream's wording: `unknown field "spec.foo"`.
    pub findings: Vec<String>,
}

impl Decoded {
    /// The object and the warnings to send with the answer.
    pub fn validated(self, validation: FieldValidation) -> Result<(Value, Vec<String>), DecodeError> {
        match validation {
            FieldValidation::Strict if !self.findings.is_empty() => Err(DecodeError::Strict(self.findings)),
            FieldValidation::Warn => Ok((self.value, self.findings)),
            FieldValidation::Strict | FieldValidation::Ignore => Ok((self.value, Vec::new())),
        }
    }
}

/// Why bytes are no object of a type. The text of each is upstream's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The bytes are not JSON.
    #[error("{0}")]
    Json(String),
    /// The bytes are not YAML, or YAML that JSON has no words for.
    #[error("{0}")]
    Yaml(String),
    /// The bytes do not start as Kubernetes' protobuf does.
    #[error("provided data does not appear to be a protobuf message, expected prefix [107 56 115 0]")]
    NoProtobufPrefix,
    /// The bytes are not the protobuf message they should be.
    #[error("proto: {0}")]
    Protobuf(String),
    /// A value does not fit the type of its field.
    #[error("{0}")]
    Type(String),
    /// There are unknown or duplicate fields, and they were not to be.
    #[error("strict decoding error: {}", .0.join(", "))]
    Strict(Vec<String>),
    /// The object is nested too deep.
    #[error("exceeded max depth")]
    TooDeep,
    /// The object is too large.
    #[error("limit is {limit} bytes")]
    TooLarge {
        /// The limit that was passed.
        limit: usize,
    },
}
