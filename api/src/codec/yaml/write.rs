//! Objects as YAML, in the one form in which upstream's `sigs.k8s.io/yaml` writes them: keys in natural order, lists as far
//! out as the key they belong to, text quoted where YAML 1.1 would read something else.

use std::cmp::Ordering;

use serde_json::{Map, Number, Value};

use super::keys::shortest;
use super::scalar;
use crate::sort;

/// A key that is longer stands on a line of its own, after a question mark.
const SIMPLE_KEY_MAX: usize = 128;
const STEP: usize = 2;
/// Where 64 bits end.
pub(super) const WHOLE_BELOW: f64 = 18_446_744_073_709_551_616.0;

/// Writes a value as a document.
pub(super) fn document(value: &Value) -> String {
    let mut out = String::new();
    node(&mut out, value, 0, 0);
    out.push('\n');
    out
}

/// Writes a value where `out` ends. Its keys, if it is a map, stand at column `indent`, its items at column `items`.
fn node(out: &mut String, value: &Value, indent: usize, items: usize) {
    match value {
        Value::Object(fields) if !fields.is_empty() => map(out, fields, indent),
        Value::Array(list) if !list.is_empty() => {
            for (at, item) in list.iter().enumerate() {
                if at > 0 {
                    new_line(out, items);
                }
                out.push_str("- ");
                node(out, item, items + STEP, items + STEP);
            }
        }
        Value::Object(_) => out.push_str("{}"),
        Value::Array(_) => out.push_str("[]"),
        Value::String(text) => scalar::write(out, text, indent.max(STEP), false),
        Value::Number(number) => out.push_str(&written(number)),
        Value::Null | Value::Bool(_) => out.push_str(&value.to_string()),
    }
}

fn map(out: &mut String, fields: &Map<String, Value>, indent: usize) {
    let mut sorted: Vec<_> = fields.iter().collect();
    sort::tolerant(&mut sorted, &|(a, _), (b, _)| natural(a, b));
    for (at, (key, value)) in sorted.into_iter().enumerate() {
        if at > 0 {
            new_line(out, indent);
        }
        if key.len() > SIMPLE_KEY_MAX {
            out.push_str("? ");
            scalar::write(out, key, indent + STEP, false);
            new_line(out, indent);
            out.push_str(": ");
            node(out, value, indent + STEP, indent + STEP);
            continue;
        }
        scalar::write(out, key, indent + STEP, true);
        out.push(':');
        match value {
            Value::Object(inner) if !inner.is_empty() => new_line(out, indent + STEP),
            Value::Array(inner) if !inner.is_empty() => new_line(out, indent),
            // What means nothing needs no space before it.
            _ => out.push(' '),
        }
        node(out, value, indent + STEP, indent);
    }
}

fn written(number: &Number) -> String {
    match number.as_f64() {
        // Whole floats are integers in Go's JSON, as far as they can be.
        Some(float) if number.is_f64() && (float.fract() != 0.0 || float.abs() >= WHOLE_BELOW) => {
            shortest(&format!("{float:e}"), &float.to_string())
        }
        Some(float) if number.is_f64() => float.to_string(),
        _ => number.to_string(),
    }
}

fn new_line(out: &mut String, indent: usize) {
    out.push('\n');
    out.extend(std::iter::repeat_n(' ', indent));
}

/// The order of keys: numbers in them count by their value, and letters come after everything else. It is go-yaml's, to its
/// contradictions: of three odd keys each may come before the next and the last before the first.
fn natural(a: &str, b: &str) -> Ordering {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let Some(at) = a.iter().zip(&b).position(|(a, b)| a != b) else {
        return a.len().cmp(&b.len());
    };
    match (a[at].is_alphabetic(), b[at].is_alphabetic()) {
        (true, true) => return a[at].cmp(&b[at]),
        (true, false) => return Ordering::Greater,
        (false, true) => return Ordering::Less,
        (false, false) => {}
    }
    // A number of which the differing digit is a zero within it counts from its first digit that is not.
    let significant = |chars: &[char]| {
        let digits = chars[..at].iter().rev().take_while(|c| c.is_numeric());
        digits.into_iter().any(|c| *c != '0')
    };
    let lead = u64::from((a[at] == '0' || b[at] == '0') && significant(&a));
    let (first, second) = (number(&a, at, lead), number(&b, at, lead));
    first.cmp(&second).then(a[at].cmp(&b[at]))
}

/// The value of the digits from a place on, after a leading digit, and where they end.
fn number(chars: &[char], at: usize, lead: u64) -> (u64, usize) {
    let digits = chars[at..].iter().map_while(|c| c.to_digit(10));
    let (mut value, mut end) = (lead, at);
    for digit in digits {
        value = value.wrapping_mul(10).wrapping_add(u64::from(digit));
        end += 1;
    }
    (value, end)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn lists_stand_as_far_out_as_their_key() {
        let value = json!({"a": [{"b": 1, "c": ["x", ["y", "z"], [], {}]}], "d": {}, "e": null, "f": "one\ntwo\n", "g": ["l\nm"]});
        let want = "a:\n- b: 1\n  c:\n  - x\n  - - \"y\"\n    - z\n  - []\n  - {}\nd: {}\ne: null\nf: |\n  one\n  two\ng:\n- |-\n  l\n  m\n";
        assert_eq!(document(&value), want);
        assert_eq!(document(&json!("text")), "text\n");
    }

    #[test]
    fn keys_are_in_natural_order() {
        let value = json!({"a10": 1, "a2": 1, "a-b": 1, "ab": 1, "a": 1, "a02": 1, "B": 1, ".x": 1});
        let document = document(&value);
        let keys: Vec<_> = document
            .lines()
            .map(|line| line.trim_end_matches(": 1"))
            .collect();
        assert_eq!(keys, [".x", "B", "a", "a-b", "a2", "a02", "a10", "ab"]);
    }

    #[test]
    fn numbers_are_go_s() {
        let table = [
            (json!(3.0), "3"),
            (json!(1.5), "1.5"),
            (json!(1e-7), "1e-07"),
            (json!(1_600_000.5), "1.6000005e+06"),
            (json!(1e20), "1e+20"),
            (json!(u64::MAX), "18446744073709551615"),
        ];
        for (value, want) in table {
            assert_eq!(document(&value), format!("{want}\n"));
        }
    }

    #[test]
    fn long_keys_stand_alone() {
        let key = "k".repeat(129);
        let value = json!({ &key: {"a": "b"} });
        assert_eq!(document(&value), format!("? {key}\n: a: b\n"));
    }
}
