//! The Service by which pods reach this server, and the network it is part of. Pure.

use std::net::SocketAddr;

use serde_json::{Value, json};

use crate::registry::services::addresses::Cidr;

/// What stands for the range of service addresses and for the first of them.
pub(super) fn network(range: Cidr) -> Vec<Value> {
    let first = range.first();
    let family = if range.is_ipv4() { "IPv4" } else { "IPv6" };
    vec![
        json!({
            "apiVersion": "networking.k8s.io/v1", "kind": "ServiceCIDR", "metadata": {"name": "kubernetes"},
            "spec": {"cidrs": [range.to_string()]},
        }),
        json!({
            "apiVersion": "networking.k8s.io/v1", "kind": "IPAddress",
            "metadata": {"name": first.to_string(), "labels": {
                "ipaddress.kubernetes.io/ip-family": family,
                "ipaddress.kubernetes.io/managed-by": "ipallocator.k8s.io",
            }},
            "spec": {"parentRef": {"resource": "services", "namespace": "default", "name": "kubernetes"}},
        }),
    ]
}

/// The Service `kubernetes` and its endpoints.
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
    fn correcting_twice_changes_nothing_more() {
        let range: Cidr = "10.96.0.0/12".parse().unwrap();
        let old = objects(range, "10.0.0.1:6443".parse().unwrap());
        let new = objects(range, "10.0.0.2:443".parse().unwrap());
        for (old, new) in old.iter().zip(&new) {
            let corrected = corrected(old, new).expect("address or port differs");
            assert_eq!(super::corrected(&corrected, new), None);
        }
        assert_eq!(old[0]["spec"]["clusterIP"], "10.96.0.1");
    }
}
