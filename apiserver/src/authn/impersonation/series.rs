//! How often it was asked to act as another, by which way, and how long the answer took; in upstream's names.

use std::time::Duration;

use prometheus::core::Collector;
use prometheus::{HistogramOpts, HistogramVec, IntCounterVec, Opts, Registry, exponential_buckets};

const LABELS: [&str; 2] = ["mode", "decision"];
const VALID: &str = "names and labels are constants that Prometheus takes";

/// See the module.
pub(super) struct Series {
    /// Requests that ask for it, by the way that let them; by none where none did.
    pub(super) attempts: Counted,
    /// Questions put to the authorizer.
    pub(super) questions: Counted,
}

/// How often something was decided, and how long that took.
pub(super) struct Counted {
    total: IntCounterVec,
    lasted: HistogramVec,
}

impl Counted {
    fn new(what: &str, help: &str) -> Self {
        let total = Opts::new(
            format!("apiserver_impersonation_{what}_total"),
            format!("{help}, by mode and decision."),
        );
        let lasted = HistogramOpts::new(
            format!("apiserver_impersonation_{what}_duration_seconds"),
            format!("How long they took: {help}, by mode and decision."),
        );
        let buckets = exponential_buckets(0.001, 2.0, 15).expect(VALID);
        Self {
            total: IntCounterVec::new(total, &LABELS).expect(VALID),
            lasted: HistogramVec::new(lasted.buckets(buckets), &LABELS).expect(VALID),
        }
    }

    /// Counts one.
    pub(super) fn note(&self, mode: &str, allowed: bool, took: Duration) {
        let decision = if allowed { "allowed" } else { "denied" };
        let labels = [mode, decision];
        self.total.with_label_values(&labels).inc();
        self.lasted.with_label_values(&labels).observe(took.as_secs_f64());
    }
}

impl Default for Series {
    fn default() -> Self {
        Self {
            attempts: Counted::new("attempts", "Requests to act as another"),
            questions: Counted::new(
                "authorization_attempts",
                "Questions whether somebody may act as another",
            ),
        }
    }
}

impl Series {
    /// All of them, registered.
    pub(super) fn new(registry: &Registry) -> Self {
        let series = Self::default();
        for counted in [&series.attempts, &series.questions] {
            let both: [Box<dyn Collector>; 2] =
                [Box::new(counted.total.clone()), Box::new(counted.lasted.clone())];
            for one in both {
                registry.register(one).expect("no name is registered twice");
            }
        }
        series
    }
}
