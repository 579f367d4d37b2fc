//! How much history a store keeps: continuous compaction in small steps.
//!
//! [`Retention`] decides (pure: time is an argument), [`run`] asks the clock and compacts. Kubernetes keeps five minutes of
//! history (kube-apiserver's `--etcd-compaction-interval`): a watch that was interrupted, or a list that is read in
//! pages, has that long to carry on.

use crate::{CompactError, Fault, Revision, Store};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

/// Into how many steps the window is cut: what is kept exceeds the window by at most one.
const STEPS: u32 = 30;

/// How much history to keep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetentionPolicy {
    /// How long a revision can be read after it has been superseded.
    pub window: Duration,
    /// The most revisions to keep within the window, however short the time they took; unlimited if absent.
    pub max_revisions: Option<u64>,
}

impl Default for RetentionPolicy {
    fn default() -> RetentionPolicy {
        RetentionPolicy {
            window: Duration::from_secs(300),
            max_revisions: None,
        }
    }
}

/// Decides up to where to compact, from the revisions seen over time.
#[derive(Clone, Debug)]
pub struct Retention {
    policy: RetentionPolicy,
    /// When which revision was current: ascending in both, at most one for each step of the window.
    seen: VecDeque<(Duration, Revision)>,
}

impl Retention {
    /// Nothing has been seen yet.
    #[must_use]
    pub fn new(policy: RetentionPolicy) -> Retention {
        Retention {
            policy,
            seen: VecDeque::new(),
        }
    }

    /// How often to observe.
    #[must_use]
    pub fn step(&self) -> Duration {
        (self.policy.window / STEPS).max(Duration::from_millis(10))
    }

    /// Takes in that `current` is the store's revision `now`, on a clock that only goes forward; answers the revision
    /// up to which history may go, if any.
    pub fn observe(&mut self, now: Duration, current: Revision) -> Option<Revision> {
        if self.seen.back().is_none_or(|(_, revision)| *revision < current) {
            self.seen.push_back((now, current));
        }
        let mut target = None;
        while let Some(&(when, revision)) = self.seen.front()
            && when + self.policy.window <= now
        {
            target = Some(revision);
            self.seen.pop_front();
        }
        let newest = self
            .policy
            .max_revisions
            .map(|most| Revision(current.0.saturating_sub(most)));
        target.max(newest.filter(|revision| *revision > Revision::FIRST))
    }
}

/// Keeps a store's history within a policy until cancelled.
///
/// A compaction that fails is logged and tried again at the next step.
pub async fn run(store: Arc<dyn Store>, policy: RetentionPolicy, cancelled: CancellationToken) {
    let mut retention = Retention::new(policy);
    let mut ticks = interval(retention.step());
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let started = Instant::now();
    loop {
        tokio::select! {
            () = cancelled.cancelled() => return,
            _ = ticks.tick() => {}
        }
        match step(store.as_ref(), &mut retention, started.elapsed()).await {
            Ok(()) => {}
            Err(CompactError::Fault(Fault::Closed)) => return,
            Err(error) => tracing::warn!(%error, "the store's history was not compacted"),
        }
    }
}

async fn step(store: &dyn Store, retention: &mut Retention, now: Duration) -> Result<(), CompactError> {
    let current = match store.revision().await {
        Ok(current) => current,
        Err(crate::ReadError::Fault(fault)) => return Err(fault.into()),
        Err(error) => {
            return Err(Fault::Backend {
                detail: error.to_string(),
            }
            .into());
        }
    };
    match retention.observe(now, current) {
        Some(revision) => store.compact(revision).await,
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::ModelStore;
    use crate::{ReadError, Txn};

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn policy(max_revisions: Option<u64>) -> RetentionPolicy {
        RetentionPolicy {
            window: seconds(60),
            max_revisions,
        }
    }

    #[test]
    fn history_goes_when_it_has_been_superseded_for_the_window() {
        let mut retention = Retention::new(policy(None));
        for (now, current, target) in [
            (0, 10, None),
            (30, 20, None),
            (59, 20, None),
            (60, 25, Some(10)),
            (89, 25, None),
            (90, 25, Some(20)),
            (1000, 25, Some(25)),
            (2000, 25, None),
        ] {
            assert_eq!(
                retention.observe(seconds(now), Revision(current)),
                target.map(Revision),
                "at {now} s"
            );
        }
    }

    #[test]
    fn many_revisions_go_before_their_time() {
        let mut retention = Retention::new(policy(Some(100)));
        assert_eq!(retention.observe(seconds(0), Revision(90)), None);
        assert_eq!(retention.observe(seconds(1), Revision(150)), Some(Revision(50)));
        assert_eq!(retention.observe(seconds(61), Revision(160)), Some(Revision(150)));
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut retention = Retention::new(policy(None));
        for tick in 0..1000 {
            retention.observe(retention.step() * tick, Revision(u64::from(tick) + 1));
        }
        assert!(
            retention.seen.len() <= STEPS as usize + 1,
            "{}",
            retention.seen.len()
        );
    }

    #[tokio::test(start_paused = true)]
    async fn the_loop_compacts_until_cancelled() {
        let store = Arc::new(ModelStore::new());
        let cancelled = CancellationToken::new();
        let looping = tokio::task::spawn(run(store.clone(), policy(None), cancelled.clone()));
        for i in 0..10 {
            store
                .txn(Txn::new().put("k", format!("{i}")))
                .await
                .expect("a model does not fail");
            tokio::time::sleep(seconds(20)).await;
        }
        let old = store.get(b"k", Some(Revision(3))).await;
        assert!(matches!(old, Err(ReadError::Compacted { .. })), "{old:?}");
        let recent = store.get(b"k", Some(Revision(9))).await;
        assert!(recent.is_ok(), "{recent:?}");
        cancelled.cancel();
        looping.await.expect("the loop ends");
    }
}
