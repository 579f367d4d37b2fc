//! Services: ports, addresses, families, policies. What an allocator has to know stays with the registry.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::names;
use crate::object::Fields;
use crate::validation::field::{FieldErrors, Path};
use crate::validation::internal;
use crate::validation::ip;
use crate::validation::meta::{faults, labels};
use crate::validation::pod::{PROTOCOLS, one_of, port_number, port_number_or_name};

const TYPES: [&str; 4] = ["ClusterIP", "ExternalName", "LoadBalancer", "NodePort"];
const FAMILIES: [&str; 2] = ["IPv4", "IPv6"];
const AFFINITY_MAX: i64 = 86400;
const SOURCE_RANGES: &str = "service.beta.kubernetes.io/load-balancer-source-ranges";
const ONLY_BALANCED: &str = "may only be used when `type` is 'LoadBalancer'";
const SET_ONCE: &str = "may not change once set";

pub(in crate::validation) fn is_headless(service: &Value) -> bool {
    matches!(service["spec"].items("clusterIPs"), [only] if only == "None")
}

/// Whether a node has to tell load balancers if it has local endpoints.
fn needs_health_check(service: &Value) -> bool {
    let spec = &service["spec"];
    spec.text("type") == "LoadBalancer" && spec.text("externalTrafficPolicy") == "Local"
}

pub(in crate::validation) fn service(service: &Value, errors: &mut FieldErrors) {
    let (spec, at) = (&service["spec"], Path::new("spec"));
    let headless = is_headless(service);
    let kind = spec.text("type");
    if spec.count("ports") == 0 && !headless && kind != "ExternalName" {
        errors.required(&at.child("ports"), "");
    }
    match kind {
        "LoadBalancer" | "NodePort" if headless => {
            let rule = format!("may not be set to 'None' for {kind} services");
            errors.invalid(&at.child("clusterIPs").index(0), "None", rule);
        }
        "ExternalName" => external_name(spec, &at, errors),
        _ => {}
    }
    ports(spec, &at.child("ports"), errors);
    labels(spec, "selector", &at, errors);
    session_affinity(spec, &at, errors);
    if kind != "ExternalName" {
        cluster_ips(spec, headless, &at, errors);
    }
    let list = at.child("externalIPs");
    for (index, address) in spec.items("externalIPs").iter().enumerate() {
        let (text, at) = (address.as_str().unwrap_or_default(), list.index(index));
        if ip::address(text, &at, errors) {
            ip::endpoint(text, &at, errors);
        }
    }
    one_of(kind, &TYPES, &at.child("type"), errors);
    unique_ports(spec, kind, &at.child("ports"), errors);
    source_ranges(service, kind, &at.child("LoadBalancerSourceRanges"), errors);
    load_balancer(spec, kind, &at, errors);
    traffic(service, kind, &at, errors);
}

/// The fields about cluster addresses, which upstream judges before it allocates any.
pub(in crate::validation) fn addresses(service: &Value) -> FieldErrors {
    let mut errors = FieldErrors::new();
    cluster_ips(
        &service["spec"],
        is_headless(service),
        &Path::new("spec"),
        &mut errors,
    );
    errors
}

fn external_name(spec: &Value, at: &Path<'_>, errors: &mut FieldErrors) {
    for name in ["clusterIPs", "ipFamilies", "ipFamilyPolicy"] {
        if spec.count(name) > 0 || name == "ipFamilyPolicy" && spec.has(name) {
            errors.forbidden(&at.child(name), "may not be set for ExternalName services");
        }
    }
    let name = spec.text("externalName");
    match name.strip_suffix('.').unwrap_or(name) {
        "" => errors.required(&at.child("externalName"), ""),
        name => faults(
            &at.child("externalName"),
            name,
            names::dns1123_subdomain(name),
            errors,
        ),
    }
}

fn ports(spec: &Value, list: &Path<'_>, errors: &mut FieldErrors) {
    let ports = spec.items("ports");
    let mut seen = BTreeSet::new();
    for (index, port) in ports.iter().enumerate() {
        let at = list.index(index);
        let name = port.text("name");
        if !name.is_empty() {
            faults(&at.child("name"), name, names::dns1123_label(name), errors);
            if !seen.insert(name) {
                errors.duplicate(&at.child("name"), name);
            }
        } else if ports.len() > 1 {
            errors.required(&at.child("name"), "");
        }
        port_number(port.number("port").unwrap_or_default(), &at.child("port"), errors);
        one_of(port.text("protocol"), &PROTOCOLS, &at.child("protocol"), errors);
        port_number_or_name(port.field("targetPort"), &at.child("targetPort"), errors);
        if let Some(Value::String(protocol)) = port.field("appProtocol") {
            faults(
                &at.child("appProtocol"),
                protocol,
                names::qualified_name(protocol),
                errors,
            );
        }
    }
}

fn unique_ports(spec: &Value, kind: &str, list: &Path<'_>, errors: &mut FieldErrors) {
    let ports = spec.items("ports");
    let node_port = |port: &Value| port.number("nodePort").unwrap_or_default();
    if kind == "ClusterIP" {
        for (index, _) in ports.iter().enumerate().filter(|(_, port)| node_port(port) != 0) {
            errors.forbidden(
                &list.index(index).child("nodePort"),
                "may not be used when `type` is 'ClusterIP'",
            );
        }
    }
    let mut seen = BTreeSet::new();
    for (index, port) in ports.iter().enumerate().filter(|(_, port)| node_port(port) != 0) {
        if !seen.insert((port.text("protocol"), node_port(port))) {
            errors.duplicate(&list.index(index).child("nodePort"), node_port(port));
        }
    }
    let mut seen = BTreeSet::new();
    for (index, port) in ports.iter().enumerate() {
        if !seen.insert((port.text("protocol"), port.number("port"))) {
            let key = json!({"protocol": port["protocol"], "port": port["port"]});
            errors.duplicate(&list.index(index), internal::shown(&key, internal::SERVICE_PORT));
        }
    }
}

fn session_affinity(spec: &Value, at: &Path<'_>, errors: &mut FieldErrors) {
    let affinity = spec.text("sessionAffinity");
    one_of(
        affinity,
        &["ClientIP", "None"],
        &at.child("sessionAffinity"),
        errors,
    );
    let at = at.child("sessionAffinityConfig");
    let config = spec.field("sessionAffinityConfig");
    match (affinity, config) {
        ("None", Some(_)) => errors.forbidden(&at, "must not be set when session affinity is None"),
        ("ClientIP", config) => match config.and_then(|config| config["clientIP"].number("timeoutSeconds")) {
            None => errors.required(
                &at.child("clientIP.timeoutSeconds"),
                "when session affinity type is ClientIP",
            ),
            Some(seconds) if seconds <= 0 || seconds > AFFINITY_MAX => {
                let rule = format!("must be greater than 0 and less than {AFFINITY_MAX}");
                errors.invalid(&at.child("clientIP.timeoutSeconds"), seconds, rule);
            }
            Some(_) => {}
        },
        _ => {}
    }
}

fn cluster_ips(spec: &Value, headless: bool, at: &Path<'_>, errors: &mut FieldErrors) {
    let list = at.child("clusterIPs");
    let addresses: Vec<&str> = spec
        .items("clusterIPs")
        .iter()
        .filter_map(Value::as_str)
        .collect();
    match (spec.text("clusterIP"), addresses.first()) {
        ("", Some(_)) => errors.invalid(
            &list,
            &spec["clusterIPs"],
            "must be empty when `clusterIP` is not specified",
        ),
        ("", None) => {}
        (_, None) => errors.required(&list, ""),
        (first, Some(listed)) if first != *listed => {
            errors.invalid(&list, &spec["clusterIPs"], "first value must match `clusterIP`");
        }
        _ => {}
    }
    families(spec, at, errors);
    let mut fine = true;
    for (index, address) in addresses.iter().enumerate() {
        if index == 0 && *address == "None" {
            if addresses.len() > 1 {
                fine = false;
                errors.invalid(
                    &list,
                    &spec["clusterIPs"],
                    "'None' must be the first and only value",
                );
            }
            continue;
        }
        fine &= ip::address(address, &list.index(index), errors);
    }
    if addresses.len() > 2 {
        errors.invalid(&list, &spec["clusterIPs"], "may only hold up to 2 values");
    }
    if !fine {
        return;
    }
    let is_v6 = |address: &&str| address.contains(':');
    if addresses.len() > 1 && (addresses.iter().all(&is_v6) || !addresses.iter().any(is_v6)) {
        errors.invalid(
            &list,
            &spec["clusterIPs"],
            "may specify no more than one IP for each IP family",
        );
    }
    if headless {
        return;
    }
    for (index, (address, family)) in addresses.iter().zip(spec.items("ipFamilies")).enumerate() {
        let family = family.as_str().unwrap_or_default();
        if FAMILIES.contains(&family) && is_v6(address) != (family == "IPv6") {
            let rule = format!("expected an {family} value as indicated by `ipFamilies[{index}]`");
            errors.invalid(&list.index(index), *address, rule);
        }
    }
}

fn families(spec: &Value, at: &Path<'_>, errors: &mut FieldErrors) {
    let list = at.child("ipFamilies");
    let mut seen = BTreeSet::new();
    for (index, family) in spec.items("ipFamilies").iter().enumerate() {
        let family = family.as_str().unwrap_or_default();
        if !FAMILIES.contains(&family) {
            errors.not_supported(&list.index(index), family, &FAMILIES);
        }
        if !seen.insert(family) {
            errors.duplicate(&list.index(index), family);
        }
    }
    let policies = ["PreferDualStack", "RequireDualStack", "SingleStack"];
    if spec.has("ipFamilyPolicy") && !policies.contains(&spec.text("ipFamilyPolicy")) {
        errors.not_supported(
            &at.child("ipFamilyPolicy"),
            spec.text("ipFamilyPolicy"),
            &policies,
        );
    }
}

fn source_ranges(service: &Value, kind: &str, at: &Path<'_>, errors: &mut FieldErrors) {
    let ranges = service["spec"].items("loadBalancerSourceRanges");
    let annotation = service["metadata"]["annotations"]
        .field(SOURCE_RANGES)
        .and_then(Value::as_str);
    if !ranges.is_empty() {
        if kind != "LoadBalancer" {
            errors.forbidden(at, ONLY_BALANCED);
        }
        for (index, range) in ranges.iter().enumerate() {
            ip::cidr(
                range.as_str().unwrap_or_default().trim(),
                &at.index(index),
                errors,
            );
        }
    } else if let Some(text) = annotation {
        let annotations = Path::new("metadata.annotations");
        let at = annotations.key(SOURCE_RANGES);
        if kind != "LoadBalancer" {
            errors.forbidden(&at, ONLY_BALANCED);
        }
        for range in text.split(',').map(str::trim).filter(|range| !range.is_empty()) {
            ip::cidr(range, &at, errors);
        }
    }
}

fn load_balancer(spec: &Value, kind: &str, at: &Path<'_>, errors: &mut FieldErrors) {
    let balanced = kind == "LoadBalancer";
    let allocate = spec.has("allocateLoadBalancerNodePorts");
    if allocate && !balanced {
        errors.forbidden(&at.child("allocateLoadBalancerNodePorts"), ONLY_BALANCED);
    } else if balanced && !allocate {
        errors.required(&Path::new("allocateLoadBalancerNodePorts"), "");
    }
    if let Some(Value::String(class)) = spec.field("loadBalancerClass") {
        let at = at.child("loadBalancerClass");
        match balanced {
            true => faults(&at, class, names::qualified_name(class), errors),
            false => errors.forbidden(&at, ONLY_BALANCED),
        }
    }
}

fn traffic(service: &Value, kind: &str, at: &Path<'_>, errors: &mut FieldErrors) {
    let spec = &service["spec"];
    let reachable =
        matches!(kind, "LoadBalancer" | "NodePort") || kind == "ClusterIP" && spec.count("externalIPs") > 0;
    let (policy, at_policy) = (
        spec.text("externalTrafficPolicy"),
        at.child("externalTrafficPolicy"),
    );
    if reachable {
        one_of(policy, &["Cluster", "Local"], &at_policy, errors);
    } else if !policy.is_empty() {
        errors.invalid(
            &at_policy,
            policy,
            "may only be set for externally-accessible services",
        );
    }
    let (port, at_port) = (
        spec.number("healthCheckNodePort").unwrap_or_default(),
        at.child("healthCheckNodePort"),
    );
    if !needs_health_check(service) && port != 0 {
        let rule = "may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'";
        errors.invalid(&at_port, port, rule);
    } else if port != 0 {
        port_number(port, &at_port, errors);
    }
    let at_internal = at.child("internalTrafficPolicy");
    match spec.field("internalTrafficPolicy").and_then(Value::as_str) {
        None if matches!(kind, "NodePort" | "LoadBalancer" | "ClusterIP") => {
            errors.required(&at_internal, "")
        }
        None | Some("Cluster" | "Local") => {}
        Some(other) => errors.not_supported(&at_internal, other, &["Cluster", "Local"]),
    }
    let distributions = ["PreferClose", "PreferSameZone", "PreferSameNode"];
    if spec.has("trafficDistribution") && !distributions.contains(&spec.text("trafficDistribution")) {
        let found = spec.text("trafficDistribution");
        errors.not_supported(&at.child("trafficDistribution"), found, &distributions);
    }
}

pub(in crate::validation) fn service_update(new: &Value, old: &Value, errors: &mut FieldErrors) {
    let named = |object: &Value| object["spec"].text("type") == "ExternalName";
    if !named(new) && !named(old) {
        kept_in_order(
            new,
            old,
            "clusterIPs",
            "primary clusterIP can not be unset",
            "clusterIP",
            errors,
        );
        if !is_headless(new) && !is_headless(old) {
            kept_in_order(
                new,
                old,
                "ipFamilies",
                "primary ipFamily can not be unset",
                "ipFamily",
                errors,
            );
        }
    }
    let balanced = |object: &Value| object["spec"].text("type") == "LoadBalancer";
    let class = |object: &Value| object["spec"].field("loadBalancerClass").cloned();
    if balanced(new) && balanced(old) && class(new) != class(old) {
        let shown = class(new).unwrap_or(Value::Null);
        errors.invalid(&Path::new("spec.loadBalancerClass"), &shown, SET_ONCE);
    }
    let port = |object: &Value| object["spec"].number("healthCheckNodePort");
    if needs_health_check(new) && needs_health_check(old) && port(new) != port(old) {
        errors.forbidden(&Path::new("spec.healthCheckNodePort"), "field is immutable");
    }
    service(new, errors);
}

/// The first of a list, which may grow to two and shrink to one, never changes.
fn kept_in_order(new: &Value, old: &Value, name: &str, unset: &str, what: &str, errors: &mut FieldErrors) {
    let spec = Path::new("spec");
    let at = spec.child(name);
    let (now, before) = (new["spec"].items(name), old["spec"].items(name));
    if is_headless(new) && is_headless(old) && name == "clusterIPs" {
        return;
    }
    let shown = &new["spec"][name];
    if now.len() == before.len() {
        for (index, _) in now.iter().zip(before).enumerate().filter(|(_, (a, b))| a != b) {
            let index = if name == "clusterIPs" { index } else { 0 };
            errors.invalid(&at.index(index), shown, SET_ONCE);
        }
        return;
    }
    if now.is_empty() {
        errors.invalid(&at.index(0), shown, unset);
    } else if !before.is_empty() && now[0] != before[0] {
        errors.invalid(&at.index(0), shown, SET_ONCE);
    }
    if now.len() == 1 && before.len() > 1 && new["spec"].text("ipFamilyPolicy") != "SingleStack" {
        let rule = format!("must be set to 'SingleStack' when releasing the secondary {what}");
        errors.invalid(
            &spec.child("ipFamilyPolicy"),
            &new["spec"]["ipFamilyPolicy"],
            rule,
        );
    }
}

pub(in crate::validation) fn service_status(new: &Value, _: &Value, errors: &mut FieldErrors) {
    let at = Path::new("status.loadBalancer.ingress");
    let ingresses = new["status"]["loadBalancer"].items("ingress");
    if new["spec"].text("type") != "LoadBalancer" && !ingresses.is_empty() {
        errors.forbidden(&at, "may only be used when `spec.type` is 'LoadBalancer'");
        return;
    }
    for (index, ingress) in ingresses.iter().enumerate() {
        let at = at.index(index);
        balanced_address(ingress, &at, errors);
        match (
            ingress.text("ip"),
            ingress.field("ipMode").and_then(Value::as_str),
        ) {
            ("", Some(_)) => {
                errors.forbidden(&at.child("ipMode"), "may not be specified when `ip` is not set")
            }
            (_, None | Some("VIP" | "Proxy")) => {}
            (_, Some(other)) => errors.not_supported(&at.child("ipMode"), other, &["Proxy", "VIP"]),
        }
    }
}

/// What a load balancer answers at: an address or a name.
pub(in crate::validation) fn balanced_address(ingress: &Value, at: &Path<'_>, errors: &mut FieldErrors) {
    let (address, host) = (ingress.text("ip"), ingress.text("hostname"));
    if !address.is_empty() {
        ip::address(address, &at.child("ip"), errors);
    }
    if !host.is_empty() {
        faults(
            &at.child("hostname"),
            host,
            names::dns1123_subdomain(host),
            errors,
        );
        if ip::parse(host).is_some() {
            errors.invalid(
                &at.child("hostname"),
                host,
                "must be a DNS name, not an IP address",
            );
        }
    }
}
