//! The chain that every request passes, each step once: what is asked, who asks, as whom, is there room, may they; then
//! the answer. A panic in whatever answers is told to its own sender as a 500 and to nobody else.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use coracle_api::status::ApiError;
use futures::FutureExt;
use http::request::Parts;
use http::{HeaderName, HeaderValue, Request, Response, header};
use hyper::upgrade::OnUpgrade;
use jiff::Timestamp;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{debug, error};
use uuid::Uuid;

use super::compress;
use super::go_duration;
use super::guarded_body::{Guard, guard};
use super::in_flight::{InFlight, TooMany};
use super::request_info::{parse, parse_query};
use super::respond;
use super::router::{Incoming, Router};
use crate::authn::{Authenticator, ImpersonationError, Peer, Sender, impersonate};
use crate::authz::{Attributes, Authorizer, is_master};
use crate::metrics::{Metrics, RequestLabels};
use crate::request::{RequestBody, RequestContext, RequestInfo, ResponseBody, UserInfo, Warnings};

const AUDIT_ID: HeaderName = HeaderName::from_static("audit-id");

/// What a caller's own `Audit-Id` may be at most, in bytes.
const MAX_AUDIT_ID_BYTES: usize = 64;

/// How much is done at once, and for how long.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FrontLimits {
    /// Reads that are answered at once (`--max-requests-inflight`).
    pub reads: usize,
    /// Writes that are answered at once (`--max-mutating-requests-inflight`).
    pub writes: usize,
    /// How long a request may take that is no stream (`--request-timeout`).
    pub request_timeout: Duration,
}

impl Default for FrontLimits {
    fn default() -> Self {
        Self {
            reads: 400,
            writes: 200,
            request_timeout: Duration::from_secs(60),
        }
    }
}

/// What a [`Front`] is made of.
pub struct FrontParts {
    /// Says who asks.
    pub authenticator: Arc<Authenticator>,
    /// Says whether they may.
    pub authorizer: Arc<Authorizer>,
    /// Counts what is asked.
    pub metrics: Arc<Metrics>,
    /// How much is done at once.
    pub limits: FrontLimits,
    /// Ends every stream.
    pub shutdown: CancellationToken,
}

/// Where a request came in.
#[derive(Clone, Debug)]
pub enum Origin {
    /// Over a connection, with what its client certificate says, where it has one.
    Connection(Option<Arc<Peer>>),
    /// From a part in this process, which is known already.
    InProcess(Arc<UserInfo>),
}

/// The chain; cheap to clone.
#[derive(Clone)]
pub struct Front {
    inner: Arc<Inner>,
}

struct Inner {
    parts: FrontParts,
    router: Router,
    in_flight: InFlight,
}

impl Front {
    pub(crate) fn new(parts: FrontParts, router: Router) -> Self {
        let in_flight = InFlight::new(parts.limits.reads, parts.limits.writes, parts.metrics.clone());
        Self {
            inner: Arc::new(Inner {
                parts,
                router,
                in_flight,
            }),
        }
    }

    /// Answers one request. Never fails: every failure is an answer.
    pub async fn handle(&self, request: Request<RequestBody>, origin: Origin) -> Response<ResponseBody> {
        let audit_id = audit_id(request.headers());
        let answered = AssertUnwindSafe(self.inner.process(request, origin))
            .catch_unwind()
            .await;
        let mut response = answered.unwrap_or_else(|panic| {
            error!(
                panic = panic_message(panic.as_ref()),
                "a request's handler panicked"
            );
            respond::text(
                500,
                "This request caused apiserver to panic. Look in the logs for details.",
            )
        });
        let headers = response.headers_mut();
        headers.insert(AUDIT_ID, audit_id);
        headers
            .entry(header::CACHE_CONTROL)
            .or_insert(HeaderValue::from_static("no-cache, private"));
        response
    }
}

impl Inner {
    async fn process(&self, request: Request<RequestBody>, origin: Origin) -> Response<ResponseBody> {
        let (mut head, body) = request.into_parts();
        let query = parse_query(head.uri.query());
        let info = match parse(&head.method, head.uri.path(), &query) {
            Ok(info) => info,
            Err(error) => {
                return respond::text(
                    500,
                    &format!("Internal Server Error: failed to create RequestInfo: {error}"),
                );
            }
        };
        let started = Instant::now();
        let Sender { user, warning } = match self.identify(&mut head, &origin).await {
            Ok(sender) => sender,
            Err(error) => {
                return self
                    .finish(&info, started, &head, Err(error), Guard::default())
                    .await;
            }
        };
        let upgrade = head.extensions.remove::<OnUpgrade>();
        let context = RequestContext {
            info,
            user,
            method: head.method.clone(),
            query,
            headers: head.headers.clone(),
            warnings: Warnings::default(),
        };
        context.warnings.add(warning.unwrap_or_default());
        let asked = Incoming {
            context,
            body,
            upgrade,
        };
        self.admit(asked, &head, started).await
    }

    /// Who the request is made by, in whose name.
    async fn identify(&self, head: &mut Parts, origin: &Origin) -> Result<Sender, ApiError> {
        let sender = match origin {
            Origin::InProcess(user) => Sender {
                user: user.as_ref().clone(),
                warning: None,
            },
            Origin::Connection(peer) => self
                .parts
                .authenticator
                .authenticate(
                    &mut head.headers,
                    head.uri.path(),
                    peer.as_deref(),
                    Timestamp::now(),
                )
                .await
                .map_err(|error| {
                    debug!(%error, "a request's sender is not known");
                    ApiError::unauthorized("Unauthorized")
                })?,
        };
        let Sender { user, warning } = sender;
        let user = impersonate(&mut head.headers, user, &self.parts.authorizer)
            .await
            .map_err(|error| match error {
                ImpersonationError::Forbidden(error) => error,
                error => ApiError::internal(error),
            })?;
        Ok(Sender { user, warning })
    }

    /// Lets a request in where there is room and its sender may, and answers it.
    async fn admit(&self, asked: Incoming, head: &Parts, started: Instant) -> Response<ResponseBody> {
        let (info, warnings) = (asked.context.info.clone(), asked.context.warnings.clone());
        let streams = is_long_running(&info);
        let room = if streams || is_master(&asked.context.user) {
            Ok(self.in_flight.count_only(&info, streams))
        } else {
            self.in_flight.enter(&info)
        };
        let guard = match room {
            Ok(ticket) => Guard::new(ticket, streams.then(|| self.parts.shutdown.clone())),
            Err(TooMany) => return respond::too_many_requests(),
        };
        let answer = match self
            .parts
            .authorizer
            .require(&Attributes::of_context(&asked.context))
            .await
        {
            Ok(()) => self.answer(asked, streams).await,
            Err(error) => Err(error),
        };
        let response = self.finish(&info, started, head, answer, guard).await;
        respond::with_warnings(response, &warnings.sent())
    }

    async fn answer(&self, asked: Incoming, streams: bool) -> Result<Response<ResponseBody>, ApiError> {
        let limit = self.time_limit(&asked.context)?;
        let answer = self.router.answer(asked);
        if streams {
            return answer.await;
        }
        tokio::time::timeout(limit, answer).await.unwrap_or_else(|_| {
            Err(ApiError::timeout(
                "request did not complete within the allotted timeout",
                0,
            ))
        })
    }

    /// A client may ask for less time than there is, never for more.
    fn time_limit(&self, context: &RequestContext) -> Result<Duration, ApiError> {
        let most = self.parts.limits.request_timeout;
        match context.query("timeout").filter(|text| !text.is_empty()) {
            None => Ok(most),
            Some(text) => match go_duration::parse(text) {
                Some(asked) if asked.is_zero() => Ok(most),
                Some(asked) => Ok(asked.min(most)),
                None => Err(ApiError::bad_request(format!(
                    "invalid timeout specified in the request URL - time: invalid duration {}",
                    coracle_api::quote::quote(text)
                ))),
            },
        }
    }

    async fn finish(
        &self,
        info: &RequestInfo,
        started: Instant,
        head: &Parts,
        answer: Result<Response<ResponseBody>, ApiError>,
        guard_: Guard,
    ) -> Response<ResponseBody> {
        let known = !matches!(&answer, Err(error) if is_unknown_resource(error));
        let response = match answer {
            Ok(response) => response,
            Err(error) => respond::failure(&error, &head.headers),
        };
        let labels = RequestLabels::of(info, known);
        self.parts.metrics.observe(
            &labels,
            response.status(),
            started.elapsed(),
            is_long_running(info),
        );
        let response = compress::if_worthwhile(info, &head.headers, response).await;
        response.map(|body| guard(body, guard_))
    }
}

/// Streams, by upstream's rule: they are not timed, take no room, and end when the server does.
fn is_long_running(info: &RequestInfo) -> bool {
    info.is_resource_request
        && (matches!(info.verb.as_str(), "watch" | "proxy")
            || matches!(
                info.subresource.as_str(),
                "attach" | "exec" | "proxy" | "log" | "portforward"
            ))
}

/// Nobody may fill the metrics with names of resources that are not there.
fn is_unknown_resource(error: &ApiError) -> bool {
    matches!(error.code(), 401 | 403)
        || (error.code() == 404 && error.details().is_none_or(|details| details.kind.is_empty()))
}

/// The caller's own id where it gives a sound one, so that requests can be followed through several servers.
fn audit_id(headers: &http::HeaderMap) -> HeaderValue {
    match headers.get(AUDIT_ID) {
        Some(own) if own.len() <= MAX_AUDIT_ID_BYTES => own.clone(),
        _ => HeaderValue::from_str(&Uuid::new_v4().to_string()).expect("a uuid is ASCII"),
    }
}

fn panic_message(panic: &(dyn std::any::Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no message")
}
