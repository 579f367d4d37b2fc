//! Pods and what makes pods.

use std::collections::BTreeSet;

use serde_json::Value;

use super::storage::{self, fraction};
use super::{Warnings, addresses, nodes, paths, ports};
use crate::object::Fields;
use crate::quote::quote;
use crate::validation::Path;

/// Annotations that do nothing any more.
const DEPRECATED: [(&str, &str); 3] = [
    (
        "scheduler.alpha.kubernetes.io/critical-pod",
        "non-functional in v1.16+; use the \"priorityClassName\" field instead",
    ),
    (
        "security.alpha.kubernetes.io/sysctls",
        "non-functional in v1.11+; use the \"sysctls\" field instead",
    ),
    (
        "security.alpha.kubernetes.io/unsafe-sysctls",
        "non-functional in v1.11+; use the \"sysctls\" field instead",
    ),
];
const SECCOMP: &str = "non-functional in v1.27+; use the \"seccompProfile\" field instead";
const SECCOMP_POD: &str = "seccomp.security.alpha.kubernetes.io/pod";
const SECCOMP_CONTAINER: &str = "container.seccomp.security.alpha.kubernetes.io/";
const APPARMOR: &str = "container.apparmor.security.beta.kubernetes.io/";
const NO_SELECTOR: &str = "a null labelSelector results in matching no pod";
const MANY_COMPLETIONS: i64 = 100_000;
const MANY_AT_ONCE: i64 = 10_000;

/// A pod on its own.
pub(super) fn pod(pod: &Value, found: &mut Warnings) {
    spec_and_metadata(pod, &Path::ROOT, false, found);
}

/// What pods are made from.
pub(super) fn template(template: &Value, at: &Path<'_>, found: &mut Warnings) {
    if template.is_object() {
        spec_and_metadata(template, at, true, found);
    }
}

pub(super) fn job(spec: &Value, at: &Path<'_>, found: &mut Warnings) {
    let number = |name: &str| spec.number(name).unwrap_or_default();
    if spec.text("completionMode") == "Indexed"
        && number("completions") > MANY_COMPLETIONS
        && number("parallelism") > MANY_AT_ONCE
    {
        let text = "In Indexed Jobs with a number of completions higher than 10^5 and a parallelism higher than 10^4, Kubernetes might not be able to track completedIndexes when a big number of indexes fail";
        found.at(at, text);
    }
    template(&spec["template"], &at.child("template"), found);
}

/// Goes through a pod's containers, those that run first first.
pub(super) fn containers<'a>(spec: &'a Value, at: &Path<'_>, mut see: impl FnMut(&'a Value, &Path<'_>)) {
    for name in ["initContainers", "containers", "ephemeralContainers"] {
        let list = at.child(name);
        for (index, container) in spec.items(name).iter().enumerate() {
            see(container, &list.index(index));
        }
    }
}

fn spec_and_metadata(pod: &Value, root: &Path<'_>, is_template: bool, found: &mut Warnings) {
    let (spec, at) = (&pod["spec"], root.child("spec"));
    let annotations = &pod["metadata"]["annotations"];
    let metadata = root.child("metadata");
    let at_annotations = metadata.child("annotations");
    placement(spec, &at, found);
    for (name, text) in DEPRECATED.iter().filter(|(name, _)| annotations.has(name)) {
        found.at(&at_annotations.key(name), text);
    }
    let volumes = at.child("volumes");
    for (index, volume) in spec.items("volumes").iter().enumerate() {
        storage::source(volume, &volumes.index(index), found);
    }
    spec.items("volumes")
        .iter()
        .for_each(|volume| paths::volume(volume, found));
    twice(spec, "hostAliases", "ip", &at, found);
    twice(spec, "imagePullSecrets", "name", &at, found);
    for (index, secret) in spec.items("imagePullSecrets").iter().enumerate() {
        if secret.text("name").is_empty() {
            let at = at.child("imagePullSecrets");
            found.at(&at.index(index).child("name"), "invalid empty name \"\"");
        }
    }
    for name in ["memory", "ephemeral-storage"] {
        fraction(&spec["overhead"], name, &at.child("overhead"), found);
    }
    if annotations.has(SECCOMP_POD) && !spec["securityContext"].has("seccompProfile") {
        found.at(&at_annotations.key(SECCOMP_POD), SECCOMP);
    }
    containers(spec, &at, |container, at| {
        profiles(container, pod, is_template, &at_annotations, found);
        amounts(container, at, found);
        environment(container, at, found);
    });
    ports::check(spec, &at, found);
    if spec
        .number("terminationGracePeriodSeconds")
        .is_some_and(|seconds| seconds < 0)
    {
        let text = "must be >= 0; negative values are invalid and will be treated as 1";
        found.at(&at.child("terminationGracePeriodSeconds"), text);
    }
    pod_affinity(&spec["affinity"], &at.child("affinity"), found);
    for (index, server) in spec["dnsConfig"].items("nameservers").iter().enumerate() {
        let at = at.child("dnsConfig.nameservers");
        addresses::address(server.as_str().unwrap_or_default(), &at.index(index), found);
    }
    for (index, alias) in spec.items("hostAliases").iter().enumerate() {
        let at = at.child("hostAliases");
        addresses::address(alias.text("ip"), &at.index(index).child("ip"), found);
    }
}

/// Where the pod may go.
fn placement(spec: &Value, at: &Path<'_>, found: &mut Warnings) {
    for (label, _) in spec.entries("nodeSelector") {
        if let Some(instead) = nodes::deprecated(label) {
            found.at(&at.child("nodeSelector").key(label), instead);
        }
    }
    let affinity = &spec["affinity"]["nodeAffinity"];
    let at_affinity = at.child("affinity.nodeAffinity");
    let required = at_affinity.child("requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms");
    let terms = affinity["requiredDuringSchedulingIgnoredDuringExecution"].items("nodeSelectorTerms");
    for (index, term) in terms.iter().enumerate() {
        nodes::term(term, false, &required.index(index), found);
    }
    let preferred = at_affinity.child("preferredDuringSchedulingIgnoredDuringExecution");
    let terms = affinity.items("preferredDuringSchedulingIgnoredDuringExecution");
    for (index, term) in terms.iter().enumerate() {
        let at = preferred.index(index);
        nodes::term(&term["preference"], true, &at.child("preference"), found);
    }
    let list = at.child("topologySpreadConstraints");
    for (index, constraint) in spec.items("topologySpreadConstraints").iter().enumerate() {
        let at = list.index(index);
        let key = constraint.text("topologyKey");
        if let Some(instead) = nodes::deprecated(key) {
            found.at(&at.child("topologyKey"), format!("{key} is {instead}"));
        }
        if !constraint.has("labelSelector") {
            found.at(&at.child("labelSelector"), NO_SELECTOR);
        }
    }
}

/// Items of a list that say again what an earlier one says.
fn twice(spec: &Value, list: &str, key: &str, at: &Path<'_>, found: &mut Warnings) {
    let at = at.child(list);
    let mut seen = BTreeSet::new();
    for (index, item) in spec.items(list).iter().enumerate() {
        let text = item.text(key);
        if !seen.insert(text) {
            found.at(
                &at.index(index).child(key),
                format!("duplicate {key} {}", quote(text)),
            );
        }
    }
}

/// Annotations that were fields before there were fields.
fn profiles(container: &Value, pod: &Value, is_template: bool, at: &Path<'_>, found: &mut Warnings) {
    let annotations = &pod["metadata"]["annotations"];
    let (name, security) = (container.text("name"), &container["securityContext"]);
    let key = format!("{SECCOMP_CONTAINER}{name}");
    if annotations.has(&key) && !security.has("seccompProfile") {
        found.at(&at.key(&key), SECCOMP);
    }
    let key = format!("{APPARMOR}{name}");
    // Of a pod itself the annotation is turned into the field.
    if is_template
        && annotations.has(&key)
        && !security.has("appArmorProfile")
        && !says(
            annotations.text(&key),
            &pod["spec"]["securityContext"]["appArmorProfile"],
        )
    {
        let text = "deprecated since v1.30; use the \"appArmorProfile\" field instead";
        found.at(&at.key(&key), text);
    }
}

/// Whether an AppArmor annotation says the same as a profile.
fn says(annotation: &str, profile: &Value) -> bool {
    match annotation.strip_prefix("localhost/") {
        Some(name) => {
            !name.is_empty()
                && profile.text("type") == "Localhost"
                && profile.text("localhostProfile") == name
        }
        None => {
            let kind = match annotation {
                "unconfined" => "Unconfined",
                "runtime/default" => "RuntimeDefault",
                _ => return false,
            };
            profile.text("type") == kind && !profile.has("localhostProfile")
        }
    }
}

fn amounts(container: &Value, at: &Path<'_>, found: &mut Warnings) {
    let at = at.child("resources");
    for name in ["memory", "ephemeral-storage"] {
        for list in ["limits", "requests"] {
            fraction(&container["resources"][list], name, &at.child(list), found);
        }
    }
}

/// A variable may be made from itself; another one of the same name hides it.
fn environment(container: &Value, at: &Path<'_>, found: &mut Warnings) {
    let at = at.child("env");
    let mut seen = BTreeSet::new();
    for (index, variable) in container.items("env").iter().enumerate() {
        let (name, value) = (variable.text("name"), variable.text("value"));
        if seen.insert(name) {
            continue;
        }
        let itself = format!("$({name})");
        if variable.has("valueFrom") || value == itself || !value.contains(&itself) {
            let name = quote(name);
            let text = format!("hides previous definition of {name}, which may be dropped when using apply");
            found.at(&at.index(index), text);
        }
    }
}

fn pod_affinity(affinity: &Value, at: &Path<'_>, found: &mut Warnings) {
    for name in ["podAffinity", "podAntiAffinity"] {
        let at = at.child(name);
        let list = "requiredDuringSchedulingIgnoredDuringExecution";
        for (index, term) in affinity[name].items(list).iter().enumerate() {
            if !term.has("labelSelector") {
                found.at(&at.child(list).index(index).child("labelSelector"), NO_SELECTOR);
            }
        }
        let list = "preferredDuringSchedulingIgnoredDuringExecution";
        for (index, term) in affinity[name].items(list).iter().enumerate() {
            if !term["podAffinityTerm"].has("labelSelector") {
                let at = at.child(list);
                let at = at.index(index);
                found.at(&at.child("podAffinityTerm.labelSelector"), NO_SELECTOR);
            }
        }
    }
}
