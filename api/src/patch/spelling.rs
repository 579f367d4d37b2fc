//! JSON in which every text, number and truth value is its own spelling, for the sake of JSON patches that test.
//!
//! Upstream's library compares scalars as bytes: those of the object as Go writes them, those of the patch as they were sent. So a
//! `<` that was sent as such is not the `\u003c` that Go writes, and `1.0` is not `1`, although both mean the same.

use serde_json::{Number, Value};

use crate::codec::json::html_escaped;

/// What was sent, each scalar spelled as it was; nothing where the text is no JSON. Null stays null: upstream has no bytes of it.
pub(super) fn sent(text: &str) -> Option<Value> {
    let bytes = text.as_bytes();
    let (mut out, mut at) = (String::with_capacity(text.len() * 2), 0);
    while let Some(byte) = bytes.get(at) {
        let end = match byte {
            b'"' => end_of_text(bytes, at)?,
            b'-' | b'0'..=b'9' | b't' | b'f' | b'n' => end_of_word(bytes, at),
            _ => at + text.get(at..)?.chars().next()?.len_utf8(),
        };
        let part = text.get(at..end)?;
        match byte {
            b'"' if !is_key(bytes, end) => out.push_str(&Value::from(part).to_string()),
            b'-' | b'0'..=b'9' | b't' | b'f' => out.push_str(&Value::from(part).to_string()),
            _ => out.push_str(part),
        }
        at = end;
    }
    serde_json::from_str(&out).ok()
}

fn end_of_text(bytes: &[u8], start: usize) -> Option<usize> {
    let mut at = start + 1;
    loop {
        match bytes.get(at)? {
            b'"' => return Some(at + 1),
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
}

fn end_of_word(bytes: &[u8], start: usize) -> usize {
    let inside = |byte: &&u8| byte.is_ascii_alphanumeric() || b"+-.".contains(byte);
    start + bytes[start..].iter().take_while(inside).count()
}

/// Whether a colon follows.
fn is_key(bytes: &[u8], end: usize) -> bool {
    let mut rest = bytes[end..].iter();
    rest.find(|byte| !byte.is_ascii_whitespace()) == Some(&b':')
}

/// The value, each scalar spelled as Go writes it.
pub(super) fn written(value: &Value) -> Value {
    match value {
        Value::Null => Value::Null,
        Value::Object(fields) => {
            let fields = fields.iter().map(|(name, value)| (name.clone(), written(value)));
            Value::Object(fields.collect())
        }
        Value::Array(items) => items.iter().map(written).collect(),
        Value::Number(number) => Value::from(number_written(number)),
        Value::Bool(_) | Value::String(_) => Value::from(html_escaped(&value.to_string())),
    }
}

fn number_written(number: &Number) -> String {
    let Some(float) = number.as_f64().filter(|_| number.is_f64()) else {
        return number.to_string();
    };
    if float == 0.0 || (1e-6..1e21).contains(&float.abs()) {
        return float.to_string();
    }
    let text = format!("{float:e}");
    if text.contains("e-") {
        text
    } else {
        text.replace('e', "e+")
    }
}

/// What is spelled.
pub(super) fn meant(spelled: Value) -> Value {
    match spelled {
        Value::Object(fields) => fields
            .into_iter()
            .map(|(name, value)| (name, meant(value)))
            .collect(),
        Value::Array(items) => items.into_iter().map(meant).collect(),
        Value::String(text) => serde_json::from_str(&text).unwrap_or(Value::String(text)),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn scalars_are_spelled_as_they_were_sent() {
        let text = r#" {"a<" : "b\u003c", "c":[1.0, -2e3,true,null, "\"x\\"], "d":{}, "é":"é"}"#;
        let spelled = json!({
            "a<": r#""b\u003c""#, "c": ["1.0", "-2e3", "true", null, r#""\"x\\""#], "d": {}, "é": "\"é\"",
        });
        assert_eq!(sent(text), Some(spelled.clone()));
        assert_eq!(meant(spelled), serde_json::from_str::<Value>(text).unwrap());
    }

    #[test]
    fn scalars_are_spelled_as_go_writes_them() {
        let value = json!({"t": "<é\">", "n": [1, 1.0, 0.5, 1e21, 1e-7, -3], "b": false, "z": null});
        let spelled = json!({
            "t": r#""\u003cé\"\u003e""#, "n": ["1", "1", "0.5", "1e+21", "1e-7", "-3"], "b": "false", "z": null,
        });
        assert_eq!(written(&value), spelled);
    }
}
