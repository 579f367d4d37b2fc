//! What the kernel says about a process.

use anyhow::Context;
use std::fs;
use std::ops::AddAssign;
use std::time::Duration;

/// Clock ticks a second in `/proc`, on every architecture of Linux.
const USER_HZ: f64 = 100.0;

/// The memory of one or several processes.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Memory {
    /// Resident pages, in MiB.
    pub(crate) resident: f64,
    /// The same, with pages that several processes share divided among them.
    pub(crate) proportional: f64,
}

impl AddAssign for Memory {
    fn add_assign(&mut self, other: Memory) {
        self.resident += other.resident;
        self.proportional += other.proportional;
    }
}

/// The memory of a process.
pub(crate) fn memory(pid: u32) -> anyhow::Result<Memory> {
    let path = format!("/proc/{pid}/smaps_rollup");
    let text = fs::read_to_string(&path).with_context(|| format!("read {path}"))?;
    parse_memory(&text).with_context(|| format!("{path} has no Rss and Pss"))
}

fn parse_memory(rollup: &str) -> Option<Memory> {
    let mebibytes = |name: &str| {
        let kibibytes = rollup
            .lines()
            .find_map(|line| line.strip_prefix(name))?
            .trim()
            .strip_suffix(" kB")?;
        Some(kibibytes.parse::<f64>().ok()? / 1024.0)
    };
    Some(Memory {
        resident: mebibytes("Rss:")?,
        proportional: mebibytes("Pss:")?,
    })
}

/// The CPU time that a process has taken so far, in user and kernel.
pub(crate) fn cpu_time(pid: u32) -> anyhow::Result<Duration> {
    let path = format!("/proc/{pid}/stat");
    let text = fs::read_to_string(&path).with_context(|| format!("read {path}"))?;
    parse_cpu_time(&text).with_context(|| format!("{path} has no times"))
}

fn parse_cpu_time(stat: &str) -> Option<Duration> {
    // The name in parentheses may hold anything; utime and stime are the 12th and 13th fields after it.
    let (_, after_name) = stat.rsplit_once(')')?;
    let mut fields = after_name.split_ascii_whitespace().skip(11);
    let mut ticks = || fields.next()?.parse::<f64>().ok();
    Some(Duration::from_secs_f64((ticks()? + ticks()?) / USER_HZ))
}

/// The processes with one of these names, which the kernel cuts at 15 bytes.
pub(crate) fn named(names: &[String]) -> anyhow::Result<Vec<u32>> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").context("list processes")? {
        let entry = entry.context("list processes")?;
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        // A process may end while it is looked at.
        let Ok(comm) = fs::read_to_string(entry.path().join("comm")) else {
            continue;
        };
        if names
            .iter()
            .any(|name| name.chars().take(15).eq(comm.trim_end().chars()))
        {
            found.push(pid);
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_read_in_mebibytes() {
        let rollup =
            "00400000-7ffc [rollup]\nRss:              2048 kB\nPss:              1536 kB\nPss_Dirty: 1 kB\n";
        assert_eq!(
            parse_memory(rollup),
            Some(Memory {
                resident: 2.0,
                proportional: 1.5
            })
        );
        assert_eq!(parse_memory("Rss: much\n"), None);
    }

    #[test]
    fn cpu_time_is_user_and_kernel() {
        let stat = "42 (odd) name) S 1 42 42 0 -1 4194560 100 0 0 0 250 50 7 8 20 0";
        assert_eq!(parse_cpu_time(stat), Some(Duration::from_secs(3)));
        assert_eq!(parse_cpu_time("42 (cut"), None);
    }

    #[test]
    fn this_process_is_found_and_has_memory() {
        let pid = std::process::id();
        let comm = fs::read_to_string("/proc/self/comm")
            .expect("a name")
            .trim_end()
            .to_owned();
        assert!(named(&[comm]).expect("processes").contains(&pid));
        assert!(memory(pid).expect("memory").resident > 0.0);
    }
}
