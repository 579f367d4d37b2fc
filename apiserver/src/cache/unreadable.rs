//! What is stored of a resource and cannot be read: it is never served, and never taken for absent.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Keys, each with why. Asking costs an atomic load while there are none.
#[derive(Debug, Default)]
pub(crate) struct Unreadable {
    len: AtomicUsize,
    reasons: Mutex<BTreeMap<String, String>>,
}

impl Unreadable {
    pub(super) fn insert(&self, key: &str, why: String) {
        self.change(|reasons| {
            reasons.insert(key.to_owned(), why);
        });
    }

    pub(super) fn remove(&self, key: &str) {
        if !self.is_empty() {
            self.change(|reasons| {
                reasons.remove(key);
            });
        }
    }

    pub(super) fn clear(&self) {
        if !self.is_empty() {
            self.change(BTreeMap::clear);
        }
    }

    pub(super) fn keys(&self) -> Vec<String> {
        self.lock().keys().cloned().collect()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len.load(Ordering::Acquire) == 0
    }

    pub(super) fn get(&self, key: &str) -> Option<String> {
        if self.is_empty() {
            return None;
        }
        self.lock().get(key).cloned()
    }

    pub(super) fn first(&self) -> Option<(String, String)> {
        if self.is_empty() {
            return None;
        }
        let reasons = self.lock();
        reasons
            .first_key_value()
            .map(|(key, why)| (key.clone(), why.clone()))
    }

    fn change(&self, change: impl FnOnce(&mut BTreeMap<String, String>)) {
        let mut reasons = self.lock();
        change(&mut reasons);
        self.len.store(reasons.len(), Ordering::Release);
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, String>> {
        self.reasons.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_can_be_read_again_is_forgotten() {
        let unreadable = Unreadable::default();
        assert_eq!(unreadable.first(), None);
        unreadable.insert("b/x", "why".to_owned());
        unreadable.insert("a/x", "because".to_owned());
        assert_eq!(unreadable.get("b/x").as_deref(), Some("why"));
        assert_eq!(unreadable.first(), Some(("a/x".to_owned(), "because".to_owned())));
        unreadable.remove("a/x");
        assert_eq!(unreadable.keys(), ["b/x"]);
        unreadable.clear();
        assert!(unreadable.is_empty());
    }
}
