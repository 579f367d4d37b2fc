//! From the bytes of a request to an object in its storage version: format, type, unknown fields, defaults.

use bytes::Bytes;
use coracle_api::codec::body::{self, MediaType};
use coracle_api::codec::conform::conform_as_given;
use coracle_api::codec::{self, DecodeError, FieldValidation};
use coracle_api::custom;
use coracle_api::status::ApiError;
use coracle_api::table::Gvk;
use http::header;
use serde_json::Value;

use super::served::Served;
use super::{raw_parts, rules};
use crate::request::RequestContext;

/// Decodes an object of a resource, fills in its defaults and converts it to the version it is stored in. Its sender is warned of
/// what it has and its kind does not, whatever comes of it.
///
/// # Errors
/// 415 for unknown formats, 400 for what is no object of the resource.
pub(super) fn object(
    served: &Served,
    ctx: &RequestContext,
    bytes: &Bytes,
    validation: FieldValidation,
) -> Result<Value, ApiError> {
    if let Some(custom) = &served.custom {
        let (object, warnings) = custom::decode::decode(
            bytes,
            media_type(ctx)?,
            &served.resource,
            &custom.schema(),
            validation,
        )?;
        ctx.warnings.audit().requested(&object);
        ctx.warnings.extend(&warnings);
        return Ok(object);
    }
    let (mut object, warnings) = of_kind(ctx, bytes, served.resource.gvk(), validation)?;
    ctx.warnings.extend(&warnings);
    raw_parts::keep_sent(served, bytes, media_type(ctx)?, &mut object);
    to_storage(served, object)
}

/// Decodes an object of a kind, with its defaults.
///
/// # Errors
/// 415 for unknown formats, 400 for what is no object of the kind.
pub(super) fn of_kind(
    ctx: &RequestContext,
    bytes: &Bytes,
    kind: Gvk,
    validation: FieldValidation,
) -> Result<(Value, Vec<String>), ApiError> {
    let decoded = body::decode(bytes, media_type(ctx)?, kind, validation)?;
    ctx.warnings.audit().requested(&decoded.0);
    Ok(decoded)
}

/// Makes an object of what a patch left, in the version of the request.
///
/// # Errors
/// What does not fit the resource's type, and unknown fields that are to be refused.
pub(crate) fn patched(
    served: &Served,
    mut value: Value,
    validation: FieldValidation,
) -> Result<(Value, Vec<String>), DecodeError> {
    if let Some(custom) = &served.custom {
        return custom::decode::patched(value, &custom.schema(), validation);
    }
    let findings = conform_as_given(&mut value, served.resource.ty())?;
    codec::Decoded { value, findings }.validated(validation)
}

/// The options in the body of a delete, where there is one.
///
/// # Errors
/// 415 for unknown formats, 400 where the body is something else.
pub(super) fn delete_options(ctx: &RequestContext, bytes: &Bytes) -> Result<Option<Value>, ApiError> {
    if bytes.is_empty() {
        return Ok(None);
    }
    let options = body::decode_options(bytes, media_type(ctx)?, "DeleteOptions")?;
    ctx.warnings.audit().requested(&options);
    Ok(Some(options))
}

/// Fills in defaults, and converts to the version that is stored. A custom resource has its defaults, and is worked on in
/// the version of the request.
///
/// # Errors
/// Where there is no such conversion.
pub(crate) fn to_storage(served: &Served, mut object: Value) -> Result<Value, ApiError> {
    if served.custom.is_some() {
        return Ok(object);
    }
    rules::default(served.resource.gvk(), &mut object);
    if served.version == 0 {
        return Ok(object);
    }
    rules::convert(object, &served.resource, &served.stored)
}

fn media_type(ctx: &RequestContext) -> Result<MediaType, ApiError> {
    MediaType::of_content_type(sent_type(ctx))
        .ok_or_else(|| ApiError::unsupported_media_type(&MediaType::NAMES))
}

fn sent_type(ctx: &RequestContext) -> &str {
    let sent = ctx.headers.get(header::CONTENT_TYPE);
    sent.and_then(|value| value.to_str().ok()).unwrap_or_default()
}
