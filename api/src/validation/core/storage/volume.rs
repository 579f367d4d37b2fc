//! PersistentVolumes.

use serde_json::{Value, json};

use super::{access_modes, positive_amount, volume_mode};
use crate::codec::equality;
use crate::names;
use crate::object::Fields;
use crate::validation::disks::{self, Owner};
use crate::validation::field::{FieldErrors, Path};
use crate::validation::internal;
use crate::validation::meta::{faults, immutable};
use crate::validation::pod::{host_path, no_backsteps};
use crate::validation::selector::node_selector;

const SPEC: &str = "io.k8s.api.core.v1.PersistentVolumeSpec";
const AFFINITY: &str = "io.k8s.api.core.v1.VolumeNodeAffinity";
const RECLAIM_POLICIES: [&str; 3] = ["Delete", "Recycle", "Retain"];
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
    if !equality::equal_named(Some(&kept), Some(&source(before)), SPEC) {
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
    let kept = relabelled(&before["nodeAffinity"], &spec["nodeAffinity"]);
    if before.has("nodeAffinity") && !equality::equal_named(spec.get("nodeAffinity"), Some(&kept), AFFINITY) {
        let rule = "field is immutable, except for updating from beta label to GA";
        let shown = internal::shown_pointer(spec.field("nodeAffinity"), internal::VOLUME_AFFINITY);
        errors.invalid(&Path::new("nodeAffinity"), shown, rule);
    }
}

/// The affinity of old with the labels that new ones stand for now. Upstream lets any label become none, too.
fn relabelled(old: &Value, new: &Value) -> Value {
    let stable = |label: &str| match label {
        "failure-domain.beta.kubernetes.io/zone" => "topology.kubernetes.io/zone",
        "failure-domain.beta.kubernetes.io/region" => "topology.kubernetes.io/region",
        "beta.kubernetes.io/os" => "kubernetes.io/os",
        "beta.kubernetes.io/arch" => "kubernetes.io/arch",
        "beta.kubernetes.io/instance-type" => "node.kubernetes.io/instance-type",
        _ => "",
    };
    let mut kept = old.clone();
    let terms = kept
        .pointer_mut("/required/nodeSelectorTerms")
        .and_then(Value::as_array_mut);
    let now = new["required"].items("nodeSelectorTerms");
    for (term, now) in terms.into_iter().flatten().zip(now) {
        for list in ["matchExpressions", "matchFields"] {
            let requirements = term.get_mut(list).and_then(Value::as_array_mut);
            for (requirement, now) in requirements.into_iter().flatten().zip(now.items(list)) {
                if stable(requirement.text("key")) == now.text("key") {
                    requirement["key"] = now.text("key").into();
                }
            }
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_of_old_may_be_renamed() {
        let on = |key: &str| json!({"required": {"nodeSelectorTerms": [{"matchExpressions": [{"key": key, "operator": "In", "values": ["a"]}]}]}});
        let (old, new) = (on("beta.kubernetes.io/os"), on("kubernetes.io/os"));
        assert_eq!(relabelled(&old, &new), new);
        assert_eq!(relabelled(&old, &on("other")), old);
    }

    #[test]
    fn a_source_stays_but_for_a_secret_that_was_not_named() {
        let volume = |csi: Value| json!({"metadata": {"name": "v"}, "spec": {"accessModes": ["ReadWriteOnce"], "capacity": {"storage": "1Gi"}, "csi": csi}});
        let faults = |new: Value| {
            let mut errors = FieldErrors::new();
            volume_update(
                &volume(new),
                &volume(json!({"driver": "d", "volumeHandle": "h"})),
                &mut errors,
            );
            errors.iter().map(|error| error.field.clone()).collect::<Vec<_>>()
        };
        let secret = json!({"name": "s", "namespace": "n"});
        let named = json!({"driver": "d", "volumeHandle": "h", "controllerExpandSecretRef": secret});
        assert_eq!(faults(named), [""; 0]);
        assert_eq!(
            faults(json!({"driver": "d", "volumeHandle": "i"})),
            ["spec.persistentvolumesource"]
        );
    }
}
