//! Network and cloud disks, which pods name directly and PersistentVolumes stand for: one rule for each, with what differs
//! between the two said by [`Owner`].

use std::sync::LazyLock;

use regex::Regex;
use serde_json::Value;

use super::core::storage::driver_name;
use super::field::{FieldErrors, Path};
use super::meta::faults;
use crate::names;
use crate::object::Fields;

/// Whose source of a volume it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Owner<'a> {
    /// A pod's volume of that name; secrets are in the pod's namespace.
    Pod(&'a str),
    /// A PersistentVolume of that name; secrets say their namespace.
    Volume(&'a str),
}

const REGISTRY_RULE: &str = "must be a host:port pair or multiple pairs separated by commas";
const TENANT_MAX: usize = 64;
const ISCSI_NAME_MAX: usize = 64;
const LAST: i64 = 255;

/// The names that initiators and targets of iSCSI may have, by how they begin.
static ISCSI_NAMES: LazyLock<[(&str, Regex); 3]> = LazyLock::new(|| {
    let pattern = |text| Regex::new(text).expect("a constant pattern");
    [
        (
            "iqn",
            pattern(r"iqn\.[0-9]{4}-[0-9]{2}\.([0-9A-Za-z.-]+)(:[^,;*&$|\t\n\f\r ]+)$"),
        ),
        ("eui", pattern(r"^eui.[0-9A-Za-z]{16}$")),
        ("naa", pattern(r"^naa.[0-9A-Za-z]{32}$")),
    ]
});

/// What must be there, of sources that have no other rules or only few.
const REQUIRED: [(&str, &[&str]); 16] = [
    ("gcePersistentDisk", &["pdName"]),
    ("awsElasticBlockStore", &["volumeID"]),
    ("nfs", &["server", "path"]),
    ("iscsi", &["targetPortal"]),
    ("glusterfs", &["endpoints", "path"]),
    ("rbd", &["monitors", "image"]),
    ("cinder", &["volumeID"]),
    ("cephfs", &["monitors"]),
    ("flexVolume", &["driver"]),
    ("azureFile", &["secretName", "shareName"]),
    ("azureDisk", &["diskName", "diskURI"]),
    ("vsphereVolume", &["volumePath"]),
    ("photonPersistentDisk", &["pdID"]),
    ("portworxVolume", &["volumeID"]),
    ("scaleIO", &["gateway", "system", "volumeName"]),
    ("storageos", &["volumeName"]),
];

/// The path at which upstream reports faults of a source; two are spelled unlike the field.
pub(super) fn shown(name: &str) -> &str {
    match name {
        "gcePersistentDisk" => "persistentDisk",
        name => name,
    }
}

/// The path at which upstream reports that a source is one too many.
pub(super) fn shown_as_second(name: &str) -> &str {
    match name {
        "cephfs" => "cephFS",
        "downwardAPI" => "downwarAPI",
        name => name,
    }
}

/// The rules of the source `name`.
pub(super) fn source(name: &str, source: &Value, owner: Owner<'_>, at: &Path<'_>, errors: &mut FieldErrors) {
    let required = REQUIRED.iter().find(|(known, _)| *known == name);
    for field in required.map_or(&[][..], |(_, fields)| fields) {
        if source.text(field).is_empty() && source.count(field) == 0 {
            errors.required(&at.child(field), "");
        }
    }
    match name {
        "gcePersistentDisk" | "awsElasticBlockStore" => {
            let number = source.number("partition").unwrap_or_default();
            if !(0..=LAST).contains(&number) {
                errors.invalid(
                    &at.child("partition"),
                    number,
                    "must be between 1 and 255, inclusive",
                );
            }
        }
        "nfs" if !source.text("path").starts_with('/') => {
            errors.invalid(&at.child("path"), source.text("path"), "must be an absolute path");
        }
        "iscsi" => iscsi(source, owner, at, errors),
        "fc" => fibre_channel(source, at, errors),
        "glusterfs" => glusterfs(source, owner, at, errors),
        "flocker" => flocker(source, at, errors),
        "quobyte" => quobyte(source, at, errors),
        "cinder" => secret(source, owner, at, errors),
        "flexVolume" => flex_options(source, &at.child("options"), errors),
        "azureFile" if source.has("secretNamespace") && source.text("secretNamespace").is_empty() => {
            errors.required(&at.child("secretNamespace"), "");
        }
        "azureDisk" => azure_disk(source, at, errors),
        "storageos" => storage_os(source, owner, at, errors),
        "csi" => csi(source, owner, at, errors),
        _ => {}
    }
}

fn secret(source: &Value, owner: Owner<'_>, at: &Path<'_>, errors: &mut FieldErrors) {
    let Some(secret) = source.field("secretRef") else {
        return;
    };
    let at = at.child("secretRef");
    if secret.text("name").is_empty() {
        errors.required(&at.child("name"), "");
    }
    if matches!(owner, Owner::Volume(_)) && secret.text("namespace").is_empty() {
        errors.required(&at.child("namespace"), "");
    }
}

fn iscsi(source: &Value, owner: Owner<'_>, at: &Path<'_>, errors: &mut FieldErrors) {
    let portal = source.text("targetPortal");
    let too_long = "Total length of <volume name>:<iscsi.targetPortal> must be under 64 characters if iscsi.initiatorName is specified.";
    let (Owner::Pod(volume) | Owner::Volume(volume)) = owner;
    let long = source.has("initiatorName") && volume.len() + 1 + portal.len() > ISCSI_NAME_MAX;
    let in_pod = matches!(owner, Owner::Pod(_));
    if long && !in_pod {
        errors.invalid(&at.child("targetportal"), portal, too_long);
    }
    let start = if in_pod {
        "must be valid format starting with iqn, eui, or naa"
    } else {
        "must be valid format"
    };
    match source.text("iqn") {
        "" => errors.required(&at.child("iqn"), ""),
        name => iscsi_name(name, start, &at.child("iqn"), errors),
    }
    let lun = source.number("lun").unwrap_or_default();
    if !(0..=LAST).contains(&lun) {
        errors.invalid(&at.child("lun"), lun, "must be between 0 and 255, inclusive");
    }
    let asks = source.flag("chapAuthDiscovery") || source.flag("chapAuthSession");
    if asks && !source.has("secretRef") {
        errors.required(&at.child("secretRef"), "");
    }
    if !in_pod && source.has("secretRef") && source["secretRef"].text("name").is_empty() {
        errors.required(&at.child("secretRef.name"), "");
    }
    if source.has("initiatorName") {
        iscsi_name(
            source.text("initiatorName"),
            start,
            &at.child("initiatorname"),
            errors,
        );
    }
}

fn iscsi_name(name: &str, start: &str, at: &Path<'_>, errors: &mut FieldErrors) {
    match ISCSI_NAMES.iter().find(|(prefix, _)| name.starts_with(prefix)) {
        None => errors.invalid(at, name, start),
        Some((_, pattern)) if !pattern.is_match(name) => errors.invalid(at, name, "must be valid format"),
        Some(_) => {}
    }
}

fn fibre_channel(source: &Value, at: &Path<'_>, errors: &mut FieldErrors) {
    let at_names = at.child("targetWWNs");
    match (source.count("targetWWNs") > 0, source.count("wwids") > 0) {
        (false, false) => {
            errors.required(&at_names, "must specify either targetWWNs or wwids, but not both");
        }
        (true, true) => {
            let rule = "targetWWNs and wwids can not be specified simultaneously";
            errors.invalid(&at_names, &source["targetWWNs"], rule);
        }
        _ => {}
    }
    if source.count("targetWWNs") == 0 {
        return;
    }
    match source.number("lun") {
        None => errors.required(&at.child("lun"), "lun is required if targetWWNs is specified"),
        Some(lun) if !(0..=LAST).contains(&lun) => {
            errors.invalid(&at.child("lun"), lun, "must be between 0 and 255, inclusive");
        }
        Some(_) => {}
    }
}

fn glusterfs(source: &Value, owner: Owner<'_>, at: &Path<'_>, errors: &mut FieldErrors) {
    if matches!(owner, Owner::Pod(_)) || !source.has("endpointsNamespace") {
        return;
    }
    let at = at.child("endpointsNamespace");
    match source.text("endpointsNamespace") {
        "" => {
            let rule = "if the endpointnamespace is set, it must be a valid namespace name";
            errors.invalid(&at, "", rule);
        }
        name => faults(&at, name, names::dns1123_label(name), errors),
    }
}

fn flocker(source: &Value, at: &Path<'_>, errors: &mut FieldErrors) {
    let name = source.text("datasetName");
    match (name.is_empty(), source.text("datasetUUID").is_empty()) {
        (true, true) => errors.required(at, "one of datasetName and datasetUUID is required"),
        (false, false) => {
            let rule = "datasetName and datasetUUID can not be specified simultaneously";
            errors.invalid(at, "resource", rule);
        }
        _ => {}
    }
    if name.contains('/') {
        errors.invalid(&at.child("datasetName"), name, "must not contain '/'");
    }
}

fn quobyte(source: &Value, at: &Path<'_>, errors: &mut FieldErrors) {
    let registry = source.text("registry");
    if registry.is_empty() {
        errors.required(&at.child("registry"), REGISTRY_RULE);
    } else if source.text("tenant").len() > TENANT_MAX {
        let rule = "must be a UUID and may not exceed a length of 64 characters";
        errors.required(&at.child("tenant"), rule);
    } else {
        for _ in registry.split(',').filter(|pair| !is_host_and_port(pair)) {
            errors.invalid(&at.child("registry"), registry, REGISTRY_RULE);
        }
    }
    if source.text("volume").is_empty() {
        errors.required(&at.child("volume"), "");
    }
}

/// Whether it is a host and a port, as Go splits them: an address of version 6 is in brackets.
fn is_host_and_port(pair: &str) -> bool {
    match pair.strip_prefix('[') {
        Some(rest) => rest
            .split_once("]:")
            .is_some_and(|(host, port)| !host.contains(['[', ']']) && !port.contains([':', '[', ']'])),
        None => pair.matches(':').count() == 1 && !pair.contains(['[', ']']),
    }
}

fn flex_options(source: &Value, at: &Path<'_>, errors: &mut FieldErrors) {
    for (key, _) in source.entries("options") {
        let namespace = key.split_once('/').map_or(key, |(namespace, _)| namespace);
        let namespace = format!(".{}", namespace.to_lowercase());
        if namespace.ends_with(".kubernetes.io") || namespace.ends_with(".k8s.io") {
            let rule = "kubernetes.io and k8s.io namespaces are reserved";
            errors.invalid(&at.key(key), key, rule);
        }
    }
}

fn azure_disk(source: &Value, at: &Path<'_>, errors: &mut FieldErrors) {
    let words: [(&str, &[&str]); 2] = [
        ("cachingMode", &["None", "ReadOnly", "ReadWrite"]),
        ("kind", &["Dedicated", "Managed", "Shared"]),
    ];
    for (name, words) in words {
        if source.has(name) && !words.contains(&source.text(name)) {
            errors.not_supported(&at.child(name), source.text(name), words);
        }
    }
    let (kind, uri) = (source.text("kind"), source.text("diskURI"));
    let (start, form) = match kind {
        _ if !source.has("kind") => return,
        "Managed" => (
            "/subscriptions/",
            "/subscriptions/{sub-id}/resourcegroups/{group-name}/providers/microsoft.compute/disks/{disk-id}",
        ),
        _ => (
            "https://",
            "https://{account-name}.blob.core.windows.net/{container-name}/{disk-name}.vhd",
        ),
    };
    if !uri.starts_with(start) {
        errors.not_supported(&at.child("diskURI"), uri, &[form]);
    }
}

fn storage_os(source: &Value, owner: Owner<'_>, at: &Path<'_>, errors: &mut FieldErrors) {
    for name in ["volumeName", "volumeNamespace"] {
        let text = source.text(name);
        if !text.is_empty() {
            faults(&at.child(name), text, names::dns1123_label(text), errors);
        }
    }
    secret(source, owner, at, errors);
}

fn csi(source: &Value, owner: Owner<'_>, at: &Path<'_>, errors: &mut FieldErrors) {
    driver_name(source.text("driver"), &at.child("driver"), errors);
    if matches!(owner, Owner::Pod(_)) {
        let Some(secret) = source.field("nodePublishSecretRef") else {
            return;
        };
        return match secret.text("name") {
            "" => errors.required(&at.child("nodePublishSecretRef.name"), ""),
            name => faults(&at.child("name"), name, names::dns1123_subdomain(name), errors),
        };
    }
    if source.text("volumeHandle").is_empty() {
        errors.required(&at.child("volumeHandle"), "");
    }
    let secrets = [
        "controllerPublishSecretRef",
        "controllerExpandSecretRef",
        "nodePublishSecretRef",
        "nodeExpandSecretRef",
    ];
    for name in secrets {
        let Some(secret) = source.field(name) else {
            continue;
        };
        let at = at.child(name);
        match secret.text("name") {
            "" => errors.required(&at.child("name"), ""),
            name => faults(&at.child("name"), name, names::dns1123_subdomain(name), errors),
        }
        match secret.text("namespace") {
            "" => errors.required(&at.child("namespace"), ""),
            name => faults(&at.child("namespace"), name, names::dns1123_label(name), errors),
        }
    }
}
