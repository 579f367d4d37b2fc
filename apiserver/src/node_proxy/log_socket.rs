//! Logs over a WebSocket, for browsers: each piece of the log is a message to the client, and nothing is asked of it (upstream's
//! `wsstream.Reader`). RFC 6455.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use coracle_api::status::ApiError;
use futures::{SinkExt, StreamExt};
use http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use http_body_util::BodyExt;
use hyper::body::Incoming as TheirBody;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::{Message, Role, WebSocketConfig};
use tokio_util::sync::CancellationToken;

use crate::request::{ResponseBody, full_body};

/// How much a client may send in one message, in bytes: there is nothing that it could say.
const MAX_MESSAGE_BYTES: usize = 4096;

/// How bytes stand in messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Framing {
    /// As they are.
    Binary,
    /// As text in base64.
    Base64,
}

/// A WebSocket that a client asked for.
pub(super) struct Socket {
    /// What was agreed on.
    pub(super) framing: Framing,
    /// The answer that opens it.
    pub(super) answer: Response<ResponseBody>,
}

/// The subprotocols there are; a client that names none gets bytes as they are.
fn framing(protocol: &str) -> Option<Framing> {
    match protocol {
        "" | "binary.k8s.io" => Some(Framing::Binary),
        "base64.binary.k8s.io" => Some(Framing::Base64),
        _ => None,
    }
}

/// The WebSocket that a request asks for, if it does.
///
/// # Errors
/// 400 where it has no key, or asks for subprotocols of which there is none.
pub(super) fn wanted(headers: &HeaderMap) -> Result<Option<Socket>, ApiError> {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    if !text(header::UPGRADE).is_some_and(|to| to.eq_ignore_ascii_case("websocket")) {
        return Ok(None);
    }
    let asked = text(header::SEC_WEBSOCKET_PROTOCOL).unwrap_or_default();
    let mut protocols = asked.split(',').map(str::trim).take(64);
    let (protocol, framing) = protocols
        .find_map(|protocol| Some((protocol, framing(protocol)?)))
        .ok_or_else(|| {
            ApiError::bad_request(format!("requested protocol(s) are not supported: [{asked}]"))
        })?;
    let answer = opened(headers, protocol)?;
    Ok(Some(Socket { framing, answer }))
}

/// The answer that opens a WebSocket in a subprotocol, if it has a name.
///
/// # Errors
/// 400 where the request has no key.
pub(super) fn opened(headers: &HeaderMap, protocol: &str) -> Result<Response<ResponseBody>, ApiError> {
    let key = headers.get(header::SEC_WEBSOCKET_KEY);
    let key = key.ok_or_else(|| ApiError::bad_request("the WebSocket's key is missing"))?;
    let mut answer = Response::new(full_body(Bytes::new()));
    *answer.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let accept = derive_accept_key(key.as_bytes());
    for (name, value) in [
        (header::UPGRADE, "websocket"),
        (header::CONNECTION, "Upgrade"),
        (header::SEC_WEBSOCKET_ACCEPT, &accept),
        (header::SEC_WEBSOCKET_PROTOCOL, protocol),
    ] {
        if !value.is_empty() {
            let value = HeaderValue::from_str(value).map_err(ApiError::internal)?;
            answer.headers_mut().insert(name, value);
        }
    }
    Ok(answer)
}

fn message(framing: Framing, bytes: Bytes) -> Message {
    match framing {
        Framing::Binary => Message::Binary(bytes),
        Framing::Base64 => Message::Text(STANDARD.encode(&bytes).into()),
    }
}

/// Sends what the body has, until it or the client's patience ends.
pub(super) async fn send(
    framing: Framing,
    mut body: TheirBody,
    upgrade: OnUpgrade,
    shutdown: CancellationToken,
) {
    let Ok(stream) = upgrade.await else { return };
    let config = WebSocketConfig::default()
        .max_message_size(Some(MAX_MESSAGE_BYTES))
        .max_frame_size(Some(MAX_MESSAGE_BYTES));
    let socket = WebSocketStream::from_raw_socket(TokioIo::new(stream), Role::Server, Some(config)).await;
    let (mut outgoing, mut incoming) = socket.split();
    loop {
        tokio::select! {
            () = shutdown.cancelled() => break,
            said = incoming.next() => match said {
                Some(Ok(Message::Close(_)) | Err(_)) | None => return,
                Some(Ok(_)) => {}
            },
            frame = body.frame() => {
                let Some(Ok(frame)) = frame else { break };
                let Ok(bytes) = frame.into_data() else { continue };
                if outgoing.send(message(framing, bytes)).await.is_err() {
                    return;
                }
            }
        }
    }
    // A client that is gone already needs no goodbye.
    let _ = outgoing.close().await;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(protocol: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(header::UPGRADE, HeaderValue::from_static("WebSocket"));
        // The example of RFC 6455, 1.3.
        headers.insert(
            header::SEC_WEBSOCKET_KEY,
            HeaderValue::from_static("dGhlIHNhbXBsZSBub25jZQ=="),
        );
        if !protocol.is_empty() {
            headers.insert(
                header::SEC_WEBSOCKET_PROTOCOL,
                HeaderValue::from_str(protocol).unwrap(),
            );
        }
        headers
    }

    #[test]
    fn a_protocol_is_agreed_on() {
        for (protocol, chosen, want) in [
            ("", None, Framing::Binary),
            ("binary.k8s.io", Some("binary.k8s.io"), Framing::Binary),
            (
                "odd, base64.binary.k8s.io",
                Some("base64.binary.k8s.io"),
                Framing::Base64,
            ),
        ] {
            let socket = wanted(&asked(protocol)).unwrap().unwrap();
            assert_eq!(socket.framing, want);
            let headers = socket.answer.headers();
            assert_eq!(
                headers[header::SEC_WEBSOCKET_ACCEPT],
                "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
            );
            let told = headers
                .get(header::SEC_WEBSOCKET_PROTOCOL)
                .map(|value| value.to_str().unwrap());
            assert_eq!(told, chosen);
        }
        assert_eq!(wanted(&asked("odd")).err().map(|error| error.code()), Some(400));
        assert!(wanted(&HeaderMap::new()).unwrap().is_none());
    }

    #[test]
    fn bytes_are_framed() {
        let bytes = Bytes::from_static(b"hi\n");
        assert_eq!(
            message(Framing::Binary, bytes.clone()),
            Message::Binary(bytes.clone())
        );
        assert_eq!(message(Framing::Base64, bytes), Message::Text("aGkK".into()));
    }
}
