//! A watch's lane past hyper.
//!
//! An HTTP/1.1 watch says a little now and then, over a connection of its own. For each word hyper would look after the whole
//! connection: whether there is more to read, whether its timers went off. With a thousand watchers that is what a change costs.
//! So hyper writes such an answer's head and its end; the chunks between are written by the connection's task itself, which polls
//! hyper only when hyper has been woken.

use std::io::{self, IoSlice, Write};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use http::{Method, Request, Response, Version};
use http_body::{Body, Frame};
use http_body_util::Either;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::gathering::BoxError;
use crate::request::Streams;
use crate::when_woken::Bell;

/// The stream that hyper reads from and writes to.
pub(super) struct Lent<S, B>(Arc<Mutex<Road<S, B>>>);

/// What stands in hyper's hands for a body that is written past it. It is silent, and ends when that body does.
pub(super) struct Parked<S, B>(Arc<Mutex<Road<S, B>>>);

/// The connection's own way to its stream.
pub(super) struct Lane<S, B> {
    road: Arc<Mutex<Road<S, B>>>,
    /// Whoever wakes hyper.
    hyper: Bell,
}

/// A connection's stream, and who writes to it.
struct Road<S, B> {
    stream: S,
    turn: Turn<B>,
}

/// Whose turn it is to write.
enum Turn<B> {
    /// Hyper's.
    Hyper,
    /// Hyper's until it has sent the head of an answer, and by then has asked for its body.
    Head { body: B, asked: bool },
    /// The lane's, until the body's end.
    Chunks(Chunks<B>),
    /// Hyper's: it is to be told how the body ended.
    End(Result<(), BoxError>),
}

/// A body on its way, and how far it has come.
struct Chunks<B> {
    body: B,
    chunk: Chunk,
    /// Whether the stream may hold bytes back that it has taken.
    unflushed: bool,
    end: Option<Result<(), BoxError>>,
}

impl<S, B> Lane<S, B>
where
    S: AsyncRead + AsyncWrite + Unpin,
    B: Body<Data = Bytes, Error: Into<BoxError>> + Unpin,
{
    /// A stream for hyper, and the lane beside it.
    pub(super) fn new(stream: S) -> (Lent<S, B>, Self) {
        let turn = Turn::Hyper;
        let road = Arc::new(Mutex::new(Road { stream, turn }));
        let lane = Self {
            road: Arc::clone(&road),
            hyper: Bell::rung(),
        };
        (Lent(road), lane)
    }

    /// What hyper is to see of an answer: the answer, or one whose body is written past it.
    pub(super) fn answers(&self) -> Answers<S, B> {
        Answers(Arc::clone(&self.road))
    }

    /// Has hyper polled at the next turn.
    pub(super) fn ring(&self) -> impl Fn() + use<S, B> {
        let bell = self.hyper.clone();
        move || bell.ring()
    }

    /// A turn of the connection: hyper's, where it has been woken, and the body's.
    ///
    /// # Errors
    /// The connection's; and where a chunk cannot be sent.
    pub(super) fn poll<C, E>(
        &mut self,
        mut connection: Pin<&mut C>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), BoxError>>
    where
        C: Future<Output = Result<(), E>>,
        E: Into<BoxError>,
    {
        let mut hyper_is_due = self.hyper.heard(cx);
        loop {
            if hyper_is_due {
                let waker = self.hyper.waker();
                let ended = connection.as_mut().poll(&mut Context::from_waker(&waker));
                if let Poll::Ready(ended) = ended {
                    return Poll::Ready(ended.map_err(Into::into));
                }
            }
            ready!(lock(&self.road).poll_chunks(cx))?;
            hyper_is_due = true;
        }
    }
}

fn lock<S, B>(road: &Mutex<Road<S, B>>) -> MutexGuard<'_, Road<S, B>> {
    road.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whether the answer to a request could be sent in chunks that somebody else writes: hyper sends no body to `HEAD`, and none in
/// chunks before HTTP/1.1.
pub(super) fn may_be_lent<R>(request: &Request<R>) -> bool {
    request.version() == Version::HTTP_11 && request.method() == Method::GET
}

/// Decides which answers take the lane.
pub(super) struct Answers<S, B>(Arc<Mutex<Road<S, B>>>);

impl<S, B> Clone for Answers<S, B> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<S, B> Answers<S, B> {
    /// What hyper is to see of an answer that may be lent.
    pub(super) fn seen(&self, answer: Response<B>, may_be_lent: bool) -> Response<Either<B, Parked<S, B>>> {
        if !may_be_lent || answer.extensions().get::<Streams>().is_none() {
            return answer.map(Either::Left);
        }
        let (head, body) = answer.into_parts();
        lock(&self.0).turn = Turn::Head { body, asked: false };
        Response::from_parts(head, Either::Right(Parked(Arc::clone(&self.0))))
    }
}

impl<S, B> Road<S, B>
where
    S: AsyncWrite + Unpin,
    B: Body<Data = Bytes, Error: Into<BoxError>> + Unpin,
{
    /// Writes what the body says. Ready when hyper is to be told of its end.
    fn poll_chunks(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Turn::Chunks(chunks) = &mut self.turn else {
            return Poll::Pending;
        };
        let end = ready!(chunks.poll(&mut self.stream, cx))?;
        self.turn = Turn::End(end);
        Poll::Ready(Ok(()))
    }

    /// Flushes what hyper has written. What the body says afterwards goes past it.
    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if matches!(self.turn, Turn::Chunks(_)) {
            return Poll::Ready(Ok(()));
        }
        ready!(Pin::new(&mut self.stream).poll_flush(cx))?;
        if matches!(self.turn, Turn::Head { asked: true, .. })
            && let Turn::Head { body, .. } = std::mem::replace(&mut self.turn, Turn::Hyper)
        {
            self.turn = Turn::Chunks(Chunks::of(body));
        }
        Poll::Ready(Ok(()))
    }
}

impl<B> Chunks<B>
where
    B: Body<Data = Bytes, Error: Into<BoxError>> + Unpin,
{
    fn of(body: B) -> Self {
        Self {
            body,
            chunk: Chunk::default(),
            unflushed: false,
            end: None,
        }
    }

    /// Ready at the body's end, once all of it has been sent.
    fn poll<S>(&mut self, stream: &mut S, cx: &mut Context<'_>) -> Poll<io::Result<Result<(), BoxError>>>
    where
        S: AsyncWrite + Unpin,
    {
        loop {
            while !self.chunk.is_sent() {
                ready!(self.chunk.poll_write(stream, cx))?;
                self.unflushed = true;
            }
            if self.end.is_none() {
                match Pin::new(&mut self.body).poll_frame(cx) {
                    Poll::Ready(Some(Ok(frame))) => {
                        self.chunk = frame.into_data().map(Chunk::of).unwrap_or_default();
                        continue;
                    }
                    Poll::Ready(Some(Err(error))) => self.end = Some(Err(error.into())),
                    Poll::Ready(None) => self.end = Some(Ok(())),
                    Poll::Pending => {}
                }
            }
            if self.unflushed {
                ready!(Pin::new(&mut *stream).poll_flush(cx))?;
                self.unflushed = false;
            }
            return match self.end.take() {
                Some(end) => Poll::Ready(Ok(end)),
                None => Poll::Pending,
            };
        }
    }
}

/// A chunk as HTTP/1.1 sends it (RFC 9112, section 7.1): how long it is, its bytes, and how much of both is still to be sent.
#[derive(Default)]
struct Chunk {
    length: [u8; Self::LENGTH],
    /// Where the length's digits begin, filled from the right, and what has been sent of them.
    from: usize,
    data: Bytes,
    tail: &'static [u8],
}

impl Chunk {
    /// Sixteen hexadecimal digits and the end of the line.
    const LENGTH: usize = 18;

    /// A chunk of bytes; none of no bytes, which would be the last.
    fn of(data: Bytes) -> Self {
        if data.is_empty() {
            return Self::default();
        }
        let mut length = [0; Self::LENGTH];
        let mut rest = &mut length[..];
        // There is room for every number.
        let _ = write!(rest, "{:x}\r\n", data.len());
        let written = Self::LENGTH - rest.len();
        length.copy_within(..written, Self::LENGTH - written);
        Self {
            length,
            from: Self::LENGTH - written,
            data,
            tail: b"\r\n",
        }
    }

    fn is_sent(&self) -> bool {
        self.tail.is_empty()
    }

    fn poll_write<S>(&mut self, stream: &mut S, cx: &mut Context<'_>) -> Poll<io::Result<()>>
    where
        S: AsyncWrite + Unpin,
    {
        let parts = [&self.length[self.from..], &self.data, self.tail].map(IoSlice::new);
        let sent = ready!(Pin::new(stream).poll_write_vectored(cx, &parts))?;
        if sent == 0 {
            return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
        }
        self.advance(sent);
        Poll::Ready(Ok(()))
    }

    fn advance(&mut self, sent: usize) {
        let of_length = sent.min(Self::LENGTH - self.from);
        self.from += of_length;
        let of_data = (sent - of_length).min(self.data.len());
        self.data.advance(of_data);
        self.tail = &self.tail[sent - of_length - of_data..];
    }
}

impl<S, B> Body for Parked<S, B>
where
    B: Body<Data = Bytes>,
{
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let mut road = lock(&self.0);
        match &mut road.turn {
            // The lane has hyper polled when there is more to say.
            Turn::Chunks(_) => Poll::Pending,
            Turn::Head { asked, .. } => {
                *asked = true;
                Poll::Pending
            }
            Turn::End(_) => match std::mem::replace(&mut road.turn, Turn::Hyper) {
                Turn::End(Err(error)) => Poll::Ready(Some(Err(error))),
                _ => Poll::Ready(None),
            },
            Turn::Hyper => Poll::Ready(None),
        }
    }
}

impl<S, B> Drop for Parked<S, B> {
    fn drop(&mut self) {
        // What the body holds on to is let go without the lock.
        let _body = std::mem::replace(&mut lock(&self.0).turn, Turn::Hyper);
    }
}

impl<S, B> AsyncRead for Lent<S, B>
where
    S: AsyncRead + Unpin,
{
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut lock(&self.0).stream).poll_read(cx, buf)
    }
}

impl<S, B> AsyncWrite for Lent<S, B>
where
    S: AsyncWrite + Unpin,
    B: Body<Data = Bytes, Error: Into<BoxError>> + Unpin,
{
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut lock(&self.0).stream).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut lock(&self.0).stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        lock(&self.0).stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        lock(&self.0).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut lock(&self.0).stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests;
