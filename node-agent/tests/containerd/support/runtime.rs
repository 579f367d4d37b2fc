//! A containerd for one test, in namespaces of its own: when its first process ends, everything in it does.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use super::images;

/// Whether tests with a real runtime can run here; says why where they cannot.
pub(crate) fn available() -> bool {
    let root = nix::unistd::geteuid().is_root();
    let there = |program: &str| {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let sbin = [PathBuf::from("/usr/sbin"), PathBuf::from("/sbin")];
        std::env::split_paths(&path)
            .chain(sbin)
            .any(|dir| dir.join(program).is_file())
    };
    let missing = ["containerd", "runc", "ctr", "unshare", "iptables"]
        .into_iter()
        .find(|p| !there(p));
    if !root || missing.is_some() {
        eprintln!("skipped: needs root and containerd (root: {root}, missing: {missing:?})");
        return false;
    }
    true
}

/// A running containerd. Dropping it takes away its processes, mounts, network, cgroups and files.
pub(crate) struct Containerd {
    child: Child,
    pub(crate) dir: PathBuf,
    pub(crate) cgroup_root: String,
    _dir: tempfile::TempDir,
}

impl Containerd {
    /// Processes, network and mounts are its own; what the agent mounts below `dir` is seen inside as well.
    pub(crate) async fn start(name: &str) -> Self {
        let dir = tempfile::Builder::new()
            .prefix("coracle-node-")
            .tempdir()
            .expect("a temporary directory");
        let path = dir.path().to_owned();
        let cgroup_root = format!("/coracle-test-{name}-{}", std::process::id());
        share(&path);
        std::fs::create_dir_all(path.join("cni")).expect("directory made");
        std::fs::write(path.join("config.toml"), config(&path)).expect("configuration written");
        let log = std::fs::File::create(path.join("containerd.log")).expect("log made");
        // Names of network namespaces would outlive it in the machine's folder.
        let script = format!(
            "mkdir -p /run/netns; mount -t tmpfs tmpfs /run/netns; ip link set lo up; sysctl -qw net.ipv4.ip_forward=1; exec containerd --config {}/config.toml",
            path.display()
        );
        let child = Command::new("unshare")
            .args([
                "--net",
                "--uts",
                "--ipc",
                "--pid",
                "--mount",
                "--propagation",
                "slave",
                "--mount-proc",
            ])
            .args(["--fork", "--kill-child=KILL", "sh", "-c", &script])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("unshare runs");
        let containerd = Self {
            child,
            dir: path,
            cgroup_root,
            _dir: dir,
        };
        containerd.ready().await;
        containerd
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.dir.join("containerd.sock")
    }

    async fn ready(&self) {
        for _ in 0..600 {
            let import = Command::new("ctr")
                .args([
                    "-a",
                    &self.socket().to_string_lossy(),
                    "-n",
                    "k8s.io",
                    "images",
                    "import",
                    "--all-platforms",
                ])
                .arg(images::archive())
                .output()
                .expect("ctr runs");
            if import.status.success() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let log = std::fs::read_to_string(self.dir.join("containerd.log")).unwrap_or_default();
        panic!("containerd does not become ready:\n{log}");
    }

    /// The process that is first in the runtime's pid namespace.
    pub(crate) fn pid(&self) -> String {
        let child = self.child.id();
        let children =
            std::fs::read_to_string(format!("/proc/{child}/task/{child}/children")).unwrap_or_default();
        children.split_whitespace().next().unwrap_or_default().to_owned()
    }
}

impl Drop for Containerd {
    fn drop(&mut self) {
        // unshare takes the first process of the pid namespace with it, and that one all others.
        let _ = self.child.kill();
        let _ = self.child.wait();
        for _ in 0..100 {
            if unmount_below(&self.dir) && remove_cgroups(&self.cgroup_root) {
                return;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        eprintln!(
            "mounts or cgroups of a test are left: {} {}",
            self.dir.display(),
            self.cgroup_root
        );
    }
}

/// Makes `dir` a mount that hands down what is mounted below it.
fn share(dir: &Path) {
    use nix::mount::{MsFlags, mount};
    let none = None::<&str>;
    mount(Some(dir), dir, none, MsFlags::MS_BIND, none).expect("directory bound to itself");
    mount(none, dir, none, MsFlags::MS_SHARED, none).expect("mount shared");
}

fn unmount_below(dir: &Path) -> bool {
    let text = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let mut below: Vec<&str> = text
        .lines()
        .filter_map(|l| l.split(' ').nth(4))
        .filter(|p| Path::new(p).starts_with(dir))
        .collect();
    below.sort_by_key(|p| std::cmp::Reverse(p.len()));
    below
        .iter()
        .all(|p| nix::mount::umount2(*p, nix::mount::MntFlags::MNT_DETACH).is_ok())
}

fn remove_cgroups(root: &str) -> bool {
    fn remove(dir: &Path) -> bool {
        let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
        let below = entries
            .filter(|e| e.file_type().is_ok_and(|t| t.is_dir()))
            .all(|e| remove(&e.path()));
        below && (!dir.exists() || std::fs::remove_dir(dir).is_ok())
    }
    let hierarchies = std::fs::read_dir("/sys/fs/cgroup")
        .into_iter()
        .flatten()
        .flatten()
        .map(|e| e.path());
    let root = root.trim_start_matches('/');
    hierarchies
        .chain([PathBuf::from("/sys/fs/cgroup")])
        .all(|h| remove(&h.join(root)))
}

fn config(dir: &Path) -> String {
    let dir = dir.display();
    let pause = images::PAUSE_IMAGE;
    format!(
        r#"version = 2
root = "{dir}/root"
state = "{dir}/state"
[grpc]
  address = "{dir}/containerd.sock"
[ttrpc]
  address = "{dir}/containerd.sock.ttrpc"
[plugins."io.containerd.grpc.v1.cri"]
  disable_apparmor = true
  restrict_oom_score_adj = true
  sandbox_image = "{pause}"
  enable_unprivileged_ports = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "{dir}/cni"
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "native"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
[plugins."io.containerd.internal.v1.opt"]
  path = "{dir}/opt"
"#
    )
}
