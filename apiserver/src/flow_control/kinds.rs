//! How many reads and writes wait and are served, whatever their level: now, and over time (upstream's
//! `read_vs_write_current_requests` and `current_inqueue_requests`).

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::Clock;
use super::timed::{Lasted, Timed};

/// What a request does to what is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    ReadOnly,
    Mutating,
}

impl Kind {
    /// By the verb: whatever does not say that it only reads is taken to write, as upstream takes it.
    pub(super) fn of(verb: &str) -> Self {
        match verb {
            "get" | "list" | "watch" => Self::ReadOnly,
            _ => Self::Mutating,
        }
    }
}

/// How far a request has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    Waiting,
    Executing,
}

/// The names of the parts, in the order in which they are kept.
pub(super) const PARTS: [(&str, &str); 4] = [
    ("waiting", "readOnly"),
    ("waiting", "mutating"),
    ("executing", "readOnly"),
    ("executing", "mutating"),
];

const BOUNDS: [f64; 15] = [
    0.0, 0.001, 0.01, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99, 1.0,
];

/// See the module.
#[derive(Debug)]
pub(super) struct Kinds(Mutex<[(u32, Timed); 4]>);

/// A request that is counted until this is dropped.
pub(super) struct Counting {
    kinds: Arc<Kinds>,
    part: usize,
    clock: Clock,
}

impl Kinds {
    pub(super) fn new(now: Duration) -> Self {
        Self(Mutex::new(PARTS.map(|_| (0, Timed::new(&BOUNDS, now)))))
    }

    /// Counts a request.
    pub(super) fn count(self: &Arc<Self>, phase: Phase, kind: Kind, clock: Clock) -> Counting {
        let part = 2 * usize::from(phase == Phase::Executing) + usize::from(kind == Kind::Mutating);
        self.change(part, 1, clock.now());
        Counting {
            kinds: Arc::clone(self),
            part,
            clock,
        }
    }

    /// How many there are, and how many there were for how long. There is no limit of a kind's own to hold them against, so
    /// that the ratio is their number, as it is upstream.
    pub(super) fn read(&self, now: Duration) -> [(u32, Lasted); 4] {
        let mut parts = self.lock();
        parts.each_mut().map(|(count, timed)| (*count, timed.read(now)))
    }

    fn change(&self, part: usize, by: i32, now: Duration) {
        let (count, timed) = &mut self.lock()[part];
        *count = count.saturating_add_signed(by);
        timed.set(*count, 1, now);
    }

    fn lock(&self) -> MutexGuard<'_, [(u32, Timed); 4]> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Counting {
    fn drop(&mut self) {
        self.kinds.change(self.part, -1, self.clock.now());
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use tokio::time::Instant;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn reads_and_writes_are_counted_apart_and_over_time() {
        let clock = Clock {
            began: Instant::now(),
            began_at: Timestamp::UNIX_EPOCH,
        };
        let kinds = Arc::new(Kinds::new(clock.now()));
        let second = Duration::from_secs(1);
        let held = ["list", "create", "deletecollection"]
            .map(|verb| kinds.count(Phase::Executing, Kind::of(verb), clock));
        tokio::time::advance(second).await;
        let counts = |kinds: &Kinds| kinds.read(clock.now()).map(|(count, _)| count);
        assert_eq!(counts(&kinds), [0, 0, 1, 2]);
        drop(held);
        tokio::time::advance(second).await;
        assert_eq!(counts(&kinds), [0; 4]);
        let [_, _, _, (_, writes)] = kinds.read(clock.now());
        assert_eq!((writes.count, writes.sum), (2_000_000_000, 2e9));
        assert_eq!(writes.buckets.last(), Some(&(1.0, 1_000_000_000)));
    }
}
