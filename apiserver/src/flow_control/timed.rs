//! For how long something stood at which part of what it can be: histograms of what a ratio was at the end of every nanosecond
//! (upstream's timing ratio histograms). Pure.

use std::time::Duration;

use super::queue_set::{QueueSet, Queuing};

/// One ratio over time.
#[derive(Debug)]
pub(super) struct Timed {
    bounds: &'static [f64],
    at: Duration,
    ratio: f64,
    /// For how long it stood in each bucket, the last of which has no bound.
    times: Vec<Duration>,
    /// The ratio summed up over nanoseconds.
    sum: f64,
}

/// What a ratio was so far.
#[derive(Debug, PartialEq)]
pub(super) struct Lasted {
    /// Bounds, and for how many nanoseconds it stood no higher.
    pub(super) buckets: Vec<(f64, u64)>,
    /// All of the time, in nanoseconds.
    pub(super) count: u64,
    pub(super) sum: f64,
}

impl Timed {
    pub(super) fn new(bounds: &'static [f64], now: Duration) -> Self {
        Self {
            bounds,
            at: now,
            ratio: 0.0,
            times: vec![Duration::ZERO; bounds.len() + 1],
            sum: 0.0,
        }
    }

    /// It is this much of that from now on.
    pub(super) fn set(&mut self, part: u32, of: u32, now: Duration) {
        self.pass(now);
        self.ratio = f64::from(part) / f64::from(of.max(1));
    }

    fn pass(&mut self, now: Duration) {
        let passed = now.saturating_sub(self.at);
        let bucket = self.bounds.partition_point(|bound| *bound < self.ratio);
        self.times[bucket] += passed;
        self.sum += self.ratio * passed.as_nanos() as f64;
        self.at = now;
    }

    pub(super) fn read(&mut self, now: Duration) -> Lasted {
        self.pass(now);
        let nanoseconds = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        let mut so_far = Duration::ZERO;
        let buckets = self.bounds.iter().zip(&self.times).map(|(bound, time)| {
            so_far += *time;
            (*bound, nanoseconds(so_far))
        });
        Lasted {
            buckets: buckets.collect(),
            count: nanoseconds(self.times.iter().sum()),
            sum: self.sum,
        }
    }
}

/// How much a level was used: its seats; requests that are served, as a part of its seats; requests that wait, as a part of the
/// room in its queues; and the seats wanted.
#[derive(Debug)]
pub(super) struct Uses {
    series: [Timed; 4],
    /// What stands for a level's seats where it has none.
    spare: u32,
}

const SEATS: [f64; 13] = [0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99, 1.0];
const REQUESTS: [f64; 10] = [0.0, 0.001, 0.003, 0.01, 0.03, 0.1, 0.25, 0.5, 0.75, 1.0];
const DEMAND: [f64; 12] = [0.2, 0.4, 0.6, 0.8, 1.0, 1.2, 1.4, 1.7, 2.0, 2.8, 4.0, 6.0];

impl Uses {
    pub(super) fn new(spare: u32, now: Duration) -> Self {
        let bounds: [&'static [f64]; 4] = [&SEATS, &REQUESTS, &REQUESTS, &DEMAND];
        Self {
            series: bounds.map(|bounds| Timed::new(bounds, now)),
            spare,
        }
    }

    /// What the level is like from now on.
    pub(super) fn note(&mut self, set: &QueueSet, now: Duration) {
        let seats = if set.limit() == 0 { self.spare } else { set.limit() };
        let room = match set.queuing() {
            Queuing::Queues {
                queues, length_limit, ..
            } => queues.max(1).saturating_mul(length_limit.max(1)),
            Queuing::Exempt | Queuing::Reject => 1,
        };
        let parts = [
            (set.seats_in_use, seats),
            (set.executing, seats),
            (set.waiting, room),
            (set.seats_in_use + set.seats_waiting, seats),
        ];
        for (timed, (part, of)) in self.series.iter_mut().zip(parts) {
            timed.set(part, of, now);
        }
    }

    /// What was noted until now.
    pub(super) fn read(&mut self, now: Duration) -> [Lasted; 4] {
        self.series.each_mut().map(|timed| timed.read(now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_counts_where_the_ratio_stands() {
        let at = Duration::from_nanos;
        let mut timed = Timed::new(&[0.0, 0.5, 1.0], at(0));
        timed.set(1, 2, at(10));
        timed.set(3, 4, at(15));
        timed.set(3, 2, at(18));
        let lasted = timed.read(at(20));
        assert_eq!(lasted.buckets, [(0.0, 10), (0.5, 15), (1.0, 18)]);
        assert_eq!(
            (lasted.count, lasted.sum),
            (20, 0.5 * 5.0 + 0.75 * 3.0 + 1.5 * 2.0)
        );
    }
}
