//! Workers: they take keys off a queue and reconcile them, so many at once and no more.

use super::queue::{LONGEST_RETRY, Queue};
use k8s_openapi::jiff::Timestamp;
use std::fmt::{Debug, Display};
use std::hash::Hash;
use std::sync::Arc;
use std::time::Duration;
use thiserror::Error;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// How long at most until something is looked at again that nothing tells about.
const LONGEST_WAIT: Duration = Duration::from_secs(10);

/// Why the work on one key must be done again.
#[derive(Debug, Error)]
pub(crate) enum ReconcileError {
    /// A request failed.
    #[error("{doing}")]
    Request {
        /// What was being done, to which object.
        doing: String,
        /// What the API server said.
        #[source]
        source: kube::Error,
    },
    /// The object is not the one that was planned for; what is newer will be seen soon.
    #[error("{0} changed since it was observed")]
    Stale(String),
    /// Something must happen first that nothing tells about.
    #[error("{0}")]
    Waiting(String),
    /// What was read cannot be made sense of, or an act failed that has been told elsewhere.
    #[error("{0}")]
    Unexpected(String),
}

impl ReconcileError {
    /// Names what was being done when a request failed.
    pub(crate) fn request(doing: impl Into<String>) -> impl FnOnce(kube::Error) -> Self {
        let doing = doing.into();
        move |source| Self::Request { doing, source }
    }

    /// Whether the object that was to be written is not there any more.
    pub(crate) fn is_gone(&self) -> bool {
        matches!(self, Self::Request { source, .. } if super::write::is_gone(source))
    }

    /// Whether the world merely moved on: nothing to complain about.
    fn is_stale(&self) -> bool {
        match self {
            Self::Stale(_) => true,
            Self::Request {
                source: kube::Error::Api(status),
                ..
            } => status.code == 409,
            Self::Request { .. } | Self::Waiting(_) | Self::Unexpected(_) => false,
        }
    }
}

/// A controller's shell: observes, plans and acts for one key.
pub(crate) trait Reconcile: Send + Sync + 'static {
    /// What the queue holds.
    type Key: Clone + Ord + Hash + Display + Debug + Send + Sync + 'static;

    /// Does all there is to do for this key now, and says when to look again if nothing happens.
    fn reconcile(
        &self,
        key: &Self::Key,
    ) -> impl Future<Output = Result<Option<Duration>, ReconcileError>> + Send;
}

/// How long from `now` until `at`, rounded up so that what was to happen then has happened.
pub(crate) fn until(now: Timestamp, at: Timestamp) -> Duration {
    let left = at.duration_since(now);
    Duration::try_from(left).unwrap_or_default() + Duration::from_millis(10)
}

/// Works off the queue with so many workers until the token is cancelled.
pub(crate) async fn work<R: Reconcile>(
    name: &'static str,
    reconciler: Arc<R>,
    queue: Arc<Queue<R::Key>>,
    workers: usize,
    shutdown: CancellationToken,
) {
    let mut tasks = JoinSet::new();
    for _ in 0..workers.max(1) {
        let (reconciler, queue, shutdown) = (reconciler.clone(), queue.clone(), shutdown.clone());
        tasks.spawn(async move {
            while let Some(key) = shutdown.run_until_cancelled(queue.next()).await {
                let work = reconciler.reconcile(&key);
                let Some(outcome) = shutdown.run_until_cancelled(work).await else {
                    return;
                };
                settle(name, &queue, key, outcome);
            }
        });
    }
    while tasks.join_next().await.is_some() {}
}

fn settle<T: Clone + Ord + Hash + Display>(
    name: &'static str,
    queue: &Queue<T>,
    key: T,
    outcome: Result<Option<Duration>, ReconcileError>,
) {
    match outcome {
        Ok(look_again) => {
            if let Some(after) = look_again {
                queue.add_after(key.clone(), after);
            }
            queue.done(&key);
        }
        Err(ReconcileError::Waiting(what)) => {
            tracing::debug!(controller = name, %key, what, "will look again");
            queue.failed(&key, LONGEST_WAIT);
        }
        Err(error) if error.is_stale() => {
            tracing::debug!(controller = name, %key, %error, "the world moved on");
            queue.failed(&key, LONGEST_RETRY);
        }
        Err(error) => {
            let cause = std::error::Error::source(&error).map(ToString::to_string);
            tracing::warn!(controller = name, %key, %error, cause, "will try again");
            queue.failed(&key, LONGEST_RETRY);
        }
    }
}
