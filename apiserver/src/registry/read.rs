//! `get`: one entry, as it stands in the cache.

use std::time::Duration;

use coracle_api::status::ApiError;
use http::{Response, StatusCode};

use super::list::wait_error;
use super::negotiate::Purpose;
use super::options::parse_revision;
use super::served::Served;
use super::{Registry, respond};
use crate::request::{RequestContext, ResponseBody};

const PATIENCE: Duration = Duration::from_secs(3);

impl Registry {
    pub(super) async fn get(
        &self,
        ctx: &RequestContext,
        served: &Served,
    ) -> Result<Response<ResponseBody>, ApiError> {
        let accepted = served.accepted(ctx, Purpose::Object)?;
        match parse_revision(ctx.query("resourceVersion").unwrap_or_default())? {
            Some(0) => {}
            Some(revision) => self.cache.reached(revision, PATIENCE).await.map_err(wait_error)?,
            None => {
                self.cache.current(PATIENCE).await.map_err(wait_error)?;
            }
        }
        let name = &ctx.info.name;
        let entry = served.cache.get(&served.key(&ctx.info.namespace, name));
        let entry = entry.ok_or_else(|| self.not_found(served, name))?;
        self.convert_ahead(served, std::slice::from_ref(&entry)).await?;
        respond::object(served, &entry, accepted, StatusCode::OK, &[])
    }
}
