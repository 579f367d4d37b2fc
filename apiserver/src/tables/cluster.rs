//! Nodes, namespaces, volumes, configuration, events: what is not a workload and not a network.

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::show::{NONE, UNSET, access_modes, age, entries, flag, items, number, or, since, text};

fn name(object: &Value) -> Value {
    json!(text(object, "/metadata/name"))
}

fn size(object: &Value, pointer: &str) -> usize {
    entries(object, pointer).map_or(0, Map::len)
}

fn is_deleting(object: &Value) -> bool {
    object
        .pointer("/metadata/deletionTimestamp")
        .is_some_and(|time| !time.is_null())
}

pub(super) fn config_map(object: &Value, now: Timestamp) -> Vec<Value> {
    vec![
        name(object),
        json!(size(object, "/data") + size(object, "/binaryData")),
        age(object, now),
    ]
}

pub(super) fn secret(object: &Value, now: Timestamp) -> Vec<Value> {
    vec![
        name(object),
        json!(text(object, "/type")),
        json!(size(object, "/data")),
        age(object, now),
    ]
}

pub(super) fn namespace(object: &Value, now: Timestamp) -> Vec<Value> {
    vec![
        name(object),
        json!(text(object, "/status/phase")),
        age(object, now),
    ]
}

pub(super) fn node(object: &Value, now: Timestamp) -> Vec<Value> {
    let conditions = items(object, "/status/conditions");
    let ready = conditions
        .iter()
        .find(|condition| text(condition, "/type") == "Ready");
    let mut status = match ready.map(|condition| text(condition, "/status")) {
        Some("True") => "Ready",
        Some(_) => "NotReady",
        None => "Unknown",
    }
    .to_owned();
    if flag(object, "/spec/unschedulable") {
        status.push_str(",SchedulingDisabled");
    }
    let address = |kind: &str| {
        let addresses = items(object, "/status/addresses").iter();
        let found = addresses
            .filter(|a| text(a, "/type") == kind)
            .map(|a| text(a, "/address"))
            .next();
        json!(or(found.unwrap_or_default(), NONE))
    };
    let info = |field: &str| {
        json!(or(
            text(object, &format!("/status/nodeInfo/{field}")),
            "<unknown>"
        ))
    };
    vec![
        name(object),
        json!(status),
        json!(roles(object)),
        age(object, now),
        json!(text(object, "/status/nodeInfo/kubeletVersion")),
        address("InternalIP"),
        address("ExternalIP"),
        info("osImage"),
        info("kernelVersion"),
        info("containerRuntimeVersion"),
    ]
}

fn roles(node: &Value) -> String {
    let labels = entries(node, "/metadata/labels");
    let mut roles: Vec<&str> = labels
        .into_iter()
        .flatten()
        .filter_map(
            |(label, value)| match label.strip_prefix("node-role.kubernetes.io/") {
                Some(role) => Some(role),
                None if label == "kubernetes.io/role" => value.as_str(),
                None => None,
            },
        )
        .filter(|role| !role.is_empty())
        .collect();
    roles.sort_unstable();
    roles.dedup();
    or(&roles.join(","), NONE).to_owned()
}

pub(super) fn volume(object: &Value, now: Timestamp) -> Vec<Value> {
    let claim = match text(object, "/spec/claimRef/name") {
        "" => String::new(),
        claim => format!("{}/{claim}", text(object, "/spec/claimRef/namespace")),
    };
    vec![
        name(object),
        json!(text(object, "/spec/capacity/storage")),
        json!(access_modes(items(object, "/spec/accessModes"))),
        json!(text(object, "/spec/persistentVolumeReclaimPolicy")),
        json!(if is_deleting(object) {
            "Terminating"
        } else {
            text(object, "/status/phase")
        }),
        json!(claim),
        json!(storage_class(object)),
        json!(or(text(object, "/spec/volumeAttributesClassName"), UNSET)),
        json!(text(object, "/status/reason")),
        age(object, now),
        json!(or(text(object, "/spec/volumeMode"), UNSET)),
    ]
}

pub(super) fn volume_claim(object: &Value, now: Timestamp) -> Vec<Value> {
    let bound = !text(object, "/spec/volumeName").is_empty();
    let modes = if bound {
        access_modes(items(object, "/status/accessModes"))
    } else {
        String::new()
    };
    let capacity = if bound {
        text(object, "/status/capacity/storage")
    } else {
        ""
    };
    vec![
        name(object),
        json!(if is_deleting(object) {
            "Terminating"
        } else {
            text(object, "/status/phase")
        }),
        json!(text(object, "/spec/volumeName")),
        json!(capacity),
        json!(modes),
        json!(storage_class(object)),
        json!(or(text(object, "/spec/volumeAttributesClassName"), UNSET)),
        age(object, now),
        json!(or(text(object, "/spec/volumeMode"), UNSET)),
    ]
}

fn storage_class(object: &Value) -> &str {
    let annotated = object.pointer("/metadata/annotations");
    let annotated =
        annotated.and_then(|annotations| annotations.get("volume.beta.kubernetes.io/storage-class"));
    annotated
        .and_then(Value::as_str)
        .unwrap_or_else(|| text(object, "/spec/storageClassName"))
}

pub(super) fn quota(object: &Value, now: Timestamp) -> Vec<Value> {
    let (mut requests, mut limits) = (Vec::new(), Vec::new());
    for (resource, hard) in entries(object, "/status/hard").into_iter().flatten() {
        let used = object
            .pointer("/status/used")
            .and_then(|used| used.get(resource))
            .and_then(Value::as_str);
        let shown = format!(
            "{resource}: {}/{}",
            used.unwrap_or("0"),
            hard.as_str().unwrap_or_default()
        );
        if resource.starts_with("limits") {
            limits.push(shown)
        } else {
            requests.push(shown)
        }
    }
    vec![
        name(object),
        json!(requests.join(", ")),
        json!(limits.join(", ")),
        age(object, now),
    ]
}

/// An event of core or of `events.k8s.io`: both are stored alike.
pub(super) fn event(object: &Value, now: Timestamp) -> Vec<Value> {
    let first = or(text(object, "/firstTimestamp"), text(object, "/eventTime"));
    let last = or(
        text(object, "/series/lastObservedTime"),
        or(text(object, "/lastTimestamp"), first),
    );
    let count = match (number(object, "/series/count"), number(object, "/count")) {
        (0, 0) => 1,
        (0, count) | (count, _) => count,
    };
    let kind = text(object, "/involvedObject/kind").to_lowercase();
    let target = text(object, "/involvedObject/name");
    let component = or(
        text(object, "/source/component"),
        text(object, "/reportingComponent"),
    );
    let source: Vec<&str> = [component, text(object, "/source/host")]
        .into_iter()
        .filter(|s| !s.is_empty())
        .collect();
    vec![
        json!(since(last, now)),
        json!(text(object, "/type")),
        json!(text(object, "/reason")),
        json!(if target.is_empty() {
            kind
        } else {
            format!("{kind}/{target}")
        }),
        json!(text(object, "/involvedObject/fieldPath")),
        json!(source.join(", ")),
        json!(text(object, "/message").trim()),
        json!(since(first, now)),
        json!(count),
        name(object),
    ]
}

pub(super) fn component_status(object: &Value, _now: Timestamp) -> Vec<Value> {
    let healthy = items(object, "/conditions")
        .iter()
        .find(|condition| text(condition, "/type") == "Healthy");
    let (status, message, error) = match healthy {
        Some(condition) => {
            let status = match text(condition, "/status") {
                "True" => "Healthy",
                "False" => "Unhealthy",
                _ => "Unknown",
            };
            (status, text(condition, "/message"), text(condition, "/error"))
        }
        None => ("Unknown", "", ""),
    };
    vec![name(object), json!(status), json!(message), json!(error)]
}

pub(super) fn lease(object: &Value, now: Timestamp) -> Vec<Value> {
    vec![
        name(object),
        json!(text(object, "/spec/holderIdentity")),
        age(object, now),
    ]
}
