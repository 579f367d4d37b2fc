//! What is left of a cluster once all is done, without what differs from run to run: uids, revisions, times, random names.

use crate::world::World;
use serde_json::{Value, json};

const RESOURCES: [&str; 19] = [
    "/apis/apps/v1/deployments",
    "/apis/apps/v1/replicasets",
    "/apis/apps/v1/statefulsets",
    "/apis/apps/v1/controllerrevisions",
    "/apis/apps/v1/daemonsets",
    "/apis/batch/v1/jobs",
    "/apis/batch/v1/cronjobs",
    "/apis/policy/v1/poddisruptionbudgets",
    "/api/v1/resourcequotas",
    "/api/v1/pods",
    "/api/v1/services",
    "/api/v1/endpoints",
    "/apis/discovery.k8s.io/v1/endpointslices",
    "/api/v1/namespaces",
    "/api/v1/serviceaccounts",
    "/api/v1/configmaps",
    "/api/v1/nodes",
    "/api/v1/persistentvolumeclaims",
    "/api/v1/persistentvolumes",
];

/// One line an object, in order.
pub(crate) async fn of(world: &World) -> Vec<String> {
    let mut lines = Vec::new();
    for resource in RESOURCES {
        let kind = resource.rsplit('/').next().unwrap_or_default();
        for object in world.list(resource).await {
            lines.push(format!("{kind} {}", told(kind, &object)));
        }
    }
    lines.sort();
    lines
}

fn told(kind: &str, object: &Value) -> Value {
    let (meta, spec, status) = (&object["metadata"], &object["spec"], &object["status"]);
    let owners: Vec<_> = meta["ownerReferences"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|owner| timeless(&owner["name"]))
        .collect();
    let about = match kind {
        "deployments" | "replicasets" => json!([
            spec["replicas"],
            status["replicas"],
            status["readyReplicas"],
            status["availableReplicas"],
        ]),
        "statefulsets" => json!([
            spec["replicas"],
            status["replicas"],
            status["readyReplicas"],
            status["updatedReplicas"],
        ]),
        "daemonsets" => json!([
            status["desiredNumberScheduled"],
            status["numberReady"],
            status["updatedNumberScheduled"],
        ]),
        "cronjobs" => json!([spec["suspend"], status["active"].as_array().map(Vec::len)]),
        "poddisruptionbudgets" => json!([
            status["desiredHealthy"],
            status["currentHealthy"],
            status["expectedPods"],
            status["disruptionsAllowed"],
        ]),
        "resourcequotas" => json!([status["hard"], status["used"]]),
        "jobs" => json!([status["active"], status["ready"], status["failed"]]),
        "pods" => json!([spec["nodeName"].is_string(), status["phase"], ready(status)]),
        "endpoints" => json!(addresses(&object["subsets"])),
        "endpointslices" => json!(object["endpoints"].as_array().map_or(0, Vec::len)),
        "nodes" => json!([spec["taints"], ready(status)]),
        "persistentvolumeclaims" => json!([spec["volumeName"], status["phase"], status["capacity"]]),
        "persistentvolumes" => json!([spec["claimRef"]["name"], status["phase"]]),
        _ => status["phase"].clone(),
    };
    let named_by_chance = matches!(kind, "pods" | "endpointslices");
    let name = if named_by_chance {
        &meta["generateName"]
    } else {
        &meta["name"]
    };
    json!([
        meta["namespace"],
        timeless(name),
        owners,
        meta["deletionTimestamp"].is_string(),
        meta["finalizers"],
        about
    ])
}

/// A name without the minutes by which a CronJob numbers its Jobs.
fn timeless(name: &Value) -> String {
    let is_time = |part: &&str| part.len() >= 8 && part.bytes().all(|byte| byte.is_ascii_digit());
    let parts = name.as_str().unwrap_or_default().split('-');
    parts.filter(|part| !is_time(part)).collect::<Vec<_>>().join("-")
}

fn ready(status: &Value) -> Value {
    let mut conditions = status["conditions"].as_array().into_iter().flatten();
    conditions
        .find(|one| one["type"] == "Ready")
        .map_or(Value::Null, |one| one["status"].clone())
}

fn addresses(subsets: &Value) -> usize {
    let subsets = subsets.as_array().into_iter().flatten();
    subsets
        .map(|subset| subset["addresses"].as_array().map_or(0, Vec::len))
        .sum()
}
