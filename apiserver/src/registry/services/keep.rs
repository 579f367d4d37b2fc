//! Keeps services and IPAddresses together: looks a while after the start and after each change.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use coracle_api::status::ApiError;
use coracle_store::Txn;
use tokio_util::sync::CancellationToken;

use super::repair::{self, Finding, Plan};
use crate::reader::{GroupResource, ObjectReader};
use crate::registry::Registry;
use crate::registry::list::wait_error;

/// How long after a change it is looked at what it has led to. What this server writes is right from the start, and what it
/// finds without IPAddresses it gives to nobody, so there is no haste.
const SETTLED_AFTER: Duration = Duration::from_secs(5);
/// How many times as long as a look took the next one waits: many services may cost a hundredth of a processor.
const RESTS: u32 = 100;
const LONGEST_REST: Duration = Duration::from_secs(60);
const PATIENCE: Duration = Duration::from_secs(10);

fn resources() -> [GroupResource; 3] {
    [
        ("", "services"),
        ("networking.k8s.io", "ipaddresses"),
        ("networking.k8s.io", "servicecidrs"),
    ]
    .map(|(group, resource)| GroupResource::new(group, resource))
}

/// What was told already, so that it is told once.
#[derive(Debug, Default)]
pub(crate) struct Told(HashSet<Finding>);

impl Told {
    /// What is new; what is no longer found is forgotten.
    fn news(&mut self, findings: &[Finding]) -> Vec<Finding> {
        let found: HashSet<Finding> = findings.iter().cloned().collect();
        let news = findings
            .iter()
            .filter(|finding| !self.0.contains(finding))
            .cloned()
            .collect();
        self.0 = found;
        news
    }
}

impl Registry {
    /// Looks at all services and IPAddresses and puts right what is amiss. Answers when it wants to look again though nothing
    /// changes.
    ///
    /// # Errors
    /// Where the store does not take what is to be written.
    pub(crate) async fn repair_addresses(&self, told: &mut Told) -> Result<Option<Duration>, ApiError> {
        self.cache.current(PATIENCE).await.map_err(wait_error)?;
        let [services, addresses, service_cidrs] =
            resources().map(|resource| self.reader.list(&resource, ""));
        let plan = repair::plan(&services, &addresses, &service_cidrs, self.now());
        let again = plan.again.and_then(|again| Duration::try_from(again).ok());
        let news = told.news(&plan.findings);
        self.repair(plan).await?;
        self.services.set_listed();
        let events = news
            .iter()
            .map(|finding| repair::event(finding, self.now()))
            .collect();
        self.ensure(events, |_, _| None).await?;
        Ok(again)
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
    pub(crate) async fn keep_addresses(self: Arc<Self>, cancel: CancellationToken) {
        let mut changes = resources().map(|resource| self.reader.changes(&resource));
        let mut told = Told::default();
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
            let again = match self.repair_addresses(&mut told).await {
                Ok(again) => again,
                Err(error) => {
                    tracing::error!(%error, "services and their addresses could not be kept together");
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
