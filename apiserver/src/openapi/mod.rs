//! The OpenAPI documents: `/openapi/v2` in JSON and in gnostic's protobuf, `/openapi/v3` with a document per group version.
//!
//! Pure but for a cache: each document is made from the type table and the descriptions when it is first asked for and
//! kept as the gzipped bytes that nearly every client asks for. Nothing is made at start.

mod descriptions;
mod gnostic;
pub(crate) mod merge;
mod operations;
mod schemas;
mod v2;
mod v3;

use std::cell::OnceCell;
use std::collections::HashMap;
use std::io::{Read, Write};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use coracle_api::codec::json;
use coracle_api::status::ApiError;
use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use http::StatusCode;
use http::header::{CACHE_CONTROL, CONTENT_ENCODING, LOCATION, VARY};
use serde_json::{Value, json as json_value};
use sha2::{Digest, Sha512};

use crate::discovery::{Answer, accepted};
use descriptions::Descriptions;

/// The media type of `/openapi/v2` as protobuf, in the form that MIME allows.
const V2_PROTOBUF: &str = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf";

/// The same with an `@`, as older clients ask for it.
const V2_PROTOBUF_AT: &str = "application/com.github.proto-openapi.spec.v2@v1.0+protobuf";

/// The headers of a request that its answer depends on; empty where they are absent.
#[derive(Clone, Copy, Debug, Default)]
pub struct Wanted<'a> {
    /// `Accept`.
    pub accept: &'a str,
    /// `Accept-Encoding`.
    pub accept_encoding: &'a str,
    /// `If-None-Match`.
    pub if_none_match: Option<&'a str>,
}

/// What other servers say of themselves, which ours tells along with its own.
#[derive(Debug, Default)]
pub(crate) struct Others {
    /// Documents that the index names besides: their places and URLs.
    pub(crate) index: Vec<(String, String)>,
    /// Parts of OpenAPI 2, as [`merge::part`] makes them.
    pub(crate) parts: Vec<Arc<Value>>,
}

/// The documents about the built-in resources.
#[derive(Debug, Default)]
pub struct OpenApi {
    made: Mutex<HashMap<Document, Made>>,
    /// The documents in OpenAPI 2 that these parts of others made of ours: the newest, for a cluster has but one.
    merged: Mutex<Option<Merged>>,
}

/// Our OpenAPI 2 document with the parts of others.
#[derive(Clone, Debug)]
struct Merged {
    parts: Vec<Arc<Value>>,
    json: Made,
    protobuf: Made,
}

/// A document in one encoding.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Document {
    V2Json,
    V2Protobuf,
    V3Index,
    /// The path below `/openapi/v3/`: `api/v1`, `apis/apps/v1`.
    V3(String),
}

#[derive(Clone, Debug)]
struct Made {
    zipped: Bytes,
    etag: String,
}

impl OpenApi {
    /// Answers a GET of `path`, or nothing where no document has that path. `query` is what stands behind the question
    /// mark, empty where there is none.
    pub fn respond(&self, path: &str, query: &str, wanted: Wanted<'_>) -> Option<Answer> {
        self.respond_along(path, query, wanted, &Others::default())
    }

    /// The same, with what other servers say.
    pub(crate) fn respond_along(
        &self,
        path: &str,
        query: &str,
        wanted: Wanted<'_>,
        others: &Others,
    ) -> Option<Answer> {
        match path.strip_suffix('/').unwrap_or(path) {
            "/openapi/v2" => Some(self.v2(wanted, others)),
            "/openapi/v3" => Some(self.index(wanted, others)),
            path => {
                let below = path.strip_prefix("/openapi/v3/")?;
                v3::has_document(below).then(|| self.v3(below, query, wanted))
            }
        }
    }

    fn v2(&self, wanted: Wanted<'_>, others: &Others) -> Answer {
        let found = accepted(wanted.accept)
            .iter()
            .find_map(|element| match element.media_type {
                "*/*" | "application/*" | "application/json" => Some((Document::V2Json, "application/json")),
                // Answered without the `@`, however it was asked for: Go's clients refuse a Content-Type that has one.
                V2_PROTOBUF | V2_PROTOBUF_AT => Some((Document::V2Protobuf, V2_PROTOBUF)),
                _ => None,
            });
        match found {
            Some((document, content_type)) if others.parts.is_empty() => {
                self.answer(document, content_type, wanted)
            }
            Some((document, content_type)) => {
                let merged = self.merged(&others.parts);
                let made = match document {
                    Document::V2Protobuf => merged.protobuf,
                    _ => merged.json,
                };
                made.answer(content_type, wanted)
            }
            None => Answer::failure(&ApiError::not_acceptable(&["application/json", V2_PROTOBUF])),
        }
    }

    /// Our OpenAPI 2 document with these parts; made again where they are not those of the last time.
    fn merged(&self, parts: &[Arc<Value>]) -> Merged {
        let same = |merged: &&Merged| {
            merged.parts.len() == parts.len()
                && merged
                    .parts
                    .iter()
                    .zip(parts)
                    .all(|(ours, theirs)| Arc::ptr_eq(ours, theirs))
        };
        let kept = self.merged.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(kept) = kept.as_ref().filter(same) {
            return kept.clone();
        }
        let own = self.made(&Document::V2Json, &OnceCell::new());
        let mut document: Value =
            serde_json::from_slice(&unzipped(&own.zipped)).expect("the document was written as JSON");
        merge::add(&mut document, parts);
        let merged = Merged {
            parts: parts.to_vec(),
            json: Made::of(&json::encode(&document)),
            protobuf: Made::of(&gnostic::encode(&document)),
        };
        *self.merged.lock().unwrap_or_else(PoisonError::into_inner) = Some(merged.clone());
        merged
    }

    fn index(&self, wanted: Wanted<'_>, others: &Others) -> Answer {
        let own = self.json(Document::V3Index, wanted);
        if others.index.is_empty() || own.status.is_client_error() {
            return own;
        }
        let made = self.made(&Document::V3Index, &OnceCell::new());
        let mut index: Value =
            serde_json::from_slice(&unzipped(&made.zipped)).expect("the index was written as JSON");
        for (place, url) in &others.index {
            index["paths"][place] = json_value!({"serverRelativeURL": url});
        }
        let made = Made::of(&json::encode(&index));
        made.answer("application/json", wanted)
    }

    fn v3(&self, below: &str, query: &str, wanted: Wanted<'_>) -> Answer {
        let document = Document::V3(below.to_owned());
        let asked = query.split('&').find_map(|pair| pair.strip_prefix("hash="));
        let Some(asked) = asked else {
            return self.json(document, wanted);
        };
        let hash = self.made(&document, &OnceCell::new()).etag;
        let mut answer = self.json(document, wanted);
        if asked.eq_ignore_ascii_case(&hash) {
            // The hash names the content, so that it may be kept for ever.
            answer.set(CACHE_CONTROL, "public, immutable");
        } else {
            answer.status = StatusCode::MOVED_PERMANENTLY;
            answer.body = Bytes::new();
            answer.headers.remove(CONTENT_ENCODING);
            answer.set(LOCATION, &format!("/openapi/v3/{below}?hash={hash}"));
        }
        answer
    }

    fn json(&self, document: Document, wanted: Wanted<'_>) -> Answer {
        let is_json = |media_type: &str| matches!(media_type, "*/*" | "application/*" | "application/json");
        if accepted(wanted.accept)
            .iter()
            .any(|element| is_json(element.media_type))
        {
            self.answer(document, "application/json", wanted)
        } else {
            Answer::failure(&ApiError::not_acceptable(&["application/json"]))
        }
    }

    fn answer(&self, document: Document, content_type: &str, wanted: Wanted<'_>) -> Answer {
        self.made(&document, &OnceCell::new())
            .answer(content_type, wanted)
    }

    /// The document, made if need be; `descriptions` are opened at the first that is.
    fn made(&self, document: &Document, descriptions: &OnceCell<Descriptions>) -> Made {
        if let Some(made) = self.lock().get(document) {
            return made.clone();
        }
        // Made without the lock: the index asks for the documents it lists.
        let described = || descriptions.get_or_init(Descriptions::open);
        let body = match document {
            Document::V2Json => json::encode(&v2::document(described())),
            Document::V2Protobuf => gnostic::encode(&v2::document(described())),
            Document::V3Index => json::encode(&v3::index(|below| {
                self.made(&Document::V3(below.to_owned()), descriptions).etag
            })),
            Document::V3(below) => json::encode(&v3::document(below, described())),
        };
        let made = Made::of(&body);
        self.lock().insert(document.clone(), made.clone());
        made
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<Document, Made>> {
        self.made.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Made {
    fn of(body: &[u8]) -> Self {
        let etag = Sha512::digest(body)
            .iter()
            .map(|byte| format!("{byte:02X}"))
            .collect();
        Self {
            zipped: zipped(body),
            etag,
        }
    }

    fn answer(self, content_type: &str, wanted: Wanted<'_>) -> Answer {
        let zip = accepted(wanted.accept_encoding)
            .iter()
            .any(|element| element.media_type == "gzip");
        let body = if zip { self.zipped } else { unzipped(&self.zipped) };
        let mut answer = Answer::found(body, content_type);
        if zip {
            answer.set(CONTENT_ENCODING, "gzip");
        }
        answer.set(VARY, "Accept, Accept-Encoding");
        answer.with_etag(&self.etag, wanted.if_none_match)
    }
}

fn zipped(body: &[u8]) -> Bytes {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(body).expect("memory takes every write");
    encoder.finish().expect("memory takes every write").into()
}

fn unzipped(zipped: &[u8]) -> Bytes {
    let mut body = Vec::new();
    GzDecoder::new(zipped)
        .read_to_end(&mut body)
        .expect("what was zipped here can be unzipped");
    body.into()
}

#[cfg(test)]
mod tests;
