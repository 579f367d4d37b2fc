//! What to do for one pod, decided in full from what is seen. Pure: no runtime, no API, no clock.
//!
//! [`plan_pod`] never looks at what happened, only at what is; planning again after the actions took effect gives no
//! further action. The pod's worker executes actions, remembers start failures and back-off, and plans again.

mod admission;
mod backoff;
mod conditions;
mod container_status;
mod garbage;
mod phase;
mod reset;
mod resize;
mod restart;
mod start;
mod status;
mod stop;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Container, Pod, PodSpec, PodStatus, ResourceRequirements};

pub(crate) use admission::{Rejection, admit};
pub(crate) use backoff::Backoff;
pub(crate) use conditions::{OWNED as OWNED_CONDITIONS, TRANSIENT as TRANSIENT_CONDITIONS};
pub(crate) use reset::CONDITION as ALL_RESTARTING;
pub(crate) use resize::{
    Allocation, Pending, asked, is_asked, pod_had, refusal, remembered, with_allocation,
};
pub(crate) use restart::{Role, find_container};
pub(crate) use stop::Ending;

use crate::probe::ProbeResults;
use crate::runtime::PodRuntime;

/// What a start failure was about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Subject {
    Sandbox,
    Container(String),
}

/// A start that did not work, and when to try again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct StartFailure {
    /// CamelCase word that the waiting state shows, such as `CreateContainerConfigError`.
    pub(crate) reason: String,
    pub(crate) message: String,
    pub(crate) at: Timestamp,
    pub(crate) retry_at: Timestamp,
    /// Whether the container was made and failed in the runtime, so that its own record decides the rest.
    pub(crate) recorded: bool,
}

/// The newest failure of each subject; a successful start removes it.
pub(crate) type StartFailures = BTreeMap<Subject, StartFailure>;

/// What a pod's plan needs to know of the node.
#[derive(Clone, Debug)]
pub(crate) struct NodeView {
    /// Primary first.
    pub(crate) host_ips: Vec<String>,
    /// Containers older than this were adopted: until a probe ran, they keep the readiness that the API remembers.
    pub(crate) agent_started: Timestamp,
}

/// Everything that is seen of a pod.
pub(crate) struct PodView<'a> {
    pub(crate) pod: &'a Pod,
    /// The status last computed here, or else the API's.
    pub(crate) previous: &'a PodStatus,
    pub(crate) runtime: &'a PodRuntime,
    pub(crate) probes: &'a ProbeResults,
    pub(crate) backoff: &'a Backoff,
    pub(crate) failures: &'a StartFailures,
    pub(crate) node: &'a NodeView,
    /// Why a resize that the API asks for is not granted; `pod` has the resources that are.
    pub(crate) pending: Option<&'a Pending>,
    /// Why resources that are granted were not given when that was last tried.
    pub(crate) resize_fault: Option<&'a str>,
    /// What the pod as a whole was last given, overhead included; none where that is not known.
    pub(crate) pod_has: Option<&'a ResourceRequirements>,
    /// Why the node refused the pod, before anything of it was made.
    pub(crate) rejected: Option<&'a Rejection>,
    /// The API no longer has the pod.
    pub(crate) removed: bool,
    pub(crate) now: Timestamp,
}

impl<'a> PodView<'a> {
    pub(crate) fn spec(&self) -> &'a PodSpec {
        static EMPTY: std::sync::LazyLock<PodSpec> = std::sync::LazyLock::new(PodSpec::default);
        self.pod.spec.as_ref().unwrap_or(&EMPTY)
    }

    pub(crate) fn init_containers(&self) -> &'a [Container] {
        self.spec().init_containers.as_deref().unwrap_or_default()
    }
}

/// Why a container is stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum KillReason {
    /// The pod ends.
    PodEnds,
    /// A liveness probe failed for good.
    Unhealthy,
    /// A startup probe failed for good.
    NotStarted,
    /// The image in the pod's spec changed.
    SpecChanged,
    /// Its resources changed in a way that wants a restart.
    Resized,
    /// All containers that the sidecar served are done.
    NotNeeded,
    /// Another container ended in a way by which all begin anew.
    RestartingAll,
}

/// One thing to do. An action is complete when the runtime shows its effect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    CreateSandbox {
        attempt: u32,
    },
    StartContainer {
        name: String,
        role: Role,
        attempt: u32,
    },
    KillContainer {
        id: String,
        name: String,
        grace_seconds: i64,
        reason: KillReason,
    },
    /// Gives the pod and running containers, all at once, the resources that the pod's spec says.
    Resize {
        containers: Vec<String>,
    },
    StopSandbox {
        id: String,
    },
    RemoveContainer {
        id: String,
        name: String,
    },
    RemoveSandbox {
        id: String,
    },
}

/// How far a pod has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// Its containers are to run.
    Running,
    /// Its containers are being stopped.
    Ending,
    /// Nothing of it runs any more; volumes and cgroups may go.
    Ended,
}

/// What to do for a pod and what to say of it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct PodPlan {
    pub(crate) stage: Stage,
    pub(crate) actions: Vec<Action>,
    pub(crate) status: PodStatus,
    /// Containers held back by back-off, with the reason's wording for the event.
    pub(crate) held_back: Vec<HeldBack>,
    /// When to plan again although nothing was seen to change.
    pub(crate) wake_at: Option<Timestamp>,
}

/// A container whose restart waits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct HeldBack {
    pub(crate) container: String,
    pub(crate) delay_seconds: i64,
    pub(crate) until: Timestamp,
}

/// Decides everything about one pod.
pub(crate) fn plan_pod(view: &PodView<'_>) -> PodPlan {
    if let Some(rejection) = view.rejected {
        return PodPlan {
            stage: Stage::Ended,
            actions: Vec::new(),
            status: status::rejected(view, rejection),
            held_back: Vec::new(),
            wake_at: None,
        };
    }
    let ending = stop::ending(view);
    let resets = ending.is_none() && reset::is_due(view);
    let steps = match &ending {
        Some(ending) => stop::steps(view, ending),
        None if resets => reset::steps(view),
        None => start::steps(view),
    };
    let status = status::pod_status(view, ending.as_ref(), &steps.held_back);
    let stage = match ending {
        None => Stage::Running,
        Some(_) if view.runtime.is_down() => Stage::Ended,
        Some(_) => Stage::Ending,
    };
    let mut actions = steps.actions;
    // Where all containers begin anew, that sees to what is left of them.
    if !resets {
        actions.extend(garbage::removals(view.runtime));
    }
    PodPlan {
        stage,
        actions,
        status,
        held_back: steps.held_back,
        wake_at: steps.wake_at,
    }
}

/// Actions with what the status must know of those that wait.
#[derive(Debug, Default)]
struct Steps {
    actions: Vec<Action>,
    held_back: Vec<HeldBack>,
    wake_at: Option<Timestamp>,
}

impl Steps {
    fn wake(&mut self, at: Timestamp) {
        self.wake_at = Some(self.wake_at.map_or(at, |w| w.min(at)));
    }
}
