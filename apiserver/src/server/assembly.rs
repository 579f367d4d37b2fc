//! The steps of a start: take the addresses, read the keys, put the parts together, listen.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use coracle_store::Store;
use jiff::Timestamp;
use tokio::sync::{Mutex, mpsc};
use tokio::task::JoinHandle;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use super::authentication::Issuers;
use super::authorization::Deciders;
use super::reload::{self, File, Reloads};
use super::{Resources, Running, StartError, certificates};
use crate::aggregation::Aggregator;
use crate::audit::Audit;
use crate::authn::{Authenticator, LastUsed};
use crate::authz::Authorizer;
use crate::components::Components;
use crate::config::Config;
use crate::encryption::Encryption;
use crate::flow_control::FlowControl;
use crate::health::{Health, Started};
use crate::http::catalogue::Catalogue;
use crate::http::{CertifiedFront, Connections, Front, FrontParts, Listeners, Router};
use crate::metrics::Metrics;
use crate::node_proxy::{Dialer, NodeProxy, NodeTls};
use crate::pki::{Pki, PkiError};
use crate::reader::ObjectReader;
use crate::resource_metrics::ResourceMetrics;
use crate::reviews::Reviews;
use crate::tokens::{TokenLimits, TokenRequests, openid_configuration};
use crate::webhook::Webhooks;
use crate::zpages::Pages;

/// What every part of a server shares from its first moment on.
#[derive(Clone)]
pub(super) struct Lifetime {
    /// Where tasks are tracked.
    pub(super) tasks: TaskTracker,
    /// Ends them.
    pub(super) shutdown: CancellationToken,
}

/// A start that has its addresses, so that a taken port is told before anything is written, and waits for its keys. If
/// it comes to nothing, whatever was spawned for it ends.
pub(super) struct Prepared {
    config: Config,
    listeners: Listeners,
    pki: JoinHandle<Result<Pki, PkiError>>,
    lifetime: Lifetime,
    used_tokens: mpsc::Sender<LastUsed>,
    encryption: Option<Arc<Encryption>>,
    audit: Option<Arc<Audit>>,
    undo: DropGuard,
}

/// Everything that a server is put together from.
struct Assembly {
    config: Config,
    pki: Pki,
    store: Arc<dyn Store>,
    resources: Resources,
    webhooks: Arc<Webhooks>,
    authorizer: Arc<Authorizer>,
    encryption: Option<Arc<Encryption>>,
    audit: Option<Arc<Audit>>,
    lifetime: Lifetime,
    used_tokens: mpsc::Sender<LastUsed>,
}

impl Prepared {
    /// `used_tokens` is told of tokens out of secrets that were used.
    pub(super) async fn new(config: Config, used_tokens: mpsc::Sender<LastUsed>) -> Result<Self, StartError> {
        let listeners = Listeners::bind(&config.listen)
            .await
            .map_err(|(address, source)| StartError::Listen { address, source })?;
        let (names, directory) = (config.server_names()?, config.data_dir.join("pki"));
        let pki = tokio::task::spawn_blocking(move || Pki::open(&directory, &names, Timestamp::now()));
        let lifetime = Lifetime {
            tasks: TaskTracker::new(),
            shutdown: CancellationToken::new(),
        };
        let undo = lifetime.shutdown.clone().drop_guard();
        let encryption = match config.encryption.clone() {
            Some(flags) => {
                let (tasks, shutdown) = (lifetime.tasks.clone(), lifetime.shutdown.clone());
                Some(Encryption::open(flags, tasks, shutdown).await?)
            }
            None => None,
        };
        let audit = Audit::open(&config.audit, &lifetime.tasks, &lifetime.shutdown).await?;
        Ok(Self {
            config,
            listeners,
            pki,
            lifetime,
            used_tokens,
            encryption,
            audit,
            undo,
        })
    }

    pub(super) fn lifetime(&self) -> &Lifetime {
        &self.lifetime
    }

    /// How values are encrypted, where they are.
    pub(super) fn encryption(&self) -> Option<Arc<Encryption>> {
        self.encryption.clone()
    }

    /// Whoever says what is allowed, by what is read there.
    ///
    /// # Errors
    /// Where what the configuration names cannot be used.
    pub(super) async fn authorizer(
        &self,
        reader: Arc<dyn ObjectReader>,
    ) -> Result<Arc<Authorizer>, StartError> {
        super::authorization::authorizer(&self.config.authorization, reader).await
    }

    /// Puts the rest together and listens.
    pub(super) async fn run(
        self,
        store: Arc<dyn Store>,
        resources: Resources,
        webhooks: Arc<Webhooks>,
        authorizer: Arc<Authorizer>,
    ) -> Result<Running, StartError> {
        let Self {
            config,
            listeners,
            pki,
            lifetime,
            used_tokens,
            encryption,
            audit,
            undo,
        } = self;
        let assembly = Assembly {
            config,
            pki: pki.await??,
            store,
            resources,
            webhooks,
            authorizer,
            encryption,
            audit,
            lifetime,
            used_tokens,
        };
        let running = assembly.run(listeners).await?;
        undo.disarm();
        Ok(running)
    }
}

impl Assembly {
    async fn run(self, listeners: Listeners) -> Result<Running, StartError> {
        let bound = listeners.addresses();
        let advertised = self.config.advertised(&bound);
        let started = Started::default();
        let node_tls = Arc::new(certificates::node_tls(&self.config, &self.pki)?);
        let Lifetime { tasks, shutdown } = self.lifetime.clone();
        let own = self.pki.front_proxy_client();
        let aggregator = Aggregator::new(
            self.resources.reader.clone(),
            own,
            tasks.clone(),
            shutdown.clone(),
        );
        let aggregator = Arc::new(
            aggregator.map_err(|error| certificates::unusable("TLS towards extension servers", &error))?,
        );
        let callers = certificates::Callers {
            nodes: node_tls.clone(),
            aggregator: aggregator.clone(),
        };
        let front = self
            .front(advertised, &started, node_tls, aggregator.clone())
            .await?;
        let tls = certificates::Tls::load(&self.config, &self.pki, callers)?;
        listeners.serve(&Connections {
            answering: CertifiedFront {
                front: front.clone(),
                certificates: tls.clients(),
            },
            tls: tls.acceptor(),
            limits: self.config.listener_limits.clone(),
            tasks: tasks.clone(),
            shutdown: shutdown.clone(),
        });
        let running = Running {
            front,
            aggregator,
            pki: Arc::new(Mutex::new(self.pki)),
            bound,
            advertised,
            config: self.config,
            tasks,
            started,
            shutdown,
        };
        running.keep_certificates(tls).await?;
        Ok(running)
    }

    /// Takes what files say of authentication and authorization anew when they change.
    fn follow_files(
        &self,
        authenticator: &Arc<Authenticator>,
        registry: &prometheus::Registry,
    ) -> Result<(), StartError> {
        let (config, Lifetime { tasks, shutdown }) = (&self.config, &self.lifetime);
        let file = |path: &Path| -> Result<File, StartError> {
            Ok(File {
                path: path.to_owned(),
                contents: certificates::read(path)?,
            })
        };
        let server = config.data_dir.display().to_string();
        if let Some(path) = &config.authentication.file {
            let file = file(path)?;
            let issuers = Issuers::new(
                authenticator.clone(),
                config,
                &file.contents,
                self.lifetime.clone(),
            );
            let reloads = Reloads::new("authentication", &server, registry);
            let following = reload::follow(file, issuers, reloads, config.look_every, shutdown.clone());
            tasks.spawn(following);
        }
        if let Some((path, policies)) = &config.authorization_file {
            let chain = config.authorization.clone();
            let deciders = Deciders::new(self.authorizer.clone(), policies.clone(), chain);
            let reloads = Reloads::new("authorization", &server, registry);
            let following = reload::follow(
                file(path)?,
                deciders,
                reloads,
                config.look_every,
                shutdown.clone(),
            );
            tasks.spawn(following);
        }
        Ok(())
    }

    /// Who looks at the other parts of the control plane.
    fn components(&self) -> Components {
        Components::new(
            self.config.components.clone(),
            self.store.clone(),
            self.resources.reader.clone(),
            self.lifetime.tasks.clone(),
        )
    }

    /// The chain that every request passes, with everybody who has a part in it.
    async fn front(
        &self,
        advertised: SocketAddr,
        started: &Started,
        node_tls: Arc<NodeTls>,
        aggregator: Arc<Aggregator>,
    ) -> Result<Front, StartError> {
        let config = &self.config;
        let Lifetime { tasks, shutdown } = &self.lifetime;
        let reader = &self.resources.reader;
        let authorizer = self.authorizer.clone();
        let keys = super::authentication::token_keys(config, self.pki.authorities())?;
        let keys = Arc::new(keys);
        let authenticator = super::authentication::authenticator(
            config,
            keys.clone(),
            reader.clone(),
            self.used_tokens.clone(),
            &self.lifetime,
        );
        let authenticator = Arc::new(authenticator.await?);
        let metrics = Arc::new(Metrics::new());
        self.follow_files(&authenticator, metrics.registry())?;
        let flow_control = config.limits.priority_and_fairness.then(|| {
            let seats = config.limits.reads + config.limits.writes;
            let handler = self.resources.handler.clone();
            let control = FlowControl::new(seats, reader.clone(), handler, metrics.registry(), tasks.clone());
            tasks.spawn(control.clone().keep(shutdown.clone()));
            control
        });
        let router = Router {
            flow_control: flow_control.clone(),
            resources: self.resources.handler.clone(),
            catalogue: Catalogue::new(&advertised.to_string(), self.resources.handler.clone())
                .with(aggregator.clone()),
            aggregator,
            health: Health::new(self.store.clone(), started.clone(), shutdown.clone())
                .with_key_services(self.encryption.clone()),
            metrics: metrics.clone(),
            reviews: Reviews::new(authenticator.clone(), authorizer.clone(), self.webhooks.clone()),
            tokens: TokenRequests::new(
                keys.clone(),
                token_limits(config),
                reader.clone(),
                self.webhooks.clone(),
            ),
            node_proxy: NodeProxy {
                reader: reader.clone(),
                authorizer: authorizer.clone(),
                dialer: Dialer::new(node_tls).map_err(certificates::node_tls_error)?,
                tasks: tasks.clone(),
                shutdown: shutdown.clone(),
            },
            resource_metrics: ResourceMetrics::default(),
            components: self.components(),
            pages: Pages::new(config.flags.clone()),
            webhooks: self.webhooks.clone(),
            openid_configuration: openid_configuration(
                &config.issuer(),
                &format!("https://{advertised}"),
                &keys.algorithms(),
            ),
            jwks: keys.jwks(),
        };
        let limits = config.limits.clone();
        let parts = FrontParts {
            authenticator,
            authorizer,
            metrics,
            flow_control,
            audit: self.audit.clone(),
            limits,
            shutdown: shutdown.clone(),
        };
        Ok(Front::new(parts, router))
    }
}

fn token_limits(config: &Config) -> TokenLimits {
    let seconds = |most: std::time::Duration| i64::try_from(most.as_secs()).unwrap_or(i64::MAX);
    TokenLimits {
        max_expiration: config.service_account_max_expiration.map(seconds),
        extend: config.extend_token_expiration,
        api_audiences: config.audiences(),
    }
}
