//! A client on one side, a runtime on the other.

use http::HeaderValue;
use tokio::io::DuplexStream;

use super::*;
use crate::http::request_info::parse_query;

fn asking(protocols: &'static str) -> HeaderMap {
    HeaderMap::from_iter([
        (header::UPGRADE, HeaderValue::from_static("websocket")),
        (
            header::SEC_WEBSOCKET_PROTOCOL,
            HeaderValue::from_static(protocols),
        ),
    ])
}

#[test]
fn only_what_runtimes_do_not_know_is_translated() {
    let query = parse_query(Some("stdin=true&stdout=true&stderr=true"));
    let wanted = |protocols, ports| Translation::wanted(&asking(protocols), &query, ports);
    let all = vec![
        (ERROR, "error"),
        (STDIN, "stdin"),
        (STDOUT, "stdout"),
        (STDERR, "stderr"),
    ];
    assert_eq!(
        wanted("v4.channel.k8s.io, v5.channel.k8s.io", false),
        Some(Translation::Channels(all))
    );
    assert_eq!(wanted("v4.channel.k8s.io,channel.k8s.io", false), None);
    assert_eq!(wanted(PORTS, true), Some(Translation::Tunnel));
    assert_eq!(wanted("portforward.k8s.io", true), None);
    let mut spdy = asking(COMMANDS);
    spdy.insert(header::UPGRADE, HeaderValue::from_static("SPDY/3.1"));
    assert_eq!(Translation::wanted(&spdy, &query, false), None);
}

#[test]
fn a_terminal_has_one_output_and_a_size() {
    let terminal = channels(&parse_query(Some("stdin=1&stdout=1&stderr=1&tty=1")));
    let numbers: Vec<_> = terminal.iter().map(|(channel, _)| *channel).collect();
    assert_eq!(numbers, [ERROR, STDIN, STDOUT, RESIZE]);
}

async fn client(stream: DuplexStream) -> WebSocketStream<DuplexStream> {
    WebSocketStream::from_raw_socket(stream, Role::Client, None).await
}

/// A runtime that agrees to all streams, and repeats its input until that ends.
async fn runtime(mut stream: DuplexStream, streams: u32) {
    let (mut read, mut agreed) = (BytesMut::new(), 0);
    loop {
        while let Some(frame) = spdy::take(&mut read).unwrap() {
            match frame {
                Frame::Opened(id) => {
                    let mut reply = vec![0x80, 3, 0, 2, 0, 0, 0, 4];
                    reply.extend(id.to_be_bytes());
                    stream.write_all(&reply).await.unwrap();
                    agreed += 1;
                }
                Frame::Data {
                    stream: 3,
                    last,
                    bytes,
                } => {
                    assert_eq!(agreed, streams);
                    stream.write_all(&spdy::pong(9)).await.unwrap();
                    stream.write_all(&spdy::data(5, &bytes, last)).await.unwrap();
                    if last {
                        stream.write_all(&spdy::data(1, b"Success", true)).await.unwrap();
                    }
                }
                Frame::Ping(9) => {}
                other => panic!("{other:?}"),
            }
        }
        if stream.read_buf(&mut read).await.unwrap() == 0 {
            return;
        }
    }
}

#[tokio::test]
async fn channels_are_streams() {
    let (ours, near) = tokio::io::duplex(1 << 16);
    let (theirs, far) = tokio::io::duplex(1 << 16);
    let server = WebSocketStream::from_raw_socket(near, Role::Server, None).await;
    let channels = [(ERROR, "error"), (STDIN, "stdin"), (STDOUT, "stdout")];
    let talk = async {
        let mut client = client(ours).await;
        let mut next = async |send: Vec<Vec<u8>>| {
            for bytes in send {
                client.send(Message::Binary(bytes.into())).await.unwrap();
            }
            client.next().await.unwrap().unwrap()
        };
        assert_eq!(next(vec![]).await, message(STDOUT, &[]));
        assert_eq!(next(vec![b"\0words".to_vec()]).await, message(STDOUT, b"words"));
        let end = vec![vec![RESIZE, 1], vec![STDIN], vec![CLOSE, STDIN]];
        assert_eq!(next(end).await, message(ERROR, b"Success"));
        assert_eq!(next(vec![]).await, farewell());
    };
    let carried = async { carry(&channels, server, theirs).await.unwrap() };
    tokio::join!(carried, talk, runtime(far, 3));
}

#[tokio::test]
async fn a_connection_is_carried_in_messages() {
    let (ours, near) = tokio::io::duplex(1 << 16);
    let (theirs, mut far) = tokio::io::duplex(1 << 16);
    let server = WebSocketStream::from_raw_socket(near, Role::Server, None).await;
    let talk = async {
        let mut client = client(ours).await;
        let bytes = Bytes::from_static(b"any bytes");
        client.send(Message::Binary(bytes.clone())).await.unwrap();
        let mut read = [0; 9];
        far.read_exact(&mut read).await.unwrap();
        far.write_all(&read).await.unwrap();
        assert_eq!(client.next().await.unwrap().unwrap(), Message::Binary(bytes));
        drop(far);
        assert_eq!(client.next().await.unwrap().unwrap(), farewell());
    };
    let carried = async { tunnel(server, theirs).await.unwrap() };
    tokio::join!(carried, talk);
}
