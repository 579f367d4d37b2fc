//! Answers of fixed bytes: objects, lists of one, tables of one, successes without an object.

use bytes::{BufMut, Bytes, BytesMut};
use coracle_api::codec::body::internal_name;
use coracle_api::status::ApiError;
use http::{HeaderValue, Response, StatusCode, header};
use serde_json::{Value, json};

use super::encode;
use super::negotiate::{Accepted, Format, View, check_shape};
use super::pretty::Indenter;
use super::served::Served;
use crate::cache::entry::Entry;
use crate::request::{ResponseBody, full_body};
use crate::tables;

/// An object, in whatever form was asked for.
///
/// # Errors
/// Where the object cannot be encoded.
pub(super) fn object(
    served: &Served,
    entry: &Entry,
    accepted: Accepted,
    status: StatusCode,
) -> Result<Response<ResponseBody>, ApiError> {
    check_shape(accepted, false, || go_name(served, ""))?;
    let bytes = match accepted.view {
        View::Table => {
            let now = jiff::Timestamp::now();
            to_bytes(&tables::of_object(served, entry, accepted, now)?, accepted)?
        }
        _ => encode::object(served, entry, accepted)?,
    };
    Ok(fixed(bytes, accepted, status))
}

/// Go's name of what upstream works on, or of a list of it (`List`).
pub(super) fn go_name(served: &Served, suffix: &str) -> String {
    match &served.custom {
        None => format!("*{}{suffix}", internal_name(served.stored.gvk())),
        Some(_) => format!("*unstructured.Unstructured{suffix}"),
    }
}

/// A value that is no stored object: a scale, a status.
///
/// # Errors
/// Where it cannot be encoded.
pub(super) fn value(
    value: &Value,
    accepted: Accepted,
    status: StatusCode,
) -> Result<Response<ResponseBody>, ApiError> {
    Ok(fixed(to_bytes(value, accepted)?, accepted, status))
}

/// `Status` of a success.
///
/// # Errors
/// Where it cannot be encoded.
pub(super) fn success(
    accepted: Accepted,
    status: StatusCode,
    details: Value,
) -> Result<Response<ResponseBody>, ApiError> {
    let body = json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details,
    });
    value(&body, accepted, status)
}

/// Bytes with their media type.
pub(super) fn fixed(bytes: Bytes, accepted: Accepted, status: StatusCode) -> Response<ResponseBody> {
    let bytes = match accepted.format {
        Format::Json if accepted.pretty => Bytes::from(Indenter::default().indent(&bytes)),
        _ => bytes,
    };
    let bytes = if accepted.format == Format::Json {
        with_newline(bytes)
    } else {
        bytes
    };
    let mut response = Response::new(full_body(bytes));
    *response.status_mut() = status;
    set_type(&mut response, accepted.format.media_type());
    response
}

/// Sets the content type and forbids caches to keep it.
pub(super) fn set_type(response: &mut Response<ResponseBody>, media_type: &'static str) {
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type));
    headers.insert(
        header::CACHE_CONTROL,
        HeaderValue::from_static("no-cache, private"),
    );
}

fn to_bytes(value: &Value, accepted: Accepted) -> Result<Bytes, ApiError> {
    encode::value(value, accepted.format)
}

fn with_newline(bytes: Bytes) -> Bytes {
    if bytes.ends_with(b"\n") {
        return bytes;
    }
    let mut out = BytesMut::with_capacity(bytes.len() + 1);
    out.put(bytes);
    out.put_u8(b'\n');
    out.freeze()
}
