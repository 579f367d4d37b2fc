//! Ports of a pod that are named or opened twice.

use serde_json::Value;

use super::Warnings;
use super::pods::containers;
use crate::object::Fields;
use crate::quote::quote;
use crate::validation::Path;

/// All ports with their places, container by container.
fn ports<'a>(spec: &'a Value, at: &Path<'_>) -> Vec<(String, &'a Value)> {
    let mut all = Vec::new();
    containers(spec, at, |container, at| {
        let list = at.child("ports");
        let ports = container.items("ports").iter().enumerate();
        all.extend(ports.map(|(index, port)| (list.index(index).to_string(), port)));
    });
    all
}

pub(super) fn check(spec: &Value, at: &Path<'_>, found: &mut Warnings) {
    let ports = ports(spec, at);
    for (index, (place, port)) in ports.iter().enumerate() {
        let number = |name: &str| port.number(name).unwrap_or_default();
        if !port.text("hostIP").is_empty() && number("hostPort") == 0 {
            // Upstream prints its struct.
            found.add(format!(
                "{place}: hostIP set without hostPort: {{Name:{} HostPort:0 ContainerPort:{} Protocol:{} HostIP:{}}}",
                port.text("name"),
                number("containerPort"),
                port.text("protocol"),
                port.text("hostIP"),
            ));
        }
        for (other_place, other) in &ports[..index] {
            if let Some(how) = clash(port, other) {
                found.add(format!("{place}: {how} port definition with {other_place}"));
            }
        }
    }
    for (index, (place, port)) in ports.iter().enumerate() {
        let name = port.text("name");
        let first = ports[..index]
            .iter()
            .find(|(_, other)| other.text("name") == name);
        if let Some((first, _)) = first.filter(|_| !name.is_empty()) {
            let name = quote(name);
            found.add(format!(
                "{place}: duplicate port name {name} with {first}, services and probes that select ports by name will use {first}"
            ));
        }
    }
}

/// How two definitions of one port of a pod get in each other's way.
fn clash(port: &Value, other: &Value) -> Option<&'static str> {
    let number = |port: &Value, name: &str| port.number(name).unwrap_or_default();
    let same_number = |name: &str| number(port, name) == number(other, name);
    if !same_number("containerPort") || port.text("protocol") != other.text("protocol") {
        return None;
    }
    let (ip, other_ip) = (port.text("hostIP"), other.text("hostIP"));
    if ip == other_ip && same_number("hostPort") {
        Some("duplicate")
    } else if number(port, "hostPort") == 0 || number(other, "hostPort") == 0 {
        Some("overlapping")
    } else if same_number("hostPort") && ip.is_empty() != other_ip.is_empty() {
        Some("dangerously ambiguous")
    } else {
        None
    }
}
