//! The series that are put together when somebody looks: what levels and kinds of requests were like over time, and how far
//! virtual time has come.
//!
//! Upstream's `epoch_advance_total` is not among them: it counts how often its meter of progress was about to run over, which
//! this one is too wide for.

use std::collections::HashMap;
use std::sync::Weak;

use prometheus::core::{Collector, Desc};
use prometheus::proto::{self, LabelPair, MetricFamily, MetricType};

use super::FlowControl;
use super::kinds;
use super::level::LevelNow;
use super::metrics::{NAMESPACE, VALID};
use super::timed::Lasted;

/// A series that this has.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Name {
    Seats,
    Requests,
    Demand,
    Kinds,
    Progress,
    DispatchedAt,
    Start,
    NextStarts,
    NextDiscounted,
    Unaccommodated,
    InQueues,
}

/// What is known of a series before anything is counted: its name, its sort, what it tells, and its labels.
struct Facts(
    Name,
    &'static str,
    MetricType,
    &'static str,
    &'static [&'static str],
);

const LEVEL: &str = "priority_level";
const SERIES: [Facts; 11] = [
    Facts(
        Name::Seats,
        "priority_level_seat_utilization",
        MetricType::HISTOGRAM,
        "For how many nanoseconds which part of a level's seats was taken.",
        &["phase", LEVEL],
    ),
    Facts(
        Name::Requests,
        "priority_level_request_utilization",
        MetricType::HISTOGRAM,
        "For how many nanoseconds there were how many requests, as a part of the seats or of the room in queues.",
        &["phase", LEVEL],
    ),
    Facts(
        Name::Demand,
        "demand_seats",
        MetricType::HISTOGRAM,
        "For how many nanoseconds how many seats were wanted, as a part of those that a level has.",
        &[LEVEL],
    ),
    Facts(
        Name::Kinds,
        "read_vs_write_current_requests",
        MetricType::HISTOGRAM,
        "For how many nanoseconds there were how many reads and writes.",
        &["phase", "request_kind"],
    ),
    Facts(
        Name::Progress,
        "current_r",
        MetricType::GAUGE,
        "How far virtual time has come.",
        &[LEVEL],
    ),
    Facts(
        Name::DispatchedAt,
        "dispatch_r",
        MetricType::GAUGE,
        "How far virtual time had come when a request last had its turn.",
        &[LEVEL],
    ),
    Facts(
        Name::Start,
        "latest_s",
        MetricType::GAUGE,
        "When in virtual time that request began.",
        &[LEVEL],
    ),
    Facts(
        Name::NextStarts,
        "next_s_bounds",
        MetricType::GAUGE,
        "When in virtual time the first requests of queues began, at first and at last.",
        &["bound", LEVEL],
    ),
    Facts(
        Name::NextDiscounted,
        "next_discounted_s_bounds",
        MetricType::GAUGE,
        "The same, less the work that their queues had under way.",
        &["bound", LEVEL],
    ),
    Facts(
        Name::Unaccommodated,
        "request_dispatch_no_accommodation_total",
        MetricType::COUNTER,
        "Times that the next request found too few seats.",
        &["flow_schema", LEVEL],
    ),
    Facts(
        Name::InQueues,
        "apiserver_current_inqueue_requests",
        MetricType::GAUGE,
        "Requests that wait in queues, by kind.",
        &["request_kind"],
    ),
];

impl Facts {
    fn name(&self) -> String {
        match self.0 {
            // The only one that belongs to the whole server.
            Name::InQueues => self.1.to_owned(),
            _ => format!("{NAMESPACE}_{}", self.1),
        }
    }
}

/// See the module.
pub(super) struct Collected {
    control: Weak<FlowControl>,
    descriptions: Vec<Desc>,
}

impl Collected {
    /// Of the levels of flow control.
    pub(super) fn new(control: Weak<FlowControl>) -> Self {
        let descriptions = SERIES.iter().map(|facts| {
            let labels = facts.4.iter().map(|label| (*label).to_owned()).collect();
            Desc::new(facts.name(), facts.3.to_owned(), labels, HashMap::new()).expect(VALID)
        });
        Self {
            control,
            descriptions: descriptions.collect(),
        }
    }
}

impl Collector for Collected {
    fn desc(&self) -> Vec<&Desc> {
        self.descriptions.iter().collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let mut samples = Samples::default();
        if let Some(control) = self.control.upgrade() {
            for level in control.look() {
                samples.level(&level);
            }
            for ((phase, kind), (count, lasted)) in kinds::PARTS.iter().zip(control.kinds()) {
                samples.histogram(Name::Kinds, &[phase, kind], &lasted);
                if *phase == "waiting" {
                    samples.gauge(Name::InQueues, &[kind], f64::from(count));
                }
            }
        }
        let families = SERIES.iter().map(|facts| {
            let mut family = MetricFamily::default();
            family.set_name(facts.name());
            family.set_help(facts.3.to_owned());
            family.set_field_type(facts.2);
            family.set_metric(samples.of(facts.0));
            family
        });
        families.collect()
    }
}

/// What was found.
#[derive(Default)]
struct Samples(Vec<(Name, proto::Metric)>);

impl Samples {
    fn of(&self, name: Name) -> Vec<proto::Metric> {
        let own = self.0.iter().filter(|(own, _)| *own == name);
        own.map(|(_, metric)| metric.clone()).collect()
    }

    fn level(&mut self, level: &LevelNow) {
        let name = level.name.as_str();
        let [seats, executing, waiting, demand] = &level.uses;
        self.histogram(Name::Seats, &["executing", name], seats);
        self.histogram(Name::Requests, &["executing", name], executing);
        self.histogram(Name::Requests, &["waiting", name], waiting);
        self.histogram(Name::Demand, &[name], demand);
        self.gauge(Name::Progress, &[name], level.progress);
        for (schema, count) in &level.unaccommodated {
            let mut counter = proto::Counter::default();
            counter.set_value(*count as f64);
            self.add(Name::Unaccommodated, &[schema, name])
                .set_counter(counter);
        }
        let Some(last) = &level.dispatched else {
            return;
        };
        self.gauge(Name::DispatchedAt, &[name], last.r);
        self.gauge(Name::Start, &[name], last.start);
        for (index, bound) in ["min", "max"].into_iter().enumerate() {
            self.gauge(Name::NextStarts, &[bound, name], last.next[index]);
            self.gauge(Name::NextDiscounted, &[bound, name], last.discounted[index]);
        }
    }

    fn gauge(&mut self, name: Name, labels: &[&str], value: f64) {
        let mut gauge = proto::Gauge::default();
        gauge.set_value(value);
        self.add(name, labels).set_gauge(gauge);
    }

    fn histogram(&mut self, name: Name, labels: &[&str], lasted: &Lasted) {
        let buckets = lasted.buckets.iter().map(|(bound, count)| {
            let mut bucket = proto::Bucket::default();
            bucket.set_upper_bound(*bound);
            bucket.set_cumulative_count(*count);
            bucket
        });
        let mut histogram = proto::Histogram::default();
        histogram.set_bucket(buckets.collect());
        histogram.set_sample_count(lasted.count);
        histogram.set_sample_sum(lasted.sum);
        self.add(name, labels).set_histogram(histogram);
    }

    /// One more sample of a series, by the values of its labels.
    fn add(&mut self, name: Name, values: &[&str]) -> &mut proto::Metric {
        let facts = SERIES.iter().find(|facts| facts.0 == name);
        let labels = facts.into_iter().flat_map(|facts| facts.4).zip(values);
        let labels = labels.map(|(label, value)| {
            let mut pair = LabelPair::default();
            pair.set_name((*label).to_owned());
            pair.set_value((*value).to_owned());
            pair
        });
        let metric = proto::Metric::from_label(labels.collect());
        self.0.push((name, metric));
        &mut self.0.last_mut().expect("one was just added").1
    }
}
