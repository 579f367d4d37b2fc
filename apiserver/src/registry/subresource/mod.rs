//! What lies below an object. Most subresources are views of the object itself, in which only a part may be written
//! ([`super::rules`] knows which); the others are here.

mod binding;
mod eviction;
pub(super) mod scale;

use std::sync::Arc;

use coracle_api::status::ApiError;
use http::Response;

use super::Registry;
use super::served::Served;
use crate::request::{RequestBody, RequestContext, ResponseBody};

impl Registry {
    pub(super) async fn serve_subresource(
        &self,
        ctx: &RequestContext,
        served: &Arc<Served>,
        body: RequestBody,
    ) -> Result<Response<ResponseBody>, ApiError> {
        let name = ctx.info.subresource.as_str();
        let found = served.subresource(name).filter(|_| ctx.info.parts.len() == 3);
        let subresource = found.ok_or_else(|| match &served.custom {
            None => ApiError::generic(404, ""),
            Some(_) => self.not_found(served, &ctx.info.name),
        })?;
        let verb = ctx.info.verb.as_str();
        if !subresource.verbs.contains(&verb) {
            return Err(super::not_allowed(served, verb));
        }
        if subresource.gvk == served.resource.gvk() {
            return match verb {
                "get" if name != "log" => self.get(ctx, served).await,
                "update" => self.update(ctx, served, super::read(body).await?).await,
                "patch" => self.patch(ctx, served, super::read(body).await?).await,
                _ => Err(ApiError::generic(404, "")),
            };
        }
        match (name, verb) {
            ("scale", "get") => self.get_scale(ctx, served).await,
            ("scale", "update") => self.update_scale(ctx, served, super::read(body).await?).await,
            ("scale", "patch") => self.patch_scale(ctx, served, super::read(body).await?).await,
            ("binding", "create") => {
                self.bind(ctx, served, &ctx.info.name, super::read(body).await?)
                    .await
            }
            ("eviction", "create") => self.evict(ctx, served, super::read(body).await?).await,
            // Streams and tokens are the front's.
            _ => Err(ApiError::generic(404, "")),
        }
    }
}
