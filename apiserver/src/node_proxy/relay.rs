//! Passing a request on and its answer back, and joining two streams once both sides agreed to become one.

use bytes::Bytes;
use coracle_api::status::ApiError;
use http::header::{self, HeaderName};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming as TheirBody;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::debug;

use super::destination::Destination;
use super::dial::Dialer;
use super::stream_options;
use super::{links, log_socket};
use crate::http::respond;
use crate::http::router::Incoming;
use crate::request::{RequestContext, ResponseBody, full_body};

/// How much of a node agent's refusal is read, in bytes.
const MAX_REFUSAL_BYTES: usize = 50_000;

/// What may not stand in a path as it is.
const PATH_ESCAPES: &AsciiSet = &CONTROLS
    .add(b' ')
    .add(b'"')
    .add(b'#')
    .add(b'%')
    .add(b'<')
    .add(b'>')
    .add(b'?')
    .add(b'`')
    .add(b'{')
    .add(b'}');

/// Headers that are about one connection and end with it (RFC 9110, 7.6.1).
const HOP_BY_HOP: [HeaderName; 8] = [
    header::CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
];

type Answer = Result<Response<ResponseBody>, ApiError>;

/// Passes on a request for logs. A refusal becomes a `Status`, since the client knows nothing of node agents.
pub(super) async fn logs(
    dialer: &Dialer,
    destination: Destination,
    incoming: Incoming,
    tasks: &TaskTracker,
    shutdown: &CancellationToken,
) -> Answer {
    let socket = log_socket::wanted(&incoming.context.headers)?;
    let mut sender = dialer.dial(&destination, tasks).await.map_err(unreached)?;
    let request = Request::get(&destination.target)
        .header(header::HOST, destination.authority())
        .body(full_body(Bytes::new()))
        .map_err(ApiError::internal)?;
    let answer = sender.send_request(request).await.map_err(unreached)?;
    let (head, body) = answer.into_parts();
    if !(200..=206).contains(&head.status.as_u16()) {
        return Err(refusal(head.status, body, &incoming.context).await);
    }
    if let (Some(socket), Some(upgrade)) = (socket, incoming.upgrade) {
        tasks.spawn(log_socket::send(socket.framing, body, upgrade, shutdown.clone()));
        return Ok(socket.answer);
    }
    let media_type = HeaderValue::from_static("text/plain");
    let mut response = Response::new(body_of(body));
    let media_type = head
        .headers
        .get(header::CONTENT_TYPE)
        .cloned()
        .unwrap_or(media_type);
    response.headers_mut().insert(header::CONTENT_TYPE, media_type);
    Ok(response)
}

/// Passes on any request, and joins the streams where the other side agrees to.
pub(super) async fn pass(
    dialer: &Dialer,
    destination: Destination,
    incoming: Incoming,
    tasks: &TaskTracker,
    shutdown: &CancellationToken,
) -> Answer {
    let Incoming {
        context,
        body,
        upgrade,
        ..
    } = incoming;
    let upgrading = upgrade.is_some() && context.headers.contains_key(header::UPGRADE);
    let dialed = dialer.dial(&destination, tasks).await;
    let mut sender = dialed.map_err(|error| ApiError::unknown(format!("error dialing backend: {error}")))?;
    let body = if upgrading {
        full_body(Bytes::new())
    } else {
        body.into_stream()
    };
    let request = outgoing(&context, &destination, upgrading, body)?;
    let failed = |error: hyper::Error| ApiError::unknown(format!("error passing the request on: {error}"));
    let mut answer = sender.send_request(request).await.map_err(failed)?;
    if answer.status() != StatusCode::SWITCHING_PROTOCOLS {
        let page = links::Page::of(&context, &destination);
        return links::mended(page, back(answer)).await;
    }
    let Some(ours) = upgrade.filter(|_| upgrading) else {
        return Err(ApiError::unknown(
            "the backend switched protocols without having been asked to",
        ));
    };
    let theirs = hyper::upgrade::on(&mut answer);
    tasks.spawn(join(ours, theirs, shutdown.clone()));
    let (head, _) = answer.into_parts();
    let mut response = Response::new(full_body(Bytes::new()));
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    *response.headers_mut() = head.headers;
    Ok(response)
}

/// A GET or HEAD of the proxied root without a slash at its end is sent there: relative links would go astray otherwise.
pub(super) fn redirect_to_slash(context: &RequestContext) -> Option<Response<ResponseBody>> {
    let bare = context.info.parts.len() == 3 && !context.info.path.ends_with('/');
    if !bare
        || context.headers.contains_key(header::UPGRADE)
        || !matches!(context.method, Method::GET | Method::HEAD)
    {
        return None;
    }
    let path = utf8_percent_encode(&context.info.path, PATH_ESCAPES).to_string();
    let query = raw_query(&context.query);
    let location = if query.is_empty() {
        format!("{path}/")
    } else {
        format!("{path}/?{query}")
    };
    let mut response = respond::text(301, "");
    response
        .headers_mut()
        .insert(header::LOCATION, HeaderValue::from_str(&location).ok()?);
    Some(response)
}

/// What stands behind `…/proxy` in a path.
pub(super) fn rest_of_path(context: &RequestContext) -> String {
    let rest = context.info.parts.get(3..).unwrap_or_default().join("/");
    let slash = if !rest.is_empty() && context.info.path.ends_with('/') {
        "/"
    } else {
        ""
    };
    format!("/{}{slash}", utf8_percent_encode(&rest, PATH_ESCAPES))
}

/// The query as it was asked.
pub(super) fn raw_query(query: &[(String, String)]) -> String {
    stream_options::encode(query.iter().map(|(name, value)| (name.as_str(), value.as_str())))
}

fn outgoing(
    context: &RequestContext,
    destination: &Destination,
    upgrading: bool,
    body: ResponseBody,
) -> Result<Request<ResponseBody>, ApiError> {
    let mut request = Request::new(body);
    *request.method_mut() = context.method.clone();
    *request.uri_mut() = destination
        .target
        .parse()
        .map_err(|_| ApiError::bad_request("the path cannot be passed on"))?;
    let mut headers = context.headers.clone();
    strip(&mut headers);
    headers.remove(header::AUTHORIZATION);
    headers.remove(header::CONTENT_LENGTH);
    if upgrading {
        headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    } else {
        headers.remove(header::UPGRADE);
    }
    let forwarded = [
        (
            HeaderName::from_static("x-forwarded-host"),
            headers.get(header::HOST).cloned(),
        ),
        (
            HeaderName::from_static("x-forwarded-uri"),
            HeaderValue::from_str(&context.info.path).ok(),
        ),
        (
            HeaderName::from_static("x-forwarded-proto"),
            Some(HeaderValue::from_static("https")),
        ),
    ];
    for (name, value) in forwarded {
        if let Some(value) = value {
            headers.insert(name, value);
        }
    }
    let host = HeaderValue::from_str(&destination.authority()).map_err(ApiError::internal)?;
    headers.insert(header::HOST, host);
    *request.headers_mut() = headers;
    Ok(request)
}

fn strip(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .filter(|name| *name != header::UPGRADE)
        .collect();
    for name in named.iter().chain(&HOP_BY_HOP) {
        headers.remove(name);
    }
}

fn back(mut answer: Response<TheirBody>) -> Response<TheirBody> {
    strip(answer.headers_mut());
    *answer.version_mut() = http::Version::default();
    answer
}

pub(super) fn body_of(body: TheirBody) -> ResponseBody {
    body.map_err(std::io::Error::other).boxed_unsync()
}

fn unreached(error: impl std::fmt::Display) -> ApiError {
    ApiError::unknown(error.to_string())
}

/// A node agent's refusal, as upstream's `GenericHttpResponseChecker` retells it.
async fn refusal(status: StatusCode, body: TheirBody, context: &RequestContext) -> ApiError {
    let text = match Limited::new(body, MAX_REFUSAL_BYTES).collect().await {
        Ok(read) => String::from_utf8_lossy(&read.to_bytes()).into_owned(),
        Err(_) => String::new(),
    };
    match status.as_u16() {
        500 => ApiError::internal(text),
        400 => ApiError::bad_request(text),
        404 => {
            let name = &context.info.name;
            debug!(pod = %name, refusal = %text, "the node agent knows nothing of a pod's log");
            ApiError::generic(404, &text)
        }
        code => ApiError::generic(code, &text),
    }
}

/// Carries bytes both ways until one side or the server ends.
async fn join(ours: OnUpgrade, theirs: OnUpgrade, shutdown: CancellationToken) {
    let (ours, theirs) = match tokio::try_join!(ours, theirs) {
        Ok(both) => both,
        Err(error) => {
            debug!(%error, "a stream could not be joined");
            return;
        }
    };
    let (mut ours, mut theirs) = (TokioIo::new(ours), TokioIo::new(theirs));
    tokio::select! {
        () = shutdown.cancelled() => {}
        ended = tokio::io::copy_bidirectional(&mut ours, &mut theirs) => {
            if let Err(error) = ended {
                debug!(%error, "a joined stream ended early");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::request_info::{parse, parse_query};
    use crate::request::UserInfo;

    fn context(target: &str) -> RequestContext {
        let (path, query) = target
            .split_once('?')
            .map_or((target, None), |(path, query)| (path, Some(query)));
        let query = parse_query(query);
        let info = parse(&Method::GET, path, &query).unwrap();
        let headers = HeaderMap::from_iter([
            (header::AUTHORIZATION, HeaderValue::from_static("Bearer secret")),
            (
                header::CONNECTION,
                HeaderValue::from_static("keep-alive, X-Own, Upgrade"),
            ),
            (HeaderName::from_static("x-own"), HeaderValue::from_static("1")),
            (header::UPGRADE, HeaderValue::from_static("SPDY/3.1")),
            (header::ACCEPT, HeaderValue::from_static("text/html")),
        ]);
        RequestContext {
            info,
            user: UserInfo::default(),
            method: Method::GET,
            query,
            headers,
        }
    }

    #[test]
    fn the_path_behind_proxy_is_passed_on() {
        let cases = [
            ("/api/v1/namespaces/a/pods/web/proxy/", "/"),
            ("/api/v1/namespaces/a/pods/web/proxy/x/y", "/x/y"),
            ("/api/v1/namespaces/a/pods/web/proxy/x/", "/x/"),
            ("/api/v1/nodes/n1/proxy/a%20b", "/a%20b"),
        ];
        for (path, want) in cases {
            assert_eq!(rest_of_path(&context(path)), want, "{path}");
        }
        assert_eq!(
            raw_query(&context("/api/v1/nodes/n1/proxy/x?a=1&a=b+c").query),
            "a=1&a=b+c"
        );
    }

    #[test]
    fn a_bare_root_is_sent_to_its_slash() {
        let mut bare = context("/api/v1/namespaces/a/pods/web/proxy?x=1");
        bare.headers.remove(header::UPGRADE);
        let moved = redirect_to_slash(&bare).unwrap();
        assert_eq!(
            moved.headers()[header::LOCATION],
            "/api/v1/namespaces/a/pods/web/proxy/?x=1"
        );
        for (method, moves) in [(Method::HEAD, true), (Method::POST, false)] {
            bare.method = method;
            assert_eq!(redirect_to_slash(&bare).is_some(), moves);
        }
        let mut deep = context("/api/v1/namespaces/a/pods/web/proxy/x");
        deep.headers.remove(header::UPGRADE);
        assert!(redirect_to_slash(&deep).is_none());
    }

    #[test]
    fn secrets_and_hop_by_hop_headers_stay_behind() {
        let asked = context("/api/v1/namespaces/a/pods/web/proxy/x");
        let destination =
            Destination::new(super::super::destination::Transport::Plain, "10.0.0.1", 80).to("/x", "");
        let plain = outgoing(&asked, &destination, false, full_body(Bytes::new())).unwrap();
        let names: Vec<_> = plain.headers().keys().map(HeaderName::as_str).collect();
        assert_eq!(names.len(), 4, "{names:?}");
        assert_eq!(plain.headers()[header::HOST], "10.0.0.1:80");
        let upgraded = outgoing(&asked, &destination, true, full_body(Bytes::new())).unwrap();
        assert_eq!(upgraded.headers()[header::UPGRADE], "SPDY/3.1");
        assert_eq!(upgraded.headers()[header::CONNECTION], "Upgrade");
    }
}
