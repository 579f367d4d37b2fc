//! Which containers a pod has, in which role, and whether one that ended runs again.

use k8s_openapi::api::core::v1::{Container, EphemeralContainer, PodSpec};

use crate::runtime;

/// What a container is in its pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Role {
    /// Runs to completion before the next one starts.
    Init,
    /// An init container with `restartPolicy: Always`: starts in init order and runs as long as the pod (KEP-753).
    Sidecar,
    App,
    /// Added to a running pod for debugging; never restarted.
    Ephemeral,
}

/// The role of an entry of `spec.initContainers`.
pub(super) fn init_role(container: &Container) -> Role {
    if container.restart_policy.as_deref() == Some("Always") {
        Role::Sidecar
    } else {
        Role::Init
    }
}

/// `spec.restartPolicy`, by default `Always`.
pub(super) fn pod_policy(spec: &PodSpec) -> &str {
    spec.restart_policy.as_deref().unwrap_or("Always")
}

/// Whether a container that ended with this code runs again. Rules of the container come first (KEP-5307), then its
/// own policy, then the pod's; an init container is `OnFailure` where the pod says `Always`.
pub(super) fn restarts_after(spec: &PodSpec, container: &Container, role: Role, exit_code: i32) -> bool {
    if role == Role::Ephemeral {
        return false;
    }
    if rule_restarts(container, exit_code) {
        return true;
    }
    match (
        role,
        container
            .restart_policy
            .as_deref()
            .unwrap_or_else(|| pod_policy(spec)),
    ) {
        (Role::Init, "Always" | "OnFailure") => exit_code != 0,
        (_, "Always") => true,
        (_, "OnFailure") => exit_code != 0,
        _ => false,
    }
}

/// Whether the first rule that a code matches has the container, or all of the pod, run again.
fn rule_restarts(container: &Container, exit_code: i32) -> bool {
    matches!(action(container, exit_code), Some("Restart" | RESTART_ALL))
}

const RESTART_ALL: &str = "RestartAllContainers";

/// What the first rule says that a code matches.
fn action(container: &Container, exit_code: i32) -> Option<&str> {
    let mut rules = container.restart_policy_rules.iter().flatten();
    let first = rules.find(|rule| {
        rule.exit_codes.as_ref().is_some_and(|codes| {
            let listed = codes.values.iter().flatten().any(|v| *v == exit_code);
            if codes.operator == "NotIn" {
                !listed
            } else {
                listed
            }
        })
    });
    first.map(|rule| rule.action.as_str())
}

/// Whether all containers of the pod begin anew once this one ends with this code.
pub(super) fn restarts_all(container: &Container, exit_code: i32) -> bool {
    action(container, exit_code) == Some(RESTART_ALL)
}

/// Whether there is a code for which they do.
pub(super) fn can_restart_all(container: &Container) -> bool {
    let mut rules = container.restart_policy_rules.iter().flatten();
    rules.any(|rule| rule.action == RESTART_ALL)
}

/// Whether the container should be started, given its newest record.
pub(super) fn should_start(
    spec: &PodSpec,
    container: &Container,
    role: Role,
    record: Option<&runtime::Container>,
) -> bool {
    match record {
        None => true,
        Some(r) if r.is_running() => false,
        // Made but never started: the agent went away in between.
        Some(r) if !r.has_exited() => true,
        Some(r) => restarts_after(spec, container, role, r.exit_code),
    }
}

/// An ephemeral container in the shape of the others: the fields that both have bear the same names.
pub(crate) fn ephemeral_as_container(ephemeral: &EphemeralContainer) -> Container {
    Container {
        args: ephemeral.args.clone(),
        command: ephemeral.command.clone(),
        env: ephemeral.env.clone(),
        env_from: ephemeral.env_from.clone(),
        image: ephemeral.image.clone(),
        image_pull_policy: ephemeral.image_pull_policy.clone(),
        name: ephemeral.name.clone(),
        security_context: ephemeral.security_context.clone(),
        stdin: ephemeral.stdin,
        stdin_once: ephemeral.stdin_once,
        termination_message_path: ephemeral.termination_message_path.clone(),
        termination_message_policy: ephemeral.termination_message_policy.clone(),
        tty: ephemeral.tty,
        volume_mounts: ephemeral.volume_mounts.clone(),
        working_dir: ephemeral.working_dir.clone(),
        ..Container::default()
    }
}

/// Finds a container of the pod by name.
pub(crate) fn find_container(spec: &PodSpec, name: &str) -> Option<(Container, Role)> {
    if let Some(c) = spec.containers.iter().find(|c| c.name == name) {
        return Some((c.clone(), Role::App));
    }
    if let Some(c) = spec.init_containers.iter().flatten().find(|c| c.name == name) {
        return Some((c.clone(), init_role(c)));
    }
    let ephemeral = spec
        .ephemeral_containers
        .iter()
        .flatten()
        .find(|c| c.name == name)?;
    Some((ephemeral_as_container(ephemeral), Role::Ephemeral))
}
