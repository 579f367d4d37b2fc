//! What keeps the cache current: one task that reads every change from the store and hands it to its resource.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use coracle_api::codec::protobuf;
use coracle_store::{Batch, Event, KeyRange, KeyValue, Revision, WatchError, WatchItem, WatchRequest};
use futures::StreamExt;
use serde_json::Value;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::entry::Entry;
use super::resource::{Change, ResourceCache};
use super::stored::StoredError;
use super::{Cache, stored};

/// How many items of the store that are there already are taken in before those are told who wait for the cache to come
/// further: what was written in one go wakes its writers once.
const AT_ONCE: usize = 32;

/// How long to wait before the store is asked again after it failed.
const RETRY: Duration = Duration::from_secs(1);
/// How often it is tried to read what could not be read.
const READ_AGAIN: Duration = Duration::from_secs(10);

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
        let mut stream = self.store.watch(request).await?.ready_chunks(AT_ONCE);
        loop {
            let items = tokio::select! {
                items = stream.next() => items,
                () = self.again.notified() => {
                    self.read_unreadable().await;
                    continue;
                }
            };
            match items {
                None => return Ok(()),
                Some(items) => self.take_in(items)?,
            }
        }
    }

    fn take_in(&self, items: Vec<Result<WatchItem, WatchError>>) -> Result<(), WatchError> {
        let (mut reached, mut ended) = (0, Ok(()));
        for item in items {
            match item {
                Ok(WatchItem::Changes(batch)) => reached = self.apply(&batch),
                Ok(WatchItem::Progress(revision)) => reached = revision.0,
                Err(error) => {
                    ended = Err(error);
                    break;
                }
            }
        }
        self.advance(reached);
        ended
    }

    /// Reads the resources again of which something could not be read and now can. Their watches are cut off.
    async fn read_unreadable(&self) {
        for resource in self.resources.values().cloned().chain(self.all_joined()) {
            let mut readable = false;
            for key in resource.unreadables().keys() {
                let full = format!("{}{key}", resource.kind().prefix);
                if let Ok(found) = self.store.get(full.as_bytes(), None).await {
                    readable |= found.kv.is_none_or(|kv| stored::decode(&kv.value).is_ok());
                }
            }
            if readable {
                match self.read_resource(&resource).await {
                    Ok((entries, revision)) => resource.replace(entries, revision),
                    Err(error) => tracing::error!(%error, "a resource could not be loaded again"),
                }
            }
        }
    }

    /// Has what could not be read tried again after each change of what values are decrypted with, and from time to time
    /// for the sake of key services that were away, until cancelled.
    pub(crate) async fn read_again(
        self: Arc<Self>,
        mut changes: watch::Receiver<u64>,
        cancel: CancellationToken,
    ) {
        loop {
            tokio::select! {
                () = cancel.cancelled() => return,
                changed = changes.changed() => if changed.is_err() { return },
                () = tokio::time::sleep(READ_AGAIN) => {}
            }
            let unreadable = |resource: &ResourceCache| !resource.unreadables().is_empty();
            let built_in = self.resources.values().any(|resource| unreadable(resource));
            if built_in || self.all_joined().iter().any(|resource| unreadable(resource)) {
                self.again.notify_one();
            }
        }
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

    /// Hands the changes of a batch to their resources; answers its revision.
    fn apply(&self, batch: &Batch) -> u64 {
        let revision = batch.revision.0;
        let mut changes: Vec<(Arc<ResourceCache>, Vec<Change>)> = Vec::new();
        for event in &batch.events {
            let Some((resources, key)) = self.caches_of(event.key()) else {
                continue;
            };
            for resource in resources {
                let Some(change) = self.change_of(&resource, key, event, revision) else {
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
        revision
    }

    fn change_of(&self, resource: &ResourceCache, key: &str, event: &Event, revision: u64) -> Option<Change> {
        match event {
            Event::Put { kv, .. } => {
                let (entry, value) = match self.handed.take(&kv.value) {
                    Some(object) => {
                        debug_assert_eq!(stored::decode(&kv.value).ok().as_ref(), Some(&object));
                        resource.unreadables().remove(key);
                        entry_from(resource, key, kv, object)
                    }
                    None => read_entry(resource, key, kv)?,
                };
                self.recent.keep(value, entry.json_len());
                Some(Change::Put(Arc::new(entry)))
            }
            Event::Delete { prev } => {
                resource.unreadables().remove(key);
                // A cache whose objects are yet to be read does not have it.
                let last = resource.get(key).or_else(|| {
                    let (entry, _) = entry_of(resource, key, prev).ok()?;
                    Some(Arc::new(entry))
                })?;
                Some(Change::Remove(Arc::new(last.restamped(revision))))
            }
        }
    }

    fn advance(&self, revision: u64) {
        self.progress.send_if_modified(|current| {
            let further = revision > *current;
            *current = revision.max(*current);
            further
        });
    }
}

/// Decodes one stored object: its entry, and the object itself as [`Entry::value`] gives it out while it is held.
pub(super) fn entry_of(
    resource: &ResourceCache,
    key: &str,
    kv: &KeyValue,
) -> Result<(Entry, Arc<Value>), StoredError> {
    Ok(entry_from(resource, key, kv, stored::decode(&kv.value)?))
}

/// The same of an object that is what the stored bytes hold.
fn entry_from(resource: &ResourceCache, key: &str, kv: &KeyValue, mut object: Value) -> (Entry, Arc<Value>) {
    let stale = resource.kind().particulars.settle(&mut object);
    let revision = kv.mod_revision.0;
    let (entry, value) = Entry::with_value(key, revision, object, resource.kind());
    if stale {
        return (entry.stale().alike(resource.alikes()), value);
    }
    // What is stored is what goes out in protobuf, but for the revision: it need not be written again.
    let entry = match protobuf::with_revision(&kv.value, revision) {
        Some((envelope, bytes)) if entry.is_headed(envelope.api_version, envelope.kind) => {
            let end = bytes.len() - protobuf::ENVELOPE_TAIL.len();
            match protobuf::open(&bytes).map(|whole| whole.message.len()) {
                Ok(message) => entry.with_protobuf(Bytes::from(bytes), end - message..end),
                Err(_) => entry,
            }
        }
        _ => entry,
    };
    (entry.alike(resource.alikes()), value)
}

/// Decodes one stored object as it is now. One that cannot be decoded is left out and remembered for those who ask for it.
pub(super) fn read_entry(resource: &ResourceCache, key: &str, kv: &KeyValue) -> Option<(Entry, Arc<Value>)> {
    match entry_of(resource, key, kv) {
        Ok(read) => {
            resource.unreadables().remove(key);
            Some(read)
        }
        Err(error) => {
            tracing::error!(key = %kv.key.escape_ascii(), %error, "a stored object cannot be decoded and is not served");
            resource.unreadables().insert(key, error.to_string());
            None
        }
    }
}
