//! Cluster addresses and node ports of services: given with the write, given back with the object.
//!
//! Always holds: an address is in use exactly while an IPAddress of its name is stored, and a port while its bit is set in the
//! stored allocation of node ports; both are written in one transaction with the service that has them. What a write under
//! way asks for is kept aside until it is done: a [`Reservation`] that is dropped gives that back.

pub mod addresses;
mod demands;
mod families;
mod giving;
mod keep;
mod ledger;
pub mod ports;
pub mod ranges;
mod repair;
mod reservation;

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::{Arc, Mutex};

use coracle_api::status::ApiError;
use serde_json::Value;
use tokio::sync::Semaphore;

use super::served::{Catalog, Served};
use super::{Registry, meta};
use crate::reader::{GroupResource, ObjectReader};
use giving::Wish;
#[cfg(test)]
pub(crate) use keep::Told;
use ledger::Ledger;
pub(crate) use ledger::ip_address;
pub(crate) use ports::stored::KEY as PORTS_KEY;
use ports::stored::Turn;
use ports::{HeldPorts, PortRange, settle};
use ranges::ClusterRanges;
pub use reservation::Reservation;
use reservation::{Holdings, State, lock};

/// Where services get their addresses and ports from.
#[derive(Clone, Debug)]
pub struct ServiceConfig {
    /// `--service-cluster-ip-range`
    pub cluster_ip_ranges: ClusterRanges,
    /// `--service-node-port-range`
    pub node_port_range: PortRange,
}

impl Default for ServiceConfig {
    fn default() -> Self {
        let cluster_ip_ranges = "10.96.0.0/12".parse().expect("the default range is a range");
        Self {
            cluster_ip_ranges,
            node_port_range: PortRange::default(),
        }
    }
}

/// The allocations of all services.
#[derive(Debug)]
pub struct Services {
    ranges: ClusterRanges,
    port_range: PortRange,
    ledger: Ledger,
    state: Arc<Mutex<State>>,
    /// One permit, for whoever changes which ports are held.
    port_turns: Semaphore,
}

/// What a write may count on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Held<'a> {
    /// The service as it is, which holds what it names.
    pub old: Option<&'a Value>,
    /// Whether nothing will be written.
    pub dry_run: bool,
}

/// Whether objects of a resource have addresses and ports at all.
pub(super) fn concern(served: &Served) -> bool {
    served.is("", "services")
}

/// What a service holds.
fn holdings(service: &Value) -> Holdings {
    Holdings {
        addresses: demands::addresses_held(service),
        ports: settle::holdings(service),
    }
}

impl Services {
    /// Knows where to look for who has what; what stored services have of which nothing says so is nobody else's from the
    /// start.
    pub(super) fn new(config: &ServiceConfig, catalog: &Catalog, reader: &dyn ObjectReader) -> Self {
        let ledger = Ledger::new(catalog);
        let (mut addresses, mut ports) = (BTreeSet::<IpAddr>::new(), BTreeSet::new());
        for service in reader.list(&GroupResource::new("", "services"), "") {
            let held = holdings(&service);
            addresses.extend(held.addresses.iter().filter(|address| !ledger.has(**address)));
            ports.extend(held.ports);
        }
        Self {
            ranges: config.cluster_ip_ranges,
            port_range: config.node_port_range,
            ledger,
            state: Arc::new(Mutex::new(State::with_unlisted(addresses, ports))),
            port_turns: Semaphore::new(1),
        }
    }

    /// Takes what a service needs besides what it has, writes it into it, and keeps in mind what it no longer needs. A dry
    /// run takes nothing beyond this call.
    ///
    /// # Errors
    /// 422 where what it asks for cannot be had.
    fn reserve(
        &self,
        service: &mut Value,
        held: Held<'_>,
        ports: Option<&HeldPorts>,
        chance: u64,
    ) -> Result<Reservation, ApiError> {
        let before = held.old.map(holdings).unwrap_or_default();
        let name = meta::text(service, "name").to_owned();
        families::settle(service, held.old, self.ranges.families())
            .map_err(|errors| ApiError::invalid("", "Service", &name, &errors))?;
        let wish = Wish {
            ledger: &self.ledger,
            held: &before,
            old: held.old,
            port_range: self.port_range,
            ports,
            chance,
            dry_run: held.dry_run,
        };
        let mut taken = Holdings::default();
        let mut state = lock(&self.state);
        let satisfied = state.satisfy(&wish, service, &mut taken);
        if held.dry_run || satisfied.is_err() {
            state.give_back(&std::mem::take(&mut taken));
        }
        drop(state);
        satisfied.map_err(|refusal| refusal.status(service, &name))?;
        if held.dry_run {
            return Ok(Reservation::default());
        }
        let freed = before.without(&holdings(service));
        Ok(Reservation::new(Arc::clone(&self.state), taken, freed))
    }

    /// Where addresses come from by the flag.
    pub(super) fn ranges(&self) -> ClusterRanges {
        self.ranges
    }

    /// Where node ports come from by the flag.
    fn port_range(&self) -> PortRange {
        self.port_range
    }

    async fn port_turn(&self) -> Turn<'_> {
        let turn = self.port_turns.acquire().await;
        Some(turn.expect("the semaphore is never closed"))
    }

    /// Every address of a service that may have one has its IPAddress now.
    fn set_addresses_listed(&self) {
        lock(&self.state).unlisted.addresses.clear();
    }

    /// Every port of a service that may have one has its bit now.
    fn set_ports_listed(&self) {
        lock(&self.state).unlisted.ports.clear();
    }

    /// What a service held that is gone is no longer kept aside for it.
    pub(super) fn release(&self, served: &Served, service: &Value) {
        if concern(served) {
            lock(&self.state).forget(&holdings(service));
        }
    }
}

impl Registry {
    /// Takes what an object needs of addresses and ports, if it is a service.
    ///
    /// # Errors
    /// 422 where what it asks for cannot be had.
    pub(super) async fn reserve(
        &self,
        served: &Served,
        object: &mut Value,
        held: Held<'_>,
    ) -> Result<Reservation, ApiError> {
        if !concern(served) {
            return Ok(Reservation::default());
        }
        let ports = if settle::takes(object, held.old) {
            Some(self.stored_ports().await?.held)
        } else {
            None
        };
        self.services.reserve(object, held, ports.as_ref(), self.chance())
    }
}
