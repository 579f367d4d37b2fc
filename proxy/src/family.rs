//! The proxy of one address family: from what the API says to what the kernel holds.

use tracing::{debug, info, warn};

use crate::health::{HealthServers, health_checks};
use crate::kernel::conntrack;
use crate::kernel::iptables::{Iptables, IptablesError};
use crate::rules::Rules;
use crate::rules::compile::{Compiler, NodeView};
use crate::rules::diff::{Installed, diff};
use crate::rules::flows::{UdpView, stale_flows, udp_view};
use crate::world::World;

/// The proxy of one family.
pub(crate) struct FamilyProxy {
    compiler: Compiler,
    pub(crate) world: World,
    iptables: Iptables,
    /// What the kernel holds; nothing when that must be read first.
    installed: Option<Installed>,
    udp: UdpView,
    health: HealthServers,
}

impl FamilyProxy {
    /// A proxy that knows nothing yet, neither of the API nor of the kernel.
    pub(crate) fn new(view: NodeView, node_name: &str, iptables: Iptables) -> Self {
        let family = view.family;
        Self {
            compiler: Compiler::new(view),
            world: World::new(family, node_name),
            iptables,
            installed: None,
            udp: UdpView::new(),
            health: HealthServers::new(family),
        }
    }

    /// Brings the kernel to what the API says.
    pub(crate) async fn sync(&mut self) -> Result<(), IptablesError> {
        if !self.world.is_complete() {
            return Ok(());
        }
        let (services, endpoints) = self.world.snapshot();
        let rules = self.compiler.compile(&services, &endpoints);
        self.write(rules).await?;
        self.forget_stale_flows(udp_view(&services, &endpoints)).await;
        self.health.update(health_checks(&services, &endpoints)).await;
        Ok(())
    }

    /// Writes what differs from what the kernel is known to hold. Should it turn out to hold something else, or is nothing known,
    /// it is read and everything is written.
    async fn write(&mut self, rules: Rules) -> Result<(), IptablesError> {
        // Taken out: should anything fail from here on, what the kernel holds is not known any more.
        let is_written = match self.installed.take() {
            Some(installed) => match self.change(&installed, &rules).await {
                Ok(()) => true,
                Err(error) => {
                    warn!(%error, "a change of service rules was refused; all of them are written again");
                    false
                }
            },
            None => false,
        };
        if !is_written {
            let found = self.iptables.read().await?;
            self.change(&found, &rules).await?;
        }
        self.installed = Some(Installed::after(rules));
        Ok(())
    }

    async fn change(&self, installed: &Installed, rules: &Rules) -> Result<(), IptablesError> {
        let batch = diff(installed, rules);
        if batch.is_empty() {
            return Ok(());
        }
        self.iptables.apply(&batch).await?;
        let (chains, edited) = (batch.chains_written(), batch.rules_edited());
        debug!(family = ?self.compiler.family(), chains, edited, "service rules written");
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
    pub(crate) async fn was_flushed(&mut self) -> bool {
        let Some(installed) = &self.installed else {
            return false;
        };
        match self.iptables.still_has(installed).await {
            Ok(true) => false,
            Ok(false) => {
                info!(family = ?self.compiler.family(), "service rules were removed by another program and are written again");
                self.forget_installed();
                true
            }
            Err(error) => {
                warn!(%error, "service rules cannot be looked at");
                false
            }
        }
    }

    /// The next sync reads what the kernel holds and writes everything.
    pub(crate) fn forget_installed(&mut self) {
        self.installed = None;
    }

    /// Ends what the proxy serves. The rules stay.
    pub(crate) async fn close(self) {
        self.health.close().await;
    }
}
