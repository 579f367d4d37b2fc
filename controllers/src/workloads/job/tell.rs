//! What a Job's status says after its pods were worked on, which pods have been counted by it, and what is told of it. Pure.
//!
//! A finished pod is counted in three steps that each may be the last before a crash (KEP-2307): its uid is written into
//! `uncountedTerminatedPods`, then its finalizer is taken off, then a number in the status takes the place of the uid. A pod of an
//! index that succeeded needs no uid: the index is counted once. The condition that ends the Job is told beforehand by another,
//! `SuccessCriteriaMet` or `FailureTarget`, and comes when all pods are counted and gone.

use super::indexes::Indexes;
use super::policy::Verdict;
use super::spec::{TRACKING, Wanted, new_condition};
use super::view::{View, count};
use crate::observed::Pod;
use crate::runtime::Note;
use crate::workloads::pods;
use k8s_openapi::api::batch::v1::{JobCondition, JobStatus, UncountedTerminatedPods};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use std::collections::BTreeSet;
use std::sync::Arc;

/// Pods that may be on their way to being counted, at most.
const MOST_UNCOUNTED: usize = 500;

/// What was done to the Job's pods.
#[derive(Debug, Default)]
pub(crate) struct Done {
    pub(crate) created: i32,
    /// Those that were deleted, as they were.
    pub(crate) deleted: Vec<Arc<Pod>>,
}

/// What is to be written, then taken off, then told.
pub(crate) struct Told {
    pub(crate) status: JobStatus,
    /// Pods that the status accounts for: their finalizer may go.
    pub(crate) counted: Vec<Arc<Pod>>,
    pub(crate) notes: Vec<Note>,
}

/// Makes the status from what was seen and done.
pub(crate) fn tell(wanted: &Wanted<'_>, view: &View, done: &Done, now: Timestamp) -> Told {
    let mut telling = Telling {
        wanted,
        view,
        status: wanted.status.clone(),
        ending: view.ending.clone(),
        active: count(view.active.len()) + done.created - count(done.deleted.len()),
        notes: Vec::new(),
        now,
    };
    if telling.status.start_time.is_none() && !wanted.is_suspended() {
        telling.status.start_time = Some(Time(now));
    }
    if telling.ending.is_some() {
        // Pods that could not be deleted may still have something to say.
        telling.ending.take_if(|_| telling.active > 0);
    } else {
        telling.see_progress();
    }
    let ready = |pods: &[Arc<Pod>]| count(pods.iter().filter(|pod| pods::is_ready(pod)).count());
    telling.status.active = nonzero(telling.active);
    telling.status.ready = Some(ready(&view.active) - ready(&done.deleted));
    telling.status.terminating = Some(view.terminating + count(done.deleted.len()));
    let counted = telling.count();
    telling.end(&counted);
    Told {
        status: telling.status,
        counted,
        notes: telling.notes,
    }
}

struct Telling<'a> {
    wanted: &'a Wanted<'a>,
    view: &'a View,
    status: JobStatus,
    ending: Option<JobCondition>,
    active: i32,
    notes: Vec<Note>,
    now: Timestamp,
}

impl Telling<'_> {
    /// The Job is complete, or suspended, or goes on.
    fn see_progress(&mut self) {
        let reached = match self.wanted.spec.completions {
            Some(completions) => self.view.succeeded >= completions,
            None => self.view.succeeded > 0,
        };
        if reached && self.active == 0 {
            let message = "Reached expected number of succeeded pods";
            let met = new_condition(
                "SuccessCriteriaMet",
                true,
                "CompletionsReached",
                message,
                self.now,
            );
            self.ending = Some(met);
            return;
        }
        if self.wanted.is_deleted() {
            return;
        }
        if self.wanted.is_suspended() {
            if self.set(new_condition(
                "Suspended",
                true,
                "JobSuspended",
                "Job suspended",
                self.now,
            )) {
                self.notes
                    .push(Note::normal("Suspended", "Job suspended".to_owned()));
                self.status.start_time = None;
            }
        } else if self.set(new_condition(
            "Suspended",
            false,
            "JobResumed",
            "Job resumed",
            self.now,
        )) {
            self.notes.push(Note::normal("Resumed", "Job resumed".to_owned()));
            // How long a Job has been active is counted from when it was resumed.
            self.status.start_time = Some(Time(self.now));
        }
    }

    /// Sets a condition; one that does not hold is only written over another. Says whether anything changed.
    fn set(&mut self, new: JobCondition) -> bool {
        let conditions = self.status.conditions.get_or_insert_default();
        match conditions.iter_mut().find(|one| one.type_ == new.type_) {
            Some(old) => {
                let same = old.status == new.status && old.reason == new.reason && old.message == new.message;
                if !same {
                    *old = new;
                }
                !same
            }
            None if new.status == "True" => {
                conditions.push(new);
                true
            }
            None => {
                let none = conditions.is_empty();
                self.status.conditions.take_if(|_| none);
                false
            }
        }
    }

    /// Turns uids of pods that have lost their finalizer into numbers, and finished pods into uids or indexes. Returns the pods
    /// whose finalizer may go once the status is written.
    fn count(&mut self) -> Vec<Arc<Pod>> {
        let tracked: BTreeSet<&str> = self
            .view
            .pods
            .iter()
            .filter(|pod| pods::has_finalizer(pod, TRACKING))
            .map(|pod| uid(pod))
            .collect();
        let uncounted = self.status.uncounted_terminated_pods.take().unwrap_or_default();
        let split = |uids: Option<Vec<String>>| -> (Vec<String>, Vec<String>) {
            let uids = uids.unwrap_or_default().into_iter();
            uids.partition(|uid| tracked.contains(uid.as_str()))
        };
        let (mut succeeded, now_succeeded) = split(uncounted.succeeded);
        let (mut failed, now_failed) = split(uncounted.failed);
        let add = |number: Option<i32>, more: Vec<String>| nonzero(number.unwrap_or(0) + count(more.len()));
        self.status.succeeded = add(self.status.succeeded, now_succeeded);
        self.status.failed = add(self.status.failed, now_failed);
        let mut counted = Vec::new();
        let mut indexes = Vec::new();
        for pod in self.in_order() {
            if !self.is_to_be_counted(&pod) {
                continue;
            }
            match self.sort(&pod) {
                Some(Outcome::Index(index)) => indexes.push(index),
                Some(Outcome::Succeeded) => remember(&mut succeeded, &pod),
                Some(Outcome::Failed) if !succeeded.iter().any(|known| known == uid(&pod)) => {
                    remember(&mut failed, &pod);
                }
                Some(Outcome::Failed) | None => {}
            }
            counted.push(pod);
            if indexes.len() + succeeded.len() + failed.len() >= MOST_UNCOUNTED {
                break;
            }
        }
        self.status.uncounted_terminated_pods = Some(UncountedTerminatedPods {
            succeeded: (!succeeded.is_empty()).then_some(succeeded),
            failed: (!failed.is_empty()).then_some(failed),
        });
        if self.wanted.is_indexed() {
            self.write_indexes(&indexes);
        }
        counted
    }

    /// The pods, by index where they have one, so that indexes are written in order.
    fn in_order(&self) -> Vec<Arc<Pod>> {
        let mut pods = self.view.pods.clone();
        if self.wanted.is_indexed() {
            pods.sort_by_key(|pod| super::spec::index(pod));
        }
        pods
    }

    /// Whether the pod will not change any more in what it means to the Job.
    fn is_to_be_counted(&self, pod: &Pod) -> bool {
        if !pods::has_finalizer(pod, TRACKING) {
            return false;
        }
        if self.wanted.is_deleted() || self.ending.is_some() || pods::phase(pod) == "Succeeded" {
            return true;
        }
        let waits = || {
            let index = super::spec::index(pod);
            let kept = index.and_then(|index| self.view.to_replace.get(&index));
            kept.is_some_and(|kept| kept.metadata.uid == pod.metadata.uid)
        };
        self.wanted.has_failed(pod) && !waits()
    }

    /// What a pod is counted as, if it is. Once the Job has failed, every pod that did not finish has failed with it.
    fn sort(&self, pod: &Pod) -> Option<Outcome> {
        let uncounted = self.wanted.status.uncounted_terminated_pods.as_ref();
        let failed = uncounted.and_then(|uncounted| uncounted.failed.as_ref());
        let was_failed = failed.is_some_and(|failed| failed.iter().any(|known| known == uid(pod)));
        if pods::phase(pod) == "Succeeded" && !was_failed {
            if !self.wanted.is_indexed() {
                return Some(Outcome::Succeeded);
            }
            let index = self.wanted.index_of(pod)?;
            return (!self.view.done_before.contains(index)).then_some(Outcome::Index(index));
        }
        let ends_badly = self
            .ending
            .as_ref()
            .is_some_and(|ending| ending.type_ != "SuccessCriteriaMet");
        if !self.wanted.has_failed(pod) && !ends_badly {
            return None;
        }
        let belongs = !self.wanted.is_indexed() || self.wanted.index_of(pod).is_some();
        (belongs && self.wanted.judge(pod) != Verdict::Ignore).then_some(Outcome::Failed)
    }

    fn write_indexes(&mut self, newly: &[i32]) {
        let done = self.view.done_before.with(newly.iter().copied());
        self.status.succeeded = nonzero(done.count());
        let text = done.to_string();
        self.status.completed_indexes = (!text.is_empty()).then_some(text);
        self.status.failed_indexes = self.view.lost.as_ref().map(Indexes::to_string);
    }

    /// Announces the end, or declares it where it was announced and nothing is left to count.
    fn end(&mut self, counted: &[Arc<Pod>]) {
        let Some(ending) = self.ending.take() else { return };
        if matches!(ending.type_.as_str(), "FailureTarget" | "SuccessCriteriaMet") && self.set(ending.clone())
        {
            return;
        }
        let uncounted = self.status.uncounted_terminated_pods.as_ref();
        let waits = uncounted.is_some_and(|left| left.succeeded.is_some() || left.failed.is_some());
        let ending_pods = self.status.terminating.unwrap_or(0);
        if waits || !counted.is_empty() || ending_pods > 0 {
            return;
        }
        let (reason, message) = (
            ending.reason.unwrap_or_default(),
            ending.message.unwrap_or_default(),
        );
        let fails = ending.type_ != "SuccessCriteriaMet";
        let kind = if fails { "Failed" } else { "Complete" };
        self.set(new_condition(kind, true, &reason, &message, self.now));
        if fails {
            self.notes.push(Note::warning(reason, message));
            return;
        }
        self.status.completion_time = Some(Time(self.now));
        let many = self.wanted.spec.completions;
        if many.is_some_and(|many| self.status.succeeded.unwrap_or(0) > many) {
            let message = "Too many succeeded pods running after completion count reached";
            self.notes
                .push(Note::warning("TooManySucceededPods", message.to_owned()));
        }
        self.notes
            .push(Note::normal("Completed", "Job completed".to_owned()));
    }
}

/// What a finished pod is counted as.
enum Outcome {
    Index(i32),
    Succeeded,
    Failed,
}

fn remember(uids: &mut Vec<String>, pod: &Pod) {
    if !uids.iter().any(|known| known == uid(pod)) {
        uids.push(uid(pod).to_owned());
    }
}

fn uid(pod: &Pod) -> &str {
    pod.metadata.uid.as_deref().unwrap_or_default()
}

fn nonzero(count: i32) -> Option<i32> {
    (count != 0).then_some(count)
}
