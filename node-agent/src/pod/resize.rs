//! Carrying out resizes of running containers.

use k8s_openapi::api::core::v1::{Container, ResourceRequirements};
use serde_json::json;

use super::operation::Outcome;
use super::start::Job;
use crate::events::Severity;
use crate::plan::find_container;
use crate::{pod_level, resources};

/// A running container whose resources are to change.
pub(super) struct Running {
    pub(super) id: String,
    pub(super) name: String,
    /// What it has now.
    pub(super) has: ResourceRequirements,
}

/// A limit of memory that is to change.
struct MemoryLimit {
    /// None for the pod itself.
    container: Option<String>,
    /// Bytes.
    has: Option<i64>,
    wanted: Option<i64>,
    /// Bytes that are charged now, where that is known.
    charged: Option<u64>,
}

/// Why limits cannot be lowered now: what is used already would not fit, and the kernel would end somebody for it. Pure.
fn lowered_too_far(limits: &[MemoryLimit]) -> Option<String> {
    let fault = |limit: &MemoryLimit| {
        let wanted = limit.wanted?;
        if limit.has.is_some_and(|has| has <= wanted) {
            return None;
        }
        let of = limit.container.as_ref().map(|name| format!("container {name:?}"));
        let Some(charged) = limit.charged else {
            return Some(format!("missing {} memory usage", of.as_deref().unwrap_or("pod")));
        };
        let of = of.as_deref().unwrap_or("pod");
        (u64::try_from(wanted).unwrap_or(0) <= charged).then(|| {
            format!("attempting to set {of} memory limit ({wanted}) below current usage ({charged})")
        })
    };
    let faults: Vec<_> = limits.iter().filter_map(fault).collect();
    match faults.as_slice() {
        [] => None,
        [fault] => Some(format!("cannot decrease memory limits: {fault}")),
        faults => Some(format!("cannot decrease memory limits: [{}]", faults.join(", "))),
    }
}

fn memory_limit(resources: &ResourceRequirements) -> Option<i64> {
    let limit = resources.limits.as_ref()?.get("memory").map(resources::units);
    limit.filter(|bytes| *bytes != 0)
}

impl Job {
    /// Gives the pod, which has `pod_has`, and these containers the resources that the pod's spec says.
    ///
    /// No container may have more than its pod: what grows grows from above, what shrinks shrinks from below.
    pub(super) async fn resize(
        self,
        containers: Vec<Running>,
        pod_has: Option<ResourceRequirements>,
    ) -> Outcome {
        let limits = self.memory_limits(&containers, pod_has.as_ref());
        if let Some(fault) = lowered_too_far(&limits) {
            return self.not_resized(&fault);
        }
        // Refuses what shrinks while a container still has more, which comes after them.
        let _ = self.limit_pod().await;
        let spec = self.spec();
        let machine = self.context.machine;
        let mut resized = Vec::new();
        for Running { id, name, .. } in containers {
            let Some((container, _)) = find_container(&spec, &name) else {
                continue;
            };
            let limits = resources::container_limits(
                &spec,
                &container,
                machine.memory_bytes,
                machine.min_oom_score_adj,
            );
            if let Err(error) = self.context.cri.update_resources(&id, limits).await {
                return self.not_resized(&error.message());
            }
            resized.push((id, pod_level::effective(&spec, &container)));
        }
        match self.limit_pod().await {
            Ok(()) => Outcome::Resized {
                containers: resized,
                pod: pod_level::whole(&spec),
            },
            Err(fault) => self.not_resized(&fault),
        }
    }

    /// The limits of memory that are to change, with what is charged now. Few reads of files that are in memory.
    fn memory_limits(
        &self,
        containers: &[Running],
        pod_has: Option<&ResourceRequirements>,
    ) -> Vec<MemoryLimit> {
        let (spec, path) = (self.spec(), self.cgroup_path());
        let cgroups = &self.context.cgroups;
        let of_pod = pod_has.map(|has| MemoryLimit {
            container: None,
            has: memory_limit(has),
            wanted: resources::pod_limits(&spec).memory,
            charged: cgroups.memory_charged(&path),
        });
        let of_container = |running: &Running| {
            let (container, _) = find_container(&spec, &running.name)?;
            Some(MemoryLimit {
                container: Some(running.name.clone()),
                has: memory_limit(&running.has),
                wanted: memory_limit(&pod_level::effective(&spec, &container)),
                charged: cgroups.memory_charged(&format!("{path}/{}", running.id)),
            })
        };
        of_pod
            .into_iter()
            .chain(containers.iter().filter_map(of_container))
            .collect()
    }

    /// Sets the limits of the pod's own cgroup.
    async fn limit_pod(&self) -> Result<(), String> {
        let job = self.clone();
        let set = tokio::task::spawn_blocking(move || {
            let limits = resources::pod_limits(&job.spec());
            job.context.cgroups.apply(&job.cgroup_path(), &limits)
        });
        set.await.map_err(|e| e.to_string())?.map_err(|e| e.to_string())
    }

    fn not_resized(&self, fault: &str) -> Outcome {
        let (pod, namespace) = (&self.identity.name, &self.identity.namespace);
        tracing::warn!(pod, namespace, fault, "pod not resized");
        self.resize_event(Severity::Warning, "ResizeError", "Pod resize error", Some(fault));
        Outcome::NotResized(fault.to_owned())
    }

    /// An event as upstream words those of a resize: what the containers are to have, as JSON.
    pub(super) fn resize_event(
        &self,
        severity: Severity,
        reason: &'static str,
        words: &str,
        error: Option<&str>,
    ) {
        let spec = self.spec();
        let shown = |containers: &[Container]| -> Vec<_> {
            let resources = |c: &Container| c.resources.clone().unwrap_or_default();
            containers
                .iter()
                .map(|c| json!({"name": c.name, "resources": resources(c)}))
                .collect()
        };
        let mut summary = json!({
            "containers": shown(&spec.containers),
            "generation": self.pod.metadata.generation,
        });
        if let Some(init) = spec.init_containers.as_deref().filter(|init| !init.is_empty()) {
            summary["initContainers"] = shown(init).into();
        }
        if let Some(error) = error {
            summary["error"] = error.into();
        }
        self.event(severity, reason, format!("{words}: {summary}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limit(
        container: Option<&str>,
        has: Option<i64>,
        wanted: Option<i64>,
        charged: Option<u64>,
    ) -> MemoryLimit {
        MemoryLimit {
            container: container.map(str::to_owned),
            has,
            wanted,
            charged,
        }
    }

    #[test]
    fn limits_are_not_lowered_below_what_is_used() {
        for (limits, expected) in [
            (vec![limit(None, Some(20), Some(10), Some(9))], None),
            (vec![limit(None, Some(10), Some(20), Some(30))], None),
            (vec![limit(None, Some(10), None, Some(30))], None),
            (
                vec![limit(None, None, Some(20), Some(20))],
                Some("attempting to set pod memory limit (20) below current usage (20)"),
            ),
            (
                vec![
                    limit(None, Some(30), Some(20), None),
                    limit(Some("c"), Some(30), Some(20), Some(25)),
                ],
                Some(
                    "[missing pod memory usage, attempting to set container \"c\" memory limit (20) below current usage (25)]",
                ),
            ),
        ] {
            let expected = expected.map(|fault| format!("cannot decrease memory limits: {fault}"));
            assert_eq!(lowered_too_far(&limits), expected);
        }
    }
}
