//! The one clock of a test, and the history that all its clients write.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use super::history::{Answer, Call, Delivery, History, Revision, Session, Tick};

/// Shared by all clients of one server.
#[derive(Debug, Default)]
pub struct Observer {
    clock: AtomicU64,
    tokens: AtomicU64,
    history: Mutex<History>,
    /// How many writes have been acknowledged.
    acknowledged: watch::Sender<usize>,
}

/// A session that is being written.
#[derive(Clone, Copy, Debug)]
pub struct SessionId(usize);

impl Observer {
    /// The next moment.
    pub fn tick(&self) -> Tick {
        Tick(self.clock.fetch_add(1, Ordering::SeqCst))
    }

    /// A token that no write has had.
    pub fn token(&self) -> u64 {
        self.tokens.fetch_add(1, Ordering::SeqCst)
    }

    /// Keeps a call that has ended.
    pub fn keep(&self, call: Call) {
        if let Answer::Written(_) | Answer::Deleted { .. } = call.answer {
            self.acknowledged.send_modify(|count| *count += 1);
        }
        self.lock().calls.push(call);
    }

    /// Waits until so many more writes have been acknowledged.
    pub async fn acknowledged(&self, more: usize) {
        let mut count = self.acknowledged.subscribe();
        let wanted = *count.borrow() + more;
        // The sender is this observer's own, so it is not gone.
        let _ = count.wait_for(|count| *count >= wanted).await;
    }

    /// Begins a session.
    pub fn open(&self, watcher: &str, shard: Option<u8>, after: Revision) -> SessionId {
        let mut history = self.lock();
        history.sessions.push(Session {
            watcher: watcher.to_owned(),
            shard,
            after,
            deliveries: Vec::new(),
        });
        SessionId(history.sessions.len() - 1)
    }

    /// Adds what came to a session.
    pub fn deliver(&self, SessionId(session): SessionId, delivery: Delivery) {
        let mut history = self.lock();
        let now = self.tick();
        history.sessions[session].deliveries.push((now, delivery));
    }

    /// Up to where each watcher has been told everything in its last session.
    pub fn slowest(&self, watchers: &[String]) -> Option<Revision> {
        let history = self.lock();
        let last = |watcher: &String| {
            history
                .sessions
                .iter()
                .rev()
                .find(|session| session.watcher == *watcher)
        };
        watchers
            .iter()
            .map(|watcher| last(watcher).map(Session::covered))
            .min()
            .flatten()
    }

    /// Everything so far.
    pub fn history(&self) -> History {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, History> {
        self.history.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
