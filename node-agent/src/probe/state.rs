//! When a probe runs and when its outcomes amount to a verdict. Pure.
//!
//! Upstream's prober worker as a state machine: `successThreshold` or `failureThreshold` equal outcomes in a row make a
//! verdict; readiness starts as failed, liveness and startup as undecided; a startup probe that succeeded is over, and
//! the other two wait for it.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Probe;

/// Which of a container's probes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Kind {
    Startup,
    Liveness,
    Readiness,
}

impl Kind {
    /// As events name it: `Liveness probe failed: …`.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Kind::Startup => "Startup",
            Kind::Liveness => "Liveness",
            Kind::Readiness => "Readiness",
        }
    }
}

/// What outcomes amounted to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Success,
    Failure,
}

/// Result of one attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Success,
    Failure(String),
    /// The probe itself could not run; it counts for nothing.
    Unknown(String),
}

/// One probe of one container.
#[derive(Clone, Debug)]
pub(crate) struct ProbeState {
    kind: Kind,
    period: SignedDuration,
    first_at: Timestamp,
    success_threshold: u32,
    failure_threshold: u32,
    last: Option<Verdict>,
    run: u32,
    verdict: Option<Verdict>,
}

impl ProbeState {
    /// A probe of a container that started at `started_at`.
    pub(crate) fn new(kind: Kind, probe: &Probe, started_at: Timestamp) -> Self {
        let at_least_one =
            |v: Option<i32>, default| v.and_then(|v| u32::try_from(v).ok()).unwrap_or(default).max(1);
        let delay = SignedDuration::from_secs(i64::from(probe.initial_delay_seconds.unwrap_or(0).max(0)));
        Self {
            kind,
            period: SignedDuration::from_secs(i64::from(at_least_one(probe.period_seconds, 10))),
            first_at: started_at.saturating_add(delay).unwrap_or(Timestamp::MAX),
            success_threshold: at_least_one(probe.success_threshold, 1),
            failure_threshold: at_least_one(probe.failure_threshold, 3),
            last: None,
            run: 0,
            verdict: None,
        }
    }

    pub(crate) fn kind(&self) -> Kind {
        self.kind
    }

    /// When to try next, after a try (if any) at `last_try`. None if this probe is over.
    pub(crate) fn next_at(&self, last_try: Option<Timestamp>) -> Option<Timestamp> {
        let over = match self.kind {
            Kind::Startup => self.verdict.is_some(),
            Kind::Liveness => self.verdict == Some(Verdict::Failure),
            Kind::Readiness => false,
        };
        if over {
            return None;
        }
        let due = last_try.map_or(self.first_at, |at| {
            at.saturating_add(self.period).unwrap_or(Timestamp::MAX)
        });
        Some(due.max(self.first_at))
    }

    /// Takes an outcome in; a verdict is returned when one is due, also if it is the same as before.
    pub(crate) fn observe(&mut self, outcome: &Outcome) -> Option<Verdict> {
        let (seen, threshold) = match outcome {
            Outcome::Success => (Verdict::Success, self.success_threshold),
            Outcome::Failure(_) => (Verdict::Failure, self.failure_threshold),
            Outcome::Unknown(_) => return None,
        };
        self.run = if self.last == Some(seen) {
            self.run.saturating_add(1)
        } else {
            1
        };
        self.last = Some(seen);
        if self.run < threshold {
            return None;
        }
        self.verdict = Some(seen);
        self.verdict
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(1_700_000_000 + seconds).unwrap()
    }

    fn probe(failure: i32, success: i32, delay: i32, period: i32) -> Probe {
        Probe {
            failure_threshold: Some(failure),
            success_threshold: Some(success),
            initial_delay_seconds: Some(delay),
            period_seconds: Some(period),
            ..Probe::default()
        }
    }

    fn verdicts(kind: Kind, probe: &Probe, outcomes: &str) -> String {
        let mut state = ProbeState::new(kind, probe, at(0));
        let outcome = |c| match c {
            's' => Outcome::Success,
            'f' => Outcome::Failure(String::new()),
            _ => Outcome::Unknown(String::new()),
        };
        let letter = |v| match v {
            None => '.',
            Some(Verdict::Success) => 'S',
            Some(Verdict::Failure) => 'F',
        };
        outcomes
            .chars()
            .map(|c| letter(state.observe(&outcome(c))))
            .collect()
    }

    #[test]
    fn thresholds_count_equal_outcomes_in_a_row() {
        let cases = [
            (3, 1, "fff", "..F"),
            (3, 1, "ffsff", "..S.."),
            (1, 2, "ssfs", ".SF."),
            (3, 1, "ffuf", "...F"),
            (1, 1, "uu", ".."),
        ];
        for (failure, success, outcomes, want) in cases {
            let got = verdicts(Kind::Readiness, &probe(failure, success, 0, 1), outcomes);
            assert_eq!(
                got, want,
                "failureThreshold {failure} successThreshold {success} {outcomes}"
            );
        }
    }

    #[test]
    fn the_first_try_waits_for_the_initial_delay() {
        let state = ProbeState::new(Kind::Liveness, &probe(1, 1, 5, 10), at(0));
        assert_eq!(state.next_at(None), Some(at(5)));
        assert_eq!(state.next_at(Some(at(6))), Some(at(16)));
    }

    #[test]
    fn startup_is_over_after_a_verdict_and_liveness_after_a_failure() {
        for (kind, outcome, over) in [
            (Kind::Startup, Outcome::Success, true),
            (Kind::Startup, Outcome::Failure(String::new()), true),
            (Kind::Liveness, Outcome::Success, false),
            (Kind::Liveness, Outcome::Failure(String::new()), true),
            (Kind::Readiness, Outcome::Failure(String::new()), false),
        ] {
            let mut state = ProbeState::new(kind, &probe(1, 1, 0, 1), at(0));
            state.observe(&outcome);
            assert_eq!(
                state.next_at(Some(at(1))).is_none(),
                over,
                "{kind:?} after {outcome:?}"
            );
        }
    }

    proptest! {
        #[test]
        fn a_verdict_needs_its_threshold(failure in 1..5i32, success in 1..5i32, outcomes in "[sf]{0,40}") {
            let got = verdicts(Kind::Readiness, &probe(failure, success, 0, 1), &outcomes);
            let (mut run, mut last) = (0, ' ');
            for (outcome, verdict) in outcomes.chars().zip(got.chars()) {
                run = if outcome == last { run + 1 } else { 1 };
                last = outcome;
                let need = if outcome == 's' { success } else { failure };
                prop_assert_eq!(verdict != '.', run >= need);
            }
        }
    }
}
