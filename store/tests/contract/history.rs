//! What a watch has told, and whether it fits together.

use coracle_store::{
    Batch, Event, KeyRange, KeyValue, ListRequest, Revision, Store, WatchError, WatchItem, WatchRequest,
    WatchStream,
};
use futures::StreamExt;
use std::collections::BTreeMap;

/// Everything that a watch delivers up to the store's current revision.
pub(crate) async fn drain(store: &dyn Store, watch: &mut WatchStream) -> Result<Vec<Batch>, WatchError> {
    let current = store.revision().await.expect("the store is well");
    store.request_progress().await.expect("the store is well");
    let mut batches = Vec::new();
    loop {
        match watch.next().await.expect("a watch ends with an error") {
            Ok(WatchItem::Changes(batch)) => batches.push(batch),
            Ok(WatchItem::Progress(revision)) if revision >= current => return Ok(batches),
            Ok(WatchItem::Progress(_)) => {}
            Err(error) => return Err(error),
        }
    }
}

/// All changes in a range after a revision, up to now.
pub(crate) async fn changes(
    store: &dyn Store,
    range: KeyRange,
    after: Revision,
) -> Result<Vec<Batch>, WatchError> {
    let mut watch = store.watch(WatchRequest::after(range, after)).await?;
    drain(store, &mut watch).await
}

/// All that a store holds, as of a revision or now.
pub(crate) async fn contents(store: &dyn Store, at: Option<Revision>) -> Vec<KeyValue> {
    let request = ListRequest {
        at,
        ..ListRequest::new(KeyRange::all())
    };
    store.list(request).await.expect("the revision can be read").items
}

/// A store's contents, carried forward by what a watch tells. Panics where that does not fit.
pub(crate) struct Replay {
    pub(crate) revision: Revision,
    keys: BTreeMap<Vec<u8>, KeyValue>,
}

impl Replay {
    /// Begins with what was listed at a revision.
    pub(crate) fn new(revision: Revision, contents: Vec<KeyValue>) -> Replay {
        let keys = contents.into_iter().map(|kv| (kv.key.to_vec(), kv)).collect();
        Replay { revision, keys }
    }

    pub(crate) fn apply(&mut self, batches: &[Batch]) {
        for batch in batches {
            assert!(
                batch.revision > self.revision,
                "{} comes after {}",
                batch.revision,
                self.revision
            );
            self.revision = batch.revision;
            for event in &batch.events {
                self.apply_event(event, batch.revision);
            }
        }
    }

    fn apply_event(&mut self, event: &Event, revision: Revision) {
        let before = self.keys.remove(&event.key()[..]);
        assert_eq!(event.prev(), before.as_ref(), "the previous state at {revision}");
        if let Event::Put { kv, prev } = event {
            let (created, version) = prev
                .as_ref()
                .map_or((revision, 1), |prev| (prev.create_revision, prev.version + 1));
            assert_eq!(
                (kv.mod_revision, kv.create_revision, kv.version),
                (revision, created, version)
            );
            self.keys.insert(kv.key.to_vec(), kv.clone());
        }
    }

    pub(crate) fn contents(&self) -> Vec<KeyValue> {
        self.keys.values().cloned().collect()
    }
}
