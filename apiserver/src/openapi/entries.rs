//! What documents are made of: named paths and schemas, and how they stand among those of others.

use coracle_api::codec::json;
use coracle_api::codec::protobuf::field_head;
use serde_json::{Map, Value};

use super::chunk::{self, Chunk};
use super::{Wanted, gnostic};
use crate::discovery::Answer;

/// Paths and schemas (in OpenAPI 2: definitions) by name.
#[derive(Debug, Default)]
pub(super) struct Entries {
    pub(super) paths: Map<String, Value>,
    pub(super) schemas: Map<String, Value>,
}

/// Entries in one encoding, compressed.
#[derive(Debug, Default)]
pub(super) struct Parts {
    paths: Chunk,
    schemas: Chunk,
}

/// A document that is put together when it is sent.
pub(super) struct Joined<'c> {
    chunks: Vec<Piece<'c>>,
    etag: String,
}

/// What is kept, and what is made for this document.
enum Piece<'c> {
    Kept(&'c Chunk),
    Own(Chunk),
}

impl Piece<'_> {
    fn chunk(&self) -> &Chunk {
        match self {
            Self::Kept(chunk) => chunk,
            Self::Own(chunk) => chunk,
        }
    }
}

impl Entries {
    /// As they stand in the JSON of an object.
    pub(super) fn in_json(self) -> Parts {
        Parts {
            paths: within(self.paths),
            schemas: within(self.schemas),
        }
    }

    /// As they stand in gnostic's messages.
    pub(super) fn in_gnostic(self) -> Parts {
        Parts {
            paths: Chunk::of(&gnostic::paths(&Value::Object(self.paths))),
            schemas: Chunk::of(&gnostic::definitions(&Value::Object(self.schemas))),
        }
    }
}

impl Parts {
    /// Schemas alone, in JSON.
    pub(super) fn of_schemas(schemas: Map<String, Value>) -> Self {
        Entries {
            paths: Map::new(),
            schemas,
        }
        .in_json()
    }
}

/// The JSON of an object without its braces.
fn within(object: Map<String, Value>) -> Chunk {
    let json = json::encode(&Value::Object(object));
    Chunk::of(&json[1..json.len() - 1])
}

/// A document in JSON: what the frame says, and between three texts the paths and the schemas of all parts.
pub(super) fn json<'c>(frame: &Value, between: [&str; 3], parts: &[&'c Parts]) -> Joined<'c> {
    let frame = json::encode(frame);
    let head = format!("{},", String::from_utf8_lossy(&frame[..frame.len() - 1]));
    let own = |text: &str| Piece::Own(Chunk::of(text.as_bytes()));
    let [paths, schemas, end] = between;
    let mut chunks = vec![own(&format!("{head}{paths}"))];
    separated(&mut chunks, parts.iter().map(|part| &part.paths));
    chunks.push(own(schemas));
    separated(&mut chunks, parts.iter().map(|part| &part.schemas));
    chunks.push(own(&format!("{end}}}")));
    Joined::of(chunks)
}

fn separated<'c>(chunks: &mut Vec<Piece<'c>>, parts: impl Iterator<Item = &'c Chunk>) {
    for (place, part) in parts.filter(|part| part.length() > 0).enumerate() {
        if place > 0 {
            chunks.push(Piece::Own(Chunk::of(b",")));
        }
        chunks.push(Piece::Kept(part));
    }
}

/// A document in gnostic's protobuf.
pub(super) fn gnostic<'c>(frame: &Value, parts: &[&'c Parts]) -> Joined<'c> {
    let mut chunks = vec![Piece::Own(Chunk::of(&gnostic::before(frame)))];
    let mut field = |number: u32, part: fn(&'c Parts) -> &'c Chunk| {
        let length = parts.iter().map(|parts| part(parts).length()).sum();
        chunks.push(Piece::Own(Chunk::of(&field_head(number, length))));
        chunks.extend(parts.iter().map(|parts| Piece::Kept(part(parts))));
    };
    field(gnostic::PATHS, |parts| &parts.paths);
    field(gnostic::DEFINITIONS, |parts| &parts.schemas);
    chunks.push(Piece::Own(Chunk::of(&gnostic::after(frame))));
    Joined::of(chunks)
}

impl<'c> Joined<'c> {
    fn of(chunks: Vec<Piece<'c>>) -> Self {
        Self {
            etag: chunk::etag(chunks.iter().map(Piece::chunk)),
            chunks,
        }
    }

    /// The same under another tag.
    pub(super) fn with_etag(self, etag: &str) -> Self {
        Self {
            etag: etag.to_owned(),
            ..self
        }
    }

    /// The answer with it.
    pub(super) fn answer(&self, content_type: &str, wanted: Wanted<'_>) -> Answer {
        let zipped = || chunk::zipped(self.chunks.iter().map(Piece::chunk));
        super::answer(content_type, wanted, &self.etag, zipped)
    }
}
