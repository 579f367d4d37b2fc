//! The series of flow control, in upstream's names.

use prometheus::core::Collector;
use prometheus::{
    Gauge, GaugeVec, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge,
    IntGaugeVec, Opts, Registry,
};

use super::shares::{Bounds, Smoothed};

pub(super) const NAMESPACE: &str = "apiserver_flowcontrol";
const BOTH: [&str; 2] = ["priority_level", "flow_schema"];
const SECONDS: [f64; 13] = [
    0.0, 0.005, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 15.0, 30.0,
];
pub(super) const VALID: &str = "names and labels are constants that Prometheus takes";

/// Every series.
pub(super) struct Series {
    rejected: IntCounterVec,
    dispatched: IntCounterVec,
    waiting: [IntGaugeVec; 2],
    executing: [IntGaugeVec; 2],
    waited: HistogramVec,
    executed: HistogramVec,
    lengths: HistogramVec,
    seats: HistogramVec,
    watches: HistogramVec,
    levels: Vec<(LevelSeries, GaugeVec)>,
    fair: Gauge,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum LevelSeries {
    Nominal,
    Lower,
    Upper,
    Current,
    Peak,
    Average,
    Deviation,
    Smoothed,
    Target,
}

/// Those of one schema, found once.
pub(super) struct SchemaSeries {
    rejected: [(&'static str, IntCounter); 3],
    pub(super) dispatched: IntCounter,
    pub(super) waiting: IntGauge,
    pub(super) seats_waiting: IntGauge,
    pub(super) executing: IntGauge,
    pub(super) seats_executing: IntGauge,
    pub(super) waited: Histogram,
    /// Of what was refused as it came.
    pub(super) refused_after: Histogram,
    executed: [Histogram; 2],
    lengths: Histogram,
    pub(super) seats: Histogram,
    pub(super) watches: Histogram,
}

impl SchemaSeries {
    /// Counts a refusal.
    pub(super) fn reject(&self, reason: &str) {
        if let Some((_, counter)) = self.rejected.iter().find(|(own, _)| *own == reason) {
            counter.inc();
        }
    }

    /// How long watches begin, and other requests are answered.
    pub(super) fn executed(&self, watch: bool) -> &Histogram {
        &self.executed[usize::from(watch)]
    }

    /// A request came to a queue, which has become so long.
    pub(super) fn enqueued(&self, length: Option<usize>) {
        if let Some(length) = length {
            self.lengths.observe(length as f64);
        }
    }
}

/// Name, help, buckets, and a label besides both.
type HistogramFacts = (&'static str, &'static str, &'static [f64], Option<&'static str>);

const HISTOGRAMS: [HistogramFacts; 5] = [
    (
        "request_wait_duration_seconds",
        "How long requests waited.",
        &SECONDS,
        Some("execute"),
    ),
    (
        "request_execution_seconds",
        "How long requests were served.",
        &SECONDS,
        Some("type"),
    ),
    (
        "request_queue_length_after_enqueue",
        "The length of its queue as each request found it.",
        &[0.0, 10.0, 25.0, 50.0, 100.0, 250.0, 500.0, 1000.0],
        None,
    ),
    (
        "work_estimated_seats",
        "How many seats requests were taken to need.",
        &[1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 100.0],
        None,
    ),
    (
        "watch_count_samples",
        "How many watches writes concerned.",
        &[0.0, 1.0, 10.0, 100.0, 1000.0, 10000.0],
        None,
    ),
];

fn opts(name: &str, help: &str) -> Opts {
    Opts::new(name, help).namespace(NAMESPACE)
}

fn with(last: &'static str) -> [&'static str; 3] {
    [BOTH[0], BOTH[1], last]
}

fn counter(name: &str, help: &str, labels: &[&str]) -> IntCounterVec {
    IntCounterVec::new(opts(name, help), labels).expect(VALID)
}

fn gauge(name: &str, help: &str) -> IntGaugeVec {
    IntGaugeVec::new(opts(name, help), &BOTH).expect(VALID)
}

fn histogram((name, help, buckets, label): HistogramFacts) -> HistogramVec {
    let opts = HistogramOpts::new(name, help).namespace(NAMESPACE);
    let labels: Vec<&str> = BOTH.into_iter().chain(label).collect();
    HistogramVec::new(opts.buckets(buckets.to_vec()), &labels).expect(VALID)
}

impl Series {
    /// All of them, registered.
    pub(super) fn new(registry: &Registry) -> Self {
        let levels = LEVELS.map(|(series, name, help)| {
            let gauge = GaugeVec::new(opts(name, help), &["priority_level"]);
            (series, gauge.expect(VALID))
        });
        let fair = opts(
            "seat_fair_frac",
            "The fraction of its target that a level gets whom no bound holds.",
        );
        let [waited, executed, lengths, seats, watches] = HISTOGRAMS.map(histogram);
        let series = Self {
            rejected: counter(
                "rejected_requests_total",
                "Requests that were refused.",
                &with("reason"),
            ),
            dispatched: counter("dispatched_requests_total", "Requests that were served.", &BOTH),
            waiting: [
                gauge("current_inqueue_requests", "Requests that wait in queues."),
                gauge("current_inqueue_seats", "Seats that they wait for."),
            ],
            executing: [
                gauge(
                    "current_executing_requests",
                    "Requests that are served; watches only while they begin.",
                ),
                gauge("current_executing_seats", "Seats that they take."),
            ],
            waited,
            executed,
            lengths,
            seats,
            watches,
            levels: levels.into(),
            fair: Gauge::with_opts(fair).expect(VALID),
        };
        series.register(registry);
        series
    }

    fn register(&self, registry: &Registry) {
        let mut all: Vec<Box<dyn Collector>> = vec![
            Box::new(self.rejected.clone()),
            Box::new(self.dispatched.clone()),
            Box::new(self.fair.clone()),
        ];
        for gauge in self.waiting.iter().chain(&self.executing) {
            all.push(Box::new(gauge.clone()));
        }
        for histogram in [
            &self.waited,
            &self.executed,
            &self.lengths,
            &self.seats,
            &self.watches,
        ] {
            all.push(Box::new(histogram.clone()));
        }
        for (_, gauge) in &self.levels {
            all.push(Box::new(gauge.clone()));
        }
        for one in all {
            registry.register(one).expect("no name is registered twice");
        }
    }

    /// Those of a schema that belongs to a level.
    pub(super) fn schema(&self, level: &str, schema: &str) -> SchemaSeries {
        let both = [level, schema];
        let with = |last| [level, schema, last];
        SchemaSeries {
            rejected: ["concurrency-limit", "queue-full", "time-out"]
                .map(|reason| (reason, self.rejected.with_label_values(&with(reason)))),
            dispatched: self.dispatched.with_label_values(&both),
            waiting: self.waiting[0].with_label_values(&both),
            seats_waiting: self.waiting[1].with_label_values(&both),
            executing: self.executing[0].with_label_values(&both),
            seats_executing: self.executing[1].with_label_values(&both),
            waited: self.waited.with_label_values(&with("true")),
            refused_after: self.waited.with_label_values(&with("false")),
            executed: ["regular", "watch"].map(|sort| self.executed.with_label_values(&with(sort))),
            lengths: self.lengths.with_label_values(&both),
            seats: self.seats.with_label_values(&both),
            watches: self.watches.with_label_values(&both),
        }
    }

    /// What a level has.
    pub(super) fn level(&self, name: &str, bounds: &Bounds, demand: &Smoothed, current: u32) {
        for (series, gauge) in &self.levels {
            gauge.with_label_values(&[name]).set(match series {
                LevelSeries::Nominal => f64::from(bounds.nominal),
                LevelSeries::Lower => f64::from(bounds.min),
                LevelSeries::Upper => f64::from(bounds.max),
                LevelSeries::Current => f64::from(current),
                LevelSeries::Peak => f64::from(demand.peak),
                LevelSeries::Average => demand.average,
                LevelSeries::Deviation => demand.deviation,
                LevelSeries::Smoothed => demand.smoothed,
                LevelSeries::Target => demand.smoothed.max(f64::from(bounds.min)),
            });
        }
    }

    /// A level is no longer there.
    pub(super) fn forget_level(&self, name: &str) {
        for (_, gauge) in &self.levels {
            // It may never have been told of.
            let _ = gauge.remove_label_values(&[name]);
        }
    }

    /// What levels get of their targets.
    pub(super) fn fair(&self, fraction: f64) {
        self.fair.set(fraction);
    }
}

const LEVELS: [(LevelSeries, &str, &str); 9] = [
    (
        LevelSeries::Nominal,
        "nominal_limit_seats",
        "Seats that are a level's own.",
    ),
    (
        LevelSeries::Lower,
        "lower_limit_seats",
        "Seats that a level never lends.",
    ),
    (
        LevelSeries::Upper,
        "upper_limit_seats",
        "Seats that a level has at most.",
    ),
    (
        LevelSeries::Current,
        "current_limit_seats",
        "Seats that a level has now.",
    ),
    (
        LevelSeries::Peak,
        "demand_seats_high_watermark",
        "The most seats wanted in the last period.",
    ),
    (
        LevelSeries::Average,
        "demand_seats_average",
        "Seats wanted on average in the last period.",
    ),
    (
        LevelSeries::Deviation,
        "demand_seats_stdev",
        "The standard deviation of seats wanted in the last period.",
    ),
    (
        LevelSeries::Smoothed,
        "demand_seats_smoothed",
        "Seats wanted, smoothed.",
    ),
    (
        LevelSeries::Target,
        "target_seats",
        "Seats that a level should have.",
    ),
];
