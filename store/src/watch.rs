//! What a watch asks for and what it delivers.

use crate::{KeyRange, KeyValue, Revision, WatchError};
use bytes::Bytes;
use futures::stream::BoxStream;

/// What to watch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WatchRequest {
    /// The keys of interest.
    pub range: KeyRange,
    /// Changes after this revision are delivered, so that a watch after the revision of a list carries on where the
    /// list ended. Without it: changes after the current revision, which the first item, a
    /// [`WatchItem::Progress`], then names.
    pub after: Option<Revision>,
}

impl WatchRequest {
    /// Changes in a range after a revision.
    #[must_use]
    pub fn after(range: KeyRange, revision: Revision) -> WatchRequest {
        WatchRequest {
            range,
            after: Some(revision),
        }
    }

    /// Changes in a range from now on.
    #[must_use]
    pub fn from_now(range: KeyRange) -> WatchRequest {
        WatchRequest { range, after: None }
    }
}

/// An open watch: items until the first error, which ends it.
pub type WatchStream = BoxStream<'static, Result<WatchItem, WatchError>>;

/// What a watch delivers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WatchItem {
    /// The changes that one transaction made in the watched range. Revisions strictly ascend within a watch.
    Changes(Batch),
    /// Everything in the watched range up to and including this revision has been delivered: a watch may be taken
    /// up again after it.
    Progress(Revision),
}

/// Changes that happened together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    /// When they happened.
    pub revision: Revision,
    /// At least one event, in the order of the transaction's operations; each key at most once.
    pub events: Vec<Event>,
}

impl Batch {
    /// The part of this batch that lies in a range, if there is any.
    pub(crate) fn within(&self, range: &KeyRange) -> Option<Batch> {
        let events: Vec<Event> = self
            .events
            .iter()
            .filter(|event| range.contains(event.key()))
            .cloned()
            .collect();
        (!events.is_empty()).then_some(Batch {
            revision: self.revision,
            events,
        })
    }
}

/// One change of one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The key was written; its mod revision is the batch's.
    Put {
        /// What it holds now.
        kv: KeyValue,
        /// What it held before, if it existed.
        prev: Option<KeyValue>,
    },
    /// The key was removed.
    Delete {
        /// What it held before. Its mod revision is that of its last put; the batch has the revision of the removal.
        prev: KeyValue,
    },
}

impl Event {
    /// The key that changed.
    #[must_use]
    pub fn key(&self) -> &Bytes {
        match self {
            Event::Put { kv, .. } => &kv.key,
            Event::Delete { prev } => &prev.key,
        }
    }

    /// What the key held before, if it existed.
    #[must_use]
    pub fn prev(&self) -> Option<&KeyValue> {
        match self {
            Event::Put { prev, .. } => prev.as_ref(),
            Event::Delete { prev } => Some(prev),
        }
    }

    /// What the key holds now, if it exists.
    #[must_use]
    pub fn current(&self) -> Option<&KeyValue> {
        match self {
            Event::Put { kv, .. } => Some(kv),
            Event::Delete { .. } => None,
        }
    }
}
