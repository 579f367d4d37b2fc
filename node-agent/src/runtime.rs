//! What the runtime holds for a pod, in terms that the plan reasons about. Pure data, filled in by `cri`.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::ResourceRequirements;

/// Labels by which runtime objects are found again, the same as upstream's so that `crictl` understands them.
pub(crate) mod label {
    pub(crate) const POD_NAME: &str = "io.kubernetes.pod.name";
    pub(crate) const POD_NAMESPACE: &str = "io.kubernetes.pod.namespace";
    pub(crate) const POD_UID: &str = "io.kubernetes.pod.uid";
    pub(crate) const CONTAINER_NAME: &str = "io.kubernetes.container.name";
    /// Annotation: what the container was made from, to see a changed image.
    pub(crate) const CONTAINER_IMAGE: &str = "coracle.dev/container-image";
    /// Annotation: the resources that the container was made with, its pod's limits among them, as JSON, to see a resize.
    pub(crate) const CONTAINER_RESOURCES: &str = "coracle.dev/container-resources";
    /// Annotation: where the container writes its last words.
    pub(crate) const TERMINATION_PATH: &str = "io.kubernetes.container.terminationMessagePath";
    /// Annotation: `File` or `FallbackToLogsOnError`.
    pub(crate) const TERMINATION_POLICY: &str = "io.kubernetes.container.terminationMessagePolicy";
    /// Annotation: seconds a container is given when its pod's spec is no longer known.
    pub(crate) const GRACE_PERIOD: &str = "io.kubernetes.pod.terminationGracePeriod";
}

/// Who a pod is, as far as its sandbox tells.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub(crate) struct PodIdentity {
    pub(crate) uid: String,
    pub(crate) namespace: String,
    pub(crate) name: String,
}

/// A pod sandbox.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Sandbox {
    pub(crate) id: String,
    pub(crate) attempt: u32,
    pub(crate) ready: bool,
    pub(crate) created_at: Timestamp,
    /// Addresses in the pod network; empty for pods on the node's network.
    pub(crate) ips: Vec<String>,
    /// Seconds that the pod's containers get to stop, as the spec said when the sandbox was made.
    pub(crate) grace_seconds: Option<i64>,
}

/// State of a container in the runtime.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum ContainerPhase {
    Created,
    Running,
    Exited,
    Unknown,
}

/// A container, running or dead.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Container {
    pub(crate) id: String,
    pub(crate) sandbox_id: String,
    pub(crate) name: String,
    /// How many containers of this name went before; the pod status calls it `restartCount`.
    pub(crate) attempt: u32,
    pub(crate) phase: ContainerPhase,
    pub(crate) created_at: Timestamp,
    pub(crate) started_at: Option<Timestamp>,
    pub(crate) finished_at: Option<Timestamp>,
    pub(crate) exit_code: i32,
    pub(crate) reason: String,
    pub(crate) message: String,
    /// Image name as the runtime shows it.
    pub(crate) image: String,
    /// Digest or id that the name resolved to.
    pub(crate) image_id: String,
    /// Image name that the pod's spec gave.
    pub(crate) spec_image: String,
    /// The resources that the runtime was last told, where that is known.
    pub(crate) resources: Option<ResourceRequirements>,
}

impl Container {
    pub(crate) fn is_running(&self) -> bool {
        self.phase == ContainerPhase::Running
    }

    pub(crate) fn has_exited(&self) -> bool {
        matches!(self.phase, ContainerPhase::Exited | ContainerPhase::Unknown)
    }

    /// A running container without anything special.
    #[cfg(test)]
    pub(crate) fn for_test(name: &str) -> Self {
        Self {
            id: format!("{name}-0"),
            sandbox_id: String::new(),
            name: name.to_owned(),
            attempt: 0,
            phase: ContainerPhase::Running,
            created_at: Timestamp::UNIX_EPOCH,
            started_at: Some(Timestamp::UNIX_EPOCH),
            finished_at: None,
            exit_code: 0,
            reason: String::new(),
            message: String::new(),
            image: String::new(),
            image_id: String::new(),
            spec_image: String::new(),
            resources: None,
        }
    }

    /// Whether it ended and said that all was well.
    pub(crate) fn succeeded(&self) -> bool {
        self.phase == ContainerPhase::Exited && self.exit_code == 0
    }
}

/// All that the runtime holds for one pod, newest first.
#[derive(Clone, Debug, PartialEq, Default)]
pub(crate) struct PodRuntime {
    pub(crate) sandboxes: Vec<Sandbox>,
    pub(crate) containers: Vec<Container>,
}

impl PodRuntime {
    /// Puts the newest first, the order that every reader relies on.
    pub(crate) fn sort(&mut self) {
        self.sandboxes
            .sort_by_key(|s| std::cmp::Reverse((s.attempt, s.created_at)));
        self.containers
            .sort_by_key(|c| std::cmp::Reverse((c.attempt, c.created_at)));
    }

    /// The newest sandbox, if it works.
    pub(crate) fn ready_sandbox(&self) -> Option<&Sandbox> {
        self.sandboxes.first().filter(|s| s.ready)
    }

    /// The newest container of a name.
    pub(crate) fn latest(&self, name: &str) -> Option<&Container> {
        self.containers.iter().find(|c| c.name == name)
    }

    /// Containers that have processes. One in an unknown state cannot be stopped on its own; it goes with its sandbox.
    pub(crate) fn alive(&self) -> impl Iterator<Item = &Container> {
        self.containers.iter().filter(|c| c.is_running())
    }

    /// Whether nothing of the pod runs or holds the network any more.
    pub(crate) fn is_down(&self) -> bool {
        self.alive().next().is_none() && self.sandboxes.iter().all(|s| !s.ready)
    }
}
