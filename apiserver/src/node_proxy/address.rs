//! Names and addresses of whatever requests are passed on to.

use coracle_api::status::ApiError;
use serde_json::Value;

/// Where kubelets listen unless they say otherwise.
const KUBELET_PORT: u16 = 10250;

/// Which of a node's addresses is dialled: the first of these that it has.
const PREFERENCE: [&str; 5] = [
    "InternalIP",
    "Hostname",
    "InternalDNS",
    "ExternalDNS",
    "ExternalIP",
];

/// Where a node's agent listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct NodeAddress {
    pub(super) host: String,
    pub(super) port: u16,
}

/// Where a node says that its agent listens.
pub(super) fn of_node(node: &Value) -> Result<NodeAddress, ApiError> {
    let name = node
        .pointer("/metadata/name")
        .and_then(Value::as_str)
        .unwrap_or_default();
    let addresses = || {
        node.pointer("/status/addresses")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
    };
    let of_type = |wanted: &&str| {
        addresses()
            .find(|address| address.get("type").and_then(Value::as_str) == Some(wanted))?
            .get("address")?
            .as_str()
    };
    let host = PREFERENCE.iter().find_map(of_type);
    let host = host.ok_or_else(|| {
        ApiError::unknown(format!(
            "no preferred addresses found for node {name:?}; known addresses: []"
        ))
    })?;
    let port = node
        .pointer("/status/daemonEndpoints/kubeletEndpoint/Port")
        .and_then(Value::as_u64);
    let port = port
        .and_then(|port| u16::try_from(port).ok())
        .filter(|port| *port != 0);
    Ok(NodeAddress {
        host: host.to_owned(),
        port: port.unwrap_or(KUBELET_PORT),
    })
}

/// `[SCHEME:]NAME[:PORT]`, as names stand in the paths of proxy requests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ProxyName {
    pub(super) tls: bool,
    pub(super) name: String,
    /// A number or a name; empty where none is given.
    pub(super) port: String,
}

impl ProxyName {
    pub(super) fn parse(text: &str) -> Option<Self> {
        let parts: Vec<&str> = text.split(':').collect();
        let (scheme, name, port) = match parts[..] {
            [name] => ("", name, ""),
            [name, port] => ("", name, port),
            [scheme, name, port] => (scheme, name, port),
            _ => return None,
        };
        if name.is_empty() || !matches!(scheme, "" | "http" | "https") {
            return None;
        }
        Some(Self {
            tls: scheme == "https",
            name: name.to_owned(),
            port: port.to_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_node_says_where_its_agent_listens() {
        let node = |addresses: Value, port: u64| {
            json!({"metadata": {"name": "n1"}, "status": {"addresses": addresses,
                "daemonEndpoints": {"kubeletEndpoint": {"Port": port}}}})
        };
        let both =
            json!([{"type": "Hostname", "address": "n1"}, {"type": "InternalIP", "address": "10.0.0.5"}]);
        assert_eq!(
            of_node(&node(both, 10260)),
            Ok(NodeAddress {
                host: "10.0.0.5".to_owned(),
                port: 10260
            })
        );
        let named = json!([{"type": "Hostname", "address": "n1"}]);
        assert_eq!(
            of_node(&node(named, 0)),
            Ok(NodeAddress {
                host: "n1".to_owned(),
                port: 10250
            })
        );
        assert!(of_node(&node(json!([]), 1)).is_err());
    }

    #[test]
    fn names_may_carry_scheme_and_port() {
        let shown =
            |text| ProxyName::parse(text).map(|name| format!("{} {} {}", name.tls, name.name, name.port));
        let cases = [
            ("web", Some("false web ")),
            ("web:80", Some("false web 80")),
            ("https:web:", Some("true web ")),
            ("http:web:admin", Some("false web admin")),
            ("ftp:web:80", None),
            (":80", None),
            ("a:b:c:d", None),
        ];
        for (text, want) in cases {
            assert_eq!(shown(text).as_deref(), want, "{text}");
        }
    }
}
