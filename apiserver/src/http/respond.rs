//! Answers that no object store stands behind: failures, text, small JSON documents.

use coracle_api::status::ApiError;
use http::{HeaderName, HeaderValue, Response, StatusCode, header};
use serde_json::Value;

use super::document::{self, Wish};
use crate::request::{ResponseBody, full_body};

const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");
const JSON: HeaderValue = HeaderValue::from_static("application/json");
const NOSNIFF: (HeaderName, HeaderValue) = (
    header::X_CONTENT_TYPE_OPTIONS,
    HeaderValue::from_static("nosniff"),
);

/// A failure as a `Status`.
pub(crate) fn failure(error: &ApiError, wish: Wish<'_>) -> Response<ResponseBody> {
    let mut response = document::answer(wish, error.code(), error.to_status(), &[]);
    if let Some(seconds) = error.retry_after() {
        response
            .headers_mut()
            .insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    response
}

/// Marks the refusal of a request that came to no handler as one whose type is not to be guessed.
pub(crate) fn unguessed(mut refusal: Response<ResponseBody>) -> Response<ResponseBody> {
    refusal.headers_mut().insert(NOSNIFF.0, NOSNIFF.1);
    refusal
}

/// A document as JSON that is always indented, and so as upstream writes what it serves outside of its API machinery.
pub(crate) fn indented(code: u16, value: &Value) -> Response<ResponseBody> {
    bytes(code, JSON, format!("{value:#}"))
}

/// Plain text.
pub(crate) fn text(code: u16, text: &str) -> Response<ResponseBody> {
    let mut response = bytes(code, TEXT, text.to_owned());
    response.headers_mut().insert(NOSNIFF.0, NOSNIFF.1);
    response
}

/// Bytes of any media type.
pub(crate) fn bytes(
    code: u16,
    media_type: HeaderValue,
    body: impl Into<bytes::Bytes>,
) -> Response<ResponseBody> {
    let mut response = Response::new(full_body(body));
    *response.status_mut() = StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    response.headers_mut().insert(header::CONTENT_TYPE, media_type);
    response
}

/// What is said of a path that nobody answers at.
pub(crate) fn page_not_found() -> Response<ResponseBody> {
    text(404, "404 page not found\n")
}

/// What is said where there is no room.
pub(crate) fn too_many_requests(retry_after: u64) -> Response<ResponseBody> {
    let mut response = text(429, "Too many requests, please try again later.\n");
    response
        .headers_mut()
        .insert(header::RETRY_AFTER, HeaderValue::from(retry_after));
    response
}

/// What upstream's decoder of YAML finds comes in one text and is told apart.
fn apart(warning: &str) -> Vec<&str> {
    let yaml = "yaml: unmarshal errors:\n";
    let bare = warning
        .strip_prefix("error converting YAML to JSON: ")
        .unwrap_or(warning);
    match bare.strip_prefix(yaml) {
        Some(found) => found.split('\n').map(str::trim).collect(),
        None => vec![warning],
    }
}

/// Adds a `Warning` header for each warning.
pub(crate) fn with_warnings(
    mut response: Response<ResponseBody>,
    warnings: &[String],
) -> Response<ResponseBody> {
    for warning in warnings.iter().flat_map(|warning| apart(warning)) {
        let text = warning
            .replace('\\', "\\\\")
            .replace('"', "\\\"")
            .replace(['\n', '\r'], " ");
        if let Ok(header) = HeaderValue::from_str(&format!("299 - \"{text}\"")) {
            response.headers_mut().append(header::WARNING, header);
        }
    }
    response
}
