//! What a node agent is told at its start. Plain data: reading files and flags is the caller's business.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use k8s_openapi::api::core::v1::Taint;
use tokio::sync::watch;

/// Certificates of the agent's HTTPS server, all in PEM.
#[derive(Clone)]
pub struct Serving {
    /// Certificate chain, leaf first.
    pub cert_pem: String,
    /// Private key of the leaf (PKCS#8, PKCS#1 or SEC1).
    pub key_pem: String,
    /// Authorities whose client certificates are believed; callers without one get 401.
    pub client_ca_pem: String,
    /// Tells chain and key that take the place of those above, while the agent runs; none where they stay.
    pub renewals: Option<watch::Receiver<(String, String)>>,
}

impl std::fmt::Debug for Serving {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Serving").finish_non_exhaustive()
    }
}

/// Configuration of one node agent.
#[derive(Clone, Debug)]
pub struct Config {
    /// Name of the Node object, and value of `spec.nodeName` in the pods to run.
    pub node_name: String,
    /// Addresses of the node, primary first; they become `InternalIP` addresses and pods' `hostIPs`.
    pub node_ips: Vec<IpAddr>,
    /// Socket of the CRI runtime, with or without the `unix://` scheme.
    pub runtime_endpoint: String,
    /// State of the agent: `pods/<uid>/…`, as in `/var/lib/kubelet`.
    pub root_dir: PathBuf,
    /// Container logs: `<namespace>_<name>_<uid>/<container>/<restart>.log`, as in `/var/log/pods`.
    pub pod_log_dir: PathBuf,
    /// Name servers for pods with `dnsPolicy: ClusterFirst`.
    pub cluster_dns: Vec<IpAddr>,
    /// Domain of the cluster's services, `cluster.local`.
    pub cluster_domain: String,
    /// resolv.conf that pods inherit from the node; none means an empty one.
    pub resolv_conf: Option<PathBuf>,
    /// Where the HTTPS server listens; port 0 takes a free one, and the node tells which.
    pub listen: SocketAddr,
    /// Certificates of the HTTPS server; none means no server.
    pub serving: Option<Serving>,
    /// Parent cgroup of `kubepods`, relative to each hierarchy's root, such as `/coracle/node-1`.
    pub cgroup_root: String,
    /// Where the cgroup hierarchies are mounted, usually `/sys/fs/cgroup`.
    pub cgroup_mount: PathBuf,
    /// `status.capacity.pods`.
    pub max_pods: u32,
    /// Labels besides those that every node bears.
    pub labels: BTreeMap<String, String>,
    /// Taints that the node registers with.
    pub taints: Vec<Taint>,
    /// Directory for the CNI configuration written once `spec.podCIDR` is known; none means that someone else
    /// configures the pod network.
    pub cni_conf_dir: Option<PathBuf>,
    /// Name of the bridge in that configuration.
    pub cni_bridge: String,
    /// `spec.leaseDurationSeconds` of the node's Lease; it is renewed at a quarter of this.
    pub lease_duration: Duration,
    /// How often the node's status is looked at, and written when it changed.
    pub status_update_frequency: Duration,
    /// A status that did not change is written anyway after this time.
    pub status_report_frequency: Duration,
    /// `status.nodeInfo.kubeletVersion`.
    pub version: String,
}

impl Config {
    /// Upstream's defaults for a node of this name and primary address.
    pub fn new(node_name: impl Into<String>, node_ip: IpAddr) -> Self {
        let root_dir = PathBuf::from("/var/lib/kubelet");
        Self {
            node_name: node_name.into(),
            node_ips: vec![node_ip],
            runtime_endpoint: "unix:///run/containerd/containerd.sock".into(),
            root_dir,
            pod_log_dir: PathBuf::from("/var/log/pods"),
            cluster_dns: vec![IpAddr::from([10, 96, 0, 10])],
            cluster_domain: "cluster.local".into(),
            resolv_conf: Some(PathBuf::from("/etc/resolv.conf")),
            listen: SocketAddr::from(([0, 0, 0, 0], 10250)),
            serving: None,
            cgroup_root: "/".into(),
            cgroup_mount: PathBuf::from("/sys/fs/cgroup"),
            max_pods: 110,
            labels: BTreeMap::new(),
            taints: Vec::new(),
            cni_conf_dir: Some(PathBuf::from("/etc/cni/net.d")),
            cni_bridge: "cni0".into(),
            lease_duration: Duration::from_secs(40),
            status_update_frequency: Duration::from_secs(10),
            status_report_frequency: Duration::from_secs(300),
            version: "v1.36.3+coracle".into(),
        }
    }

    /// Path of the CRI socket without a scheme.
    pub(crate) fn runtime_socket(&self) -> PathBuf {
        PathBuf::from(self.runtime_endpoint.trim_start_matches("unix://"))
    }

    /// Directory of one pod's volumes and files.
    pub(crate) fn pod_dir(&self, uid: &str) -> PathBuf {
        self.root_dir.join("pods").join(uid)
    }

    /// Directory of one pod's container logs.
    pub(crate) fn pod_logs(&self, namespace: &str, name: &str, uid: &str) -> PathBuf {
        self.pod_log_dir.join(format!("{namespace}_{name}_{uid}"))
    }
}
