//! Resizes in place, as the worker sees to them: what is granted, and what running containers were given.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{Pod, ResourceRequirements};

use super::super::operation::Key;
use super::super::resize::Running;
use super::Worker;
use super::admission::Admission;
use crate::events::Severity;
use crate::plan::{self, PodPlan, Stage};
use crate::pod_level;
use crate::resources::Amounts;
use crate::runtime::PodRuntime;

/// How long after a resize was put off it is looked at again.
const ASK_AGAIN: SignedDuration = SignedDuration::from_secs(3);

impl Worker {
    /// Takes the pod as the API has it: with the resources that were granted, whatever it asks for now.
    pub(super) fn take_pod(&mut self, pod: Arc<Pod>) {
        self.pod = match &pod.spec {
            Some(spec) if plan::is_asked(spec, &self.allocation) => {
                Arc::new(plan::with_allocation(&pod, &self.allocation))
            }
            _ => pod.clone(),
        };
        self.asked = pod;
    }

    /// Grants what the pod asks for now, if the node has it.
    pub(super) fn consider_resize(&mut self) {
        let Some(spec) = self.asked.spec.clone() else {
            return;
        };
        if self.removed || self.asked.metadata.deletion_timestamp.is_some() {
            return;
        }
        if !plan::is_asked(&spec, &self.allocation) {
            self.pending = None;
            return;
        }
        let machine = self.context.machine;
        let node = Amounts {
            milli_cpu: machine.milli_cpu,
            memory: machine.memory_bytes,
        };
        if self.admission != Admission::Taken {
            return;
        }
        let refusal = self
            .context
            .allocations
            .resize(&self.identity.uid, &self.asked, node);
        if refusal.is_none() {
            if self.pod_has.is_none() {
                self.pod_has = self.pod.spec.as_ref().map(pod_level::whole);
            }
            self.allocation = plan::asked(&spec);
            self.pod = self.asked.clone();
            // The downward API shows them.
            self.volumes_current = false;
            self.retries.remove(&Key::Resize);
            self.resize_fault = None;
            self.job()
                .resize_event(Severity::Normal, "ResizeStarted", "Pod resize started", None);
        }
        if let Some(pending) = refusal
            .as_ref()
            .filter(|pending| Some(*pending) != self.pending.as_ref())
        {
            let (reason, words) = if pending.is_deferred() {
                ("ResizeDeferred", "Pod resize Deferred")
            } else {
                ("ResizeInfeasible", "Pod resize Infeasible")
            };
            self.job()
                .resize_event(Severity::Warning, reason, words, Some(&pending.message));
        }
        self.pending = refusal;
    }

    /// When a resize that was put off is looked at again.
    pub(super) fn resize_again_at(&self, now: Timestamp) -> Option<Timestamp> {
        let deferred = self.pending.as_ref().filter(|pending| pending.is_deferred());
        deferred.and_then(|_| now.saturating_add(ASK_AGAIN).ok())
    }

    /// Begins to give running containers, named by id, what was granted.
    pub(super) fn resize(&mut self, ids: &[String], now: Timestamp) {
        let runtime = self.seen_runtime();
        let named = |id: &String| {
            let known = runtime.containers.iter().find(|c| c.id == *id)?;
            Some(Running {
                id: id.clone(),
                name: known.name.clone(),
                has: known.resources.clone().unwrap_or_default(),
            })
        };
        let containers: Vec<_> = ids.iter().filter_map(named).collect();
        let (job, pod_has) = (self.job(), self.pod_has.clone());
        self.begin(Key::Resize, now, move || job.resize(containers, pod_has));
    }

    /// Remembers what running containers were given, and the pod as a whole.
    pub(super) fn note_resized(
        &mut self,
        containers: Vec<(String, ResourceRequirements)>,
        pod: ResourceRequirements,
    ) {
        self.resize_fault = None;
        self.resized.extend(containers);
        self.pod_has = Some(pod);
    }

    /// What is seen of containers, with what they were given since they were made.
    pub(super) fn show_resized(&self, runtime: &mut PodRuntime) {
        for container in &mut runtime.containers {
            if let Some(resources) = self.resized.get(&container.id) {
                container.resources = Some(resources.clone());
            }
        }
    }

    /// Keeps the books: what the pod holds, containers that are gone, and the end of a resize.
    pub(super) fn settle_resize(&mut self, plan: &PodPlan) {
        let uid = &self.identity.uid;
        // What the API takes for finished or gone is nothing that the scheduler counts, so it must not stand in the way of
        // whom the scheduler sends next. The phase is told after this.
        let finished = matches!(plan.status.phase.as_deref(), Some("Succeeded" | "Failed"));
        if finished || self.removed || plan.stage == Stage::Ended {
            self.context.allocations.remove(uid);
        } else {
            self.context.allocations.set(uid, self.pod.clone());
        }
        self.resized
            .retain(|id, _| self.runtime.containers.iter().any(|c| c.id == *id));
        let conditions = plan.status.conditions.iter().flatten();
        let resizing = conditions.into_iter().any(|c| c.type_ == "PodResizeInProgress");
        if std::mem::replace(&mut self.resizing, resizing) && !resizing && plan.stage == Stage::Running {
            self.job()
                .resize_event(Severity::Normal, "ResizeCompleted", "Pod resize completed", None);
        }
    }
}
