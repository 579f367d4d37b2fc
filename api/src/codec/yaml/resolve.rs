//! What an unquoted scalar means in YAML 1.1, as Go's `yaml.v2` reads it: text that would mean something else is quoted.

use std::sync::LazyLock;

use regex::Regex;

/// Words that are booleans, null, numbers or merge keys.
const WORDS: [&str; 37] = [
    "y", "Y", "yes", "Yes", "YES", "true", "True", "TRUE", "on", "On", "ON", "n", "N", "no", "No", "NO",
    "false", "False", "FALSE", "off", "Off", "OFF", "", "~", "null", "Null", "NULL", ".nan", ".NaN", ".NAN",
    ".inf", ".Inf", ".INF", "+.inf", "+.Inf", "+.INF", "<<",
];
const NEGATIVE_INFINITY: [&str; 3] = ["-.inf", "-.Inf", "-.INF"];

/// Integers in four bases, underscores taken out first; an old octal number starts with a plain zero.
static INTEGER: LazyLock<Regex> =
    LazyLock::new(|| pattern(r"^[-+]?(0[xX][0-9a-fA-F]+|0[oO]?[0-7]+|0[bB][01]+|0|[1-9][0-9]*)$"));
static FLOAT: LazyLock<Regex> =
    LazyLock::new(|| pattern(r"^[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?$"));
/// Numbers in base 60, which nobody writes on purpose: `12:30:45`.
static SEXAGESIMAL: LazyLock<Regex> =
    LazyLock::new(|| pattern(r"^[-+]?[0-9][0-9_]*(:[0-5]?[0-9])+(\.[0-9_]*)?$"));
/// Dates, with a time or without; whether the day exists is looked at apart.
static TIMESTAMP: LazyLock<Regex> = LazyLock::new(|| {
    pattern(concat!(
        r"^[0-9]{4}-(0?[1-9]|1[0-2])-(0?[1-9]|[12][0-9]|3[01])",
        r"(([Tt ]([01]?[0-9]|2[0-4]):[0-5]?[0-9]:[0-5]?[0-9]([.,][0-9]+)?(Z|[-+][0-9]{2}:[0-9]{2})?))?$"
    ))
});

fn pattern(text: &str) -> Regex {
    Regex::new(text).expect("a constant pattern")
}

/// Whether the text, unquoted, would be read as the same text.
pub(super) fn is_text(text: &str) -> bool {
    if WORDS.contains(&text) || NEGATIVE_INFINITY.contains(&text) {
        return false;
    }
    // Only what starts like a number can be one.
    if !text.starts_with(['+', '-', '.', '0', '1', '2', '3', '4', '5', '6', '7', '8', '9']) {
        return true;
    }
    let plain = text.replace('_', "");
    !(INTEGER.is_match(&plain)
        || FLOAT.is_match(&plain)
        || SEXAGESIMAL.is_match(text)
        || TIMESTAMP.is_match(text))
}

#[cfg(test)]
mod tests {
    use super::is_text;

    #[test]
    fn what_means_something_else_is_no_text() {
        for text in [
            "",
            "y",
            "No",
            "on",
            "~",
            "null",
            "1",
            "-1",
            "+3",
            "1_000",
            "0x1F",
            "0b11",
            "0o17",
            "0644",
            "1.5",
            ".5",
            "1e3",
            "1.",
            ".inf",
            "-.INF",
            "<<",
            "12:30:45",
            "2008-01-01T01:01:01Z",
            "2008-01-01",
            "2008-1-1 1:2:3",
        ] {
            assert!(!is_text(text), "{text:?}");
        }
        for text in [
            "yep",
            "nil",
            "a1",
            "1a",
            "0x",
            "1.2.3",
            "10.96.0.1",
            "-",
            "v1",
            "1Gi",
            "100m",
            "2008-01",
            "2008-13-01",
            "1:90",
            "e3",
            "+",
            "0888x",
        ] {
            assert!(is_text(text), "{text:?}");
        }
    }
}
