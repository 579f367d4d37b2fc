//! An HTTP/2 connection's writes, gathered.
//!
//! h2 writes and flushes frame by frame. With many streams that speak at once, as the watches of one client do when an object
//! changes, each frame would be a TLS record and a system call of its own. So frames are only put down when they are flushed, and
//! what a turn of the connection's task has put down goes out together at its end. And a turn begins only once the tasks of the
//! streams that are ready to run have run, since what they say goes out with it.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// More than this is not put down, in bytes: a reader that is slow makes the writer wait, as it does without gathering.
const ROOM: usize = 64 << 10;

/// Why a connection ended early.
pub(super) type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// A stream whose writes are put down until the end of a turn.
pub(super) struct Gathering<S>(Arc<Mutex<Put<S>>>);

/// What has been put down, and where it goes.
struct Put<S> {
    stream: S,
    bytes: Vec<u8>,
    /// How many of the bytes the stream has taken.
    taken: usize,
    /// Whether the stream holds bytes back that it has taken.
    unflushed: bool,
}

impl<S> Gathering<S>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    /// A stream to write by, and the turns of the connection that does.
    pub(super) fn new(stream: S) -> (Self, Turns<S>) {
        let put = Arc::new(Mutex::new(Put {
            stream,
            bytes: Vec::new(),
            taken: 0,
            unflushed: false,
        }));
        let turns = Turns {
            stream: Self(Arc::clone(&put)),
            others_ran: false,
        };
        (Self(put), turns)
    }

    fn put(&self) -> MutexGuard<'_, Put<S>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<S> Put<S>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    /// Sends all that has been put down.
    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.taken < self.bytes.len() {
            let taken = ready!(Pin::new(&mut self.stream).poll_write(cx, &self.bytes[self.taken..]))?;
            if taken == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.taken += taken;
            self.unflushed = true;
        }
        // An idle connection keeps no room.
        (self.bytes, self.taken) = (Vec::new(), 0);
        if self.unflushed {
            ready!(Pin::new(&mut self.stream).poll_flush(cx))?;
            self.unflushed = false;
        }
        Poll::Ready(Ok(()))
    }

    /// How many bytes more may be put down, once there is room.
    fn poll_room(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        if self.bytes.len() >= ROOM {
            ready!(self.poll_send(cx))?;
        }
        Poll::Ready(Ok(ROOM - self.bytes.len()))
    }
}

impl<S> AsyncRead for Gathering<S>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.put().stream).poll_read(cx, buf)
    }
}

impl<S> AsyncWrite for Gathering<S>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(buf)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let mut put = self.put();
        let room = ready!(put.poll_room(cx))?;
        let before = put.bytes.len();
        for buf in bufs {
            let left = room - (put.bytes.len() - before);
            put.bytes.extend_from_slice(&buf[..buf.len().min(left)]);
        }
        Poll::Ready(Ok(put.bytes.len() - before))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    /// What was put down goes out at the end of the turn.
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut put = self.put();
        ready!(put.poll_send(cx))?;
        Pin::new(&mut put.stream).poll_shutdown(cx)
    }
}

/// Polls a connection that writes to a [`Gathering`], turn by turn.
pub(super) struct Turns<S> {
    stream: Gathering<S>,
    /// Whether the others have had their run.
    others_ran: bool,
}

impl<S> Turns<S>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    /// A turn of the connection, which goes on until it waits for something, and with it what it has written.
    ///
    /// # Errors
    /// The connection's; and where what it has written cannot be sent.
    pub(super) fn poll<C, T, E>(
        &mut self,
        connection: Pin<&mut C>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<T, BoxError>>
    where
        C: Future<Output = Result<T, E>>,
        E: Into<BoxError>,
    {
        self.others_ran = !self.others_ran;
        if self.others_ran {
            // A task that wakes itself goes to the end of the queue.
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        match connection.poll(cx) {
            Poll::Ready(ended) => Poll::Ready(ended.map_err(Into::into)),
            Poll::Pending => match self.stream.put().poll_send(cx) {
                Poll::Ready(Err(error)) => Poll::Ready(Err(error.into())),
                _ => Poll::Pending,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::pin::pin;

    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

    use super::*;

    /// How much there is to read without waiting.
    async fn arrived(reader: &mut DuplexStream) -> usize {
        let mut buffer = vec![0; 1 << 20];
        let mut filled = ReadBuf::new(&mut buffer);
        poll_fn(|cx| {
            let _ = Pin::new(&mut *reader).poll_read(cx, &mut filled);
            Poll::Ready(())
        })
        .await;
        filled.filled().len()
    }

    #[tokio::test]
    async fn what_a_turn_writes_and_flushes_goes_out_at_its_end() {
        let (near, mut far) = duplex(1 << 20);
        let (mut writes, mut turns) = Gathering::new(near);
        let mut connection = pin!(async move {
            for frame in ["one", "two"] {
                writes.write_all(frame.as_bytes()).await?;
                writes.flush().await?;
            }
            assert_eq!(arrived(&mut far).await, 0, "before the end of the turn");
            tokio::task::yield_now().await;
            assert_eq!(arrived(&mut far).await, 6);
            writes.write_all(b"last").await?;
            writes.shutdown().await?;
            let mut rest = String::new();
            far.read_to_string(&mut rest).await?;
            Ok::<_, io::Error>(rest)
        });
        let rest = poll_fn(|cx| turns.poll(connection.as_mut(), cx)).await;
        assert_eq!(rest.expect("a connection"), "last");
    }

    #[tokio::test]
    async fn others_that_are_ready_run_first() {
        let (near, mut far) = duplex(1 << 20);
        let (mut writes, mut turns) = Gathering::new(near);
        let (tell, told) = std::sync::mpsc::channel();
        let mut connection = pin!(async move {
            let said = told.try_recv().map_err(io::Error::other)?;
            writes.write_all(said).await?;
            writes.shutdown().await
        });
        // Not polled before this task waits, which the turn's own beginning is.
        tokio::spawn(async move { tell.send(b"other".as_slice()) });
        let ended = poll_fn(|cx| turns.poll(connection.as_mut(), cx)).await;
        ended.expect("the other has spoken");
        let mut text = String::new();
        far.read_to_string(&mut text).await.expect("text");
        assert_eq!(text, "other");
    }

    #[tokio::test]
    async fn a_slow_reader_makes_the_writer_wait() {
        let (near, mut far) = duplex(1000);
        let (mut writes, mut turns) = Gathering::new(near);
        let sent: Vec<u8> = (0..ROOM * 3 + 17).map(|i| i.to_le_bytes()[1]).collect();
        let expected = sent.clone();
        let writing = async move {
            let mut connection = pin!(async move {
                let first = poll_fn(|cx| Pin::new(&mut writes).poll_write(cx, &sent)).await?;
                assert_eq!(first, ROOM, "no more than there is room for");
                writes.write_all(&sent[first..]).await?;
                writes.shutdown().await
            });
            poll_fn(|cx| turns.poll(connection.as_mut(), cx)).await
        };
        let mut read = Vec::new();
        let (written, reading) = tokio::join!(writing, far.read_to_end(&mut read));
        written.expect("written");
        reading.expect("read");
        assert_eq!(read, expected);
    }

    #[tokio::test]
    async fn a_reader_that_is_gone_ends_the_connection() {
        let (near, far) = duplex(1000);
        let (mut writes, mut turns) = Gathering::new(near);
        drop(far);
        let mut connection = pin!(async move {
            writes.write_all(b"for nobody").await?;
            std::future::pending::<io::Result<()>>().await
        });
        let ended = poll_fn(|cx| turns.poll(connection.as_mut(), cx)).await;
        let error = ended.expect_err("nobody reads").downcast::<io::Error>();
        assert_eq!(error.expect("of writing").kind(), io::ErrorKind::BrokenPipe);
    }
}
