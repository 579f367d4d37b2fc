//! Expressions: what clients write into policies, webhooks and custom resources.

use coracle_api::cel::{Activation, Environment, PER_CALL_LIMIT, Type, Value, compile, to_json};

/// A line with an object, and after it an expression about it. Whatever it is, it is compiled or refused; and what compiles ends
/// within its limit, twice the same.
pub fn check(input: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(input) else {
        return false;
    };
    let (object, expression) = text.split_once('\n').unwrap_or(("null", text));
    let object = serde_json::from_str(object).unwrap_or_default();
    let environment = Environment {
        patches: true,
        ..Environment::admission(Type::Dyn, None, false)
    };
    let program = match compile(expression, &environment) {
        Ok(program) => program,
        Err(issues) => {
            assert!(!issues.to_string().is_empty(), "nothing is said to be wrong");
            return false;
        }
    };
    let outcome = || {
        let mut activation = Activation::new(&environment, &[]);
        activation.set(&environment, "object", Value::json(&object));
        let (result, cost) = program.evaluate(&activation, PER_CALL_LIMIT);
        (
            result.map(|value| to_json(&value).map(|json| json.to_string())),
            cost,
        )
    };
    assert_eq!(outcome(), outcome(), "{expression}");
    true
}
