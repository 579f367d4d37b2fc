//! ResourceQuotas: what a write is charged to those of its namespace. Their status is the ledger.
//!
//! A charge is committed in one transaction with the object it is for, against the revision of the quota that it was made
//! from. So a quota is never overshot, however many write at once, and what failed is never charged.

use bytes::Bytes;
use coracle_api::amounts;
use coracle_api::quota::Counted;
use coracle_api::quota::charge::{Write, charge};
use coracle_api::status::ApiError;
use coracle_store::{Revision, Txn};
use serde_json::Value;

use super::{Registry, meta};
use crate::admission::Attributes;
use crate::cache::stored;
use crate::reader::{GroupResource, ObjectReader};

/// How often a write is charged anew when others are faster.
pub(super) const TRIES: usize = 100;

/// What is written along with an object.
#[derive(Debug, Default)]
pub(super) struct Charges {
    writes: Vec<(String, Revision, Bytes)>,
    /// The first quota that is charged.
    name: String,
}

impl Charges {
    pub(super) fn is_empty(&self) -> bool {
        self.writes.is_empty()
    }

    pub(super) fn txn(&self) -> Txn {
        self.writes
            .iter()
            .fold(Txn::new(), |txn, (key, revision, value)| {
                txn.when(key.clone(), *revision).put(key.clone(), value.clone())
            })
    }

    /// The answer where others charged the same quota first, every time.
    pub(super) fn overtaken(&self) -> ApiError {
        ApiError::modified("", "resourcequotas", &self.name)
    }
}

impl Registry {
    /// Charges a write to the quotas of its namespace.
    ///
    /// # Errors
    /// 403 where one of them does not allow it.
    pub(super) fn charges(
        &self,
        attributes: &Attributes<'_>,
        object: &Value,
        old: Option<&Value>,
    ) -> Result<Charges, ApiError> {
        let write = Write {
            counted: Counted::new(attributes.resource.group, attributes.resource.resource),
            subresource: attributes.subresource,
            object,
            old,
            now: self.now(),
        };
        let counts = self.plugins.is_enabled("ResourceQuota");
        if attributes.namespace.is_empty() || !counts || !write.is_charged() {
            return Ok(Charges::default());
        }
        let quotas = self
            .reader
            .list(&GroupResource::new("", "resourcequotas"), attributes.namespace);
        let seen: Vec<&Value> = quotas.iter().map(|quota| &**quota).collect();
        let made = charge(&write, &seen).map_err(|why| attributes.forbidden(&why))?;
        let mut charges = Charges::default();
        for charge in made {
            let mut quota = seen[charge.quota].clone();
            quota["status"]["used"] = amounts::write(&charge.used);
            self.add_charge(&mut charges, &mut quota)?;
        }
        Ok(charges)
    }

    fn add_charge(&self, charges: &mut Charges, quota: &mut Value) -> Result<(), ApiError> {
        let served = self.catalog.find("", "v1", "resourcequotas");
        let served = served.ok_or_else(|| ApiError::internal("there are no resource quotas"))?;
        let name = meta::text(quota, "name").to_owned();
        let key = format!(
            "{}{}",
            served.prefix,
            served.key(meta::text(quota, "namespace"), &name)
        );
        let revision: Result<u64, _> = meta::text(quota, "resourceVersion").parse();
        let value = stored::encode(quota).map_err(ApiError::internal)?;
        if charges.is_empty() {
            charges.name = name;
        }
        charges
            .writes
            .push((key, Revision(revision.map_err(ApiError::internal)?), value));
        Ok(())
    }
}
