//! The cache of one stored resource: its current objects, its newest changes, its watchers.
//!
//! Always holds: the state is that of some revision, complete up to [`Snapshot::revision`]; changes are applied in
//! order, each once, and every watcher registered before a change is told of it. The lock is held for map operations
//! only, never across an encoding or an await.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::Value;
use tokio::sync::{mpsc, watch};

use super::entry::{Alikes, Entry, Fields};
use super::event::Event;
use super::history::History;
use super::ordered::{Keyed, Ordered};
use super::ring::Ring;
use super::selection::Selection;
use super::unreadable::Unreadable;
use super::watchers::{Notice, Watchers};

/// What is particular to the objects of one resource.
pub(crate) trait Particulars: std::fmt::Debug + Send + Sync {
    /// The fields that selectors may name, taken from an object.
    fn fields(&self, object: &Value) -> Fields;

    /// Brings an object that was read from the store into the shape in which it is kept. Says whether it is stored otherwise
    /// than it would be written now.
    fn settle(&self, _object: &mut Value) -> bool {
        false
    }

    /// The beginning of an object's JSON, where it is kept in another version than the others.
    fn head(&self, _object: &Value) -> Option<Arc<str>> {
        None
    }
}

impl Particulars for fn(&Value) -> Fields {
    fn fields(&self, object: &Value) -> Fields {
        self(object)
    }
}

/// What the cache must know of a stored resource.
#[derive(Clone, Debug)]
pub(crate) struct StoredKind {
    /// The part of every key that comes before namespace and name, with a slash at its end.
    pub prefix: String,
    /// The beginning of every object's JSON: `{"kind":…,"apiVersion":…,`, as the objects are stored; see
    /// [`Particulars::head`].
    pub head: Arc<str>,
    /// What is particular to its objects.
    pub particulars: Arc<dyn Particulars>,
}

/// The objects of a resource as of a revision; costs nothing to keep.
#[derive(Clone, Debug)]
pub(crate) struct Snapshot {
    /// Every change up to here, and none after it, is in `entries`.
    pub revision: u64,
    /// The objects, by key.
    pub entries: Ordered<Arc<Entry>>,
}

/// A watch that has been taken up.
#[derive(Debug)]
pub(crate) struct Subscription {
    /// The changes between the revision asked for and now; `None` where they must be read from the store.
    pub missed: Option<Vec<Arc<Event>>>,
    /// The state as of now; `revision` is where `receiver` goes on.
    pub snapshot: Snapshot,
    /// The changes from now on. It ends when the watcher falls behind.
    pub receiver: mpsc::Receiver<Notice>,
}

/// A change of one key, ready to be applied.
#[derive(Debug)]
pub(crate) enum Change {
    /// The object as it is now.
    Put(Arc<Entry>),
    /// The last state of an object that is gone, stamped with the revision of its removal.
    Remove(Arc<Entry>),
}

/// See the module.
#[derive(Debug)]
pub(crate) struct ResourceCache {
    kind: StoredKind,
    state: Mutex<State>,
    /// The revision up to which the whole feed has come; shared by all resources.
    progress: watch::Receiver<u64>,
    changed: watch::Sender<u64>,
    unreadable: Unreadable,
    alikes: Alikes,
}

#[derive(Debug)]
struct State {
    entries: Ordered<Arc<Entry>>,
    /// The bytes of their JSON.
    bytes: usize,
    /// The revision of the newest change of this resource.
    changed_at: u64,
    ring: Ring,
    watchers: Watchers,
    history: History,
    /// Changes that came before the objects that they change: set until all of those have been read.
    early: Option<Vec<(u64, Vec<Change>)>>,
    /// Whether another cache has taken the place of this one, so that nobody is to watch it any more.
    closed: bool,
}

impl ResourceCache {
    /// A cache with these objects, complete up to `revision`.
    pub(crate) fn new(
        kind: StoredKind,
        entries: Vec<Entry>,
        revision: u64,
        progress: watch::Receiver<u64>,
    ) -> Self {
        let state = Mutex::new(State::new(entries, revision));
        Self {
            kind,
            state,
            progress,
            changed: watch::Sender::new(revision),
            unreadable: Unreadable::default(),
            alikes: Alikes::default(),
        }
    }

    /// A cache whose objects are yet to be read. Until [`ResourceCache::fill`] is called nobody may read from it.
    pub(crate) fn joining(kind: StoredKind, progress: watch::Receiver<u64>) -> Self {
        let cache = Self::new(kind, Vec::new(), 0, progress);
        cache.lock().early = Some(Vec::new());
        cache
    }

    /// Takes the objects as of a revision, and after them what has changed since.
    pub(crate) fn fill(&self, entries: Vec<Entry>, revision: u64) {
        let mut changed = revision;
        {
            let mut state = self.lock();
            let early = state.early.take().unwrap_or_default();
            let mut fresh = State::new(entries, revision);
            for (at, changes) in early.into_iter().filter(|(at, _)| *at > revision) {
                changed = at;
                fresh.change(at, changes);
            }
            *state = fresh;
        }
        self.changed.send_replace(changed);
    }

    /// Ends every watch, and keeps new ones from beginning: another cache has taken the place of this one.
    pub(crate) fn close(&self) {
        let mut state = self.lock();
        state.closed = true;
        state.watchers = Watchers::default();
    }

    /// What is cached here.
    pub(crate) fn kind(&self) -> &StoredKind {
        &self.kind
    }

    /// Why nobody can read what is stored under a key, where that is so.
    pub(crate) fn unreadable_at(&self, key: &str) -> Option<String> {
        self.unreadable.get(key)
    }

    /// The first key under which something is stored that nobody can read, and why.
    pub(crate) fn unreadable(&self) -> Option<(String, String)> {
        self.unreadable.first()
    }

    /// What is stored and cannot be read.
    pub(super) fn unreadables(&self) -> &Unreadable {
        &self.unreadable
    }

    /// What its entries are held against to keep only what differs.
    pub(super) fn alikes(&self) -> &Alikes {
        &self.alikes
    }

    /// The object of a key.
    pub(crate) fn get(&self, key: &str) -> Option<Arc<Entry>> {
        self.lock().entries.get(key).cloned()
    }

    /// How many objects there are, and the bytes of their JSON.
    pub(crate) fn size(&self) -> (u64, u64) {
        let state = self.lock();
        (state.entries.len() as u64, state.bytes as u64)
    }

    /// The state as of now.
    pub(crate) fn snapshot(&self) -> Snapshot {
        self.snapshot_of(&self.lock())
    }

    /// The state as of a revision, if it is the current one or one that was kept.
    pub(crate) fn snapshot_at(&self, revision: u64) -> Option<Snapshot> {
        let state = self.lock();
        if state.changed_at <= revision && revision <= self.snapshot_of(&state).revision {
            return Some(Snapshot {
                revision,
                entries: state.entries.clone(),
            });
        }
        state.history.at(revision)
    }

    /// Keeps a snapshot for the rest of a list that comes in pieces, for as long as there is room.
    pub(crate) fn keep(&self, snapshot: Snapshot) {
        self.lock().history.keep(snapshot);
    }

    /// Takes up a watch after a revision; without one, the caller begins with the snapshot.
    pub(crate) fn subscribe(&self, selection: Arc<Selection>, after: Option<u64>) -> Subscription {
        let mut state = self.lock();
        let snapshot = self.snapshot_of(&state);
        let missed = match after {
            Some(after) => state.ring.after(after),
            None => Some(Vec::new()),
        };
        let receiver = if state.closed {
            mpsc::channel(1).1
        } else {
            state.watchers.add(selection)
        };
        Subscription {
            missed,
            snapshot,
            receiver,
        }
    }

    /// A revision up to which every change has been handed to every watcher.
    pub(crate) fn delivered(&self) -> u64 {
        self.snapshot_of(&self.lock()).revision
    }

    /// Marked as changed after each change, with its revision.
    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// Applies the changes of one transaction and tells the watchers.
    pub(crate) fn apply(&self, revision: u64, changes: Vec<Change>) {
        {
            let mut state = self.lock();
            if let Some(early) = &mut state.early {
                early.push((revision, changes));
                return;
            }
            // A cache that joined later has read some changes along with its objects.
            if revision <= state.changed_at {
                return;
            }
            state.change(revision, changes);
        }
        self.changed.send_replace(revision);
    }

    /// Starts over with other objects: what must be done when changes were missed. Every watcher is cut off.
    pub(crate) fn replace(&self, entries: Vec<Entry>, revision: u64) {
        let fresh = State::new(entries, revision);
        *self.lock() = fresh;
        self.changed.send_replace(revision);
    }

    fn snapshot_of(&self, state: &State) -> Snapshot {
        let revision = state.changed_at.max(*self.progress.borrow());
        Snapshot {
            revision,
            entries: state.entries.clone(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn new(entries: Vec<Entry>, revision: u64) -> Self {
        let mut ordered = Ordered::default();
        let mut bytes = 0;
        for entry in entries {
            bytes += entry.json_len();
            ordered.insert(Arc::new(entry));
        }
        Self {
            entries: ordered,
            bytes,
            changed_at: revision,
            ring: Ring::new(revision),
            watchers: Watchers::default(),
            history: History::default(),
            early: None,
            closed: false,
        }
    }

    fn change(&mut self, revision: u64, changes: Vec<Change>) {
        self.changed_at = revision;
        for change in changes {
            self.apply(change);
        }
    }

    fn apply(&mut self, change: Change) {
        let event = match change {
            Change::Put(entry) => {
                self.bytes += entry.json_len();
                let previous = self.entries.insert(Arc::clone(&entry));
                self.bytes -= previous.as_ref().map_or(0, |previous| previous.json_len());
                Event::put(entry, previous)
            }
            Change::Remove(last) => match self.entries.remove(last.key()) {
                Some(previous) => {
                    self.bytes -= previous.json_len();
                    Event::removal(last, previous)
                }
                None => return,
            },
        };
        let event = Arc::new(event);
        self.ring.push(Arc::clone(&event));
        self.watchers.notify(&event);
    }
}
