//! Cluster addresses and node ports of services: allocated with the write, given back with the object.
//!
//! Always holds: an address is in use exactly while an IPAddress of its name is stored, which is written in one transaction
//! with the service that has it; a port is in use while a stored service names it. What a write under way asks for is kept
//! aside until it is done: a [`Reservation`] that is dropped before the write has succeeded gives everything back.

pub mod addresses;
mod demands;
mod families;
mod keep;
mod ledger;
pub mod ports;
pub mod ranges;
mod repair;

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use coracle_api::status::ApiError;
use coracle_api::validation::{FieldErrors, Path};
use serde_json::Value;

use super::meta;
use super::served::{Catalog, Served};
use crate::reader::{GroupResource, ObjectReader};
use addresses::{AddressError, Cidr, Occupied};
use demands::{AddressDemand, Demand, PortDemand};
#[cfg(test)]
pub(crate) use keep::Told;
use ledger::Ledger;
pub(crate) use ledger::ip_address;
use ports::{PortError, PortRange, Ports};
use ranges::ClusterRanges;

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
    ledger: Ledger,
    state: Arc<Mutex<State>>,
}

#[derive(Debug)]
struct State {
    /// What writes under way are about to take.
    pending: BTreeSet<IpAddr>,
    /// What stored services had at the start without an IPAddress, until these are made.
    unlisted: BTreeSet<IpAddr>,
    ports: Ports,
}

/// What a write under way has taken, and what it will give back.
#[derive(Debug, Default)]
pub struct Reservation {
    state: Option<Arc<Mutex<State>>>,
    taken: Holdings,
    freed: Holdings,
    is_kept: bool,
}

/// What a write may count on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Held<'a> {
    /// The service as it is, which holds what it names.
    pub old: Option<&'a Value>,
    /// Whether nothing will be written.
    pub dry_run: bool,
}

/// What a service holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Holdings {
    addresses: Vec<IpAddr>,
    ports: Vec<u16>,
}

impl Holdings {
    fn without(self, others: &Self) -> Self {
        let Self {
            mut addresses,
            mut ports,
        } = self;
        addresses.retain(|address| !others.addresses.contains(address));
        ports.retain(|port| !others.ports.contains(port));
        Self { addresses, ports }
    }
}

/// Whether objects of a resource have addresses and ports at all.
pub(super) fn concern(served: &Served) -> bool {
    served.is("", "services")
}

impl Services {
    /// Knows which ports the stored services hold, and where to look for who has which address; those of services that are
    /// older than IPAddresses are nobody else's from the start.
    pub(super) fn new(config: &ServiceConfig, catalog: &Catalog, reader: &dyn ObjectReader) -> Self {
        let ledger = Ledger::new(catalog);
        let mut state = State {
            pending: BTreeSet::new(),
            unlisted: BTreeSet::new(),
            ports: Ports::new(config.node_port_range),
        };
        for service in reader.list(&GroupResource::new("", "services"), "") {
            let held = demands::holdings(&service);
            let addresses = held.addresses.iter().copied();
            state
                .unlisted
                .extend(addresses.filter(|address| !ledger.has(*address)));
            let refused = held.ports.iter().filter(|port| state.ports.take(**port).is_err());
            if refused.count() > 0 {
                let (namespace, name) = (meta::text(&service, "namespace"), meta::text(&service, "name"));
                tracing::warn!(
                    namespace,
                    name,
                    "a service holds a port that is out of range or held by another"
                );
            }
        }
        Self {
            ranges: config.cluster_ip_ranges,
            ledger,
            state: Arc::new(Mutex::new(state)),
        }
    }

    /// Takes what a service needs besides what it has, writes it into it, and keeps in mind what it no longer needs. A dry
    /// run takes nothing beyond this call.
    ///
    /// # Errors
    /// 422 where what it asks for cannot be had.
    pub(super) fn reserve(
        &self,
        served: &Served,
        service: &mut Value,
        held: Held<'_>,
        chance: u64,
    ) -> Result<Reservation, ApiError> {
        if !concern(served) {
            return Ok(Reservation::default());
        }
        let before = held.old.map(demands::holdings).unwrap_or_default();
        let name = meta::text(service, "name").to_owned();
        families::settle(service, held.old, self.ranges.families())
            .map_err(|errors| ApiError::invalid("", "Service", &name, &errors))?;
        let demand = demands::of(service);
        let mut taken = Holdings::default();
        {
            let mut state = lock(&self.state);
            let wish = Wish {
                ledger: &self.ledger,
                held: &before,
                chance,
            };
            let satisfied = state.satisfy(&wish, &demand, service, &mut taken);
            if held.dry_run || satisfied.is_err() {
                state.give_back(&std::mem::take(&mut taken));
            }
            satisfied.map_err(|refusal| refusal.status(service, &name))?;
        }
        let mut reservation = Reservation::default();
        if !held.dry_run {
            reservation.freed = before.without(&demands::holdings(service));
            reservation.taken = taken;
            reservation.state = Some(Arc::clone(&self.state));
        }
        Ok(reservation)
    }

    /// Where addresses come from by the flag.
    pub(super) fn ranges(&self) -> ClusterRanges {
        self.ranges
    }

    /// Every address of a service that may have one has its IPAddress now.
    fn set_listed(&self) {
        lock(&self.state).unlisted.clear();
    }

    /// Gives back the ports of a service that is gone; its addresses went with it.
    pub(super) fn release(&self, served: &Served, service: &Value) {
        if concern(served) {
            let ports = demands::holdings(service).ports;
            let mut state = lock(&self.state);
            ports.iter().for_each(|port| state.ports.release(*port));
        }
    }
}

impl Reservation {
    /// The write succeeded: what was taken stays taken, what is no longer needed is free.
    pub(super) fn keep(mut self) {
        self.is_kept = true;
    }

    /// Whether IPAddresses are written along with the service.
    pub(super) fn writes_addresses(&self) -> bool {
        !self.taken.addresses.is_empty() || !self.freed.addresses.is_empty()
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        let Some(state) = &self.state else {
            return;
        };
        let mut state = lock(state);
        // The IPAddresses say from here on who has what, for the cache shows a write before it is answered.
        for address in &self.taken.addresses {
            state.pending.remove(address);
        }
        let ports = if self.is_kept {
            &self.freed.ports
        } else {
            &self.taken.ports
        };
        ports.iter().for_each(|port| state.ports.release(*port));
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

/// For whom something is taken: where to look, what it holds already, and where to begin.
struct Wish<'a> {
    ledger: &'a Ledger,
    held: &'a Holdings,
    chance: u64,
}

/// What is stored, and what is about to be.
struct Taken<'a> {
    ledger: &'a Ledger,
    pending: &'a BTreeSet<IpAddr>,
    unlisted: &'a BTreeSet<IpAddr>,
}

impl Occupied for Taken<'_> {
    fn is_taken(&self, address: IpAddr) -> bool {
        self.pending.contains(&address) || self.unlisted.contains(&address) || self.ledger.has(address)
    }

    fn all(&self) -> Vec<IpAddr> {
        let mut all = self.ledger.all();
        all.extend(self.pending);
        all.extend(self.unlisted);
        all
    }
}

impl State {
    /// Takes what is demanded and not held, and writes it into the service. `taken` names what was taken even where a
    /// later part fails.
    fn satisfy(
        &mut self,
        wish: &Wish<'_>,
        demand: &Demand,
        service: &mut Value,
        taken: &mut Holdings,
    ) -> Result<(), Refusal> {
        for address in &demand.addresses {
            if let Some(found) = self.address(wish, address, taken)? {
                demands::set_address(service, address.index, found);
            }
        }
        for port in &demand.ports {
            let number = self.port(wish, port, taken)?;
            demands::set_port(service, port.place, number);
        }
        if let Some(requested) = demand.health_check {
            let port = PortDemand {
                place: demands::Place::HealthCheck,
                requested,
                shared_with: None,
            };
            let number = self.port(wish, &port, taken)?;
            demands::set_port(service, port.place, number);
        }
        demands::share_ports(service, demand);
        Ok(())
    }

    /// None where it is held already.
    fn address(
        &mut self,
        wish: &Wish<'_>,
        demand: &AddressDemand,
        taken: &mut Holdings,
    ) -> Result<Option<IpAddr>, Refusal> {
        let occupied = Taken {
            ledger: wish.ledger,
            pending: &self.pending,
            unlisted: &self.unlisted,
        };
        let address = match demand.requested {
            Some(address) if wish.held.addresses.contains(&address) => return Ok(None),
            Some(address) => {
                take(&wish.ledger.ready(), address, &occupied)
                    .map_err(|error| Refusal::Address(address, error))?;
                address
            }
            None => {
                let ranges = wish.ledger.ready();
                let mut ranges = ranges.iter().filter(|range| range.is_ipv4() == demand.is_ipv4);
                ranges
                    .find_map(|range| range.next_free(&occupied, wish.chance))
                    .ok_or(Refusal::NoAddress)?
            }
        };
        self.pending.insert(address);
        taken.addresses.push(address);
        Ok(Some(address))
    }

    fn port(&mut self, wish: &Wish<'_>, demand: &PortDemand, taken: &mut Holdings) -> Result<u16, Refusal> {
        let number = match demand.requested {
            Some(port) if wish.held.ports.contains(&port) || taken.ports.contains(&port) => return Ok(port),
            Some(port) => {
                self.ports
                    .take(port)
                    .map_err(|error| Refusal::Port(demand.place, port, error))?;
                port
            }
            None if demand.shared_with.is_some() => return Ok(0),
            None => self
                .ports
                .take_any(wish.chance.rotate_left(17))
                .map_err(|_| Refusal::NoPort)?,
        };
        taken.ports.push(number);
        Ok(number)
    }

    fn give_back(&mut self, holdings: &Holdings) {
        for address in &holdings.addresses {
            self.pending.remove(address);
        }
        holdings.ports.iter().for_each(|port| self.ports.release(*port));
    }
}

/// Whether an address that is asked for by name can be had.
fn take(ranges: &[Cidr], address: IpAddr, taken: &dyn Occupied) -> Result<(), AddressError> {
    if !ranges::give(ranges, address) {
        return Err(AddressError::NoRange);
    }
    if taken.is_taken(address) {
        return Err(AddressError::Allocated);
    }
    Ok(())
}

/// Why a service does not get what it asks for.
enum Refusal {
    Address(IpAddr, AddressError),
    NoAddress,
    Port(demands::Place, u16, PortError),
    NoPort,
}

impl Refusal {
    fn status(self, service: &Value, name: &str) -> ApiError {
        let mut errors = FieldErrors::new();
        let spec = Path::new("spec");
        match self {
            Self::Address(address, error) => {
                let why = format!("failed to allocate IP {address}: {error}");
                errors.invalid(&spec.child("clusterIPs"), &service["spec"]["clusterIPs"], why);
            }
            Self::NoAddress => {
                let name = coracle_api::quote::quote(name);
                let why = format!(
                    "failed to allocate a serviceIP for Service {name}: {}",
                    AddressError::Full
                );
                return ApiError::internal(why);
            }
            Self::Port(demands::Place::Port(index), port, error) => {
                let ports = spec.child("ports");
                let at = ports.index(index);
                errors.invalid(&at.child("nodePort"), i64::from(port), error.to_string());
            }
            Self::Port(demands::Place::HealthCheck, port, error) => {
                let why = format!("failed to allocate requested HealthCheck NodePort {port}: {error}");
                return ApiError::internal(why);
            }
            Self::NoPort => return ApiError::internal("failed to allocate a nodePort: range is full"),
        }
        ApiError::invalid("", "Service", name, &errors)
    }
}
