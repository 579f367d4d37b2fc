//! Where the parts of a JSON text stand in it. For texts that have been read as JSON before; of others there are no parts.

use std::collections::BTreeMap;

use serde::de::IgnoredAny;
use serde_json::Deserializer;

/// The texts of an object's values by their keys; of keys that stand twice, the last.
pub(super) fn members(text: &str) -> BTreeMap<String, &str> {
    let mut members = BTreeMap::new();
    let Some(mut rest) = opened(text, '{') else {
        return members;
    };
    while let Some((key, after)) = first(rest) {
        let key = serde_json::from_str::<String>(key).ok();
        let value = trimmed(after).strip_prefix(':').and_then(first);
        let (Some(key), Some((value, after))) = (key, value) else {
            break;
        };
        members.insert(key, value);
        rest = past_comma(after);
    }
    members
}

/// The texts of a list's items.
pub(super) fn items(text: &str) -> Vec<&str> {
    let mut items = Vec::new();
    let Some(mut rest) = opened(text, '[') else {
        return items;
    };
    while let Some((item, after)) = first(rest) {
        items.push(item);
        rest = past_comma(after);
    }
    items
}

/// The text of the value that comes first, and what follows it.
fn first(text: &str) -> Option<(&str, &str)> {
    let text = trimmed(text);
    let mut values = Deserializer::from_str(text).into_iter::<IgnoredAny>();
    values.next()?.ok()?;
    text.split_at_checked(values.byte_offset())
}

fn opened(text: &str, bracket: char) -> Option<&str> {
    trimmed(text).strip_prefix(bracket)
}

fn past_comma(text: &str) -> &str {
    let text = trimmed(text);
    text.strip_prefix(',').unwrap_or(text)
}

fn trimmed(text: &str) -> &str {
    text.trim_start_matches([' ', '\t', '\n', '\r'])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_are_found_by_their_keys() {
        let text = "\n{ \"a\" : 1 ,\"b\":{ \"c\" : [ \"}\\\"\" ] }, \"\\u0064\":-1.50e3,\t\"e\":null,\"a\":\"x, y\" }";
        let found: Vec<_> = members(text).into_iter().collect();
        let wanted = [
            ("a", r#""x, y""#),
            ("b", r#"{ "c" : [ "}\"" ] }"#),
            ("d", "-1.50e3"),
            ("e", "null"),
        ];
        assert_eq!(found, wanted.map(|(key, value)| (key.to_owned(), value)));
        for text in ["", "{", "{}", " { } ", "[1]", "1", "null", r#""{""#] {
            assert_eq!(members(text), BTreeMap::new(), "{text}");
        }
    }

    #[test]
    fn items_are_found_in_their_order() {
        for (text, wanted) in [
            (
                r#" [ 1 , {"a": [2,3]},true,"],", [ ] ,null]"#,
                &["1", r#"{"a": [2,3]}"#, "true", r#""],""#, "[ ]", "null"][..],
            ),
            ("[]", &[]),
            ("[ ]", &[]),
            ("{}", &[]),
            ("7", &[]),
        ] {
            assert_eq!(items(text), wanted, "{text}");
        }
    }
}
