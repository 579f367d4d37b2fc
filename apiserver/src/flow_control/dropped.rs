//! After how long those who are refused are to come back: the longer, the more are refused (upstream's
//! `dropped_requests_tracker.go`). Pure.

/// In seconds (`maxRetryAfter`).
const MAX: u64 = 32;

/// What was refused of late.
#[derive(Debug)]
pub(super) struct Dropped {
    retry_after: u64,
    raised_at: u64,
    second: u64,
    count: u64,
    /// How many were refused in which second, the newest last.
    history: Vec<(u64, u64)>,
}

impl Default for Dropped {
    fn default() -> Self {
        Self {
            retry_after: 1,
            raised_at: 0,
            second: 0,
            count: 0,
            history: Vec::new(),
        }
    }
}

impl Dropped {
    /// One more was refused; after how many seconds it is to come back. `now` is in seconds, from any moment.
    pub(super) fn note(&mut self, now: u64) -> u64 {
        if self.second == now && self.count > 0 {
            self.count += 1;
            return self.retry_after;
        }
        if self.count > 0 {
            self.history.push((self.second, self.count));
        }
        let kept = (2 * self.retry_after).min(MAX);
        self.history.retain(|(second, _)| now - second <= kept);
        (self.second, self.count) = (now, 1);
        self.adjust(now);
        self.retry_after
    }

    /// Twice as long after a spike, and a second less once it is over.
    fn adjust(&mut self, now: u64) {
        let recent = self
            .history
            .iter()
            .filter(|(second, _)| now - second <= self.retry_after);
        let dropped: u64 = recent.map(|(_, count)| count).sum();
        if now - self.raised_at >= self.retry_after && dropped >= 3 * self.retry_after {
            self.retry_after = (2 * self.retry_after).min(MAX);
            self.raised_at = now;
        } else if dropped < self.retry_after {
            self.retry_after = (self.retry_after - 1).max(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pause_grows_with_what_is_refused_and_shrinks_after() {
        let mut dropped = Dropped::default();
        let mut second = |now: u64, count: usize| (0..count).map(|_| dropped.note(now)).last().unwrap();
        assert_eq!(second(100, 5), 1);
        assert_eq!(second(101, 20), 2);
        assert_eq!(second(102, 20), 2, "it was raised a moment ago");
        assert_eq!(second(103, 20), 4);
        assert_eq!(second(110, 1), 3);
        assert_eq!(second(120, 1), 2);
        assert_eq!(second(130, 1), 1);
        assert_eq!(second(140, 1), 1);
    }

    #[test]
    fn the_pause_has_a_bound() {
        let mut dropped = Dropped::default();
        let last = (0..500)
            .flat_map(|now| std::iter::repeat_n(now, 200))
            .map(|now| dropped.note(now))
            .last();
        assert_eq!(last, Some(MAX));
    }
}
