//! What the server serves: `/api`, `/apis` and everything below that names groups, versions and resources.
//!
//! Pure but for a cache: what is told is made from [`Group`]s when it is first asked for and kept as bytes, for each group by
//! itself, so that a change costs what has changed. Two forms exist side by side: the old one, a document per group version, and
//! the aggregated one (KEP-3352), which says all in one answer with an `ETag`. Which is wanted is said by `Accept`.

mod aggregated;
mod answer;
mod groups;
mod legacy;
mod negotiation;
mod told;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use coracle_api::codec::{body::MediaType, json, protobuf, yaml};
use coracle_api::status::ApiError;
use coracle_api::table;
use http::header::CACHE_CONTROL;
use serde_json::Value;

pub use answer::Answer;
pub use groups::{Entry, Group, SubEntry, Version, built_in};
pub(crate) use groups::{custom, custom_entry};
pub(crate) use negotiation::accepted;

use negotiation::Form;
use told::{Part, Piece, Told};

/// The documents of a set of groups.
#[derive(Debug)]
pub struct Discovery {
    groups: Vec<Arc<Told>>,
    server_address: String,
    /// The documents that are about more than one group, by path and form.
    made: Mutex<HashMap<(String, Form), Made>>,
}

#[derive(Clone, Debug)]
struct Made {
    body: Bytes,
    etag: String,
}

impl Discovery {
    /// Documents about `groups`, core (with an empty name) among them. `server_address` is what `/api` tells clients to
    /// connect to (`127.0.0.1:6443`).
    pub fn new(groups: Vec<Group>, server_address: &str) -> Self {
        Self {
            groups: groups
                .into_iter()
                .map(|group| Arc::new(Told::of(group)))
                .collect(),
            server_address: server_address.to_owned(),
            made: Mutex::default(),
        }
    }

    /// Documents about other groups. What was made of a group that is among them as it was is kept.
    pub fn with(&self, groups: Vec<Group>) -> Self {
        let known: HashMap<&str, &Arc<Told>> =
            self.groups.iter().map(|told| (&*told.group.name, told)).collect();
        let groups = groups.into_iter().map(|group| match known.get(&*group.name) {
            Some(told) if told.group == group => Arc::clone(told),
            _ => Arc::new(Told::of(group)),
        });
        Self {
            groups: groups.collect(),
            server_address: self.server_address.clone(),
            made: Mutex::default(),
        }
    }

    /// The group versions that are served, `v1` and `apps/v1`.
    pub fn group_versions(&self) -> Vec<String> {
        let groups = self.groups.iter().map(|told| &told.group);
        let versions = groups.flat_map(|group| {
            let versions = group.versions.iter();
            versions.map(|version| groups::group_version(&group.name, &version.version))
        });
        versions.collect()
    }

    /// Answers a GET of `path` (without query), or nothing where the path is not about discovery or names what is not
    /// served.
    ///
    /// `accept` is the `Accept` header, empty where there is none; `if_none_match` the header of that name.
    pub fn respond(&self, path: &str, accept: &str, if_none_match: Option<&str>) -> Option<Answer> {
        let path = path.strip_suffix('/').unwrap_or(path);
        let may_aggregate = matches!(path, "/api" | "/apis");
        let document = self.document(path)?;
        let Some(form) = negotiation::form(accept, may_aggregate) else {
            return Some(Answer::failure(&ApiError::not_acceptable(&MediaType::NAMES)));
        };
        let made = self.made(path, form, &document);
        let answer = Answer::found(made.body, &form.content_type());
        // Only the aggregated form has an ETag upstream, and may be kept.
        if form.aggregated.is_none() {
            return Some(answer);
        }
        let mut answer = answer.with_etag(&made.etag, if_none_match).varying();
        answer.set(CACHE_CONTROL, "public");
        Some(answer)
    }

    fn made(&self, path: &str, form: Form, document: &Document<'_>) -> Made {
        let of_group = match document {
            Document::Group(told) => Some((told, Part::Document)),
            Document::Resources(told, place) => Some((told, Part::Version(*place))),
            Document::Versions | Document::Groups => None,
        };
        if let Some((told, part)) = of_group {
            return Made {
                body: told.part(part, form.media_type).bytes,
                etag: String::new(),
            };
        }
        let key = (path.to_owned(), form);
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        made.entry(key)
            .or_insert_with(|| self.of_all(form, matches!(document, Document::Versions)))
            .clone()
    }

    /// A document that is about core (`/api`) or about all other groups (`/apis`).
    fn of_all(&self, form: Form, core: bool) -> Made {
        let groups = self
            .groups
            .iter()
            .filter(|told| told.group.name.is_empty() == core);
        let (frame, part) = match form.aggregated {
            Some(version) => (aggregated::frame(version), Part::Aggregated),
            None if core => {
                let groups = groups.map(|told| &told.group);
                let versions = legacy::api_versions(groups, &self.server_address);
                return Made {
                    body: encode(&versions, form.media_type).into(),
                    etag: String::new(),
                };
            }
            None => (legacy::frame(), Part::Listed),
        };
        let pieces: Vec<Piece> = groups.map(|told| told.part(part, form.media_type)).collect();
        let (body, etag) = frame.joined(&pieces, form.media_type);
        Made { body, etag }
    }

    /// What a path is about.
    fn document(&self, path: &str) -> Option<Document<'_>> {
        let mut parts = path.split('/').skip(1);
        let root = parts.next()?;
        let rest: Vec<&str> = parts.collect();
        let told = |name: &str| self.groups.iter().find(|told| told.group.name == name);
        let version = |group: &str, version: &str| {
            let told = told(group)?;
            let mut versions = told.group.versions.iter();
            let place = versions.position(|known| known.version == version)?;
            Some(Document::Resources(told, place))
        };
        match (root, &rest[..]) {
            ("api", []) => Some(Document::Versions),
            ("api", [name]) => version("", name),
            ("apis", []) => Some(Document::Groups),
            ("apis", [name]) if !name.is_empty() => Some(Document::Group(told(name)?)),
            ("apis", [group, name]) if !group.is_empty() => version(group, name),
            _ => None,
        }
    }
}

/// What a document is about.
enum Document<'a> {
    Versions,
    Groups,
    Group(&'a Told),
    /// A version of a group, by its place.
    Resources(&'a Told, usize),
}

fn encode(value: &Value, media_type: MediaType) -> Vec<u8> {
    match media_type {
        MediaType::Json => json::encode(value),
        MediaType::Yaml => yaml::encode(value),
        MediaType::Protobuf => {
            let mut value = value.clone();
            // Documents without an apiVersion are meta/v1's.
            if value.get("apiVersion").is_none() {
                value["apiVersion"] = "v1".into();
            }
            let text = |name: &str| value[name].as_str().unwrap_or_default();
            // v2beta1 has the same messages as v2.
            let ty = table::by_api_version(&text("apiVersion").replace("v2beta1", "v2"), text("kind"))
                .expect("documents are of types that the table knows");
            protobuf::encode(&value, ty).expect("documents are of their types' shape")
        }
    }
}

#[cfg(test)]
mod tests;
