//! Passing a request on to whom a connection leads, and joining two streams once both sides agreed to become one.
//!
//! Always holds: a stream is joined only where the client asked for that and the other side agreed; any other answer to such
//! a request is an ordinary answer, and the client's connection stays with this server.

use http::header::{self, HeaderName};
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode};
use http_body_util::BodyExt;
use hyper::body::Incoming as TheirBody;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use percent_encoding::{AsciiSet, CONTROLS};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::debug;

use bytes::Bytes;
use coracle_api::status::ApiError;

use crate::audit::Recorder;
use crate::request::{RequestContext, ResponseBody, full_body};

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

/// What may not stand in a path as it is.
pub(crate) const PATH_ESCAPES: &AsciiSet = &CONTROLS
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

/// Whether a request asks for its connection to be taken over, and can have that.
pub(crate) fn is_upgrading(context: &RequestContext, upgrade: Option<&OnUpgrade>) -> bool {
    upgrade.is_some() && context.headers.contains_key(header::UPGRADE)
}

/// What goes back to the client, who asked to take the connection over where `upgrade` is there.
///
/// # Errors
/// Where the other side took its connection over without having been asked to.
pub(crate) fn returned(
    mut answer: Response<TheirBody>,
    upgrade: Option<OnUpgrade>,
    audit: &Recorder,
    (tasks, shutdown): (&TaskTracker, &CancellationToken),
) -> Result<Response<ResponseBody>, ApiError> {
    let status = answer.status();
    if status != StatusCode::SWITCHING_PROTOCOLS {
        // A refusal is passed on, so that a client can try otherwise; any other answer, a redirect say, is none to this question.
        if upgrade.is_some() && status.as_u16() < 400 {
            let why = format!("invalid upgrade response: status code {}", status.as_u16());
            return Err(ApiError::internal(why));
        }
        return Ok(back(answer));
    }
    let Some(ours) = upgrade else {
        return Err(ApiError::unknown(
            "the backend switched protocols without having been asked to",
        ));
    };
    let theirs = hyper::upgrade::on(&mut answer);
    let (held, joining) = (audit.held(), join(ours, theirs, shutdown.clone()));
    tasks.spawn(async move {
        joining.await;
        drop(held);
    });
    let (head, _) = answer.into_parts();
    let mut response = Response::new(full_body(Bytes::new()));
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    *response.headers_mut() = head.headers;
    Ok(response)
}

/// The query as it was asked.
pub(crate) fn raw_query(query: &[(String, String)]) -> String {
    form_urlencoded::Serializer::new(String::new())
        .extend_pairs(query)
        .finish()
}

/// A request as it is sent on: to this host (with its port), for this target (path and query). What proves who sent it, and
/// what is about the connection it came over, stays behind.
///
/// # Errors
/// Where the target is none.
pub(crate) fn outgoing(
    context: &RequestContext,
    host: &str,
    target: &str,
    upgrading: bool,
    body: ResponseBody,
) -> Result<Request<ResponseBody>, ApiError> {
    let mut request = Request::new(body);
    *request.method_mut() = context.method.clone();
    *request.uri_mut() = target
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
    let host = HeaderValue::from_str(host).map_err(ApiError::internal)?;
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

/// An answer as it goes back.
fn back(answer: Response<TheirBody>) -> Response<ResponseBody> {
    let (mut head, body) = answer.into_parts();
    strip(&mut head.headers);
    head.version = http::Version::default();
    Response::from_parts(head, body_of(body))
}

/// A body of theirs as one of ours.
pub(crate) fn body_of(body: TheirBody) -> ResponseBody {
    body.map_err(std::io::Error::other).boxed_unsync()
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
pub(crate) mod fixtures {
    use http::Method;

    use super::*;
    use crate::http::request_info::{parse, parse_query};
    use crate::request::UserInfo;

    /// A request with secrets, with headers of its own connection, and one that asks for an upgrade.
    pub(crate) fn context(target: &str) -> RequestContext {
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
            warnings: Default::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::fixtures::context;
    use super::*;

    #[test]
    fn secrets_and_hop_by_hop_headers_stay_behind() {
        let asked = context("/api/v1/namespaces/a/pods/web/proxy/x");
        let sent = |upgrading| outgoing(&asked, "10.0.0.1:80", "/x", upgrading, full_body(Bytes::new()));
        let plain = sent(false).unwrap();
        let names: Vec<_> = plain.headers().keys().map(HeaderName::as_str).collect();
        assert_eq!(names.len(), 4, "{names:?}");
        assert_eq!(plain.headers()[header::HOST], "10.0.0.1:80");
        let upgraded = sent(true).unwrap();
        assert_eq!(upgraded.headers()[header::UPGRADE], "SPDY/3.1");
        assert_eq!(upgraded.headers()[header::CONNECTION], "Upgrade");
    }
}
