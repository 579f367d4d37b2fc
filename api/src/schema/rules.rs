//! Rules in CEL (`x-kubernetes-validations`): the last of what a custom resource is held against, once everything else about it
//! is known to be in order.

use std::sync::{Mutex, OnceLock, PoisonError};

use serde_json::Value;

use super::Schema;
use crate::cel::rules::Rules;
use crate::validation::{BadValue, ErrorKind, FieldErrors, Path};

/// The rules of a schema of a resource. They are compiled when the first object is held against them: that takes time, and
/// most definitions of a cluster are idle.
#[derive(Debug)]
pub struct Compiled {
    /// What they are compiled from, until they are.
    source: Mutex<Option<Value>>,
    rules: OnceLock<Option<Rules>>,
}

impl Compiled {
    /// Those in the JSON of a schema.
    pub(super) fn of(source: &Value) -> Self {
        Self {
            source: Mutex::new(Some(source.clone())),
            rules: OnceLock::new(),
        }
    }

    fn rules(&self) -> Option<&Rules> {
        let rules = self.rules.get_or_init(|| {
            let source = self.source.lock().unwrap_or_else(PoisonError::into_inner).take();
            source.and_then(|source| Rules::compile(&source, true))
        });
        rules.as_ref()
    }
}

/// Holds an object against the rules of its schema; `old` is what it takes the place of, for rules about changes.
///
/// Rules are only asked once types, sizes and what must be there are right, as upstream has it.
pub fn evaluate(object: &Value, old: Option<&Value>, schema: &Schema, errors: &mut FieldErrors) {
    if !schema.has_rules {
        return;
    }
    if errors.iter().any(|error| is_blocking(error.kind)) {
        let why = "some validation rules were not checked because the object was invalid; correct the existing errors to \
                   complete validation";
        errors.invalid(&Path::ROOT, BadValue::rendered("null"), why);
        return;
    }
    if let Some(rules) = schema.rules.as_ref().and_then(|compiled| compiled.rules()) {
        // What a change left as it was does not make it fail.
        rules.validate(object, old, errors, &mut Vec::new());
    }
}

/// Whether a fault is of a kind after which rules cannot be asked.
fn is_blocking(kind: ErrorKind) -> bool {
    matches!(
        kind,
        ErrorKind::NotSupported
            | ErrorKind::Required
            | ErrorKind::TooLong
            | ErrorKind::TooMany
            | ErrorKind::TypeInvalid
    )
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn rules_are_asked_last() {
        let with = Schema::served(&json!({"type": "object", "properties": {
            "a": {"type": "string", "x-kubernetes-validations": [{"rule": "self != ''"}, {"rule": "self >= oldSelf"}]}}}));
        let without = Schema::served(&json!({"type": "object"}));
        let faults = |schema: &Schema, a: &str, old: Option<&str>| {
            let (mut errors, old) = (FieldErrors::new(), old.map(|old| json!({"a": old})));
            evaluate(&json!({"a": a}), old.as_ref(), schema, &mut errors);
            errors.len()
        };
        assert_eq!(faults(&without, "", None), 0);
        assert_eq!(faults(&with, "b", None), 0);
        assert_eq!(faults(&with, "", None), 1);
        assert_eq!(faults(&with, "c", Some("b")), 0);
        assert_eq!(faults(&with, "a", Some("b")), 1);
        let mut wrong = FieldErrors::new();
        wrong.required(&Path::new("a"), "");
        evaluate(&json!({}), None, &with, &mut wrong);
        let last = wrong.iter().last().unwrap().to_string();
        assert!(
            last.starts_with("<nil>: Invalid value: null: some validation rules"),
            "{last}"
        );
    }
}
