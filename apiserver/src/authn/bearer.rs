//! Finding the bearer token of a request.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::header::{AUTHORIZATION, SEC_WEBSOCKET_PROTOCOL};
use http::{HeaderMap, HeaderValue};

/// How browsers, which cannot set headers, pass a token when they open a WebSocket.
const WEBSOCKET_PREFIX: &str = "base64url.bearer.authorization.k8s.io.";

/// The token, taken out of the headers so that nothing further on can log it or pass it on.
pub(super) fn take(headers: &mut HeaderMap) -> Option<String> {
    if let Some(token) = headers.get(AUTHORIZATION).and_then(from_authorization) {
        headers.remove(AUTHORIZATION);
        return Some(token);
    }
    let offered = headers.get(SEC_WEBSOCKET_PROTOCOL)?.to_str().ok()?.to_owned();
    let mut token = None;
    let mut kept = Vec::new();
    for protocol in offered.split(',').map(str::trim) {
        match protocol.strip_prefix(WEBSOCKET_PREFIX) {
            Some(encoded) => token = token.or_else(|| decode(encoded)),
            None => kept.push(protocol),
        }
    }
    // A client that offers nothing but the token could not accept an answer without a protocol.
    if kept.is_empty() {
        return None;
    }
    let token = token?;
    headers.insert(
        SEC_WEBSOCKET_PROTOCOL,
        HeaderValue::from_str(&kept.join(", ")).ok()?,
    );
    Some(token)
}

fn from_authorization(value: &HeaderValue) -> Option<String> {
    let (scheme, token) = value.to_str().ok()?.trim().split_once(' ')?;
    let token = token.trim_start();
    (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty()).then(|| token.to_owned())
}

fn decode(encoded: &str) -> Option<String> {
    String::from_utf8(URL_SAFE_NO_PAD.decode(encoded).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_found_and_taken_away() {
        let cases = [
            (AUTHORIZATION, "Bearer abc", Some("abc"), None),
            (AUTHORIZATION, "bearer  abc", Some("abc"), None),
            (AUTHORIZATION, "Basic abc", None, Some("Basic abc")),
            (AUTHORIZATION, "Bearer ", None, Some("Bearer ")),
            (
                SEC_WEBSOCKET_PROTOCOL,
                "base64url.bearer.authorization.k8s.io.YWJj, v4.channel.k8s.io",
                Some("abc"),
                Some("v4.channel.k8s.io"),
            ),
            (
                SEC_WEBSOCKET_PROTOCOL,
                "base64url.bearer.authorization.k8s.io.YWJj",
                None,
                Some("base64url.bearer.authorization.k8s.io.YWJj"),
            ),
        ];
        for (name, value, token, left) in cases {
            let mut headers = HeaderMap::new();
            headers.insert(name.clone(), HeaderValue::from_str(value).unwrap());
            assert_eq!(take(&mut headers).as_deref(), token, "{value}");
            assert_eq!(
                headers.get(&name).map(|value| value.to_str().unwrap()),
                left,
                "{value}"
            );
        }
    }
}
