//! The TTL-after-finished controller: deletes Jobs some time after they finished (`ttlSecondsAfterFinished`).

use super::job::spec;
use crate::Clock;
use crate::run::{Context, Informers};
use crate::runtime::worker::until;
use crate::runtime::{Cache, Change, ObjectKey, Queue, Reconcile, ReconcileError, write};
use crate::target::Target;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use kube::api::{Api, PropagationPolicy};
use std::sync::Arc;
use std::time::Duration;

pub(crate) struct Expiry {
    client: kube::Client,
    clock: Clock,
    jobs: Arc<Cache<Job>>,
}

/// Builds the controller and its queue, fed by the informers.
pub(crate) fn start(context: &Context, informers: &Informers) -> (Arc<Expiry>, Arc<Queue<ObjectKey>>) {
    let queue = Arc::new(Queue::new());
    let own = queue.clone();
    informers.jobs.subscribe(move |change| {
        if !matches!(change, Change::Deleted(_)) && expires_at(change.object()).is_some() {
            own.add(ObjectKey::of(&change.object().metadata));
        }
    });
    let controller = Expiry {
        client: context.client.clone(),
        clock: context.config.clock,
        jobs: informers.jobs.cache().clone(),
    };
    (Arc::new(controller), queue)
}

/// When the Job is to go. Pure.
fn expires_at(job: &Job) -> Option<Timestamp> {
    let seconds = job.spec.as_ref()?.ttl_seconds_after_finished?;
    let finished = spec::finished(job)?.last_transition_time.as_ref()?;
    let stays = job.metadata.deletion_timestamp.is_none();
    finished
        .0
        .checked_add(SignedDuration::from_secs(seconds.into()))
        .ok()
        .filter(|_| stays)
}

impl Reconcile for Expiry {
    type Key = ObjectKey;

    async fn reconcile(&self, key: &ObjectKey) -> Result<Option<Duration>, ReconcileError> {
        let now = self.clock.now();
        let Some(at) = self.jobs.get(key).and_then(|job| expires_at(&job)) else {
            return Ok(None);
        };
        if at > now {
            return Ok(Some(until(now, at)));
        }
        // Its time may have been changed since.
        let api: Api<Job> = Api::namespaced(self.client.clone(), &key.namespace);
        let fresh = api.get_opt(&key.name).await;
        let fresh = fresh.map_err(ReconcileError::request(format!("reading job {key}")))?;
        let Some(fresh) = fresh.filter(|job| expires_at(job).is_some_and(|at| at <= now)) else {
            return Ok(None);
        };
        let target = Target::of(&fresh.metadata);
        let deleted = write::delete(&api, &target, Some(PropagationPolicy::Foreground));
        let version = deleted
            .await
            .map_err(ReconcileError::request(format!("deleting job {key}")))?;
        self.jobs.shows(self.jobs.mark(version.as_deref())).await;
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn only_finished_jobs_with_a_time_expire() {
        let job = |ttl: Option<i32>, end: &str| -> Job {
            let condition =
                json!({"type": end, "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"});
            let template = json!({"spec": {"containers": []}});
            serde_json::from_value(json!({
                "spec": {"ttlSecondsAfterFinished": ttl, "template": template},
                "status": {"conditions": [condition]},
            }))
            .unwrap()
        };
        let at = Some("2026-01-01T00:00:30Z".parse().unwrap());
        assert_eq!(expires_at(&job(Some(30), "Complete")), at);
        assert_eq!(expires_at(&job(Some(30), "Failed")), at);
        assert_eq!(expires_at(&job(Some(30), "Suspended")), None);
        assert_eq!(expires_at(&job(None, "Complete")), None);
    }
}
