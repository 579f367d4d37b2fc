//! Services, their endpoints, ingresses and policies.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::show::{NONE, age, entries, first_few, items, labels, number, or, selector, text};

/// How many endpoints are shown.
const MOST: usize = 3;

fn name(object: &Value) -> Value {
    json!(text(object, "/metadata/name"))
}

pub(super) fn service(object: &Value, now: Timestamp) -> Vec<Value> {
    let address = or(
        text(object, "/spec/clusterIPs/0"),
        text(object, "/spec/clusterIP"),
    );
    vec![
        name(object),
        json!(text(object, "/spec/type")),
        json!(or(address, NONE)),
        json!(external_addresses(object)),
        json!(service_ports(items(object, "/spec/ports"))),
        age(object, now),
        json!(labels(entries(object, "/spec/selector"))),
    ]
}

fn external_addresses(service: &Value) -> String {
    let mut addresses: Vec<&str> = Vec::new();
    match text(service, "/spec/type") {
        "ExternalName" => return text(service, "/spec/externalName").to_owned(),
        "LoadBalancer" => {
            let ingress = items(service, "/status/loadBalancer/ingress").iter();
            addresses.extend(ingress.map(|ingress| or(text(ingress, "/ip"), text(ingress, "/hostname"))));
        }
        _ => {}
    }
    addresses.extend(
        items(service, "/spec/externalIPs")
            .iter()
            .filter_map(Value::as_str),
    );
    match (addresses.is_empty(), text(service, "/spec/type")) {
        (true, "LoadBalancer") => "<pending>".to_owned(),
        (true, _) => NONE.to_owned(),
        (false, _) => addresses.join(","),
    }
}

fn service_ports(ports: &[Value]) -> String {
    let shown: Vec<String> = ports
        .iter()
        .map(|port| {
            let (number_of, protocol) = (number(port, "/port"), text(port, "/protocol"));
            match number(port, "/nodePort") {
                0 => format!("{number_of}/{protocol}"),
                node_port => format!("{number_of}:{node_port}/{protocol}"),
            }
        })
        .collect();
    if shown.is_empty() {
        NONE.to_owned()
    } else {
        shown.join(",")
    }
}

pub(super) fn endpoints(object: &Value, now: Timestamp) -> Vec<Value> {
    let mut addresses = Vec::new();
    for subset in items(object, "/subsets") {
        let (hosts, ports) = (items(subset, "/addresses"), items(subset, "/ports"));
        for port in ports {
            addresses.extend(hosts.iter().map(|host| {
                let (ip, port) = (text(host, "/ip"), number(port, "/port"));
                if ip.contains(':') {
                    format!("[{ip}]:{port}")
                } else {
                    format!("{ip}:{port}")
                }
            }));
        }
        if ports.is_empty() {
            addresses.extend(hosts.iter().map(|host| text(host, "/ip").to_owned()));
        }
    }
    vec![name(object), json!(first_few(&addresses, MOST)), age(object, now)]
}

pub(super) fn endpoint_slice(object: &Value, now: Timestamp) -> Vec<Value> {
    let ports = match items(object, "/ports") {
        [] => "<unset>".to_owned(),
        ports => {
            let shown: Vec<String> = ports
                .iter()
                .map(|port| match number(port, "/port") {
                    0 => "*".to_owned(),
                    port => port.to_string(),
                })
                .collect();
            first_few(&shown, MOST)
        }
    };
    let endpoints = items(object, "/endpoints")
        .iter()
        .flat_map(|endpoint| items(endpoint, "/addresses"));
    let addresses: Vec<String> = endpoints.filter_map(Value::as_str).map(str::to_owned).collect();
    let addresses = if addresses.is_empty() {
        "<unset>".to_owned()
    } else {
        first_few(&addresses, MOST)
    };
    vec![
        name(object),
        json!(text(object, "/addressType")),
        json!(ports),
        json!(addresses),
        age(object, now),
    ]
}

pub(super) fn ingress(object: &Value, now: Timestamp) -> Vec<Value> {
    let hosts: Vec<String> = items(object, "/spec/rules")
        .iter()
        .map(|rule| text(rule, "/host"))
        .filter(|host| !host.is_empty())
        .map(str::to_owned)
        .collect();
    let hosts = if hosts.is_empty() {
        "*".to_owned()
    } else {
        first_few(&hosts, MOST)
    };
    let balancers = items(object, "/status/loadBalancer/ingress").iter();
    let addresses: Vec<&str> = balancers
        .map(|b| or(text(b, "/ip"), text(b, "/hostname")))
        .collect();
    let ports = if items(object, "/spec/tls").is_empty() {
        "80"
    } else {
        "80, 443"
    };
    vec![
        name(object),
        json!(or(text(object, "/spec/ingressClassName"), NONE)),
        json!(hosts),
        json!(addresses.join(",")),
        json!(ports),
        age(object, now),
    ]
}

pub(super) fn ingress_class(object: &Value, now: Timestamp) -> Vec<Value> {
    let parameters = match object.pointer("/spec/parameters") {
        None => NONE.to_owned(),
        Some(parameters) => {
            let (group, kind) = (text(parameters, "/apiGroup"), text(parameters, "/kind"));
            let dot = if group.is_empty() { "" } else { "." };
            format!("{kind}{dot}{group}/{}", text(parameters, "/name"))
        }
    };
    vec![
        name(object),
        json!(text(object, "/spec/controller")),
        json!(parameters),
        age(object, now),
    ]
}

pub(super) fn network_policy(object: &Value, now: Timestamp) -> Vec<Value> {
    vec![
        name(object),
        json!(selector(object.pointer("/spec/podSelector"))),
        age(object, now),
    ]
}

pub(super) fn ip_address(object: &Value, _now: Timestamp) -> Vec<Value> {
    let parent = ["group", "resource", "namespace", "name"]
        .map(|field| text(object, &format!("/spec/parentRef/{field}")));
    let [group, resource, namespace, parent] = parent;
    let resource = if group.is_empty() {
        resource.to_owned()
    } else {
        format!("{resource}.{group}")
    };
    let path: Vec<&str> = [resource.as_str(), namespace, parent]
        .into_iter()
        .filter(|part| !part.is_empty())
        .collect();
    vec![name(object), json!(path.join("/"))]
}

pub(super) fn service_cidr(object: &Value, now: Timestamp) -> Vec<Value> {
    let ranges: Vec<&str> = items(object, "/spec/cidrs")
        .iter()
        .filter_map(Value::as_str)
        .collect();
    vec![name(object), json!(ranges.join(",")), age(object, now)]
}
