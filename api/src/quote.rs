//! Go's `%q`: the quoting that upstream's messages put around the values they name.
//!
//! Clients and people compare these messages, so the escapes have to be Go's: Rust's own `{:?}` differs in the
//! form of control characters.

use std::fmt::Write;

/// `text` in double quotes, escaped as Go's `strconv.Quote` does.
pub fn quote(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        push_escaped(&mut out, c);
    }
    out.push('"');
    out
}

fn push_escaped(out: &mut String, c: char) {
    let short = match c {
        '"' => "\\\"",
        '\\' => "\\\\",
        '\u{7}' => "\\a",
        '\u{8}' => "\\b",
        '\u{c}' => "\\f",
        '\n' => "\\n",
        '\r' => "\\r",
        '\t' => "\\t",
        '\u{b}' => "\\v",
        _ => "",
    };
    if !short.is_empty() {
        out.push_str(short);
    } else if !c.is_control() && (c == ' ' || !c.is_whitespace()) {
        out.push(c);
    } else {
        let code = u32::from(c);
        let written = match code {
            0..=0x7f => write!(out, "\\x{code:02x}"),
            0x80..=0xffff => write!(out, "\\u{code:04x}"),
            _ => write!(out, "\\U{code:08x}"),
        };
        written.expect("writing to a String does not fail");
    }
}

/// Each of `values` quoted, joined by a comma and a space.
pub fn quote_all<S: AsRef<str>>(values: &[S]) -> String {
    values
        .iter()
        .map(|value| quote(value.as_ref()))
        .collect::<Vec<_>>()
        .join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_are_those_of_go() {
        let cases = [
            ("plain", r#""plain""#),
            ("a\"b\\c", r#""a\"b\\c""#),
            ("tab\tline\nbell\u{7}", r#""tab\tline\nbell\a""#),
            ("\u{1}\u{7f}", r#""\x01\x7f""#),
            ("é–漢", "\"é–漢\""),
            ("\u{85}\u{2028}", r#""\u0085\u2028""#),
        ];
        for (text, want) in cases {
            assert_eq!(quote(text), want);
        }
    }
}
