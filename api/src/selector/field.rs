//! Field selectors: `metadata.name=web,spec.nodeName!=`. Which fields a kind can be selected by is its resource's affair.

use std::fmt;

/// All terms must hold; none means that everything is selected. Sorted as upstream sorts them, by their text.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct FieldSelector {
    /// The conditions.
    pub terms: Vec<Term>,
}

/// A condition on one field.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Term {
    /// The field's path, such as `spec.nodeName`.
    pub field: String,
    /// The value asked for, without escapes.
    pub value: String,
    /// Whether the field must equal the value or differ from it.
    pub equal: bool,
}

/// Why a selector cannot be understood, in upstream's words.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FieldSelectorError {
    /// A term has no operator.
    #[error("invalid selector: '{selector}'; can't understand '{term}'")]
    Term {
        /// The whole text.
        selector: String,
        /// The term in it.
        term: String,
    },
    /// A backslash before something that needs none.
    #[error("invalid field selector: invalid escape sequence: {0}")]
    Escape(String),
    /// A comma or equals sign without a backslash; shown as its code point, as upstream does.
    #[error("invalid field selector: unescaped character in value: {}", u32::from(*.0))]
    Unescaped(char),
}

impl FieldSelector {
    /// Reads `field=value`, `field==value` and `field!=value`, joined by commas. In a value, `\,`, `\=` and `\\` stand for
    /// the characters themselves.
    pub fn parse(text: &str) -> Result<Self, FieldSelectorError> {
        let mut parts = split_terms(text);
        parts.sort_unstable();
        let terms = parts
            .into_iter()
            .filter(|part| !part.is_empty())
            .map(|part| term(text, part));
        let mut terms: Vec<Term> = terms.collect::<Result<_, _>>()?;
        // Of nothing that it should be nothing says nothing.
        terms.retain(|term| !(term.field.is_empty() && term.value.is_empty()));
        Ok(Self { terms })
    }

    /// Whether everything is selected.
    pub fn is_everything(&self) -> bool {
        self.terms.is_empty()
    }

    /// Whether fields, given as a function from path to value (empty where there is none), meet every term.
    pub fn matches<'v>(&self, field: impl Fn(&str) -> &'v str) -> bool {
        self.terms
            .iter()
            .all(|term| (field(&term.field) == term.value) == term.equal)
    }

    /// The value that `field` must have, where one is asked for: what an index can answer.
    pub fn exact_value(&self, field: &str) -> Option<&str> {
        self.terms
            .iter()
            .find(|term| term.equal && term.field == field)
            .map(|term| term.value.as_str())
    }
}

fn split_terms(text: &str) -> Vec<&str> {
    let mut terms = Vec::new();
    let (mut start, mut escaped) = (0, false);
    for (at, c) in text.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            ',' => {
                terms.push(&text[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    terms.push(&text[start..]);
    terms
}

fn term(selector: &str, part: &str) -> Result<Term, FieldSelectorError> {
    for (at, _) in part.char_indices() {
        for (operator, equal) in [("!=", false), ("==", true), ("=", true)] {
            if let Some(value) = part[at..].strip_prefix(operator) {
                return Ok(Term {
                    field: part[..at].to_owned(),
                    value: unescape(value)?,
                    equal,
                });
            }
        }
    }
    Err(FieldSelectorError::Term {
        selector: selector.to_owned(),
        term: part.to_owned(),
    })
}

fn unescape(text: &str) -> Result<String, FieldSelectorError> {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => match chars.next() {
                Some(c @ ('\\' | ',' | '=')) => out.push(c),
                Some(other) => return Err(FieldSelectorError::Escape(format!("\\{other}"))),
                None => return Err(FieldSelectorError::Escape("\\".into())),
            },
            ',' | '=' => return Err(FieldSelectorError::Unescaped(c)),
            c => out.push(c),
        }
    }
    Ok(out)
}

fn escape(text: &str) -> String {
    text.replace('\\', "\\\\").replace(',', "\\,").replace('=', "\\=")
}

impl fmt::Display for FieldSelector {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, term) in self.terms.iter().enumerate() {
            let comma = if index > 0 { "," } else { "" };
            let operator = if term.equal { "=" } else { "!=" };
            write!(out, "{comma}{}{operator}{}", term.field, escape(&term.value))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn terms_are_read_and_matched() {
        let selector = FieldSelector::parse("spec.nodeName!=n1,metadata.name==a\\,b").unwrap();
        assert_eq!(selector.to_string(), "metadata.name=a\\,b,spec.nodeName!=n1");
        assert_eq!(selector.exact_value("metadata.name"), Some("a,b"));
        let of = |node: &'static str| move |field: &str| if field == "spec.nodeName" { node } else { "a,b" };
        assert!(selector.matches(of("n2")) && selector.matches(of("")) && !selector.matches(of("n1")));
        assert!(FieldSelector::parse("").unwrap().is_everything());
    }

    #[test]
    fn faults_are_worded_as_upstream_words_them() {
        let cases = [
            ("a", "invalid selector: 'a'; can't understand 'a'"),
            ("a=b\\c", "invalid field selector: invalid escape sequence: \\c"),
            (
                "a=b=c",
                "invalid field selector: unescaped character in value: 61",
            ),
        ];
        for (text, want) in cases {
            assert_eq!(FieldSelector::parse(text).unwrap_err().to_string(), want);
        }
    }

    proptest! {
        #[test]
        fn any_value_survives_writing_and_reading(value in ".{0,20}", equal: bool) {
            let selector = FieldSelector { terms: vec![Term { field: "f".into(), value, equal }] };
            prop_assert_eq!(FieldSelector::parse(&selector.to_string()), Ok(selector));
        }
    }
}
