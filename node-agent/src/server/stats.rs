//! `/metrics` and `/stats/summary`: what containers use, as the runtime measures it.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::Arc;

use http::{Response, StatusCode};
use jiff::Timestamp;
use k8s_cri::v1 as cri;
use serde_json::{Value, json};

use super::{Body, with_type};
use crate::clock;
use crate::cri::CriError;
use crate::pod::{Context, Directory};
use crate::runtime::label;

/// The kubelet's summary of the node's pods.
pub(super) async fn summary(context: &Arc<Context>) -> Result<Response<Body>, CriError> {
    let stats = context.cri.list_stats().await?;
    let body = summary_of(&context.config.node_name, stats, clock::now());
    Ok(with_type(
        StatusCode::OK,
        "application/json",
        body.to_string().into_bytes(),
    ))
}

fn summary_of(node: &str, stats: Vec<cri::ContainerStats>, now: Timestamp) -> Value {
    let mut pods: BTreeMap<(String, String, String), Vec<Value>> = BTreeMap::new();
    for stat in stats {
        let Some(attributes) = &stat.attributes else {
            continue;
        };
        let get = |key: &str| attributes.labels.get(key).cloned().unwrap_or_default();
        let key = (
            get(label::POD_NAMESPACE),
            get(label::POD_NAME),
            get(label::POD_UID),
        );
        pods.entry(key)
            .or_default()
            .push(container_stats(&get(label::CONTAINER_NAME), &stat));
    }
    let pods: Vec<Value> = pods
        .into_iter()
        .map(|((namespace, name, uid), containers)| {
            json!({"podRef": {"name": name, "namespace": namespace, "uid": uid}, "containers": containers})
        })
        .collect();
    json!({"node": {"nodeName": node, "startTime": now}, "pods": pods})
}

fn container_stats(name: &str, stat: &cri::ContainerStats) -> Value {
    let at = |nanos: i64| Timestamp::from_nanosecond(i128::from(nanos)).unwrap_or(Timestamp::UNIX_EPOCH);
    let value = |v: &Option<cri::UInt64Value>| v.as_ref().map(|v| v.value);
    let cpu = stat
        .cpu
        .as_ref()
        .map(|c| json!({"time": at(c.timestamp), "usageCoreNanoSeconds": value(&c.usage_core_nano_seconds)}));
    let memory = stat.memory.as_ref().map(|m| {
        json!({"time": at(m.timestamp), "workingSetBytes": value(&m.working_set_bytes),
            "usageBytes": value(&m.usage_bytes), "rssBytes": value(&m.rss_bytes)})
    });
    json!({"name": name, "cpu": cpu, "memory": memory})
}

/// Counts of what runs, in the Prometheus text format.
pub(super) async fn metrics(
    context: &Arc<Context>,
    directory: &Directory,
) -> Result<Response<Body>, CriError> {
    let pods = directory.all();
    let running = pods
        .iter()
        .filter(|k| k.runtime.ready_sandbox().is_some())
        .count();
    let containers: usize = pods.iter().map(|k| k.runtime.alive().count()).sum();
    let mut out = String::new();
    let mut gauge = |name: &str, help: &str, value: usize| {
        let _ = write!(out, "# HELP {name} {help}\n# TYPE {name} gauge\n{name} {value}\n");
    };
    gauge(
        "kubelet_running_pods",
        "Number of pods that have a running pod sandbox",
        running,
    );
    gauge(
        "kubelet_running_containers",
        "Number of containers currently running",
        containers,
    );
    gauge(
        "kubelet_desired_pods",
        "Number of pods the node agent is to run",
        pods.len(),
    );
    let version = context.cri.version().await?;
    let _ = writeln!(
        out,
        "# TYPE kubelet_runtime_info gauge\nkubelet_runtime_info{{version=\"{version}\"}} 1"
    );
    Ok(with_type(
        StatusCode::OK,
        "text/plain; version=0.0.4",
        out.into_bytes(),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_summary_groups_containers_by_pod() {
        let stat = |pod: &str, name: &str| cri::ContainerStats {
            attributes: Some(cri::ContainerAttributes {
                labels: [
                    (label::POD_NAMESPACE, "ns"),
                    (label::POD_NAME, pod),
                    (label::POD_UID, pod),
                    (label::CONTAINER_NAME, name),
                ]
                .map(|(k, v)| (k.to_owned(), v.to_owned()))
                .into(),
                ..cri::ContainerAttributes::default()
            }),
            memory: Some(cri::MemoryUsage {
                timestamp: 1_000_000_000,
                working_set_bytes: Some(cri::UInt64Value { value: 7 }),
                ..cri::MemoryUsage::default()
            }),
            ..cri::ContainerStats::default()
        };
        let stats = vec![stat("a", "x"), stat("a", "y"), stat("b", "x")];
        insta::assert_json_snapshot!(summary_of("n1", stats, Timestamp::UNIX_EPOCH));
    }
}
