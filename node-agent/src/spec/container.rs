//! The container that the runtime is asked for.

use std::collections::HashMap;
use std::path::Path;

use k8s_cri::v1 as cri;
use k8s_openapi::api::core::v1::{Container, PodSpec};

use super::sandbox::pod_labels;
use super::security::{self, ImageUser, SecurityError};
use crate::env::expand;
use crate::runtime::{PodIdentity, label};
use crate::{pod_level, resources};

/// What a container needs besides its spec.
pub(crate) struct ContainerInput<'a> {
    pub(crate) identity: &'a PodIdentity,
    pub(crate) spec: &'a PodSpec,
    pub(crate) container: &'a Container,
    pub(crate) attempt: u32,
    pub(crate) env: &'a [(String, String)],
    pub(crate) mounts: Vec<cri::Mount>,
    pub(crate) devices: Vec<cri::Device>,
    /// What the runtime calls the image that the spec names.
    pub(crate) image_ref: &'a str,
    pub(crate) image_user: &'a ImageUser,
    /// The container whose process namespace an ephemeral container joins.
    pub(crate) target_id: Option<&'a str>,
    pub(crate) node_memory: i64,
    pub(crate) min_oom_score_adj: i64,
    pub(crate) root_dir: &'a Path,
}

/// Path of the log file below the sandbox's log directory.
pub(crate) fn log_path(container: &str, attempt: u32) -> String {
    format!("{container}/{attempt}.log")
}

/// Where a container's last words are mounted.
pub(crate) fn termination_path(container: &Container) -> &str {
    container
        .termination_message_path
        .as_deref()
        .filter(|p| !p.is_empty())
        .unwrap_or("/dev/termination-log")
}

/// The container's configuration.
pub(crate) fn container_config(input: ContainerInput<'_>) -> Result<cri::ContainerConfig, SecurityError> {
    let container = input.container;
    let identity = input.identity;
    let pod_ref = format!("{}_{}({})", identity.name, identity.namespace, identity.uid);
    let security = security::container(
        input.spec,
        container,
        &pod_ref,
        input.image_user,
        input.target_id,
        input.root_dir,
    )?;
    let lookup = |name: &str| input.env.iter().find(|(k, _)| k == name).map(|(_, v)| v.clone());
    let words = |words: &Option<Vec<String>>| words.iter().flatten().map(|w| expand(w, lookup)).collect();
    let limits =
        resources::container_limits(input.spec, container, input.node_memory, input.min_oom_score_adj);
    let mut labels = pod_labels(identity, None);
    labels.insert(label::CONTAINER_NAME.into(), container.name.clone());
    let annotations = annotations(&input);
    Ok(cri::ContainerConfig {
        metadata: Some(cri::ContainerMetadata {
            name: container.name.clone(),
            attempt: input.attempt,
        }),
        image: Some(cri::ImageSpec {
            image: input.image_ref.into(),
            ..cri::ImageSpec::default()
        }),
        command: words(&container.command),
        args: words(&container.args),
        working_dir: container.working_dir.clone().unwrap_or_default(),
        envs: input
            .env
            .iter()
            .map(|(k, v)| cri::KeyValue {
                key: k.clone(),
                value: v.clone(),
            })
            .collect(),
        mounts: input.mounts,
        devices: input.devices,
        labels,
        annotations,
        log_path: log_path(&container.name, input.attempt),
        stdin: container.stdin == Some(true),
        stdin_once: container.stdin_once == Some(true),
        tty: container.tty == Some(true),
        linux: Some(cri::LinuxContainerConfig {
            resources: Some(limits),
            security_context: Some(security),
        }),
        ..cri::ContainerConfig::default()
    })
}

fn annotations(input: &ContainerInput<'_>) -> HashMap<String, String> {
    let container = input.container;
    let policy = container.termination_message_policy.as_deref().unwrap_or("File");
    let mut annotations = HashMap::from([
        (
            label::CONTAINER_IMAGE.to_owned(),
            container.image.clone().unwrap_or_default(),
        ),
        (
            label::TERMINATION_PATH.to_owned(),
            termination_path(container).to_owned(),
        ),
        (label::TERMINATION_POLICY.to_owned(), policy.to_owned()),
    ]);
    if let Ok(resources) = serde_json::to_string(&pod_level::effective(input.spec, container)) {
        annotations.insert(label::CONTAINER_RESOURCES.into(), resources);
    }
    if let Some(grace) = input.spec.termination_grace_period_seconds {
        annotations.insert(label::GRACE_PERIOD.into(), grace.to_string());
    }
    annotations
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_container_as_a_whole() {
        let spec: PodSpec = serde_json::from_value(json!({
            "containers": [{
                "name": "c", "image": "app:1", "command": ["/app", "$(PORT)"], "args": ["--x=$(NONE)", "$$(PORT)"],
                "workingDir": "/srv", "tty": true, "stdin": true,
                "resources": {"requests": {"cpu": "100m", "memory": "32Mi"}, "limits": {"cpu": "200m", "memory": "64Mi"}},
                "terminationMessagePolicy": "FallbackToLogsOnError",
            }],
        }))
        .unwrap();
        let identity = PodIdentity {
            uid: "u1".into(),
            namespace: "ns".into(),
            name: "web".into(),
        };
        let env = [("PORT".to_owned(), "80".to_owned())];
        let config = container_config(ContainerInput {
            identity: &identity,
            spec: &spec,
            container: &spec.containers[0],
            attempt: 2,
            env: &env,
            mounts: vec![],
            devices: vec![],
            image_ref: "sha256:1",
            image_user: &ImageUser::default(),
            target_id: None,
            node_memory: 1 << 30,
            min_oom_score_adj: 0,
            root_dir: Path::new("/var/lib/kubelet"),
        })
        .unwrap();
        let mut settings = insta::Settings::clone_current();
        settings.set_sort_maps(true);
        settings.bind(|| insta::assert_json_snapshot!(config));
    }
}
