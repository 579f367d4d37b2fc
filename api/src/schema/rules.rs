//! The place of rules in CEL (`x-kubernetes-validations`): the last of what a custom resource is held against, once
//! everything else about it is known to be in order.

use serde_json::Value;

use super::Schema;
use crate::validation::{BadValue, ErrorKind, FieldErrors, Path};

/// Holds an object against the rules of its schema; `old` is what it takes the place of, for rules about changes.
///
/// Rules are only asked once types, sizes and what must be there are right, as upstream has it. As long as nobody here
/// can evaluate them, an object that they would have to be asked about is refused: what cannot be checked is not let
/// through.
pub fn evaluate(_object: &Value, _old: Option<&Value>, schema: &Schema, errors: &mut FieldErrors) {
    if !schema.has_rules {
        return;
    }
    if errors.iter().any(|error| is_blocking(error.kind)) {
        let why = "some validation rules were not checked because the object was invalid; correct the existing errors to \
                   complete validation";
        errors.invalid(&Path::ROOT, BadValue::rendered("null"), why);
        return;
    }
    errors.internal(
        &Path::ROOT,
        "the schema has rules (x-kubernetes-validations) that this server cannot evaluate yet",
    );
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
    fn nothing_is_let_through_unchecked() {
        let with = Schema::read(&json!({"type": "object", "properties": {
            "a": {"type": "string", "x-kubernetes-validations": [{"rule": "self != ''"}]}}}));
        let without = Schema::read(&json!({"type": "object"}));
        let faults = |schema: &Schema, mut errors: FieldErrors| {
            evaluate(&json!({}), None, schema, &mut errors);
            errors.len()
        };
        assert_eq!(faults(&without, FieldErrors::new()), 0);
        assert_eq!(faults(&with, FieldErrors::new()), 1);
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
