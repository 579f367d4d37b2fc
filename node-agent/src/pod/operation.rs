//! What a worker has in flight, and how it ended.

use k8s_openapi::api::core::v1::ResourceRequirements;

use super::token::Tokens;
use crate::plan::Subject;
use crate::volume::MountedVolumes;

/// Identifies an operation; no two with the same key run at once.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Key {
    Sandbox,
    Start(String),
    /// Of running containers, all of a pod at once.
    Resize,
    /// By container id.
    Kill(String),
    /// By sandbox id.
    StopSandbox(String),
    /// By container or sandbox id.
    Remove(String),
    Volumes,
    Status,
    /// Volumes and cgroups of a pod that ended.
    TearDown,
    /// The pod from the API.
    Delete,
    /// Everything of a pod that the API no longer has.
    Finish,
}

/// A start that failed, in the words of the container's waiting state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct FailedStart {
    pub(super) subject: Subject,
    pub(super) reason: String,
    pub(super) message: String,
    /// The runtime has a record of the container, which shows its end and counts for back-off.
    pub(super) recorded: bool,
}

/// How an operation ended.
pub(super) enum Outcome {
    Done,
    /// Try again later: told why, in one sentence, already logged.
    Again,
    FailedStart(FailedStart),
    /// Running containers, by id, run with these resources now, and the pod as a whole has these.
    Resized {
        containers: Vec<(String, ResourceRequirements)>,
        pod: ResourceRequirements,
    },
    /// A resize did not come about: told why; to be tried again later.
    NotResized(String),
    /// Volumes are there and current.
    Volumes {
        volumes: MountedVolumes,
        tokens: Tokens,
    },
    /// The pod is not in the API any more, or another one bears its name.
    Gone,
}

pub(super) struct Finished {
    pub(super) key: Key,
    /// Tells this operation from an earlier one with the same key that was given up.
    pub(super) serial: u64,
    pub(super) outcome: Outcome,
}
