//! The images of an archive as a registry tells of them, by the OCI distribution specification 1.1 (pulls only).
//!
//! [`Registry`] is pure: from a method and a path to what is to be answered, where bytes are named by their place in the archive.
//! [`serve`], with the feature of that name, is the thin server around it, for tests and for the conformance suite.

use std::collections::BTreeMap;
use std::io::{self, Read, Seek};

use serde_json::Value;

/// What an archive of [`crate::write`] holds, by the names under which it is asked for.
#[derive(Clone, Debug, Default)]
pub struct Registry {
    /// `repository:tag`, without the registry's name, and the digest of the manifest.
    names: BTreeMap<String, String>,
    /// The media types of manifests, by digest.
    manifests: BTreeMap<String, String>,
    /// Every blob by digest, manifests among them.
    blobs: BTreeMap<String, Place>,
    /// The value of the Authorization header without which nothing is answered.
    authorization: Option<String>,
}

/// Where bytes stand in the archive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Bytes before them.
    pub offset: u64,
    /// How many they are.
    pub size: u64,
}

/// What is to be answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// Headers, by name.
    pub headers: Vec<(&'static str, String)>,
    /// The bytes to send, and to tell the length of to whom asks with HEAD.
    pub body: Option<Place>,
}

impl Registry {
    /// Reads what an archive holds.
    ///
    /// # Errors
    /// When it is no OCI layout in a tar file, or cannot be read.
    pub fn of(archive: impl Read + Seek) -> io::Result<Self> {
        let mut registry = Self::default();
        let mut index = Value::Null;
        for entry in tar::Archive::new(archive).entries_with_seek()? {
            let mut entry = entry?;
            let path = entry.path()?.to_string_lossy().into_owned();
            let place = Place {
                offset: entry.raw_file_position(),
                size: entry.size(),
            };
            if path == "index.json" {
                index = serde_json::from_reader(&mut entry)?;
            } else if let Some(digest) = path.strip_prefix("blobs/") {
                registry.blobs.insert(digest.replace('/', ":"), place);
            }
        }
        let text = |value: &Value| value.as_str().map(str::to_owned);
        for manifest in index["manifests"].as_array().into_iter().flatten() {
            let name = text(&manifest["annotations"]["org.opencontainers.image.ref.name"]);
            let (Some(name), Some(digest), Some(kind)) =
                (name, text(&manifest["digest"]), text(&manifest["mediaType"]))
            else {
                return Err(io::Error::new(
                    io::ErrorKind::InvalidData,
                    "a manifest without a name",
                ));
            };
            let name = name.split_once('/').map_or(name.as_str(), |(_, name)| name);
            registry.names.insert(name.to_owned(), digest.clone());
            registry.manifests.insert(digest, kind);
        }
        Ok(registry)
    }

    /// Answers only those who send this Authorization header, such as `Basic dXNlcjpwYXNz`.
    #[must_use]
    pub fn guarded_by(mut self, authorization: &str) -> Self {
        self.authorization = Some(authorization.to_owned());
        self
    }

    /// What to answer to a GET or HEAD of this path, whose query is ignored.
    pub fn answer(&self, path: &str, authorization: Option<&str>) -> Answer {
        if self.authorization.is_some() && self.authorization.as_deref() != authorization {
            let challenge = ("WWW-Authenticate", "Basic realm=\"images\"".to_owned());
            return Answer {
                status: 401,
                headers: vec![challenge],
                body: None,
            };
        }
        let path = path.split('?').next().unwrap_or_default();
        let found = match path.strip_prefix("/v2/") {
            Some("") => Some((None, "application/json".to_owned(), String::new())),
            Some(rest) => self.find(rest),
            None => None,
        };
        match found {
            None => Answer {
                status: 404,
                headers: Vec::new(),
                body: None,
            },
            Some((body, kind, digest)) => Answer {
                status: 200,
                headers: [("Content-Type", kind), ("Docker-Content-Digest", digest)]
                    .into_iter()
                    .filter(|(_, value)| !value.is_empty())
                    .collect(),
                body,
            },
        }
    }

    /// The place, media type and digest of `REPOSITORY/manifests/TAG|DIGEST` or `REPOSITORY/blobs/DIGEST`.
    fn find(&self, path: &str) -> Option<(Option<Place>, String, String)> {
        let mut parts = path.rsplitn(3, '/');
        let (reference, kind, repository) = (parts.next()?, parts.next()?, parts.next()?);
        let digest = match kind {
            "manifests" if !reference.contains(':') => {
                self.names.get(&format!("{repository}:{reference}"))?
            }
            "manifests" | "blobs" => reference,
            _ => return None,
        };
        let kind = match kind {
            "manifests" => self.manifests.get(digest)?.clone(),
            _ => "application/octet-stream".to_owned(),
        };
        let place = *self.blobs.get(digest)?;
        Some((Some(place), kind, digest.to_owned()))
    }
}

/// Answers pulls until the server is unblocked. `bytes` opens the archive at a place.
#[cfg(feature = "serve")]
pub fn serve<R: Read>(
    registry: &Registry,
    server: &tiny_http::Server,
    bytes: impl Fn(Place) -> io::Result<R> + Sync,
) {
    use tiny_http::{Header, Method, Response, StatusCode};

    let answer = |request: tiny_http::Request| -> io::Result<()> {
        let authorization = request
            .headers()
            .iter()
            .find(|header| header.field.equiv("Authorization"));
        if !matches!(request.method(), Method::Get | Method::Head) {
            return request.respond(Response::empty(405));
        }
        let answer = registry.answer(request.url(), authorization.map(|header| header.value.as_str()));
        let headers = answer
            .headers
            .iter()
            .filter_map(|(name, value)| Header::from_bytes(name.as_bytes(), value.as_bytes()).ok())
            .collect();
        let status = StatusCode(answer.status);
        match answer.body {
            None => request.respond(Response::new(status, headers, io::empty(), Some(0), None)),
            Some(place) => {
                let length = usize::try_from(place.size).ok();
                let body = bytes(place)?.take(place.size);
                request.respond(Response::new(status, headers, body, length, None))
            }
        }
    };
    std::thread::scope(|threads| {
        for request in server.incoming_requests() {
            // Who hangs up in the middle asks again.
            threads.spawn(|| answer(request));
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Image, Settings, write};

    fn archive() -> Vec<u8> {
        let image = Image::of_program(
            "registry.test/some/tool:1",
            "tool",
            b"program",
            Settings::default(),
        );
        let mut bytes = Vec::new();
        write(&[image.unwrap()], &mut bytes).unwrap();
        bytes
    }

    fn bytes_at(archive: &[u8], place: Place) -> &[u8] {
        let offset = usize::try_from(place.offset).unwrap();
        &archive[offset..offset + usize::try_from(place.size).unwrap()]
    }

    #[test]
    fn an_image_is_pulled_by_tag_and_then_by_digests() {
        let archive = archive();
        let registry = Registry::of(io::Cursor::new(&archive)).unwrap();
        assert_eq!(registry.answer("/v2/", None).status, 200);
        let tagged = registry.answer("/v2/some/tool/manifests/1?ns=registry.test", None);
        let manifest: Value = serde_json::from_slice(bytes_at(&archive, tagged.body.unwrap())).unwrap();
        let (_, digest) = &tagged.headers[1];
        assert_eq!(
            registry.answer(&format!("/v2/some/tool/manifests/{digest}"), None),
            tagged
        );
        for blob in [&manifest["config"], &manifest["layers"][0]] {
            let digest = blob["digest"].as_str().unwrap();
            let answer = registry.answer(&format!("/v2/some/tool/blobs/{digest}"), None);
            assert_eq!(crate::digest(bytes_at(&archive, answer.body.unwrap())), digest);
        }
    }

    #[test]
    fn what_is_not_there_is_not_found() {
        let registry = Registry::of(io::Cursor::new(archive())).unwrap();
        for path in [
            "/",
            "/v2",
            "/v2/some/tool/manifests/2",
            "/v2/tool/manifests/1",
            "/v2/some/tool/blobs/sha256:00",
            "/v2/some/tool/tags/list",
        ] {
            assert_eq!(registry.answer(path, None).status, 404, "{path}");
        }
    }

    #[test]
    fn a_guarded_registry_tells_strangers_how_to_ask() {
        let registry = Registry::of(io::Cursor::new(archive()))
            .unwrap()
            .guarded_by("Basic YTpi");
        let answer = registry.answer("/v2/some/tool/manifests/1", None);
        assert_eq!((answer.status, answer.body), (401, None));
        assert_eq!(answer.headers[0].0, "WWW-Authenticate");
        assert_eq!(
            registry
                .answer("/v2/some/tool/manifests/1", Some("Basic YTpi"))
                .status,
            200
        );
        assert_eq!(
            registry
                .answer("/v2/some/tool/manifests/1", Some("Basic YTpj"))
                .status,
            401
        );
    }

    #[test]
    fn what_is_no_archive_is_refused() {
        assert!(
            Registry::of(io::Cursor::new(
                b"nothing of the kind, for more than a block".repeat(20)
            ))
            .is_err()
        );
    }
}
