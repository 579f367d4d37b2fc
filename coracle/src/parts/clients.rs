//! The parts that reach the API through a kubeconfig, each as a process of its own.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result};
use base64::Engine;
use coracle_apiserver::components::Alive;
use coracle_controllers::config::ClusterCidr;
use coracle_controllers::{CertificateSigner, KubeconfigClients, TokenSigner};
use ipnet::IpNet;
use kube::config::Kubeconfig;
use tokio::task::JoinSet;

use super::health::Door;
use super::rotation::Rotation;
use super::{config_from, node_name, signer, until_all_end, until_signalled};
use crate::cli::{ControllerFlags, ControllerManager, Dns, Proxy, Scheduler};

/// How many bits of a node's own network remain for pods: a /24, as upstream's `--node-cidr-mask-size`.
const NODE_PREFIX: u8 = 24;
/// Where the controllers and the scheduler tell how they are, as upstream's do.
const CONTROLLERS_PORT: u16 = 10257;
const SCHEDULER_PORT: u16 = 10259;
/// Where the node's own resolvers stand.
const RESOLV_CONF: &str = "/etc/resolv.conf";

/// Runs the controllers until a signal or a failure ends them.
///
/// # Errors
/// What keeps them from starting.
pub(crate) async fn run_controllers(flags: ControllerManager) -> Result<()> {
    let mut tasks = JoinSet::new();
    let shutdown = until_signalled(&mut tasks)?;
    let signers = (
        signer::open(&flags.controllers, None)?,
        signer::tokens(&flags.controllers, None)?,
    );
    let config = controllers_config(&flags.controllers, authority_of(&flags.kubeconfig), signers)?;
    let part = "kube-controller-manager";
    let api = config_from(&flags.kubeconfig, part).await?;
    let (rotation, process) = Rotation::of_part(&flags.kubeconfig, part).await?;
    tasks.spawn(rotation.keep(shutdown.clone()));
    let clients = Arc::new(KubeconfigClients::new(api, process, shutdown.clone()));
    let (alive, token) = (Alive::default(), shutdown.clone());
    if let Some(door) = Door::open(&flags.health, part, CONTROLLERS_PORT, &alive).await? {
        tasks.spawn(door.keep(shutdown.clone()));
    }
    tasks.spawn(alive.during(async move { Ok(coracle_controllers::run(clients, config, token).await?) }));
    until_all_end(tasks, shutdown).await
}

/// The authority that a kubeconfig's first cluster is verified with, where it stands in the file itself.
fn authority_of(kubeconfig: &Path) -> Option<String> {
    let file = Kubeconfig::read_from(kubeconfig).ok()?;
    let data = file
        .clusters
        .first()?
        .cluster
        .as_ref()?
        .certificate_authority_data
        .clone()?;
    String::from_utf8(base64::engine::general_purpose::STANDARD.decode(data).ok()?).ok()
}

/// What signs certificates, and what signs tokens.
pub(crate) type Signers = (Option<Arc<dyn CertificateSigner>>, Option<Arc<dyn TokenSigner>>);

/// What the controllers are told by their flags; pods verify the API with `authority` where they name none.
///
/// # Errors
/// When the pod network is none, or a file cannot be read.
pub(crate) fn controllers_config(
    flags: &ControllerFlags,
    authority: Option<String>,
    (signer, token_signer): Signers,
) -> Result<coracle_controllers::Config> {
    let (network, prefix) = network(&flags.cluster_cidr)?;
    let named = flags.root_ca_file.as_deref().map(super::node::read).transpose()?;
    let root_ca = named.or(authority);
    Ok(coracle_controllers::Config {
        controllers: flags.controllers.clone(),
        root_ca,
        signer,
        token_signer,
        cluster_cidr: Some(ClusterCidr {
            network,
            prefix,
            node_prefix: NODE_PREFIX,
        }),
        node_grace_period: flags.node_monitor_grace_period,
        enable_host_path_provisioner: flags.enable_hostpath_provisioner,
        ..coracle_controllers::Config::default()
    })
}

fn network(cidr: &str) -> Result<(IpAddr, u8)> {
    let parse = || {
        let (address, prefix) = cidr.split_once('/')?;
        Some((address.parse().ok()?, prefix.parse().ok()?))
    };
    parse().with_context(|| format!("--cluster-cidr {cidr} is no network: write it as 10.244.0.0/16"))
}

/// Runs the scheduler until a signal or a failure ends it.
///
/// # Errors
/// What keeps it from starting.
pub(crate) async fn run_scheduler(flags: Scheduler) -> Result<()> {
    let mut tasks = JoinSet::new();
    let shutdown = until_signalled(&mut tasks)?;
    let part = "kube-scheduler";
    let (rotation, client) = Rotation::of_part(&flags.kubeconfig, part).await?;
    tasks.spawn(rotation.keep(shutdown.clone()));
    let (alive, token) = (Alive::default(), shutdown.clone());
    if let Some(door) = Door::open(&flags.health, part, SCHEDULER_PORT, &alive).await? {
        tasks.spawn(door.keep(shutdown.clone()));
    }
    tasks.spawn(
        alive.during(async move { Ok(coracle_scheduler::run(client, scheduler_config(), token).await?) }),
    );
    until_all_end(tasks, shutdown).await
}

/// The scheduler's settings: upstream's defaults.
pub(crate) fn scheduler_config() -> coracle_scheduler::Config {
    coracle_scheduler::Config::default()
}

/// Runs the service proxy until a signal or a failure ends it, or removes what one has left.
///
/// # Errors
/// What keeps it from working.
pub(crate) async fn run_proxy(flags: Proxy) -> Result<()> {
    if flags.cleanup {
        return Ok(coracle_proxy::cleanup().await?);
    }
    let mut tasks = JoinSet::new();
    let shutdown = until_signalled(&mut tasks)?;
    let config = proxy_config(
        &node_name(flags.hostname_override)?,
        &flags.node_ip,
        &flags.cluster_cidr,
    )?;
    let (rotation, client) = Rotation::of_part(&flags.kubeconfig, "kube-proxy").await?;
    tasks.spawn(rotation.keep(shutdown.clone()));
    let token = shutdown.clone();
    tasks.spawn(async move { Ok(coracle_proxy::run(client, config, token).await?) });
    until_all_end(tasks, shutdown).await
}

/// What the proxy is told by its flags.
///
/// # Errors
/// When the pod network is none.
pub(crate) fn proxy_config(
    node: &str,
    addresses: &[IpAddr],
    cluster_cidr: &str,
) -> Result<coracle_proxy::Config> {
    let cidr = cluster_cidr
        .parse()
        .with_context(|| format!("--cluster-cidr {cluster_cidr} is no network"))?;
    Ok(coracle_proxy::Config::new(node, addresses.to_vec(), vec![cidr]))
}

/// The pod network of the whole cluster, as flags name it.
///
/// # Errors
/// When that is none.
pub(crate) fn pod_network(cluster_cidr: &str) -> Result<IpNet> {
    cluster_cidr
        .parse()
        .with_context(|| format!("--cluster-cidr {cluster_cidr} is no network"))
}

/// Runs the cluster DNS until a signal or a failure ends it.
///
/// # Errors
/// What keeps it from starting.
pub(crate) async fn run_dns(flags: Dns) -> Result<()> {
    let mut tasks = JoinSet::new();
    let shutdown = until_signalled(&mut tasks)?;
    let config = dns_config(
        &node_name(flags.hostname_override)?,
        flags.node_ip,
        &flags.cluster_domain,
    );
    let (rotation, client) = Rotation::of_part(&flags.kubeconfig, "coracle-dns").await?;
    tasks.spawn(rotation.keep(shutdown.clone()));
    let token = shutdown.clone();
    tasks.spawn(async move { Ok(coracle_dns::run(client, config, token).await?) });
    until_all_end(tasks, shutdown).await
}

/// What the DNS server is told by its flags. It listens on the node's own address, so that a resolver of the machine's on
/// another address is left in peace.
pub(crate) fn dns_config(node: &str, address: IpAddr, domain: &str) -> coracle_dns::Config {
    coracle_dns::Config {
        bind_addresses: vec![SocketAddr::new(address, 53)],
        cluster_domain: domain.to_owned(),
        node_name: node.to_owned(),
        node_ip: address,
        resolv_conf: PathBuf::from(RESOLV_CONF),
        service_name: "kube-dns".to_owned(),
    }
}
