//! What clients asked, what they were told, and when: all that the checker knows. Pure.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

/// A resourceVersion: the store's global revision.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Revision(pub u64);

impl fmt::Display for Revision {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

/// A moment on the observer's one clock. A call that ended at a smaller tick than another began came before it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Tick(pub u64);

/// What is written to a key. No two calls write the same token, so a state tells whose it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Value {
    /// Which write this is.
    pub token: u64,
    /// The label that selective watchers go by.
    pub shard: u8,
}

/// A key's state as it was read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Object {
    /// When it was written.
    pub revision: Revision,
    /// Given at creation, and to nothing else.
    pub uid: String,
    /// What was written.
    pub value: Value,
}

/// What a client asks of one key, or of all.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Action {
    /// Write where nothing is.
    Create(Value),
    /// Write over what is there: whatever it is, or only if it is of this revision.
    Replace {
        /// What to write.
        value: Value,
        /// The precondition.
        over: Option<Revision>,
    },
    /// Remove what is there: whatever it is, or only this one.
    Delete {
        /// The precondition.
        uid: Option<String>,
    },
    /// Read the key as it is now.
    Get,
    /// Read all keys: as they are now, as they were at some recent revision (`Revision(0)`), or exactly then.
    List {
        /// Exactly when; `Revision(0)` leaves it to the server.
        at: Option<Revision>,
    },
}

impl Action {
    /// What it writes, if it does.
    pub fn value(&self) -> Option<Value> {
        match self {
            Self::Create(value) | Self::Replace { value, .. } => Some(*value),
            Self::Delete { .. } | Self::Get | Self::List { .. } => None,
        }
    }
}

/// What a client was told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Answer {
    /// It is written.
    Written(Object),
    /// The object of this uid is removed.
    Deleted {
        /// Which.
        uid: String,
    },
    /// This is there, or nothing is.
    Found(Option<Object>),
    /// All keys, as of one revision.
    Listed {
        /// Which.
        revision: Revision,
        /// Every key that was there, with what it held.
        objects: BTreeMap<String, Object>,
    },
    /// Refused since there is something already.
    Exists,
    /// Refused since there is nothing.
    Missing,
    /// Refused since what is there is not what the precondition names.
    Conflict,
    /// Refused for a reason that lies with the server; nothing was done.
    Refused,
    /// Nothing came, or nothing that says what was done: it may have been done, or be done some time later.
    Unknown,
}

/// One request and its answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Call {
    /// Which key; of no meaning for a list.
    pub key: String,
    /// What was asked.
    pub action: Action,
    /// Just before it was asked.
    pub began: Tick,
    /// Just after the answer, or after the client gave up.
    pub ended: Tick,
    /// What came back.
    pub answer: Answer,
}

/// What a watch delivers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Delivery {
    /// A key came into what is watched.
    Added(String, Object),
    /// A key in it has changed.
    Modified(String, Object),
    /// A key left what is watched, at this revision.
    Deleted(String, Revision),
    /// Everything up to here has been delivered.
    Bookmark(Revision),
}

impl Delivery {
    /// When it happened.
    pub fn revision(&self) -> Revision {
        match self {
            Self::Added(_, object) | Self::Modified(_, object) => object.revision,
            Self::Deleted(_, revision) | Self::Bookmark(revision) => *revision,
        }
    }
}

/// One watch, from its opening to its end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Session {
    /// For reports.
    pub watcher: String,
    /// Only keys with this label, or all.
    pub shard: Option<u8>,
    /// The changes after this one are wanted: a list's revision, a bookmark's or an event's.
    pub after: Revision,
    /// What came, in the order in which it came, and when.
    pub deliveries: Vec<(Tick, Delivery)>,
}

impl Session {
    /// Up to where the watch has told everything.
    pub fn covered(&self) -> Revision {
        let last = self.deliveries.last().map(|(_, delivery)| delivery.revision());
        last.unwrap_or(self.after).max(self.after)
    }
}

/// Everything that was seen of one server, over all its lives.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct History {
    /// Requests, in no particular order.
    pub calls: Vec<Call>,
    /// Watches, in no particular order.
    pub sessions: Vec<Session>,
}
