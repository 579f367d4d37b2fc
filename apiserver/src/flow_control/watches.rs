//! How many watches a write concerns: those of its resource, of its namespace, and of its very object (upstream's
//! `watch_tracker.go`).

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::request::RequestInfo;

/// Counts by a hash of what is watched, so that asking takes no memory.
#[derive(Default)]
pub(super) struct Watches {
    hasher: RandomState,
    counts: Mutex<HashMap<u64, u32>>,
}

/// A watch that is counted until this is dropped.
pub(crate) struct Watching {
    watches: Arc<Watches>,
    key: u64,
}

impl Watches {
    /// Counts a watch. One of the pods of a single node is not counted: few writes concern it.
    pub(super) fn register(
        self: &Arc<Self>,
        info: &RequestInfo,
        query: &[(String, String)],
    ) -> Option<Watching> {
        let of_a_node = |selector: &str| {
            let terms = selector.split(',').map(|term| term.trim().replace("==", "="));
            terms.into_iter().any(|term| {
                term.strip_prefix("spec.nodeName=")
                    .is_some_and(|name| !name.is_empty())
            })
        };
        let mut selectors = query.iter().filter(|(key, _)| key == "fieldSelector");
        if info.resource == "pods" && selectors.any(|(_, selector)| of_a_node(selector)) {
            return None;
        }
        let key = self.key(info, &info.namespace, &info.name);
        *self.lock().entry(key).or_default() += 1;
        Some(Watching {
            watches: Arc::clone(self),
            key,
        })
    }

    /// How many a write concerns.
    pub(super) fn concerned(&self, info: &RequestInfo) -> u32 {
        let counts = self.lock();
        let mut count = counts.get(&self.key(info, "", "")).copied().unwrap_or_default();
        let mut add = |namespace: &str, name: &str| {
            count += counts
                .get(&self.key(info, namespace, name))
                .copied()
                .unwrap_or_default();
        };
        if !info.namespace.is_empty() {
            add(&info.namespace, "");
        }
        if !info.name.is_empty() {
            add(&info.namespace, &info.name);
        }
        count
    }

    fn key(&self, info: &RequestInfo, namespace: &str, name: &str) -> u64 {
        self.hasher
            .hash_one((&info.api_group, &info.resource, namespace, name))
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<u64, u32>> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        let mut counts = self.watches.lock();
        if let Some(count) = counts.get_mut(&self.key) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.key);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn watches_count_for_what_they_may_be_told() {
        let info = |namespace: &str, name: &str| RequestInfo {
            resource: "pods".to_owned(),
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            ..RequestInfo::default()
        };
        let watches = Arc::new(Watches::default());
        let everywhere = watches.register(&info("", ""), &[]);
        let _in_a = watches.register(&info("a", ""), &[]);
        let _one = watches.register(&info("a", "x"), &[]);
        let node = ("fieldSelector".to_owned(), "spec.nodeName=n".to_owned());
        assert!(watches.register(&info("", ""), &[node]).is_none());
        assert_eq!(watches.concerned(&info("a", "x")), 3);
        assert_eq!(watches.concerned(&info("a", "y")), 2);
        assert_eq!(watches.concerned(&info("b", "")), 1);
        drop(everywhere);
        assert_eq!(watches.concerned(&info("b", "")), 0);
    }
}
