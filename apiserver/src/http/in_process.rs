//! The same chain for parts in this process: a `tower::Service` that a `kube::Client` stands on, whose requests carry their
//! sender with them and pass no socket. They are authorized as any other.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::{HeaderValue, Request, Response, header};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use kube::client::Body;
use tokio_util::task::TaskTracker;
use tracing::debug;

use super::{Front, Origin};
use crate::request::{RequestBody, ResponseBody, UserInfo};

/// How many bytes of an upgraded stream may be under way in each direction.
const PIPE_BYTES: usize = 64 * 1024;

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Asks in the name of one user, by way of one program.
#[derive(Clone)]
pub struct InProcessService {
    front: Front,
    user: Arc<UserInfo>,
    agent: Option<HeaderValue>,
    tasks: TaskTracker,
}

impl InProcessService {
    /// A service for one user; what a request's stream needs is spawned on `tasks`.
    pub fn new(front: Front, user: UserInfo, tasks: TaskTracker) -> Self {
        Self {
            front,
            user: Arc::new(user),
            agent: None,
            tasks,
        }
    }

    /// The same service for a program that tells its name (`User-Agent`), by which what it manages is known.
    #[must_use]
    pub fn by(mut self, agent: HeaderValue) -> Self {
        self.agent = Some(agent);
        self
    }
}

impl tower::Service<Request<Body>> for InProcessService {
    type Response = Response<ResponseBody>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, BoxError>> + Send>>;

    fn poll_ready(&mut self, _context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        let service = self.clone();
        if let Some(agent) = &service.agent {
            let sent = request.headers_mut().entry(header::USER_AGENT);
            sent.or_insert_with(|| agent.clone());
        }
        Box::pin(async move {
            if request.headers().contains_key(header::UPGRADE) {
                return service.upgrade(request).await;
            }
            Ok(service
                .front
                .handle(request.map(RequestBody::new), Origin::InProcess(service.user))
                .await)
        })
    }
}

impl InProcessService {
    /// A request that becomes a stream of bytes needs a connection to become one: a pipe in memory.
    async fn upgrade(self, request: Request<Body>) -> Result<Response<ResponseBody>, BoxError> {
        let (near, far) = tokio::io::duplex(PIPE_BYTES);
        let answering = service_fn(move |request: Request<Incoming>| {
            let front = self.front.clone();
            let origin = Origin::InProcess(self.user.clone());
            async move { Ok::<_, Infallible>(front.handle(request.map(RequestBody::new), origin).await) }
        });
        let server = hyper::server::conn::http1::Builder::new()
            .serve_connection(TokioIo::new(far), answering)
            .with_upgrades();
        self.tasks.spawn(async move {
            if let Err(error) = server.await {
                debug!(%error, "a stream within the process ended early");
            }
        });
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(near)).await?;
        self.tasks.spawn(async move {
            if let Err(error) = connection.with_upgrades().await {
                debug!(%error, "a stream within the process ended early");
            }
        });
        let response = sender.send_request(request).await?;
        Ok(response.map(|body| body.map_err(std::io::Error::other).boxed_unsync()))
    }
}
