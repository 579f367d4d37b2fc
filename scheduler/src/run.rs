//! The shell: follows pods and nodes, lets the cluster decide, and has decisions carried out.
//!
//! One task owns all that is known, so nothing is locked and decisions come one after the other; binding runs beside it, so
//! many at a time and no more.

use crate::cluster::{Cluster, Decision};
use crate::config::Config;
use crate::events::{Note, Recorder};
use crate::leader::{self, LeaderError};
use crate::schedule::Unschedulable;
use futures::{Stream, StreamExt};
use k8s_openapi::api::core::v1::{Binding, Node, ObjectReference, Pod, PodCondition};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use k8s_openapi::jiff::Timestamp;
use kube::api::{Api, Patch, PatchParams, PostParams};
use kube::runtime::watcher;
use kube::runtime::{WatchStreamExt, watcher::Event};
use serde_json::json;
use std::collections::HashSet;
use std::hash::{BuildHasher, RandomState};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use thiserror::Error;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// The scheduler cannot go on.
#[derive(Debug, Error)]
pub enum RunError {
    /// Another scheduler took over, or may have.
    #[error("the scheduler leads no more")]
    Leadership(#[from] LeaderError),
}

/// Schedules pods until the token is cancelled, and leaves no task behind. With leader election it first waits to lead.
///
/// # Errors
/// When leadership is lost; the process should end then, so that two never decide at a time. All else is retried.
pub async fn run(client: kube::Client, config: Config, shutdown: CancellationToken) -> Result<(), RunError> {
    let Some(election) = config.leader_election.clone() else {
        decide_until(client, &config, shutdown).await;
        return Ok(());
    };
    leader::lead(client.clone(), &election, shutdown, |leading| {
        decide_until(client, &config, leading)
    })
    .await?;
    Ok(())
}

/// What carrying out a decision came to.
enum Done {
    /// The pod was not bound.
    Unbound(Arc<Pod>),
    /// Nothing else is to be done.
    Settled,
}

async fn decide_until(client: kube::Client, config: &Config, shutdown: CancellationToken) {
    let ending = shutdown.child_token();
    let _guard = ending.clone().drop_guard();
    let instance = format!("{}-{}", config.scheduler_name, config.identity);
    let (recorder, write) = Recorder::new(
        client.clone(),
        config.scheduler_name.clone(),
        instance,
        ending.clone(),
    );
    let recording = async {
        write.await;
    };
    let deciding = async {
        let shell = Shell {
            client,
            recorder,
            most_bindings: config.most_bindings.max(1),
        };
        ending
            .run_until_cancelled(shell.work(&config.scheduler_name))
            .await;
    };
    futures::future::join(deciding, recording).await;
}

struct Shell {
    client: kube::Client,
    recorder: Recorder,
    most_bindings: usize,
}

impl Shell {
    async fn work(&self, scheduler_name: &str) {
        let mut pods = pin!(self.pods());
        let mut nodes = pin!(self.nodes());
        let mut cluster = Cluster::new(scheduler_name);
        let mut relist = Relist::default();
        let mut tasks: JoinSet<Done> = JoinSet::new();
        let random = RandomState::new();
        let mut decisions = 0_u64;
        loop {
            let now = Timestamp::now();
            let may_decide = relist.synced() && tasks.len() < self.most_bindings;
            let decided = may_decide
                .then(|| cluster.decide(random.hash_one(decisions), now))
                .flatten();
            if let Some(decision) = decided {
                decisions += 1;
                self.carry_out(decision, &mut tasks, now);
                // Others get their turn between decisions; what happened is taken in before the next.
                tokio::task::yield_now().await;
            }
            let again = tasks.len() < self.most_bindings && relist.synced() && cluster.is_ready(now);
            let pause = if again {
                Duration::ZERO
            } else {
                pause(&cluster, now)
            };
            tokio::select! {
                biased;
                Some(event) = nodes.next() => relist.node(&mut cluster, event, Timestamp::now()),
                Some(event) = pods.next() => relist.pod(&mut cluster, event, Timestamp::now()),
                Some(done) = tasks.join_next() => {
                    if let Ok(Done::Unbound(pod)) = done {
                        cluster.bind_failed(&pod, Timestamp::now());
                    }
                }
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    /// Pods that are not finished; a pod that finishes leaves this list.
    fn pods(&self) -> impl Stream<Item = Event<Pod>> + use<> {
        let config = watcher::Config::default().fields("status.phase!=Succeeded,status.phase!=Failed");
        follow(Api::all(self.client.clone()), config, "pods")
    }

    fn nodes(&self) -> impl Stream<Item = Event<Node>> + use<> {
        follow(Api::all(self.client.clone()), watcher::Config::default(), "nodes")
    }

    fn carry_out(&self, decision: Decision, tasks: &mut JoinSet<Done>, now: Timestamp) {
        let (client, recorder) = (self.client.clone(), self.recorder.clone());
        match decision {
            Decision::Bind(pod, node) => {
                tasks.spawn(async move { bind(client, recorder, pod, node).await });
            }
            Decision::Refuse(pod, why) => {
                recorder.record(Note::failed(&pod, why.to_string()));
                tasks.spawn(async move { tell_refused(client, pod, why, now).await });
            }
        }
    }
}

fn pause(cluster: &Cluster, now: Timestamp) -> Duration {
    let longest = Duration::from_secs(300);
    let until = |due: Timestamp| Duration::try_from(due.duration_since(now)).unwrap_or_default();
    cluster
        .due()
        .map_or(longest, |due| until(due) + Duration::from_millis(1))
}

/// A watch that is resumed for ever; its errors are logged and retried after a growing pause.
fn follow<K>(api: Api<K>, config: watcher::Config, resource: &'static str) -> impl Stream<Item = Event<K>>
where
    K: kube::Resource<DynamicType = ()>
        + Clone
        + std::fmt::Debug
        + serde::de::DeserializeOwned
        + Send
        + 'static,
{
    let config = watcher::Config {
        page_size: None,
        ..config
    };
    watcher(api, config)
        .default_backoff()
        .filter_map(move |event| async move {
            event
                .inspect_err(|error| tracing::warn!(resource, %error, "could not follow the resource"))
                .ok()
        })
}

/// What a new list has shown so far, and whether both kinds have been listed once.
#[derive(Default)]
struct Relist {
    pods: HashSet<String>,
    nodes: HashSet<String>,
    pods_synced: bool,
    nodes_synced: bool,
}

impl Relist {
    fn synced(&self) -> bool {
        self.pods_synced && self.nodes_synced
    }

    fn pod(&mut self, cluster: &mut Cluster, event: Event<Pod>, now: Timestamp) {
        match event {
            Event::Init => self.pods.clear(),
            Event::InitApply(pod) => {
                self.pods.extend(pod.metadata.uid.clone());
                cluster.pod_seen(pod, now);
            }
            Event::InitDone => {
                cluster.pods_listed(&std::mem::take(&mut self.pods), now);
                self.pods_synced = true;
            }
            Event::Apply(pod) => cluster.pod_seen(pod, now),
            Event::Delete(pod) => cluster.pod_gone(pod.metadata.uid.as_deref().unwrap_or_default(), now),
        }
    }

    fn node(&mut self, cluster: &mut Cluster, event: Event<Node>, now: Timestamp) {
        match event {
            Event::Init => self.nodes.clear(),
            Event::InitApply(node) => {
                self.nodes.extend(node.metadata.name.clone());
                cluster.node_seen(&node, now);
            }
            Event::InitDone => {
                cluster.nodes_listed(&std::mem::take(&mut self.nodes));
                self.nodes_synced = true;
            }
            Event::Apply(node) => cluster.node_seen(&node, now),
            Event::Delete(node) => cluster.node_gone(node.metadata.name.as_deref().unwrap_or_default()),
        }
    }
}

async fn bind(client: kube::Client, recorder: Recorder, pod: Arc<Pod>, node: String) -> Done {
    let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
    let name = pod.metadata.name.clone().unwrap_or_default();
    let binding = Binding {
        metadata: ObjectMeta {
            name: Some(name.clone()),
            namespace: pod.metadata.namespace.clone(),
            uid: pod.metadata.uid.clone(),
            ..ObjectMeta::default()
        },
        target: ObjectReference {
            kind: Some("Node".to_owned()),
            name: Some(node.clone()),
            ..ObjectReference::default()
        },
    };
    let api: Api<Pod> = Api::namespaced(client, namespace);
    let params = PostParams::default();
    let request = api.create_subresource::<_, serde_json::Value>("binding", &name, &params, &binding);
    match request.await {
        Ok(_) => {
            recorder.record(Note::scheduled(&pod, &node));
            Done::Settled
        }
        Err(error) => {
            let gone = matches!(&error, kube::Error::Api(status) if status.code == 404);
            if !gone {
                tracing::warn!(namespace, pod = name, node, %error, "could not bind the pod");
                recorder.record(Note::failed(&pod, format!("binding rejected: {error}")));
            }
            Done::Unbound(pod)
        }
    }
}

/// Says in the pod's status why it goes nowhere, if it does not say so already.
async fn tell_refused(client: kube::Client, pod: Arc<Pod>, why: Unschedulable, now: Timestamp) -> Done {
    let condition = refused_condition(&pod, &why, now);
    let Some(condition) = condition else {
        return Done::Settled;
    };
    let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
    let name = pod.metadata.name.as_deref().unwrap_or_default();
    let api: Api<Pod> = Api::namespaced(client, namespace);
    let change = json!({
        "metadata": {"uid": pod.metadata.uid},
        "status": {"conditions": [condition]},
    });
    let patched = api
        .patch_status(name, &PatchParams::default(), &Patch::Strategic(change))
        .await;
    match patched {
        Ok(_) => {}
        Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => {}
        Err(error) => tracing::warn!(namespace, pod = name, %error, "could not write the pod's condition"),
    }
    Done::Settled
}

fn refused_condition(pod: &Pod, why: &Unschedulable, now: Timestamp) -> Option<PodCondition> {
    let message = why.to_string();
    let conditions = pod
        .status
        .iter()
        .flat_map(|status| status.conditions.iter().flatten());
    let current = conditions
        .into_iter()
        .find(|condition| condition.type_ == "PodScheduled");
    let same = current.is_some_and(|current| {
        current.status == "False"
            && current.reason.as_deref() == Some("Unschedulable")
            && current.message.as_deref() == Some(&message)
    });
    let since = current
        .filter(|current| current.status == "False")
        .and_then(|c| c.last_transition_time.clone());
    (!same).then(|| PodCondition {
        type_: "PodScheduled".to_owned(),
        status: "False".to_owned(),
        reason: Some("Unschedulable".to_owned()),
        message: Some(message),
        observed_generation: pod.metadata.generation,
        last_transition_time: since.or(Some(Time(now))),
        last_probe_time: None,
    })
}
