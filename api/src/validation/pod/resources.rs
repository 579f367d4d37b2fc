//! Requests and limits: which resources may be named, and what amounts fit together.

use std::collections::BTreeSet;

use serde_json::Value;

use super::spec::Pod;
use crate::names;
use crate::object::Fields;
use crate::quantity::Quantity;
use crate::validation::field::{FieldErrors, Path};
use crate::validation::internal;
use crate::validation::meta::faults;

const FOR_CONTAINERS: [&str; 3] = ["cpu", "memory", "ephemeral-storage"];
/// What a name without a domain may be, in pods and quotas.
const STANDARD: [&str; 18] = [
    "cpu",
    "memory",
    "ephemeral-storage",
    "storage",
    "requests.cpu",
    "requests.memory",
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
];

/// Whether a resource's name without a domain is one of Kubernetes' own.
fn is_standard_resource(name: &str) -> bool {
    STANDARD.contains(&name)
        || matches!(name, "services.loadbalancers" | "requests.storage")
        || is_huge_page(name)
        || name.starts_with("requests.hugepages-")
}

fn is_huge_page(name: &str) -> bool {
    name.starts_with("hugepages-")
}

/// Domains of Kubernetes name resources that it knows itself.
fn is_native(name: &str) -> bool {
    !name.contains('/') || name.contains("kubernetes.io/")
}

/// Whether a name is one that somebody else than Kubernetes may give to a resource of nodes.
pub fn is_extended_resource(name: &str) -> bool {
    !is_native(name)
        && !name.starts_with("requests.")
        && names::qualified_name(&format!("requests.{name}")).is_empty()
}

/// More of it may be promised than there is: only of what Kubernetes itself counts, and not of huge pages.
pub(in crate::validation) fn may_be_overcommitted(name: &str) -> bool {
    is_native(name) && !is_huge_page(name)
}

/// An amount in an object; 0 when it is none.
pub(in crate::validation) fn amount(value: &Value) -> Quantity {
    value
        .as_str()
        .and_then(|text| text.parse().ok())
        .unwrap_or(Quantity::ZERO)
}

/// The amount must not be negative; countable resources must be whole.
pub(in crate::validation) fn amount_rules(
    name: &str,
    value: &Value,
    at: &Path<'_>,
    errors: &mut FieldErrors,
) {
    let quantity = amount(value);
    if quantity < Quantity::ZERO {
        errors.invalid(at, value, "must be greater than or equal to 0");
    }
    let countable = matches!(
        name,
        "pods"
            | "services"
            | "replicationcontrollers"
            | "resourcequotas"
            | "secrets"
            | "configmaps"
            | "persistentvolumeclaims"
            | "services.nodeports"
            | "services.loadbalancers"
    );
    if (countable || !is_native(name)) && !quantity.is_multiple_of(0) {
        errors.invalid(at, value, "must be an integer");
    }
}

/// A qualified name, or one of Kubernetes' own. Whether it is.
pub(in crate::validation) fn resource_name(name: &str, at: &Path<'_>, errors: &mut FieldErrors) -> bool {
    let found = names::qualified_name(name);
    let fine = found.is_empty();
    faults(at, name, found, errors);
    if fine && !name.contains('/') && !is_standard_resource(name) {
        errors.invalid(at, name, "must be a standard resource type or fully qualified");
        return false;
    }
    fine
}

pub(in crate::validation) fn container_resource_name(name: &str, at: &Path<'_>, errors: &mut FieldErrors) {
    resource_name(name, at, errors);
    let plain = !name.contains('/');
    if plain && !FOR_CONTAINERS.contains(&name) && !is_huge_page(name) {
        errors.invalid(at, name, "must be a standard resource for containers");
    } else if !is_native(name) && !is_extended_resource(name) {
        errors.invalid(at, name, "doesn't follow extended resource name standard");
    }
}

fn pod_resource_name(name: &str, at: &Path<'_>, errors: &mut FieldErrors) {
    if resource_name(name, at, errors) && !matches!(name, "cpu" | "memory") && !is_huge_page(name) {
        errors.not_supported(at, name, &["cpu", "hugepages-", "memory"]);
    }
}

type NameRule = fn(&str, &Path<'_>, &mut FieldErrors);

/// The amounts in the field `name`, each under the path `at`, as limits of a container.
pub(in crate::validation) fn limits(object: &Value, name: &str, at: &Path<'_>, errors: &mut FieldErrors) {
    for (resource, value) in object.entries(name) {
        let at = at.key(resource);
        container_resource_name(resource, &at, errors);
        one_amount(resource, value, &at, errors);
    }
}

pub(super) fn of_container(container: &Value, pod: &Pod<'_>, at: &Path<'_>, errors: &mut FieldErrors) {
    let Some(requirements) = container.field("resources") else {
        return;
    };
    requirement_rules(requirements, container_resource_name, at, errors);
    claims(requirements, pod, &at.child("claims"), errors);
}

/// Requests and limits of a pod as a whole (KEP-2837).
pub(super) fn of_pod(requirements: &Value, pod: &Pod<'_>, at: &Path<'_>, errors: &mut FieldErrors) {
    if requirements.has("claims") {
        errors.forbidden(
            &at.child("claims"),
            "claims may not be set for Resources at pod-level",
        );
    }
    requirement_rules(requirements, pod_resource_name, at, errors);
    claims(requirements, pod, &at.child("claims"), errors);
}

fn requirement_rules(requirements: &Value, name_rule: NameRule, at: &Path<'_>, errors: &mut FieldErrors) {
    let (at_limits, at_requests) = (at.child("limits"), at.child("requests"));
    for (name, value) in requirements.entries("limits") {
        let at = at_limits.key(name);
        name_rule(name, &at, errors);
        one_amount(name, value, &at, errors);
    }
    let limits = &requirements["limits"];
    for (name, value) in requirements.entries("requests") {
        let at = at_requests.key(name);
        name_rule(name, &at, errors);
        one_amount(name, value, &at, errors);
        let quantity = amount(value);
        match limits.field(name) {
            Some(limit) if quantity != amount(limit) && !may_be_overcommitted(name) => {
                let rule = format!("must be equal to {name} limit of {}", amount(limit));
                errors.invalid(&at_requests, &quantity.to_string(), rule);
            }
            Some(limit) if quantity > amount(limit) => {
                let rule = format!("must be less than or equal to {name} limit of {}", amount(limit));
                errors.invalid(&at_requests, &quantity.to_string(), rule);
            }
            None if !may_be_overcommitted(name) => {
                errors.required(&at_limits, "Limit must be set for non overcommitable resources");
            }
            _ => {}
        }
    }
    let named: BTreeSet<&str> = ["limits", "requests"]
        .iter()
        .flat_map(|list| requirements.entries(list))
        .map(|(name, _)| name)
        .collect();
    if named.iter().any(|name| is_huge_page(name)) && !named.contains("cpu") && !named.contains("memory") {
        errors.forbidden(at, "HugePages require cpu or memory");
    }
}

fn one_amount(name: &str, value: &Value, at: &Path<'_>, errors: &mut FieldErrors) {
    amount_rules(name, value, at, errors);
    let Some(size) = name
        .strip_prefix("hugepages-")
        .and_then(|size| size.parse::<Quantity>().ok())
    else {
        return;
    };
    let (wanted, size) = (amount(value).value(), size.value());
    if size > 0 && wanted % size != 0 {
        errors.invalid(
            at,
            value,
            format!("{} is not positive integer multiple of {name}", amount(value)),
        );
    }
}

fn claims(requirements: &Value, pod: &Pod<'_>, at: &Path<'_>, errors: &mut FieldErrors) {
    let known: Vec<&str> = pod
        .spec
        .items("resourceClaims")
        .iter()
        .map(|claim| claim.text("name"))
        .collect();
    let sorted = known.iter().filter(|name| !name.is_empty()).copied();
    let sorted = sorted
        .collect::<BTreeSet<_>>()
        .into_iter()
        .collect::<Vec<_>>()
        .join(", ");
    let mut seen = BTreeSet::new();
    for (index, claim) in requirements.items("claims").iter().enumerate() {
        let at = at.index(index);
        let (name, request) = (claim.text("name"), claim.text("request"));
        if name.is_empty() {
            errors.required(&at, "");
            continue;
        }
        if !request.is_empty() {
            faults(
                &at.child("request"),
                request,
                names::dns1123_label(request),
                errors,
            );
        }
        let whole = seen.contains(&(name, ""));
        let part = request.is_empty() && seen.iter().any(|(other, _)| *other == name);
        if whole || part || !seen.insert((name, request)) {
            errors.duplicate(&at, name);
        }
        if !known.contains(&name) {
            let known = match sorted.as_str() {
                "" => " which is empty".to_owned(),
                sorted => format!(": {sorted}"),
            };
            let rule = format!("must be one of the names in pod.spec.resourceClaims{known}");
            errors.not_found_because(&at, name, rule);
        }
    }
}

/// The claims that a pod brings along, for its containers to refer to.
pub(super) fn claims_of_pod(spec: &Value, list: &Path<'_>, errors: &mut FieldErrors) {
    let claims = spec.items("resourceClaims");
    for (index, claim) in claims.iter().enumerate() {
        let at = list.index(index);
        let name = claim.text("name");
        if name.is_empty() {
            errors.required(&at.child("name"), "");
        } else if claims[..index].iter().any(|other| other.text("name") == name) {
            errors.duplicate(&at.child("name"), name);
        } else {
            faults(&at.child("name"), name, names::dns1123_label(name), errors);
        }
        let sources = ["resourceClaimName", "resourceClaimTemplateName"];
        match sources.iter().filter(|source| claim.has(source)).count() {
            0 => {
                let rule = "must specify one of: `resourceClaimName`, `resourceClaimTemplateName`";
                errors.invalid(&at, internal::shown(claim, internal::POD_CLAIM), rule);
            }
            1 => {}
            _ => {
                let rule =
                    "at most one of `resourceClaimName` or `resourceClaimTemplateName` may be specified";
                errors.invalid(&at, internal::shown(claim, internal::POD_CLAIM), rule);
            }
        }
        for source in sources.into_iter().filter(|source| claim.has(source)) {
            let name = claim.text(source);
            faults(&at.child(source), name, names::dns1123_subdomain(name), errors);
        }
    }
}
