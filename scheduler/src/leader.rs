//! Leader election by a Lease, as client-go does it: of several processes one works, the others stand by.
//!
//! [`step`] decides and is pure. Times are the observer's own: a Lease counts as abandoned when it has not *been seen to
//! change* for its duration, so clocks need not agree.

use crate::config::LeaderElection;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use k8s_openapi::jiff::Timestamp;
use kube::api::{Api, PostParams};
use std::time::Duration;
use thiserror::Error;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// Leadership was lost.
#[derive(Debug, Error)]
pub enum LeaderError {
    /// The Lease could not be renewed in time.
    #[error("the lease {0} could not be renewed in time")]
    Deadline(String),
    /// Someone else holds the Lease.
    #[error("the lease {lease} is held by {holder}")]
    Taken {
        /// Namespace and name.
        lease: String,
        /// Its holder.
        holder: String,
    },
}

/// What to do about the Lease now.
#[derive(Debug, PartialEq)]
enum Step {
    /// Write it so, over the state that was read (or create it).
    Write(Box<Lease>),
    /// It is someone else's.
    HeldBy(String),
}

/// Decides what to do about the Lease as it was read. `stale` says that it has not changed for its duration.
fn step(lease: Option<&Lease>, election: &LeaderElection, stale: bool, now: Timestamp) -> Step {
    let spec = lease.and_then(|lease| lease.spec.clone()).unwrap_or_default();
    let holder = spec.holder_identity.clone().unwrap_or_default();
    let ours = holder == election.identity;
    if !ours && !holder.is_empty() && !stale {
        return Step::HeldBy(holder);
    }
    let transitions = spec.lease_transitions.unwrap_or(0) + i32::from(!ours && !holder.is_empty());
    let acquired = spec
        .acquire_time
        .clone()
        .filter(|_| ours)
        .unwrap_or(MicroTime(now));
    let mut lease = lease.cloned().unwrap_or_else(|| Lease {
        metadata: ObjectMeta {
            namespace: Some(election.namespace.clone()),
            name: Some(election.name.clone()),
            ..ObjectMeta::default()
        },
        spec: None,
    });
    lease.spec = Some(LeaseSpec {
        holder_identity: Some(election.identity.clone()),
        lease_duration_seconds: i32::try_from(election.lease_duration.as_secs()).ok(),
        acquire_time: Some(acquired),
        renew_time: Some(MicroTime(now)),
        lease_transitions: Some(transitions),
        ..spec
    });
    Step::Write(Box::new(lease))
}

/// Waits to lead, runs `work` while leading, and gives the Lease back when it ends.
///
/// # Errors
/// [`LeaderError`] when leadership is lost while working; `work` has been cancelled and has ended by then.
pub async fn lead<F: Future<Output = ()>>(
    client: kube::Client,
    election: &LeaderElection,
    shutdown: CancellationToken,
    work: impl FnOnce(CancellationToken) -> F,
) -> Result<(), LeaderError> {
    let api = Api::namespaced(client, &election.namespace);
    let mut candidate = Candidate {
        api,
        election,
        seen: None,
    };
    if shutdown.run_until_cancelled(candidate.acquire()).await.is_none() {
        return Ok(());
    }
    tracing::info!(lease = election.name, identity = election.identity, "leading");
    let leading = shutdown.child_token();
    let guard = leading.clone().drop_guard();
    let keep = async {
        let lost = leading.run_until_cancelled(candidate.keep()).await;
        drop(guard);
        lost
    };
    let (lost, ()) = futures::future::join(keep, work(leading.clone())).await;
    match lost {
        Some(error) => Err(error),
        None => {
            candidate.release().await;
            Ok(())
        }
    }
}

struct Candidate<'a> {
    api: Api<Lease>,
    election: &'a LeaderElection,
    /// The Lease's last seen version, and since when it is seen.
    seen: Option<(Option<String>, Instant)>,
}

impl Candidate<'_> {
    async fn acquire(&mut self) {
        while !matches!(self.try_once().await, Ok(None)) {
            tokio::time::sleep(self.election.retry_period).await;
        }
    }

    /// Renews until that fails for too long; says how.
    async fn keep(&mut self) -> LeaderError {
        let lease = format!("{}/{}", self.election.namespace, self.election.name);
        let mut renewed = Instant::now();
        loop {
            tokio::time::sleep(self.election.retry_period).await;
            let left = self.election.renew_deadline.saturating_sub(renewed.elapsed());
            match tokio::time::timeout(left, self.try_once()).await {
                Ok(Ok(None)) => renewed = Instant::now(),
                Ok(Ok(Some(holder))) => return LeaderError::Taken { lease, holder },
                Ok(Err(error)) => tracing::warn!(lease, %error, "could not renew the lease"),
                Err(_) => return LeaderError::Deadline(lease),
            }
            if renewed.elapsed() >= self.election.renew_deadline {
                return LeaderError::Deadline(lease);
            }
        }
    }

    /// One try to hold the Lease: `None` when held, else who holds it.
    async fn try_once(&mut self) -> Result<Option<String>, kube::Error> {
        let lease = self.api.get_opt(&self.election.name).await?;
        let version = lease
            .as_ref()
            .and_then(|lease| lease.metadata.resource_version.clone());
        if self.seen.as_ref().is_none_or(|(seen, _)| *seen != version) {
            self.seen = Some((version, Instant::now()));
        }
        let duration = lease
            .as_ref()
            .and_then(|lease| lease.spec.as_ref()?.lease_duration_seconds);
        let duration = duration.and_then(|seconds| u64::try_from(seconds).ok());
        let duration = duration.map_or(self.election.lease_duration, Duration::from_secs);
        let stale = self
            .seen
            .as_ref()
            .is_some_and(|(_, since)| since.elapsed() > duration);
        match step(lease.as_ref(), self.election, stale, Timestamp::now()) {
            Step::HeldBy(holder) => Ok(Some(holder)),
            Step::Write(new) => {
                let params = PostParams::default();
                match lease {
                    None => self.api.create(&params, &new).await?,
                    Some(_) => self.api.replace(&self.election.name, &params, &new).await?,
                };
                Ok(None)
            }
        }
    }

    /// Lets another take over at once.
    async fn release(&self) {
        let Ok(Some(mut lease)) = self.api.get_opt(&self.election.name).await else {
            return;
        };
        let spec = lease.spec.get_or_insert_default();
        if spec.holder_identity.as_ref() != Some(&self.election.identity) {
            return;
        }
        spec.holder_identity = Some(String::new());
        spec.lease_duration_seconds = Some(1);
        spec.renew_time = Some(MicroTime(Timestamp::now()));
        if let Err(error) = self
            .api
            .replace(&self.election.name, &PostParams::default(), &lease)
            .await
        {
            tracing::warn!(lease = self.election.name, %error, "could not give the lease back");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn held_by(holder: &str) -> Lease {
        let spec = LeaseSpec {
            holder_identity: Some(holder.to_owned()),
            lease_transitions: Some(3),
            acquire_time: Some(MicroTime(Timestamp::UNIX_EPOCH)),
            ..LeaseSpec::default()
        };
        Lease {
            spec: Some(spec),
            ..Lease::default()
        }
    }

    #[test]
    fn a_lease_is_taken_when_free_stale_or_ours() {
        let election = LeaderElection::new("kube-scheduler", "me");
        let now = Timestamp::from_second(100).unwrap();
        let transitions = |lease: Option<Lease>, stale| match step(lease.as_ref(), &election, stale, now) {
            Step::Write(lease) => lease.spec.unwrap().lease_transitions,
            Step::HeldBy(_) => None,
        };
        assert_eq!(transitions(None, false), Some(0));
        assert_eq!(transitions(Some(held_by("")), false), Some(3));
        assert_eq!(transitions(Some(held_by("other")), false), None);
        assert_eq!(transitions(Some(held_by("other")), true), Some(4));
        assert_eq!(transitions(Some(held_by("me")), false), Some(3));
    }

    #[test]
    fn renewing_keeps_the_time_of_acquisition() {
        let election = LeaderElection::new("kube-scheduler", "me");
        let now = Timestamp::from_second(100).unwrap();
        let Step::Write(lease) = step(Some(&held_by("me")), &election, false, now) else {
            panic!("it is ours");
        };
        let spec = lease.spec.unwrap();
        assert_eq!(spec.acquire_time, Some(MicroTime(Timestamp::UNIX_EPOCH)));
        assert_eq!(spec.renew_time, Some(MicroTime(now)));
    }
}
