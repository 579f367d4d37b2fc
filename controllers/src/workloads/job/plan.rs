//! What a Job wants done to its pods. Pure.

use super::backoff::{Record, until_replaced};
use super::indexes::Indexes;
use super::policy::Verdict;
use super::spec::{FAILURES, IGNORED_FAILURES, INDEX, TRACKING, Wanted, failures_before, index};
use super::view::{View, count};
use crate::observed::Pod;
use crate::workloads::claims::{Claims, claims};
use crate::workloads::pods;
use k8s_openapi::api::core::v1::{self, Container, EnvVar, EnvVarSource, ObjectFieldSelector};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use k8s_openapi::jiff::Timestamp;
use std::cmp::Reverse;
use std::sync::Arc;

/// Pods created or deleted in one go at most.
const BURST: usize = 500;
/// The variable that tells a container its pod's index.
const INDEX_VARIABLE: &str = "JOB_COMPLETION_INDEX";
/// The longest prefix that a generated name may have.
const LONGEST_PREFIX: usize = 58;

/// All that the plan is made from.
pub(crate) struct Observed<'a> {
    pub(crate) wanted: &'a Wanted<'a>,
    /// The pods the Job controls and the pods of its namespace that nobody controls.
    pub(crate) pods: &'a [Arc<Pod>],
    /// Failures since the last success, as far as they have been counted.
    pub(crate) record: &'a Record,
    /// What marks a new pod as the Job's.
    pub(crate) reference: &'a OwnerReference,
}

/// What is to be done to pods, and what it was decided on.
pub(crate) struct Plan {
    pub(crate) claims: Claims,
    pub(crate) view: View,
    pub(crate) delete: Vec<Arc<Pod>>,
    /// Whether pods that are deleted are not to be counted: their finalizer goes first.
    pub(crate) forget: bool,
    pub(crate) create: Vec<v1::Pod>,
    /// When to look again if nothing happens.
    pub(crate) look_again: Option<Timestamp>,
}

/// Decides which pods to take, let go, create and delete.
pub(crate) fn plan(observed: &Observed<'_>, now: Timestamp) -> Plan {
    let wanted = observed.wanted;
    let claims = claims(
        &wanted.job.metadata,
        &wanted.spec.selector.clone().unwrap_or_default(),
        observed.pods,
    );
    let view = View::of(wanted, tracked(&claims), observed.record, now);
    let started = wanted.status.start_time.as_ref().map_or(now, |time| time.0);
    let mut plan = Plan {
        claims,
        delete: Vec::new(),
        forget: false,
        create: Vec::new(),
        look_again: wanted.deadline(Some(started)).filter(|_| view.ending.is_none()),
        view,
    };
    if plan.view.ending.is_some() {
        plan.delete.clone_from(&plan.view.active);
    } else if !wanted.is_deleted() {
        plan.manage(observed, now);
    }
    plan
}

/// The claimed pods, each with the finalizer that those which are adopted are about to get.
fn tracked(claims: &Claims) -> Vec<Arc<Pod>> {
    let adopted = |pod: &Arc<Pod>| claims.adopt.iter().any(|adopted| Arc::ptr_eq(adopted, pod));
    let mut all = claims.claimed.clone();
    for pod in &mut all {
        if adopted(pod) && !pods::has_finalizer(pod, TRACKING) {
            let finalizers = &mut Arc::make_mut(pod).metadata.finalizers;
            finalizers.get_or_insert_default().push(TRACKING.to_owned());
        }
    }
    all
}

impl Plan {
    /// Brings the number of active pods to what is wanted. Deleting comes first; nothing is created in the same step.
    fn manage(&mut self, observed: &Observed<'_>, now: Timestamp) {
        let wanted = observed.wanted;
        let active = count(self.view.active.len());
        let target = self.active_wanted(wanted);
        let excess = usize::try_from(active - target).unwrap_or(0);
        self.delete = excess_pods(wanted, &self.view.active, excess);
        self.delete.truncate(BURST);
        self.forget = !self.delete.is_empty();
        if self.forget || wanted.is_suspended() {
            return;
        }
        let ending = if wanted.replaces_only_failed() {
            self.view.terminating
        } else {
            0
        };
        let missing = usize::try_from(target - ending - active).unwrap_or(0);
        if missing > 0 {
            self.replenish(observed, missing.min(BURST), now);
        }
    }

    fn active_wanted(&self, wanted: &Wanted<'_>) -> i32 {
        let active = count(self.view.active.len());
        if wanted.is_suspended() {
            return 0;
        }
        match wanted.spec.completions {
            Some(completions) => (completions - self.view.succeeded).clamp(0, wanted.parallelism().max(0)),
            // Once one pod has succeeded, the others run to their end and none is added.
            None if self.view.succeeded > 0 => active,
            None => wanted.parallelism(),
        }
    }

    fn replenish(&mut self, observed: &Observed<'_>, missing: usize, now: Timestamp) {
        let wanted = observed.wanted;
        if wanted.limit_per_index().is_none()
            && let Some(until) = self.view.backoff.until().filter(|until| *until > now)
        {
            self.look_at(until);
            return;
        }
        if !wanted.is_indexed() {
            self.create = vec![new_pod(wanted, observed.reference); missing];
            return;
        }
        let pending = self.pending(wanted, missing);
        let until = |index: &i32| {
            let failed = self.view.to_replace.get(index)?;
            let failures = failures_before(failed).1.unsigned_abs();
            until_replaced(failed, failures).filter(|until| *until > now)
        };
        let (ready, waiting): (Vec<i32>, Vec<i32>) =
            pending.into_iter().partition(|index| until(index).is_none());
        let next = waiting.iter().filter_map(until).min();
        self.create = ready
            .iter()
            .map(|index| {
                let failed = self.view.to_replace.get(index);
                new_indexed_pod(wanted, observed.reference, *index, failed.map(Arc::as_ref))
            })
            .collect();
        if let Some(next) = next.filter(|_| ready.is_empty()) {
            self.look_at(next);
        }
    }

    /// The first indexes that have no pod and need one.
    fn pending(&self, wanted: &Wanted<'_>, most: usize) -> Vec<i32> {
        let indexes = |pods: &[Arc<Pod>]| -> Indexes { pods.iter().filter_map(|pod| index(pod)).collect() };
        let mut taken = self.view.done.union(&indexes(&self.view.active));
        if wanted.replaces_only_failed() {
            let ending = self.view.pods.iter();
            let ending = ending.filter(|pod| pods::is_terminating(pod) && !pods::is_finished(pod));
            taken = taken.with(ending.filter_map(|pod| index(pod)));
        }
        if let Some(lost) = &self.view.lost {
            taken = taken.union(lost);
        }
        taken.missing(wanted.completions(), most)
    }

    fn look_at(&mut self, at: Timestamp) {
        self.look_again = Some(self.look_again.map_or(at, |other| other.min(at)));
    }
}

/// At least `excess` pods to delete: of indexed ones first those whose index is none of the Job's or stands twice, then those
/// that have come the least far.
fn excess_pods(wanted: &Wanted<'_>, active: &[Arc<Pod>], excess: usize) -> Vec<Arc<Pod>> {
    let mut by_progress = active.to_vec();
    by_progress.sort_by(|a, b| progress(a).cmp(&progress(b)));
    let (mut gone, mut left) = (Vec::new(), Vec::new());
    for (place, pod) in by_progress.iter().enumerate() {
        let index = wanted.index_of(pod);
        let again = by_progress[place + 1..]
            .iter()
            .any(|other| wanted.index_of(other) == index);
        let useless = wanted.is_indexed() && (index.is_none() || again);
        if useless { &mut gone } else { &mut left }.push(pod.clone());
    }
    let more = excess.saturating_sub(gone.len());
    gone.extend(left.into_iter().take(more));
    gone
}

/// How far a pod has come; the least goes first.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Progress<'p> {
    assigned: bool,
    phase: u8,
    ready: bool,
    ready_since: Reverse<Option<Timestamp>>,
    restarts: Reverse<i32>,
    created: Reverse<Option<Timestamp>>,
    name: &'p str,
}

fn progress(pod: &Pod) -> Progress<'_> {
    let node = pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref());
    Progress {
        assigned: node.is_some_and(|node| !node.is_empty()),
        phase: match pods::phase(pod) {
            "Pending" => 0,
            "Unknown" => 1,
            _ => 2,
        },
        ready: pods::is_ready(pod),
        ready_since: Reverse(pods::ready_since(pod)),
        restarts: Reverse(pods::restarts(pod)),
        created: Reverse(pod.metadata.creation_timestamp.as_ref().map(|time| time.0)),
        name: pod.metadata.name.as_deref().unwrap_or_default(),
    }
}

/// A pod from the Job's template that is kept until it has been counted.
fn new_pod(wanted: &Wanted<'_>, reference: &OwnerReference) -> v1::Pod {
    let mut pod = pods::from_template(&wanted.spec.template, &wanted.job.metadata, reference.clone());
    let finalizers = pod.metadata.finalizers.get_or_insert_default();
    if !finalizers.iter().any(|one| one == TRACKING) {
        finalizers.push(TRACKING.to_owned());
    }
    pod
}

/// A pod for one index, which knows how often those before it failed.
fn new_indexed_pod(
    wanted: &Wanted<'_>,
    reference: &OwnerReference,
    index: i32,
    failed: Option<&Pod>,
) -> v1::Pod {
    let mut pod = new_pod(wanted, reference);
    let job = wanted.job.metadata.name.as_deref().unwrap_or_default();
    let suffix = format!("-{index}-");
    let room = LONGEST_PREFIX - suffix.len();
    let short = job.get(..room).unwrap_or(job);
    pod.metadata.generate_name = Some(format!("{short}{suffix}"));
    let annotations = pod.metadata.annotations.get_or_insert_default();
    annotations.insert(INDEX.to_owned(), index.to_string());
    if wanted.limit_per_index().is_some() {
        let (counted, ignored) = failed.map_or((0, 0), |failed| failures_with(wanted, failed));
        annotations.insert(FAILURES.to_owned(), counted.to_string());
        if ignored > 0 {
            annotations.insert(IGNORED_FAILURES.to_owned(), ignored.to_string());
        }
    }
    let labels = pod.metadata.labels.get_or_insert_default();
    labels.insert(INDEX.to_owned(), index.to_string());
    if let Some(spec) = &mut pod.spec {
        spec.hostname = Some(format!("{job}-{index}"));
        let init = spec.init_containers.iter_mut().flatten();
        init.chain(&mut spec.containers).for_each(tell_index);
    }
    pod
}

/// How often the index has failed once this pod has: what counts, and what does not.
fn failures_with(wanted: &Wanted<'_>, failed: &Pod) -> (i32, i32) {
    let (counted, all) = failures_before(failed);
    let ignored = all - counted;
    if wanted.judge(failed) == Verdict::Ignore {
        (counted, ignored + 1)
    } else {
        (counted + 1, ignored)
    }
}

fn tell_index(container: &mut Container) {
    let variables = container.env.get_or_insert_default();
    if variables.iter().any(|variable| variable.name == INDEX_VARIABLE) {
        return;
    }
    let field = ObjectFieldSelector {
        field_path: format!("metadata.labels['{INDEX}']"),
        ..ObjectFieldSelector::default()
    };
    variables.push(EnvVar {
        name: INDEX_VARIABLE.to_owned(),
        value_from: Some(EnvVarSource {
            field_ref: Some(field),
            ..EnvVarSource::default()
        }),
        ..EnvVar::default()
    });
}
