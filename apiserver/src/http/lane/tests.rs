//! Hyper at one end of a pipe, a client of bytes at the other.

use std::convert::Infallible;
use std::future::poll_fn;
use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures::channel::mpsc;
use futures::{Stream, StreamExt};
use http::StatusCode;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::task::JoinHandle;

use super::*;
use crate::request::ResponseBody;

type Word = io::Result<&'static str>;

/// More than any test says before it listens.
const MOST_WORDS: usize = 32;

/// A connection whose answer at `/watch` says what it is told to say, and which has more answers than that.
struct Served {
    client: DuplexStream,
    say: mpsc::Sender<Word>,
    ended: JoinHandle<Result<(), BoxError>>,
    /// How often hyper has been polled.
    polls: Arc<AtomicUsize>,
}

fn streaming(words: impl Stream<Item = Word> + Send + 'static) -> Response<ResponseBody> {
    let frames = words.map(|word| word.map(|word| Frame::data(Bytes::from(word))));
    let mut answer = Response::new(StreamBody::new(frames).boxed_unsync());
    answer.extensions_mut().insert(Streams);
    answer
}

fn whole() -> Response<ResponseBody> {
    Response::new(
        Full::new(Bytes::from("whole"))
            .map_err(io::Error::other)
            .boxed_unsync(),
    )
}

/// Serves over a pipe that holds so many bytes.
fn serve(room: usize) -> Served {
    let (client, server) = duplex(room);
    let (say, words) = mpsc::channel(MOST_WORDS);
    let words = Arc::new(Mutex::new(Some(words)));
    let (stream, mut lane) = Lane::new(server);
    let answers = lane.answers();
    let answering = service_fn(move |request: Request<Incoming>| {
        let lent = may_be_lent(&request);
        let answer = match request.uri().path() {
            "/watch" => streaming(words.lock().expect("words").take().expect("asked once")),
            _ => whole(),
        };
        let seen = answers.seen(answer, lent);
        async move { Ok::<_, Infallible>(seen) }
    });
    let polls = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&polls);
    let ended = tokio::spawn(async move {
        let connection = http1::Builder::new().serve_connection(TokioIo::new(stream), answering);
        let mut connection = pin!(connection);
        let mut connection = pin!(poll_fn(|cx| {
            counted.fetch_add(1, Ordering::SeqCst);
            connection.as_mut().poll(cx)
        }));
        poll_fn(|cx| lane.poll(connection.as_mut(), cx)).await
    });
    Served {
        client,
        say,
        ended,
        polls,
    }
}

impl Served {
    async fn ask(&mut self, path: &str) {
        let asked = format!("GET {path} HTTP/1.1\r\nHost: here\r\n\r\n");
        self.client.write_all(asked.as_bytes()).await.expect("asked");
    }

    fn say(&mut self, word: Word) {
        self.say.try_send(word).expect("the body is there");
    }

    async fn hear(&mut self, expected: &str) {
        let mut heard = vec![0; expected.len()];
        self.client.read_exact(&mut heard).await.expect("an answer");
        assert_eq!(String::from_utf8_lossy(&heard), expected);
    }

    async fn hear_head(&mut self) -> String {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(self.client.read_u8().await.expect("a head"));
        }
        String::from_utf8(head).expect("text").to_ascii_lowercase()
    }

    /// Asks for the stream and hears its head.
    async fn watch(&mut self) {
        self.ask("/watch").await;
        let head = self.hear_head().await;
        assert!(head.contains("transfer-encoding: chunked"), "{head}");
    }
}

#[tokio::test]
async fn words_go_past_hyper_and_the_connection_goes_on_after_them() {
    let mut served = serve(1 << 16);
    served.watch().await;
    served.say(Ok("first"));
    served.hear("5\r\nfirst\r\n").await;
    let polls = served.polls.load(Ordering::SeqCst);
    for _ in 0..3 {
        served.say(Ok(""));
        served.say(Ok("more than fifteen"));
        served.hear("11\r\nmore than fifteen\r\n").await;
    }
    assert_eq!(served.polls.load(Ordering::SeqCst), polls, "hyper was not polled");
    served.say.close_channel();
    served.hear("0\r\n\r\n").await;
    served.ask("/whole").await;
    let head = served.hear_head().await;
    assert!(head.contains("content-length: 5"), "{head}");
    served.hear("whole").await;
    drop(served.client);
    served.ended.await.expect("a task").expect("a good end");
}

#[tokio::test]
async fn what_is_said_at_once_follows_the_head() {
    let mut served = serve(1 << 16);
    served.say(Ok("early"));
    served.say.close_channel();
    served.watch().await;
    served.hear("5\r\nearly\r\n0\r\n\r\n").await;
}

#[tokio::test]
async fn a_slow_reader_makes_the_body_wait() {
    let word = "0123456789abcdef".repeat(512).leak();
    let mut served = serve(100);
    served.watch().await;
    for _ in 0..20 {
        served.say(Ok(word));
    }
    served.say.close_channel();
    for _ in 0..20 {
        served.hear("2000\r\n").await;
        served.hear(word).await;
        served.hear("\r\n").await;
    }
    served.hear("0\r\n\r\n").await;
}

#[tokio::test]
async fn an_error_breaks_off_without_a_last_chunk() {
    let mut served = serve(1 << 16);
    served.watch().await;
    served.say(Ok("word"));
    served.say(Err(io::Error::other("broken")));
    let mut heard = String::new();
    served.client.read_to_string(&mut heard).await.expect("text");
    assert_eq!(heard, "4\r\nword\r\n");
    let error = served.ended.await.expect("a task").expect_err("broken off");
    let cause = error.source().expect("the body's own words");
    assert_eq!(cause.to_string(), "broken");
}

#[tokio::test]
async fn a_client_that_goes_ends_the_body() {
    let mut served = serve(1 << 16);
    served.watch().await;
    drop(served.client);
    let _ = served.ended.await.expect("a task");
    assert!(served.say.is_closed(), "nobody listens any more");
}

#[tokio::test]
async fn a_request_behind_the_stream_is_answered_after_it() {
    let mut served = serve(1 << 16);
    served.watch().await;
    // Pipelined behind the stream: hyper has it, and answers when the stream is over.
    served.ask("/whole").await;
    served.say.close_channel();
    served.hear("0\r\n\r\n").await;
    assert!(served.hear_head().await.contains(StatusCode::OK.as_str()));
    served.hear("whole").await;
}

#[tokio::test]
async fn before_http_1_1_hyper_writes_everything() {
    let mut served = serve(1 << 16);
    let asked = "GET /watch HTTP/1.0\r\nHost: here\r\n\r\n";
    served.client.write_all(asked.as_bytes()).await.expect("asked");
    assert!(!served.hear_head().await.contains("chunked"));
    served.say(Ok("bare"));
    served.hear("bare").await;
}

#[test]
fn a_chunk_is_sent_in_any_pieces() {
    let sent = b"b\r\nhello world\r\n";
    for piece in 1..=sent.len() {
        let (mut chunk, mut collected) = (Chunk::of(Bytes::from("hello world")), Vec::new());
        while !chunk.is_sent() {
            let left = [&chunk.length[chunk.from..], &chunk.data, chunk.tail].concat();
            let piece = piece.min(left.len());
            collected.extend_from_slice(&left[..piece]);
            chunk.advance(piece);
        }
        assert_eq!(collected, sent);
    }
    assert!(Chunk::of(Bytes::new()).is_sent());
    assert!(Chunk::default().is_sent());
}
