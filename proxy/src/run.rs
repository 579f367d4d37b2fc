//! The proxy at work: two watches in, restores out.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use futures::StreamExt;
use futures::stream::BoxStream;
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{self, Event};
use kube::{Api, Client};
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at};
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use crate::facts::cidr::{Cidr, Family};
use crate::facts::service::SERVICE_PROXY_NAME_LABEL;
use crate::family::FamilyProxy;
use crate::kernel::iptables::{Iptables, IptablesError};
use crate::kernel::sysctl;
use crate::rules::compile::NodeView;
use crate::schedule::Schedule;
use crate::world::{Change, World};

/// Slices of headless services have no virtual address and need no rules.
const HEADLESS_LABEL: &str = "service.kubernetes.io/headless";

/// How long the rule that refuses a new service's clients may wait: most often endpoints follow in a moment, and it is not needed.
const ENDPOINTS_FOLLOW: Duration = Duration::from_millis(50);

/// What a proxy needs to know. Defaults are upstream's where upstream has the setting.
#[derive(Clone, Debug)]
pub struct Config {
    /// This node's name, as pods carry it in `spec.nodeName`.
    pub node_name: String,
    /// This node's addresses. Their families are the families that are proxied; the first one's must work.
    pub node_ips: Vec<IpAddr>,
    /// The blocks of all pods' addresses, at most one a family.
    pub cluster_cidrs: Vec<Cidr>,
    /// Masquerade everything sent to a cluster IP.
    pub masquerade_all: bool,
    /// Masquerade what pods send to places outside the cluster. Off where the CNI plugin does that; the configuration that
    /// Coracle's node agent writes leaves it to the proxy.
    pub masquerade_pods: bool,
    /// The shortest time from one sync to the next. Changes in between are applied together.
    pub min_sync_period: Duration,
    /// How often to look whether another program flushed the tables.
    pub probe_period: Duration,
    /// How often to read what the kernel holds and write every rule, whatever is believed to be there.
    pub renewal_period: Duration,
}

impl Config {
    /// A configuration with upstream's defaults, save that a restore, being small, may come sooner, and that pods are
    /// masqueraded.
    pub fn new(node_name: impl Into<String>, node_ips: Vec<IpAddr>, cluster_cidrs: Vec<Cidr>) -> Self {
        Self {
            node_name: node_name.into(),
            node_ips,
            cluster_cidrs,
            masquerade_all: false,
            masquerade_pods: true,
            min_sync_period: Duration::from_millis(10),
            probe_period: Duration::from_secs(30),
            renewal_period: Duration::from_secs(60 * 60),
        }
    }

    fn families(&self) -> Vec<Family> {
        let mut seen = BTreeSet::new();
        self.node_ips
            .iter()
            .map(|ip| Family::of(*ip))
            .filter(|family| seen.insert(*family))
            .collect()
    }

    fn view(&self, family: Family) -> NodeView {
        NodeView {
            family,
            node_ips: self
                .node_ips
                .iter()
                .copied()
                .filter(|ip| Family::of(*ip) == family)
                .collect(),
            cluster_cidr: self
                .cluster_cidrs
                .iter()
                .copied()
                .find(|cidr| cidr.family() == family),
            masquerade_all: self.masquerade_all,
            masquerade_pods: self.masquerade_pods,
        }
    }
}

/// Why a proxy cannot run.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The configuration has no node address.
    #[error("the proxy needs at least one address of its node")]
    NoNodeAddress,
    /// iptables is missing or of no use here.
    #[error("the kernel's service rules cannot be written")]
    Iptables(#[from] IptablesError),
}

/// Keeps the kernel's rules equal to the API's services until `shutdown`. The rules stay when it ends.
///
/// # Errors
/// When iptables cannot be used at all. Later failures are logged and tried again.
pub async fn run(client: Client, config: Config, shutdown: CancellationToken) -> Result<(), RunError> {
    let mut proxies = start(&config).await?;
    let mut inputs = Inputs::new(client, &config, shutdown);
    let mut schedule = Schedule::new(config.min_sync_period);
    loop {
        let change = match inputs.next(&schedule).await {
            Input::End => break,
            Input::Due => {
                let began = Instant::now();
                let result = sync(&mut proxies).await;
                schedule.synced(began, Instant::now(), result);
                continue;
            }
            Input::Service(event) => take_in(&mut proxies, |world| world.service(&event)),
            Input::Slice(event) => take_in(&mut proxies, |world| world.slice(&event)),
            Input::Probe => probe(&mut proxies).await,
            Input::Renewal => {
                proxies.iter_mut().for_each(FamilyProxy::forget_installed);
                Change::Rules
            }
        };
        match change {
            Change::Nothing => {}
            Change::Refusal => schedule.request(Instant::now() + ENDPOINTS_FOLLOW),
            Change::Rules => schedule.request(Instant::now()),
        }
    }
    for proxy in proxies {
        proxy.close().await;
    }
    Ok(())
}

/// All families, though one may fail.
async fn sync(proxies: &mut [FamilyProxy]) -> Result<(), IptablesError> {
    let mut result = Ok(());
    for proxy in proxies {
        result = result.and(proxy.sync().await);
    }
    result
}

async fn probe(proxies: &mut [FamilyProxy]) -> Change {
    let mut change = Change::Nothing;
    for proxy in proxies {
        if proxy.was_flushed().await {
            change = Change::Rules;
        }
    }
    change
}

/// Hands an event to all families, and tells the most that it changes for one of them.
fn take_in(proxies: &mut [FamilyProxy], event: impl Fn(&mut World) -> Change) -> Change {
    let changes = proxies.iter_mut().map(|proxy| event(&mut proxy.world));
    let change = changes.max().unwrap_or(Change::Nothing);
    if proxies.iter().all(|proxy| proxy.world.is_complete()) {
        change
    } else {
        Change::Nothing
    }
}

/// What the proxy reacts to.
enum Input {
    End,
    /// It is time to sync.
    Due,
    Service(Box<Event<Service>>),
    Slice(Box<Event<EndpointSlice>>),
    /// It is time to look whether the rules are still there.
    Probe,
    /// It is time to write everything again.
    Renewal,
}

/// Where inputs come from.
struct Inputs {
    shutdown: CancellationToken,
    services: BoxStream<'static, watcher::Result<Event<Service>>>,
    slices: BoxStream<'static, watcher::Result<Event<EndpointSlice>>>,
    probe: Interval,
    renewal: Interval,
}

impl Inputs {
    fn new(client: Client, config: &Config, shutdown: CancellationToken) -> Self {
        let ours = format!("!{SERVICE_PROXY_NAME_LABEL}");
        let services = watcher::Config::default().labels(&ours);
        let slices = watcher::Config::default().labels(&format!("{ours},!{HEADLESS_LABEL}"));
        let every = |period: Duration| {
            let mut interval = interval_at(Instant::now() + period, period);
            interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
            interval
        };
        Self {
            shutdown,
            services: watcher::watcher(Api::all(client.clone()), services)
                .default_backoff()
                .boxed(),
            slices: watcher::watcher(Api::all(client), slices)
                .default_backoff()
                .boxed(),
            probe: every(config.probe_period),
            renewal: every(config.renewal_period),
        }
    }

    /// The next input. Changes that have come in already are taken before a sync that is due, so that one sync does for all.
    async fn next(&mut self, schedule: &Schedule) -> Input {
        loop {
            tokio::select! {
                biased;
                () = self.shutdown.cancelled() => return Input::End,
                () = sleep_until(schedule.overdue()) => return Input::Due,
                Some(event) = self.services.next() => {
                    if let Some(event) = received("services", event) {
                        return Input::Service(Box::new(event));
                    }
                }
                Some(event) = self.slices.next() => {
                    if let Some(event) = received("endpointslices", event) {
                        return Input::Slice(Box::new(event));
                    }
                }
                () = sleep_until(schedule.due()) => return Input::Due,
                _ = self.probe.tick() => return Input::Probe,
                _ = self.renewal.tick() => return Input::Renewal,
            }
        }
    }
}

/// Removes every chain and rule that a proxy made, in every family that this machine has.
///
/// # Errors
/// When the rules are there and cannot be removed.
pub async fn cleanup() -> Result<(), IptablesError> {
    for family in [Family::V4, Family::V6] {
        let iptables = Iptables::new(family);
        let installed = match iptables.read().await {
            Ok(installed) => installed,
            // Without the program, or without this family in the kernel, nobody can have made rules.
            Err(error) => {
                debug!(?family, %error, "no service rules can be read");
                continue;
            }
        };
        if let Some(removal) = installed.removal() {
            iptables.restore(&removal).await?;
        }
    }
    Ok(())
}

/// A proxy for each family. Only the first family must work: a machine without IPv6 still has services.
async fn start(config: &Config) -> Result<Vec<FamilyProxy>, RunError> {
    let mut proxies = Vec::new();
    for family in config.families() {
        let mut iptables = Iptables::new(family);
        match iptables.probe().await {
            Ok(()) => {}
            Err(error) if proxies.is_empty() => return Err(error.into()),
            Err(error) => {
                warn!(?family, %error, "services of this address family are not proxied");
                continue;
            }
        }
        sysctl::enable(family);
        proxies.push(FamilyProxy::new(config.view(family), &config.node_name, iptables));
    }
    if proxies.is_empty() {
        Err(RunError::NoNodeAddress)
    } else {
        Ok(proxies)
    }
}

/// A watch's event; its errors are logged here, and the watch itself tries again.
fn received<K>(resource: &str, event: watcher::Result<Event<K>>) -> Option<Event<K>> {
    event
        .inspect_err(|error| warn!(resource, %error, "watch failed and is tried again"))
        .ok()
}

/// Ends at that time; never when there is none.
async fn sleep_until(due: Option<Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due).await,
        None => std::future::pending().await,
    }
}
