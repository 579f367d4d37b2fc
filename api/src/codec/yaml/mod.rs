//! YAML to objects and back.
//!
//! One document, read and written as upstream's `sigs.k8s.io/yaml` does over Go's `yaml.v2`: scalars are those of YAML 1.1
//! (`yes` is true, `0777` is 511), keys become strings, merge keys merge, and aliases are followed within upstream's
//! bounds. What YAML 1.1 takes for something else is written in quotes.

mod build;
mod keys;
mod resolve;
mod scalar;
mod tabs;
mod tree;
mod words;
mod write;

use serde_json::Value;

use super::json::Parsed;
use super::{DecodeError, Decoded, json};
use crate::table::Type;

/// Reads YAML of whatever type: what `YAMLToJSON` makes of it. Keys that stand twice are named together, as
/// `YAMLToJSONStrict` names them.
pub fn parse(bytes: &[u8]) -> Result<Parsed, DecodeError> {
    let bytes = bytes.strip_prefix("\u{feff}".as_bytes()).unwrap_or(bytes);
    let text = match (words::unreadable(bytes), std::str::from_utf8(bytes)) {
        (None, Ok(text)) => text,
        (fault, _) => return Err(DecodeError::Yaml(fault.unwrap_or_default().to_owned())),
    };
    if let Some(value) = plain_json(text) {
        let duplicates = Vec::new();
        return Ok(Parsed {
            value,
            duplicates,
            keys: Vec::new(),
            overlaid: Vec::new(),
        });
    }
    let nodes = tree::read(text)?;
    if nodes.is_empty() {
        return Ok(Parsed {
            value: Value::Null,
            duplicates: Vec::new(),
            keys: Vec::new(),
            overlaid: Vec::new(),
        });
    }
    build::value(&nodes)
}

/// The value of text that is JSON already, which most YAML that clients send is; faster than reading it as YAML, and with
/// the same result. Keys that stand twice have to be reported as those of YAML.
fn plain_json(text: &str) -> Option<Value> {
    if !text.trim_ascii_start().starts_with('{') {
        return None;
    }
    let parsed = json::parse_quietly(text.as_bytes())?;
    let Parsed {
        mut value,
        duplicates,
        ..
    } = parsed;
    build::whole_numbers(&mut value);
    duplicates.is_empty().then_some(value)
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
    use crate::codec::DecodeError;
    use crate::patch::merge::tests::any_json;

    /// What `YAMLToJSON` of sigs.k8s.io/yaml v1.6.0 answers, and its words where it refuses.
    #[test]
    fn documents_mean_what_they_mean_upstream() {
        let table = [
            ("", json!(null)),
            ("# only a comment\n", json!(null)),
            ("---\na: 1\n---\nb: 2\n", json!({"a": 1})),
            ("{} {}", json!({})),
            (
                "a: &x {1: one, true: yes}\nb: *x\n",
                json!({"a": {"1": "one", "true": true}, "b": {"1": "one", "true": true}}),
            ),
            (
                "[yes, 'yes', \"no\", 0777, 1.0, 1e3, 1_000, 2001-01-01]",
                json!([true, "yes", "no", 511, 1, 1000, 1000, "2001-01-01"]),
            ),
            (
                "on: 1\n1.50: 2\n.inf: 3\n1e10: 4\n0x10: 5\n",
                json!({"true": 1, "1.5": 2, ".inf": 3, "1e+10": 4, "16": 5}),
            ),
            (
                "a: |\n  yes\nb: !!str yes\nc: !own 5\nd: ! 5\n",
                json!({"a": "yes\n", "b": "yes", "c": "5", "d": "5"}),
            ),
            (
                "a: !!binary aGVsbG8=\nb: !!float 1\n",
                json!({"a": "hello", "b": 1}),
            ),
            (
                "base: &b {x: 1, z: 2}\nc: {<<: *b, z: 3}\nd: {z: 3, <<: *b}\n",
                json!({"base": {"x": 1, "z": 2}, "c": {"x": 1, "z": 3}, "d": {"x": 1, "z": 2}}),
            ),
            ("a: {<<: [{x: 1}, {x: 2, z: 3}]}", json!({"a": {"x": 1, "z": 3}})),
            ("? a\n: b\n? c\n", json!({"a": "b", "c": null})),
            ("a: |\n  ends here", json!({"a": "ends here"})),
            ("a: |\n  b\nc: 1", json!({"a": "b\n", "c": 1})),
            ("a: |+\n  b\n\n", json!({"a": "b\n\n"})),
            ("a: >\n  b\n  ", json!({"a": "b\n"})),
            (
                "{\"a\":\t1.0, \"b\": [1e2, 0.5]}",
                json!({"a": 1, "b": [100, 0.5]}),
            ),
            // As many digits as tell the float from its neighbours, and then zeros.
            (
                "[+013304758729221878955, 4611686018427387904.0, -1e19]",
                json!([
                    13_304_758_729_221_880_000_u64,
                    4_611_686_018_427_388_000_i64,
                    -1e19
                ]),
            ),
            ("{\"a\": 1, \"a\": 2}", json!({"a": 2})),
            ("a: &k b\n*k : c\n", json!({"a": "b", "b": "c"})),
            (
                "a: b\t# why\nc: {d: 1,\te: 2}\n",
                json!({"a": "b", "c": {"d": 1, "e": 2}}),
            ),
            ("a: |\n  b\n  \tc\nd: 1\n", json!({"a": "b\n\tc\n", "d": 1})),
        ];
        for (text, want) in table {
            assert_eq!(
                parse(text.as_bytes()).map(|parsed| parsed.value),
                Ok(want),
                "{text:?}"
            );
        }
    }

    #[test]
    fn what_means_nothing_is_refused_in_upstream_s_words() {
        let table = [
            ("a: [", "yaml: line 1: did not find expected node content"),
            ("a: b: c", "yaml: mapping values are not allowed in this context"),
            (
                "a:\n  b: c: d",
                "yaml: line 2: mapping values are not allowed in this context",
            ),
            (
                "a:\n\tb: 1",
                "yaml: line 2: found character that cannot start any token",
            ),
            (
                "a:\n  b: 1\n\n \tc: 1",
                "yaml: line 4: found a tab character that violates indentation",
            ),
            (
                "a: {}\n\tb: 1",
                "yaml: line 2: found character that cannot start any token",
            ),
            (
                "a:\n  - b: 'x'\n\t# why\n    c: 1\n",
                "yaml: line 3: found character that cannot start any token",
            ),
            (
                "a:\n-\tb: 1\n",
                "yaml: line 2: found character that cannot start any token",
            ),
            ("\ta: 1", "yaml: found character that cannot start any token"),
            ("a: 'b' c", "yaml: did not find expected key"),
            ("a: 'b\n", "yaml: line 2: found unexpected end of stream"),
            ("{\"a\": \"b", "yaml: found unexpected end of stream"),
            ("a: @b", "yaml: found character that cannot start any token"),
            ("a:\n  - b\n - c\n", "yaml: line 2: did not find expected key"),
            ("a: *b", "yaml: unknown anchor 'b' referenced"),
            ("a: &a [*a]", "yaml: anchor 'a' value contains itself"),
            ("a: .inf", "json: unsupported value: +Inf"),
            ("a: .nan", "json: unsupported value: NaN"),
            (
                "~: a",
                "unsupported map key of type: %!s(<nil>), key: <nil>, value: \"a\"",
            ),
            ("[1]: a", "yaml: invalid map key: []interface {}{1}"),
            (
                "<<: 1",
                "yaml: map merge requires map or sequence of maps as the value",
            ),
            ("a: !!int x", "yaml: cannot decode !!str `x` as a !!int"),
            ("a: \u{7}", "yaml: control characters are not allowed"),
        ];
        for (text, message) in table {
            let error = parse(text.as_bytes()).unwrap_err();
            assert_eq!(error.to_string(), message, "{text:?}");
        }
        let error = parse(b"a: \xff").unwrap_err();
        assert_eq!(error.to_string(), "yaml: invalid leading UTF-8 octet");
    }

    #[test]
    fn keys_that_stand_twice_are_named_together() {
        let parsed = parse(b"a: 1\nb: {c: 1,\n c: 2}\na: 3\n1: v\n1: w\n").unwrap();
        assert_eq!(parsed.value, json!({"a": 3, "b": {"c": 2}, "1": "w"}));
        let words = "yaml: unmarshal errors:\n  line 3: key \"c\" already set in map\n  \
                     line 4: key \"a\" already set in map\n  line 6: key 1 already set in map";
        assert_eq!(parsed.duplicates, [words]);
    }

    /// yaml.v2's limit_test.go, and what Go need not fear: a long text that is repeated.
    #[test]
    fn bombs_are_refused() {
        let mut levels = "a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n".to_owned();
        for level in 1..10 {
            let below = vec![format!("*a{}", level - 1); 10].join(",");
            levels.push_str(&format!("a{level}: &a{level} [{below}]\n"));
        }
        let long = format!("a: &a {}\nb: [{}]\n", "x".repeat(1 << 20), "*a,".repeat(90));
        let entries: String = (0..500).map(|key| format!("k{key}: v, ")).collect();
        let merged = format!("a: &a {{{entries}}}\nb: [{}]\n", "{<<: *a},".repeat(10_000));
        for bomb in [levels, long, merged] {
            let error = parse(bomb.as_bytes()).unwrap_err();
            assert_eq!(error.to_string(), "yaml: document contains excessive aliasing");
        }
        let fair = format!("a: &a {{k: v}}\nb: [{}]\n", "*a,".repeat(300));
        assert!(parse(fair.as_bytes()).is_ok());
        let deep = format!("a: {}{}", "[".repeat(5000), "]".repeat(5000));
        assert_eq!(parse(deep.as_bytes()), Err(DecodeError::TooDeep));
        let too_deep = "- ".repeat(20_000);
        assert!(parse(too_deep.as_bytes()).is_err());
    }

    proptest! {
        #[test]
        fn what_was_written_is_read_back(value in any_json(), text in "\\PC*|[ -~\n\t#:'\"-]{0,120}") {
            let value = json!({ "value": value, "text": text, &text: [text] });
            prop_assert_eq!(parse(&encode(&value)).unwrap().value, value);
        }
    }
}
