//! Exponential back-off per key: 10 s, doubling to 5 min, forgotten after 10 quiet minutes.
//!
//! Upstream's `flowcontrol.Backoff` as the kubelet uses it: the first restart is immediate, each restart after a failure
//! doubles the wait that the next one sees, and the wait counts from the moment the container ended.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};

const INITIAL: SignedDuration = SignedDuration::from_secs(10);
const MAX: SignedDuration = SignedDuration::from_secs(300);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Entry {
    delay: SignedDuration,
    updated: Timestamp,
}

/// Delays by key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Backoff {
    entries: BTreeMap<String, Entry>,
}

impl Backoff {
    /// The delay in force and when it is over, counted from `since`; none if it is over at `now`.
    pub(crate) fn holds(
        &self,
        key: &str,
        since: Timestamp,
        now: Timestamp,
    ) -> Option<(SignedDuration, Timestamp)> {
        let entry = self.entries.get(key)?;
        if expired(entry, since) {
            return None;
        }
        let until = since.saturating_add(entry.delay).ok()?;
        (now < until).then_some((entry.delay, until))
    }

    /// Notes a try at `at`, and returns the delay that the next one must keep.
    pub(crate) fn next(&mut self, key: &str, at: Timestamp) -> SignedDuration {
        let delay = match self.entries.get(key) {
            Some(entry) if !expired(entry, at) => (entry.delay * 2).min(MAX),
            _ => INITIAL,
        };
        self.entries.insert(key.to_owned(), Entry { delay, updated: at });
        delay
    }

    /// Forgets a key, as after a success.
    pub(crate) fn reset(&mut self, key: &str) {
        self.entries.remove(key);
    }
}

fn expired(entry: &Entry, at: Timestamp) -> bool {
    at.duration_since(entry.updated) > MAX * 2
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(1_700_000_000 + seconds).unwrap()
    }

    #[test]
    fn first_try_is_free_and_then_delays_double_to_five_minutes() {
        let mut backoff = Backoff::default();
        assert_eq!(backoff.holds("a", at(0), at(0)), None);
        let mut seen = Vec::new();
        let mut now = 0;
        for _ in 0..8 {
            let delay = backoff.next("a", at(now));
            seen.push(delay.as_secs());
            now += delay.as_secs();
        }
        assert_eq!(seen, [10, 20, 40, 80, 160, 300, 300, 300]);
    }

    #[test]
    fn a_delay_counts_from_the_end_of_the_container() {
        let mut backoff = Backoff::default();
        backoff.next("a", at(0));
        assert_eq!(backoff.holds("a", at(5), at(14)), Some((INITIAL, at(15))));
        assert_eq!(backoff.holds("a", at(5), at(15)), None);
        assert_eq!(backoff.holds("b", at(5), at(6)), None);
    }

    #[test]
    fn ten_quiet_minutes_reset_it() {
        let mut backoff = Backoff::default();
        backoff.next("a", at(0));
        backoff.next("a", at(10));
        assert_eq!(backoff.holds("a", at(611), at(612)), None);
        assert_eq!(backoff.next("a", at(611)), INITIAL);
    }

    #[test]
    fn a_reset_key_starts_over() {
        let mut backoff = Backoff::default();
        backoff.next("a", at(0));
        backoff.reset("a");
        assert_eq!(backoff.next("a", at(1)), INITIAL);
    }
}
