//! An answer that is ready to be sent.

use bytes::Bytes;
use coracle_api::codec::json;
use coracle_api::status::ApiError;
use http::header::{CONTENT_TYPE, ETAG, VARY};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};

/// Status, headers and body.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The HTTP status.
    pub status: StatusCode,
    /// The headers, `Content-Type` among them.
    pub headers: HeaderMap,
    /// The body; empty for 304.
    pub body: Bytes,
}

impl Answer {
    /// 200 with a body.
    pub(crate) fn found(body: Bytes, content_type: &str) -> Self {
        let mut answer = Self {
            status: StatusCode::OK,
            headers: HeaderMap::new(),
            body,
        };
        answer.set(CONTENT_TYPE, content_type);
        answer
    }

    /// A failure as JSON.
    pub(crate) fn failure(error: &ApiError) -> Self {
        let body = json::encode(&error.to_status());
        let status = StatusCode::from_u16(error.code()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        Self {
            status,
            ..Self::found(body.into(), "application/json")
        }
    }

    pub(crate) fn set(&mut self, name: HeaderName, value: &str) {
        let value = HeaderValue::from_str(value).expect("header values are made of printable text");
        self.headers.insert(name, value);
    }

    /// Adds an `ETag`, and answers 304 where the client has that already (RFC 9110, 13.1.2).
    pub(crate) fn with_etag(mut self, etag: &str, if_none_match: Option<&str>) -> Self {
        let quoted = format!("\"{etag}\"");
        let known = |tag: &str| {
            let tag = tag.trim();
            tag == "*" || tag.strip_prefix("W/").unwrap_or(tag) == quoted
        };
        if if_none_match.is_some_and(|header| header.split(',').any(known)) {
            self.status = StatusCode::NOT_MODIFIED;
            self.body = Bytes::new();
            self.headers.remove(CONTENT_TYPE);
        }
        self.set(ETAG, &quoted);
        self
    }

    /// Says that the answer depends on `Accept`.
    pub(crate) fn varying(mut self) -> Self {
        self.set(VARY, "Accept");
        self
    }
}
