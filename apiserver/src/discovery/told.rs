//! A group with what has been encoded of it. As long as a group stays what it is, what is told of it is made once: documents about
//! all groups are put together of the parts of each.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use bytes::Bytes;
use coracle_api::codec::body::MediaType;
use coracle_api::codec::{json, protobuf, yaml};
use coracle_api::table::{self, Type};
use serde_json::Value;
use sha2::{Digest, Sha512};

use super::groups::Group;
use super::{aggregated, encode, legacy};

/// A group, and what was encoded of it.
#[derive(Debug)]
pub(super) struct Told {
    pub(super) group: Group,
    made: Mutex<HashMap<(Part, MediaType), Piece>>,
}

/// What is told of a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Part {
    /// Its own document.
    Document,
    /// The document of one of its versions, by place.
    Version(usize),
    /// What the old list of groups says.
    Listed,
    /// What the aggregated list says.
    Aggregated,
}

/// Something encoded, with a digest by which it is told apart.
#[derive(Clone, Debug)]
pub(super) struct Piece {
    pub(super) bytes: Bytes,
    digest: [u8; 64],
}

impl Piece {
    pub(super) fn of(bytes: Vec<u8>) -> Self {
        Self {
            digest: Sha512::digest(&bytes).into(),
            bytes: bytes.into(),
        }
    }
}

impl Told {
    pub(super) fn of(group: Group) -> Self {
        Self {
            group,
            made: Mutex::default(),
        }
    }

    /// A part, encoded.
    pub(super) fn part(&self, part: Part, media_type: MediaType) -> Piece {
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        let piece = made.entry((part, media_type));
        piece
            .or_insert_with(|| Piece::of(self.encoded(part, media_type)))
            .clone()
    }

    fn encoded(&self, part: Part, media_type: MediaType) -> Vec<u8> {
        match part {
            Part::Document => encode(&legacy::group(&self.group), media_type),
            Part::Version(place) => {
                let list = legacy::resource_list(&self.group, &self.group.versions[place]);
                encode(&list, media_type)
            }
            Part::Listed => item(&legacy::bare_group(&self.group), "v1", "APIGroup", media_type),
            Part::Aggregated => {
                let value = aggregated::group(&self.group);
                item(&value, "apidiscovery.k8s.io/v2", "APIGroupDiscovery", media_type)
            }
        }
    }

    /// How much has been made so far.
    #[cfg(test)]
    pub(super) fn parts_made(&self) -> usize {
        self.made.lock().unwrap().len()
    }
}

/// An item as it stands in a list.
fn item(value: &Value, api_version: &str, kind: &str, media_type: MediaType) -> Vec<u8> {
    match media_type {
        MediaType::Json | MediaType::Yaml => json::encode(value),
        MediaType::Protobuf => protobuf::encode_message(value, known(api_version, kind))
            .expect("parts are of their types' shape"),
    }
}

fn known(api_version: &str, kind: &str) -> &'static Type {
    table::by_api_version(api_version, kind).expect("documents are of types that the table knows")
}

/// What a list is about, and where its items stand.
pub(super) struct Frame {
    /// The list without items.
    pub(super) list: Value,
    /// The field of the items.
    pub(super) items: &'static str,
    /// The version by which the table knows the list.
    pub(super) known_as: &'static str,
}

impl Frame {
    /// The list with these items, none of which is encoded again, and its tag.
    pub(super) fn joined(&self, items: &[Piece], media_type: MediaType) -> (Bytes, String) {
        let joined = match media_type {
            MediaType::Json => self.json(items),
            MediaType::Protobuf => self.protobuf(items),
            MediaType::Yaml => self.yaml(items),
        };
        let mut digest = Sha512::new();
        digest.update(json::encode(&self.list));
        for item in items {
            digest.update(item.digest);
        }
        (joined.into(), tag(&digest.finalize()))
    }

    /// The items, which come as JSON, in YAML, which nobody but people asks for.
    fn yaml(&self, items: &[Piece]) -> Vec<u8> {
        let mut list = self.list.clone();
        let values = items
            .iter()
            .map(|item| serde_json::from_slice::<Value>(&item.bytes));
        list[self.items] = Value::Array(values.collect::<Result<_, _>>().unwrap_or_default());
        yaml::encode(&list)
    }

    fn json(&self, items: &[Piece]) -> Vec<u8> {
        let mut joined = json::encode(&self.list);
        // Items come last.
        joined.pop();
        joined.extend(format!(",\"{}\":[", self.items).as_bytes());
        for (place, item) in items.iter().enumerate() {
            if place > 0 {
                joined.push(b',');
            }
            joined.extend_from_slice(&item.bytes);
        }
        joined.extend(b"]}");
        joined
    }

    fn protobuf(&self, items: &[Piece]) -> Vec<u8> {
        let text = |name: &str| self.list[name].as_str().unwrap_or_default();
        let ty = known(self.known_as, text("kind"));
        let number = ty.field(self.items).map_or(0, |field| field.number);
        let mut message =
            protobuf::encode_message(&self.list, ty).expect("documents are of their types' shape");
        for item in items {
            message.extend_from_slice(&protobuf::field_head(number, item.bytes.len()));
            message.extend_from_slice(&item.bytes);
        }
        let mut joined = protobuf::envelope_head(text("apiVersion"), text("kind"), message.len());
        joined.extend(message);
        joined.extend(protobuf::ENVELOPE_TAIL);
        joined
    }
}

/// A digest as a tag.
pub(super) fn tag(digest: &[u8]) -> String {
    digest.iter().map(|byte| format!("{byte:02X}")).collect()
}
