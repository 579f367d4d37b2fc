//! PersistentVolumes and PersistentVolumeClaims.

use serde_json::{Value, json};

use crate::codec::equality;
use crate::names;
use crate::object::{Fields, same};
use crate::quantity::Quantity;
use crate::validation::disks::{self, Owner};
use crate::validation::field::{BadValue, FieldErrors, Path};
use crate::validation::internal;
use crate::validation::meta::{faults, immutable};
use crate::validation::pod::{amount, host_path, no_backsteps};
use crate::validation::selector::{label_selector, node_selector};

const ACCESS_MODES: [&str; 4] = [
    "ReadOnlyMany",
    "ReadWriteMany",
    "ReadWriteOnce",
    "ReadWriteOncePod",
];
const VOLUME_MODES: [&str; 2] = ["Block", "Filesystem"];
const RECLAIM_POLICIES: [&str; 3] = ["Delete", "Recycle", "Retain"];
const DRIVER_MAX: usize = 63;
const VOLUME_SPEC: &str = "io.k8s.api.core.v1.PersistentVolumeSpec";
const CLAIM_SPEC: &str = "io.k8s.api.core.v1.PersistentVolumeClaimSpec";
/// What a volume's spec holds that is not its source.
const NOT_A_SOURCE: [&str; 9] = [
    "capacity",
    "accessModes",
    "claimRef",
    "persistentVolumeReclaimPolicy",
    "storageClassName",
    "mountOptions",
    "volumeMode",
    "nodeAffinity",
    "volumeAttributesClassName",
];

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

fn access_modes(spec: &Value, at: &Path<'_>, none: &str, errors: &mut FieldErrors) {
    let modes: Vec<&str> = spec
        .items("accessModes")
        .iter()
        .map(|mode| mode.as_str().unwrap_or_default())
        .collect();
    if modes.is_empty() {
        errors.required(at, none);
    }
    for mode in modes.iter().filter(|mode| !ACCESS_MODES.contains(mode)) {
        errors.not_supported(at, *mode, &ACCESS_MODES);
    }
    let known: Vec<&&str> = modes.iter().filter(|mode| ACCESS_MODES.contains(mode)).collect();
    if known.contains(&&"ReadWriteOncePod") && known.iter().any(|mode| **mode != "ReadWriteOncePod") {
        errors.forbidden(at, "may not use ReadWriteOncePod with other access modes");
    }
}

fn positive_amount(value: &Value, at: &Path<'_>, errors: &mut FieldErrors) {
    if amount(value) <= Quantity::ZERO {
        errors.invalid(at, value, "must be greater than zero");
    }
}

fn volume_mode(spec: &Value, at: &Path<'_>, errors: &mut FieldErrors) {
    if spec.has("volumeMode") && !VOLUME_MODES.contains(&spec.text("volumeMode")) {
        errors.not_supported(at, spec.text("volumeMode"), &VOLUME_MODES);
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

/// The name of a CSI driver.
pub(in crate::validation) fn driver_name(name: &str, at: &Path<'_>, errors: &mut FieldErrors) {
    if name.is_empty() {
        return errors.required(at, "");
    }
    if name.len() > DRIVER_MAX {
        errors.too_long(at, DRIVER_MAX);
    }
    let lower = name.to_lowercase();
    faults(at, name, names::dns1123_subdomain(&lower), errors);
}

/// A claim grows, gets bound, changes its class of attributes; nothing else.
pub(in crate::validation) fn claim_update(new: &Value, old: &Value, errors: &mut FieldErrors) {
    let at = Path::new("spec");
    let (spec, before) = (&new["spec"], &old["spec"]);
    changed_claim_spec(spec, Some(before), &at, errors);
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
    if !equality::equal_named(Some(&kept), Some(&was), CLAIM_SPEC) {
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

/// A new volume.
pub(in crate::validation) fn volume(volume: &Value, errors: &mut FieldErrors) {
    let (spec, at) = (&volume["spec"], Path::new("spec"));
    access_modes(spec, &at.child("accessModes"), "", errors);
    capacity(spec, &at.child("capacity"), errors);
    let policy = spec.text("persistentVolumeReclaimPolicy");
    if !policy.is_empty() && !RECLAIM_POLICIES.contains(&policy) {
        errors.not_supported(
            &at.child("persistentVolumeReclaimPolicy"),
            policy,
            &RECLAIM_POLICIES,
        );
    }
    let placed = node_affinity(spec, &at.child("nodeAffinity"), errors);
    let name = volume["metadata"].text("name");
    volume_source(spec, name, placed, &at, errors);
    if is_root(spec["hostPath"].text("path")) && policy == "Recycle" {
        let rule = "may not be 'recycle' for a hostPath mount of '/'";
        errors.forbidden(&at.child("persistentVolumeReclaimPolicy"), rule);
    }
    let class = spec.text("storageClassName");
    if !class.is_empty() {
        let at = at.child("storageClassName");
        faults(&at, class, names::dns1123_subdomain(class), errors);
    }
    volume_mode(spec, &at.child("volumeMode"), errors);
    attributes_class(spec, &at, errors);
}

/// Whether a path is the root, however it is written.
fn is_root(path: &str) -> bool {
    path.starts_with('/') && path.split('/').all(|step| matches!(step, "" | "." | ".."))
}

fn attributes_class(spec: &Value, at: &Path<'_>, errors: &mut FieldErrors) {
    if !spec.has("volumeAttributesClassName") {
        return;
    }
    let at_class = at.child("volumeAttributesClassName");
    match spec.text("volumeAttributesClassName") {
        "" => errors.required(&at_class, "an empty string is disallowed"),
        class => faults(&at_class, class, names::dns1123_subdomain(class), errors),
    }
    if !spec.has("csi") {
        let rule = "has to be specified when using volumeAttributesClassName";
        errors.required(&at.child("csi"), rule);
    }
}

/// A volume that stands inside a VolumeAttachment: only a CSI driver's, without what belongs to claims and scheduling.
pub(in crate::validation) fn inline_volume(spec: &Value, at: &Path<'_>, errors: &mut FieldErrors) {
    let rule = "may not be specified in the context of inline volumes";
    if spec.has("claimRef") {
        errors.forbidden(&at.child("claimRef"), rule);
    }
    if spec.count("capacity") > 0 {
        errors.forbidden(&at.child("capacity"), rule);
    }
    if !spec.has("csi") {
        let rule = "has to be specified in the context of inline volumes";
        errors.required(&at.child("csi"), rule);
    }
    access_modes(spec, &at.child("accessModes"), "", errors);
    if !matches!(spec.text("persistentVolumeReclaimPolicy"), "" | "Retain") {
        let rule = "may only be Retain in the context of inline volumes";
        errors.forbidden(&at.child("persistentVolumeReclaimPolicy"), rule);
    }
    if spec.has("nodeAffinity") {
        errors.forbidden(&at.child("nodeAffinity"), rule);
    }
    volume_source(spec, "", false, at, errors);
    if !spec.text("storageClassName").is_empty() {
        errors.forbidden(&at.child("storageClassName"), rule);
    }
    if spec.has("volumeMode") && spec.text("volumeMode") != "Filesystem" {
        let rule = "may not specify volumeMode other than Filesystem in the context of inline volumes";
        errors.forbidden(&at.child("volumeMode"), rule);
    }
    attributes_class(spec, at, errors);
}

fn capacity(spec: &Value, at: &Path<'_>, errors: &mut FieldErrors) {
    let capacity = spec.field("capacity");
    if spec.count("capacity") == 0 {
        errors.required(at, "");
    }
    if spec.count("capacity") > 1 || !spec["capacity"].has("storage") {
        let empty = Value::Null;
        errors.not_supported(at, capacity.unwrap_or(&empty), &["storage"]);
    }
    for (name, value) in spec.entries("capacity") {
        positive_amount(value, &at.key(name), errors);
    }
}

/// Whether the volume is tied to nodes.
fn node_affinity(spec: &Value, at: &Path<'_>, errors: &mut FieldErrors) -> bool {
    let Some(affinity) = spec.field("nodeAffinity") else {
        return false;
    };
    match affinity.field("required") {
        Some(required) => node_selector(required, &at.child("required"), errors),
        None => errors.required(&at.child("required"), "must specify required node constraints"),
    }
    true
}

/// What a volume may be made of, in the order in which the first one found is taken for the one that is meant.
const SOURCES: [&str; 22] = [
    "hostPath",
    "gcePersistentDisk",
    "awsElasticBlockStore",
    "glusterfs",
    "flocker",
    "nfs",
    "rbd",
    "quobyte",
    "cephfs",
    "iscsi",
    "cinder",
    "fc",
    "flexVolume",
    "azureFile",
    "vsphereVolume",
    "photonPersistentDisk",
    "portworxVolume",
    "azureDisk",
    "scaleIO",
    "local",
    "storageos",
    "csi",
];

fn volume_source(spec: &Value, volume: &str, placed: bool, at: &Path<'_>, errors: &mut FieldErrors) {
    let mut found = false;
    for name in SOURCES.into_iter().filter(|name| spec.has(name)) {
        // Upstream lets a flex volume stand beside another.
        if found && name != "flexVolume" {
            let rule = "may not specify more than 1 volume type";
            errors.forbidden(&at.child(disks::shown_as_second(name)), rule);
            continue;
        }
        found = true;
        let (source, at_source) = (&spec[name], at.child(disks::shown(name)));
        match name {
            "hostPath" => host_path(source, &at_source, errors),
            "local" => {
                match source.text("path") {
                    "" => errors.required(&at_source.child("path"), ""),
                    path => no_backsteps(path, &at_source.child("path"), errors),
                }
                if !placed {
                    errors.required(&at.child("nodeAffinity"), "Local volume requires node affinity");
                }
            }
            name => disks::source(name, source, Owner::Volume(volume), &at_source, errors),
        }
    }
    if !found {
        errors.required(at, "must specify a volume type");
    }
}

/// A volume's source stays; its other fields may change.
pub(in crate::validation) fn volume_update(new: &Value, old: &Value, errors: &mut FieldErrors) {
    // Upstream asks for the faults of the volume itself twice.
    volume(new, errors);
    volume(new, errors);
    let at = Path::new("spec");
    let (spec, before) = (&new["spec"], &old["spec"]);
    let source = |spec: &Value| -> Value {
        let mut fields = spec.as_object().cloned().unwrap_or_default();
        fields.retain(|name, _| !NOT_A_SOURCE.contains(&name.as_str()));
        json!(fields)
    };
    // A secret for expanding may be named later.
    let mut kept = source(spec);
    if before.has("csi") && !before["csi"].has("controllerExpandSecretRef") {
        kept.get_mut("csi")
            .and_then(Value::as_object_mut)
            .and_then(|csi| csi.remove("controllerExpandSecretRef"));
    }
    if !equality::equal_named(Some(&kept), Some(&source(before)), VOLUME_SPEC) {
        let difference = internal::difference(before, &kept, internal::PERSISTENT_VOLUME_SOURCE);
        let rule = format!("spec.persistentvolumesource is immutable after creation\n{difference}");
        errors.forbidden(&at.child("persistentvolumesource"), rule);
    }
    if before.has("volumeAttributesClassName") && !spec.has("volumeAttributesClassName") {
        let rule = "update from non-nil value to nil is forbidden";
        errors.forbidden(&at.child("volumeAttributesClassName"), rule);
    }
    // Upstream leaves `spec` out of these two paths.
    immutable(
        spec.field("volumeMode"),
        before.field("volumeMode"),
        &Path::new("volumeMode"),
        errors,
    );
    if before.has("nodeAffinity") && !same(spec.get("nodeAffinity"), before.get("nodeAffinity")) {
        let rule = "field is immutable, except for updating from beta label to GA";
        let shown = internal::shown_pointer(spec.field("nodeAffinity"), internal::VOLUME_AFFINITY);
        errors.invalid(&Path::new("nodeAffinity"), shown, rule);
    }
}
