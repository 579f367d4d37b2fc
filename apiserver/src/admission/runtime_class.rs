//! `RuntimeClass`: a pod that asks for a class takes over what the class says of overhead and of where its pods run, and is
//! refused when there is no such class or the two contradict each other.

use std::sync::Arc;

use coracle_api::quote::quote;
use coracle_api::status::ApiError;
use serde_json::{Map, Value};

use super::{Attributes, Operation};
use crate::reader::{GroupResource, ObjectReader};

const OTHER_OVERHEAD: &str = "pod rejected: Pod's Overhead doesn't match RuntimeClass's defined Overhead";
const NO_OVERHEAD: &str =
    "pod rejected: Pod Overhead set without corresponding RuntimeClass defined Overhead";

pub(super) fn admit(
    attributes: &Attributes<'_>,
    object: &mut Value,
    _old: Option<&Value>,
    reader: &dyn ObjectReader,
) -> Result<(), ApiError> {
    let Some(class) = class_of(attributes, object, reader)? else {
        return Ok(());
    };
    let Some(spec) = object.get_mut("spec").and_then(Value::as_object_mut) else {
        return Ok(());
    };
    if let Some(overhead) = class.pointer("/overhead/podFixed") {
        if !is_empty(spec.get("overhead")) && spec.get("overhead") != Some(overhead) {
            return Err(attributes.forbidden(OTHER_OVERHEAD));
        }
        spec.insert("overhead".to_owned(), overhead.clone());
    }
    if let Some(selector) = class
        .pointer("/scheduling/nodeSelector")
        .and_then(Value::as_object)
    {
        select_nodes(attributes, spec, selector)?;
    }
    if let Some(tolerations) = class.pointer("/scheduling/tolerations").and_then(Value::as_array) {
        let own = spec.get("tolerations").and_then(Value::as_array);
        let all: Vec<_> = own.into_iter().flatten().chain(tolerations).cloned().collect();
        spec.insert("tolerations".to_owned(), Value::from(merged(&all)));
    }
    Ok(())
}

pub(super) fn validate(
    attributes: &Attributes<'_>,
    object: Option<&Value>,
    _old: Option<&Value>,
    reader: &dyn ObjectReader,
) -> Result<(), ApiError> {
    let Some(pod) = object.filter(|_| is_new_pod(attributes)) else {
        return Ok(());
    };
    let class = class_of(attributes, pod, reader)?;
    let wanted = class
        .as_ref()
        .and_then(|class| class.pointer("/overhead/podFixed"));
    let found = pod.pointer("/spec/overhead");
    match wanted {
        Some(wanted) if found != Some(wanted) => Err(attributes.forbidden(OTHER_OVERHEAD)),
        None if !is_empty(found) => Err(attributes.forbidden(NO_OVERHEAD)),
        _ => Ok(()),
    }
}

fn is_new_pod(attributes: &Attributes<'_>) -> bool {
    attributes.is("", "pods") && attributes.operation == Operation::Create
}

/// The class that a new pod asks for.
fn class_of(
    attributes: &Attributes<'_>,
    pod: &Value,
    reader: &dyn ObjectReader,
) -> Result<Option<Arc<Value>>, ApiError> {
    let name = pod.pointer("/spec/runtimeClassName").and_then(Value::as_str);
    let Some(name) = name.filter(|_| is_new_pod(attributes)) else {
        return Ok(None);
    };
    let classes = GroupResource::new("node.k8s.io", "runtimeclasses");
    let class = reader.get(&classes, "", name);
    let missing = || attributes.forbidden(&format!("pod rejected: RuntimeClass {} not found", quote(name)));
    class.ok_or_else(missing).map(Some)
}

fn is_empty(map: Option<&Value>) -> bool {
    map.and_then(Value::as_object).is_none_or(Map::is_empty)
}

/// Adds the class's node selector to the pod's.
fn select_nodes(
    attributes: &Attributes<'_>,
    spec: &mut Map<String, Value>,
    selector: &Map<String, Value>,
) -> Result<(), ApiError> {
    let mut own = spec
        .get("nodeSelector")
        .and_then(Value::as_object)
        .cloned()
        .unwrap_or_default();
    for (key, value) in selector {
        let before = own.insert(key.clone(), value.clone());
        if let Some(before) = before.filter(|before| before != value) {
            let shown = |value: &Value| value.as_str().unwrap_or_default().to_owned();
            return Err(attributes.forbidden(&format!(
                "conflict: runtimeClass.scheduling.nodeSelector[{key}] = {}; pod.spec.nodeSelector[{key}] = {}",
                shown(value),
                shown(&before)
            )));
        }
    }
    spec.insert("nodeSelector".to_owned(), Value::from(own));
    Ok(())
}

/// The tolerations without those that another covers; of equal ones, the first.
pub(super) fn merged(all: &[Value]) -> Vec<Value> {
    let mut merged: Vec<Value> = Vec::new();
    for (index, toleration) in all.iter().enumerate() {
        let later = all[index + 1..].iter().filter(|other| *other != toleration);
        if !merged.iter().chain(later).any(|other| covers(other, toleration)) {
            merged.push(toleration.clone());
        }
    }
    merged
}

/// Whether everything that `narrow` tolerates is tolerated by `wide` (upstream's `isSuperset`).
pub(super) fn covers(wide: &Value, narrow: &Value) -> bool {
    let text = |toleration: &Value, field: &str| {
        let text = toleration.get(field).and_then(Value::as_str);
        text.unwrap_or_default().to_owned()
    };
    let exists = text(wide, "operator") == "Exists";
    let (key, effect) = (text(wide, "key"), text(wide, "effect"));
    let of_key = key == text(narrow, "key") || (key.is_empty() && exists);
    let of_effect = effect == text(narrow, "effect") || effect.is_empty();
    let seconds = |toleration: &Value| toleration.get("tolerationSeconds").and_then(Value::as_i64);
    let long_enough = match (effect.as_str(), seconds(wide)) {
        ("NoExecute", Some(wide)) => seconds(narrow).is_some_and(|narrow| narrow <= wide),
        _ => true,
    };
    let equal = matches!(text(wide, "operator").as_str(), "Equal" | "")
        && text(narrow, "operator") == "Equal"
        && text(wide, "value") == text(narrow, "value");
    wide == narrow || (of_key && of_effect && long_enough && (exists || equal))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_toleration_that_another_covers_is_left_out() {
        let key = |key: &str, more: Value| {
            let mut toleration = json!({"key": key, "operator": "Exists"});
            toleration
                .as_object_mut()
                .unwrap()
                .extend(more.as_object().unwrap().clone());
            toleration
        };
        let short = key("a", json!({"effect": "NoExecute", "tolerationSeconds": 1}));
        let long = key("a", json!({"effect": "NoExecute", "tolerationSeconds": 9}));
        let valued = json!({"key": "b", "operator": "Equal", "value": "v", "effect": "NoSchedule"});
        let other = json!({"key": "b", "operator": "Equal", "value": "w", "effect": "NoSchedule"});
        let any = json!({"operator": "Exists"});
        let table: [(&[&Value], &[&Value]); 5] = [
            (&[&short, &long], &[&long]),
            (&[&long, &short], &[&long]),
            (&[&valued, &valued], &[&valued]),
            (&[&valued, &other], &[&valued, &other]),
            (&[&short, &any, &valued], &[&any]),
        ];
        for (all, expected) in table {
            let owned = |list: &[&Value]| list.iter().map(|&value| value.clone()).collect::<Vec<_>>();
            assert_eq!(merged(&owned(all)), owned(expected), "{all:?}");
        }
    }
}
