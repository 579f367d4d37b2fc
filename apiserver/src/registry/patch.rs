//! `patch`: the current object in the version of the request, changed as the body says, and then an update like any other.

use std::sync::Arc;

use bytes::Bytes;
use coracle_api::codec::FieldValidation;
use coracle_api::patch::{json, merge, strategic};
use coracle_api::status::ApiError;
use coracle_api::validation::{FieldErrors, Path};
use http::{Response, StatusCode, header};
use serde_json::Value;

use super::negotiate::Purpose;
use super::options::WriteOptions;
use super::ownership::APPLY;
use super::served::Served;
use super::update::Tried;
use super::{Registry, body, encode, go_format, meta, respond, rules};
use crate::cache::entry::Entry;
use crate::request::{RequestContext, ResponseBody};

/// How often a patch is applied anew when others are faster.
const TRIES: usize = 100;

const JSON: &str = "application/json-patch+json";
const MERGE: &str = "application/merge-patch+json";
const STRATEGIC: &str = "application/strategic-merge-patch+json";

/// The kinds of patches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PatchType {
    Json,
    Merge,
    Strategic,
}

/// A patch that was read and is not applied yet.
pub(super) struct Patch {
    pub kind: PatchType,
    pub body: Value,
    /// What the body itself was warned of.
    pub warnings: Vec<String>,
}

impl Registry {
    pub(super) async fn patch(
        &self,
        ctx: &RequestContext,
        served: &Arc<Served>,
        bytes: Bytes,
    ) -> Result<Response<ResponseBody>, ApiError> {
        ctx.warnings.audit().patched(&bytes);
        if media_type(ctx) == APPLY {
            return self.apply(ctx, served, bytes).await;
        }
        let kind = patch_type(ctx, served.custom.is_none())?;
        let accepted = served.accepted(ctx, Purpose::Object)?;
        let options = WriteOptions::read(ctx, "PatchOptions")?;
        let patch = Patch::read(kind, &bytes, options.field_validation)?;
        let (entry, warnings) = self.patch_object(ctx, served, &patch, &options).await?;
        self.convert_ahead(served, std::slice::from_ref(&entry)).await?;
        respond::object(served, &entry, accepted, StatusCode::OK, &warnings)
    }

    async fn patch_object(
        &self,
        ctx: &RequestContext,
        served: &Arc<Served>,
        patch: &Patch,
        options: &WriteOptions,
    ) -> Result<(Arc<Entry>, Vec<String>), ApiError> {
        let (namespace, name) = (&ctx.info.namespace, &ctx.info.name);
        for _ in 0..TRIES {
            let Some(current) = self.current(served, namespace, name).await? else {
                return Err(self.not_found(served, name));
            };
            let before = encode::in_version(served, &current)?;
            let mut object = before.clone();
            match &served.custom {
                None => patch.apply(&mut object, served.resource.ty())?,
                Some(_) => patch.apply_untyped(&mut object)?,
            }
            let (object, found) = body::patched(served, object, options.field_validation)
                .map_err(|error| patch.refused(&error.to_string()))?;
            let mut object = body::to_storage(served, object)?;
            self.track(ctx, served, Some(&current), &mut object);
            meta::check_name(
                &object,
                name,
                if served.resource.namespaced { namespace } else { "" },
            )?;
            let mut warnings = patch.warnings.clone();
            warnings.extend(found);
            let named_revision =
                meta::text(&before, "resourceVersion") != meta::text(&object, "resourceVersion");
            match self.try_update(ctx, served, &current, object, options).await {
                Ok(Tried::Done(entry)) => {
                    let (new, old) = (entry.value(), current.value());
                    warnings.extend(rules::warnings(served, &ctx.info.subresource, &new, Some(&old)));
                    return Ok((entry, warnings));
                }
                Ok(Tried::Overtaken) => {}
                // The revision is the current object's own unless the patch names another.
                Err(error) if error.code() == 409 && !named_revision => {}
                Err(error) => return Err(error),
            }
        }
        Err(self.modified(served, name))
    }
}

impl Patch {
    pub(super) fn read(
        kind: PatchType,
        bytes: &Bytes,
        validation: FieldValidation,
    ) -> Result<Self, ApiError> {
        let (body, warnings) = body::any_json(bytes, validation)?;
        Ok(Self { kind, body, warnings })
    }

    /// The status for a patch that leaves no object of its kind. Upstream shows a strategic patch as Go prints it, and
    /// any other as it was sent.
    fn refused(&self, why: &str) -> ApiError {
        let shown = match self.kind {
            PatchType::Strategic => go_format::printed(&self.body),
            PatchType::Json | PatchType::Merge => self.body.to_string(),
        };
        let mut errors = FieldErrors::new();
        errors.invalid(&Path::new("patch"), &shown, why);
        ApiError::invalid("", "", "", &errors)
    }

    pub(super) fn apply(
        &self,
        object: &mut Value,
        ty: &'static coracle_api::table::Type,
    ) -> Result<(), ApiError> {
        match self.kind {
            PatchType::Json => json::apply(object, &self.body)?,
            PatchType::Merge => merge::apply(object, &self.body)?,
            PatchType::Strategic => strategic::apply(object, &self.body, ty)?,
        }
        Ok(())
    }

    /// The same for an object without a type, which no strategic patch comes to.
    fn apply_untyped(&self, object: &mut Value) -> Result<(), ApiError> {
        match self.kind {
            PatchType::Json => json::apply(object, &self.body)?,
            PatchType::Merge | PatchType::Strategic => merge::apply(object, &self.body)?,
        }
        Ok(())
    }
}

/// What kind of patch a request has; `typed` where its object has a type, which strategic patches are read by.
pub(super) fn patch_type(ctx: &RequestContext, typed: bool) -> Result<PatchType, ApiError> {
    match media_type(ctx) {
        JSON => Ok(PatchType::Json),
        MERGE => Ok(PatchType::Merge),
        STRATEGIC if typed => Ok(PatchType::Strategic),
        _ if typed => Err(ApiError::unsupported_media_type(&[JSON, MERGE, STRATEGIC, APPLY])),
        _ => Err(ApiError::unsupported_media_type(&[JSON, MERGE, APPLY])),
    }
}

pub(super) fn media_type(ctx: &RequestContext) -> &str {
    let sent = ctx
        .headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok());
    sent.unwrap_or_default()
        .split(';')
        .next()
        .unwrap_or_default()
        .trim()
}
