//! Where events go: a log, a server, or both; each at once or in batches, and cut where they are too long.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::batch::{self, Mode, Queue};
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

/// Everywhere that events go.
pub(super) struct Sink {
    log: Option<(Truncation, Way<Log>)>,
    webhook: Option<(Truncation, Queue)>,
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
                        let size = flags.truncation.max_batch_size;
                        let (queue, events) = batch::queue(&flags.limits);
                        let deliver = move |events: Vec<Event>| {
                            let log = Arc::clone(&log);
                            async move {
                                let write = move || events.iter().all(|event| log.write(event));
                                let _ = tokio::task::spawn_blocking(write).await;
                            }
                        };
                        tasks.spawn(batch::run(
                            events,
                            flags.limits.clone(),
                            size,
                            shutdown.clone(),
                            deliver,
                        ));
                        Way::Batched(queue)
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
                let (queue, events) = batch::queue(&flags.limits);
                let deliver = move |events| Arc::clone(&webhook).send(events);
                let size = flags.truncation.max_batch_size;
                tasks.spawn(batch::run(
                    events,
                    flags.limits.clone(),
                    size,
                    shutdown.clone(),
                    deliver,
                ));
                Some((flags.truncation.clone(), queue))
            }
        };
        Ok(Self { log, webhook })
    }

    /// Takes an event. False where it could not be written and must be.
    pub(super) fn take(&self, event: Event) -> bool {
        if let Some((truncation, queue)) = &self.webhook
            && let Some(event) = truncation.fit(event.clone())
        {
            queue.put(event);
        }
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
