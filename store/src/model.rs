//! The contract in its plainest form: every version of every key, in memory.
//!
//! It is what the other backends are tested against, so it is written to be obviously right rather than fast: the whole
//! state sits in one [`watch`] channel, which is lock and notification in one, and a watcher reads what it has not seen
//! from there. It is also a store for tests that need one without a disk.

use crate::{
    Batch, CheckpointError, CompactError, Event, Fault, GetResponse, KeyRange, KeyValue, ListRequest,
    ListResponse, Op, ReadError, Revision, Store, Txn, TxnError, TxnOutcome, WatchError, WatchItem,
    WatchRequest, WatchStream,
};
use async_trait::async_trait;
use bytes::Bytes;
use futures::{StreamExt, stream};
use std::collections::BTreeMap;
use std::path::Path;
use tokio::sync::watch;

/// A store in memory, gone when it is dropped.
pub struct ModelStore {
    state: watch::Sender<State>,
}

/// What a key came to hold at a revision; `None` if it was deleted.
type Version = (Revision, Option<KeyValue>);

struct State {
    revision: Revision,
    /// The oldest revision that can be read, and after which a watch can begin.
    compacted: Revision,
    /// The versions of each key, oldest first.
    keys: BTreeMap<Bytes, Vec<Version>>,
    /// What happened at each revision after `compacted`.
    log: BTreeMap<Revision, Batch>,
    /// How often progress was asked for.
    progress_requests: u64,
}

impl Default for ModelStore {
    fn default() -> ModelStore {
        ModelStore::new()
    }
}

impl ModelStore {
    /// An empty store.
    #[must_use]
    pub fn new() -> ModelStore {
        let state = State {
            revision: Revision::FIRST,
            compacted: Revision::FIRST,
            keys: BTreeMap::new(),
            log: BTreeMap::new(),
            progress_requests: 0,
        };
        ModelStore {
            state: watch::Sender::new(state),
        }
    }
}

#[async_trait]
impl Store for ModelStore {
    async fn revision(&self) -> Result<Revision, ReadError> {
        Ok(self.state.borrow().revision)
    }

    async fn get(&self, key: &[u8], at: Option<Revision>) -> Result<GetResponse, ReadError> {
        let state = self.state.borrow();
        let revision = state.readable(at)?;
        let kv = state
            .as_of(revision, &KeyRange::key(Bytes::copy_from_slice(key)))
            .next()
            .cloned();
        Ok(GetResponse { revision, kv })
    }

    async fn list(&self, request: ListRequest) -> Result<ListResponse, ReadError> {
        let state = self.state.borrow();
        let revision = state.readable(request.at)?;
        let all: Vec<KeyValue> = state.as_of(revision, &request.range).cloned().collect();
        let limit = request.limit.unwrap_or(usize::MAX).min(all.len());
        Ok(ListResponse {
            revision,
            items: all[..limit].to_vec(),
            more: limit < all.len(),
            count: request.count.then_some(all.len() as u64),
        })
    }

    async fn txn(&self, txn: Txn) -> Result<TxnOutcome, TxnError> {
        txn.check()?;
        let mut outcome = None;
        self.state.send_if_modified(|state| {
            let before = state.revision;
            outcome = Some(state.apply(&txn));
            state.revision != before
        });
        Ok(outcome.expect("the closure has run"))
    }

    async fn watch(&self, request: WatchRequest) -> Result<WatchStream, WatchError> {
        let receiver = self.state.subscribe();
        let (cursor, progress_seen) = {
            let state = receiver.borrow();
            (state.watchable(request.after)?, state.progress_requests)
        };
        let watcher = Watcher {
            receiver,
            range: request.range,
            cursor,
            progress_seen,
        };
        let items = stream::unfold(Some(watcher), Watcher::next);
        let opening = request.after.is_none().then_some(Ok(WatchItem::Progress(cursor)));
        Ok(stream::iter(opening).chain(items).boxed())
    }

    async fn request_progress(&self) -> Result<(), Fault> {
        self.state.send_modify(|state| state.progress_requests += 1);
        Ok(())
    }

    async fn compact(&self, revision: Revision) -> Result<(), CompactError> {
        let mut result = Ok(());
        self.state.send_modify(|state| result = state.compact(revision));
        result
    }

    async fn checkpoint(&self, _dir: &Path) -> Result<(), CheckpointError> {
        Err(CheckpointError::Unsupported)
    }
}

impl State {
    fn readable(&self, at: Option<Revision>) -> Result<Revision, ReadError> {
        let requested = at.unwrap_or(self.revision);
        if requested > self.revision {
            return Err(ReadError::FutureRevision {
                requested,
                current: self.revision,
            });
        }
        if requested < self.compacted {
            return Err(ReadError::Compacted {
                requested,
                oldest: self.compacted,
            });
        }
        Ok(requested)
    }

    fn watchable(&self, after: Option<Revision>) -> Result<Revision, WatchError> {
        let after = after.unwrap_or(self.revision);
        if after > self.revision {
            return Err(WatchError::FutureRevision {
                after,
                current: self.revision,
            });
        }
        if after < self.compacted {
            return Err(WatchError::Compacted {
                after,
                oldest: self.compacted,
            });
        }
        Ok(after)
    }

    /// The live keys of a range as of a revision, in order.
    fn as_of(&self, at: Revision, range: &KeyRange) -> impl Iterator<Item = &KeyValue> {
        self.keys
            .iter()
            .filter(|(key, _)| range.contains(key))
            .filter_map(move |(_, versions)| {
                versions.iter().rfind(|(revision, _)| *revision <= at)?.1.as_ref()
            })
    }

    fn current(&self, key: &Bytes) -> Option<&KeyValue> {
        self.keys.get(key)?.last()?.1.as_ref()
    }

    fn apply(&mut self, txn: &Txn) -> TxnOutcome {
        let mod_revision = |key| self.current(key).map_or(Revision::ABSENT, |kv| kv.mod_revision);
        if txn
            .compares
            .iter()
            .any(|compare| mod_revision(&compare.key) != compare.mod_revision)
        {
            let current = txn
                .compares
                .iter()
                .map(|compare| self.current(&compare.key).cloned())
                .collect();
            return TxnOutcome::Conflict {
                revision: self.revision,
                current,
            };
        }
        let revision = self.revision.next();
        let events: Vec<Event> = txn.ops.iter().filter_map(|op| self.event(op, revision)).collect();
        if events.is_empty() {
            return TxnOutcome::Committed {
                revision: self.revision,
            };
        }
        for event in &events {
            let version = (revision, event.current().cloned());
            self.keys.entry(event.key().clone()).or_default().push(version);
        }
        self.log.insert(revision, Batch { revision, events });
        self.revision = revision;
        TxnOutcome::Committed { revision }
    }

    /// What an operation changes, if anything.
    fn event(&self, op: &Op, revision: Revision) -> Option<Event> {
        let prev = self.current(op.key()).cloned();
        match op {
            Op::Delete { .. } => prev.map(|prev| Event::Delete { prev }),
            Op::Put { key, value } => {
                let kv = KeyValue {
                    key: key.clone(),
                    value: value.clone(),
                    create_revision: prev.as_ref().map_or(revision, |prev| prev.create_revision),
                    mod_revision: revision,
                    version: prev.as_ref().map_or(1, |prev| prev.version + 1),
                };
                Some(Event::Put { kv, prev })
            }
        }
    }

    fn compact(&mut self, requested: Revision) -> Result<(), CompactError> {
        if requested > self.revision {
            return Err(CompactError::FutureRevision {
                requested,
                current: self.revision,
            });
        }
        self.compacted = self.compacted.max(requested);
        self.log = self.log.split_off(&self.compacted.next());
        for versions in self.keys.values_mut() {
            let superseded = versions
                .iter()
                .rposition(|(revision, _)| *revision <= self.compacted);
            versions.drain(..superseded.unwrap_or(0));
        }
        self.keys
            .retain(|_, versions| versions.len() > 1 || versions[0].1.is_some());
        Ok(())
    }
}

struct Watcher {
    receiver: watch::Receiver<State>,
    range: KeyRange,
    /// Everything up to here has been delivered.
    cursor: Revision,
    progress_seen: u64,
}

impl Watcher {
    /// Waits for the next item. Without a watcher to go on with, the stream has ended.
    async fn next(watcher: Option<Watcher>) -> Option<(Result<WatchItem, WatchError>, Option<Watcher>)> {
        let mut watcher = watcher?;
        loop {
            if let Some(item) = watcher.take() {
                let on = item.is_ok().then_some(watcher);
                return Some((item, on));
            }
            if watcher.receiver.changed().await.is_err() {
                return Some((Err(Fault::Closed.into()), None));
            }
        }
    }

    fn take(&mut self) -> Option<Result<WatchItem, WatchError>> {
        let state = self.receiver.borrow_and_update();
        if let Err(error) = state.watchable(Some(self.cursor)) {
            return Some(Err(error));
        }
        let unseen = state.log.range(self.cursor.next()..);
        if let Some(batch) = unseen
            .map(|(_, batch)| batch)
            .find_map(|batch| batch.within(&self.range))
        {
            self.cursor = batch.revision;
            return Some(Ok(WatchItem::Changes(batch)));
        }
        self.cursor = state.revision;
        let asked = state.progress_requests != self.progress_seen;
        self.progress_seen = state.progress_requests;
        asked.then_some(Ok(WatchItem::Progress(self.cursor)))
    }
}
