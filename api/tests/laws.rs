//! Laws that hold for every type of the table, for values made from the table.

#![allow(clippy::unwrap_used, reason = "a test's failure is a panic")]

use coracle_api::codec::conform::conform;
use coracle_api::codec::{json, protobuf, time, yaml};
use coracle_api::table::{self, Field, Item, Outer, Shape, Type};
use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use serde_json::{Map, Value};

/// Makes values of types out of a string of bytes: each choice takes one, and when there are none left everything is left
/// out. So shorter strings make smaller values, which is how proptest shrinks them.
struct Maker<'a> {
    choices: &'a [u8],
}

const TEXTS: [&str; 12] = [
    "",
    "a",
    "web-0",
    "true",
    "12",
    "1e3",
    "~",
    "null",
    "ü\u{1F600}",
    "two\nlines ",
    " #: - ",
    "\u{7}\"\\<&>",
];
const QUANTITIES: [&str; 8] = ["0", "1", "1500m", "0.5", "1Gi", "12e6", "1k", "-3"];
const TIMES: [&str; 4] = [
    "1970-01-01T00:00:00Z",
    "2024-02-29T23:59:59+02:00",
    "0001-01-01T00:00:00Z",
    "9999-12-31T23:59:59Z",
];
const NUMBERS: [i64; 8] = [0, 1, -1, 80, i32::MAX as i64, i32::MIN as i64, i64::MAX, i64::MIN];

impl Maker<'_> {
    fn choose(&mut self, from: usize) -> usize {
        let Some((first, rest)) = self.choices.split_first() else {
            return 0;
        };
        self.choices = rest;
        usize::from(*first) % from
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.choose(from.len())]
    }

    fn object(&mut self, ty: &'static Type, depth: usize) -> Value {
        let mut map = Map::new();
        // The kind of an object within another is not in protobuf.
        for field in ty.fields.iter().filter(|field| field.number != 0) {
            // The deeper, the rarer.
            if self.choose(2 + depth) == 1 {
                map.insert(field.name.to_owned(), self.field(field, depth));
            }
        }
        Value::Object(map)
    }

    fn field(&mut self, field: &Field, depth: usize) -> Value {
        let count = self.choose(3);
        match field.ty.outer {
            Outer::Value => self.item(field.ty.item, depth),
            Outer::List => (0..count).map(|_| self.item(field.ty.item, depth)).collect(),
            Outer::Map => self.entries(count, |maker| maker.item(field.ty.item, depth)),
            Outer::MapOfLists => self.entries(count, |maker| {
                let count = maker.choose(3);
                (0..count).map(|_| maker.item(field.ty.item, depth)).collect()
            }),
        }
    }

    fn entries(&mut self, count: usize, mut make: impl FnMut(&mut Self) -> Value) -> Value {
        let entries = (0..count).map(|_| (self.pick(&TEXTS).to_owned(), make(self)));
        Value::Object(entries.collect())
    }

    fn item(&mut self, item: Item, depth: usize) -> Value {
        match item {
            Item::String => self.pick(&TEXTS).into(),
            Item::Bool => (self.choose(2) == 1).into(),
            Item::Int32 => self.pick(&NUMBERS[..6]).into(),
            Item::Int64 => self.pick(&NUMBERS).into(),
            Item::Double => self.pick(&[0.0, 1.0, 0.1, -2.5, 1e300]).into(),
            Item::Bytes => self.pick(&["", "AA==", "aGVsbG8="]).into(),
            Item::Type(ty) => self.value(ty, depth + 1),
        }
    }

    fn value(&mut self, ty: &'static Type, depth: usize) -> Value {
        match ty.shape {
            Shape::Struct => self.object(ty, depth),
            Shape::Time => self.pick(&TIMES).into(),
            Shape::MicroTime => self
                .pick(&["1970-01-01T00:00:00.000001Z", "2024-01-01T00:00:00.500000+01:00"])
                .into(),
            Shape::Quantity => self.pick(&QUANTITIES).into(),
            Shape::IntOrString if self.choose(2) == 1 => self.pick(&TEXTS).into(),
            Shape::IntOrString => self.pick(&NUMBERS[..6]).into(),
            Shape::Raw | Shape::FieldsV1 => {
                serde_json::json!({"f:a": {".": {}}, "k": [1, "x", null, true, 0.5]})
            }
            Shape::Json => self
                .pick(&[r#"{"a": [1]}"#, "\"x\"", "5", "false", "[]"])
                .parse()
                .unwrap(),
            shape => match (self.choose(2), shape) {
                (0, Shape::SchemaOrBool) => (self.choose(2) == 1).into(),
                (0, Shape::SchemaOrStrings) => vec!["a", "b"].into(),
                (0, Shape::SchemaOrArray) => vec![self.schema(depth)].into(),
                _ => self.schema(depth),
            },
        }
    }

    fn schema(&mut self, depth: usize) -> Value {
        let ty = table::by_name("io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaProps")
            .unwrap();
        self.object(ty, depth + 1)
    }
}

/// Checks a law for values of every type that can stand alone.
fn for_every_type(law: impl Fn(&'static Type, Value) -> Result<(), TestCaseError>) {
    for ty in table::all() {
        let (Some(gvk), false) = (ty.gvk, ty.message.is_empty()) else {
            continue;
        };
        let mut runner = TestRunner::new(ProptestConfig {
            cases: 12,
            failure_persistence: None,
            ..Default::default()
        });
        let choices = prop::collection::vec(any::<u8>(), 0..1000);
        let result = runner.run(&choices, |choices| {
            let mut value = Maker { choices: &choices }.object(ty, 0);
            if ty.field("kind").is_some() {
                value["apiVersion"] = gvk.api_version().into();
                value["kind"] = gvk.kind.into();
            }
            let findings = conform(&mut value, ty).map_err(|error| TestCaseError::fail(error.to_string()))?;
            prop_assert!(findings.is_empty(), "{findings:?}");
            law(ty, value)
        });
        if let Err(error) = result {
            panic!("{}: {error}", ty.name);
        }
    }
}

#[test]
fn conforming_again_changes_nothing() {
    for_every_type(|ty, value| {
        let mut again = value.clone();
        conform(&mut again, ty).unwrap();
        prop_assert_eq!(again, value);
        Ok(())
    });
}

#[test]
fn protobuf_keeps_everything() {
    for_every_type(|ty, value| {
        let bytes = protobuf::encode(&value, ty).unwrap();
        let back = protobuf::decode(&bytes, ty).unwrap().value;
        prop_assert_eq!(&back, &value);
        prop_assert_eq!(protobuf::encode(&back, ty).unwrap(), bytes);
        Ok(())
    });
}

#[test]
fn a_stored_object_and_its_revision_are_the_object_as_of_that_revision() {
    for_every_type(|ty, mut value| {
        let Some(metadata) = ty.field("metadata") else {
            return Ok(());
        };
        if !matches!(metadata.ty.item, Item::Type(meta) if meta.name.ends_with(".meta.v1.ObjectMeta")) {
            return Ok(());
        }
        if !value["metadata"].is_object() {
            value["metadata"] = Value::Object(Map::new());
        }
        value["metadata"]["resourceVersion"] = "10".into();
        let wanted = protobuf::encode(&value, ty).unwrap();
        value["metadata"]
            .as_object_mut()
            .unwrap()
            .remove("resourceVersion");
        let stored = protobuf::encode(&value, ty).unwrap();
        for before in [&stored, &wanted] {
            let (envelope, bytes) = protobuf::with_revision(before, 10).unwrap();
            prop_assert_eq!(envelope.kind, ty.gvk.unwrap().kind);
            prop_assert_eq!(&bytes, &wanted);
        }
        Ok(())
    });
}

#[test]
fn json_keeps_everything() {
    for_every_type(|ty, value| {
        let decoded = json::decode(&json::encode(&value), ty).unwrap();
        prop_assert_eq!(decoded.findings, Vec::<String>::new());
        prop_assert_eq!(decoded.value, value);
        Ok(())
    });
}

#[test]
fn yaml_keeps_everything() {
    for_every_type(|ty, value| {
        let decoded = yaml::decode(&yaml::encode(&value), ty).unwrap();
        prop_assert_eq!(decoded.findings, Vec::<String>::new());
        prop_assert_eq!(decoded.value, value);
        Ok(())
    });
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..Default::default() })]

    #[test]
    fn no_bytes_make_a_decoder_panic(bytes in prop::collection::vec(any::<u8>(), 0..400), at in any::<prop::sample::Index>()) {
        let ty = at.get(table::all());
        let _ = protobuf::decode_message(&bytes, ty);
        let _ = json::decode(&bytes, ty);
        let _ = yaml::decode(&bytes, ty);
        let mut envelope = protobuf::PREFIX.to_vec();
        envelope.extend(&bytes);
        let _ = protobuf::decode(&envelope, ty);
        let _ = protobuf::with_revision(&envelope, 7);
    }

    #[test]
    fn damaged_protobuf_makes_no_decoder_panic(
        choices in prop::collection::vec(any::<u8>(), 0..800),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let ty = table::by_gvk("", "v1", "Pod").unwrap();
        let mut value = Maker { choices: &choices }.object(ty, 0);
        conform(&mut value, ty).unwrap();
        let mut bytes = protobuf::encode(&value, ty).unwrap();
        for (at, byte) in damage {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        // Whatever can still be read can be written.
        if let Ok(decoded) = protobuf::decode(&bytes, ty) {
            protobuf::encode(&decoded.value, ty).unwrap();
        }
    }

    #[test]
    fn text_of_json_shape_makes_no_decoder_panic(text in r#"[\[\]{}:,"a-c0-9.eE\\ nulltrfs-]{0,60}"#) {
        let ty = table::by_gvk("", "v1", "Pod").unwrap();
        let _ = json::decode(text.as_bytes(), ty);
        let _ = yaml::decode(text.as_bytes(), ty);
    }

    #[test]
    fn times_are_read_as_they_are_written(seconds in -62_000_000_000_i64..253_402_300_799, nanos in 0_u32..1_000_000) {
        let moment = time::Moment { seconds, nanos: nanos * 1000 };
        let micro = time::format_micro(moment).unwrap();
        prop_assert_eq!(time::parse_micro(&micro).unwrap(), moment);
        prop_assert_eq!(time::parse(&time::format(moment).unwrap()).unwrap(), time::Moment { seconds, nanos: 0 });
    }
}
