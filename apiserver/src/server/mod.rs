//! Putting an apiserver together, and taking it down.

mod certificates;
mod kubeconfigs;
mod running;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use coracle_api::status::ApiError;
use coracle_store::Store;
use jiff::Timestamp;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use self::running::Running;
use crate::authn::{Authenticator, ServiceAccountTokens, StaticTokens, TokenFileError};
use crate::authz::Authorizer;
use crate::bootstrap;
use crate::config::{BadServiceCidr, Config};
use crate::health::{Health, Started};
use crate::http::{Connections, Front, FrontParts, Listeners, Router};
use crate::metrics::Metrics;
use crate::node_proxy::{Dialer, NodeProxy};
use crate::pki::{Pki, PkiError};
use crate::reader::ObjectReader;
use crate::registry::services::ServiceConfig;
use crate::registry::services::ports::PortRangeError;
use crate::registry::{self, Registry};
use crate::request::ResourceHandler;
use crate::reviews::Reviews;
use crate::tokens::{KeyError, TokenKeys, TokenLimits, TokenRequests, openid_configuration};

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
    ServiceCidr(#[from] BadServiceCidr),
    /// The ports for Services.
    #[error(transparent)]
    ServiceNodePorts(#[from] PortRangeError),
    /// What is stored cannot be read.
    #[error(transparent)]
    Registry(#[from] registry::StartError),
    /// What every cluster has could not be made.
    #[error("the objects that every cluster has could not be written")]
    Bootstrap(#[source] ApiError),
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
    /// Starts on a store: reads what is there, makes what every cluster has, and listens.
    ///
    /// # Errors
    /// See [`StartError`].
    pub async fn start(config: Config, store: Arc<dyn Store>) -> Result<Running, StartError> {
        let streams = CancellationToken::new();
        let registry = Registry::start(store.clone(), registry_config(&config)?, streams.clone()).await?;
        bootstrap::run(&registry).await.map_err(StartError::Bootstrap)?;
        let resources = Resources {
            handler: registry.clone(),
            reader: registry.reader(),
        };
        let running = Self::start_over(config, store, resources).await?;
        let publish = bootstrap::publish(registry, running.advertised(), streams.clone());
        running.accompany(publish, streams);
        Ok(running)
    }

    /// Starts over any resources: the registry's, or a stand-in's where only the way to them is looked at.
    pub async fn start_over(
        config: Config,
        store: Arc<dyn Store>,
        resources: Resources,
    ) -> Result<Running, StartError> {
        let listeners = Listeners::bind(&config.listen)
            .await
            .map_err(|(address, source)| StartError::Listen { address, source })?;
        let bound = listeners.addresses().map_err(|source| StartError::Listen {
            address: config.listen[0],
            source,
        })?;
        let names = config.server_names()?;
        let pki_dir = config.data_dir.join("pki");
        let pki =
            tokio::task::spawn_blocking(move || Pki::open(&pki_dir, &names, Timestamp::now())).await??;
        let shutdown = CancellationToken::new();
        let tasks = TaskTracker::new();
        let started = Started::default();
        let authorizer = Arc::new(Authorizer::new(
            config.authorization_modes.clone(),
            resources.reader.clone(),
        ));
        let keys = Arc::new(TokenKeys::new(
            pki.authorities().service_account_key(),
            &config.issuer(),
        )?);
        let authenticator = Arc::new(authenticator(&config, keys.clone(), resources.reader.clone())?);
        let metrics = Arc::new(Metrics::new());
        let advertised = config.advertised(&bound);
        let node_tls = Arc::new(certificates::node_tls(&config, &pki)?);
        let router = Router {
            resources: resources.handler,
            health: Health::new(store, started.clone(), shutdown.clone()),
            metrics: metrics.clone(),
            reviews: Reviews::new(authenticator.clone(), authorizer.clone()),
            tokens: TokenRequests::new(keys.clone(), token_limits(&config), resources.reader.clone()),
            node_proxy: NodeProxy {
                reader: resources.reader,
                authorizer: authorizer.clone(),
                dialer: Dialer::new(node_tls.clone()).map_err(certificates::node_tls_error)?,
                tasks: tasks.clone(),
                shutdown: shutdown.clone(),
            },
            openid_configuration: openid_configuration(&config.issuer(), &format!("https://{advertised}")),
            jwks: keys.jwks(),
        };
        let front = Front::new(
            FrontParts {
                authenticator,
                authorizer: authorizer.clone(),
                metrics,
                limits: config.limits.clone(),
                shutdown: shutdown.clone(),
            },
            router,
        );
        let tls = certificates::Tls::load(&config, &pki, node_tls)?;
        let connections = Connections {
            front: front.clone(),
            tls: tls.acceptor(),
            certificates: tls.clients(),
            limits: config.listener_limits.clone(),
            tasks: tasks.clone(),
            shutdown: shutdown.clone(),
        };
        listeners.serve(&connections);
        started.set();
        let running = Running::new(front, pki, bound, advertised, config, tasks, shutdown);
        running.keep_certificates(tls).await?;
        Ok(running)
    }
}

fn registry_config(config: &Config) -> Result<registry::Config, StartError> {
    let bad_range = |_| BadServiceCidr(config.service_cidr.clone());
    let services = ServiceConfig {
        cluster_ip_range: config.service_cidr.parse().map_err(bad_range)?,
        node_port_range: config.service_node_ports.parse()?,
    };
    Ok(registry::Config { services })
}

fn token_limits(config: &Config) -> TokenLimits {
    TokenLimits {
        max_expiration: config
            .service_account_max_expiration
            .map(|most| i64::try_from(most.as_secs()).unwrap_or(i64::MAX)),
        extend: config.extend_token_expiration,
        api_audiences: config.audiences(),
    }
}

fn authenticator(
    config: &Config,
    keys: Arc<TokenKeys>,
    reader: Arc<dyn ObjectReader>,
) -> Result<Authenticator, StartError> {
    let static_tokens = match &config.token_auth_file {
        None => StaticTokens::default(),
        Some(path) => {
            let contents = std::fs::read_to_string(path).map_err(|source| StartError::File {
                path: path.clone(),
                source,
            })?;
            StaticTokens::parse(&contents).map_err(|source| StartError::TokenFile {
                path: path.clone(),
                source,
            })?
        }
    };
    let service_accounts = ServiceAccountTokens::new(keys, config.audiences(), reader);
    Ok(Authenticator::new(
        static_tokens,
        service_accounts,
        config.anonymous,
    ))
}
