//! What a scalar means in YAML 1.1, as Go's `yaml.v2` resolves it (its resolve.go).
//!
//! Both ways need it: what is read is what it resolves to, and text that would resolve to something else is written in
//! quotes.

use std::sync::LazyLock;

use jiff::civil;
use regex::Regex;

use crate::codec::base64;

/// A scalar with its type.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Scalar {
    Null,
    Bool(bool),
    Int(i64),
    /// Beyond what an `i64` holds.
    Uint(u64),
    Float(f64),
    Text(String),
}

/// The types that a plain scalar may have, each with a tag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Null,
    Bool,
    Int,
    Float,
    Timestamp,
    Text,
}

impl Kind {
    fn of_tag(tag: &str) -> Option<Kind> {
        Some(match tag.strip_prefix(LONG_PREFIX)? {
            "null" => Kind::Null,
            "bool" => Kind::Bool,
            "int" => Kind::Int,
            "float" => Kind::Float,
            "timestamp" => Kind::Timestamp,
            "str" => Kind::Text,
            _ => return None,
        })
    }

    fn tag(self) -> &'static str {
        match self {
            Kind::Null => "!!null",
            Kind::Bool => "!!bool",
            Kind::Int => "!!int",
            Kind::Float => "!!float",
            Kind::Timestamp => "!!timestamp",
            Kind::Text => "!!str",
        }
    }
}

const LONG_PREFIX: &str = "tag:yaml.org,2002:";

static FLOAT: LazyLock<Regex> =
    LazyLock::new(|| pattern(r"^[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?$"));
/// Numbers in base 60 (`12:30:45`), which are text to this library and numbers to others.
static SEXAGESIMAL: LazyLock<Regex> =
    LazyLock::new(|| pattern(r"^[-+]?[0-9][0-9_]*(:[0-5]?[0-9])+(\.[0-9_]*)?$"));
/// A date alone, or with a time: after a `T` with a zone, after a space without.
static TIMESTAMP: LazyLock<Regex> = LazyLock::new(|| {
    pattern(concat!(
        r"^(?<year>[0-9]{4})-(?<month>[0-9]{1,2})-(?<day>[0-9]{1,2})",
        r"([Tt ](?<hour>[0-9]{1,2}):(?<minute>[0-9]{1,2}):(?<second>[0-9]{1,2})([.,][0-9]+)?",
        r"(?<zone>Z|[-+][0-9]{2}:[0-9]{2})?)?$"
    ))
});

fn pattern(text: &str) -> Regex {
    Regex::new(text).expect("a constant pattern")
}

/// What text with a tag, or plain text without one, means; or in upstream's words why it means nothing.
pub(super) fn resolve(tag: Option<&str>, text: &str) -> Result<Scalar, String> {
    let Some(tag) = tag else {
        return Ok(plain(text, true).1);
    };
    if tag.strip_prefix(LONG_PREFIX) == Some("binary") {
        let bytes = base64::decode(text).ok();
        let bytes = bytes.ok_or("!!binary value contains invalid base64 data")?;
        return Ok(Scalar::Text(String::from_utf8_lossy(&bytes).into_owned()));
    }
    let wanted = Kind::of_tag(tag).unwrap_or(Kind::Text);
    if wanted == Kind::Text {
        return Ok(Scalar::Text(text.to_owned()));
    }
    match (wanted, plain(text, wanted == Kind::Timestamp)) {
        (Kind::Float, (Kind::Int, Scalar::Int(number))) => {
            #[expect(clippy::cast_precision_loss, reason = "as Go converts it")]
            let number = number as f64;
            Ok(Scalar::Float(number))
        }
        (wanted, (kind, scalar)) if kind == wanted => Ok(scalar),
        (wanted, (kind, _)) => Err(format!(
            "cannot decode {} `{text}` as a {}",
            kind.tag(),
            wanted.tag()
        )),
    }
}

/// Whether the text, unquoted, would be read as the same text by whatever reads YAML 1.1.
pub(super) fn is_text(text: &str) -> bool {
    plain(text, true).0 == Kind::Text && !SEXAGESIMAL.is_match(text)
}

/// What unquoted text means. Timestamps stay text, but are told apart.
fn plain(text: &str, timestamps: bool) -> (Kind, Scalar) {
    let found = match text.bytes().next() {
        None => Some((Kind::Null, Scalar::Null)),
        Some(b'+' | b'-' | b'0'..=b'9') => word(text)
            .or_else(|| {
                (timestamps && is_timestamp(text)).then(|| (Kind::Timestamp, Scalar::Text(text.to_owned())))
            })
            .or_else(|| number(&text.replace('_', ""))),
        Some(b'.') => word(text).or_else(|| fraction(text)),
        Some(b'y' | b'Y' | b'n' | b'N' | b't' | b'T' | b'f' | b'F' | b'o' | b'O' | b'~') => word(text),
        Some(_) => None,
    };
    found.unwrap_or_else(|| (Kind::Text, Scalar::Text(text.to_owned())))
}

fn word(text: &str) -> Option<(Kind, Scalar)> {
    Some(match text {
        "y" | "Y" | "yes" | "Yes" | "YES" | "true" | "True" | "TRUE" | "on" | "On" | "ON" => {
            (Kind::Bool, Scalar::Bool(true))
        }
        "n" | "N" | "no" | "No" | "NO" | "false" | "False" | "FALSE" | "off" | "Off" | "OFF" => {
            (Kind::Bool, Scalar::Bool(false))
        }
        "~" | "null" | "Null" | "NULL" => (Kind::Null, Scalar::Null),
        ".nan" | ".NaN" | ".NAN" => (Kind::Float, Scalar::Float(f64::NAN)),
        ".inf" | ".Inf" | ".INF" | "+.inf" | "+.Inf" | "+.INF" => (Kind::Float, Scalar::Float(f64::INFINITY)),
        "-.inf" | "-.Inf" | "-.INF" => (Kind::Float, Scalar::Float(f64::NEG_INFINITY)),
        _ => return None,
    })
}

/// An integer in one of Go's four bases, or a decimal number; underscores are taken out before.
fn number(text: &str) -> Option<(Kind, Scalar)> {
    integer(text)
        .map(|scalar| (Kind::Int, scalar))
        .or_else(|| float(text))
}

fn integer(text: &str) -> Option<Scalar> {
    let (sign, digits) = match text.strip_prefix(['+', '-']) {
        Some(digits) => (&text[..1], digits),
        None => ("", text),
    };
    let (radix, digits) = match digits.as_bytes() {
        [b'0', b'x' | b'X', ..] => (16, &digits[2..]),
        [b'0', b'o' | b'O', ..] => (8, &digits[2..]),
        [b'0', b'b' | b'B', ..] => (2, &digits[2..]),
        [b'0', _, ..] => (8, &digits[1..]),
        _ => (10, digits),
    };
    if !digits.starts_with(|first: char| first.is_ascii_alphanumeric()) {
        return None;
    }
    let size = u64::from_str_radix(digits, radix).ok()?;
    match (sign, i64::try_from(size)) {
        ("-", _) => 0_i64.checked_sub_unsigned(size).map(Scalar::Int),
        (_, Ok(number)) => Some(Scalar::Int(number)),
        // Go reads a sign only before what an int64 holds.
        ("", Err(_)) => Some(Scalar::Uint(size)),
        (_, Err(_)) => None,
    }
}

fn float(text: &str) -> Option<(Kind, Scalar)> {
    if !FLOAT.is_match(text) {
        return None;
    }
    let number: f64 = text.parse().ok()?;
    number.is_finite().then_some((Kind::Float, Scalar::Float(number)))
}

/// A number that starts with its point, where underscores may stand between digits only.
fn fraction(text: &str) -> Option<(Kind, Scalar)> {
    let bytes = text.as_bytes();
    let is_digit = |at: Option<usize>| at.and_then(|at| bytes.get(at)).is_some_and(u8::is_ascii_digit);
    let separates = |at: usize| is_digit(at.checked_sub(1)) && is_digit(Some(at + 1));
    let allowed = text.match_indices('_').all(|(at, _)| separates(at));
    allowed.then(|| float(&text.replace('_', ""))).flatten()
}

/// Whether Go's `time` reads it in one of the forms that the library allows.
fn is_timestamp(text: &str) -> bool {
    let Some(found) = TIMESTAMP.captures(text) else {
        return false;
    };
    let part = |name: &str| {
        found
            .name(name)
            .and_then(|part| part.as_str().parse::<i16>().ok())
    };
    let small = |name: &str| part(name).and_then(|part| i8::try_from(part).ok()).unwrap_or(-1);
    let Some(year) = part("year") else { return false };
    if civil::Date::new(year, small("month"), small("day")).is_err() {
        return false;
    }
    if found.name("hour").is_none() {
        return true;
    }
    let spaced = text.contains(' ');
    civil::Time::new(small("hour"), small("minute"), small("second"), 0).is_ok()
        && spaced != found.name("zone").is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

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
            "0888",
            "1.5",
            ".5",
            "1e3",
            "1.",
            ".inf",
            "-.INF",
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
            "2008-02-30",
            "2008-01-01T01:01:01",
            "2008-01-01 24:00:00",
            "1:90",
            "e3",
            "+",
            "0888x",
            "oN",
            "yES",
            "_1",
            "1e999",
        ] {
            assert!(is_text(text), "{text:?}");
        }
    }

    /// yaml.v2's resolve.go and decode_test.go.
    #[test]
    fn plain_scalars() {
        use Scalar::{Bool, Float, Int, Null, Text, Uint};
        let table = [
            ("yes", Bool(true)),
            ("Y", Bool(true)),
            ("On", Bool(true)),
            ("off", Bool(false)),
            ("n", Bool(false)),
            ("NULL", Null),
            ("~", Null),
            ("0777", Int(511)),
            ("0o777", Int(511)),
            ("-0x1f", Int(-31)),
            ("0b101", Int(5)),
            ("1_000", Int(1000)),
            ("-9223372036854775808", Int(i64::MIN)),
            ("18446744073709551615", Uint(u64::MAX)),
            ("0888", Float(888.0)),
            ("1e3", Float(1000.0)),
            (".5_0", Float(0.5)),
            ("685.230_15e+03", Float(685_230.15)),
            ("._5", Text("._5".to_owned())),
            ("2001-01-01", Text("2001-01-01".to_owned())),
            ("190:20:30", Text("190:20:30".to_owned())),
        ];
        for (text, want) in table {
            assert_eq!(resolve(None, text), Ok(want), "{text}");
        }
    }

    #[test]
    fn tags_say_what_is_meant() {
        let tagged = |tag: &str, text: &str| resolve(Some(&format!("{LONG_PREFIX}{tag}")), text);
        assert_eq!(tagged("str", "1"), Ok(Scalar::Text("1".to_owned())));
        assert_eq!(tagged("int", "0x10"), Ok(Scalar::Int(16)));
        assert_eq!(tagged("float", "1"), Ok(Scalar::Float(1.0)));
        assert_eq!(tagged("binary", "YQ=="), Ok(Scalar::Text("a".to_owned())));
        assert_eq!(resolve(Some("!own"), "1"), Ok(Scalar::Text("1".to_owned())));
        let table = [
            ("bool", "foo", "cannot decode !!str `foo` as a !!bool"),
            ("int", "1.5", "cannot decode !!float `1.5` as a !!int"),
            ("int", "2001-01-01", "cannot decode !!str `2001-01-01` as a !!int"),
            ("binary", "~", "!!binary value contains invalid base64 data"),
        ];
        for (tag, text, message) in table {
            assert_eq!(tagged(tag, text), Err(message.to_owned()), "{tag} {text}");
        }
    }
}
