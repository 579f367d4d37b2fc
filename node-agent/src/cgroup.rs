//! Cgroups of pods, for hierarchies of version 1 and of version 2, with the cgroupfs driver.
//!
//! `<root>/kubepods[/burstable|/besteffort]/pod<uid>`, as upstream lays them out; the runtime makes containers' own
//! below. What to write is decided purely; [`Cgroups`] writes it. Blocking.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::resources::{self, PodLimits, QosClass};

/// Controllers of version 1 in which a pod gets a directory.
const V1_CONTROLLERS: [&str; 12] = [
    "cpu",
    "cpuacct",
    "cpuset",
    "memory",
    "devices",
    "freezer",
    "blkio",
    "pids",
    "hugetlb",
    "perf_event",
    "net_cls",
    "systemd",
];
/// Controllers that version 2 must hand down to children.
const V2_CONTROLLERS: [&str; 5] = ["+cpu", "+cpuset", "+memory", "+pids", "+io"];

/// A file below a cgroup's directory and what to write there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Setting {
    /// Controller of version 1; empty in version 2.
    pub(crate) controller: &'static str,
    pub(crate) file: &'static str,
    pub(crate) value: String,
}

/// What a cgroup uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Usage {
    pub(crate) cpu_nanoseconds: u64,
    /// Memory that the kernel could not get back at once.
    pub(crate) working_set_bytes: u64,
}

fn number(text: &str) -> Option<u64> {
    text.trim().parse().ok()
}

/// A line `NAME VALUE` of a statistics file.
fn field(text: &str, name: &str) -> Option<u64> {
    let value = |line: &str| line.strip_prefix(name)?.strip_prefix(' ').and_then(number);
    text.lines().find_map(value)
}

fn working_set(usage: &str, statistics: &str, inactive: &str) -> Option<u64> {
    Some(number(usage)?.saturating_sub(field(statistics, inactive)?))
}

/// Which version the machine has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Version {
    V1,
    V2,
}

/// The settings of a pod's own cgroup.
pub(crate) fn settings(limits: &PodLimits, version: Version) -> Vec<Setting> {
    let set = |controller, file, value: String| Setting {
        controller,
        file,
        value,
    };
    let mut out = Vec::new();
    match version {
        Version::V1 => {
            out.push(set("cpu", "cpu.shares", limits.cpu_shares.to_string()));
            if let Some((quota, period)) = limits.cpu_quota {
                out.push(set("cpu", "cpu.cfs_period_us", period.to_string()));
                out.push(set("cpu", "cpu.cfs_quota_us", quota.to_string()));
            }
            if let Some(memory) = limits.memory {
                out.push(set("memory", "memory.limit_in_bytes", memory.to_string()));
            }
        }
        Version::V2 => {
            out.push(set(
                "",
                "cpu.weight",
                resources::cpu_weight(limits.cpu_shares).to_string(),
            ));
            if let Some((quota, period)) = limits.cpu_quota {
                out.push(set("", "cpu.max", format!("{quota} {period}")));
            }
            if let Some(memory) = limits.memory {
                out.push(set("", "memory.max", memory.to_string()));
            }
        }
    }
    out
}

/// The path of a pod's cgroup in each hierarchy.
pub(crate) fn pod_path(root: &str, class: QosClass, uid: &str) -> String {
    let root = root.trim_end_matches('/');
    let class = match class {
        QosClass::Guaranteed => "",
        QosClass::Burstable => "/burstable",
        QosClass::BestEffort => "/besteffort",
    };
    format!("{root}/kubepods{class}/pod{uid}")
}

/// The machine's cgroup hierarchies.
#[derive(Clone, Debug)]
pub(crate) struct Cgroups {
    mount: PathBuf,
    version: Version,
}

impl Cgroups {
    /// Looks at what is mounted at `mount`.
    pub(crate) fn at(mount: &Path) -> Self {
        let v2 = mount.join("cgroup.controllers").exists();
        Self {
            mount: mount.to_owned(),
            version: if v2 { Version::V2 } else { Version::V1 },
        }
    }

    /// Makes a pod's cgroup and sets its limits; one that is refused does not keep others from being set. A machine without
    /// a controller goes without its limits.
    pub(crate) fn apply(&self, path: &str, limits: &PodLimits) -> io::Result<()> {
        for root in self.roots() {
            self.make(&root, path)?;
        }
        let mut outcome = Ok(());
        for setting in settings(limits, self.version) {
            let root = self.mount.join(setting.controller);
            let file = join(&root, path).join(setting.file);
            if file.exists() {
                outcome = outcome.and(fs::write(file, setting.value));
            }
        }
        outcome
    }

    /// Bytes of memory that a cgroup with all below it is charged with, caches included; nothing where that is not known.
    pub(crate) fn memory_charged(&self, path: &str) -> Option<u64> {
        let (controller, file) = match self.version {
            Version::V1 => ("memory", "memory.usage_in_bytes"),
            Version::V2 => ("", "memory.current"),
        };
        let file = join(&self.mount.join(controller), path).join(file);
        number(&fs::read_to_string(file).ok()?)
    }

    /// What a cgroup with all below it uses; nothing where this machine does not measure it.
    pub(crate) fn usage(&self, path: &str) -> Option<Usage> {
        let read = |controller: &str, file: &str| {
            let file = join(&self.mount.join(controller), path).join(file);
            fs::read_to_string(file).ok()
        };
        match self.version {
            Version::V1 => Some(Usage {
                cpu_nanoseconds: number(&read("cpuacct", "cpuacct.usage")?)?,
                working_set_bytes: working_set(
                    &read("memory", "memory.usage_in_bytes")?,
                    &read("memory", "memory.stat")?,
                    "total_inactive_file",
                )?,
            }),
            Version::V2 => Some(Usage {
                cpu_nanoseconds: field(&read("", "cpu.stat")?, "usage_usec")?.saturating_mul(1000),
                working_set_bytes: working_set(
                    &read("", "memory.current")?,
                    &read("", "memory.stat")?,
                    "inactive_file",
                )?,
            }),
        }
    }

    /// Removes a pod's cgroup with what is left below; missing is fine.
    pub(crate) fn remove(&self, path: &str) -> io::Result<()> {
        self.roots()
            .iter()
            .try_for_each(|root| remove_tree(&join(root, path)))
    }

    /// Uids of the pods that have cgroups, with their paths.
    pub(crate) fn pods(&self, cgroup_root: &str) -> Vec<(String, String)> {
        let mut pods = Vec::new();
        for class in [QosClass::Guaranteed, QosClass::Burstable, QosClass::BestEffort] {
            let parent = pod_path(cgroup_root, class, "");
            let parent = parent.trim_end_matches("pod");
            for root in self.roots() {
                let Ok(entries) = fs::read_dir(join(&root, parent)) else {
                    continue;
                };
                for entry in entries.flatten() {
                    let name = entry.file_name();
                    let Some(uid) = name.to_str().and_then(|n| n.strip_prefix("pod")) else {
                        continue;
                    };
                    pods.push((uid.to_owned(), format!("{parent}pod{uid}")));
                }
            }
        }
        pods.sort();
        pods.dedup();
        pods
    }

    fn roots(&self) -> Vec<PathBuf> {
        match self.version {
            Version::V2 => vec![self.mount.clone()],
            Version::V1 => V1_CONTROLLERS
                .iter()
                .map(|c| self.mount.join(c))
                .filter(|p| p.join("tasks").exists())
                .collect(),
        }
    }

    fn make(&self, root: &Path, path: &str) -> io::Result<()> {
        let mut here = root.to_owned();
        for part in path.split('/').filter(|p| !p.is_empty()) {
            if self.version == Version::V2 {
                for controller in V2_CONTROLLERS {
                    // Fails where the controller is missing or the parent has processes: then the limit is not there.
                    let _ = fs::write(here.join("cgroup.subtree_control"), controller);
                }
            }
            let parent = here.clone();
            here.push(part);
            if !here.exists() {
                fs::create_dir(&here).or_else(|e| if here.exists() { Ok(()) } else { Err(e) })?;
                inherit_cpuset(&parent, &here)?;
            }
        }
        Ok(())
    }
}

fn join(root: &Path, path: &str) -> PathBuf {
    root.join(path.trim_start_matches('/'))
}

/// A new cpuset of version 1 is empty and takes no process until it is filled in.
fn inherit_cpuset(parent: &Path, child: &Path) -> io::Result<()> {
    for file in ["cpuset.cpus", "cpuset.mems"] {
        let target = child.join(file);
        if target.exists() && fs::read_to_string(&target)?.trim().is_empty() {
            fs::write(target, fs::read_to_string(parent.join(file))?)?;
        }
    }
    Ok(())
}

fn remove_tree(dir: &Path) -> io::Result<()> {
    let Ok(entries) = fs::read_dir(dir) else {
        return Ok(());
    };
    for entry in entries.flatten() {
        if entry.file_type().is_ok_and(|t| t.is_dir()) {
            remove_tree(&entry.path())?;
        }
    }
    match fs::remove_dir(dir) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_by_version() {
        let limits = PodLimits {
            cpu_shares: 1024,
            cpu_quota: Some((50_000, 100_000)),
            memory: Some(1 << 20),
        };
        let show = |version| {
            let lines = settings(&limits, version);
            lines
                .iter()
                .map(|s| format!("{}/{}={}", s.controller, s.file, s.value))
                .collect::<Vec<_>>()
        };
        assert_eq!(
            show(Version::V1),
            [
                "cpu/cpu.shares=1024",
                "cpu/cpu.cfs_period_us=100000",
                "cpu/cpu.cfs_quota_us=50000",
                "memory/memory.limit_in_bytes=1048576"
            ]
        );
        assert_eq!(
            show(Version::V2),
            ["/cpu.weight=39", "/cpu.max=50000 100000", "/memory.max=1048576"]
        );
    }

    #[test]
    fn usage_is_read_by_version() {
        let dir = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| {
            let file = dir.path().join(path);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, text).unwrap();
        };
        let expected = Usage {
            cpu_nanoseconds: 5_000,
            working_set_bytes: 70,
        };
        write("cpuacct/n1/cpuacct.usage", "5000\n");
        write("memory/n1/memory.usage_in_bytes", "100\n");
        write(
            "memory/n1/memory.stat",
            "inactive_file 1\ntotal_inactive_file 30\n",
        );
        assert_eq!(Cgroups::at(dir.path()).usage("/n1"), Some(expected));
        assert_eq!(Cgroups::at(dir.path()).memory_charged("/n1"), Some(100));
        write("cgroup.controllers", "cpu memory");
        write("n1/cpu.stat", "usage_usec 5\nuser_usec 1\n");
        write("n1/memory.current", "100\n");
        write("n1/memory.stat", "anon 1\ninactive_file 30\n");
        assert_eq!(Cgroups::at(dir.path()).usage("/n1"), Some(expected));
        assert_eq!(Cgroups::at(dir.path()).memory_charged("/n1"), Some(100));
        assert_eq!(Cgroups::at(dir.path()).usage("/n2"), None);
    }

    #[test]
    fn paths_by_class() {
        for (root, class, want) in [
            ("/", QosClass::Guaranteed, "/kubepods/podu"),
            (
                "/coracle/n1/",
                QosClass::Burstable,
                "/coracle/n1/kubepods/burstable/podu",
            ),
            ("", QosClass::BestEffort, "/kubepods/besteffort/podu"),
        ] {
            assert_eq!(pod_path(root, class, "u"), want);
        }
    }

    #[test]
    fn a_pods_directories_come_and_go() {
        let dir = tempfile::tempdir().unwrap();
        for controller in ["cpu", "memory"] {
            fs::create_dir(dir.path().join(controller)).unwrap();
            fs::write(dir.path().join(controller).join("tasks"), "").unwrap();
        }
        let cgroups = Cgroups::at(dir.path());
        let limits = PodLimits {
            cpu_shares: 2,
            cpu_quota: None,
            memory: None,
        };
        let path = pod_path("/n1", QosClass::BestEffort, "u1");
        cgroups.apply(&path, &limits).unwrap();
        assert!(dir.path().join("memory/n1/kubepods/besteffort/podu1").is_dir());
        assert_eq!(cgroups.pods("/n1"), [("u1".to_owned(), path.clone())]);
        cgroups.remove(&path).unwrap();
        cgroups.remove(&path).unwrap();
        assert_eq!(cgroups.pods("/n1"), []);
    }
}
