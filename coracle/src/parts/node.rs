//! `coracle node`: the parts that every node runs, in one process.

use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;

use anyhow::{Context, Result};
use coracle_node_agent::Serving;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::rotation::Rotation;
use super::{node_name, until_all_end, until_signalled};
use crate::cli::Node;

/// Runs node agent, proxy and DNS until a signal or a failure ends them.
///
/// # Errors
/// The first error of a part.
pub(crate) async fn run(flags: Node) -> Result<()> {
    let name = node_name(flags.hostname_override.clone())?;
    let mut tasks = JoinSet::new();
    let shutdown = until_signalled(&mut tasks)?;
    let (rotation, client, renewals) = Rotation::of_node(&flags, &name).await?;
    let mut agent = agent(&flags, &name)?;
    if let Some(serving) = &mut agent.serving {
        serving.renewals = Some(renewals);
    }
    tasks.spawn(coracle_node_agent_task(client, agent, shutdown.clone()));
    tasks.spawn(rotation.keep(shutdown.clone()));
    if let Some(kubeconfig) = &flags.proxy_kubeconfig {
        let config = super::clients::proxy_config(&name, &flags.node_ip, &flags.cluster_cidr)?;
        let (rotation, client) = Rotation::of_part(kubeconfig, "kube-proxy").await?;
        tasks.spawn(rotation.keep(shutdown.clone()));
        if flags.pod_routes {
            let (client, name, shutdown) = (client.clone(), name.clone(), shutdown.clone());
            let pods = super::clients::pod_network(&flags.cluster_cidr)?;
            tasks.spawn(async move {
                coracle_node_agent::run_routes(client, Some(name), pods, shutdown).await;
                Ok(())
            });
        }
        let shutdown = shutdown.clone();
        tasks.spawn(async move { Ok(coracle_proxy::run(client, config, shutdown).await?) });
    }
    if let Some(kubeconfig) = &flags.dns_kubeconfig {
        let config = super::clients::dns_config(&name, flags.node_ip[0], &flags.cluster_domain);
        let (rotation, client) = Rotation::of_part(kubeconfig, "coracle-dns").await?;
        tasks.spawn(rotation.keep(shutdown.clone()));
        let shutdown = shutdown.clone();
        tasks.spawn(async move { Ok(coracle_dns::run(client, config, shutdown).await?) });
    }
    until_all_end(tasks, shutdown).await
}

async fn coracle_node_agent_task(
    client: kube::Client,
    config: coracle_node_agent::Config,
    shutdown: CancellationToken,
) -> Result<()> {
    Ok(coracle_node_agent::run(client, config, shutdown).await?)
}

fn agent(flags: &Node, name: &str) -> Result<coracle_node_agent::Config> {
    let serving = match (
        &flags.tls_cert_file,
        &flags.tls_private_key_file,
        &flags.client_ca_file,
    ) {
        (Some(certificate), Some(key), Some(authority)) => Some(Serving {
            cert_pem: read(certificate)?,
            key_pem: read(key)?,
            client_ca_pem: read(authority)?,
            renewals: None,
        }),
        _ => None,
    };
    Ok(coracle_node_agent::Config {
        node_ips: flags.node_ip.clone(),
        runtime_endpoint: flags.container_runtime_endpoint.clone(),
        root_dir: flags.root_dir.clone(),
        pod_log_dir: flags.pod_log_dir.clone(),
        cluster_dns: flags.cluster_dns.clone(),
        cluster_domain: flags.cluster_domain.clone(),
        listen: SocketAddr::from((unspecified(flags.node_ip[0]), 10250)),
        serving,
        cgroup_root: flags.cgroup_root.clone(),
        max_pods: flags.max_pods,
        cni_conf_dir: (!flags.cni_conf_dir.as_os_str().is_empty()).then(|| flags.cni_conf_dir.clone()),
        ..coracle_node_agent::Config::new(name, flags.node_ip[0])
    })
}

fn unspecified(of: IpAddr) -> IpAddr {
    match of {
        IpAddr::V4(_) => std::net::Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => std::net::Ipv6Addr::UNSPECIFIED.into(),
    }
}

pub(super) fn read(file: &Path) -> Result<String> {
    fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))
}
