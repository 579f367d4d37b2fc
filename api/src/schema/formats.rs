//! The formats of texts that schemas may ask for, as go-openapi's registry and upstream's own formats know them.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::LazyLock;

use regex::Regex;

use super::{Kind, email};
use crate::cel::library::time::duration_in_words;
use crate::cel::library::urls::Url;
use crate::cel::moment;

/// The formats of texts, without the dashes in which they may be written.
const TEXTS: [&str; 24] = [
    "bsonobjectid",
    "byte",
    "cidr",
    "creditcard",
    "date",
    "datetime",
    "duration",
    "email",
    "hexcolor",
    "hostname",
    "ipv4",
    "ipv6",
    "isbn",
    "isbn10",
    "isbn13",
    "mac",
    "password",
    "rgbcolor",
    "ssn",
    "uri",
    "uuid",
    "uuid3",
    "uuid4",
    "uuid5",
];

/// Formats that came with Kubernetes 1.34. Their names have dashes, which a name without them does not stand for.
const NAMES: [&str; 2] = ["k8sshortname", "k8slongname"];

/// How long a part of a host's name may be, in bytes.
const LABEL_MAX: usize = 63;

/// Whether a format means anything for values of a type; others are passed over.
pub(super) fn is_for(format: &str, kind: Option<Kind>, int_or_string: bool) -> bool {
    match kind {
        _ if format.is_empty() => false,
        _ if int_or_string => is_text(format),
        None | Some(Kind::String) => is_text(format),
        Some(Kind::Integer) => matches!(format, "int32" | "int64"),
        Some(Kind::Number) => matches!(format, "float" | "double"),
        Some(Kind::Array | Kind::Boolean | Kind::Object) => false,
    }
}

/// Whether a format of values of a type, as schemas call it, is one by which these are judged.
pub(crate) fn is_known(format: &str, kind: &str) -> bool {
    match kind {
        "" | "string" => is_text(format),
        "integer" => is_for(format, Some(Kind::Integer), false),
        "number" => is_for(format, Some(Kind::Number), false),
        _ => false,
    }
}

fn is_text(format: &str) -> bool {
    let name = format.replace('-', "");
    TEXTS.contains(&name.as_str()) || NAMES.contains(&name.as_str())
}

/// Whether a text is of a format; a format that is not known takes every text.
pub fn matches(format: &str, text: &str) -> bool {
    match format.replace('-', "").as_str() {
        "bsonobjectid" => text.len() == 24 && text.bytes().all(|byte| byte.is_ascii_hexdigit()),
        "byte" => is_base64(text),
        "cidr" => is_cidr(text),
        "creditcard" => is_credit_card(text),
        "date" => moment::day(text).is_some(),
        "datetime" => is_date_time(text),
        "duration" => duration_in_words(text).is_some(),
        "email" => email::is_address(text),
        "hexcolor" => is_hex_color(text),
        "hostname" => is_hostname(text),
        "ipv4" => is_ipv4(text),
        "ipv6" => text.contains(':') && text.parse::<Ipv6Addr>().is_ok(),
        "isbn" => is_isbn10(text) || is_isbn13(text),
        "isbn10" => is_isbn10(text),
        "isbn13" => is_isbn13(text),
        "mac" => is_mac(text),
        "rgbcolor" => is_rgb_color(text),
        "ssn" => is_ssn(text),
        "uri" => Url::parse(text).is_ok(),
        "uuid" => is_uuid(text, None),
        "uuid3" => is_uuid(text, Some('3')),
        "uuid4" => is_uuid(text, Some('4')),
        "uuid5" => is_uuid(text, Some('5')),
        "k8sshortname" => text.len() <= 63 && is_label(text),
        "k8slongname" => text.len() <= 253 && text.split('.').all(is_label),
        _ => true,
    }
}

fn is_label(text: &str) -> bool {
    let inside = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    !text.is_empty() && text.bytes().all(inside) && !text.starts_with('-') && !text.ends_with('-')
}

/// A pattern that is known to be one, compiled when it is first asked for.
macro_rules! pattern {
    ($pattern:expr) => {{
        static PATTERN: LazyLock<Regex> = LazyLock::new(|| Regex::new($pattern).expect("the pattern is one"));
        &*PATTERN
    }};
}

fn is_base64(text: &str) -> bool {
    let body = text.trim_end_matches('=');
    let padding = text.len() - body.len();
    let letter = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/');
    !text.is_empty() && text.len().is_multiple_of(4) && padding <= 2 && body.bytes().all(letter)
}

/// An address in dots, in which zeros may stand in front.
fn is_ipv4(text: &str) -> bool {
    let parts: Vec<&str> = text.split('.').collect();
    let byte = |part: &&str| {
        !part.is_empty()
            && part.bytes().all(|byte| byte.is_ascii_digit())
            && part.trim_start_matches('0').len() <= 3
            && part.parse::<u32>().is_ok_and(|number| number < 256)
    };
    if parts.len() == 4 && parts.iter().all(byte) {
        return true;
    }
    // An address of version 6 may end in one of version 4.
    text.contains('.') && text.parse::<Ipv6Addr>().is_ok()
}

fn is_cidr(text: &str) -> bool {
    let Some((address, bits)) = text.split_once('/') else {
        return false;
    };
    let plain = !bits.is_empty() && bits.bytes().all(|byte| byte.is_ascii_digit());
    let Some(bits) = bits.parse::<u32>().ok().filter(|_| plain) else {
        return false;
    };
    if address.contains(':') {
        address.parse::<Ipv6Addr>().is_ok() && bits <= 128
    } else {
        (address.parse::<Ipv4Addr>().is_ok() || is_ipv4(address)) && bits <= 32
    }
}

fn is_credit_card(text: &str) -> bool {
    let digits: String = text.chars().filter(char::is_ascii_digit).collect();
    let issuers = pattern!(
        "^(?:4[0-9]{12}(?:[0-9]{3})?|5[1-5][0-9]{14}|6(?:011|5[0-9][0-9])[0-9]{12}|3[47][0-9]{13}\
         |3(?:0[0-5]|[68][0-9])[0-9]{11}|(?:2131|1800|35[0-9]{3})[0-9]{11})$"
    );
    if !issuers.is_match(&digits) {
        return false;
    }
    let sum: u32 = digits
        .bytes()
        .rev()
        .enumerate()
        .map(|(place, byte)| {
            let digit = u32::from(byte - b'0');
            match (place % 2 == 1, digit * 2) {
                (false, _) => digit,
                (true, double) if double >= 10 => double % 10 + 1,
                (true, double) => double,
            }
        })
        .sum();
    sum.is_multiple_of(10)
}

fn is_date_time(text: &str) -> bool {
    let lower = text.to_lowercase();
    let mut parts = lower.split('t');
    let (Some(date), Some(time)) = (parts.next(), parts.next()) else {
        return false;
    };
    let pattern = pattern!("^([0-9]{2}):([0-9]{2}):([0-9]{2})(.[0-9]+)?(z|([+-][0-9]{2}:[0-9]{2}))$");
    moment::day(date).is_some()
        && pattern.is_match(time)
        && time.get(..2) <= Some("23")
        && time.get(3..5) <= Some("59")
        && time.get(6..8) <= Some("59")
}

fn is_hex_color(text: &str) -> bool {
    let digits = text.strip_prefix('#').unwrap_or(text);
    matches!(digits.len(), 3 | 6) && digits.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// A name of hosts by upstream's pattern: in a single label a dash stands after the first letter only, which may be all of it;
/// of several labels, the last is a word.
fn is_hostname(text: &str) -> bool {
    let single = pattern!(r"^[a-zA-Z0-9\p{S}\p{L}](-?[a-zA-Z0-9\p{S}\p{L}]*)$");
    let label = pattern!(r"^[a-zA-Z0-9\p{S}\p{L}]([a-zA-Z0-9\-\p{S}\p{L}]*[a-zA-Z0-9\p{S}\p{L}])?$");
    let word = pattern!(r"^[a-zA-Z\p{L}]+$");
    if text.len() > 255 || text.split('.').any(|label| label.len() > LABEL_MAX) {
        return false;
    }
    match text.rsplit_once('.') {
        None => single.is_match(text),
        Some((labels, top)) => {
            top.chars().count() >= 2
                && word.is_match(top)
                && labels.split('.').all(|text| label.is_match(text))
        }
    }
}

fn is_isbn10(text: &str) -> bool {
    let digits: Vec<u32> = isbn_digits(text);
    digits.len() == 10
        && digits[..9].iter().all(|digit| *digit < 10)
        && (1..=10u32)
            .zip(&digits)
            .map(|(place, digit)| place * digit)
            .sum::<u32>()
            .is_multiple_of(11)
}

fn is_isbn13(text: &str) -> bool {
    let digits = isbn_digits(text);
    let weights = [1, 3].into_iter().cycle();
    digits.len() == 13
        && digits.iter().all(|digit| *digit < 10)
        && weights
            .zip(&digits)
            .map(|(weight, digit)| weight * digit)
            .sum::<u32>()
            .is_multiple_of(10)
}

/// The digits of a book's number, an X as 10; none where something else is in it.
fn isbn_digits(text: &str) -> Vec<u32> {
    let letters = text.chars().filter(|c| !c.is_whitespace() && *c != '-');
    let digits: Option<Vec<u32>> = letters
        .map(|letter| match letter {
            'X' => Some(10),
            letter => letter.to_digit(10),
        })
        .collect();
    digits.unwrap_or_default()
}

fn is_mac(text: &str) -> bool {
    let is_hex =
        |part: &str, length: usize| part.len() == length && part.bytes().all(|byte| byte.is_ascii_hexdigit());
    let bytes = |separator: char| {
        let parts: Vec<&str> = text.split(separator).collect();
        matches!(parts.len(), 6 | 8 | 20) && parts.iter().all(|part| is_hex(part, 2))
    };
    let words: Vec<&str> = text.split('.').collect();
    bytes(':') || bytes('-') || matches!(words.len(), 3 | 4 | 10) && words.iter().all(|word| is_hex(word, 4))
}

fn is_rgb_color(text: &str) -> bool {
    let inside = text.strip_prefix("rgb(").and_then(|rest| rest.strip_suffix(')'));
    let parts: Vec<&str> = inside.unwrap_or_default().split(',').map(str::trim).collect();
    let channel = |part: &&str| {
        let plain =
            part.bytes().all(|byte| byte.is_ascii_digit()) && (*part == "0" || !part.starts_with('0'));
        plain && part.parse::<u8>().is_ok()
    };
    parts.len() == 3 && parts.iter().all(channel)
}

fn is_ssn(text: &str) -> bool {
    text.len() == 11 && pattern!("^[0-9]{3}[- ]?[0-9]{2}[- ]?[0-9]{4}$").is_match(text)
}

fn is_uuid(text: &str, version: Option<char>) -> bool {
    let mut places = [8, 12, 16, 20].into_iter();
    let mut digits = String::with_capacity(32);
    let mut next = places.next();
    for letter in text.chars() {
        match letter {
            '-' => {
                while next.is_some_and(|place| place < digits.len()) {
                    next = places.next();
                }
                if next != Some(digits.len()) {
                    return false;
                }
                next = places.next();
            }
            letter if letter.is_ascii_hexdigit() => digits.push(letter.to_ascii_lowercase()),
            _ => return false,
        }
    }
    let variant = digits.chars().nth(16);
    digits.len() == 32
        && !text.ends_with('-')
        && version.is_none_or(|version| digits.chars().nth(12) == Some(version))
        && (matches!(version, None | Some('3')) || matches!(variant, Some('8' | '9' | 'a' | 'b')))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_of_every_format() {
        let table: &[(&str, &[&str], &[&str])] = &[
            ("byte", &["YQ==", "YWJj"], &["", "YQ=", "a b="]),
            (
                "cidr",
                &["10.0.0.0/8", "fd00::/64"],
                &["10.0.0.0", "10.0.0.0/33", "x/8"],
            ),
            (
                "creditcard",
                &["4111 1111 1111 1111"],
                &["4111 1111 1111 1112", "1"],
            ),
            ("date", &["2024-02-29"], &["2023-02-29", "2024-2-29", "x"]),
            (
                "date-time",
                &["2026-01-01T00:00:00Z", "2026-01-01t23:59:59.5+02:00"],
                &["", "2026-01-01T00:00:00Z-2", "2026-01-01T24:00:00Z", "2026-01-01"],
            ),
            ("duration", &["1h30m", "22 ns", "3 days", "0"], &["", "x", "5"]),
            ("email", &["a@example.com", "A B <a@b>"], &["a", "a@", "a b@c"]),
            ("hexcolor", &["#fff", "A0B1C2"], &["#ff", "#ggg"]),
            (
                "ipv4",
                &["10.0.0.1", "010.0.0.1"],
                &["10.0.0", "10.0.0.256", "::1"],
            ),
            ("ipv6", &["::1", "fd00::"], &["10.0.0.1", ":::"]),
            ("isbn", &["0321751043", "978-0321751041"], &["0321751044", "978"]),
            (
                "mac",
                &["01:23:45:67:89:ab", "0123.4567.89ab"],
                &["01:23", "01:23:45:67:89:zz"],
            ),
            ("rgbcolor", &["rgb(255,0, 12)"], &["rgb(256,0,0)", "rgb(1,2)"]),
            ("ssn", &["123-45-6789"], &["123456789", "x"]),
            ("uri", &["http://a/b", "/a", "urn:x"], &["", "a", "http://a b"]),
            (
                "uuid",
                &[
                    "6ba7b810-9dad-11d1-80b4-00c04fd430c8",
                    "6BA7B8109dad11d180b400c04fd430c8",
                ],
                &[
                    "6ba7b810",
                    "6ba7b810-9dad-11d1-80b4-00c04fd430cz",
                    "6ba7-b810-9dad-11d1-80b4-00c04fd430c8",
                ],
            ),
            (
                "uuid4",
                &["f47ac10b-58cc-4372-a567-0e02b2c3d479"],
                &["6ba7b810-9dad-11d1-80b4-00c04fd430c8"],
            ),
            ("k8s-short-name", &["a", "a-b"], &["", "A", "-a", "a.b"]),
            ("k8s-long-name", &["a.b-c"], &["a..b", "a_b"]),
            ("password", &["anything"], &[]),
        ];
        for (format, right, wrong) in table {
            for text in *right {
                assert!(matches(format, text), "{text:?} is no {format}");
            }
            for text in *wrong {
                assert!(!matches(format, text), "{text:?} is a {format}");
            }
        }
    }

    #[test]
    fn a_format_is_for_its_type() {
        assert!(is_for("date-time", Some(Kind::String), false));
        assert!(is_for("int32", Some(Kind::Integer), false));
        assert!(!is_for("int32", Some(Kind::Number), false));
        assert!(!is_for("int-or-string", None, true));
        assert!(!is_for("date", Some(Kind::Object), false));
    }

    #[test]
    fn names_of_hosts_have_a_dash_where_upstream_takes_it() {
        for fine in [
            "a",
            "a-b",
            "a-",
            "example.com",
            "1a.example.com",
            "my-host.example.com",
        ] {
            assert!(matches("hostname", fine), "{fine}");
        }
        for wrong in ["-a", "my-host", "a_b.com", "a..com", "a.b", "a-.com", ""] {
            assert!(!matches("hostname", wrong), "{wrong}");
        }
    }
}
