//! Services and what stands behind them, and network policies.

use serde_json::Value;

use super::{Warnings, addresses};
use crate::object::Fields;
use crate::quote::quote;
use crate::validation::Path;

fn list_of_addresses(object: &Value, name: &str, at: &Path<'_>, found: &mut Warnings) {
    for (index, address) in object.items(name).iter().enumerate() {
        addresses::address(
            address.as_str().unwrap_or_default(),
            &at.child(name).index(index),
            found,
        );
    }
}

pub(super) fn service(object: &Value, found: &mut Warnings) {
    const HINTS: &str = "service.kubernetes.io/topology-aware-hints";
    const MODE: &str = "service.kubernetes.io/topology-mode";
    let (spec, at) = (&object["spec"], Path::new("spec"));
    if object["metadata"]["annotations"].has(HINTS) {
        found.add(format!(
            "annotation {HINTS} is deprecated, please use {MODE} instead"
        ));
    }
    let headless = spec.text("type") == "ClusterIP" && spec.text("clusterIP") == "None";
    if !matches!(spec.text("clusterIP"), "" | "None") {
        list_of_addresses(spec, "clusterIPs", &at, found);
    }
    if headless {
        let ignored = [
            ("loadBalancerIP", !spec.text("loadBalancerIP").is_empty()),
            ("externalIPs", spec.count("externalIPs") > 0),
            ("SessionAffinity", spec.text("sessionAffinity") != "None"),
        ];
        for (name, _) in ignored.iter().filter(|(_, set)| *set) {
            found.add(format!("spec.{name} is ignored for headless services"));
        }
    }
    list_of_addresses(spec, "externalIPs", &at, found);
    let is_name = spec.text("type") == "ExternalName";
    if spec.count("externalIPs") > 0 && !headless && !is_name {
        found.add(
            "spec.externalIPs is deprecated and may no longer be implemented in some clusters".to_owned(),
        );
    }
    addresses::address(spec.text("loadBalancerIP"), &at.child("loadBalancerIP"), found);
    for (index, block) in spec.items("loadBalancerSourceRanges").iter().enumerate() {
        let at = at.child("loadBalancerSourceRanges");
        addresses::block(block.as_str().unwrap_or_default(), &at.index(index), found);
    }
    if is_name && spec.count("externalIPs") > 0 {
        found.add("spec.externalIPs is ignored when spec.type is \"ExternalName\"".to_owned());
    }
    if !is_name && !spec.text("externalName").is_empty() {
        found.add("spec.externalName is ignored when spec.type is not \"ExternalName\"".to_owned());
    }
    if spec.text("trafficDistribution") == "PreferClose" {
        let (old, new) = (quote("PreferClose"), quote("PreferSameZone"));
        found.at(
            &at.child("trafficDistribution"),
            format!("{old} is deprecated; use {new}"),
        );
    }
}

pub(super) fn endpoints(object: &Value, found: &mut Warnings) {
    if object["metadata"]["labels"].text("endpoints.kubernetes.io/managed-by") == "endpoint-controller" {
        return;
    }
    let list = Path::new("subsets");
    for (index, subset) in object.items("subsets").iter().enumerate() {
        for name in ["addresses", "notReadyAddresses"] {
            let at = list.index(index);
            let at = at.child(name);
            for (index, address) in subset.items(name).iter().enumerate() {
                addresses::address(address.text("ip"), &at.index(index).child("ip"), found);
            }
        }
    }
}

pub(super) fn endpoint_slice(object: &Value, found: &mut Warnings) {
    let manager = object["metadata"]["labels"].text("endpointslice.kubernetes.io/managed-by");
    if matches!(
        manager,
        "endpointslice-controller.k8s.io" | "endpointslicemirroring-controller.k8s.io"
    ) {
        return;
    }
    let list = Path::new("endpoints");
    for (index, endpoint) in object.items("endpoints").iter().enumerate() {
        list_of_addresses(endpoint, "addresses", &list.index(index), found);
    }
}

pub(super) fn network_policy(object: &Value, found: &mut Warnings) {
    let spec = Path::new("spec");
    for (direction, peers) in [("ingress", "from"), ("egress", "to")] {
        let rules = spec.child(direction);
        for (index, rule) in object["spec"].items(direction).iter().enumerate() {
            let at = rules.index(index);
            let at = at.child(peers);
            for (index, peer) in rule.items(peers).iter().enumerate() {
                let at = at.index(index);
                ip_block(&peer["ipBlock"], &at.child("ipBlock"), found);
            }
        }
    }
}

fn ip_block(block: &Value, at: &Path<'_>, found: &mut Warnings) {
    addresses::block(block.text("cidr"), &at.child("cidr"), found);
    for (index, except) in block.items("except").iter().enumerate() {
        let at = at.child("except");
        addresses::block(except.as_str().unwrap_or_default(), &at.index(index), found);
    }
}
