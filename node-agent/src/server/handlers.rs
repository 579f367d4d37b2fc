//! Answers to what the routes ask for.

use std::sync::Arc;

use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::{Frame, Incoming};
use jiff::SignedDuration;
use k8s_cri::v1 as cri;
use k8s_openapi::api::core::v1::Pod;
use serde_json::json;
use tokio_stream::StreamExt;

use super::route::{LogQuery, Route, Streams};
use super::{Body, resource_metrics, stats, text, upgrade, with_type};
use crate::clock;
use crate::cri::CriError;
use crate::logs::{self, LogOptions};
use crate::pod::{Context, Directory, Known};
use crate::runtime::{Container, ContainerPhase};
use crate::spec::container::log_path;

/// A request that cannot be served.
#[derive(Debug, thiserror::Error)]
enum Refusal {
    #[error("pod \"{0}\" does not exist")]
    NoPod(String),
    #[error("container \"{container}\" in pod \"{pod}\" is not available")]
    NoContainer { pod: String, container: String },
    #[error("container \"{container}\" in pod \"{pod}\" is waiting to start: {reason}")]
    Waiting {
        pod: String,
        container: String,
        reason: String,
    },
    #[error("previous terminated container \"{container}\" in pod \"{pod}\" not found")]
    NoPrevious { pod: String, container: String },
    #[error("container \"{container}\" in pod \"{pod}\" is not running")]
    NotRunning { pod: String, container: String },
    #[error("{0}")]
    Runtime(String),
    #[error("failed to open log file: {0}")]
    Log(std::io::Error),
}

impl From<CriError> for Refusal {
    fn from(error: CriError) -> Self {
        Refusal::Runtime(error.message())
    }
}

impl Refusal {
    fn code(&self) -> StatusCode {
        match self {
            Refusal::NoPod(_) | Refusal::NoContainer { .. } => StatusCode::NOT_FOUND,
            Refusal::Waiting { .. } | Refusal::NoPrevious { .. } | Refusal::NotRunning { .. } => {
                StatusCode::BAD_REQUEST
            }
            Refusal::Runtime(_) | Refusal::Log(_) => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }
}

pub(super) async fn handle(
    route: Route,
    request: Request<Incoming>,
    context: Arc<Context>,
    directory: Directory,
) -> Response<Body> {
    let answer = match route {
        Route::Health => Ok(text(StatusCode::OK, "ok")),
        Route::Pods => Ok(pods(&directory)),
        Route::Metrics => stats::metrics(&context, &directory).await.map_err(Refusal::from),
        Route::ResourceMetrics => resource_metrics::answer(&context, &directory)
            .await
            .map_err(Refusal::from),
        Route::Summary => stats::summary(&context).await.map_err(Refusal::from),
        Route::Logs {
            namespace,
            pod,
            container,
            query,
        } => container_logs(&context, &directory, &namespace, &pod, &container, &query).await,
        Route::Exec {
            namespace,
            pod,
            container,
            command,
            streams,
        } => match running(&directory, &namespace, &pod, &container) {
            Ok(id) => exec(&context, id, command, streams, request).await,
            Err(refusal) => Err(refusal),
        },
        Route::Attach {
            namespace,
            pod,
            container,
            streams,
        } => match running(&directory, &namespace, &pod, &container) {
            Ok(id) => attach(&context, id, streams, request).await,
            Err(refusal) => Err(refusal),
        },
        Route::PortForward {
            namespace,
            pod,
            ports,
        } => port_forward(&context, &directory, &namespace, &pod, ports, request).await,
    };
    answer.unwrap_or_else(|refusal| text(refusal.code(), refusal.to_string()))
}

fn pods(directory: &Directory) -> Response<Body> {
    let items: Vec<Pod> = directory.all().into_iter().map(|k| (*k.pod).clone()).collect();
    let list = json!({"kind": "PodList", "apiVersion": "v1", "metadata": {}, "items": items});
    with_type(StatusCode::OK, "application/json", list.to_string().into_bytes())
}

fn find(directory: &Directory, namespace: &str, pod: &str) -> Result<Known, Refusal> {
    directory
        .find(namespace, pod)
        .ok_or_else(|| Refusal::NoPod(pod.to_owned()))
}

fn has_container(pod: &Pod, name: &str) -> bool {
    pod.spec
        .as_ref()
        .is_some_and(|s| crate::plan::find_container(s, name).is_some())
}

fn running(directory: &Directory, namespace: &str, pod: &str, container: &str) -> Result<String, Refusal> {
    let known = find(directory, namespace, pod)?;
    let (pod, name) = (pod.to_owned(), container.to_owned());
    match known.runtime.latest(container) {
        Some(c) if c.is_running() => Ok(c.id.clone()),
        None if !has_container(&known.pod, container) => Err(Refusal::NoContainer { pod, container: name }),
        _ => Err(Refusal::NotRunning { pod, container: name }),
    }
}

async fn container_logs(
    context: &Arc<Context>,
    directory: &Directory,
    namespace: &str,
    pod: &str,
    name: &str,
    query: &LogQuery,
) -> Result<Response<Body>, Refusal> {
    let known = find(directory, namespace, pod)?;
    let container = choose_log(&known, pod, name, query.previous)?;
    let uid = known.pod.metadata.uid.as_deref().unwrap_or_default();
    let path = context
        .config
        .pod_logs(namespace, pod, uid)
        .join(log_path(name, container.attempt));
    let now = clock::now();
    let since = query
        .since_seconds
        .and_then(|s| now.checked_sub(SignedDuration::from_secs(s)).ok())
        .or(query.since_time);
    let options = LogOptions {
        follow: query.follow && !query.previous,
        tail_lines: query.tail_lines,
        since,
        timestamps: query.timestamps,
        limit_bytes: query.limit_bytes,
        stream: logs::stream_named(query.stream.as_deref()),
    };
    let (cri, id) = (context.cri.clone(), container.id.clone());
    let ended = move || {
        let (cri, id) = (cri.clone(), id.clone());
        async move { cri.has_ended(&id).await }
    };
    let stream = logs::stream(
        path,
        options,
        ended,
        context.shutdown.child_token(),
        &context.tasks,
    )
    .await
    .map_err(Refusal::Log)?;
    let body = StreamBody::new(stream.map(|piece| piece.map(Frame::data)));
    let mut response = Response::new(BodyExt::boxed(body));
    let plain = http::HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(http::header::CONTENT_TYPE, plain);
    Ok(response)
}

fn choose_log<'a>(known: &'a Known, pod: &str, name: &str, previous: bool) -> Result<&'a Container, Refusal> {
    let (pod, container) = (pod.to_owned(), name.to_owned());
    if !has_container(&known.pod, name) {
        return Err(Refusal::NoContainer { pod, container });
    }
    let mut records = known.runtime.containers.iter().filter(|c| c.name == name);
    let newest = records.next();
    if previous {
        // The newest ended one is the previous one also while its successor waits to be made.
        let ended = newest
            .filter(|c| c.has_exited())
            .or_else(|| records.find(|c| c.has_exited()));
        return ended.ok_or(Refusal::NoPrevious { pod, container });
    }
    match newest {
        Some(c) if c.phase != ContainerPhase::Created => Ok(c),
        _ => {
            let reason = waiting_reason(&known.pod, name).unwrap_or_else(|| "ContainerCreating".into());
            Err(Refusal::Waiting {
                pod,
                container,
                reason,
            })
        }
    }
}

fn waiting_reason(pod: &Pod, name: &str) -> Option<String> {
    let status = pod.status.as_ref()?;
    let lists = [
        &status.container_statuses,
        &status.init_container_statuses,
        &status.ephemeral_container_statuses,
    ];
    let found = lists.into_iter().flatten().flatten().find(|s| s.name == name)?;
    found.state.as_ref()?.waiting.as_ref()?.reason.clone()
}

async fn exec(
    context: &Arc<Context>,
    container_id: String,
    cmd: Vec<String>,
    streams: Streams,
    request: Request<Incoming>,
) -> Result<Response<Body>, Refusal> {
    let asked = cri::ExecRequest {
        container_id,
        cmd,
        tty: streams.tty,
        stdin: streams.stdin,
        stdout: streams.stdout,
        stderr: streams.stderr,
    };
    let url = context.cri.exec_url(asked).await?;
    Ok(upgrade::pass_through(request, &url, &context.tasks, &context.shutdown).await)
}

async fn attach(
    context: &Arc<Context>,
    container_id: String,
    streams: Streams,
    request: Request<Incoming>,
) -> Result<Response<Body>, Refusal> {
    let asked = cri::AttachRequest {
        container_id,
        tty: streams.tty,
        stdin: streams.stdin,
        stdout: streams.stdout,
        stderr: streams.stderr,
    };
    let url = context.cri.attach_url(asked).await?;
    Ok(upgrade::pass_through(request, &url, &context.tasks, &context.shutdown).await)
}

async fn port_forward(
    context: &Arc<Context>,
    directory: &Directory,
    namespace: &str,
    pod: &str,
    port: Vec<i32>,
    request: Request<Incoming>,
) -> Result<Response<Body>, Refusal> {
    let known = find(directory, namespace, pod)?;
    let Some(sandbox) = known.runtime.ready_sandbox() else {
        return Err(Refusal::Runtime(format!("pod \"{pod}\" has no running sandbox")));
    };
    let pod_sandbox_id = sandbox.id.clone();
    let url = context
        .cri
        .port_forward_url(cri::PortForwardRequest { pod_sandbox_id, port })
        .await?;
    Ok(upgrade::pass_through(request, &url, &context.tasks, &context.shutdown).await)
}
