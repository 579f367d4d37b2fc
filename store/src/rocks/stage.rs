//! What a group of transactions changes, decided before anything is written. Pure.
//!
//! The transactions of a group are applied one after the other: each sees what the ones before it did, and each that
//! changes something gets a revision of its own.

use crate::{Batch, Event, Fault, KeyValue, Op, Revision, Txn, TxnOutcome};
use bytes::Bytes;
use std::collections::HashMap;
use std::sync::Arc;

/// The changes of a group so far, on top of what is stored.
pub(super) struct Stage<Lookup> {
    /// What a key holds in the database.
    lookup: Lookup,
    revision: Revision,
    /// Every key looked at, with what it holds after the changes so far.
    keys: HashMap<Bytes, Option<KeyValue>>,
    batches: Vec<Arc<Batch>>,
}

impl<Lookup: Fn(&Bytes) -> Result<Option<KeyValue>, Fault>> Stage<Lookup> {
    /// An empty stage on a database that is at `revision`.
    pub(super) fn new(revision: Revision, lookup: Lookup) -> Stage<Lookup> {
        Stage {
            lookup,
            revision,
            keys: HashMap::new(),
            batches: Vec::new(),
        }
    }

    /// Adds a transaction to the group.
    pub(super) fn apply(&mut self, txn: Txn) -> Result<TxnOutcome, Fault> {
        if !self.holds(&txn)? {
            let mut current = Vec::with_capacity(txn.compares.len());
            for compare in &txn.compares {
                current.push(self.current(&compare.key)?.cloned());
            }
            return Ok(TxnOutcome::Conflict {
                revision: self.revision,
                current,
            });
        }
        let revision = self.revision.next();
        let mut events = Vec::with_capacity(txn.ops.len());
        for op in txn.ops {
            events.extend(self.event(op, revision)?);
        }
        if events.is_empty() {
            return Ok(TxnOutcome::Committed {
                revision: self.revision,
            });
        }
        for event in &events {
            self.keys.insert(event.key().clone(), event.current().cloned());
        }
        self.revision = revision;
        self.batches.push(Arc::new(Batch { revision, events }));
        Ok(TxnOutcome::Committed { revision })
    }

    /// What is to be written: the batches of the log, in order.
    pub(super) fn finish(self) -> Vec<Arc<Batch>> {
        self.batches
    }

    fn holds(&mut self, txn: &Txn) -> Result<bool, Fault> {
        for compare in &txn.compares {
            let found = self
                .current(&compare.key)?
                .map_or(Revision::ABSENT, |kv| kv.mod_revision);
            if found != compare.mod_revision {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn current(&mut self, key: &Bytes) -> Result<Option<&KeyValue>, Fault> {
        if !self.keys.contains_key(key) {
            let stored = (self.lookup)(key)?;
            self.keys.insert(key.clone(), stored);
        }
        Ok(self.keys[key].as_ref())
    }

    /// What an operation changes, if anything.
    fn event(&mut self, op: Op, revision: Revision) -> Result<Option<Event>, Fault> {
        let prev = self.current(op.key())?.cloned();
        Ok(match op {
            Op::Delete { .. } => prev.map(|prev| Event::Delete { prev }),
            Op::Put { key, value } => {
                let (create_revision, version) = prev
                    .as_ref()
                    .map_or((revision, 1), |prev| (prev.create_revision, prev.version + 1));
                let kv = KeyValue {
                    key,
                    value,
                    create_revision,
                    mod_revision: revision,
                    version,
                };
                Some(Event::Put { kv, prev })
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;

    fn stored(key: &'static str, mod_revision: u64) -> KeyValue {
        KeyValue {
            key: key.into(),
            value: "stored".into(),
            create_revision: Revision(2),
            mod_revision: Revision(mod_revision),
            version: 3,
        }
    }

    fn stage() -> Stage<impl Fn(&Bytes) -> Result<Option<KeyValue>, Fault>> {
        Stage::new(Revision(10), |key| Ok((key == "a").then(|| stored("a", 9))))
    }

    fn committed(revision: u64) -> Result<TxnOutcome, Fault> {
        Ok(TxnOutcome::Committed {
            revision: Revision(revision),
        })
    }

    #[test]
    fn a_transaction_sees_the_ones_before_it() {
        let mut stage = stage();
        assert_eq!(
            stage.apply(Txn::new().when("a", Revision(9)).put("a", "new")),
            committed(11)
        );
        assert_eq!(
            stage.apply(Txn::new().when("a", Revision(11)).delete("a")),
            committed(12)
        );
        assert_eq!(
            stage.apply(Txn::new().when_absent("a").put("a", "again")),
            committed(13)
        );
        let last = stage.finish().pop().expect("three batches");
        let [Event::Put { kv, prev: None }] = &last.events[..] else {
            panic!("{last:?}")
        };
        assert_eq!((kv.create_revision, kv.version), (Revision(13), 1));
    }

    #[test]
    fn a_conflict_changes_nothing_and_tells_what_is_there() {
        let mut stage = stage();
        let txn = Txn::new()
            .when_absent("b")
            .when("a", Revision(8))
            .put("a", "x")
            .put("b", "y");
        let current = vec![None, Some(stored("a", 9))];
        assert_eq!(
            stage.apply(txn),
            Ok(TxnOutcome::Conflict {
                revision: Revision(10),
                current
            })
        );
        assert!(stage.finish().is_empty());
    }

    #[test]
    fn a_put_keeps_the_creation_and_counts_the_version() {
        let mut stage = stage();
        assert_eq!(
            stage.apply(Txn::new().put("a", "new").put("b", "new")),
            committed(11)
        );
        let batch = stage.finish().pop().expect("one batch");
        let states = batch.events.iter().filter_map(Event::current);
        let seen: Vec<_> = states
            .map(|kv| (kv.create_revision.0, kv.mod_revision.0, kv.version))
            .collect();
        assert_eq!(seen, [(2, 11, 4), (11, 11, 1)]);
    }

    #[test]
    fn deleting_what_is_not_there_takes_no_revision() {
        let mut stage = stage();
        assert_eq!(stage.apply(Txn::new().delete("b")), committed(10));
        assert!(stage.finish().is_empty());
    }

    #[test]
    fn a_key_is_looked_up_once() {
        let lookups = RefCell::new(0);
        let mut stage = Stage::new(Revision(1), |_: &Bytes| {
            *lookups.borrow_mut() += 1;
            Ok(None)
        });
        assert_eq!(
            stage.apply(Txn::new().when_absent("k").put("k", "v")),
            committed(2)
        );
        assert_eq!(stage.apply(Txn::new().delete("k")), committed(3));
        drop(stage);
        assert_eq!(lookups.into_inner(), 1);
    }

    #[test]
    fn a_failed_lookup_fails_the_transaction() {
        let mut stage = Stage::new(Revision(1), |_: &Bytes| Err(Fault::Closed));
        assert_eq!(stage.apply(Txn::new().put("k", "v")), Err(Fault::Closed));
    }
}
