//! JSON to objects and back.

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::map::Entry;
use serde_json::{Map, Number, Value};
use std::borrow::Cow;

use super::conform::conform_as_given;
use super::overlaid::Overlaid;
use super::path::{At, Step, render};
use super::{DecodeError, Decoded, syntax};
use crate::table::Type;

/// JSON as it stands, before any type is known.
#[derive(Clone, Debug, PartialEq)]
pub struct Parsed {
    /// The value; of keys that stand twice, the last.
    pub value: Value,
    /// The keys that stand twice, in upstream's wording: `duplicate field "spec.foo"`.
    pub duplicates: Vec<String>,
    /// Where there are such keys: the path of every key, in the order in which they stand.
    pub keys: Vec<String>,
    /// The values that others of the same keys came after.
    pub(super) overlaid: Vec<Overlaid>,
}

/// Reads JSON of whatever type, with Go's words for what is wrong with it.
pub fn parse(bytes: &[u8]) -> Result<Parsed, DecodeError> {
    read(bytes).map_err(|error| failure(bytes, &error))
}

/// Reads JSON of whatever type, where it is JSON.
pub(super) fn parse_quietly(bytes: &[u8]) -> Option<Parsed> {
    read(bytes).ok()
}

fn read(bytes: &[u8]) -> Result<Parsed, serde_json::Error> {
    let mut notes = Notes::default();
    let value = read_noting(bytes, &mut notes)?;
    let (duplicates, overlaid) = (notes.duplicates, notes.overlaid);
    let mut order = Notes {
        keys: (!duplicates.is_empty()).then(Vec::new),
        ..Notes::default()
    };
    if order.keys.is_some() {
        read_noting(bytes, &mut order)?;
    }
    Ok(Parsed {
        value,
        duplicates,
        keys: order.keys.unwrap_or_default(),
        overlaid,
    })
}

fn read_noting(bytes: &[u8], notes: &mut Notes) -> Result<Value, serde_json::Error> {
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    let value = Seed { notes, at: None }.deserialize(&mut deserializer)?;
    deserializer.end()?;
    Ok(value)
}

fn failure(bytes: &[u8], error: &serde_json::Error) -> DecodeError {
    match syntax::fault(bytes) {
        Some(fault) => DecodeError::Json(fault),
        None if error.to_string().starts_with("recursion limit") => DecodeError::TooDeep,
        None => DecodeError::Json(error.to_string()),
    }
}

/// Reads an object of a type: unknown and duplicate fields are dropped and reported, values brought into canonical form.
/// Empty lists and maps are kept as given.
pub fn decode(bytes: &[u8], ty: &'static Type) -> Result<Decoded, DecodeError> {
    parse(bytes)?.into_type(ty)
}

impl Parsed {
    /// Conforms what was read to a type.
    pub fn into_type(self, ty: &'static Type) -> Result<Decoded, DecodeError> {
        let mut value = self.value;
        // The last first: what stood before both is laid below both.
        for overlaid in self.overlaid.into_iter().rev() {
            overlaid.restore(&mut value, ty);
        }
        let mut findings = self.duplicates;
        findings.extend(conform_as_given(&mut value, ty)?);
        if !self.keys.is_empty() {
            findings.sort_by_key(|finding| place(finding, &self.keys));
        }
        Ok(Decoded { value, findings })
    }
}

/// Puts findings of a text in the order in which upstream's decoder comes upon them.
pub(super) fn put_in_order(bytes: &[u8], findings: &mut [String]) {
    let mut order = Notes {
        keys: Some(Vec::new()),
        ..Notes::default()
    };
    if read_noting(bytes, &mut order).is_ok() {
        let keys = order.keys.unwrap_or_default();
        findings.sort_by_key(|finding| place(finding, &keys));
    }
}

/// Where upstream's decoder comes upon what it finds fault with: a field that it does not know when it first sees it, a duplicate
/// when it sees it again.
fn place(finding: &str, keys: &[String]) -> usize {
    let mut words = finding.splitn(3, ' ');
    let again = words.next() == Some("duplicate");
    let path = words.nth(1).unwrap_or_default().trim_matches('"');
    let mut places = keys
        .iter()
        .enumerate()
        .filter(|(_, key)| *key == path)
        .map(|(at, _)| at);
    places.nth(usize::from(again)).unwrap_or(usize::MAX)
}

/// Writes an object as one line of JSON.
pub fn encode(value: &Value) -> Vec<u8> {
    serde_json::to_vec(value).expect("a Value has string keys and is written to memory")
}

/// What is noted of a text while it is read.
#[derive(Default)]
struct Notes {
    duplicates: Vec<String>,
    /// What stood where something else of the same key came after.
    overlaid: Vec<Overlaid>,
    /// The path of every key, if that is asked for.
    keys: Option<Vec<String>>,
}

/// Reads a value, and notes keys that stand twice.
struct Seed<'a, 'p> {
    notes: &'a mut Notes,
    at: Option<&'p At<'p>>,
}

impl<'de> DeserializeSeed<'de> for Seed<'_, '_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Seed<'_, '_> {
    type Value = Value;

    fn expecting(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, flag: bool) -> Result<Value, E> {
        Ok(Value::Bool(flag))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Value, E> {
        Ok(number.into())
    }

    fn visit_u64<E>(self, number: u64) -> Result<Value, E> {
        Ok(number.into())
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<Value, E> {
        let number =
            Number::from_f64(number).ok_or_else(|| E::custom("unsupported value: not a finite number"))?;
        Ok(Value::Number(number))
    }

    fn visit_str<E>(self, text: &str) -> Result<Value, E> {
        Ok(Value::String(text.to_owned()))
    }

    fn visit_string<E>(self, text: String) -> Result<Value, E> {
        Ok(Value::String(text))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        loop {
            let at = At {
                parent: self.at,
                step: Step::Index(list.len()),
            };
            match items.next_element_seed(Seed {
                notes: &mut *self.notes,
                at: Some(&at),
            })? {
                Some(item) => list.push(item),
                None => return Ok(Value::Array(list)),
            }
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut map = Map::new();
        while let Some(key) = entries.next_key::<String>()? {
            let at = At {
                parent: self.at,
                step: Step::Key(&key),
            };
            if let Some(keys) = &mut self.notes.keys {
                keys.push(render(self.at, &key));
            }
            let value = entries.next_value_seed(Seed {
                notes: &mut *self.notes,
                at: Some(&at),
            })?;
            match map.entry(key) {
                Entry::Vacant(place) => {
                    place.insert(value);
                }
                Entry::Occupied(mut place) => {
                    let path = render(self.at, place.key());
                    self.notes.duplicates.push(format!("duplicate field \"{path}\""));
                    let earlier = place.insert(value);
                    // Nothing of anything else is left.
                    if earlier.is_object() {
                        let overlaid = Overlaid::new(self.at, place.key(), earlier);
                        self.notes.overlaid.push(overlaid);
                    }
                }
            }
        }
        Ok(Value::Object(map))
    }
}

/// JSON with `<`, `>`, `&` and the two line ends of JavaScript escaped, as Go writes it: they stand in strings only.
pub(crate) fn html_escaped(text: &str) -> Cow<'_, str> {
    if !text.contains(['<', '>', '&', '\u{2028}', '\u{2029}']) {
        return text.into();
    }
    let escaped = text
        .replace('<', "\\u003c")
        .replace('>', "\\u003e")
        .replace('&', "\\u0026")
        .replace('\u{2028}', "\\u2028")
        .replace('\u{2029}', "\\u2029");
    escaped.into()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::table;

    #[test]
    fn duplicates_are_named_by_path() {
        let parsed = parse(br#"{"a": 1, "b": [{"c": 1, "c": 2}], "a": 3}"#).unwrap();
        assert_eq!(parsed.value, json!({"a": 3, "b": [{"c": 2}]}));
        assert_eq!(
            parsed.duplicates,
            [r#"duplicate field "b[0].c""#, r#"duplicate field "a""#]
        );
    }

    #[test]
    fn decodes_and_reports() {
        let ty = table::by_gvk("", "v1", "ConfigMap").unwrap();
        let decoded = decode(br#"{"metadata": {"name": "a", "name": "b"}, "dat": {}}"#, ty).unwrap();
        assert_eq!(decoded.value, json!({"metadata": {"name": "b"}}));
        assert_eq!(
            decoded.findings,
            [r#"duplicate field "metadata.name""#, r#"unknown field "dat""#]
        );
        let strict = decoded
            .validated(super::super::FieldValidation::Strict)
            .unwrap_err();
        assert_eq!(
            strict.to_string(),
            r#"strict decoding error: duplicate field "metadata.name", unknown field "dat""#
        );
    }

    #[test]
    fn faults_are_told_in_the_order_of_the_text() {
        let ty = table::by_gvk("apps", "v1", "Deployment").unwrap();
        let text = br#"{"spec": {"odd": 1, "replicas": 2, "replicas": 3, "strange": 2}, "x": 1, "spec": {}}"#;
        let decoded = decode(text, ty).unwrap();
        assert_eq!(
            decoded.findings,
            [
                r#"unknown field "spec.odd""#,
                r#"duplicate field "spec.replicas""#,
                r#"unknown field "spec.strange""#,
                r#"unknown field "x""#,
                r#"duplicate field "spec""#
            ]
        );
        let text = br#"{"spec": {"odd": 1, "replicas": 2, "replicas": 3, "strange": 2}, "x": 1}"#;
        assert_eq!(
            decode(text, ty).unwrap().findings,
            [
                r#"unknown field "spec.odd""#,
                r#"duplicate field "spec.replicas""#,
                r#"unknown field "spec.strange""#,
                r#"unknown field "x""#
            ]
        );
    }

    #[test]
    fn depth_is_bounded() {
        let deep = "[".repeat(100_000);
        assert!(parse(deep.as_bytes()).is_err());
        let closed = format!("{}{}", "[".repeat(5000), "]".repeat(5000));
        assert_eq!(parse(closed.as_bytes()), Err(DecodeError::TooDeep));
    }
}
