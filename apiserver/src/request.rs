//! What is known of a request once it has been routed and its sender is known: the door between the front (`http`,
//! `authn`, `authz`) and whatever answers.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use coracle_api::status::ApiError;
use http::{HeaderMap, Method, Response};
use http_body::Body;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Empty, Full, LengthLimitError, Limited};

use crate::audit::Recorder;
use crate::discovery::Group;
use crate::openapi::CustomResource;

/// The body of every answer. Streams (watches, logs) and fixed bytes take the same type; an error ends the stream.
pub type ResponseBody = UnsyncBoxBody<Bytes, std::io::Error>;

/// Marks an answer (among its extensions) whose body speaks a little now and then, in data alone, for as long as it is listened
/// to. The front may write it in another way than what is said at once.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Streams;

/// The largest request body that is taken, in bytes (upstream's `MaxRequestBodyBytes`).
pub const MAX_REQUEST_BODY_BYTES: usize = 3 * 1024 * 1024;

/// Whatever answers requests for resources: the registry, or a stand-in when the front is tested by itself.
#[async_trait]
pub trait ResourceHandler: Send + Sync {
    /// Answers one request whose sender is known and allowed to ask.
    async fn serve(
        &self,
        context: RequestContext,
        body: RequestBody,
    ) -> Result<Response<ResponseBody>, ApiError>;

    /// Changes whenever custom resources come, change or go.
    fn generation(&self) -> u64 {
        0
    }

    /// What discovery is to tell of custom resources.
    fn custom_groups(&self) -> Vec<Group> {
        Vec::new()
    }

    /// Whether there are custom resources of a group.
    fn has_custom_group(&self, _group: &str) -> bool {
        false
    }

    /// What OpenAPI is to tell of custom resources.
    fn custom_resources(&self) -> Vec<CustomResource> {
        Vec::new()
    }

    /// How much of a resource is stored; unknown where it is not served from here.
    fn stored_size(&self, _group: &str, _resource: &str) -> Option<StoredSize> {
        None
    }

    /// Whether a request is for a custom resource that is served.
    fn serves_custom(&self, _info: &RequestInfo) -> bool {
        false
    }
}

/// How much of a resource is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoredSize {
    /// How many objects.
    pub objects: u64,
    /// How many bytes they are in JSON.
    pub bytes: u64,
}

/// Who asks: the outcome of authentication, as in `authentication.k8s.io/v1` `UserInfo`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UserInfo {
    /// The name that identifies the user among all active users.
    pub name: String,
    /// A value that stays the same when a name is given to somebody else; empty where unknown.
    pub uid: String,
    /// Every group, `system:authenticated` or `system:unauthenticated` included.
    pub groups: Vec<String>,
    /// What the authenticator adds (for a bound token the pod and node it is bound to).
    pub extra: BTreeMap<String, Vec<String>>,
}

impl UserInfo {
    /// The apiserver itself, which may do everything.
    pub(crate) fn server() -> Self {
        Self {
            name: "system:apiserver".to_owned(),
            groups: ["system:masters", "system:authenticated"]
                .map(str::to_owned)
                .to_vec(),
            ..Self::default()
        }
    }
}

/// What a path asks for, by the rules of upstream's `RequestInfoFactory`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RequestInfo {
    /// False for `/version`, `/healthz`, discovery and the like.
    pub is_resource_request: bool,
    /// The path without the query.
    pub path: String,
    /// `get`, `list`, `watch`, `create`, `update`, `patch`, `delete`, `deletecollection`; the lower-case method otherwise.
    pub verb: String,
    /// `api` or `apis`.
    pub api_prefix: String,
    /// The API group, empty for core.
    pub api_group: String,
    /// The API version.
    pub api_version: String,
    /// Empty for cluster-scoped requests and for all namespaces.
    pub namespace: String,
    /// The plural resource name.
    pub resource: String,
    /// `status`, `scale`, `log` …; empty for the object itself.
    pub subresource: String,
    /// The object's name; empty for collections.
    pub name: String,
    /// Path segments from the resource on.
    pub parts: Vec<String>,
}

/// A request that was authenticated and authorized, without its body.
#[derive(Clone, Debug)]
pub struct RequestContext {
    /// What is asked for.
    pub info: RequestInfo,
    /// Who asks.
    pub user: UserInfo,
    /// The HTTP method.
    pub method: Method,
    /// Decoded query parameters in the order given; a name may stand more than once.
    pub query: Vec<(String, String)>,
    /// The request's headers.
    pub headers: HeaderMap,
    /// What the client is warned of besides the answer itself.
    pub warnings: Warnings,
}

/// What whoever has a part in answering a request adds to it on the side: warnings, which the front sends along, with
/// failures too, and what the audit log is to tell. Shared by the clones of a request.
#[derive(Clone, Debug, Default)]
pub struct Warnings {
    texts: Arc<Mutex<Vec<String>>>,
    recorder: Recorder,
}

/// How many bytes of warnings are sent whole (upstream's `truncateAtTotalRunes`).
const WARNINGS_WHOLE_MAX: usize = 4 * 1024;
/// How long each may be where they are more (upstream's `truncateItemRunes`).
const WARNING_CUT: usize = 256;

impl Warnings {
    /// None yet, of a request that is recorded.
    pub(crate) fn of(recorder: Recorder) -> Self {
        Self {
            recorder,
            ..Self::default()
        }
    }

    /// Where the audit log's part goes.
    pub(crate) fn audit(&self) -> &Recorder {
        &self.recorder
    }

    /// Adds a warning, unless it was added before.
    pub fn add(&self, text: &str) {
        let mut texts = self.lock();
        if !text.is_empty() && !texts.iter().any(|known| known == text) {
            texts.push(text.to_owned());
        }
    }

    /// Adds several warnings.
    pub(crate) fn extend(&self, texts: &[String]) {
        texts.iter().for_each(|text| self.add(text));
    }

    /// Those that are sent: all where they are few; cut, and the first of them, where they are long.
    pub fn sent(&self) -> Vec<String> {
        let texts = self.lock();
        if texts.iter().map(String::len).sum::<usize>() <= WARNINGS_WHOLE_MAX {
            return texts.clone();
        }
        let cut = texts
            .iter()
            .map(|text| text.chars().take(WARNING_CUT).collect::<String>());
        let mut room = WARNINGS_WHOLE_MAX;
        cut.take_while(|text| {
            let fits = text.len() <= room;
            room = room.saturating_sub(text.len());
            fits
        })
        .collect()
    }

    fn lock(&self) -> MutexGuard<'_, Vec<String>> {
        self.texts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A request's body, of which nothing was read yet.
pub struct RequestBody {
    inner: ResponseBody,
}

/// Why a body could not be read.
#[derive(Debug, thiserror::Error)]
pub enum BodyError {
    /// More than [`MAX_REQUEST_BODY_BYTES`].
    #[error("limit is {MAX_REQUEST_BODY_BYTES}")]
    TooLarge,
    /// The sender broke off, or broke the protocol.
    #[error("the request body could not be read")]
    Broken(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl From<BodyError> for ApiError {
    fn from(error: BodyError) -> Self {
        match error {
            BodyError::TooLarge => ApiError::request_entity_too_large(&error.to_string()),
            BodyError::Broken(_) => ApiError::bad_request(error.to_string()),
        }
    }
}

impl RequestBody {
    /// Takes any body; its bytes are counted when they are read.
    pub fn new<B>(body: B) -> Self
    where
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        Self {
            inner: body.map_err(std::io::Error::other).boxed_unsync(),
        }
    }

    /// No bytes at all.
    pub fn empty() -> Self {
        Self::new(Empty::new())
    }

    /// Reads everything, up to [`MAX_REQUEST_BODY_BYTES`]. A length announced above it fails before a byte is read.
    pub async fn read(self) -> Result<Bytes, BodyError> {
        if self.inner.size_hint().lower() > MAX_REQUEST_BODY_BYTES as u64 {
            return Err(BodyError::TooLarge);
        }
        match Limited::new(self.inner, MAX_REQUEST_BODY_BYTES).collect().await {
            Ok(collected) => Ok(collected.to_bytes()),
            Err(error) if error.is::<LengthLimitError>() => Err(BodyError::TooLarge),
            Err(error) => Err(BodyError::Broken(error)),
        }
    }

    /// The bytes as they come, for handlers that pass them on without looking.
    pub fn into_stream(self) -> ResponseBody {
        self.inner
    }
}

/// An answer's body of known bytes.
pub fn full_body(bytes: impl Into<Bytes>) -> ResponseBody {
    Full::new(bytes.into())
        .map_err(|never| match never {})
        .boxed_unsync()
}

impl RequestContext {
    /// The first value of a query parameter.
    pub fn query(&self, name: &str) -> Option<&str> {
        self.query
            .iter()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn warnings_are_told_once_and_cut_where_they_are_long() {
        let warnings = Warnings::default();
        for text in ["a", "", "b", "a"] {
            warnings.clone().add(text);
        }
        assert_eq!(warnings.sent(), ["a", "b"]);
        for letter in ('c'..='z').map(String::from) {
            warnings.add(&letter.repeat(300));
        }
        let sent = warnings.sent();
        assert!(sent.iter().all(|text| text.len() <= WARNING_CUT));
        assert!(sent.iter().map(String::len).sum::<usize>() <= WARNINGS_WHOLE_MAX);
        assert_eq!(sent.len(), 17);
    }

    #[tokio::test]
    async fn a_body_is_taken_up_to_the_limit_and_not_beyond() {
        let most = vec![b'x'; MAX_REQUEST_BODY_BYTES];
        let read = RequestBody::new(Full::new(Bytes::from(most.clone())))
            .read()
            .await;
        assert_eq!(
            read.expect("the limit itself is allowed").len(),
            MAX_REQUEST_BODY_BYTES
        );

        let mut more = most;
        more.push(b'x');
        let announced = RequestBody::new(Full::new(Bytes::from(more.clone())))
            .read()
            .await;
        assert!(matches!(announced, Err(BodyError::TooLarge)));

        let chunks = more
            .chunks(1 << 20)
            .map(|c| Ok::<_, std::io::Error>(http_body::Frame::data(Bytes::copy_from_slice(c))));
        let stream = http_body_util::StreamBody::new(futures::stream::iter(chunks.collect::<Vec<_>>()));
        assert!(matches!(
            RequestBody::new(stream).read().await,
            Err(BodyError::TooLarge)
        ));
    }

    #[tokio::test]
    async fn a_body_that_breaks_off_is_a_bad_request() {
        let broken =
            futures::stream::iter([Err::<http_body::Frame<Bytes>, _>(std::io::Error::other("gone"))]);
        let read = RequestBody::new(http_body_util::StreamBody::new(broken))
            .read()
            .await;
        assert!(matches!(read, Err(BodyError::Broken(_))));
    }
}
