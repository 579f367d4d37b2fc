//! Passing requests on to pods, services and node agents.

use bytes::Bytes;
use coracle_api::status::ApiError;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming as TheirBody;
use percent_encoding::utf8_percent_encode;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::debug;

use super::destination::Destination;
use super::dial::Dialer;
use super::translate::Translation;
use super::{links, log_socket};
use crate::http::respond;
use crate::http::router::Incoming;
use crate::outbound::{PATH_ESCAPES, body_of, is_upgrading, outgoing, raw_query, returned};
use crate::request::{RequestContext, ResponseBody, full_body};

/// How much of a node agent's refusal is read, in bytes.
const MAX_REFUSAL_BYTES: usize = 50_000;

/// How much is read of what a node agent says of its pods.
const MAX_FIGURES_BYTES: usize = 16 << 20;

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
    let answer = get(dialer, &destination, tasks).await?;
    let (head, body) = answer.into_parts();
    if !(200..=206).contains(&head.status.as_u16()) {
        return Err(refusal(head.status, body, &incoming.context).await);
    }
    if let (Some(socket), Some(upgrade)) = (socket, incoming.upgrade) {
        let held = incoming.context.warnings.audit().held();
        let sending = log_socket::send(socket.framing, body, upgrade, shutdown.clone());
        tasks.spawn(async move {
            sending.await;
            drop(held);
        });
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

/// What a node agent answers at a path.
async fn get(
    dialer: &Dialer,
    destination: &Destination,
    tasks: &TaskTracker,
) -> Result<Response<TheirBody>, ApiError> {
    let mut sender = dialer.dial(destination, tasks).await.map_err(unreached)?;
    let request = Request::get(&destination.target)
        .header(header::HOST, destination.authority())
        .body(full_body(Bytes::new()))
        .map_err(ApiError::internal)?;
    sender.send_request(request).await.map_err(unreached)
}

/// Reads what a node agent says at a path.
pub(super) async fn read(
    dialer: &Dialer,
    destination: Destination,
    tasks: &TaskTracker,
) -> Result<Bytes, ApiError> {
    let answer = get(dialer, &destination, tasks).await?;
    if answer.status() != StatusCode::OK {
        return Err(ApiError::generic(answer.status().as_u16(), ""));
    }
    let body = Limited::new(answer.into_body(), MAX_FIGURES_BYTES)
        .collect()
        .await;
    Ok(body.map_err(unreached)?.to_bytes())
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
    let upgrade = upgrade.filter(|upgrade| is_upgrading(&context, Some(upgrade)));
    let dialed = dialer.dial(&destination, tasks).await;
    let mut sender = dialed.map_err(|error| ApiError::unknown(format!("error dialing backend: {error}")))?;
    let body = match upgrade {
        Some(_) => full_body(Bytes::new()),
        None => body.into_stream(),
    };
    let (host, target) = (destination.authority(), &destination.target);
    let request = outgoing(&context, &host, target, upgrade.is_some(), body)?;
    let failed = |error: hyper::Error| ApiError::unknown(format!("error passing the request on: {error}"));
    let answer = sender.send_request(request).await.map_err(failed)?;
    let page = links::Page::of(&context, &destination);
    let audit = context.warnings.audit();
    links::mended(page, returned(answer, upgrade, audit, (tasks, shutdown))?).await
}

/// Passes on a request for a stream in another protocol than it was asked for in.
pub(super) async fn translated(
    translation: Translation,
    dialer: &Dialer,
    destination: Destination,
    incoming: Incoming,
    tasks: &TaskTracker,
    shutdown: &CancellationToken,
) -> Answer {
    let opened = log_socket::opened(&incoming.context.headers, translation.protocol())?;
    let audit = incoming.context.warnings.audit();
    let upgrade_required = || ApiError::bad_request("Upgrade request required");
    let ours = incoming.upgrade.ok_or_else(upgrade_required)?;
    let dialed = dialer.dial(&destination, tasks).await;
    let mut sender = dialed.map_err(|error| ApiError::unknown(format!("error dialing backend: {error}")))?;
    let request = translation.request(&destination.authority(), &destination.target);
    let sent = sender.send_request(request.map_err(ApiError::internal)?).await;
    let failed = |error: hyper::Error| ApiError::unknown(format!("error passing the request on: {error}"));
    let mut answer = sent.map_err(failed)?;
    if answer.status() != StatusCode::SWITCHING_PROTOCOLS {
        return returned(answer, None, audit, (tasks, shutdown));
    }
    let theirs = hyper::upgrade::on(&mut answer);
    let (held, running) = (audit.held(), translation.run(ours, theirs, shutdown.clone()));
    tasks.spawn(async move {
        running.await;
        drop(held);
    });
    Ok(opened)
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outbound::fixtures::context;

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
}
