//! A node agent against the API in memory and a real containerd.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use coracle_node_agent::{Config, Serving};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::api::FakeApi;
use super::runtime::Containerd;

pub(crate) const NODE: &str = "n1";

/// An agent on a thread of its own, in the network of its runtime.
pub(crate) struct Agent {
    shutdown: CancellationToken,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Agent {
    pub(crate) fn start(api: &FakeApi, runtime: &Containerd, serving: Option<Serving>) -> Self {
        let shutdown = CancellationToken::new();
        let (client_of, token) = (api.clone(), shutdown.clone());
        let config = config(runtime, serving);
        let network = format!("/proc/{}/ns/net", runtime.pid());
        let thread = std::thread::spawn(move || {
            // Threads that the runtime starts from here inherit this network.
            let file = std::fs::File::open(network).expect("network namespace opened");
            nix::sched::setns(file, nix::sched::CloneFlags::CLONE_NEWNET).expect("network namespace entered");
            let runtime = tokio::runtime::Builder::new_multi_thread()
                .worker_threads(2)
                .enable_all()
                .build()
                .expect("a tokio runtime");
            runtime.block_on(async move {
                coracle_node_agent::run(client_of.client(), config, token)
                    .await
                    .expect("the agent runs");
            });
        });
        Self {
            shutdown,
            thread: Some(thread),
        }
    }

    /// Ends the agent; its pods run on.
    pub(crate) fn stop(mut self) {
        self.end();
    }

    fn end(&mut self) {
        self.shutdown.cancel();
        if let Some(thread) = self.thread.take() {
            let ended = thread.join();
            if !std::thread::panicking() {
                ended.expect("the agent ends without a panic");
            }
        }
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        self.end();
    }
}

fn config(runtime: &Containerd, serving: Option<Serving>) -> Config {
    let mut config = Config::new(NODE, IpAddr::from([127, 0, 0, 1]));
    config.runtime_endpoint = format!("unix://{}", runtime.socket().display());
    config.root_dir = root_dir(runtime);
    config.pod_log_dir = runtime.dir.join("logs");
    config.cgroup_root = runtime.cgroup_root.clone();
    config.cni_conf_dir = Some(runtime.dir.join("cni"));
    config.listen = SocketAddr::from(([127, 0, 0, 1], 10250));
    config.serving = serving;
    config
}

pub(crate) fn root_dir(runtime: &Containerd) -> PathBuf {
    runtime.dir.join("kubelet")
}

/// Gives the node its range of addresses, as the node controller does.
pub(crate) async fn assign_range(api: &FakeApi) {
    api.wait_for("node registers", "nodes", "", NODE, |n| n.is_some())
        .await;
    api.edit("nodes", "", NODE, |node| {
        node["spec"]["podCIDR"] = json!("10.244.7.0/24");
        node["spec"]["podCIDRs"] = json!(["10.244.7.0/24"]);
    });
}

/// A pod bound to the node, with one container `c` of the work image.
pub(crate) fn pod(name: &str, args: &[&str], more: Value) -> Value {
    let mut pod = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": name, "namespace": "default", "labels": {"app": name}},
        "spec": {
            "nodeName": NODE, "terminationGracePeriodSeconds": 1, "enableServiceLinks": true,
            "containers": [{"name": "c", "image": super::images::WORK_IMAGE, "args": args}],
        },
    });
    for (key, value) in more.as_object().cloned().unwrap_or_default() {
        pod["spec"][key] = value;
    }
    pod
}

/// The same with further fields of the container.
pub(crate) fn pod_with(name: &str, args: &[&str], container: Value, more: Value) -> Value {
    let mut pod = pod(name, args, more);
    for (key, value) in container.as_object().cloned().unwrap_or_default() {
        pod["spec"]["containers"][0][key] = value;
    }
    pod
}

pub(crate) fn phase(pod: Option<&Value>) -> &str {
    pod.and_then(|p| p["status"]["phase"].as_str())
        .unwrap_or_default()
}

pub(crate) fn is_ready(pod: Option<&Value>) -> bool {
    let conditions = pod
        .and_then(|p| p["status"]["conditions"].as_array())
        .cloned()
        .unwrap_or_default();
    conditions
        .iter()
        .any(|c| c["type"] == "Ready" && c["status"] == "True")
}

/// The first container's status.
pub(crate) fn status(pod: Option<&Value>) -> Value {
    pod.map(|p| p["status"]["containerStatuses"][0].clone())
        .unwrap_or_default()
}
