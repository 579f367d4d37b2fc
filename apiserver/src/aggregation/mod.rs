//! Aggregation: group versions that other servers answer for, as APIServices say.
//!
//! `routes` reads the APIServices, `identity` says who asks in headers, `check` judges whether a server is available,
//! `resources` reads what it serves, `registration` makes the APIServices of custom resources: all pure. [`Aggregator::pass`]
//! passes requests on, `probe` asks servers how they are, and [`keep`] carries out what `check` and `registration` plan.
//!
//! Always holds: a server is shown who asks, vouched for by the front proxy's certificate, and never what they proved it
//! with; whatever a client sends in such headers stays behind. A redirect is not passed on, and a connection is joined only
//! where the server agreed to that.

mod check;
pub(crate) mod identity;
mod keep;
mod probe;
mod registration;
mod resources;
mod routes;

use std::collections::BTreeMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use coracle_api::status::ApiError;
use http::{HeaderValue, Request, Response, StatusCode, header};
use hyper::body::Incoming as TheirBody;
use percent_encoding::utf8_percent_encode;
use serde_json::Value;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::debug;

pub(crate) use self::keep::keep;
use self::routes::{Remote, Routes};
use crate::discovery::{Entry, Group};
use crate::http::respond;
use crate::http::router::Incoming;
use crate::openapi::Others;
use crate::outbound::{
    ClientCertificate, Connection, PATH_ESCAPES, Pool, TlsError, client_config, connect, is_upgrading,
    outgoing, raw_query, returned,
};
use crate::pki::Leaf;
use crate::reader::{GroupResource, ObjectReader, Prepared};
use crate::request::{RequestInfo, ResponseBody, full_body};

const GROUP: &str = "apiregistration.k8s.io";

/// Group and version.
pub(crate) type GroupVersion = (String, String);

/// What other servers were seen to serve.
pub(crate) type Served = BTreeMap<GroupVersion, Serves>;

/// What discovery depends on: the same two as long as nothing of it has changed.
pub(crate) type Mark = (Arc<Routes>, Arc<Served>);

/// What a server was seen to serve in a group version.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Serves {
    resources: Vec<Arc<Entry>>,
    /// Where its schemas stand, if it publishes them as OpenAPI 3.
    schemas: Option<String>,
    /// What it says in OpenAPI 2.
    part: Option<Part>,
}

/// A server's OpenAPI 2, as far as it is about one group version.
#[derive(Clone, Debug)]
struct Part {
    /// Of the whole document, where it has one.
    etag: Option<HeaderValue>,
    part: Arc<Value>,
}

impl PartialEq for Part {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.part, &other.part)
    }
}

/// Knows which servers answer for what, and passes requests on to them.
pub(crate) struct Aggregator {
    reader: Arc<dyn ObjectReader>,
    routes: Prepared<Routes>,
    /// The front proxy's certificate, exchanged when it is renewed.
    own: ArcSwap<ClientCertificate>,
    pool: Arc<Pool>,
    /// What the servers were seen to serve when they were asked last.
    served: ArcSwap<Served>,
    /// What drives connections. Kept ones go with the pool, so nobody waits for these.
    connections: TaskTracker,
    tasks: TaskTracker,
    shutdown: CancellationToken,
}

/// Why a server could not be asked.
#[derive(Debug, thiserror::Error)]
enum PassError {
    #[error("{0}")]
    Unreached(String),
    #[error(transparent)]
    Http(#[from] hyper::Error),
}

impl Aggregator {
    /// By what is read there; calls servers under this certificate.
    ///
    /// # Errors
    /// Where the certificate's key cannot be read.
    pub(crate) fn new(
        reader: Arc<dyn ObjectReader>,
        own: &Leaf,
        tasks: TaskTracker,
        shutdown: CancellationToken,
    ) -> Result<Self, TlsError> {
        let services = GroupResource::new(GROUP, "apiservices");
        Ok(Self {
            routes: Prepared::new(&[services], &*reader, routes::reading()),
            reader,
            own: ArcSwap::from_pointee(ClientCertificate::of(own)?),
            pool: Arc::default(),
            served: ArcSwap::default(),
            connections: TaskTracker::new(),
            tasks,
            shutdown,
        })
    }

    /// Calls servers under another certificate from now on.
    ///
    /// # Errors
    /// Where its key cannot be read.
    pub(crate) fn replace(&self, own: &Leaf) -> Result<(), TlsError> {
        self.own.store(Arc::new(ClientCertificate::of(own)?));
        Ok(())
    }

    /// The server that answers a request, where it is not this one: for its resources, for what it tells of them, and for
    /// their schemas.
    pub(crate) fn remote(&self, info: &RequestInfo) -> Option<Remote> {
        self.routes.with(&*self.reader, |routes| {
            if !routes.any_remote() {
                return None;
            }
            let (group, version) = routes::group_version(info)?;
            routes.remote(group, version).cloned()
        })
    }

    /// Whether an APIService says that this server answers for a group version itself.
    pub(crate) fn is_local(&self, group: &str, version: &str) -> bool {
        self.routes
            .with(&*self.reader, |routes| routes.is_local(group, version))
    }

    /// The groups that are told of: `own` ones, and those that other servers answer for, in the order of their priorities.
    pub(crate) fn groups(&self, own: &[Group]) -> Vec<Group> {
        self.routes.now(&*self.reader).merged(own, &self.served.load())
    }

    /// Whether another server answers for anything of a group.
    pub(crate) fn has_group(&self, group: &str) -> bool {
        self.routes.with(&*self.reader, |routes| routes.has_remote(group))
    }

    /// What other servers publish of their schemas.
    pub(crate) fn schemas(&self) -> Others {
        let (routes, served) = self.mark();
        let mut others = Others::default();
        for ((group, version), serves) in served.iter() {
            if routes.remote(group, version).is_none() {
                continue;
            }
            if let Some(url) = &serves.schemas {
                others
                    .index
                    .push((format!("apis/{group}/{version}"), url.clone()));
            }
            others
                .parts
                .extend(serves.part.as_ref().map(|part| part.part.clone()));
        }
        others
    }

    /// What [`Self::groups`] depends on, as it is now.
    pub(crate) fn mark(&self) -> Mark {
        (self.routes.now(&*self.reader), self.served.load_full())
    }

    /// Passes a request on to a server, in the name of who sent it.
    ///
    /// # Errors
    /// Where the request cannot be passed on.
    pub(crate) async fn pass(
        &self,
        remote: &Remote,
        incoming: Incoming,
    ) -> Result<Response<ResponseBody>, ApiError> {
        if !remote.available {
            return Ok(unavailable("service unavailable"));
        }
        let Incoming {
            context,
            body,
            upgrade,
        } = incoming;
        let upgrade = upgrade.filter(|upgrade| is_upgrading(&context, Some(upgrade)));
        let path = utf8_percent_encode(&context.info.path, PATH_ESCAPES);
        let target = match raw_query(&context.query) {
            query if query.is_empty() => path.to_string(),
            query => format!("{path}?{query}"),
        };
        let body = match upgrade {
            Some(_) => full_body(bytes::Bytes::new()),
            None => body.into_stream(),
        };
        let host = remote.reached.0.authority();
        let mut request = outgoing(&context, &host, &target, upgrade.is_some(), body)?;
        identity::strip(request.headers_mut());
        identity::write(&context.user, request.headers_mut());
        match self.send(remote, request).await {
            Err(error) => {
                debug!(%error, api_service = remote.name, "a request could not be passed on");
                Ok(unavailable(&format!("error trying to reach service: {error}")))
            }
            Ok(answer) if is_redirect(&answer) => Ok(respond::text(
                502,
                "the backend attempted to redirect this request, which is not permitted",
            )),
            Ok(answer) => returned(
                answer,
                upgrade,
                context.warnings.audit(),
                (&self.tasks, &self.shutdown),
            ),
        }
    }

    /// Sends a request over a kept connection or a fresh one. A kept one that has ended gives the request back.
    async fn send(
        &self,
        remote: &Remote,
        mut request: Request<ResponseBody>,
    ) -> Result<Response<TheirBody>, PassError> {
        while let Some(mut kept) = self.pool.take(&remote.reached) {
            match kept.try_send_request(request).await {
                Ok(answer) => return Ok(self.answered(remote, kept, answer)),
                Err(mut error) => match error.take_message() {
                    Some(unsent) => request = unsent,
                    None => return Err(error.into_error().into()),
                },
            }
        }
        let mut fresh = self.connect(remote).await.map_err(PassError::Unreached)?;
        let answer = fresh.send_request(request).await?;
        Ok(self.answered(remote, fresh, answer))
    }

    async fn connect(&self, remote: &Remote) -> Result<Connection, String> {
        let (place, trust) = &remote.reached;
        let tls = client_config(trust, Some(&**self.own.load())).map_err(|error| error.to_string())?;
        let connecting = connect(place, tls, &*self.reader, &self.connections);
        match tokio::time::timeout(PATIENCE, connecting).await {
            Err(_) => Err(format!("dial tcp {}: i/o timeout", place.authority())),
            Ok(connected) => connected.map_err(|error| error.to_string()),
        }
    }

    /// Keeps the connection for the next request once this answer has been read, unless it is one no longer.
    fn answered(
        &self,
        remote: &Remote,
        mut connection: Connection,
        answer: Response<TheirBody>,
    ) -> Response<TheirBody> {
        if answer.status() != StatusCode::SWITCHING_PROTOCOLS {
            let (pool, reached) = (self.pool.clone(), remote.reached.clone());
            let shutdown = self.shutdown.clone();
            self.tasks.spawn(async move {
                let ready = shutdown.run_until_cancelled(connection.ready()).await;
                if matches!(ready, Some(Ok(()))) {
                    pool.keep(&reached, connection);
                }
            });
        }
        answer
    }
}

/// How long connecting may take.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(30);

fn is_redirect(answer: &Response<TheirBody>) -> bool {
    answer.status().is_redirection() && answer.headers().contains_key(header::LOCATION)
}

fn unavailable(why: &str) -> Response<ResponseBody> {
    respond::text(503, &format!("{why}\n"))
}
