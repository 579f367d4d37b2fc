//! Admission policies and their bindings, of both kinds.

use serde_json::Value;

use super::super::conditions::conditions;
use super::super::field::{FieldErrors, Path};
use super::super::meta::faults;
use super::super::selector::label_selector;
use super::{match_conditions, not_compiled, one_if_set, resource_names, rule, selectors};
use crate::cel::policy::{PatchType, Policy, Validation};
use crate::names;
use crate::object::Fields;

/// A ValidatingAdmissionPolicy.
pub(in crate::validation) fn policy(policy: &Value, errors: &mut FieldErrors) {
    let (spec, at) = (&policy["spec"], Path::new("spec"));
    let compiled = Policy::compile(spec);
    one_if_set(spec, "failurePolicy", &["Fail", "Ignore"], &at, errors);
    param_kind(spec, &at.child("paramKind"), errors);
    match spec.field("matchConstraints") {
        None => errors.required(&at.child("matchConstraints"), ""),
        Some(rules) => {
            let at = at.child("matchConstraints");
            if rules.count("resourceRules") == 0 {
                errors.required(&at.child("resourceRules"), "");
            }
            match_resources(rules, &at, errors);
        }
    }
    variables(spec, &compiled, &at.child("variables"), errors);
    if spec.count("validations") == 0 && spec.count("auditAnnotations") == 0 {
        let fault = "validations or auditAnnotations must contain at least one item";
        errors.required(&at.child("validations"), fault);
        errors.required(&at.child("auditAnnotations"), fault);
    }
    let list = at.child("validations");
    for (index, validation) in spec.items("validations").iter().enumerate() {
        let at = list.index(index);
        if let Some(compiled) = compiled.validations.get(index) {
            self::validation(validation, compiled, &at, errors);
        }
        let reasons = ["Forbidden", "Invalid", "RequestEntityTooLarge"];
        if validation.has("reason") && !reasons.contains(&validation.text("reason")) {
            errors.not_supported(&at.child("reason"), validation.text("reason"), &reasons);
        }
    }
    audit_annotations(policy, &compiled, &at.child("auditAnnotations"), errors);
    match_conditions(spec, &at.child("matchConditions"), errors);
}

/// What was found out about a ValidatingAdmissionPolicy.
pub(in crate::validation) fn policy_status(policy: &Value, errors: &mut FieldErrors) {
    let (status, at) = (&policy["status"], Path::new("status"));
    let list = at.child("typeChecking.expressionWarnings");
    for (index, warning) in status["typeChecking"]
        .items("expressionWarnings")
        .iter()
        .enumerate()
    {
        let at = list.index(index);
        if warning.text("warning").is_empty() {
            errors.required(&at.child("warning"), "");
        }
        if warning.text("fieldRef").is_empty() {
            errors.required(&at.child("fieldRef"), "");
        }
    }
    conditions(status.items("conditions"), &at.child("conditions"), errors);
}

/// An expression and what is said where it does not hold.
fn validation(validation: &Value, compiled: &Validation, at: &Path<'_>, errors: &mut FieldErrors) {
    if validation.text("expression").trim().is_empty() {
        errors.required(&at.child("expression"), "expression is not specified");
    } else {
        not_compiled(&compiled.expression, &at.child("expression"), errors);
    }
    let at_message = at.child("messageExpression");
    let message = validation.text("messageExpression");
    if let Some(expression) = &compiled.message_expression {
        not_compiled(expression, &at_message, errors);
    } else if !message.is_empty() {
        errors.invalid(&at_message, message, "must be non-empty if specified");
    }
    let message = validation.text("message");
    if !message.is_empty() && message.trim().is_empty() {
        errors.invalid(
            &at.child("message"),
            message,
            "message must be non-empty if specified",
        );
    } else if message.trim().contains(['\n', '\r']) {
        errors.invalid(
            &at.child("message"),
            message,
            "message must not contain line breaks",
        );
    }
}

fn variables(spec: &Value, compiled: &Policy, list: &Path<'_>, errors: &mut FieldErrors) {
    for (index, variable) in spec.items("variables").iter().enumerate() {
        let at = list.index(index);
        let name = variable.text("name");
        let identifier = name
            .bytes()
            .next()
            .is_some_and(|b| b.is_ascii_alphabetic() || b == b'_')
            && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
        if name.is_empty() {
            errors.required(&at.child("name"), "name is not specified");
        } else if !identifier {
            errors.invalid(&at.child("name"), name, "must be a valid CEL identifier");
        }
        let expression = variable.text("expression");
        if expression.trim().is_empty() {
            errors.required(&at.child("expression"), "expression is not specified");
        } else if let Some(Err(why)) = compiled.variables().get(index).map(|variable| &variable.program) {
            errors.invalid(&at.child("expression"), expression, why.clone());
        }
    }
}

fn audit_annotations(policy: &Value, compiled: &Policy, list: &Path<'_>, errors: &mut FieldErrors) {
    let name = policy["metadata"].text("name");
    let annotations = policy["spec"].items("auditAnnotations");
    for (index, annotation) in annotations.iter().enumerate() {
        let at = list.index(index);
        let key = annotation.text("key");
        if annotations[..index].iter().any(|other| other.text("key") == key) {
            errors.duplicate(&at.child("key"), key);
        }
        if name.is_empty() {
            errors.invalid(&at.child("key"), key, "requires metadata.name be non-empty");
        } else {
            let whole = format!("{name}/{key}");
            faults(&at.child("key"), &whole, names::qualified_name(&whole), errors);
        }
        if annotation.text("valueExpression").trim().is_empty() {
            errors.required(&at.child("valueExpression"), "valueExpression is not specified");
        } else if let Some((_, expression)) = compiled.annotations.get(index) {
            not_compiled(expression, &at.child("valueExpression"), errors);
        }
    }
}

fn match_resources(rules: &Value, at: &Path<'_>, errors: &mut FieldErrors) {
    one_if_set(rules, "matchPolicy", &["Equivalent", "Exact"], at, errors);
    selectors(rules, at, errors);
    for list in ["resourceRules", "excludeResourceRules"] {
        let at = at.child(list);
        for (index, one) in rules.items(list).iter().enumerate() {
            let at = at.index(index);
            resource_names(one, &at.child("resourceNames"), errors);
            rule(one, &at, errors);
        }
    }
}

/// The kind of the objects that a policy takes its parameters from.
fn param_kind(spec: &Value, at: &Path<'_>, errors: &mut FieldErrors) {
    let Some(kind) = spec.field("paramKind") else {
        return;
    };
    let at_version = at.child("apiVersion");
    let api_version = kind.text("apiVersion");
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    if api_version.is_empty() {
        errors.required(&at_version, "");
    } else if version.contains('/') {
        let rule = format!("unexpected GroupVersion string: {api_version}");
        errors.invalid(&at_version, api_version, rule);
    } else {
        joined(
            group,
            !group.is_empty(),
            names::dns1123_subdomain,
            "",
            &at_version,
            errors,
        );
        if version.is_empty() {
            errors.invalid(&at_version, api_version, "version must be specified");
        }
        joined(
            version,
            !version.is_empty(),
            names::dns1035_label,
            "",
            &at_version,
            errors,
        );
    }
    let name = kind.text("kind");
    match name {
        "" => errors.required(&at.child("kind"), ""),
        name => {
            let lower = |name: &str| names::dns1035_label(&name.to_lowercase());
            let start = "may have mixed case, but should otherwise match: ";
            joined(name, true, lower, start, &at.child("kind"), errors);
        }
    }
}

/// All that is wrong with a name, as one fault.
fn joined(
    name: &str,
    judged: bool,
    rule: impl Fn(&str) -> Vec<String>,
    start: &str,
    at: &Path<'_>,
    errors: &mut FieldErrors,
) {
    let found = if judged { rule(name) } else { Vec::new() };
    if !found.is_empty() {
        errors.invalid(at, name, format!("{start}{}", found.join(",")));
    }
}

/// The objects that a binding takes the policy's parameters from.
fn param_ref(spec: &Value, at: &Path<'_>, errors: &mut FieldErrors) {
    let Some(reference) = spec.field("paramRef") else {
        return;
    };
    let name = reference.text("name");
    let both = "name and selector are mutually exclusive";
    if !name.is_empty() {
        faults(&at.child("name"), name, names::path_segment(name), errors);
        if reference.has("selector") {
            errors.forbidden(&at.child("name"), both);
        }
    }
    if let Some(selector) = reference.field("selector") {
        let at = at.child("selector");
        label_selector(Some(selector), &at, errors);
        if !name.is_empty() {
            errors.forbidden(&at, both);
        }
    } else if name.is_empty() {
        errors.required(at, "one of name or selector must be specified");
    }
    let at = at.child("parameterNotFoundAction");
    match reference.text("parameterNotFoundAction") {
        "" => errors.required(&at, ""),
        "Allow" | "Deny" => {}
        other => errors.not_supported(&at, other, &["Deny", "Allow"]),
    }
}

/// A MutatingAdmissionPolicy.
pub(in crate::validation) fn mutating_policy(policy: &Value, errors: &mut FieldErrors) {
    let (spec, at) = (&policy["spec"], Path::new("spec"));
    one_of_required(spec, "failurePolicy", &["Fail", "Ignore"], &at, errors);
    param_kind(spec, &at.child("paramKind"), errors);
    match spec.field("matchConstraints") {
        None => errors.required(&at.child("matchConstraints"), ""),
        Some(rules) => {
            let at = at.child("matchConstraints");
            match_resources(rules, &at, errors);
            if rules.count("resourceRules") == 0 {
                errors.required(&at.child("resourceRules"), "");
            }
            mutable_operations(rules, &at, errors);
        }
    }
    match_conditions(spec, &at.child("matchConditions"), errors);
    let compiled = Policy::compile(spec);
    variables(spec, &compiled, &at.child("variables"), errors);
    let list = at.child("mutations");
    if spec.count("mutations") == 0 {
        errors.required(&list, "mutations must contain at least one item");
    }
    for (index, one) in spec.items("mutations").iter().enumerate() {
        let at = list.index(index);
        mutation(one, &at, errors);
        if let Some((kind, expression)) = compiled.mutations.get(index)
            && !expression.source.trim().is_empty()
        {
            let own = match kind {
                PatchType::ApplyConfiguration => at.child("applyConfiguration"),
                PatchType::JsonPatch => at.child("jsonPatch"),
            };
            not_compiled(expression, &own.child("expression"), errors);
        }
    }
    one_of_required(spec, "reinvocationPolicy", &["IfNeeded", "Never"], &at, errors);
}

fn one_of_required(object: &Value, name: &str, allowed: &[&str], at: &Path<'_>, errors: &mut FieldErrors) {
    match object.text(name) {
        "" => errors.required(&at.child(name), ""),
        word if allowed.contains(&word) => {}
        word => errors.not_supported(&at.child(name), word, allowed),
    }
}

/// Only what is made or changed can be mutated.
fn mutable_operations(rules: &Value, at: &Path<'_>, errors: &mut FieldErrors) {
    let at = at.child("resourceRules.operations");
    for rule in rules.items("resourceRules") {
        for operation in rule.items("operations") {
            if !matches!(operation.as_str(), Some("*" | "CREATE" | "UPDATE")) {
                errors.not_supported(&at, operation, &["*", "CREATE", "UPDATE"]);
            }
        }
    }
}

fn mutation(mutation: &Value, at: &Path<'_>, errors: &mut FieldErrors) {
    let (own, other) = match mutation.text("patchType") {
        "JSONPatch" => ("jsonPatch", "applyConfiguration"),
        "ApplyConfiguration" => ("applyConfiguration", "jsonPatch"),
        "" => return errors.required(&at.child("patchType"), ""),
        other => {
            let types = ["ApplyConfiguration", "JSONPatch"];
            return errors.not_supported(&at.child("patchType"), other, &types);
        }
    };
    let patch_type = mutation.text("patchType");
    let at_own = at.child(own);
    match mutation.field(own) {
        None => errors.required(
            &at_own,
            format!("must be specified when patchType is {patch_type}"),
        ),
        Some(patch) if patch.text("expression").trim().is_empty() => {
            errors.required(&at_own.child("expression"), "");
        }
        Some(_) => {}
    }
    if mutation.has(other) {
        let rule = format!("must not be specified when patchType is {patch_type}");
        errors.invalid(&at.child(other), format!("{{{other}}}").as_str(), rule);
    }
}

/// What a binding of either kind names: its policy and the policy's parameters.
fn bound(spec: &Value, at: &Path<'_>, errors: &mut FieldErrors) {
    match spec.text("policyName") {
        "" => errors.required(&at.child("policyName"), ""),
        name => faults(
            &at.child("policyName"),
            name,
            names::dns1123_subdomain(name),
            errors,
        ),
    }
    param_ref(spec, &at.child("paramRef"), errors);
}

/// A MutatingAdmissionPolicyBinding.
pub(in crate::validation) fn mutating_binding(binding: &Value, errors: &mut FieldErrors) {
    let (spec, at) = (&binding["spec"], Path::new("spec"));
    bound(spec, &at, errors);
    if let Some(rules) = spec.field("matchResources") {
        let at = at.child("matchResources");
        match_resources(rules, &at, errors);
        mutable_operations(rules, &at, errors);
    }
}

/// A ValidatingAdmissionPolicyBinding.
pub(in crate::validation) fn binding(binding: &Value, errors: &mut FieldErrors) {
    let (spec, at) = (&binding["spec"], Path::new("spec"));
    bound(spec, &at, errors);
    if let Some(rules) = spec.field("matchResources") {
        match_resources(rules, &at.child("matchResources"), errors);
    }
    let list = at.child("validationActions");
    let actions: Vec<&str> = spec
        .items("validationActions")
        .iter()
        .filter_map(Value::as_str)
        .collect();
    if actions.is_empty() {
        errors.required(&list, "at least one validation action is required");
    }
    for (index, action) in actions.iter().enumerate() {
        if !matches!(*action, "Audit" | "Deny" | "Warn") {
            errors.not_supported(&list.index(index), *action, &["Audit", "Deny", "Warn"]);
        }
        if actions[..index].contains(action) {
            errors.duplicate(&list.index(index), *action);
        }
    }
    if actions.contains(&"Deny") && actions.contains(&"Warn") {
        let fault = "must not contain both Deny and Warn (repeating the same validation failure information in the API response and headers serves no purpose)";
        errors.invalid(&list, &spec["validationActions"], fault);
    }
}
