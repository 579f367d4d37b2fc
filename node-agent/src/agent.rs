//! Putting the agent together: reads the machine, starts the parts, waits for the end.

use std::os::unix::fs::DirBuilderExt as _;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::Node;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::api_cache::ApiCache;
use crate::cgroup::Cgroups;
use crate::clock;
use crate::config::Config;
use crate::cri::Cri;
use crate::events::{self, Recorder};
use crate::logs;
use crate::node::{self, Registrar};
use crate::plan::NodeView;
use crate::pod::{self, Allocations, Context, Directory, Slots};
use crate::server::{self, ServerError};
use crate::spec::dns::{self, Resolver};

/// How long parts may take to end after shutdown.
const FAREWELL: Duration = Duration::from_secs(5);
/// How often the logs of running containers are measured.
const LOG_CHECK: Duration = Duration::from_secs(10);

/// Why an agent cannot start. Once it runs, it tries again instead of giving up.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// A directory that the agent needs cannot be made or read.
    #[error("the node agent cannot use {path}: {source}")]
    Directory {
        /// Which directory.
        path: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// The HTTPS server cannot start.
    #[error(transparent)]
    Server(#[from] ServerError),
    /// A setting makes no sense.
    #[error("node agent: {0}")]
    Config(&'static str),
}

/// Runs the pods of one node until `shutdown`. Containers run on after that; an agent that starts again takes them over.
///
/// A missing or restarting container runtime, and an API that is away, are waited for.
pub async fn run(client: kube::Client, config: Config, shutdown: CancellationToken) -> Result<(), RunError> {
    check(&config)?;
    let (machine_facts, machine) = prepare(&config).await?;
    let bound = match &config.serving {
        Some(serving) => Some(server::bind(config.listen, serving).await?),
        None => None,
    };
    let port = bound.as_ref().map(|b| b.port);
    let tasks = TaskTracker::new();
    let (recorder, occurrences) = Recorder::new();
    tasks.spawn(events::write_all(
        client.clone(),
        config.node_name.clone(),
        occurrences,
        shutdown.clone(),
    ));
    let (node_sender, node_receiver) = watch::channel(Node::default());
    let context = Arc::new(Context {
        cri: Cri::new(config.runtime_socket()),
        cache: ApiCache::start(client.clone(), tasks.clone(), shutdown.clone()),
        cgroups: Cgroups::at(&config.cgroup_mount),
        node: NodeView {
            host_ips: config.node_ips.iter().map(ToString::to_string).collect(),
            agent_started: clock::now(),
        },
        node_object: node_receiver.clone(),
        resolver: resolver(&config).await,
        slots: Slots::default(),
        allocations: Allocations::default(),
        client,
        recorder,
        machine,
        config,
        tasks: tasks.clone(),
        shutdown: shutdown.clone(),
    });
    let directory = Directory::default();
    let runtime = pod::start(&context, &directory);
    let registrar = Registrar {
        context: context.clone(),
        machine: machine_facts,
        port,
        runtime,
        node: node_sender,
    };
    tasks.spawn(node::keep_current(registrar));
    tasks.spawn(node::renew(context.clone(), node_receiver));
    tasks.spawn(rotate_logs(context.clone(), directory.clone()));
    if let Some(bound) = bound {
        tasks.spawn(server::serve(bound, context.clone(), directory));
    }
    shutdown.cancelled().await;
    tasks.close();
    if tokio::time::timeout(FAREWELL, tasks.wait()).await.is_err() {
        tracing::warn!("some parts of the node agent did not end in time");
    }
    Ok(())
}

fn check(config: &Config) -> Result<(), RunError> {
    if config.node_name.is_empty() {
        return Err(RunError::Config("the node needs a name"));
    }
    if config.node_ips.is_empty() {
        return Err(RunError::Config("the node needs an address"));
    }
    Ok(())
}

async fn prepare(config: &Config) -> Result<(node::MachineFacts, pod::Machine), RunError> {
    let config = config.clone();
    let prepared = tokio::task::spawn_blocking(move || {
        // As upstream: what pods mount is for root's eyes, what they say is for everybody's.
        for (dir, mode) in [(&config.root_dir, 0o750), (&config.pod_log_dir, 0o755)] {
            let fault = |source| RunError::Directory {
                path: dir.display().to_string(),
                source,
            };
            let mut builder = std::fs::DirBuilder::new();
            builder.recursive(true).mode(mode).create(dir).map_err(fault)?;
        }
        Ok(node::read_machine(&config.root_dir))
    });
    prepared
        .await
        .map_err(|_| RunError::Config("reading the machine's facts failed"))?
}

async fn resolver(config: &Config) -> Resolver {
    let text = match &config.resolv_conf {
        Some(path) => tokio::fs::read_to_string(path).await.unwrap_or_else(|error| {
            tracing::warn!(%error, path = %path.display(), "resolv.conf not read, pods get none of the node's name servers");
            String::new()
        }),
        None => String::new(),
    };
    Resolver {
        cluster_dns: config.cluster_dns.clone(),
        cluster_domain: config.cluster_domain.clone(),
        host: dns::parse_resolv_conf(&text),
    }
}

async fn rotate_logs(context: Arc<Context>, directory: Directory) {
    let mut ticks = tokio::time::interval(LOG_CHECK);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = context.shutdown.cancelled() => return,
            _ = ticks.tick() => {}
        }
        for known in directory.all() {
            let meta = &known.pod.metadata;
            let text = |t: &Option<String>| t.clone().unwrap_or_default();
            let dir = context
                .config
                .pod_logs(&text(&meta.namespace), &text(&meta.name), &text(&meta.uid));
            for container in known.runtime.alive() {
                let path = dir.join(crate::spec::container::log_path(
                    &container.name,
                    container.attempt,
                ));
                if let Err(error) = logs::rotate(&context.cri, &container.id, &path).await {
                    tracing::warn!(%error, path = %path.display(), "container log not rotated");
                }
            }
        }
    }
}
