//! The CronJob controller: starts Jobs at their times, and clears old ones away.
//!
//! [`plan`] decides; this shell looks for Jobs that are said to be active and are not seen, deletes, starts, and writes the status.

mod plan;

use super::control;
use crate::Clock;
use crate::owners::controller_of;
use crate::run::{Context, Informers};
use crate::runtime::events::reference;
use crate::runtime::worker::until;
use crate::runtime::write::{self};
use crate::runtime::{Cache, Change, Note, ObjectKey, Queue, Reconcile, ReconcileError, Recorder};
use crate::target::Target;
use k8s_openapi::api::batch::v1::{CronJob, CronJobStatus, Job};
use k8s_openapi::api::core::v1::ObjectReference;
use kube::api::{Api, ListParams, PostParams, PropagationPolicy};
use plan::{Observed, Start};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

/// How soon it is looked again where not all is seen yet.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

pub(crate) struct CronJobs {
    client: kube::Client,
    clock: Clock,
    cron_jobs: Arc<Cache<CronJob>>,
    jobs: Arc<Cache<Job>>,
    recorder: Recorder,
}

/// Builds the controller and its queue, fed by the informers.
pub(crate) fn start(context: &Context, informers: &Informers) -> (Arc<CronJobs>, Arc<Queue<ObjectKey>>) {
    let queue = Arc::new(Queue::new());
    let (own, clock) = (queue.clone(), context.config.clock);
    informers.cron_jobs.subscribe(move |change| {
        let key = ObjectKey::of(&change.object().metadata);
        // What a changed schedule would have started before is not made up for: it is looked at when its next time comes.
        match change {
            Change::Updated(old, new) if times(old) != times(new) => {
                let now = clock.now();
                if let Some(at) = plan::next_time(new, now) {
                    own.add_after(key, until(now, at));
                }
            }
            _ => own.add(key),
        }
    });
    let own = queue.clone();
    informers.jobs.subscribe(move |change| {
        for job in [Some(change.object()), change.old()].into_iter().flatten() {
            if let Some(owner) = controller_of(&job.metadata).filter(|owner| owner.kind == "CronJob") {
                let namespace = job.metadata.namespace.as_deref().unwrap_or_default();
                own.add(ObjectKey::new(namespace, &owner.name));
            }
        }
    });
    let controller = CronJobs {
        client: context.client.clone(),
        clock: context.config.clock,
        cron_jobs: informers.cron_jobs.cache().clone(),
        jobs: informers.jobs.cache().clone(),
        recorder: context.recorder.clone(),
    };
    (Arc::new(controller), queue)
}

fn times(cron_job: &CronJob) -> (&str, Option<&str>) {
    (&cron_job.spec.schedule, cron_job.spec.time_zone.as_deref())
}

impl Reconcile for CronJobs {
    type Key = ObjectKey;

    async fn reconcile(&self, key: &ObjectKey) -> Result<Option<Duration>, ReconcileError> {
        let Some(cron_job) = self.cron_jobs.get(key) else {
            return Ok(None);
        };
        let uid = cron_job.metadata.uid.as_deref().unwrap_or_default();
        let jobs = self.jobs.by_term(&format!("owner/{uid}"));
        let missing = self.missing(&cron_job, &jobs).await?;
        let now = self.clock.now();
        let plan = plan::plan(
            &Observed {
                cron_job: &cron_job,
                jobs: &jobs,
                missing: &missing,
            },
            now,
        );
        if plan.start.is_some() && self.is_behind(&cron_job, &jobs).await? {
            return Ok(Some(LOOK_AGAIN));
        }
        for note in plan.notes {
            self.note(&cron_job, note);
        }
        for job in &plan.delete {
            self.delete(&cron_job, job).await?;
        }
        let mut status = plan.status;
        let failed = match &plan.start {
            None => None,
            Some(start) => match self.start(&cron_job, start).await {
                Ok(Some(job)) => {
                    status = plan::with_started(status, &job, start.at);
                    None
                }
                Ok(None) => None,
                Err(error) => Some(error),
            },
        };
        if Some(&status) != cron_job.status.as_ref() {
            self.write_status(&cron_job, status).await?;
        }
        failed.map_or(Ok(plan.look_again.map(|at| until(now, at))), Err)
    }
}

impl CronJobs {
    fn api(&self, namespace: &str) -> Api<Job> {
        Api::namespaced(self.client.clone(), namespace)
    }

    fn note(&self, cron_job: &CronJob, note: Note) {
        let about = reference("batch/v1", "CronJob", &cron_job.metadata);
        self.recorder.record(&about, note);
    }

    /// Whether the API server has a Job of this CronJob that is not among these: then it cannot be told whether another may be
    /// started. Upstream goes by what it has seen, and may start a second one.
    async fn is_behind(&self, cron_job: &CronJob, jobs: &[Arc<Job>]) -> Result<bool, ReconcileError> {
        let namespace = cron_job.metadata.namespace.as_deref().unwrap_or_default();
        let listed = self.api(namespace).list(&ListParams::default()).await;
        let listed = listed.map_err(ReconcileError::request(format!("listing jobs of {namespace}")))?;
        let is_known = |job: &Job| jobs.iter().any(|known| known.metadata.uid == job.metadata.uid);
        let mut own = listed.items.iter().filter(|job| plan::is_ours(cron_job, job));
        Ok(own.any(|job| !is_known(job)))
    }

    /// Uids of Jobs that are said to be active and are not there, by the API server's word.
    async fn missing(
        &self,
        cron_job: &CronJob,
        jobs: &[Arc<Job>],
    ) -> Result<BTreeSet<String>, ReconcileError> {
        let mut missing = BTreeSet::new();
        for active in plan::unseen(cron_job, jobs) {
            let name = active.name.unwrap_or_default();
            let api = self.api(active.namespace.as_deref().unwrap_or_default());
            let found = api.get_opt(&name).await;
            let found = found.map_err(ReconcileError::request(format!("reading job {name}")))?;
            if found.is_none_or(|job| job.metadata.uid != active.uid) {
                missing.extend(active.uid);
            }
        }
        Ok(missing)
    }

    async fn delete(&self, cron_job: &CronJob, job: &ObjectReference) -> Result<(), ReconcileError> {
        let target = Target {
            namespace: job.namespace.clone().unwrap_or_default(),
            name: job.name.clone().unwrap_or_default(),
            uid: job.uid.clone().unwrap_or_default(),
            resource_version: String::new(),
        };
        let api = self.api(&target.namespace);
        match write::delete(&api, &target, Some(PropagationPolicy::Background)).await {
            Ok(version) => {
                self.jobs.shows(self.jobs.mark(version.as_deref())).await;
                let message = format!("Deleted job {}", target.name);
                self.note(cron_job, Note::normal("SuccessfulDelete", message));
                Ok(())
            }
            Err(error) => {
                let message = format!("Deleted job: {}", write::api_message(&error));
                self.note(cron_job, Note::warning("FailedDelete", message));
                Err(ReconcileError::request(format!("deleting job {}", target.name))(
                    error,
                ))
            }
        }
    }

    /// Starts a Job, or finds the one that was started for this time before.
    async fn start(&self, cron_job: &CronJob, start: &Start) -> Result<Option<Job>, ReconcileError> {
        let namespace = cron_job.metadata.namespace.as_deref().unwrap_or_default();
        let name = start.job.metadata.name.clone().unwrap_or_default();
        let api = self.api(namespace);
        let error = match api.create(&PostParams::default(), &start.job).await {
            Ok(job) => {
                let mark = self.jobs.mark(job.metadata.resource_version.as_deref());
                self.jobs.shows(mark).await;
                let message = format!("Created job {name}");
                self.note(cron_job, Note::normal("SuccessfulCreate", message));
                return Ok(Some(job));
            }
            Err(error) => error,
        };
        if write::is_conflict(&error) {
            let found = api.get_opt(&name).await;
            let found = found.map_err(ReconcileError::request(format!("reading job {name}")))?;
            return Ok(found.filter(|job| plan::is_ours(cron_job, job)));
        }
        if !write::is_namespace_terminating(&error) {
            let message = format!("Error creating job: {}", write::api_message(&error));
            self.note(cron_job, Note::warning("FailedCreate", message));
        }
        Err(ReconcileError::request(format!("creating job {name}"))(error))
    }

    async fn write_status(&self, cron_job: &CronJob, status: CronJobStatus) -> Result<(), ReconcileError> {
        control::write_status(&self.client, &self.cron_jobs, &cron_job.metadata, &status).await
    }
}
