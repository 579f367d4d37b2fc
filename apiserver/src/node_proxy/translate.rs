//! Exec, attach and port-forward for clients that speak WebSocket, by node agents that speak SPDY.
//!
//! Container runtimes know WebSocket in older forms, in which an input cannot end while the output goes on. So what clients ask
//! for first (`v5.channel.k8s.io`, and SPDY's bytes within WebSocket messages for port-forward) is translated here, as
//! upstream's apiserver does (KEP-4006). What a client asks for in older forms is passed on as it is.
//!
//! Both directions run beside each other, so that a client that does not read yet is still listened to.

use bytes::{Bytes, BytesMut};
use futures::{Sink, SinkExt, Stream, StreamExt};
use http::{HeaderMap, Request, header};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::sync::Mutex;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Error as SocketError;
use tokio_tungstenite::tungstenite::protocol::frame::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{Message, Role, WebSocketConfig};
use tokio_util::sync::CancellationToken;
use tracing::debug;

use super::spdy::{self, Broken, Frame, Opener};
use crate::http::request_info::is_true;
use crate::request::{ResponseBody, full_body};

/// How much a client may send in one message, in bytes.
const MAX_MESSAGE_BYTES: usize = 4 << 20;
/// How much is read of the node agent's side at a time, in bytes.
const PIECE_BYTES: usize = 32 << 10;

const COMMANDS: &str = "v5.channel.k8s.io";
const PORTS: &str = "SPDY/3.1+portforward.k8s.io";
/// What a client sends, with a channel's number, to end that channel.
const CLOSE: u8 = 255;

const STDIN: u8 = 0;
const STDOUT: u8 = 1;
const STDERR: u8 = 2;
const ERROR: u8 = 3;
const RESIZE: u8 = 4;

/// What is translated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Translation {
    /// Channels of a WebSocket are streams of a SPDY connection.
    Channels(Vec<(u8, &'static str)>),
    /// Messages of a WebSocket carry the bytes of a SPDY connection.
    Tunnel,
}

/// Why a translation ended early.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct TranslationError(#[from] Ended);

#[derive(Debug, thiserror::Error)]
enum Ended {
    #[error(transparent)]
    Socket(#[from] SocketError),
    #[error(transparent)]
    Connection(#[from] std::io::Error),
    #[error(transparent)]
    Frame(#[from] Broken),
    #[error("the node agent resets a stream")]
    Reset,
    #[error("the node agent ends the connection")]
    Over,
}

impl Translation {
    /// The translation that a request asks for, if it does.
    pub fn wanted(headers: &HeaderMap, query: &[(String, String)], ports: bool) -> Option<Self> {
        let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
        if !text(header::UPGRADE)?.eq_ignore_ascii_case("websocket") {
            return None;
        }
        let asked = text(header::SEC_WEBSOCKET_PROTOCOL)?;
        let this = if ports {
            Self::Tunnel
        } else {
            Self::Channels(channels(query))
        };
        let protocol = this.protocol();
        asked
            .split(',')
            .any(|name| name.trim() == protocol)
            .then_some(this)
    }

    /// What the client calls it.
    pub(super) fn protocol(&self) -> &'static str {
        match self {
            Self::Channels(_) => COMMANDS,
            Self::Tunnel => PORTS,
        }
    }

    /// What the node agent is asked for.
    ///
    /// # Errors
    /// Where the target is none.
    pub(super) fn request(&self, host: &str, target: &str) -> http::Result<Request<ResponseBody>> {
        let version = match self {
            Self::Channels(_) => "v4.channel.k8s.io",
            Self::Tunnel => "portforward.k8s.io",
        };
        Request::post(target)
            .header(header::HOST, host)
            .header(header::CONNECTION, "Upgrade")
            .header(header::UPGRADE, "SPDY/3.1")
            .header("x-stream-protocol-version", version)
            .body(full_body(Bytes::new()))
    }

    /// Translates until one side or the server ends.
    pub(super) async fn run(self, ours: OnUpgrade, theirs: OnUpgrade, shutdown: CancellationToken) {
        let (ours, theirs) = match tokio::try_join!(ours, theirs) {
            Ok((ours, theirs)) => (TokioIo::new(ours), TokioIo::new(theirs)),
            Err(error) => {
                debug!(%error, "a stream could not be translated");
                return;
            }
        };
        tokio::select! {
            () = shutdown.cancelled() => {}
            ended = self.between(ours, theirs) => if let Err(error) = ended {
                debug!(%error, "a translated stream ended early");
            },
        }
    }

    /// Translates between a client and a node agent, until one of them ends.
    ///
    /// # Errors
    /// Where one of them says what is not of its protocol, refuses, or breaks off.
    pub async fn between<S, C>(self, ours: S, theirs: C) -> Result<(), TranslationError>
    where
        S: AsyncRead + AsyncWrite + Unpin,
        C: AsyncRead + AsyncWrite + Unpin,
    {
        let config = WebSocketConfig::default()
            .max_message_size(Some(MAX_MESSAGE_BYTES))
            .max_frame_size(Some(MAX_MESSAGE_BYTES));
        let socket = WebSocketStream::from_raw_socket(ours, Role::Server, Some(config)).await;
        match self {
            Self::Channels(channels) => carry(&channels, socket, theirs).await?,
            Self::Tunnel => tunnel(socket, theirs).await?,
        }
        Ok(())
    }
}

/// The channels that a query asks for, with the names of their streams. The first tells what became of it all.
fn channels(query: &[(String, String)]) -> Vec<(u8, &'static str)> {
    let asked = |name: &str| {
        let value = query.iter().find(|(key, _)| key == name);
        value.is_some_and(|(_, value)| is_true(value))
    };
    let tty = asked("tty");
    [
        (ERROR, "error", true),
        (STDIN, "stdin", asked("stdin")),
        (STDOUT, "stdout", asked("stdout")),
        // A terminal has but one output.
        (STDERR, "stderr", asked("stderr") && !tty),
        (RESIZE, "resize", tty),
    ]
    .into_iter()
    .filter(|(_, _, wanted)| *wanted)
    .map(|(channel, name, _)| (channel, name))
    .collect()
}

/// The stream of the channel that was opened in this place.
fn stream_at(place: usize) -> u32 {
    u32::try_from(2 * place + 1).unwrap_or(u32::MAX)
}

/// Carries channels as streams.
async fn carry<S, C>(channels: &[(u8, &str)], socket: WebSocketStream<S>, connection: C) -> Result<(), Ended>
where
    S: AsyncRead + AsyncWrite + Unpin,
    C: AsyncRead + AsyncWrite + Unpin,
{
    let (mut outgoing, incoming) = socket.split();
    let (reading, mut writing) = tokio::io::split(connection);
    let mut opener = Opener::new();
    for (place, (_, name)) in channels.iter().enumerate() {
        let frame = opener.open(stream_at(place), &[("streamtype", name)]);
        writing.write_all(&frame).await?;
    }
    writing.flush().await?;
    let mut answers = Answers {
        reading,
        read: BytesMut::with_capacity(PIECE_BYTES),
    };
    // What is written before a stream is agreed to is lost.
    let mut agreed = 0;
    while agreed < channels.len() {
        match answers.next().await?.ok_or(Ended::Over)? {
            Frame::Reply(_) => agreed += 1,
            Frame::Reset(_) | Frame::GoAway => return Err(Ended::Reset),
            Frame::Ping(id) => writing.write_all(&spdy::pong(id)).await?,
            _ => {}
        }
    }
    // An empty message tells the client that it can begin.
    let first = [STDOUT, STDERR]
        .into_iter()
        .find(|output| channels.iter().any(|(channel, _)| channel == output));
    outgoing.send(message(first.unwrap_or(ERROR), &[])).await?;
    let writing = Mutex::new(writing);
    tokio::select! {
        up = upwards(channels, incoming, &writing) => up,
        down = downwards(channels, &mut answers, &writing, &mut outgoing) => {
            outgoing.send(farewell()).await?;
            down
        }
    }
}

/// What the client says, until it goes.
async fn upwards<C: AsyncWrite>(
    channels: &[(u8, &str)],
    mut incoming: impl Stream<Item = Result<Message, SocketError>> + Unpin,
    writing: &Mutex<WriteHalf<C>>,
) -> Result<(), Ended> {
    let stream_of = |channel: u8| {
        let place = channels.iter().position(|(known, _)| *known == channel)?;
        Some(stream_at(place))
    };
    while let Some(said) = incoming.next().await {
        let frame = match said? {
            Message::Close(_) => return Ok(()),
            Message::Binary(bytes) => match *bytes {
                [CLOSE, channel] => stream_of(channel).map(|stream| spdy::data(stream, &[], true)),
                [channel, ref rest @ ..] if !rest.is_empty() => {
                    stream_of(channel).map(|stream| spdy::data(stream, rest, false))
                }
                _ => None,
            },
            _ => None,
        };
        if let Some(frame) = frame {
            let mut writing = writing.lock().await;
            writing.write_all(&frame).await?;
            writing.flush().await?;
        }
    }
    Ok(())
}

/// What the node agent says, until all that it writes to has ended.
async fn downwards<C: AsyncRead + AsyncWrite>(
    channels: &[(u8, &str)],
    answers: &mut Answers<C>,
    writing: &Mutex<WriteHalf<C>>,
    outgoing: &mut (impl Sink<Message, Error = SocketError> + Unpin),
) -> Result<(), Ended> {
    let mut open: Vec<(u32, u8)> = channels
        .iter()
        .enumerate()
        .filter(|(_, (channel, _))| matches!(*channel, STDOUT | STDERR | ERROR))
        .map(|(place, (channel, _))| (stream_at(place), *channel))
        .collect();
    while !open.is_empty() {
        match answers.next().await? {
            None => return Ok(()),
            Some(Frame::Data { stream, last, bytes }) => {
                let channel = open.iter().find(|(known, _)| *known == stream);
                if let Some((_, channel)) = channel
                    && !bytes.is_empty()
                {
                    outgoing.send(message(*channel, &bytes)).await?;
                }
                if last {
                    open.retain(|(known, _)| *known != stream);
                }
            }
            Some(Frame::Reset(stream)) => open.retain(|(known, _)| *known != stream),
            Some(Frame::Ping(id)) => writing.lock().await.write_all(&spdy::pong(id)).await?,
            Some(Frame::Opened(_) | Frame::Reply(_) | Frame::GoAway | Frame::Other) => {}
        }
    }
    Ok(())
}

/// The end of it all, which clients tell from a connection that broke by its code.
fn farewell() -> Message {
    Message::Close(Some(CloseFrame {
        code: CloseCode::Normal,
        reason: "".into(),
    }))
}

fn message(channel: u8, bytes: &[u8]) -> Message {
    let mut message = BytesMut::with_capacity(bytes.len() + 1);
    message.extend_from_slice(&[channel]);
    message.extend_from_slice(bytes);
    Message::Binary(message.freeze())
}

/// Frames of the node agent.
struct Answers<C> {
    reading: ReadHalf<C>,
    read: BytesMut,
}

impl<C: AsyncRead> Answers<C> {
    async fn next(&mut self) -> Result<Option<Frame>, Ended> {
        loop {
            if let Some(frame) = spdy::take(&mut self.read)? {
                return Ok(Some(frame));
            }
            self.read.reserve(PIECE_BYTES);
            if self.reading.read_buf(&mut self.read).await? == 0 {
                return Ok(None);
            }
        }
    }
}

/// Carries the bytes of a connection in messages.
async fn tunnel<S, C>(socket: WebSocketStream<S>, connection: C) -> Result<(), Ended>
where
    S: AsyncRead + AsyncWrite + Unpin,
    C: AsyncRead + AsyncWrite + Unpin,
{
    let (mut outgoing, mut incoming) = socket.split();
    let (mut reading, mut writing) = tokio::io::split(connection);
    let up = async {
        while let Some(said) = incoming.next().await {
            match said? {
                Message::Binary(bytes) => {
                    writing.write_all(&bytes).await?;
                    writing.flush().await?;
                }
                Message::Close(_) => break,
                _ => {}
            }
        }
        Ok::<(), Ended>(())
    };
    let down = async {
        let mut piece = BytesMut::with_capacity(PIECE_BYTES);
        while reading.read_buf(&mut piece).await? > 0 {
            outgoing.send(Message::Binary(piece.split().freeze())).await?;
            piece.reserve(PIECE_BYTES);
        }
        outgoing.send(farewell()).await?;
        Ok::<(), Ended>(())
    };
    tokio::select! {
        up = up => up,
        down = down => down,
    }
}

#[cfg(test)]
mod tests;
