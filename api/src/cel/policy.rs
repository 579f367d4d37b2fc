//! The expressions of admission policies, of both kinds: compiled once, evaluated for each request.
//!
//! Pure: what a request is, whom it concerns and what becomes of a refusal is the affair of the apiserver's admission. Words,
//! order and budgets are upstream's (`validating/validator.go`, `admission/plugin/cel`).

use std::collections::BTreeMap;
use std::sync::LazyLock;

use serde_json::{Value as Json, json};

use super::error::EvalError;
use super::json::to_json;
use super::meter::{BUDGET, MATCH_CONDITIONS_BUDGET, PER_CALL_LIMIT};
use super::objects::JSON_PATCH;
use super::program::{Activation, Environment, Program, Variable, compile, compile_as};
use super::published::Published;
use super::schema;
use super::types::Type;
use super::value::Value;
use super::world::{Asker, Authorizer, Opaque, ResourceCheck};
use crate::object::Fields;

/// Longer messages of `messageExpression` are not shown.
const MESSAGE_MAX: usize = 5 * 1024;
const OUT_OF_BUDGET: &str =
    "validation failed due to running out of cost budget, no further validation rules will be run";

/// An expression and what became of it.
#[derive(Debug)]
pub struct Expression {
    /// As it was written.
    pub source: String,
    /// The program, or why there is none.
    pub program: Result<Program, String>,
}

impl Expression {
    fn new(source: &str, environment: &Environment, wanted: &[Type]) -> Self {
        Self {
            source: source.to_owned(),
            program: compile_as(source, environment, wanted),
        }
    }
}

/// One of a policy's validations.
#[derive(Debug)]
pub struct Validation {
    /// What has to hold.
    pub expression: Expression,
    /// What is said where it does not; empty where nothing is.
    pub message: String,
    /// What is said instead, where it can be evaluated.
    pub message_expression: Option<Expression>,
    /// The reason of the refusal; empty for `Invalid`.
    pub reason: String,
}

/// What a mutation's expression makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PatchType {
    /// An object that is merged in.
    ApplyConfiguration,
    /// Operations of a JSON patch.
    JsonPatch,
}

/// The expressions of a policy.
#[derive(Debug)]
pub struct Policy {
    environment: Environment,
    variables: Vec<Variable>,
    /// The name of each condition and what it is.
    pub conditions: Vec<(String, Expression)>,
    /// What has to hold.
    pub validations: Vec<Validation>,
    /// The key of each annotation and its value.
    pub annotations: Vec<(String, Expression)>,
    /// What is to be changed.
    pub mutations: Vec<(PatchType, Expression)>,
}

/// What a policy is evaluated for.
#[derive(Clone, Copy)]
pub struct Inputs<'v> {
    /// The object as it will be; absent where it is deleted.
    pub object: Option<&'v Json>,
    /// The object as it was; absent where it is new.
    pub old: Option<&'v Json>,
    /// The policy's parameters, where there are any.
    pub params: Option<&'v Json>,
    /// The request, without the objects.
    pub request: &'v Json,
    /// The namespace of the object; absent at the cluster scope.
    pub namespace: Option<&'v Json>,
    /// Who answers questions about what the sender may do.
    pub authorizer: Option<&'v dyn Authorizer>,
}

/// What came of one validation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// It holds.
    Admit,
    /// It does not: what is said, and the reason (empty for `Invalid`).
    Deny(String, String),
    /// It could not be evaluated, for this reason.
    Fail(String),
}

/// What is to be done to the object.
#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    /// This is merged in.
    Merge(Json),
    /// These operations are carried out.
    Patch(Vec<Json>),
}

/// The parts of a namespace that expressions see, with its times as moments.
static NAMESPACE: LazyLock<Json> = LazyLock::new(|| {
    let (text, moment) = (
        json!({"type": "string"}),
        json!({"type": "string", "format": "date-time"}),
    );
    let texts = json!({"type": "array", "items": text});
    let map = json!({"type": "object", "additionalProperties": text});
    let condition = json!({"type": "object", "properties": {
        "status": text, "type": text, "lastTransitionTime": moment, "message": text, "reason": text}});
    json!({"type": "object", "properties": {
        "metadata": {"type": "object", "properties": {
            "name": text, "generateName": text, "namespace": text, "uid": text, "resourceVersion": text,
            "labels": map, "annotations": map, "creationTimestamp": moment, "deletionTimestamp": moment,
            "deletionGracePeriodSeconds": {"type": "integer"}, "generation": {"type": "integer"}, "finalizers": texts}},
        "spec": {"type": "object", "properties": {"finalizers": texts}},
        "status": {"type": "object", "properties": {
            "phase": text, "conditions": {"type": "array", "items": condition}}}}})
});

impl Policy {
    /// Compiles what the `spec` of a policy of either kind says.
    pub fn compile(spec: &Json) -> Self {
        Self::compile_for(spec, Type::Dyn, Type::Dyn)
    }

    /// Compiles it for objects and parameters of known types.
    fn compile_for(spec: &Json, object: Type, params: Type) -> Self {
        let params = spec.has("paramKind").then_some(params);
        let mut environment = Environment::admission(object.clone(), params.clone(), true);
        environment.patches = spec.has("mutations");
        let conditions = conditions(spec, &environment);
        // Where there are none, expressions do not even know the name.
        environment.composed = (spec.count("variables") > 0).then(Vec::new);
        let mut variables = Vec::new();
        for variable in spec.items("variables") {
            let program = compile(variable.text("expression"), &environment)
                .map_err(|issues| format!("compilation failed: {issues}"));
            let output = program
                .as_ref()
                .map_or(Type::Dyn, |program| declared(program.output()));
            let name = variable.text("name").to_owned();
            // Without an expression there is no variable.
            if !variable.text("expression").trim().is_empty() {
                let composed = environment.composed.get_or_insert_default();
                composed.push((name.clone(), output));
            }
            variables.push(Variable { name, program });
        }
        // Messages do not see the authorizer, whose variables come last.
        let messages = Environment {
            composed: environment.composed.clone(),
            ..Environment::admission(object, params, false)
        };
        let validations = spec.items("validations").iter();
        let annotations = spec.items("auditAnnotations").iter();
        let mutations = spec.items("mutations").iter();
        Self {
            validations: validations
                .map(|one| Validation::read(one, &environment, &messages))
                .collect(),
            annotations: annotations
                .map(|one| {
                    let text = [Type::String, Type::Null];
                    let value = Expression::new(one.text("valueExpression").trim(), &environment, &text);
                    (one.text("key").to_owned(), value)
                })
                .collect(),
            mutations: mutations.map(|one| mutation(one, &environment)).collect(),
            conditions,
            variables,
            environment,
        }
    }

    /// The variables of the policy: their names, and why an expression does not compile.
    pub fn variables(&self) -> &[Variable] {
        &self.variables
    }

    fn activation<'v>(&'v self, inputs: &Inputs<'v>) -> Activation<'v> {
        let mut activation = Activation::new(&self.environment, &self.variables);
        fill(&mut activation, &self.environment, inputs);
        activation
    }

    /// Whether the policy's conditions let it concern the request; an error where none is false and one cannot be evaluated.
    ///
    /// # Errors
    /// What went wrong.
    pub fn matches(&self, inputs: &Inputs<'_>) -> Result<bool, String> {
        hold(&self.conditions, &self.activation(inputs))
    }

    /// What each validation says; one failure where the budget runs out.
    pub fn validate(&self, inputs: &Inputs<'_>) -> Vec<Decision> {
        let activation = self.activation(inputs);
        let mut budget = BUDGET;
        let mut results = Vec::with_capacity(self.validations.len());
        for validation in &self.validations {
            match spend(&validation.expression, &activation, &mut budget) {
                Ok(result) => results.push(result),
                Err(OutOfBudget) => return vec![Decision::Fail(OUT_OF_BUDGET.to_owned())],
            }
        }
        let decisions = self.validations.iter().zip(results);
        decisions
            .map(|(validation, result)| match result {
                Err(why) => Decision::Fail(why),
                Ok(Value::Bool(true)) => Decision::Admit,
                Ok(_) => match validation.told(&activation, &mut budget) {
                    Ok(message) => Decision::Deny(message, validation.reason.clone()),
                    Err(OutOfBudget) => Decision::Fail(format!("failed messageExpression: {OUT_OF_BUDGET}")),
                },
            })
            .collect()
    }

    /// The annotations that the policy makes of a request: key, and value or what went wrong. Empty values are left out.
    pub fn annotate(&self, inputs: &Inputs<'_>) -> Vec<(&str, Result<String, String>)> {
        let activation = self.activation(inputs);
        let mut budget = BUDGET;
        let mut made = Vec::new();
        for (key, expression) in &self.annotations {
            let value = match spend(expression, &activation, &mut budget) {
                Ok(Ok(Value::String(text))) => Ok(text.trim().to_owned()),
                Ok(Ok(_)) => Ok(String::new()),
                Ok(Err(why)) => Err(why),
                Err(OutOfBudget) => Err(OUT_OF_BUDGET.to_owned()),
            };
            if value != Ok(String::new()) {
                made.push((key.as_str(), value));
            }
        }
        made
    }

    /// What a mutation wants.
    ///
    /// # Errors
    /// Why it cannot be told.
    pub fn mutate(&self, index: usize, inputs: &Inputs<'_>) -> Result<Change, String> {
        let Some((kind, expression)) = self.mutations.get(index) else {
            return Err(format!("there is no mutation {index}"));
        };
        let mut budget = BUDGET;
        let value = spend(expression, &self.activation(inputs), &mut budget)
            .map_err(|OutOfBudget| OUT_OF_BUDGET.to_owned())??;
        match kind {
            PatchType::ApplyConfiguration => {
                same_names(&value, "Object").map_err(|why| format!("type mismatch: {why}"))?;
                to_json(&value)
                    .map(Change::Merge)
                    .map_err(|error| error.to_string())
            }
            PatchType::JsonPatch => operations(&value).map(Change::Patch),
        }
    }

    /// What is odd about the expressions of a policy for the kinds that its rules name: the field, and what it is for each kind.
    /// `published` has what is [wanted](Published::wanted) for it.
    pub fn expression_warnings(spec: &Json, published: &Published) -> Vec<(String, String)> {
        let params = spec
            .field("paramKind")
            .and_then(|kind| published.of_kind(kind.text("apiVersion"), kind.text("kind")))
            .unwrap_or(Type::Dyn);
        let mut warnings: Vec<(String, String)> = Vec::new();
        for (name, object) in kinds(spec, published) {
            for (field, why) in Self::type_warnings(spec, &object, &params) {
                let told = format!("{name}: {why}\n");
                match warnings.iter_mut().find(|(known, _)| *known == field) {
                    Some((_, all)) => {
                        all.push('\n');
                        all.push_str(&told);
                    }
                    None => warnings.push((field, told)),
                }
            }
        }
        warnings
    }

    /// What is odd about the expressions of a policy, were objects and parameters of these types: the field and what it is.
    pub fn type_warnings(spec: &Json, object: &Type, params: &Type) -> Vec<(String, String)> {
        let policy = Self::compile_for(spec, object.clone(), params.clone());
        let mut warnings = Vec::new();
        for (index, validation) in policy.validations.iter().enumerate() {
            let at = format!("spec.validations[{index}]");
            let parts = [
                ("expression", Some(&validation.expression)),
                ("messageExpression", validation.message_expression.as_ref()),
            ];
            for (name, expression) in parts {
                // What an expression evaluates to is checked when a policy is stored.
                let why = expression.and_then(|expression| expression.program.as_ref().err());
                if let Some(why) = why.and_then(|why| why.strip_prefix("compilation failed: ")) {
                    warnings.push((format!("{at}.{name}"), why.to_owned()));
                }
            }
        }
        warnings
    }
}

/// Where a rule names so many kinds, nothing further is looked at.
const KINDS_MAX: usize = 10;

/// The kinds that the rules of a policy name without wildcards, sorted, with their types.
fn kinds(spec: &Json, published: &Published) -> BTreeMap<String, Type> {
    let mut kinds = BTreeMap::new();
    for rule in spec["matchConstraints"].items("resourceRules") {
        let words = |name: &str| -> Vec<&str> {
            let mut words: Vec<&str> = rule.items(name).iter().filter_map(Json::as_str).collect();
            words.sort_unstable();
            words
        };
        let (groups, versions, resources) = (words("apiGroups"), words("apiVersions"), words("resources"));
        if groups.iter().chain(&versions).any(|word| word.contains('*')) {
            continue;
        }
        let mut count = 0;
        for (group, version) in groups
            .iter()
            .flat_map(|group| versions.iter().map(move |version| (group, version)))
        {
            for resource in resources.iter().filter(|name| !name.contains(['*', '/'])) {
                let Some((kind, ty)) = published.of_resource(group, version, resource) else {
                    continue;
                };
                let separator = if group.is_empty() { "" } else { "/" };
                kinds.insert(format!("{group}{separator}{version}, Kind={kind}"), ty);
                count += 1;
                if count == KINDS_MAX {
                    return kinds;
                }
            }
        }
    }
    kinds
}

impl Validation {
    fn read(validation: &Json, environment: &Environment, messages: &Environment) -> Self {
        let message_expression = validation.text("messageExpression");
        Self {
            expression: Expression::new(validation.text("expression"), environment, &[Type::Bool]),
            message: validation.text("message").trim().to_owned(),
            message_expression: (!message_expression.trim().is_empty())
                .then(|| Expression::new(message_expression, messages, &[Type::String])),
            reason: validation.text("reason").to_owned(),
        }
    }

    /// What is said of a refusal.
    fn told(&self, activation: &Activation<'_>, budget: &mut u64) -> Result<String, OutOfBudget> {
        if let Some(expression) = &self.message_expression
            && let Ok(Value::String(text)) = spend(expression, activation, budget)?
        {
            let text = text.trim();
            if !text.is_empty() && text.len() <= MESSAGE_MAX && !text.contains('\n') {
                return Ok(text.to_owned());
            }
        }
        if self.message.is_empty() {
            return Ok(format!("failed expression: {}", self.expression.source.trim()));
        }
        Ok(self.message.clone())
    }
}

/// The type that a variable is declared with: as upstream has it, only simple types and containers of them are kept.
fn declared(output: &Type) -> Type {
    match output {
        Type::List(item) => Type::list(declared(item)),
        Type::Map(key, value) => Type::map(declared(key), declared(value)),
        Type::Bool
        | Type::Bytes
        | Type::Double
        | Type::Duration
        | Type::Int
        | Type::Null
        | Type::String
        | Type::Timestamp
        | Type::Uint => output.clone(),
        _ => Type::Dyn,
    }
}

fn mutation(mutation: &Json, environment: &Environment) -> (PatchType, Expression) {
    let object = super::objects::patch_type("Object").unwrap_or(Type::Dyn);
    let operation = super::objects::patch_type(JSON_PATCH).unwrap_or(Type::Dyn);
    match mutation.text("patchType") {
        "JSONPatch" => {
            let source = mutation["jsonPatch"].text("expression");
            let expression = Expression::new(source, environment, &[Type::list(operation)]);
            (PatchType::JsonPatch, expression)
        }
        _ => {
            let source = mutation["applyConfiguration"].text("expression");
            (
                PatchType::ApplyConfiguration,
                Expression::new(source, environment, &[object]),
            )
        }
    }
}

/// The match conditions of a policy or a webhook.
pub fn conditions(of: &Json, environment: &Environment) -> Vec<(String, Expression)> {
    let conditions = of.items("matchConditions").iter();
    conditions
        .map(|one| {
            let source = one.text("expression").trim();
            (
                one.text("name").to_owned(),
                Expression::new(source, environment, &[Type::Bool]),
            )
        })
        .collect()
}

/// Gives the variables of a request their values.
pub fn fill<'v>(activation: &mut Activation<'v>, environment: &Environment, inputs: &Inputs<'v>) {
    let json = |value: Option<&'v Json>| value.map_or(Value::Null, Value::json);
    let mut set = |name: &str, value: Value<'v>| activation.set(environment, name, value);
    set("object", json(inputs.object));
    set("oldObject", json(inputs.old));
    set("params", json(inputs.params));
    set("request", Value::json(inputs.request));
    let namespace = inputs
        .namespace
        .map(|namespace| schema::value(namespace, Some(&NAMESPACE)));
    set(
        "namespaceObject",
        namespace.and_then(Result::ok).unwrap_or(Value::Null),
    );
    let Some(authorizer) = inputs.authorizer else {
        return;
    };
    let asker = Asker {
        authorizer,
        service_account: None,
    };
    let (request, text) = (inputs.request, |name: &str| inputs.request.text(name).to_owned());
    let check = ResourceCheck {
        group: request["requestResource"].text("group").to_owned(),
        resource: request["requestResource"].text("resource").to_owned(),
        subresource: text("requestSubResource"),
        namespace: text("namespace"),
        name: text("name"),
        ..ResourceCheck::default()
    };
    let own = Opaque::ResourceCheck(asker.clone(), check.into());
    set("authorizer.requestResource", Value::Opaque(own));
    set("authorizer", Value::Opaque(Opaque::Authorizer(asker)));
}

/// Whether all conditions hold: false where one is false, an error where none is and one cannot be evaluated.
///
/// # Errors
/// What went wrong.
pub fn hold(conditions: &[(String, Expression)], activation: &Activation<'_>) -> Result<bool, String> {
    let mut budget = MATCH_CONDITIONS_BUDGET;
    let mut faults = Vec::new();
    let mut all = true;
    for (_, condition) in conditions {
        match spend(condition, activation, &mut budget) {
            Ok(Ok(Value::Bool(true))) => {}
            Ok(Ok(_)) => all = false,
            Ok(Err(why)) => faults.push(why),
            Err(OutOfBudget) => return Err(OUT_OF_BUDGET.to_owned()),
        }
    }
    match faults.as_slice() {
        _ if !all => Ok(false),
        [] => Ok(true),
        [only] => Err(only.clone()),
        several => Err(format!("[{}]", several.join(", "))),
    }
}

struct OutOfBudget;

/// The value of an expression, or what went wrong with it, paid for.
fn spend<'v>(
    expression: &Expression,
    activation: &Activation<'v>,
    budget: &mut u64,
) -> Result<Result<Value<'v>, String>, OutOfBudget> {
    let program = match &expression.program {
        Ok(program) => program,
        Err(why) => return Ok(Err(format!("compilation error: {why}"))),
    };
    let (result, cost) = program.evaluate(activation, PER_CALL_LIMIT);
    let cost = cost.saturating_add(activation.take_cost());
    *budget = budget.checked_sub(cost).ok_or(OutOfBudget)?;
    Ok(result
        .map_err(|error: EvalError| format!("expression '{}' resulted in error: {error}", expression.source)))
}

/// That the name of each object's type is the way to it from the root.
fn same_names(value: &Value<'_>, path: &str) -> Result<(), String> {
    match value {
        Value::Object(object) => {
            if object.name != path {
                return Err(format!(
                    "unexpected type name {:?}, expected {path:?}, which matches field name path from root Object type",
                    object.name
                ));
            }
            let mut fields = object.fields.iter();
            fields.try_for_each(|(name, value)| same_names(value, &format!("{path}.{name}")))
        }
        Value::List(list) => list
            .iter()
            .try_for_each(|item| same_names(&item.map_err(|error| error.to_string())?, path)),
        Value::Map(map) => {
            let entries = map.entries().map_err(|error| error.to_string())?;
            entries.iter().try_for_each(|(_, value)| same_names(value, path))
        }
        _ => Ok(()),
    }
}

/// The operations of a JSON patch.
fn operations(value: &Value<'_>) -> Result<Vec<Json>, String> {
    let Value::List(list) = value else {
        return Err("type mismatch: JSONPatchType.expression should evaluate to array".to_owned());
    };
    let mut operations = Vec::with_capacity(list.len());
    for item in list.iter() {
        let Ok(Value::Object(object)) = item else {
            return Err(
                "type mismatch: JSONPatchType.expression should evaluate to array of JSONPatch".to_owned(),
            );
        };
        let mut operation = serde_json::Map::new();
        for name in ["op", "path", "from"] {
            let text = object
                .fields
                .get(name)
                .and_then(Value::as_str)
                .unwrap_or_default();
            if name != "from" || !text.is_empty() {
                operation.insert(name.to_owned(), text.into());
            }
        }
        if let Some(value) = object.fields.get("value") {
            if let Value::Object(made) = value {
                same_names(value, &made.name).map_err(|why| format!("type mismatch: {why}"))?;
            }
            let json = to_json(value).map_err(|error| {
                format!(
                    "JSONPath valueExpression evaluated to a type that could not marshal to JSON: {error}"
                )
            })?;
            operation.insert("value".to_owned(), json);
        }
        operations.push(Json::Object(operation));
    }
    Ok(operations)
}

#[cfg(test)]
mod tests;
