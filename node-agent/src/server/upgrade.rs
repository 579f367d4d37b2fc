//! Handing a streaming request through to the runtime's own streaming server, byte by byte.

use bytes::Bytes;
use http::uri::{PathAndQuery, Uri};
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::{Body, text};

/// Sends the request on to `url`. If the runtime switches protocols, so does this server, and the two connections are
/// joined until one side ends.
pub(super) async fn pass_through(
    request: Request<Incoming>,
    url: &str,
    tasks: &TaskTracker,
    shutdown: &CancellationToken,
) -> Response<Body> {
    match try_pass(request, url, tasks, shutdown).await {
        Ok(response) => response,
        Err(fault) => text(
            StatusCode::BAD_GATEWAY,
            format!("error dialing the container runtime: {fault}"),
        ),
    }
}

async fn try_pass(
    mut request: Request<Incoming>,
    url: &str,
    tasks: &TaskTracker,
    shutdown: &CancellationToken,
) -> Result<Response<Body>, String> {
    let url: Uri = url.parse().map_err(|e| format!("{e}"))?;
    let authority = url
        .authority()
        .ok_or("the runtime gave a streaming URL without a host")?
        .clone();
    let stream = TcpStream::connect((
        authority.host().trim_matches(['[', ']']),
        authority.port_u16().unwrap_or(80),
    ))
    .await
    .map_err(|e| e.to_string())?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|e| e.to_string())?;
    let end = shutdown.clone();
    tasks.spawn(async move {
        tokio::select! {
            () = end.cancelled() => {}
            _ = connection.with_upgrades() => {}
        }
    });
    let incoming = hyper::upgrade::on(&mut request);
    let mut response = sender
        .send_request(onward(&request, &url)?)
        .await
        .map_err(|e| e.to_string())?;
    if response.status() != StatusCode::SWITCHING_PROTOCOLS {
        return Ok(response.map(|body| body.map_err(std::io::Error::other).boxed()));
    }
    let outgoing = hyper::upgrade::on(&mut response);
    let end = shutdown.clone();
    tasks.spawn(async move {
        let joined = async {
            let (incoming, outgoing) = tokio::try_join!(incoming, outgoing)?;
            let (mut a, mut b) = (TokioIo::new(incoming), TokioIo::new(outgoing));
            // An end that is cut off in the middle is no fault of ours.
            let _ = tokio::io::copy_bidirectional(&mut a, &mut b).await;
            Ok::<_, hyper::Error>(())
        };
        tokio::select! {
            () = end.cancelled() => {}
            result = joined => if let Err(error) = result {
                tracing::debug!(%error, "stream not joined");
            }
        }
    });
    let mut switched = Response::new(Empty::<Bytes>::new().map_err(|never| match never {}).boxed());
    *switched.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    *switched.headers_mut() = response.headers().clone();
    Ok(switched)
}

/// The same method and headers, but the runtime's own path and host; who asked is nobody else's business.
fn onward(request: &Request<Incoming>, url: &Uri) -> Result<Request<Empty<Bytes>>, String> {
    let path = url.path_and_query().map_or("/", PathAndQuery::as_str);
    let mut onward = Request::builder().method(request.method()).uri(path);
    for (name, value) in request.headers() {
        if name != http::header::HOST
            && name != http::header::AUTHORIZATION
            && name != http::header::CONTENT_LENGTH
        {
            onward = onward.header(name, value);
        }
    }
    let host = url.authority().map_or("localhost", |a| a.as_str());
    onward
        .header(http::header::HOST, host)
        .body(Empty::new())
        .map_err(|e| e.to_string())
}
