//! Horizontal pod autoscalers: autoscaling/v1 knows a target for CPU only. The other metrics, the behavior and parts of the
//! status stand in annotations, in the forms that upstream gave them: metrics as autoscaling/v1's own (unserved)
//! `MetricSpec` and `MetricStatus`, the behavior with the field names of Go's internal type.

use serde_json::{Map, Value, json};

const METRICS: &str = "autoscaling.alpha.kubernetes.io/metrics";
const CURRENT_METRICS: &str = "autoscaling.alpha.kubernetes.io/current-metrics";
const CONDITIONS: &str = "autoscaling.alpha.kubernetes.io/conditions";
const BEHAVIOR: &str = "autoscaling.alpha.kubernetes.io/behavior";

/// The sources of metrics: the value of `type` and the field that goes with it.
const SOURCES: [(&str, &str); 5] = [
    ("Object", "object"),
    ("Pods", "pods"),
    ("Resource", "resource"),
    ("ContainerResource", "containerResource"),
    ("External", "external"),
];

/// The two sides of a metric: what is wanted (`spec`) and what is measured (`status`).
#[derive(Clone, Copy)]
struct Side {
    /// The field of v2 that holds the values.
    values: &'static str,
    /// What v1 puts in front of their names.
    prefix: &'static str,
    /// Whether v2 says which kind of value is meant.
    typed: bool,
}

const SPEC: Side = Side {
    values: "target",
    prefix: "target",
    typed: true,
};
const STATUS: Side = Side {
    values: "current",
    prefix: "current",
    typed: false,
};

pub(super) fn v2_to_v1(object: &mut Value) {
    let mut kept = Map::new();
    if let Some(spec) = object.get_mut("spec").and_then(Value::as_object_mut) {
        let metrics = list(spec.remove("metrics"));
        if let Some(percent) = metrics.iter().find_map(|metric| cpu_utilization(metric, SPEC)) {
            spec.insert("targetCPUUtilizationPercentage".to_owned(), percent.clone());
        }
        let others = metrics
            .iter()
            .filter(|metric| cpu_utilization(metric, SPEC).is_none());
        keep(
            &mut kept,
            METRICS,
            others.map(|metric| metric_to_v1(metric, SPEC)).collect(),
        );
        if let Some(behavior) = spec.remove("behavior") {
            kept.insert(BEHAVIOR.to_owned(), written_behavior(&behavior).into());
        }
    }
    if let Some(status) = object.get_mut("status").and_then(Value::as_object_mut) {
        let metrics = list(status.remove("currentMetrics"));
        if let Some(percent) = metrics.iter().find_map(|metric| cpu_utilization(metric, STATUS)) {
            status.insert("currentCPUUtilizationPercentage".to_owned(), percent.clone());
        }
        keep(
            &mut kept,
            CURRENT_METRICS,
            metrics
                .iter()
                .map(|metric| metric_to_v1(metric, STATUS))
                .collect(),
        );
        keep(
            &mut kept,
            CONDITIONS,
            status.remove("conditions").unwrap_or_default(),
        );
    }
    if !kept.is_empty() {
        let annotations = &mut object["metadata"]["annotations"];
        match annotations.as_object_mut() {
            Some(annotations) => annotations.append(&mut kept),
            None => *annotations = Value::Object(kept),
        }
    }
}

pub(super) fn v1_to_v2(object: &mut Value) {
    let mut take = |name: &str| -> Option<Value> {
        let annotations = object.pointer_mut("/metadata/annotations")?.as_object_mut()?;
        serde_json::from_str(annotations.remove(name)?.as_str()?).ok()
    };
    let (metrics, current) = (list(take(METRICS)), list(take(CURRENT_METRICS)));
    let (behavior, conditions) = (take(BEHAVIOR), take(CONDITIONS));
    if let Some(spec) = object.get_mut("spec").and_then(Value::as_object_mut) {
        let cpu = spec
            .remove("targetCPUUtilizationPercentage")
            .map(|percent| cpu_metric(percent, SPEC));
        let metrics = metrics
            .iter()
            .filter_map(|metric| metric_to_v2(metric, SPEC))
            .chain(cpu);
        set_list(spec, "metrics", metrics.collect());
        if let Some(behavior) = behavior.filter(Value::is_object) {
            spec.insert("behavior".to_owned(), with_keys(behavior, &lower_first));
        }
    }
    if let Some(status) = object.get_mut("status").and_then(Value::as_object_mut) {
        let cpu = status
            .remove("currentCPUUtilizationPercentage")
            .map(|percent| cpu_metric(percent, STATUS));
        // What the annotation says has more to it than the percentage.
        let mut measured: Vec<Value> = current
            .iter()
            .filter_map(|metric| metric_to_v2(metric, STATUS))
            .collect();
        if measured.is_empty() {
            measured.extend(cpu);
        }
        set_list(status, "currentMetrics", measured);
        set_list(status, "conditions", list(conditions));
    }
}

/// A behavior as Go writes its internal type, which has its fields in this order and leaves none out.
fn written_behavior(behavior: &Value) -> String {
    const RULES: [&str; 4] = [
        "stabilizationWindowSeconds",
        "selectPolicy",
        "policies",
        "tolerance",
    ];
    const POLICY: [&str; 3] = ["type", "value", "periodSeconds"];
    written(behavior, &["scaleUp", "scaleDown"], &|rules| {
        written(rules, &RULES, &|value| match value {
            Value::Array(policies) => {
                let policies: Vec<String> = policies
                    .iter()
                    .map(|policy| written(policy, &POLICY, &Value::to_string))
                    .collect();
                format!("[{}]", policies.join(","))
            }
            other => other.to_string(),
        })
    })
}

/// An object with these fields, each under its name in Go; null stands for what it does not have.
fn written(object: &Value, fields: &[&str], value: &dyn Fn(&Value) -> String) -> String {
    let Value::Object(map) = object else {
        return "null".to_owned();
    };
    let fields = fields.iter().map(|name| {
        let value = map.get(*name).map_or_else(|| "null".to_owned(), value);
        format!("\"{}\":{value}", upper_first(name))
    });
    format!("{{{}}}", fields.collect::<Vec<_>>().join(","))
}

fn list(value: Option<Value>) -> Vec<Value> {
    match value {
        Some(Value::Array(items)) => items,
        _ => Vec::new(),
    }
}

fn set_list(map: &mut Map<String, Value>, name: &str, items: Vec<Value>) {
    if !items.is_empty() {
        map.insert(name.to_owned(), Value::Array(items));
    }
}

/// Adds an annotation, unless there is nothing to say in it.
fn keep(annotations: &mut Map<String, Value>, name: &str, value: Value) {
    if !value.is_null() && value.as_array().is_none_or(|items| !items.is_empty()) {
        annotations.insert(name.to_owned(), in_order(&value).into());
    }
}

/// The fields of metrics and conditions in the order in which Go's types have them.
const ORDER: [&str; 31] = [
    "type",
    "status",
    "lastTransitionTime",
    "reason",
    "message",
    "observedGeneration",
    "object",
    "pods",
    "resource",
    "containerResource",
    "external",
    "kind",
    "target",
    "name",
    "apiVersion",
    "metricName",
    "metricSelector",
    "targetValue",
    "currentValue",
    "targetAverageUtilization",
    "currentAverageUtilization",
    "targetAverageValue",
    "currentAverageValue",
    "selector",
    "averageValue",
    "container",
    "matchLabels",
    "matchExpressions",
    "key",
    "operator",
    "values",
];

/// JSON with its fields in Go's order, which people who read annotations are used to.
fn in_order(value: &Value) -> String {
    match value {
        Value::Array(items) => format!("[{}]", items.iter().map(in_order).collect::<Vec<_>>().join(",")),
        Value::Object(fields) => {
            let mut fields: Vec<(&String, &Value)> = fields.iter().collect();
            fields.sort_by_key(|(name, _)| ORDER.iter().position(|known| known == name));
            let written = fields.into_iter().map(|(name, value)| match name.as_str() {
                // Its keys are anybody's.
                "matchLabels" => format!("\"{name}\":{value}"),
                _ => format!("\"{name}\":{}", in_order(value)),
            });
            format!("{{{}}}", written.collect::<Vec<_>>().join(","))
        }
        other => other.to_string(),
    }
}

/// The value that v1 has of a source whether or not there is one in v2.
fn always_there(source: &str, side: Side) -> Option<&'static str> {
    match source {
        "object" => Some("value"),
        "pods" => Some("averageValue"),
        "external" if !side.typed => Some("value"),
        "resource" | "containerResource" if !side.typed => Some("averageValue"),
        _ => None,
    }
}

/// The utilization of a metric that is about CPU, which v1 has a field for.
fn cpu_utilization(metric: &Value, side: Side) -> Option<&Value> {
    let resource = metric
        .get("resource")
        .filter(|resource| resource["name"] == "cpu")?;
    resource.get(side.values)?.get("averageUtilization")
}

fn cpu_metric(percent: Value, side: Side) -> Value {
    let mut values = Map::from_iter([("averageUtilization".to_owned(), percent)]);
    if side.typed {
        values.insert("type".to_owned(), "Utilization".into());
    }
    json!({"type": "Resource", "resource": {"name": "cpu", side.values: values}})
}

/// v1's name of one of v2's values: `targetAverageValue` for the `averageValue` of a target.
fn v1_name(source: &str, value: &str, side: Side) -> String {
    if source == "object" && value == "averageValue" {
        return value.to_owned();
    }
    format!("{}{}", side.prefix, upper_first(value))
}

fn selector_name(source: &str) -> &'static str {
    if source == "external" {
        "metricSelector"
    } else {
        "selector"
    }
}

const VALUES: [&str; 3] = ["averageUtilization", "averageValue", "value"];

fn metric_to_v1(metric: &Value, side: Side) -> Value {
    let mut out = Map::from_iter([("type".to_owned(), metric["type"].clone())]);
    for (_, source) in SOURCES {
        let Some(details) = metric.get(source) else {
            continue;
        };
        let mut flat = Map::new();
        let mut copy = |from: Option<&Value>, to: String| {
            flat.extend(from.map(|value| (to, value.clone())));
        };
        copy(details.get("name"), "name".to_owned());
        copy(details.get("container"), "container".to_owned());
        copy(details.get("describedObject"), "target".to_owned());
        copy(details.pointer("/metric/name"), "metricName".to_owned());
        copy(
            details.pointer("/metric/selector"),
            selector_name(source).to_owned(),
        );
        for value in VALUES {
            copy(
                details.get(side.values).and_then(|values| values.get(value)),
                v1_name(source, value, side),
            );
        }
        if let Some(value) = always_there(source, side) {
            flat.entry(v1_name(source, value, side)).or_insert("0".into());
        }
        out.insert(source.to_owned(), Value::Object(flat));
    }
    Value::Object(out)
}

/// A metric from an annotation, or nothing where it is not one.
fn metric_to_v2(metric: &Value, side: Side) -> Option<Value> {
    let kind = metric.get("type")?.as_str()?;
    let (_, source) = SOURCES.into_iter().find(|(name, _)| *name == kind)?;
    let flat = metric.get(source)?.as_object()?;
    let mut values = Map::new();
    for value in VALUES {
        values.extend(
            flat.get(&v1_name(source, value, side))
                .map(|found| (value.to_owned(), found.clone())),
        );
    }
    // Of an object's two values v1 always has one, even when only the average is meant.
    if side.typed && source == "object" && values.contains_key("averageValue") {
        values.remove("value");
    }
    if side.typed {
        let meant = VALUES.into_iter().find(|value| values.contains_key(*value))?;
        let meant = if meant == "averageUtilization" {
            "Utilization".to_owned()
        } else {
            upper_first(meant)
        };
        values.insert("type".to_owned(), meant.into());
    }
    let mut details = Map::from_iter([(side.values.to_owned(), Value::Object(values))]);
    for (from, to) in [
        ("name", "name"),
        ("container", "container"),
        ("target", "describedObject"),
    ] {
        details.extend(flat.get(from).map(|value| (to.to_owned(), value.clone())));
    }
    if let Some(name) = flat.get("metricName") {
        let mut identifier = Map::from_iter([("name".to_owned(), name.clone())]);
        identifier.extend(
            flat.get(selector_name(source))
                .map(|value| ("selector".to_owned(), value.clone())),
        );
        details.insert("metric".to_owned(), Value::Object(identifier));
    }
    Some(json!({"type": kind, source: details}))
}

/// The same value with other keys in all its objects; `null` is left out.
fn with_keys(value: Value, rename: &impl Fn(&str) -> String) -> Value {
    match value {
        Value::Object(map) => {
            let entries = map.into_iter().filter(|(_, value)| !value.is_null());
            Value::Object(
                entries
                    .map(|(key, value)| (rename(&key), with_keys(value, rename)))
                    .collect(),
            )
        }
        Value::Array(items) => items.into_iter().map(|item| with_keys(item, rename)).collect(),
        other => other,
    }
}

fn upper_first(text: &str) -> String {
    let mut chars = text.chars();
    chars
        .next()
        .map(|first| first.to_ascii_uppercase())
        .into_iter()
        .chain(chars)
        .collect()
}

fn lower_first(text: &str) -> String {
    let mut chars = text.chars();
    chars
        .next()
        .map(|first| first.to_ascii_lowercase())
        .into_iter()
        .chain(chars)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_v1_has_no_fields_for_is_written_as_go_writes_it() {
        let metric =
            json!({"type": "Resource", "resource": {"name": "cpu", "current": {"averageUtilization": 40}}});
        let object = json!({"type": "Object", "object": {"metric": {"name": "m", "selector": {"matchLabels": {"b": "1", "a": "2"}}},
            "describedObject": {"apiVersion": "v1", "kind": "Service", "name": "s"}, "current": {"averageValue": "3"}}});
        let mut scaler = json!({"status": {"currentMetrics": [metric, object],
            "conditions": [{"type": "AbleToScale", "status": "True", "reason": "r"}]}});
        v2_to_v1(&mut scaler);
        let annotations = &scaler["metadata"]["annotations"];
        assert_eq!(
            annotations[CURRENT_METRICS],
            concat!(
                r#"[{"type":"Resource","resource":{"name":"cpu","currentAverageUtilization":40,"currentAverageValue":"0"}},"#,
                r#"{"type":"Object","object":{"target":{"kind":"Service","name":"s","apiVersion":"v1"},"metricName":"m","#,
                r#""currentValue":"0","selector":{"matchLabels":{"a":"2","b":"1"}},"averageValue":"3"}}]"#
            )
        );
        assert_eq!(
            annotations[CONDITIONS],
            r#"[{"type":"AbleToScale","status":"True","reason":"r"}]"#
        );
    }
}
