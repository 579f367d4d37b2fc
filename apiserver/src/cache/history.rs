//! Older states of a resource, kept while lists that began on them are still being read in pieces.

use std::collections::VecDeque;

use super::resource::Snapshot;

/// A list whose state has been pushed out of here goes on from the store's own history.
const KEPT: usize = 16;

/// The newest few snapshots that were asked to be kept.
#[derive(Debug, Default)]
pub(super) struct History {
    kept: VecDeque<Snapshot>,
}

impl History {
    /// Keeps a snapshot, and forgets the oldest where there are too many.
    pub(super) fn keep(&mut self, snapshot: Snapshot) {
        if self.kept.iter().any(|other| other.revision == snapshot.revision) {
            return;
        }
        if self.kept.len() == KEPT {
            self.kept.pop_front();
        }
        self.kept.push_back(snapshot);
    }

    /// The snapshot of exactly that revision.
    pub(super) fn at(&self, revision: u64) -> Option<Snapshot> {
        self.kept
            .iter()
            .find(|snapshot| snapshot.revision == revision)
            .cloned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::ordered::Ordered;

    #[test]
    fn keeps_the_newest() {
        let mut history = History::default();
        for revision in 1..=KEPT as u64 + 1 {
            let snapshot = || Snapshot {
                revision,
                entries: Ordered::default(),
            };
            history.keep(snapshot());
            history.keep(snapshot());
        }
        assert!(history.at(1).is_none());
        assert_eq!(history.at(2).map(|snapshot| snapshot.revision), Some(2));
    }
}
