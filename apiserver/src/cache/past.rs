//! What was before: a resource at an older revision, and the changes that led from one to another. What is not kept here is read
//! from the store's history.

use std::sync::Arc;

use coracle_store::{Event, KeyRange, ReadError, Revision, WatchError, WatchItem, WatchRequest};
use futures::StreamExt;

use super::ordered::Ordered;
use super::resource::{ResourceCache, Snapshot};
use super::{Cache, entry_in, event};

/// Why changes of the past could not be told.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PastError {
    /// They have been forgotten.
    #[error("changes after revision {after} are gone; {oldest} is the oldest")]
    Expired {
        /// The revision after which changes were asked for.
        after: u64,
        /// The oldest revision that still can be asked for.
        oldest: u64,
    },
    /// The store failed.
    #[error("the store could not be read")]
    Watch(#[source] WatchError),
}

impl PastError {
    fn of(error: WatchError) -> Self {
        match error {
            WatchError::Compacted { after, oldest } => Self::Expired {
                after: after.0,
                oldest: oldest.0,
            },
            other => Self::Watch(other),
        }
    }
}

impl Cache {
    /// The state of a resource at an older revision: kept here, or read from the store.
    ///
    /// # Errors
    /// Where the store no longer has it.
    pub(crate) async fn at(&self, resource: &ResourceCache, revision: u64) -> Result<Snapshot, ReadError> {
        if let Some(snapshot) = resource.snapshot_at(revision) {
            // What is kept here lives no longer than the store's own history: a list in pieces expires in time.
            self.store.get(b"/", Some(Revision(revision))).await?;
            return Ok(snapshot);
        }
        let mut entries = Ordered::default();
        let prefix = resource.kind().prefix.clone();
        self.read(&prefix, Some(Revision(revision)), |kv| {
            if let Some(entry) = entry_in(resource, kv) {
                entries.insert(Arc::new(entry));
            }
        })
        .await?;
        Ok(Snapshot { revision, entries })
    }

    /// The changes of a resource after one revision up to another, read from the store's history.
    ///
    /// # Errors
    /// Where that history is gone.
    pub(crate) async fn past(
        &self,
        resource: &ResourceCache,
        after: u64,
        until: u64,
    ) -> Result<Vec<Arc<event::Event>>, PastError> {
        let request = WatchRequest::after(KeyRange::prefix(resource.kind().prefix.clone()), Revision(after));
        let mut stream = self.store.watch(request).await.map_err(PastError::of)?;
        self.store
            .request_progress()
            .await
            .map_err(|fault| PastError::Watch(WatchError::Fault(fault)))?;
        let mut events = Vec::new();
        while let Some(item) = stream.next().await {
            let reached = match item.map_err(PastError::of)? {
                WatchItem::Progress(revision) => revision.0,
                WatchItem::Changes(batch) if batch.revision.0 > until => break,
                WatchItem::Changes(batch) => {
                    let told = batch
                        .events
                        .iter()
                        .filter_map(|e| past_event(resource, e, batch.revision.0));
                    events.extend(told.map(Arc::new));
                    batch.revision.0
                }
            };
            if reached >= until {
                break;
            }
        }
        Ok(events)
    }
}

fn past_event(resource: &ResourceCache, event: &Event, revision: u64) -> Option<event::Event> {
    match event {
        Event::Put { kv, prev } => {
            let previous = prev
                .as_ref()
                .and_then(|prev| entry_in(resource, prev))
                .map(Arc::new);
            Some(event::Event::put(Arc::new(entry_in(resource, kv)?), previous))
        }
        Event::Delete { prev } => {
            let previous = Arc::new(entry_in(resource, prev)?);
            Some(event::Event::removal(
                Arc::new(previous.restamped(revision)),
                previous,
            ))
        }
    }
}
