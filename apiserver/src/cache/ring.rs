//! The newest changes of one resource, so that a watch is taken up again without asking the store.

use std::collections::VecDeque;
use std::sync::Arc;

use super::event::Event;

/// At most so many changes are kept …
const MAX_EVENTS: usize = 2048;
/// … and at most so many bytes of objects that are held for their sake alone.
const MAX_BYTES: usize = 4 << 20;
/// The newest changes, whose objects have so many bytes, are likely to be still on their way to some watcher: what they are
/// told with is kept. It is about as large as the object, once for each way of telling.
const MAX_TOLD_BYTES: usize = 1 << 20;

/// A bounded run of changes without gaps.
#[derive(Debug)]
pub(super) struct Ring {
    events: VecDeque<Arc<Event>>,
    bytes: usize,
    /// So many of the newest may still hold what they are told with, …
    telling: usize,
    /// … and so many bytes their objects have.
    telling_bytes: usize,
    /// Every change after this revision is here.
    complete_after: u64,
}

impl Ring {
    /// A ring that knows nothing of what happened up to `revision`.
    pub(super) fn new(revision: u64) -> Self {
        Self {
            events: VecDeque::new(),
            bytes: 0,
            telling: 0,
            telling_bytes: 0,
            complete_after: revision,
        }
    }

    /// Adds the newest change.
    pub(super) fn push(&mut self, event: Arc<Event>) {
        self.bytes += event.held();
        self.telling += 1;
        self.telling_bytes += event.entry().json_len();
        self.events.push_back(event);
        while self.events.len() > MAX_EVENTS || self.bytes > MAX_BYTES {
            let Some(gone) = self.events.pop_front() else {
                return;
            };
            self.bytes -= gone.held();
            self.complete_after = gone.revision();
            if self.events.len() < self.telling {
                self.told(&gone);
            }
        }
        while self.telling > 1 && self.telling_bytes > MAX_TOLD_BYTES {
            let oldest = Arc::clone(&self.events[self.events.len() - self.telling]);
            oldest.forget_frames();
            self.told(&oldest);
        }
    }

    fn told(&mut self, event: &Event) {
        self.telling -= 1;
        self.telling_bytes -= event.entry().json_len();
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::cache::entry::{Entry, Representation};
    use crate::cache::event::EventType;
    use crate::cache::resource::StoredKind;
    use crate::registry::negotiate::Format;

    /// An object that has so many bytes was written, and had so many before.
    fn event(revision: u64, bytes: usize, before: usize) -> Arc<Event> {
        let object = |bytes| json!({"metadata": {}, "data": "x".repeat(bytes)});
        let fields: fn(&serde_json::Value) -> crate::cache::entry::Fields = |_| Vec::new();
        let kind = StoredKind {
            prefix: String::new(),
            head: "{".into(),
            particulars: Arc::new(fields),
        };
        let entry = |revision, bytes| Arc::new(Entry::new("a", revision, object(bytes), &kind));
        Arc::new(Event::put(
            entry(revision, bytes),
            Some(entry(revision - 1, before)),
        ))
    }

    #[test]
    fn answers_completely_or_not_at_all() {
        let mut ring = Ring::new(10);
        for revision in [12, 15] {
            ring.push(event(revision, 1, 1));
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
            ring.push(event(revision, 1, MAX_BYTES / 2 - 100));
        }
        assert!(ring.after(0).is_none());
        assert_eq!(ring.after(1).unwrap().len(), 2);
    }
    #[test]
    fn only_the_newest_hold_what_they_are_told_with() {
        let json = Representation {
            format: Format::Json,
            ..Representation::AS_STORED
        };
        let made = |event: &Event| {
            let mut made = false;
            let frame = event.frame(EventType::Modified, json, |_| {
                made = true;
                Ok::<_, ()>(bytes::Bytes::from_static(b"told"))
            });
            assert_eq!(frame.unwrap(), &b"told"[..]);
            made
        };
        let mut ring = Ring::new(0);
        let events: Vec<_> = (1..=5)
            .map(|revision| event(revision, MAX_TOLD_BYTES / 3 - 100, 0))
            .collect();
        for event in &events {
            assert!(made(event));
            ring.push(Arc::clone(event));
        }
        let again: Vec<bool> = events.iter().map(|event| made(event)).collect();
        assert_eq!(again, [true, true, false, false, false]);
    }
}
