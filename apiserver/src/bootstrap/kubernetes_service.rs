//! The Service by which pods reach this server, and the network it is part of. Pure.

use std::net::SocketAddr;

use coracle_api::object::Fields;
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::registry::services::addresses::Cidr;
use crate::registry::services::ip_address;
use crate::registry::services::ranges::ClusterRanges;

/// What stands for the ranges of service addresses and for the first of them; the range is ready since `now`, as the controller
/// that upstream's server has for it says.
pub(super) fn network(ranges: ClusterRanges, now: Timestamp) -> Vec<Value> {
    let cidrs: Vec<String> = ranges.all().map(|range| range.to_string()).collect();
    let now = now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    let owned = ["lastTransitionTime", "message", "status", "type"]
        .map(|field| (format!("f:{field}"), json!({})))
        .into_iter()
        .chain([(".".to_owned(), json!({}))])
        .collect::<serde_json::Map<_, _>>();
    let owner = json!({
        "manager": "kubernetes-service-cidr-controller", "operation": "Apply", "apiVersion": "networking.k8s.io/v1",
        "time": now, "subresource": "status", "fieldsType": "FieldsV1",
        "fieldsV1": {"f:status": {"f:conditions": {"k:{\"type\":\"Ready\"}": owned}}},
    });
    vec![
        json!({
            "apiVersion": "networking.k8s.io/v1", "kind": "ServiceCIDR",
            "metadata": {"name": "kubernetes", "managedFields": [owner]},
            "spec": {"cidrs": cidrs},
            "status": {"conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": now, "reason": "",
                "message": "Kubernetes default Service CIDR is ready"}]},
        }),
        kubernetes_address(ranges.primary()),
    ]
}

/// What says that the Service `kubernetes` has the first address.
fn kubernetes_address(range: Cidr) -> Value {
    ip_address(range.first(), "default", "kubernetes")
}

/// The range with the second one, where there is none yet: a cluster may become one of both families.
pub(super) fn widened(current: &Value, wanted: &Value) -> Option<Value> {
    let (has, wants) = (current["spec"].items("cidrs"), wanted["spec"].items("cidrs"));
    if has.len() != 1 || wants.len() != 2 || has[0] != wants[0] {
        return None;
    }
    let mut next = current.clone();
    next["spec"]["cidrs"] = wanted["spec"]["cidrs"].clone();
    Some(next)
}

/// The range with what is said of it, where nothing is said yet.
pub(super) fn readied(current: &Value, wanted: &Value) -> Option<Value> {
    let told = wanted.field("status")?;
    let is_told = current["status"].count("conditions") > 0;
    let is_going = current["metadata"].has("deletionTimestamp");
    if is_told || is_going || current["spec"]["cidrs"] != wanted["spec"]["cidrs"] {
        return None;
    }
    let mut next = current.clone();
    next["status"] = told.clone();
    let mut owners = wanted["metadata"].items("managedFields").to_vec();
    let others = current["metadata"].items("managedFields").iter();
    let others = others.filter(|other| owners.iter().all(|owner| owner["manager"] != other["manager"]));
    let others: Vec<Value> = others.cloned().collect();
    owners.extend(others);
    next["metadata"]["managedFields"] = owners.into();
    Some(next)
}

/// The Service `kubernetes`, its address, and its endpoints.
pub(super) fn objects(range: Cidr, address: SocketAddr) -> Vec<Value> {
    let ip = address.ip().to_string();
    let family = if range.is_ipv4() { "IPv4" } else { "IPv6" };
    let address_type = if address.is_ipv4() { "IPv4" } else { "IPv6" };
    let port = address.port();
    vec![
        json!({
            "apiVersion": "v1", "kind": "Service",
            "metadata": {
                "name": "kubernetes", "namespace": "default",
                "labels": {"component": "apiserver", "provider": "kubernetes"},
            },
            "spec": {
                "type": "ClusterIP", "clusterIP": range.first().to_string(), "clusterIPs": [range.first().to_string()],
                "ipFamilies": [family], "ipFamilyPolicy": "SingleStack", "sessionAffinity": "None",
                "ports": [{"name": "https", "port": 443, "protocol": "TCP", "targetPort": port}],
            },
        }),
        kubernetes_address(range),
        json!({
            "apiVersion": "v1", "kind": "Endpoints",
            "metadata": {
                "name": "kubernetes", "namespace": "default",
                "labels": {"endpointslice.kubernetes.io/skip-mirror": "true"},
            },
            "subsets": [{"addresses": [{"ip": ip}], "ports": [{"name": "https", "port": port, "protocol": "TCP"}]}],
        }),
        json!({
            "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
            "metadata": {
                "name": "kubernetes", "namespace": "default",
                "labels": {"kubernetes.io/service-name": "kubernetes"},
            },
            "addressType": address_type,
            "endpoints": [{"addresses": [ip], "conditions": {"ready": true}}],
            "ports": [{"name": "https", "port": port, "protocol": "TCP"}],
        }),
    ]
}

/// The object with the parts that must be as wanted, where they are not.
pub(super) fn corrected(current: &Value, wanted: &Value) -> Option<Value> {
    let mut next = current.clone();
    for field in ["subsets", "endpoints", "ports", "addressType"] {
        if let (Some(value), Some(object)) = (wanted.get(field), next.as_object_mut()) {
            object.insert(field.to_owned(), value.clone());
        }
    }
    if let (Some(ports), Some(spec)) = (
        wanted.pointer("/spec/ports"),
        next.get_mut("spec").and_then(Value::as_object_mut),
    ) {
        spec.insert("ports".to_owned(), ports.clone());
    }
    (next != *current).then_some(next)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_range_is_ready_and_stays_so() {
        let wanted = &network("10.96.0.0/12".parse().unwrap(), Timestamp::UNIX_EPOCH)[0];
        let mut made = wanted.clone();
        made["status"] = json!({});
        made["metadata"]["managedFields"] = json!([{"manager": "kube-apiserver"}]);
        let ready = readied(&made, wanted).unwrap();
        assert_eq!(ready["status"], wanted["status"]);
        assert_eq!(ready["metadata"]["managedFields"][1]["manager"], "kube-apiserver");
        assert_eq!(readied(&ready, wanted), None);
        made["spec"]["cidrs"] = json!(["10.0.0.0/24"]);
        assert_eq!(readied(&made, wanted), None);
    }

    #[test]
    fn a_second_range_is_added_to_the_same_first_one() {
        let of = |ranges: &str| network(ranges.parse().unwrap(), Timestamp::UNIX_EPOCH).swap_remove(0);
        let (one, two) = (of("10.96.0.0/12"), of("10.96.0.0/12,fd00::/108"));
        let both = widened(&one, &two).unwrap();
        assert_eq!(both["spec"], two["spec"]);
        assert_eq!(widened(&both, &two), None);
        assert_eq!(widened(&two, &one), None);
        assert_eq!(widened(&of("10.0.0.0/24"), &two), None);
    }

    #[test]
    fn correcting_twice_changes_nothing_more() {
        let range: Cidr = "10.96.0.0/12".parse().unwrap();
        let old = objects(range, "10.0.0.1:6443".parse().unwrap());
        let new = objects(range, "10.0.0.2:443".parse().unwrap());
        for (old, new) in old.iter().zip(&new).filter(|(old, _)| old["kind"] != "IPAddress") {
            let corrected = corrected(old, new).expect("address or port differs");
            assert_eq!(super::corrected(&corrected, new), None);
        }
        assert_eq!(old[0]["spec"]["clusterIP"], "10.96.0.1");
    }
}
