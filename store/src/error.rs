//! How each operation can fail.

use crate::Revision;
use bytes::Bytes;
use std::path::PathBuf;
use thiserror::Error;

/// What is wrong with the store itself, whatever was asked of it.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Fault {
    /// No space is left for the store's files.
    #[error("the disk that holds {} is full", dir.display())]
    DiskFull {
        /// The store's data directory.
        dir: PathBuf,
    },
    /// Data that was read does not match its checksum or its form.
    #[error("the data in {} is corrupt: {detail}", dir.display())]
    Corrupt {
        /// The store's data directory.
        dir: PathBuf,
        /// What was found, and where.
        detail: String,
    },
    /// The backend failed in another way; trying again may help.
    #[error("the store's backend failed: {detail}")]
    Backend {
        /// The backend's own words.
        detail: String,
    },
    /// A layer between the store and whoever asks could not write or read a value in its own form.
    #[error("{detail}")]
    Transform {
        /// That layer's own words.
        detail: String,
    },
    /// The store has been closed.
    #[error("the store is closed")]
    Closed,
}

/// Why a get or a list was not answered.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ReadError {
    /// History does not reach back that far.
    #[error("revision {requested} has been compacted; the oldest that can be read is {oldest}")]
    Compacted {
        /// The revision asked for.
        requested: Revision,
        /// The oldest that can be read.
        oldest: Revision,
    },
    /// The store has not come to that revision yet.
    #[error("revision {requested} is in the future; the store is at {current}")]
    FutureRevision {
        /// The revision asked for.
        requested: Revision,
        /// The store's current one.
        current: Revision,
    },
    /// The store is unwell.
    #[error(transparent)]
    Fault(#[from] Fault),
}

/// Why a transaction was not answered with an outcome.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum TxnError {
    /// Keys and values are more than one transaction may carry. Nothing was written.
    #[error("the transaction has {bytes} bytes; at most {limit} are allowed")]
    TooLarge {
        /// Bytes of keys and values.
        bytes: usize,
        /// The most allowed.
        limit: usize,
    },
    /// There are more comparisons or operations than one transaction may carry. Nothing was written.
    #[error("the transaction has more than {limit} comparisons or operations")]
    TooManyOps {
        /// The most allowed.
        limit: usize,
    },
    /// A key is empty or too long. Nothing was written.
    #[error("a key has {length} bytes; between 1 and {limit} are allowed")]
    InvalidKey {
        /// Its length.
        length: usize,
        /// The longest allowed.
        limit: usize,
    },
    /// Two operations name the same key. Nothing was written.
    #[error("the transaction changes the key {} more than once", key.escape_ascii())]
    DuplicateKey {
        /// The key.
        key: Bytes,
    },
    /// The store is unwell and refused the transaction. Nothing was written.
    #[error("nothing was written")]
    Refused(#[source] Fault),
    /// The store failed while it wrote: the transaction may or may not have been committed. Reading tells.
    #[error("whether the transaction was committed is not known")]
    Indeterminate(#[source] Fault),
}

/// Why a watch was not opened, or ended.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum WatchError {
    /// Changes that were still to be delivered have been compacted: list again and watch from there.
    #[error("changes after revision {after} have been compacted; watches can begin after {oldest}")]
    Compacted {
        /// The revision up to which the watcher has seen everything.
        after: Revision,
        /// The oldest revision after which a watch can begin.
        oldest: Revision,
    },
    /// The store has not come to that revision yet.
    #[error("revision {after} is in the future; the store is at {current}")]
    FutureRevision {
        /// The revision after which the watch was to begin.
        after: Revision,
        /// The store's current one.
        current: Revision,
    },
    /// The store is unwell.
    #[error(transparent)]
    Fault(#[from] Fault),
}

/// Why history was not compacted.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum CompactError {
    /// The store has not come to that revision yet.
    #[error("revision {requested} is in the future; the store is at {current}")]
    FutureRevision {
        /// The revision asked for.
        requested: Revision,
        /// The store's current one.
        current: Revision,
    },
    /// The store is unwell.
    #[error(transparent)]
    Fault(#[from] Fault),
}

/// Why a checkpoint was not written.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum CheckpointError {
    /// Something is there already.
    #[error("{} exists already; a checkpoint needs a directory of its own", dir.display())]
    Exists {
        /// The directory asked for.
        dir: PathBuf,
    },
    /// This backend cannot copy itself.
    #[error("this backend makes no checkpoints")]
    Unsupported,
    /// The store is unwell, or the copy could not be written.
    #[error(transparent)]
    Fault(#[from] Fault),
}
