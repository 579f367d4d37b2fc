//! One change, as every watcher is told of it: encoded once for each way of telling.

use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;

use super::entry::{Entry, Representation};
use super::selection::Selection;

/// What a change means to one watcher. The wire's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum EventType {
    /// The object is new, or newly selected.
    Added,
    /// The object was selected before and still is.
    Modified,
    /// The object is gone, or no longer selected.
    Deleted,
}

impl EventType {
    /// `ADDED`, `MODIFIED`, `DELETED`.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Added => "ADDED",
            Self::Modified => "MODIFIED",
            Self::Deleted => "DELETED",
        }
    }
}

/// A change of one object.
#[derive(Debug)]
pub(crate) struct Event {
    revision: u64,
    /// The new state; for a removal the last state, stamped with the revision of the removal.
    entry: Arc<Entry>,
    previous: Option<Arc<Entry>>,
    removed: bool,
    frames: Mutex<Vec<(EventType, Representation, Bytes)>>,
}

impl Event {
    /// An object was written.
    pub(crate) fn put(entry: Arc<Entry>, previous: Option<Arc<Entry>>) -> Self {
        Self {
            revision: entry.revision(),
            entry,
            previous,
            removed: false,
            frames: Mutex::default(),
        }
    }

    /// An object was removed; `last` is its state stamped with the revision of the removal.
    pub(crate) fn removal(last: Arc<Entry>, previous: Arc<Entry>) -> Self {
        Self {
            revision: last.revision(),
            entry: last,
            previous: Some(previous),
            removed: true,
            frames: Mutex::default(),
        }
    }

    /// When it happened.
    pub(crate) fn revision(&self) -> u64 {
        self.revision
    }

    /// The state after the change (for a removal: before).
    pub(crate) fn entry(&self) -> &Arc<Entry> {
        &self.entry
    }

    /// The state before the change.
    pub(crate) fn previous(&self) -> Option<&Arc<Entry>> {
        self.previous.as_ref()
    }

    /// How many bytes of objects nobody but those who remember this change holds. What an object is after it is held by the
    /// cache, or by the change that came next.
    pub(super) fn held(&self) -> usize {
        let last = if self.removed { self.entry.held() } else { 0 };
        last + self.previous.as_ref().map_or(0, |entry| entry.held())
    }

    /// Lets go of the bytes that tell of it. Who comes for them later has them made again.
    pub(super) fn forget_frames(&self) {
        let mut frames = self.frames.lock().unwrap_or_else(PoisonError::into_inner);
        *frames = Vec::new();
    }

    /// What this change is to somebody who sees only `selection`; `None` where it does not concern them.
    pub(crate) fn seen_by(&self, selection: &Selection) -> Option<EventType> {
        self.seen_if(|entry| selection.matches(entry))
    }

    /// What this change is to somebody who sees only what is selected.
    pub(crate) fn seen_if(&self, selects: impl Fn(&Entry) -> bool) -> Option<EventType> {
        let before = self.previous.as_ref().is_some_and(|entry| selects(entry));
        let after = !self.removed && selects(&self.entry);
        match (before, after) {
            (false, false) => None,
            (false, true) => Some(EventType::Added),
            (true, true) => Some(EventType::Modified),
            (true, false) => Some(EventType::Deleted),
        }
    }

    /// The object that a telling shows: who stops seeing an object is shown its last selected state as of the change.
    pub(crate) fn shown_as(&self, kind: EventType) -> Arc<Entry> {
        match (&self.previous, kind) {
            (Some(previous), EventType::Deleted) if !self.removed => {
                Arc::new(previous.restamped(self.revision))
            }
            _ => Arc::clone(&self.entry),
        }
    }

    /// The bytes that tell of it, made by `encode` the first time this telling is asked for.
    pub(crate) fn frame<E>(
        &self,
        kind: EventType,
        representation: Representation,
        encode: impl FnOnce(&Entry) -> Result<Bytes, E>,
    ) -> Result<Bytes, E> {
        let find = |frames: &Vec<(EventType, Representation, Bytes)>| {
            let found = frames.iter().find(|(k, r, _)| *k == kind && *r == representation);
            found.map(|(_, _, bytes)| bytes.clone())
        };
        if let Some(bytes) = find(&self.frames.lock().unwrap_or_else(PoisonError::into_inner)) {
            return Ok(bytes);
        }
        let bytes = encode(&self.shown_as(kind))?;
        let mut frames = self.frames.lock().unwrap_or_else(PoisonError::into_inner);
        if find(&frames).is_none() {
            frames.push((kind, representation, bytes.clone()));
        }
        Ok(bytes)
    }
}
