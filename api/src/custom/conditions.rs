//! The conditions of a definition.

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use crate::object::{Fields, object_in};

/// Whether objects of the definition can be used.
pub const ESTABLISHED: &str = "Established";
/// Whether its names are its own.
pub const NAMES_ACCEPTED: &str = "NamesAccepted";
/// Whether it is on its way out.
pub const TERMINATING: &str = "Terminating";
/// The finalizer that stands for its objects.
pub const CLEANUP: &str = "customresourcecleanup.apiextensions.k8s.io";

/// What is to be said of a condition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Condition {
    /// Its type.
    pub ty: &'static str,
    /// Whether it holds.
    pub status: bool,
    /// Why, in a word.
    pub reason: &'static str,
    /// Why, in a sentence.
    pub message: String,
}

/// Whether a condition holds.
pub fn is_true(object: &Value, ty: &str) -> bool {
    let conditions = object["status"].items("conditions");
    conditions
        .iter()
        .any(|condition| condition.text("type") == ty && condition.text("status") == "True")
}

/// Writes a condition; its time changes with its status only.
pub fn set(object: &mut Value, condition: &Condition, now: Timestamp) {
    let Some(status) = object
        .as_object_mut()
        .and_then(|object| object_in(object, "status"))
    else {
        return;
    };
    let truth = if condition.status { "True" } else { "False" };
    let time = now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    if !status.has("conditions") {
        status.insert("conditions".to_owned(), json!([]));
    }
    let Some(Value::Array(conditions)) = status.get_mut("conditions") else {
        return;
    };
    let standing = conditions
        .iter_mut()
        .find(|other| other.text("type") == condition.ty)
        .and_then(Value::as_object_mut);
    let fields = match standing {
        Some(fields) => fields,
        None => {
            conditions.push(json!({"type": condition.ty}));
            let Some(Value::Object(fields)) = conditions.last_mut() else {
                return;
            };
            fields
        }
    };
    write(fields, condition, truth, time);
}

fn write(fields: &mut Map<String, Value>, condition: &Condition, truth: &str, time: String) {
    if fields.text("status") != truth {
        fields.insert("lastTransitionTime".to_owned(), time.into());
    }
    let texts = [
        ("status", truth),
        ("reason", condition.reason),
        ("message", &condition.message),
    ];
    for (name, text) in texts {
        fields.insert(name.to_owned(), text.into());
    }
}

/// A definition that was asked to go: marked, with the finalizer that stands for its objects.
pub fn mark_deleted(object: &mut Value, now: Timestamp) {
    let time = now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    if let Some(metadata) = object
        .as_object_mut()
        .and_then(|object| object_in(object, "metadata"))
    {
        metadata.insert("deletionTimestamp".to_owned(), time.into());
        let mut finalizers = metadata.items("finalizers").to_vec();
        if !finalizers.contains(&CLEANUP.into()) {
            finalizers.push(CLEANUP.into());
        }
        metadata.insert("finalizers".to_owned(), finalizers.into());
    }
    set(
        object,
        &Condition {
            ty: TERMINATING,
            status: true,
            reason: "InstanceDeletionPending",
            message: "CustomResourceDefinition marked for deletion; CustomResource deletion will begin soon"
                .to_owned(),
        },
        now,
    );
}

/// Whether a definition waits for its objects to go.
pub fn awaits_cleanup(object: &Value) -> bool {
    let metadata = &object["metadata"];
    metadata.has("deletionTimestamp") && metadata.items("finalizers").contains(&CLEANUP.into())
}

/// A definition whose objects are gone, or never were: nothing holds it on their account.
pub fn finish_cleanup(object: &mut Value, was_established: bool, now: Timestamp) {
    let (reason, message) = if was_established {
        ("InstanceDeletionCompleted", "removed all instances")
    } else {
        ("NeverEstablished", "resource was never established")
    };
    let condition = Condition {
        ty: TERMINATING,
        status: false,
        reason,
        message: message.to_owned(),
    };
    set(object, &condition, now);
    if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        let mut finalizers = metadata.items("finalizers").to_vec();
        finalizers.retain(|finalizer| finalizer != CLEANUP);
        if finalizers.is_empty() {
            metadata.remove("finalizers");
        } else {
            metadata.insert("finalizers".to_owned(), finalizers.into());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deleted_definition_waits_for_its_objects() {
        let now: Timestamp = "2026-11-22T06:23:23Z".parse().unwrap();
        let mut object = json!({"metadata": {"name": "x", "finalizers": ["a/b"]}});
        mark_deleted(&mut object, now);
        assert!(awaits_cleanup(&object) && is_true(&object, TERMINATING));
        assert_eq!(object["metadata"]["finalizers"], json!(["a/b", CLEANUP]));
        finish_cleanup(&mut object, true, now);
        assert!(!awaits_cleanup(&object) && !is_true(&object, TERMINATING));
        assert_eq!(object["metadata"]["finalizers"], json!(["a/b"]));
        assert_eq!(
            object["status"]["conditions"],
            json!([{"type": "Terminating", "status": "False", "reason": "InstanceDeletionCompleted",
                "message": "removed all instances", "lastTransitionTime": "2026-11-22T06:23:23Z"}])
        );
    }
}
