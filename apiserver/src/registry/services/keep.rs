//! Keeps services and what is stored of their addresses and ports together: looks a while after the start and after each change.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use coracle_api::status::ApiError;
use coracle_store::Txn;
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use super::ports;
use super::ports::repair::Leaks;
use super::repair::{self, Finding, Plan};
use crate::reader::{GroupResource, ObjectReader};
use crate::registry::Registry;
use crate::registry::list::wait_error;

/// How long after a change it is looked at what it has led to. What this server writes is right from the start, and what
/// services had before it gives to nobody else, so there is no haste.
const SETTLED_AFTER: Duration = Duration::from_secs(5);
/// How many times as long as a look took the next one waits: many services may cost a hundredth of a processor.
const RESTS: u32 = 100;
const LONGEST_REST: Duration = Duration::from_secs(60);
/// How often it is tried again when others change the node ports.
const TRIES: usize = 10;
const PATIENCE: Duration = Duration::from_secs(10);

fn resources() -> [GroupResource; 3] {
    [
        ("", "services"),
        ("networking.k8s.io", "ipaddresses"),
        ("networking.k8s.io", "servicecidrs"),
    ]
    .map(|(group, resource)| GroupResource::new(group, resource))
}

/// What earlier looks have found.
#[derive(Debug, Default)]
pub(crate) struct Told {
    /// What was told already, so that it is told once.
    findings: HashSet<Finding>,
    leaks: Leaks,
}

impl Told {
    /// What is new; what is no longer found is forgotten.
    fn news(&mut self, findings: &[Finding]) -> Vec<Finding> {
        let found: HashSet<Finding> = findings.iter().cloned().collect();
        let news = findings
            .iter()
            .filter(|finding| !self.findings.contains(finding))
            .cloned()
            .collect();
        self.findings = found;
        news
    }
}

impl Registry {
    /// Looks at all services and what is stored of their addresses and ports, and puts right what is amiss. Answers when it
    /// wants to look again though nothing changes.
    ///
    /// # Errors
    /// Where the store does not take what is to be written.
    pub(crate) async fn repair_services(&self, told: &mut Told) -> Result<Option<Duration>, ApiError> {
        let (services, ports) = self.repair_ports(told).await?;
        let [_, addresses, service_cidrs] = resources();
        let [addresses, service_cidrs] =
            [addresses, service_cidrs].map(|resource| self.reader.list(&resource, ""));
        let mut plan = repair::plan(&services, &addresses, &service_cidrs, self.now());
        let again = plan.again.into_iter().chain(ports.again).min();
        let findings = [std::mem::take(&mut plan.findings), ports.findings].concat();
        self.repair(plan).await?;
        self.services.set_addresses_listed();
        self.tell(told, &findings).await?;
        Ok(again.and_then(|again| Duration::try_from(again).ok()))
    }

    async fn tell(&self, told: &mut Told, findings: &[Finding]) -> Result<(), ApiError> {
        let news = told.news(findings);
        let events = news
            .iter()
            .map(|finding| repair::event(finding, self.now()))
            .collect();
        self.ensure(events, |_, _| None).await
    }

    /// Has those node ports held that services name. Answers the services, for more is asked of them.
    async fn repair_ports(
        &self,
        told: &mut Told,
    ) -> Result<(Vec<Arc<Value>>, ports::repair::Plan), ApiError> {
        let range = self.services.port_range();
        for _ in 0..TRIES {
            // Read before the services are: a service that is made afterwards changes it, and then this is tried again.
            let stored = self.stored_ports().await?;
            self.cache.current(PATIENCE).await.map_err(wait_error)?;
            let [services, ..] = resources();
            let services = self.reader.list(&services, "");
            let mut plan = ports::repair::plan(&services, &stored.held, range, &told.leaks, self.now());
            if plan.held == stored.held || self.replace_ports(&stored, &plan.held).await? {
                told.leaks = std::mem::take(&mut plan.leaks);
                self.services.set_ports_listed();
                return Ok((services, plan));
            }
        }
        Err(ApiError::internal(
            "node ports are being changed by somebody else",
        ))
    }

    /// A changed range of node ports is in use once it has been looked at; upstream's server waits for that at its start.
    async fn begin_ports(&self, told: &mut Told) -> Result<(), ApiError> {
        let (_, plan) = self.repair_ports(told).await?;
        self.tell(told, &plan.findings).await
    }

    async fn repair(&self, plan: Plan) -> Result<(), ApiError> {
        for object in &plan.remake {
            self.forget(crate::registry::meta::text(object, "name")).await?;
        }
        for name in &plan.remove {
            self.forget(name).await?;
        }
        let wanted = plan.make.into_iter().chain(plan.remake).collect();
        self.ensure(wanted, |_, _| None).await
    }

    /// Removes an IPAddress; one that changed meanwhile is looked at again after that change.
    async fn forget(&self, name: &str) -> Result<(), ApiError> {
        let served = self.catalog.stored("networking.k8s.io", "ipaddresses");
        let served = served.ok_or_else(|| ApiError::internal("there are no IPAddresses"))?;
        let key = served.key("", name);
        if let Some(entry) = served.cache.get(&key) {
            self.remove(&served, &key, entry.revision(), Txn::new()).await?;
        }
        Ok(())
    }

    /// Keeps looking until cancelled.
    pub(crate) async fn keep_services(self: Arc<Self>, cancel: CancellationToken) {
        let mut changes = resources().map(|resource| self.reader.changes(&resource));
        let mut told = Told::default();
        if let Err(error) = self.begin_ports(&mut told).await {
            tracing::error!(%error, "it could not be looked at who has which node port");
        }
        let mut rest = SETTLED_AFTER;
        loop {
            // Many changes are looked at together.
            let settled = cancel.run_until_cancelled(tokio::time::sleep(rest)).await;
            if settled.is_none() {
                return;
            }
            changes.iter_mut().for_each(|changes| {
                changes.borrow_and_update();
            });
            let begun = tokio::time::Instant::now();
            let again = match self.repair_services(&mut told).await {
                Ok(again) => again,
                Err(error) => {
                    tracing::error!(%error, "services and their addresses and ports could not be kept together");
                    Some(PATIENCE)
                }
            };
            rest = (begun.elapsed() * RESTS).clamp(SETTLED_AFTER, LONGEST_REST);
            let [services, addresses, service_cidrs] = &mut changes;
            let due = tokio::time::sleep(again.unwrap_or(Duration::MAX));
            let ended = tokio::select! {
                () = cancel.cancelled() => return,
                () = due, if again.is_some() => Ok(()),
                changed = services.changed() => changed,
                changed = addresses.changed() => changed,
                changed = service_cidrs.changed() => changed,
            };
            if ended.is_err() {
                return;
            }
        }
    }
}
