//! `patch`: the current object in the version of the request, changed as the body says, and then an update like any other.

mod shape;

use std::sync::Arc;

use bytes::Bytes;
use coracle_api::codec::conform::conform_as_given;
use coracle_api::codec::raw::Texts;
use coracle_api::codec::{self, DecodeError, FieldValidation, go_order, unstructured};
use coracle_api::patch::{json, merge, printed, strategic};
use coracle_api::status::{ApiError, Details, Reason};
use coracle_api::table::{Gvk, Type};
use coracle_api::validation::{FieldErrors, Path};
use http::{Response, StatusCode, header};
use serde_json::Value;

use super::negotiate::Purpose;
use super::options::WriteOptions;
use super::ownership::APPLY;
use super::served::Served;
use super::update::Tried;
use super::{Registry, body, encode, meta, raw_parts, respond, rules};
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

/// A patch as it was sent.
#[derive(Clone, Copy)]
pub(super) struct Sent<'a> {
    pub kind: PatchType,
    pub bytes: &'a [u8],
    pub validation: FieldValidation,
}

/// What is patched.
#[derive(Clone, Copy)]
pub(super) enum Patched<'a> {
    /// An object of a resource.
    Object(&'a Served),
    /// An object of a built-in kind that no resource stores.
    Kind(Gvk, &'static Type),
}

/// A patch that was read and is not applied yet.
pub(super) struct Patch<'a> {
    kind: PatchType,
    body: Value,
    /// The body as it was sent.
    text: &'a str,
    /// Keys that stand twice in the body, where that is to be told.
    duplicates: Vec<String>,
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
        let sent = Sent {
            kind,
            bytes: &bytes,
            validation: options.field_validation,
        };
        let entry = self.patch_object(ctx, served, sent, &options).await?;
        self.convert_ahead(served, std::slice::from_ref(&entry)).await?;
        respond::object(served, &entry, accepted, StatusCode::OK)
    }

    async fn patch_object(
        &self,
        ctx: &RequestContext,
        served: &Arc<Served>,
        sent: Sent<'_>,
        options: &WriteOptions,
    ) -> Result<Arc<Entry>, ApiError> {
        let (namespace, name) = (&ctx.info.namespace, &ctx.info.name);
        for _ in 0..TRIES {
            let Some(current) = self.current(served, namespace, name).await? else {
                return Err(self.not_found(served, name));
            };
            // Held, so that it is parsed once for all that looks at it.
            let old = current.value();
            // What is wrong with the patch is told only where there is something to patch.
            let patch = Patch::read(sent)?;
            let (before, texts) = raw_parts::open(served, encode::in_version(served, &current)?);
            let (object, findings) =
                patch.patched(Patched::Object(served), &before, options.field_validation)?;
            ctx.warnings.extend(&findings);
            let mut object = body::to_storage(served, object)?;
            raw_parts::put_back(served, left_by(sent.kind, texts), &mut object);
            self.track(ctx, served, Some(&current), &mut object).await;
            let object = meta::in_namespace(served, namespace, object)?;
            meta::check_name(&object, name, "")?;
            let named_revision =
                meta::text(&before, "resourceVersion") != meta::text(&object, "resourceVersion");
            match self.try_update(ctx, served, &current, object, options).await {
                Ok(Tried::Done(entry)) => {
                    let new = entry.value();
                    let subresource = &ctx.info.subresource;
                    ctx.warnings
                        .extend(&rules::warnings(served, subresource, &new, Some(&old)));
                    return Ok(entry);
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

impl Patched<'_> {
    fn gvk(self) -> Gvk {
        match self {
            Self::Object(served) => served.resource.gvk(),
            Self::Kind(gvk, _) => gvk,
        }
    }

    /// None of a custom resource.
    fn ty(self) -> Option<&'static Type> {
        match self {
            Self::Object(served) if served.custom.is_some() => None,
            Self::Object(served) => Some(served.resource.ty()),
            Self::Kind(_, ty) => Some(ty),
        }
    }

    fn read(
        self,
        mut value: Value,
        validation: FieldValidation,
    ) -> Result<(Value, Vec<String>), DecodeError> {
        match self {
            Self::Object(served) => body::patched(served, value, validation),
            Self::Kind(_, ty) => {
                let findings = conform_as_given(&mut value, ty)?;
                codec::Decoded { value, findings }.validated(validation)
            }
        }
    }
}

impl<'a> Patch<'a> {
    /// # Errors
    /// 400 for what is no patch of its kind, in the words of the decoder that upstream has for the kind.
    pub(super) fn read(sent: Sent<'a>) -> Result<Self, ApiError> {
        let told = sent.validation != FieldValidation::Ignore;
        let refused = |why: String| match sent.kind {
            PatchType::Json | PatchType::Merge if told => {
                ApiError::bad_request(format!("error decoding patch: {why}"))
            }
            _ => ApiError::bad_request(why),
        };
        let parsed = codec::json::parse(sent.bytes).map_err(|error| refused(error.to_string()))?;
        if told || sent.kind == PatchType::Strategic {
            shape::check(sent.kind, &parsed.value).map_err(refused)?;
        }
        let duplicates = parsed.duplicates.into_iter().filter(|_| told);
        let duplicates = duplicates.map(|duplicate| match sent.kind {
            PatchType::Json => format!("json patch {duplicate}"),
            PatchType::Merge | PatchType::Strategic => duplicate,
        });
        Ok(Self {
            kind: sent.kind,
            body: parsed.value,
            // What was parsed is UTF-8, and of what is not nothing is compared.
            text: std::str::from_utf8(sent.bytes).unwrap_or_default(),
            duplicates: duplicates.collect(),
        })
    }

    /// What the patch makes of an object, and what its sender is to be warned of.
    pub(super) fn patched(
        &self,
        of: Patched<'_>,
        before: &Value,
        validation: FieldValidation,
    ) -> Result<(Value, Vec<String>), ApiError> {
        let object = self.laid_over(of, before)?;
        // A strategic patch is laid over an object of a kind that is known; the others leave text that is read anew.
        if self.kind != PatchType::Strategic {
            shape::check_kind(of.gvk(), &object).map_err(|why| self.refused(of, &object, &why))?;
        }
        let findings = self.duplicates.clone();
        let error = match of.read(object, validation) {
            Ok((_, _)) if validation == FieldValidation::Strict && !findings.is_empty() => {
                DecodeError::Strict(findings)
            }
            Ok((object, found)) => return Ok((object, [findings, found].concat())),
            Err(DecodeError::Strict(found)) => DecodeError::Strict([findings, found].concat()),
            Err(error) => error,
        };
        // What was to be decoded is made once more rather than kept for the rare case.
        let shown = self.laid_over(of, before)?;
        let why = match error {
            DecodeError::Strict(_) => error.to_string(),
            error => self.worded(of, &shown, error),
        };
        Err(self.refused(of, &shown, &why))
    }

    /// What the patch makes of an object, whether or not it is one of its kind.
    fn laid_over(&self, of: Patched<'_>, before: &Value) -> Result<Value, ApiError> {
        let mut object = before.clone();
        match of.ty() {
            Some(ty) => self.apply(&mut object, ty)?,
            None => self.apply_untyped(&mut object)?,
        }
        Ok(object)
    }

    /// What is wrong with what a patch left: a strategic patch is not read as JSON again, but goes through upstream's converter.
    fn worded(&self, of: Patched<'_>, left: &Value, error: DecodeError) -> String {
        let ty = of.ty().filter(|_| self.kind == PatchType::Strategic);
        let fault = ty.and_then(|ty| unstructured::fault(left, ty));
        fault.unwrap_or_else(|| error.to_string())
    }

    /// The status for a patch that leaves no object of its kind. Upstream shows a strategic patch as Go prints it, and
    /// what any other has left.
    fn refused(&self, of: Patched<'_>, left: &Value, why: &str) -> ApiError {
        let shown = match (self.kind, of.ty()) {
            (PatchType::Strategic, _) => printed(&self.body),
            (_, None) => left.to_string(),
            (PatchType::Merge, Some(ty)) => go_order::json(left, ty, &self.body),
            (PatchType::Json, Some(ty)) => go_order::json(left, ty, &shape::opened(&self.body)),
        };
        let mut errors = FieldErrors::new();
        errors.invalid(&Path::new("patch"), &shown, why);
        ApiError::invalid("", "", "", &errors)
    }

    fn apply(&self, object: &mut Value, ty: &'static Type) -> Result<(), ApiError> {
        match self.kind {
            PatchType::Json => json::apply_sent(object, &self.body, self.text)?,
            PatchType::Merge => merge::apply(object, &self.body)?,
            PatchType::Strategic if self.body.is_null() => {}
            PatchType::Strategic => strategic::apply(object, &self.body, ty)?,
        }
        Ok(())
    }

    /// The same for an object without a type, which no strategic patch comes to.
    fn apply_untyped(&self, object: &mut Value) -> Result<(), ApiError> {
        match self.kind {
            PatchType::Json => json::apply_sent(object, &self.body, self.text)?,
            PatchType::Merge | PatchType::Strategic => merge::apply(object, &self.body)?,
        }
        Ok(())
    }
}

/// What a patch leaves of texts that it does not touch. Those of text are laid over what is written of the object, and a strategic
/// one over an object that was read, of which the text is written anew.
fn left_by(kind: PatchType, texts: Texts) -> Texts {
    match kind {
        PatchType::Json | PatchType::Merge => texts.compacted(),
        PatchType::Strategic => Texts::default(),
    }
}

/// What kind of patch a request has; `typed` where its object has a type, which strategic patches are read by.
pub(super) fn patch_type(ctx: &RequestContext, typed: bool) -> Result<PatchType, ApiError> {
    match media_type(ctx) {
        JSON => Ok(PatchType::Json),
        MERGE => Ok(PatchType::Merge),
        STRATEGIC if typed => Ok(PatchType::Strategic),
        // Upstream's REST framework knows what a route consumes, and has its own words for the rest.
        _ if typed => Err(ApiError::new(
            415,
            Reason::UnsupportedMediaType,
            "415: Unsupported Media Type".to_owned(),
            Some(Details::default()),
        )),
        _ => Err(ApiError::unsupported_media_type(&[JSON, MERGE, APPLY])),
    }
}

/// Whether the form of a patch is one that there is for objects with a type.
pub(super) fn is_known_type(ctx: &RequestContext) -> bool {
    media_type(ctx) == APPLY || patch_type(ctx, true).is_ok()
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
