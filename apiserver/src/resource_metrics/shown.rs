//! `NodeMetrics`, `PodMetrics`, their lists and tables. Pure.

use std::collections::BTreeMap;
use std::sync::Arc;

use coracle_api::object::Fields;
use coracle_api::quantity::{self, Format, Quantity};
use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::usage::{Looks, Usage};
use super::{GROUP, VERSION};
use crate::registry::negotiate::{Accepted, Include, View};

/// A node or a pod.
pub(super) type Subject = Arc<Value>;

/// The node that a subject is, or that it runs on; empty where it is nowhere.
pub(super) fn node_of(subject: &Value, is_node: bool) -> &str {
    if is_node {
        subject["metadata"].text("name")
    } else {
        subject["spec"].text("nodeName")
    }
}

/// The metrics of a node or pod; none where nothing is known of it.
pub(super) fn metrics(
    subject: &Subject,
    looks: &BTreeMap<String, Looks>,
    is_node: bool,
    now: Timestamp,
) -> Option<Value> {
    let metadata = &subject["metadata"];
    let looks = looks.get(node_of(subject, is_node))?;
    let mut shown =
        json!({"apiVersion": format!("{GROUP}/{VERSION}"), "metadata": shown_metadata(metadata, now)});
    if is_node {
        let usage = looks.node()?;
        shown["kind"] = "NodeMetrics".into();
        shown["usage"] = amounts(&usage);
        measured(&mut shown, usage.at, usage.window);
        return Some(shown);
    }
    let containers = looks.containers(metadata.text("namespace"), metadata.text("name"));
    let (at, window) = containers
        .iter()
        .map(|(_, usage)| (usage.at, usage.window))
        .min()?;
    shown["kind"] = "PodMetrics".into();
    shown["containers"] = containers
        .iter()
        .map(|(name, usage)| json!({"name": name, "usage": amounts(usage)}))
        .collect();
    measured(&mut shown, at, window);
    Some(shown)
}

fn shown_metadata(metadata: &Value, now: Timestamp) -> Value {
    let mut shown = Map::new();
    for field in ["name", "namespace", "labels"] {
        if let Some(value) = metadata.get(field) {
            shown.insert(field.to_owned(), value.clone());
        }
    }
    shown.insert("creationTimestamp".to_owned(), seconds(now));
    Value::Object(shown)
}

fn measured(shown: &mut Value, at: i64, window: i64) {
    shown["timestamp"] = seconds(Timestamp::from_millisecond(at).unwrap_or_default());
    shown["window"] = go_duration(window).into();
}

fn seconds(at: Timestamp) -> Value {
    at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string().into()
}

fn amounts(usage: &Usage) -> Value {
    let cpu = format!("{}n", usage.cpu_nanocores);
    let memory = i64::try_from(usage.memory_bytes).unwrap_or(i64::MAX);
    json!({
        "cpu": quantity::canonical(&cpu).unwrap_or(cpu),
        "memory": Quantity::from_whole(memory, Format::BinarySi).to_string(),
    })
}

/// Milliseconds as Go writes a duration.
fn go_duration(millis: i64) -> String {
    let fraction = |millis: i64| match millis % 1000 {
        0 => String::new(),
        rest => format!(".{}", format!("{rest:03}").trim_end_matches('0')),
    };
    let (hours, minutes, seconds) = (millis / 3_600_000, millis / 60_000 % 60, millis / 1000 % 60);
    match (hours, minutes) {
        _ if millis == 0 => "0s".to_owned(),
        _ if millis < 1000 => format!("{millis}ms"),
        (0, 0) => format!("{seconds}{}s", fraction(millis)),
        (0, _) => format!("{minutes}m{seconds}{}s", fraction(millis)),
        _ => format!("{hours}h{minutes}m{seconds}{}s", fraction(millis)),
    }
}

/// One object, in the form asked for.
pub(super) fn object(object: &Value, accepted: Accepted) -> Value {
    match accepted.view {
        View::Object => object.clone(),
        View::Metadata => partial(object, accepted),
        View::Table => table(std::slice::from_ref(object), accepted),
    }
}

/// A list, in the form asked for.
pub(super) fn list(objects: &[Value], of_nodes: bool, accepted: Accepted) -> Value {
    let (kind, api_version, items) = match accepted.view {
        View::Table => return table(objects, accepted),
        View::Metadata => (
            "PartialObjectMetadataList",
            format!("meta.k8s.io/{}", accepted.view_version),
            objects.iter().map(|object| partial(object, accepted)).collect(),
        ),
        View::Object => (
            if of_nodes {
                "NodeMetricsList"
            } else {
                "PodMetricsList"
            },
            format!("{GROUP}/{VERSION}"),
            objects.iter().map(headless).collect::<Vec<Value>>(),
        ),
    };
    json!({"kind": kind, "apiVersion": api_version, "metadata": {}, "items": items})
}

/// Items of a list do not say again what they are.
fn headless(object: &Value) -> Value {
    let mut object = object.clone();
    if let Some(fields) = object.as_object_mut() {
        fields.remove("kind");
        fields.remove("apiVersion");
    }
    object
}

fn partial(object: &Value, accepted: Accepted) -> Value {
    json!({
        "kind": "PartialObjectMetadata", "apiVersion": format!("meta.k8s.io/{}", accepted.view_version),
        "metadata": object["metadata"],
    })
}

fn table(objects: &[Value], accepted: Accepted) -> Value {
    let column = |name: &str, format: &str, description: &str| json!({"name": name, "type": "string", "format": format, "description": description, "priority": 0});
    let rows: Vec<Value> = objects
        .iter()
        .map(|object| {
            let sum = |resource: &str| total(object, resource);
            let cells = json!([
                object["metadata"]["name"],
                sum("cpu"),
                sum("memory"),
                object["window"]
            ]);
            let shown = match accepted.include {
                Include::None => Value::Null,
                Include::Metadata => partial(object, accepted),
                Include::Object => object.clone(),
            };
            json!({"cells": cells, "object": shown})
        })
        .collect();
    json!({
        "kind": "Table", "apiVersion": format!("meta.k8s.io/{}", accepted.view_version), "metadata": {},
        "columnDefinitions": [
            column("Name", "name", "Name of the resource"), column("cpu", "quantity", ""),
            column("memory", "quantity", ""), column("Window", "duration", ""),
        ],
        "rows": rows,
    })
}

/// How much of a resource an object uses, its containers together.
fn total(object: &Value, resource: &str) -> String {
    let own = object.get("usage").into_iter();
    let of_containers = object
        .items("containers")
        .iter()
        .map(|container| &container["usage"]);
    let amounts = own
        .chain(of_containers)
        .filter_map(|usage| usage.text(resource).parse::<Quantity>().ok());
    amounts
        .reduce(|sum, amount| sum.plus(&amount))
        .map(|sum| sum.to_string())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::super::text::read;
    use super::super::usage::Look;
    use super::*;

    fn looks() -> BTreeMap<String, Looks> {
        let look = |millis: i64, cpu: f64| {
            let labels = "{container=\"c\",namespace=\"n\",pod=\"p\"}";
            let text = format!(
                "node_cpu_usage_seconds_total {cpu} {millis}\nnode_memory_working_set_bytes 2097152 {millis}\n\
                 container_cpu_usage_seconds_total{labels} {cpu} {millis}\n\
                 container_memory_working_set_bytes{labels} 5120 {millis}\n"
            );
            Look::new(Timestamp::from_millisecond(millis).unwrap(), &read(&text))
        };
        let looks = Looks {
            before: look(1_000, 1.0),
            last: look(11_062, 1.5),
        };
        BTreeMap::from([("node-1".to_owned(), looks)])
    }

    #[test]
    fn nodes_and_pods_are_shown_as_metrics_server_shows_them() {
        let now = Timestamp::from_second(60).unwrap();
        let node = Arc::new(json!({"metadata": {"name": "node-1", "labels": {"a": "b"}, "uid": "u"}}));
        let pod =
            Arc::new(json!({"metadata": {"name": "p", "namespace": "n"}, "spec": {"nodeName": "node-1"}}));
        let nowhere = Arc::new(json!({"metadata": {"name": "q", "namespace": "n"}, "spec": {}}));
        let looks = looks();
        let measured = json!({"timestamp": "1970-01-01T00:00:11Z", "window": "10.062s"});
        let with = |mut object: Value| {
            object["apiVersion"] = "metrics.k8s.io/v1beta1".into();
            object["metadata"]["creationTimestamp"] = "1970-01-01T00:01:00Z".into();
            for field in ["timestamp", "window"] {
                object[field] = measured[field].clone();
            }
            Some(object)
        };
        assert_eq!(
            metrics(&node, &looks, true, now),
            with(
                json!({"kind": "NodeMetrics", "metadata": {"name": "node-1", "labels": {"a": "b"}},
                "usage": {"cpu": "49691910n", "memory": "2Mi"}})
            )
        );
        let shown = metrics(&pod, &looks, false, now);
        assert_eq!(
            shown,
            with(
                json!({"kind": "PodMetrics", "metadata": {"name": "p", "namespace": "n"},
                "containers": [{"name": "c", "usage": {"cpu": "49691910n", "memory": "5Ki"}}]})
            )
        );
        assert_eq!(metrics(&nowhere, &looks, false, now), None);
        assert_eq!(total(&shown.unwrap(), "memory"), "5Ki");
    }

    #[test]
    fn durations_are_written_as_go_writes_them() {
        for (millis, want) in [
            (0, "0s"),
            (7, "7ms"),
            (10_062, "10.062s"),
            (90_500, "1m30.5s"),
            (60_000, "1m0s"),
        ] {
            assert_eq!(go_duration(millis), want);
        }
    }
}
