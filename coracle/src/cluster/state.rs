//! Where a cluster keeps its files, and the state file that `up`, `down` and `status` share.

use std::fs;
use std::io;
use std::net::Ipv4Addr;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

use super::process::ProcessId;

/// A cluster's name: it becomes part of file, interface, cgroup and context names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct ClusterName(String);

impl std::str::FromStr for ClusterName {
    type Err = String;

    /// Takes a DNS label (RFC 1123) of at most 40 characters.
    fn from_str(text: &str) -> Result<Self, String> {
        let inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
        let valid = text.len() <= 40
            && text.starts_with(inner)
            && text.ends_with(inner)
            && text.chars().all(|c| inner(c) || c == '-');
        valid.then(|| Self(text.to_owned())).ok_or_else(|| {
            "a name has lower-case letters, digits and dashes, at most 40, and no dash at its ends".to_owned()
        })
    }
}

impl std::fmt::Display for ClusterName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// What `up` has made, as the state file holds it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct State {
    /// The cluster's name.
    pub(crate) name: ClusterName,
    /// The port of the API on 127.0.0.1 and on the bridge.
    pub(crate) api_port: u16,
    /// The data directory of the control plane.
    pub(crate) data_dir: PathBuf,
    /// The third octet's network: nodes and the control plane share `subnet`/24.
    pub(crate) subnet: Ipv4Addr,
    /// The first address of the /16 that pods' addresses are taken from.
    #[serde(default = "super::network::default_pod_network")]
    pub(crate) pod_network: Ipv4Addr,
    /// The running control plane.
    pub(crate) server: Option<ProcessId>,
    /// The nodes, in the order of their addresses.
    pub(crate) nodes: Vec<Node>,
}

/// One node of a cluster.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Node {
    /// The name under which it registers.
    pub(crate) name: String,
    /// Its address on the bridge.
    pub(crate) address: Ipv4Addr,
    /// The first process of its namespaces.
    pub(crate) sandbox: Option<ProcessId>,
}

/// The folders of one cluster.
#[derive(Clone, Debug)]
pub(crate) struct Paths {
    root: PathBuf,
}

impl Paths {
    /// The folders of the named cluster, below the state folder of this user.
    pub(crate) fn of(name: &ClusterName) -> Self {
        Self {
            root: clusters_dir().join(name.to_string()),
        }
    }

    /// The folder that holds everything but a data directory chosen elsewhere.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// Where the control plane keeps its data unless told otherwise.
    pub(crate) fn default_data_dir(&self) -> PathBuf {
        self.root.join("control-plane")
    }

    /// What the control plane logs.
    pub(crate) fn server_log(&self) -> PathBuf {
        self.root.join("server.log")
    }

    /// Everything of one node.
    pub(crate) fn node(&self, node: &str) -> PathBuf {
        self.root.join("nodes").join(node)
    }

    fn state_file(&self) -> PathBuf {
        self.root.join("cluster.json")
    }

    /// Reads the state file; `None` when there is no such cluster.
    ///
    /// # Errors
    /// When it cannot be read or does not parse.
    pub(crate) fn read(&self) -> Result<Option<State>> {
        let file = self.state_file();
        match fs::read(&file) {
            Ok(bytes) => serde_json::from_slice(&bytes)
                .map(Some)
                .with_context(|| format!("{} is damaged; remove it with `coracle down`", file.display())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).with_context(|| format!("cannot read {}", file.display())),
        }
    }

    /// Writes the state file, whole or not at all.
    ///
    /// # Errors
    /// When the folder cannot be written.
    pub(crate) fn write(&self, state: &State) -> Result<()> {
        let bytes = serde_json::to_vec_pretty(state)?;
        write_atomically(&self.state_file(), &bytes, 0o600)
    }
}

/// Replaces a file so that a reader sees the old or the new content, also after a power loss.
///
/// # Errors
/// When the folder cannot be made or written.
pub(crate) fn write_atomically(file: &Path, bytes: &[u8], mode: u32) -> Result<()> {
    use std::io::Write;
    use std::os::unix::fs::PermissionsExt;
    let folder = file.parent().unwrap_or(Path::new("."));
    let write = || -> io::Result<()> {
        fs::create_dir_all(folder)?;
        let mut temporary = tempfile::NamedTempFile::new_in(folder)?;
        temporary.write_all(bytes)?;
        temporary
            .as_file()
            .set_permissions(fs::Permissions::from_mode(mode))?;
        temporary.as_file().sync_all()?;
        temporary.persist(file)?;
        fs::File::open(folder)?.sync_all()
    };
    write().with_context(|| format!("cannot write {}", file.display()))
}

/// The names of all clusters of this user.
///
/// # Errors
/// When the state folder cannot be read.
pub(crate) fn all() -> Result<Vec<ClusterName>> {
    let folder = clusters_dir();
    let entries = match fs::read_dir(&folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error).with_context(|| format!("cannot read {}", folder.display())),
    };
    let mut names: Vec<ClusterName> = entries
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter(|name| matches!(Paths::of(name).read(), Ok(Some(_)) | Err(_)))
        .collect();
    names.sort_by_key(ToString::to_string);
    Ok(names)
}

/// What all clusters of this user share, held against other commands until it is dropped.
#[derive(Debug)]
pub(crate) struct Shared {
    folder: PathBuf,
    _lock: fs::File,
}

impl Shared {
    /// Waits until no other command holds it. Commands hold it for as long as they choose or give back what is the machine's.
    ///
    /// # Errors
    /// When the state folder cannot be made.
    pub(crate) fn hold() -> Result<Self> {
        let folder = clusters_dir();
        let hold = || loop {
            fs::create_dir_all(&folder)?;
            let lock = fs::File::open(&folder)?;
            lock.lock()?;
            // Whoever had it before may have removed the folder, and another may have made it anew.
            let same = |now: fs::Metadata| Ok::<_, io::Error>(now.ino() == lock.metadata()?.ino());
            if fs::metadata(&folder).map_or(Ok(false), same)? {
                return Ok::<_, io::Error>(lock);
            }
        };
        let lock = hold().with_context(|| format!("cannot lock {}", folder.display()))?;
        Ok(Self { folder, _lock: lock })
    }

    /// The states of all clusters but one. One that cannot be read is left out.
    ///
    /// # Errors
    /// When the state folder cannot be read.
    pub(crate) fn others(&self, than: &ClusterName) -> Result<Vec<State>> {
        let others = all()?.into_iter().filter(|name| name != than);
        Ok(others
            .filter_map(|name| Paths::of(&name).read().ok().flatten())
            .collect())
    }

    /// Exists while the machine's forwarding is on only because a cluster needs it. No cluster can have this name.
    pub(crate) fn forwarding_was_off(&self) -> PathBuf {
        self.folder.join(".forwarding-was-off")
    }
}

/// The folder goes with the last cluster.
impl Drop for Shared {
    fn drop(&mut self) {
        // Fails where something is in it.
        let _ = fs::remove_dir(&self.folder);
    }
}

/// `/var/lib/coracle` for root, else below the XDG state directory.
fn clusters_dir() -> PathBuf {
    if nix::unistd::Uid::effective().is_root() {
        return PathBuf::from("/var/lib/coracle");
    }
    let home = || std::env::var_os("HOME").map_or_else(|| PathBuf::from("/"), PathBuf::from);
    std::env::var_os("XDG_STATE_HOME")
        .map_or_else(|| home().join(".local/state"), PathBuf::from)
        .join("coracle")
}

/// Refuses what only root may do, with a sentence that says so.
///
/// # Errors
/// When the effective user is not root.
pub(crate) fn require_root(verb: &str) -> Result<()> {
    if !nix::unistd::Uid::effective().is_root() {
        bail!(
            "coracle {verb} makes namespaces and network interfaces: run it as root, for example with sudo"
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_dns_labels() {
        for good in ["coracle", "a", "e2e-7", "9"] {
            assert!(good.parse::<ClusterName>().is_ok(), "{good}");
        }
        for bad in ["", "-a", "a-", "A", "a/b", "..", "a.b", &"x".repeat(41)] {
            assert!(bad.parse::<ClusterName>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_file_is_replaced_whole_and_private() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("deep/state");
        write_atomically(&file, b"one", 0o600).unwrap();
        write_atomically(&file, b"two", 0o600).unwrap();
        assert_eq!(fs::read(&file).unwrap(), b"two");
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(file.parent().unwrap()).unwrap().count(), 1);
    }
}
