//! The Prometheus text format, as far as node agents use it. Pure.

use std::collections::BTreeMap;

/// A value with its labels.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Value {
    /// Of the metric.
    pub(super) name: String,
    pub(super) labels: BTreeMap<String, String>,
    pub(super) value: f64,
    /// When it was measured, in milliseconds since 1970, where that is said.
    pub(super) at: Option<i64>,
}

/// Every value of a text; what cannot be read is passed over.
pub(super) fn read(text: &str) -> Vec<Value> {
    text.lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .filter_map(line)
        .collect()
}

fn line(line: &str) -> Option<Value> {
    let end = line.find(|letter: char| letter == '{' || letter.is_whitespace())?;
    let (name, rest) = line.split_at(end);
    let (labels, rest) = match rest.strip_prefix('{') {
        Some(rest) => labels(rest)?,
        None => (BTreeMap::new(), rest),
    };
    let mut numbers = rest.split_whitespace();
    let value = numbers.next()?.parse().ok()?;
    Some(Value {
        name: name.to_owned(),
        labels,
        value,
        at: numbers.next().and_then(|at| at.parse().ok()),
    })
}

/// The labels up to the closing brace, and what comes after it.
fn labels(text: &str) -> Option<(BTreeMap<String, String>, &str)> {
    let mut labels = BTreeMap::new();
    let mut rest = text.trim_start();
    loop {
        if let Some(after) = rest.strip_prefix('}') {
            return Some((labels, after));
        }
        let (name, after) = rest.split_once('=')?;
        let (value, after) = quoted(after.trim_start().strip_prefix('"')?)?;
        labels.insert(name.trim().to_owned(), value);
        rest = after.trim_start().trim_start_matches(',').trim_start();
    }
}

/// A text up to its closing quote, with what was escaped in it, and what comes after it.
fn quoted(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut letters = text.char_indices();
    while let Some((at, letter)) = letters.next() {
        match letter {
            '"' => return Some((value, &text[at + 1..])),
            '\\' => match letters.next()?.1 {
                'n' => value.push('\n'),
                other => value.push(other),
            },
            other => value.push(other),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_with_and_without_labels() {
        let text = "# HELP a b\n# TYPE a counter\n\
            a{container=\"c\",pod=\"p \\\"q\\\" \\\\,}\"} 1.5 7000\n\
            b 2e3\n\
            broken{x=1} 5\n\
            c{} NaN\n";
        let found = read(text);
        assert_eq!(found.len(), 3);
        assert_eq!(found[0].labels["pod"], "p \"q\" \\,}");
        assert_eq!((found[0].value, found[0].at), (1.5, Some(7000)));
        assert_eq!(
            (found[1].name.as_str(), found[1].value, found[1].at),
            ("b", 2000.0, None)
        );
        assert!(found[2].value.is_nan());
    }
}
