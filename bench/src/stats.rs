//! What many measurements come to. Pure.

use std::fmt;
use std::time::Duration;

/// The middle and the ends of some measurements of one thing.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Spread {
    pub(crate) least: f64,
    pub(crate) median: f64,
    pub(crate) most: f64,
}

impl Spread {
    /// Of at least one measurement.
    pub(crate) fn of(measurements: impl IntoIterator<Item = f64>) -> Spread {
        let mut sorted: Vec<f64> = measurements.into_iter().collect();
        sorted.sort_by(f64::total_cmp);
        let (lower, upper) = (sorted[(sorted.len() - 1) / 2], sorted[sorted.len() / 2]);
        Spread {
            least: sorted[0],
            median: f64::midpoint(lower, upper),
            most: sorted[sorted.len() - 1],
        }
    }

    /// The middle alone, with as many digits as say something.
    pub(crate) fn median(&self) -> String {
        format!("{:.*}", self.digits(), self.median)
    }

    fn digits(&self) -> usize {
        match self.median {
            m if m >= 100.0 => 0,
            m if m >= 10.0 => 1,
            m if m >= 1.0 => 2,
            _ => 3,
        }
    }
}

/// `median (least–most)`, with as many digits as say something.
impl fmt::Display for Spread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = self.digits();
        write!(
            f,
            "{:.digits$} ({:.digits$}–{:.digits$})",
            self.median, self.least, self.most
        )
    }
}

/// The measurement below which a share of all lies, in milliseconds.
pub(crate) fn percentile_ms(sorted: &[Duration], share: f64) -> f64 {
    sorted[rank(sorted.len(), share)].as_secs_f64() * 1e3
}

/// The nearest rank: the first measurement that at least this share of all do not exceed.
fn rank(length: usize, share: f64) -> usize {
    assert!(length > 0, "something was measured");
    ((length as f64 * share).ceil() as usize).clamp(1, length) - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spread_has_the_middle_and_the_ends() {
        let spread = Spread::of([3.0, 1.0, 2.0, 10.0, 0.5]);
        assert_eq!(
            spread,
            Spread {
                least: 0.5,
                median: 2.0,
                most: 10.0
            }
        );
        assert_eq!(spread.to_string(), "2.00 (0.50–10.00)");
        assert_eq!(spread.median(), "2.00");
        assert_eq!(Spread::of([4.0, 1.0]).median(), "2.50");
        assert_eq!(Spread::of([1234.5]).to_string(), "1234 (1234–1234)");
        assert_eq!(Spread::of([0.1234]).to_string(), "0.123 (0.123–0.123)");
    }

    #[test]
    fn percentiles_are_measurements() {
        let sorted: Vec<Duration> = (1..=100).map(Duration::from_millis).collect();
        for (share, expected) in [(0.0, 1.0), (0.5, 50.0), (0.99, 99.0), (1.0, 100.0)] {
            assert_eq!(percentile_ms(&sorted, share), expected, "{share}");
        }
        assert_eq!(percentile_ms(&sorted[..1], 0.99), 1.0);
    }
}
