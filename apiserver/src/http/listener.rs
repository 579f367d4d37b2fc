//! Sockets, TLS and connections.
//!
//! Each connection is a tracked task. Whoever is slow to greet or to send headers is cut off. On shutdown nothing new is
//! accepted, connections are asked to end after the requests they carry, and whatever still stands after the time of grace
//! is dropped with its task.

use std::convert::Infallible;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{debug, warn};

use super::gathering::{BoxError, Gathering};
use super::lane::{self, Lane};
use crate::when_woken::WhenWoken;

/// How patient the server is with a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenerLimits {
    /// For the TLS handshake.
    pub handshake: Duration,
    /// For a request's headers, and for the next request of an idle HTTP/1.1 connection.
    pub headers: Duration,
    /// Of one request's headers, in bytes.
    pub header_bytes: u32,
    /// Requests at once on one HTTP/2 connection (`--http2-max-streams-per-connection`).
    pub streams: u32,
    /// Connections at once.
    pub connections: usize,
}

impl Default for ListenerLimits {
    fn default() -> Self {
        Self {
            handshake: Duration::from_secs(10),
            headers: Duration::from_secs(32),
            header_bytes: 1024 * 1024,
            streams: 1000,
            connections: 16 * 1024,
        }
    }
}

/// How often an HTTP/2 connection is asked whether it still stands, and how long it may think about it.
const PING: (Duration, Duration) = (Duration::from_secs(30), Duration::from_secs(15));

/// How long accepting rests after the system refused (too many open files, say).
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Sockets that listen already, so that a taken port is known before anything else is done.
pub struct Listeners {
    sockets: Vec<(SocketAddr, TcpListener)>,
}

/// Who answers what comes over connections.
pub trait Answering: Clone + Send + Sync + 'static {
    /// What is known of a connection's other end, for each of its requests.
    type Caller: Clone + Send + Sync;
    /// What answers consist of.
    type Body: Body<Data = Bytes, Error: Into<BoxError>> + Send + Unpin + 'static;

    /// Who is at the other end of a connection.
    fn caller(&self, stream: &TlsStream<TcpStream>) -> Self::Caller;

    /// Answers a request.
    fn answer(
        &self,
        request: Request<Incoming>,
        caller: Self::Caller,
    ) -> impl Future<Output = Response<Self::Body>> + Send;
}

/// What is needed to serve a connection; shared by all.
#[derive(Clone)]
pub struct Connections<A> {
    /// Answers.
    pub answering: A,
    /// Greets.
    pub tls: TlsAcceptor,
    /// How patient to be.
    pub limits: ListenerLimits,
    /// Where tasks are tracked.
    pub tasks: TaskTracker,
    /// Ends everything, gently.
    pub shutdown: CancellationToken,
}

impl Listeners {
    /// Listens at every address; the error names the one that could not be had.
    pub async fn bind(addresses: &[SocketAddr]) -> Result<Self, (SocketAddr, io::Error)> {
        let mut sockets = Vec::new();
        for address in addresses {
            let told = |error| (*address, error);
            let socket = TcpListener::bind(address).await.map_err(told)?;
            sockets.push((socket.local_addr().map_err(told)?, socket));
        }
        Ok(Self { sockets })
    }

    /// One that listens already.
    ///
    /// # Errors
    /// Where the system does not say at which address.
    pub fn of(socket: TcpListener) -> io::Result<Self> {
        let address = socket.local_addr()?;
        Ok(Self {
            sockets: vec![(address, socket)],
        })
    }

    /// Where it is listened in fact: with the port that was found for port 0.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.sockets.iter().map(|(address, _)| *address).collect()
    }

    /// Serves until shutdown. Returns at once.
    pub fn serve<A: Answering>(self, connections: &Connections<A>) {
        let room = Arc::new(Semaphore::new(connections.limits.connections));
        for (_, socket) in self.sockets {
            let accepting = accept(socket, connections.clone(), room.clone());
            connections.tasks.spawn(accepting);
        }
    }
}

async fn accept<A: Answering>(socket: TcpListener, connections: Connections<A>, room: Arc<Semaphore>) {
    loop {
        let accepted = tokio::select! {
            () = connections.shutdown.cancelled() => return,
            accepted = accept_one(&socket, &room) => accepted,
        };
        match accepted {
            Ok((stream, place)) => {
                let connections = connections.clone();
                connections.tasks.clone().spawn(async move {
                    connections.serve(stream).await;
                    drop(place);
                });
            }
            Err(error) => {
                warn!(%error, "no connection could be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn accept_one(
    socket: &TcpListener,
    room: &Arc<Semaphore>,
) -> io::Result<(TcpStream, OwnedSemaphorePermit)> {
    let place = room.clone().acquire_owned().await.map_err(io::Error::other)?;
    let (stream, _) = socket.accept().await?;
    stream.set_nodelay(true)?;
    Ok((stream, place))
}

impl<A: Answering> Connections<A> {
    async fn serve(self, stream: TcpStream) {
        let greeted = tokio::select! {
            () = self.shutdown.cancelled() => return,
            greeted = timeout(self.limits.handshake, self.tls.accept(stream)) => greeted,
        };
        match greeted {
            Ok(Ok(stream)) => self.serve_http(stream).await,
            Ok(Err(error)) => debug!(%error, "TLS handshake failed"),
            Err(_) => debug!("TLS handshake took too long"),
        }
    }

    async fn serve_http(self, stream: TlsStream<TcpStream>) {
        let speaks_http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
        let caller = self.answering.caller(&stream);
        // Both sides agreed on the protocol in the handshake: waiting for the first bytes would be one more place to be kept
        // waiting.
        let ended = if speaks_http2 {
            self.serve_http2(stream, caller).await
        } else {
            self.serve_http1(stream, caller).await
        };
        if let Err(error) = ended {
            debug!(%error, "a connection ended early");
        }
    }

    async fn serve_http2(&self, stream: TlsStream<TcpStream>, caller: A::Caller) -> Result<(), BoxError> {
        let answering = self.answering.clone();
        let answering = service_fn(move |request: Request<Incoming>| {
            let (answering, caller) = (answering.clone(), caller.clone());
            async move { Ok::<_, Infallible>(answering.answer(request, caller).await) }
        });
        let (stream, mut turns) = Gathering::new(stream);
        let connection = self.http2().serve_connection(TokioIo::new(stream), answering);
        let turn = |connection: Pin<&mut _>, cx: &mut Context<'_>| turns.poll(connection, cx);
        self.until_shutdown(connection, turn, http2::Connection::graceful_shutdown)
            .await
    }

    async fn serve_http1(&self, stream: TlsStream<TcpStream>, caller: A::Caller) -> Result<(), BoxError> {
        let answering = self.answering.clone();
        let (stream, mut lane) = Lane::new(stream);
        let answers = lane.answers();
        let answering = service_fn(move |request: Request<Incoming>| {
            let (answering, caller, answers) = (answering.clone(), caller.clone(), answers.clone());
            async move {
                let may_be_lent = lane::may_be_lent(&request);
                let answer = answering.answer(request, caller).await;
                Ok::<_, Infallible>(answers.seen(answer, may_be_lent))
            }
        });
        let connection = self.http1().serve_connection(TokioIo::new(stream), answering);
        let ring = lane.ring();
        let turn = |connection: Pin<&mut _>, cx: &mut Context<'_>| lane.poll(connection, cx);
        let tell = |connection: Pin<&mut http1::UpgradeableConnection<_, _>>| {
            connection.graceful_shutdown();
            ring();
        };
        self.until_shutdown(connection.with_upgrades(), turn, tell).await
    }

    /// Serves a connection turn by turn. On shutdown it is told to end, and may finish what it has begun.
    async fn until_shutdown<C>(
        &self,
        connection: C,
        mut turn: impl FnMut(Pin<&mut C>, &mut Context<'_>) -> Poll<Result<(), BoxError>>,
        tell: impl FnOnce(Pin<&mut C>),
    ) -> Result<(), BoxError> {
        let mut connection = pin!(connection);
        let shutdown = pin!(self.shutdown.cancelled());
        let mut shutdown = WhenWoken::new(shutdown);
        let ended = poll_fn(|cx| match turn(connection.as_mut(), cx) {
            Poll::Ready(ended) => Poll::Ready(Some(ended)),
            Poll::Pending => Pin::new(&mut shutdown).poll(cx).map(|()| None),
        });
        if let Some(ended) = ended.await {
            return ended;
        }
        tell(connection.as_mut());
        poll_fn(|cx| turn(connection.as_mut(), cx)).await
    }

    fn http1(&self) -> http1::Builder {
        let mut builder = http1::Builder::new();
        builder
            .timer(TokioTimer::new())
            .header_read_timeout(self.limits.headers)
            .max_buf_size(self.limits.header_bytes as usize);
        builder
    }

    fn http2(&self) -> http2::Builder<TrackedExecutor> {
        let mut builder = http2::Builder::new(TrackedExecutor(self.tasks.clone()));
        builder
            .timer(TokioTimer::new())
            .max_concurrent_streams(self.limits.streams)
            .max_header_list_size(self.limits.header_bytes)
            .keep_alive_interval(PING.0)
            .keep_alive_timeout(PING.1);
        builder
    }
}

/// Runs the streams of an HTTP/2 connection where they are waited for.
#[derive(Clone)]
struct TrackedExecutor(TaskTracker);

impl<F> hyper::rt::Executor<F> for TrackedExecutor
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    fn execute(&self, future: F) {
        self.0.spawn(future);
    }
}
