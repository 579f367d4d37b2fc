//! StorageClasses and VolumeAttachments, and in [`driver`] what describes CSI drivers.

pub(super) mod driver;

use serde_json::Value;

use super::core::storage::driver_name;
use super::core::storage::inline_volume;
use super::field::{FieldErrors, Path};
use super::internal;
use super::meta::{faults, immutable};
use crate::names;
use crate::object::{Fields, same};

const PARAMETERS_MAX: usize = 512;
const PARAMETERS_SIZE_MAX: usize = 256 * 1024;
const METADATA_SIZE_MAX: usize = 256 * 1024;
const MESSAGE_MAX: usize = 1024;

pub(super) fn storage_class(class: &Value, errors: &mut FieldErrors) {
    provisioner(class.text("provisioner"), &Path::new("provisioner"), errors);
    parameters(class, &Path::new("parameters"), errors);
    let policy = class.text("reclaimPolicy");
    if !policy.is_empty() && !matches!(policy, "Delete" | "Retain") {
        errors.not_supported(&Path::new("reclaimPolicy"), policy, &["Delete", "Retain"]);
    }
    let at = Path::new("volumeBindingMode");
    match class.field("volumeBindingMode").and_then(Value::as_str) {
        None => errors.required(&at, ""),
        Some("Immediate" | "WaitForFirstConsumer") => {}
        Some(other) => errors.not_supported(&at, other, &["Immediate", "WaitForFirstConsumer"]),
    }
    topologies(class, &Path::new("allowedTopologies"), errors);
}

fn provisioner(name: &str, at: &Path<'_>, errors: &mut FieldErrors) {
    match name {
        "" => errors.required(at, ""),
        // What is judged, and shown, is the name in lower case.
        name => {
            let lower = name.to_lowercase();
            faults(at, &lower, names::qualified_name(&lower), errors);
        }
    }
}

fn parameters(class: &Value, at: &Path<'_>, errors: &mut FieldErrors) {
    let count = class.count("parameters");
    if count > PARAMETERS_MAX {
        errors.too_long(at, PARAMETERS_MAX);
        return;
    }
    let mut size = 0;
    for (key, value) in class.entries("parameters") {
        if key.is_empty() {
            errors.invalid(at, key, "field can not be empty.");
        }
        size += key.len() + value.as_str().map_or(0, str::len);
    }
    if size > PARAMETERS_SIZE_MAX {
        errors.too_long(at, PARAMETERS_SIZE_MAX);
    }
}

fn topologies(class: &Value, list: &Path<'_>, errors: &mut FieldErrors) {
    for (index, term) in class.items("allowedTopologies").iter().enumerate() {
        let term_at = list.index(index);
        let at = term_at.child("matchLabelExpressions");
        let mut keys: Vec<&str> = Vec::new();
        for (index, expression) in term.items("matchLabelExpressions").iter().enumerate() {
            let at = at.index(index);
            let (key, values) = (expression.text("key"), expression.items("values"));
            let at_values = at.child("values");
            if values.is_empty() {
                errors.required(&at_values, "");
            }
            for (index, value) in values
                .iter()
                .enumerate()
                .filter(|(index, value)| values[..*index].contains(value))
            {
                errors.duplicate(&at_values.index(index), value);
            }
            faults(&at.child("key"), key, names::qualified_name(key), errors);
            if keys.contains(&key) {
                errors.duplicate(&at.child("key"), key);
            }
            keys.push(key);
        }
    }
    let terms = class.items("allowedTopologies");
    let repeated = |index: usize, term: &Value| {
        term.count("matchLabelExpressions") == 0
            || terms[..index].iter().any(|other| same(Some(other), Some(term)))
    };
    for (index, _) in terms
        .iter()
        .enumerate()
        .filter(|(index, term)| repeated(*index, term))
    {
        errors.duplicate(&list.index(index).child("matchLabelExpressions"), "");
    }
}

pub(super) fn storage_class_update(new: &Value, old: &Value, errors: &mut FieldErrors) {
    storage_class(new, errors);
    for name in ["parameters", "provisioner", "reclaimPolicy", "volumeBindingMode"] {
        immutable(new.field(name), old.field(name), &Path::new(name), errors);
    }
}

pub(super) fn volume_attachment(attachment: &Value, errors: &mut FieldErrors) {
    let (spec, at) = (&attachment["spec"], Path::new("spec"));
    match spec.text("attacher") {
        "" => errors.required(&at.child("attacher"), ""),
        name => driver_name(name, &at.child("attacher"), errors),
    }
    let at_source = at.child("source");
    let source = &spec["source"];
    match (source.has("persistentVolumeName"), source.has("inlineVolumeSpec")) {
        (false, false) => {
            let rule = "must specify exactly one of inlineVolumeSpec and persistentVolumeName";
            errors.required(&at_source, rule);
        }
        (true, true) => {
            let rule = "must specify exactly one of inlineVolumeSpec and persistentVolumeName";
            errors.forbidden(&at_source, rule);
            let name = source.text("persistentVolumeName");
            let at = at_source.child("persistentVolumeName");
            faults(&at, name, names::dns1123_subdomain(name), errors);
        }
        (true, false) => {
            let (name, at) = (
                source.text("persistentVolumeName"),
                at_source.child("persistentVolumeName"),
            );
            if name.is_empty() {
                errors.required(&at, "must specify non empty persistentVolumeName");
            }
            faults(&at, name, names::dns1123_subdomain(name), errors);
        }
        (false, true) => {
            inline_volume(
                &source["inlineVolumeSpec"],
                &at_source.child("inlineVolumeSpec"),
                errors,
            );
        }
    }
    let node = spec.text("nodeName");
    faults(
        &at.child("nodeName"),
        node,
        names::dns1123_subdomain(node),
        errors,
    );
}

/// What the attacher reports.
pub(super) fn volume_attachment_status(new: &Value, _: &Value, errors: &mut FieldErrors) {
    let (status, at) = (&new["status"], Path::new("status"));
    let size: usize = status
        .entries("attachmentMetadata")
        .map(|(key, value)| key.len() + value.as_str().map_or(0, str::len))
        .sum();
    if size > METADATA_SIZE_MAX {
        errors.too_long(&at.child("attachmentMetadata"), METADATA_SIZE_MAX);
    }
    for name in ["attachError", "detachError"] {
        let (error, at) = (&status[name], at.child(name));
        if error.text("message").len() > MESSAGE_MAX {
            // Upstream names the other limit here.
            errors.too_long(&at.child("message"), METADATA_SIZE_MAX);
        }
        if let Some(code) = error.number("errorCode").filter(|&code| code < 0) {
            errors.invalid(
                &at.child("errorCode"),
                code,
                "must be between 0 and 2147483647, inclusive",
            );
        }
    }
}

pub(super) fn volume_attachment_update(new: &Value, old: &Value, errors: &mut FieldErrors) {
    volume_attachment(new, errors);
    if !same(new.get("spec"), old.get("spec")) {
        let shown = internal::shown(&new["spec"], internal::ATTACHMENT);
        errors.invalid(&Path::new("spec"), shown, "field is immutable");
    }
}
