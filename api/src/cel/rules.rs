//! The rules of custom resources: `x-kubernetes-validations`.
//!
//! [`Rules::compile`] reads them from a structural schema; [`Rules::validate`] holds a value, and the value before it, against
//! them. Words, order, budget and the correlation of old and new values are upstream's (`apiserver/schema/cel/validation.go`).
//! `WithRatcheting`: what a value did not change does not make a write fail.

use std::collections::BTreeMap;

use serde_json::{Map, Value as Json};

use super::error::EvalError;
use super::escape::escape;
use super::meter::{BUDGET, PER_CALL_LIMIT};
use super::program::{Activation, Environment, Program, compile};
use super::schema;
use super::types::Type;
use super::value::Value;
use crate::object::Fields;
use crate::validation::{FieldErrors, Path};

const OUT_OF_BUDGET: &str =
    "validation failed due to running out of cost budget, no further validation rules will be run";
const MESSAGE_MAX: usize = 5 * 1024;

/// A rule.
#[derive(Debug)]
struct Rule {
    /// The rule, shortened to its message where it has one, as it is named in messages.
    shown: String,
    source: Json,
    program: Result<Program, String>,
    message: Option<Result<Program, String>>,
    uses_old: bool,
    optional_old: bool,
}

/// The rules of a schema and of all below it.
#[derive(Debug)]
pub struct Rules {
    /// The schema of the values, with what every resource has where they are resources.
    schema: Json,
    environment: Environment,
    optional: Environment,
    rules: Vec<Rule>,
    items: Option<Box<Rules>>,
    values: Option<Box<Rules>>,
    properties: BTreeMap<String, Rules>,
    all_of: Vec<Rules>,
}

/// What is wrong with the rules of a schema: where, the expression, and what it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuleFault {
    /// Which rule of the node it is about.
    pub index: usize,
    /// `rule` or `messageExpression`.
    pub field: &'static str,
    /// What is wrong.
    pub message: String,
}

impl Rules {
    /// The rules of a schema, whose values are resources where `resource`; none where there are none.
    pub fn compile(schema: &Json, resource: bool) -> Option<Self> {
        let root = if resource {
            schema::with_type_and_meta(schema)
        } else {
            schema.clone()
        };
        Self::node(schema, &root, "selfType", resource)
    }

    /// What is wrong with the rules of one node of a schema.
    pub fn faults(schema: &Json, resource: bool) -> Vec<RuleFault> {
        let (environment, optional) = environments(schema, "selfType", resource);
        let mut faults = Vec::new();
        for (index, rule) in schema.items("x-kubernetes-validations").iter().enumerate() {
            let rule = Rule::read(rule, &environment, &optional);
            let mut fault = |field, message: &String| {
                faults.push(RuleFault {
                    index,
                    field,
                    message: message.clone(),
                });
            };
            if let Err(message) = &rule.program {
                fault("rule", message);
            }
            if let Some(Err(message)) = &rule.message {
                fault("messageExpression", message);
            }
        }
        faults
    }

    /// `rules` is the schema that has the rules, `schema` that of the values; they differ below `allOf`.
    fn node(rules: &Json, schema: &Json, name: &str, resource: bool) -> Option<Self> {
        let (environment, optional) = environments(schema, name, resource);
        let own = rules.items("x-kubernetes-validations").iter();
        let below = |rules: &Json, schema: &Json, step: &str| {
            let embedded = schema["x-kubernetes-embedded-resource"] == Json::Bool(true);
            Self::node(rules, schema, &format!("{name}.{step}"), embedded)
        };
        let both = |field: &str| {
            let (rules, schema) = (rules.get(field)?, schema.get(field)?);
            (rules.is_object() && schema.is_object()).then_some((rules, schema))
        };
        let mut properties = BTreeMap::new();
        for (property, of) in rules.entries("properties") {
            let values = schema["properties"].get(property);
            if let Some(found) = values.and_then(|values| below(of, values, property)) {
                properties.insert(property.to_owned(), found);
            }
        }
        let node = Self {
            rules: own
                .map(|rule| Rule::read(rule, &environment, &optional))
                .collect(),
            items: both("items")
                .and_then(|(rules, schema)| below(rules, schema, "@idx"))
                .map(Box::new),
            values: both("additionalProperties")
                .and_then(|(rules, schema)| below(rules, schema, "@elem"))
                .map(Box::new),
            properties,
            all_of: rules
                .items("allOf")
                .iter()
                .filter_map(|part| Self::node(part, schema, name, resource))
                .collect(),
            schema: schema.clone(),
            environment,
            optional,
        };
        let empty = node.rules.is_empty()
            && node.items.is_none()
            && node.values.is_none()
            && node.properties.is_empty()
            && node.all_of.is_empty();
        (!empty).then_some(node)
    }

    /// Holds a value against the rules; `old` is what it takes the place of. Faults of parts that did not change are told as
    /// warnings.
    pub fn validate(
        &self,
        value: &Json,
        old: Option<&Json>,
        errors: &mut FieldErrors,
        warnings: &mut Vec<String>,
    ) {
        let mut run = Run {
            budget: BUDGET,
            errors,
            warnings,
        };
        // Where the budget runs out, that was told.
        let _ = run.node(self, value, old, &Path::ROOT);
    }
}

fn environments(schema: &Json, name: &str, resource: bool) -> (Environment, Environment) {
    let of = schema::type_of(schema, name, resource).unwrap_or(Type::Dyn);
    (
        Environment::with(&[("self", of.clone()), ("oldSelf", of.clone())]),
        Environment::with(&[("self", of.clone()), ("oldSelf", Type::optional(of))]),
    )
}

impl Rule {
    fn read(rule: &Json, environment: &Environment, optional: &Environment) -> Self {
        let optional_old = rule["optionalOldSelf"] == Json::Bool(true);
        let environment = if optional_old { optional } else { environment };
        let compiled =
            |source: &str, wanted: &Type, failed: &str, is_not: &str| match compile(source, environment) {
                Err(issues) => Err(format!("{failed}: {issues}")),
                Ok(program) if program.output() == wanted => Ok(program),
                Ok(_) => Err(is_not.to_owned()),
            };
        let program = compiled(
            rule.text("rule"),
            &Type::Bool,
            "compilation failed",
            "cel expression must evaluate to a bool",
        );
        let message = rule.text("messageExpression");
        let message = (!message.is_empty()).then(|| {
            compiled(
                message,
                &Type::String,
                "messageExpression compilation failed",
                "messageExpression must evaluate to a string",
            )
        });
        let old = environment.place("oldSelf").unwrap_or(usize::MAX);
        let shown = match rule.text("message").trim() {
            "" => rule.text("rule").trim(),
            message => message,
        };
        Self {
            shown: shown.to_owned(),
            uses_old: program.as_ref().is_ok_and(|program| program.mentions(old)),
            source: rule.clone(),
            program,
            message,
            optional_old,
        }
    }

    fn told(&self) -> String {
        match self.source.text("message").trim() {
            "" => format!("failed rule: {}", self.shown),
            message => message.to_owned(),
        }
    }
}

/// Nothing more is evaluated.
struct Stop;

struct Run<'a> {
    budget: u64,
    errors: &'a mut FieldErrors,
    warnings: &'a mut Vec<String>,
}

impl Run<'_> {
    fn node(&mut self, rules: &Rules, value: &Json, old: Option<&Json>, at: &Path<'_>) -> Result<(), Stop> {
        if value.is_null() {
            return Ok(());
        }
        let old = old.filter(|old| !old.is_null());
        self.own(rules, value, old, at)?;
        for part in &rules.all_of {
            self.node(part, value, old, at)?;
        }
        match value {
            Json::Array(items) => self.items(rules, items, old.and_then(Json::as_array), at),
            Json::Object(fields) => self.fields(rules, fields, old.and_then(Json::as_object), at),
            _ => Ok(()),
        }
    }

    fn items(
        &mut self,
        rules: &Rules,
        items: &[Json],
        old: Option<&Vec<Json>>,
        at: &Path<'_>,
    ) -> Result<(), Stop> {
        let Some(of_items) = &rules.items else {
            return Ok(());
        };
        // Only items of a list of type map are known again.
        let keys: Vec<&str> = match rules.schema.text("x-kubernetes-list-type") {
            "map" => {
                let keys = rules.schema.items("x-kubernetes-list-map-keys").iter();
                keys.filter_map(Json::as_str).collect()
            }
            _ => Vec::new(),
        };
        for (index, item) in items.iter().enumerate() {
            let same = |old: &&Json| keys.iter().all(|key| old.get(key) == item.get(key));
            let before = match (old, keys.is_empty()) {
                (Some(old), false) => old.iter().find(same),
                _ => None,
            };
            self.node(of_items, item, before, &at.index(index))?;
        }
        Ok(())
    }

    fn fields(
        &mut self,
        rules: &Rules,
        fields: &Map<String, Json>,
        old: Option<&Map<String, Json>>,
        at: &Path<'_>,
    ) -> Result<(), Stop> {
        for (name, value) in fields {
            let before = old.and_then(|old| old.get(name));
            if let Some(of) = &rules.values {
                self.node(of, value, before, &at.key(name))?;
            }
            if let Some(of) = rules.properties.get(name) {
                self.node(of, value, before, &at.child(name))?;
            }
        }
        Ok(())
    }

    /// The rules of the node itself.
    fn own(&mut self, rules: &Rules, value: &Json, old: Option<&Json>, at: &Path<'_>) -> Result<(), Stop> {
        if rules.rules.is_empty() {
            return Ok(());
        }
        let of_self = schema::value(value, Some(&rules.schema));
        let of_old = old.map(|old| schema::value(old, Some(&rules.schema)));
        let (Ok(of_self), Ok(of_old)) = (of_self, of_old.transpose()) else {
            // Values that are not as their schema says are told of elsewhere.
            return Ok(());
        };
        for rule in &rules.rules {
            if rule.uses_old && old.is_none() && !rule.optional_old {
                continue;
            }
            let environment = if rule.optional_old {
                &rules.optional
            } else {
                &rules.environment
            };
            let mut activation = Activation::new(environment, &[]);
            activation.set(environment, "self", of_self.clone());
            match (&of_old, rule.optional_old) {
                (Some(old), true) => activation.set(environment, "oldSelf", Value::some(old.clone())),
                (None, true) => activation.set(environment, "oldSelf", Value::Optional(None)),
                (Some(old), false) => activation.set(environment, "oldSelf", old.clone()),
                (None, false) => {}
            }
            let unchanged = !rule.uses_old && old == Some(value);
            self.rule(rules, rule, &activation, value, unchanged, at)?;
        }
        Ok(())
    }

    fn rule(
        &mut self,
        rules: &Rules,
        rule: &Rule,
        activation: &Activation<'_>,
        value: &Json,
        unchanged: bool,
        at: &Path<'_>,
    ) -> Result<(), Stop> {
        let kind = rules.schema.text("type");
        let program = match &rule.program {
            Ok(program) => program,
            Err(why) => {
                self.errors
                    .invalid(at, kind, format!("rule compile error: {why}"));
                return Ok(());
            }
        };
        let (result, cost) = program.evaluate(activation, PER_CALL_LIMIT);
        let Some(left) = self.budget.checked_sub(cost) else {
            self.errors.invalid(at, kind, OUT_OF_BUDGET);
            return Err(Stop);
        };
        self.budget = left;
        let shown = &rule.shown;
        match result {
            Ok(Value::Bool(true)) => return Ok(()),
            Ok(_) => {}
            Err(EvalError::TooCostly) => {
                let error = EvalError::TooCostly;
                let why = format!(
                    "'{error}': no further validation rules will be run due to call cost exceeds limit for rule: {shown}"
                );
                self.errors.invalid(at, kind, why);
                return Err(Stop);
            }
            Err(EvalError::Failed(error)) => {
                let why = if error.starts_with("no such overload") {
                    format!(
                        "'{error}': call arguments did not match a supported operator, function or macro signature for rule: {shown}"
                    )
                } else {
                    format!("{error} evaluating rule: {shown}")
                };
                self.errors.invalid(at, kind, why);
                return Ok(());
            }
        }
        let detail = self.detail(rule, activation, kind, at)?;
        let mut errors = FieldErrors::new();
        let omitted = matches!(kind, "object" | "array");
        at_field(
            at,
            rule.source.text("fieldPath"),
            &mut |at| match rule.source.text("reason") {
                "FieldValueForbidden" => errors.forbidden(at, detail.clone()),
                "FieldValueRequired" => errors.required(at, detail.clone()),
                "FieldValueDuplicate" => errors.duplicate(at, value),
                _ if omitted => errors.invalid_without_value(at, detail.clone()),
                _ => errors.invalid(at, value, detail.clone()),
            },
        );
        if unchanged {
            self.warnings.extend(errors.iter().map(ToString::to_string));
        } else {
            self.errors.extend(errors);
        }
        Ok(())
    }

    /// What is said of a rule that does not hold.
    fn detail(
        &mut self,
        rule: &Rule,
        activation: &Activation<'_>,
        kind: &str,
        at: &Path<'_>,
    ) -> Result<String, Stop> {
        let Some(Ok(program)) = &rule.message else {
            return Ok(rule.told());
        };
        let (result, cost) = program.evaluate(activation, PER_CALL_LIMIT);
        let source = rule.source.text("messageExpression");
        let Some(left) = self.budget.checked_sub(cost) else {
            let why = "messageExpression evaluation failed due to running out of cost budget, no further validation rules will be run";
            self.errors.invalid(at, kind, why);
            return Err(Stop);
        };
        self.budget = left;
        match result {
            Ok(Value::String(text)) => {
                let text = text.trim();
                let fits = !text.is_empty() && text.len() <= MESSAGE_MAX && !text.contains('\n');
                Ok(if fits { text.to_owned() } else { rule.told() })
            }
            Err(EvalError::TooCostly) => {
                let why = format!(
                    "no further validation rules will be run due to call cost exceeds limit for messageExpression: {source:?}"
                );
                self.errors.invalid(at, kind, why);
                Err(Stop)
            }
            _ => Ok(rule.told()),
        }
    }
}

/// One step of a `fieldPath`.
enum Step {
    Field(String),
    Key(String),
}

/// Reads `.a.b['c']`; nothing of what cannot be read, since such rules are refused with their definition.
fn steps(path: &str) -> Vec<Step> {
    let mut steps = Vec::new();
    let mut rest = path;
    while !rest.is_empty() {
        if let Some(after) = rest.strip_prefix("['") {
            let Some((key, after)) = after.split_once("']") else {
                break;
            };
            steps.push(Step::Key(key.replace("\\'", "'").replace("\\\\", "\\")));
            rest = after;
        } else {
            let after = rest.strip_prefix('.').unwrap_or(rest);
            let end = after.find(['.', '[']).unwrap_or(after.len());
            steps.push(Step::Field(after[..end].to_owned()));
            rest = &after[end..];
            if end == 0 {
                break;
            }
        }
    }
    steps
}

/// Calls with the path of a field below another.
fn at_field(at: &Path<'_>, path: &str, tell: &mut dyn FnMut(&Path<'_>)) {
    fn go(at: &Path<'_>, steps: &[Step], tell: &mut dyn FnMut(&Path<'_>)) {
        match steps {
            [] => tell(at),
            [Step::Field(name), rest @ ..] => go(&at.child(name), rest, tell),
            // A key in brackets may as well be the name of a property.
            [Step::Key(key), rest @ ..] if escape(key).is_some() => go(&at.child(key), rest, tell),
            [Step::Key(key), rest @ ..] => go(&at.key(key), rest, tell),
        }
    }
    go(at, &steps(path), tell);
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn validate(schema: &Json, value: &Json, old: Option<&Json>) -> (Vec<String>, Vec<String>) {
        let rules = Rules::compile(schema, true).expect("there are rules");
        let (mut errors, mut warnings) = (FieldErrors::new(), Vec::new());
        rules.validate(value, old, &mut errors, &mut warnings);
        (errors.iter().map(ToString::to_string).collect(), warnings)
    }

    fn schema(rules: &Json) -> Json {
        json!({"type": "object", "properties": {"spec": {"type": "object",
            "x-kubernetes-validations": rules,
            "properties": {"min": {"type": "integer"}, "max": {"type": "integer"},
                "name": {"type": "string", "x-kubernetes-validations": [
                    {"rule": "self == oldSelf", "message": "cannot be changed"}]},
                "parts": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["k"],
                    "items": {"type": "object", "properties": {"k": {"type": "string"}, "v": {"type": "integer",
                        "x-kubernetes-validations": [{"rule": "self >= oldSelf"}]}}}}}}}})
    }

    #[test]
    fn rules_are_held_against_values() {
        let schema = schema(&json!([
            {"rule": "self.min <= self.max", "messageExpression": "'min is ' + string(self.min)"},
            {"rule": "self.min > 0", "fieldPath": ".min", "reason": "FieldValueForbidden", "message": "must be there"},
            {"rule": "self.max < 100"}]));
        let (errors, _) = validate(&schema, &json!({"spec": {"min": 3, "max": 2}}), None);
        assert_eq!(errors, ["spec: Invalid value: min is 3"]);
        let (errors, _) = validate(&schema, &json!({"spec": {"min": 0, "max": 100}}), None);
        assert_eq!(
            errors,
            [
                "spec.min: Forbidden: must be there",
                "spec: Invalid value: failed rule: self.max < 100"
            ]
        );
        let (errors, _) = validate(&schema, &json!({"spec": {"min": 1}}), None);
        assert_eq!(
            errors,
            [
                "spec: Invalid value: \"object\": no such key: max evaluating rule: self.min <= self.max",
                "spec: Invalid value: \"object\": no such key: max evaluating rule: self.max < 100"
            ]
        );
    }

    #[test]
    fn old_values_are_looked_at_where_there_are_any() {
        let schema = schema(&json!([]));
        let old = json!({"spec": {"name": "a", "parts": [{"k": "x", "v": 2}, {"k": "y", "v": 5}]}});
        let new = json!({"spec": {"name": "b", "parts": [{"k": "y", "v": 4}, {"k": "z", "v": 0}]}});
        assert_eq!(validate(&schema, &new, None).0, [""; 0]);
        let (errors, _) = validate(&schema, &new, Some(&old));
        assert_eq!(
            errors,
            [
                "spec.name: Invalid value: \"b\": cannot be changed",
                "spec.parts[0].v: Invalid value: 4: failed rule: self >= oldSelf"
            ]
        );
    }

    #[test]
    fn what_did_not_change_is_let_be() {
        let schema = schema(&json!([{"rule": "self.min > 5"},
            {"rule": "!oldSelf.hasValue() || self.min == oldSelf.value().min", "optionalOldSelf": true}]));
        let value = json!({"spec": {"min": 1}});
        let (errors, warnings) = validate(&schema, &value, Some(&value));
        assert_eq!(errors, [""; 0]);
        assert_eq!(warnings.len(), 1);
        let (errors, _) = validate(&schema, &json!({"spec": {"min": 7}}), Some(&value));
        assert_eq!(errors.len(), 1);
    }

    #[test]
    fn faults_of_rules_are_told() {
        let of = schema(&json!([{"rule": "self.size > 1"}, {"rule": "self.min"},
            {"rule": "true", "messageExpression": "1"}]));
        let faults = Rules::faults(&of["properties"]["spec"], false);
        let told: Vec<String> = faults
            .iter()
            .map(|fault| format!("{} {}: {}", fault.index, fault.field, fault.message))
            .collect();
        assert_eq!(
            told,
            [
                "0 rule: compilation failed: ERROR: <input>:1:5: undefined field 'size'\n | self.size > 1\n | ....^",
                "1 rule: cel expression must evaluate to a bool",
                "2 messageExpression: messageExpression must evaluate to a string"
            ]
        );
    }
}
