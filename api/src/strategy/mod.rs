//! What a write may not say: fields that the server sets or keeps whatever a client sends, kind by kind.
//!
//! These are upstream's `PrepareForCreate` and `PrepareForUpdate`: a client never writes the status through the main
//! resource nor the spec through `/status`, and `metadata.generation` counts changes of what is desired.

mod app_armor;
mod claim;
mod devices;
mod gated;
mod generation;
mod parts;
mod pod;
mod service;

pub use parts::prepare_part;
pub use pod::qos_class;

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use crate::codec::equality;
use crate::defaults::stored_version;
use crate::object::{Fields, object_in, objects_in, same, set_if_absent, set_if_empty};
use crate::resources;
use crate::table::Gvk;
use generation::{
    Generation, changes_what_is_desired, generation, set_template_generation, template_generation,
};

fn has_status(gvk: Gvk) -> bool {
    let resource = resources::by_kind(gvk.group, gvk.version, gvk.kind);
    resource.is_some_and(|resource| resource.subresources.iter().any(|sub| sub.name == "status"))
}

/// The fields that a write to the resource, or to one of its subresources, leaves as they are: nobody owns them by it.
/// Each is a path with dots.
#[must_use]
pub fn resets(gvk: Gvk, subresource: &str) -> &'static [&'static str] {
    match (gvk.group, gvk.kind, subresource) {
        ("certificates.k8s.io", "CertificateSigningRequest", "") => &["spec", "status"],
        ("certificates.k8s.io", "CertificateSigningRequest", "status") => &["spec", "status.conditions"],
        ("certificates.k8s.io", "CertificateSigningRequest", "approval") => &["spec", "status.certificate"],
        ("", "Pod", "status") => &["spec", "metadata.deletionTimestamp", "metadata.ownerReferences"],
        ("apps", "Deployment", "status") => &["spec", "metadata.labels"],
        (
            "flowcontrol.apiserver.k8s.io"
            | "admissionregistration.k8s.io"
            | "resource.k8s.io"
            | "apiregistration.k8s.io"
            | "storagemigration.k8s.io"
            | "internal.apiserver.k8s.io",
            _,
            "status",
        )
        | (_, "ServiceCIDR" | "VolumeAttachment" | "PodGroup", "status") => &["spec", "metadata"],
        (_, _, "status") => &["spec"],
        (_, _, "") if has_status(gvk) => &["status"],
        _ => &[],
    }
}

/// Resets what a new object may not bring. Its name, uid and creation time are set already, its defaults filled in.
pub fn prepare_create(gvk: Gvk, object: &mut Value, now: Timestamp) {
    let Value::Object(fields) = object else { return };
    let starts = !matches!(generation(gvk), Generation::None | Generation::OnlyGrows);
    if let Some(metadata) = object_in(fields, "metadata").filter(|_| starts) {
        metadata.insert("generation".into(), 1.into());
    }
    gated::drop(gvk, fields, None);
    // A kubelet says in what state its node is when it registers it.
    if has_status(gvk) && gvk.kind != "Node" {
        fields.remove("status");
    }
    match (gvk.group, gvk.kind) {
        ("", "Pod") => {
            pod::new_status(fields);
            pod::select_by_label_keys(fields);
            app_armor::sync(fields);
        }
        ("", "Namespace") => new_namespace(fields),
        ("", "PersistentVolume") => {
            fields.insert(
                "status".into(),
                json!({"phase": "Pending", "lastPhaseTransitionTime": seconds(now)}),
            );
        }
        ("", "PersistentVolumeClaim") => {
            fields.insert("status".into(), json!({"phase": "Pending"}));
            if let Some(spec) = object_in(fields, "spec") {
                claim::sources(spec, None);
            }
        }
        ("", "Service") => service::new(fields),
        ("", "LimitRange") => name_by_uid(fields),
        ("discovery.k8s.io", "EndpointSlice") => gated::drop_topology(fields, None),
        ("apps", "DaemonSet") => set_template_generation(fields, 1),
        ("batch", "Job") => select_by_uid(fields),
        ("apiextensions.k8s.io", "CustomResourceDefinition") => note_stored_version(fields),
        ("apiregistration.k8s.io", "APIService") => local_service(fields, now),
        _ => {}
    }
}

/// What this server answers for itself is available at once.
fn local_service(fields: &mut Map<String, Value>, now: Timestamp) {
    if fields.get("spec").is_none_or(|spec| !spec.has("service")) {
        let condition = json!({"type": "Available", "status": "True", "lastTransitionTime": seconds(now),
            "reason": "Local", "message": "Local APIServices are always available"});
        fields.insert("status".into(), json!({"conditions": [condition]}));
    }
}

/// Resets what an update through the main resource may not change, fills in the metadata it leaves out, and counts it in
/// `metadata.generation` when what is desired has changed.
pub fn prepare_update(gvk: Gvk, new: &mut Value, old: &Value) {
    let Value::Object(fields) = new else { return };
    keep_system_metadata(fields, old);
    if has_status(gvk) {
        keep(fields, old, "status");
    }
    match (gvk.group, gvk.kind) {
        // What was asked for never changes: somebody may have approved it.
        ("certificates.k8s.io", "CertificateSigningRequest") => keep(fields, old, "spec"),
        ("", "PersistentVolumeClaim") => {
            if let Some(spec) = object_in(fields, "spec") {
                claim::sources(spec, old.get("spec").and_then(Value::as_object));
            }
        }
        _ => {}
    }
    gated::drop(gvk, fields, Some(old));
    if (gvk.group, gvk.kind) == ("", "Namespace")
        && let Some(spec) = object_in(fields, "spec")
    {
        keep(spec, &old["spec"], "finalizers");
    }
    if (gvk.group, gvk.kind) == ("apps", "DaemonSet") {
        let before = template_generation(old);
        let changed = !equality::equal_named(
            fields.get("spec").map(|s| &s["template"]),
            old.get("spec").map(|s| &s["template"]),
            "io.k8s.api.core.v1.PodTemplateSpec",
        );
        set_template_generation(fields, before + i64::from(changed));
    }
    if (gvk.group, gvk.kind) == ("apiextensions.k8s.io", "CustomResourceDefinition") {
        note_stored_version(fields);
    }
    if (gvk.group, gvk.kind) == ("", "Service") {
        service::updated(fields, old);
    }
    let start = old["metadata"].number("generation");
    if changes_what_is_desired(gvk, fields, old)
        && let Some(metadata) = object_in(fields, "metadata")
    {
        metadata.insert("generation".into(), (start.unwrap_or_default() + 1).into());
    }
    // It counts as a change all the same.
    if (gvk.group, gvk.kind) == ("discovery.k8s.io", "EndpointSlice") {
        gated::drop_topology(fields, Some(old));
    }
}

/// Resets what an update through `/status` may not change: everything but the status and the metadata.
pub fn prepare_status_update(gvk: Gvk, new: &mut Value, old: &Value, now: Timestamp) {
    let (Value::Object(fields), Value::Object(before)) = (new, old) else {
        return;
    };
    keep_system_metadata(fields, old);
    let status = fields.remove("status");
    let metadata = fields.remove("metadata");
    *fields = before.clone();
    for (name, value) in [("status", status), ("metadata", metadata)] {
        match value {
            Some(value) => fields.insert(name.into(), value),
            None => fields.remove(name),
        };
    }
    if resets(gvk, "status").contains(&"metadata") {
        keep_metadata(fields, old);
    }
    match (gvk.group, gvk.kind) {
        // It counts what is desired, and stands among the annotations.
        ("apps", "DaemonSet") => set_template_generation(fields, template_generation(old)),
        ("", "PersistentVolume") => date_phase(fields, old, now),
        // The feature is gone, the field is left.
        ("", "Node") => forget(fields, old, "config"),
        // DRANodeAllocatableResources.
        ("", "Pod") => forget(fields, old, "nodeAllocatableResourceClaimStatuses"),
        _ => {}
    }
    if let Some(metadata) = object_in(fields, "metadata") {
        match (gvk.group, gvk.kind) {
            ("apps", "Deployment") => keep(metadata, &old["metadata"], "labels"),
            ("", "Pod") => keep(metadata, &old["metadata"], "ownerReferences"),
            _ => {}
        }
    }
    if gvk.kind == "ResourceClaim"
        && let Some(status) = object_in(fields, "status")
    {
        devices::forget_deallocated(status, &old["status"]);
    }
    if gvk.kind == "Pod"
        && let Some(status) = object_in(fields, "status")
        && let Some(class) = old["status"].field("qosClass")
    {
        set_if_absent(status, "qosClass", class.clone());
    }
}

/// Drops a field of the status that the server serves no more or not yet, unless it was there.
fn forget(fields: &mut Map<String, Value>, old: &Value, name: &str) {
    if let Some(status) = object_in(fields, "status").filter(|_| !old["status"].has(name)) {
        status.remove(name);
    }
}

/// Notes when the phase of a volume changed, where its writer does not say it.
fn date_phase(volume: &mut Map<String, Value>, old: &Value, now: Timestamp) {
    const WHEN: &str = "lastPhaseTransitionTime";
    let (before, Some(status)) = (&old["status"], object_in(volume, "status")) else {
        return;
    };
    let (phase, said) = (status.get("phase"), status.get(WHEN));
    if same(phase, before.field("phase")) {
        if said.is_none() {
            keep(status, before, WHEN);
        }
    } else if said.is_none() || same(said, before.field(WHEN)) {
        status.insert(WHEN.into(), seconds(now).into());
    }
}

/// Puts back what a write to a part of an object may not say of the whole (`ResetObjectMetaForStatus`): all that belongs to the
/// object and not to who owns its fields.
fn keep_metadata(fields: &mut Map<String, Value>, old: &Value) {
    let Some(metadata) = object_in(fields, "metadata") else {
        return;
    };
    for name in [
        "deletionTimestamp",
        "generation",
        "selfLink",
        "labels",
        "annotations",
        "finalizers",
        "ownerReferences",
    ] {
        keep(metadata, &old["metadata"], name);
    }
}

/// Resets what an update of a CertificateSigningRequest through `/approval` may not change: everything but the metadata and the
/// conditions.
pub fn prepare_approval(new: &mut Value, old: &Value) {
    let Value::Object(fields) = new else { return };
    keep_system_metadata(fields, old);
    keep(fields, old, "spec");
    let conditions = fields
        .get_mut("status")
        .and_then(|status| status.as_object_mut()?.remove("conditions"));
    keep(fields, old, "status");
    let status = fields.entry("status").or_insert_with(|| json!({}));
    if let Value::Object(status) = status {
        match conditions {
            Some(conditions) => status.insert("conditions".into(), conditions),
            None => status.remove("conditions"),
        };
    }
}

/// Whether an update that names no resource version replaces whatever is stored. For the kinds of which several writers
/// contend, it is refused.
pub fn allows_unconditional_update(gvk: Gvk) -> bool {
    !matches!(
        (gvk.group, gvk.kind),
        ("policy", "PodDisruptionBudget")
            | (
                "coordination.k8s.io" | "admissionregistration.k8s.io" | "storagemigration.k8s.io",
                _
            )
            | ("node.k8s.io", "RuntimeClass")
            | (
                "certificates.k8s.io",
                "ClusterTrustBundle" | "PodCertificateRequest"
            )
            | (
                "storage.k8s.io",
                "CSIDriver" | "CSINode" | "CSIStorageCapacity" | "VolumeAttachment"
            )
            | ("apiextensions.k8s.io" | "apiregistration.k8s.io", _)
    )
}

/// `fields` get the value that the field had before, or none.
fn keep(fields: &mut Map<String, Value>, old: &Value, name: &str) {
    match old.field(name) {
        Some(value) => fields.insert(name.into(), value.clone()),
        None => fields.remove(name),
    };
}

/// A client may leave out what only the server sets; it may not set `generation` at all.
fn keep_system_metadata(fields: &mut Map<String, Value>, old: &Value) {
    let before = &old["metadata"];
    let Some(metadata) = object_in(fields, "metadata") else {
        return;
    };
    keep(metadata, before, "generation");
    for name in [
        "uid",
        "creationTimestamp",
        "deletionTimestamp",
        "deletionGracePeriodSeconds",
    ] {
        if let Some(value) = before.field(name) {
            set_if_absent(metadata, name, value.clone());
        }
    }
}

fn seconds(now: Timestamp) -> String {
    now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

fn new_namespace(namespace: &mut Map<String, Value>) {
    namespace.insert("status".into(), json!({"phase": "Active"}));
    let Some(spec) = object_in(namespace, "spec") else {
        return;
    };
    set_if_absent(spec, "finalizers", json!([]));
    if let Some(Value::Array(finalizers)) = spec.get_mut("finalizers")
        && !finalizers.contains(&json!("kubernetes"))
    {
        finalizers.push("kubernetes".into());
    }
}

/// Adds the version that objects are stored in now to those that some may be stored in.
fn note_stored_version(definition: &mut Map<String, Value>) {
    let stored = definition
        .get("spec")
        .and_then(Value::as_object)
        .and_then(stored_version);
    let (Some(stored), Some(status)) = (stored, object_in(definition, "status")) else {
        return;
    };
    set_if_absent(status, "storedVersions", json!([]));
    if let Some(Value::Array(versions)) = status.get_mut("storedVersions")
        && !versions.contains(&stored)
    {
        versions.push(stored);
    }
}

/// A device's taint says since when: a default that depends on the time, for objects as they are read.
pub fn date_taints(gvk: Gvk, slice: &mut Value, now: Timestamp) {
    if (gvk.group, gvk.kind) != ("resource.k8s.io", "ResourceSlice") {
        return;
    }
    let Some(spec) = slice.get_mut("spec").and_then(Value::as_object_mut) else {
        return;
    };
    for device in objects_in(spec, "devices") {
        for taint in objects_in(device, "taints") {
            set_if_absent(taint, "timeAdded", seconds(now));
        }
    }
}

/// A LimitRange without a name is called by its uid.
fn name_by_uid(range: &mut Map<String, Value>) {
    let Some(metadata) = object_in(range, "metadata") else {
        return;
    };
    let uid = metadata.text("uid").to_owned();
    set_if_empty(metadata, "name", uid);
}

/// A Job without a selector of its own selects by its uid, and labels its pods so that it finds them.
fn select_by_uid(job: &mut Map<String, Value>) {
    let metadata = job.get("metadata").unwrap_or(&Value::Null);
    let (name, uid) = (metadata.text("name").to_owned(), metadata.text("uid").to_owned());
    let Some(spec) = object_in(job, "spec").filter(|spec| !spec.flag("manualSelector")) else {
        return;
    };
    if let Some(labels) = object_in(spec, "template")
        .and_then(|template| object_in(template, "metadata"))
        .and_then(|metadata| object_in(metadata, "labels"))
    {
        for prefix in ["", "batch.kubernetes.io/"] {
            set_if_absent(labels, &format!("{prefix}job-name"), name.as_str());
            set_if_absent(labels, &format!("{prefix}controller-uid"), uid.as_str());
        }
    }
    if let Some(labels) = object_in(spec, "selector").and_then(|selector| object_in(selector, "matchLabels"))
    {
        set_if_absent(labels, "batch.kubernetes.io/controller-uid", uid);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEPLOYMENT: Gvk = Gvk {
        group: "apps",
        version: "v1",
        kind: "Deployment",
    };
    const POD: Gvk = Gvk {
        group: "",
        version: "v1",
        kind: "Pod",
    };
    const JOB: Gvk = Gvk {
        group: "batch",
        version: "v1",
        kind: "Job",
    };

    #[test]
    fn a_new_object_starts_without_a_status() {
        let mut pod = json!({"metadata": {"generation": 7}, "spec": {}, "status": {"phase": "Running"}});
        prepare_create(POD, &mut pod, Timestamp::UNIX_EPOCH);
        assert_eq!(
            pod["status"],
            json!({"phase": "Pending", "qosClass": "BestEffort"})
        );
        assert_eq!(pod["metadata"]["generation"], 1);
    }

    #[test]
    fn generation_counts_changes_of_what_is_desired() {
        let old = json!({"metadata": {"generation": 4, "uid": "u"}, "spec": {"replicas": 1}, "status": {"replicas": 1}});
        let cases = [
            (json!({"metadata": {"generation": 9}, "spec": {"replicas": 1}}), 4),
            (json!({"metadata": {}, "spec": {"replicas": 2}}), 5),
            (
                json!({"metadata": {"annotations": {"a": "b"}}, "spec": {"replicas": 1}}),
                5,
            ),
            (
                json!({"metadata": {"labels": {"a": "b"}}, "spec": {"replicas": 1, "template": {}}}),
                4,
            ),
        ];
        for (mut new, want) in cases {
            prepare_update(DEPLOYMENT, &mut new, &old);
            assert_eq!(new["metadata"]["generation"], want, "{new}");
            assert_eq!(
                (&new["status"], &new["metadata"]["uid"]),
                (&old["status"], &json!("u"))
            );
        }
    }

    #[test]
    fn a_status_update_keeps_the_spec() {
        let old = json!({"metadata": {"uid": "u", "labels": {"a": "1"}}, "spec": {"replicas": 1}});
        let mut new =
            json!({"metadata": {"labels": {"a": "2"}}, "spec": {"replicas": 5}, "status": {"replicas": 3}});
        prepare_status_update(DEPLOYMENT, &mut new, &old, Timestamp::UNIX_EPOCH);
        let want = json!({"metadata": {"uid": "u", "labels": {"a": "1"}}, "spec": {"replicas": 1}, "status": {"replicas": 3}});
        assert_eq!(new, want);
    }

    #[test]
    fn a_job_selects_its_pods_by_its_uid() {
        let mut job = json!({"metadata": {"name": "j", "uid": "u"}, "spec": {"template": {}}});
        prepare_create(JOB, &mut job, Timestamp::UNIX_EPOCH);
        assert_eq!(
            job["spec"]["selector"],
            json!({"matchLabels": {"batch.kubernetes.io/controller-uid": "u"}})
        );
        assert_eq!(job["spec"]["template"]["metadata"]["labels"]["job-name"], "j");
    }
}
