//! Environment variables and where their values come from.

use serde_json::Value;

use super::container::{each, no_backsteps};
use crate::names;
use crate::object::Fields;
use crate::quantity::Quantity;
use crate::validation::field::{FieldErrors, Path};
use crate::validation::meta::faults;

/// The fields of a pod that a variable may have; volumes have their own list.
const FIELDS: [&str; 9] = [
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
    "spec.nodeName",
    "spec.serviceAccountName",
    "status.hostIP",
    "status.hostIPs",
    "status.podIP",
    "status.podIPs",
];
/// The fields that can be named at all; others cannot be converted.
const KNOWN: [&str; 13] = [
    "metadata.annotations",
    "metadata.labels",
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
    "spec.nodeName",
    "spec.restartPolicy",
    "spec.serviceAccountName",
    "spec.schedulerName",
    "status.hostIP",
    "status.hostIPs",
    "status.podIP",
    "status.podIPs",
];
const RESOURCES: [&str; 6] = [
    "limits.cpu",
    "limits.ephemeral-storage",
    "limits.memory",
    "requests.cpu",
    "requests.ephemeral-storage",
    "requests.memory",
];
const SIZES: [&str; 13] = [
    "1", "1k", "1M", "1G", "1T", "1P", "1E", "1Ki", "1Mi", "1Gi", "1Ti", "1Pi", "1Ei",
];

/// `env` and `envFrom` of a container.
pub(super) fn variables(container: &Value, at: &Path<'_>, errors: &mut FieldErrors) {
    let list = at.child("env");
    for (index, variable) in container.items("env").iter().enumerate() {
        let at = list.index(index);
        match variable.text("name") {
            "" => errors.required(&at.child("name"), ""),
            name => faults(&at.child("name"), name, names::env_var_name(name), errors),
        }
        value_from(variable, &at.child("valueFrom"), errors);
    }
    let list = at.child("envFrom");
    for (index, source) in container.items("envFrom").iter().enumerate() {
        let at = list.index(index);
        let prefix = source.text("prefix");
        if !prefix.is_empty() {
            faults(&at.child("prefix"), prefix, names::env_var_name(prefix), errors);
        }
        whole_object(source, &list, &at, errors);
    }
}

fn whole_object(source: &Value, list: &Path<'_>, at: &Path<'_>, errors: &mut FieldErrors) {
    let mut sources = 0;
    for name in ["configMapRef", "secretRef"] {
        let Some(reference) = source.field(name) else {
            continue;
        };
        sources += 1;
        let field = at.child(name);
        match reference.text("name") {
            "" => errors.required(&field.child("name"), ""),
            name => faults(&field.child("name"), name, names::dns1123_subdomain(name), errors),
        }
    }
    match sources {
        0 => errors.invalid(list, "", "must specify one of: `configMapRef` or `secretRef`"),
        1 => {}
        _ => errors.invalid(list, "", "may not have more than one field specified at a time"),
    }
}

fn value_from(variable: &Value, at: &Path<'_>, errors: &mut FieldErrors) {
    let Some(source) = variable.field("valueFrom") else {
        return;
    };
    let mut sources = 0;
    if let Some(reference) = source.field("fieldRef") {
        sources += 1;
        field_ref(reference, &FIELDS, &at.child("fieldRef"), errors);
    }
    if let Some(reference) = source.field("resourceFieldRef") {
        sources += 1;
        resource_ref(reference, false, &at.child("resourceFieldRef"), errors);
    }
    for name in ["configMapKeyRef", "secretKeyRef"] {
        if let Some(reference) = source.field(name) {
            sources += 1;
            key_ref(reference, &at.child(name), errors);
        }
    }
    if let Some(reference) = source.field("fileKeyRef") {
        sources += 1;
        file_ref(reference, &at.child("fileKeyRef"), errors);
    }
    let none = "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef`, `secretKeyRef` or `fileKeyRef`";
    if sources == 0 {
        errors.invalid(at, "", none);
    } else if !variable.text("value").is_empty() {
        errors.invalid(at, "", "may not be specified when `value` is not empty");
    } else if sources > 1 {
        errors.invalid(at, "", "may not have more than one field specified at a time");
    }
}

/// A field of the pod, one of `allowed` or an entry of its labels or annotations.
pub(super) fn field_ref(reference: &Value, allowed: &[&str], at: &Path<'_>, errors: &mut FieldErrors) {
    let (version, path) = (reference.text("apiVersion"), reference.text("fieldPath"));
    if version.is_empty() {
        errors.required(&at.child("apiVersion"), "");
        return;
    }
    if path.is_empty() {
        errors.required(&at.child("fieldPath"), "");
        return;
    }
    if version != "v1" {
        let fault = format!("error converting fieldPath: unsupported pod version: {version}");
        errors.invalid(&at.child("fieldPath"), path, fault);
        return;
    }
    let subscript = path.strip_suffix("']").and_then(|rest| rest.split_once("['"));
    let name = subscript.map_or(path, |(name, _)| name);
    let known = match subscript {
        Some(_) => KNOWN.contains(&name),
        None => KNOWN.contains(&path) || path == "spec.host",
    };
    match subscript {
        _ if !known => {
            let fault = format!("error converting fieldPath: field label not supported: {path}");
            errors.invalid(&at.child("fieldPath"), path, fault);
        }
        Some(("metadata.annotations", key)) => {
            let key = key.to_lowercase();
            faults(at, &key, names::qualified_name(&key), errors);
        }
        Some(("metadata.labels", key)) => faults(at, key, names::qualified_name(key), errors),
        Some((name, _)) => errors.invalid(at, name, "does not support subscript"),
        None if !allowed.contains(&path) => errors.not_supported(&at.child("fieldPath"), path, allowed),
        None => {}
    }
}

/// A container's limit or request; in a volume the container must be named.
pub(super) fn resource_ref(reference: &Value, in_volume: bool, at: &Path<'_>, errors: &mut FieldErrors) {
    let resource = reference.text("resource");
    let huge = resource.starts_with("limits.hugepages-") || resource.starts_with("requests.hugepages-");
    if in_volume && reference.text("containerName").is_empty() {
        errors.required(&at.child("containerName"), "");
    } else if resource.is_empty() {
        errors.required(&at.child("resource"), "");
    } else if !RESOURCES.contains(&resource) && !huge {
        errors.not_supported(&at.child("resource"), resource, &RESOURCES);
    }
    divisor(reference, resource, &at.child("divisor"), errors);
}

fn divisor(reference: &Value, resource: &str, at: &Path<'_>, errors: &mut FieldErrors) {
    let text = reference.text("divisor");
    if text.is_empty() || text.parse::<Quantity>().is_ok_and(|quantity| quantity.is_zero()) {
        return;
    }
    let sizes = |what: &str| {
        format!(
            "only divisor's values {} are supported with the {what} resource",
            SIZES.join(", ")
        )
    };
    let (fine, rule) = match resource.split_once('.').map_or("", |(_, name)| name) {
        "cpu" => {
            let fine = matches!(text, "1m" | "1");
            (
                fine,
                "only divisor's values 1m and 1 are supported with the cpu resource".to_owned(),
            )
        }
        "memory" => (SIZES.contains(&text), sizes("memory")),
        "ephemeral-storage" => (SIZES.contains(&text), sizes("local ephemeral storage")),
        name if name.starts_with("hugepages-") => (SIZES.contains(&text), sizes("hugepages")),
        _ => return,
    };
    if !fine {
        errors.invalid(at, resource, rule);
    }
}

fn key_ref(reference: &Value, at: &Path<'_>, errors: &mut FieldErrors) {
    let name = reference.text("name");
    faults(&at.child("name"), name, names::dns1123_subdomain(name), errors);
    match reference.text("key") {
        "" => errors.required(&at.child("key"), ""),
        key => faults(&at.child("key"), key, names::config_map_key(key), errors),
    }
}

/// Variables from files are read from volumes that the pod's containers write into.
pub(super) fn file_volumes(spec: &Value, at: &Path<'_>, errors: &mut FieldErrors) {
    each(spec, at, |container, at| {
        let list = at.child("env");
        for (index, variable) in container.items("env").iter().enumerate() {
            let Some(reference) = variable["valueFrom"].field("fileKeyRef") else {
                continue;
            };
            let name = reference.text("volumeName");
            let at = list.index(index);
            let at = at.child("valueFrom.fileKeyRef.volumeName");
            let mut volumes = spec.items("volumes").iter().rev();
            match volumes.find(|volume| volume.text("name") == name) {
                None => errors.not_found(&at, name),
                Some(volume) if !volume.has("emptyDir") => {
                    errors.invalid(&at, name, "referenced volume must be of type emptyDir");
                }
                Some(_) => {}
            }
        }
    });
}

fn file_ref(reference: &Value, at: &Path<'_>, errors: &mut FieldErrors) {
    match reference.text("key") {
        "" => errors.required(&at.child("key"), ""),
        key => faults(&at.child("key"), key, names::env_var_name(key), errors),
    }
    match reference.text("volumeName") {
        "" => errors.required(&at.child("volumeName"), ""),
        name => faults(&at.child("volumeName"), name, names::dns1123_label(name), errors),
    }
    match reference.text("path") {
        "" => errors.required(&at.child("path"), ""),
        path => no_backsteps(path, &at.child("path"), errors),
    }
}
