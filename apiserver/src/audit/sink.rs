//! Where events go: a log, a server, or both; each at once or in batches, and cut where they are too long.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::batch::{self, BatchLimits, Mode, Order, Queue};
use super::event::Event;
use super::log::Log;
use super::policy::Level;
use super::webhook::Webhook;
use super::{AuditError, AuditFlags};

/// How long events may be (`--audit-*-truncate-*`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Truncation {
    /// Whether they are cut at all.
    pub enabled: bool,
    /// The longest event, in bytes of JSON.
    pub max_event_size: usize,
    /// The most bytes of events that are sent at once.
    pub max_batch_size: usize,
}

impl Default for Truncation {
    fn default() -> Self {
        Self {
            enabled: false,
            max_event_size: 100 << 10,
            max_batch_size: 10 << 20,
        }
    }
}

impl Truncation {
    /// An event that is short enough, or none where even what is left of it is not.
    pub(super) fn fit(&self, event: Event) -> Option<Event> {
        if !self.enabled || event.json().len() <= self.max_event_size {
            return Some(event);
        }
        if event.level >= Level::Request {
            let event = event.truncated();
            if event.json().len() <= self.max_event_size {
                return Some(event);
            }
        }
        tracing::error!("an audit event is too large even after truncating");
        None
    }
}

enum Way<T> {
    /// The request waits; `strict` where it does not go on after a failure.
    AtOnce { to: Arc<T>, strict: bool },
    /// It does not.
    Batched(Queue),
}

/// Starts what delivers events in batches of at most so many bytes, one after the other or side by side; answers the queue that
/// it takes them from.
fn batched<F>(
    limits: &BatchLimits,
    (max_bytes, order): (usize, Order),
    tasks: &TaskTracker,
    shutdown: &CancellationToken,
    deliver: impl Fn(Vec<Event>) -> F + Send + 'static,
) -> Queue
where
    F: Future<Output = ()> + Send + 'static,
{
    let (queue, events) = batch::queue(limits);
    tasks.spawn(batch::run(
        events,
        limits.clone(),
        (max_bytes, order),
        shutdown.clone(),
        deliver,
    ));
    queue
}

/// Everywhere that events go.
pub(super) struct Sink {
    log: Option<(Truncation, Way<Log>)>,
    webhook: Option<(Truncation, Way<Webhook>)>,
    /// Where what is sent at once and not waited for is tracked.
    tasks: TaskTracker,
}

impl Sink {
    pub(super) async fn open(
        flags: &AuditFlags,
        tasks: &TaskTracker,
        shutdown: &CancellationToken,
    ) -> Result<Self, AuditError> {
        let log = match &flags.log {
            None => None,
            Some(flags) => {
                let log = Arc::new(Log::open(flags)?);
                let way = match flags.mode {
                    Mode::Batch => {
                        let deliver = move |events: Vec<Event>| {
                            let log = Arc::clone(&log);
                            async move {
                                let write = move || events.iter().all(|event| log.write(event));
                                let _ = tokio::task::spawn_blocking(write).await;
                            }
                        };
                        let size = flags.truncation.max_batch_size;
                        let how = (size, Order::Kept);
                        Way::Batched(batched(&flags.limits, how, tasks, shutdown, deliver))
                    }
                    mode => Way::AtOnce {
                        to: log,
                        strict: mode == Mode::BlockingStrict,
                    },
                };
                Some((flags.truncation.clone(), way))
            }
        };
        let webhook = match &flags.webhook {
            None => None,
            Some(flags) => {
                let webhook = Arc::new(Webhook::open(flags).await?);
                let way = match flags.mode {
                    Mode::Batch => {
                        let deliver = move |events| {
                            let webhook = Arc::clone(&webhook);
                            async move { _ = webhook.send(events).await }
                        };
                        let size = flags.truncation.max_batch_size;
                        let how = (size, Order::Any);
                        Way::Batched(batched(&flags.limits, how, tasks, shutdown, deliver))
                    }
                    mode => Way::AtOnce {
                        to: webhook,
                        strict: mode == Mode::BlockingStrict,
                    },
                };
                Some((flags.truncation.clone(), way))
            }
        };
        let tasks = tasks.clone();
        Ok(Self { log, webhook, tasks })
    }

    /// Whether the answer to a request waits for its events (`blocking`, `blocking-strict`).
    pub(super) fn blocks(&self) -> bool {
        matches!(&self.log, Some((_, Way::AtOnce { .. })))
            || matches!(&self.webhook, Some((_, Way::AtOnce { .. })))
    }

    /// Takes an event; whoever waits for this waits until it is taken where that is wanted. False where it was not and has to be:
    /// a request whose first event it is does not go on.
    pub(super) async fn take(&self, event: Event) -> bool {
        let logged = self.log(event.clone());
        let sent = match &self.webhook {
            Some((truncation, Way::AtOnce { to, strict })) => match truncation.fit(event) {
                // Whoever waits may go away; the event is sent all the same.
                Some(event) => {
                    let sending = self.tasks.spawn(Arc::clone(to).send(vec![event]));
                    sending.await.unwrap_or(false) || !strict
                }
                None => true,
            },
            Some((_, Way::Batched(_))) => {
                self.send_later(&event);
                true
            }
            None => true,
        };
        logged && sent
    }

    /// Takes an event of a request that nobody waits for any more.
    pub(super) fn take_late(&self, event: Event) {
        self.send_later(&event);
        // Its failure was told; what it is about has happened.
        let _ = self.log(event);
    }

    fn send_later(&self, event: &Event) {
        let Some((truncation, way)) = &self.webhook else {
            return;
        };
        match (truncation.fit(event.clone()), way) {
            (None, _) => {}
            (Some(event), Way::Batched(queue)) => queue.put(event),
            (Some(event), Way::AtOnce { to, .. }) => {
                self.tasks.spawn(Arc::clone(to).send(vec![event]));
            }
        }
    }

    /// Writes an event. False where it could not be written and must be.
    fn log(&self, event: Event) -> bool {
        let Some((truncation, way)) = &self.log else {
            return true;
        };
        let Some(event) = truncation.fit(event) else {
            return true;
        };
        match way {
            Way::Batched(queue) => {
                queue.put(event);
                true
            }
            // A line for the page cache: handing it to another thread would take longer than writing it.
            Way::AtOnce { to, strict } => to.write(&event) || !strict,
        }
    }
}
