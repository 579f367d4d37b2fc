//! What a new pod's status says, and of which quality its service is.

use serde_json::{Map, Value, json};

use crate::object::Fields;
use crate::quantity::Quantity;

/// The status of a pod that nobody has seen yet.
pub(super) fn new_status(pod: &mut Map<String, Value>) {
    let spec = pod.get("spec").unwrap_or(&Value::Null);
    let mut status = json!({"phase": "Pending", "qosClass": qos_class(spec)});
    if spec.count("schedulingGates") > 0 {
        status["conditions"] = json!([{
            "type": "PodScheduled", "status": "False", "reason": "SchedulingGated", "lastProbeTime": null,
            "lastTransitionTime": null, "message": "Scheduling is blocked due to non-empty scheduling gates"}]);
    }
    pod.insert("status".into(), status);
}

/// The quality of service that a pod's requests and limits of cpu and memory amount to.
pub fn qos_class(spec: &Value) -> &'static str {
    let containers = || {
        spec.items("containers")
            .iter()
            .chain(spec.items("initContainers"))
    };
    let amount = |container: &Value, kind: &str, name: &str| -> Option<Quantity> {
        container["resources"][kind]
            .text(name)
            .parse()
            .ok()
            .filter(|quantity: &Quantity| !quantity.is_zero())
    };
    let pod_level = ["requests", "limits"]
        .iter()
        .any(|kind| spec["resources"].has(kind));
    let judged: Vec<&Value> = if pod_level {
        vec![spec]
    } else {
        containers().collect()
    };
    let mut guaranteed = true;
    let mut any = false;
    for container in judged {
        for name in ["cpu", "memory"] {
            let (request, limit) = (
                amount(container, "requests", name),
                amount(container, "limits", name),
            );
            any |= request.is_some() || limit.is_some();
            guaranteed &= limit.is_some() && (request.is_none() || request == limit);
        }
    }
    match (any, guaranteed) {
        (false, _) => "BestEffort",
        (true, true) => "Guaranteed",
        (true, false) => "Burstable",
    }
}
