//! Security contexts of pods and containers in the runtime's terms.

use std::path::Path;

use k8s_cri::v1 as cri;
use k8s_cri::v1::security_profile::ProfileType;
use k8s_openapi::api::core::v1::{Container, PodSecurityContext, PodSpec, SeccompProfile};

/// Paths hidden from and made read-only in ordinary containers, as container runtimes do by default.
const MASKED: [&str; 12] = [
    "/proc/asound",
    "/proc/acpi",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/sys/firmware",
    "/sys/devices/virtual/powercap",
];
const READ_ONLY: [&str; 5] = [
    "/proc/bus",
    "/proc/fs",
    "/proc/irq",
    "/proc/sys",
    "/proc/sysrq-trigger",
];

/// A security context that cannot be honoured; upstream shows it as `CreateContainerConfigError`.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum SecurityError {
    #[error("container has runAsNonRoot and image will run as root (pod: \"{pod}\", container: {container})")]
    ImageRunsAsRoot { pod: String, container: String },
    #[error("container's runAsUser breaks non-root policy (pod: \"{pod}\", container: {container})")]
    RunsAsRoot { pod: String, container: String },
    #[error(
        "container has runAsNonRoot and image has non-numeric user ({user}), cannot verify user is non-root (pod: \"{pod}\", container: {container})"
    )]
    UserNotNumeric {
        user: String,
        pod: String,
        container: String,
    },
}

/// The user that an image runs as.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ImageUser {
    pub(crate) uid: Option<i64>,
    pub(crate) name: String,
}

/// Which namespaces the pod's processes share with the node or each other.
pub(crate) fn namespaces(spec: &PodSpec) -> cri::NamespaceOption {
    let or_node = |host: Option<bool>, own: cri::NamespaceMode| {
        (if host == Some(true) {
            cri::NamespaceMode::Node
        } else {
            own
        }) as i32
    };
    let pid = if spec.share_process_namespace == Some(true) {
        cri::NamespaceMode::Pod
    } else {
        cri::NamespaceMode::Container
    };
    cri::NamespaceOption {
        network: or_node(spec.host_network, cri::NamespaceMode::Pod),
        pid: or_node(spec.host_pid, pid),
        ipc: or_node(spec.host_ipc, cri::NamespaceMode::Pod),
        ..cri::NamespaceOption::default()
    }
}

/// Groups that all processes of the pod belong to: `supplementalGroups` and `fsGroup`.
pub(crate) fn groups(context: Option<&PodSecurityContext>) -> Vec<i64> {
    let Some(context) = context else { return Vec::new() };
    let mut groups = context.supplemental_groups.clone().unwrap_or_default();
    groups.extend(context.fs_group.filter(|g| !groups.contains(g)));
    groups
}

pub(crate) fn seccomp(profile: Option<&SeccompProfile>, root_dir: &Path) -> cri::SecurityProfile {
    let (kind, localhost_ref) = match profile.map(|p| p.type_.as_str()) {
        Some("RuntimeDefault") => (ProfileType::RuntimeDefault, String::new()),
        Some("Localhost") => {
            let file = profile
                .and_then(|p| p.localhost_profile.as_deref())
                .unwrap_or_default();
            (
                ProfileType::Localhost,
                root_dir.join("seccomp").join(file).to_string_lossy().into_owned(),
            )
        }
        _ => (ProfileType::Unconfined, String::new()),
    };
    cri::SecurityProfile {
        profile_type: kind as i32,
        localhost_ref,
    }
}

fn int(value: Option<i64>) -> Option<cri::Int64Value> {
    value.map(|value| cri::Int64Value { value })
}

/// Security of the sandbox itself; containers refine it.
pub(crate) fn sandbox(spec: &PodSpec, root_dir: &Path) -> cri::LinuxSandboxSecurityContext {
    let context = spec.security_context.as_ref();
    let privileged = spec
        .containers
        .iter()
        .chain(spec.init_containers.iter().flatten())
        .any(is_privileged);
    cri::LinuxSandboxSecurityContext {
        namespace_options: Some(namespaces(spec)),
        run_as_user: int(context.and_then(|c| c.run_as_user)),
        run_as_group: int(context.and_then(|c| c.run_as_group)),
        supplemental_groups: groups(context),
        privileged,
        seccomp: Some(seccomp(
            context.and_then(|c| c.seccomp_profile.as_ref()),
            root_dir,
        )),
        ..cri::LinuxSandboxSecurityContext::default()
    }
}

fn is_privileged(container: &Container) -> bool {
    container
        .security_context
        .as_ref()
        .is_some_and(|s| s.privileged == Some(true))
}

/// Security of one container; `target_id` is the container whose processes an ephemeral one joins.
pub(crate) fn container(
    spec: &PodSpec,
    container: &Container,
    pod_ref: &str,
    image_user: &ImageUser,
    target_id: Option<&str>,
    root_dir: &Path,
) -> Result<cri::LinuxContainerSecurityContext, SecurityError> {
    let pod = spec.security_context.as_ref();
    let own = container.security_context.as_ref();
    let run_as_user = own
        .and_then(|c| c.run_as_user)
        .or(pod.and_then(|c| c.run_as_user));
    let run_as_group = own
        .and_then(|c| c.run_as_group)
        .or(pod.and_then(|c| c.run_as_group));
    let non_root = own
        .and_then(|c| c.run_as_non_root)
        .or(pod.and_then(|c| c.run_as_non_root))
        == Some(true);
    if non_root {
        verify_non_root(run_as_user, image_user, pod_ref, &container.name)?;
    }
    let privileged = is_privileged(container);
    let profile = own
        .and_then(|c| c.seccomp_profile.as_ref())
        .or(pod.and_then(|c| c.seccomp_profile.as_ref()));
    let unmasked = privileged || own.and_then(|c| c.proc_mount.as_deref()) == Some("Unmasked");
    let paths = |list: &[&str]| {
        if unmasked {
            Vec::new()
        } else {
            list.iter().map(|p| (*p).to_owned()).collect()
        }
    };
    let mut namespaces = namespaces(spec);
    if let Some(target) = target_id {
        namespaces.pid = cri::NamespaceMode::Target as i32;
        namespaces.target_id = target.to_owned();
    }
    Ok(cri::LinuxContainerSecurityContext {
        capabilities: own
            .and_then(|c| c.capabilities.as_ref())
            .map(|c| cri::Capability {
                add_capabilities: c.add.clone().unwrap_or_default(),
                drop_capabilities: c.drop.clone().unwrap_or_default(),
                ..cri::Capability::default()
            }),
        privileged,
        namespace_options: Some(namespaces),
        run_as_user: int(run_as_user.or(image_user.uid.filter(|_| image_user.name.is_empty()))),
        run_as_group: int(run_as_group),
        run_as_username: if run_as_user.is_none() {
            image_user.name.clone()
        } else {
            String::new()
        },
        readonly_rootfs: own.is_some_and(|c| c.read_only_root_filesystem == Some(true)),
        supplemental_groups: groups(pod),
        no_new_privs: own.is_some_and(|c| c.allow_privilege_escalation == Some(false)),
        masked_paths: paths(&MASKED),
        readonly_paths: paths(&READ_ONLY),
        seccomp: Some(if privileged {
            seccomp(None, root_dir)
        } else {
            seccomp(profile, root_dir)
        }),
        ..cri::LinuxContainerSecurityContext::default()
    })
}

fn verify_non_root(
    run_as_user: Option<i64>,
    image_user: &ImageUser,
    pod: &str,
    container: &str,
) -> Result<(), SecurityError> {
    let (pod, container) = (pod.to_owned(), container.to_owned());
    match run_as_user {
        Some(0) => Err(SecurityError::RunsAsRoot { pod, container }),
        Some(_) => Ok(()),
        None if image_user.uid == Some(0) || (image_user.uid.is_none() && image_user.name.is_empty()) => {
            Err(SecurityError::ImageRunsAsRoot { pod, container })
        }
        None if image_user.uid.is_none() => Err(SecurityError::UserNotNumeric {
            user: image_user.name.clone(),
            pod,
            container,
        }),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn context(
        spec: serde_json::Value,
        user: ImageUser,
    ) -> Result<cri::LinuxContainerSecurityContext, SecurityError> {
        let spec: PodSpec = serde_json::from_value(spec).unwrap();
        container(
            &spec,
            &spec.containers[0],
            "web_ns(u)",
            &user,
            None,
            Path::new("/root"),
        )
    }

    #[test]
    fn non_root_is_verified() {
        let user = |uid, name: &str| ImageUser {
            uid,
            name: name.into(),
        };
        for (spec, image_user, ok) in [
            (json!({"runAsNonRoot": true}), user(Some(0), ""), false),
            (json!({"runAsNonRoot": true}), user(Some(1000), ""), true),
            (json!({"runAsNonRoot": true}), user(None, "nobody"), false),
            (
                json!({"runAsNonRoot": true, "runAsUser": 0}),
                user(Some(1000), ""),
                false,
            ),
            (
                json!({"runAsNonRoot": true, "runAsUser": 7}),
                user(Some(0), ""),
                true,
            ),
            (json!({"runAsNonRoot": false}), user(Some(0), ""), true),
        ] {
            let pod = json!({"securityContext": spec, "containers": [{"name": "c"}]});
            assert_eq!(context(pod, image_user).is_ok(), ok, "{spec}");
        }
    }

    #[test]
    fn the_containers_context_hides_the_pods() {
        let got = context(
            json!({
                "securityContext": {"runAsUser": 1, "runAsGroup": 2, "fsGroup": 3, "supplementalGroups": [4],
                    "seccompProfile": {"type": "RuntimeDefault"}},
                "hostNetwork": true, "shareProcessNamespace": true,
                "containers": [{"name": "c", "securityContext": {"runAsUser": 10, "readOnlyRootFilesystem": true,
                    "allowPrivilegeEscalation": false, "capabilities": {"add": ["NET_ADMIN"], "drop": ["ALL"]}}}],
            }),
            ImageUser::default(),
        )
        .unwrap();
        insta::assert_json_snapshot!(got);
    }

    #[test]
    fn a_privileged_container_sees_everything() {
        let got = context(
            json!({"containers": [{"name": "c", "securityContext": {"privileged": true}}]}),
            ImageUser::default(),
        )
        .unwrap();
        assert!(got.privileged && got.masked_paths.is_empty() && got.readonly_paths.is_empty());
    }
}
