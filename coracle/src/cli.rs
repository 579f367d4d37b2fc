//! The command line. Flags of the parts are named as upstream names them.

mod access;
mod audit;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgMatches, Args, CommandFactory, FromArgMatches, Parser, Subcommand};

use crate::cluster::state::ClusterName;
use crate::commands::inspect::Output;
use crate::commands::up;
use crate::parts::health::HealthFlags;

/// Kubernetes in one binary
#[derive(Debug, Parser)]
#[command(name = "coracle", version, about, arg_required_else_help = true)]
pub(crate) struct Cli {
    /// What to do
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// The verbs.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Start a local cluster in the background and wait until it is ready
    Up(Up),
    /// Stop a local cluster and leave nothing of it behind
    Down {
        #[command(flatten)]
        cluster: Cluster,
        /// Keep the control plane's data for a later `up`
        #[arg(long)]
        keep_data: bool,
    },
    /// Say what of a local cluster runs; exit 1 when something does not
    Status {
        #[command(flatten)]
        cluster: Cluster,
        /// How to print it
        #[arg(short, long, value_enum, default_value = "text")]
        output: Output,
    },
    /// Name all local clusters
    List {
        /// How to print it
        #[arg(short, long, value_enum, default_value = "text")]
        output: Output,
    },
    /// Print the end of the control plane's log, or of a node's
    Logs {
        #[command(flatten)]
        cluster: Cluster,
        /// control-plane, a node's name, or a node's name with /containerd
        part: Option<String>,
        /// How many lines
        #[arg(long, default_value_t = 100)]
        tail: usize,
    },
    /// Print a local cluster's kubeconfig
    Kubeconfig {
        #[command(flatten)]
        cluster: Cluster,
    },
    /// Import OCI or Docker image archives into every node
    Load {
        #[command(flatten)]
        cluster: Cluster,
        /// The archives
        #[arg(required = true)]
        archives: Vec<PathBuf>,
    },
    /// Print shell completions
    Completion {
        /// For which shell
        shell: clap_complete::Shell,
    },
    /// Run the control plane in the foreground: apiserver, controllers and scheduler in one process
    Server(Server),
    /// Run the apiserver alone
    Apiserver(Apiserver),
    /// Run the controllers alone
    ControllerManager(ControllerManager),
    /// Run the scheduler alone
    Scheduler(Scheduler),
    /// Run a node's parts: node agent, service proxy and DNS
    Node(Node),
    /// Run the service proxy alone
    Proxy(Proxy),
    /// Run the cluster DNS alone
    Dns(Dns),
    /// A node's own first steps
    #[command(hide = true)]
    Sandbox {
        /// Which step
        #[command(subcommand)]
        step: SandboxStep,
    },
}

/// Which local cluster.
#[derive(Debug, Args)]
pub(crate) struct Cluster {
    /// The cluster's name
    #[arg(long, default_value = "coracle")]
    pub(crate) name: ClusterName,
}

/// Flags of `up`.
#[derive(Debug, Args)]
pub(crate) struct Up {
    #[command(flatten)]
    cluster: Cluster,
    /// How many nodes the cluster has [default: as many as there are, 1 in a new cluster]
    ///
    /// On a cluster that is there, more adds nodes; fewer is refused, for pods may run on every one of them.
    #[arg(long, value_name = "K")]
    nodes: Option<usize>,
    /// The API's port on 127.0.0.1
    #[arg(long, default_value_t = 6443)]
    api_port: u16,
    /// Where the control plane keeps its data
    #[arg(long)]
    data_dir: Option<PathBuf>,
    /// How long to wait until the cluster is ready, such as 90s or 2m
    #[arg(long, default_value = "2m", value_parser = duration)]
    wait: Duration,
}

impl From<Up> for up::Request {
    fn from(up: Up) -> Self {
        Self {
            name: up.cluster.name,
            nodes: up.nodes,
            api_port: up.api_port,
            data_dir: up.data_dir,
            wait: up.wait,
        }
    }
}

/// Flags of the apiserver, as kube-apiserver's.
#[derive(Clone, Debug, Args)]
pub(crate) struct Apiserver {
    /// Where the store, the keys and the kubeconfigs are kept
    #[arg(long, default_value = "/var/lib/coracle/server")]
    pub(crate) data_dir: PathBuf,
    /// Addresses to listen on, with commas between
    #[arg(long, value_delimiter = ',', default_value = "127.0.0.1")]
    pub(crate) bind_address: Vec<IpAddr>,
    /// The port to listen on
    #[arg(long, default_value_t = 6443)]
    pub(crate) secure_port: u16,
    /// The address under which the cluster reaches the API; the first bind address by default
    #[arg(long)]
    pub(crate) advertise_address: Option<IpAddr>,
    /// Service addresses; two ranges of different families, separated by a comma, make a cluster of both
    #[arg(long, default_value = "10.96.0.0/12")]
    pub(crate) service_cluster_ip_range: String,
    /// Node ports of services
    #[arg(long, default_value = "30000-32767")]
    pub(crate) service_node_port_range: String,
    /// A CSV file of static tokens: token,user,uid,"group1,group2"
    #[arg(long)]
    pub(crate) token_auth_file: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) access: access::Access,
    /// Admission plugins that run besides those that are on by default
    #[arg(long, value_delimiter = ',')]
    pub(crate) enable_admission_plugins: Vec<String>,
    /// Admission plugins that do not run though they are on by default
    #[arg(long, value_delimiter = ',')]
    pub(crate) disable_admission_plugins: Vec<String>,
    /// What admission plugins are told: a file with an AdmissionConfiguration
    #[arg(long)]
    pub(crate) admission_control_config_file: Option<PathBuf>,
    /// More authorities whose client certificates are believed, in PEM
    #[arg(long)]
    pub(crate) client_ca_file: Option<PathBuf>,
    /// The authority that node agents are verified with, in PEM; the cluster's own by default
    #[arg(long)]
    pub(crate) kubelet_certificate_authority: Option<PathBuf>,
    /// The serving certificate, in PEM; made at first start by default
    #[arg(long, requires = "tls_private_key_file")]
    pub(crate) tls_cert_file: Option<PathBuf>,
    /// Its key, in PEM
    #[arg(long, requires = "tls_cert_file")]
    pub(crate) tls_private_key_file: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) audit: audit::Audit,
    /// Let requests wait their turn by FlowSchemas and PriorityLevelConfigurations
    #[arg(long, default_value_t = true, action = clap::ArgAction::Set, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub(crate) enable_priority_and_fairness: bool,
    /// Reads that are answered at once
    #[arg(long, default_value_t = 400)]
    pub(crate) max_requests_inflight: usize,
    /// Writes that are answered at once
    #[arg(long, default_value_t = 200)]
    pub(crate) max_mutating_requests_inflight: usize,
    /// How values are encrypted before they are stored: an EncryptionConfiguration
    #[arg(long)]
    pub(crate) encryption_provider_config: Option<PathBuf>,
    /// Follow changes of that file
    #[arg(long, requires = "encryption_provider_config")]
    pub(crate) encryption_provider_config_automatic_reload: bool,
    /// How much history the store keeps for watches that were interrupted, such as 5m; 0s keeps all
    #[arg(long, default_value = "5m", value_parser = duration)]
    pub(crate) etcd_compaction_interval: Duration,
    /// How long events are kept after they were last written, such as 1h; 0s keeps them for ever
    #[arg(long, default_value = "1h", value_parser = duration)]
    pub(crate) event_ttl: Duration,
    /// Leave the terminal's session
    #[arg(long, hide = true)]
    pub(crate) detached: bool,
    /// Every flag of the process with its value, as the server tells them at `/flagz`
    #[arg(skip)]
    pub(crate) told: BTreeMap<String, String>,
}

/// Flags of the control plane in one process.
#[derive(Clone, Debug, Args)]
pub(crate) struct Server {
    #[command(flatten)]
    pub(crate) apiserver: Apiserver,
    #[command(flatten)]
    pub(crate) controllers: ControllerFlags,
    /// Keep routes from this machine to the pods of every node
    #[arg(long)]
    pub(crate) pod_routes: bool,
}

/// Flags of the controllers, as kube-controller-manager's.
#[derive(Clone, Debug, Args)]
pub(crate) struct ControllerFlags {
    /// Which controllers run: * for all, NAME for one, -NAME for all but one
    #[arg(long, value_delimiter = ',', default_value = "*", allow_hyphen_values = true)]
    pub(crate) controllers: Vec<String>,
    /// Pod addresses, of which each node gets a part
    #[arg(long, default_value = "10.244.0.0/16")]
    pub(crate) cluster_cidr: String,
    /// How long a node may stay silent before it counts as unreachable
    #[arg(long, default_value = "50s", value_parser = duration)]
    pub(crate) node_monitor_grace_period: Duration,
    /// Make volumes of folders below /tmp of this machine, for classes of the provisioner kubernetes.io/host-path; to try things
    /// out on a single node
    #[arg(long)]
    pub(crate) enable_hostpath_provisioner: bool,
    /// The authority that signs certificates which were approved, in PEM; the cluster's own by default where it is at hand
    #[arg(long)]
    pub(crate) cluster_signing_cert_file: Option<PathBuf>,
    /// Its key
    #[arg(long)]
    pub(crate) cluster_signing_key_file: Option<PathBuf>,
    /// The key that signs the tokens in secrets of service accounts, in PEM; that of the API server where it is at hand
    #[arg(long)]
    pub(crate) service_account_private_key_file: Option<PathBuf>,
    /// The authority that pods verify the API with, in PEM; the cluster's own, or the kubeconfig's, by default
    #[arg(long)]
    pub(crate) root_ca_file: Option<PathBuf>,
}

/// Flags of the controllers in a process of their own.
#[derive(Clone, Debug, Args)]
pub(crate) struct ControllerManager {
    /// How to reach the API
    #[arg(long)]
    pub(crate) kubeconfig: PathBuf,
    #[command(flatten)]
    pub(crate) controllers: ControllerFlags,
    #[command(flatten)]
    pub(crate) health: HealthFlags,
}

/// Flags of the scheduler, as kube-scheduler's.
#[derive(Clone, Debug, Args)]
pub(crate) struct Scheduler {
    /// How to reach the API
    #[arg(long)]
    pub(crate) kubeconfig: PathBuf,
    #[command(flatten)]
    pub(crate) health: HealthFlags,
}

/// Flags of a node's parts, as kubelet's.
#[derive(Clone, Debug, Args)]
pub(crate) struct Node {
    /// How the node agent reaches the API
    #[arg(long)]
    pub(crate) kubeconfig: PathBuf,
    /// How the proxy does; without it none runs
    #[arg(long)]
    pub(crate) proxy_kubeconfig: Option<PathBuf>,
    /// How DNS does; without it none runs
    #[arg(long)]
    pub(crate) dns_kubeconfig: Option<PathBuf>,
    /// The node's name; the host's by default
    #[arg(long)]
    pub(crate) hostname_override: Option<String>,
    /// The node's addresses, the first one first
    #[arg(long, value_delimiter = ',', required = true)]
    pub(crate) node_ip: Vec<IpAddr>,
    /// The socket of the container runtime
    #[arg(long, default_value = "unix:///run/containerd/containerd.sock")]
    pub(crate) container_runtime_endpoint: String,
    /// Where pods' volumes and files are kept
    #[arg(long, default_value = "/var/lib/kubelet")]
    pub(crate) root_dir: PathBuf,
    /// Where containers' logs are kept
    #[arg(long, default_value = "/var/log/pods")]
    pub(crate) pod_log_dir: PathBuf,
    /// Where the pod network is configured; empty when somebody else does it
    #[arg(long, default_value = "/etc/cni/net.d")]
    pub(crate) cni_conf_dir: PathBuf,
    /// The cgroup below which pods run
    #[arg(long, default_value = "/")]
    pub(crate) cgroup_root: String,
    /// The serving certificate of the node agent, in PEM
    #[arg(long, requires_all = ["tls_private_key_file", "client_ca_file"])]
    pub(crate) tls_cert_file: Option<PathBuf>,
    /// Its key, in PEM
    #[arg(long)]
    pub(crate) tls_private_key_file: Option<PathBuf>,
    /// The authority whose client certificates may call the node agent, in PEM
    #[arg(long)]
    pub(crate) client_ca_file: Option<PathBuf>,
    /// The address of the cluster DNS
    #[arg(long, value_delimiter = ',', default_value = "10.96.0.10")]
    pub(crate) cluster_dns: Vec<IpAddr>,
    /// The cluster's domain
    #[arg(long, default_value = "cluster.local")]
    pub(crate) cluster_domain: String,
    /// The most pods that run here
    #[arg(long, default_value_t = 110)]
    pub(crate) max_pods: u32,
    /// Pod addresses of the whole cluster
    #[arg(long, default_value = "10.244.0.0/16")]
    pub(crate) cluster_cidr: String,
    /// Keep routes to the pods of the other nodes, in the proxy's name
    #[arg(long, requires = "proxy_kubeconfig")]
    pub(crate) pod_routes: bool,
}

/// Flags of the service proxy, as kube-proxy's.
#[derive(Clone, Debug, Args)]
pub(crate) struct Proxy {
    /// How to reach the API
    #[arg(long)]
    pub(crate) kubeconfig: PathBuf,
    /// The node's name; the host's by default
    #[arg(long)]
    pub(crate) hostname_override: Option<String>,
    /// The node's addresses
    #[arg(long, value_delimiter = ',', required = true)]
    pub(crate) node_ip: Vec<IpAddr>,
    /// Pod addresses of the whole cluster
    #[arg(long, default_value = "10.244.0.0/16")]
    pub(crate) cluster_cidr: String,
    /// Remove every rule that the proxy has made, and exit
    #[arg(long)]
    pub(crate) cleanup: bool,
}

/// Flags of the cluster DNS.
#[derive(Clone, Debug, Args)]
pub(crate) struct Dns {
    /// How to reach the API
    #[arg(long)]
    pub(crate) kubeconfig: PathBuf,
    /// The node's name; the host's by default
    #[arg(long)]
    pub(crate) hostname_override: Option<String>,
    /// The address at which the cluster reaches this server
    #[arg(long)]
    pub(crate) node_ip: IpAddr,
    /// The cluster's domain
    #[arg(long, default_value = "cluster.local")]
    pub(crate) cluster_domain: String,
}

/// How a node's namespaces come to be.
#[derive(Debug, Subcommand)]
pub(crate) enum SandboxStep {
    /// Leave the machine's namespaces
    Enter {
        /// The node's folder
        folder: PathBuf,
    },
    /// Be the first process of the node's
    Run {
        /// The node's folder
        folder: PathBuf,
    },
}

impl Cli {
    /// Reads the command line of this process, which ends where there is something wrong with it.
    pub(crate) fn read() -> Self {
        Self::of(&Self::command().get_matches()).unwrap_or_else(|error| error.exit())
    }

    fn of(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let mut cli = Self::from_arg_matches(matches)?;
        let apiserver = match &mut cli.command {
            Command::Server(flags) => Some(&mut flags.apiserver),
            Command::Apiserver(flags) => Some(flags),
            _ => None,
        };
        if let (Some(apiserver), Some((name, given))) = (apiserver, matches.subcommand()) {
            apiserver.told = told(name, given);
        }
        Ok(cli)
    }
}

/// The flags of a verb by name, as Go shows their values: lists in brackets, nothing for what was not given.
fn told(verb: &str, given: &ArgMatches) -> BTreeMap<String, String> {
    let command = Cli::command();
    let arguments = command
        .find_subcommand(verb)
        .into_iter()
        .flat_map(clap::Command::get_arguments);
    let flag = |argument: &clap::Arg| {
        let name = argument.get_long().filter(|_| !argument.is_hide_set())?;
        let values = given.try_get_raw(argument.get_id().as_str()).ok()?;
        let values: Vec<String> = values
            .into_iter()
            .flatten()
            .map(|value| value.to_string_lossy().into_owned())
            .collect();
        let is_list = matches!(argument.get_action(), clap::ArgAction::Append)
            || argument.get_value_delimiter().is_some();
        let value = if is_list {
            format!("[{}]", values.join(","))
        } else {
            values.concat()
        };
        Some((name.to_owned(), value))
    };
    arguments.filter_map(flag).collect()
}

/// Prints completions for a shell.
///
/// # Errors
/// When nobody reads them.
pub(crate) fn complete(shell: clap_complete::Shell) -> anyhow::Result<()> {
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "coracle", &mut text);
    crate::commands::print(&String::from_utf8_lossy(&text))
}

/// Reads durations as Go prints the common ones: a number with `ms`, `s`, `m` or `h`.
fn duration(text: &str) -> Result<Duration, String> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let number: u64 = number
        .parse()
        .map_err(|_| "write a number and a unit, such as 90s".to_owned())?;
    let milliseconds = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return Err("units are ms, s, m and h".to_owned()),
    };
    number
        .checked_mul(milliseconds)
        .map(Duration::from_millis)
        .ok_or_else(|| "too long".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn a_server_knows_every_flag_of_its_own() {
        let line = [
            "coracle",
            "apiserver",
            "--secure-port=7000",
            "--bind-address",
            "127.0.0.1,::1",
        ];
        let matches = Cli::command().get_matches_from(line);
        let Command::Apiserver(flags) = Cli::of(&matches).unwrap().command else {
            panic!("another verb");
        };
        for (name, value) in [
            ("secure-port", "7000"),
            ("bind-address", "[127.0.0.1,::1]"),
            ("service-cluster-ip-range", "10.96.0.0/12"),
            ("token-auth-file", ""),
            ("api-audiences", "[]"),
            ("enable-priority-and-fairness", "true"),
        ] {
            assert_eq!(flags.told.get(name).map(String::as_str), Some(value), "{name}");
        }
        assert!(!flags.told.contains_key("detached"), "is nobody's to set");
    }

    #[test]
    fn durations_have_units() {
        assert_eq!(duration("90s"), Ok(Duration::from_secs(90)));
        assert_eq!(duration("2m"), Ok(Duration::from_secs(120)));
        assert_eq!(duration("5ms"), Ok(Duration::from_millis(5)));
        for bad in [
            "",
            "5",
            "s",
            "-1s",
            "5d",
            "99999999999999999999s",
            "18446744073709551615h",
        ] {
            assert!(duration(bad).is_err(), "{bad}");
        }
    }
}
