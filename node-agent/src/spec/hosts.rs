//! A pod's host name and its hosts file.

use k8s_openapi::api::core::v1::{HostAlias, Pod};

const HOSTNAME_MAX: usize = 63;

/// The short host name, and the domain under which services find it where it has a subdomain.
pub(crate) fn hostname_and_domain(pod: &Pod, cluster_domain: &str) -> (String, Option<String>) {
    let spec = pod.spec.as_ref();
    if let Some(name) = spec.and_then(|s| s.hostname_override.clone()) {
        return (name, None);
    }
    let own = spec.and_then(|s| s.hostname.clone()).filter(|h| !h.is_empty());
    let name = own.or_else(|| pod.metadata.name.clone()).unwrap_or_default();
    let short: String = name.chars().take(HOSTNAME_MAX).collect();
    let short = short.trim_end_matches(['-', '.']).to_owned();
    let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
    let domain = spec
        .and_then(|s| s.subdomain.as_deref())
        .filter(|s| !s.is_empty())
        .map(|sub| format!("{sub}.{namespace}.svc.{cluster_domain}"));
    (short, domain)
}

/// What the sandbox is called inside: the short name, or the full one where the pod asks for it.
pub(crate) fn sandbox_hostname(pod: &Pod, cluster_domain: &str) -> String {
    let (short, domain) = hostname_and_domain(pod, cluster_domain);
    let full = pod
        .spec
        .as_ref()
        .is_some_and(|s| s.set_hostname_as_fqdn == Some(true));
    match domain {
        Some(domain) if full => format!("{short}.{domain}"),
        _ => short,
    }
}

/// `/etc/hosts` of a pod with an address of its own.
pub(crate) fn hosts_file(
    ips: &[String],
    hostname: &str,
    domain: Option<&str>,
    aliases: &[HostAlias],
) -> String {
    let mut out = String::from(
        "# Kubernetes-managed hosts file.\n127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n\
         fe00::\tip6-localnet\nfe00::\tip6-mcastprefix\nfe00::1\tip6-allnodes\nfe00::2\tip6-allrouters\n",
    );
    for ip in ips {
        match domain {
            Some(domain) => out.push_str(&format!("{ip}\t{hostname}.{domain}\t{hostname}\n")),
            None => out.push_str(&format!("{ip}\t{hostname}\n")),
        }
    }
    out + &alias_lines(aliases)
}

/// `/etc/hosts` of a pod on the node's network: the node's own with the pod's aliases.
pub(crate) fn node_hosts_file(node_hosts: &str, aliases: &[HostAlias]) -> String {
    format!(
        "# Kubernetes-managed hosts file (host network).\n{node_hosts}{}",
        alias_lines(aliases)
    )
}

fn alias_lines(aliases: &[HostAlias]) -> String {
    if aliases.is_empty() {
        return String::new();
    }
    let line = |a: &HostAlias| {
        format!(
            "{}\t{}\n",
            a.ip,
            a.hostnames.as_deref().unwrap_or_default().join("\t")
        )
    };
    format!(
        "\n# Entries added by HostAliases.\n{}",
        aliases.iter().map(line).collect::<String>()
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pod(spec: serde_json::Value) -> Pod {
        serde_json::from_value(json!({"metadata": {"name": "web-0", "namespace": "ns"}, "spec": spec}))
            .unwrap()
    }

    #[test]
    fn names() {
        let long = "a".repeat(70);
        for (spec, short, sandbox) in [
            (json!({"containers": []}), "web-0", "web-0"),
            (json!({"containers": [], "hostname": "h"}), "h", "h"),
            (json!({"containers": [], "subdomain": "s"}), "web-0", "web-0"),
            (
                json!({"containers": [], "subdomain": "s", "setHostnameAsFQDN": true}),
                "web-0",
                "web-0.s.ns.svc.cluster.local",
            ),
            (
                json!({"containers": [], "hostname": long}),
                &"a".repeat(63),
                &"a".repeat(63),
            ),
        ] {
            let pod = pod(spec.clone());
            assert_eq!(hostname_and_domain(&pod, "cluster.local").0, short, "{spec}");
            assert_eq!(sandbox_hostname(&pod, "cluster.local"), sandbox, "{spec}");
        }
    }

    #[test]
    fn hosts() {
        let alias = HostAlias {
            ip: "1.2.3.4".into(),
            hostnames: Some(vec!["a.example".into(), "b".into()]),
        };
        insta::assert_snapshot!(hosts_file(
            &["10.244.0.5".into()],
            "web-0",
            Some("s.ns.svc.cluster.local"),
            &[alias]
        ));
    }
}
