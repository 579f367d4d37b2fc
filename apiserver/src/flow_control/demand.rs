//! How many seats a level could use over some time: its peak, average and deviation (upstream's `integrator`). Pure.

use std::time::Duration;

/// Seats wanted, integrated since the last [`Demand::take`].
#[derive(Debug)]
pub(super) struct Demand {
    at: Duration,
    seats: f64,
    peak: f64,
    elapsed: f64,
    integral: f64,
    squares: f64,
}

/// What was wanted over a period.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Observed {
    pub(super) peak: f64,
    pub(super) average: f64,
    pub(super) deviation: f64,
    pub(super) seconds: f64,
}

impl Demand {
    pub(super) fn new(now: Duration) -> Self {
        Self {
            at: now,
            seats: 0.0,
            peak: 0.0,
            elapsed: 0.0,
            integral: 0.0,
            squares: 0.0,
        }
    }

    /// So many are wanted from now on.
    pub(super) fn set(&mut self, seats: u32, now: Duration) {
        self.pass(now);
        self.seats = f64::from(seats);
        self.peak = self.peak.max(self.seats);
    }

    /// What was wanted since this was last asked.
    pub(super) fn take(&mut self, now: Duration) -> Observed {
        self.pass(now);
        let (average, deviation) = if self.elapsed > 0.0 {
            let average = self.integral / self.elapsed;
            let variance = self.squares / self.elapsed - average * average;
            (average, variance.max(0.0).sqrt())
        } else {
            (0.0, 0.0)
        };
        let observed = Observed {
            peak: self.peak,
            average,
            deviation,
            seconds: self.elapsed,
        };
        (self.elapsed, self.integral, self.squares) = (0.0, 0.0, 0.0);
        self.peak = self.seats;
        observed
    }

    fn pass(&mut self, now: Duration) {
        let passed = now.saturating_sub(self.at).as_secs_f64();
        self.at = self.at.max(now);
        self.elapsed += passed;
        self.integral += self.seats * passed;
        self.squares += self.seats * self.seats * passed;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_period_has_a_peak_an_average_and_a_deviation() {
        let at = Duration::from_secs;
        let mut demand = Demand::new(at(0));
        demand.set(10, at(5));
        demand.set(0, at(10));
        let observed = demand.take(at(20));
        assert_eq!(
            (observed.peak, observed.average, observed.seconds),
            (10.0, 2.5, 20.0)
        );
        assert!((observed.deviation - 18.75_f64.sqrt()).abs() < 1e-9);
        assert_eq!(demand.take(at(30)).peak, 0.0);
    }
}
