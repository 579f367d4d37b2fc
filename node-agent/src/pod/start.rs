//! Carrying out starts: volumes, sandboxes, containers.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_cri::v1::PodSandboxConfig;
use k8s_openapi::api::core::v1::{Container, Pod, PodSpec, Secret};

use super::context::Context;
use super::operation::{FailedStart, Outcome};
use super::token::Tokens;
use super::{hooks, image};
use crate::api_cache;
use crate::cgroup;
use crate::env::{self, Surroundings};
use crate::events::{Severity, pod_reference};
use crate::plan::Subject;
use crate::resources;
use crate::runtime::PodIdentity;
use crate::spec::container::{ContainerInput, container_config};
use crate::spec::hosts;
use crate::spec::sandbox::{SandboxInput, sandbox_config};
use crate::volume::{self, MountedVolumes, PodFacts, Sources};

/// A pod to act on, as it was when the action was decided.
#[derive(Clone)]
pub(super) struct Job {
    pub(super) context: Arc<Context>,
    pub(super) identity: Arc<PodIdentity>,
    pub(super) pod: Arc<Pod>,
}

impl Job {
    pub(super) fn spec(&self) -> PodSpec {
        self.pod.spec.clone().unwrap_or_default()
    }

    pub(super) fn event(
        &self,
        severity: Severity,
        reason: impl Into<std::borrow::Cow<'static, str>>,
        message: impl Into<String>,
    ) {
        self.context
            .recorder
            .record(pod_reference(&self.pod, None), severity, reason, message);
    }

    pub(super) fn container_event(
        &self,
        container: &str,
        severity: Severity,
        reason: &'static str,
        message: impl Into<String>,
    ) {
        let path = container_path(&self.pod, container);
        self.context
            .recorder
            .record(pod_reference(&self.pod, Some(path)), severity, reason, message);
    }

    pub(super) fn surroundings(&self, pod_ips: Vec<String>) -> Surroundings {
        Surroundings {
            pod_ips,
            host_ips: self.context.node.host_ips.clone(),
            allocatable_memory: self.context.machine.memory_bytes,
            allocatable_milli_cpu: self.context.machine.milli_cpu,
        }
    }

    pub(super) fn cgroup_path(&self) -> String {
        let class = resources::qos_class(&self.spec());
        cgroup::pod_path(&self.context.config.cgroup_root, class, &self.identity.uid)
    }

    fn sandbox_config(&self, attempt: u32) -> PodSandboxConfig {
        let config = &self.context.config;
        let logs = config.pod_logs(&self.identity.namespace, &self.identity.name, &self.identity.uid);
        sandbox_config(&SandboxInput {
            pod: &self.pod,
            identity: &self.identity,
            attempt,
            resolver: &self.context.resolver,
            log_directory: &logs,
            cgroup_parent: &self.cgroup_path(),
            root_dir: &config.root_dir,
        })
    }

    /// Makes the pod's volumes ready, or current again.
    pub(super) async fn set_up_volumes(
        self,
        mut tokens: Tokens,
        ready: Option<Arc<MountedVolumes>>,
    ) -> Outcome {
        let names = api_cache::referred(&self.spec());
        let references = self
            .context
            .cache
            .references(&self.identity.namespace, &names)
            .await;
        if let Err(error) = tokens.refresh(&self.context.client, &self.pod).await {
            return self.no_volumes(&error.to_string());
        }
        let images = match self.volume_images(&references).await {
            Ok(images) => images,
            Err(message) => return self.no_volumes(&message),
        };
        let claims = match self.claimed_volumes(ready.as_deref()).await {
            Ok(claims) => claims,
            Err(message) => return self.no_volumes(&message),
        };
        let job = self.clone();
        let texts = tokens.texts();
        let set_up = tokio::task::spawn_blocking(move || {
            let config = &job.context.config;
            let spec = job.spec();
            let pod_dir = config.pod_dir(&job.identity.uid);
            let around = job.surroundings(Vec::new());
            let facts = PodFacts {
                spec: &spec,
                pod_dir: &pod_dir,
                node_memory: job.context.machine.memory_bytes,
                runtime_socket: &config.runtime_socket(),
            };
            let sources = Sources {
                references: &references,
                around: &around,
                tokens: &texts,
                images: &images,
                claims: &claims,
            };
            volume::set_up(&job.pod, &facts, &sources)
        });
        match set_up.await {
            Ok(Ok(volumes)) => Outcome::Volumes { volumes, tokens },
            Ok(Err(error)) => self.no_volumes(&error.to_string()),
            Err(panicked) => self.no_volumes(&panicked.to_string()),
        }
    }

    /// Has the images of volumes that are not there yet, by volume, as the runtime calls them.
    async fn volume_images(&self, references: &env::References) -> Result<BTreeMap<String, String>, String> {
        let job = self.clone();
        let missing = tokio::task::spawn_blocking(move || {
            let pod_dir = job.context.config.pod_dir(&job.identity.uid);
            volume::missing_images(&job.spec(), &pod_dir)
        });
        let missing = missing
            .await
            .map_err(|e| e.to_string())?
            .map_err(|e| e.to_string())?;
        let secrets = self.pull_secrets(references);
        let reference = pod_reference(&self.pod, None);
        let mut images = BTreeMap::new();
        for volume in missing {
            let Some(source) = &volume.image else { continue };
            let wanted = image::Wanted {
                image: source.reference.as_deref().unwrap_or_default(),
                policy: source.pull_policy.as_deref(),
            };
            let ensured = image::ensure(&self.context, &wanted, &reference, &secrets).await;
            ensured.map_err(|fault| format!("{}: {}", fault.reason, fault.message))?;
            images.insert(volume.name, image::normalized(wanted.image));
        }
        Ok(images)
    }

    fn pull_secrets(&self, references: &env::References) -> Vec<Secret> {
        let spec = self.spec();
        let named = spec.image_pull_secrets.iter().flatten();
        named
            .filter_map(|s| references.secrets.get(&s.name).cloned())
            .collect()
    }

    fn no_volumes(&self, message: &str) -> Outcome {
        tracing::warn!(
            pod = self.identity.name,
            namespace = self.identity.namespace,
            message,
            "volumes are not ready"
        );
        self.event(Severity::Warning, "FailedMount", message);
        failed(Subject::Sandbox, "FailedMount", message, false)
    }

    /// Makes the pod's cgroup and sandbox.
    pub(super) async fn create_sandbox(self, attempt: u32) -> Outcome {
        let Ok(_slot) = self.context.slots.sandboxes.acquire().await else {
            return Outcome::Again;
        };
        if attempt > 0 {
            let message = "Pod sandbox changed, it will be killed and re-created.";
            self.event(Severity::Normal, "SandboxChanged", message);
        }
        match self.try_create_sandbox(attempt).await {
            Ok(()) => Outcome::Done,
            Err(message) => {
                tracing::warn!(
                    pod = self.identity.name,
                    namespace = self.identity.namespace,
                    message,
                    "no sandbox"
                );
                let text = format!("Failed to create pod sandbox: {message}");
                self.event(Severity::Warning, "FailedCreatePodSandBox", text);
                failed(Subject::Sandbox, "CreatePodSandboxError", &message, false)
            }
        }
    }

    async fn try_create_sandbox(&self, attempt: u32) -> Result<(), String> {
        let job = self.clone();
        let prepared = tokio::task::spawn_blocking(move || {
            let config = &job.context.config;
            std::fs::create_dir_all(config.pod_dir(&job.identity.uid))?;
            std::fs::create_dir_all(config.pod_logs(
                &job.identity.namespace,
                &job.identity.name,
                &job.identity.uid,
            ))?;
            job.context
                .cgroups
                .apply(&job.cgroup_path(), &resources::pod_limits(&job.spec()))
        });
        prepared
            .await
            .map_err(|e| e.to_string())?
            .map_err(|e| format!("cannot prepare the pod: {e}"))?;
        let handler = match self
            .pod
            .spec
            .as_ref()
            .and_then(|s| s.runtime_class_name.as_deref())
        {
            Some(class) => self.runtime_handler(class).await?,
            None => String::new(),
        };
        let config = self.sandbox_config(attempt);
        self.context
            .cri
            .run_sandbox(config, &handler)
            .await
            .map(drop)
            .map_err(|e| e.to_string())
    }

    async fn runtime_handler(&self, class: &str) -> Result<String, String> {
        let api: kube::Api<k8s_openapi::api::node::v1::RuntimeClass> =
            kube::Api::all(self.context.client.clone());
        api.get(class)
            .await
            .map(|c| c.handler)
            .map_err(|e| format!("RuntimeClass \"{class}\": {e}"))
    }

    /// Makes and starts one container, and runs its postStart hook to the end.
    pub(super) async fn start_container(self, start: Start) -> Outcome {
        let name = start.container.name.clone();
        match self.try_start(start).await {
            Ok(()) => Outcome::Done,
            Err(fault) => {
                let (pod, namespace) = (&self.identity.name, &self.identity.namespace);
                tracing::warn!(
                    pod,
                    namespace,
                    container = name,
                    reason = fault.reason,
                    message = fault.message,
                    "container not started"
                );
                failed(
                    Subject::Container(name),
                    fault.reason,
                    &fault.message,
                    fault.recorded,
                )
            }
        }
    }

    async fn try_start(&self, start: Start) -> Result<(), StartFault> {
        let names = api_cache::referred(&self.spec());
        let references = self
            .context
            .cache
            .references(&self.identity.namespace, &names)
            .await;
        let container = &start.container;
        let secrets = self.pull_secrets(&references);
        let wanted = image::Wanted::of(container);
        let reference = pod_reference(&self.pod, Some(container_path(&self.pod, &container.name)));
        let image = image::ensure(&self.context, &wanted, &reference, &secrets)
            .await
            .map_err(|f| StartFault {
                reason: f.reason,
                message: f.message,
                recorded: false,
            })?;
        let Ok(_slot) = self.context.slots.containers.acquire().await else {
            return Err(StartFault::new("Shutdown", "the node agent is going away"));
        };
        let config = self
            .configure(&start, &references, &image)
            .await
            .map_err(|message| {
                self.container_event(
                    &container.name,
                    Severity::Warning,
                    "Failed",
                    format!("Error: {message}"),
                );
                StartFault::new("CreateContainerConfigError", message)
            })?;
        let sandbox_config = self.sandbox_config(start.sandbox_attempt);
        let id = self
            .context
            .cri
            .create_container(&start.sandbox_id, config, sandbox_config)
            .await
            .map_err(|e| {
                self.container_event(
                    &container.name,
                    Severity::Warning,
                    "Failed",
                    format!("Error: {}", e.message()),
                );
                StartFault::new("CreateContainerError", e.message())
            })?;
        self.container_event(&container.name, Severity::Normal, "Created", "Container created");
        self.context.cri.start_container(&id).await.map_err(|e| {
            self.container_event(
                &container.name,
                Severity::Warning,
                "Failed",
                format!("Error: {}", e.message()),
            );
            StartFault {
                reason: "RunContainerError",
                message: e.message(),
                recorded: true,
            }
        })?;
        self.container_event(&container.name, Severity::Normal, "Started", "Container started");
        self.post_start(&start, &id).await
    }

    async fn post_start(&self, start: &Start, id: &str) -> Result<(), StartFault> {
        let container = &start.container;
        let Some(hook) = container.lifecycle.as_ref().and_then(|l| l.post_start.as_ref()) else {
            return Ok(());
        };
        let ip = start.pod_ips.first().map(String::as_str).unwrap_or_default();
        let Err(message) = hooks::run(&self.context.cri, hook, container, id, ip).await else {
            return Ok(());
        };
        self.container_event(
            &container.name,
            Severity::Warning,
            "FailedPostStartHook",
            format!("PostStartHook failed: {message}"),
        );
        let grace = self.spec().termination_grace_period_seconds.unwrap_or(30);
        self.container_event(
            &container.name,
            Severity::Normal,
            "Killing",
            "FailedPostStartHook",
        );
        if let Err(error) = self.context.cri.stop_container(id, grace).await {
            tracing::warn!(%error, container = container.name, "container with a failed postStart hook not stopped");
        }
        Err(StartFault {
            reason: "PostStartHookError",
            message,
            recorded: true,
        })
    }

    async fn configure(
        &self,
        start: &Start,
        references: &env::References,
        image: &crate::cri::ImageInfo,
    ) -> Result<k8s_cri::v1::ContainerConfig, String> {
        let context = &self.context;
        let spec = self.spec();
        let links = spec.enable_service_links.unwrap_or(true);
        let services = context.cache.services().await;
        let services =
            env::service_variables(services.iter().map(Arc::as_ref), &self.identity.namespace, links);
        let around = self.surroundings(start.pod_ips.clone());
        let env = env::environment(&self.pod, &start.container, &services, references, &around)
            .map_err(|e| e.to_string())?;
        let (mounts, env) = self.mounts(start, env).await?;
        container_config(ContainerInput {
            identity: &self.identity,
            spec: &spec,
            container: &start.container,
            attempt: start.attempt,
            env: &env,
            mounts,
            devices: Vec::new(),
            image_ref: &image.id,
            image_user: &image.user,
            target_id: start.target_id.as_deref(),
            node_memory: context.machine.memory_bytes,
            min_oom_score_adj: context.machine.min_oom_score_adj,
            root_dir: &context.config.root_dir,
        })
        .map_err(|e| e.to_string())
    }

    async fn mounts(
        &self,
        start: &Start,
        env: Vec<(String, String)>,
    ) -> Result<(Vec<k8s_cri::v1::Mount>, Vec<(String, String)>), String> {
        let (job, start) = (self.clone(), start.clone());
        let made = tokio::task::spawn_blocking(move || {
            let pod_dir = job.context.config.pod_dir(&job.identity.uid);
            std::fs::create_dir_all(&pod_dir).map_err(|e| e.to_string())?;
            std::fs::write(pod_dir.join("etc-hosts"), job.hosts_file(&start.pod_ips))
                .map_err(|e| e.to_string())?;
            volume::container_mounts(&start.container, &start.volumes, &env, &pod_dir, start.attempt)
                .map(|mounts| (mounts, env))
                .map_err(|e| e.to_string())
        });
        made.await.map_err(|e| e.to_string())?
    }

    fn hosts_file(&self, pod_ips: &[String]) -> String {
        let spec = self.spec();
        let aliases = spec.host_aliases.as_deref().unwrap_or_default();
        if spec.host_network == Some(true) {
            let node = std::fs::read_to_string("/etc/hosts").unwrap_or_default();
            return hosts::node_hosts_file(&node, aliases);
        }
        let (name, domain) = hosts::hostname_and_domain(&self.pod, &self.context.config.cluster_domain);
        hosts::hosts_file(pod_ips, &name, domain.as_deref(), aliases)
    }
}

/// Everything about one start that the plan and the worker know.
#[derive(Clone)]
pub(super) struct Start {
    pub(super) container: Container,
    pub(super) attempt: u32,
    pub(super) sandbox_id: String,
    pub(super) sandbox_attempt: u32,
    pub(super) pod_ips: Vec<String>,
    pub(super) volumes: Arc<MountedVolumes>,
    pub(super) target_id: Option<String>,
}

struct StartFault {
    reason: &'static str,
    message: String,
    recorded: bool,
}

impl StartFault {
    fn new(reason: &'static str, message: impl Into<String>) -> Self {
        Self {
            reason,
            message: message.into(),
            recorded: false,
        }
    }
}

fn failed(subject: Subject, reason: &str, message: &str, recorded: bool) -> Outcome {
    Outcome::FailedStart(FailedStart {
        subject,
        reason: reason.into(),
        message: message.into(),
        recorded,
    })
}

/// `spec.containers{name}`, as events name a container.
fn container_path(pod: &Pod, name: &str) -> String {
    let is = |list: Option<&Vec<Container>>| list.into_iter().flatten().any(|c| c.name == name);
    let spec = pod.spec.as_ref();
    if is(spec.and_then(|s| s.init_containers.as_ref())) {
        return format!("spec.initContainers{{{name}}}");
    }
    if is(spec.map(|s| &s.containers)) {
        return format!("spec.containers{{{name}}}");
    }
    format!("spec.ephemeralContainers{{{name}}}")
}
