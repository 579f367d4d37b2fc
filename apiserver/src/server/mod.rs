//! Putting an apiserver together, and taking it down.

mod assembly;
mod authentication;
mod authorization;
mod certificates;
mod kubeconfigs;
mod reload;
mod running;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use coracle_api::status::ApiError;
use coracle_store::Store;
use http::HeaderValue;
use jiff::Timestamp;

use self::assembly::{Lifetime, Prepared};
pub use self::running::Running;
use crate::admission::AdmissionError;
use crate::aggregation;
use crate::audit::AuditError;
use crate::authn::{FrontProxyError, TokenFileError, keep_last_used, marks};
use crate::bootstrap;
use crate::config::Config;
use crate::encryption::EncryptionError;
use crate::outbound::RemoteError;
use crate::pki::PkiError;
use crate::reader::ObjectReader;
use crate::registry::services::ServiceConfig;
use crate::registry::services::addresses::CidrError;
use crate::registry::services::ports::PortRangeError;
use crate::registry::{self, Registry};
use crate::request::{ResourceHandler, UserInfo};
use crate::tokens::KeyError;
use crate::webhook::Webhooks;

/// Why an apiserver could not start. Each says what to do where something can be done.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The address is taken, or not one of this machine's.
    #[error("cannot listen on {address}; choose another port, or stop what listens there")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        source: std::io::Error,
    },
    /// The cluster's keys and certificates.
    #[error(transparent)]
    Pki(#[from] PkiError),
    /// A file named in the configuration cannot be read.
    #[error("cannot read {}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The token file is not one.
    #[error("{}: {source}", path.display())]
    TokenFile {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: TokenFileError,
    },
    /// What a proxy in front of the server is to say cannot be meant so.
    #[error(transparent)]
    FrontProxy(#[from] FrontProxyError),
    /// A configuration of who is let in, or of who may do what, that cannot be meant.
    #[error("{what}: {reason}")]
    Access {
        /// The file or flag.
        what: String,
        /// Why.
        reason: String,
    },
    /// A service that is asked about tokens or access cannot be reached.
    #[error(transparent)]
    Remote(#[from] RemoteError),
    /// A certificate or key that TLS cannot use.
    #[error("{what} cannot be used: {reason}")]
    Tls {
        /// Which one.
        what: String,
        /// Why.
        reason: String,
    },
    /// The service account key.
    #[error(transparent)]
    TokenKey(#[from] KeyError),
    /// The network for Services.
    #[error(transparent)]
    ServiceRange(#[from] CidrError),
    /// The ports for Services.
    #[error(transparent)]
    NodePorts(#[from] PortRangeError),
    /// The configuration of the audit log.
    #[error(transparent)]
    Audit(#[from] AuditError),
    /// The configuration of encryption at rest.
    #[error(transparent)]
    Encryption(#[from] EncryptionError),
    /// What is stored cannot be served.
    #[error(transparent)]
    Registry(#[from] registry::StartError),
    /// What every cluster has could not be made.
    #[error("the objects that every cluster has could not be written")]
    Bootstrap(#[source] ApiError),
    /// Admission plugins, or what they are told.
    #[error(transparent)]
    Admission(#[from] AdmissionError),
    /// A task of the start was broken off.
    #[error("starting was interrupted")]
    Interrupted(#[from] tokio::task::JoinError),
}

/// An apiserver that is not running yet.
pub struct ApiServer;

/// What answers requests for resources, and reads them for those who decide.
pub struct Resources {
    /// Answers.
    pub handler: Arc<dyn ResourceHandler>,
    /// Reads.
    pub reader: Arc<dyn ObjectReader>,
}

impl ApiServer {
    /// Starts on a store: reads what is there, makes what every cluster has, and listens. It answers when this returns.
    ///
    /// # Errors
    /// Whatever keeps it from starting; nothing of it is left running then.
    pub async fn start(config: Config, store: Arc<dyn Store>) -> Result<Running, StartError> {
        let mut registry_config = registry_config(&config)?;
        let (used_tokens, to_be_marked) = marks();
        let prepared = Prepared::new(config, used_tokens).await?;
        registry_config.encryption = prepared.encryption();
        let Lifetime { tasks, shutdown } = prepared.lifetime().clone();
        let registry = Registry::start(store.clone(), registry_config, shutdown.clone()).await?;
        bootstrap::run(&registry).await.map_err(StartError::Bootstrap)?;
        let resources = Resources {
            reader: registry.reader(),
            handler: registry.clone(),
        };
        let authorizer = prepared.authorizer(registry.reader()).await?;
        registry.guard_grants(authorizer.clone());
        let running = prepared
            .run(store, resources, registry.webhooks(), authorizer)
            .await?;
        let itself = HeaderValue::from_static("kube-apiserver");
        let (reader, own) = (registry.reader(), running.client_by(itself, UserInfo::server()));
        tasks.spawn(keep_last_used(to_be_marked, own.clone(), shutdown.clone()));
        tasks.spawn(bootstrap::keep_conditions(reader, own.clone(), shutdown.clone()));
        tasks.spawn(aggregation::keep(
            running.aggregator.clone(),
            own,
            shutdown.clone(),
        ));
        let authorities = running.client_authorities().await?;
        bootstrap::publish_authorities(&registry, &authorities)
            .await
            .map_err(StartError::Bootstrap)?;
        bootstrap::publish_token_tracking(&registry, Timestamp::now())
            .await
            .map_err(StartError::Bootstrap)?;
        if !running.event_ttl().is_zero() {
            let registry = registry.clone();
            tasks.spawn(registry.expire_events(running.event_ttl(), shutdown.clone()));
        }
        tasks.spawn(registry.clone().keep_services(shutdown.clone()));
        tasks.spawn(bootstrap::publish(registry, running.advertised(), shutdown));
        running.set_started();
        Ok(running)
    }

    /// Starts over a stand-in for the resources, where only the way to them is looked at.
    ///
    /// # Errors
    /// As [`ApiServer::start`].
    pub async fn start_over(
        config: Config,
        store: Arc<dyn Store>,
        resources: Resources,
    ) -> Result<Running, StartError> {
        let (used_tokens, _) = marks();
        let prepared = Prepared::new(config, used_tokens).await?;
        let authorizer = prepared.authorizer(resources.reader.clone()).await?;
        let webhooks = Arc::new(Webhooks::new(resources.reader.clone()));
        webhooks.answer_with(authorizer.clone());
        let running = prepared.run(store, resources, webhooks, authorizer).await?;
        running.set_started();
        Ok(running)
    }
}

fn registry_config(config: &Config) -> Result<registry::Config, StartError> {
    let services = ServiceConfig {
        cluster_ip_ranges: config.service_cidr.parse()?,
        node_port_range: config.service_node_ports.parse()?,
    };
    Ok(registry::Config {
        services,
        admission: Arc::new(config.admission.chain()?),
        encryption: None,
    })
}
