//! Who has which address: the stored IPAddresses, of which a service's are written and removed in one transaction with it.
//!
//! What is looked up here is the watch cache; what decides is the transaction, which wants an IPAddress to be absent or
//! unchanged. So no address is given twice, however many servers work on one store.

use std::net::IpAddr;
use std::sync::Arc;

use coracle_api::object::Fields;
use coracle_api::status::ApiError;
use coracle_store::{Revision, Txn};
use serde_json::{Value, json};

use super::addresses::Cidr;
use super::{Reservation, concern, demands, families, ranges};
use crate::cache::entry::Entry;
use crate::cache::stored;
use crate::registry::deletion::{self, Decision};
use crate::registry::options::DeleteOptions;
use crate::registry::served::{Catalog, Served};
use crate::registry::{Registry, meta};

const GROUP: &str = "networking.k8s.io";

/// Who made an IPAddress, by the name that upstream's allocator has.
pub(super) const MANAGER: &str = "ipallocator.k8s.io";
pub(super) const MANAGED_BY: &str = "ipaddress.kubernetes.io/managed-by";
pub(super) const FAMILY: &str = "ipaddress.kubernetes.io/ip-family";

/// What stands for an address that a service has.
pub(crate) fn ip_address(address: IpAddr, namespace: &str, name: &str) -> Value {
    json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "IPAddress",
        "metadata": {
            "name": address.to_string(),
            "labels": {FAMILY: families::name(address.is_ipv6()), MANAGED_BY: MANAGER},
        },
        "spec": {"parentRef": {"resource": "services", "namespace": namespace, "name": name}},
    })
}

/// Whether an IPAddress stands for an address of this service.
pub(super) fn is_of(ip_address: &Value, namespace: &str, name: &str) -> bool {
    let parent = &ip_address["spec"]["parentRef"];
    is_of_a_service(ip_address) && parent.text("namespace") == namespace && parent.text("name") == name
}

/// Whether an IPAddress stands for an address of a service at all.
pub(super) fn is_of_a_service(ip_address: &Value) -> bool {
    let parent = &ip_address["spec"]["parentRef"];
    parent.text("group").is_empty() && parent.text("resource") == "services"
}

/// The stored IPAddresses and ServiceCIDRs.
#[derive(Debug)]
pub(super) struct Ledger {
    addresses: Arc<Served>,
    ranges: Arc<Served>,
}

impl Ledger {
    pub(super) fn new(catalog: &Catalog) -> Self {
        let stored = |resource| {
            let found = catalog.stored(GROUP, resource);
            found.expect("IPAddresses and ServiceCIDRs are built in")
        };
        Self {
            addresses: stored("ipaddresses"),
            ranges: stored("servicecidrs"),
        }
    }

    /// The ranges that addresses may be handed out of now.
    pub(super) fn ready(&self) -> Vec<Cidr> {
        let snapshot = self.ranges.cache.snapshot();
        let objects: Vec<_> = snapshot
            .entries
            .with_prefix("")
            .map(|entry| entry.value())
            .collect();
        ranges::ready(objects.iter().map(|object| &**object))
    }

    pub(super) fn has(&self, address: IpAddr) -> bool {
        self.entry(address).is_some()
    }

    pub(super) fn all(&self) -> Vec<IpAddr> {
        let snapshot = self.addresses.cache.snapshot();
        snapshot
            .entries
            .with_prefix("")
            .filter_map(|entry| entry.name().parse().ok())
            .collect()
    }

    fn entry(&self, address: IpAddr) -> Option<Arc<Entry>> {
        self.addresses
            .cache
            .get(&self.addresses.key("", &address.to_string()))
    }

    fn full_key(&self, address: IpAddr) -> String {
        format!(
            "{}{}",
            self.addresses.prefix,
            self.addresses.key("", &address.to_string())
        )
    }
}

impl Registry {
    /// What is written along with a service whose addresses change.
    ///
    /// # Errors
    /// Where an IPAddress cannot be encoded.
    pub(in crate::registry) fn with_addresses(
        &self,
        reservation: &Reservation,
        service: &Value,
        mut txn: Txn,
    ) -> Result<Txn, ApiError> {
        let (namespace, name) = (meta::text(service, "namespace"), meta::text(service, "name"));
        for address in &reservation.taken.addresses {
            txn = self.claim(*address, (namespace, name), txn)?;
        }
        for address in &reservation.freed.addresses {
            txn = self.free(*address, (namespace, name), txn)?;
        }
        Ok(txn)
    }

    /// What is written along with the removal of an object: its addresses go.
    ///
    /// # Errors
    /// Where an IPAddress that must stay for a while cannot be encoded.
    pub(in crate::registry) fn without_addresses(
        &self,
        served: &Served,
        service: &Value,
    ) -> Result<Txn, ApiError> {
        let mut txn = Txn::new();
        if !concern(served) {
            return Ok(txn);
        }
        let (namespace, name) = (meta::text(service, "namespace"), meta::text(service, "name"));
        for address in demands::addresses_held(service) {
            txn = self.free(address, (namespace, name), txn)?;
        }
        Ok(txn)
    }

    /// Whether somebody else has got an address meanwhile.
    pub(in crate::registry) fn is_forestalled(&self, reservation: &Reservation) -> bool {
        let mut taken = reservation.taken.addresses.iter();
        taken.any(|address| self.services.ledger.has(*address))
    }

    fn claim(&self, address: IpAddr, (namespace, name): (&str, &str), txn: Txn) -> Result<Txn, ApiError> {
        let key = self.services.ledger.full_key(address);
        let txn = txn.when(key.clone(), Revision::ABSENT);
        // Where it stands already, the transaction fails, which tells the writer.
        let Some(mut object) = self.made(&ip_address(address, namespace, name))? else {
            return Ok(txn);
        };
        Ok(txn.put(key, stored::encode(&mut object).map_err(ApiError::internal)?))
    }

    /// An address that a service has given up goes, unless its IPAddress stands for another's or waits for its finalizers.
    fn free(&self, address: IpAddr, (namespace, name): (&str, &str), txn: Txn) -> Result<Txn, ApiError> {
        let ledger = &self.services.ledger;
        let Some(entry) = ledger.entry(address) else {
            return Ok(txn);
        };
        let object = entry.value();
        if !is_of(&object, namespace, name) {
            return Ok(txn);
        }
        let (key, expected) = (ledger.full_key(address), Revision(entry.revision()));
        let options = DeleteOptions::default();
        match deletion::decide(&ledger.addresses.resource, &object, &options, self.now()) {
            Decision::Remove(_) => Ok(txn.when(key.clone(), expected).delete(key)),
            Decision::Keep(mut object) => {
                let value = stored::encode(&mut object).map_err(ApiError::internal)?;
                Ok(txn.when(key.clone(), expected).put(key, value))
            }
            Decision::AlreadyGoing => Ok(txn),
        }
    }
}
