//! Which addresses a service asks for and which it holds. Pure.

use std::net::IpAddr;

use coracle_api::object::Fields;
use serde_json::{Value, json};

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

/// One for each family, of which at least one has been settled; none for a service that is to have none.
pub(super) fn addresses(service: &Value) -> Vec<AddressDemand> {
    if service["spec"].text("type") == "ExternalName" || cluster_ip(service) == "None" {
        return Vec::new();
    }
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

/// The addresses that a stored service holds.
pub(super) fn addresses_held(service: &Value) -> Vec<IpAddr> {
    if service["spec"].text("type") == "ExternalName" {
        return Vec::new();
    }
    let listed = service["spec"].items("clusterIPs").iter();
    let texts = listed.filter_map(Value::as_str).chain([cluster_ip(service)]);
    let mut held = Vec::new();
    for address in texts.filter_map(|text| text.parse().ok()) {
        if !held.contains(&address) {
            held.push(address);
        }
    }
    held
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

fn cluster_ip(service: &Value) -> &str {
    match text(service, "/spec/clusterIPs/0") {
        "" => text(service, "/spec/clusterIP"),
        address => address,
    }
}

fn text<'a>(service: &'a Value, pointer: &str) -> &'a str {
    service
        .pointer(pointer)
        .and_then(Value::as_str)
        .unwrap_or_default()
}
