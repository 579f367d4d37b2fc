//! PersistentVolumeClaims.

use serde_json::Value;

use super::{access_modes, positive_amount, volume_mode};
use crate::codec::equality;
use crate::names;
use crate::object::Fields;
use crate::validation::field::{BadValue, FieldErrors, Path};
use crate::validation::internal;
use crate::validation::meta::{faults, immutable};
use crate::validation::pod::amount;
use crate::validation::selector::label_selector;

const SPEC: &str = "io.k8s.api.core.v1.PersistentVolumeClaimSpec";

/// A new claim.
pub(in crate::validation) fn claim(claim: &Value, errors: &mut FieldErrors) {
    claim_spec(&claim["spec"], &Path::new("spec"), errors);
}

/// The spec of a claim, of its own or in a template.
pub(in crate::validation) fn claim_spec(spec: &Value, at: &Path<'_>, errors: &mut FieldErrors) {
    changed_claim_spec(spec, None, at, errors);
}

/// What was let pass once stays.
fn changed_claim_spec(spec: &Value, old: Option<&Value>, at: &Path<'_>, errors: &mut FieldErrors) {
    access_modes(
        spec,
        &at.child("accessModes"),
        "at least 1 access mode is required",
        errors,
    );
    label_selector(spec.field("selector"), &at.child("selector"), errors);
    let resources = at.child("resources");
    let storage = resources.key("storage");
    match spec["resources"]["requests"].field("storage") {
        None => errors.required(&storage, ""),
        Some(value) => positive_amount(value, &storage, errors),
    }
    for name in ["storageClassName", "volumeAttributesClassName"] {
        let class = spec.text(name);
        if !class.is_empty() {
            faults(&at.child(name), class, names::dns1123_subdomain(class), errors);
        }
    }
    volume_mode(spec, &at.child("volumeMode"), errors);
    data_sources(spec, old, at, errors);
}

/// The old field and the new one of what a volume is filled from.
fn data_sources(spec: &Value, old: Option<&Value>, at: &Path<'_>, errors: &mut FieldErrors) {
    const FIELDS: [&str; 2] = ["dataSource", "dataSourceRef"];
    // Upstream looks no further than that a group was named.
    let any_group = old.is_some_and(|old| FIELDS.iter().any(|name| old[*name].has("apiGroup")));
    for name in FIELDS {
        if let Some(source) = spec.field(name) {
            data_source(source, any_group, &at.child(name), errors);
        }
    }
    let namespace = spec["dataSourceRef"].text("namespace");
    if !namespace.is_empty() {
        let at = at.child("dataSourceRef.namespace");
        faults(&at, namespace, names::dns1123_label(namespace), errors);
    }
    let (Some(source), Some(reference)) = (spec.field(FIELDS[0]), spec.field(FIELDS[1])) else {
        return;
    };
    // Upstream shows its path to the field, of which JSON shows nothing.
    let shown = BadValue::rendered("{}");
    let same = ["apiGroup", "kind", "name"]
        .iter()
        .all(|name| source.get(name) == reference.get(name));
    if !namespace.is_empty() {
        errors.invalid(
            at,
            shown,
            "may not be specified when dataSourceRef.namespace is specified",
        );
    } else if !same {
        errors.invalid(at, shown, "must match dataSourceRef");
    }
}

fn data_source(source: &Value, any_group: bool, at: &Path<'_>, errors: &mut FieldErrors) {
    for name in ["name", "kind"] {
        if source.text(name).is_empty() {
            errors.required(&at.child(name), "");
        }
    }
    let (group, kind) = (source.text("apiGroup"), source.text("kind"));
    if group.is_empty() && kind != "PersistentVolumeClaim" {
        errors.invalid(
            at,
            kind,
            "must be 'PersistentVolumeClaim' when referencing the default apiGroup",
        );
    }
    if !group.is_empty() && !any_group {
        faults(
            &at.child("apiGroup"),
            group,
            names::dns1123_subdomain(group),
            errors,
        );
    }
}

/// A claim grows, gets bound, changes its class of attributes; nothing else.
pub(in crate::validation) fn claim_update(new: &Value, old: &Value, errors: &mut FieldErrors) {
    let at = Path::new("spec");
    let (spec, before) = (&new["spec"], &old["spec"]);
    changed_claim_spec(spec, Some(before), &at, errors);
    const CLASS: &str = "volume.beta.kubernetes.io/storage-class";
    let class = |claim: &Value| claim["metadata"]["annotations"].text(CLASS).to_owned();
    if class(new) != class(old)
        && !(before.field("storageClassName").is_none() && spec.text("storageClassName") == class(old))
    {
        let at = Path::new("metadata.annotations");
        errors.invalid(&at.child(CLASS), &class(new), "field is immutable");
    }
    let (mut kept, mut was) = (spec.clone(), before.clone());
    if before.text("volumeName").is_empty() {
        was["volumeName"] = spec["volumeName"].clone();
    }
    if !before.has("storageClassName") && spec.has("storageClassName") {
        kept["storageClassName"] = Value::Null;
    }
    let bound = old["status"].text("phase") == "Bound";
    let grows = bound && before["resources"]["requests"].has("storage");
    if grows && spec["resources"]["requests"].has("storage") {
        kept["resources"]["requests"]["storage"] = before["resources"]["requests"]["storage"].clone();
    }
    if bound {
        kept["volumeAttributesClassName"] = before["volumeAttributesClassName"].clone();
    }
    let rule = "spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims";
    if !equality::equal_named(Some(&kept), Some(&was), SPEC) {
        let difference = internal::difference(&was, &kept, internal::PERSISTENT_VOLUME_CLAIM_SPEC);
        errors.forbidden(&at, format!("{rule}\n{difference}"));
    }
    let (size, was) = (
        &spec["resources"]["requests"]["storage"],
        &before["resources"]["requests"]["storage"],
    );
    let status = amount(&old["status"]["capacity"]["storage"]);
    if amount(size) < amount(was) && amount(size) <= status {
        let at = at.child("resources.requests.storage");
        errors.forbidden(&at, "field can not be less than status.capacity");
    }
    immutable(
        spec.field("volumeMode"),
        before.field("volumeMode"),
        &Path::new("volumeMode"),
        errors,
    );
}

const RESIZES: [&str; 5] = [
    "ControllerResizeInProgress",
    "ControllerResizeInfeasible",
    "NodeResizeInProgress",
    "NodeResizeInfeasible",
    "NodeResizePending",
];

/// What is told of how a claim is resized.
pub(in crate::validation) fn claim_status(new: &Value, _old: &Value, errors: &mut FieldErrors) {
    let (status, at) = (&new["status"], Path::new("status"));
    let entries = |field: &str| {
        status
            .field(field)
            .and_then(Value::as_object)
            .into_iter()
            .flatten()
    };
    let capacity = at.child("capacity");
    for (name, amount) in entries("capacity") {
        not_below_zero(amount, &capacity.key(name), errors);
    }
    let resizes = at.child("allocatedResourceStatuses");
    for (name, resize) in entries("allocatedResourceStatuses") {
        resized(name, &resizes, errors);
        if !resize.as_str().is_some_and(|resize| RESIZES.contains(&resize)) {
            errors.not_supported(&resizes, name.as_str(), &RESIZES);
        }
    }
    let amounts = at.child("allocatedResources");
    for (name, amount) in entries("allocatedResources") {
        if resized(name, &amounts, errors) {
            not_below_zero(amount, &amounts.key(name), errors);
        }
    }
}

fn not_below_zero(amount: &Value, at: &Path<'_>, errors: &mut FieldErrors) {
    let amount = self::amount(amount);
    if amount.sign().is_lt() {
        errors.invalid(at, amount.value(), "must be a valid resource quantity");
    }
}

/// Whether a claim can have this resource; of Kubernetes' own only storage.
fn resized(name: &str, at: &Path<'_>, errors: &mut FieldErrors) -> bool {
    let wrong = names::qualified_name(name);
    if !wrong.is_empty() {
        faults(at, name, wrong, errors);
        return false;
    }
    let native = !name.contains('/') || name.contains("kubernetes.io/");
    if native && name != "storage" {
        errors.not_supported(at, name, &["storage"]);
        return false;
    }
    true
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn both_fields_name_one_source() {
        let faults = |spec: Value, old: Option<&Value>| {
            let mut errors = FieldErrors::new();
            data_sources(&spec, old, &Path::new("spec"), &mut errors);
            errors.iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        let source = |group: &str| json!({"apiGroup": group, "kind": "Thing", "name": "t"});
        let (one, other) = (source("example.com"), source("b.example.com"));
        let both = |a: &Value, b: &Value| json!({"dataSource": a, "dataSourceRef": b});
        assert_eq!(faults(both(&one, &one), None), [""; 0]);
        let want = "spec: Invalid value: {}: must match dataSourceRef";
        assert_eq!(faults(both(&one, &other), None), [want]);
        let odd = source("Bad");
        assert_eq!(faults(both(&odd, &odd), None).len(), 2);
        assert_eq!(faults(both(&odd, &odd), Some(&both(&one, &one))), [""; 0]);
    }

    #[test]
    fn what_changed_is_shown() {
        let claim = |class: &str| {
            json!({"spec": {"accessModes": ["ReadWriteOnce"], "storageClassName": class,
            "resources": {"requests": {"storage": "1Gi"}}}})
        };
        let mut errors = FieldErrors::new();
        claim_update(&claim("b"), &claim("a"), &mut errors);
        let text = errors.0[0].to_string();
        assert!(
            text.contains("\n- \"StorageClassName\": \"a\",\n+ \"StorageClassName\": \"b\",\n"),
            "{text}"
        );
    }
}
