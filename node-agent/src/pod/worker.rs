//! One pod's worker: look, plan, act, tell; again whenever anything is heard.
//!
//! The worker is the only one that inspects its pod, so that what it sees never goes backwards. Operations run beside
//! it and report back; the plan is made anew each time and what is already in flight is not begun twice.

mod act;
mod admission;
mod overwritten;
mod resize;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{Pod, PodStatus, ResourceRequirements};
use tokio::sync::{Notify, mpsc, watch};
use tokio::task::{AbortHandle, JoinSet};

use self::admission::Admission;
use self::overwritten::Overwritten;
use super::context::Context;
use super::directory::{Known, Wish};
use super::operation::{FailedStart, Finished, Key, Outcome};
use super::token::Tokens;
use crate::api_cache;
use crate::clock;
use crate::events::Severity;
use crate::plan::{
    self, Allocation, Backoff, NodeView, Pending, PodPlan, PodView, Stage, StartFailure, StartFailures,
    Subject,
};
use crate::probe::{Outcome as ProbeOutcome, ProbeReport, ProbeResults, ProbeTarget, Probes, Verdict};
use crate::runtime::{ContainerPhase, PodIdentity, PodRuntime};
use crate::volume::MountedVolumes;

const REPORTS: usize = 32;
/// First and longest pause after something that is tried again and again.
const RETRY_FIRST: SignedDuration = SignedDuration::from_secs(1);
const RETRY_MAX: SignedDuration = SignedDuration::from_secs(10);
/// A deleted pod that is still there, for it has finalizers, is asked about again after this.
const DELETE_AGAIN: SignedDuration = SignedDuration::from_secs(60);

/// Something in flight.
struct InFlight {
    serial: u64,
    abort: AbortHandle,
    /// Of a stop: what the container was given.
    grace_seconds: i64,
    /// Of a restart: when the container ended before.
    after: Option<Timestamp>,
}

/// The pauses of what is tried again.
#[derive(Default)]
struct Retry {
    failures: u32,
    not_before: Option<Timestamp>,
}

impl Retry {
    fn failed(&mut self, now: Timestamp) -> Timestamp {
        let pause = (RETRY_FIRST * 2_i32.pow(self.failures.min(8))).min(RETRY_MAX);
        self.failures = self.failures.saturating_add(1);
        let at = now.saturating_add(pause).unwrap_or(now);
        self.not_before = Some(at);
        at
    }

    fn waits(&self, now: Timestamp) -> Option<Timestamp> {
        self.not_before.filter(|at| now < *at)
    }
}

pub(super) struct Worker {
    context: Arc<Context>,
    identity: Arc<PodIdentity>,
    wish: watch::Receiver<Wish>,
    look: Arc<Notify>,
    references_changed: Arc<Notify>,
    known: watch::Sender<Known>,
    node: NodeView,

    /// The pod as the API has it.
    asked: Arc<Pod>,
    /// The same with the resources that were granted.
    pod: Arc<Pod>,
    allocation: Allocation,
    admission: Admission,
    /// Why what is asked is not granted.
    pending: Option<Pending>,
    /// What running containers were given since they were made, by container id.
    resized: HashMap<String, ResourceRequirements>,
    /// What the pod as a whole was last given, overhead included; none where that is what was granted at first.
    pod_has: Option<ResourceRequirements>,
    resizing: bool,
    /// Why what is granted was not given when that was last tried.
    resize_fault: Option<String>,
    removed: bool,
    runtime: PodRuntime,
    /// The runtime was not asked since something happened.
    stale: bool,
    probes: Probes,
    reports: mpsc::Receiver<ProbeReport>,
    results: ProbeResults,

    backoff: Backoff,
    failures: StartFailures,
    start_retries: BTreeMap<Subject, Retry>,
    volumes: Option<Arc<MountedVolumes>>,
    volumes_current: bool,
    tokens: Tokens,

    operations: JoinSet<Finished>,
    in_flight: HashMap<Key, InFlight>,
    begun: u64,
    retries: HashMap<Key, Retry>,
    status: PodStatus,
    /// The status last written, or found in the API at the beginning.
    written: Option<PodStatus>,
    writing: Option<PodStatus>,
    overwritten: Overwritten,
    torn_down: bool,
    finished: bool,
    delete_after: Option<Timestamp>,
    told_held_back: BTreeMap<String, Timestamp>,
    wake_at: Option<Timestamp>,
}

impl Worker {
    pub(super) fn new(
        context: Arc<Context>,
        identity: PodIdentity,
        wish: watch::Receiver<Wish>,
        look: Arc<Notify>,
    ) -> (Self, watch::Receiver<Known>) {
        let Wish { pod, removed } = wish.borrow().clone();
        let (sender, reports) = mpsc::channel(REPORTS);
        let probes = Probes::new(
            context.cri.clone(),
            context.tasks.clone(),
            context.slots.probes.clone(),
            sender,
        );
        let status = pod.status.clone().unwrap_or_default();
        let known = watch::Sender::new(Known {
            pod: pod.clone(),
            runtime: Arc::default(),
        });
        let receiver = known.subscribe();
        let allocation = plan::remembered(&pod);
        let mut worker = Self {
            node: context.node.clone(),
            context,
            identity: Arc::new(identity),
            wish,
            look,
            references_changed: Arc::new(Notify::new()),
            known,
            asked: pod.clone(),
            pod: pod.clone(),
            allocation,
            admission: Admission::Open,
            pending: None,
            resized: HashMap::new(),
            pod_has: None,
            resizing: false,
            resize_fault: None,
            removed,
            runtime: PodRuntime::default(),
            stale: true,
            probes,
            reports,
            results: ProbeResults::default(),
            backoff: Backoff::default(),
            failures: StartFailures::new(),
            start_retries: BTreeMap::new(),
            volumes: None,
            volumes_current: false,
            tokens: Tokens::default(),
            operations: JoinSet::new(),
            in_flight: HashMap::new(),
            begun: 0,
            retries: HashMap::new(),
            written: None,
            writing: None,
            overwritten: Overwritten::default(),
            status,
            torn_down: false,
            finished: false,
            delete_after: None,
            told_held_back: BTreeMap::new(),
            wake_at: None,
        };
        worker.take_pod(pod);
        worker.pod_has = plan::pod_had(&worker.pod);
        (worker, receiver)
    }

    /// Runs until the pod is gone from API and runtime, or until shutdown; pods run on without their worker.
    pub(super) async fn run(mut self) {
        self.subscribe();
        loop {
            let done = self.turn().await;
            if done || !self.wait().await {
                break;
            }
        }
        self.context.allocations.remove(&self.identity.uid);
        self.context.cache.unsubscribe(&self.identity.uid);
    }

    fn subscribe(&self) {
        if let Some(spec) = &self.pod.spec {
            let names = api_cache::referred(spec);
            let namespace = &self.identity.namespace;
            self.context
                .cache
                .subscribe(&self.identity.uid, namespace, &names, &self.references_changed);
        }
    }

    /// Waits for something to happen. False means shutdown.
    async fn wait(&mut self) -> bool {
        let wake = wake(self.wake_at);
        tokio::select! {
            () = self.context.shutdown.cancelled() => return false,
            changed = self.wish.changed() => {
                if changed.is_err() {
                    return false;
                }
                self.take_wish();
            }
            () = self.look.notified() => self.stale = true,
            () = self.references_changed.notified() => self.references_moved(),
            Some(finished) = self.operations.join_next(), if !self.operations.is_empty() => {
                // An aborted operation says nothing, and its key was given free when it was aborted.
                if let Ok(finished) = finished {
                    self.take_finished(finished);
                }
            }
            Some(report) = self.reports.recv() => self.take_report(report),
            () = wake => {}
        }
        true
    }

    fn take_wish(&mut self) {
        let Wish { pod, removed } = self.wish.borrow_and_update().clone();
        if pod.metadata.labels != self.pod.metadata.labels
            || pod.metadata.annotations != self.pod.metadata.annotations
        {
            // The downward API shows them.
            self.volumes_current = false;
        }
        self.take_pod(pod);
        let told = self.writing.as_ref().or(self.written.as_ref());
        self.overwritten.look(told, self.pod.status.as_ref());
        self.removed |= removed;
        self.subscribe();
    }

    /// What failed for want of a ConfigMap or Secret is tried again at once, and volumes are written anew.
    fn references_moved(&mut self) {
        self.volumes_current = false;
        self.failures
            .retain(|_, f| !matches!(f.reason.as_str(), "CreateContainerConfigError" | "FailedMount"));
        self.retries.remove(&Key::Volumes);
    }

    fn take_report(&mut self, report: ProbeReport) {
        if let ProbeOutcome::Failure(message) | ProbeOutcome::Unknown(message) = &report.outcome {
            let errored = matches!(report.outcome, ProbeOutcome::Unknown(_));
            let verb = if errored { "errored" } else { "failed" };
            let text = format!("{} probe {verb}: {message}", report.kind.as_str());
            self.job()
                .container_event(&report.container, Severity::Warning, "Unhealthy", text);
        }
        let Some(verdict) = report.verdict else { return };
        self.results.set(&report.container_id, report.kind, verdict);
        if report.kind == crate::probe::Kind::Startup && verdict == Verdict::Success {
            self.probes.mark_started(&report.container_id);
        }
    }

    fn take_finished(&mut self, finished: Finished) {
        let Finished { key, serial, outcome } = finished;
        if self.in_flight.get(&key).is_none_or(|f| f.serial != serial) {
            self.stale = true;
            return;
        }
        if let Some(flight) = self.in_flight.remove(&key) {
            self.count_restart(&key, &flight, &outcome);
        }
        let now = clock::now();
        match outcome {
            Outcome::Done => self.succeeded(key),
            Outcome::Volumes { volumes, tokens } => {
                self.volumes = Some(Arc::new(volumes));
                self.tokens = tokens;
                self.succeeded(key);
            }
            Outcome::Resized { containers, pod } => {
                self.note_resized(containers, pod);
                self.succeeded(key);
            }
            Outcome::FailedStart(failed) => {
                if key == Key::Volumes {
                    self.retries.entry(key).or_default().failed(now);
                }
                self.note_failure(failed, now);
                self.stale = true;
            }
            Outcome::NotResized(fault) => {
                self.resize_fault = Some(fault);
                self.retries.entry(key).or_default().failed(now);
                self.stale = true;
            }
            Outcome::Again => {
                self.retries.entry(key).or_default().failed(now);
                self.stale = true;
            }
            Outcome::Gone => {
                // The watch will tell; until then nothing more is written.
                self.written = self.writing.take();
                self.delete_after = now.saturating_add(DELETE_AGAIN).ok();
            }
        }
    }

    /// Only a restart that came about lengthens the wait for the next one.
    fn count_restart(&mut self, key: &Key, flight: &InFlight, outcome: &Outcome) {
        let came_about = match outcome {
            Outcome::Done => true,
            Outcome::FailedStart(failed) => failed.recorded,
            _ => false,
        };
        if let (Key::Start(name), Some(after), true) = (key, flight.after, came_about) {
            self.backoff.next(name, after);
        }
    }

    fn succeeded(&mut self, key: Key) {
        self.retries.remove(&key);
        match key {
            Key::Status => self.written = self.writing.take(),
            Key::TearDown => self.torn_down = true,
            Key::Finish => self.finished = true,
            Key::Delete => self.delete_after = clock::now().saturating_add(DELETE_AGAIN).ok(),
            Key::Sandbox => self.clear_failure(&Subject::Sandbox),
            Key::Volumes => self.clear_failure(&Subject::Sandbox),
            Key::Start(name) => {
                self.backoff.reset(&image_key(&name));
                self.clear_failure(&Subject::Container(name));
            }
            _ => {}
        }
        self.stale = true;
    }

    fn clear_failure(&mut self, subject: &Subject) {
        self.failures.remove(subject);
        self.start_retries.remove(subject);
    }

    fn note_failure(&mut self, failed: FailedStart, now: Timestamp) {
        let retry_at = match (&failed.subject, failed.reason.as_str()) {
            (Subject::Container(name), "ErrImagePull") => now
                .saturating_add(self.backoff.next(&image_key(name), now))
                .unwrap_or(now),
            (subject, _) => self.start_retries.entry(subject.clone()).or_default().failed(now),
        };
        let failure = StartFailure {
            reason: failed.reason,
            message: failed.message,
            at: now,
            retry_at,
            recorded: failed.recorded,
        };
        self.failures.insert(failed.subject, failure);
    }

    /// One round. True means that nothing is left to do for ever.
    async fn turn(&mut self) -> bool {
        let now = clock::now();
        if self.stale {
            match self.context.cri.inspect(&self.identity.uid).await {
                Ok(runtime) => {
                    self.runtime = runtime;
                    self.stale = false;
                }
                Err(error) => {
                    // Nothing is decided blindly; the relist tells when the runtime is back.
                    tracing::debug!(pod = self.identity.name, %error, "pod cannot be inspected");
                    self.wake_at = now.saturating_add(RETRY_FIRST).ok();
                    return false;
                }
            }
        }
        if !self.consider_admission(now).await {
            return false;
        }
        self.consider_resize();
        let plan = self.plan(now);
        self.settle_resize(&plan);
        self.status = plan.status.clone();
        self.publish();
        self.keep_probes(&plan);
        self.tell_held_back(&plan);
        self.wake_at = plan.wake_at;
        self.wake_no_later_than(self.resize_again_at(now));
        self.act(&plan, now);
        if plan.stage == Stage::Ended && self.removed {
            return self.finish(now);
        }
        self.tell(&plan, now);
        false
    }

    fn plan(&self, now: Timestamp) -> PodPlan {
        let runtime = self.seen_runtime();
        plan::plan_pod(&PodView {
            pod: &self.pod,
            previous: &self.status,
            runtime: &runtime,
            probes: &self.results,
            backoff: &self.backoff,
            failures: &self.failures,
            node: &self.node,
            pending: self.pending.as_ref(),
            resize_fault: self.resize_fault.as_deref(),
            pod_has: self.pod_has.as_ref(),
            rejected: match &self.admission {
                Admission::Rejected(rejection) => Some(rejection),
                Admission::Open | Admission::Taken => None,
            },
            removed: self.removed,
            now,
        })
    }

    /// A container counts as running only when its postStart hook is through.
    fn seen_runtime(&self) -> PodRuntime {
        let mut runtime = self.runtime.clone();
        self.show_resized(&mut runtime);
        let hooked = |name: &str| {
            let containers = self
                .pod
                .spec
                .iter()
                .flat_map(|s| s.containers.iter().chain(s.init_containers.iter().flatten()));
            containers
                .filter(|c| c.name == name)
                .any(|c| c.lifecycle.as_ref().is_some_and(|l| l.post_start.is_some()))
        };
        for container in &mut runtime.containers {
            let starting = self.in_flight.contains_key(&Key::Start(container.name.clone()));
            if starting
                && container.is_running()
                && hooked(&container.name)
                && self.pod.metadata.deletion_timestamp.is_none()
            {
                container.phase = ContainerPhase::Created;
            }
        }
        runtime
    }

    fn publish(&self) {
        let mut pod = (*self.pod).clone();
        pod.status = Some(self.status.clone());
        self.known.send_replace(Known {
            pod: Arc::new(pod),
            runtime: Arc::new(self.runtime.clone()),
        });
    }

    fn keep_probes(&mut self, plan: &PodPlan) {
        let spec = self.pod.spec.as_ref();
        let ip = plan.status.pod_ip.clone().unwrap_or_default();
        let targets: Vec<ProbeTarget> = self
            .runtime
            .alive()
            .filter(|_| plan.stage == Stage::Running)
            .filter_map(|c| {
                let (container, _) = plan::find_container(spec?, &c.name)?;
                Some(ProbeTarget {
                    container_id: c.id.clone(),
                    started_at: c.started_at?,
                    spec: Arc::new(container),
                    pod_ip: ip.clone(),
                })
            })
            .collect();
        self.results
            .retain(|id| self.runtime.containers.iter().any(|c| c.id == id));
        self.probes.keep(&targets);
    }

    fn tell_held_back(&mut self, plan: &PodPlan) {
        for held in &plan.held_back {
            if self.told_held_back.insert(held.container.clone(), held.until) != Some(held.until) {
                let PodIdentity { uid, namespace, name } = &*self.identity;
                let text = format!(
                    "Back-off restarting failed container {} in pod {name}_{namespace}({uid})",
                    held.container
                );
                self.job()
                    .container_event(&held.container, Severity::Warning, "BackOff", text);
            }
        }
        self.tell_pulls_held_back(plan);
    }

    /// A pull that is held back is told once for each failure, in the words and pair of events of kubelet's image manager.
    fn tell_pulls_held_back(&mut self, plan: &PodPlan) {
        let lists = [
            &plan.status.init_container_statuses,
            &plan.status.container_statuses,
        ];
        for status in lists.into_iter().flatten().flatten() {
            let waiting = status.state.as_ref().and_then(|state| state.waiting.as_ref());
            if waiting.and_then(|w| w.reason.as_deref()) != Some("ImagePullBackOff") {
                continue;
            }
            let Some(failure) = self.failures.get(&Subject::Container(status.name.clone())) else {
                continue;
            };
            let told = self.told_held_back.insert(image_key(&status.name), failure.at);
            if told != Some(failure.at) {
                let text = format!("Back-off pulling image \"{}\"", status.image);
                let job = self.job();
                job.container_event(&status.name, Severity::Normal, "BackOff", text);
                job.container_event(
                    &status.name,
                    Severity::Warning,
                    "Failed",
                    "Error: ImagePullBackOff",
                );
            }
        }
    }

    fn wake_no_later_than(&mut self, at: Option<Timestamp>) {
        self.wake_at = match (self.wake_at, at) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        };
    }
}

fn image_key(container: &str) -> String {
    format!("image of {container}")
}

async fn wake(at: Option<Timestamp>) {
    match at {
        None => std::future::pending().await,
        Some(at) => {
            let wait = Duration::try_from(at.duration_since(clock::now())).unwrap_or_default();
            // A little later than planned, so that the plan finds its time come.
            tokio::time::sleep(wait + Duration::from_millis(2)).await;
        }
    }
}
