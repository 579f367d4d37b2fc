//! Keys that are no text, which JSON does not have: how they become text, and how Go prints keys and values in failures.

use serde_json::Value;

use super::resolve::Scalar;
use crate::quote::quote;

/// The key in JSON; or why there is none, in the words of `sigs.k8s.io/yaml`.
pub(super) fn name(key: &Scalar, value: &Value) -> Result<String, String> {
    let unsupported = |ty: &str, key: String| {
        let value = value_as_go(value);
        Err(format!(
            "unsupported map key of type: {ty}, key: {key}, value: {value}"
        ))
    };
    match key {
        Scalar::Text(text) => Ok(text.clone()),
        Scalar::Int(number) => Ok(number.to_string()),
        Scalar::Bool(flag) => Ok(flag.to_string()),
        Scalar::Float(number) => Ok(float(*number)),
        Scalar::Uint(number) => unsupported("uint64", format!("{number:#x}")),
        Scalar::Null => unsupported("%!s(<nil>)", "<nil>".to_owned()),
    }
}

/// A float as Go's `strconv.FormatFloat(number, 'g', -1, 32)` writes it, but for what YAML has words of its own.
fn float(number: f64) -> String {
    if number.is_nan() {
        return ".nan".to_owned();
    }
    #[expect(clippy::cast_possible_truncation, reason = "written as Go's float32")]
    let narrow = number as f32;
    if narrow.is_infinite() {
        return if number > 0.0 { ".inf" } else { "-.inf" }.to_owned();
    }
    shortest(&format!("{narrow:e}"), &narrow.to_string())
}

/// Go's `%g` of a number of which both forms are given: from 10⁶ on and below 10⁻⁴ with a power of ten.
pub(super) fn shortest(scientific: &str, plain: &str) -> String {
    let (digits, exponent) = scientific.split_once('e').unwrap_or((scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or_default();
    if (-4..6).contains(&exponent) {
        return plain.to_owned();
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{digits}e{sign}{:02}", exponent.abs())
}

/// A key as Go's `%#v` prints it.
pub(super) fn as_go(key: &Scalar) -> String {
    match key {
        Scalar::Null => "<nil>".to_owned(),
        Scalar::Bool(flag) => flag.to_string(),
        Scalar::Int(number) => number.to_string(),
        Scalar::Uint(number) => format!("{number:#x}"),
        Scalar::Float(number) => number.to_string(),
        Scalar::Text(text) => quote(text),
    }
}

/// A value as Go's `%#v` prints it.
pub(super) fn value_as_go(value: &Value) -> String {
    match value {
        Value::Null => "interface {}(nil)".to_owned(),
        Value::Bool(flag) => flag.to_string(),
        Value::Number(number) => number.to_string(),
        Value::String(text) => quote(text),
        Value::Array(items) => {
            let items: Vec<String> = items.iter().map(value_as_go).collect();
            format!("[]interface {{}}{{{}}}", items.join(", "))
        }
        Value::Object(entries) => {
            let entries = entries.iter();
            let entries = entries.map(|(key, value)| format!("{}:{}", quote(key), value_as_go(value)));
            let entries: Vec<String> = entries.collect();
            format!("map[interface {{}}]interface {{}}{{{}}}", entries.join(", "))
        }
    }
}
