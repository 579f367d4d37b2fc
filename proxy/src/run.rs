//! The proxy at work: two watches in, restores out.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::pin::pin;
use std::time::Duration;

use futures::StreamExt;
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{self, Event};
use kube::{Api, Client};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use crate::facts::cidr::{Cidr, Family};
use crate::facts::service::SERVICE_PROXY_NAME_LABEL;
use crate::health::{HealthServers, health_checks};
use crate::kernel::iptables::{Iptables, IptablesError};
use crate::kernel::{conntrack, sysctl};
use crate::rules::compile::{Compiler, NodeView};
use crate::rules::diff::{Installed, diff};
use crate::rules::flows::{UdpView, stale_flows, udp_view};
use crate::world::World;

/// Slices of headless services have no virtual address and need no rules.
const HEADLESS_LABEL: &str = "service.kubernetes.io/headless";

/// The first and the longest pause before a failed restore is tried again.
const RETRY_PAUSES: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(30));

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
    /// The shortest time between two restores. Changes in between are applied together. After a restore that took longer, the
    /// proxy rests for as long as that took, so that many rules that change all the time take half a processor at most.
    pub min_sync_period: Duration,
    /// How often to look whether another program flushed the tables.
    pub probe_period: Duration,
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
    let ours = format!("!{SERVICE_PROXY_NAME_LABEL}");
    let services = watcher::Config::default().labels(&ours);
    let slices = watcher::Config::default().labels(&format!("{ours},!{HEADLESS_LABEL}"));
    let mut services =
        pin!(watcher::watcher(Api::<Service>::all(client.clone()), services).default_backoff());
    let mut slices = pin!(watcher::watcher(Api::<EndpointSlice>::all(client), slices).default_backoff());
    let mut probe = tokio::time::interval(config.probe_period);
    probe.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut schedule = Schedule::new(config.min_sync_period);
    loop {
        tokio::select! {
            biased;
            () = shutdown.cancelled() => break,
            () = sleep_until(schedule.due) => {
                let (began, mut result) = (Instant::now(), Ok(()));
                for proxy in &mut proxies {
                    result = result.and(proxy.sync().await);
                }
                schedule.synced(began, Instant::now(), result);
            }
            Some(event) = services.next() => {
                if let Some(event) = received("services", event) && apply(&mut proxies, |world| world.service(&event)) {
                    schedule.request(Instant::now());
                }
            }
            Some(event) = slices.next() => {
                if let Some(event) = received("endpointslices", event) && apply(&mut proxies, |world| world.slice(&event)) {
                    schedule.request(Instant::now());
                }
            }
            _ = probe.tick() => {
                for proxy in &mut proxies {
                    if proxy.was_flushed().await {
                        schedule.request(Instant::now());
                    }
                }
            }
        }
    }
    for proxy in proxies {
        proxy.health.close().await;
    }
    Ok(())
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
        let iptables = Iptables::new(family);
        match iptables.probe().await {
            Ok(()) => {}
            Err(error) if proxies.is_empty() => return Err(error.into()),
            Err(error) => {
                warn!(?family, %error, "services of this address family are not proxied");
                continue;
            }
        }
        sysctl::enable(family);
        proxies.push(FamilyProxy {
            compiler: Compiler::new(config.view(family)),
            world: World::new(family, &config.node_name),
            iptables,
            installed: None,
            udp: UdpView::new(),
            health: HealthServers::new(family),
        });
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

fn apply(proxies: &mut [FamilyProxy], mut event: impl FnMut(&mut World) -> bool) -> bool {
    let mut changed = false;
    for proxy in proxies.iter_mut() {
        changed |= event(&mut proxy.world);
    }
    changed && proxies.iter().all(|proxy| proxy.world.is_complete())
}

/// The proxy of one family.
struct FamilyProxy {
    compiler: Compiler,
    world: World,
    iptables: Iptables,
    /// What the kernel holds; nothing when that must be read first.
    installed: Option<Installed>,
    udp: UdpView,
    health: HealthServers,
}

impl FamilyProxy {
    /// Brings the kernel to what the API says.
    async fn sync(&mut self) -> Result<(), IptablesError> {
        if !self.world.is_complete() {
            return Ok(());
        }
        let (services, endpoints) = self.world.snapshot();
        let rules = self.compiler.compile(&services, &endpoints);
        // Taken out: should anything fail from here on, what the kernel holds is not known any more.
        let installed = match self.installed.take() {
            Some(installed) => installed,
            None => self.iptables.read().await?,
        };
        let batch = diff(&installed, &rules);
        if !batch.is_empty() {
            self.iptables.restore(&batch.to_string()).await?;
            debug!(family = ?self.compiler.family(), chains = batch.chains_written(), "service rules written");
        }
        self.installed = Some(Installed::after(rules));
        self.forget_stale_flows(udp_view(&services, &endpoints)).await;
        self.health.update(health_checks(&services, &endpoints)).await;
        Ok(())
    }

    async fn forget_stale_flows(&mut self, udp: UdpView) {
        let stale = stale_flows(&self.udp, &udp);
        self.udp = udp;
        if let Err(error) = conntrack::delete(&stale, self.compiler.family()).await {
            debug!(%error, "conntrack cannot be run; stale UDP flows end by their own timeout");
        }
    }

    /// Looks whether the rules were flushed behind our back; then they must be read and written again.
    async fn was_flushed(&mut self) -> bool {
        if self.installed.is_none() {
            return false;
        }
        match self.iptables.has_jumps().await {
            Ok(true) => false,
            Ok(false) => {
                info!(family = ?self.compiler.family(), "service rules were removed by another program and are written again");
                self.installed = None;
                true
            }
            Err(error) => {
                warn!(%error, "service rules cannot be looked at");
                false
            }
        }
    }
}

/// When to sync: soon after a change, not more often than the period or than syncing takes, later after failures. Asks no clock
/// itself.
#[derive(Debug)]
struct Schedule {
    period: Duration,
    due: Option<Instant>,
    earliest: Option<Instant>,
    pause: Duration,
}

impl Schedule {
    fn new(period: Duration) -> Self {
        Self {
            period,
            due: None,
            earliest: None,
            pause: RETRY_PAUSES.0,
        }
    }

    /// Something changed.
    fn request(&mut self, now: Instant) {
        let soonest = self.earliest.map_or(now, |earliest| earliest.max(now));
        self.due = Some(self.due.map_or(soonest, |due| due.min(soonest)));
    }

    /// A sync came to its end.
    fn synced(&mut self, began: Instant, now: Instant, result: Result<(), IptablesError>) {
        match result {
            Ok(()) => {
                self.pause = RETRY_PAUSES.0;
                self.due = None;
                self.earliest = Some(now + self.period.max(now - began));
            }
            Err(error) => {
                warn!(%error, retry_in = ?self.pause, "service rules could not be written");
                self.due = Some(now + self.pause);
                self.earliest = self.due;
                self.pause = (self.pause * 2).min(RETRY_PAUSES.1);
            }
        }
    }
}

/// Ends at that time; never when there is none.
async fn sleep_until(due: Option<Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failure() -> Result<(), IptablesError> {
        Err(IptablesError::Missing {
            program: "iptables-restore",
        })
    }

    #[test]
    fn changes_close_together_are_one_sync() {
        let period = Duration::from_secs(1);
        let mut schedule = Schedule::new(period);
        let start = Instant::now();
        schedule.request(start);
        assert_eq!(schedule.due, Some(start));
        schedule.synced(start, start, Ok(()));
        assert_eq!(schedule.due, None);
        schedule.request(start + period / 4);
        schedule.request(start + period / 2);
        assert_eq!(schedule.due, Some(start + period));
        schedule.synced(start + period, start + period, Ok(()));
        schedule.request(start + period * 5);
        assert_eq!(schedule.due, Some(start + period * 5));
        schedule.synced(start + period * 5, start + period * 8, Ok(()));
        schedule.request(start + period * 9);
        assert_eq!(schedule.due, Some(start + period * 11));
    }

    #[test]
    fn failures_are_tried_again_ever_later() {
        let mut schedule = Schedule::new(Duration::from_millis(1));
        let mut now = Instant::now();
        let mut pauses = Vec::new();
        for _ in 0..8 {
            schedule.synced(now, now, failure());
            schedule.request(now);
            let due = schedule.due.unwrap();
            pauses.push((due - now).as_millis());
            now = due;
        }
        assert_eq!(pauses, [500, 1000, 2000, 4000, 8000, 16000, 30000, 30000]);
        schedule.synced(now, now, Ok(()));
        assert_eq!(schedule.due, None);
    }
}
