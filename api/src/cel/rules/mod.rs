//! The rules of custom resources: `x-kubernetes-validations`.
//!
//! [`Rules::compile`] reads them from a structural schema; [`Rules::validate`] holds a value, and the value before it, against
//! them. Words, order, budget and the correlation of old and new values are upstream's (`apiserver/schema/cel/validation.go`).
//! `WithRatcheting`: what a value did not change does not make a write fail.

pub(crate) mod field_path;
mod run;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use serde_json::Value as Json;

use self::run::Run;
use super::meter::BUDGET;
use super::program::{Environment, Program, compile, compile_with_cost};
use super::schema;
use super::sizes::Sizes;
use super::types::Type;
use crate::object::Fields;
use crate::validation::{FieldErrors, Path};

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
    /// Those of the schema itself, where it has some.
    own: Option<Box<Own>>,
    /// What items of a list are known again by; none where they are not.
    keys: Vec<String>,
    items: Option<Box<Rules>>,
    values: Option<Box<Rules>>,
    properties: BTreeMap<String, Rules>,
    all_of: Vec<Rules>,
}

/// The rules of one schema, and what they are evaluated by.
#[derive(Debug)]
struct Own {
    /// The schema of the values, with what every resource has where they are resources.
    schema: Json,
    environment: Environment,
    optional: Environment,
    rules: Vec<Rule>,
}

/// What is to be known of a rule before a definition may have it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Judged {
    /// What the rule may cost at most, or what is wrong with it.
    pub rule: Result<u64, String>,
    /// The same of its `messageExpression`, where it has one.
    pub message: Option<Result<u64, String>>,
    /// Whether it looks at `oldSelf`.
    pub uses_old: bool,
}

impl Rules {
    /// The rules of a schema, whose values are resources where `resource`; none where there are none.
    pub fn compile(schema: &Json, resource: bool) -> Option<Self> {
        let lean = schema::lean(schema);
        let root = if resource {
            schema::with_type_and_meta(&lean)
        } else {
            lean
        };
        Self::node(schema, &root, "selfType", resource)
    }

    /// The rules of one node of a schema, whose values have these sizes; none for what has no rule.
    pub fn judge(schema: &Json, resource: bool, sizes: &Sizes) -> Vec<Option<Judged>> {
        let (environment, optional) = environments(schema, "selfType", resource);
        let rules = schema.items("x-kubernetes-validations").iter();
        let judge = |rule: &Json| {
            if rule.text("rule").trim().is_empty() {
                return None;
            }
            let (read, cost, message_cost) = Rule::read_for(rule, &environment, &optional, Some(sizes));
            // Upstream does not look at the message of a rule that cannot be compiled.
            let message = read.message.filter(|_| read.program.is_ok());
            Some(Judged {
                rule: read.program.map(|_| cost),
                message: message.map(|message| message.map(|_| message_cost)),
                uses_old: read.uses_old,
            })
        };
        rules.map(judge).collect()
    }

    /// `rules` is the schema that has the rules, `schema` that of the values; they differ below `allOf`.
    fn node(rules: &Json, schema: &Json, name: &str, resource: bool) -> Option<Self> {
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
            own: Own::read(rules, schema, name, resource).map(Box::new),
            keys: keys(schema),
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
        };
        let empty = node.own.is_none()
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

/// What items are known again by: only those of a list of type map are.
fn keys(schema: &Json) -> Vec<String> {
    if schema.text("x-kubernetes-list-type") != "map" {
        return Vec::new();
    }
    let keys = schema.items("x-kubernetes-list-map-keys").iter();
    keys.filter_map(Json::as_str).map(str::to_owned).collect()
}

impl Own {
    /// What types are made of is only worked out where there are rules: a large schema has few.
    fn read(rules: &Json, schema: &Json, name: &str, resource: bool) -> Option<Self> {
        let own = rules.items("x-kubernetes-validations");
        if own.is_empty() {
            return None;
        }
        let (environment, optional) = environments(schema, name, resource);
        Some(Self {
            rules: own
                .iter()
                .map(|rule| Rule::read(rule, &environment, &optional))
                .collect(),
            schema: schema.clone(),
            environment,
            optional,
        })
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
        Self::read_for(rule, environment, optional, None).0
    }

    /// The rule, and what it and its message may cost at most where values have these sizes.
    fn read_for(
        rule: &Json,
        environment: &Environment,
        optional: &Environment,
        sizes: Option<&Sizes>,
    ) -> (Self, u64, u64) {
        let optional_old = rule["optionalOldSelf"] == Json::Bool(true);
        let environment = if optional_old { optional } else { environment };
        let compiled = |source: &str, wanted: &Type, failed: &str, is_not: &str| {
            let compiled = match sizes {
                Some(sizes) => compile_with_cost(source, environment, sizes),
                None => compile(source, environment).map(|program| (program, 0)),
            };
            match compiled {
                Err(issues) => Err(format!("{failed}: {issues}")),
                Ok(compiled) if compiled.0.output() == wanted => Ok(compiled),
                Ok(_) => Err(is_not.to_owned()),
            }
        };
        let (program, cost) = apart(compiled(
            rule.text("rule"),
            &Type::Bool,
            "compilation failed",
            "cel expression must evaluate to a bool",
        ));
        let message = rule.text("messageExpression");
        let message = (!message.is_empty()).then(|| {
            apart(compiled(
                message,
                &Type::String,
                "messageExpression compilation failed",
                "messageExpression must evaluate to a string",
            ))
        });
        let message_cost = message.as_ref().map_or(0, |(_, cost)| *cost);
        let old = environment.place("oldSelf").unwrap_or(usize::MAX);
        let shown = match rule.text("message").trim() {
            "" => rule.text("rule").trim(),
            message => message,
        };
        let rule = Self {
            shown: shown.to_owned(),
            uses_old: program.as_ref().is_ok_and(|program| program.mentions(old)),
            source: rule.clone(),
            program,
            message: message.map(|(message, _)| message),
            optional_old,
        };
        (rule, cost, message_cost)
    }

    fn told(&self) -> String {
        match self.source.text("message").trim() {
            "" => format!("failed rule: {}", self.shown),
            message => message.to_owned(),
        }
    }
}

/// A program and its cost, which is nothing where there is no program.
fn apart(compiled: Result<(Program, u64), String>) -> (Result<Program, String>, u64) {
    match compiled {
        Ok((program, cost)) => (Ok(program), cost),
        Err(why) => (Err(why), 0),
    }
}
