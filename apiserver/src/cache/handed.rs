//! Objects on their way through the store: who writes one hands it over with the bytes that were made of it, so that the
//! feed need not make it of those bytes again.
//!
//! What is handed over is found by the allocation that the bytes stand in, which is held meanwhile and so belongs to nothing
//! else. A store that gives back bytes of its own (from its log, decrypted, over a network) is read as if nobody had handed
//! over anything.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use serde_json::Value;

/// What has been handed over and is not taken yet: no more than there are writes at once.
#[derive(Debug, Default)]
pub(super) struct Handed {
    waiting: Mutex<HashMap<usize, (Bytes, Value)>>,
}

/// Holds what was handed over, until it is taken or this is dropped.
#[derive(Debug)]
pub(crate) struct Ticket<'a> {
    handed: &'a Handed,
    /// Held to the end, so that no other bytes come to stand in their place.
    bytes: Bytes,
}

impl Handed {
    /// Hands over an object, which must be what reading the bytes gives.
    pub(super) fn hand(&self, bytes: &Bytes, object: Value) -> Ticket<'_> {
        self.lock().insert(place_of(bytes), (bytes.clone(), object));
        Ticket {
            handed: self,
            bytes: bytes.clone(),
        }
    }

    /// The object that was handed over with these very bytes.
    pub(super) fn take(&self, bytes: &Bytes) -> Option<Value> {
        let removed = self.lock().remove(&place_of(bytes));
        removed.map(|(_, object)| object)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<usize, (Bytes, Value)>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Ticket<'_> {
    /// The object, where nobody has taken it.
    pub(crate) fn take_back(self) -> Option<Value> {
        self.handed.take(&self.bytes)
    }
}

impl Drop for Ticket<'_> {
    fn drop(&mut self) {
        // What nobody took is dropped outside the lock.
        let _left = self.handed.take(&self.bytes);
    }
}

fn place_of(bytes: &Bytes) -> usize {
    bytes.as_ptr().addr()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_object_is_taken_once_and_by_its_own_bytes_only() {
        let handed = Handed::default();
        let bytes = Bytes::from(b"the same".to_vec());
        let ticket = handed.hand(&bytes, json!(1));
        assert_eq!(handed.take(&Bytes::from(b"the same".to_vec())), None);
        assert_eq!(handed.take(&bytes.clone()), Some(json!(1)));
        assert_eq!(handed.take(&bytes), None);
        assert_eq!(ticket.take_back(), None);
    }

    #[test]
    fn what_nobody_takes_goes_with_its_ticket() {
        let handed = Handed::default();
        let bytes = Bytes::from(b"bytes".to_vec());
        assert_eq!(handed.hand(&bytes, json!(1)).take_back(), Some(json!(1)));
        drop(handed.hand(&bytes, json!(2)));
        assert_eq!(handed.take(&bytes), None);
    }
}
