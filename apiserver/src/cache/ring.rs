//! The newest changes of one resource, so that a watch is taken up again without asking the store.

use std::collections::VecDeque;
use std::sync::Arc;

use super::event::Event;

/// At most so many changes are kept …
const MAX_EVENTS: usize = 2048;
/// … and at most so many bytes of their objects.
const MAX_BYTES: usize = 8 << 20;

/// A bounded run of changes without gaps.
#[derive(Debug)]
pub(super) struct Ring {
    events: VecDeque<Arc<Event>>,
    bytes: usize,
    /// Every change after this revision is here.
    complete_after: u64,
}

impl Ring {
    /// A ring that knows nothing of what happened up to `revision`.
    pub(super) fn new(revision: u64) -> Self {
        Self {
            events: VecDeque::new(),
            bytes: 0,
            complete_after: revision,
        }
    }

    /// Adds the newest change.
    pub(super) fn push(&mut self, event: Arc<Event>) {
        self.bytes += weight(&event);
        self.events.push_back(event);
        while self.events.len() > MAX_EVENTS || self.bytes > MAX_BYTES {
            let Some(gone) = self.events.pop_front() else {
                return;
            };
            self.bytes -= weight(&gone);
            self.complete_after = gone.revision();
        }
    }

    /// Every change after a revision; `None` where some are no longer here.
    pub(super) fn after(&self, revision: u64) -> Option<Vec<Arc<Event>>> {
        if revision < self.complete_after {
            return None;
        }
        let from = self.events.partition_point(|event| event.revision() <= revision);
        Some(self.events.range(from..).cloned().collect())
    }
}

fn weight(event: &Event) -> usize {
    event.entry().json().len() + event.previous().map_or(0, |entry| entry.json().len())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::cache::entry::Entry;
    use crate::cache::resource::StoredKind;

    fn event(revision: u64, bytes: usize) -> Arc<Event> {
        let object = json!({"metadata": {}, "data": "x".repeat(bytes)});
        let fields: fn(&serde_json::Value) -> crate::cache::entry::Fields = |_| Vec::new();
        let kind = StoredKind {
            prefix: String::new(),
            head: "{".into(),
            particulars: Arc::new(fields),
        };
        Arc::new(Event::put(
            Arc::new(Entry::new("a", revision, object, &kind)),
            None,
        ))
    }

    #[test]
    fn answers_completely_or_not_at_all() {
        let mut ring = Ring::new(10);
        for revision in [12, 15] {
            ring.push(event(revision, 1));
        }
        let revisions = |after| {
            ring.after(after)
                .map(|events| events.iter().map(|e| e.revision()).collect::<Vec<_>>())
        };
        assert_eq!(revisions(9), None);
        assert_eq!(revisions(10), Some(vec![12, 15]));
        assert_eq!(revisions(12), Some(vec![15]));
        assert_eq!(revisions(20), Some(vec![]));
    }

    #[test]
    fn large_objects_push_the_oldest_out() {
        let mut ring = Ring::new(0);
        for revision in 1..=3 {
            ring.push(event(revision, MAX_BYTES / 2 - 100));
        }
        assert!(ring.after(0).is_none());
        assert_eq!(ring.after(1).unwrap().len(), 2);
    }
}
