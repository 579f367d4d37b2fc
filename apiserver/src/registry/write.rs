//! The commit: one transaction against the store, and waiting until the cache shows it.

use std::sync::Arc;

use coracle_api::status::ApiError;
use coracle_store::{Revision, Txn, TxnError, TxnOutcome};
use serde_json::Value;

use super::list::wait_error;
use super::served::Served;
use super::{Registry, rules};
use crate::cache::entry::Entry;
use crate::cache::stored::{self, StoredError};

/// How long an answered write may take to show in the cache.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(10);

/// What came of a write.
pub(super) enum Written {
    /// It is durable, and this is what it looks like.
    Done(Arc<Entry>),
    /// Somebody else was faster.
    Conflict,
}

impl Registry {
    /// Puts an object in place of the revision that was expected (0 for none), along with what else must change with it.
    pub(super) async fn put(
        &self,
        served: &Served,
        key: &str,
        mut object: Value,
        expected: u64,
        also: Txn,
    ) -> Result<Written, ApiError> {
        object = self.storable(served, object).await?;
        rules::canonical(served, &mut object)?;
        let value = match &served.custom {
            None => stored::encode(&mut object),
            Some(_) => stored::encode_custom(&mut object, &served.stored.api_version()),
        };
        let value = value.map_err(ApiError::internal)?;
        let full = format!("{}{key}", served.prefix);
        let handed = self.cache.hand(&value, object);
        let txn = also
            .when(full.clone(), Revision(expected))
            .put(full, value.clone());
        match self.commit(txn).await? {
            Committed::At(revision) => {
                let made = || match handed.take_back() {
                    Some(object) => Ok(object),
                    None => stored::decode(&value),
                };
                self.shown(served, key, revision, made).map(Written::Done)
            }
            Committed::Conflict => Ok(Written::Conflict),
        }
    }

    /// Removes an object that is at the revision expected. Answers the revision of the removal.
    pub(super) async fn remove(
        &self,
        served: &Served,
        key: &str,
        expected: u64,
        also: Txn,
    ) -> Result<Option<u64>, ApiError> {
        let full = format!("{}{key}", served.prefix);
        match self
            .commit(also.when(full.clone(), Revision(expected)).delete(full))
            .await?
        {
            Committed::At(revision) => Ok(Some(revision)),
            Committed::Conflict => Ok(None),
        }
    }

    async fn commit(&self, txn: Txn) -> Result<Committed, ApiError> {
        match self.cache.store().txn(txn).await.map_err(txn_error)? {
            TxnOutcome::Committed { revision } => {
                self.cache
                    .reached(revision.0, PATIENCE)
                    .await
                    .map_err(wait_error)?;
                Ok(Committed::At(revision.0))
            }
            TxnOutcome::Conflict { .. } => Ok(Committed::Conflict),
        }
    }

    /// The entry that the cache made of a write; where a later write has replaced it already, one of our own.
    fn shown(
        &self,
        served: &Served,
        key: &str,
        revision: u64,
        made: impl FnOnce() -> Result<Value, StoredError>,
    ) -> Result<Arc<Entry>, ApiError> {
        match served.cache.get(key) {
            Some(entry) if entry.revision() == revision => Ok(entry),
            _ => Ok(served.entry(key, revision, made().map_err(ApiError::internal)?)),
        }
    }
}

enum Committed {
    At(u64),
    Conflict,
}

pub(super) fn txn_error(error: TxnError) -> ApiError {
    match error {
        TxnError::TooLarge { limit, .. } => ApiError::request_entity_too_large(&format!(
            "the object and what changes with it; limit is {limit}"
        )),
        TxnError::Refused(fault) | TxnError::Indeterminate(fault) => {
            tracing::error!(error = %fault, "the store did not take a write");
            ApiError::internal(fault)
        }
        other => ApiError::internal(other),
    }
}
