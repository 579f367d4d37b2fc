//! Pods stay five minutes on a node that is lost, unless they say otherwise; new nodes begin as not ready.

use coracle_api::status::ApiError;
use serde_json::{Value, json};

use super::{Attributes, Operation};
use crate::reader::ObjectReader;

const NOT_READY: &str = "node.kubernetes.io/not-ready";
const UNREACHABLE: &str = "node.kubernetes.io/unreachable";
const SECONDS: i64 = 300;

/// `DefaultTolerationSeconds`: on create and on update of a pod.
pub(super) fn default_seconds(
    attributes: &Attributes<'_>,
    object: &mut Value,
    _old: Option<&Value>,
    _reader: &dyn ObjectReader,
) -> Result<(), ApiError> {
    if !attributes.is("", "pods") {
        return Ok(());
    }
    let Some(spec) = object.get_mut("spec").and_then(Value::as_object_mut) else {
        return Ok(());
    };
    let tolerations = spec.entry("tolerations").or_insert_with(|| json!([]));
    if tolerations.is_null() {
        *tolerations = json!([]);
    }
    let Some(tolerations) = tolerations.as_array_mut() else {
        return Ok(());
    };
    for key in [NOT_READY, UNREACHABLE] {
        if !tolerations
            .iter()
            .any(|toleration| tolerates_loss(toleration, key))
        {
            tolerations.push(json!({
                "key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": SECONDS,
            }));
        }
    }
    Ok(())
}

/// `TaintNodesByCondition`: no pod lands on a node before it has been looked at.
pub(super) fn taint_new_nodes(
    attributes: &Attributes<'_>,
    object: &mut Value,
    _old: Option<&Value>,
    _reader: &dyn ObjectReader,
) -> Result<(), ApiError> {
    if !attributes.is("", "nodes") || attributes.operation != Operation::Create {
        return Ok(());
    }
    let Some(node) = object.as_object_mut() else {
        return Ok(());
    };
    let spec = node.entry("spec").or_insert_with(|| json!({}));
    let Some(spec) = spec.as_object_mut() else {
        return Ok(());
    };
    let taints = spec.entry("taints").or_insert_with(|| json!([]));
    let Some(taints) = taints.as_array_mut() else {
        return Ok(());
    };
    let tainted = taints
        .iter()
        .any(|taint| field(taint, "key") == NOT_READY && field(taint, "effect") == "NoSchedule");
    if !tainted {
        taints.push(json!({"key": NOT_READY, "effect": "NoSchedule"}));
    }
    Ok(())
}

fn tolerates_loss(toleration: &Value, key: &str) -> bool {
    let of_key = field(toleration, "key") == key || field(toleration, "key").is_empty();
    let of_effect = matches!(field(toleration, "effect"), "NoExecute" | "");
    of_key && of_effect
}

fn field<'a>(object: &'a Value, name: &str) -> &'a str {
    object.get(name).and_then(Value::as_str).unwrap_or_default()
}
