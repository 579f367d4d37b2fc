//! A cluster in virtual time: an apiserver on the model store, the controllers behind an interposer, and nodes that only say
//! what kubelets would say.

use crate::interpose::{Fault, Interposer, View};
use crate::oracle::Oracle;
use coracle_apiserver::request::UserInfo;
use coracle_apiserver::{ApiServer, Running};
use coracle_controllers::{Clock, Config};
use coracle_store::model::ModelStore;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt;
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// How long the controllers get after each thing that happens. Longer than all they wait for: a node's grace period, the time
/// that pods tolerate a silent node in these tests, pauses between tries.
const SETTLING: Duration = Duration::from_secs(110);

/// How long a view stays as a fault made it.
const CONFUSION: Duration = Duration::from_secs(80);

/// How often nodes look at their pods and renew their leases.
const BEAT: Duration = Duration::from_secs(10);

pub(crate) const NODES: [&str; 2] = ["n1", "n2"];

/// The annotation of pods that succeed soon after they have started.
pub(crate) const ENDS: &str = "test.coracle/ends";

pub(crate) struct World {
    pub(crate) admin: kube::Client,
    pub(crate) interposer: Interposer,
    pub(crate) oracle: Arc<Oracle>,
    began: Instant,
    config: Config,
    controllers: Option<(CancellationToken, JoinHandle<()>)>,
    silent: Arc<Mutex<BTreeSet<String>>>,
    nodes: JoinHandle<()>,
    _data: tempfile::TempDir,
}

impl World {
    pub(crate) async fn start(fault: Option<(usize, Fault)>) -> Self {
        let data = tempfile::tempdir().unwrap();
        let mut config = coracle_apiserver::Config::new(data.path());
        config.listen = vec!["127.0.0.1:0".parse().unwrap()];
        let store = Arc::new(ModelStore::new());
        let server = Arc::new(ApiServer::start(config, store.clone()).await.unwrap());
        let admin = administrator(&server);
        let oracle = Arc::new(Oracle::new(admin.clone()));
        let silent = Arc::<Mutex<BTreeSet<String>>>::default();
        // The server stamps what is created with the machine's time, which virtual time is never behind.
        let clock = Clock::starting_at(next_hour(Timestamp::now()));
        for node in NODES {
            register(&admin, node).await;
        }
        let mut world = Self {
            interposer: Interposer::new(server, store, oracle.clone(), fault),
            nodes: tokio::spawn(beat(admin.clone(), silent.clone(), clock)),
            config: Config {
                root_ca: Some("-----BEGIN CERTIFICATE-----".to_owned()),
                // One after the other, so that writes come in the same order each time.
                workers: 1,
                clock,
                ..Config::default()
            },
            began: Instant::now(),
            admin,
            oracle,
            controllers: None,
            silent,
            _data: data,
        };
        world.start_controllers();
        world.settle().await;
        world
    }

    fn start_controllers(&mut self) {
        let shutdown = CancellationToken::new();
        let clients = Arc::new(self.interposer.clone());
        let running = coracle_controllers::run(clients, self.config.clone(), shutdown.clone());
        let task = tokio::spawn(async move { running.await.unwrap() });
        self.controllers = Some((shutdown, task));
    }

    async fn end_controllers(&mut self) {
        if let Some((shutdown, task)) = self.controllers.take() {
            shutdown.cancel();
            task.await.unwrap();
        }
    }

    /// Gives the controllers time to do all there is to do, through the fault if it comes meanwhile.
    pub(crate) async fn settle(&mut self) {
        let tripped = self.interposer.trip_of(SETTLING);
        let Some(fault) = tripped.await else { return };
        match fault {
            Fault::Hidden(_) => {}
            fault => {
                self.end_controllers().await;
                if let Fault::Stale(write) = fault {
                    self.interposer
                        .show(View::Old(self.interposer.revision_before(write)));
                }
                self.interposer.revive();
                self.start_controllers();
            }
        }
        tokio::time::sleep(CONFUSION).await;
        self.interposer.show(View::Live);
        tokio::time::sleep(SETTLING).await;
    }

    /// Has a node say nothing, or speak again.
    pub(crate) fn silence(&self, node: &str, silent: bool) {
        let mut all = self.silent.lock().unwrap();
        if silent {
            all.insert(node.to_owned());
        } else {
            all.remove(node);
        }
    }

    /// How much time has gone by in here.
    pub(crate) fn age(&self) -> Duration {
        self.began.elapsed()
    }

    pub(crate) async fn stop(mut self) {
        self.end_controllers().await;
        self.nodes.abort();
    }

    /// Creates an object, at the path of its kind.
    pub(crate) async fn create(&self, path: &str, object: Value) {
        let request = http::Request::post(path).header("content-type", "application/json");
        let request = request.body(object.to_string().into_bytes()).unwrap();
        self.admin.request::<Value>(request).await.unwrap();
    }

    pub(crate) async fn patch(&self, path: &str, change: Value) {
        let request = http::Request::patch(path).header("content-type", "application/merge-patch+json");
        let request = request.body(change.to_string().into_bytes()).unwrap();
        self.admin.request::<Value>(request).await.unwrap();
    }

    pub(crate) async fn delete(&self, path: &str, policy: &str) {
        let options = json!({"apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": policy});
        let request = http::Request::delete(path).header("content-type", "application/json");
        let request = request.body(options.to_string().into_bytes()).unwrap();
        self.admin.request::<Value>(request).await.unwrap();
    }

    pub(crate) async fn list(&self, path: &str) -> Vec<Value> {
        let request = http::Request::get(path).body(Vec::new()).unwrap();
        let list: Value = self.admin.request(request).await.unwrap();
        list["items"].as_array().unwrap().clone()
    }
}

/// When the next hour begins: so no run depends on the minute in which it was started.
fn next_hour(now: Timestamp) -> Timestamp {
    let hour = 60 * 60;
    Timestamp::from_second((now.as_second() / hour + 1) * hour).unwrap()
}

fn administrator(server: &Running) -> kube::Client {
    server.client(UserInfo {
        name: "admin".to_owned(),
        groups: ["system:masters", "system:authenticated"]
            .map(str::to_owned)
            .to_vec(),
        ..UserInfo::default()
    })
}

async fn register(admin: &kube::Client, name: &str) {
    let node: Api<k8s_openapi::api::core::v1::Node> = Api::all(admin.clone());
    let object = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": name}});
    node.create(&PostParams::default(), &serde_json::from_value(object).unwrap())
        .await
        .unwrap();
    let ready = json!({"status": {
        "allocatable": {"cpu": "8", "memory": "16Gi", "pods": "110"},
        "conditions": [{"type": "Ready", "status": "True", "reason": "KubeletReady"}],
    }});
    node.patch_status(name, &PatchParams::default(), &Patch::Merge(ready))
        .await
        .unwrap();
}

/// The nodes: they renew their leases, take pods in, and let them go. Who is silent does nothing.
async fn beat(admin: kube::Client, silent: Arc<Mutex<BTreeSet<String>>>, clock: Clock) {
    let mut addresses = 1;
    loop {
        let speaking: Vec<&str> = {
            let silent = silent.lock().unwrap();
            NODES.into_iter().filter(|node| !silent.contains(*node)).collect()
        };
        let mut there = Vec::new();
        for node in speaking {
            if renew(&admin, node, clock.now()).await {
                there.push(node);
            }
        }
        let pods: Api<Pod> = Api::all(admin.clone());
        for pod in pods.list(&Default::default()).await.unwrap().items {
            let api: Api<Pod> = Api::namespaced(admin.clone(), &pod.namespace().unwrap());
            let node = pod.spec.as_ref().and_then(|spec| spec.node_name.clone());
            match node {
                None => bind(&admin, &pod, place(&pod, &there)).await,
                Some(node) if there.contains(&node.as_str()) => {
                    addresses += 1;
                    run(&api, &pod, addresses).await;
                }
                Some(_) => {}
            }
        }
        tokio::time::sleep(BEAT).await;
    }
}

/// Says that the node is well; answers whether there is such a node.
async fn renew(admin: &kube::Client, node: &str, now: Timestamp) -> bool {
    let leases: Api<k8s_openapi::api::coordination::v1::Lease> =
        Api::namespaced(admin.clone(), "kube-node-lease");
    let spec = json!({"holderIdentity": node, "renewTime": format!("{now:.6}"), "leaseDurationSeconds": 40});
    let renewed = json!({"spec": spec});
    let patched = leases
        .patch(node, &PatchParams::default(), &Patch::Merge(renewed))
        .await;
    if patched.is_err() {
        let lease = json!({"metadata": {"name": node}, "spec": spec});
        let lease = serde_json::from_value(lease).unwrap();
        // Until the server has made its namespaces there is none for it.
        let _ = leases.create(&PostParams::default(), &lease).await;
    }
    let nodes: Api<k8s_openapi::api::core::v1::Node> = Api::all(admin.clone());
    let Some(found) = nodes.get_opt(node).await.unwrap() else {
        return false;
    };
    let conditions = found
        .status
        .and_then(|status| status.conditions)
        .unwrap_or_default();
    let ready = conditions
        .iter()
        .any(|condition| condition.type_ == "Ready" && condition.status == "True");
    if !ready {
        let change = json!({"status": {"conditions": [{"type": "Ready", "status": "True", "reason": "KubeletReady"}]}});
        let _ = nodes
            .patch_status(node, &PatchParams::default(), &Patch::Merge(change))
            .await;
    }
    true
}

/// Where a pod goes, of the nodes that speak: the one it names in its affinity, as pods of DaemonSets do, or else the last.
fn place<'a>(pod: &Pod, there: &[&'a str]) -> Option<&'a str> {
    let affinity = pod.spec.as_ref().and_then(|spec| spec.affinity.as_ref());
    let required = affinity
        .and_then(|affinity| affinity.node_affinity.as_ref())
        .and_then(|nodes| nodes.required_during_scheduling_ignored_during_execution.as_ref());
    let Some(required) = required else {
        return there.last().copied();
    };
    let fields = required
        .node_selector_terms
        .iter()
        .flat_map(|term| term.match_fields.iter().flatten());
    let names: Vec<_> = fields.flat_map(|field| field.values.iter().flatten()).collect();
    there
        .iter()
        .copied()
        .find(|node| names.iter().any(|name| *name == node))
}

async fn bind(admin: &kube::Client, pod: &Pod, node: Option<&str>) {
    let (Some(node), None) = (node, &pod.metadata.deletion_timestamp) else {
        return;
    };
    let path = format!(
        "/api/v1/namespaces/{}/pods/{}/binding",
        pod.namespace().unwrap(),
        pod.name_any()
    );
    let binding = json!({
        "apiVersion": "v1",
        "kind": "Binding",
        "metadata": {"name": pod.name_any()},
        "target": {"apiVersion": "v1", "kind": "Node", "name": node},
    });
    let request = http::Request::post(path).header("content-type", "application/json");
    let request = request.body(binding.to_string().into_bytes()).unwrap();
    // It may have been deleted meanwhile.
    let _ = admin.request::<Value>(request).await;
}

async fn run(api: &Api<Pod>, pod: &Pod, number: usize) {
    if pod.metadata.deletion_timestamp.is_some() {
        let _ = api
            .delete(&pod.name_any(), &DeleteParams::default().grace_period(0))
            .await;
        return;
    }
    let status = pod.status.clone().unwrap_or_default();
    let is_ready = status
        .conditions
        .iter()
        .flatten()
        .any(|one| one.type_ == "Ready" && one.status == "True");
    if matches!(status.phase.as_deref(), Some("Failed" | "Succeeded")) {
        return;
    }
    if is_ready {
        if pod.annotations().contains_key(ENDS) {
            say(api, pod, json!({"phase": "Succeeded"})).await;
        }
        return;
    }
    let ip = status
        .pod_ip
        .unwrap_or_else(|| format!("10.244.{}.{}", number / 250, number % 250));
    let running = json!({
        "phase": "Running",
        "podIP": ip,
        "podIPs": [{"ip": ip}],
        "conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"}],
    });
    say(api, pod, running).await;
}

/// Says what a pod is. It may be gone meanwhile.
async fn say(api: &Api<Pod>, pod: &Pod, status: Value) {
    let change = Patch::Strategic(json!({"status": status}));
    let _ = api
        .patch_status(&pod.name_any(), &PatchParams::default(), &change)
        .await;
}
