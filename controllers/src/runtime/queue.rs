//! A queue of keys that need work.
//!
//! A key stands in it at most once, is never worked on by two workers at a time, and comes back when it was added while
//! being worked on. It is bounded by the number of distinct keys, so by the number of objects.

use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};
use std::hash::Hash;
use std::sync::Mutex;
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::Instant;

/// The pause after the first failure; each further one doubles it.
const FIRST_RETRY: Duration = Duration::from_millis(5);
/// The longest pause after a failure.
pub(crate) const LONGEST_RETRY: Duration = Duration::from_secs(1000);

struct State<T> {
    ready: VecDeque<T>,
    /// In `ready`, or added again while in `busy`.
    dirty: HashSet<T>,
    busy: HashSet<T>,
    timers: BTreeSet<(Instant, T)>,
    failures: HashMap<T, u32>,
}

/// See the module.
pub(crate) struct Queue<T> {
    state: Mutex<State<T>>,
    wake: Notify,
}

impl<T: Clone + Ord + Hash> Queue<T> {
    pub(crate) fn new() -> Self {
        let state = State {
            ready: VecDeque::new(),
            dirty: HashSet::new(),
            busy: HashSet::new(),
            timers: BTreeSet::new(),
            failures: HashMap::new(),
        };
        Self {
            state: Mutex::new(state),
            wake: Notify::new(),
        }
    }

    /// Asks for work on this key.
    pub(crate) fn add(&self, key: T) {
        self.lock().add(key);
        self.wake.notify_one();
    }

    /// Asks for work on this key some time from now.
    pub(crate) fn add_after(&self, key: T, after: Duration) {
        self.lock().timers.insert((Instant::now() + after, key));
        self.wake.notify_one();
    }

    /// Waits for the next key. Whoever takes it says [`Queue::done`] or [`Queue::failed`].
    pub(crate) async fn next(&self) -> T {
        loop {
            let due = match self.take(Instant::now()) {
                Ok(key) => return key,
                Err(due) => due,
            };
            match due {
                None => self.wake.notified().await,
                Some(at) => {
                    tokio::select! {
                        () = self.wake.notified() => {}
                        () = tokio::time::sleep_until(at) => {}
                    }
                }
            }
        }
    }

    /// The work on this key is done; what failed before is forgotten.
    pub(crate) fn done(&self, key: &T) {
        let mut state = self.lock();
        state.failures.remove(key);
        state.leave(key);
        drop(state);
        self.wake.notify_one();
    }

    /// The work on this key failed: it comes back after a pause that doubles with each failure in a row, up to `longest`.
    pub(crate) fn failed(&self, key: &T, longest: Duration) {
        let mut state = self.lock();
        let failures = state.failures.entry(key.clone()).or_insert(0);
        let pause = FIRST_RETRY.saturating_mul(1 << (*failures).min(20)).min(longest);
        *failures += 1;
        state.timers.insert((Instant::now() + pause, key.clone()));
        state.leave(key);
        drop(state);
        self.wake.notify_one();
    }

    /// The next key, or when a timer will bring one.
    fn take(&self, now: Instant) -> Result<T, Option<Instant>> {
        let mut state = self.lock();
        while state.timers.first().is_some_and(|(at, _)| *at <= now) {
            let (_, key) = state.timers.pop_first().expect("it was just looked at");
            state.add(key);
        }
        let Some(key) = state.ready.pop_front() else {
            return Err(state.timers.first().map(|(at, _)| *at));
        };
        state.dirty.remove(&key);
        state.busy.insert(key.clone());
        if !state.ready.is_empty() {
            self.wake.notify_one();
        }
        Ok(key)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State<T>> {
        self.state.lock().expect("no holder of the lock panics")
    }
}

impl<T: Clone + Ord + Hash> State<T> {
    fn add(&mut self, key: T) {
        if self.dirty.insert(key.clone()) && !self.busy.contains(&key) {
            self.ready.push_back(key);
        }
    }

    fn leave(&mut self, key: &T) {
        self.busy.remove(key);
        if self.dirty.contains(key) {
            self.ready.push_back(key.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt;

    #[tokio::test]
    async fn a_key_stands_once_and_is_worked_on_once_at_a_time() {
        let queue = Queue::new();
        queue.add("a");
        queue.add("a");
        assert_eq!(queue.next().await, "a");
        queue.add("a");
        assert!(queue.next().now_or_never().is_none(), "it is being worked on");
        queue.done(&"a");
        assert_eq!(queue.next().await, "a");
        queue.done(&"a");
        assert!(queue.next().now_or_never().is_none());
    }

    #[test]
    fn failures_in_a_row_wait_longer_and_success_forgets_them() {
        let queue = Queue::new();
        queue.add("a");
        let mut pauses = Vec::new();
        for _ in 0..3 {
            pauses.push(pause_after_failure(&queue));
        }
        let later = Instant::now() + LONGEST_RETRY;
        let key = queue.take(later).unwrap();
        queue.done(&key);
        queue.add("a");
        pauses.push(pause_after_failure(&queue));
        assert!(pauses[0] < pauses[1] && pauses[1] < pauses[2], "{pauses:?}");
        assert!(pauses[3] < pauses[1], "{pauses:?}");
    }

    /// Takes the key whenever it is due, fails it, and says for how long it stays away.
    fn pause_after_failure(queue: &Queue<&'static str>) -> Duration {
        let key = queue.take(Instant::now() + LONGEST_RETRY).unwrap();
        let from = Instant::now();
        queue.failed(&key, LONGEST_RETRY);
        let due = queue.take(from).unwrap_err().unwrap();
        due - from
    }

    #[test]
    fn a_timer_brings_its_key_when_it_is_due() {
        let queue = Queue::new();
        let from = Instant::now();
        queue.add_after("late", Duration::from_secs(60));
        queue.add_after("soon", Duration::from_secs(1));
        assert!(queue.take(from).is_err());
        assert_eq!(queue.take(from + Duration::from_secs(2)), Ok("soon"));
        assert!(queue.take(from + Duration::from_secs(59)).is_err());
        assert_eq!(queue.take(from + Duration::from_secs(62)), Ok("late"));
    }
}
