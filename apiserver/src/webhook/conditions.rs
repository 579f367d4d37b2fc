//! Whether the match conditions of a webhook let it be asked. Pure.

use std::sync::LazyLock;

use coracle_api::cel::policy::{self, Expression, Inputs};
use coracle_api::cel::{Activation, Environment, Type};
use serde_json::Value;

/// What conditions may refer to.
static ENVIRONMENT: LazyLock<Environment> = LazyLock::new(|| Environment::admission(Type::Dyn, None, true));

/// The conditions of a webhook, compiled.
#[derive(Debug)]
pub(super) struct Conditions {
    conditions: Vec<(String, Expression)>,
}

impl Conditions {
    /// Compiles the conditions of a webhook.
    pub(super) fn read(hook: &Value) -> Self {
        Self {
            conditions: policy::conditions(hook, &ENVIRONMENT),
        }
    }

    /// Whether there are any.
    pub(super) fn is_empty(&self) -> bool {
        self.conditions.is_empty()
    }

    /// Whether every condition holds: false where one is false, an error where none is false and one cannot be evaluated.
    ///
    /// # Errors
    /// Why they cannot be evaluated.
    pub(super) fn hold(&self, inputs: &Inputs<'_>) -> Result<bool, String> {
        let mut activation = Activation::new(&ENVIRONMENT, &[]);
        policy::fill(&mut activation, &ENVIRONMENT, inputs);
        policy::hold(&self.conditions, &activation)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn conditions_look_at_the_object_and_the_request() {
        let hold = |expression: &str| {
            let hook = json!({"matchConditions": [{"name": "a", "expression": expression}]});
            let object = json!({"metadata": {"name": "skip-me"}});
            let request = json!({"operation": "CREATE", "userInfo": {"username": "a"}});
            let inputs = Inputs {
                object: Some(&object),
                old: None,
                params: None,
                request: &request,
                namespace: None,
                authorizer: None,
            };
            Conditions::read(&hook).hold(&inputs)
        };
        assert_eq!(hold("object.metadata.name != 'skip-me'"), Ok(false));
        assert_eq!(
            hold("request.operation == 'CREATE' && request.userInfo.username == 'a'"),
            Ok(true)
        );
        assert!(hold("object.spec.a == 1").is_err());
        assert!(
            hold("params.a == 1").is_err_and(|why| why.starts_with("compilation error: compilation failed"))
        );
    }
}
