//! The store on an embedded RocksDB: one process, one directory, durable.
//!
//! | module | what it does |
//! |---|---|
//! | `commit` | the one thread that writes: decides, syncs, publishes, answers |
//! | `stage` | what a group of transactions changes (pure) |
//! | `hub` | which watcher waits for what; the most recent changes in memory |
//! | `stream` | the stream of one watcher, from memory or from the log |
//! | `read` | reads, now and in the past |
//! | `engine` | what these share: the open database, its lock, its health |
//! | `database`, `view` | RocksDB in terms of objects, batches and revisions; as of one moment |
//! | `wal` | whether a log that cannot be read lost power or was damaged |
//! | `encoding`, `tuning` | bytes on disk, RocksDB's settings (pure) |
//!
//! What always holds: a transaction is answered after its write has been synced; a watcher and a reader see only what is
//! durable; one write batch carries a group's objects, log entries and the revision, so no part is ever seen alone.

mod commit;
mod database;
mod encoding;
mod engine;
mod hub;
mod read;
mod stage;
mod stream;
mod tuning;
mod view;
mod wal;

pub use database::OpenError;
pub use tuning::RocksOptions;

use crate::{
    CheckpointError, CompactError, Fault, GetResponse, ListRequest, ListResponse, ReadError, Revision, Store,
    Txn, TxnError, TxnOutcome, WatchError, WatchRequest, WatchStream,
};
use async_trait::async_trait;
use bytes::Bytes;
use commit::{Command, Request};
use engine::Engine;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use tokio::sync::{mpsc, oneshot};

/// A store in a directory of its own.
///
/// Dropping it closes it, as [`RocksStore::close`] does.
pub struct RocksStore {
    engine: Arc<Engine>,
    writer: Mutex<Option<Writer>>,
}

/// The way to the commit thread.
struct Writer {
    queue: mpsc::Sender<Command>,
    closing: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl RocksStore {
    /// Opens the store in a directory, which is made if it is not there. Blocks for some milliseconds; after a crash, while
    /// the last changes are replayed.
    ///
    /// # Errors
    /// If the directory is in use, cannot be used, or holds something that cannot be read.
    pub fn open(dir: &Path, options: RocksOptions) -> Result<RocksStore, OpenError> {
        let engine = Arc::new(Engine::open(dir, options)?);
        let (queue, requests) = mpsc::channel(commit::QUEUE_LENGTH);
        let closing = Arc::new(AtomicBool::new(false));
        let (committer, told) = (engine.clone(), closing.clone());
        let thread = std::thread::Builder::new()
            .name("store-commit".to_owned())
            .spawn(move || commit::run(committer, requests, &told))
            .map_err(|source| OpenError::Directory {
                dir: dir.to_owned(),
                source,
            })?;
        Ok(RocksStore {
            engine,
            writer: Mutex::new(Some(Writer {
                queue,
                closing,
                thread,
            })),
        })
    }

    /// Commits what was handed over, ends all watches, and gives the directory back. Blocks while it does. Whatever is
    /// asked of the store afterwards fails with [`Fault::Closed`].
    pub fn close(&self) {
        let writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(Writer {
            queue,
            closing,
            thread,
        }) = writer
        {
            closing.store(true, Ordering::SeqCst);
            // A full queue does not take it, but then the thread is at work and sees `closing`.
            let _ = queue.try_send(Command::Close);
            if thread.join().is_err() {
                tracing::error!("the store's commit thread had panicked");
            }
            self.engine.close();
        }
    }

    fn queue(&self) -> Option<mpsc::Sender<Command>> {
        let writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        writer.as_ref().map(|writer| writer.queue.clone())
    }
}

impl Drop for RocksStore {
    fn drop(&mut self) {
        self.close();
    }
}

#[async_trait]
impl Store for RocksStore {
    async fn revision(&self) -> Result<Revision, ReadError> {
        self.engine.hub.check_open()?;
        Ok(self.engine.hub.published())
    }

    async fn get(&self, key: &[u8], at: Option<Revision>) -> Result<GetResponse, ReadError> {
        let key = Bytes::copy_from_slice(key);
        let engine = self.engine.clone();
        let read = move || {
            engine.read(at, |view, revision, current| {
                read::get(view, &key, revision, current).map(|kv| GetResponse { revision, kv })
            })
        };
        // A key as of now costs microseconds, less than handing the work to another thread.
        if at.is_none() {
            read()
        } else {
            run_blocking(read).await?
        }
    }

    async fn list(&self, request: ListRequest) -> Result<ListResponse, ReadError> {
        let engine = self.engine.clone();
        run_blocking(move || {
            engine.read(request.at, |view, revision, current| {
                read::list(view, &request, revision, current)
            })
        })
        .await?
    }

    async fn txn(&self, txn: Txn) -> Result<TxnOutcome, TxnError> {
        txn.check()?;
        let closed = || TxnError::Refused(Fault::Closed);
        let queue = self.queue().ok_or_else(closed)?;
        let (answer, answered) = oneshot::channel();
        queue
            .send(Command::Commit(Request { txn, answer }))
            .await
            .map_err(|_| closed())?;
        drop(queue);
        // Only a commit thread that died in the middle gives no answer.
        answered
            .await
            .unwrap_or(Err(TxnError::Indeterminate(Fault::Closed)))
    }

    async fn watch(&self, request: WatchRequest) -> Result<WatchStream, WatchError> {
        stream::open(self.engine.clone(), request)
    }

    async fn request_progress(&self) -> Result<(), Fault> {
        self.engine.hub.check_open()?;
        self.engine.hub.request_progress();
        Ok(())
    }

    async fn compact(&self, revision: Revision) -> Result<(), CompactError> {
        let engine = self.engine.clone();
        run_blocking(move || engine.compact(revision)).await?
    }

    async fn checkpoint(&self, dir: &Path) -> Result<(), CheckpointError> {
        if dir.exists() {
            return Err(CheckpointError::Exists { dir: dir.to_owned() });
        }
        let (engine, dir) = (self.engine.clone(), dir.to_owned());
        Ok(run_blocking(move || engine.with(|database| database.checkpoint(&dir))).await???)
    }
}

/// Runs what blocks on a thread where that does no harm.
async fn run_blocking<T: Send + 'static>(act: impl FnOnce() -> T + Send + 'static) -> Result<T, Fault> {
    let finished = tokio::task::spawn_blocking(act).await;
    finished.map_err(|error| Fault::Backend {
        detail: format!("a read was cut short: {error}"),
    })
}
