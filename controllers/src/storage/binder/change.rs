//! What the binder writes into claims and volumes: one change is one write. Pure.

use crate::runtime::Note;
use crate::runtime::write::Part;
use crate::target::Target;
use coracle_api::object::Fields;
use coracle_api::volumes::{
    BIND_COMPLETED, BOUND_BY_CONTROLLER, PROVISIONER, PROVISIONER_BETA, SELECTED_NODE,
};
use k8s_openapi::api::core::v1::ObjectReference;
use serde_json::{Map, Value, json};

/// Tells which driver has taken over from a plugin that was built in.
pub(super) const MIGRATED_TO: &str = "pv.kubernetes.io/migrated-to";

/// Which of the two an object is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Side {
    Claim,
    Volume,
}

/// A change of a claim or a volume.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Change {
    /// The volume is for this claim; marked where the binder chose it.
    Refer { claim: Value, mark: bool },
    /// The volume is for nobody, or for whom a user named, whoever that comes to be.
    LetGo,
    /// The volume's phase, and why.
    Phase { phase: &'static str, message: String },
    /// The volume's finalizers.
    Finalizers(Vec<String>),
    /// The driver that stands for a plugin that was built in, or none.
    Migrated(Option<&'static str>),
    /// The claim has this volume; marked where the binder chose it.
    Bind { volume: String, mark: bool },
    /// The claim is of this class.
    Class(String),
    /// The claim expects a volume from this provisioner; by its driver's name too where that took over from a plugin.
    Provisioner {
        name: String,
        driver: Option<&'static str>,
    },
    /// The scheduler is to choose anew for the claim.
    Reschedule,
    /// These fields of the claim's status; null for one that goes.
    Status(Map<String, Value>),
}

impl Change {
    /// Which part of the object it is in.
    pub(crate) fn part(&self) -> Part {
        match self {
            Self::Phase { .. } | Self::Status(_) => Part::Status,
            _ => Part::Main,
        }
    }

    /// Makes it in the object.
    pub(crate) fn apply(&self, object: &mut Value) {
        match self {
            Self::Refer { claim, mark } => {
                object["spec"]["claimRef"] = claim.clone();
                if *mark {
                    annotate(object, BOUND_BY_CONTROLLER, Some("yes"));
                }
            }
            Self::LetGo => let_go(object),
            Self::Phase { phase, message } => {
                object["status"]["phase"] = json!(phase);
                let message = Some(message).filter(|message| !message.is_empty());
                object["status"]["message"] = json!(message);
            }
            Self::Finalizers(finalizers) => object["metadata"]["finalizers"] = json!(finalizers),
            Self::Migrated(driver) => annotate(object, MIGRATED_TO, *driver),
            Self::Bind { volume, mark } => {
                object["spec"]["volumeName"] = json!(volume);
                if *mark {
                    annotate(object, BOUND_BY_CONTROLLER, Some("yes"));
                }
                annotate(object, BIND_COMPLETED, Some("yes"));
            }
            Self::Class(class) => object["spec"]["storageClassName"] = json!(class),
            Self::Provisioner { name, driver } => {
                annotate(object, PROVISIONER, Some(name));
                annotate(object, PROVISIONER_BETA, Some(name));
                annotate(object, MIGRATED_TO, *driver);
            }
            Self::Reschedule => annotate(object, SELECTED_NODE, None),
            Self::Status(fields) => {
                for (name, value) in fields {
                    object["status"][name] = value.clone();
                }
            }
        }
    }
}

fn let_go(volume: &mut Value) {
    let chosen = volume["metadata"]["annotations"].has(BOUND_BY_CONTROLLER);
    if chosen {
        volume["spec"]["claimRef"] = Value::Null;
        annotate(volume, BOUND_BY_CONTROLLER, None);
    } else if let Some(reference) = volume["spec"]["claimRef"].as_object_mut() {
        reference.remove("uid");
    }
}

fn annotate(object: &mut Value, name: &str, value: Option<&str>) {
    let annotations = &mut object["metadata"]["annotations"];
    match value {
        Some(value) => annotations[name] = json!(value),
        None => {
            if let Some(all) = annotations.as_object_mut() {
                all.remove(name);
            }
        }
    }
}

/// One write.
#[derive(Clone, Debug)]
pub(crate) struct Write {
    pub(crate) side: Side,
    pub(crate) target: Target,
    pub(crate) change: Change,
    /// What is told once it is done.
    pub(crate) note: Option<Told>,
}

impl Write {
    pub(super) fn of(side: Side, object: &Value, change: Change) -> Self {
        let meta = &object["metadata"];
        let target = Target {
            namespace: meta.text("namespace").to_owned(),
            name: meta.text("name").to_owned(),
            uid: meta.text("uid").to_owned(),
            resource_version: meta.text("resourceVersion").to_owned(),
        };
        Self {
            side,
            target,
            change,
            note: None,
        }
    }

    pub(super) fn telling(mut self, note: Told) -> Self {
        self.note = Some(note);
        self
    }
}

/// An event about a claim or a volume.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Told {
    pub(crate) about: ObjectReference,
    pub(crate) note: Note,
}

impl Told {
    pub(super) fn of(side: Side, object: &Value, note: Note) -> Self {
        let about = serde_json::from_value(reference(side, object));
        Self {
            about: about.unwrap_or_default(),
            note,
        }
    }
}

/// How others refer to the object.
pub(super) fn reference(side: Side, object: &Value) -> Value {
    let meta = &object["metadata"];
    let kind = match side {
        Side::Claim => "PersistentVolumeClaim",
        Side::Volume => "PersistentVolume",
    };
    let mut reference = json!({"apiVersion": "v1", "kind": kind});
    for field in ["namespace", "name", "uid", "resourceVersion"] {
        if let Some(value) = meta.field(field) {
            reference[field] = value.clone();
        }
    }
    reference
}
