//! Environment variables that announce services, as Docker links once did.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Service;

/// The variables for a pod in `namespace`: its namespace's services if it wants links, and always the master service
/// `default/kubernetes`, which a service of that name in the own namespace hides.
pub(crate) fn service_variables<'a>(
    services: impl IntoIterator<Item = &'a Service>,
    namespace: &str,
    links: bool,
) -> BTreeMap<String, String> {
    let mut chosen: BTreeMap<&str, &Service> = BTreeMap::new();
    for service in services {
        let (Some(ns), Some(name)) = (&service.metadata.namespace, &service.metadata.name) else {
            continue;
        };
        if cluster_ip(service).is_none() {
            continue;
        }
        if ns == "default" && name == "kubernetes" {
            chosen.entry(name).or_insert(service);
        } else if links && ns == namespace {
            chosen.insert(name, service);
        }
    }
    chosen
        .into_iter()
        .flat_map(|(name, service)| variables(name, service))
        .collect()
}

fn cluster_ip(service: &Service) -> Option<&str> {
    let ip = service.spec.as_ref()?.cluster_ip.as_deref()?;
    (!ip.is_empty() && ip != "None").then_some(ip)
}

fn variables(name: &str, service: &Service) -> Vec<(String, String)> {
    let (Some(ip), Some(spec)) = (cluster_ip(service), &service.spec) else {
        return Vec::new();
    };
    let prefix = name.to_uppercase().replace('-', "_");
    let ports = spec.ports.as_deref().unwrap_or_default();
    let mut out = vec![(format!("{prefix}_SERVICE_HOST"), ip.to_owned())];
    for (i, port) in ports.iter().enumerate() {
        if i == 0 {
            out.push((format!("{prefix}_SERVICE_PORT"), port.port.to_string()));
        }
        if let Some(port_name) = port.name.as_deref().filter(|n| !n.is_empty()) {
            let port_name = port_name.to_uppercase().replace('-', "_");
            out.push((
                format!("{prefix}_SERVICE_PORT_{port_name}"),
                port.port.to_string(),
            ));
        }
    }
    for (i, port) in ports.iter().enumerate() {
        let upper = port.protocol.as_deref().unwrap_or("TCP");
        let url = format!("{}://{}", upper.to_lowercase(), host_port(ip, port.port));
        let each = format!("{prefix}_PORT_{}_{upper}", port.port);
        if i == 0 {
            out.push((format!("{prefix}_PORT"), url.clone()));
        }
        out.push((each.clone(), url));
        out.push((format!("{each}_PROTO"), upper.to_lowercase()));
        out.push((format!("{each}_PORT"), port.port.to_string()));
        out.push((format!("{each}_ADDR"), ip.to_owned()));
    }
    out
}

fn host_port(ip: &str, port: i32) -> String {
    if ip.contains(':') {
        format!("[{ip}]:{port}")
    } else {
        format!("{ip}:{port}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn service(ns: &str, name: &str, ip: &str) -> Service {
        serde_json::from_value(json!({
            "metadata": {"namespace": ns, "name": name},
            "spec": {"clusterIP": ip, "ports": [{"name": "http-web", "port": 80}, {"name": "dns", "protocol": "UDP", "port": 53}]},
        }))
        .unwrap()
    }

    #[test]
    fn a_service_announces_host_and_ports() {
        let service = service("ns", "my-db", "10.96.0.7");
        insta::assert_json_snapshot!(service_variables([&service], "ns", true));
    }

    #[test]
    fn namespace_and_links_choose_services() {
        let all = [
            service("ns", "web", "10.96.0.7"),
            service("ns", "headless", "None"),
            service("other", "web", "10.96.0.8"),
            service("default", "kubernetes", "10.96.0.1"),
        ];
        let hosts = |links| {
            let vars = service_variables(&all, "ns", links);
            vars.into_iter()
                .filter(|(k, _)| k.ends_with("_HOST"))
                .map(|(_, v)| v)
                .collect::<Vec<_>>()
        };
        assert_eq!(hosts(true), ["10.96.0.1", "10.96.0.7"]);
        assert_eq!(hosts(false), ["10.96.0.1"]);
    }
}
