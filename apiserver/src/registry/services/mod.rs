//! Cluster addresses and node ports of services: allocated with the write, given back with the object.
//!
//! Always holds: an address or a port is in use exactly while a stored service names it, or while a write that asks for
//! it is under way. A [`Reservation`] that is dropped before the write has succeeded gives everything back.

pub mod addresses;
mod demands;
mod families;
pub mod ports;

use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use coracle_api::status::ApiError;
use coracle_api::validation::{FieldErrors, Path};
use serde_json::{Value, json};

use super::meta;
use super::served::Served;
use crate::reader::{GroupResource, ObjectReader};
use addresses::{AddressError, Addresses, Cidr};
use demands::{Demand, PortDemand};
use ports::{PortError, PortRange, Ports};

/// Where services get their addresses and ports from.
#[derive(Clone, Debug)]
pub struct ServiceConfig {
    /// `--service-cluster-ip-range`
    pub cluster_ip_range: Cidr,
    /// `--service-node-port-range`
    pub node_port_range: PortRange,
}

impl Default for ServiceConfig {
    fn default() -> Self {
        let cluster_ip_range = "10.96.0.0/12".parse().expect("the default range is a range");
        Self {
            cluster_ip_range,
            node_port_range: PortRange::default(),
        }
    }
}

/// The allocations of all services.
#[derive(Debug)]
pub struct Services {
    state: Arc<Mutex<State>>,
}

#[derive(Debug)]
struct State {
    addresses: Addresses,
    ports: Ports,
}

/// What a write under way has taken, and what it will give back.
#[derive(Debug, Default)]
pub struct Reservation {
    state: Option<Arc<Mutex<State>>>,
    taken: Holdings,
    freed: Holdings,
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

impl Services {
    /// Knows what the stored services hold.
    pub fn new(config: &ServiceConfig, reader: &dyn ObjectReader) -> Self {
        let mut state = State {
            addresses: Addresses::new(config.cluster_ip_range),
            ports: Ports::new(config.node_port_range),
        };
        // The first address is that of `kubernetes`, whether that service is there yet or not.
        let first = config.cluster_ip_range.first();
        let _ = state.addresses.take(first);
        for service in reader.list(&GroupResource::new("", "services"), "") {
            let mut held = demands::holdings(&service);
            held.addresses.retain(|address| *address != first);
            let taken = held
                .addresses
                .iter()
                .filter(|address| state.addresses.take(**address).is_err())
                .count()
                + held
                    .ports
                    .iter()
                    .filter(|port| state.ports.take(**port).is_err())
                    .count();
            if taken > 0 {
                let (namespace, name) = (meta::text(&service, "namespace"), meta::text(&service, "name"));
                tracing::warn!(
                    namespace,
                    name,
                    "a service holds what is out of range or held by another"
                );
            }
        }
        Self {
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
        if !served.is("", "services") {
            return Ok(Reservation::default());
        }
        let before = held.old.map(demands::holdings).unwrap_or_default();
        let name = meta::text(service, "name").to_owned();
        let own = families::name(self.range().first().is_ipv6());
        families::settle(service, held.old, own)
            .map_err(|errors| ApiError::invalid("", "Service", &name, &errors))?;
        let demand = demands::of(service);
        let mut taken = Holdings::default();
        {
            let mut state = lock(&self.state);
            let satisfied = state.satisfy(&demand, service, &before, chance, &mut taken);
            if held.dry_run || satisfied.is_err() {
                state.give_back(&std::mem::take(&mut taken));
            }
            satisfied.map_err(|refusal| refusal.status(&name))?;
        }
        let mut reservation = Reservation::default();
        if !held.dry_run {
            reservation.freed = before.without(&demands::holdings(service));
            reservation.taken = taken;
            reservation.state = Some(Arc::clone(&self.state));
        }
        Ok(reservation)
    }

    /// Where addresses come from.
    pub(super) fn range(&self) -> Cidr {
        lock(&self.state).addresses.range()
    }

    /// Gives back what a service held that is gone.
    pub(super) fn release(&self, served: &Served, service: &Value) {
        if served.is("", "services") {
            lock(&self.state).give_back(&demands::holdings(service));
        }
    }
}

impl Reservation {
    /// The write succeeded: what was taken stays taken, what is no longer needed is free.
    pub(super) fn keep(mut self) {
        // What is given back at the end is now the other half.
        self.taken = std::mem::take(&mut self.freed);
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        if let Some(state) = &self.state {
            lock(state).give_back(&self.taken);
        }
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

impl State {
    /// Takes what is demanded and not held, and writes it into the service. `taken` names what was taken even where a
    /// later part fails.
    fn satisfy(
        &mut self,
        demand: &Demand,
        service: &mut Value,
        held: &Holdings,
        chance: u64,
        taken: &mut Holdings,
    ) -> Result<(), Refusal> {
        if demand.address {
            let address = self.address(demand.requested, held, chance, taken)?;
            demands::set_address(service, address);
        }
        for port in &demand.ports {
            let number = self.port(port, held, chance, taken)?;
            demands::set_port(service, port.place, number);
        }
        if let Some(requested) = demand.health_check {
            let port = PortDemand {
                place: demands::Place::HealthCheck,
                requested,
                shared_with: None,
            };
            let number = self.port(&port, held, chance, taken)?;
            demands::set_port(service, port.place, number);
        }
        demands::share_ports(service, demand);
        Ok(())
    }

    fn address(
        &mut self,
        requested: Option<IpAddr>,
        held: &Holdings,
        chance: u64,
        taken: &mut Holdings,
    ) -> Result<IpAddr, Refusal> {
        let address = match requested {
            Some(address) if held.addresses.contains(&address) => return Ok(address),
            Some(address) => {
                self.addresses
                    .take(address)
                    .map_err(|error| Refusal::Address(address, error))?;
                address
            }
            None => self.addresses.take_any(chance).map_err(|_| Refusal::NoAddress)?,
        };
        taken.addresses.push(address);
        Ok(address)
    }

    fn port(
        &mut self,
        demand: &PortDemand,
        held: &Holdings,
        chance: u64,
        taken: &mut Holdings,
    ) -> Result<u16, Refusal> {
        let number = match demand.requested {
            Some(port) if held.ports.contains(&port) || taken.ports.contains(&port) => return Ok(port),
            Some(port) => {
                self.ports
                    .take(port)
                    .map_err(|error| Refusal::Port(demand.place, port, error))?;
                port
            }
            None if demand.shared_with.is_some() => return Ok(0),
            None => self
                .ports
                .take_any(chance.rotate_left(17))
                .map_err(|_| Refusal::NoPort)?,
        };
        taken.ports.push(number);
        Ok(number)
    }

    fn give_back(&mut self, holdings: &Holdings) {
        let first = self.addresses.range().first();
        let addresses = holdings.addresses.iter().filter(|address| **address != first);
        addresses.for_each(|address| self.addresses.release(*address));
        holdings.ports.iter().for_each(|port| self.ports.release(*port));
    }
}

/// Why a service does not get what it asks for.
enum Refusal {
    Address(IpAddr, AddressError),
    NoAddress,
    Port(demands::Place, u16, PortError),
    NoPort,
}

impl Refusal {
    fn status(self, name: &str) -> ApiError {
        let mut errors = FieldErrors::new();
        let spec = Path::new("spec");
        match self {
            Self::Address(address, error) => {
                let why = format!("failed to allocate IP {address}: {error}");
                errors.invalid(&spec.child("clusterIPs"), &json!([address.to_string()]), why);
            }
            Self::NoAddress => return ApiError::internal("failed to allocate a serviceIP: range is full"),
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
