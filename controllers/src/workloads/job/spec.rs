//! What a Job asks for, read with its defaults, and what its pods say about it. Pure.

use super::policy::{self, Verdict};
use crate::observed::Pod;
use crate::workloads::pods;
use k8s_openapi::api::batch::v1::{Job, JobCondition, JobSpec, JobStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::{SignedDuration, Timestamp};

/// Keeps a finished pod until it has been counted.
pub(crate) const TRACKING: &str = "batch.kubernetes.io/job-tracking";
/// A pod's completion index: an annotation, and a label.
pub(crate) const INDEX: &str = "batch.kubernetes.io/job-completion-index";
/// How often pods of a pod's index failed before it.
pub(crate) const FAILURES: &str = "batch.kubernetes.io/job-index-failure-count";
/// How often they failed without counting.
pub(crate) const IGNORED_FAILURES: &str = "batch.kubernetes.io/job-index-ignored-failure-count";
/// Whose Jobs are this controller's.
const OURS: &str = "kubernetes.io/job-controller";

/// A Job, by what it asks for.
pub(crate) struct Wanted<'j> {
    pub(crate) job: &'j Job,
    pub(crate) spec: &'j JobSpec,
    pub(crate) status: &'j JobStatus,
}

impl<'j> Wanted<'j> {
    /// None for a Job without a spec, which none that was validated is.
    pub(crate) fn of(job: &'j Job) -> Option<Self> {
        static NONE: std::sync::LazyLock<JobStatus> = std::sync::LazyLock::new(JobStatus::default);
        Some(Self {
            job,
            spec: job.spec.as_ref()?,
            status: job.status.as_ref().unwrap_or(&NONE),
        })
    }

    pub(crate) fn is_deleted(&self) -> bool {
        self.job.metadata.deletion_timestamp.is_some()
    }

    pub(crate) fn is_suspended(&self) -> bool {
        self.spec.suspend == Some(true)
    }

    pub(crate) fn is_indexed(&self) -> bool {
        self.spec.completion_mode.as_deref() == Some("Indexed")
    }

    /// The number of completions of an indexed Job, which always has one.
    pub(crate) fn completions(&self) -> i32 {
        self.spec.completions.unwrap_or(1)
    }

    pub(crate) fn parallelism(&self) -> i32 {
        self.spec.parallelism.unwrap_or(1)
    }

    pub(crate) fn backoff_limit(&self) -> i32 {
        self.spec.backoff_limit.unwrap_or(6)
    }

    /// How often one index may fail, where indexes are on their own.
    pub(crate) fn limit_per_index(&self) -> Option<i32> {
        self.spec.backoff_limit_per_index.filter(|_| self.is_indexed())
    }

    /// Whether a pod is replaced only once it has failed, and not while it ends.
    pub(crate) fn replaces_only_failed(&self) -> bool {
        self.spec.pod_replacement_policy.as_deref() == Some("Failed")
            || self.spec.pod_failure_policy.is_some()
    }

    /// When the Job has been active for too long.
    pub(crate) fn deadline(&self, started: Option<Timestamp>) -> Option<Timestamp> {
        let seconds = self
            .spec
            .active_deadline_seconds
            .filter(|_| !self.is_suspended())?;
        started?.checked_add(SignedDuration::from_secs(seconds)).ok()
    }

    /// Whether this pod has failed. One that was deleted counts as failed: it may never come to be `Failed`.
    pub(crate) fn has_failed(&self, pod: &Pod) -> bool {
        match pods::phase(pod) {
            "Failed" => true,
            "Succeeded" => false,
            _ => pods::is_terminating(pod) && !self.replaces_only_failed(),
        }
    }

    /// What becomes of this failed pod.
    pub(crate) fn judge(&self, pod: &Pod) -> Verdict {
        policy::judge(self.spec.pod_failure_policy.as_ref(), pod)
    }

    /// The pod's index, if it is one of the Job's.
    pub(crate) fn index_of(&self, pod: &Pod) -> Option<i32> {
        index(pod).filter(|index| *index < self.completions())
    }

    /// Whether the pod can count: it bears the finalizer and, where there are indexes, a valid one.
    pub(crate) fn is_countable(&self, pod: &Pod) -> bool {
        pods::has_finalizer(pod, TRACKING) && (!self.is_indexed() || self.index_of(pod).is_some())
    }

    pub(crate) fn condition(&self, kind: &str) -> Option<&'j JobCondition> {
        condition(self.job, kind)
    }
}

/// The condition of this type that holds.
pub(crate) fn condition<'j>(job: &'j Job, kind: &str) -> Option<&'j JobCondition> {
    let conditions = job.status.as_ref()?.conditions.as_ref()?;
    conditions
        .iter()
        .find(|condition| condition.type_ == kind && condition.status == "True")
}

/// The condition `Complete` or `Failed`, of a Job that is done.
pub(crate) fn finished(job: &Job) -> Option<&JobCondition> {
    condition(job, "Complete").or_else(|| condition(job, "Failed"))
}

/// Whether somebody else works this Job (KEP-4368).
pub(crate) fn is_managed_elsewhere(job: &Job) -> bool {
    let manager = job.spec.as_ref().and_then(|spec| spec.managed_by.as_deref());
    manager.is_some_and(|manager| manager != OURS)
}

/// A condition that has come to hold, or to hold no longer.
pub(crate) fn new_condition(
    kind: &str,
    holds: bool,
    reason: &str,
    message: &str,
    now: Timestamp,
) -> JobCondition {
    JobCondition {
        type_: kind.to_owned(),
        status: if holds { "True" } else { "False" }.to_owned(),
        reason: Some(reason.to_owned()),
        message: Some(message.to_owned()),
        last_probe_time: Some(Time(now)),
        last_transition_time: Some(Time(now)),
    }
}

/// The index that the pod was made for.
pub(crate) fn index(pod: &Pod) -> Option<i32> {
    number(pod, INDEX)
}

/// How often pods of the index failed before this one: those that count, and all.
pub(crate) fn failures_before(pod: &Pod) -> (i32, i32) {
    let counted = number(pod, FAILURES).unwrap_or(0);
    (
        counted,
        counted.saturating_add(number(pod, IGNORED_FAILURES).unwrap_or(0)),
    )
}

fn number(pod: &Pod, annotation: &str) -> Option<i32> {
    let annotations = pod.metadata.annotations.as_ref()?;
    let number: i32 = annotations.get(annotation)?.parse().ok()?;
    (number >= 0).then_some(number)
}
