//! When to sync. Asks no clock itself.

use std::time::Duration;

use tokio::time::Instant;
use tracing::warn;

use crate::kernel::iptables::IptablesError;

/// The first and the longest pause before a failed sync is tried again.
const RETRY_PAUSES: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(30));

/// How long syncs may take, beyond the rest in between, before they have to wait for each other.
const ALLOWANCE: Duration = Duration::from_secs(1);

/// For how long changes that keep coming in may hold up a sync that is due.
const PATIENCE: Duration = Duration::from_millis(100);

/// At once after a change, but not more often than the period; later after failures. Syncs that go on taking more than half the time
/// wait as long as they take, so that many rules that change all the time take half a processor.
#[derive(Debug)]
pub(crate) struct Schedule {
    period: Duration,
    due: Option<Instant>,
    earliest: Option<Instant>,
    pause: Duration,
    /// By how much syncs have taken longer than the rest between them.
    debt: Duration,
    ended: Option<Instant>,
}

impl Schedule {
    pub(crate) fn new(period: Duration) -> Self {
        Self {
            period,
            due: None,
            earliest: None,
            pause: RETRY_PAUSES.0,
            debt: Duration::ZERO,
            ended: None,
        }
    }

    /// When to sync, if nothing else is to be done; never when there is none.
    pub(crate) fn due(&self) -> Option<Instant> {
        self.due
    }

    /// When to sync, whatever else is to be done.
    pub(crate) fn overdue(&self) -> Option<Instant> {
        self.due.map(|due| due + PATIENCE)
    }

    /// Something changed that the kernel should know by then.
    pub(crate) fn request(&mut self, by: Instant) {
        let soonest = self.earliest.map_or(by, |earliest| earliest.max(by));
        self.due = Some(self.due.map_or(soonest, |due| due.min(soonest)));
    }

    /// A sync came to its end.
    pub(crate) fn synced(&mut self, began: Instant, now: Instant, result: Result<(), IptablesError>) {
        let rested = self.ended.map_or(Duration::ZERO, |ended| began - ended);
        self.debt = self.debt.saturating_sub(rested) + (now - began);
        self.ended = Some(now);
        match result {
            Ok(()) => {
                self.pause = RETRY_PAUSES.0;
                self.due = None;
                let rest = self.debt.saturating_sub(ALLOWANCE);
                self.earliest = Some((began + self.period).max(now + rest));
            }
            Err(error) => {
                warn!(%error, retry_in = ?self.pause, "service rules could not be written");
                self.due = Some(now + self.pause);
                self.earliest = self.due;
                self.pause = (self.pause * 2).min(RETRY_PAUSES.1);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failure() -> Result<(), IptablesError> {
        Err(IptablesError::Missing {
            program: "iptables-restore",
        })
    }

    #[test]
    fn the_first_change_waits_for_nothing_and_those_close_together_are_one_sync() {
        let period = Duration::from_millis(10);
        let mut schedule = Schedule::new(period);
        let start = Instant::now();
        assert_eq!((schedule.due(), schedule.overdue()), (None, None));
        schedule.request(start);
        assert_eq!(schedule.due(), Some(start));
        assert_eq!(schedule.overdue(), Some(start + PATIENCE));
        schedule.synced(start, start + period / 2, Ok(()));
        assert_eq!(schedule.due(), None);
        schedule.request(start + period * 3 / 4);
        schedule.request(start + period * 4 / 5);
        assert_eq!(schedule.due(), Some(start + period));
        schedule.synced(start + period, start + period * 4, Ok(()));
        schedule.request(start + period * 5);
        assert_eq!(schedule.due(), Some(start + period * 5), "one sync may take long");
    }

    #[test]
    fn what_can_wait_is_done_with_what_cannot() {
        let mut schedule = Schedule::new(Duration::from_millis(10));
        let start = Instant::now();
        schedule.request(start + Duration::from_millis(50));
        assert_eq!(schedule.due(), Some(start + Duration::from_millis(50)));
        schedule.request(start + Duration::from_millis(3));
        schedule.request(start + Duration::from_millis(60));
        assert_eq!(schedule.due(), Some(start + Duration::from_millis(3)));
    }

    #[test]
    fn syncs_without_end_take_half_the_time() {
        let mut schedule = Schedule::new(Duration::from_millis(10));
        let start = Instant::now();
        let (mut now, mut busy) = (start, Duration::ZERO);
        let took = Duration::from_millis(300);
        while now - start < Duration::from_secs(60) {
            schedule.request(now);
            let began = schedule.due().unwrap().max(now);
            now = began + took;
            busy += took;
            schedule.synced(began, now, Ok(()));
        }
        let share = busy.as_secs_f64() / (now - start).as_secs_f64();
        assert!((0.5..0.52).contains(&share), "{share}");
        let later = now + Duration::from_secs(10);
        schedule.request(later);
        schedule.synced(later, later + took, Ok(()));
        schedule.request(later + took);
        assert_eq!(schedule.due(), Some(later + took), "rest is made up for");
    }

    #[test]
    fn failures_are_tried_again_ever_later() {
        let mut schedule = Schedule::new(Duration::from_millis(1));
        let mut now = Instant::now();
        let mut pauses = Vec::new();
        for _ in 0..8 {
            schedule.synced(now, now, failure());
            schedule.request(now);
            let due = schedule.due().unwrap();
            pauses.push((due - now).as_millis());
            now = due;
        }
        assert_eq!(pauses, [500, 1000, 2000, 4000, 8000, 16000, 30000, 30000]);
        schedule.synced(now, now, Ok(()));
        assert_eq!(schedule.due(), None);
    }
}
