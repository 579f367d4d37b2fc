//! Roles and their bindings.

use serde_json::Value;

use super::field::{FieldErrors, Path};
use super::internal;
use super::meta::faults;
use super::selector::label_selector;
use crate::names;
use crate::object::{Fields, same};

const GROUP: &str = "rbac.authorization.k8s.io";

fn rules(role: &Value, namespaced: bool, errors: &mut FieldErrors) {
    let list = Path::new("rules");
    for (index, rule) in role.items("rules").iter().enumerate() {
        policy_rule(rule, namespaced, &list.index(index), errors);
    }
}

fn policy_rule(rule: &Value, namespaced: bool, at: &Path<'_>, errors: &mut FieldErrors) {
    if rule.count("verbs") == 0 {
        errors.required(&at.child("verbs"), "verbs must contain at least one value");
    }
    if rule.count("nonResourceURLs") > 0 {
        let (at, urls) = (at.child("nonResourceURLs"), &rule["nonResourceURLs"]);
        if namespaced {
            errors.invalid(&at, urls, "namespaced rules cannot apply to non-resource URLs");
        }
        if ["apiGroups", "resources", "resourceNames"]
            .iter()
            .any(|name| rule.count(name) > 0)
        {
            errors.invalid(
                &at,
                urls,
                "rules cannot apply to both regular resources and non-resource URLs",
            );
        }
        return;
    }
    if rule.count("apiGroups") == 0 {
        errors.required(
            &at.child("apiGroups"),
            "resource rules must supply at least one api group",
        );
    }
    if rule.count("resources") == 0 {
        errors.required(
            &at.child("resources"),
            "resource rules must supply at least one resource",
        );
    }
}

pub(super) fn role(role: &Value, errors: &mut FieldErrors) {
    rules(role, true, errors);
}

pub(super) fn cluster_role(role: &Value, errors: &mut FieldErrors) {
    rules(role, false, errors);
    let Some(aggregation) = role.field("aggregationRule") else {
        return;
    };
    let at = Path::new("aggregationRule.clusterRoleSelectors");
    if aggregation.count("clusterRoleSelectors") == 0 {
        errors.required(
            &at,
            "at least one clusterRoleSelector required if aggregationRule is non-nil",
        );
    }
    for (index, selector) in aggregation.items("clusterRoleSelectors").iter().enumerate() {
        let at = at.index(index);
        let before = errors.len();
        label_selector(Some(selector), &at, errors);
        if errors.len() > before {
            errors.invalid(&at, &Value::Null, "invalid label selector.");
        }
    }
}

fn binding(binding: &Value, kinds: &[&str], namespaced: bool, errors: &mut FieldErrors) {
    let (role, at) = (&binding["roleRef"], Path::new("roleRef"));
    if role.text("apiGroup") != GROUP {
        errors.not_supported(&at.child("apiGroup"), role.text("apiGroup"), &[GROUP]);
    }
    if !kinds.contains(&role.text("kind")) {
        errors.not_supported(&at.child("kind"), role.text("kind"), kinds);
    }
    match role.text("name") {
        "" => errors.required(&at.child("name"), ""),
        name => faults(&at.child("name"), name, names::path_segment(name), errors),
    }
    let list = Path::new("subjects");
    for (index, one) in binding.items("subjects").iter().enumerate() {
        subject(one, namespaced, &list.index(index), errors);
    }
}

fn subject(subject: &Value, namespaced: bool, at: &Path<'_>, errors: &mut FieldErrors) {
    let (name, group) = (subject.text("name"), subject.text("apiGroup"));
    if name.is_empty() {
        errors.required(&at.child("name"), "");
    }
    match subject.text("kind") {
        "ServiceAccount" => {
            if !name.is_empty() {
                faults(&at.child("name"), name, names::dns1123_subdomain(name), errors);
            }
            if !group.is_empty() {
                errors.not_supported(&at.child("apiGroup"), group, &[""]);
            }
            if !namespaced && subject.text("namespace").is_empty() {
                errors.required(&at.child("namespace"), "");
            }
        }
        "User" | "Group" if group != GROUP => errors.not_supported(&at.child("apiGroup"), group, &[GROUP]),
        "User" | "Group" => {}
        other => errors.not_supported(&at.child("kind"), other, &["ServiceAccount", "User", "Group"]),
    }
}

pub(super) fn role_binding(object: &Value, errors: &mut FieldErrors) {
    binding(object, &["Role", "ClusterRole"], true, errors);
}

pub(super) fn cluster_role_binding(object: &Value, errors: &mut FieldErrors) {
    binding(object, &["ClusterRole"], false, errors);
}

/// A binding's role never changes: whoever may change subjects need not be allowed to grant another role.
fn same_role(new: &Value, old: &Value, errors: &mut FieldErrors) {
    if !same(new.get("roleRef"), old.get("roleRef")) {
        let shown = internal::shown(&new["roleRef"], internal::ROLE_REF);
        errors.invalid(&Path::new("roleRef"), shown, "cannot change roleRef");
    }
}

pub(super) fn role_binding_update(new: &Value, old: &Value, errors: &mut FieldErrors) {
    role_binding(new, errors);
    same_role(new, old, errors);
}

pub(super) fn cluster_role_binding_update(new: &Value, old: &Value, errors: &mut FieldErrors) {
    cluster_role_binding(new, errors);
    same_role(new, old, errors);
}
