//! How long a Job waits before it makes another pod after failures. Pure.

use crate::observed::{ContainerStatus, Pod};
use crate::workloads::pods;
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use std::sync::Arc;

/// The pause after the first failure in a row; each further one doubles it.
const FIRST: SignedDuration = SignedDuration::from_secs(10);
/// The longest pause.
const LONGEST: SignedDuration = SignedDuration::from_mins(10);

/// Failures of a Job's pods since the last success.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Record {
    failures: u32,
    last: Option<Timestamp>,
}

impl Record {
    /// What is on record once these pods have finished too.
    pub(crate) fn after(&self, succeeded: &[Arc<Pod>], failed: &[Arc<Pod>]) -> Self {
        let last_success = succeeded.iter().filter_map(|pod| finished_at(pod)).max();
        let ended = failed.iter().map(|pod| finished_at(pod));
        if succeeded.is_empty() {
            let mut record = self.clone();
            for at in ended {
                record.count(at);
            }
            return record;
        }
        let mut record = Self::default();
        ended
            .filter(|at| *at > last_success)
            .for_each(|at| record.count(at));
        record
    }

    fn count(&mut self, at: Option<Timestamp>) {
        self.failures = self.failures.saturating_add(1);
        self.last = self.last.max(at);
    }

    /// When the next pod may be made, if not at once.
    pub(crate) fn until(&self) -> Option<Timestamp> {
        pause(self.failures, self.last)
    }
}

/// When a pod may take the place of this one, the last of its index that failed, if not at once.
pub(crate) fn until_replaced(failed: &Pod, failures: u32) -> Option<Timestamp> {
    pause(failures.saturating_add(1), finished_at(failed))
}

fn pause(failures: u32, last: Option<Timestamp>) -> Option<Timestamp> {
    if failures == 0 {
        return None;
    }
    let factor = 1_i32.checked_shl(failures - 1).filter(|factor| *factor > 0);
    let pause = factor
        .and_then(|factor| FIRST.checked_mul(factor))
        .map_or(LONGEST, |pause| pause.min(LONGEST));
    last?.checked_add(pause).ok()
}

/// When the pod ended: when its last container did, or when it was no longer ready, or when it was to end.
pub(crate) fn finished_at(pod: &Pod) -> Option<Timestamp> {
    containers_ended(pod)
        .or_else(|| {
            let ready = pods::condition(pod, "Ready").filter(|ready| ready.status == "False")?;
            Some(ready.last_transition_time.as_ref()?.0)
        })
        .or_else(|| {
            let at = pod.metadata.deletion_timestamp.as_ref()?.0;
            let grace = pod.metadata.deletion_grace_period_seconds.unwrap_or(0);
            at.checked_sub(SignedDuration::from_secs(grace)).ok()
        })
        .or_else(|| Some(pod.metadata.creation_timestamp.as_ref()?.0))
}

/// When the last container and sidecar ended, if all have.
fn containers_ended(pod: &Pod) -> Option<Timestamp> {
    let status = pod.status.as_ref()?;
    let is_sidecar = |name: &str| {
        let init = pod
            .spec
            .iter()
            .flat_map(|spec| spec.init_containers.iter().flatten());
        init.filter(|container| container.restart_policy.as_deref() == Some("Always"))
            .any(|container| container.name == name)
    };
    let sidecars = status.init_container_statuses.iter().flatten();
    let sidecars = sidecars.filter(|container| is_sidecar(&container.name));
    let all = status.container_statuses.iter().flatten().chain(sidecars);
    let ended = |container: &ContainerStatus| {
        let terminated = container.state.as_ref()?.terminated.as_ref()?;
        Some(terminated.finished_at.as_ref()?.0)
    };
    let all: Option<Vec<Timestamp>> = all.map(ended).collect();
    all?.into_iter().max()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn ended(second: i64) -> Arc<Pod> {
        let at = Timestamp::from_second(second).unwrap();
        let state = json!({"terminated": {"exitCode": 1, "finishedAt": at}});
        let container = json!({"name": "c", "image": "", "imageID": "", "ready": false, "restartCount": 0, "state": state});
        let pod = json!({"metadata": {"name": "p"}, "status": {"containerStatuses": [container]}});
        Arc::new(serde_json::from_value(pod).unwrap())
    }

    fn second(record: &Record) -> Option<i64> {
        record.until().map(Timestamp::as_second)
    }

    #[test]
    fn the_pause_doubles_and_a_success_forgets() {
        let record = Record::default();
        assert_eq!(second(&record), None);
        let record = record.after(&[], &[ended(100)]);
        assert_eq!(second(&record), Some(110));
        let record = record.after(&[], &[ended(120), ended(115)]);
        assert_eq!(second(&record), Some(160));
        assert_eq!(record.after(&[], &[]), record);
        assert_eq!(second(&record.after(&[ended(130)], &[ended(125)])), None);
        assert_eq!(
            second(&record.after(&[ended(130)], &[ended(125), ended(140)])),
            Some(150)
        );
        let many = record.after(&[], &vec![ended(200); 40]);
        assert_eq!(second(&many), Some(800));
    }

    #[test]
    fn a_pod_without_containers_ended_when_it_was_deleted() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let pod = json!({"metadata": {"creationTimestamp": at(1), "deletionTimestamp": at(60), "deletionGracePeriodSeconds": 30}});
        let pod: Pod = serde_json::from_value(pod).unwrap();
        assert_eq!(finished_at(&pod), Some(at(30)));
    }
}
