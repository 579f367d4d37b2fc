//! What a machine has: to be compared before and after.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use tempfile::TempDir;

use crate::program::Program;

/// Things that a cluster might leave on a machine, each as a line that names it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Belongings(BTreeSet<String>);

impl Belongings {
    /// Looks at interfaces, network namespaces, mounts, firewall rules, cgroups, kernel settings and state folders.
    ///
    /// # Errors
    /// When a look fails.
    pub async fn look() -> Result<Self> {
        let mut found = Self::default();
        found.add_names("interface", Path::new("/sys/class/net"))?;
        found.add_names("network namespace", Path::new("/run/netns"))?;
        found.add_names("state folder", Path::new("/var/lib/coracle"))?;
        found.add_mounts()?;
        for table in ["filter", "nat", "mangle"] {
            found.add_rules(table).await?;
        }
        found.add_cgroups(Path::new("/sys/fs/cgroup"), 4);
        let forwarding = fs::read_to_string("/proc/sys/net/ipv4/ip_forward").context("ip_forward")?;
        found
            .0
            .insert(format!("setting ip_forward={}", forwarding.trim()));
        Ok(found)
    }

    /// What is here and was not there before.
    pub fn beyond(&self, before: &Self) -> Vec<String> {
        self.0.difference(&before.0).cloned().collect()
    }

    fn add_names(&mut self, kind: &str, folder: &Path) -> Result<()> {
        if folder.exists() {
            for entry in fs::read_dir(folder).with_context(|| folder.display().to_string())? {
                self.0
                    .insert(format!("{kind} {}", entry?.file_name().to_string_lossy()));
            }
        }
        Ok(())
    }

    fn add_mounts(&mut self) -> Result<()> {
        let mounts = fs::read_to_string("/proc/self/mountinfo").context("mounts")?;
        let points = mounts.lines().filter_map(|line| line.split(' ').nth(4));
        self.0.extend(points.map(|point| format!("mount {point}")));
        Ok(())
    }

    async fn add_rules(&mut self, table: &str) -> Result<()> {
        let rules = Program::new("iptables")
            .text(&["--wait", "-t", table, "-S"])
            .await?;
        self.0
            .extend(rules.lines().map(|rule| format!("rule {table} {rule}")));
        Ok(())
    }

    /// Cgroups of the first levels: deeper ones cannot be without these.
    fn add_cgroups(&mut self, folder: &Path, levels: usize) {
        let entries = fs::read_dir(folder).into_iter().flatten().flatten();
        for path in entries
            .map(|entry| entry.path())
            .filter(|path| path.is_dir() && !path.is_symlink())
        {
            self.0.insert(format!("cgroup {}", path.display()));
            if levels > 1 {
                self.add_cgroups(&path, levels - 1);
            }
        }
    }
}

/// A process of the machine, in whatever namespace.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Process {
    /// Its number as this machine counts.
    pub pid: u32,
    /// Its arguments with spaces between.
    pub command: String,
    environment: Vec<u8>,
    cgroups: String,
}

impl Process {
    /// All processes there are. One that ends while it is looked at is left out.
    ///
    /// # Errors
    /// When the kernel lists none.
    pub fn all() -> Result<Vec<Self>> {
        let mut found = Vec::new();
        for entry in fs::read_dir("/proc").context("processes")? {
            if let Some(pid) = entry?.file_name().to_str().and_then(|name| name.parse().ok()) {
                found.extend(Self::read(pid));
            }
        }
        Ok(found)
    }

    fn read(pid: u32) -> Option<Self> {
        let folder = PathBuf::from(format!("/proc/{pid}"));
        let arguments = fs::read(folder.join("cmdline")).ok()?;
        let command = String::from_utf8_lossy(&arguments)
            .replace('\0', " ")
            .trim()
            .to_owned();
        let environment = fs::read(folder.join("environ")).unwrap_or_default();
        let cgroups = fs::read_to_string(folder.join("cgroup")).unwrap_or_default();
        Some(Self {
            pid,
            command,
            environment,
            cgroups,
        })
    }

    /// Whether a variable has this value.
    pub fn has_variable(&self, name: &str, value: &str) -> bool {
        let wanted = format!("{name}={value}");
        self.environment
            .split(|byte| *byte == 0)
            .any(|variable| variable == wanted.as_bytes())
    }

    /// Whether it belongs to a cluster: by its arguments or by its cgroups.
    pub fn belongs_to(&self, cluster: &str) -> bool {
        self.command.contains(cluster) || self.cgroups.contains(&format!("/coracle/{cluster}"))
    }

    /// Kills it without a warning.
    ///
    /// # Errors
    /// When that is not permitted, or it is gone.
    pub async fn kill(&self) -> Result<()> {
        kill(self.pid).await
    }
}

/// Kills a process without a warning.
///
/// # Errors
/// When that is not permitted, or it is gone.
pub async fn kill(pid: u32) -> Result<()> {
    ensure!(pid > 1, "process {pid} is not to be killed");
    Program::new("kill")
        .text(&["-KILL", &pid.to_string()])
        .await
        .map(drop)
}

/// A file system of a few mebibytes in memory, gone when dropped. Making one takes root.
#[derive(Debug)]
pub struct SmallDisk {
    folder: TempDir,
}

impl SmallDisk {
    /// A new one.
    ///
    /// # Errors
    /// When this user may not mount.
    pub async fn new(mebibytes: usize) -> Result<Self> {
        let folder = tempfile::tempdir().context("a folder to mount on")?;
        let point = folder.path().to_str().context("the folder's path is text")?;
        let options = format!("size={mebibytes}m");
        Program::new("mount")
            .text(&["-t", "tmpfs", "-o", &options, "tmpfs", point])
            .await?;
        Ok(Self { folder })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Fills it to the last byte. Removing the file that is returned gives the space back.
    ///
    /// # Errors
    /// When something else than space is missing.
    pub fn fill(&self) -> Result<PathBuf> {
        let path = self.path().join("ballast");
        let mut file = File::create(&path)?;
        for size in [1 << 20, 1 << 12, 1] {
            let piece = vec![1; size];
            loop {
                match file.write_all(&piece) {
                    Ok(()) => {}
                    Err(error) if error.kind() == io::ErrorKind::StorageFull => break,
                    Err(error) => return Err(error).context("the ballast"),
                }
            }
        }
        Ok(path)
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Also where a failed test has left something open in it.
        let done = Command::new("umount")
            .arg("--lazy")
            .arg(self.folder.path())
            .status();
        if !done.as_ref().is_ok_and(std::process::ExitStatus::success) {
            eprintln!(
                "{} could not be unmounted: {done:?}",
                self.folder.path().display()
            );
        }
    }
}
