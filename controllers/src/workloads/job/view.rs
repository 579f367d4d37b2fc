//! How far a Job has come: its pods sorted, its counts, and whether it has come to an end. Pure.

use super::backoff::{Record, finished_at};
use super::indexes::Indexes;
use super::policy::{self, Verdict};
use super::spec::{Wanted, failures_before, index, new_condition};
use crate::observed::Pod;
use crate::workloads::pods;
use k8s_openapi::api::batch::v1::JobCondition;
use k8s_openapi::jiff::Timestamp;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// What is to be known of a Job before anything is done.
pub(crate) struct View {
    /// The Job's pods; those that are being adopted bear the finalizer already.
    pub(crate) pods: Vec<Arc<Pod>>,
    pub(crate) active: Vec<Arc<Pod>>,
    pub(crate) terminating: i32,
    /// Pods, or indexes, that succeeded, counted or not.
    pub(crate) succeeded: i32,
    /// Pods that failed, counted or not.
    failed: i32,
    /// Indexes that the status says have succeeded.
    pub(crate) done_before: Indexes,
    /// Those, and the ones that have since.
    pub(crate) done: Indexes,
    /// Indexes that failed for good, where indexes are on their own.
    pub(crate) lost: Option<Indexes>,
    /// Of each index that is to be tried again, the pod that failed last. It is kept until the next is there, for it
    /// knows how often the index failed.
    pub(crate) to_replace: BTreeMap<i32, Arc<Pod>>,
    pub(crate) backoff: Record,
    /// The condition that ends the Job, if it has come to an end.
    pub(crate) ending: Option<JobCondition>,
}

impl View {
    pub(crate) fn of(wanted: &Wanted<'_>, pods: Vec<Arc<Pod>>, record: &Record, now: Timestamp) -> Self {
        let active: Vec<_> = pods.iter().filter(|pod| pods::is_active(pod)).cloned().collect();
        let terminating = pods
            .iter()
            .filter(|pod| pods::is_terminating(pod) && !pods::is_finished(pod));
        let terminating = count(terminating.count());
        let (succeeded, failed) = newly_finished(wanted, &pods);
        let uncounted = wanted
            .status
            .uncounted_terminated_pods
            .clone()
            .unwrap_or_default();
        let length = |uids: &Option<Vec<String>>| count(uids.as_ref().map_or(0, Vec::len));
        let ignored = failed.iter().filter(|pod| wanted.judge(pod) == Verdict::Ignore);
        let counted_failures = count(failed.len() - ignored.count());
        let mut view = Self {
            backoff: record.after(&succeeded, &failed),
            succeeded: wanted.status.succeeded.unwrap_or(0)
                + count(succeeded.len())
                + length(&uncounted.succeeded),
            failed: wanted.status.failed.unwrap_or(0) + counted_failures + length(&uncounted.failed),
            pods,
            active,
            terminating,
            done_before: Indexes::default(),
            done: Indexes::default(),
            lost: None,
            to_replace: BTreeMap::new(),
            ending: None,
        };
        if wanted.is_indexed() {
            view.see_indexes(wanted);
        }
        view.ending = view.end(wanted, now);
        view
    }

    fn see_indexes(&mut self, wanted: &Wanted<'_>) {
        let completions = wanted.completions();
        let written = wanted.status.completed_indexes.as_deref().unwrap_or_default();
        self.done_before = Indexes::parse(written, completions);
        let countable = || self.pods.iter().filter(|pod| wanted.is_countable(pod));
        let succeeded = countable().filter(|pod| pods::phase(pod) == "Succeeded");
        self.done = self.done_before.with(succeeded.filter_map(|pod| index(pod)));
        self.succeeded = self.done.count();
        if let Some(limit) = wanted.limit_per_index() {
            let written = wanted.status.failed_indexes.as_deref().unwrap_or_default();
            let lost = countable().filter(|pod| loses_index(wanted, pod, limit));
            let lost = Indexes::parse(written, completions).with(lost.filter_map(|pod| index(pod)));
            self.to_replace = self.last_failed(wanted, &lost);
            self.lost = Some(lost);
        }
    }

    /// Of each index that is neither done nor lost nor being tried, the pod that failed last.
    fn last_failed(&self, wanted: &Wanted<'_>, lost: &Indexes) -> BTreeMap<i32, Arc<Pod>> {
        let tried: BTreeSet<i32> = self.active.iter().filter_map(|pod| index(pod)).collect();
        let mut last: BTreeMap<i32, Arc<Pod>> = BTreeMap::new();
        for pod in self
            .pods
            .iter()
            .filter(|pod| wanted.is_countable(pod) && wanted.has_failed(pod))
        {
            let Some(index) = index(pod) else { continue };
            if self.done.contains(index) || lost.contains(index) || tried.contains(&index) {
                continue;
            }
            let place = |pod: &Pod| (failures_before(pod).1, finished_at(pod));
            match last.get(&index) {
                Some(other) if place(other) > place(pod) => {}
                _ => {
                    last.insert(index, pod.clone());
                }
            }
        }
        last
    }

    /// The condition that ends the Job: first what was found before, then failures, then successes.
    fn end(&self, wanted: &Wanted<'_>, now: Timestamp) -> Option<JobCondition> {
        let met = wanted.condition("SuccessCriteriaMet").cloned();
        let target = || {
            let target = wanted.condition("FailureTarget")?;
            Some(JobCondition {
                type_: "Failed".to_owned(),
                ..target.clone()
            })
        };
        met.or_else(target)
            .or_else(|| self.failure(wanted, now))
            .or_else(|| {
                let policy = wanted
                    .spec
                    .success_policy
                    .as_ref()
                    .filter(|_| wanted.is_indexed());
                let why = policy::succeeded(policy, wanted.completions(), &self.done)?;
                Some(new_condition(
                    "SuccessCriteriaMet",
                    true,
                    "SuccessPolicy",
                    &why,
                    now,
                ))
            })
    }

    fn failure(&self, wanted: &Wanted<'_>, now: Timestamp) -> Option<JobCondition> {
        let failure =
            |reason, message: &str| Some(new_condition("FailureTarget", true, reason, message, now));
        let failed = self.pods.iter().filter(|pod| wanted.has_failed(pod));
        let mut verdicts = failed.map(|pod| wanted.judge(pod));
        if let Some(Verdict::FailJob(why)) = verdicts.find(|one| matches!(one, Verdict::FailJob(_))) {
            return failure("PodFailurePolicy", &why);
        }
        if self.failed > wanted.backoff_limit() || restarted_too_often(wanted, &self.pods) {
            let message = "Job has reached the specified backoff limit";
            return failure("BackoffLimitExceeded", message);
        }
        let started = wanted.status.start_time.as_ref().map(|time| time.0);
        if wanted.deadline(started).is_some_and(|deadline| deadline <= now) {
            return failure(
                "DeadlineExceeded",
                "Job was active longer than specified deadline",
            );
        }
        let lost = self.lost.as_ref().map_or(0, Indexes::count);
        if wanted.spec.max_failed_indexes.is_some_and(|most| lost > most) {
            let message = "Job has exceeded the specified maximal number of failed indexes";
            return failure("MaxFailedIndexesExceeded", message);
        }
        if lost > 0 && lost + self.done.count() >= wanted.completions() {
            return failure("FailedIndexes", "Job has failed indexes");
        }
        None
    }
}

/// Pods that succeeded and failed and that the status does not know yet.
fn newly_finished(wanted: &Wanted<'_>, pods: &[Arc<Pod>]) -> (Vec<Arc<Pod>>, Vec<Arc<Pod>>) {
    let uncounted = wanted
        .status
        .uncounted_terminated_pods
        .clone()
        .unwrap_or_default();
    let known = |uids: &Option<Vec<String>>, pod: &Pod| {
        let uid = pod.metadata.uid.as_ref();
        uids.iter().flatten().any(|known| Some(known) == uid)
    };
    let countable = || pods.iter().filter(|pod| wanted.is_countable(pod));
    let succeeded = countable()
        .filter(|pod| pods::phase(pod) == "Succeeded" && !known(&uncounted.succeeded, pod))
        .cloned()
        .collect();
    let failed = countable()
        .filter(|pod| wanted.has_failed(pod) && !known(&uncounted.failed, pod))
        .cloned()
        .collect();
    (succeeded, failed)
}

/// Whether this pod was the last that its index had.
fn loses_index(wanted: &Wanted<'_>, pod: &Pod, limit: i32) -> bool {
    wanted.has_failed(pod)
        && match wanted.judge(pod) {
            Verdict::FailIndex => true,
            Verdict::Ignore => false,
            Verdict::Count | Verdict::FailJob(_) => failures_before(pod).0 >= limit,
        }
}

/// Containers that are started again in their pod count as failures too.
fn restarted_too_often(wanted: &Wanted<'_>, pods: &[Arc<Pod>]) -> bool {
    let policy = wanted.spec.template.spec.as_ref();
    if policy.and_then(|spec| spec.restart_policy.as_deref()) != Some("OnFailure") {
        return false;
    }
    let alive = pods
        .iter()
        .filter(|pod| matches!(pods::phase(pod), "Running" | "Pending"));
    let restarts: i32 = alive
        .filter_map(|pod| pod.status.as_ref())
        .flat_map(|status| {
            let containers = status.container_statuses.iter();
            containers.chain(&status.init_container_statuses).flatten()
        })
        .map(|container| container.restart_count)
        .sum();
    match wanted.backoff_limit() {
        0 => restarts > 0,
        limit => restarts >= limit,
    }
}

/// A number of pods, as the API has it.
pub(crate) fn count(length: usize) -> i32 {
    i32::try_from(length).unwrap_or(i32::MAX)
}
