//! A node's own containerd: its settings, as text.
//!
//! Pure: [`config`] is a function of a node's folders and of what this machine allows.

use std::path::{Path, PathBuf};

use super::images;

/// Where containerd listens, as seen inside the node. `/run` is the node's own.
pub(crate) const SOCKET: &str = "/run/containerd/containerd.sock";
/// Debian's place for CNI plugins, and the one that most others use.
const PLUGIN_FOLDERS: [&str; 2] = ["/usr/lib/cni", "/opt/cni/bin"];

/// The folders of a node's containerd.
#[derive(Clone, Debug)]
pub(crate) struct Folders {
    /// What is kept: images and snapshots.
    pub(crate) root: PathBuf,
    /// Where the node agent writes the network configuration.
    pub(crate) network_config: PathBuf,
    /// The cluster's own `certs.d`: how registries are reached, a folder with a `hosts.toml` for each.
    pub(crate) registries: PathBuf,
}

/// Where containerd's documentation puts how registries are reached; taken for those of which the cluster's folder says nothing.
const MACHINE_REGISTRIES: &str = "/etc/containerd/certs.d";

/// The folder of the CNI plugins that this machine has.
pub(crate) fn plugin_folder() -> &'static Path {
    let found = PLUGIN_FOLDERS
        .iter()
        .map(Path::new)
        .find(|folder| folder.join("bridge").exists());
    found.unwrap_or(Path::new(PLUGIN_FOLDERS[0]))
}

/// The node's socket as seen from outside its namespaces, through its first process.
pub(crate) fn socket_from_outside(pid: i32) -> PathBuf {
    PathBuf::from(format!("/proc/{pid}/root{SOCKET}"))
}

/// containerd's configuration, version 2 (containerd 1.6 and later).
///
/// `may_lower_oom_score` says whether this machine lets a process be protected from the out-of-memory killer: where it does
/// not (no CAP_SYS_RESOURCE), asking for it fails every sandbox.
pub(crate) fn config(folders: &Folders, plugins: &Path, may_lower_oom_score: bool) -> String {
    format!(
        r#"version = 2
root = {root}
state = "/run/containerd"

[grpc]
  address = "{SOCKET}"

[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{pause}"
  disable_apparmor = true
  restrict_oom_score_adj = {restrict}
  enable_unprivileged_ports = true
  enable_unprivileged_icmp = true
  max_container_log_line_size = 16384

  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = {plugins}
    conf_dir = {network}

  [plugins."io.containerd.grpc.v1.cri".registry]
    config_path = {registries}

  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"

  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.test-handler]
    runtime_type = "io.containerd.runc.v2"
"#,
        root = quoted(&folders.root),
        pause = images::PAUSE,
        restrict = !may_lower_oom_score,
        plugins = quoted(plugins),
        network = quoted(&folders.network_config),
        registries = quoted(Path::new(&format!(
            "{}:{MACHINE_REGISTRIES}",
            folders.registries.display()
        ))),
    )
}

/// A TOML basic string.
fn quoted(path: &Path) -> String {
    let mut text = String::from('"');
    for character in path.to_string_lossy().chars() {
        match character {
            '"' | '\\' => text.extend(['\\', character]),
            control if control.is_control() => text.push_str(&format!("\\u{:04X}", u32::from(control))),
            other => text.push(other),
        }
    }
    text.push('"');
    text
}

/// Whether this process has CAP_SYS_RESOURCE (capabilities(7), bit 24).
pub(crate) fn may_lower_oom_score() -> bool {
    const CAP_SYS_RESOURCE: u32 = 24;
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    effective
        .and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok())
        .is_some_and(|capabilities| capabilities >> CAP_SYS_RESOURCE & 1 == 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_quoted_for_toml() {
        assert_eq!(quoted(Path::new(r#"/a "b"\c"#)), r#""/a \"b\"\\c""#);
    }

    #[test]
    fn the_settings_follow_the_node_and_the_machine() {
        let folders = Folders {
            root: "/node/containerd".into(),
            network_config: "/node/cni".into(),
            registries: "/cluster/certs.d".into(),
        };
        let text = config(&folders, Path::new("/usr/lib/cni"), false);
        for line in [
            "root = \"/node/containerd\"",
            "conf_dir = \"/node/cni\"",
            "bin_dir = \"/usr/lib/cni\"",
            "restrict_oom_score_adj = true",
            "config_path = \"/cluster/certs.d:/etc/containerd/certs.d\"",
            "sandbox_image = \"registry.k8s.io/pause:3.10\"",
        ] {
            assert!(text.contains(line), "{line}");
        }
        assert!(config(&folders, Path::new("/x"), true).contains("restrict_oom_score_adj = false"));
    }
}
