//! The database as of one moment. Does blocking IO.

use super::database::{Database, family, number};
use super::encoding;
use crate::{Batch, Fault, KeyRange, KeyValue, Revision};
use bytes::Bytes;
use rocksdb::{Direction, IteratorMode, ReadOptions, Snapshot};

/// A key and its value, as an iterator comes to it.
type Entry = Result<(Bytes, Bytes), Fault>;

/// The database as of one moment.
pub(super) struct View<'a> {
    database: &'a Database,
    snapshot: Snapshot<'a>,
}

impl<'a> View<'a> {
    pub(super) fn new(database: &'a Database, snapshot: Snapshot<'a>) -> View<'a> {
        View { database, snapshot }
    }

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

    /// The last revision in the log, if it has any.
    pub(super) fn last_logged(&self) -> Result<Option<Revision>, Fault> {
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

    /// A number of the `default` family, if it is set.
    pub(super) fn number(&self, name: &str) -> Result<Option<u64>, Fault> {
        let found = self
            .snapshot
            .get(name)
            .map_err(|error| self.database.fault(&error))?;
        found
            .map(|bytes| self.database.decoded(encoding::decode_number(&bytes)))
            .transpose()
    }
}
