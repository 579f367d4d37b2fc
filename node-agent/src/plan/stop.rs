//! Taking a pod down: when it ends, in which order its containers stop, and how long each is given.

use jiff::{SignedDuration, Timestamp};

use super::restart::{self, Role};
use super::{Action, KillReason, PodView, Steps, reset};

/// A sidecar that outlives its pod's grace period gets at least this long.
const MIN_SIDECAR_SECONDS: i64 = 2;
/// Nothing is killed without any warning, as upstream has it even where a pod is deleted with no grace at all.
const MIN_GRACE_SECONDS: i64 = 1;

/// Why a pod is to end and how long its containers get.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Ending {
    pub(crate) grace_seconds: i64,
    /// When containers are killed at the latest, where that is known.
    pub(crate) until: Option<Timestamp>,
    /// `status.reason` and `status.message` where the node itself ends the pod, such as `DeadlineExceeded`.
    pub(crate) verdict: Option<(&'static str, &'static str)>,
}

/// Whether the pod is to end: deleted, gone from the API, past its deadline, or all done.
pub(super) fn ending(view: &PodView<'_>) -> Option<Ending> {
    let spec_grace = grace_seconds(view);
    let meta = &view.pod.metadata;
    if let Some(deleted_at) = &meta.deletion_timestamp {
        let grace_seconds = meta
            .deletion_grace_period_seconds
            .unwrap_or(spec_grace)
            .max(MIN_GRACE_SECONDS);
        return Some(Ending {
            grace_seconds,
            until: Some(deleted_at.0),
            verdict: None,
        });
    }
    let ending = |verdict| {
        Some(Ending {
            grace_seconds: spec_grace,
            until: None,
            verdict,
        })
    };
    if view.removed {
        return ending(None);
    }
    if matches!(view.previous.phase.as_deref(), Some("Succeeded" | "Failed")) {
        return ending(None);
    }
    if deadline(view).is_some_and(|at| at <= view.now) {
        return ending(Some((
            "DeadlineExceeded",
            "Pod was active on the node longer than the specified deadline",
        )));
    }
    (!reset::is_underway(view) && all_done(view))
        .then(|| ending(None))
        .flatten()
}

/// What the spec gives, or what it gave when the sandbox was made, where only the sandbox is left of the pod.
fn grace_seconds(view: &PodView<'_>) -> i64 {
    let noted = || view.runtime.sandboxes.first().and_then(|s| s.grace_seconds);
    view.spec()
        .termination_grace_period_seconds
        .or_else(noted)
        .unwrap_or(30)
}

/// `spec.activeDeadlineSeconds` after the start.
pub(super) fn deadline(view: &PodView<'_>) -> Option<Timestamp> {
    let seconds = view.spec().active_deadline_seconds?;
    let start = view.previous.start_time.as_ref()?.0;
    start.checked_add(SignedDuration::from_secs(seconds)).ok()
}

/// Every application container ended for good, or an init container failed for good.
fn all_done(view: &PodView<'_>) -> bool {
    let spec = view.spec();
    let ended = |name: &str| view.runtime.latest(name).filter(|r| r.has_exited());
    let init_failed = view.init_containers().iter().any(|c| {
        let role = restart::init_role(c);
        role == Role::Init
            && ended(&c.name)
                .is_some_and(|r| !r.succeeded() && !restart::restarts_after(spec, c, role, r.exit_code))
    });
    init_failed
        || (!spec.containers.is_empty()
            && spec.containers.iter().all(|c| {
                ended(&c.name).is_some_and(|r| !restart::restarts_after(spec, c, Role::App, r.exit_code))
            }))
}

/// Application containers stop together; sidecars follow one by one, last started first; then the sandbox.
pub(super) fn steps(view: &PodView<'_>, ending: &Ending) -> Steps {
    let mut steps = Steps::default();
    let sidecars: Vec<&str> = view
        .init_containers()
        .iter()
        .filter(|c| restart::init_role(c) == Role::Sidecar)
        .map(|c| c.name.as_str())
        .collect();
    let kill = |c: &crate::runtime::Container, grace_seconds, reason| Action::KillContainer {
        id: c.id.clone(),
        name: c.name.clone(),
        grace_seconds,
        reason,
    };
    let (served, serving): (Vec<_>, Vec<_>) = view
        .runtime
        .alive()
        .partition(|c| !sidecars.contains(&c.name.as_str()));
    if !served.is_empty() {
        let grace = ending.grace_seconds;
        steps
            .actions
            .extend(served.into_iter().map(|c| kill(c, grace, KillReason::PodEnds)));
        return steps;
    }
    let last = sidecars
        .iter()
        .rev()
        .find_map(|name| serving.iter().find(|c| c.name == *name));
    if let Some(sidecar) = last {
        let reason = if view.pod.metadata.deletion_timestamp.is_some() {
            KillReason::PodEnds
        } else {
            KillReason::NotNeeded
        };
        steps
            .actions
            .push(kill(sidecar, remaining(ending, view.now), reason));
        return steps;
    }
    let ready = view.runtime.sandboxes.iter().filter(|s| s.ready);
    steps
        .actions
        .extend(ready.map(|s| Action::StopSandbox { id: s.id.clone() }));
    steps
}

fn remaining(ending: &Ending, now: Timestamp) -> i64 {
    let left = ending
        .until
        .map_or(ending.grace_seconds, |until| until.duration_since(now).as_secs());
    left.clamp(
        MIN_SIDECAR_SECONDS.min(ending.grace_seconds),
        ending.grace_seconds.max(0),
    )
}
