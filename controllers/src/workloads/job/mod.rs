//! The Job controller: runs pods until as many of them have succeeded as are asked for.
//!
//! [`plan`] decides what is done to pods, [`tell`] what the status says then and which pods it accounts for; this shell acts,
//! writes the status, and only then takes the finalizers off. Pods that no Job accounts for any more lose theirs too.

mod backoff;
mod indexes;
mod plan;
mod policy;
pub(crate) mod spec;
mod tell;
#[cfg(test)]
mod tests;
mod view;

use super::control::{self, PodControl, concerned};
use super::pods;
use crate::Clock;
use crate::observed::Pod;
use crate::owners::controller_of;
use crate::run::{Context, Informers};
use crate::runtime::worker::until;
use crate::runtime::{Cache, Change, ObjectKey, Queue, Reconcile, ReconcileError};
use backoff::Record;
use k8s_openapi::api::batch::v1::{Job, JobStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::Api;
use plan::{Observed, Plan};
use spec::{TRACKING, Wanted};
use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tell::{Done, Told};

pub(crate) struct Jobs {
    client: kube::Client,
    clock: Clock,
    jobs: Arc<Cache<Job>>,
    pods: Arc<Cache<Pod>>,
    control: PodControl<Job>,
    /// Failures since the last success, by the Job's uid. A process that begins anew begins with none, as upstream's does.
    records: Mutex<HashMap<String, Record>>,
}

/// What there may be to do something about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Key {
    Job(ObjectKey),
    /// A pod that bears the finalizer although no unfinished Job accounts for it.
    Stray(ObjectKey),
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Job(key) => key.fmt(f),
            Self::Stray(key) => write!(f, "pod {key}"),
        }
    }
}

/// Builds the controller and its queue, fed by the informers.
pub(crate) fn start(context: &Context, informers: &Informers) -> (Arc<Jobs>, Arc<Queue<Key>>) {
    let queue = Arc::new(Queue::new());
    let (own, pods) = (queue.clone(), informers.pods.cache().clone());
    informers.jobs.subscribe(move |change| {
        let job = change.object();
        own.add(Key::Job(ObjectKey::of(&job.metadata)));
        if matches!(change, Change::Deleted(_)) || spec::finished(job).is_some() {
            let uid = job.metadata.uid.as_deref().unwrap_or_default();
            let left = pods.by_term(&format!("owner/{uid}"));
            for pod in left.iter().filter(|pod| pods::has_finalizer(pod, TRACKING)) {
                own.add(Key::Stray(ObjectKey::of(&pod.metadata)));
            }
        }
    });
    let (own, jobs) = (queue.clone(), informers.jobs.cache().clone());
    informers.pods.subscribe(move |change| {
        let selector = |job: &Job| job.spec.as_ref().and_then(|spec| spec.selector.clone());
        for key in concerned(&jobs, change, selector) {
            own.add(Key::Job(key));
        }
        let pod = change.object();
        if pods::has_finalizer(pod, TRACKING) && !matches!(change, Change::Deleted(_)) && is_stray(&jobs, pod)
        {
            own.add(Key::Stray(ObjectKey::of(&pod.metadata)));
        }
    });
    let controller = Jobs {
        client: context.client.clone(),
        clock: context.config.clock,
        jobs: informers.jobs.cache().clone(),
        pods: informers.pods.cache().clone(),
        control: PodControl::new(context, informers),
        records: Mutex::default(),
    };
    (Arc::new(controller), queue)
}

/// Whether no unfinished Job that is known accounts for the pod.
fn is_stray(jobs: &Cache<Job>, pod: &Pod) -> bool {
    let Some(owner) = controller_of(&pod.metadata) else {
        return true;
    };
    let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
    let job = jobs.get(&ObjectKey::new(namespace, &owner.name));
    let job = job.filter(|job| job.metadata.uid.as_ref() == Some(&owner.uid));
    owner.kind == "Job" && owner.api_version == "batch/v1" && job.is_none_or(|job| accounts_no_more(&job))
}

fn accounts_no_more(job: &Job) -> bool {
    spec::finished(job).is_some() && !spec::is_managed_elsewhere(job)
}

impl Reconcile for Jobs {
    type Key = Key;

    async fn reconcile(&self, key: &Key) -> Result<Option<Duration>, ReconcileError> {
        match key {
            Key::Job(key) => self.reconcile_job(key).await,
            Key::Stray(key) => self.reconcile_stray(key).await.map(|()| None),
        }
    }
}

impl Jobs {
    async fn reconcile_job(&self, key: &ObjectKey) -> Result<Option<Duration>, ReconcileError> {
        let Some(job) = self.jobs.get(key) else {
            return Ok(None);
        };
        if spec::is_managed_elsewhere(&job) {
            return Ok(None);
        }
        let uid = job.metadata.uid.clone().unwrap_or_default();
        if spec::finished(&job).is_some() {
            self.records().remove(&uid);
            return Ok(None);
        }
        let Some(wanted) = Wanted::of(&job) else {
            return Ok(None);
        };
        let now = self.clock.now();
        let record = self.records().get(&uid).cloned().unwrap_or_default();
        let plan = plan::plan(
            &Observed {
                wanted: &wanted,
                pods: &self.control.candidates(&job.metadata),
                record: &record,
                reference: &PodControl::<Job>::reference(&job.metadata),
            },
            now,
        );
        let (done, failure) = self.act(&job.metadata, &plan).await?;
        let told = tell::tell(&wanted, &plan.view, &done, now);
        self.account(&job, wanted.status, told, (uid, plan.view.backoff))
            .await?;
        match failure {
            Some(failure) => Err(ReconcileError::Unexpected(failure.message)),
            None => Ok(plan.look_again.map(|at| until(now, at))),
        }
    }

    async fn act(
        &self,
        job: &ObjectMeta,
        plan: &Plan,
    ) -> Result<(Done, Option<pods::Failure>), ReconcileError> {
        self.control.settle(job, &plan.claims, Some(TRACKING)).await?;
        if plan.forget {
            let namespace = job.namespace.as_deref().unwrap_or_default();
            self.control.strip(namespace, &plan.delete, TRACKING).await?;
        }
        let deleted = self.control.delete(job, &plan.delete).await;
        let created = self.control.create(job, &plan.create).await;
        let done = Done {
            created: view::count(created.done.len()),
            deleted: deleted.done,
        };
        Ok((done, deleted.failure.or(created.failure)))
    }

    /// Writes the status, then lets go of the pods that it accounts for, then tells what came to pass.
    async fn account(
        &self,
        job: &Job,
        before: &JobStatus,
        told: Told,
        (uid, record): (String, Record),
    ) -> Result<(), ReconcileError> {
        if told.status != *before {
            self.write_status(&job.metadata, &told.status).await?;
            self.records().insert(uid, record);
        }
        let namespace = job.metadata.namespace.as_deref().unwrap_or_default();
        self.control.strip(namespace, &told.counted, TRACKING).await?;
        for note in told.notes {
            self.control.note(&job.metadata, note);
        }
        Ok(())
    }

    async fn write_status(&self, job: &ObjectMeta, status: &JobStatus) -> Result<(), ReconcileError> {
        control::write_status(&self.client, &self.jobs, job, status).await
    }

    /// Takes the finalizer off a pod that no Job accounts for, by the API server's word: the cache of Jobs may lag behind that
    /// of pods.
    async fn reconcile_stray(&self, key: &ObjectKey) -> Result<(), ReconcileError> {
        let Some(pod) = self
            .pods
            .get(key)
            .filter(|pod| pods::has_finalizer(pod, TRACKING))
        else {
            return Ok(());
        };
        if !is_stray(&self.jobs, &pod) {
            return Ok(());
        }
        if let Some(owner) = controller_of(&pod.metadata) {
            let api: Api<Job> = Api::namespaced(self.client.clone(), &key.namespace);
            let doing = ReconcileError::request(format!("reading job {}", owner.name));
            let found = api.get_opt(&owner.name).await.map_err(doing)?;
            let job = found.filter(|job| job.metadata.uid.as_ref() == Some(&owner.uid));
            if job.is_some_and(|job| !accounts_no_more(&job)) {
                return Ok(());
            }
        }
        self.control.strip(&key.namespace, &[pod], TRACKING).await
    }

    fn records(&self) -> std::sync::MutexGuard<'_, HashMap<String, Record>> {
        self.records.lock().expect("no holder of the lock panics")
    }
}
