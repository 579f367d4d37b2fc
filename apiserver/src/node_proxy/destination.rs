//! Where a proxy request goes: the rules of upstream's `ResourceLocation` for pods, services and nodes.

use std::net::IpAddr;

use coracle_api::quote::quote;
use coracle_api::status::ApiError;
use serde_json::Value;

use super::address::{self, ProxyName};
use crate::outbound::service::{self, check_address};

/// How a destination is spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Transport {
    /// Plain HTTP.
    Plain,
    /// TLS with whoever answers: nobody vouches for what runs in pods.
    Tls,
    /// TLS under this server's own certificate, with a node agent.
    NodeAgent,
}

/// A server and what is asked of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Destination {
    pub(super) transport: Transport,
    pub(super) host: String,
    pub(super) port: u16,
    /// Path and query, ready to be sent.
    pub(super) target: String,
}

impl Destination {
    pub(super) fn new(transport: Transport, host: &str, port: u16) -> Self {
        Self {
            transport,
            host: host.to_owned(),
            port,
            target: "/".to_owned(),
        }
    }

    /// The same server, asked for a path. `query` is encoded already.
    pub(super) fn to(self, path: &str, query: &str) -> Self {
        let target = if query.is_empty() {
            path.to_owned()
        } else {
            format!("{path}?{query}")
        };
        Self { target, ..self }
    }

    /// Host and port as they stand in a URL.
    pub(super) fn authority(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }
}

/// A pod, at its own address.
pub(super) fn pod(pod: &Value, name: &ProxyName) -> Result<Destination, ApiError> {
    let ip = pod
        .pointer("/status/podIP")
        .and_then(Value::as_str)
        .unwrap_or_default();
    check_address(ip)?;
    let transport = transport_of(name);
    let port = match name.port.as_str() {
        "" => first_port(pod).unwrap_or(if name.tls { 443 } else { 80 }),
        text => number(text)?,
    };
    Ok(Destination::new(transport, ip, port))
}

/// One of the ready endpoints of a service, by chance.
pub(super) fn service(
    object: &Value,
    slices: &[&Value],
    name: &ProxyName,
    chance: usize,
) -> Result<Destination, ApiError> {
    let shown = match name.port.as_str() {
        "" => name.name.clone(),
        port => format!("{}:{port}", name.name),
    };
    let endpoints = service::endpoints(object, slices, &name.port, &shown)?;
    let (ip, port) = endpoints[chance % endpoints.len()];
    check_address(ip)?;
    Ok(Destination::new(transport_of(name), ip, port))
}

/// A node: its agent, or something else that listens there.
pub(super) fn node(node: &Value, name: &ProxyName) -> Result<Destination, ApiError> {
    let agent = address::of_node(node)?;
    let port = if name.port.is_empty() {
        agent.port
    } else {
        number(&name.port)?
    };
    if port == agent.port {
        return Ok(Destination::new(Transport::NodeAgent, &agent.host, port));
    }
    // A name is looked at once it is resolved.
    if agent.host.parse::<IpAddr>().is_ok() {
        check_address(&agent.host)?;
    }
    Ok(Destination::new(transport_of(name), &agent.host, port))
}

fn transport_of(name: &ProxyName) -> Transport {
    if name.tls {
        Transport::Tls
    } else {
        Transport::Plain
    }
}

fn number(text: &str) -> Result<u16, ApiError> {
    text.parse()
        .map_err(|_| ApiError::bad_request(format!("invalid port {}", quote(text))))
}

fn first_port(pod: &Value) -> Option<u16> {
    let containers = pod.pointer("/spec/containers")?.as_array()?;
    let port = containers
        .iter()
        .find_map(|container| container.get("ports")?.get(0)?.get("containerPort")?.as_u64());
    u16::try_from(port?).ok()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn name(text: &str) -> ProxyName {
        ProxyName::parse(text).unwrap()
    }

    fn shown(destination: Result<Destination, ApiError>) -> String {
        match destination {
            Ok(found) => format!("{:?} {}", found.transport, found.authority()),
            Err(error) => format!("{} {}", error.code(), error.message()),
        }
    }

    #[test]
    fn pods_are_reached_at_their_address() {
        let with_ip = |ip: &str| json!({"status": {"podIP": ip}, "spec": {"containers": [{"ports": []}, {"ports": [{"containerPort": 8080}]}]}});
        let cases = [
            ("10.1.0.5", "web", "Plain 10.1.0.5:8080"),
            ("10.1.0.5", "web:81", "Plain 10.1.0.5:81"),
            ("fd00::5", "https:web:443", "Tls [fd00::5]:443"),
            ("10.1.0.5", "web:http", "400 invalid port \"http\""),
            ("", "web", "400 address not allowed"),
            ("127.0.0.1", "web", "400 address not allowed"),
            ("169.254.169.254", "web", "400 address not allowed"),
        ];
        for (ip, asked, want) in cases {
            assert_eq!(shown(pod(&with_ip(ip), &name(asked))), want, "{ip} {asked}");
        }
    }

    #[test]
    fn services_are_reached_at_a_ready_endpoint() {
        let service_object = json!({"metadata": {"name": "web"}, "spec": {"ports": [{"name": "http", "port": 80}, {"name": "admin", "port": 81}]}});
        let slice = json!({
            "metadata": {"labels": {"kubernetes.io/service-name": "web"}},
            "ports": [{"name": "http", "port": 8080}],
            "endpoints": [
                {"addresses": ["10.1.0.1"], "conditions": {"ready": false}},
                {"addresses": ["10.1.0.2"], "conditions": {"ready": true}},
                {"addresses": ["10.1.0.3"]},
            ],
        });
        let find = |asked: &str, chance| shown(service(&service_object, &[&slice], &name(asked), chance));
        assert_eq!(find("web:http", 0), "Plain 10.1.0.2:8080");
        assert_eq!(find("web:80", 3), "Plain 10.1.0.3:8080");
        assert_eq!(
            find("web:admin", 0),
            "503 no endpoints available for service \"web:admin\""
        );
        assert_eq!(
            find("web:99", 0),
            "503 no service port 99 found for service \"web:99\""
        );
        assert_eq!(find("web", 0), "503 no endpoints available for service \"web\"");
    }

    #[test]
    fn nodes_are_spoken_to_as_agents_at_the_agents_port_only() {
        let object = json!({"status": {"addresses": [{"type": "InternalIP", "address": "10.0.0.5"}]}});
        assert_eq!(shown(node(&object, &name("n1"))), "NodeAgent 10.0.0.5:10250");
        assert_eq!(
            shown(node(&object, &name("n1:10250"))),
            "NodeAgent 10.0.0.5:10250"
        );
        assert_eq!(shown(node(&object, &name("n1:9100"))), "Plain 10.0.0.5:9100");
        for address in ["127.0.0.1", "169.254.169.254", "::1"] {
            let object = json!({"status": {"addresses": [{"type": "InternalIP", "address": address}]}});
            assert_eq!(shown(node(&object, &name("n1:9100"))), "400 address not allowed");
        }
    }
}
