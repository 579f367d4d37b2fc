//! From the runtime's messages to what plans look at.

use std::collections::BTreeMap;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::PoisonError;

use jiff::Timestamp;
use k8s_cri::v1 as cri;

use super::{Cri, CriError, Glimpse, SHORT, timed};
use crate::logs;
use crate::runtime::{Container, ContainerPhase, PodIdentity, PodRuntime, Sandbox, label};

/// Upstream's bounds for a container's last words.
const MAX_MESSAGE_BYTES: u64 = 4096;
const MAX_FALLBACK_BYTES: u64 = 2048;
const MAX_FALLBACK_LINES: usize = 80;

/// Groups sandboxes and containers by pod.
pub(super) fn glimpses(
    sandboxes: Vec<cri::PodSandbox>,
    containers: Vec<cri::Container>,
) -> BTreeMap<String, Glimpse> {
    let mut pods: BTreeMap<String, Glimpse> = BTreeMap::new();
    let mut note = |labels: &std::collections::HashMap<String, String>, id: String, state: i32| {
        let get = |key: &str| labels.get(key).cloned().unwrap_or_default();
        let identity = PodIdentity {
            uid: get(label::POD_UID),
            namespace: get(label::POD_NAMESPACE),
            name: get(label::POD_NAME),
        };
        if identity.uid.is_empty() {
            return;
        }
        let pod = pods.entry(identity.uid.clone()).or_insert_with(|| Glimpse {
            identity,
            mark: Vec::new(),
        });
        pod.mark.push((id, state));
    };
    for sandbox in sandboxes {
        note(&sandbox.labels, sandbox.id, sandbox.state);
    }
    for container in containers {
        note(&container.labels, container.id, container.state);
    }
    pods.values_mut().for_each(|pod| pod.mark.sort());
    pods
}

impl Cri {
    /// All that the runtime holds for a pod.
    pub(crate) async fn inspect(&self, uid: &str) -> Result<PodRuntime, CriError> {
        let labels = std::collections::HashMap::from([(label::POD_UID.to_owned(), uid.to_owned())]);
        let sandboxes = cri::ListPodSandboxRequest {
            filter: Some(cri::PodSandboxFilter {
                label_selector: labels.clone(),
                ..cri::PodSandboxFilter::default()
            }),
        };
        let containers = cri::ListContainersRequest {
            filter: Some(cri::ContainerFilter {
                label_selector: labels,
                ..cri::ContainerFilter::default()
            }),
        };
        let (mut a, mut b) = (self.runtime.clone(), self.runtime.clone());
        let (sandboxes, containers) = tokio::try_join!(
            a.list_pod_sandbox(timed(sandboxes, SHORT)),
            b.list_containers(timed(containers, SHORT))
        )
        .map_err(|s| self.fault(s))?;
        let mut pod = PodRuntime::default();
        for sandbox in sandboxes.into_inner().items {
            pod.sandboxes.extend(self.sandbox(&sandbox.id).await?);
        }
        for container in containers.into_inner().containers {
            pod.containers
                .extend(self.container(&container.id, &container.pod_sandbox_id).await?);
        }
        pod.sort();
        Ok(pod)
    }

    async fn sandbox(&self, id: &str) -> Result<Option<Sandbox>, CriError> {
        let request = timed(
            cri::PodSandboxStatusRequest {
                pod_sandbox_id: id.into(),
                verbose: false,
            },
            SHORT,
        );
        match self
            .runtime
            .clone()
            .pod_sandbox_status(request)
            .await
            .map_err(|s| self.fault(s))
        {
            Ok(answer) => Ok(answer.into_inner().status.map(sandbox_from)),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn container(&self, id: &str, sandbox_id: &str) -> Result<Option<Container>, CriError> {
        let known = self
            .ended
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(id)
            .cloned();
        if known.is_some() {
            return Ok(known);
        }
        let request = timed(
            cri::ContainerStatusRequest {
                container_id: id.into(),
                verbose: false,
            },
            SHORT,
        );
        let status = match self
            .runtime
            .clone()
            .container_status(request)
            .await
            .map_err(|s| self.fault(s))
        {
            Ok(answer) => answer.into_inner().status,
            Err(error) if error.is_not_found() => return Ok(None),
            Err(error) => return Err(error),
        };
        let Some(status) = status else { return Ok(None) };
        let last_words = LastWords::of(&status);
        let mut container = container_from(status, sandbox_id);
        if container.phase == ContainerPhase::Exited {
            let exit_code = container.exit_code;
            let read = tokio::task::spawn_blocking(move || last_words.read(exit_code)).await;
            if let Some(text) = read.unwrap_or_default() {
                container.message = text;
            }
            let mut ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
            ended.insert(container.id.clone(), container.clone());
        }
        Ok(Some(container))
    }

    /// Whether a container is over or gone; while the runtime does not answer it counts as running.
    pub(crate) async fn has_ended(&self, id: &str) -> bool {
        let request = timed(
            cri::ContainerStatusRequest {
                container_id: id.into(),
                verbose: false,
            },
            SHORT,
        );
        match self
            .runtime
            .clone()
            .container_status(request)
            .await
            .map_err(|s| self.fault(s))
        {
            Ok(answer) => {
                let exited = cri::ContainerState::ContainerExited as i32;
                answer.into_inner().status.is_none_or(|s| s.state == exited)
            }
            Err(error) => error.is_not_found(),
        }
    }

    /// Keeps the memory of ended containers within what the runtime has.
    pub(super) fn forget_ended_except(&self, containers: &[cri::Container]) {
        let mut ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
        ended.retain(|id, _| containers.iter().any(|c| c.id == *id));
    }
}

fn nanos(value: i64) -> Option<Timestamp> {
    (value > 0)
        .then(|| Timestamp::from_nanosecond(i128::from(value)).ok())
        .flatten()
}

fn sandbox_from(status: cri::PodSandboxStatus) -> Sandbox {
    let network = status.network.unwrap_or_default();
    let more = network.additional_ips.into_iter().map(|p| p.ip);
    Sandbox {
        attempt: status.metadata.map_or(0, |m| m.attempt),
        ready: status.state == cri::PodSandboxState::SandboxReady as i32,
        created_at: nanos(status.created_at).unwrap_or(Timestamp::UNIX_EPOCH),
        ips: std::iter::once(network.ip)
            .chain(more)
            .filter(|ip| !ip.is_empty())
            .collect(),
        grace_seconds: status
            .annotations
            .get(label::GRACE_PERIOD)
            .and_then(|g| g.parse().ok()),
        id: status.id,
    }
}

fn container_from(status: cri::ContainerStatus, sandbox_id: &str) -> Container {
    let phase = match cri::ContainerState::try_from(status.state) {
        Ok(cri::ContainerState::ContainerCreated) => ContainerPhase::Created,
        Ok(cri::ContainerState::ContainerRunning) => ContainerPhase::Running,
        Ok(cri::ContainerState::ContainerExited) => ContainerPhase::Exited,
        _ => ContainerPhase::Unknown,
    };
    let metadata = status.metadata.unwrap_or_default();
    let annotation = |key: &str| status.annotations.get(key).cloned().unwrap_or_default();
    Container {
        sandbox_id: sandbox_id.to_owned(),
        name: metadata.name,
        attempt: metadata.attempt,
        phase,
        created_at: nanos(status.created_at).unwrap_or(Timestamp::UNIX_EPOCH),
        started_at: nanos(status.started_at),
        finished_at: nanos(status.finished_at),
        exit_code: status.exit_code,
        reason: status.reason,
        message: status.message,
        image: status.image.map(|i| i.image).unwrap_or_default(),
        image_id: status.image_ref,
        spec_image: annotation(label::CONTAINER_IMAGE),
        resources: serde_json::from_str(&annotation(label::CONTAINER_RESOURCES)).ok(),
        id: status.id,
    }
}

/// Where a container's termination message is to be found.
struct LastWords {
    file: Option<PathBuf>,
    log: Option<PathBuf>,
}

impl LastWords {
    fn of(status: &cri::ContainerStatus) -> Self {
        let path = status.annotations.get(label::TERMINATION_PATH);
        let mount = status.mounts.iter().find(|m| Some(&m.container_path) == path);
        let fall_back = status
            .annotations
            .get(label::TERMINATION_POLICY)
            .map(String::as_str)
            == Some("FallbackToLogsOnError");
        Self {
            file: mount.map(|m| PathBuf::from(&m.host_path)),
            log: (fall_back && !status.log_path.is_empty()).then(|| PathBuf::from(&status.log_path)),
        }
    }

    /// Blocking. None leaves what the runtime said.
    fn read(&self, exit_code: i32) -> Option<String> {
        let text = self
            .file
            .as_deref()
            .and_then(|p| head(p, MAX_MESSAGE_BYTES))
            .unwrap_or_default();
        if !text.is_empty() {
            return Some(text);
        }
        let log = self.log.as_deref().filter(|_| exit_code != 0)?;
        let lines = logs::last_lines(&tail(log, MAX_FALLBACK_BYTES * 4)?, MAX_FALLBACK_LINES);
        let skip = lines
            .len()
            .saturating_sub(usize::try_from(MAX_FALLBACK_BYTES).unwrap_or(usize::MAX));
        let text = String::from_utf8_lossy(&lines[skip..]).into_owned();
        (!text.is_empty()).then_some(text)
    }
}

fn head(path: &Path, limit: u64) -> Option<String> {
    let mut bytes = Vec::new();
    std::fs::File::open(path)
        .ok()?
        .take(limit)
        .read_to_end(&mut bytes)
        .ok()?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

fn tail(path: &Path, limit: u64) -> Option<Vec<u8>> {
    let mut file = std::fs::File::open(path).ok()?;
    let length = file.metadata().ok()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(limit))).ok()?;
    let mut bytes = Vec::new();
    file.take(limit).read_to_end(&mut bytes).ok()?;
    Some(bytes)
}
