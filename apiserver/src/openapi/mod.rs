//! The OpenAPI documents: `/openapi/v2` in JSON and in gnostic's protobuf, `/openapi/v3` with a document per group version.
//!
//! Pure but for a cache: what a document is made of (`entries`) is made from the type table, the descriptions and the schemas of
//! definitions when it is first asked for, and kept compressed (`chunk`). Documents are put together of that for each answer,
//! so a definition that changes costs the making of its own entries. Nothing is made at start.

mod built_in;
mod chunk;
mod customs;
mod described;
mod descriptions;
mod entries;
mod facts;
mod figures;
mod gnostic;
mod hashes;
pub(crate) mod merge;
mod operations;
mod schemas;
mod v2;
mod v3;

use std::cell::OnceCell;
use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use coracle_api::codec::json;
use coracle_api::status::ApiError;
use http::StatusCode;
use http::header::{CACHE_CONTROL, CONTENT_ENCODING, LOCATION, VARY};
use serde_json::{Value, json as json_value};
use sha2::{Digest, Sha512};

use self::built_in::BuiltIn;
use self::chunk::Chunk;
use self::described::{Described, etag_of};
use self::entries::Parts;
use crate::discovery::{Answer, accepted};
pub use customs::CustomResource;
pub(crate) use descriptions::Descriptions;

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
    /// Whether this server has `metrics.k8s.io` itself, and no definition does.
    pub(crate) figures: bool,
}

/// The descriptions of types, opened by the first that needs them while an answer is made.
#[derive(Default)]
struct Opened(OnceCell<Descriptions>);

impl Opened {
    fn get(&self) -> &Descriptions {
        self.0.get_or_init(Descriptions::open)
    }
}

/// The documents about the built-in resources, and about custom ones as of one moment.
#[derive(Debug, Default)]
pub struct OpenApi {
    built_in: Arc<BuiltIn>,
    /// By the paths of their documents below `/openapi/v3/`.
    customs: BTreeMap<String, Vec<Described>>,
    index: OnceLock<Made>,
}

/// The forms of `/openapi/v2`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Json,
    Protobuf,
}

/// A whole document, kept.
#[derive(Clone, Debug)]
struct Made {
    zipped: Bytes,
    etag: String,
}

impl OpenApi {
    /// The same with other custom resources; what does not change by that is not made again.
    #[must_use]
    pub fn with(&self, customs: Vec<CustomResource>) -> Self {
        let mut by_document: BTreeMap<String, Vec<Described>> = BTreeMap::new();
        for custom in customs {
            let document = custom.document();
            let mut before = self.customs.get(&document).into_iter().flatten();
            let described = match before.find(|known| known.is_of(&custom)) {
                Some(known) => known.clone(),
                None => Described::new(custom),
            };
            by_document.entry(document).or_default().push(described);
        }
        Self {
            built_in: Arc::clone(&self.built_in),
            customs: by_document,
            index: OnceLock::new(),
        }
    }

    fn all_customs(&self) -> impl Iterator<Item = &Described> {
        self.customs.values().flatten()
    }

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
                match self.customs.get(below) {
                    Some(customs) => Some(self.custom_v3(below, customs, query, wanted)),
                    None if v3::has_document(below) => Some(self.v3(below, query, wanted)),
                    None if others.figures && figures::DOCUMENTS.contains(&below) => {
                        Some(self.v3(below, query, wanted))
                    }
                    None => None,
                }
            }
        }
    }

    fn v2(&self, wanted: Wanted<'_>, others: &Others) -> Answer {
        let found = accepted(wanted.accept)
            .iter()
            .find_map(|element| match element.media_type {
                "*/*" | "application/*" | "application/json" => Some((Form::Json, "application/json")),
                // Answered without the `@`, however it was asked for: Go's clients refuse a Content-Type that has one.
                V2_PROTOBUF | V2_PROTOBUF_AT => Some((Form::Protobuf, V2_PROTOBUF)),
                _ => None,
            });
        let Some((form, content_type)) = found else {
            return Answer::failure(&ApiError::not_acceptable(&["application/json", V2_PROTOBUF]));
        };
        let descriptions = Opened::default();
        let mut parts = others.parts.clone();
        parts.extend(others.figures.then(|| self.built_in.figures(&descriptions)));
        let added = (!parts.is_empty()).then(|| {
            let customs: Vec<&CustomResource> = self.all_customs().map(Described::resource).collect();
            self.built_in.added(&parts, &customs, &descriptions)
        });
        let own = self.built_in.v2(form, &descriptions);
        let customs = self.all_customs().map(|custom| custom.v2(form, &descriptions));
        let added = added.as_ref().map(|added| added.of_form(form));
        let parts: Vec<&Parts> = std::iter::once(own).chain(customs).chain(added).collect();
        let document = match form {
            Form::Json => entries::json(
                &v2::frame(),
                [r#""paths":{"#, r#"},"definitions":{"#, "}"],
                &parts,
            ),
            Form::Protobuf => entries::gnostic(&v2::frame(), &parts),
        };
        document.answer(content_type, wanted)
    }

    fn index(&self, wanted: Wanted<'_>, others: &Others) -> Answer {
        if !accepts_json(wanted) {
            return not_json();
        }
        let made = self
            .index
            .get_or_init(|| Made::of(&json::encode(&self.index_of_own())));
        if others.index.is_empty() && !others.figures {
            return made.answer("application/json", wanted);
        }
        let mut index: Value =
            serde_json::from_slice(&chunk::unzipped(&made.zipped)).expect("the index was written as JSON");
        for (place, url) in &others.index {
            index["paths"][place] = json_value!({"serverRelativeURL": url});
        }
        let descriptions = Opened::default();
        for place in figures::DOCUMENTS.iter().filter(|_| others.figures) {
            let hash = self.built_in.v3_hash(place, &descriptions);
            let url = v3::url(place, &hash);
            index["paths"][*place] = json_value!({"serverRelativeURL": url});
        }
        Made::of(&json::encode(&index)).answer("application/json", wanted)
    }

    /// What describes custom resources is not made for its hash alone: there may be many.
    fn index_of_own(&self) -> Value {
        let descriptions = Opened::default();
        v3::index(self.customs.keys().cloned(), |below| {
            match self.customs.get(below) {
                Some(customs) => etag_of(customs),
                None => self.built_in.v3_hash(below, &descriptions),
            }
        })
    }

    fn v3(&self, below: &str, query: &str, wanted: Wanted<'_>) -> Answer {
        if !accepts_json(wanted) {
            return not_json();
        }
        let made = self.built_in.v3(below, &Opened::default());
        match hash_asked(query) {
            Some(hash) => by_hash(below, hash, &made.etag, || {
                made.answer("application/json", wanted)
            }),
            None => made.answer("application/json", wanted),
        }
    }

    fn custom_v3(&self, below: &str, customs: &[Described], query: &str, wanted: Wanted<'_>) -> Answer {
        if !accepts_json(wanted) {
            return not_json();
        }
        let etag = etag_of(customs);
        let answer = || {
            let descriptions = Opened::default();
            let scaled = customs.iter().any(Described::is_scaled);
            let types = self.built_in.custom_types(scaled, &descriptions);
            let customs = customs.iter().map(|custom| custom.v3(&descriptions));
            let parts: Vec<&Parts> = std::iter::once(types).chain(customs).collect();
            let between = [r#""paths":{"#, r#"},"components":{"schemas":{"#, "}}"];
            let document = entries::json(&v3::custom_frame(), between, &parts).with_etag(&etag);
            document.answer("application/json", wanted)
        };
        match hash_asked(query) {
            Some(hash) => by_hash(below, hash, &etag, answer),
            None => answer(),
        }
    }
}

/// The hash that a question names.
fn hash_asked(query: &str) -> Option<&str> {
    query.split('&').find_map(|pair| pair.strip_prefix("hash="))
}

/// The answer to a question for a document of a hash: that document, or where it is now.
fn by_hash(below: &str, asked: &str, hash: &str, answer: impl FnOnce() -> Answer) -> Answer {
    let mut answer = answer();
    if asked.eq_ignore_ascii_case(hash) {
        // The hash names the content, so that it may be kept for ever.
        answer.set(CACHE_CONTROL, "public, immutable");
    } else {
        answer.status = StatusCode::MOVED_PERMANENTLY;
        answer.body = Bytes::new();
        answer.headers.remove(CONTENT_ENCODING);
        answer.set(LOCATION, &v3::url(below, hash));
    }
    answer
}

fn accepts_json(wanted: Wanted<'_>) -> bool {
    let is_json = |media_type: &str| matches!(media_type, "*/*" | "application/*" | "application/json");
    accepted(wanted.accept)
        .iter()
        .any(|element| is_json(element.media_type))
}

fn not_json() -> Answer {
    Answer::failure(&ApiError::not_acceptable(&["application/json"]))
}

impl Made {
    fn of(body: &[u8]) -> Self {
        Self {
            zipped: chunk::zipped(std::iter::once(&Chunk::of(body))),
            etag: chunk::hexadecimal(&Sha512::digest(body)),
        }
    }

    fn answer(&self, content_type: &str, wanted: Wanted<'_>) -> Answer {
        answer(content_type, wanted, &self.etag, || self.zipped.clone())
    }
}

/// The answer with a document, which is only put together for whoever does not have it.
fn answer(content_type: &str, wanted: Wanted<'_>, etag: &str, zipped: impl FnOnce() -> Bytes) -> Answer {
    let mut answer = Answer::found(Bytes::new(), content_type).with_etag(etag, wanted.if_none_match);
    let zip = accepted(wanted.accept_encoding)
        .iter()
        .any(|element| element.media_type == "gzip");
    if zip {
        answer.set(CONTENT_ENCODING, "gzip");
    }
    answer.set(VARY, "Accept, Accept-Encoding");
    if answer.status == StatusCode::OK {
        let zipped = zipped();
        answer.body = if zip { zipped } else { chunk::unzipped(&zipped) };
    }
    answer
}

#[cfg(test)]
mod tests;
