//! What a pod's resolv.conf says.

use std::net::IpAddr;

use k8s_cri::v1::DnsConfig;
use k8s_openapi::api::core::v1::PodSpec;

/// Upstream's limits (KEP-2595).
const MAX_SEARCHES: usize = 32;
const MAX_SEARCH_CHARS: usize = 2048;
const MAX_SERVERS: usize = 3;
/// A resolv.conf is outside input: what stands beyond this is not read.
const MAX_LINES: usize = 1000;

/// The cluster's DNS and the node's own resolver.
#[derive(Clone, Debug, Default)]
pub(crate) struct Resolver {
    pub(crate) cluster_dns: Vec<IpAddr>,
    pub(crate) cluster_domain: String,
    pub(crate) host: DnsConfig,
}

/// Reads a resolv.conf; unknown lines are skipped as resolvers skip them.
pub(crate) fn parse_resolv_conf(text: &str) -> DnsConfig {
    let mut config = DnsConfig::default();
    for line in text.lines().take(MAX_LINES) {
        let mut words = line.split_whitespace();
        match words.next() {
            Some("nameserver") => config.servers.extend(words.next().map(str::to_owned)),
            Some("search") => config.searches = words.map(|w| w.trim_end_matches('.').to_owned()).collect(),
            Some("options") => config.options = words.map(str::to_owned).collect(),
            _ => {}
        }
    }
    config.searches.retain(|s| !s.is_empty());
    config
}

/// The pod's resolver configuration by `dnsPolicy` and `dnsConfig`.
pub(crate) fn pod_dns(spec: &PodSpec, namespace: &str, resolver: &Resolver) -> DnsConfig {
    let host_network = spec.host_network == Some(true);
    let base = match spec.dns_policy.as_deref().unwrap_or("ClusterFirst") {
        "None" => DnsConfig::default(),
        "ClusterFirstWithHostNet" => cluster_first(namespace, resolver),
        "ClusterFirst" if !host_network => cluster_first(namespace, resolver),
        _ => resolver.host.clone(),
    };
    limit(with_own(base, spec))
}

fn cluster_first(namespace: &str, resolver: &Resolver) -> DnsConfig {
    if resolver.cluster_dns.is_empty() {
        return resolver.host.clone();
    }
    let domain = &resolver.cluster_domain;
    let mut searches = vec![
        format!("{namespace}.svc.{domain}"),
        format!("svc.{domain}"),
        domain.clone(),
    ];
    extend_unique(&mut searches, &resolver.host.searches);
    DnsConfig {
        servers: resolver.cluster_dns.iter().map(ToString::to_string).collect(),
        searches,
        options: vec!["ndots:5".into()],
    }
}

fn with_own(mut base: DnsConfig, spec: &PodSpec) -> DnsConfig {
    let Some(own) = &spec.dns_config else { return base };
    extend_unique(&mut base.servers, own.nameservers.as_deref().unwrap_or_default());
    extend_unique(&mut base.searches, own.searches.as_deref().unwrap_or_default());
    for option in own.options.iter().flatten() {
        let Some(name) = &option.name else { continue };
        base.options.retain(|o| o.split(':').next() != Some(name));
        base.options.push(match &option.value {
            Some(value) if !value.is_empty() => format!("{name}:{value}"),
            _ => name.clone(),
        });
    }
    base
}

fn extend_unique(list: &mut Vec<String>, more: &[String]) {
    for item in more {
        if !list.contains(item) {
            list.push(item.clone());
        }
    }
}

fn limit(mut config: DnsConfig) -> DnsConfig {
    config.servers.truncate(MAX_SERVERS);
    config.searches.truncate(MAX_SEARCHES);
    let mut chars = 0;
    config.searches.retain(|s| {
        chars += s.len() + 1;
        chars <= MAX_SEARCH_CHARS + 1
    });
    config
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn resolver() -> Resolver {
        Resolver {
            cluster_dns: vec![IpAddr::from([10, 96, 0, 10])],
            cluster_domain: "cluster.local".into(),
            host: parse_resolv_conf(
                "# c\nnameserver 192.0.2.1\nsearch example.org. corp\noptions rotate\nfoo bar\n",
            ),
        }
    }

    fn text(spec: serde_json::Value) -> String {
        let spec: PodSpec = serde_json::from_value(spec).unwrap();
        let dns = pod_dns(&spec, "ns", &resolver());
        format!(
            "{} | {} | {}",
            dns.servers.join(" "),
            dns.searches.join(" "),
            dns.options.join(" ")
        )
    }

    #[test]
    fn policies() {
        let cluster =
            "10.96.0.10 | ns.svc.cluster.local svc.cluster.local cluster.local example.org corp | ndots:5";
        let host = "192.0.2.1 | example.org corp | rotate";
        for (spec, want) in [
            (json!({"containers": []}), cluster),
            (json!({"containers": [], "hostNetwork": true}), host),
            (
                json!({"containers": [], "hostNetwork": true, "dnsPolicy": "ClusterFirstWithHostNet"}),
                cluster,
            ),
            (json!({"containers": [], "dnsPolicy": "Default"}), host),
            (
                json!({"containers": [], "dnsPolicy": "None", "dnsConfig": {"nameservers": ["1.1.1.1"], "searches": ["a"],
                    "options": [{"name": "ndots", "value": "2"}, {"name": "edns0"}]}}),
                "1.1.1.1 | a | ndots:2 edns0",
            ),
            (
                json!({"containers": [], "dnsConfig": {"options": [{"name": "ndots", "value": "1"}]}}),
                &cluster.replace("ndots:5", "ndots:1"),
            ),
        ] {
            assert_eq!(text(spec.clone()), want, "{spec}");
        }
    }

    #[test]
    fn limits_hold() {
        let searches: Vec<String> = (0..40).map(|i| format!("s{i}")).collect();
        let spec = serde_json::from_value(json!({"containers": [], "dnsPolicy": "None",
            "dnsConfig": {"nameservers": ["1.1.1.1", "1.1.1.2", "1.1.1.3", "1.1.1.4"], "searches": searches}}))
        .unwrap();
        let dns = pod_dns(&spec, "ns", &resolver());
        assert_eq!(
            (dns.servers.len(), dns.searches.len()),
            (MAX_SERVERS, MAX_SEARCHES)
        );
    }
}
