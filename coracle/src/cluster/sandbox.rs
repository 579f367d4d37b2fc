//! A node as namespaces: a pid, mount, net, uts and ipc namespace with a first process of our own.
//!
//! Three processes make one. `up` starts [`enter`], which leaves the machine's namespaces and starts [`first_process`] as
//! process 1 of the new ones; that one sets up mounts and network and then keeps containerd and `coracle node` running
//! until it is killed, which takes everything inside with it. None of them has a second thread.

use std::fs::{self, File};
use std::io::{BufRead, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{Pid, sethostname};
use serde::{Deserialize, Serialize};

use super::containerd::{self, Folders};
use super::network;
use super::process::{self, ProcessId};

/// How long a part that ended is left alone before it is started again.
const START_AGAIN_AFTER: Duration = Duration::from_secs(1);

/// Where containerd's CNI library keeps what it has set up; it belongs to the node.
const CNI_RESULTS: &str = "/var/lib/cni";

/// Folders of the machine that each node has for itself, and where in the node's folder: what pods of one node put there by way
/// of hostPath volumes is not on another node, and goes with the node.
const SCRATCH: [(&str, &str); 2] = [("tmp", "/tmp"), ("var-tmp", "/var/tmp")];

/// All that a node's first process has to know.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Specification {
    /// The node's name, also its host name.
    pub(crate) name: String,
    /// The node's own folder.
    pub(crate) folder: PathBuf,
    /// Its address on the cluster's bridge.
    pub(crate) address: std::net::Ipv4Addr,
    /// The arguments of `coracle` that start the node's parts.
    pub(crate) agent: Vec<String>,
}

impl Specification {
    fn file(folder: &Path) -> PathBuf {
        folder.join("sandbox.json")
    }

    /// The folder below which the node agent keeps pods.
    pub(crate) fn agent_root(folder: &Path) -> PathBuf {
        folder.join("kubelet")
    }

    /// The folder that tells how the cluster's registries are reached, shared by its nodes.
    pub(crate) fn registries(folder: &Path) -> PathBuf {
        let cluster = folder.ancestors().nth(2).unwrap_or(folder);
        cluster.join("certs.d")
    }

    /// The folder of the CNI configuration.
    pub(crate) fn network_config(folder: &Path) -> PathBuf {
        folder.join("cni/net.d")
    }
}

/// A node's namespaces that wait for their network.
pub(crate) struct Waiting {
    /// The first process of the namespaces.
    pub(crate) first: ProcessId,
    go: std::process::ChildStdin,
}

impl Waiting {
    /// Lets the node go on, now that its `eth0` is there.
    ///
    /// # Errors
    /// When its first process has died.
    pub(crate) fn go(mut self) -> Result<()> {
        self.go
            .write_all(b"go\n")
            .context("the node's first process has died; see its node.log")
    }
}

/// Makes the namespaces of a node and starts their first process, which then waits.
///
/// # Errors
/// When the folder cannot be written, or the kernel refuses a namespace.
pub(crate) fn make(specification: &Specification) -> Result<Waiting> {
    let folder = &specification.folder;
    fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let file = Specification::file(folder);
    process::write_json(&file, specification)?;
    let log = File::options()
        .create(true)
        .append(true)
        .open(folder.join("node.log"))?;
    let mut child = process::this_program()?
        .args(["sandbox", "enter"])
        .arg(folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(log)
        .spawn()?;
    let go = child.stdin.take().expect("stdin is piped");
    let mut line = String::new();
    std::io::BufReader::new(child.stdout.take().expect("stdout is piped")).read_line(&mut line)?;
    let status = child.wait()?;
    let first = line.trim().parse().ok().and_then(ProcessId::of);
    let first = first.filter(|_| status.success()).with_context(|| {
        format!(
            "cannot make the node's namespaces: see {}",
            folder.join("node.log").display()
        )
    })?;
    Ok(Waiting { first, go })
}

/// Leaves the machine's namespaces, starts the first process of the new ones, and prints its number.
///
/// # Errors
/// When the kernel refuses.
pub(crate) fn enter(folder: &Path, mut output: impl Write) -> Result<()> {
    process::leave_session();
    let namespaces = CloneFlags::CLONE_NEWPID
        | CloneFlags::CLONE_NEWNS
        | CloneFlags::CLONE_NEWNET
        | CloneFlags::CLONE_NEWUTS
        | CloneFlags::CLONE_NEWIPC;
    unshare(namespaces).context("the kernel refuses new namespaces")?;
    let child = process::this_program()?
        .args(["sandbox", "run"])
        .arg(folder)
        .stdout(Stdio::null())
        .spawn()?;
    writeln!(output, "{}", child.id())?;
    Ok(())
}

/// The first process of a node: sets it up, waits for its network, and keeps its parts running for ever.
///
/// # Errors
/// When the node cannot be set up. Afterwards it does not return.
pub(crate) fn first_process(folder: &Path) -> Result<()> {
    let bytes = fs::read(Specification::file(folder)).context("cannot read the node's specification")?;
    let specification: Specification = serde_json::from_slice(&bytes)?;
    sethostname(&specification.name)?;
    set_up_mounts(folder)?;
    let mut line = String::new();
    std::io::stdin().read_line(&mut line)?;
    anyhow::ensure!(line == "go\n", "the command that makes this node has gone away");
    network::ip(&network::inside_node(specification.address))?;
    for (setting, value) in [
        ("net/ipv4/ip_forward", "1"),
        ("net/bridge/bridge-nf-call-iptables", "1"),
    ] {
        let file = Path::new("/proc/sys").join(setting);
        // The bridge's appears once the kernel's bridge filter does; without it bridged traffic passes the rules anyway
        // where the proxy masquerades it.
        if file.exists() {
            fs::write(&file, value).with_context(|| format!("cannot set {}", file.display()))?;
        }
    }
    let folders = Folders {
        root: folder.join("containerd"),
        network_config: Specification::network_config(folder),
        registries: Specification::registries(folder),
    };
    let settings = folder.join("containerd.toml");
    let text = containerd::config(
        &folders,
        containerd::plugin_folder(),
        containerd::may_lower_oom_score(),
    );
    fs::write(&settings, text)?;
    keep_running(&specification, &settings)
}

/// The node's own view: changes stay inside, `/proc` and `/run` are its own, and pods may share mounts with each other.
fn set_up_mounts(folder: &Path) -> Result<()> {
    let none: Option<&str> = None;
    let flags = |source: Option<&str>, target: &str, kind: Option<&str>, flags: MsFlags| {
        mount(source, target, kind, flags, none).with_context(|| format!("cannot mount {target}"))
    };
    flags(None, "/", None, MsFlags::MS_REC | MsFlags::MS_PRIVATE)?;
    flags(None, "/", None, MsFlags::MS_REC | MsFlags::MS_SHARED)?;
    flags(Some("proc"), "/proc", Some("proc"), MsFlags::empty())?;
    flags(Some("tmpfs"), "/run", Some("tmpfs"), MsFlags::empty())?;
    let results = folder.join("cni/results");
    fs::create_dir_all(&results)?;
    fs::create_dir_all(CNI_RESULTS)?;
    bind(&results, CNI_RESULTS)?;
    for (place, target) in SCRATCH {
        let scratch = folder.join(place);
        fs::create_dir_all(&scratch)?;
        fs::set_permissions(&scratch, fs::Permissions::from_mode(0o1777))?;
        bind(&scratch, target)?;
    }
    for folder in [
        Specification::network_config(folder),
        Specification::agent_root(folder),
    ] {
        fs::create_dir_all(folder)?;
    }
    Ok(())
}

fn bind(source: &Path, target: &str) -> Result<()> {
    let none: Option<&str> = None;
    mount(Some(source), target, none, MsFlags::MS_BIND, none)
        .with_context(|| format!("cannot mount {target}"))
}

/// One part of a node that is started again whenever it ends.
struct Part {
    name: &'static str,
    command: Command,
    child: Option<Child>,
}

impl Part {
    fn start(&mut self) {
        match self.command.spawn() {
            Ok(child) => self.child = Some(child),
            Err(error) => tracing::error!(
                "cannot start {}: {error}; install containerd if it is missing",
                self.name
            ),
        }
    }
}

/// Reaps every process that ends, and starts a part again that does.
fn keep_running(specification: &Specification, settings: &Path) -> Result<()> {
    let mut parts = [
        Part {
            name: "containerd",
            command: logged("containerd", &specification.folder.join("containerd.log"))?,
            child: None,
        },
        Part {
            name: "coracle node",
            command: agent(specification)?,
            child: None,
        },
    ];
    parts[0].command.arg("--config").arg(settings);
    crate::parts::start_pages::give_back();
    loop {
        let missing = parts
            .iter_mut()
            .filter(|part| part.child.is_none())
            .map(Part::start)
            .count();
        let all_run = parts.iter().all(|part| part.child.is_some());
        if missing > 0 && !all_run {
            std::thread::park_timeout(START_AGAIN_AFTER);
            continue;
        }
        let ended = match waitpid(Pid::from_raw(-1), None) {
            Ok(WaitStatus::Exited(pid, _) | WaitStatus::Signaled(pid, ..)) => pid,
            Ok(_) => continue,
            Err(error) => return Err(error).context("the node has no processes left"),
        };
        for part in &mut parts {
            if part
                .child
                .as_ref()
                .is_some_and(|child| child.id() as i32 == ended.as_raw())
            {
                tracing::warn!("{} ended; it is started again", part.name);
                part.child = None;
                std::thread::park_timeout(START_AGAIN_AFTER);
            }
        }
    }
}

fn agent(specification: &Specification) -> Result<Command> {
    // By its link: this program's own path may lie in a folder that looks different inside the node.
    let mut command = logged("/proc/self/exe", &specification.folder.join("node.log"))?;
    command.arg0(std::env::current_exe()?).args(&specification.agent);
    Ok(command)
}

fn logged(program: &str, log: &Path) -> Result<Command> {
    let open = || File::options().create(true).append(true).open(log);
    let mut command = Command::new(program);
    command.stdin(Stdio::null()).stdout(open()?).stderr(open()?);
    Ok(command)
}
