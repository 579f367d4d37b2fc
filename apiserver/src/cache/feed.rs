//! What keeps the cache current: one task that reads every change from the store and hands it to its resource.

use std::sync::Arc;
use std::time::Duration;

use coracle_store::{Batch, Event, KeyRange, KeyValue, Revision, WatchError, WatchItem, WatchRequest};
use futures::StreamExt;
use tokio_util::sync::CancellationToken;

use super::entry::Entry;
use super::resource::{Change, ResourceCache};
use super::{Cache, stored};

/// How long to wait before the store is asked again after it failed.
const RETRY: Duration = Duration::from_secs(1);

impl Cache {
    /// Follows the store until cancelled. The cache is current only while this runs.
    pub(crate) async fn follow(self: Arc<Self>, cancel: CancellationToken) {
        while !cancel.is_cancelled() {
            let ended = tokio::select! {
                () = cancel.cancelled() => return,
                ended = self.follow_once() => ended,
            };
            match ended {
                Ok(()) => {}
                Err(WatchError::Compacted { .. }) => self.reload().await,
                Err(error) => {
                    tracing::error!(%error, "the watch cache lost the store and tries again");
                    tokio::select! {
                        () = cancel.cancelled() => return,
                        () = tokio::time::sleep(RETRY) => {}
                    }
                }
            }
        }
    }

    async fn follow_once(&self) -> Result<(), WatchError> {
        let after = Revision(*self.progress.borrow());
        let request = WatchRequest::after(KeyRange::prefix(super::ROOT), after);
        let mut stream = self.store.watch(request).await?;
        while let Some(item) = stream.next().await {
            match item? {
                WatchItem::Changes(batch) => self.apply(batch),
                WatchItem::Progress(revision) => self.advance(revision.0),
            }
        }
        Ok(())
    }

    async fn reload(&self) {
        tracing::warn!("the watch cache missed changes and starts over; watches are cut off");
        match self.load().await {
            Ok((revision, mut loaded)) => {
                for (prefix, resource) in &self.resources {
                    resource.replace(loaded.remove(prefix).unwrap_or_default(), revision);
                }
                for resource in self.all_joined() {
                    match self.read_resource(&resource).await {
                        Ok((entries, revision)) => resource.replace(entries, revision),
                        Err(error) => tracing::error!(%error, "a resource could not be loaded again"),
                    }
                }
                self.progress.send_replace(revision);
            }
            Err(error) => {
                tracing::error!(%error, "the watch cache could not be loaded again");
                tokio::time::sleep(RETRY).await;
            }
        }
    }

    fn apply(&self, batch: Batch) {
        let revision = batch.revision.0;
        let mut changes: Vec<(Arc<ResourceCache>, Vec<Change>)> = Vec::new();
        for event in &batch.events {
            let Some((resources, key)) = self.caches_of(event.key()) else {
                continue;
            };
            for resource in resources {
                let Some(change) = change_of(&resource, key, event, revision) else {
                    continue;
                };
                match changes
                    .iter_mut()
                    .find(|(other, _)| Arc::ptr_eq(other, &resource))
                {
                    Some((_, changes)) => changes.push(change),
                    None => changes.push((resource, vec![change])),
                }
            }
        }
        for (resource, changes) in changes {
            resource.apply(revision, changes);
        }
        self.advance(revision);
    }

    fn advance(&self, revision: u64) {
        self.progress.send_if_modified(|current| {
            let further = revision > *current;
            *current = revision.max(*current);
            further
        });
    }
}

fn change_of(resource: &ResourceCache, key: &str, event: &Event, revision: u64) -> Option<Change> {
    match event {
        Event::Put { kv, .. } => entry_of(resource, key, kv).map(|entry| Change::Put(Arc::new(entry))),
        Event::Delete { prev } => {
            // A cache whose objects are yet to be read does not have it.
            let last = resource
                .get(key)
                .or_else(|| entry_of(resource, key, prev).map(Arc::new))?;
            Some(Change::Remove(Arc::new(last.restamped(revision))))
        }
    }
}

/// Decodes one stored object. An object that cannot be decoded is left out, and said once.
pub(super) fn entry_of(resource: &ResourceCache, key: &str, kv: &KeyValue) -> Option<Entry> {
    match stored::decode(&kv.value) {
        Ok(mut object) => {
            let stale = resource.kind().particulars.settle(&mut object);
            let entry = Entry::new(key, kv.mod_revision.0, object, resource.kind());
            Some(if stale { entry.stale() } else { entry })
        }
        Err(error) => {
            tracing::error!(key = %kv.key.escape_ascii(), %error, "a stored object cannot be decoded and is not served");
            None
        }
    }
}
