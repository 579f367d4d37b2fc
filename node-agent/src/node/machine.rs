//! Facts about the machine, read once at the start. Blocking.

use std::fs;
use std::path::Path;

use nix::sys::statvfs::statvfs;

use crate::pod::Machine;

/// CAP_SYS_RESOURCE, without which a process may raise OOM scores but not lower them.
const CAP_SYS_RESOURCE: u32 = 24;

/// What `status.nodeInfo` and capacity are made from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct MachineFacts {
    pub(crate) machine_id: String,
    pub(crate) system_uuid: String,
    pub(crate) boot_id: String,
    pub(crate) kernel_version: String,
    pub(crate) os_image: String,
    pub(crate) cpus: i64,
    pub(crate) memory_bytes: i64,
    pub(crate) disk_bytes: i64,
}

/// Reads what there is; what a machine does not tell is left empty.
pub(crate) fn read(root_dir: &Path) -> (MachineFacts, Machine) {
    let text = |path: &str| {
        fs::read_to_string(path)
            .map(|t| t.trim().to_owned())
            .unwrap_or_default()
    };
    let cpus = std::thread::available_parallelism().map_or(1, usize::from);
    let disk = statvfs(root_dir)
        .map(|s| s.blocks().saturating_mul(s.fragment_size()))
        .unwrap_or(0);
    let machine_id = text("/etc/machine-id");
    let uuid = text("/sys/class/dmi/id/product_uuid");
    let facts = MachineFacts {
        system_uuid: if uuid.is_empty() { machine_id.clone() } else { uuid },
        machine_id,
        boot_id: text("/proc/sys/kernel/random/boot_id"),
        kernel_version: text("/proc/sys/kernel/osrelease"),
        os_image: os_image(&text("/etc/os-release")),
        cpus: i64::try_from(cpus).unwrap_or(1),
        memory_bytes: memory_bytes(&text("/proc/meminfo")),
        disk_bytes: i64::try_from(disk).unwrap_or(i64::MAX),
    };
    let may_lower = has_capability(&text("/proc/self/status"), CAP_SYS_RESOURCE);
    let current = text("/proc/self/oom_score_adj").parse().unwrap_or(0);
    let machine = Machine {
        memory_bytes: facts.memory_bytes,
        milli_cpu: facts.cpus * 1000,
        min_oom_score_adj: if may_lower { -1000 } else { current },
    };
    (facts, machine)
}

fn os_image(os_release: &str) -> String {
    let line = os_release.lines().find_map(|l| l.strip_prefix("PRETTY_NAME="));
    line.map(|l| l.trim_matches('"').to_owned()).unwrap_or_default()
}

fn memory_bytes(meminfo: &str) -> i64 {
    let line = meminfo.lines().find_map(|l| l.strip_prefix("MemTotal:"));
    let kib: i64 = line
        .and_then(|l| l.split_whitespace().next())
        .and_then(|n| n.parse().ok())
        .unwrap_or(0);
    kib.saturating_mul(1024)
}

fn has_capability(status: &str, bit: u32) -> bool {
    let line = status.lines().find_map(|l| l.strip_prefix("CapEff:"));
    line.and_then(|l| u64::from_str_radix(l.trim(), 16).ok())
        .is_some_and(|set| set & (1 << bit) != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_read() {
        assert_eq!(
            os_image("NAME=x\nPRETTY_NAME=\"Debian GNU/Linux 12\"\n"),
            "Debian GNU/Linux 12"
        );
        assert_eq!(memory_bytes("MemTotal:       1024 kB\nMemFree: 1 kB"), 1 << 20);
        assert!(has_capability("CapEff:\t000001ffffffffff\n", CAP_SYS_RESOURCE));
        assert!(!has_capability("CapEff:\t000001fffeffffff\n", CAP_SYS_RESOURCE));
        assert!(!has_capability("nonsense", CAP_SYS_RESOURCE));
    }
}
