//! What is known of a request once it has been routed and its sender is known: the door between the front (`http`,
//! `authn`, `authz`) and whatever answers.

use std::collections::BTreeMap;

use bytes::Bytes;
use http::{HeaderMap, Method};
use http_body_util::combinators::UnsyncBoxBody;

/// The body of every answer. Streams (watches, logs) and fixed bytes take the same type; an error ends the stream.
pub type ResponseBody = UnsyncBoxBody<Bytes, std::io::Error>;

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
}

impl RequestContext {
    /// The first value of a query parameter.
    pub fn query(&self, name: &str) -> Option<&str> {
        self.query.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }
}
