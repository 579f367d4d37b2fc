//! Gives a service what it needs, by what is stored and what is kept aside. Pure but for the look into the cache.

use std::collections::BTreeSet;
use std::net::IpAddr;

use coracle_api::status::ApiError;
use coracle_api::validation::{FieldErrors, Path};
use serde_json::Value;

use super::addresses::{AddressError, Cidr, Occupied};
use super::demands::{self, AddressDemand};
use super::ledger::Ledger;
use super::ports::operation::Operation;
use super::ports::{HeldPorts, PortRange, settle};
use super::ranges;
use super::reservation::{Holdings, State};

/// For whom something is taken: where to look, what it holds already, and where to begin.
pub(super) struct Wish<'a> {
    pub ledger: &'a Ledger,
    pub held: &'a Holdings,
    pub old: Option<&'a Value>,
    pub port_range: PortRange,
    /// The ports that are held, where it may matter.
    pub ports: Option<&'a HeldPorts>,
    pub chance: u64,
    pub dry_run: bool,
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
    pub(super) fn satisfy(
        &mut self,
        wish: &Wish<'_>,
        service: &mut Value,
        taken: &mut Holdings,
    ) -> Result<(), Refusal> {
        for address in demands::addresses(service) {
            if let Some(found) = self.address(wish, &address, taken)? {
                demands::set_address(service, address.index, found);
            }
        }
        self.ports(wish, service, taken).map_err(Refusal::Ports)
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
            pending: &self.pending.addresses,
            unlisted: &self.unlisted.addresses,
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
        self.pending.addresses.insert(address);
        taken.addresses.push(address);
        Ok(Some(address))
    }

    fn ports(
        &mut self,
        wish: &Wish<'_>,
        service: &mut Value,
        taken: &mut Holdings,
    ) -> Result<(), settle::Refusal> {
        let aside = |port: u16| self.pending.ports.contains(&port) || self.unlisted.ports.contains(&port);
        let mut operation = Operation {
            range: wish.port_range,
            stored: wish.ports,
            aside: &aside,
            chance: wish.chance.rotate_left(17),
            dry_run: wish.dry_run,
            taken: Vec::new(),
        };
        settle::settle(service, wish.old, &mut operation)?;
        if wish.dry_run {
            return Ok(());
        }
        let ports = operation.taken.into_iter();
        taken.ports = ports.filter_map(|port| u16::try_from(port).ok()).collect();
        self.pending.ports.extend(&taken.ports);
        Ok(())
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
pub(super) enum Refusal {
    Address(IpAddr, AddressError),
    NoAddress,
    Ports(settle::Refusal),
}

impl Refusal {
    pub(super) fn status(self, service: &Value, name: &str) -> ApiError {
        match self {
            Self::Address(address, error) => {
                let (mut errors, spec) = (FieldErrors::new(), Path::new("spec"));
                let why = format!("failed to allocate IP {address}: {error}");
                errors.invalid(&spec.child("clusterIPs"), &service["spec"]["clusterIPs"], why);
                ApiError::invalid("", "Service", name, &errors)
            }
            Self::NoAddress => {
                let name = coracle_api::quote::quote(name);
                let why = AddressError::Full;
                ApiError::internal(format!(
                    "failed to allocate a serviceIP for Service {name}: {why}"
                ))
            }
            Self::Ports(refusal) => refusal.status(name),
        }
    }
}
