//! Carrying out resizes of running containers.

use k8s_openapi::api::core::v1::Container;
use serde_json::json;

use super::operation::Outcome;
use super::start::Job;
use crate::events::Severity;
use crate::plan::find_container;
use crate::{pod_level, resources};

impl Job {
    /// Gives the pod and these containers, by id and name, the resources that the pod's spec says.
    ///
    /// No container may have more than its pod: what grows grows from above, what shrinks shrinks from below.
    pub(super) async fn resize(self, containers: Vec<(String, String)>) -> Outcome {
        // Refuses what shrinks while a container still has more, which comes after them.
        let _ = self.limit_pod().await;
        let spec = self.spec();
        let machine = self.context.machine;
        let mut resized = Vec::new();
        for (id, name) in containers {
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
        Outcome::Again
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
