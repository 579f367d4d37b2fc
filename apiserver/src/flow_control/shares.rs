//! How the server's seats are shared out among priority levels, and lent from those that do not need theirs to those that do
//! (KEP-1040, "Dispatching"; upstream's `apf_controller.go` and `conc_alloc.go`). Pure.

use super::demand::Observed;

/// How slowly demand is forgotten (`seatDemandSmoothingCoefficient`).
const SMOOTHING: f64 = 0.977;
/// A target is no smaller, so that something can be divided by it.
const TARGET_MIN: f64 = 0.001;
/// How much of its limit one request may take where requests wait in queues.
const WIDEST: f64 = 0.15;

/// What a level's specification says of its share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Share {
    pub(super) exempt: bool,
    pub(super) shares: u32,
    pub(super) lendable_percent: u32,
    pub(super) borrowing_percent: Option<u32>,
}

/// A level's bounds, in seats.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Bounds {
    pub(super) nominal: u32,
    pub(super) min: u32,
    pub(super) max: u32,
}

impl Bounds {
    /// What a level begins with, before anything is known of demand.
    pub(super) fn initial(&self) -> u32 {
        self.nominal - (self.nominal - self.min) / 2
    }

    /// The most seats that one request takes which may wait in queues.
    pub(super) fn widest(&self, hand_size: u32) -> u32 {
        let part = (f64::from(self.nominal) * WIDEST).ceil() as u32;
        part.min(self.nominal / hand_size.max(1)).max(1)
    }
}

/// Bounds of a level that has so many of all shares.
pub(super) fn bounds(share: &Share, all_shares: u64, server: u32) -> Bounds {
    let portion = f64::from(server) * f64::from(share.shares) / (all_shares.max(1) as f64);
    let nominal = portion.ceil() as u32;
    let percent = |percent: u32| (f64::from(nominal) * f64::from(percent) / 100.0).round() as u32;
    let borrowing = share.borrowing_percent.map_or(server, percent);
    Bounds {
        nominal,
        min: nominal - percent(share.lendable_percent.min(100)),
        max: nominal.saturating_add(borrowing),
    }
}

/// What is known of a level's demand.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Smoothed {
    pub(super) average: f64,
    pub(super) deviation: f64,
    pub(super) peak: u32,
    pub(super) smoothed: f64,
}

impl Smoothed {
    /// Takes in what was seen over one more period: demand that rises counts at once, demand that falls by and by.
    pub(super) fn update(&mut self, observed: &Observed) {
        self.peak = observed.peak.round() as u32;
        if observed.seconds <= 0.0 {
            return;
        }
        self.average = observed.average;
        self.deviation = observed.deviation;
        let envelope = observed.average + observed.deviation;
        self.smoothed = envelope.max(SMOOTHING * self.smoothed + (1.0 - SMOOTHING) * envelope);
    }
}

/// A level when seats are lent.
#[derive(Clone, Copy, Debug)]
pub(super) struct Claim {
    pub(super) exempt: bool,
    pub(super) bounds: Bounds,
    pub(super) demand: Smoothed,
}

impl Claim {
    /// What it has at least: what it does not lend, and of its own what it has used.
    fn least(&self) -> u32 {
        let used = if self.exempt {
            self.demand.peak
        } else {
            self.demand.peak.min(self.bounds.nominal)
        };
        self.bounds.min.max(used)
    }

    fn target(&self) -> f64 {
        f64::from(self.least()).max(self.demand.smoothed)
    }
}

/// How many seats each level has now, and the fraction of its target that each gets whom no bound holds.
pub(super) fn lend(claims: &[Claim]) -> (Vec<u32>, f64) {
    let total: u32 = claims.iter().map(|claim| claim.bounds.nominal).sum();
    let (exempt, limited): (Vec<&Claim>, Vec<&Claim>) = claims.iter().partition(|claim| claim.exempt);
    let taken: u32 = exempt.iter().map(|claim| claim.least()).sum();
    let left = i64::from(total) - i64::from(taken);
    let sum = |of: fn(&Claim) -> u32| limited.iter().map(|claim| i64::from(of(claim))).sum::<i64>();
    let (least, lowest) = (sum(Claim::least), sum(|claim| claim.bounds.min));
    let mut fraction = 0.0;
    let seats: Vec<u32> = if left <= lowest {
        limited.iter().map(|claim| claim.bounds.min).collect()
    } else if left <= least {
        let part = (left - lowest) as f64 / (least - lowest) as f64;
        let between = |claim: &&Claim| {
            let min = claim.bounds.min;
            min + (f64::from(claim.least() - min) * part).round() as u32
        };
        limited.iter().map(between).collect()
    } else {
        let (fair, seats) = allocate(f64::from(total), &limited);
        fraction = fair;
        seats
    };
    let mut limited = seats.into_iter();
    let all = claims.iter().map(|claim| {
        if claim.exempt {
            claim.least()
        } else {
            limited.next().unwrap_or(claim.bounds.min)
        }
    });
    (all.collect(), fraction)
}

/// Every level gets the same fraction of its target, save where that is out of its bounds; together they get `total`, where
/// the bounds allow that.
fn allocate(total: f64, claims: &[&Claim]) -> (f64, Vec<u32>) {
    let bounded = |claim: &Claim, fraction: f64| {
        let (low, high) = (f64::from(claim.least()), f64::from(claim.bounds.max));
        (claim.target().max(TARGET_MIN) * fraction).clamp(low, high.max(low))
    };
    let sum = |fraction: f64| claims.iter().map(|claim| bounded(claim, fraction)).sum::<f64>();
    let reach = |claim: &&Claim| f64::from(claim.bounds.max) / claim.target().max(TARGET_MIN);
    // The sum grows with the fraction, so the fraction is found by halving.
    let (mut low, mut high) = (0.0, claims.iter().map(reach).fold(0.0, f64::max));
    for _ in 0..100 {
        let middle = (low + high) / 2.0;
        if sum(middle) < total {
            low = middle;
        } else {
            high = middle;
        }
    }
    let seats = claims.iter().map(|claim| bounded(claim, high).round() as u32);
    (high, seats.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn share(shares: u32, lendable_percent: u32) -> Share {
        Share {
            exempt: false,
            shares,
            lendable_percent,
            borrowing_percent: None,
        }
    }

    #[test]
    fn seats_are_shared_out_by_shares() {
        // The suggested levels of a server with 600 seats.
        let found = bounds(&share(100, 90), 245, 600);
        assert_eq!(
            found,
            Bounds {
                nominal: 245,
                min: 24,
                max: 845
            }
        );
        assert_eq!(found.initial(), 135);
        assert_eq!(found.widest(6), 37);
        let capped = Share {
            borrowing_percent: Some(50),
            ..share(10, 0)
        };
        assert_eq!(
            bounds(&capped, 245, 600),
            Bounds {
                nominal: 25,
                min: 25,
                max: 38
            }
        );
    }

    #[test]
    fn demand_rises_at_once_and_falls_slowly() {
        let observed = |average| Observed {
            peak: average,
            average,
            deviation: 0.0,
            seconds: 10.0,
        };
        let mut demand = Smoothed::default();
        demand.update(&observed(100.0));
        assert_eq!(demand.smoothed, 100.0);
        demand.update(&observed(0.0));
        assert!((demand.smoothed - 97.7).abs() < 1e-9);
        assert_eq!(demand.peak, 0);
    }

    fn claim(nominal: u32, min: u32, max: u32, smoothed: f64) -> Claim {
        let demand = Smoothed {
            peak: smoothed as u32,
            smoothed,
            ..Smoothed::default()
        };
        Claim {
            exempt: false,
            bounds: Bounds { nominal, min, max },
            demand,
        }
    }

    #[test]
    fn what_one_does_not_need_another_gets() {
        let (seats, fraction) = lend(&[claim(50, 5, 150, 100.0), claim(50, 5, 150, 0.0)]);
        assert_eq!(seats, [95, 5]);
        assert!((fraction - 0.95).abs() < 1e-3);
        // Each has a right to what is its own, if it uses it.
        let (seats, _) = lend(&[claim(50, 5, 150, 100.0), claim(50, 5, 150, 40.0)]);
        assert_eq!(seats, [60, 40]);
        let (seats, _) = lend(&[claim(50, 5, 60, 100.0), claim(50, 5, 150, 1.0)]);
        assert_eq!(seats[0], 60, "it may not borrow more");
    }

    #[test]
    fn what_is_exempt_takes_what_it_used_from_all() {
        let exempt = Claim {
            exempt: true,
            ..claim(0, 0, 100, 80.0)
        };
        let (seats, _) = lend(&[exempt, claim(50, 10, 150, 50.0), claim(50, 10, 150, 50.0)]);
        assert_eq!(seats, [80, 10, 10]);
        let some = Claim {
            exempt: true,
            ..claim(0, 0, 100, 40.0)
        };
        let (seats, _) = lend(&[some, claim(50, 10, 150, 50.0), claim(50, 10, 150, 50.0)]);
        assert_eq!(seats, [40, 30, 30]);
    }
}
