//! The server at work: three watches in, a zone out, a place among the service's endpoints.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use hickory_proto::ProtoError;
use hickory_proto::rr::Name;
use k8s_openapi::api::core::v1::{Namespace, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::runtime::WatchStreamExt;
use kube::runtime::reflector::{self, Store};
use kube::runtime::watcher::{self, Event};
use kube::{Api, Client};
use tokio::net::{TcpListener, UdpSocket};
use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{info, warn};

use crate::forward::Forwarder;
use crate::registration::Registration;
use crate::server::{Server, serve_tcp, serve_udp};
use crate::zone::Zone;

/// Changes within this time make one new zone.
const COALESCE: Duration = Duration::from_millis(20);

/// How often the resolvers' file is read and the registration looked at.
const UPKEEP_PERIOD: Duration = Duration::from_secs(30);

/// How soon a registration that failed is tried again.
const REGISTRATION_RETRY: Duration = Duration::from_secs(1);

/// How long the API may take to hear that this server ends.
const FAREWELL_TIMEOUT: Duration = Duration::from_secs(2);

/// What a DNS server needs to know.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where to listen, UDP and TCP both.
    pub bind_addresses: Vec<SocketAddr>,
    /// The domain of the cluster's names, `cluster.local`.
    pub cluster_domain: String,
    /// This node's name.
    pub node_name: String,
    /// The address by which pods reach this server.
    pub node_ip: IpAddr,
    /// The file that names the node's own resolvers.
    pub resolv_conf: PathBuf,
    /// The Service in kube-system that this server stands behind.
    pub service_name: String,
}

/// Why a DNS server cannot run.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The cluster domain is no domain name.
    #[error("the cluster domain {domain:?} is no domain name")]
    ClusterDomain {
        /// As configured.
        domain: String,
        /// Why.
        #[source]
        source: ProtoError,
    },
    /// There is nowhere to listen.
    #[error("the DNS server needs at least one address to listen on")]
    NoAddress,
    /// An address cannot be listened on.
    #[error("the DNS server cannot listen on {address}")]
    Bind {
        /// The address.
        address: SocketAddr,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// Answers questions until `shutdown`.
///
/// # Errors
/// When it cannot listen. Failures of the API are logged and tried again.
pub async fn run(client: Client, config: Config, shutdown: CancellationToken) -> Result<(), RunError> {
    let origin = Zone::empty(&config.cluster_domain).map(|zone| zone.origin().clone());
    let domain = config.cluster_domain.clone();
    let origin = origin.map_err(|source| RunError::ClusterDomain { domain, source })?;
    let port = config.bind_addresses.first().ok_or(RunError::NoAddress)?.port();
    let own = config
        .bind_addresses
        .iter()
        .map(SocketAddr::ip)
        .chain([config.node_ip]);
    let tasks = TaskTracker::new();
    let ending = CancellationToken::new();
    let server = Arc::new(Server::new(
        Forwarder::new(config.resolv_conf, own),
        tasks.clone(),
        ending.clone(),
    ));
    server.forwarder().refresh().await;
    for address in config.bind_addresses {
        let bind = |source| RunError::Bind { address, source };
        let socket = UdpSocket::bind(address).await.map_err(bind)?;
        let listener = TcpListener::bind(address).await.map_err(bind)?;
        let (udp, tcp, ending) = (
            serve_udp(server.clone(), socket),
            serve_tcp(server.clone(), listener),
            ending.clone(),
        );
        tasks.spawn(async move { ending.run_until_cancelled(async { tokio::join!(udp, tcp) }).await });
    }
    let registration = Registration {
        service_name: config.service_name,
        node_name: config.node_name,
        address: config.node_ip,
        port,
    };
    follow(&client, &server, &registration, &origin, &shutdown).await;
    if !matches!(
        tokio::time::timeout(FAREWELL_TIMEOUT, registration.remove(&client)).await,
        Ok(Ok(()))
    ) {
        warn!(
            slice = registration.name(),
            "endpoint slice could not be removed at the end"
        );
    }
    ending.cancel();
    tasks.close();
    tasks.wait().await;
    Ok(())
}

/// The cluster's objects as last heard.
struct Objects {
    namespaces: Mirror<Namespace>,
    services: Mirror<Service>,
    slices: Mirror<EndpointSlice>,
}

impl Objects {
    fn are_complete(&self) -> bool {
        self.namespaces.complete && self.services.complete && self.slices.complete
    }

    fn zone(&self, origin: &Name) -> Zone {
        let seconds = jiff::Timestamp::now().as_second();
        let serial = u32::try_from(seconds).unwrap_or(u32::MAX);
        let (namespaces, services) = (self.namespaces.store.state(), self.services.store.state());
        Zone::build(origin, serial, &namespaces, &services, &self.slices.store.state())
    }
}

/// One kind's objects.
struct Mirror<K: kube::Resource<DynamicType = ()> + Clone + 'static> {
    store: Store<K>,
    writer: reflector::store::Writer<K>,
    complete: bool,
}

impl<K: kube::Resource<DynamicType = ()> + Clone + 'static> Mirror<K> {
    fn new() -> Self {
        let (store, writer) = reflector::store();
        Self {
            store,
            writer,
            complete: false,
        }
    }

    /// Takes an event in. True when the zone may change. A watch's failure is logged; the watch itself tries again.
    fn hear(&mut self, event: watcher::Result<Event<K>>) -> bool {
        match event {
            Ok(event) => {
                self.writer.apply_watcher_event(&event);
                self.complete |= matches!(event, Event::InitDone);
                matches!(event, Event::Apply(_) | Event::Delete(_) | Event::InitDone)
            }
            Err(error) => {
                warn!(resource = %K::plural(&()), %error, "watch failed and is tried again");
                false
            }
        }
    }
}

/// Keeps zone and registration up to date until `shutdown`.
async fn follow(
    client: &Client,
    server: &Server,
    registration: &Registration,
    origin: &Name,
    shutdown: &CancellationToken,
) {
    let mut objects = Objects {
        namespaces: Mirror::new(),
        services: Mirror::new(),
        slices: Mirror::new(),
    };
    let config = watcher::Config::default;
    let mut namespaces = pin!(watcher::watcher(Api::all(client.clone()), config()).default_backoff());
    let mut services = pin!(watcher::watcher(Api::all(client.clone()), config()).default_backoff());
    let mut slices = pin!(watcher::watcher(Api::all(client.clone()), config()).default_backoff());
    let mut upkeep = interval(UPKEEP_PERIOD);
    upkeep.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut rebuild, mut register) = (None, None);
    let mut serving = false;
    loop {
        let changed = tokio::select! {
            biased;
            () = shutdown.cancelled() => return,
            () = sleep_until(rebuild) => {
                rebuild = None;
                server.publish(objects.zone(origin));
                if !std::mem::replace(&mut serving, true) {
                    info!(domain = %origin, "cluster names are served");
                    register = Some(Instant::now());
                }
                false
            }
            () = sleep_until(register) => {
                register = None;
                if let Err(error) = registration.ensure(client).await {
                    warn!(slice = registration.name(), %error, "endpoint slice could not be written and is tried again");
                    register = Some(Instant::now() + REGISTRATION_RETRY);
                }
                false
            }
            Some(event) = namespaces.next() => objects.namespaces.hear(event),
            Some(event) = services.next() => objects.services.hear(event),
            Some(event) = slices.next() => objects.slices.hear(event),
            _ = upkeep.tick() => {
                server.forwarder().refresh().await;
                if serving && register.is_none() {
                    register = Some(Instant::now());
                }
                false
            }
        };
        if changed && rebuild.is_none() && objects.are_complete() {
            rebuild = Some(Instant::now() + COALESCE);
        }
    }
}

/// Ends at that time; never when there is none.
async fn sleep_until(time: Option<Instant>) {
    match time {
        Some(time) => tokio::time::sleep_until(time).await,
        None => std::future::pending().await,
    }
}
