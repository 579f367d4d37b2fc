//! Faults of one object: where they are, of what kind, and how upstream words them (`field.Error` of apimachinery).

use std::fmt;

use serde_json::Value;

use super::internal::go_json;
use crate::quote::{quote, quote_all};

/// A place inside an object, such as `spec.containers[0].ports[1].name`.
///
/// A path borrows its parent and owns no memory, so walking a valid object builds no strings; it is rendered only
/// when a fault is found there.
#[derive(Debug, Clone, Copy)]
pub struct Path<'a> {
    parent: Option<&'a Path<'a>>,
    step: Step<'a>,
}

#[derive(Debug, Clone, Copy)]
enum Step<'a> {
    Root,
    Child(&'a str),
    Index(usize),
    Key(&'a str),
}

impl<'a> Path<'a> {
    /// The object itself; its children render without a leading dot.
    pub const ROOT: Path<'static> = Path {
        parent: None,
        step: Step::Root,
    };

    /// A path that starts with the field `name` (which may itself hold dots).
    pub const fn new(name: &'a str) -> Self {
        Path {
            parent: None,
            step: Step::Child(name),
        }
    }

    /// The field `name` below this place; `a.b` goes down two levels.
    pub const fn child(&'a self, name: &'a str) -> Path<'a> {
        Path {
            parent: Some(self),
            step: Step::Child(name),
        }
    }

    /// The item at `index` of the list at this place.
    pub const fn index(&'a self, index: usize) -> Path<'a> {
        Path {
            parent: Some(self),
            step: Step::Index(index),
        }
    }

    /// The entry `key` of the map at this place.
    pub const fn key(&'a self, key: &'a str) -> Path<'a> {
        Path {
            parent: Some(self),
            step: Step::Key(key),
        }
    }

    fn is_empty(&self) -> bool {
        matches!(self.step, Step::Root)
    }
}

impl fmt::Display for Path<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(parent) = self.parent {
            parent.fmt(out)?;
        }
        match self.step {
            Step::Root => Ok(()),
            Step::Index(index) => write!(out, "[{index}]"),
            Step::Key(key) => write!(out, "[{key}]"),
            Step::Child(name) if self.parent.is_none_or(Path::is_empty) => out.write_str(name),
            Step::Child(name) => write!(out, ".{name}"),
        }
    }
}

/// What is wrong with a field: upstream's `field.ErrorType`, which clients read as a cause's `reason`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(missing_docs, reason = "the names are upstream's and say it all")]
pub enum ErrorKind {
    NotFound,
    Required,
    Duplicate,
    Invalid,
    NotSupported,
    Forbidden,
    TooLong,
    TooShort,
    TooMany,
    TooFew,
    Internal,
    TypeInvalid,
}

impl ErrorKind {
    /// The word in `Status.details.causes[].reason`.
    pub const fn reason(self) -> &'static str {
        match self {
            Self::NotFound => "FieldValueNotFound",
            Self::Required => "FieldValueRequired",
            Self::Duplicate => "FieldValueDuplicate",
            Self::Invalid => "FieldValueInvalid",
            Self::NotSupported => "FieldValueNotSupported",
            Self::Forbidden => "FieldValueForbidden",
            Self::TooLong => "FieldValueTooLong",
            Self::TooShort => "FieldValueTooShort",
            Self::TooMany => "FieldValueTooMany",
            Self::TooFew => "FieldValueTooFew",
            Self::Internal => "InternalError",
            Self::TypeInvalid => "FieldValueTypeInvalid",
        }
    }

    const fn title(self) -> &'static str {
        match self {
            Self::NotFound => "Not found",
            Self::Required => "Required value",
            Self::Duplicate => "Duplicate value",
            Self::Invalid | Self::TypeInvalid => "Invalid value",
            Self::NotSupported => "Unsupported value",
            Self::Forbidden => "Forbidden",
            Self::TooLong => "Too long",
            Self::TooShort => "Too short",
            Self::TooMany => "Too many",
            Self::TooFew => "Too few",
            Self::Internal => "Internal error",
        }
    }
}

/// The offending value as a message shows it: text as Go quotes it, anything else as compact JSON.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadValue(String);

impl BadValue {
    /// A value whose rendering the caller knows, such as JSON of one of upstream's internal types.
    pub fn rendered(text: impl Into<String>) -> Self {
        Self(text.into())
    }
}

impl From<&str> for BadValue {
    fn from(text: &str) -> Self {
        Self(quote(text))
    }
}

impl From<&String> for BadValue {
    fn from(text: &String) -> Self {
        Self(quote(text))
    }
}

impl From<i64> for BadValue {
    fn from(number: i64) -> Self {
        Self(number.to_string())
    }
}

impl From<bool> for BadValue {
    fn from(flag: bool) -> Self {
        Self(flag.to_string())
    }
}

impl From<&Value> for BadValue {
    fn from(value: &Value) -> Self {
        match value {
            Value::String(text) => Self(quote(text)),
            other => Self(go_json(other)),
        }
    }
}

/// One fault: its place, kind, the value that is wrong (where the wording names it) and what would be right.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {}", self.body())]
pub struct FieldError {
    /// What is wrong.
    pub kind: ErrorKind,
    /// The rendered [`Path`].
    pub field: String,
    /// The value as the message shows it; none for kinds whose wording leaves it out.
    pub value: Option<BadValue>,
    /// What would be right; may be empty.
    pub detail: String,
}

impl FieldError {
    /// The message without the field's path: what a cause of a `Status` carries.
    pub fn body(&self) -> String {
        let mut text = self.kind.title().to_owned();
        if let Some(value) = &self.value {
            text.push_str(": ");
            text.push_str(&value.0);
        }
        if !self.detail.is_empty() {
            text.push_str(": ");
            text.push_str(&self.detail);
        }
        text
    }
}

/// All faults found in an object, in the order in which the rules found them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FieldErrors(pub Vec<FieldError>);

impl FieldErrors {
    /// Nothing found yet.
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    /// Whether nothing was found.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many faults were found.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// The faults in order.
    pub fn iter(&self) -> std::slice::Iter<'_, FieldError> {
        self.0.iter()
    }

    /// Keeps some of the faults only.
    pub fn retain(&mut self, keep: impl FnMut(&FieldError) -> bool) {
        self.0.retain(keep);
    }

    /// Adds the faults of `other`.
    pub fn extend(&mut self, other: FieldErrors) {
        self.0.extend(other.0);
    }

    fn push(&mut self, kind: ErrorKind, at: &Path<'_>, value: Option<BadValue>, detail: impl Into<String>) {
        let field = if at.is_empty() && at.parent.is_none() {
            "<nil>".to_owned()
        } else {
            at.to_string()
        };
        self.0.push(FieldError {
            kind,
            field,
            value,
            detail: detail.into(),
        });
    }

    /// Puts the faults in the order of their messages.
    pub(super) fn sort(&mut self) {
        self.0.sort_by_key(ToString::to_string);
    }

    /// The field must be there and not empty.
    pub fn required(&mut self, at: &Path<'_>, detail: impl Into<String>) {
        self.push(ErrorKind::Required, at, None, detail);
    }

    /// The value breaks a rule that `detail` states.
    pub fn invalid(&mut self, at: &Path<'_>, value: impl Into<BadValue>, detail: impl Into<String>) {
        self.push(ErrorKind::Invalid, at, Some(value.into()), detail);
    }

    /// Something as a whole breaks a rule; its value would say nothing.
    pub fn invalid_without_value(&mut self, at: &Path<'_>, detail: impl Into<String>) {
        self.push(ErrorKind::Invalid, at, None, detail);
    }

    /// The value is of another type than its schema says.
    pub fn type_invalid(&mut self, at: &Path<'_>, value: impl Into<BadValue>, detail: impl Into<String>) {
        self.push(ErrorKind::TypeInvalid, at, Some(value.into()), detail);
    }

    /// The value is none of `supported` (named in the order given; upstream sorts most of its sets).
    pub fn not_supported<S: AsRef<str>>(
        &mut self,
        at: &Path<'_>,
        value: impl Into<BadValue>,
        supported: &[S],
    ) {
        let detail = if supported.is_empty() {
            String::new()
        } else {
            format!("supported values: {}", quote_all(supported))
        };
        self.push(ErrorKind::NotSupported, at, Some(value.into()), detail);
    }

    /// The value names something that is not there.
    pub fn not_found(&mut self, at: &Path<'_>, value: impl Into<BadValue>) {
        self.push(ErrorKind::NotFound, at, Some(value.into()), "");
    }

    /// The value names something that is not there, where `detail` says what is.
    pub fn not_found_because(
        &mut self,
        at: &Path<'_>,
        value: impl Into<BadValue>,
        detail: impl Into<String>,
    ) {
        self.push(ErrorKind::NotFound, at, Some(value.into()), detail);
    }

    /// The value must be unique and is not.
    pub fn duplicate(&mut self, at: &Path<'_>, value: impl Into<BadValue>) {
        self.push(ErrorKind::Duplicate, at, Some(value.into()), "");
    }

    /// The value must be unique, for a reason that `detail` states.
    pub fn duplicate_because(
        &mut self,
        at: &Path<'_>,
        value: impl Into<BadValue>,
        detail: impl Into<String>,
    ) {
        self.push(ErrorKind::Duplicate, at, Some(value.into()), detail);
    }

    /// The value may not be set under the present conditions.
    pub fn forbidden(&mut self, at: &Path<'_>, detail: impl Into<String>) {
        self.push(ErrorKind::Forbidden, at, None, detail);
    }

    /// The value is longer than `most` bytes.
    pub fn too_long(&mut self, at: &Path<'_>, most: usize) {
        let unit = if most == 1 { "byte" } else { "bytes" };
        self.push(
            ErrorKind::TooLong,
            at,
            None,
            format!("may not be more than {most} {unit}"),
        );
    }

    /// The list has `found` items where `most` are allowed.
    pub fn too_many(&mut self, at: &Path<'_>, found: usize, most: usize) {
        let unit = if most == 1 { "item" } else { "items" };
        let found = BadValue::rendered(found.to_string());
        self.push(
            ErrorKind::TooMany,
            at,
            Some(found),
            format!("must have at most {most} {unit}"),
        );
    }

    /// The server failed while it judged the field.
    pub fn internal(&mut self, at: &Path<'_>, detail: impl Into<String>) {
        self.push(ErrorKind::Internal, at, None, detail);
    }

    /// One line for all faults, each said once: the fault itself, or a bracketed list of several.
    pub fn aggregate(&self) -> String {
        let mut messages: Vec<String> = Vec::new();
        for error in &self.0 {
            let message = error.to_string();
            if !messages.contains(&message) {
                messages.push(message);
            }
        }
        match messages.as_slice() {
            [only] => only.clone(),
            several => format!("[{}]", several.join(", ")),
        }
    }
}

impl IntoIterator for FieldErrors {
    type Item = FieldError;
    type IntoIter = std::vec::IntoIter<FieldError>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_render_as_upstream_writes_them() {
        let spec = Path::new("spec");
        let containers = spec.child("containers");
        let first = containers.index(0);
        assert_eq!(
            first.child("ports").index(12).to_string(),
            "spec.containers[0].ports[12]"
        );
        assert_eq!(Path::ROOT.child("data").key("a.b").to_string(), "data[a.b]");
    }

    #[test]
    fn wording_follows_the_kind() {
        let mut errors = FieldErrors::new();
        let at = Path::new("f");
        errors.required(&at, "");
        errors.invalid(&at, 70000, "too big");
        errors.invalid(&at, "x\"y", "odd");
        errors.not_supported(&at, "b", &["a", "c"]);
        errors.too_long(&at, 1);
        errors.too_many(&at, 3, 2);
        errors.duplicate(&at, &serde_json::json!({"name": "p"}));
        errors.forbidden(&at, "no");
        let lines: Vec<String> = errors.iter().map(ToString::to_string).collect();
        assert_eq!(
            lines,
            [
                "f: Required value",
                "f: Invalid value: 70000: too big",
                "f: Invalid value: \"x\\\"y\": odd",
                "f: Unsupported value: \"b\": supported values: \"a\", \"c\"",
                "f: Too long: may not be more than 1 byte",
                "f: Too many: 3: must have at most 2 items",
                "f: Duplicate value: {\"name\":\"p\"}",
                "f: Forbidden: no",
            ]
        );
    }

    #[test]
    fn the_aggregate_says_each_fault_once() {
        let mut errors = FieldErrors::new();
        errors.required(&Path::new("a"), "");
        assert_eq!(errors.aggregate(), "a: Required value");
        errors.required(&Path::new("a"), "");
        errors.required(&Path::new("b"), "");
        assert_eq!(errors.aggregate(), "[a: Required value, b: Required value]");
    }
}
