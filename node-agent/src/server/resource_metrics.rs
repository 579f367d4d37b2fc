//! `/metrics/resource`: what containers, pods and the node use, in the names that upstream calls stable and that metrics-server
//! reads.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::Arc;

use http::{Response, StatusCode};
use jiff::Timestamp;
use k8s_cri::v1 as cri;

use super::{Body, with_type};
use crate::cgroup::Usage;
use crate::clock;
use crate::cri::CriError;
use crate::pod::{Context, Directory};
use crate::runtime::label;

/// What one container uses.
#[derive(Clone, Debug, Default, PartialEq)]
struct Sample {
    namespace: String,
    pod: String,
    container: String,
    /// When it was measured, in milliseconds since 1970.
    at: i64,
    cpu_seconds: f64,
    working_set_bytes: u64,
    started: Option<Timestamp>,
}

/// Measures, and writes it down in the Prometheus text format.
pub(super) async fn answer(
    context: &Arc<Context>,
    directory: &Directory,
) -> Result<Response<Body>, CriError> {
    let stats = context.cri.list_stats().await?;
    let started: BTreeMap<String, Timestamp> = directory
        .all()
        .iter()
        .flat_map(|known| known.runtime.containers.clone())
        .filter_map(|container| Some((container.id, container.started_at?)))
        .collect();
    let samples: Vec<Sample> = stats.iter().filter_map(|stat| sample(stat, &started)).collect();
    let job = context.clone();
    let node = tokio::task::spawn_blocking(move || job.cgroups.usage(&job.config.cgroup_root));
    let node = node.await.ok().flatten();
    let text = render(&samples, node, clock::now());
    Ok(with_type(
        StatusCode::OK,
        "text/plain; version=0.0.4; charset=utf-8",
        text.into_bytes(),
    ))
}

fn sample(stat: &cri::ContainerStats, started: &BTreeMap<String, Timestamp>) -> Option<Sample> {
    let attributes = stat.attributes.as_ref()?;
    let label = |key: &str| attributes.labels.get(key).cloned().unwrap_or_default();
    let (cpu, memory) = (stat.cpu.as_ref()?, stat.memory.as_ref()?);
    let nanoseconds = cpu.usage_core_nano_seconds.as_ref().map_or(0, |v| v.value);
    Some(Sample {
        namespace: label(label::POD_NAMESPACE),
        pod: label(label::POD_NAME),
        container: label(label::CONTAINER_NAME),
        at: cpu.timestamp / 1_000_000,
        cpu_seconds: seconds(nanoseconds),
        working_set_bytes: memory.working_set_bytes.as_ref().map_or(0, |v| v.value),
        started: started.get(&attributes.id).copied(),
    })
}

fn seconds(nanoseconds: u64) -> f64 {
    nanoseconds as f64 / 1e9
}

/// A counter or gauge with its help.
struct Metric {
    name: &'static str,
    kind: &'static str,
    help: &'static str,
}

const CONTAINER_CPU: Metric = Metric {
    name: "container_cpu_usage_seconds_total",
    kind: "counter",
    help: "Cumulative cpu time consumed by the container in core-seconds",
};
const CONTAINER_MEMORY: Metric = Metric {
    name: "container_memory_working_set_bytes",
    kind: "gauge",
    help: "Current working set of the container in bytes",
};
const CONTAINER_START: Metric = Metric {
    name: "container_start_time_seconds",
    kind: "gauge",
    help: "Start time of the container since unix epoch in seconds",
};
const POD_CPU: Metric = Metric {
    name: "pod_cpu_usage_seconds_total",
    kind: "counter",
    help: "Cumulative cpu time consumed by the pod in core-seconds",
};
const POD_MEMORY: Metric = Metric {
    name: "pod_memory_working_set_bytes",
    kind: "gauge",
    help: "Current working set of the pod in bytes",
};
const NODE_CPU: Metric = Metric {
    name: "node_cpu_usage_seconds_total",
    kind: "counter",
    help: "Cumulative cpu time consumed by the node in core-seconds",
};
const NODE_MEMORY: Metric = Metric {
    name: "node_memory_working_set_bytes",
    kind: "gauge",
    help: "Current working set of the node in bytes",
};
const SCRAPE_ERROR: Metric = Metric {
    name: "resource_scrape_error",
    kind: "gauge",
    help: "1 if there was an error while getting container metrics, 0 otherwise",
};

impl Metric {
    /// Writes the metric with its values: labels, value, and when it was measured.
    fn write<V: std::fmt::Display>(
        &self,
        text: &mut String,
        values: impl IntoIterator<Item = (String, V, Option<i64>)>,
    ) {
        let Self { name, kind, help } = self;
        let _ = writeln!(text, "# HELP {name} [STABLE] {help}\n# TYPE {name} {kind}");
        for (labels, value, at) in values {
            let at = at.map_or_else(String::new, |at| format!(" {at}"));
            let _ = writeln!(text, "{name}{labels} {value}{at}");
        }
    }
}

impl Sample {
    fn labels(&self) -> String {
        let Self {
            container,
            namespace,
            pod,
            ..
        } = self;
        format!("{{container=\"{container}\",namespace=\"{namespace}\",pod=\"{pod}\"}}")
    }

    fn pod_labels(&self) -> String {
        format!("{{namespace=\"{}\",pod=\"{}\"}}", self.namespace, self.pod)
    }
}

fn render(samples: &[Sample], node: Option<Usage>, now: Timestamp) -> String {
    let mut text = String::new();
    let cpu = samples.iter().map(|s| (s.labels(), s.cpu_seconds, Some(s.at)));
    CONTAINER_CPU.write(&mut text, cpu);
    let memory = samples
        .iter()
        .map(|s| (s.labels(), s.working_set_bytes, Some(s.at)));
    CONTAINER_MEMORY.write(&mut text, memory);
    let started = samples
        .iter()
        .filter_map(|s| Some((s.labels(), s.started?.as_second(), None)));
    CONTAINER_START.write(&mut text, started);
    pods(&mut text, samples);
    if let Some(node) = node {
        let at = Some(now.as_millisecond());
        NODE_CPU.write(&mut text, [(String::new(), seconds(node.cpu_nanoseconds), at)]);
        NODE_MEMORY.write(&mut text, [(String::new(), node.working_set_bytes, at)]);
    }
    SCRAPE_ERROR.write(&mut text, [(String::new(), 0, None)]);
    text
}

/// The sums of pods' containers.
fn pods(text: &mut String, samples: &[Sample]) {
    let mut pods: BTreeMap<String, (f64, u64, i64)> = BTreeMap::new();
    for s in samples {
        let pod = pods.entry(s.pod_labels()).or_default();
        pod.0 += s.cpu_seconds;
        pod.1 += s.working_set_bytes;
        pod.2 = pod.2.max(s.at);
    }
    let values = pods.iter();
    POD_CPU.write(
        text,
        values.clone().map(|(of, pod)| (of.clone(), pod.0, Some(pod.2))),
    );
    POD_MEMORY.write(text, values.map(|(of, pod)| (of.clone(), pod.1, Some(pod.2))));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn containers_pods_and_the_node_are_told_of() {
        let sample = |container: &str, cpu_seconds, working_set_bytes| Sample {
            namespace: "ns".into(),
            pod: "web".into(),
            container: container.into(),
            at: 7_000,
            cpu_seconds,
            working_set_bytes,
            started: Timestamp::from_second(5).ok(),
        };
        let node = Usage {
            cpu_nanoseconds: 9_500_000_000,
            working_set_bytes: 4096,
        };
        let text = render(
            &[sample("a", 1.5, 100), sample("b", 0.25, 20)],
            Some(node),
            Timestamp::from_second(8).unwrap(),
        );
        insta::assert_snapshot!(text);
    }
}
