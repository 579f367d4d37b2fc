//! The database together with what must agree with it: its lock, its watchers, its health.

use super::database::{Database, OpenError};
use super::hub::Hub;
use super::tuning::RocksOptions;
use super::view::View;
use crate::failpoint::failpoint;
use crate::{Batch, CompactError, Fault, ReadError, Revision, WatchError};
use nix::sys::statvfs::statvfs;
use std::fs::{self, File, TryLockError};
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

/// The file whose lock says that a directory is in use.
const LOCK_FILE: &str = "coracle.lock";

/// Everything that readers, watchers and the commit thread share.
pub(super) struct Engine {
    dir: PathBuf,
    options: RocksOptions,
    state: RwLock<State>,
    pub(super) hub: Hub,
    /// History before this revision is gone, or about to be: set before any of it is removed.
    compacted: AtomicU64,
    compacting: Mutex<()>,
    /// Held until the database is closed, though watchers may keep the engine longer.
    lock: Mutex<Option<File>>,
}

enum State {
    Open(Database),
    /// It failed and could not be opened again.
    Failed(Fault),
    Closed,
}

impl Engine {
    pub(super) fn open(dir: &Path, options: RocksOptions) -> Result<Engine, OpenError> {
        let lock = lock(dir)?;
        failpoint!("open/begun");
        let database = Database::open(dir, &options)?;
        failpoint!("open/done");
        let view = database.view();
        let (revision, compacted) = (view.revision()?, view.compacted()?);
        drop(view);
        Ok(Engine {
            dir: dir.to_owned(),
            options,
            state: RwLock::new(State::Open(database)),
            hub: Hub::new(revision),
            compacted: AtomicU64::new(compacted.0),
            compacting: Mutex::new(()),
            lock: Mutex::new(Some(lock)),
        })
    }

    /// Does something with the database. Blocks while it is being opened again.
    pub(super) fn with<T>(&self, act: impl FnOnce(&Database) -> T) -> Result<T, Fault> {
        match &*self.state.read().unwrap_or_else(PoisonError::into_inner) {
            State::Open(database) => Ok(act(database)),
            State::Failed(fault) => Err(fault.clone()),
            State::Closed => Err(Fault::Closed),
        }
    }

    /// Reads as of `at`, or as of now. The reader gets a view and the revision to read.
    pub(super) fn read<T>(
        &self,
        at: Option<Revision>,
        reader: impl FnOnce(&View<'_>, Revision, Revision) -> Result<T, Fault>,
    ) -> Result<T, ReadError> {
        self.with(|database| {
            let view = database.view();
            let current = view.revision()?;
            let requested = at.unwrap_or(current);
            if requested > current {
                return Err(ReadError::FutureRevision { requested, current });
            }
            let answer = reader(&view, requested, current);
            // Looked at last: what the reader needed may have been removed while it read.
            let oldest = self.compacted();
            if at.is_some() && requested < oldest {
                return Err(ReadError::Compacted { requested, oldest });
            }
            Ok(answer?)
        })?
    }

    /// The changes after one revision, up to another, as far as they fit into `budget` bytes; at least one.
    pub(super) fn read_log(
        &self,
        after: Revision,
        until: Revision,
        budget: usize,
    ) -> Result<Vec<Batch>, WatchError> {
        self.with(|database| {
            let view = database.view();
            let mut bytes = 0;
            let mut read = Vec::new();
            for batch in view.log(after, until) {
                self.check_watchable(after)?;
                let batch = batch?;
                bytes += super::hub::batch_bytes(&batch);
                read.push(batch);
                if bytes > budget {
                    break;
                }
            }
            self.check_watchable(after)?;
            Ok(read)
        })?
    }

    /// Whether the changes after a revision are still there.
    pub(super) fn check_watchable(&self, after: Revision) -> Result<(), WatchError> {
        let oldest = self.compacted();
        if after < oldest {
            Err(WatchError::Compacted { after, oldest })
        } else {
            Ok(())
        }
    }

    /// Forgets history before a revision.
    pub(super) fn compact(&self, requested: Revision) -> Result<(), CompactError> {
        let current = self.hub.published();
        if requested > current {
            return Err(CompactError::FutureRevision { requested, current });
        }
        let _one_at_a_time = self.compacting.lock().unwrap_or_else(PoisonError::into_inner);
        if requested <= self.compacted() {
            return Ok(());
        }
        failpoint!("compact/begun");
        self.with(|database| {
            database.set_compacted(requested)?;
            failpoint!("compact/marked");
            self.compacted.store(requested.0, Ordering::SeqCst);
            database.drop_log_files(requested)
        })??;
        failpoint!("compact/dropped");
        Ok(())
    }

    /// Fails if too little space is left to write safely.
    pub(super) fn check_space(&self) -> Result<(), Fault> {
        self.check_free(self.options.min_free_bytes)
    }

    /// Fails if too little space is left to open the database again, which writes what was replayed to files.
    pub(super) fn check_space_to_reopen(&self) -> Result<(), Fault> {
        self.check_free(
            self.options
                .min_free_bytes
                .max(4 * self.options.write_buffer_bytes as u64),
        )
    }

    fn check_free(&self, wanted: u64) -> Result<(), Fault> {
        let stat = statvfs(&self.dir).map_err(|errno| Fault::Backend {
            detail: errno.to_string(),
        })?;
        #[allow(clippy::unnecessary_cast, reason = "the fields' types differ by platform")]
        let free = stat.blocks_available() as u64 * stat.fragment_size() as u64;
        if free < wanted {
            return Err(Fault::DiskFull {
                dir: self.dir.clone(),
            });
        }
        Ok(())
    }

    /// Closes the database and opens it again, after a failed write has left it in doubt what is durable. Whatever is
    /// found then is made durable, and published if it was not.
    pub(super) fn reopen(&self) -> Result<Revision, Fault> {
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        if let State::Closed = *state {
            return Err(Fault::Closed);
        }
        *state = State::Failed(Fault::Backend {
            detail: "it is being opened again".to_owned(),
        });
        match self.recover() {
            Ok((database, found)) => {
                let revision = found.last().map_or(self.hub.published(), |batch| batch.revision);
                *state = State::Open(database);
                self.hub.publish(found);
                Ok(revision)
            }
            Err(fault) => {
                *state = State::Failed(fault.clone());
                Err(fault)
            }
        }
    }

    /// Opens the database and finds the changes that were written but not published.
    fn recover(&self) -> Result<(Database, Vec<Arc<Batch>>), Fault> {
        let database = Database::open(&self.dir, &self.options).map_err(|error| match error {
            OpenError::Fault(fault) => fault,
            other => Fault::Backend {
                detail: other.to_string(),
            },
        })?;
        database.flush()?;
        let view = database.view();
        let unpublished = view.log(self.hub.published(), view.revision()?);
        let found = unpublished
            .map(|batch| batch.map(Arc::new))
            .collect::<Result<_, _>>()?;
        drop(view);
        Ok((database, found))
    }

    /// Closes the database and ends all watches.
    pub(super) fn close(&self) {
        self.hub.close();
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        if let State::Open(database) = std::mem::replace(&mut *state, State::Closed)
            && let Err(fault) = database.flush()
        {
            // Nothing is lost: the next open replays the write-ahead log.
            tracing::warn!(error = %fault, "the store was closed without writing its memory to files");
        }
        self.lock.lock().unwrap_or_else(PoisonError::into_inner).take();
    }

    fn compacted(&self) -> Revision {
        Revision(self.compacted.load(Ordering::SeqCst))
    }
}

/// Makes the directory if need be and takes its lock, which the returned file holds.
fn lock(dir: &Path) -> Result<File, OpenError> {
    let unusable = |source| OpenError::Directory {
        dir: dir.to_owned(),
        source,
    };
    create_durably(dir).map_err(unusable)?;
    // Every secret of the cluster stands in here.
    std::fs::set_permissions(dir, std::fs::Permissions::from_mode(0o700)).map_err(unusable)?;
    let file = File::options()
        .create(true)
        .append(true)
        .open(dir.join(LOCK_FILE))
        .map_err(unusable)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(OpenError::Locked { dir: dir.to_owned() }),
        Err(TryLockError::Error(source)) => Err(unusable(source)),
    }
}

/// Makes a directory with its parents, so that it is still there after a loss of power.
fn create_durably(dir: &Path) -> io::Result<()> {
    if dir.is_dir() {
        return Ok(());
    }
    let parent = match dir.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    };
    create_durably(parent)?;
    match fs::create_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && dir.is_dir() => {}
        made => made?,
    }
    File::open(parent)?.sync_all()
}
