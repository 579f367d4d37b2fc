//! What must hold of every decoder of bytes from outside, whatever the bytes are.
//!
//! A module a decoder, each with one function of bytes that panics where something does not hold, and answers whether the
//! decoder took them. `make fuzz` has libFuzzer look for bytes that make it panic, from those of `corpus/` on; the tests hold
//! `corpus/` itself against it.

pub mod apply;
pub mod cel;
pub mod certificates;
pub mod dns;
pub mod json;
pub mod patches;
pub mod protobuf;
pub mod quantities;
pub mod requests;
pub mod selectors;
pub mod streams;
pub mod tokens;
pub mod yaml;

use coracle_api::table::{self, Type};
use serde_json::Value;

/// What is checked: whether the bytes could be decoded.
pub type Check = fn(&[u8]) -> bool;

/// All of it, under the names of targets and corpora.
pub const CHECKS: [(&str, Check); 13] = [
    ("apply", apply::check),
    ("cel", cel::check),
    ("certificates", certificates::check),
    ("dns", dns::check),
    ("json", json::check),
    ("patches", patches::check),
    ("protobuf", protobuf::check),
    ("quantities", quantities::check),
    ("requests", requests::check),
    ("selectors", selectors::check),
    ("streams", streams::check),
    ("tokens", tokens::check),
    ("yaml", yaml::check),
];

/// The type that an object says it is of.
fn type_of(object: &Value) -> Option<&'static Type> {
    let text = |name: &str| object.get(name).and_then(Value::as_str);
    table::by_api_version(text("apiVersion")?, text("kind")?)
}

/// Two documents of JSON, each on a line of its own.
fn two_documents(input: &[u8]) -> Option<(Value, Value)> {
    let end = input.iter().position(|byte| *byte == b'\n')?;
    let one = serde_json::from_slice(&input[..end]).ok()?;
    let other = serde_json::from_slice(&input[end + 1..]).ok()?;
    Some((one, other))
}
