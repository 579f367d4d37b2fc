//! ResourceQuotas and LimitRanges.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::names;
use crate::object::Fields;
use crate::quantity::Quantity;
use crate::validation::field::{FieldErrors, Path};
use crate::validation::meta::faults;
use crate::validation::pod::{
    amount, amount_rules, container_resource_name, may_be_overcommitted, resource_name,
};

const SCOPES: [&str; 6] = [
    "Terminating",
    "NotTerminating",
    "BestEffort",
    "NotBestEffort",
    "PriorityClass",
    "CrossNamespacePodAffinity",
];
const VOLUME_SCOPE: &str = "VolumeAttributesClass";
/// What a quota may limit by a name without a domain.
const QUOTA_RESOURCES: [&str; 19] = [
    "cpu",
    "memory",
    "ephemeral-storage",
    "requests.cpu",
    "requests.memory",
    "requests.storage",
    "requests.ephemeral-storage",
    "limits.cpu",
    "limits.memory",
    "limits.ephemeral-storage",
    "pods",
    "resourcequotas",
    "services",
    "replicationcontrollers",
    "secrets",
    "persistentvolumeclaims",
    "configmaps",
    "services.nodeports",
    "services.loadbalancers",
];
const LIMIT_TYPES: [&str; 3] = ["Pod", "Container", "PersistentVolumeClaim"];

pub(in crate::validation) fn quota(quota: &Value, errors: &mut FieldErrors) {
    let (spec, at) = (&quota["spec"], Path::new("spec"));
    amounts(spec, "hard", &at, errors);
    scopes(spec, &at.child("scopes"), errors);
    scope_selector(spec, &at.child("scopeSelector"), errors);
}

fn amounts(object: &Value, list: &str, at: &Path<'_>, errors: &mut FieldErrors) {
    let at = at.child(list);
    for (name, value) in object.entries(list) {
        let at = at.key(name);
        resource_name(name, &at, errors);
        if !name.contains('/') && !is_quota_resource(name) {
            errors.invalid(&at, name, "must be a standard resource for quota");
        }
        amount_rules(name, value, &at, errors);
    }
}

fn is_quota_resource(name: &str) -> bool {
    QUOTA_RESOURCES.contains(&name)
        || name.starts_with("hugepages-")
        || name.starts_with("requests.hugepages-")
}

/// Whether a scope makes sense for a resource: scopes are about pods, mostly.
fn scope_fits(scope: &str, resource: &str) -> bool {
    let compute = matches!(
        resource,
        "pods"
            | "cpu"
            | "memory"
            | "ephemeral-storage"
            | "requests.cpu"
            | "requests.memory"
            | "requests.ephemeral-storage"
            | "limits.cpu"
            | "limits.memory"
            | "limits.ephemeral-storage"
    );
    match scope {
        "BestEffort" => resource == "pods",
        "Terminating"
        | "NotTerminating"
        | "NotBestEffort"
        | "PriorityClass"
        | "CrossNamespacePodAffinity" => compute,
        VOLUME_SCOPE => matches!(resource, "persistentvolumeclaims" | "requests.storage"),
        _ => true,
    }
}

/// Complains once for each limited resource that a scope makes no sense for.
fn scope_fits_all(scope: &str, spec: &Value, shown: &Value, at: &Path<'_>, errors: &mut FieldErrors) {
    for (name, _) in spec.entries("hard") {
        if is_quota_resource(name) && !scope_fits(scope, name) {
            errors.invalid(at, shown, "unsupported scope applied to resource");
        }
    }
}

fn is_scope(scope: &str) -> bool {
    SCOPES.contains(&scope) || scope == VOLUME_SCOPE
}

fn scopes(spec: &Value, at: &Path<'_>, errors: &mut FieldErrors) {
    let scopes: Vec<&str> = spec.items("scopes").iter().filter_map(Value::as_str).collect();
    let shown = &spec["scopes"];
    for scope in &scopes {
        if !is_scope(scope) {
            errors.invalid(at, shown, "unsupported scope");
        }
        scope_fits_all(scope, spec, shown, at, errors);
    }
    conflicting(&scopes, shown, at, errors);
}

fn conflicting(scopes: &[&str], shown: &Value, at: &Path<'_>, errors: &mut FieldErrors) {
    for (one, other) in [("BestEffort", "NotBestEffort"), ("Terminating", "NotTerminating")] {
        if scopes.contains(&one) && scopes.contains(&other) {
            errors.invalid(at, shown, "conflicting scopes");
        }
    }
}

fn scope_selector(spec: &Value, at: &Path<'_>, errors: &mut FieldErrors) {
    let Some(selector) = spec.field("scopeSelector") else {
        return;
    };
    let at = at.child("matchExpressions");
    let mut scopes = Vec::new();
    for expression in selector.items("matchExpressions") {
        let (scope, operator) = (expression.text("scopeName"), expression.text("operator"));
        if !is_scope(scope) {
            errors.invalid(&at.child("scopeName"), scope, "unsupported scope");
        }
        scope_fits_all(scope, spec, selector, &at, errors);
        if SCOPES.contains(&scope) && scope != "PriorityClass" && operator != "Exists" {
            let rule = "must be 'Exists' when scope is any of ResourceQuotaScopeTerminating, ResourceQuotaScopeNotTerminating, ResourceQuotaScopeBestEffort, ResourceQuotaScopeNotBestEffort or ResourceQuotaScopeCrossNamespacePodAffinity";
            errors.invalid(&at.child("operator"), operator, rule);
        }
        scope_values(expression, operator, &at, errors);
        scopes.push(scope);
    }
    conflicting(&scopes, &spec["scopes"], &at, errors);
}

fn scope_values(expression: &Value, operator: &str, at: &Path<'_>, errors: &mut FieldErrors) {
    let values = expression.items("values");
    match operator {
        "In" | "NotIn" if values.is_empty() => {
            let rule = "must be at least one value when `operator` is 'In' or 'NotIn' for scope selector";
            errors.required(&at.child("values"), rule);
        }
        "Exists" | "DoesNotExist" if !values.is_empty() => {
            let rule = "must be no value when `operator` is 'Exist' or 'DoesNotExist' for scope selector";
            errors.invalid(&at.child("values"), &expression["values"], rule);
        }
        "In" | "NotIn" | "Exists" | "DoesNotExist" => {}
        other => errors.invalid(&at.child("operator"), other, "not a valid selector operator"),
    }
}

pub(in crate::validation) fn quota_update(new: &Value, old: &Value, errors: &mut FieldErrors) {
    quota(new, errors);
    let scopes = |object: &Value| -> BTreeSet<String> {
        object["spec"]
            .items("scopes")
            .iter()
            .filter_map(Value::as_str)
            .map(str::to_owned)
            .collect()
    };
    if scopes(new) != scopes(old) {
        errors.invalid(
            &Path::new("spec.scopes"),
            &new["spec"]["scopes"],
            "field is immutable",
        );
    }
}

pub(in crate::validation) fn quota_status(new: &Value, _: &Value, errors: &mut FieldErrors) {
    for list in ["hard", "used"] {
        amounts(&new["status"], list, &Path::new("status"), errors);
    }
}

pub(in crate::validation) fn limit_range(range: &Value, errors: &mut FieldErrors) {
    let list = Path::new("spec.limits");
    let mut seen = BTreeSet::new();
    for (index, limit) in range["spec"].items("limits").iter().enumerate() {
        let at = list.index(index);
        let kind = limit.text("type");
        let found = names::qualified_name(kind);
        if found.is_empty() && !kind.contains('/') && !LIMIT_TYPES.contains(&kind) {
            errors.invalid(
                &at.child("type"),
                kind,
                "must be a standard limit type or fully qualified",
            );
        }
        faults(&at.child("type"), kind, found, errors);
        if !seen.insert(kind) {
            errors.duplicate(&at.child("type"), kind);
        }
        limit_names(limit, kind, &at, errors);
        let keys: BTreeSet<&str> = ["max", "min", "default", "defaultRequest", "maxLimitRequestRatio"]
            .iter()
            .flat_map(|list| limit.entries(list))
            .map(|(key, _)| key)
            .collect();
        for key in keys {
            limit_amounts(limit, kind, key, &at, errors);
        }
    }
}

fn limit_names(limit: &Value, kind: &str, at: &Path<'_>, errors: &mut FieldErrors) {
    for list in ["max", "min", "default", "defaultRequest", "maxLimitRequestRatio"] {
        let at = at.child(list);
        if kind == "Pod" && list.starts_with("default") {
            if limit.count(list) > 0 {
                errors.forbidden(&at, "may not be specified when `type` is 'Pod'");
            }
            continue;
        }
        for (name, _) in limit.entries(list) {
            match kind {
                "Pod" | "Container" => container_resource_name(name, &at.key(name), errors),
                _ => {
                    resource_name(name, &at.key(name), errors);
                }
            }
        }
    }
    let bounded = ["min", "max"].iter().any(|list| limit[*list].has("storage"));
    if kind == "PersistentVolumeClaim" && !bounded {
        let rule = "either minimum or maximum storage value is required, but neither was provided";
        errors.required(&at.child("limits"), rule);
    }
}

fn limit_amounts(limit: &Value, kind: &str, key: &str, at: &Path<'_>, errors: &mut FieldErrors) {
    let of = |list: &str| limit[list].field(key).map(amount);
    let (min, max) = (of("min"), of("max"));
    let (default, request) = if kind == "Pod" {
        (None, None)
    } else {
        (of("default"), of("defaultRequest"))
    };
    let mut greater = |a: &Option<Quantity>,
                       b: &Option<Quantity>,
                       list: &str,
                       shown: &Option<Quantity>,
                       a_is: &str,
                       b_is: &str| {
        if let (Some(a), Some(b), Some(shown)) = (a, b, shown)
            && a > b
        {
            let rule = format!("{a_is} value {a} is greater than {b_is} value {b}");
            errors.invalid(&at.child(list).key(key), &shown.to_string(), rule);
        }
    };
    greater(&min, &max, "min", &min, "min", "max");
    greater(
        &min,
        &request,
        "defaultRequest",
        &request,
        "min",
        "default request",
    );
    greater(
        &request,
        &max,
        "defaultRequest",
        &request,
        "default request",
        "max",
    );
    greater(
        &request,
        &default,
        "defaultRequest",
        &request,
        "default request",
        "default limit",
    );
    greater(&min, &default, "default", &min, "min", "default");
    greater(&default, &max, "default", &max, "default", "max");
    ratio(limit, key, &min, &max, &at.child("maxLimitRequestRatio"), errors);
    if let (Some(default), Some(request)) = (&default, &request)
        && !may_be_overcommitted(key)
        && default != request
    {
        let rule = format!("default value {default} must equal to defaultRequest value {request} in {key}");
        errors.invalid(&at.child("defaultRequest").key(key), &request.to_string(), rule);
    }
}

fn ratio(
    limit: &Value,
    key: &str,
    min: &Option<Quantity>,
    max: &Option<Quantity>,
    at: &Path<'_>,
    errors: &mut FieldErrors,
) {
    let Some(ratio) = limit["maxLimitRequestRatio"].field(key).map(amount) else {
        return;
    };
    let at = at.key(key);
    if ratio.as_f64() < 1.0 {
        errors.invalid(&at, &ratio.to_string(), format!("ratio {ratio} is less than 1"));
    }
    if let (Some(min), Some(max)) = (min, max)
        && ratio.as_f64() > max.as_f64() / min.as_f64()
    {
        let most = max.as_f64() / min.as_f64();
        errors.invalid(
            &at,
            &ratio.to_string(),
            format!("ratio {ratio} is greater than max/min = {most:.6}"),
        );
    }
}
