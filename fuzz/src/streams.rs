//! Streams of exec, attach and port-forward: a client's WebSocket frames on one side, a node agent's SPDY frames on the other.

use std::io;

use coracle_apiserver::Translation;
use coracle_apiserver::http::request_info::parse_query;
use futures::StreamExt;
use futures::executor::block_on;
use http::{HeaderMap, HeaderValue, header};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::Role;

/// What stands between the client's bytes and the node agent's.
const BETWEEN: &[u8] = b"\n\n";
/// Holds all that either side says and all that it is told: a frame is answered by one that is not much longer.
const ROOM: usize = 1 << 20;

/// The first byte says what is translated. Whatever both sides say comes to an end; the client is told in whole frames, of channels
/// that it asked for, and neither side more than the other said.
pub fn check(input: &[u8]) -> bool {
    let Some((mode, said)) = input.split_first() else {
        return false;
    };
    let split = said.windows(BETWEEN.len()).position(|window| window == BETWEEN);
    let (client, node) = match split {
        Some(at) => (&said[..at], &said[at + BETWEEN.len()..]),
        None => (said, &[][..]),
    };
    let is_tunnel = *mode == b'p';
    let (near, server) = duplex(ROOM);
    let (far, theirs) = duplex(ROOM);
    block_on(async {
        let mut near = saying(near, client).await.expect("there is room");
        let mut far = saying(far, node).await.expect("there is room");
        let ended = translation(is_tunnel).between(server, theirs).await;
        let mut told = Vec::new();
        near.read_to_end(&mut told).await.expect("what was told");
        let heard = payload(&told, is_tunnel).await;
        assert!(
            heard <= node.len(),
            "the client was told {heard} bytes of {}",
            node.len()
        );
        let mut told = Vec::new();
        far.read_to_end(&mut told).await.expect("what was told");
        assert!(
            !is_tunnel || told.len() <= client.len(),
            "the node agent was told {} bytes of {}",
            told.len(),
            client.len()
        );
        ended.is_ok()
    })
}

fn translation(is_tunnel: bool) -> Translation {
    let protocol = if is_tunnel {
        "SPDY/3.1+portforward.k8s.io"
    } else {
        "v5.channel.k8s.io"
    };
    let headers = HeaderMap::from_iter([
        (header::UPGRADE, HeaderValue::from_static("websocket")),
        (header::SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(protocol)),
    ]);
    let query = parse_query(Some("stdin=1&stdout=1"));
    Translation::wanted(&headers, &query, is_tunnel).expect("it is asked for")
}

/// One end of a pipe, at which everything has been said.
async fn saying(mut end: DuplexStream, bytes: &[u8]) -> io::Result<DuplexStream> {
    end.write_all(bytes).await?;
    end.shutdown().await?;
    Ok(end)
}

/// How many bytes frames bring to the client.
async fn payload(told: &[u8], is_tunnel: bool) -> usize {
    let (end, ours) = duplex(ROOM);
    let _end = saying(end, told).await.expect("there is room");
    let mut socket = WebSocketStream::from_raw_socket(ours, Role::Client, None).await;
    let mut bytes = 0;
    // The last frame need not be a farewell: a client that says nonsense is not answered.
    while let Some(Ok(message)) = socket.next().await {
        match message {
            Message::Binary(message) if is_tunnel => bytes += message.len(),
            Message::Binary(message) => {
                let channel = message.first().expect("a channel");
                assert!(matches!(channel, 1 | 3), "channel {channel} was not asked for");
                bytes += message.len() - 1;
            }
            Message::Ping(_) | Message::Pong(_) | Message::Close(_) => {}
            other => panic!("the client was told {other:?}"),
        }
    }
    bytes
}
