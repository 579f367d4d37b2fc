//! Fields behind feature gates that are off by default: they are dropped, except from objects that have them already.

use serde_json::{Map, Value};

use crate::object::{Fields, objects_in, same};
use crate::table::Gvk;

type Object = Map<String, Value>;

/// Drops fields that are not yet served to writers.
pub(super) fn drop(gvk: Gvk, fields: &mut Object, old: Option<&Value>) {
    let pod: &[&str] = match (gvk.group, gvk.kind) {
        ("", "Pod") => &["spec"],
        ("", "PodTemplate") => &["template", "spec"],
        ("batch", "CronJob") => &["spec", "jobTemplate", "spec", "template", "spec"],
        ("apps", "Deployment" | "ReplicaSet" | "DaemonSet" | "StatefulSet")
        | ("", "ReplicationController")
        | ("batch", "Job") => &["spec", "template", "spec"],
        _ => &[],
    };
    if let Some((first, rest)) = pod.split_first() {
        let old = old.map(|old| pod.iter().fold(old, |value, name| &value[*name]));
        let spec = rest
            .iter()
            .try_fold(fields.get_mut(*first), |value, name| Some(value?.get_mut(*name)))
            .flatten();
        if let Some(spec) = spec.and_then(Value::as_object_mut) {
            drop_from_pod(spec, old.unwrap_or(&Value::Null));
        }
    }
    let none = Value::Null;
    let before = old.map_or(&none, |old| &old["spec"]);
    let spec = fields.get_mut("spec").and_then(Value::as_object_mut);
    let forget = |spec: Option<&mut Object>, names: &[&str]| {
        let Some(spec) = spec else { return };
        for name in names.iter().filter(|name| !before.has(name)) {
            spec.remove(*name);
        }
    };
    match (gvk.group, gvk.kind) {
        ("apps", "StatefulSet") => drop_unavailable(fields, old),
        // CoordinatedLeaderElection.
        ("coordination.k8s.io", "Lease") => forget(spec, &["strategy", "preferredHolder"]),
        // The feature is gone, the field is left.
        ("", "Node") => forget(spec, &["configSource"]),
        // VolumeLimitScaling.
        ("storage.k8s.io", "CSIDriver") => forget(spec, &["preventPodSchedulingIfMissing"]),
        ("resource.k8s.io", "ResourceSlice") => drop_mappings(fields, before),
        ("", "ServiceAccount") => only_names(fields),
        _ => {}
    }
}

/// DRANodeAllocatableResources.
fn drop_mappings(slice: &mut Object, before: &Value) {
    const NAME: &str = "nodeAllocatableResourceMappings";
    if before.items("devices").iter().any(|device| device.has(NAME)) {
        return;
    }
    let spec = slice.get_mut("spec").and_then(Value::as_object_mut);
    for device in spec.into_iter().flat_map(|spec| objects_in(spec, "devices")) {
        device.remove(NAME);
    }
}

/// Of a ServiceAccount's secrets nothing but the names is kept.
fn only_names(account: &mut Object) {
    for secret in objects_in(account, "secrets") {
        secret.retain(|name, _| name == "name");
    }
}

/// MaxUnavailableStatefulSet.
fn drop_unavailable(fields: &mut Object, old: Option<&Value>) {
    let in_use = old.is_some_and(|old| old["spec"]["updateStrategy"]["rollingUpdate"].has("maxUnavailable"));
    let rolling = fields
        .get_mut("spec")
        .and_then(|spec| spec.pointer_mut("/updateStrategy/rollingUpdate"))
        .and_then(Value::as_object_mut);
    if let Some(rolling) = rolling.filter(|_| !in_use) {
        rolling.remove("maxUnavailable");
    }
}

/// ClusterTrustBundleProjection, PodCertificateRequest, GenericWorkload, ContainerStopSignals.
fn drop_from_pod(spec: &mut Object, old: &Value) {
    for source in ["clusterTrustBundle", "podCertificate"] {
        let has = |volume: &Value| {
            let sources = volume["projected"].items("sources");
            sources.iter().any(|one| one.has(source))
        };
        if old.items("volumes").iter().any(has) {
            continue;
        }
        for volume in objects_in(spec, "volumes") {
            let projected = volume.get_mut("projected").and_then(Value::as_object_mut);
            for sources in projected.into_iter().flat_map(|one| objects_in(one, "sources")) {
                sources.remove(source);
            }
        }
    }
    if !old.has("schedulingGroup") {
        spec.remove("schedulingGroup");
    }
    const LISTS: [&str; 3] = ["initContainers", "containers", "ephemeralContainers"];
    let mut before = LISTS.iter().flat_map(|list| old.items(list));
    if before.any(|container| container["lifecycle"].has("stopSignal")) {
        return;
    }
    for list in LISTS {
        for container in objects_in(spec, list) {
            let lifecycle = container.get_mut("lifecycle").and_then(Value::as_object_mut);
            let Some(lifecycle) = lifecycle.filter(|lifecycle| lifecycle.has("stopSignal")) else {
                continue;
            };
            lifecycle.remove("stopSignal");
            if !lifecycle.has("postStart") && !lifecycle.has("preStop") {
                container.remove("lifecycle");
            }
        }
    }
}

/// The topology of endpoints as the first version of the group had it, which its v1 only reads from objects that are left of
/// that.
pub(super) fn drop_topology(slice: &mut Object, old: Option<&Value>) {
    if old.is_some_and(|old| same(slice.get("endpoints"), old.get("endpoints"))) {
        return;
    }
    for endpoint in objects_in(slice, "endpoints") {
        endpoint.remove("deprecatedTopology");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn gated_fields_are_dropped_unless_they_are_in_use() {
        let gvk = Gvk {
            group: "apps",
            version: "v1",
            kind: "Deployment",
        };
        let object = json!({"spec": {"template": {"spec": {
            "schedulingGroup": {"podGroupName": "g"},
            "volumes": [{"projected": {"sources": [{"clusterTrustBundle": {"path": "p"}}]}}],
            "containers": [{"lifecycle": {"stopSignal": "SIGTERM"}}, {"lifecycle": {"stopSignal": "SIGTERM", "preStop": {}}}],
        }}}});
        let dropped = |old: Option<&Value>| {
            let mut fields = object.as_object().cloned().unwrap();
            drop(gvk, &mut fields, old);
            fields["spec"]["template"]["spec"].clone()
        };
        assert_eq!(
            dropped(None),
            json!({"volumes": [{"projected": {"sources": [{}]}}], "containers": [{}, {"lifecycle": {"preStop": {}}}]})
        );
        assert_eq!(dropped(Some(&object)), object["spec"]["template"]["spec"]);
    }
}
