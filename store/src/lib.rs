//! Where objects live: keys, bytes and revisions behind one trait, [`Store`].
//!
//! The contract is etcd's, so that a real etcd cluster can stand behind the same trait:
//!
//! - There is one global [`Revision`]. Every transaction that changes something raises it by one; an empty store is at
//!   revision 1.
//! - A read answers as of one revision: the current one, or an older one that has not been compacted.
//! - A transaction compares the mod revisions of some keys and then puts or deletes several keys, all or nothing.
//! - A watch delivers every change after a revision: ordered, each once, without gaps, a transaction's changes together;
//!   it can be taken up again after any revision that has not been compacted, also after a restart.
//! - What was answered with success survives SIGKILL and loss of power.
//!
//! Values are opaque bytes: the store never looks into them and knows nothing of Kubernetes' types.

mod error;
mod failpoint;
pub mod model;
mod request;
pub mod retention;
mod revision;
pub mod rocks;
mod watch;

pub use error::{CheckpointError, CompactError, Fault, ReadError, TxnError, WatchError};
pub use request::{
    Compare, GetResponse, KeyRange, KeyValue, ListRequest, ListResponse, MAX_KEY_BYTES, MAX_TXN_BYTES,
    MAX_TXN_OPS, Op, Txn, TxnOutcome,
};
pub use revision::Revision;
pub use watch::{Batch, Event, WatchItem, WatchRequest, WatchStream};

use async_trait::async_trait;
use std::path::Path;

/// A versioned key-value store with etcd's contract; see the crate's documentation for what always holds.
///
/// Object safe: the apiserver holds an `Arc<dyn Store>`. All methods may be called concurrently. Dropping a future or
/// a stream abandons the wait, not the work: a transaction that was handed over may still be committed.
#[async_trait]
pub trait Store: Send + Sync + 'static {
    /// The current revision: at least that of every transaction answered before this call.
    async fn revision(&self) -> Result<Revision, ReadError>;

    /// One key, as of `at` or, without it, as of now.
    async fn get(&self, key: &[u8], at: Option<Revision>) -> Result<GetResponse, ReadError>;

    /// The keys of a range in ascending order, all as of one revision.
    async fn list(&self, request: ListRequest) -> Result<ListResponse, ReadError>;

    /// Commits all operations if all comparisons hold; otherwise changes nothing and answers what the compared keys
    /// hold. The answer comes after the change is durable.
    async fn txn(&self, txn: Txn) -> Result<TxnOutcome, TxnError>;

    /// All changes in a range after a revision, past and to come.
    ///
    /// The stream ends after its first error. It buffers a bounded amount and never holds up a writer: a watcher that
    /// falls behind is served from history, and cut off with [`WatchError::Compacted`] once that history is gone.
    async fn watch(&self, request: WatchRequest) -> Result<WatchStream, WatchError>;

    /// Makes every open watch yield a [`WatchItem::Progress`] at or above the current revision, once it has
    /// delivered everything up to it.
    async fn request_progress(&self) -> Result<(), Fault>;

    /// Forgets the history before `revision`: reads below it and watches after a revision below it answer
    /// `Compacted`. Doing so again, or for an older revision, changes nothing.
    async fn compact(&self, revision: Revision) -> Result<(), CompactError>;

    /// Writes a consistent copy of the whole store to a directory that does not exist yet. The same backend can
    /// open it.
    async fn checkpoint(&self, dir: &Path) -> Result<(), CheckpointError>;
}
