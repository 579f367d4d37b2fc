//! `get`: one entry, as it stands in the cache.

use std::sync::Arc;
use std::time::Duration;

use coracle_api::status::ApiError;
use http::{Response, StatusCode};

use super::list::wait_error;
use super::negotiate::Purpose;
use super::options::{parse_bare_revision, parse_revision};
use super::served::Served;
use super::{Registry, respond};
use crate::cache::entry::Entry;
use crate::request::{RequestContext, ResponseBody};

const PATIENCE: Duration = Duration::from_secs(3);

impl Registry {
    pub(super) async fn get(
        &self,
        ctx: &RequestContext,
        served: &Served,
    ) -> Result<Response<ResponseBody>, ApiError> {
        let accepted = served.accepted(ctx, Purpose::Object)?;
        // Upstream keeps no events in memory, and what reads the store is plainer.
        let parse = match served.stored.resource {
            "events" => parse_revision,
            _ => parse_bare_revision,
        };
        match parse(ctx.query("resourceVersion").unwrap_or_default())? {
            Some(0) => {}
            Some(revision) => self.cache.reached(revision, PATIENCE).await.map_err(wait_error)?,
            None => {
                self.cache.current(PATIENCE).await.map_err(wait_error)?;
            }
        }
        let name = &ctx.info.name;
        let entry = self.cached(served, &served.key(&ctx.info.namespace, name))?;
        let entry = entry.ok_or_else(|| self.not_found(served, name))?;
        self.convert_ahead(served, std::slice::from_ref(&entry)).await?;
        respond::object(served, &entry, accepted, StatusCode::OK)
    }

    /// The entry of a key, as it stands in the cache.
    ///
    /// # Errors
    /// 500 where something is stored there that cannot be read.
    pub(super) fn cached(&self, served: &Served, key: &str) -> Result<Option<Arc<Entry>>, ApiError> {
        match served.cache.unreadable_at(key) {
            None => Ok(served.cache.get(key)),
            Some(why) => Err(ApiError::internal(why)),
        }
    }

    /// Whether what is stored under a key would be encrypted otherwise now.
    pub(super) async fn is_stale(&self, served: &Served, key: &str) -> Result<bool, ApiError> {
        match &self.encrypted {
            None => Ok(false),
            Some(store) => {
                let stale = store.is_stale(&format!("{}{key}", served.prefix)).await;
                stale.map_err(|error| super::read_error(&error))
            }
        }
    }
}
