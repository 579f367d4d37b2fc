//! Holding a value against rules, within a budget.

use serde_json::{Map, Value as Json};

use super::{Own, Rule, Rules, field_path};
use crate::cel::error::EvalError;
use crate::cel::meter::PER_CALL_LIMIT;
use crate::cel::program::Activation;
use crate::cel::schema;
use crate::cel::value::Value;
use crate::object::Fields;
use crate::validation::{FieldErrors, Path};

const OUT_OF_BUDGET: &str =
    "validation failed due to running out of cost budget, no further validation rules will be run";
const MESSAGE_MAX: usize = 5 * 1024;

/// Nothing more is evaluated.
pub(super) struct Stop;

/// One evaluation of all rules of a value.
pub(super) struct Run<'a> {
    pub(super) budget: u64,
    pub(super) errors: &'a mut FieldErrors,
    pub(super) warnings: &'a mut Vec<String>,
}

impl Run<'_> {
    /// Holds a value against the rules of a node and of all below it.
    pub(super) fn node(
        &mut self,
        rules: &Rules,
        value: &Json,
        old: Option<&Json>,
        at: &Path<'_>,
    ) -> Result<(), Stop> {
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
        let keys = &rules.keys;
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
        let Some(rules) = &rules.own else {
            return Ok(());
        };
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
        rules: &Own,
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
        field_path::tell_at(
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
