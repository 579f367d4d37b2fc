//! The CRI adapter: gRPC over a unix socket. It carries requests out and tells what it sees; it decides nothing.
//!
//! The connection is made on first use and again whenever it broke, so a runtime that restarts is found again without
//! anyone's help.

mod images;
mod inspect;
mod resize;

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use hyper_util::rt::TokioIo;
use k8s_cri::v1 as cri;
use k8s_cri::v1::image_service_client::ImageServiceClient;
use k8s_cri::v1::runtime_service_client::RuntimeServiceClient;
use tokio::net::UnixStream;
use tonic::Code;
use tonic::transport::{Channel, Endpoint, Uri};

pub(crate) use images::ImageInfo;

use crate::runtime::{Container, PodIdentity};

/// For calls that only read or that a runtime answers at once.
const SHORT: Duration = Duration::from_secs(120);
/// For making sandboxes, which run CNI plugins.
const LONG: Duration = Duration::from_secs(240);
/// Answers larger than this are refused, as upstream does.
const MAX_MESSAGE_BYTES: usize = 16 * 1024 * 1024;

/// A runtime call that failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CriError {
    /// The runtime answered with an error.
    #[error("rpc error: code = {code:?} desc = {message}")]
    Refused { code: Code, message: String },
    /// There is no runtime at the socket.
    #[error("container runtime is not reachable at {socket}: {message}")]
    Unreachable { socket: String, message: String },
}

impl CriError {
    pub(crate) fn is_not_found(&self) -> bool {
        matches!(
            self,
            CriError::Refused {
                code: Code::NotFound,
                ..
            }
        )
    }

    /// What the runtime said, without the dressing.
    pub(crate) fn message(&self) -> String {
        match self {
            CriError::Refused { message, .. } => message.clone(),
            other => other.to_string(),
        }
    }
}

/// What the runtime says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct RuntimeHealth {
    /// Why it cannot run containers; none if it can.
    pub(crate) runtime_fault: Option<String>,
    /// Why it cannot give pods a network; none if it can.
    pub(crate) network_fault: Option<String>,
}

/// A pod in the runtime, seen from afar: who it is and a mark that changes when anything about it does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Glimpse {
    pub(crate) identity: PodIdentity,
    pub(crate) mark: Vec<(String, i32)>,
}

/// Exit code and output of a command in a container.
#[derive(Clone, Debug)]
pub(crate) struct ExecOutput {
    pub(crate) exit_code: i32,
    pub(crate) output: String,
}

/// A handle to the runtime; clones share one connection.
#[derive(Clone)]
pub(crate) struct Cri {
    socket: Arc<PathBuf>,
    runtime: RuntimeServiceClient<Channel>,
    images: ImageServiceClient<Channel>,
    /// Ended containers do not change, so what was read of them is kept.
    ended: Arc<Mutex<HashMap<String, Container>>>,
}

impl Cri {
    /// A handle to the runtime behind `socket`. Nothing is connected yet.
    pub(crate) fn new(socket: PathBuf) -> Self {
        let path = socket.clone();
        // The authority is not used on a unix socket, but HTTP/2 wants one.
        let channel = Endpoint::from_static("http://localhost").connect_with_connector_lazy(
            tower::service_fn(move |_: Uri| {
                let path = path.clone();
                async move { Ok::<_, std::io::Error>(TokioIo::new(UnixStream::connect(path).await?)) }
            }),
        );
        Self {
            socket: Arc::new(socket),
            runtime: RuntimeServiceClient::new(channel.clone()).max_decoding_message_size(MAX_MESSAGE_BYTES),
            images: ImageServiceClient::new(channel).max_decoding_message_size(MAX_MESSAGE_BYTES),
            ended: Arc::default(),
        }
    }

    fn fault(&self, status: tonic::Status) -> CriError {
        if status.code() == Code::Unavailable {
            let socket = self.socket.display().to_string();
            let source = std::error::Error::source(&status).map(root_cause);
            return CriError::Unreachable {
                socket,
                message: source.unwrap_or_else(|| status.message().into()),
            };
        }
        CriError::Refused {
            code: status.code(),
            message: status.message().to_owned(),
        }
    }

    /// `containerd://1.6.20`.
    pub(crate) async fn version(&self) -> Result<String, CriError> {
        let request = timed(cri::VersionRequest { version: "v1".into() }, SHORT);
        let answer = self
            .runtime
            .clone()
            .version(request)
            .await
            .map_err(|s| self.fault(s))?
            .into_inner();
        Ok(format!("{}://{}", answer.runtime_name, answer.runtime_version))
    }

    pub(crate) async fn health(&self) -> Result<RuntimeHealth, CriError> {
        let request = timed(cri::StatusRequest { verbose: false }, SHORT);
        let answer = self
            .runtime
            .clone()
            .status(request)
            .await
            .map_err(|s| self.fault(s))?
            .into_inner();
        let conditions = answer.status.map(|s| s.conditions).unwrap_or_default();
        let fault = |kind: &str| match conditions.iter().find(|c| c.r#type == kind) {
            Some(c) if c.status => None,
            Some(c) => Some(format!("{kind}=false reason:{} message:{}", c.reason, c.message)),
            None => Some(format!("{kind}=false reason:NotReported message:")),
        };
        Ok(RuntimeHealth {
            runtime_fault: fault("RuntimeReady"),
            network_fault: fault("NetworkReady"),
        })
    }

    /// Every pod that the runtime knows, by uid.
    pub(crate) async fn glimpse_all(&self) -> Result<BTreeMap<String, Glimpse>, CriError> {
        let (mut a, mut b) = (self.runtime.clone(), self.runtime.clone());
        let sandboxes = a.list_pod_sandbox(timed(cri::ListPodSandboxRequest { filter: None }, SHORT));
        let containers = b.list_containers(timed(cri::ListContainersRequest { filter: None }, SHORT));
        let (sandboxes, containers) = tokio::try_join!(sandboxes, containers).map_err(|s| self.fault(s))?;
        let containers = containers.into_inner().containers;
        self.forget_ended_except(&containers);
        Ok(inspect::glimpses(sandboxes.into_inner().items, containers))
    }

    pub(crate) async fn run_sandbox(
        &self,
        config: cri::PodSandboxConfig,
        handler: &str,
    ) -> Result<String, CriError> {
        let request = timed(
            cri::RunPodSandboxRequest {
                config: Some(config),
                runtime_handler: handler.into(),
            },
            LONG,
        );
        let answer = self
            .runtime
            .clone()
            .run_pod_sandbox(request)
            .await
            .map_err(|s| self.fault(s))?;
        Ok(answer.into_inner().pod_sandbox_id)
    }

    pub(crate) async fn stop_sandbox(&self, id: &str) -> Result<(), CriError> {
        let request = timed(
            cri::StopPodSandboxRequest {
                pod_sandbox_id: id.into(),
            },
            LONG,
        );
        ignore_missing(
            self.runtime
                .clone()
                .stop_pod_sandbox(request)
                .await
                .map_err(|s| self.fault(s)),
        )
    }

    /// Stops and removes a sandbox with all that is in it.
    pub(crate) async fn remove_sandbox(&self, id: &str) -> Result<(), CriError> {
        self.stop_sandbox(id).await?;
        let request = timed(
            cri::RemovePodSandboxRequest {
                pod_sandbox_id: id.into(),
            },
            SHORT,
        );
        ignore_missing(
            self.runtime
                .clone()
                .remove_pod_sandbox(request)
                .await
                .map_err(|s| self.fault(s)),
        )
    }

    pub(crate) async fn create_container(
        &self,
        sandbox_id: &str,
        config: cri::ContainerConfig,
        sandbox_config: cri::PodSandboxConfig,
    ) -> Result<String, CriError> {
        let request = cri::CreateContainerRequest {
            pod_sandbox_id: sandbox_id.into(),
            config: Some(config),
            sandbox_config: Some(sandbox_config),
        };
        let answer = self
            .runtime
            .clone()
            .create_container(timed(request, LONG))
            .await
            .map_err(|s| self.fault(s))?;
        Ok(answer.into_inner().container_id)
    }

    pub(crate) async fn start_container(&self, id: &str) -> Result<(), CriError> {
        let request = timed(
            cri::StartContainerRequest {
                container_id: id.into(),
            },
            LONG,
        );
        self.runtime
            .clone()
            .start_container(request)
            .await
            .map(drop)
            .map_err(|s| self.fault(s))
    }

    /// Asks the container to end and kills it after `grace_seconds`.
    pub(crate) async fn stop_container(&self, id: &str, grace_seconds: i64) -> Result<(), CriError> {
        let grace = grace_seconds.max(0);
        let limit = SHORT + Duration::from_secs(grace.unsigned_abs());
        let request = timed(
            cri::StopContainerRequest {
                container_id: id.into(),
                timeout: grace,
            },
            limit,
        );
        ignore_missing(
            self.runtime
                .clone()
                .stop_container(request)
                .await
                .map_err(|s| self.fault(s)),
        )
    }

    pub(crate) async fn remove_container(&self, id: &str) -> Result<(), CriError> {
        let request = timed(
            cri::RemoveContainerRequest {
                container_id: id.into(),
            },
            SHORT,
        );
        ignore_missing(
            self.runtime
                .clone()
                .remove_container(request)
                .await
                .map_err(|s| self.fault(s)),
        )
    }

    pub(crate) async fn reopen_log(&self, id: &str) -> Result<(), CriError> {
        let request = timed(
            cri::ReopenContainerLogRequest {
                container_id: id.into(),
            },
            SHORT,
        );
        self.runtime
            .clone()
            .reopen_container_log(request)
            .await
            .map(drop)
            .map_err(|s| self.fault(s))
    }

    /// Runs a command to its end; standard output and error come back as one text.
    pub(crate) async fn exec_sync(
        &self,
        id: &str,
        command: &[String],
        timeout: Duration,
    ) -> Result<ExecOutput, CriError> {
        let request = cri::ExecSyncRequest {
            container_id: id.into(),
            cmd: command.to_vec(),
            timeout: i64::try_from(timeout.as_secs()).unwrap_or(i64::MAX),
        };
        let request = timed(request, timeout + Duration::from_secs(10));
        let answer = self
            .runtime
            .clone()
            .exec_sync(request)
            .await
            .map_err(|s| self.fault(s))?
            .into_inner();
        let mut output = answer.stdout;
        output.extend(answer.stderr);
        Ok(ExecOutput {
            exit_code: answer.exit_code,
            output: String::from_utf8_lossy(&output).into_owned(),
        })
    }

    /// Where the runtime serves this exec session.
    pub(crate) async fn exec_url(&self, request: cri::ExecRequest) -> Result<String, CriError> {
        let answer = self
            .runtime
            .clone()
            .exec(timed(request, SHORT))
            .await
            .map_err(|s| self.fault(s))?;
        Ok(answer.into_inner().url)
    }

    /// Where the runtime serves this attach session.
    pub(crate) async fn attach_url(&self, request: cri::AttachRequest) -> Result<String, CriError> {
        let answer = self
            .runtime
            .clone()
            .attach(timed(request, SHORT))
            .await
            .map_err(|s| self.fault(s))?;
        Ok(answer.into_inner().url)
    }

    /// Where the runtime serves this port-forward session.
    pub(crate) async fn port_forward_url(
        &self,
        request: cri::PortForwardRequest,
    ) -> Result<String, CriError> {
        let answer = self
            .runtime
            .clone()
            .port_forward(timed(request, SHORT))
            .await
            .map_err(|s| self.fault(s))?;
        Ok(answer.into_inner().url)
    }

    pub(crate) async fn list_stats(&self) -> Result<Vec<cri::ContainerStats>, CriError> {
        let request = timed(cri::ListContainerStatsRequest { filter: None }, SHORT);
        let answer = self
            .runtime
            .clone()
            .list_container_stats(request)
            .await
            .map_err(|s| self.fault(s))?;
        Ok(answer.into_inner().stats)
    }
}

fn timed<T>(message: T, limit: Duration) -> tonic::Request<T> {
    let mut request = tonic::Request::new(message);
    request.set_timeout(limit);
    request
}

fn ignore_missing<T>(result: Result<T, CriError>) -> Result<(), CriError> {
    match result {
        Err(error) if !error.is_not_found() => Err(error),
        _ => Ok(()),
    }
}

fn root_cause(error: &(dyn std::error::Error + 'static)) -> String {
    let mut cause = error;
    while let Some(next) = cause.source() {
        cause = next;
    }
    cause.to_string()
}
