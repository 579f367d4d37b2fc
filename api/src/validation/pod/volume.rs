//! Volumes of a pod: what they are made of.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::container::no_backsteps;
use super::env;
use super::resources::amount;
use super::spec::{Pod, one_of};
use crate::names;
use crate::object::Fields;
use crate::quantity::Quantity;
use crate::quote::quote;
use crate::validation::core::storage;
use crate::validation::disks::{self, Owner};
use crate::validation::field::{FieldErrors, Path};
use crate::validation::meta::{annotations, faults, labels};

const ISCSI_NAME_MAX: usize = 64;
const MODE_RULE: &str = "must be a number between 0 and 0777 (octal), both inclusive";
/// The fields of a pod that a file may have.
const FIELDS: [&str; 5] = [
    "metadata.annotations",
    "metadata.labels",
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
];
const HOST_PATH_TYPES: [&str; 8] = [
    "",
    "BlockDevice",
    "CharDevice",
    "Directory",
    "DirectoryOrCreate",
    "File",
    "FileOrCreate",
    "Socket",
];
/// What a volume may be made of, in the order in which the first one found is taken for the one that is meant.
const SOURCES: [&str; 30] = [
    "emptyDir",
    "hostPath",
    "gitRepo",
    "gcePersistentDisk",
    "awsElasticBlockStore",
    "secret",
    "nfs",
    "iscsi",
    "glusterfs",
    "flocker",
    "persistentVolumeClaim",
    "rbd",
    "cinder",
    "cephfs",
    "quobyte",
    "downwardAPI",
    "fc",
    "flexVolume",
    "configMap",
    "azureFile",
    "vsphereVolume",
    "photonPersistentDisk",
    "portworxVolume",
    "azureDisk",
    "storageos",
    "projected",
    "scaleIO",
    "csi",
    "ephemeral",
    "image",
];

/// Checks all volumes and gives those that are in order, which containers may mount.
pub(super) fn volumes<'a>(
    pod: &Pod<'a>,
    list: &Path<'_>,
    errors: &mut FieldErrors,
) -> BTreeMap<&'a str, &'a Value> {
    let mut fine = BTreeMap::new();
    let volumes = pod.spec.items("volumes");
    for (index, volume) in volumes.iter().enumerate() {
        let at = list.index(index);
        let name = volume.text("name");
        let mut found = FieldErrors::new();
        source(pod, volume, &at, &mut found);
        match name {
            "" => found.required(&at.child("name"), ""),
            name => faults(&at.child("name"), name, names::dns1123_label(name), &mut found),
        }
        if fine.contains_key(name) {
            found.duplicate(&at.child("name"), name);
        }
        if found.is_empty() {
            fine.insert(name, volume);
        }
        errors.extend(found);
        made_for_another(pod, volume, &at, errors);
    }
    fine
}

/// A claim that is made for an ephemeral volume of the same pod belongs to that volume alone.
fn made_for_another(pod: &Pod<'_>, volume: &Value, at: &Path<'_>, errors: &mut FieldErrors) {
    let (Some(claim), Some(pod_name)) = (volume.field("persistentVolumeClaim"), pod.name) else {
        return;
    };
    let made = pod
        .spec
        .items("volumes")
        .iter()
        .filter(|other| other.has("ephemeral"));
    let claim = claim.text("claimName");
    if made
        .into_iter()
        .any(|other| claim == format!("{pod_name}-{}", other.text("name")))
    {
        let rule = "must not reference a PVC that gets created for an ephemeral volume";
        errors.invalid(&at.child("persistentVolumeClaim.claimName"), claim, rule);
    }
}

fn source(pod: &Pod<'_>, volume: &Value, at: &Path<'_>, errors: &mut FieldErrors) {
    let mut found = false;
    for name in SOURCES.into_iter().filter(|name| volume.has(name)) {
        if found {
            let rule = "may not specify more than 1 volume type";
            errors.forbidden(&at.child(disks::shown_as_second(name)), rule);
        } else {
            found = true;
            one_source(name, volume, &at.child(disks::shown(name)), errors);
        }
        if name == "iscsi" {
            iscsi_name(volume, at, errors);
        }
        if name == "ephemeral" {
            claim_name(pod, volume, at, errors);
        }
    }
    if !found {
        errors.required(at, "must specify a volume type");
    }
}

fn one_source(name: &str, volume: &Value, at: &Path<'_>, errors: &mut FieldErrors) {
    let source = &volume[name];
    match name {
        "emptyDir" => empty_dir(source, at, errors),
        "hostPath" => host_path(source, at, errors),
        "gitRepo" => git(source, at, errors),
        "secret" => files(source, "secretName", at, errors),
        "configMap" => files(source, "name", at, errors),
        "downwardAPI" => downward_api(source, at, errors),
        "projected" => projected(source, at, errors),
        "persistentVolumeClaim" if source.text("claimName").is_empty() => {
            errors.required(&at.child("claimName"), "");
        }
        "ephemeral" => ephemeral(source, at, errors),
        "image" => image(source, at, errors),
        name => disks::source(name, source, Owner::Pod(volume.text("name")), at, errors),
    }
}

fn git(source: &Value, at: &Path<'_>, errors: &mut FieldErrors) {
    if source.text("repository").is_empty() {
        errors.required(&at.child("repository"), "");
    }
    local_path(source.text("directory"), &at.child("directory"), errors);
}

fn iscsi_name(volume: &Value, at: &Path<'_>, errors: &mut FieldErrors) {
    let (name, iscsi) = (volume.text("name"), &volume["iscsi"]);
    if iscsi.has("initiatorName") && name.len() + 1 + iscsi.text("targetPortal").len() > ISCSI_NAME_MAX {
        let rule = "Total length of <volume name>:<iscsi.targetPortal> must be under 64 characters if iscsi.initiatorName is specified.";
        errors.invalid(&at.child("name"), name, rule);
    }
}

/// The claim that is made for an ephemeral volume is called by pod and volume.
fn claim_name(pod: &Pod<'_>, volume: &Value, at: &Path<'_>, errors: &mut FieldErrors) {
    let (pod, name) = (pod.name.unwrap_or_default(), volume.text("name"));
    if pod.is_empty() || name.is_empty() {
        return;
    }
    let claim = format!("{pod}-{name}");
    for fault in names::dns1123_subdomain(&claim) {
        let rule = format!("PVC name {}: {fault}", quote(&claim));
        errors.invalid(&at.child("name"), name, rule);
    }
}

fn empty_dir(source: &Value, at: &Path<'_>, errors: &mut FieldErrors) {
    if amount(&source["sizeLimit"]) < Quantity::ZERO {
        errors.forbidden(
            &at.child("sizeLimit"),
            "SizeLimit field must be a valid resource quantity",
        );
    }
}

pub(in crate::validation) fn host_path(source: &Value, at: &Path<'_>, errors: &mut FieldErrors) {
    match source.text("path") {
        "" => {
            errors.required(&at.child("path"), "");
            return;
        }
        path => no_backsteps(path, &at.child("path"), errors),
    }
    let kind = source.text("type");
    if !HOST_PATH_TYPES.contains(&kind) {
        errors.not_supported(&at.child("type"), kind, &HOST_PATH_TYPES);
    }
}

fn mode(source: &Value, name: &str, at: &Path<'_>, errors: &mut FieldErrors) {
    if let Some(mode) = source.number(name).filter(|mode| !(0..=0o777).contains(mode)) {
        errors.invalid(&at.child(name), mode, MODE_RULE);
    }
}

fn files(source: &Value, name: &str, at: &Path<'_>, errors: &mut FieldErrors) {
    if source.text(name).is_empty() {
        errors.required(&at.child(name), "");
    }
    mode(source, "defaultMode", at, errors);
    let list = at.child("items");
    for (index, item) in source.items("items").iter().enumerate() {
        key_to_path(item, &list.index(index), errors);
    }
}

fn key_to_path(item: &Value, at: &Path<'_>, errors: &mut FieldErrors) {
    for name in ["key", "path"]
        .into_iter()
        .filter(|name| item.text(name).is_empty())
    {
        errors.required(&at.child(name), "");
    }
    local_path(item.text("path"), &at.child("path"), errors);
    mode(item, "mode", at, errors);
}

/// A relative path that does not begin with two dots, which the kubelet keeps for itself.
fn local_path(path: &str, at: &Path<'_>, errors: &mut FieldErrors) {
    super::container::relative_path(path, at, errors);
    if path.starts_with("..") && !path.starts_with("../") {
        errors.invalid(at, path, "must not start with '..'");
    }
}

fn downward_api(source: &Value, at: &Path<'_>, errors: &mut FieldErrors) {
    mode(source, "defaultMode", at, errors);
    for file in source.items("items") {
        downward_file(file, at, errors);
    }
}

fn downward_file(file: &Value, at: &Path<'_>, errors: &mut FieldErrors) {
    if file.text("path").is_empty() {
        errors.required(&at.child("path"), "");
    }
    local_path(file.text("path"), &at.child("path"), errors);
    match (file.field("fieldRef"), file.field("resourceFieldRef")) {
        (Some(field), resource) => {
            env::field_ref(field, &FIELDS, &at.child("fieldRef"), errors);
            if resource.is_some() {
                let rule = "fieldRef and resourceFieldRef can not be specified simultaneously";
                errors.invalid(at, "resource", rule);
            }
        }
        (None, Some(resource)) => env::resource_ref(resource, true, &at.child("resourceFieldRef"), errors),
        (None, None) => errors.required(at, "one of fieldRef and resourceFieldRef is required"),
    }
    mode(file, "mode", at, errors);
}

fn projected(source: &Value, at: &Path<'_>, errors: &mut FieldErrors) {
    mode(source, "defaultMode", at, errors);
    let mut paths = BTreeSet::new();
    let list = at.child("sources");
    for (index, one) in source.items("sources").iter().enumerate() {
        projection(one, at, &list.index(index), &mut paths, errors);
    }
}

/// One source of a projected volume; `whole` is the volume, which upstream names in faults of conflicting paths.
fn projection<'a>(
    source: &'a Value,
    whole: &Path<'_>,
    at: &Path<'_>,
    paths: &mut BTreeSet<&'a str>,
    errors: &mut FieldErrors,
) {
    let mut claim = |path: &'a str, shown: &str, errors: &mut FieldErrors| {
        if !path.is_empty() && !paths.insert(path) {
            errors.invalid(whole, shown, "conflicting duplicate paths");
        }
    };
    let mut sources = 0;
    for name in ["secret", "configMap"] {
        let Some(object) = source.field(name) else {
            continue;
        };
        sources += 1;
        let at = at.child(name);
        files(object, "name", &at, errors);
        for item in object.items("items") {
            claim(item.text("path"), object.text("name"), errors);
        }
    }
    if let Some(api) = source.field("downwardAPI") {
        sources += 1;
        for file in api.items("items") {
            downward_file(file, &at.child("downwardAPI"), errors);
            claim(file.text("path"), file.text("path"), errors);
        }
    }
    if let Some(token) = source.field("serviceAccountToken") {
        sources += 1;
        service_account_token(token, whole, &at.child("serviceAccountToken"), errors);
    }
    if let Some(bundle) = source.field("clusterTrustBundle") {
        sources += 1;
        trust_bundle(bundle, &at.child("clusterTrustBundle"), errors);
        claim(bundle.text("path"), bundle.text("path"), errors);
    }
    if source.has("podCertificate") {
        sources += 1;
    }
    if sources > 1 {
        errors.forbidden(at, "may not specify more than 1 volume type per source");
    }
}

fn service_account_token(token: &Value, whole: &Path<'_>, at: &Path<'_>, errors: &mut FieldErrors) {
    let seconds = token.number("expirationSeconds").unwrap_or_default();
    if seconds < 600 {
        errors.invalid(
            &at.child("expirationSeconds"),
            seconds,
            "may not specify a duration less than 10 minutes",
        );
    }
    if seconds > 1 << 32 {
        let rule = "may not specify a duration larger than 2^32 seconds";
        errors.invalid(&at.child("expirationSeconds"), seconds, rule);
    }
    match token.text("path") {
        "" => errors.required(&whole.child("path"), ""),
        path => local_path(path, &whole.child("path"), errors),
    }
}

fn trust_bundle(bundle: &Value, at: &Path<'_>, errors: &mut FieldErrors) {
    match (bundle.has("name"), bundle.has("signerName")) {
        (true, true) => errors.invalid(at, bundle, "only one of name and signerName may be used"),
        (false, false) => errors.required(at, "either name or signerName must be specified"),
        _ => {}
    }
    if bundle.text("path").is_empty() {
        errors.required(&at.child("path"), "");
    }
    local_path(bundle.text("path"), &at.child("path"), errors);
}

fn ephemeral(source: &Value, at: &Path<'_>, errors: &mut FieldErrors) {
    let at = at.child("volumeClaimTemplate");
    let Some(template) = source.field("volumeClaimTemplate") else {
        errors.required(&at, "");
        return;
    };
    let meta = &template["metadata"];
    let at_meta = at.child("metadata");
    annotations(meta, &at_meta, errors);
    labels(meta, "labels", &at_meta, errors);
    let fields = meta.as_object().into_iter().flatten();
    for (name, _) in
        fields.filter(|(name, value)| !matches!(name.as_str(), "annotations" | "labels") && !value.is_null())
    {
        errors.forbidden(&at_meta.child(name), "cannot be set");
    }
    storage::claim_spec(&template["spec"], &at.child("spec"), errors);
}

fn image(source: &Value, at: &Path<'_>, errors: &mut FieldErrors) {
    if source.text("reference").is_empty() {
        errors.required(&at.child("reference"), "");
    }
    let policies = ["Always", "IfNotPresent", "Never"];
    one_of(
        source.text("pullPolicy"),
        &policies,
        &at.child("pullPolicy"),
        errors,
    );
}
