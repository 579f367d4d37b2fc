//! Where in an object the decoder is: the path that findings name, and the struct and field that Go's errors name.

use std::fmt::Write;

use serde_json::Value;

use super::DecodeError;
use crate::table::{Field, Type};

/// A step into an object; the steps above it are reached through `parent`, so that a path costs nothing until it is
/// printed.
#[derive(Clone, Copy)]
pub(super) struct At<'a> {
    pub(super) parent: Option<&'a At<'a>>,
    pub(super) step: Step<'a>,
}

#[derive(Clone, Copy)]
pub(super) enum Step<'a> {
    /// A field of a type.
    Field(&'static Type, &'static Field),
    /// A key of a map, or of an object whose type is not known.
    Key(&'a str),
    /// A place in a list.
    Index(usize),
}

impl<'a> At<'a> {
    /// The steps from the root to here.
    fn steps(&'a self) -> Vec<Step<'a>> {
        let mut steps = vec![self.step];
        let mut at = self.parent;
        while let Some(above) = at {
            steps.push(above.step);
            at = above.parent;
        }
        steps.reverse();
        steps
    }
}

/// `spec.containers[0].name`: the path of `key` below `at`.
pub(super) fn render(at: Option<&At<'_>>, key: &str) -> String {
    let mut text = String::new();
    for step in at.map(At::steps).unwrap_or_default() {
        match step {
            Step::Field(_, field) => push_key(&mut text, field.name),
            Step::Key(key) => push_key(&mut text, key),
            Step::Index(index) => {
                let _ = write!(text, "[{index}]");
            }
        }
    }
    push_key(&mut text, key);
    text
}

fn push_key(text: &mut String, key: &str) {
    if !text.is_empty() {
        text.push('.');
    }
    text.push_str(key);
}

/// Go's `UnmarshalTypeError` for a value that is no `go_type`.
pub(super) fn mismatch(value: &Value, go_type: &str, at: Option<&At<'_>>) -> DecodeError {
    let what = match value {
        Value::Null => "null".to_owned(),
        Value::Bool(_) => "bool".to_owned(),
        // Go names the number only where another number would have done.
        Value::Number(number) if is_numeric(go_type) => format!("number {number}"),
        Value::Number(_) => "number".to_owned(),
        Value::String(_) => "string".to_owned(),
        Value::Array(_) => "array".to_owned(),
        Value::Object(_) => "object".to_owned(),
    };
    let mut owner = None;
    let mut path = String::new();
    for step in at.map(At::steps).unwrap_or_default() {
        if let Step::Field(ty, field) = step {
            owner = Some(ty);
            if !field.go_at.is_empty() {
                push_key(&mut path, field.go_at);
            }
            push_key(&mut path, field.name);
        }
    }
    DecodeError::Type(match owner {
        Some(ty) => format!(
            "json: cannot unmarshal {what} into Go struct field {}.{path} of type {go_type}",
            ty.short_name()
        ),
        None => format!("json: cannot unmarshal {what} into Go value of type {go_type}"),
    })
}

fn is_numeric(go_type: &str) -> bool {
    matches!(go_type, "int32" | "int64" | "float64")
}

/// Go's name for what stands `depth` containers deep in a field.
pub(super) fn go_type_within(field: &Field, depth: usize) -> String {
    let mut name = field.go_type();
    let mut ty = field.ty;
    for _ in 0..depth {
        ty = ty.element();
        name = match name
            .strip_prefix("[]")
            .or_else(|| name.strip_prefix("map[string]"))
        {
            Some(rest) => rest.to_owned(),
            None => ty.go_type(),
        };
    }
    // A list that is named within a map (`map[string]v1.ExtraValue`) prints its own name.
    name
}
