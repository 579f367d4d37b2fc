//! How large the values of a schema can get: what costs are estimated from before there is a value.
//!
//! As upstream's `SchemaDeclType` has it: where a schema names no limit, as much as fits into a request.

use std::collections::BTreeMap;

use serde_json::Value as Json;

use super::escape::escape;
use super::schema::with_type_and_meta;
use crate::object::Fields;

/// The largest request, in bytes.
pub const REQUEST_MAX: u64 = 3 << 20;

/// The least bytes that values take as JSON.
const EMPTY: u64 = 2;
const BOOL: u64 = 4;
const NUMBER: u64 = 1;
const DURATION: u64 = 3;
const DATE: u64 = 12;
const DATE_TIME: u64 = 21;
/// The most bytes that a moment or a length of time takes.
const TIME_MAX: u64 = 32;
/// A character takes up to so many bytes.
const CHARACTER: u64 = 4;

/// How large values of a schema can get.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Sizes {
    /// The most items, entries, or bytes; 0 where values have no size.
    pub most: u64,
    /// The least bytes that a value takes.
    least: u64,
    /// The properties of an object, by the names that expressions give them.
    fields: BTreeMap<String, Sizes>,
    /// Its items, or the values of a map.
    items: Option<Box<Sizes>>,
    /// Whether it is a map.
    is_map: bool,
}

impl Sizes {
    /// Those of a schema, whose values are resources where `resource`; none of what expressions cannot reach.
    pub fn of(schema: &Json, resource: bool) -> Option<Self> {
        let simple = |most, least| {
            Some(Self {
                most,
                least,
                ..Self::default()
            })
        };
        let length = || schema.number("maxLength").map(at_least_zero);
        if schema.flag("x-kubernetes-int-or-string") {
            let most = length().map_or(REQUEST_MAX - EMPTY, |most| most.saturating_mul(CHARACTER));
            return simple(most, NUMBER);
        }
        match schema.text("type") {
            "array" => Self::list(schema),
            "object" if schema.get("additionalProperties").is_some_and(Json::is_object) => Self::map(schema),
            "object" if resource => Some(Self::object(&with_type_and_meta(schema))),
            "object" => Some(Self::object(schema)),
            "string" => match schema.text("format") {
                "byte" => simple(length().unwrap_or(REQUEST_MAX - EMPTY), EMPTY),
                "duration" => simple(TIME_MAX, DURATION),
                "date" => simple(DATE, DATE),
                "date-time" => simple(TIME_MAX, DATE_TIME),
                _ => simple(text(schema, length()), EMPTY),
            },
            "boolean" => simple(0, BOOL),
            "number" | "integer" => simple(0, NUMBER),
            _ => None,
        }
    }

    fn below(schema: &Json) -> Option<Self> {
        Self::of(schema, schema.flag("x-kubernetes-embedded-resource"))
    }

    fn list(schema: &Json) -> Option<Self> {
        let items = Self::below(schema.field("items")?)?;
        let most = schema.number("maxItems").map(at_least_zero);
        Some(Self {
            most: most.unwrap_or((REQUEST_MAX - EMPTY) / (items.least + 1)),
            least: EMPTY,
            items: Some(Box::new(items)),
            ..Self::default()
        })
    }

    fn map(schema: &Json) -> Option<Self> {
        let values = Self::below(&schema["additionalProperties"])?;
        let most = schema.number("maxProperties").map(at_least_zero);
        // Quotes, a colon and a comma come with every entry.
        Some(Self {
            most: most.unwrap_or((REQUEST_MAX - EMPTY) / (values.least + 6)),
            least: EMPTY,
            items: Some(Box::new(values)),
            is_map: true,
            ..Self::default()
        })
    }

    fn object(schema: &Json) -> Self {
        let required = schema.items("required");
        let mut sizes = Self {
            least: EMPTY,
            ..Self::default()
        };
        for (name, property) in schema["properties"].as_object().into_iter().flatten() {
            let Some(of) = Self::below(property) else { continue };
            // What has a default need not be sent.
            if required.iter().any(|other| other == name) && !property.has("default") {
                sizes.least += name.len() as u64 + of.least + 4;
            }
            if let Some(name) = escape(name) {
                sizes.fields.insert(name.into_owned(), of);
            }
        }
        sizes
    }

    /// Those of a property, by its own name.
    pub fn property(&self, name: &str) -> Option<&Self> {
        self.field(&escape(name)?)
    }

    /// Those of a field, by the name that expressions give it.
    pub(super) fn field(&self, name: &str) -> Option<&Self> {
        self.fields.get(name)
    }

    /// Those of items, or of the values of a map.
    pub fn items(&self) -> Option<&Self> {
        self.items.as_deref()
    }

    /// Whether they are those of a map, which has keys.
    pub(super) fn has_keys(&self) -> bool {
        self.is_map
    }

    /// How often such values can stand in one request.
    pub fn most_in_a_request(&self) -> u64 {
        REQUEST_MAX / (self.least + 1)
    }
}

/// The most bytes of a text without a format that is known.
fn text(schema: &Json, length: Option<u64>) -> u64 {
    if let Some(length) = length {
        return length.saturating_mul(CHARACTER);
    }
    let words = schema
        .items("enum")
        .iter()
        .map(|word| word.as_str().map_or(0, str::len));
    words.max().map_or(REQUEST_MAX - EMPTY, |longest| longest as u64)
}

fn at_least_zero(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn limits_are_those_of_the_schema_or_of_a_request() {
        let most = |schema: Json| Sizes::of(&schema, false).unwrap().most;
        let table = [
            (json!({"type": "string", "maxLength": 10}), 40),
            (json!({"type": "string"}), REQUEST_MAX - 2),
            (json!({"type": "string", "enum": ["a", "abc"]}), 3),
            (json!({"type": "string", "format": "date-time"}), 32),
            (
                json!({"type": "array", "maxItems": 7, "items": {"type": "integer"}}),
                7,
            ),
            (
                json!({"type": "array", "items": {"type": "integer"}}),
                (REQUEST_MAX - 2) / 2,
            ),
            (
                json!({"type": "object", "additionalProperties": {"type": "boolean"}}),
                (REQUEST_MAX - 2) / 10,
            ),
            (json!({"type": "integer"}), 0),
        ];
        for (schema, wanted) in table {
            assert_eq!(most(schema.clone()), wanted, "{schema}");
        }
        let object = json!({"type": "object", "required": ["a"], "properties": {"a": {"type": "integer"}, "for": {"type": "string"}}});
        let sizes = Sizes::of(&object, true).unwrap();
        assert_eq!(sizes.most_in_a_request(), REQUEST_MAX / (2 + 1 + 1 + 4 + 1));
        assert!(sizes.field("__for__").is_some() && sizes.property("metadata").is_some());
    }
}
