//! `/metrics`: what is asked of this server, and what the process takes, in Prometheus' text form and upstream's names.

mod process;
mod slis;

use std::time::Duration;

use http::StatusCode;
use prometheus::core::Collector;
use prometheus::{
    Encoder, GaugeVec, HistogramOpts, HistogramVec, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry,
    TextEncoder,
};

pub(crate) use self::process::started_at;
pub(crate) use self::slis::Slis;
use crate::request::RequestInfo;
use crate::version;

/// Seconds at which request durations are counted; upstream's buckets.
const DURATION_BUCKETS: [f64; 22] = [
    0.005, 0.025, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0, 1.25, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0, 15.0,
    20.0, 30.0, 60.0,
];

const LABELS: [&str; 6] = ["verb", "group", "version", "resource", "subresource", "scope"];

/// Every series of this server.
pub struct Metrics {
    registry: Registry,
    requests: IntCounterVec,
    terminations: IntCounterVec,
    durations: HistogramVec,
    in_flight: IntGaugeVec,
    long_running: IntGaugeVec,
}

/// What a request is counted under.
pub struct RequestLabels<'a> {
    values: [&'a str; 6],
}

impl<'a> RequestLabels<'a> {
    /// The labels of a request. Of one that named nothing known only the verb is kept, since anybody can invent names.
    pub fn of(info: &'a RequestInfo, known: bool) -> Self {
        let verb = reported_verb(&info.verb);
        if !known || !info.is_resource_request {
            return Self {
                values: [verb, "", "", "", "", ""],
            };
        }
        let one = !info.name.is_empty() || info.verb == "create";
        let scope = match (one, info.namespace.is_empty()) {
            (true, _) => "resource",
            (false, false) => "namespace",
            (false, true) => "cluster",
        };
        let subresource = info.subresource.as_str();
        Self {
            values: [
                verb,
                &info.api_group,
                &info.api_version,
                &info.resource,
                subresource,
                scope,
            ],
        }
    }
}

/// One more, until it is dropped.
pub struct InFlightGauge(IntGauge);

impl InFlightGauge {
    fn enter(gauge: IntGauge) -> Self {
        gauge.inc();
        Self(gauge)
    }
}

impl Drop for InFlightGauge {
    fn drop(&mut self) {
        self.0.dec();
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// The media type of [`Metrics::text`].
    pub const MEDIA_TYPE: &'static str = "text/plain; version=0.0.4; charset=utf-8";

    /// All series, at zero.
    pub fn new() -> Self {
        let valid = "names and labels are constants that Prometheus takes";
        let requests = IntCounterVec::new(
            Opts::new(
                "apiserver_request_total",
                "Counter of apiserver requests broken out for each verb, resource and code.",
            ),
            &[&LABELS[..], &["dry_run", "component", "code"]].concat(),
        );
        let terminations = IntCounterVec::new(
            Opts::new(
                "apiserver_request_terminations_total",
                "Requests that this server ended early for its own good.",
            ),
            &[&LABELS[..], &["component", "code"]].concat(),
        );
        let durations = HistogramVec::new(
            HistogramOpts::new(
                "apiserver_request_duration_seconds",
                "Response latency distribution in seconds.",
            )
            .buckets(DURATION_BUCKETS.to_vec()),
            &[&LABELS[..], &["dry_run", "component"]].concat(),
        );
        let in_flight = IntGaugeVec::new(
            Opts::new(
                "apiserver_current_inflight_requests",
                "Requests being answered, by kind.",
            ),
            &["request_kind"],
        );
        let long_running = IntGaugeVec::new(
            Opts::new(
                "apiserver_longrunning_requests",
                "Streams that stand, by verb and resource.",
            ),
            &[&LABELS[..], &["component"]].concat(),
        );
        let metrics = Self {
            registry: Registry::new(),
            requests: requests.expect(valid),
            terminations: terminations.expect(valid),
            durations: durations.expect(valid),
            in_flight: in_flight.expect(valid),
            long_running: long_running.expect(valid),
        };
        metrics.register();
        metrics
    }

    fn register(&self) {
        let series: [Box<dyn Collector>; 6] = [
            Box::new(build_info()),
            Box::new(self.requests.clone()),
            Box::new(self.terminations.clone()),
            Box::new(self.durations.clone()),
            Box::new(self.in_flight.clone()),
            Box::new(self.long_running.clone()),
        ];
        for one in series {
            self.registry.register(one).expect("no name is registered twice");
        }
    }

    /// Where other rooms of this server register series of their own.
    pub fn registry(&self) -> &Registry {
        &self.registry
    }

    /// Counts one answered request.
    pub fn observe(&self, labels: &RequestLabels<'_>, status: StatusCode, took: Duration, streams: bool) {
        let [verb, group, version, resource, subresource, scope] = labels.values;
        let (dry_run, component) = ("", "apiserver");
        let counted = [
            verb,
            group,
            version,
            resource,
            subresource,
            scope,
            dry_run,
            component,
            status.as_str(),
        ];
        self.requests.with_label_values(&counted).inc();
        if !streams {
            self.durations
                .with_label_values(&counted[..8])
                .observe(took.as_secs_f64());
        }
    }

    /// Counts a request that this server did not let end, of one that it did not let begin also the answer.
    pub fn cut_short(&self, labels: &RequestLabels<'_>, status: StatusCode, refused: bool) {
        let labels = labels.values;
        let counted = [&labels[..], &["apiserver", status.as_str()]].concat();
        self.terminations.with_label_values(&counted).inc();
        if refused {
            let counted = [&labels[..], &["", "apiserver", status.as_str()]].concat();
            self.requests.with_label_values(&counted).inc();
        }
    }

    /// Counts a request that is being answered.
    pub fn in_flight(&self, reads: bool) -> InFlightGauge {
        let kind = if reads { "readOnly" } else { "mutating" };
        InFlightGauge::enter(self.in_flight.with_label_values(&[kind]))
    }

    /// Counts a stream that stands.
    pub fn long_running(&self, info: &RequestInfo) -> InFlightGauge {
        let [verb, group, version, resource, subresource, scope] = RequestLabels::of(info, true).values;
        let labels = [verb, group, version, resource, subresource, scope, "apiserver"];
        InFlightGauge::enter(self.long_running.with_label_values(&labels))
    }

    /// Everything, as Prometheus reads it.
    pub fn text(&self) -> Vec<u8> {
        let mut text = Vec::new();
        if let Err(error) = TextEncoder::new().encode(&self.registry.gather(), &mut text) {
            tracing::error!(%error, "metrics could not be written");
        }
        text.extend(process::sample().into_bytes());
        text
    }
}

/// Always 1; its labels say what runs.
fn build_info() -> GaugeVec {
    let labels = ["major", "minor", "gitVersion", "platform"];
    let document = version::document();
    let values = labels.map(|label| document[label].as_str().unwrap_or_default().to_owned());
    let build = GaugeVec::new(
        Opts::new("kubernetes_build_info", "Always 1; its labels say what runs."),
        &["major", "minor", "git_version", "platform"],
    )
    .expect("names and labels are constants that Prometheus takes");
    build.with_label_values(&values).set(1.0);
    build
}

/// Verbs are counted in upper case, and none that upstream does not count.
fn reported_verb(verb: &str) -> &'static str {
    match verb {
        "get" | "head" => "GET",
        "list" => "LIST",
        "watch" => "WATCH",
        "create" | "post" => "POST",
        "update" | "put" => "PUT",
        "patch" => "PATCH",
        "delete" => "DELETE",
        "deletecollection" => "DELETECOLLECTION",
        "proxy" => "PROXY",
        "options" => "OPTIONS",
        _ => "other",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_counted_by_what_they_ask() {
        let metrics = Metrics::new();
        let info = RequestInfo {
            is_resource_request: true,
            verb: "list".to_owned(),
            api_version: "v1".to_owned(),
            resource: "pods".to_owned(),
            namespace: "a".to_owned(),
            ..RequestInfo::default()
        };
        metrics.observe(
            &RequestLabels::of(&info, true),
            StatusCode::OK,
            Duration::from_millis(3),
            false,
        );
        let invented = RequestInfo {
            resource: "invented".to_owned(),
            ..info.clone()
        };
        metrics.observe(
            &RequestLabels::of(&invented, false),
            StatusCode::NOT_FOUND,
            Duration::ZERO,
            false,
        );
        let held = metrics.in_flight(true);
        let text = String::from_utf8(metrics.text()).unwrap();
        let pods = "apiserver_request_total{code=\"200\",component=\"apiserver\",dry_run=\"\",group=\"\",resource=\"pods\",\
                    scope=\"namespace\",subresource=\"\",verb=\"LIST\",version=\"v1\"} 1";
        assert!(text.contains(pods), "{text}");
        assert!(!text.contains("invented"), "{text}");
        assert!(
            text.contains("apiserver_current_inflight_requests{request_kind=\"readOnly\"} 1"),
            "{text}"
        );
        assert!(text.contains("process_resident_memory_bytes"), "{text}");
        drop(held);
        let text = String::from_utf8(metrics.text()).unwrap();
        assert!(
            text.contains("apiserver_current_inflight_requests{request_kind=\"readOnly\"} 0"),
            "{text}"
        );
    }
}
