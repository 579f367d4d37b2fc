//! One step for a claim or a volume: the next write, and what is told. Pure.
//!
//! The writes of a binding come in upstream's order: the volume says whose it is, then that it is bound, then the claim says
//! what it has, then that it is bound. The first of them decides, for it holds to the volume as it was seen: of two that want
//! one volume, one succeeds. Whoever stops in between is followed by somebody who reads from what stands there how to go on.

mod claim;
mod volume;

use super::change::{Change, Side, Told, Write};
use crate::runtime::ObjectKey;
use crate::target::Target;
use coracle_api::volumes::{Claim, Volume};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;

pub(super) use claim::plan as plan_claim;
pub(super) use volume::{is_still_its, plan as plan_volume};

/// All that a plan is made from.
#[derive(Clone, Copy)]
pub(super) struct Books<'b> {
    pub(super) claims: &'b BTreeMap<ObjectKey, Arc<Value>>,
    pub(super) volumes: &'b BTreeMap<String, Arc<Value>>,
    pub(super) classes: &'b BTreeMap<String, Arc<Value>>,
    /// The pods that use a claim and wait for a node, by name.
    pub(super) waiting: &'b dyn Fn(Claim<'_>) -> Vec<String>,
    /// The pods that use a claim of this name and are not at their end, as `namespace/name`.
    pub(super) using: &'b dyn Fn(&ObjectKey) -> Vec<String>,
    /// Whether there is a node of this name.
    pub(super) has_node: &'b dyn Fn(&str) -> bool,
    /// The pod that empties a volume.
    pub(super) cleaner: &'b dyn Fn(Volume<'_>) -> Cleaner,
    /// Whether volumes may be made of folders of this machine.
    pub(super) makes_folders: bool,
}

/// What is known of the pod that empties a volume.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Cleaner {
    Absent,
    /// There is a pod of its name that this process has not made; nobody knows what it does.
    Strange(Target),
    AtWork,
    Succeeded(Target),
    Failed(Target, String),
}

/// What is to be done next.
#[derive(Clone, Debug)]
pub(super) enum Act {
    Write(Write),
    /// The write, if the API server knows of no such claim as the volume refers to either: the cache may be behind.
    Release(Write),
    /// Make a folder, and this volume of it.
    Provide {
        path: String,
        volume: Box<Value>,
        note: Told,
    },
    /// Delete a folder and the volume that was made of it.
    Destroy {
        volume: Arc<Value>,
        path: String,
    },
    /// Start a pod that empties a volume.
    Clean(Box<Value>),
    /// Delete such a pod, and then make the write, if there is one.
    Cleaned(Target, Option<Write>),
}

/// What comes of looking once. After the act it is looked again; the notes are of interest where nothing is to be done.
#[derive(Debug, Default)]
pub(super) struct Plan {
    pub(super) act: Option<Act>,
    pub(super) notes: Vec<Told>,
}

impl Plan {
    fn write(write: Write) -> Self {
        Self {
            act: Some(Act::Write(write)),
            notes: Vec::new(),
        }
    }

    fn telling(mut self, note: Told) -> Self {
        self.notes.push(note);
        self
    }
}

impl From<Option<Write>> for Plan {
    fn from(write: Option<Write>) -> Self {
        write.map(Self::write).unwrap_or_default()
    }
}

/// The phase of a volume, where it has another.
fn phase(volume: Volume<'_>, phase: &'static str, message: &str) -> Option<Write> {
    let message = message.to_owned();
    (volume.phase() != phase).then(|| Write::of(Side::Volume, volume.0, Change::Phase { phase, message }))
}

/// The pod that empties a volume of this source, within so many seconds.
fn cleaner(volume: Volume<'_>, source: Value, seconds: i64) -> Value {
    let mut mounted = source;
    mounted["name"] = json!("vol");
    let script = "test -e /scrub && find /scrub -mindepth 1 -delete && test -z \"$(ls -A /scrub)\" || exit 1";
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"namespace": CLEANERS, "name": cleaner_name(volume.name())},
        "spec": {
            "activeDeadlineSeconds": seconds,
            "restartPolicy": "Never",
            "volumes": [mounted],
            "containers": [{
                "name": "pv-recycler",
                "image": "registry.k8s.io/build-image/debian-base:bookworm-v1.0.6",
                "command": ["/bin/sh"],
                "args": ["-c", script],
                "volumeMounts": [{"name": "vol", "mountPath": "/scrub"}],
            }],
        },
    })
}

/// Where pods that empty volumes run.
pub(super) const CLEANERS: &str = "default";

pub(super) fn cleaner_name(volume: &str) -> String {
    format!("recycler-for-{volume}")
}
