//! Objects from one served version to another.
//!
//! Only two resources are served in more than one form: horizontal pod autoscalers as autoscaling/v1 and v2, and events as
//! core and events.k8s.io. Nothing is lost on the way there and back: what a form has no field for goes into annotations,
//! the same as upstream uses, so that objects written by either are understood by the other.

mod autoscaling;
mod events;

use serde_json::Value;

use crate::codec::conform::conform;
use crate::table::{self, Gvk};

/// There is no way from one kind to another.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("converting ({from}) to ({to}): unknown conversion")]
pub struct NoConversion {
    /// The apiVersion and kind that the object has.
    pub from: String,
    /// The apiVersion and kind that were asked for.
    pub to: String,
}

/// Turns an object of kind `from` into kind `to`. The object may be an item of a list, without `apiVersion` and `kind`;
/// where it has them, they are changed as well.
pub fn convert(mut object: Value, from: Gvk, to: Gvk) -> Result<Value, NoConversion> {
    if from == to {
        return Ok(object);
    }
    let unknown = || NoConversion {
        from: format!("{}.{}", from.api_version(), from.kind),
        to: format!("{}.{}", to.api_version(), to.kind),
    };
    let names = |gvk: Gvk| (gvk.group, gvk.version, gvk.kind);
    match (names(from), names(to)) {
        (("autoscaling", "v1", kind), ("autoscaling", "v2", other)) if is_autoscaler(kind, other) => {
            autoscaling::v1_to_v2(&mut object);
        }
        (("autoscaling", "v2", kind), ("autoscaling", "v1", other)) if is_autoscaler(kind, other) => {
            autoscaling::v2_to_v1(&mut object);
        }
        (("", "v1", "Event"), ("events.k8s.io", "v1", "Event")) => events::core_to_events(&mut object),
        (("events.k8s.io", "v1", "Event"), ("", "v1", "Event")) => events::events_to_core(&mut object),
        _ => return Err(unknown()),
    }
    if object.get("apiVersion").is_some() {
        object["apiVersion"] = to.api_version().into();
    }
    let ty = table::by_gvk(to.group, to.version, to.kind).ok_or_else(unknown)?;
    // What was converted is of the right types; this adds what the other form always writes.
    conform(&mut object, ty).map_err(|_| unknown())?;
    Ok(object)
}

fn is_autoscaler(kind: &str, other: &str) -> bool {
    kind == "HorizontalPodAutoscaler" && other == kind
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const HPA_V1: Gvk = Gvk {
        group: "autoscaling",
        version: "v1",
        kind: "HorizontalPodAutoscaler",
    };
    const HPA_V2: Gvk = Gvk {
        group: "autoscaling",
        version: "v2",
        kind: "HorizontalPodAutoscaler",
    };
    const CORE_EVENT: Gvk = Gvk {
        group: "",
        version: "v1",
        kind: "Event",
    };
    const EVENT: Gvk = Gvk {
        group: "events.k8s.io",
        version: "v1",
        kind: "Event",
    };

    fn conformed(gvk: Gvk, mut object: Value) -> Value {
        object["apiVersion"] = gvk.api_version().into();
        object["kind"] = gvk.kind.into();
        let unknown = conform(
            &mut object,
            table::by_gvk(gvk.group, gvk.version, gvk.kind).unwrap(),
        )
        .unwrap();
        assert!(unknown.is_empty(), "{unknown:?}");
        object
    }

    #[test]
    fn autoscaler_of_cpu_alone_has_no_annotations() {
        let v1 = conformed(
            HPA_V1,
            json!({
                "metadata": {"name": "a"},
                "spec": {"scaleTargetRef": {"kind": "Deployment", "name": "web"}, "maxReplicas": 3,
                    "targetCPUUtilizationPercentage": 60},
            }),
        );
        let v2 = convert(v1.clone(), HPA_V1, HPA_V2).unwrap();
        assert_eq!(
            v2["spec"]["metrics"],
            json!([{"type": "Resource", "resource":
                {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 60}}}])
        );
        assert_eq!(v2["apiVersion"], "autoscaling/v2");
        assert_eq!(convert(v2, HPA_V2, HPA_V1).unwrap(), v1);
    }

    #[test]
    fn autoscaler_keeps_in_annotations_what_v1_cannot_say() {
        let selector = json!({"matchLabels": {"a": "b"}});
        let reference = json!({"kind": "Ingress", "name": "i", "apiVersion": "networking.k8s.io/v1"});
        let v2 = conformed(
            HPA_V2,
            json!({
                "metadata": {"name": "a", "annotations": {"mine": "x"}},
                "spec": {
                    "scaleTargetRef": {"kind": "Deployment", "name": "web"}, "minReplicas": 2, "maxReplicas": 3,
                    "metrics": [
                        {"type": "Pods", "pods": {"metric": {"name": "m", "selector": selector},
                            "target": {"type": "AverageValue", "averageValue": "5"}}},
                        {"type": "Object", "object": {"describedObject": reference, "metric": {"name": "o"},
                            "target": {"type": "Value", "value": "10k"}}},
                        {"type": "External", "external": {"metric": {"name": "e", "selector": selector},
                            "target": {"type": "AverageValue", "averageValue": "30"}}},
                        {"type": "ContainerResource", "containerResource": {"name": "memory", "container": "c",
                            "target": {"type": "Utilization", "averageUtilization": 70}}},
                        {"type": "Resource", "resource": {"name": "cpu",
                            "target": {"type": "Utilization", "averageUtilization": 60}}},
                    ],
                    "behavior": {"scaleDown": {"stabilizationWindowSeconds": 0, "selectPolicy": "Max", "policies":
                        [{"type": "Pods", "value": 4, "periodSeconds": 15}], "tolerance": "50m"}},
                },
                "status": {
                    "currentReplicas": 2, "desiredReplicas": 3,
                    "currentMetrics": [
                        {"type": "Resource", "resource": {"name": "cpu",
                            "current": {"averageUtilization": 40, "averageValue": "100m"}}},
                        {"type": "Object", "object": {"describedObject": reference, "metric": {"name": "o"},
                            "current": {"value": "7"}}},
                    ],
                    "conditions": [{"type": "AbleToScale", "status": "True",
                        "lastTransitionTime": "2024-01-01T00:00:00Z", "reason": "r", "message": "m"}],
                },
            }),
        );
        let v1 = convert(v2.clone(), HPA_V2, HPA_V1).unwrap();
        assert_eq!(v1["spec"]["targetCPUUtilizationPercentage"], 60);
        assert_eq!(v1["status"]["currentCPUUtilizationPercentage"], 40);
        let annotations = v1["metadata"]["annotations"].as_object().unwrap();
        assert_eq!(annotations.len(), 5);
        let behavior = annotations["autoscaling.alpha.kubernetes.io/behavior"]
            .as_str()
            .unwrap();
        assert!(
            behavior.starts_with(r#"{"ScaleUp":null,"ScaleDown":{"StabilizationWindowSeconds":0"#)
                && behavior.contains(r#""Policies":[{"Type":"Pods","Value":4,"PeriodSeconds":15}]"#),
            "{behavior}"
        );
        let metrics = annotations["autoscaling.alpha.kubernetes.io/metrics"]
            .as_str()
            .unwrap();
        assert!(
            metrics.contains(r#""pods":{"metricName":"m","targetAverageValue":"5","selector":"#),
            "{metrics}"
        );
        assert_eq!(convert(v1, HPA_V1, HPA_V2).unwrap(), v2);
    }

    #[test]
    fn autoscaler_annotations_that_make_no_sense_are_dropped() {
        let v1 = conformed(
            HPA_V1,
            json!({
                "metadata": {"annotations": {"autoscaling.alpha.kubernetes.io/metrics": "[{\"type\": 5, \"pods\": 3}, 1]",
                    "autoscaling.alpha.kubernetes.io/behavior": "{"}},
                "spec": {"scaleTargetRef": {"kind": "Deployment", "name": "web"}, "maxReplicas": 3},
            }),
        );
        let v2 = convert(v1, HPA_V1, HPA_V2).unwrap();
        assert_eq!(v2["metadata"], json!({}));
        assert!(v2["spec"].get("metrics").is_none());
    }

    #[test]
    fn events_there_and_back() {
        let core = conformed(
            CORE_EVENT,
            json!({
                "metadata": {"name": "e"}, "involvedObject": {"kind": "Pod", "name": "p"}, "reason": "Started",
                "message": "Container started", "source": {"component": "kubelet"}, "count": 2, "type": "Normal",
                "firstTimestamp": "2024-01-01T00:00:00Z", "lastTimestamp": "2024-01-01T00:00:01Z",
                "reportingComponent": "kubelet", "reportingInstance": "node", "series":
                    {"count": 2, "lastObservedTime": "2024-01-01T00:00:00.000001Z"},
            }),
        );
        let event = convert(core.clone(), CORE_EVENT, EVENT).unwrap();
        assert_eq!(event["note"], "Container started");
        assert_eq!(event["regarding"]["name"], "p");
        assert_eq!(event["reportingController"], "kubelet");
        assert_eq!(event["deprecatedCount"], 2);
        assert_eq!(event["apiVersion"], "events.k8s.io/v1");
        assert_eq!(convert(event, EVENT, CORE_EVENT).unwrap(), core);
    }

    #[test]
    fn other_kinds_do_not_convert() {
        let error = convert(json!({}), CORE_EVENT, HPA_V1).unwrap_err();
        assert_eq!(
            error.to_string(),
            "converting (v1.Event) to (autoscaling/v1.HorizontalPodAutoscaler): unknown conversion"
        );
    }
}
