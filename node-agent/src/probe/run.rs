//! The shell around probes: one task per probe of a running container.

mod send;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Container, Probe};
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::task::AbortHandle;
use tokio_util::task::TaskTracker;

pub(crate) use send::{HttpTarget, http_get, resolve_port, tcp_connect};

use super::state::{Kind, Outcome, ProbeState, Verdict};
use crate::clock;
use crate::cri::Cri;

/// A container to be probed.
#[derive(Clone)]
pub(crate) struct ProbeTarget {
    pub(crate) container_id: String,
    pub(crate) started_at: Timestamp,
    pub(crate) spec: Arc<Container>,
    pub(crate) pod_ip: String,
}

/// What one attempt found.
#[derive(Debug)]
pub(crate) struct ProbeReport {
    pub(crate) container_id: String,
    pub(crate) container: String,
    pub(crate) kind: Kind,
    pub(crate) outcome: Outcome,
    pub(crate) verdict: Option<Verdict>,
}

/// The probes of one pod. Dropping it ends them.
pub(crate) struct Probes {
    cri: Cri,
    tasks: TaskTracker,
    slots: Arc<Semaphore>,
    reports: mpsc::Sender<ProbeReport>,
    running: HashMap<(String, Kind), AbortHandle>,
    /// Tells a container's other probes that it has started.
    started: HashMap<String, watch::Sender<bool>>,
}

impl Probes {
    /// `slots` bounds how many probes of the node run at once.
    pub(crate) fn new(
        cri: Cri,
        tasks: TaskTracker,
        slots: Arc<Semaphore>,
        reports: mpsc::Sender<ProbeReport>,
    ) -> Self {
        Self {
            cri,
            tasks,
            slots,
            reports,
            running: HashMap::new(),
            started: HashMap::new(),
        }
    }

    /// Probes exactly these containers from now on.
    pub(crate) fn keep(&mut self, targets: &[ProbeTarget]) {
        let wanted = |id: &str| targets.iter().any(|t| t.container_id == id);
        self.running.retain(|(id, _), handle| {
            let keep = wanted(id);
            if !keep {
                handle.abort();
            }
            keep
        });
        self.started.retain(|id, _| wanted(id));
        for target in targets {
            self.add(target);
        }
    }

    /// The startup probe of this container succeeded.
    pub(crate) fn mark_started(&self, container_id: &str) {
        if let Some(started) = self.started.get(container_id) {
            started.send_replace(true);
        }
    }

    fn add(&mut self, target: &ProbeTarget) {
        let spec = &target.spec;
        let probes = [
            (Kind::Startup, &spec.startup_probe),
            (Kind::Liveness, &spec.liveness_probe),
            (Kind::Readiness, &spec.readiness_probe),
        ];
        for (kind, probe) in probes {
            let Some(probe) = probe else { continue };
            let key = (target.container_id.clone(), kind);
            if self.running.contains_key(&key) {
                continue;
            }
            let no_startup = spec.startup_probe.is_none();
            let started = self
                .started
                .entry(target.container_id.clone())
                .or_insert_with(|| watch::Sender::new(no_startup))
                .subscribe();
            let prober = Prober {
                cri: self.cri.clone(),
                slots: self.slots.clone(),
                reports: self.reports.clone(),
                target: target.clone(),
                probe: probe.clone(),
                started,
            };
            let handle = self.tasks.spawn(prober.run(kind)).abort_handle();
            self.running.insert(key, handle);
        }
    }
}

impl Drop for Probes {
    fn drop(&mut self) {
        self.running.values().for_each(AbortHandle::abort);
    }
}

struct Prober {
    cri: Cri,
    slots: Arc<Semaphore>,
    reports: mpsc::Sender<ProbeReport>,
    target: ProbeTarget,
    probe: Probe,
    started: watch::Receiver<bool>,
}

impl Prober {
    async fn run(mut self, kind: Kind) {
        let mut state = ProbeState::new(kind, &self.probe, self.target.started_at);
        if kind != Kind::Startup && self.started.wait_for(|started| *started).await.is_err() {
            return;
        }
        let mut last = None;
        while let Some(at) = state.next_at(last) {
            sleep_until(at).await;
            last = Some(clock::now());
            let outcome = self.attempt().await;
            let verdict = state.observe(&outcome);
            let report = ProbeReport {
                container_id: self.target.container_id.clone(),
                container: self.target.spec.name.clone(),
                kind: state.kind(),
                outcome,
                verdict,
            };
            if self.reports.send(report).await.is_err() {
                return;
            }
        }
    }

    async fn attempt(&self) -> Outcome {
        let Ok(_slot) = self.slots.acquire().await else {
            return Outcome::Unknown("shutting down".into());
        };
        let timeout = Duration::from_secs(
            u64::try_from(self.probe.timeout_seconds.unwrap_or(1))
                .unwrap_or(1)
                .max(1),
        );
        send::attempt(&self.cri, &self.target, &self.probe, timeout).await
    }
}

async fn sleep_until(at: Timestamp) {
    let wait = at.duration_since(clock::now());
    if let Ok(wait) = Duration::try_from(wait) {
        tokio::time::sleep(wait).await;
    }
}
