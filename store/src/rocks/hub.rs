//! Who waits for which changes: the watchers, and the most recent changes in memory.
//!
//! The commit thread never waits for a watcher and queues nothing for it: it appends to a bounded ring and wakes those
//! whose range was touched. Each watcher then takes what it has not seen, at its own pace; what has left the ring it reads
//! from the log on disk. So a slow watcher costs only itself.

use super::encoding::event_bytes;
use crate::{Batch, Fault, KeyRange, Revision};
use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};
use tokio::sync::Notify;

/// How many bytes of changes the ring may hold.
const RING_BYTES: usize = 2 << 20;

/// How many batches a watcher takes at once, so that the lock is held for a short time.
const TAKE_BATCHES: usize = 256;

pub(super) struct Hub {
    inner: Mutex<Inner>,
}

struct Inner {
    /// The revision of the last durable change.
    published: Revision,
    /// The changes of the revisions before and up to `published`, without gaps.
    ring: VecDeque<Arc<Batch>>,
    ring_bytes: usize,
    ring_limit: usize,
    watchers: HashMap<WatcherId, Watcher>,
    next_id: u64,
    /// Set once, when nothing more will come.
    closed: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct WatcherId(u64);

struct Watcher {
    range: KeyRange,
    /// Everything that concerns the watcher up to here has been taken. Only kept up to date while `behind`.
    taken: Revision,
    /// Whether something after `taken` concerns it, or may.
    behind: bool,
    progress_wanted: bool,
    wake: Arc<Notify>,
}

/// What a watcher is to do next.
#[derive(Debug, PartialEq)]
pub(super) enum Step {
    /// Deliver what of these concerns it.
    Deliver(Vec<Arc<Batch>>),
    /// Read the log after one revision, up to another, and say so by [`Hub::caught_up`].
    ReadLog { after: Revision, until: Revision },
    /// Tell that everything up to here has been delivered.
    Progress(Revision),
    /// Wait until woken.
    Wait,
    /// Stop.
    Closed,
}

impl Hub {
    pub(super) fn new(published: Revision) -> Hub {
        Hub::with_ring(published, RING_BYTES)
    }

    fn with_ring(published: Revision, ring_limit: usize) -> Hub {
        let inner = Inner {
            published,
            ring: VecDeque::new(),
            ring_bytes: 0,
            ring_limit,
            watchers: HashMap::new(),
            next_id: 0,
            closed: false,
        };
        Hub {
            inner: Mutex::new(inner),
        }
    }

    /// The revision of the last durable change.
    pub(super) fn published(&self) -> Revision {
        self.lock().published
    }

    /// Makes durable changes known. They carry on where the last ones ended.
    pub(super) fn publish(&self, batches: Vec<Arc<Batch>>) {
        let mut inner = self.lock();
        for batch in batches {
            inner.publish(batch);
        }
    }

    /// Adds a watcher of the changes after a revision, or after the current one, which is answered.
    pub(super) fn register(
        &self,
        range: KeyRange,
        after: Option<Revision>,
    ) -> (WatcherId, Revision, Arc<Notify>) {
        let mut inner = self.lock();
        let taken = after.unwrap_or(inner.published);
        let wake = Arc::new(Notify::new());
        let id = WatcherId(inner.next_id);
        inner.next_id += 1;
        let behind = taken < inner.published;
        let watcher = Watcher {
            range,
            taken,
            behind,
            progress_wanted: false,
            wake: wake.clone(),
        };
        inner.watchers.insert(id, watcher);
        (id, taken, wake)
    }

    pub(super) fn deregister(&self, id: WatcherId) {
        self.lock().watchers.remove(&id);
    }

    /// Takes what a watcher has not seen.
    pub(super) fn step(&self, id: WatcherId) -> Step {
        self.lock().step(id)
    }

    /// Notes that a watcher has seen the log up to and including a revision.
    pub(super) fn caught_up(&self, id: WatcherId, until: Revision) {
        let mut inner = self.lock();
        let published = inner.published;
        if let Some(watcher) = inner.watchers.get_mut(&id) {
            watcher.advance(until, published);
        }
    }

    /// Has every watcher tell how far it is.
    pub(super) fn request_progress(&self) {
        for watcher in self.lock().watchers.values_mut() {
            watcher.progress_wanted = true;
            watcher.wake.notify_one();
        }
    }

    /// Ends all watchers.
    pub(super) fn close(&self) {
        let mut inner = self.lock();
        inner.closed = true;
        inner.ring.clear();
        inner
            .watchers
            .values()
            .for_each(|watcher| watcher.wake.notify_one());
    }

    /// Fails once the hub is closed.
    pub(super) fn check_open(&self) -> Result<(), Fault> {
        if self.lock().closed {
            Err(Fault::Closed)
        } else {
            Ok(())
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().expect("nothing panics while it holds the hub")
    }
}

impl Inner {
    fn publish(&mut self, batch: Arc<Batch>) {
        assert_eq!(
            batch.revision,
            self.published.next(),
            "revisions are published without gaps"
        );
        self.published = batch.revision;
        for watcher in self.watchers.values_mut() {
            watcher.notice(&batch);
        }
        self.ring_bytes += batch_bytes(&batch);
        self.ring.push_back(batch);
        while self.ring_bytes > self.ring_limit {
            let Some(oldest) = self.ring.pop_front() else {
                break;
            };
            self.ring_bytes -= batch_bytes(&oldest);
        }
    }

    fn step(&mut self, id: WatcherId) -> Step {
        let published = self.published;
        let Some(watcher) = self.watchers.get_mut(&id).filter(|_| !self.closed) else {
            return Step::Closed;
        };
        if !watcher.behind {
            watcher.taken = published;
            let wanted = std::mem::take(&mut watcher.progress_wanted);
            return if wanted {
                Step::Progress(published)
            } else {
                Step::Wait
            };
        }
        let unseen = published.0 - watcher.taken.0;
        let in_ring = self.ring.len() as u64;
        if unseen > in_ring {
            return Step::ReadLog {
                after: watcher.taken,
                until: published,
            };
        }
        let skip = usize::try_from(in_ring - unseen).expect("at most the length of the ring");
        let batches: Vec<_> = self.ring.iter().skip(skip).take(TAKE_BATCHES).cloned().collect();
        let last = batches
            .last()
            .expect("a watcher that is behind has something to take")
            .revision;
        watcher.advance(last, published);
        Step::Deliver(batches)
    }
}

impl Watcher {
    /// Wakes the watcher if a batch that has just been published concerns it.
    fn notice(&mut self, batch: &Batch) {
        if self.behind || !batch.events.iter().any(|event| self.range.contains(event.key())) {
            return;
        }
        self.behind = true;
        self.taken = Revision(batch.revision.0 - 1);
        self.wake.notify_one();
    }

    fn advance(&mut self, taken: Revision, published: Revision) {
        self.taken = taken;
        self.behind = taken < published;
    }
}

/// About what a batch takes in memory.
pub(super) fn batch_bytes(batch: &Batch) -> usize {
    std::mem::size_of::<Batch>() + batch.events.iter().map(event_bytes).sum::<usize>()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Event, KeyValue};

    fn batch(revision: u64, key: &'static str) -> Arc<Batch> {
        let kv = KeyValue {
            key: key.into(),
            value: vec![0; 100].into(),
            create_revision: Revision(revision),
            mod_revision: Revision(revision),
            version: 1,
        };
        Arc::new(Batch {
            revision: Revision(revision),
            events: vec![Event::Put { kv, prev: None }],
        })
    }

    fn pods() -> KeyRange {
        KeyRange::prefix("pods/")
    }

    #[test]
    fn a_watcher_is_woken_only_by_its_range() {
        let hub = Hub::new(Revision(1));
        let (id, after, wake) = hub.register(pods(), None);
        assert_eq!(after, Revision(1));
        hub.publish(vec![batch(2, "nodes/a")]);
        assert_eq!(hub.step(id), Step::Wait);
        hub.publish(vec![batch(3, "pods/a")]);
        futures::executor::block_on(wake.notified());
        assert_eq!(hub.step(id), Step::Deliver(vec![batch(3, "pods/a")]));
        assert_eq!(hub.step(id), Step::Wait);
    }

    #[test]
    fn what_has_left_the_ring_is_read_from_the_log() {
        let hub = Hub::with_ring(Revision(1), 2 * batch_bytes(&batch(2, "pods/a")));
        hub.publish((2..=6).map(|revision| batch(revision, "pods/a")).collect());
        let (id, ..) = hub.register(pods(), Some(Revision(2)));
        assert_eq!(
            hub.step(id),
            Step::ReadLog {
                after: Revision(2),
                until: Revision(6)
            }
        );
        hub.caught_up(id, Revision(4));
        assert_eq!(
            hub.step(id),
            Step::Deliver(vec![batch(5, "pods/a"), batch(6, "pods/a")])
        );
        assert_eq!(hub.step(id), Step::Wait);
    }

    #[test]
    fn progress_comes_after_what_was_missing() {
        let hub = Hub::new(Revision(1));
        let (id, ..) = hub.register(pods(), None);
        hub.publish(vec![batch(2, "pods/a"), batch(3, "nodes/a")]);
        hub.request_progress();
        assert_eq!(
            hub.step(id),
            Step::Deliver(vec![batch(2, "pods/a"), batch(3, "nodes/a")])
        );
        assert_eq!(hub.step(id), Step::Progress(Revision(3)));
        assert_eq!(hub.step(id), Step::Wait);
    }

    #[test]
    fn a_closed_hub_and_an_unknown_watcher_end() {
        let hub = Hub::new(Revision(1));
        let (id, _, wake) = hub.register(pods(), None);
        hub.close();
        futures::executor::block_on(wake.notified());
        assert_eq!(hub.step(id), Step::Closed);
        assert_eq!(hub.check_open(), Err(Fault::Closed));
        hub.deregister(id);
        assert_eq!(hub.step(id), Step::Closed);
    }
}
