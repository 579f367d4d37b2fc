//! What runs pods: deployments and their like, jobs, autoscalers, budgets.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::show::{
    NONE, UNSET, age, containers, duration, entries, flag, items, labels, number, or, selector, since, text,
};

const TEMPLATE: &str = "/spec/template/spec/containers";

fn name(object: &Value) -> Value {
    json!(text(object, "/metadata/name"))
}

pub(super) fn deployment(object: &Value, now: Timestamp) -> Vec<Value> {
    let [names, images] = containers(object, TEMPLATE);
    vec![
        name(object),
        json!(format!(
            "{}/{}",
            number(object, "/status/readyReplicas"),
            number(object, "/spec/replicas")
        )),
        json!(number(object, "/status/updatedReplicas")),
        json!(number(object, "/status/availableReplicas")),
        age(object, now),
        names,
        images,
        json!(selector(object.pointer("/spec/selector"))),
    ]
}

pub(super) fn replica_set(object: &Value, now: Timestamp) -> Vec<Value> {
    let [names, images] = containers(object, TEMPLATE);
    vec![
        name(object),
        json!(number(object, "/spec/replicas")),
        json!(number(object, "/status/replicas")),
        json!(number(object, "/status/readyReplicas")),
        age(object, now),
        names,
        images,
        json!(selector(object.pointer("/spec/selector"))),
    ]
}

pub(super) fn replication_controller(object: &Value, now: Timestamp) -> Vec<Value> {
    let mut cells = replica_set(object, now);
    cells.pop();
    cells.push(json!(labels(entries(object, "/spec/selector"))));
    cells
}

pub(super) fn stateful_set(object: &Value, now: Timestamp) -> Vec<Value> {
    let [names, images] = containers(object, TEMPLATE);
    let ready = format!(
        "{}/{}",
        number(object, "/status/readyReplicas"),
        number(object, "/spec/replicas")
    );
    vec![name(object), json!(ready), age(object, now), names, images]
}

pub(super) fn daemon_set(object: &Value, now: Timestamp) -> Vec<Value> {
    let [names, images] = containers(object, TEMPLATE);
    let counts = [
        "desiredNumberScheduled",
        "currentNumberScheduled",
        "numberReady",
        "updatedNumberScheduled",
        "numberAvailable",
    ];
    let mut cells = vec![name(object)];
    cells.extend(counts.map(|field| json!(number(object, &format!("/status/{field}")))));
    cells.extend([
        json!(labels(entries(object, "/spec/template/spec/nodeSelector"))),
        age(object, now),
        names,
        images,
        json!(selector(object.pointer("/spec/selector"))),
    ]);
    cells
}

pub(super) fn controller_revision(object: &Value, now: Timestamp) -> Vec<Value> {
    let owner = items(object, "/metadata/ownerReferences")
        .iter()
        .find(|owner| flag(owner, "/controller"));
    let controller = owner.map_or_else(
        || NONE.to_owned(),
        |owner| {
            let group = text(owner, "/apiVersion")
                .split_once('/')
                .map_or("", |(group, _)| group);
            let kind = text(owner, "/kind").to_lowercase();
            let kind = if group.is_empty() {
                kind
            } else {
                format!("{kind}.{group}")
            };
            format!("{kind}/{}", text(owner, "/name"))
        },
    );
    vec![
        name(object),
        json!(controller),
        json!(number(object, "/revision")),
        age(object, now),
    ]
}

pub(super) fn job(object: &Value, now: Timestamp) -> Vec<Value> {
    let [names, images] = containers(object, TEMPLATE);
    let succeeded = number(object, "/status/succeeded");
    let completions = match (
        object.pointer("/spec/completions"),
        number(object, "/spec/parallelism"),
    ) {
        (Some(wanted), _) => format!("{succeeded}/{wanted}"),
        (None, parallel) if parallel > 1 => format!("{succeeded}/1 of {parallel}"),
        (None, _) => format!("{succeeded}/1"),
    };
    vec![
        name(object),
        json!(job_status(object)),
        json!(completions),
        json!(job_duration(object, now)),
        age(object, now),
        names,
        images,
        json!(selector(object.pointer("/spec/selector"))),
    ]
}

fn job_status(job: &Value) -> &'static str {
    let has = |kind: &str| {
        let mut conditions = items(job, "/status/conditions").iter();
        conditions.any(|condition| text(condition, "/type") == kind && text(condition, "/status") == "True")
    };
    let deleting = job
        .pointer("/metadata/deletionTimestamp")
        .is_some_and(|time| !time.is_null());
    match () {
        () if has("Complete") => "Complete",
        () if has("Failed") => "Failed",
        () if deleting => "Terminating",
        () if has("Suspended") => "Suspended",
        () if has("FailureTarget") => "FailureTarget",
        () if has("SuccessCriteriaMet") => "SuccessCriteriaMet",
        () => "Running",
    }
}

fn job_duration(job: &Value, now: Timestamp) -> String {
    let time = |pointer: &str| text(job, pointer).parse::<Timestamp>().ok();
    let Some(start) = time("/status/startTime") else {
        return String::new();
    };
    let end = time("/status/completionTime").unwrap_or(now);
    duration(end.duration_since(start).as_secs())
}

pub(super) fn cron_job(object: &Value, now: Timestamp) -> Vec<Value> {
    let [names, images] = containers(object, "/spec/jobTemplate/spec/template/spec/containers");
    let last = text(object, "/status/lastScheduleTime");
    let suspend = match object.pointer("/spec/suspend").and_then(Value::as_bool) {
        Some(true) => "True",
        Some(false) => "False",
        None => UNSET,
    };
    vec![
        name(object),
        json!(text(object, "/spec/schedule")),
        json!(or(text(object, "/spec/timeZone"), NONE)),
        json!(suspend),
        json!(items(object, "/status/active").len()),
        json!(if last.is_empty() {
            NONE.to_owned()
        } else {
            since(last, now)
        }),
        age(object, now),
        names,
        images,
        json!(selector(object.pointer("/spec/jobTemplate/spec/selector"))),
    ]
}

pub(super) fn pod_template(object: &Value, _now: Timestamp) -> Vec<Value> {
    let [names, images] = containers(object, "/template/spec/containers");
    vec![
        name(object),
        names,
        images,
        json!(labels(entries(object, "/template/metadata/labels"))),
    ]
}

pub(super) fn disruption_budget(object: &Value, now: Timestamp) -> Vec<Value> {
    let bound = |pointer: &str| match object.pointer(pointer) {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Number(number)) => number.to_string(),
        _ => "N/A".to_owned(),
    };
    vec![
        name(object),
        json!(bound("/spec/minAvailable")),
        json!(bound("/spec/maxUnavailable")),
        json!(number(object, "/status/disruptionsAllowed")),
        age(object, now),
    ]
}

/// Horizontal pod autoscalers, as autoscaling/v2 has them.
pub(super) fn autoscaler(object: &Value, now: Timestamp) -> Vec<Value> {
    let reference = format!(
        "{}/{}",
        text(object, "/spec/scaleTargetRef/kind"),
        text(object, "/spec/scaleTargetRef/name")
    );
    let minimum = object
        .pointer("/spec/minReplicas")
        .map_or_else(|| UNSET.to_owned(), Value::to_string);
    vec![
        name(object),
        json!(reference),
        json!(metrics(
            items(object, "/spec/metrics"),
            items(object, "/status/currentMetrics")
        )),
        json!(minimum),
        json!(number(object, "/spec/maxReplicas")),
        json!(number(object, "/status/currentReplicas")),
        age(object, now),
    ]
}

fn metrics(wanted: &[Value], current: &[Value]) -> String {
    if wanted.is_empty() {
        return NONE.to_owned();
    }
    let shown: Vec<String> = wanted
        .iter()
        .enumerate()
        .take(2)
        .map(|(at, metric)| shown_metric(metric, current.get(at)))
        .collect();
    match wanted.len() {
        0..=2 => shown.join(", "),
        count => format!("{} + {} more...", shown.join(", "), count - 2),
    }
}

fn shown_metric(metric: &Value, current: Option<&Value>) -> String {
    let source = match text(metric, "/type") {
        "Resource" => "resource",
        "ContainerResource" => "containerResource",
        "Pods" => "pods",
        "Object" => "object",
        "External" => "external",
        _ => return "<unknown type>".to_owned(),
    };
    let of = |object: Option<&Value>, part: &str, field: &str| {
        let value = object.and_then(|object| object.pointer(&format!("/{source}/{part}/{field}")))?;
        Some(value.as_str().map_or_else(|| value.to_string(), str::to_owned))
    };
    let unknown = || "<unknown>".to_owned();
    let label = match text(metric, &format!("/{source}/name")) {
        "" => String::new(),
        resource => format!("{resource}: "),
    };
    if let Some(target) = of(Some(metric), "target", "averageUtilization") {
        let now =
            of(current, "current", "averageUtilization").map_or_else(unknown, |value| format!("{value}%"));
        return format!("{label}{now}/{target}%");
    }
    if let Some(target) = of(Some(metric), "target", "averageValue") {
        let now = of(current, "current", "averageValue").unwrap_or_else(unknown);
        let average = if matches!(source, "object" | "external") {
            " (avg)"
        } else {
            ""
        };
        return format!("{label}{now}/{target}{average}");
    }
    let target = of(Some(metric), "target", "value").unwrap_or_else(|| "<auto>".to_owned());
    format!(
        "{label}{}/{target}",
        of(current, "current", "value").unwrap_or_else(unknown)
    )
}
