//! Sockets: packets in, packets out.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use hickory_proto::op::{Query, ResponseCode};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{debug, warn};

use crate::answer::{Answer, Question, Response, answer};
use crate::forward::Forwarder;
use crate::message::{LARGEST_UDP_PAYLOAD, Refusal, Request, Transport};
use crate::zone::Zone;

/// Questions under way at the upstream resolvers at a time.
const MOST_FORWARDED: usize = 512;

/// TCP connections at a time.
const MOST_CONNECTIONS: usize = 256;

/// How long a TCP client may keep silent.
const IDLE_TIMEOUT: Duration = Duration::from_secs(10);

/// The pause after a socket's failure, lest it be one that repeats at once (no file descriptors left).
const FAILURE_PAUSE: Duration = Duration::from_millis(50);

/// What all sockets share.
pub(crate) struct Server {
    /// What to answer from; nothing while the cluster's objects are not known.
    zone: ArcSwapOption<Zone>,
    forwarder: Forwarder,
    turn: AtomicUsize,
    forwarded: Arc<Semaphore>,
    tasks: TaskTracker,
    ending: CancellationToken,
}

/// What becomes of a packet.
enum Outcome {
    Silence,
    Reply(Vec<u8>),
    Forward(Box<Forwarded>),
}

/// A question for the upstream resolvers.
struct Forwarded {
    request: Request,
    alias: Response,
    query: Query,
}

impl Server {
    pub(crate) fn new(forwarder: Forwarder, tasks: TaskTracker, ending: CancellationToken) -> Self {
        Self {
            zone: ArcSwapOption::empty(),
            forwarder,
            turn: AtomicUsize::new(0),
            forwarded: Arc::new(Semaphore::new(MOST_FORWARDED)),
            tasks,
            ending,
        }
    }

    /// Runs a client's affair beside the others, until it or the server ends.
    fn spawn(&self, affair: impl Future<Output = ()> + Send + 'static) {
        let ending = self.ending.clone();
        self.tasks
            .spawn(async move { ending.run_until_cancelled(affair).await });
    }

    pub(crate) fn publish(&self, zone: Zone) {
        self.zone.store(Some(Arc::new(zone)));
    }

    pub(crate) fn forwarder(&self) -> &Forwarder {
        &self.forwarder
    }

    fn consider(&self, packet: &[u8], transport: Transport) -> Outcome {
        let request = match Request::read(packet) {
            Ok(request) => request,
            Err(Refusal::Silence) => return Outcome::Silence,
            Err(Refusal::Reply(reply)) => return Outcome::Reply(reply),
        };
        let Some(zone) = self.zone.load_full() else {
            return Outcome::Reply(request.fail(ResponseCode::ServFail));
        };
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let question = Question {
            name: request.query.name().clone(),
            kind: request.query.query_type(),
            turn,
        };
        match answer(&zone, &question) {
            Answer::Complete(response) => Outcome::Reply(request.respond(response, transport)),
            Answer::Continue(alias, target) => {
                let query = Query::query(target, question.kind);
                Outcome::Forward(Box::new(Forwarded {
                    request,
                    alias,
                    query,
                }))
            }
            Answer::Foreign => {
                let query = Query::query(question.name, question.kind);
                Outcome::Forward(Box::new(Forwarded {
                    request,
                    alias: Response::default(),
                    query,
                }))
            }
        }
    }

    async fn forward(&self, forwarded: Forwarded, transport: Transport) -> Vec<u8> {
        let Forwarded {
            request,
            alias,
            query,
        } = forwarded;
        match self.forwarder.resolve(&query).await {
            Ok(upstream) => request.respond_upstream(alias, upstream, transport),
            Err(error) => {
                debug!(name = %query.name(), %error, "name outside the cluster not resolved");
                request.fail(ResponseCode::ServFail)
            }
        }
    }
}

/// Serves datagrams until dropped. What the zone knows is answered at once, the rest by a task of its own.
pub(crate) async fn serve_udp(server: Arc<Server>, socket: UdpSocket) {
    let socket = Arc::new(socket);
    let mut buffer = vec![0; usize::from(LARGEST_UDP_PAYLOAD)];
    loop {
        let (length, client) = match socket.recv_from(&mut buffer).await {
            Ok(received) => received,
            Err(error) => {
                debug!(%error, "datagram could not be received");
                tokio::time::sleep(FAILURE_PAUSE).await;
                continue;
            }
        };
        match server.consider(&buffer[..length], Transport::Udp) {
            Outcome::Silence => {}
            Outcome::Reply(reply) => send(&socket, &reply, client).await,
            Outcome::Forward(forwarded) => match server.forwarded.clone().try_acquire_owned() {
                Ok(place) => {
                    let (from, socket) = (server.clone(), socket.clone());
                    server.spawn(async move {
                        let reply = from.forward(*forwarded, Transport::Udp).await;
                        send(&socket, &reply, client).await;
                        drop(place);
                    });
                }
                Err(_) => send(&socket, &forwarded.request.fail(ResponseCode::ServFail), client).await,
            },
        }
    }
}

async fn send(socket: &UdpSocket, reply: &[u8], client: SocketAddr) {
    if let Err(error) = socket.send_to(reply, client).await {
        debug!(%client, %error, "answer could not be sent");
    }
}

/// Accepts connections until dropped; each is served by a task of its own.
pub(crate) async fn serve_tcp(server: Arc<Server>, listener: TcpListener) {
    let places = Arc::new(Semaphore::new(MOST_CONNECTIONS));
    loop {
        let place = places
            .clone()
            .acquire_owned()
            .await
            .expect("the semaphore is never closed");
        match listener.accept().await {
            Ok((stream, client)) => {
                let serving = server.clone();
                server.spawn(async move {
                    if let Err(error) = serve_stream(&serving, stream).await {
                        debug!(%client, %error, "connection broke");
                    }
                    drop(place);
                });
            }
            Err(error) => {
                warn!(%error, "connection could not be accepted");
                tokio::time::sleep(FAILURE_PAUSE).await;
            }
        }
    }
}

/// Answers one question after the other (RFC 7766) until the client closes or falls silent.
async fn serve_stream(server: &Server, mut stream: TcpStream) -> io::Result<()> {
    let mut packet = Vec::new();
    loop {
        let read = async {
            let length = stream.read_u16().await?;
            packet.resize(usize::from(length), 0);
            stream.read_exact(&mut packet).await
        };
        match tokio::time::timeout(IDLE_TIMEOUT, read).await {
            Ok(Ok(_)) => {}
            Ok(Err(error)) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(()),
            Ok(Err(error)) => return Err(error),
            Err(_) => return Ok(()),
        }
        let reply = match server.consider(&packet, Transport::Tcp) {
            Outcome::Silence => return Ok(()),
            Outcome::Reply(reply) => reply,
            Outcome::Forward(forwarded) => match server.forwarded.try_acquire() {
                Ok(_place) => server.forward(*forwarded, Transport::Tcp).await,
                Err(_) => forwarded.request.fail(ResponseCode::ServFail),
            },
        };
        let length = u16::try_from(reply.len()).map_err(io::Error::other)?;
        let write = async {
            stream.write_all(&length.to_be_bytes()).await?;
            stream.write_all(&reply).await
        };
        tokio::time::timeout(IDLE_TIMEOUT, write)
            .await
            .map_err(io::Error::from)??;
    }
}
