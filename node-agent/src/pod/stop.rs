//! Carrying out stops: hooks, containers, sandboxes, and what a pod leaves behind.

use std::time::Duration;

use k8s_openapi::api::core::v1::Container;

use super::hooks;
use super::operation::Outcome;
use super::start::Job;
use crate::clock;
use crate::events::Severity;
use crate::plan::{KillReason, find_container};
use crate::runtime::PodRuntime;
use crate::volume;

/// A container that ran its preStop hook gets at least this much more.
const MIN_GRACE_SECONDS: i64 = 2;

/// One container to be stopped.
#[derive(Clone, Debug)]
pub(super) struct Kill {
    pub(super) id: String,
    pub(super) name: String,
    pub(super) grace_seconds: i64,
    pub(super) reason: KillReason,
    pub(super) pod_ip: String,
}

impl Job {
    /// Runs the preStop hook and stops the container, all within its grace period.
    pub(super) async fn kill(self, kill: Kill) -> Outcome {
        self.container_event(&kill.name, Severity::Normal, "Killing", kill_message(&kill));
        let container = find_container(&self.spec(), &kill.name).map(|(c, _)| c);
        let grace = match container.as_ref().filter(|_| kill.grace_seconds > 0) {
            Some(container) => self.pre_stop(container, &kill).await,
            None => kill.grace_seconds,
        };
        self.carry_out(
            "container not stopped",
            self.context.cri.stop_container(&kill.id, grace),
        )
        .await
    }

    /// Returns the seconds that are left.
    async fn pre_stop(&self, container: &Container, kill: &Kill) -> i64 {
        let Some(hook) = container.lifecycle.as_ref().and_then(|l| l.pre_stop.as_ref()) else {
            return kill.grace_seconds;
        };
        let begun = clock::now();
        let limit = Duration::from_secs(kill.grace_seconds.unsigned_abs());
        let run = hooks::run(&self.context.cri, hook, container, &kill.id, &kill.pod_ip);
        let fault = match tokio::time::timeout(limit, run).await {
            Ok(Ok(())) => None,
            Ok(Err(fault)) => Some(format!("PreStopHook failed: {fault}")),
            Err(_) => Some(format!(
                "PreStopHook did not complete in {} seconds",
                kill.grace_seconds
            )),
        };
        if let Some(fault) = fault {
            self.container_event(&container.name, Severity::Warning, "FailedPreStopHook", fault);
        }
        let spent = clock::now().duration_since(begun).as_secs();
        (kill.grace_seconds - spent).max(MIN_GRACE_SECONDS)
    }

    pub(super) async fn stop_sandbox(self, id: String) -> Outcome {
        self.carry_out("sandbox not stopped", self.context.cri.stop_sandbox(&id))
            .await
    }

    pub(super) async fn remove_container(self, id: String) -> Outcome {
        self.carry_out(
            "dead container not removed",
            self.context.cri.remove_container(&id),
        )
        .await
    }

    pub(super) async fn remove_sandbox(self, id: String) -> Outcome {
        self.carry_out("dead sandbox not removed", self.context.cri.remove_sandbox(&id))
            .await
    }

    async fn carry_out(
        &self,
        what: &str,
        call: impl Future<Output = Result<(), crate::cri::CriError>>,
    ) -> Outcome {
        match call.await {
            Ok(()) => Outcome::Done,
            Err(error) => {
                tracing::warn!(pod = self.identity.name, namespace = self.identity.namespace, %error, "{what}");
                Outcome::Again
            }
        }
    }

    /// Takes away volumes and cgroup of a pod that ended; its logs and records stay.
    pub(super) async fn tear_down(self) -> Outcome {
        let job = self.clone();
        let path = self.cgroup_path();
        let done = tokio::task::spawn_blocking(move || {
            let pod_dir = job.context.config.pod_dir(&job.identity.uid);
            volume::tear_down(&pod_dir.join("volume-subpaths"))?;
            volume::tear_down(&pod_dir.join("volumes"))?;
            volume::remove_image_views(&job.spec(), &pod_dir, &job.context.config.runtime_socket());
            job.context.cgroups.remove(&path)
        });
        self.settled("volumes and cgroup not removed", done).await
    }

    /// Removes everything of a pod that the API no longer has.
    pub(super) async fn finish(self, runtime: PodRuntime) -> Outcome {
        for sandbox in &runtime.sandboxes {
            if let Err(error) = self.context.cri.remove_sandbox(&sandbox.id).await {
                tracing::warn!(pod = self.identity.name, %error, "sandbox not removed");
                return Outcome::Again;
            }
        }
        for container in &runtime.containers {
            if let Err(error) = self.context.cri.remove_container(&container.id).await {
                tracing::warn!(pod = self.identity.name, %error, "container not removed");
                return Outcome::Again;
            }
        }
        let job = self.clone();
        let done = tokio::task::spawn_blocking(move || {
            let config = &job.context.config;
            volume::tear_down(&config.pod_dir(&job.identity.uid))?;
            for (uid, path) in job.context.cgroups.pods(&config.cgroup_root) {
                if uid == job.identity.uid {
                    job.context.cgroups.remove(&path)?;
                }
            }
            let logs = config.pod_logs(&job.identity.namespace, &job.identity.name, &job.identity.uid);
            match std::fs::remove_dir_all(logs) {
                Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(e),
                _ => Ok(()),
            }
        });
        self.settled("directories not removed", done).await
    }

    async fn settled(&self, what: &str, task: tokio::task::JoinHandle<std::io::Result<()>>) -> Outcome {
        let fault = match task.await {
            Ok(Ok(())) => return Outcome::Done,
            Ok(Err(error)) => error.to_string(),
            Err(panicked) => panicked.to_string(),
        };
        tracing::warn!(
            pod = self.identity.name,
            namespace = self.identity.namespace,
            fault,
            "{what}"
        );
        Outcome::Again
    }
}

fn kill_message(kill: &Kill) -> String {
    let name = &kill.name;
    match kill.reason {
        KillReason::PodEnds | KillReason::NotNeeded | KillReason::RestartingAll => {
            format!("Stopping container {name}")
        }
        KillReason::Unhealthy => format!("Container {name} failed liveness probe, will be restarted"),
        KillReason::NotStarted => format!("Container {name} failed startup probe, will be restarted"),
        KillReason::Resized => format!("Container {name} resize requires restart"),
        KillReason::SpecChanged => format!("Container {name} definition changed, will be restarted"),
    }
}
