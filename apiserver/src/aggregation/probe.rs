//! Asking a server how it is, by asking what it serves: one request tells both. Its schemas are fetched along with that.

use std::sync::Arc;
use std::time::Duration;

use coracle_api::object::Fields;
use http::{HeaderValue, Request, StatusCode, header};
use http_body_util::{BodyExt, Limited};
use serde_json::Value;

use super::routes::Remote;
use super::{Aggregator, Part, Serves, identity, resources};
use crate::openapi::merge;
use crate::request::full_body;

/// How long a server may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// The longest answer that is read, in bytes.
const ANSWER_MAX: usize = 16 << 20;
/// How often a server is asked at a time: one good answer is enough, for it may have several endpoints.
const ATTEMPTS: usize = 2;

/// A document of a server's.
struct Document {
    value: Value,
    etag: Option<HeaderValue>,
}

impl Aggregator {
    /// What a server serves in a group version. Unlike upstream's check, this one believes only whom the APIService does: a
    /// server that requests would not be passed on to is not available, and nobody else's words end up in discovery.
    /// `before` is what it served when it was asked last.
    ///
    /// # Errors
    /// Why it is not available.
    pub(super) async fn probe(
        &self,
        remote: &Remote,
        (group, version): (&str, &str),
        before: Option<&Serves>,
    ) -> Result<Serves, String> {
        let path = match group {
            "" => format!("/api/{version}"),
            group => format!("/apis/{group}/{version}"),
        };
        let mut failed = String::new();
        for _ in 0..ATTEMPTS {
            match self.get(remote, &path, None).await {
                Ok(Some(list)) => {
                    let part = before.and_then(|before| before.part.clone());
                    return Ok(Serves {
                        resources: resources::read(&list.value).into_iter().map(Arc::new).collect(),
                        schemas: self.schemas_of(remote, group, version).await,
                        part: self.part_of(remote, group, version, part).await,
                    });
                }
                Ok(None) => "nothing new was told".clone_into(&mut failed),
                Err(why) => failed = why,
            }
        }
        let url = format!("https://{}{path}", remote.reached.0.authority());
        Err(format!("failing or missing response from {url}: {failed}"))
    }

    /// Where a server's schemas stand. Those who publish none are as well as others.
    async fn schemas_of(&self, remote: &Remote, group: &str, version: &str) -> Option<String> {
        let index = self.get(remote, "/openapi/v3", None).await.ok()??.value;
        let url = index["paths"][format!("apis/{group}/{version}")].text("serverRelativeURL");
        // Only a place below its own is passed on to it.
        let own = format!("/openapi/v3/apis/{group}/{version}");
        (url == own || url.starts_with(&format!("{own}?"))).then(|| url.to_owned())
    }

    /// What a server says in OpenAPI 2; what it said before where that has not changed or cannot be had.
    async fn part_of(
        &self,
        remote: &Remote,
        group: &str,
        version: &str,
        before: Option<Part>,
    ) -> Option<Part> {
        let etag = before.as_ref().and_then(|before| before.etag.clone());
        let Ok(Some(document)) = self.get(remote, "/openapi/v2", etag).await else {
            return before;
        };
        let part = merge::part(&document.value, group, version);
        match before {
            Some(before) if *before.part == part => Some(before),
            _ => Some(Part {
                etag: document.etag,
                part: Arc::new(part),
            }),
        }
    }

    /// A JSON document of a server's, asked for in this server's own name; nothing where it is the one with that tag.
    async fn get(
        &self,
        remote: &Remote,
        path: &str,
        etag: Option<HeaderValue>,
    ) -> Result<Option<Document>, String> {
        let url = format!("https://{}{path}", remote.reached.0.authority());
        let failed = |why: &str| format!("Get \"{url}\": {why}");
        let asked = async {
            let mut request = Request::get(path)
                .header(header::HOST, remote.reached.0.authority())
                .header(header::ACCEPT, HeaderValue::from_static("application/json"))
                .body(full_body(bytes::Bytes::new()))
                .map_err(|error| failed(&error.to_string()))?;
            identity::write(&identity::aggregator(), request.headers_mut());
            if let Some(etag) = etag {
                request.headers_mut().insert(header::IF_NONE_MATCH, etag);
            }
            let answer = self.send(remote, request).await;
            let answer = answer.map_err(|error| failed(&error.to_string()))?;
            let (status, etag) = (answer.status(), answer.headers().get(header::ETAG).cloned());
            if status == StatusCode::NOT_MODIFIED {
                return Ok(None);
            }
            if !status.is_success() {
                return Err(format!("bad status from {url}: {}", status.as_u16()));
            }
            let read = Limited::new(answer.into_body(), ANSWER_MAX).collect().await;
            let bytes = read.map_err(|error| failed(&error.to_string()))?.to_bytes();
            let value: Value = serde_json::from_slice(&bytes).map_err(|error| failed(&error.to_string()))?;
            if value.is_object() && value.text("kind") != "Status" {
                Ok(Some(Document { value, etag }))
            } else {
                Err(failed("the answer is no document"))
            }
        };
        tokio::time::timeout(PATIENCE, asked)
            .await
            .unwrap_or_else(|_| Err(failed("context deadline exceeded")))
    }
}
