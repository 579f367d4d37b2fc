//! What the server serves: `/api`, `/apis` and everything below that names groups, versions and resources.
//!
//! Pure but for a cache: documents are made from [`Group`]s when they are first asked for and kept as bytes. Two forms
//! exist side by side: the old one, a document per group version, and the aggregated one (KEP-3352), which says all in one
//! answer with an `ETag`. Which is wanted is said by `Accept`.

mod aggregated;
mod answer;
mod groups;
mod legacy;
mod negotiation;

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use bytes::Bytes;
use coracle_api::codec::{body::MediaType, json, protobuf, yaml};
use coracle_api::status::ApiError;
use coracle_api::table;
use http::header::CACHE_CONTROL;
use serde_json::Value;
use sha2::{Digest, Sha512};

pub use answer::Answer;
pub(crate) use groups::custom;
pub use groups::{Entry, Group, SubEntry, Version, built_in};
pub(crate) use negotiation::accepted;

use negotiation::Form;

/// The documents of a set of groups.
#[derive(Debug)]
pub struct Discovery {
    groups: Vec<Group>,
    server_address: String,
    /// Encoded documents by path and form.
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
            groups,
            server_address: server_address.to_owned(),
            made: Mutex::default(),
        }
    }

    /// The group versions that are served, `v1` and `apps/v1`.
    pub fn group_versions(&self) -> Vec<String> {
        let versions = self.groups.iter().flat_map(|group| {
            group
                .versions
                .iter()
                .map(|version| groups::group_version(&group.name, &version.version))
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
        let made = self.made(path, form, document);
        let answer = Answer::found(made.body, &form.content_type());
        // Only the aggregated form has an ETag upstream, and may be kept.
        if form.aggregated.is_none() {
            return Some(answer);
        }
        let mut answer = answer.with_etag(&made.etag, if_none_match).varying();
        answer.set(CACHE_CONTROL, "public");
        Some(answer)
    }

    fn made(&self, path: &str, form: Form, document: Document<'_>) -> Made {
        let key = (path.to_owned(), form);
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        made.entry(key)
            .or_insert_with(|| {
                let value = match form.aggregated {
                    Some(version) => aggregated::list(&self.groups, path == "/api", version),
                    None => self.legacy(document),
                };
                let body = encode(&value, form.media_type);
                let etag = Sha512::digest(&body)
                    .iter()
                    .map(|byte| format!("{byte:02X}"))
                    .collect();
                Made {
                    body: body.into(),
                    etag,
                }
            })
            .clone()
    }

    fn legacy(&self, document: Document<'_>) -> Value {
        match document {
            Document::Versions => legacy::api_versions(&self.groups, &self.server_address),
            Document::Groups => legacy::group_list(&self.groups),
            Document::Group(group) => legacy::group(group),
            Document::Resources(group, version) => legacy::resource_list(group, version),
        }
    }

    /// What a path is about.
    fn document(&self, path: &str) -> Option<Document<'_>> {
        let mut parts = path.split('/').skip(1);
        let root = parts.next()?;
        let rest: Vec<&str> = parts.collect();
        let group = |name: &str| self.groups.iter().find(|group| group.name == name);
        let resources = |group, version: &str| {
            let version = Group::version(group, version)?;
            Some(Document::Resources(group, version))
        };
        match (root, &rest[..]) {
            ("api", []) => Some(Document::Versions),
            ("api", [version]) => resources(group("")?, version),
            ("apis", []) => Some(Document::Groups),
            ("apis", [name]) if !name.is_empty() => Some(Document::Group(group(name)?)),
            ("apis", [name, version]) if !name.is_empty() => resources(group(name)?, version),
            _ => None,
        }
    }
}

/// What a document is about.
#[derive(Clone, Copy)]
enum Document<'a> {
    Versions,
    Groups,
    Group(&'a Group),
    Resources(&'a Group, &'a Version),
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
