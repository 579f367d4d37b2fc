//! What is wrong with text that is no YAML, in the words of Go's `yaml.v2`.
//!
//! Both parsers descend from libyaml and mostly find the same faults at the same places. Ours follows YAML 1.2 in what it
//! lets pass: it reads tabs before tokens, which [`super::tabs`] looks for, and refuses a few texts that Go reads (a tab between
//! a colon and a letter).

use saphyr_parser::{Marker, ScanError};

/// Faults that Go finds in tokens rather than in characters; it names their lines counted from 0.
const OF_PARSER: &[&str] = &[
    "did not find expected <document start>",
    "did not find expected key",
    "did not find expected '-' indicator",
    "did not find expected node content",
    "did not find expected ',' or '}'",
    "did not find expected ',' or ']'",
    "found undefined tag handle",
];

/// What our parser says, and what Go says of the same.
const TRANSLATED: &[(&str, &str)] = &[
    ("expected ',' or ']'", "did not find expected ',' or ']'"),
    (
        "illegal placement of ':' indicator",
        "did not find expected ',' or ']'",
    ),
    ("simple key expected", "could not find expected ':'"),
    ("simple key expect ':'", "could not find expected ':'"),
    ("the handle wasn't declared", "found undefined tag handle"),
    (
        "did not find expected hexadecimal number",
        "did not find expected hexdecimal number",
    ),
    (
        "invalid trailing content after double-quoted scalar",
        "did not find expected key",
    ),
    ("misplaced bracket", "did not find expected node content"),
    (
        "unexpected end of plain scalar",
        "did not find expected node content",
    ),
    ("found a tab", OF_INDENT),
    (
        "tab cannot be used as indentation",
        "found character that cannot start any token",
    ),
    (
        "tabs disallowed in this context",
        "found character that cannot start any token",
    ),
    (
        "tabs disallowed within this context (block indentation)",
        "found character that cannot start any token",
    ),
];

/// What Go says of a tab that stands before what would go on with a plain scalar.
pub(super) const OF_INDENT: &str = "found a tab character that violates indentation";

/// The next line that begins with a tab among its spaces, counted from 1.
fn line_with_tab(text: &str, after: usize) -> usize {
    let indented = |line: &str| {
        let rest = line.trim_start_matches([' ', '\t']);
        line[..line.len() - rest.len()].contains('\t')
    };
    let found = text.lines().skip(after).position(indented);
    found.map_or(after, |found| after + found + 1)
}

const ENDS_EARLY: &str = "found unexpected end of stream";

/// Whether a fault is that something follows a document, which nobody asks for who reads only one.
pub(super) fn is_behind_the_document(error: &ScanError) -> bool {
    error.info() == "did not find expected <document start>"
}

/// A fault that the parser found.
pub(super) fn fault(error: &ScanError, text: &str) -> String {
    let said = error.info();
    let said = match said.split_once(", ") {
        Some((context, said)) if context.starts_with("while ") => said,
        _ => said,
    };
    if said == "found unknown anchor" {
        return unknown_anchor(text, *error.marker());
    }
    let translated = TRANSLATED.iter().find(|(ours, _)| *ours == said);
    let words = match translated {
        Some((_, go)) => go,
        None if said.starts_with("unexpected character") => "found character that cannot start any token",
        None => said,
    };
    let line = match words {
        // Go names the line in which the text ends, and none where that is the first.
        ENDS_EARLY => match text.matches('\n').count() {
            0 => 0,
            breaks => breaks + 1,
        },
        // Ours names where the scalar begins, Go where the tab is.
        OF_INDENT => line_with_tab(text, error.marker().line()),
        _ => error.marker().line(),
    };
    let line = if OF_PARSER.contains(&words) || line == 1 {
        line.saturating_sub(1)
    } else {
        line
    };
    match line {
        0 => format!("yaml: {words}"),
        line => format!("yaml: line {line}: {words}"),
    }
}

/// An alias of which there is no anchor.
pub(super) fn unknown_anchor(text: &str, at: Marker) -> String {
    format!("yaml: unknown anchor '{}' referenced", name(text, at))
}

/// An alias for what it is a part of.
pub(super) fn within_itself(text: &str, at: Marker) -> String {
    format!("yaml: anchor '{}' value contains itself", name(text, at))
}

/// The name of the alias at a place.
fn name(text: &str, at: Marker) -> String {
    let line = text.lines().nth(at.line().saturating_sub(1)).unwrap_or_default();
    let from = line.chars().skip(at.col()).skip_while(|c| *c == '*');
    from.take_while(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-'))
        .collect()
}

/// Bytes that no YAML has.
pub(super) fn unreadable(bytes: &[u8]) -> Option<&'static str> {
    let text = match std::str::from_utf8(bytes) {
        Ok(text) => text,
        Err(error) if error.error_len().is_none() => return Some("yaml: incomplete UTF-8 octet sequence"),
        Err(error) => {
            let leads = matches!(bytes[error.valid_up_to()], 0xc0..=0xf7);
            return Some(if leads {
                "yaml: invalid trailing UTF-8 octet"
            } else {
                "yaml: invalid leading UTF-8 octet"
            });
        }
    };
    text.chars()
        .any(is_control)
        .then_some("yaml: control characters are not allowed")
}

fn is_control(c: char) -> bool {
    !matches!(c, '\t' | '\n' | '\r' | ' '..='~' | '\u{85}' | '\u{a0}'..='\u{d7ff}' | '\u{e000}'..='\u{fffd}'
        | '\u{10000}'..)
}
