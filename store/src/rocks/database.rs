//! RocksDB, spoken to in objects, batches and revisions.
//!
//! Three column families: `objects` (key → what it holds now), `log` (revision → what happened) and `default` for a few
//! numbers. Every commit is one write batch over all three, so that they agree in every snapshot. Does blocking IO.

use super::encoding::{self, FORMAT, Malformed};
use super::tuning::{self, RocksOptions};
use crate::{Batch, Event, Fault, KeyRange, KeyValue, Revision};
use bytes::Bytes;
use rocksdb::checkpoint::Checkpoint;
use rocksdb::{
    ColumnFamily, DB, Direction, Error, ErrorKind, IteratorMode, ReadOptions, Snapshot, WriteBatch,
    WriteOptions,
};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use thiserror::Error;

/// The column families.
pub(super) mod family {
    pub(in crate::rocks) const NUMBERS: &str = "default";
    pub(in crate::rocks) const OBJECTS: &str = "objects";
    pub(in crate::rocks) const LOG: &str = "log";
}

/// The keys of the numbers.
mod number {
    pub(super) const FORMAT: &str = "format";
    pub(super) const REVISION: &str = "revision";
    pub(super) const COMPACTED: &str = "compacted";
}

/// Why a data directory was not opened.
#[derive(Debug, Error)]
pub enum OpenError {
    /// Another process, or this one, has it open.
    #[error("{} is in use by another process; stop that one or choose another directory", dir.display())]
    Locked {
        /// The data directory.
        dir: PathBuf,
    },
    /// It was written by a version of the store that this one does not know.
    #[error("{} has data of format {found}; this version reads format {known}", dir.display())]
    UnknownFormat {
        /// The data directory.
        dir: PathBuf,
        /// The format found.
        found: u64,
        /// The format this version reads and writes.
        known: u64,
    },
    /// It cannot be made, or is no directory that can be read and written.
    #[error("{} cannot be used as a data directory", dir.display())]
    Directory {
        /// The data directory.
        dir: PathBuf,
        /// What the operating system says.
        source: std::io::Error,
    },
    /// What it holds cannot be used.
    #[error(transparent)]
    Fault(#[from] Fault),
}

/// An open database.
pub(super) struct Database {
    db: DB,
    dir: PathBuf,
}

impl Database {
    /// Opens or makes the database in a directory that is there and locked.
    pub(super) fn open(dir: &Path, options: &RocksOptions) -> Result<Database, OpenError> {
        let fault = |error| Fault::from_rocksdb(dir, &error);
        let db_options = tuning::database(options).map_err(fault)?;
        let families = tuning::families(options);
        let db = DB::open_cf_descriptors(&db_options, dir, families).map_err(fault)?;
        let database = Database {
            db,
            dir: dir.to_owned(),
        };
        database.check_or_initialize()?;
        Ok(database)
    }

    /// A consistent view of the current state.
    pub(super) fn view(&self) -> View<'_> {
        View {
            snapshot: self.db.snapshot(),
            database: self,
        }
    }

    /// What a key holds now.
    pub(super) fn object(&self, key: &Bytes) -> Result<Option<KeyValue>, Fault> {
        let found = self
            .db
            .get_cf(self.family(family::OBJECTS), key)
            .map_err(|error| self.fault(&error))?;
        found
            .map(|bytes| self.decoded(encoding::decode_object(key.clone(), bytes.into())))
            .transpose()
    }

    /// Writes batches in one atomic, synced write: all of them are durable when this returns.
    pub(super) fn commit(&self, batches: &[Arc<Batch>]) -> Result<(), Fault> {
        let Some(last) = batches.last() else { return Ok(()) };
        let (objects, log) = (self.family(family::OBJECTS), self.family(family::LOG));
        let mut write = WriteBatch::default();
        for batch in batches {
            for event in &batch.events {
                match event {
                    Event::Put { kv, .. } => write.put_cf(objects, &kv.key, encoding::encode_object(kv)),
                    Event::Delete { prev } => write.delete_cf(objects, &prev.key),
                }
            }
            write.put_cf(
                log,
                encoding::revision_key(batch.revision),
                encoding::encode_log(batch),
            );
        }
        write.put(number::REVISION, encoding::revision_key(last.revision));
        self.write(write, true)
    }

    /// Remembers durably that history before `revision` is gone.
    pub(super) fn set_compacted(&self, revision: Revision) -> Result<(), Fault> {
        let mut write = WriteBatch::default();
        write.put(number::COMPACTED, encoding::revision_key(revision));
        self.write(write, true)
    }

    /// Removes the files that hold nothing but log entries up to a revision.
    ///
    /// Log keys only ever ascend, so RocksDB's files of the log do not overlap and whole files go, without rewriting.
    pub(super) fn drop_log_files(&self, until: Revision) -> Result<(), Fault> {
        let (from, to) = (encoding::revision_key(Revision(0)), encoding::revision_key(until));
        let dropped = self
            .db
            .delete_file_in_range_cf(self.family(family::LOG), from, to);
        dropped.map_err(|error| self.fault(&error))
    }

    /// Copies the database to a directory that does not exist.
    pub(super) fn checkpoint(&self, dir: &Path) -> Result<(), Fault> {
        let copied = Checkpoint::new(&self.db).and_then(|checkpoint| checkpoint.create_checkpoint(dir));
        copied.map_err(|error| Fault::from_rocksdb(dir, &error))
    }

    /// Moves what is in memory into files, so that the next open has nothing to replay.
    pub(super) fn flush(&self) -> Result<(), Fault> {
        let families = [family::NUMBERS, family::OBJECTS, family::LOG].map(|name| self.family(name));
        families
            .into_iter()
            .try_for_each(|family| self.db.flush_cf(family))
            .map_err(|error| self.fault(&error))
    }

    /// Checks that the numbers agree with format and log, or sets them in a new database.
    fn check_or_initialize(&self) -> Result<(), OpenError> {
        let view = self.view();
        let Some(found) = view.number(number::FORMAT)? else {
            return Ok(self.initialize(&view)?);
        };
        if found != FORMAT {
            return Err(OpenError::UnknownFormat {
                dir: self.dir.clone(),
                found,
                known: FORMAT,
            });
        }
        let (revision, compacted) = (view.revision()?, view.compacted()?);
        let logged = view.last_logged()?.unwrap_or(compacted);
        if compacted > revision || (logged != revision && revision != compacted) {
            let detail =
                format!("it is at revision {revision}, compacted to {compacted}, but logged to {logged}");
            return Err(self.corrupt(detail).into());
        }
        Ok(())
    }

    /// Not synced: the first commit is, and takes everything before it along.
    fn initialize(&self, view: &View<'_>) -> Result<(), Fault> {
        if let Some(first) = view.objects(&KeyRange::all()).next() {
            return Err(first
                .err()
                .unwrap_or_else(|| self.corrupt("it has objects but no format".to_owned())));
        }
        let mut write = WriteBatch::default();
        write.put(number::FORMAT, FORMAT.to_be_bytes());
        write.put(number::REVISION, encoding::revision_key(Revision::FIRST));
        write.put(number::COMPACTED, encoding::revision_key(Revision::FIRST));
        self.write(write, false)
    }

    fn write(&self, batch: WriteBatch, sync: bool) -> Result<(), Fault> {
        let mut options = WriteOptions::default();
        options.set_sync(sync);
        self.db
            .write_opt(batch, &options)
            .map_err(|error| self.fault(&error))
    }

    fn family(&self, name: &str) -> &ColumnFamily {
        self.db.cf_handle(name).expect("all families were opened")
    }

    fn fault(&self, error: &Error) -> Fault {
        Fault::from_rocksdb(&self.dir, error)
    }

    fn corrupt(&self, detail: String) -> Fault {
        Fault::Corrupt {
            dir: self.dir.clone(),
            detail,
        }
    }

    fn decoded<T>(&self, result: Result<T, Malformed>) -> Result<T, Fault> {
        result.map_err(|malformed| self.corrupt(format!("an entry cannot be read: {malformed}")))
    }
}

/// A key and its value, as an iterator comes to it.
type Entry = Result<(Bytes, Bytes), Fault>;

/// The database as of one moment.
pub(super) struct View<'a> {
    database: &'a Database,
    snapshot: Snapshot<'a>,
}

impl View<'_> {
    /// The revision of this view.
    pub(super) fn revision(&self) -> Result<Revision, Fault> {
        self.required(number::REVISION)
    }

    /// The revision before which history is gone.
    pub(super) fn compacted(&self) -> Result<Revision, Fault> {
        self.required(number::COMPACTED)
    }

    /// What a key holds.
    pub(super) fn object(&self, key: &Bytes) -> Result<Option<KeyValue>, Fault> {
        let database = self.database;
        let found = self.snapshot.get_cf(database.family(family::OBJECTS), key);
        let found = found.map_err(|error| database.fault(&error))?;
        found
            .map(|bytes| database.decoded(encoding::decode_object(key.clone(), bytes.into())))
            .transpose()
    }

    /// What a range holds, in order.
    pub(super) fn objects(&self, range: &KeyRange) -> impl Iterator<Item = Result<KeyValue, Fault>> {
        let mut options = ReadOptions::default();
        options.set_iterate_lower_bound(range.start.to_vec());
        if let Some(end) = &range.end {
            options.set_iterate_upper_bound(end.to_vec());
        }
        self.scan(family::OBJECTS, options, IteratorMode::Start)
            .map(|entry| {
                let (key, value) = entry?;
                self.database.decoded(encoding::decode_object(key, value))
            })
    }

    /// What happened after one revision, up to and including another: one batch for each, in order.
    ///
    /// A revision that is missing is an error, so that a gap is never taken for silence.
    pub(super) fn log(&self, after: Revision, until: Revision) -> impl Iterator<Item = Result<Batch, Fault>> {
        // The usual read is of now and needs no log: then not even an iterator is made.
        let wanted = (after < until).then(|| {
            let mut options = ReadOptions::default();
            options.set_iterate_lower_bound(encoding::revision_key(after.next()));
            options.set_iterate_upper_bound(encoding::revision_key(until.next()));
            let mut entries = self.scan(family::LOG, options, IteratorMode::Start);
            (after.0 + 1..=until.0).map(move |revision| self.log_entry(Revision(revision), entries.next()))
        });
        wanted.into_iter().flatten()
    }

    fn log_entry(&self, expected: Revision, found: Option<Entry>) -> Result<Batch, Fault> {
        let missing = || {
            self.database
                .corrupt(format!("the log has no revision {expected}"))
        };
        let (key, value) = found.ok_or_else(missing)??;
        if self.database.decoded(encoding::decode_revision(&key))? != expected {
            return Err(missing());
        }
        self.database.decoded(encoding::decode_log(expected, value))
    }

    fn last_logged(&self) -> Result<Option<Revision>, Fault> {
        let end = [u8::MAX; 8];
        let mode = IteratorMode::From(&end, Direction::Reverse);
        let last = self.scan(family::LOG, ReadOptions::default(), mode).next();
        last.map(|entry| entry.and_then(|(key, _)| self.database.decoded(encoding::decode_revision(&key))))
            .transpose()
    }

    fn scan(
        &self,
        family: &str,
        options: ReadOptions,
        mode: IteratorMode<'_>,
    ) -> impl Iterator<Item = Entry> {
        let database = self.database;
        let entries = self
            .snapshot
            .iterator_cf_opt(database.family(family), options, mode);
        entries.map(|entry| match entry {
            Ok((key, value)) => Ok((key.into(), value.into())),
            Err(error) => Err(database.fault(&error)),
        })
    }

    fn required(&self, name: &str) -> Result<Revision, Fault> {
        let missing = || self.database.corrupt(format!("it has no number {name}"));
        Ok(Revision(self.number(name)?.ok_or_else(missing)?))
    }

    fn number(&self, name: &str) -> Result<Option<u64>, Fault> {
        let found = self
            .snapshot
            .get(name)
            .map_err(|error| self.database.fault(&error))?;
        found
            .map(|bytes| self.database.decoded(encoding::decode_number(&bytes)))
            .transpose()
    }
}

impl Fault {
    /// What an error of RocksDB in a directory means. RocksDB tells what the operating system refused in words only.
    pub(super) fn from_rocksdb(dir: &Path, error: &Error) -> Fault {
        let dir = dir.to_owned();
        let detail = error.to_string();
        let says = |words: &str| detail.contains(words);
        if says("No space left on device") || says("Disk quota exceeded") {
            return Fault::DiskFull { dir };
        }
        // RocksDB only opens files that it has written before, or found listed.
        if error.kind() == ErrorKind::Corruption || says("No such file or directory") {
            return Fault::Corrupt { dir, detail };
        }
        Fault::Backend { detail }
    }
}
