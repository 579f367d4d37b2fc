//! Who may do what, and how things are done: roles, classes, webhooks, flow control, drivers.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::show::{NONE, UNSET, age, duration, entries, flag, items, number, or, text};

fn name(object: &Value) -> Value {
    json!(text(object, "/metadata/name"))
}

/// Name, one text, age.
pub(super) fn with_text(object: &Value, pointer: &str, now: Timestamp) -> Vec<Value> {
    vec![name(object), json!(text(object, pointer)), age(object, now)]
}

/// Name, how many items a list has, age.
pub(super) fn with_count(object: &Value, pointer: &str, now: Timestamp) -> Vec<Value> {
    vec![
        name(object),
        json!(items(object, pointer).len()),
        age(object, now),
    ]
}

pub(super) fn role_binding(object: &Value, now: Timestamp) -> Vec<Value> {
    let role = format!(
        "{}/{}",
        text(object, "/roleRef/kind"),
        text(object, "/roleRef/name")
    );
    let subjects = |kind: &str| {
        let of_kind = items(object, "/subjects")
            .iter()
            .filter(|subject| text(subject, "/kind") == kind);
        let names = of_kind.map(|subject| match kind {
            "ServiceAccount" => format!("{}/{}", text(subject, "/namespace"), text(subject, "/name")),
            _ => text(subject, "/name").to_owned(),
        });
        json!(names.collect::<Vec<_>>().join(", "))
    };
    vec![
        name(object),
        json!(role),
        age(object, now),
        subjects("User"),
        subjects("Group"),
        subjects("ServiceAccount"),
    ]
}

pub(super) fn signing_request(object: &Value, now: Timestamp) -> Vec<Value> {
    let mut state = Vec::new();
    let conditions = items(object, "/status/conditions");
    let has = |kind: &str| {
        conditions
            .iter()
            .any(|condition| text(condition, "/type") == kind)
    };
    match (has("Denied"), has("Approved")) {
        (true, _) => state.push("Denied"),
        (false, true) => state.push("Approved"),
        (false, false) => state.push("Pending"),
    }
    if has("Failed") {
        state.push("Failed");
    }
    if !text(object, "/status/certificate").is_empty() {
        state.push("Issued");
    }
    let asked = object.pointer("/spec/expirationSeconds").and_then(Value::as_i64);
    vec![
        name(object),
        age(object, now),
        json!(or(text(object, "/spec/signerName"), NONE)),
        json!(text(object, "/spec/username")),
        json!(asked.map_or_else(|| NONE.to_owned(), duration)),
        json!(state.join(",")),
    ]
}

pub(super) fn storage_class(object: &Value, now: Timestamp) -> Vec<Value> {
    let annotations = object.pointer("/metadata/annotations");
    let is_default = [
        "storageclass.kubernetes.io/is-default-class",
        "storageclass.beta.kubernetes.io/is-default-class",
    ]
    .iter()
    .any(|key| {
        annotations
            .and_then(|annotations| annotations.get(*key))
            .and_then(Value::as_str)
            == Some("true")
    });
    let shown = text(object, "/metadata/name");
    let shown = if is_default {
        format!("{shown} (default)")
    } else {
        shown.to_owned()
    };
    vec![
        json!(shown),
        json!(text(object, "/provisioner")),
        json!(or(text(object, "/reclaimPolicy"), "Delete")),
        json!(or(text(object, "/volumeBindingMode"), "Immediate")),
        json!(flag(object, "/allowVolumeExpansion")),
        age(object, now),
    ]
}

pub(super) fn volume_attachment(object: &Value, now: Timestamp) -> Vec<Value> {
    vec![
        name(object),
        json!(text(object, "/spec/attacher")),
        json!(text(object, "/spec/source/persistentVolumeName")),
        json!(text(object, "/spec/nodeName")),
        json!(flag(object, "/status/attached")),
        age(object, now),
    ]
}

pub(super) fn storage_driver(object: &Value, now: Timestamp) -> Vec<Value> {
    let tokens = items(object, "/spec/tokenRequests")
        .iter()
        .map(|request| text(request, "/audience"));
    let tokens = tokens.collect::<Vec<_>>().join(",");
    let modes = items(object, "/spec/volumeLifecycleModes")
        .iter()
        .filter_map(Value::as_str);
    let modes = modes.collect::<Vec<_>>().join(",");
    let attach = object
        .pointer("/spec/attachRequired")
        .and_then(Value::as_bool)
        .unwrap_or(true);
    vec![
        name(object),
        json!(attach),
        json!(flag(object, "/spec/podInfoOnMount")),
        json!(flag(object, "/spec/storageCapacity")),
        json!(or(&tokens, UNSET)),
        json!(flag(object, "/spec/requiresRepublish")),
        json!(or(&modes, NONE)),
        age(object, now),
    ]
}

pub(super) fn priority_class(object: &Value, now: Timestamp) -> Vec<Value> {
    vec![
        name(object),
        json!(number(object, "/value")),
        json!(flag(object, "/globalDefault")),
        age(object, now),
        json!(text(object, "/preemptionPolicy")),
    ]
}

/// Admission policies: `list` is where their validations or mutations stand.
pub(super) fn admission_policy(object: &Value, list: &str, now: Timestamp) -> Vec<Value> {
    let parameters = match object.pointer("/spec/paramKind") {
        Some(kind) => format!("{}/{}", text(kind, "/apiVersion"), text(kind, "/kind")),
        None => UNSET.to_owned(),
    };
    vec![
        name(object),
        json!(items(object, list).len()),
        json!(parameters),
        age(object, now),
    ]
}

pub(super) fn admission_policy_binding(object: &Value, now: Timestamp) -> Vec<Value> {
    let parameters = match object.pointer("/spec/paramRef") {
        None => UNSET.to_owned(),
        Some(reference) => match (text(reference, "/namespace"), text(reference, "/name")) {
            (_, "") => reference
                .get("selector")
                .map_or_else(|| UNSET.to_owned(), go_selector),
            ("", name) => format!("*/{name}"),
            (namespace, name) => format!("{namespace}/{name}"),
        },
    };
    vec![
        name(object),
        json!(text(object, "/spec/policyName")),
        json!(parameters),
        age(object, now),
    ]
}

/// A label selector as Go writes its struct.
fn go_selector(selector: &Value) -> String {
    let labels = entries(selector, "/matchLabels").into_iter().flatten();
    let labels: String = labels
        .map(|(key, value)| format!("{key}: {},", value.as_str().unwrap_or_default()))
        .collect();
    let terms = items(selector, "/matchExpressions").iter().map(|term| {
        let values: Vec<&str> = items(term, "/values").iter().filter_map(Value::as_str).collect();
        format!(
            "LabelSelectorRequirement{{Key:{},Operator:{},Values:[{}],}},",
            text(term, "/key"),
            text(term, "/operator"),
            values.join(" ")
        )
    });
    let terms: String = terms.collect();
    format!(
        "&LabelSelector{{MatchLabels:map[string]string{{{labels}}},MatchExpressions:[]LabelSelectorRequirement{{{terms}}},}}"
    )
}

/// In which order FlowSchemas are shown: as they are asked.
pub(super) fn precedence(schema: &Value) -> (i64, &str) {
    (
        number(schema, "/spec/matchingPrecedence"),
        text(schema, "/metadata/name"),
    )
}

pub(super) fn flow_schema(object: &Value, now: Timestamp) -> Vec<Value> {
    let dangling = items(object, "/status/conditions")
        .iter()
        .find(|c| text(c, "/type") == "Dangling");
    vec![
        name(object),
        json!(text(object, "/spec/priorityLevelConfiguration/name")),
        json!(number(object, "/spec/matchingPrecedence")),
        json!(or(text(object, "/spec/distinguisherMethod/type"), NONE)),
        age(object, now),
        json!(dangling.map_or("?", |condition| text(condition, "/status"))),
    ]
}

pub(super) fn priority_level(object: &Value, now: Timestamp) -> Vec<Value> {
    let count = |pointer: &str| object.pointer(pointer).cloned().unwrap_or_else(|| json!(NONE));
    let queuing = |field: &str| count(&format!("/spec/limited/limitResponse/queuing/{field}"));
    vec![
        name(object),
        json!(text(object, "/spec/type")),
        count("/spec/limited/nominalConcurrencyShares"),
        queuing("queues"),
        queuing("handSize"),
        queuing("queueLengthLimit"),
        age(object, now),
    ]
}

pub(super) fn api_service(object: &Value, now: Timestamp) -> Vec<Value> {
    let service = match object.pointer("/spec/service") {
        None => "Local".to_owned(),
        Some(service) => format!("{}/{}", text(service, "/namespace"), text(service, "/name")),
    };
    let available = items(object, "/status/conditions")
        .iter()
        .find(|c| text(c, "/type") == "Available");
    let available = match available {
        None => "Unknown".to_owned(),
        Some(condition) if text(condition, "/status") == "True" => "True".to_owned(),
        Some(condition) => format!("{} ({})", text(condition, "/status"), text(condition, "/reason")),
    };
    vec![name(object), json!(service), json!(available), age(object, now)]
}

pub(super) fn resource_claim(object: &Value, now: Timestamp) -> Vec<Value> {
    let mut states = Vec::new();
    if object
        .pointer("/metadata/deletionTimestamp")
        .is_some_and(|time| !time.is_null())
    {
        states.push("deleted");
    }
    match (
        object.pointer("/status/allocation").is_some(),
        items(object, "/status/reservedFor").is_empty(),
    ) {
        (false, _) if states.is_empty() => states.push("pending"),
        (false, _) => {}
        (true, empty) => {
            states.push("allocated");
            if !empty {
                states.push("reserved");
            }
        }
    }
    vec![name(object), json!(states.join(",")), age(object, now)]
}

pub(super) fn resource_slice(object: &Value, now: Timestamp) -> Vec<Value> {
    let node = match (text(object, "/spec/nodeName"), flag(object, "/spec/allNodes")) {
        ("", true) => "<all>",
        ("", false) if entries(object, "/spec/nodeSelector").is_some() => "<some>",
        ("", false) => UNSET,
        (node, _) => node,
    };
    vec![
        name(object),
        json!(node),
        json!(text(object, "/spec/driver")),
        json!(text(object, "/spec/pool/name")),
        age(object, now),
    ]
}
