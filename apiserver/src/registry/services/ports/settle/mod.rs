//! Which node ports a service gets: upstream's `txnAllocNodePorts` for a new one and `txnUpdateNodePorts` for a change. Pure.

use coracle_api::object::Fields;
use coracle_api::status::ApiError;
use coracle_api::validation::{FieldErrors, Path};
use serde_json::Value;

use super::PortError;
use super::operation::Operation;

/// Why a service does not get its node ports.
#[derive(Debug, PartialEq)]
pub(in crate::registry::services) enum Refusal {
    /// The port that one of its ports asks for cannot be had.
    Port { index: usize, port: i64, why: PortError },
    /// None can be had.
    AnyPort(PortError),
    /// The port that it asks for health checks cannot be had.
    HealthCheck { port: i64, why: PortError },
    /// None can be had for health checks.
    AnyHealthCheck(PortError),
    /// Two of its ports have one protocol and one node port.
    Duplicate { protocol: String, port: i64 },
}

impl Refusal {
    /// As upstream answers it.
    pub(in crate::registry::services) fn status(self, name: &str) -> ApiError {
        match self {
            Self::Port { index, port, why } => {
                let mut errors = FieldErrors::new();
                let (spec, list) = (Path::new("spec"), "ports");
                let ports = spec.child(list);
                errors.invalid(&ports.index(index).child("nodePort"), port, why.to_string());
                ApiError::invalid("", "Service", name, &errors)
            }
            Self::AnyPort(why) => ApiError::internal(format!("failed to allocate a nodePort: {why}")),
            Self::HealthCheck { port, why } => ApiError::internal(format!(
                "failed to allocate requested HealthCheck NodePort {port}: {why}"
            )),
            Self::AnyHealthCheck(why) => {
                ApiError::internal(format!("failed to allocate a HealthCheck NodePort 0: {why}"))
            }
            Self::Duplicate { protocol, port } => {
                ApiError::unknown(format!("duplicate nodePort: {{{protocol} {port}}}"))
            }
        }
    }
}

/// Whether a write may take ports at all, so that it matters which are held.
pub(in crate::registry::services) fn takes(service: &Value, old: Option<&Value>) -> bool {
    let asks_more = match old {
        None => true,
        Some(old) => {
            let had = node_ports(old);
            let news = |port: i64| !had.contains(&port) && (port != 0 || allocates(service));
            ports(service).iter().any(|port| news(node_port(port)))
        }
    };
    let begins_checks = needs_health_check(service) && !old.is_some_and(needs_health_check);
    exposes(service) && asks_more || begins_checks
}

/// Takes the ports that a service needs besides those that it has, and writes them into it.
///
/// # Errors
/// Where one cannot be had.
pub(in crate::registry::services) fn settle(
    service: &mut Value,
    old: Option<&Value>,
    operation: &mut Operation<'_>,
) -> Result<(), Refusal> {
    if exposes(service) {
        match old {
            None => first(service, operation)?,
            Some(old) => again(service, old, operation)?,
        }
    }
    if needs_health_check(service) && !old.is_some_and(needs_health_check) {
        health_check(service, operation)?;
    }
    Ok(())
}

/// Ports of one number share a node port, whatever their protocols: the one that any of them asks for.
fn first(service: &mut Value, operation: &mut Operation<'_>) -> Result<(), Refusal> {
    let (all, allocates) = (ports(service).to_vec(), allocates(service));
    let mut given: Vec<(Option<i64>, i64)> = Vec::new();
    for (index, port) in all.iter().enumerate() {
        let (number, own) = (port.number("port"), node_port(port));
        if own == 0 && !allocates {
            continue;
        }
        let shared = given
            .iter()
            .find(|(other, _)| *other == number)
            .map(|(_, shared)| *shared);
        let taken = match shared {
            Some(shared) if own == 0 || own == shared => shared,
            Some(_) => take(operation, index, own)?,
            None => {
                let same = all.iter().filter(|other| other.number("port") == number);
                let taken = match same.map(node_port).find(|asked| *asked != 0) {
                    Some(asked) => take(operation, index, asked)?,
                    None => operation.take_any().map_err(Refusal::AnyPort)?,
                };
                given.push((number, taken));
                taken
            }
        };
        set(service, index, taken);
    }
    Ok(())
}

/// What a service had it keeps; each port that has none gets one of its own.
fn again(service: &mut Value, old: &Value, operation: &mut Operation<'_>) -> Result<(), Refusal> {
    let (all, allocates, had) = (ports(service).to_vec(), allocates(service), node_ports(old));
    let mut seen: Vec<(&str, i64)> = Vec::new();
    let mut asked = Vec::new();
    for (index, port) in all.iter().enumerate() {
        let own = node_port(port);
        if own == 0 && !allocates {
            continue;
        }
        let taken = match own {
            0 => operation.take_any().map_err(Refusal::AnyPort)?,
            own if had.contains(&own) || asked.contains(&own) => own,
            own => {
                asked.push(own);
                take(operation, index, own)?
            }
        };
        let entry = (port.text("protocol"), taken);
        if seen.contains(&entry) {
            let protocol = entry.0.to_owned();
            return Err(Refusal::Duplicate {
                protocol,
                port: taken,
            });
        }
        seen.push(entry);
        set(service, index, taken);
    }
    Ok(())
}

fn take(operation: &mut Operation<'_>, index: usize, port: i64) -> Result<i64, Refusal> {
    let taken = operation.take(port);
    taken.map_err(|why| Refusal::Port { index, port, why })?;
    Ok(port)
}

fn health_check(service: &mut Value, operation: &mut Operation<'_>) -> Result<(), Refusal> {
    match service["spec"].number("healthCheckNodePort").unwrap_or_default() {
        0 => {
            let port = operation.take_any().map_err(Refusal::AnyHealthCheck)?;
            service["spec"]["healthCheckNodePort"] = port.into();
        }
        port => {
            let taken = operation.take(port);
            taken.map_err(|why| Refusal::HealthCheck { port, why })?;
        }
    }
    Ok(())
}

fn set(service: &mut Value, index: usize, port: i64) {
    if let Some(entry) = service.pointer_mut(&format!("/spec/ports/{index}"))
        && entry.is_object()
    {
        entry["nodePort"] = port.into();
    }
}

/// What a stored service holds.
pub(in crate::registry::services) fn holdings(service: &Value) -> Vec<u16> {
    if !exposes(service) {
        return Vec::new();
    }
    let check = service["spec"].number("healthCheckNodePort").unwrap_or_default();
    let numbers = node_ports(service).into_iter().chain([check]);
    let mut held: Vec<u16> = numbers
        .filter_map(|port| u16::try_from(port).ok())
        .filter(|port| *port != 0)
        .collect();
    held.sort_unstable();
    held.dedup();
    held
}

/// Those that the ports of a service name.
fn node_ports(service: &Value) -> Vec<i64> {
    let named = ports(service).iter().map(node_port);
    named.filter(|port| *port != 0).collect()
}

fn ports(service: &Value) -> &[Value] {
    service["spec"].items("ports")
}

pub(super) fn node_port(port: &Value) -> i64 {
    port.number("nodePort").unwrap_or_default()
}

fn exposes(service: &Value) -> bool {
    matches!(service["spec"].text("type"), "NodePort" | "LoadBalancer")
}

fn allocates(service: &Value) -> bool {
    let spec = &service["spec"];
    match spec.text("type") {
        "NodePort" => true,
        "LoadBalancer" => spec["allocateLoadBalancerNodePorts"] != false,
        _ => false,
    }
}

fn needs_health_check(service: &Value) -> bool {
    let spec = &service["spec"];
    spec.text("type") == "LoadBalancer" && spec.text("externalTrafficPolicy") == "Local"
}

#[cfg(test)]
mod tests;
