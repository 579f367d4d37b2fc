//! The shell: follows pods, nodes and disruption budgets, lets the cluster decide, and has decisions carried out.
//!
//! One task owns all that is known, so nothing is locked and decisions come one after the other; binding runs beside it, so
//! many at a time and no more.

use crate::cluster::{Cluster, Decision, Displacement, Nomination, nominated};
use crate::config::Config;
use crate::events::{Note, Recorder};
use crate::leader::{self, LeaderError};
use crate::relist::Relist;
use crate::status::Why;
use crate::volumes::Choices;
use crate::{displace, provide, status};
use futures::{Stream, StreamExt};
use k8s_openapi::api::core::v1::{
    Binding, Node, ObjectReference, PersistentVolume, PersistentVolumeClaim, Pod,
};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::api::storage::v1::StorageClass;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::jiff::Timestamp;
use kube::api::{Api, PostParams};
use kube::runtime::watcher;
use kube::runtime::{WatchStreamExt, watcher::Event};
use std::hash::{BuildHasher, RandomState};
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
    /// What was chosen for the pod's claims was written down, or not all of it.
    Provided(Arc<Pod>, Option<Choices>),
    /// The pod was not bound.
    Unbound(Arc<Pod>),
    /// Pods were told to leave for this one, but for those of these uids.
    Displaced(Arc<Pod>, Displacement, Vec<String>),
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
        // Boxed, for each is large, and all of them on one stack were too much for it.
        let mut pods = self.pods().boxed();
        let mut nodes = self.all::<Node>("nodes").boxed();
        let mut budgets = self.all::<PodDisruptionBudget>("poddisruptionbudgets").boxed();
        let mut claims = self
            .all::<PersistentVolumeClaim>("persistentvolumeclaims")
            .boxed();
        let mut volumes = self.all::<PersistentVolume>("persistentvolumes").boxed();
        let mut classes = self.all::<StorageClass>("storageclasses").boxed();
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
                Some(event) = budgets.next() => relist.budget(&mut cluster, event),
                Some(event) = classes.next() => relist.class(&mut cluster, event, Timestamp::now()),
                Some(event) = volumes.next() => relist.volume(&mut cluster, event, Timestamp::now()),
                Some(event) = claims.next() => relist.claim(&mut cluster, event, Timestamp::now()),
                Some(done) = tasks.join_next() => take_in(&mut cluster, done, Timestamp::now()),
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    /// Pods that are not finished; a pod that finishes leaves this list.
    fn pods(&self) -> impl Stream<Item = Event<Pod>> + use<> {
        let config = watcher::Config::default().fields("status.phase!=Succeeded,status.phase!=Failed");
        follow(Api::all(self.client.clone()), config, "pods")
    }

    fn all<K>(&self, resource: &'static str) -> impl Stream<Item = Event<K>> + use<K>
    where
        K: kube::Resource<DynamicType = ()>
            + Clone
            + std::fmt::Debug
            + serde::de::DeserializeOwned
            + Send
            + 'static,
    {
        follow(
            Api::all(self.client.clone()),
            watcher::Config::default(),
            resource,
        )
    }

    fn carry_out(&self, decision: Decision, tasks: &mut JoinSet<Done>, now: Timestamp) {
        let (client, recorder) = (self.client.clone(), self.recorder.clone());
        match decision {
            Decision::Bind(pod, node) => {
                tasks.spawn(async move { bind(client, recorder, pod, node).await });
            }
            Decision::Provide(pod, choices) => {
                tasks.spawn(async move { provide(client, recorder, pod, choices).await });
            }
            Decision::Refuse(pod, why, nomination) => {
                let why = Why::unschedulable(why.to_string());
                recorder.record(Note::failed(&pod, why.message().to_owned()));
                tasks.spawn(async move {
                    status::tell(&client, &pod, &why, &nomination, now).await;
                    Done::Settled
                });
            }
            Decision::MakeRoom(pod, why, displacement) => {
                let why = Why::unschedulable(why.to_string());
                recorder.record(Note::failed(&pod, why.message().to_owned()));
                tasks.spawn(async move {
                    let nomination = Nomination::Node(displacement.node.clone());
                    status::tell(&client, &pod, &why, &nomination, now).await;
                    let spared = displace::displace(&client, &recorder, &pod, &displacement).await;
                    Done::Displaced(pod, displacement, spared)
                });
            }
        }
    }
}

fn take_in(cluster: &mut Cluster, done: Result<Done, tokio::task::JoinError>, now: Timestamp) {
    match done {
        Ok(Done::Unbound(pod)) => cluster.bind_failed(&pod, now),
        Ok(Done::Provided(pod, written)) => cluster.provided(&pod, written, now),
        Ok(Done::Displaced(pod, displacement, spared)) => {
            cluster.displaced(&pod, &displacement, &spared, now);
        }
        Ok(Done::Settled) | Err(_) => {}
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
    // What there is comes one by one in the watch (KEP-3157), so that a list is never in memory as a whole.
    let config = config.streaming_lists();
    watcher(api, config)
        .default_backoff()
        .filter_map(move |event| async move {
            event
                .inspect_err(|error| tracing::warn!(resource, %error, "could not follow the resource"))
                .ok()
        })
}

async fn provide(client: kube::Client, recorder: Recorder, pod: Arc<Pod>, choices: Choices) -> Done {
    let written = provide::write(&client, choices).await;
    if let Err(error) = &written {
        let (namespace, name) = (&pod.metadata.namespace, &pod.metadata.name);
        tracing::info!(namespace, pod = name, %error, "what was chosen for the pod's claims is not taken");
        recorder.record(Note::failed(
            &pod,
            format!("running PreBind plugin \"VolumeBinding\": {error}"),
        ));
    }
    Done::Provided(pod, written.ok())
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
    let api: Api<Pod> = Api::namespaced(client.clone(), namespace);
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
                let why = Why::error(format!("binding rejected: {error}"));
                recorder.record(Note::failed(&pod, why.message().to_owned()));
                tell_unbound(&client, &pod, &why, &error).await;
            }
            Done::Unbound(pod)
        }
    }
}

/// Says in the pod's status that it could not be bound, where that is sure: an answer that did not come may have been a yes.
async fn tell_unbound(client: &kube::Client, pod: &Pod, why: &Why, error: &kube::Error) {
    let kube::Error::Api(status) = error else { return };
    if status.code == 409 {
        return;
    }
    let nomination = match nominated(pod) {
        Some(_) => Nomination::None,
        None => Nomination::AsItIs,
    };
    status::tell(client, pod, why, &nomination, Timestamp::now()).await;
}
