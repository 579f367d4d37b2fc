//! `coracle server` and `coracle apiserver`: the control plane in the foreground.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use async_trait::async_trait;
use coracle_apiserver::components::{Alive, Component, Look};
use coracle_apiserver::config::CertificateFiles;
use coracle_apiserver::http::FrontLimits;
use coracle_apiserver::request::UserInfo;
use coracle_apiserver::{AdmissionOptions, ApiServer, EncryptionFlags, Running};
use coracle_controllers::{ClientError, ClientFactory};
use coracle_store::Store;
use coracle_store::retention::{self, RetentionPolicy};
use coracle_store::rocks::{RocksOptions, RocksStore};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::clients::{controllers_config, pod_network, scheduler_config};
use super::{addons, agent, signer, until_all_end, until_signalled};
use crate::cli::{Apiserver, Server};
use crate::cluster::process;

/// Runs apiserver, controllers and scheduler until a signal or a failure ends them.
///
/// # Errors
/// The first error of a part.
pub(crate) async fn run(flags: Server) -> Result<()> {
    let mut tasks = JoinSet::new();
    let (controllers, scheduler) = (Alive::default(), Alive::default());
    let parts = [("controller-manager", &controllers), ("scheduler", &scheduler)];
    let parts = parts.map(|(name, alive)| Component {
        name: name.to_owned(),
        look: Look::Here(alive.clone()),
    });
    let config = coracle_apiserver::Config {
        components: parts.to_vec(),
        ..config(&flags.apiserver)?
    };
    let control_plane = start(&flags.apiserver, config, &mut tasks).await?;
    let (running, shutdown) = (control_plane.running.clone(), control_plane.shutdown.clone());
    let authority = running
        .pki()
        .lock()
        .await
        .authorities()
        .ca()
        .certificate_pem()
        .to_owned();
    let (folder, access) = (flags.apiserver.data_dir.join("pki"), &flags.apiserver.access);
    let token_key = access.service_account_signing_key_file.clone();
    let token_key = token_key.unwrap_or_else(|| folder.join("sa.key"));
    let signers = (
        signer::open(&flags.controllers, Some(&folder))?,
        signer::tokens(&flags.controllers, Some(&token_key))?,
    );
    let config = controllers_config(&flags.controllers, Some(authority), signers)?;
    let clients = Arc::new(InProcess {
        running: running.clone(),
    });
    let token = shutdown.clone();
    tasks.spawn(
        controllers.during(async move { Ok(coracle_controllers::run(clients, config, token).await?) }),
    );
    let client = running.client_by(agent("kube-scheduler"), user("system:kube-scheduler", &[]));
    let token = shutdown.clone();
    tasks.spawn(
        scheduler.during(async move { Ok(coracle_scheduler::run(client, scheduler_config(), token).await?) }),
    );
    if flags.pod_routes {
        let client = running.client_by(
            agent(CONTROLLER_MANAGER),
            user("system:kube-controller-manager", &[]),
        );
        let (pods, token) = (pod_network(&flags.controllers.cluster_cidr)?, shutdown.clone());
        tasks.spawn(async move {
            coracle_node_agent::run_routes(client, None, pods, token).await;
            Ok(())
        });
    }
    tasks.spawn(addons::keep(
        addons_client(&running),
        &addons::ALL,
        shutdown.clone(),
    ));
    let outcome = until_all_end(tasks, shutdown).await;
    control_plane.stop().await;
    outcome
}

/// Runs the apiserver alone until a signal or a failure ends it.
///
/// # Errors
/// What keeps it from starting.
pub(crate) async fn run_apiserver(flags: Apiserver) -> Result<()> {
    let mut tasks = JoinSet::new();
    let control_plane = start(&flags, config(&flags)?, &mut tasks).await?;
    let shutdown = control_plane.shutdown.clone();
    tasks.spawn(addons::keep(
        addons_client(&control_plane.running),
        &addons::CERTIFICATES,
        shutdown.clone(),
    ));
    let outcome = until_all_end(tasks, shutdown).await;
    control_plane.stop().await;
    outcome
}

/// The client with which add-ons are made.
fn addons_client(running: &Running) -> kube::Client {
    running.client_by(
        agent("kube-addons"),
        user("system:apiserver", &["system:masters"]),
    )
}

/// A running apiserver on its store.
struct ControlPlane {
    running: Arc<Running>,
    shutdown: CancellationToken,
}

impl ControlPlane {
    async fn stop(self) {
        match Arc::try_unwrap(self.running) {
            Ok(running) => running.stop().await,
            Err(shared) => shared.shutdown_token().cancel(),
        }
    }
}

async fn start(
    flags: &Apiserver,
    config: coracle_apiserver::Config,
    tasks: &mut JoinSet<Result<()>>,
) -> Result<ControlPlane> {
    if flags.detached {
        process::leave_session();
    }
    let shutdown = until_signalled(tasks)?;
    let folder = flags.data_dir.join("store");
    let open =
        tokio::task::spawn_blocking(move || RocksStore::open(&folder, RocksOptions::default())).await?;
    let store: Arc<dyn Store> = Arc::new(open.context("cannot open the store")?);
    let running = ApiServer::start(config, store.clone()).await?;
    let (token, window) = (shutdown.clone(), flags.etcd_compaction_interval);
    if !window.is_zero() {
        tasks.spawn(async move {
            let policy = RetentionPolicy {
                window,
                ..RetentionPolicy::default()
            };
            retention::run(store, policy, token).await;
            Ok(())
        });
    }
    for address in running.addresses() {
        tracing::info!("serving on https://{address}");
    }
    Ok(ControlPlane {
        running: Arc::new(running),
        shutdown,
    })
}

fn config(flags: &Apiserver) -> Result<coracle_apiserver::Config> {
    let own_authority = || flags.data_dir.join("pki/ca.crt");
    let node_authority = flags
        .kubelet_certificate_authority
        .clone()
        .unwrap_or_else(own_authority);
    let files = flags
        .tls_cert_file
        .clone()
        .zip(flags.tls_private_key_file.clone());
    Ok(coracle_apiserver::Config {
        listen: flags
            .bind_address
            .iter()
            .map(|address| SocketAddr::new(*address, flags.secure_port))
            .collect(),
        advertise_address: flags.advertise_address,
        service_cidr: flags.service_cluster_ip_range.clone(),
        service_node_ports: flags.service_node_port_range.clone(),
        serving_certificate: files.map(|(certificate, key)| CertificateFiles { certificate, key }),
        client_ca_file: flags.client_ca_file.clone(),
        kubelet_certificate_authority: Some(node_authority),
        token_auth_file: flags.token_auth_file.clone(),
        authentication: flags.access.authentication(flags.client_ca_file.as_ref())?,
        anonymous: flags.access.anonymous().unwrap_or(true),
        anonymous_by_flag: flags.access.anonymous().is_some(),
        service_account_key_files: flags.access.service_account_key_file.clone(),
        service_account_signing_key_file: flags.access.service_account_signing_key_file.clone(),
        service_account_issuer: flags.access.service_account_issuer.clone(),
        api_audiences: flags.access.api_audiences.clone(),
        authorization: flags.access.authorization()?,
        authorization_file: flags.access.authorization_file(),
        admission: AdmissionOptions {
            enable: flags.enable_admission_plugins.clone(),
            disable: flags.disable_admission_plugins.clone(),
            config_file: flags.admission_control_config_file.clone(),
        },
        audit: flags.audit.flags(),
        limits: FrontLimits {
            priority_and_fairness: flags.enable_priority_and_fairness,
            reads: flags.max_requests_inflight,
            writes: flags.max_mutating_requests_inflight,
            ..FrontLimits::default()
        },
        encryption: flags
            .encryption_provider_config
            .as_ref()
            .map(|file| EncryptionFlags {
                reload: flags.encryption_provider_config_automatic_reload,
                ..EncryptionFlags::new(file)
            }),
        event_ttl: flags.event_ttl,
        shutdown_grace: Duration::from_secs(5),
        flags: flags.told.clone(),
        ..coracle_apiserver::Config::new(&flags.data_dir)
    })
}

fn user(name: &str, groups: &[&str]) -> UserInfo {
    let groups = groups
        .iter()
        .copied()
        .chain(["system:authenticated"])
        .map(str::to_owned)
        .collect();
    UserInfo {
        name: name.to_owned(),
        groups,
        ..UserInfo::default()
    }
}

/// What controllers are called in the managed fields of what they write.
const CONTROLLER_MANAGER: &str = "kube-controller-manager";

/// Clients of controllers in the apiserver's own process, each in the name of its service account.
pub(super) struct InProcess {
    pub(super) running: Arc<Running>,
}

#[async_trait]
impl ClientFactory for InProcess {
    async fn shared(&self) -> Result<kube::Client, ClientError> {
        Ok(self.running.client_by(
            agent(CONTROLLER_MANAGER),
            user("system:kube-controller-manager", &[]),
        ))
    }

    async fn client(&self, controller: &str) -> Result<kube::Client, ClientError> {
        let name = format!("system:serviceaccount:kube-system:{controller}");
        let groups = ["system:serviceaccounts", "system:serviceaccounts:kube-system"];
        Ok(self
            .running
            .client_by(agent(CONTROLLER_MANAGER), user(&name, &groups)))
    }
}
