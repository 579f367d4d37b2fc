//! The disruption controller: keeps the status of PodDisruptionBudgets, by which evictions are allowed or refused.
//!
//! [`plan`] counts; this shell finds out what the pods' controllers want ([`scales`]), writes the status, and takes back what pods are
//! said to be targets of for too long.

mod plan;
mod scales;

use crate::Clock;
use crate::labels;
use crate::observed::Pod;
use crate::run::{Context, Informers};
use crate::runtime::events::reference;
use crate::runtime::worker::until;
use crate::runtime::write::{self, Part};
use crate::runtime::{Cache, Change, Note, ObjectKey, Queue, Reconcile, ReconcileError, Recorder};
use crate::target::Target;
use k8s_openapi::api::policy::v1::{PodDisruptionBudget, PodDisruptionBudgetStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use kube::api::{Api, ApiResource, DynamicObject, Patch, PatchParams};
use plan::Expected;
use scales::{ScaleError, Scales};
use serde_json::json;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

pub(crate) struct Disruptions {
    client: kube::Client,
    clock: Clock,
    budgets: Arc<Cache<PodDisruptionBudget>>,
    pods: Arc<Cache<Pod>>,
    scales: Scales,
    recorder: Recorder,
}

/// What there may be to do something about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Key {
    Budget(ObjectKey),
    /// A pod that is said to be a target of disruption.
    Target(ObjectKey),
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Budget(key) => key.fmt(f),
            Self::Target(key) => write!(f, "pod {key}"),
        }
    }
}

/// Builds the controller and its queue, fed by the informers.
pub(crate) fn start(context: &Context, informers: &Informers) -> (Arc<Disruptions>, Arc<Queue<Key>>) {
    let queue = Arc::new(Queue::new());
    let own = queue.clone();
    informers
        .budgets
        .subscribe(move |change| own.add(Key::Budget(ObjectKey::of(&change.object().metadata))));
    let (own, budgets) = (queue.clone(), informers.budgets.cache().clone());
    informers.pods.subscribe(move |change| {
        let pod = change.object();
        for pod in [Some(pod), change.old()].into_iter().flatten() {
            for budget in covering(&budgets, pod) {
                own.add(Key::Budget(ObjectKey::of(&budget.metadata)));
            }
        }
        if !matches!(change, Change::Deleted(_)) && plan::stale_from(pod).is_some() {
            own.add(Key::Target(ObjectKey::of(&pod.metadata)));
        }
    });
    let controller = Disruptions {
        client: context.client.clone(),
        clock: context.config.clock,
        budgets: informers.budgets.cache().clone(),
        pods: informers.pods.cache().clone(),
        scales: Scales::new(context, informers),
        recorder: context.recorder.clone(),
    };
    (Arc::new(controller), queue)
}

fn covering(budgets: &Cache<PodDisruptionBudget>, pod: &Pod) -> Vec<Arc<PodDisruptionBudget>> {
    let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
    let mut all = budgets.in_namespace(namespace);
    all.retain(|budget| covers(budget, pod));
    all
}

/// An absent selector covers nothing, an empty one everything.
fn covers(budget: &PodDisruptionBudget, pod: &Pod) -> bool {
    let selector = budget.spec.as_ref().and_then(|spec| spec.selector.as_ref());
    selector
        .and_then(labels::compile)
        .is_some_and(|selector| labels::matches(&selector, pod.metadata.labels.as_ref()))
}

impl Reconcile for Disruptions {
    type Key = Key;

    async fn reconcile(&self, key: &Key) -> Result<Option<Duration>, ReconcileError> {
        match key {
            Key::Budget(key) => self.reconcile_budget(key).await,
            Key::Target(key) => self.reconcile_target(key).await,
        }
    }
}

impl Disruptions {
    async fn reconcile_budget(&self, key: &ObjectKey) -> Result<Option<Duration>, ReconcileError> {
        let Some(budget) = self.budgets.get(key) else {
            return Ok(None);
        };
        let mut pods = self.pods.in_namespace(&key.namespace);
        pods.retain(|pod| covers(&budget, pod));
        if pods.is_empty() {
            self.note(
                &budget,
                Note::normal("NoPods", "No matching pods found".to_owned()),
            );
        }
        let now = self.clock.now();
        let expected = match self.expected(&budget, &pods).await {
            Ok(expected) => expected,
            Err(error) => {
                let message = format!("Failed to calculate the number of expected pods: {error}");
                self.note(&budget, Note::warning("CalculateExpectedPodCountFailed", message));
                let status = plan::failed(&budget, &error.to_string(), now);
                self.write_status(&budget, status).await?;
                return Ok(None);
            }
        };
        let judged = plan::judge(&budget, &pods, expected, now);
        for (pod, note) in judged.lingering {
            self.recorder.record(&reference("v1", "Pod", &pod.metadata), note);
        }
        self.write_status(&budget, judged.status).await?;
        Ok(judged.look_again.map(|at| until(now, at)))
    }

    async fn expected(
        &self,
        budget: &PodDisruptionBudget,
        pods: &[Arc<Pod>],
    ) -> Result<Expected, ScaleError> {
        if !plan::needs_scale(budget) {
            let count = i32::try_from(pods.len()).unwrap_or(i32::MAX);
            return Ok(plan::expected(budget, count));
        }
        let wanted = self.scales.of(pods).await?;
        if !wanted.unmanaged.is_empty() {
            let selector = budget.spec.as_ref().and_then(|spec| spec.selector.as_ref());
            let message = format!(
                "Pods selected by this PodDisruptionBudget (selector: {}) were found to be unmanaged. As a result, the status of the PDB cannot be calculated correctly, which may result in undefined behavior. To account for these pods please set \".spec.minAvailable\" field of the PDB to an integer value.",
                json!(selector)
            );
            self.note(budget, Note::warning("UnmanagedPods", message));
        }
        Ok(plan::expected(budget, wanted.scale))
    }

    fn note(&self, budget: &PodDisruptionBudget, note: Note) {
        let about = reference("policy/v1", "PodDisruptionBudget", &budget.metadata);
        self.recorder.record(&about, note);
    }

    async fn write_status(
        &self,
        budget: &PodDisruptionBudget,
        status: PodDisruptionBudgetStatus,
    ) -> Result<(), ReconcileError> {
        if budget.status.as_ref() == Some(&status) {
            return Ok(());
        }
        let target = Target::of(&budget.metadata);
        let resource = ApiResource::erase::<PodDisruptionBudget>(&());
        let api: Api<DynamicObject> = Api::namespaced_with(self.client.clone(), &target.namespace, &resource);
        let written = write::update(&api, &target, Part::Status, |object| {
            object.data["status"] = json!(status);
        });
        match written.await {
            Ok(written) => {
                let mark = self.budgets.mark(written.metadata.resource_version.as_deref());
                self.budgets.shows(mark).await;
                Ok(())
            }
            Err(error) if error.is_gone() => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Says of a pod that it is no target after all, where it was to be deleted and has not been for some time.
    async fn reconcile_target(&self, key: &ObjectKey) -> Result<Option<Duration>, ReconcileError> {
        let now = self.clock.now();
        let Some(pod) = self.pods.get(key) else {
            return Ok(None);
        };
        let Some(at) = plan::stale_from(&pod) else {
            return Ok(None);
        };
        if at > now {
            return Ok(Some(until(now, at)));
        }
        self.take_back(&pod, now).await.map(|()| None)
    }

    async fn take_back(&self, pod: &Pod, now: Timestamp) -> Result<(), ReconcileError> {
        let target = Target::of(&pod.metadata);
        let api: Api<Pod> = Api::namespaced(self.client.clone(), &target.namespace);
        let condition = json!({
            "type": "DisruptionTarget", "status": "False", "reason": null, "message": null,
            "lastTransitionTime": Time(now),
        });
        let change = json!({
            "metadata": {"uid": target.uid, "resourceVersion": target.resource_version},
            "status": {"conditions": [condition]},
        });
        let (params, change) = (PatchParams::default(), Patch::Strategic(change));
        match api.patch_status(&target.name, &params, &change).await {
            Ok(pod) => {
                let mark = self.pods.mark(pod.metadata.resource_version.as_deref());
                self.pods.shows(mark).await;
                Ok(())
            }
            Err(error) if write::is_gone(&error) => Ok(()),
            Err(error) => Err(ReconcileError::request(format!(
                "taking back the disruption of pod {}",
                target.name
            ))(error)),
        }
    }
}
