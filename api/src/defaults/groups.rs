//! Defaults of the groups with few of them.

use serde_json::{Map, Value, json};

use super::Rule;
use crate::object::{Fields, object_in, set_if_absent, set_if_empty};

const RBAC: &str = "rbac.authorization.k8s.io";

/// The rule of a type; `group` is the folder's name in k8s.io/api (`rbac`, not `rbac.authorization.k8s.io`).
pub(super) fn rule(group: &str, version: &str, kind: &str) -> Option<Rule> {
    Some(match (group, kind) {
        ("autoscaling", "HorizontalPodAutoscalerSpec") if version == "v1" => autoscaler_v1,
        ("autoscaling", "HorizontalPodAutoscalerSpec") => autoscaler,
        ("networking", "NetworkPolicyPort") => |it| set_if_absent(it, "protocol", "TCP"),
        ("networking", "NetworkPolicySpec") => network_policy,
        ("networking", "IngressClassParametersReference") => |it| set_if_absent(it, "scope", "Cluster"),
        ("discovery", "EndpointPort") => endpoint_port,
        ("rbac", "RoleBinding" | "ClusterRoleBinding") => binding,
        ("rbac", "Subject") => subject,
        ("storage", "StorageClass") => storage_class,
        ("storage", "CSIDriverSpec") => csi_driver,
        ("scheduling", "PriorityClass") => |it| set_if_absent(it, "preemptionPolicy", "PreemptLowerPriority"),
        ("admissionregistration", "ValidatingWebhook") => webhook,
        ("admissionregistration", "MutatingWebhook") => |it| {
            webhook(it);
            set_if_absent(it, "reinvocationPolicy", "Never");
        },
        ("admissionregistration", "RuleWithOperations" | "NamedRuleWithOperations") => {
            |it| set_if_absent(it, "scope", "*")
        }
        ("admissionregistration", "ServiceReference") => |it| set_if_absent(it, "port", 443),
        ("admissionregistration", "ValidatingAdmissionPolicySpec" | "MutatingAdmissionPolicySpec") => {
            |it| set_if_absent(it, "failurePolicy", "Fail")
        }
        ("admissionregistration", "MatchResources") => match_resources,
        ("flowcontrol", "FlowSchemaSpec") => |it| set_if_empty(it, "matchingPrecedence", 1000),
        ("flowcontrol", "ExemptPriorityLevelConfiguration") => |it| priority_level(it, 0),
        ("flowcontrol", "LimitedPriorityLevelConfiguration") => |it| priority_level(it, 30),
        ("flowcontrol", "QueuingConfiguration") => queuing,
        ("resource", "ExactDeviceRequest" | "DeviceSubRequest") => device_request,
        ("resource", "DeviceRequest") if version == "v1beta1" => device_request,
        ("apiextensions", "CustomResourceDefinition") => custom_resource_definition,
        ("apiextensions" | "apiregistration", "ServiceReference") => |it| set_if_absent(it, "port", 443),
        ("authentication", "TokenRequestSpec") => |it| set_if_absent(it, "expirationSeconds", 3600),
        _ => return None,
    })
}

/// Version 1 can say no more than a share of cpu; without one it is that of version 2.
fn autoscaler_v1(spec: &mut Map<String, Value>) {
    set_if_absent(spec, "minReplicas", 1);
    set_if_absent(spec, "targetCPUUtilizationPercentage", 80);
}

fn autoscaler(spec: &mut Map<String, Value>) {
    set_if_absent(spec, "minReplicas", 1);
    let cpu = json!({"type": "Resource", "resource": {
        "name": "cpu", "target": {"type": "Utilization", "averageUtilization": 80}}});
    set_if_empty(spec, "metrics", json!([cpu]));
    let Some(Value::Object(behavior)) = spec.get_mut("behavior") else {
        return;
    };
    let every_15s = |kind: &str, value: i64| json!({"type": kind, "value": value, "periodSeconds": 15});
    if let Some(up) = object_in(behavior, "scaleUp") {
        set_if_absent(up, "stabilizationWindowSeconds", 0);
        set_if_absent(up, "selectPolicy", "Max");
        set_if_absent(
            up,
            "policies",
            json!([every_15s("Pods", 4), every_15s("Percent", 100)]),
        );
    }
    if let Some(down) = object_in(behavior, "scaleDown") {
        set_if_absent(down, "selectPolicy", "Max");
        set_if_absent(down, "policies", json!([every_15s("Percent", 100)]));
    }
}

fn network_policy(spec: &mut Map<String, Value>) {
    let types = if spec.count("egress") > 0 {
        json!(["Ingress", "Egress"])
    } else {
        json!(["Ingress"])
    };
    set_if_empty(spec, "policyTypes", types);
}

fn endpoint_port(port: &mut Map<String, Value>) {
    set_if_absent(port, "name", "");
    set_if_absent(port, "protocol", "TCP");
}

fn binding(binding: &mut Map<String, Value>) {
    if let Some(role) = object_in(binding, "roleRef") {
        set_if_empty(role, "apiGroup", RBAC);
    }
}

fn custom_resource_definition(definition: &mut Map<String, Value>) {
    let Some(spec) = object_in(definition, "spec") else {
        return;
    };
    if let Some(names) = object_in(spec, "names") {
        let kind = names.text("kind").to_owned();
        set_if_empty(names, "singular", kind.to_lowercase());
        if !kind.is_empty() {
            set_if_empty(names, "listKind", format!("{kind}List"));
        }
    }
    set_if_absent(spec, "conversion", json!({"strategy": "None"}));
    let stored = stored_version(spec);
    if let (Some(stored), Some(status)) = (stored, object_in(definition, "status")) {
        set_if_empty(status, "storedVersions", json!([stored]));
    }
}

/// The version that a definition of custom resources has its objects stored in.
pub(crate) fn stored_version(spec: &Map<String, Value>) -> Option<Value> {
    let versions = spec.get("versions")?.as_array()?;
    let stored = versions.iter().find(|version| version.flag("storage"))?;
    stored.field("name").cloned()
}

fn subject(subject: &mut Map<String, Value>) {
    if matches!(subject.text("kind"), "User" | "Group") {
        set_if_empty(subject, "apiGroup", RBAC);
    }
}

fn storage_class(class: &mut Map<String, Value>) {
    set_if_absent(class, "reclaimPolicy", "Delete");
    set_if_absent(class, "volumeBindingMode", "Immediate");
}

fn csi_driver(spec: &mut Map<String, Value>) {
    set_if_absent(spec, "attachRequired", true);
    set_if_absent(spec, "podInfoOnMount", false);
    set_if_absent(spec, "storageCapacity", false);
    set_if_absent(spec, "fsGroupPolicy", "ReadWriteOnceWithFSType");
    set_if_empty(spec, "volumeLifecycleModes", json!(["Persistent"]));
    set_if_absent(spec, "requiresRepublish", false);
    set_if_absent(spec, "seLinuxMount", false);
}

fn match_resources(rules: &mut Map<String, Value>) {
    set_if_absent(rules, "matchPolicy", "Equivalent");
    set_if_absent(rules, "namespaceSelector", json!({}));
    set_if_absent(rules, "objectSelector", json!({}));
}

fn webhook(webhook: &mut Map<String, Value>) {
    set_if_absent(webhook, "failurePolicy", "Fail");
    match_resources(webhook);
    set_if_absent(webhook, "timeoutSeconds", 10);
}

fn priority_level(level: &mut Map<String, Value>, shares: i64) {
    set_if_absent(level, "nominalConcurrencyShares", shares);
    set_if_absent(level, "lendablePercent", 0);
}

fn queuing(queuing: &mut Map<String, Value>) {
    set_if_empty(queuing, "handSize", 8);
    set_if_empty(queuing, "queues", 64);
    set_if_empty(queuing, "queueLengthLimit", 50);
}

fn device_request(request: &mut Map<String, Value>) {
    set_if_empty(request, "allocationMode", "ExactCount");
    if request.text("allocationMode") == "ExactCount" {
        set_if_empty(request, "count", 1);
    }
}
