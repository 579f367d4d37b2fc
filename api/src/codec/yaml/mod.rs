//! YAML to objects and back.
//!
//! One document, as upstream's `sigs.k8s.io/yaml` turns it into JSON: keys become strings, aliases are followed within
//! bounds. It is written as that library writes it, with what YAML 1.1 takes for something else in quotes. Scalars are read
//! by YAML 1.2's core schema, so that `yes` is text, where upstream's library follows YAML 1.1; kubectl turns YAML into JSON
//! itself before it sends it.

mod resolve;
mod scalar;
mod write;

use serde::de::DeserializeSeed;
use serde_json::Value;

use super::json::{Parsed, Reading, Seed};
use super::{DecodeError, Decoded};
use crate::table::Type;

/// How many values a document may hold for each of its bytes: aliases may repeat parts, but not without end.
const VALUES_PER_BYTE: usize = 10;

/// Reads YAML of whatever type.
pub fn parse(bytes: &[u8]) -> Result<Parsed, DecodeError> {
    let budget = bytes.len().saturating_add(100).saturating_mul(VALUES_PER_BYTE);
    let mut reading = Reading {
        duplicates: Vec::new(),
        budget,
    };
    let mut documents = serde_yaml_ng::Deserializer::from_slice(bytes);
    let value = match documents.next() {
        Some(document) => Seed {
            reading: &mut reading,
            at: None,
        }
        .deserialize(document)
        .map_err(|error| DecodeError::Yaml(error.to_string()))?,
        None => Value::Null,
    };
    Ok(Parsed {
        value,
        duplicates: reading.duplicates,
    })
}

/// Reads an object of a type, as [`super::json::decode`] does.
pub fn decode(bytes: &[u8], ty: &'static Type) -> Result<Decoded, DecodeError> {
    parse(bytes)?.into_type(ty)
}

/// Writes an object.
pub fn encode(value: &Value) -> Vec<u8> {
    write::document(value).into_bytes()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::patch::merge::tests::any_json;

    #[test]
    fn keys_become_text_and_aliases_are_followed() {
        let parsed = parse(b"a: &x {1: one, true: yes}\nb: *x\n# end\n").unwrap();
        let shared = json!({"1": "one", "true": "yes"});
        assert_eq!(parsed.value, json!({"a": shared, "b": shared}));
    }

    #[test]
    fn alias_bombs_are_refused() {
        let mut bomb = "a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n".to_owned();
        for level in 1..10 {
            let below = vec![format!("*a{}", level - 1); 10].join(",");
            bomb.push_str(&format!("a{level}: &a{level} [{below}]\n"));
        }
        assert!(matches!(parse(bomb.as_bytes()), Err(DecodeError::Yaml(_))));
    }

    proptest! {
        #[test]
        fn what_was_written_is_read_back(value in any_json(), text in "\\PC*|[ -~\n\t#:'\"-]{0,120}") {
            let value = json!({ "value": value, "text": text, &text: [text] });
            prop_assert_eq!(parse(&encode(&value)).unwrap().value, value);
        }
    }

    #[test]
    fn what_is_no_yaml_is_refused() {
        for text in ["a: [", "a: b: c", "\t- x", "{a: \"b}"] {
            assert!(
                matches!(parse(text.as_bytes()), Err(DecodeError::Yaml(_))),
                "{text}"
            );
        }
        assert_eq!(parse(b"").unwrap().value, Value::Null);
    }
}
