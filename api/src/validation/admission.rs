//! Webhook configurations and admission policies. Their expressions have to compile.

mod policies;

use std::collections::BTreeSet;

use serde_json::Value;

pub(super) use self::policies::{binding, mutating_binding, mutating_policy, policy, policy_status};
use super::field::{FieldErrors, Path};
use super::meta::faults;
use super::selector::label_selector;
use crate::cel::policy::{self, Expression};
use crate::cel::{Environment, Type};
use crate::names;
use crate::object::Fields;

const OPERATIONS: [&str; 5] = ["*", "CONNECT", "CREATE", "DELETE", "UPDATE"];
const REVIEW_VERSIONS: [&str; 2] = ["v1", "v1beta1"];
const CONDITIONS_MAX: usize = 64;

fn one_if_set(object: &Value, name: &str, allowed: &[&str], at: &Path<'_>, errors: &mut FieldErrors) {
    if object.has(name) && !allowed.contains(&object.text(name)) {
        errors.not_supported(&at.child(name), object.text(name), allowed);
    }
}

fn selectors(object: &Value, at: &Path<'_>, errors: &mut FieldErrors) {
    for name in ["namespaceSelector", "objectSelector"] {
        label_selector(object.field(name), &at.child(name), errors);
    }
}

/// A configuration of validating or mutating webhooks.
pub(super) fn webhooks(configuration: &Value, errors: &mut FieldErrors) {
    let list = Path::new("webhooks");
    let mut seen = BTreeSet::new();
    for (index, hook) in configuration.items("webhooks").iter().enumerate() {
        let at = list.index(index);
        webhook(hook, &at, errors);
        review_versions(hook, &at.child("admissionReviewVersions"), errors);
        let name = hook.text("name");
        if !name.is_empty() && !seen.insert(name) {
            errors.duplicate(&at.child("name"), name);
        }
    }
}

fn webhook(hook: &Value, at: &Path<'_>, errors: &mut FieldErrors) {
    match hook.text("name") {
        "" => errors.required(&at.child("name"), ""),
        name => faults(&at.child("name"), name, names::fully_qualified_name(name), errors),
    }
    let list = at.child("rules");
    for (index, one) in hook.items("rules").iter().enumerate() {
        rule(one, &list.index(index), errors);
    }
    one_if_set(hook, "failurePolicy", &["Fail", "Ignore"], at, errors);
    one_if_set(hook, "matchPolicy", &["Equivalent", "Exact"], at, errors);
    if !hook.has("sideEffects") {
        errors.required(&at.child("sideEffects"), "must specify one of None, NoneOnDryRun");
    }
    one_if_set(hook, "sideEffects", &["None", "NoneOnDryRun"], at, errors);
    if let Some(seconds) = hook
        .number("timeoutSeconds")
        .filter(|seconds| !(1..=30).contains(seconds))
    {
        let rule = "the timeout value must be between 1 and 30 seconds";
        errors.invalid(&at.child("timeoutSeconds"), seconds, rule);
    }
    one_if_set(hook, "reinvocationPolicy", &["IfNeeded", "Never"], at, errors);
    selectors(hook, at, errors);
    client_config(&hook["clientConfig"], &at.child("clientConfig"), errors);
    match_conditions(hook, &at.child("matchConditions"), errors);
}

fn rule(rule: &Value, at: &Path<'_>, errors: &mut FieldErrors) {
    let operations = at.child("operations");
    words(rule, "operations", "operations", &operations, errors);
    for (index, operation) in rule.items("operations").iter().enumerate() {
        if !operation
            .as_str()
            .is_some_and(|operation| OPERATIONS.contains(&operation))
        {
            errors.not_supported(&operations.index(index), operation, &OPERATIONS);
        }
    }
    words(rule, "apiGroups", "API groups", &at.child("apiGroups"), errors);
    words(
        rule,
        "apiVersions",
        "API versions",
        &at.child("apiVersions"),
        errors,
    );
    no_empty(rule, "apiVersions", &at.child("apiVersions"), errors);
    resources(rule, &at.child("resources"), errors);
    one_if_set(rule, "scope", &["*", "Cluster", "Namespaced"], at, errors);
}

/// A list that must be there, in which `*` stands alone.
fn words(rule: &Value, name: &str, what: &str, at: &Path<'_>, errors: &mut FieldErrors) {
    match rule.count(name) {
        0 => errors.required(at, ""),
        1 => {}
        _ if rule.items(name).iter().any(|item| item == "*") => {
            errors.invalid(
                at,
                &rule[name],
                format!("if '*' is present, must not specify other {what}"),
            );
        }
        _ => {}
    }
}

fn no_empty(rule: &Value, name: &str, at: &Path<'_>, errors: &mut FieldErrors) {
    for (index, _) in rule
        .items(name)
        .iter()
        .enumerate()
        .filter(|(_, item)| *item == "")
    {
        errors.required(&at.index(index), "");
    }
}

/// Resources with and without subresources; a wildcard makes what it covers superfluous.
fn resources(rule: &Value, at: &Path<'_>, errors: &mut FieldErrors) {
    if rule.count("resources") == 0 {
        errors.required(at, "");
    }
    no_empty(rule, "resources", at, errors);
    let all: Vec<&str> = rule.items("resources").iter().filter_map(Value::as_str).collect();
    if all.len() > 1 && all.contains(&"*/*") {
        errors.invalid(
            at,
            &rule["resources"],
            "if '*/*' is present, must not specify other resources",
        );
    }
    if all.contains(&"*")
        && all
            .iter()
            .any(|name| *name != "*" && !name.is_empty() && !name.contains('/'))
    {
        let fault = "if '*' is present, must not specify other resources without subresources";
        errors.invalid(at, &rule["resources"], fault);
    }
    for (index, name) in all.iter().enumerate() {
        let Some((resource, sub)) = name.split_once('/') else {
            continue;
        };
        let earlier = &all[..index];
        for cover in [format!("{resource}/*"), format!("*/{sub}")] {
            if earlier.contains(&cover.as_str()) {
                let fault = format!("if '{cover}' is present, must not specify {name}");
                errors.invalid(&at.index(index), *name, fault);
            }
        }
    }
}

fn client_config(config: &Value, at: &Path<'_>, errors: &mut FieldErrors) {
    match (
        config.field("url").and_then(Value::as_str),
        config.field("service"),
    ) {
        (Some(url), None) => webhook_url(url, &at.child("url"), errors),
        (None, Some(service)) => {
            let at = at.child("service");
            // Upstream takes one for the other here, so each is missed under the other's name.
            for (name, shown) in [("namespace", "name"), ("name", "namespace")] {
                if service.text(name).is_empty() {
                    errors.required(&at.child(shown), "");
                }
            }
            let port = service.number("port").unwrap_or_default();
            for fault in names::port_number(port) {
                errors.invalid(&at.child("port"), port, format!("port is not valid: {fault}"));
            }
            service_path(service.text("path"), &at.child("path"), errors);
        }
        _ => errors.required(at, "exactly one of url or service is required"),
    }
}

/// A path whose steps are names.
pub(super) fn service_path(path: &str, at: &Path<'_>, errors: &mut FieldErrors) {
    match path {
        "" | "/" => return,
        "//" => return errors.invalid(at, path, "segment[0] may not be empty"),
        _ => {}
    }
    let rest = path.strip_prefix('/').unwrap_or_else(|| {
        errors.invalid(at, path, "must start with a '/'");
        // Upstream cuts a character off all the same.
        path.get(1..).unwrap_or_default()
    });
    let rest = rest.strip_suffix('/').unwrap_or(rest);
    for (index, step) in rest.split('/').enumerate() {
        if step.is_empty() {
            errors.invalid(at, path, format!("segment[{index}] may not be empty"));
            continue;
        }
        for fault in names::dns1123_subdomain(step) {
            errors.invalid(at, path, format!("segment[{index}]: {fault}"));
        }
    }
}

pub(super) fn webhook_url(url: &str, at: &Path<'_>, errors: &mut FieldErrors) {
    let form = "desired format: https://host[/path]";
    let (scheme, rest) = url.split_once("://").unwrap_or(("", ""));
    if scheme != "https" {
        let shown = scheme.to_owned();
        errors.invalid(
            at,
            &shown,
            format!("'https' is the only allowed URL scheme; {form}"),
        );
    }
    let (rest, fragment) = rest.split_once('#').unwrap_or((rest, ""));
    let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
    let host = rest.split('/').next().unwrap_or_default();
    let (user, host) = host.rsplit_once('@').unwrap_or(("", host));
    let parts = [
        (host.is_empty(), "", "host must be specified"),
        (
            !user.is_empty(),
            user,
            "user information is not permitted in the URL",
        ),
        (
            !fragment.is_empty(),
            fragment,
            "fragments are not permitted in the URL",
        ),
        (
            !query.is_empty(),
            query,
            "query parameters are not permitted in the URL",
        ),
    ];
    for (_, shown, fault) in parts.into_iter().filter(|(broken, ..)| *broken) {
        let fault = if shown.is_empty() {
            format!("{fault}; {form}")
        } else {
            fault.to_owned()
        };
        errors.invalid(at, shown, fault);
    }
}

fn review_versions(hook: &Value, at: &Path<'_>, errors: &mut FieldErrors) {
    let versions: Vec<&str> = hook
        .items("admissionReviewVersions")
        .iter()
        .filter_map(Value::as_str)
        .collect();
    if versions.is_empty() {
        errors.required(at, "must specify one of v1, v1beta1");
        return;
    }
    for (index, version) in versions.iter().enumerate() {
        if versions[..index].contains(version) {
            errors.invalid(&at.index(index), *version, "duplicate version");
            continue;
        }
        faults(&at.index(index), version, names::dns1035_label(version), errors);
    }
    if !versions.iter().any(|version| REVIEW_VERSIONS.contains(version)) {
        let fault = "must include at least one of v1, v1beta1";
        errors.invalid(at, &hook["admissionReviewVersions"], fault);
    }
}

fn match_conditions(object: &Value, at: &Path<'_>, errors: &mut FieldErrors) {
    let conditions = object.items("matchConditions");
    let params = object.has("paramKind").then_some(Type::Dyn);
    let environment = Environment::admission(Type::Dyn, params, true);
    let compiled = policy::conditions(object, &environment);
    if conditions.len() > CONDITIONS_MAX {
        errors.too_many(at, conditions.len(), CONDITIONS_MAX);
    }
    let mut seen = BTreeSet::new();
    for (index, condition) in conditions.iter().enumerate() {
        let at = at.index(index);
        if condition.text("expression").trim().is_empty() {
            errors.required(&at.child("expression"), "");
        } else if let Some((_, expression)) = compiled.get(index) {
            not_compiled(expression, &at.child("expression"), errors);
        }
        let name = condition.text("name");
        match name {
            "" => errors.required(&at.child("name"), ""),
            name => faults(&at.child("name"), name, names::qualified_name(name), errors),
        }
        if !name.is_empty() && !seen.insert(name) {
            errors.duplicate(&at.child("name"), name);
        }
    }
}

/// Tells why an expression does not compile.
fn not_compiled(expression: &Expression, at: &Path<'_>, errors: &mut FieldErrors) {
    if let Err(why) = &expression.program {
        errors.invalid(at, expression.source.as_str(), why.clone());
    }
}

fn resource_names(rule: &Value, list: &Path<'_>, errors: &mut FieldErrors) {
    let names = rule.items("resourceNames");
    for (index, name) in names.iter().enumerate() {
        let (at, text) = (list.index(index), name.as_str().unwrap_or_default());
        faults(&at, text, names::path_segment(text), errors);
        if names[..index].contains(name) {
            errors.duplicate(&at, text);
        }
    }
}
