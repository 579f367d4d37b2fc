//! Where a Service is reached from outside the cluster network: at its ready endpoints. Pure.

use std::net::IpAddr;

use coracle_api::object::Fields;
use coracle_api::quote::quote;
use coracle_api::status::ApiError;
use serde_json::Value;

/// Addresses and ports of the ready endpoints behind a port of a Service. `port` is a number or a name, or empty for the
/// port without a name; `shown` is the Service as it stands in messages.
///
/// # Errors
/// 503 where there is no such port or nobody is ready.
pub(crate) fn endpoints<'s>(
    service: &Value,
    slices: &'s [&'s Value],
    port: &str,
    shown: &str,
) -> Result<Vec<(&'s str, u16)>, ApiError> {
    let name = service["metadata"].text("name");
    let port_name = port_name(service, port, shown)?;
    let found: Vec<(&str, u16)> = slices
        .iter()
        .filter(|slice| belongs_to(slice, name))
        .flat_map(|slice| ready(slice, &port_name))
        .collect();
    if found.is_empty() {
        let message = format!("no endpoints available for service {}", quote(shown));
        return Err(ApiError::service_unavailable(message));
    }
    Ok(found)
}

/// Whether an address is one of others, and not this machine's own or its cloud's.
pub(crate) fn may_be_reached(address: IpAddr) -> bool {
    let own = match address {
        IpAddr::V4(ip) => ip.is_link_local(),
        IpAddr::V6(ip) => ip.is_unicast_link_local(),
    };
    !(own || address.is_loopback() || address.is_multicast() || address.is_unspecified())
}

/// Nobody reaches this machine's own services, or its cloud's metadata, by writing an address into a status.
pub(crate) fn check_address(text: &str) -> Result<(), ApiError> {
    if text.parse().is_ok_and(may_be_reached) {
        Ok(())
    } else {
        Err(ApiError::bad_request("address not allowed"))
    }
}

/// The name of the port meant: as given, or of the port with the number given.
fn port_name(service: &Value, port: &str, shown: &str) -> Result<String, ApiError> {
    let Ok(wanted) = port.parse::<i64>() else {
        return Ok(port.to_owned());
    };
    let mut ports = service["spec"].items("ports").iter();
    let found = ports.find(|port| port.number("port") == Some(wanted));
    let missing = || {
        ApiError::service_unavailable(format!(
            "no service port {wanted} found for service {}",
            quote(shown)
        ))
    };
    Ok(found.ok_or_else(missing)?.text("name").to_owned())
}

fn belongs_to(slice: &Value, service: &str) -> bool {
    slice["metadata"]["labels"].text("kubernetes.io/service-name") == service
}

/// Address and port of each endpoint of a slice that takes requests.
fn ready<'s>(slice: &'s Value, port_name: &str) -> Vec<(&'s str, u16)> {
    let mut ports = slice.items("ports").iter();
    let port = ports
        .find(|port| port.text("name") == port_name)
        .and_then(|port| u16::try_from(port.number("port")?).ok());
    let Some(port) = port else {
        return Vec::new();
    };
    let ready = slice.items("endpoints").iter().filter(|endpoint| {
        endpoint
            .pointer("/conditions/ready")
            .and_then(Value::as_bool)
            .unwrap_or(true)
    });
    let addresses = ready.filter_map(|endpoint| endpoint.pointer("/addresses/0")?.as_str());
    addresses.map(|address| (address, port)).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_service_is_reached_at_its_ready_endpoints() {
        let service = json!({"metadata": {"name": "hook"}, "spec": {"ports": [
            {"name": "web", "port": 443}, {"name": "admin", "port": 8443}]}});
        let slice = |service: &str, ready: bool, address: &str| {
            json!({"metadata": {"labels": {"kubernetes.io/service-name": service}},
                "ports": [{"name": "web", "port": 9443}, {"name": "admin", "port": 9444}],
                "endpoints": [{"addresses": [address], "conditions": {"ready": ready}}]})
        };
        let slices = [
            slice("hook", true, "10.0.0.1"),
            slice("hook", false, "10.0.0.2"),
            slice("other", true, "10.0.0.3"),
        ];
        let slices: Vec<&Value> = slices.iter().collect();
        let found =
            |port: &str| endpoints(&service, &slices, port, "hook").map_err(|error| error.to_string());
        assert_eq!(found("443"), Ok(vec![("10.0.0.1", 9443)]));
        assert_eq!(found("admin"), Ok(vec![("10.0.0.1", 9444)]));
        assert_eq!(
            found("80"),
            Err("no service port 80 found for service \"hook\"".to_owned())
        );
        assert_eq!(
            endpoints(&service, &[], "443", "hook").unwrap_err().message(),
            "no endpoints available for service \"hook\""
        );
    }

    #[test]
    fn addresses_of_this_machine_are_not_dialled() {
        for (address, allowed) in [
            ("10.0.0.1", true),
            ("127.0.0.1", false),
            ("169.254.169.254", false),
            ("::1", false),
            ("fe80::1", false),
            ("name", false),
        ] {
            assert_eq!(check_address(address).is_ok(), allowed, "{address}");
        }
    }
}
