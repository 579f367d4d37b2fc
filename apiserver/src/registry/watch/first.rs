//! What is told of objects that are there, and of changes: to one watcher, before it is encoded. Pure.

use std::sync::Arc;

use coracle_api::status::ApiError;

use crate::cache::entry::Entry;
use crate::cache::event::{Event, EventType};

/// What is told before the changes that are yet to come.
pub(super) enum First {
    /// An object that is there.
    State(Arc<Entry>),
    /// A change that was missed.
    Event(EventType, Arc<Event>),
    /// All objects have been told.
    InitialEnd(u64),
    /// The watch cannot begin.
    Error(ApiError),
}

impl First {
    /// What is told of an object, and the object.
    pub(super) fn shown(self) -> Option<(EventType, Arc<Entry>)> {
        match self {
            Self::State(entry) => Some((EventType::Added, entry)),
            Self::Event(kind, event) => Some((kind, event.shown_as(kind))),
            Self::InitialEnd(_) | Self::Error(_) => None,
        }
    }

    /// The same, to somebody who sees only what is selected.
    pub(super) fn selected(self, selects: impl Fn(&Entry) -> bool) -> Option<Self> {
        match self {
            Self::State(entry) => selects(&entry).then_some(Self::State(entry)),
            Self::Event(_, event) => Some(Self::Event(event.seen_if(selects)?, event)),
            other => Some(other),
        }
    }

    /// The object as it is, and as it was.
    pub(super) fn states(&self) -> Vec<&Arc<Entry>> {
        match self {
            Self::State(entry) => vec![entry],
            Self::Event(_, event) => event.previous().into_iter().chain([event.entry()]).collect(),
            Self::InitialEnd(_) | Self::Error(_) => Vec::new(),
        }
    }
}
