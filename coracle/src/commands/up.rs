//! `coracle up`: makes a local cluster, or starts again what of it has stopped.
//!
//! Every step looks first and then does what is missing, and the state file is written before a thing is used: a second
//! `up` goes on where a first one failed, and `down` finds what it made.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use k8s_openapi::api::core::v1::Node as NodeObject;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::runtime::wait::await_condition;
use kube::{Api, Client};

use super::{context_name, inspect};
use crate::cluster::process::{self, ProcessId};
use crate::cluster::sandbox::{self, Specification};
use crate::cluster::state::{ClusterName, Node, Paths, State, require_root};
use crate::cluster::{cgroups, containerd, images, kubeconfig, network};
use crate::credentials;
use crate::parts::{self, NodeFiles};
use crate::progress::Progress;

/// Programs that a node cannot do without, and the Debian package of each.
const PROGRAMS: [(&str, &str); 5] = [
    ("containerd", "containerd"),
    ("ctr", "containerd"),
    ("runc", "runc"),
    ("iptables", "iptables"),
    ("ip", "iproute2"),
];

/// What `up` is asked for.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    /// The cluster's name.
    pub(crate) name: ClusterName,
    /// The API's port.
    pub(crate) api_port: u16,
    /// Where the control plane keeps its data, unless below the cluster's folder.
    pub(crate) data_dir: Option<PathBuf>,
    /// How long to wait until the cluster is ready.
    pub(crate) wait: Duration,
}

/// Makes the cluster and waits until its nodes are ready.
///
/// # Errors
/// The first step that fails, with what to do.
pub(crate) async fn run(request: &Request) -> Result<()> {
    require_root("up")?;
    let progress = Progress::begin();
    let paths = Paths::of(&request.name);
    progress.step("Machine has what nodes need", look_for_programs)?;
    let mut state = match paths.read()? {
        Some(state) => state,
        None => new_state(request, &paths)?,
    };
    progress.step("Network ready", || make_network(&mut state, &paths))?;
    let deadline = tokio::time::Instant::now() + request.wait;
    let client = progress
        .wait("Control plane ready", control_plane(&mut state, &paths, deadline))
        .await?;
    for index in 0..state.nodes.len() {
        let name = state.nodes[index].name.clone();
        progress.step(&format!("{name} started"), || {
            start_node(&mut state, index, &paths)
        })?;
        progress.step(&format!("Images loaded into {name}"), || {
            load_images(&state.nodes[index])
        })?;
    }
    progress
        .wait("Nodes ready", nodes_ready(&client, &state, deadline))
        .await?;
    progress
        .wait("Cluster DNS ready", dns_ready(&client, deadline))
        .await?;
    let context = context_name(&request.name);
    progress.step(&format!("Context {context} is current"), || {
        let admin = state.data_dir.join(parts::ADMIN_KUBECONFIG);
        let admin =
            std::fs::read_to_string(&admin).with_context(|| format!("cannot read {}", admin.display()))?;
        kubeconfig::add(
            &kubeconfig::default_path(),
            &context,
            &format!("https://127.0.0.1:{}", state.api_port),
            &admin,
        )
    })?;
    progress.say(&format!(
        "Cluster {} is ready ({:.1} s). Next: kubectl get nodes",
        request.name,
        progress.seconds()
    ));
    Ok(())
}

fn look_for_programs() -> Result<()> {
    let folders: Vec<PathBuf> = std::env::var_os("PATH")
        .map(|path| std::env::split_paths(&path).collect())
        .unwrap_or_default();
    let missing = PROGRAMS
        .iter()
        .find(|(program, _)| !folders.iter().any(|folder| folder.join(program).is_file()));
    if let Some((program, package)) = missing {
        bail!("{program} is missing: install it, on Debian with `apt-get install {package}`");
    }
    if !containerd::plugin_folder().join("bridge").exists() {
        bail!(
            "the CNI plugins are missing: install them, on Debian with `apt-get install containernetworking-plugins`"
        );
    }
    Ok(())
}

fn new_state(request: &Request, paths: &Paths) -> Result<State> {
    let subnet = network::choose_subnet()?;
    let node = |index: usize| Node {
        name: format!("{}-node-{}", request.name, index + 1),
        address: network::node_address(subnet, index),
        sandbox: None,
    };
    let state = State {
        name: request.name.clone(),
        api_port: request.api_port,
        data_dir: request
            .data_dir
            .clone()
            .unwrap_or_else(|| paths.default_data_dir()),
        subnet,
        server: None,
        nodes: vec![node(0)],
        forwarding_was_off: false,
    };
    look_at_port(state.api_port)?;
    paths.write(&state)?;
    Ok(state)
}

/// A port that somebody else has would end the server with words that only its log shows.
fn look_at_port(port: u16) -> Result<()> {
    match TcpListener::bind((Ipv4Addr::LOCALHOST, port)) {
        Ok(_) => Ok(()),
        Err(error) => {
            bail!("port {port} on 127.0.0.1 cannot be had ({error}): choose another with --api-port")
        }
    }
}

fn make_network(state: &mut State, paths: &Paths) -> Result<()> {
    if state.nodes.is_empty() {
        let name = format!("{}-node-1", state.name);
        state.nodes.push(Node {
            name,
            address: network::node_address(state.subnet, 0),
            sandbox: None,
        });
    }
    if !network::bridge_exists(&state.name) {
        network::ip(&network::make_bridge(&state.name, state.subnet))?;
    }
    for rule in network::host_rules(state) {
        if !network::iptables("-C", &rule)? && !network::iptables("-A", &rule)? {
            bail!(
                "iptables does not take a rule: `iptables -t nat -S` shows whether it works on this machine"
            );
        }
    }
    if !network::forwards()? {
        state.forwarding_was_off = true;
        paths.write(state)?;
        network::set_forwarding(true)?;
    }
    paths.write(state)
}

/// Starts the control plane unless it runs, and waits until it says that it is ready.
async fn control_plane(state: &mut State, paths: &Paths, deadline: tokio::time::Instant) -> Result<Client> {
    let mut child = None;
    if !state.server.is_some_and(ProcessId::is_alive) {
        look_at_port(state.api_port)?;
        let mut command = process::this_program()?;
        command
            .arg("server")
            .args(server_arguments(state))
            .stdin(std::process::Stdio::null());
        let started = process::start_detached(command, &paths.server_log())?;
        state.server = ProcessId::of(started.id() as i32);
        paths.write(state)?;
        child = Some(started);
    }
    let mut looks = tokio::time::interval(Duration::from_millis(10));
    loop {
        looks.tick().await;
        if let Some(client) = ready_client(&state.data_dir.join(parts::ADMIN_KUBECONFIG)).await {
            return Ok(client);
        }
        let ended = child
            .as_mut()
            .is_some_and(|child| !matches!(child.try_wait(), Ok(None)));
        if ended || tokio::time::Instant::now() > deadline {
            let why = inspect::tail(&paths.server_log(), 1).unwrap_or_default().join("");
            bail!(
                "the control plane does not get ready: {why} (`coracle logs --name {}` shows more)",
                state.name
            );
        }
    }
}

/// The flags with which the control plane of a local cluster runs.
fn server_arguments(state: &State) -> Vec<String> {
    let gateway = network::gateway(state.subnet);
    vec![
        "--detached".to_owned(),
        format!("--data-dir={}", state.data_dir.display()),
        format!("--bind-address=127.0.0.1,{gateway}"),
        format!("--advertise-address={gateway}"),
        format!("--secure-port={}", state.api_port),
    ]
}

/// A client once `/readyz` answers well; anything else is looked at again.
async fn ready_client(kubeconfig: &Path) -> Option<Client> {
    let client = parts::client_from(kubeconfig).await.ok()?;
    let request = http::Request::get("/readyz").body(Vec::new()).ok()?;
    client.request_text(request).await.ok().map(|_| client)
}

fn start_node(state: &mut State, index: usize, paths: &Paths) -> Result<()> {
    let node = state.nodes[index].clone();
    if node.sandbox.is_some_and(ProcessId::is_alive) {
        return Ok(());
    }
    let folder = paths.node(&node.name);
    let server = format!("https://{}:{}", network::gateway(state.subnet), state.api_port);
    let files = NodeFiles::below(&folder);
    credentials::write_for_node(&state.data_dir, &node.name, node.address.into(), &server, &files)?;
    let specification = Specification {
        name: node.name.clone(),
        folder: folder.clone(),
        address: node.address,
        agent: node_arguments(state, &node, &folder, &files),
    };
    let waiting = sandbox::make(&specification)?;
    state.nodes[index].sandbox = Some(waiting.first);
    paths.write(state)?;
    cgroups::make(&state.name, &node.name, waiting.first.pid)?;
    network::ip(&network::connect_node(&state.name, index, waiting.first.pid))?;
    waiting.go()
}

/// The flags with which a node's parts run inside its namespaces.
fn node_arguments(state: &State, node: &Node, folder: &Path, files: &NodeFiles) -> Vec<String> {
    let flags: BTreeMap<&str, String> = [
        ("hostname-override", node.name.clone()),
        ("node-ip", node.address.to_string()),
        ("kubeconfig", files.kubelet.display().to_string()),
        ("proxy-kubeconfig", files.proxy.display().to_string()),
        ("dns-kubeconfig", files.dns.display().to_string()),
        ("tls-cert-file", files.serving_certificate.display().to_string()),
        ("tls-private-key-file", files.serving_key.display().to_string()),
        ("client-ca-file", files.client_ca.display().to_string()),
        (
            "root-dir",
            Specification::agent_root(folder).display().to_string(),
        ),
        ("pod-log-dir", folder.join("logs").display().to_string()),
        (
            "cni-conf-dir",
            Specification::network_config(folder).display().to_string(),
        ),
        (
            "container-runtime-endpoint",
            format!("unix://{}", containerd::SOCKET),
        ),
        ("cgroup-root", cgroups::path(&state.name, &node.name)),
    ]
    .into();
    std::iter::once("node".to_owned())
        .chain(flags.into_iter().map(|(flag, value)| format!("--{flag}={value}")))
        .collect()
}

/// Imports the images that the binary carries, as soon as the node's containerd listens.
fn load_images(node: &Node) -> Result<()> {
    let first = node.sandbox.context("a started node has a first process")?;
    let socket = containerd::socket_from_outside(first.pid);
    let listens = process::wait_until(Duration::from_secs(30), || {
        std::os::unix::net::UnixStream::connect(&socket).is_ok() || !first.is_alive()
    });
    anyhow::ensure!(
        listens && first.is_alive(),
        "containerd does not start in {}: see its containerd.log",
        node.name
    );
    images::load(&socket, images::built_in()?.as_slice())
}

async fn nodes_ready(client: &Client, state: &State, deadline: tokio::time::Instant) -> Result<()> {
    let api: Api<NodeObject> = Api::all(client.clone());
    for node in &state.nodes {
        let ready = await_condition(api.clone(), &node.name, |node: Option<&NodeObject>| {
            let conditions = node.and_then(|node| node.status.as_ref()?.conditions.as_ref());
            conditions.is_some_and(|all| all.iter().any(|one| one.type_ == "Ready" && one.status == "True"))
        });
        within(deadline, ready, || format!("{} is not ready in time", node.name)).await?;
    }
    Ok(())
}

async fn dns_ready(client: &Client, deadline: tokio::time::Instant) -> Result<()> {
    let api: Api<EndpointSlice> = Api::namespaced(client.clone(), "kube-system");
    let of_dns = kube::runtime::watcher::Config::default().labels("kubernetes.io/service-name=kube-dns");
    let serves = async {
        use futures::StreamExt;
        use kube::runtime::WatchStreamExt;
        let mut slices = std::pin::pin!(
            kube::runtime::watcher(api, of_dns)
                .default_backoff()
                .applied_objects()
        );
        while let Some(slice) = slices.next().await {
            let ready = |slice: EndpointSlice| {
                slice
                    .endpoints
                    .iter()
                    .flatten()
                    .any(|one| one.conditions.as_ref().is_some_and(|c| c.ready == Some(true)))
            };
            if slice.is_ok_and(ready) {
                return Ok(());
            }
        }
        Err(anyhow::anyhow!("the watch of cluster DNS has ended"))
    };
    within(deadline, serves, || "cluster DNS is not ready in time".to_owned()).await
}

async fn within<T, E: Into<anyhow::Error>>(
    deadline: tokio::time::Instant,
    wait: impl Future<Output = Result<T, E>>,
    late: impl Fn() -> String,
) -> Result<()> {
    match tokio::time::timeout_at(deadline, wait).await {
        Ok(outcome) => outcome.map(drop).map_err(Into::into),
        Err(_) => bail!(
            "{}: `coracle logs` and `coracle status` show why; --wait gives it longer",
            late()
        ),
    }
}
