//! Claims and volumes as they speak of each other: what a PersistentVolumeClaim asks for, what a PersistentVolume offers, and
//! which of them belong together. The binder, the scheduler and the node agent read them alike (upstream's
//! `component-helpers/storage`). Pure.

mod matching;
mod selection;

use std::fmt;

use serde_json::{Value, json};

use crate::object::Fields;
use crate::quantity::Quantity;

pub use matching::{Place, find, unsatisfied};
pub use selection::{affine, within};

/// A claim with this annotation has been bound; its volume may be gone since.
pub const BIND_COMPLETED: &str = "pv.kubernetes.io/bind-completed";
/// The binder, and not a user, has chosen the other side.
pub const BOUND_BY_CONTROLLER: &str = "pv.kubernetes.io/bound-by-controller";
/// The node for which a claim that waits for its first consumer is to be provided.
pub const SELECTED_NODE: &str = "volume.kubernetes.io/selected-node";
/// The provisioner that made a volume.
pub const PROVISIONED_BY: &str = "pv.kubernetes.io/provisioned-by";
/// The provisioner of which a claim expects a volume.
pub const PROVISIONER: &str = "volume.kubernetes.io/storage-provisioner";
/// The same, as it was called before 1.23; it is still written.
pub const PROVISIONER_BETA: &str = "volume.beta.kubernetes.io/storage-provisioner";
/// The class, as it was told before there was a field for it.
const CLASS_BETA: &str = "volume.beta.kubernetes.io/storage-class";
/// Says so of a class whose volumes nobody makes.
pub const NO_PROVISIONER: &str = "kubernetes.io/no-provisioner";

/// How a volume shows itself in a pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// As a folder.
    Filesystem,
    /// As a device.
    Block,
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Filesystem => "Filesystem",
            Self::Block => "Block",
        })
    }
}

/// An annotation's value; it may be empty.
pub fn annotation<'v>(object: &'v Value, name: &str) -> Option<&'v str> {
    object["metadata"].field("annotations")?.get(name)?.as_str()
}

fn class(object: &Value) -> &str {
    annotation(object, CLASS_BETA).unwrap_or_else(|| object["spec"].text("storageClassName"))
}

fn mode(object: &Value) -> Mode {
    match object["spec"].text("volumeMode") {
        "Block" => Mode::Block,
        _ => Mode::Filesystem,
    }
}

fn storage(amounts: &Value) -> Quantity {
    amounts.text("storage").parse().unwrap_or(Quantity::ZERO)
}

/// A PersistentVolumeClaim, read.
#[derive(Clone, Copy, Debug)]
pub struct Claim<'v>(pub &'v Value);

impl<'v> Claim<'v> {
    /// Its namespace.
    pub fn namespace(self) -> &'v str {
        self.0["metadata"].text("namespace")
    }

    /// Its name.
    pub fn name(self) -> &'v str {
        self.0["metadata"].text("name")
    }

    /// Its uid.
    pub fn uid(self) -> &'v str {
        self.0["metadata"].text("uid")
    }

    /// The class it asks for; none is empty.
    pub fn class(self) -> &'v str {
        class(self.0)
    }

    /// Whether it says which class it wants, be it none.
    pub fn names_class(self) -> bool {
        annotation(self.0, CLASS_BETA).is_some() || self.0["spec"].has("storageClassName")
    }

    /// How much it asks for.
    pub fn requested(self) -> Quantity {
        storage(&self.0["spec"]["resources"]["requests"])
    }

    /// How it is to show itself.
    pub fn mode(self) -> Mode {
        mode(self.0)
    }

    /// The volume that it names; none is empty.
    pub fn volume_name(self) -> &'v str {
        self.0["spec"].text("volumeName")
    }

    /// Its phase.
    pub fn phase(self) -> &'v str {
        self.0["status"].text("phase")
    }

    /// Whether it is being deleted.
    pub fn is_going(self) -> bool {
        self.0["metadata"].has("deletionTimestamp")
    }

    /// Whether it has been bound once.
    pub fn was_bound(self) -> bool {
        annotation(self.0, BIND_COMPLETED).is_some()
    }

    /// Whether it has its volume.
    pub fn is_bound(self) -> bool {
        !self.volume_name().is_empty() && self.was_bound()
    }

    /// The node for which it is to be provided.
    pub fn selected_node(self) -> Option<&'v str> {
        annotation(self.0, SELECTED_NODE)
    }

    /// Whether the pod of this uid controls it: a claim that was made for a pod's volume is of no use to another.
    pub fn is_made_for(self, pod_uid: &str) -> bool {
        let mut owners = self.0["metadata"].items("ownerReferences").iter();
        owners.any(|owner| owner.flag("controller") && owner.text("uid") == pod_uid)
    }
}

/// A PersistentVolume, read.
#[derive(Clone, Copy, Debug)]
pub struct Volume<'v>(pub &'v Value);

impl<'v> Volume<'v> {
    /// Its name.
    pub fn name(self) -> &'v str {
        self.0["metadata"].text("name")
    }

    /// Its class; none is empty.
    pub fn class(self) -> &'v str {
        class(self.0)
    }

    /// How much it holds.
    pub fn capacity(self) -> Quantity {
        storage(&self.0["spec"]["capacity"])
    }

    /// How it shows itself.
    pub fn mode(self) -> Mode {
        mode(self.0)
    }

    /// Its phase.
    pub fn phase(self) -> &'v str {
        self.0["status"].text("phase")
    }

    /// Whether it is being deleted.
    pub fn is_going(self) -> bool {
        self.0["metadata"].has("deletionTimestamp")
    }

    /// The claim that it is for; one that a user wrote there has no uid yet.
    pub fn claim_ref(self) -> Option<&'v Value> {
        self.0["spec"].field("claimRef")
    }

    /// What becomes of it when it is released.
    pub fn reclaim_policy(self) -> &'v str {
        self.0["spec"].text("persistentVolumeReclaimPolicy")
    }

    /// Whether it is for this very claim, or for one of its name that has not been seen yet.
    pub fn is_for(self, claim: Claim<'_>) -> bool {
        self.claim_ref().is_some_and(|reference| {
            let uid = reference.text("uid");
            reference.text("name") == claim.name()
                && reference.text("namespace") == claim.namespace()
                && (uid.is_empty() || uid == claim.uid())
        })
    }
}

/// Keeps a volume for a claim: it refers to the claim, and is marked where no user has chosen so. Says whether that changed
/// anything.
pub fn keep_for(volume: &mut Value, claim: Claim<'_>) -> bool {
    let chosen = Volume(volume).is_for(claim);
    let knows = chosen
        && Volume(volume)
            .claim_ref()
            .is_some_and(|reference| reference.text("uid") == claim.uid());
    if !knows {
        let meta = &claim.0["metadata"];
        let mut reference = json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim"});
        for field in ["namespace", "name", "uid", "resourceVersion"] {
            if let Some(value) = meta.field(field) {
                reference[field] = value.clone();
            }
        }
        volume["spec"]["claimRef"] = reference;
    }
    let mark = !chosen && annotation(volume, BOUND_BY_CONTROLLER).is_none();
    if mark {
        volume["metadata"]["annotations"][BOUND_BY_CONTROLLER] = json!("yes");
    }
    mark || !knows
}

/// Has a claim provided for at a node.
pub fn select_node(claim: &mut Value, node: &str) {
    claim["metadata"]["annotations"][SELECTED_NODE] = json!(node);
}

/// The name of the claim that is made for a volume of a pod (KEP-1698).
#[must_use]
pub fn made_for(pod: &str, volume: &str) -> String {
    format!("{pod}-{volume}")
}
