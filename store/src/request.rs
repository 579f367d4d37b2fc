//! What is asked of a store and what it answers.

use crate::{Revision, TxnError};
use bytes::Bytes;
use std::collections::HashSet;

/// The longest key. Kubernetes' own keys (resource, namespace and name) stay far below.
pub const MAX_KEY_BYTES: usize = 4096;

/// The most bytes of keys and values in one transaction: etcd's default request limit, so that whatever one backend
/// takes the other takes as well.
pub const MAX_TXN_BYTES: usize = 1_572_864;

/// The most comparisons, and the most operations, in one transaction: etcd's default.
pub const MAX_TXN_OPS: usize = 128;

/// A key with what it held as of some revision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyValue {
    /// The full key.
    pub key: Bytes,
    /// The value, as it was put.
    pub value: Bytes,
    /// The revision at which the key came into being (most recently, if it had been deleted before).
    pub create_revision: Revision,
    /// The revision of the put that wrote this value.
    pub mod_revision: Revision,
    /// How many puts the key has seen since it came into being; 1 after the first.
    pub version: u64,
}

/// The answer to a get.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GetResponse {
    /// The revision as of which this holds.
    pub revision: Revision,
    /// What the key held, if it existed.
    pub kv: Option<KeyValue>,
}

/// A half-open interval of keys: from `start`, up to but without `end`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct KeyRange {
    /// The first key that belongs.
    pub start: Bytes,
    /// The first key after `start` that does not belong; `None` if all following keys do.
    pub end: Option<Bytes>,
}

impl KeyRange {
    /// Every key.
    #[must_use]
    pub fn all() -> KeyRange {
        KeyRange {
            start: Bytes::new(),
            end: None,
        }
    }

    /// Exactly one key.
    #[must_use]
    pub fn key(key: impl Into<Bytes>) -> KeyRange {
        let start = key.into();
        let mut end = Vec::with_capacity(start.len() + 1);
        end.extend_from_slice(&start);
        end.push(0);
        KeyRange {
            start,
            end: Some(end.into()),
        }
    }

    /// All keys that begin with `prefix`.
    #[must_use]
    pub fn prefix(prefix: impl Into<Bytes>) -> KeyRange {
        let start = prefix.into();
        let end = prefix_end(&start);
        KeyRange { start, end }
    }

    /// The part of this range that begins at `key`: where to go on after a first page. To go on after the last key
    /// that was seen, append a zero byte to it.
    #[must_use]
    pub fn starting_at(mut self, key: impl Into<Bytes>) -> KeyRange {
        self.start = self.start.max(key.into());
        self
    }

    /// Whether `key` lies in the range.
    #[must_use]
    pub fn contains(&self, key: &[u8]) -> bool {
        key >= &self.start[..] && self.end.as_ref().is_none_or(|end| key < &end[..])
    }
}

/// The smallest key that is greater than every key with this prefix, if there is one.
fn prefix_end(prefix: &[u8]) -> Option<Bytes> {
    let last = prefix.iter().rposition(|&byte| byte != u8::MAX)?;
    let mut end = prefix[..=last].to_vec();
    end[last] += 1;
    Some(end.into())
}

/// What to list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListRequest {
    /// The keys asked for.
    pub range: KeyRange,
    /// As of when; now, if absent.
    pub at: Option<Revision>,
    /// The most items to answer. With 0, nothing but the count is of interest.
    pub limit: Option<usize>,
    /// Whether to count all keys of the range, beyond the limit.
    pub count: bool,
}

impl ListRequest {
    /// All of a range, as of now.
    #[must_use]
    pub fn new(range: KeyRange) -> ListRequest {
        ListRequest {
            range,
            at: None,
            limit: None,
            count: false,
        }
    }

    /// As of a revision.
    #[must_use]
    pub fn at(mut self, revision: Revision) -> ListRequest {
        self.at = Some(revision);
        self
    }

    /// At most `limit` items.
    #[must_use]
    pub fn limit(mut self, limit: usize) -> ListRequest {
        self.limit = Some(limit);
        self
    }

    /// With the number of all keys of the range.
    #[must_use]
    pub fn count(mut self) -> ListRequest {
        self.count = true;
        self
    }
}

/// The answer to a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListResponse {
    /// The revision as of which this holds.
    pub revision: Revision,
    /// The items in ascending order of their keys.
    pub items: Vec<KeyValue>,
    /// Whether the range holds more than `items`.
    pub more: bool,
    /// The number of all keys of the range, if it was asked for.
    pub count: Option<u64>,
}

/// A condition of a transaction: a key's mod revision is the one expected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Compare {
    /// The key to look at.
    pub key: Bytes,
    /// The mod revision that it must have; [`Revision::ABSENT`] if it must not exist.
    pub mod_revision: Revision,
}

/// One change of a transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Op {
    /// Writes a key, whether or not it exists.
    Put {
        /// The key to write.
        key: Bytes,
        /// Its new value.
        value: Bytes,
    },
    /// Removes a key. Removing one that does not exist is no change.
    Delete {
        /// The key to remove.
        key: Bytes,
    },
}

impl Op {
    /// The key that is changed.
    #[must_use]
    pub fn key(&self) -> &Bytes {
        match self {
            Op::Put { key, .. } | Op::Delete { key } => key,
        }
    }

    fn bytes(&self) -> usize {
        match self {
            Op::Put { key, value } => key.len() + value.len(),
            Op::Delete { key } => key.len(),
        }
    }
}

/// A transaction: if all comparisons hold, all operations happen, at one revision.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Txn {
    /// What must hold.
    pub compares: Vec<Compare>,
    /// What then happens; each key at most once.
    pub ops: Vec<Op>,
}

impl Txn {
    /// A transaction that does nothing yet.
    #[must_use]
    pub fn new() -> Txn {
        Txn::default()
    }

    /// Only if the key's mod revision is this one.
    #[must_use]
    pub fn when(mut self, key: impl Into<Bytes>, mod_revision: Revision) -> Txn {
        self.compares.push(Compare {
            key: key.into(),
            mod_revision,
        });
        self
    }

    /// Only if the key does not exist.
    #[must_use]
    pub fn when_absent(self, key: impl Into<Bytes>) -> Txn {
        self.when(key, Revision::ABSENT)
    }

    /// Then put this value.
    #[must_use]
    pub fn put(mut self, key: impl Into<Bytes>, value: impl Into<Bytes>) -> Txn {
        self.ops.push(Op::Put {
            key: key.into(),
            value: value.into(),
        });
        self
    }

    /// Then delete this key.
    #[must_use]
    pub fn delete(mut self, key: impl Into<Bytes>) -> Txn {
        self.ops.push(Op::Delete { key: key.into() });
        self
    }

    /// The bytes of all keys and values that are written.
    pub(crate) fn bytes(&self) -> usize {
        self.ops.iter().map(Op::bytes).sum()
    }

    /// Whether the transaction keeps the limits and names each changed key once. Every backend checks this first.
    ///
    /// # Errors
    /// The rule that is broken; nothing has been written then.
    pub fn check(&self) -> Result<(), TxnError> {
        if self.ops.len() > MAX_TXN_OPS || self.compares.len() > MAX_TXN_OPS {
            return Err(TxnError::TooManyOps { limit: MAX_TXN_OPS });
        }
        let bytes = self.bytes();
        if bytes > MAX_TXN_BYTES {
            return Err(TxnError::TooLarge {
                bytes,
                limit: MAX_TXN_BYTES,
            });
        }
        let compared = self.compares.iter().map(|compare| &compare.key);
        let changed = || self.ops.iter().map(Op::key);
        if let Some(key) = compared
            .chain(changed())
            .find(|key| key.is_empty() || key.len() > MAX_KEY_BYTES)
        {
            return Err(TxnError::InvalidKey {
                length: key.len(),
                limit: MAX_KEY_BYTES,
            });
        }
        let mut seen = HashSet::with_capacity(self.ops.len());
        match changed().find(|key| !seen.insert(*key)) {
            Some(key) => Err(TxnError::DuplicateKey { key: key.clone() }),
            None => Ok(()),
        }
    }
}

/// How a transaction ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TxnOutcome {
    /// All comparisons held and all operations are durable.
    Committed {
        /// The new mod revision of every key that was put. If the operations changed nothing (none, or only deletes
        /// of absent keys), the store's current revision.
        revision: Revision,
    },
    /// A comparison did not hold; nothing was changed.
    Conflict {
        /// The revision as of which the comparison failed.
        revision: Revision,
        /// What the compared keys hold, in the order of the comparisons; `None` for one that does not exist.
        current: Vec<Option<KeyValue>>,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_ends_where_the_next_one_begins() {
        for (prefix, end) in [
            (&b"/a/"[..], Some(&b"/a0"[..])),
            (b"a\xff", Some(b"b")),
            (b"\xff\xff", None),
            (b"", None),
        ] {
            assert_eq!(KeyRange::prefix(prefix).end.as_deref(), end, "{prefix:?}");
        }
    }

    #[test]
    fn a_range_contains_what_it_says() {
        let range = KeyRange::prefix(&b"/pods/"[..]).starting_at(&b"/pods/b"[..]);
        for (key, inside) in [
            (&b"/pods/a"[..], false),
            (b"/pods/b", true),
            (b"/pods/z/\xff", true),
            (b"/pods0", false),
        ] {
            assert_eq!(range.contains(key), inside, "{key:?}");
        }
        assert!(KeyRange::key(&b"k"[..]).contains(b"k"));
        assert!(!KeyRange::key(&b"k"[..]).contains(b"k\0"));
    }

    #[test]
    fn a_start_before_the_range_does_not_widen_it() {
        let range = KeyRange::prefix(&b"/pods/"[..]).starting_at(&b"/a"[..]);
        assert_eq!(range, KeyRange::prefix(&b"/pods/"[..]));
    }

    #[test]
    fn transactions_out_of_bounds_are_refused() {
        let long = vec![b'k'; MAX_KEY_BYTES + 1];
        let many = (0..=MAX_TXN_OPS).fold(Txn::new(), |txn, i| txn.delete(format!("k{i}")));
        let large = Txn::new().put("k", vec![0; MAX_TXN_BYTES]);
        assert!(matches!(many.check(), Err(TxnError::TooManyOps { .. })));
        assert!(matches!(large.check(), Err(TxnError::TooLarge { .. })));
        assert!(matches!(
            Txn::new().put(long, "v").check(),
            Err(TxnError::InvalidKey { .. })
        ));
        assert!(matches!(
            Txn::new().when_absent("").check(),
            Err(TxnError::InvalidKey { length: 0, .. })
        ));
        assert!(matches!(
            Txn::new().put("k", "v").delete("k").check(),
            Err(TxnError::DuplicateKey { .. })
        ));
        assert!(
            Txn::new()
                .when_absent("k")
                .put("k", vec![0; MAX_TXN_BYTES - 1])
                .check()
                .is_ok()
        );
    }
}
