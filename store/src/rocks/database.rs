//! RocksDB, spoken to in objects, batches and revisions.
//!
//! Three column families: `objects` (key → what it holds now), `log` (revision → what happened) and `default` for a few
//! numbers. Every commit is one write batch over all three, so that they agree in every snapshot. Does blocking IO.

use super::encoding::{self, FORMAT, Malformed};
use super::tuning::{self, RocksOptions};
use super::view::View;
use super::wal;
use crate::failpoint::failpoint;
use crate::{Batch, Event, Fault, KeyRange, KeyValue, Revision};
use bytes::Bytes;
use rocksdb::checkpoint::Checkpoint;
use rocksdb::{ColumnFamily, DB, DBRecoveryMode, Error, ErrorKind, WriteBatch, WriteOptions};
use std::io;
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
pub(super) mod number {
    pub(in crate::rocks) const FORMAT: &str = "format";
    pub(in crate::rocks) const REVISION: &str = "revision";
    pub(in crate::rocks) const COMPACTED: &str = "compacted";
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
        let database = match Database::open_with(dir, options, DBRecoveryMode::TolerateCorruptedTailRecords) {
            Err(Fault::Corrupt { detail, .. }) if wal::last_write_is_torn(dir).unwrap_or(false) => {
                tracing::warn!(
                    detail,
                    "the last write before a loss of power was cut short and is left out"
                );
                Database::open_without_last_write(dir, options)?
            }
            opened => opened?,
        };
        database.check_or_initialize()?;
        Ok(database)
    }

    fn open_with(dir: &Path, options: &RocksOptions, recovery: DBRecoveryMode) -> Result<Database, Fault> {
        let fault = |error| Fault::from_rocksdb(dir, &error);
        let db_options = tuning::database(options, recovery).map_err(fault)?;
        let families = tuning::families(options);
        let db = DB::open_cf_descriptors(&db_options, dir, families).map_err(fault)?;
        Ok(Database {
            db,
            dir: dir.to_owned(),
        })
    }

    /// Opens up to the first record of the write-ahead log that cannot be read, and does away with that log for good: if it
    /// came back after another loss of power, it would be taken for damage.
    fn open_without_last_write(dir: &Path, options: &RocksOptions) -> Result<Database, Fault> {
        let fault = |error: io::Error| Fault::Backend {
            detail: error.to_string(),
        };
        let logs = wal::logs(dir).map_err(fault)?;
        let database = Database::open_with(dir, options, DBRecoveryMode::PointInTime)?;
        database.flush()?;
        drop(database);
        wal::remove(dir, &logs).map_err(fault)?;
        Database::open_with(dir, options, DBRecoveryMode::TolerateCorruptedTailRecords)
    }

    /// A consistent view of the current state.
    pub(super) fn view(&self) -> View<'_> {
        View::new(self, self.db.snapshot())
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
        failpoint!("checkpoint/begun");
        let copied = Checkpoint::new(&self.db).and_then(|checkpoint| checkpoint.create_checkpoint(dir));
        failpoint!("checkpoint/copied");
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

    pub(super) fn family(&self, name: &str) -> &ColumnFamily {
        self.db.cf_handle(name).expect("all families were opened")
    }

    pub(super) fn fault(&self, error: &Error) -> Fault {
        Fault::from_rocksdb(&self.dir, error)
    }

    pub(super) fn corrupt(&self, detail: String) -> Fault {
        Fault::Corrupt {
            dir: self.dir.clone(),
            detail,
        }
    }

    pub(super) fn decoded<T>(&self, result: Result<T, Malformed>) -> Result<T, Fault> {
        result.map_err(|malformed| self.corrupt(format!("an entry cannot be read: {malformed}")))
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

#[cfg(test)]
impl Database {
    /// How often the write-ahead log has been synced since the database was opened.
    pub(super) fn syncs(&self) -> u64 {
        let stats = self
            .db
            .property_value("rocksdb.dbstats")
            .expect("a property")
            .expect("RocksDB has it");
        let line = stats
            .lines()
            .find(|line| line.starts_with("Cumulative WAL:"))
            .expect("a line on the log");
        let (before, _) = line.split_once(" syncs").expect("a number of syncs");
        let (_, number) = before.rsplit_once(' ').expect("words");
        // With thousands it is written like 12K.
        number.parse().expect("a number below a thousand")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(dir: &Path) -> Result<Database, OpenError> {
        Database::open(dir, &RocksOptions::default())
    }

    fn batch(revision: u64) -> Arc<Batch> {
        let revision = Revision(revision);
        let kv = KeyValue {
            key: "k".into(),
            value: "v".into(),
            create_revision: revision,
            mod_revision: revision,
            version: 1,
        };
        Arc::new(Batch {
            revision,
            events: vec![Event::Put { kv, prev: None }],
        })
    }

    fn detail(opened: Result<Database, OpenError>) -> String {
        match opened.map(drop) {
            Err(OpenError::Fault(Fault::Corrupt { detail, .. })) => detail,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_commit_is_one_synced_write() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let database = open(dir.path()).expect("it opens");
        let before = database.syncs();
        database.commit(&[batch(2), batch(3)]).expect("a commit");
        database.commit(&[batch(4)]).expect("a commit");
        assert_eq!(database.syncs() - before, 2);
        database.commit(&[]).expect("nothing to commit");
        assert_eq!(database.syncs() - before, 2);
    }

    #[test]
    fn an_unknown_format_is_refused() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let database = open(dir.path()).expect("it opens");
        database
            .db
            .put(number::FORMAT, (FORMAT + 1).to_be_bytes())
            .expect("a write");
        drop(database);
        let opened = open(dir.path()).map(drop);
        assert!(
            matches!(opened, Err(OpenError::UnknownFormat { found, .. }) if found == FORMAT + 1),
            "{opened:?}"
        );
    }

    #[test]
    fn a_log_that_ends_before_the_revision_is_refused() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let database = open(dir.path()).expect("it opens");
        database.commit(&[batch(2), batch(3)]).expect("a commit");
        let log = database.family(family::LOG);
        database
            .db
            .delete_cf(log, encoding::revision_key(Revision(3)))
            .expect("a write");
        drop(database);
        assert_eq!(
            detail(open(dir.path())),
            "it is at revision 3, compacted to 1, but logged to 2"
        );
    }

    #[test]
    fn objects_without_a_format_are_refused() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let database = open(dir.path()).expect("it opens");
        database.commit(&[batch(2)]).expect("a commit");
        database.db.delete(number::FORMAT).expect("a write");
        drop(database);
        assert_eq!(detail(open(dir.path())), "it has objects but no format");
    }

    #[test]
    fn a_gap_in_the_log_is_not_taken_for_silence() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let database = open(dir.path()).expect("it opens");
        database
            .commit(&[batch(2), batch(3), batch(4)])
            .expect("a commit");
        let log = database.family(family::LOG);
        database
            .db
            .delete_cf(log, encoding::revision_key(Revision(3)))
            .expect("a write");
        let read: Vec<_> = database.view().log(Revision(1), Revision(4)).collect();
        assert_eq!(read[0].as_ref().map(|batch| batch.revision), Ok(Revision(2)));
        assert!(matches!(read[1], Err(Fault::Corrupt { .. })), "{:?}", read[1]);
    }
}
