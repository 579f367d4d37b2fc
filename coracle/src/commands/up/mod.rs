//! `coracle up`: makes a local cluster, or starts again what of it has stopped.
//!
//! Every step looks first and then does what is missing, and the state file is written before a thing is used: a second
//! `up` goes on where a first one failed, and `down` finds what it made.

mod nodes;
mod ready;

use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use jiff::Timestamp;
use kube::Client;

use super::{context_name, inspect};
use crate::cluster::process::{self, ProcessId};
use crate::cluster::state::{ClusterName, Paths, Shared, State, require_root};
use crate::cluster::{containerd, kubeconfig, network};
use crate::parts;
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
    /// How many nodes; as many as there are, or one, unless said.
    pub(crate) nodes: Option<usize>,
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
    let mut state = progress.step("Network ready", || prepare(request, &paths))?;
    let deadline = tokio::time::Instant::now() + request.wait;
    let client = progress
        .wait("Control plane ready", control_plane(&mut state, &paths, deadline))
        .await?;
    let begun = Timestamp::now();
    let started = nodes::start(&mut state, &paths, &progress)?;
    progress
        .wait(
            "Nodes ready",
            ready::nodes(&client, &state, &started, begun, deadline),
        )
        .await?;
    progress
        .wait("Cluster DNS ready", ready::dns(&client, &state, deadline))
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

/// The cluster's state, with its networks chosen and its bridge and the machine's rules in place.
fn prepare(request: &Request, paths: &Paths) -> Result<State> {
    let shared = Shared::hold()?;
    let mut state = match paths.read()? {
        Some(state) => state,
        None => new_state(request, paths, &shared)?,
    };
    nodes::set_count(&mut state, request.nodes)?;
    paths.write(&state)?;
    make_network(&state, &shared)?;
    Ok(state)
}

fn new_state(request: &Request, paths: &Paths, shared: &Shared) -> Result<State> {
    look_at_port(request.api_port)?;
    let networks = network::choose(&shared.others(&request.name)?)?;
    Ok(State {
        name: request.name.clone(),
        api_port: request.api_port,
        data_dir: request
            .data_dir
            .clone()
            .unwrap_or_else(|| paths.default_data_dir()),
        subnet: networks.nodes,
        pod_network: networks.pods,
        server: None,
        nodes: Vec::new(),
    })
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

fn make_network(state: &State, shared: &Shared) -> Result<()> {
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
        let note = shared.forwarding_was_off();
        std::fs::write(&note, "").with_context(|| format!("cannot write {}", note.display()))?;
        network::set_forwarding(true)?;
    }
    Ok(())
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
        format!("--cluster-cidr={}", network::pod_cidr(state)),
        "--pod-routes".to_owned(),
        // Off by default upstream; a cluster whose nodes are its own keeps each of them to itself, as kubeadm's do.
        "--enable-admission-plugins=NodeRestriction".to_owned(),
    ]
}

/// A client once `/readyz` answers well; anything else is looked at again.
async fn ready_client(kubeconfig: &Path) -> Option<Client> {
    let client = parts::client_from(kubeconfig, "coracle").await.ok()?;
    let request = http::Request::get("/readyz").body(Vec::new()).ok()?;
    client.request_text(request).await.ok().map(|_| client)
}
