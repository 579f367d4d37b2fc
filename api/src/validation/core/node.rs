//! Nodes.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::names;
use crate::object::Fields;
use crate::validation::field::{BadValue, FieldErrors, Path};
use crate::validation::internal;
use crate::validation::ip;
use crate::validation::meta::faults;
use crate::validation::pod::{amount_rules, taint_effect};

pub(in crate::validation) fn node(node: &Value, errors: &mut FieldErrors) {
    taints(node, errors);
    resources(node, errors);
    let at = Path::new("spec.podCIDRs");
    let blocks: Vec<&str> = node["spec"]
        .items("podCIDRs")
        .iter()
        .filter_map(Value::as_str)
        .collect();
    for (index, block) in blocks.iter().enumerate() {
        ip::cidr(block, &at.index(index), errors);
    }
    if blocks.len() > 1 {
        families(&blocks, &node["spec"]["podCIDRs"], &at, errors);
    }
}

/// Of several blocks there is one of each family.
fn families(blocks: &[&str], shown: &Value, at: &Path<'_>, errors: &mut FieldErrors) {
    let parsed: Vec<_> = blocks.iter().map(|block| ip::parse_cidr(block)).collect();
    if let Some(wrong) = parsed.iter().position(Option::is_none) {
        let fault = format!(
            "invalid PodCIDRs. failed to check with dual stack with error:invalid CIDR[{wrong}]: <nil> (invalid CIDR address: {})",
            blocks[wrong]
        );
        errors.internal(at, fault);
    }
    let is_of = |v4: bool| parsed.iter().flatten().any(|(ip, _)| ip.is_ipv4() == v4);
    let is_dual = parsed.iter().all(Option::is_some) && is_of(true) && is_of(false);
    if !is_dual || blocks.len() > 2 {
        errors.invalid(at, shown, "may specify no more than one CIDR for each IP family");
    }
}

/// Upstream finds faults of taints below `metadata`.
fn taints(node: &Value, errors: &mut FieldErrors) {
    let list = Path::new("metadata.taints");
    let mut seen = BTreeSet::new();
    for (index, taint) in node["spec"].items("taints").iter().enumerate() {
        let at = list.index(index);
        let (key, value, effect) = (taint.text("key"), taint.text("value"), taint.text("effect"));
        faults(&at.child("key"), key, names::qualified_name(key), errors);
        let found = names::label_value(value);
        if !found.is_empty() {
            errors.invalid(&at.child("value"), value, found.join(";"));
        }
        taint_effect(effect, &at.child("effect"), errors);
        if !seen.insert((key, effect)) {
            let quoted = |text: &str| Value::from(text).to_string();
            let time = taint.field("timeAdded").unwrap_or(&Value::Null);
            let shown = format!(
                "{{\"Key\":{},\"Value\":{},\"Effect\":{},\"TimeAdded\":{time}}}",
                quoted(key),
                quoted(value),
                quoted(effect)
            );
            errors.duplicate_because(
                &at,
                BadValue::rendered(shown),
                "taints must be unique by key and effect pair",
            );
        }
    }
}

fn resources(node: &Value, errors: &mut FieldErrors) {
    for list in ["capacity", "allocatable"] {
        let status = Path::new("status");
        let at = status.child(list);
        for (name, value) in node["status"].entries(list) {
            amount_rules(name, value, &at.child(name), errors);
        }
    }
}

/// The features that a node's agent declares: well-formed, in order, each once.
fn declared_features(node: &Value, errors: &mut FieldErrors) {
    const NAME_MAX: usize = 253;
    let features: Vec<&str> = node["status"]
        .items("declaredFeatures")
        .iter()
        .filter_map(Value::as_str)
        .collect();
    let status = Path::new("status");
    let list = status.child("declaredFeatures");
    for (index, name) in features.iter().enumerate() {
        let shown = crate::quote::quote(name);
        if name.len() > NAME_MAX {
            let rule = format!("invalid feature name {shown}: must be no more than {NAME_MAX} characters");
            errors.invalid(&list.index(index), *name, rule);
        } else if !is_feature(name) {
            let rule = format!(
                "invalid feature name {shown}: must start with an UpperCamelCase segment, with subsequent segments separated \
                 by '/' (e.g., MyFeature or MyFeature/mySubFeature), and contain only alphanumeric characters and slashes"
            );
            errors.invalid(&list.index(index), *name, rule);
        }
        match features.get(index + 1) {
            Some(next) if next == name => errors.duplicate(&list.index(index + 1), *next),
            Some(next) if next < name => {
                errors.invalid(
                    &list.index(index + 1),
                    *next,
                    "list must be sorted alphabetically",
                );
            }
            _ => {}
        }
    }
}

fn is_feature(name: &str) -> bool {
    let plain = |part: &str| {
        part.starts_with(|c: char| c.is_ascii_alphabetic())
            && part.bytes().all(|byte| byte.is_ascii_alphanumeric())
    };
    name.starts_with(|c: char| c.is_ascii_uppercase()) && name.split('/').all(plain)
}

pub(in crate::validation) fn node_update(new: &Value, old: &Value, errors: &mut FieldErrors) {
    resources(new, errors);
    declared_features(new, errors);
    let at = Path::new("status.addresses");
    let addresses = new["status"].items("addresses");
    for (index, address) in addresses
        .iter()
        .enumerate()
        .filter(|(index, one)| addresses[..*index].contains(one))
    {
        errors.duplicate(&at.index(index), internal::shown(address, internal::NODE_ADDRESS));
    }
    let (spec, before) = (&new["spec"], &old["spec"]);
    if before.count("podCIDRs") > 0 && spec.items("podCIDRs") != before.items("podCIDRs") {
        let rule = "node updates may not change podCIDR except from \"\" to valid";
        errors.forbidden(&Path::new("spec.podCIDRs"), rule);
    }
    let provider = before.text("providerID");
    if !provider.is_empty() && spec.text("providerID") != provider {
        let rule = "node updates may not change providerID except from \"\" to valid";
        errors.forbidden(&Path::new("spec.providerID"), rule);
    }
    taints(new, errors);
    if spec.text("externalID") != before.text("externalID") {
        errors.forbidden(&Path::new("spec.externalID"), "may not be updated");
    }
}
