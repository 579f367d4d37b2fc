//! The chain that every request passes, each step once: what is asked, who asks, as whom, is there room, may they; then
//! the answer. A panic in whatever answers is told to its own sender as a 500 and to nobody else.

use std::net::SocketAddr;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use coracle_api::status::ApiError;
use futures::FutureExt;
use http::request::Parts;
use http::{HeaderName, HeaderValue, Request, Response, StatusCode, header};
use hyper::upgrade::OnUpgrade;
use jiff::Timestamp;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{debug, error};
use uuid::Uuid;

use super::compress;
use super::document::Wish;
use super::go_duration;
use super::guarded_body::{Guard, guard};
use super::in_flight::{InFlight, Ticket, TooMany};
use super::request_info::{parse, parse_query};
use super::respond;
use super::router::{Incoming, Router};
use crate::audit::{Audit, Received, Recorder, attempted};
use crate::authn::{Authenticator, Impersonation, ImpersonationError, Peer, Sender};
use crate::authz::{Attributes, Authorizer, is_master};
use crate::flow_control::{FlowControl, Marks, Place};
use crate::metrics::{Metrics, RequestLabels};
use crate::request::{RequestBody, RequestContext, RequestInfo, ResponseBody, UserInfo, Warnings};

const AUDIT_ID: HeaderName = HeaderName::from_static("audit-id");
const FLOW_SCHEMA_UID: HeaderName = HeaderName::from_static("x-kubernetes-pf-flowschema-uid");
const PRIORITY_LEVEL_UID: HeaderName = HeaderName::from_static("x-kubernetes-pf-prioritylevel-uid");

/// What a caller's own `Audit-Id` may be at most, in bytes.
const MAX_AUDIT_ID_BYTES: usize = 64;

/// How much is done at once, and for how long.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FrontLimits {
    /// Whether requests wait their turn by FlowSchemas and PriorityLevelConfigurations
    /// (`--enable-priority-and-fairness`).
    pub priority_and_fairness: bool,
    /// Reads that are answered at once (`--max-requests-inflight`); with priority and fairness reads and writes together
    /// are what is shared out.
    pub reads: usize,
    /// Writes that are answered at once (`--max-mutating-requests-inflight`).
    pub writes: usize,
    /// How long a request may take that is no stream (`--request-timeout`).
    pub request_timeout: Duration,
}

impl Default for FrontLimits {
    fn default() -> Self {
        Self {
            priority_and_fairness: true,
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
    /// Says whose turn it is; without it, only how many are answered at once is bounded.
    pub(crate) flow_control: Option<Arc<FlowControl>>,
    /// Records what is asked, where that is wanted.
    pub(crate) audit: Option<Arc<Audit>>,
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
    impersonation: Impersonation,
}

impl Front {
    pub(crate) fn new(parts: FrontParts, router: Router) -> Self {
        let in_flight = InFlight::new(parts.limits.reads, parts.limits.writes, parts.metrics.clone());
        let impersonation = Impersonation::new(parts.metrics.registry());
        Self {
            inner: Arc::new(Inner {
                parts,
                router,
                in_flight,
                impersonation,
            }),
        }
    }

    /// Answers one request. Never fails: every failure is an answer.
    pub async fn handle(&self, request: Request<RequestBody>, origin: Origin) -> Response<ResponseBody> {
        self.handle_from(request, origin, None).await
    }

    /// The same for a request that came from an address.
    pub(super) async fn handle_from(
        &self,
        request: Request<RequestBody>,
        origin: Origin,
        peer: Option<SocketAddr>,
    ) -> Response<ResponseBody> {
        let audit_id = audit_id(request.headers());
        let record = Record {
            audit_id: &audit_id,
            peer,
            recorder: OnceLock::new(),
        };
        let answered = AssertUnwindSafe(self.inner.process(request, origin, &record))
            .catch_unwind()
            .await;
        let answered = answered.map_err(|panic| panic_message(panic.as_ref()).to_owned());
        let mut response = match answered {
            Ok(response) => response,
            Err(message) => {
                error!(panic = message, "a request's handler panicked");
                record.recorder().panicked(&message).await;
                respond::text(
                    500,
                    "This request caused apiserver to panic. Look in the logs for details.",
                )
            }
        };
        let headers = response.headers_mut();
        headers.insert(AUDIT_ID, audit_id);
        headers
            .entry(header::CACHE_CONTROL)
            .or_insert(HeaderValue::from_static("no-cache, private"));
        response
    }
}

impl Inner {
    async fn process(
        &self,
        request: Request<RequestBody>,
        origin: Origin,
        record: &Record<'_>,
    ) -> Response<ResponseBody> {
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
        let identified = self.identify(&mut head, &origin, (&info, &query), record).await;
        let Sender { user, warning } = match identified {
            Ok(sender) => sender,
            Err(error) => {
                // Of who is not known, all that is recorded has been said.
                let known = error.code() != 401;
                let recorder = if known {
                    record.recorder()
                } else {
                    Recorder::default()
                };
                let guard = Guard::new(None, None, recorder);
                let refusal = self.finish(&info, started, &head, Err(error), guard).await;
                return if known {
                    respond::unguessed(refusal)
                } else {
                    refusal
                };
            }
        };
        let upgrade = head.extensions.remove::<OnUpgrade>();
        let context = RequestContext {
            info,
            user,
            method: head.method.clone(),
            query,
            headers: head.headers.clone(),
            warnings: Warnings::of(record.recorder()),
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
    async fn identify(
        &self,
        head: &mut Parts,
        origin: &Origin,
        (info, query): (&RequestInfo, &[(String, String)]),
        record: &Record<'_>,
    ) -> Result<Sender, ApiError> {
        let attempted = self.parts.audit.as_ref().map(|_| {
            let certificate = matches!(origin, Origin::Connection(Some(_)));
            attempted(&head.headers, certificate)
        });
        let sender = match origin {
            Origin::InProcess(user) => Ok(Sender {
                user: user.as_ref().clone(),
                warning: None,
            }),
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
                }),
        };
        let recorder = self.begin_record(
            head,
            info,
            record,
            sender.as_ref().ok().map(|sender| &sender.user),
        );
        let Sender { user, warning } = match sender {
            Ok(sender) => sender,
            Err(error) => {
                recorder.unauthenticated(&attempted.unwrap_or_default()).await;
                return Err(error);
            }
        };
        if !recorder.received().await {
            return Err(ApiError::internal("failed to store audit event"));
        }
        let asked = Attributes::of(info, &user, query);
        let heeded = self
            .impersonation
            .heed(&mut head.headers, &asked, &self.parts.authorizer);
        let impersonated = heeded.await.map_err(|error| match error {
            ImpersonationError::Forbidden(error) => error,
            error => ApiError::bad_request(error.to_string()),
        })?;
        let user = match impersonated {
            Some(other) => {
                recorder.impersonated(&other);
                other.user
            }
            None => user,
        };
        Ok(Sender { user, warning })
    }

    /// Begins to record a request, where that is wanted.
    fn begin_record(
        &self,
        head: &Parts,
        info: &RequestInfo,
        record: &Record<'_>,
        sender: Option<&UserInfo>,
    ) -> Recorder {
        let Some(audit) = &self.parts.audit else {
            return Recorder::default();
        };
        let received = Received {
            head,
            info,
            audit_id: record.audit_id.to_str().unwrap_or_default(),
            peer: record.peer,
            at: Timestamp::now(),
        };
        record
            .recorder
            .get_or_init(|| audit.begin(&received, sender))
            .clone()
    }

    /// Lets a request in where there is room and its sender may, and answers it.
    async fn admit(&self, asked: Incoming, head: &Parts, started: Instant) -> Response<ResponseBody> {
        let (info, warnings) = (
            Arc::new(asked.context.info.clone()),
            asked.context.warnings.clone(),
        );
        let streams = is_long_running(&info);
        let (marks, room) = self.room(&asked.context, &info, streams).await;
        let Room { ticket, beginning } = match room {
            Ok(room) => room,
            Err(retry_after) => {
                let refusal = marked(respond::too_many_requests(retry_after), marks);
                let known = self.router.serves(&info);
                let labels = RequestLabels::of(&info, known);
                self.parts.metrics.cut_short(&labels, refusal.status(), true);
                return warnings.audit().follow(&info, false, refusal).await;
            }
        };
        let ends = streams.then(|| self.parts.shutdown.clone());
        let guard = Guard::new(Some(ticket), ends, warnings.audit().clone());
        let allowed = {
            let attributes = Attributes::of_context(&asked.context);
            let verdict = self.parts.authorizer.decide(&attributes).await;
            warnings.audit().authorized(&verdict);
            attributes.required(verdict)
        };
        let refused = allowed.is_err();
        let answer = match allowed {
            Ok(()) => self.answer(asked, &info, streams).await,
            Err(error) => Err(error),
        };
        // A watch has begun; what follows takes no seat.
        drop(beginning);
        let answer = self.finish(&info, started, head, answer, guard).await;
        let answer = if refused {
            respond::unguessed(answer)
        } else {
            answer
        };
        let response = marked(answer, marks);
        respond::with_warnings(response, &warnings.sent())
    }

    /// Room for a request: what it holds on to, or after how many seconds it may come back; and where it belongs, which its
    /// answer tells either way.
    async fn room(
        &self,
        context: &RequestContext,
        info: &Arc<RequestInfo>,
        streams: bool,
    ) -> (Option<Marks>, Result<Room, u64>) {
        let watch = info.verb == "watch";
        let flow_control = match &self.parts.flow_control {
            Some(flow_control) if !streams || watch => flow_control,
            Some(_) => return (None, Ok(Room::of(self.in_flight.count_only(info, streams)))),
            None if streams || is_master(&context.user) => {
                return (None, Ok(Room::of(self.in_flight.count_only(info, streams))));
            }
            None => {
                let entered = self.in_flight.enter(info);
                return (None, entered.map(Room::of).map_err(|TooMany| RETRY_AFTER));
            }
        };
        let most = self.parts.limits.request_timeout;
        let time = if watch {
            most
        } else {
            self.time_limit(context).unwrap_or(most)
        };
        let entered = flow_control
            .enter(info, &context.user, &context.query, time / PATIENCE_PART)
            .await;
        let ticket = self.in_flight.count_only(info, streams);
        let room = entered.place.map(|place| {
            if watch {
                let watching = flow_control.watch(info, &context.query);
                Room {
                    ticket: ticket.with(None, watching),
                    beginning: Some(place),
                }
            } else {
                Room::of(ticket.with(Some(place), None))
            }
        });
        (Some(entered.marks), room)
    }

    async fn answer(
        &self,
        asked: Incoming,
        info: &RequestInfo,
        streams: bool,
    ) -> Result<Response<ResponseBody>, ApiError> {
        let limit = self.time_limit(&asked.context)?;
        let answer = self.router.answer(asked);
        if streams {
            return answer.await;
        }
        tokio::time::timeout(limit, answer).await.unwrap_or_else(|_| {
            let labels = RequestLabels::of(info, self.router.serves(info));
            let status = StatusCode::GATEWAY_TIMEOUT;
            self.parts.metrics.cut_short(&labels, status, false);
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
                // What is over before it begins is no limit to upstream.
                None if text
                    .strip_prefix('-')
                    .is_some_and(|text| go_duration::parse(text).is_some()) =>
                {
                    Ok(most)
                }
                None => Err(ApiError::bad_request(format!(
                    "invalid timeout specified in the request URL - time: {} {}",
                    go_duration::fault(text),
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
            Err(error) => respond::failure(&error, Wish::of_head(head)),
        };
        let labels = RequestLabels::of(info, known);
        self.parts.metrics.observe(
            &labels,
            response.status(),
            started.elapsed(),
            is_long_running(info),
        );
        let streams = is_long_running(info);
        let response = guard_.recorder().follow(info, streams, response).await;
        let response = compress::if_worthwhile(info, &head.headers, response).await;
        response.map(|body| guard(body, guard_))
    }
}

/// After how many seconds a refused request may come back where priority and fairness is off.
const RETRY_AFTER: u64 = 1;
/// A request waits for its turn for this part of the time it has.
const PATIENCE_PART: u32 = 4;

/// What a request that was let in holds on to.
struct Room {
    /// For as long as its answer lives.
    ticket: Ticket,
    /// Until its answer begins.
    beginning: Option<Place>,
}

impl Room {
    fn of(ticket: Ticket) -> Self {
        Self {
            ticket,
            beginning: None,
        }
    }
}

/// Tells where a request belongs.
fn marked(mut response: Response<ResponseBody>, marks: Option<Marks>) -> Response<ResponseBody> {
    if let Some(marks) = marks {
        let headers = response.headers_mut();
        headers.insert(FLOW_SCHEMA_UID, marks.schema);
        headers.insert(PRIORITY_LEVEL_UID, marks.level);
    }
    response
}

/// What is recorded of a request, and what has to be known for that.
struct Record<'a> {
    audit_id: &'a HeaderValue,
    peer: Option<SocketAddr>,
    recorder: OnceLock<Recorder>,
}

impl Record<'_> {
    fn recorder(&self) -> Recorder {
        self.recorder.get().cloned().unwrap_or_default()
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
