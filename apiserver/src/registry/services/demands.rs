//! What a service asks for and what it holds. Pure.

use std::net::IpAddr;

use coracle_api::object::Fields;
use serde_json::{Value, json};

use super::Holdings;

/// What a service needs.
#[derive(Debug, Default)]
pub(super) struct Demand {
    /// An address of each of its families.
    pub addresses: Vec<AddressDemand>,
    /// A node port for each of these.
    pub ports: Vec<PortDemand>,
    /// A port for health checks of its local endpoints, and which.
    pub health_check: Option<Option<u16>>,
}

/// A cluster address that a service needs.
#[derive(Debug)]
pub(super) struct AddressDemand {
    /// Which of its addresses it is.
    pub index: usize,
    /// Whether it is to be one of IPv4.
    pub is_ipv4: bool,
    /// The one it asks for.
    pub requested: Option<IpAddr>,
}

/// A node port that a service needs.
#[derive(Debug)]
pub(super) struct PortDemand {
    /// For which of its ports.
    pub place: Place,
    /// The number it asks for.
    pub requested: Option<u16>,
    /// The earlier entry with the same port and another protocol, whose number it shares.
    pub shared_with: Option<usize>,
}

/// Where a node port stands in a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// `spec.ports[i].nodePort`
    Port(usize),
    /// `spec.healthCheckNodePort`
    HealthCheck,
}

/// What a service needs.
pub(super) fn of(service: &Value) -> Demand {
    let kind = text(service, "/spec/type");
    if kind == "ExternalName" {
        return Demand::default();
    }
    let mut demand = Demand::default();
    if cluster_ip(service) != "None" {
        demand.addresses = address_demands(service);
    }
    let exposes = kind == "NodePort" || kind == "LoadBalancer";
    let allocates =
        kind == "NodePort" || flag(service, "/spec/allocateLoadBalancerNodePorts").unwrap_or(true);
    if exposes {
        demand.ports = port_demands(service, allocates);
    }
    if kind == "LoadBalancer" && text(service, "/spec/externalTrafficPolicy") == "Local" {
        demand.health_check = Some(port_number(service.pointer("/spec/healthCheckNodePort")));
    }
    demand
}

/// One for each family, of which at least one has been settled.
fn address_demands(service: &Value) -> Vec<AddressDemand> {
    let families = service["spec"].items("ipFamilies").iter().enumerate();
    let demand = |(index, family): (usize, &Value)| {
        let requested = match index {
            0 => cluster_ip(service),
            index => text(service, &format!("/spec/clusterIPs/{index}")),
        };
        AddressDemand {
            index,
            is_ipv4: family == "IPv4",
            requested: requested.parse().ok(),
        }
    };
    families.map(demand).collect()
}

fn port_demands(service: &Value, allocates: bool) -> Vec<PortDemand> {
    let ports = ports(service);
    let mut demands: Vec<PortDemand> = Vec::new();
    for (index, port) in ports.iter().enumerate() {
        let requested = port_number(port.get("nodePort"));
        if requested.is_none() && !allocates {
            continue;
        }
        let twin = |other: &Value| {
            other.get("port") == port.get("port") && other.get("protocol") != port.get("protocol")
        };
        let shared_with = ports[..index]
            .iter()
            .position(twin)
            .filter(|_| requested.is_none());
        demands.push(PortDemand {
            place: Place::Port(index),
            requested,
            shared_with,
        });
    }
    demands
}

/// What a stored service holds.
pub(super) fn holdings(service: &Value) -> Holdings {
    let kind = text(service, "/spec/type");
    if kind == "ExternalName" {
        return Holdings::default();
    }
    let mut found = Holdings::default();
    let listed = service.pointer("/spec/clusterIPs").and_then(Value::as_array);
    let listed = listed.into_iter().flatten().filter_map(Value::as_str);
    for address in listed
        .chain([cluster_ip(service)])
        .filter_map(|text| text.parse().ok())
    {
        if !found.addresses.contains(&address) {
            found.addresses.push(address);
        }
    }
    if kind != "NodePort" && kind != "LoadBalancer" {
        return found;
    }
    let numbers = ports(service)
        .iter()
        .map(|port| port.get("nodePort"))
        .collect::<Vec<_>>();
    for number in numbers
        .into_iter()
        .chain([service.pointer("/spec/healthCheckNodePort")])
        .filter_map(port_number)
    {
        if !found.ports.contains(&number) {
            found.ports.push(number);
        }
    }
    found
}

/// Writes an address, and what goes with it.
pub(super) fn set_address(service: &mut Value, index: usize, address: IpAddr) {
    let Some(spec) = service.get_mut("spec").and_then(Value::as_object_mut) else {
        return;
    };
    let address = Value::from(address.to_string());
    if index == 0 {
        spec.insert("clusterIP".to_owned(), address.clone());
    }
    let listed = spec.entry("clusterIPs").or_insert_with(|| json!([]));
    if !listed.is_array() {
        *listed = json!([]);
    }
    match listed.as_array_mut() {
        Some(list) if index < list.len() => list[index] = address,
        Some(list) => list.push(address),
        None => {}
    }
}

/// Writes a node port.
pub(super) fn set_port(service: &mut Value, place: Place, number: u16) {
    let Some(spec) = service.get_mut("spec").and_then(Value::as_object_mut) else {
        return;
    };
    match place {
        Place::HealthCheck => {
            spec.insert("healthCheckNodePort".to_owned(), Value::from(number));
        }
        Place::Port(index) => {
            let port = spec
                .get_mut("ports")
                .and_then(|ports| ports.get_mut(index))
                .and_then(Value::as_object_mut);
            if let Some(port) = port {
                port.insert("nodePort".to_owned(), Value::from(number));
            }
        }
    }
}

/// Gives ports that are the same but for the protocol the same node port.
pub(super) fn share_ports(service: &mut Value, demand: &Demand) {
    for port in &demand.ports {
        let (Place::Port(index), Some(twin)) = (port.place, port.shared_with) else {
            continue;
        };
        let number = port_number(ports(service).get(twin).and_then(|port| port.get("nodePort")));
        if let Some(number) = number {
            set_port(service, Place::Port(index), number);
        }
    }
}

fn cluster_ip(service: &Value) -> &str {
    match text(service, "/spec/clusterIPs/0") {
        "" => text(service, "/spec/clusterIP"),
        address => address,
    }
}

fn ports(service: &Value) -> &[Value] {
    service
        .pointer("/spec/ports")
        .and_then(Value::as_array)
        .map(Vec::as_slice)
        .unwrap_or_default()
}

fn port_number(value: Option<&Value>) -> Option<u16> {
    value
        .and_then(Value::as_u64)
        .and_then(|number| u16::try_from(number).ok())
        .filter(|number| *number > 0)
}

fn text<'a>(service: &'a Value, pointer: &str) -> &'a str {
    service
        .pointer(pointer)
        .and_then(Value::as_str)
        .unwrap_or_default()
}

fn flag(service: &Value, pointer: &str) -> Option<bool> {
    service.pointer(pointer).and_then(Value::as_bool)
}
