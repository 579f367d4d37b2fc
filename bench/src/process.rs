//! What the kernel says about a process.

use anyhow::Context;
use nix::time::{clock_getcpuclockid, clock_gettime};
use nix::unistd::{Pid, SysconfVar, sysconf};
use std::collections::BTreeMap;
use std::fs;
use std::ops::AddAssign;
use std::time::Duration;

/// Written to `clear_refs`, this sets the peak of resident memory back to what is resident now (proc(5)).
const RESET_PEAK: &str = "5";

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
    let mebibytes = |name: &str| Some(kibibytes(rollup, name)? / 1024.0);
    Some(Memory {
        resident: mebibytes("Rss:")?,
        proportional: mebibytes("Pss:")?,
    })
}

/// The CPU time that a process has taken so far, in user and kernel, in all threads that it has or had, and in its children
/// that have ended.
pub(crate) fn cpu_time(pid: u32) -> anyhow::Result<Duration> {
    let process = Pid::from_raw(i32::try_from(pid).context("a pid")?);
    let clock =
        clock_getcpuclockid(process).with_context(|| format!("find the CPU clock of process {pid}"))?;
    let time = clock_gettime(clock).with_context(|| format!("read the CPU clock of process {pid}"))?;
    Ok(Duration::from(time) + children_time(pid)?)
}

fn children_time(pid: u32) -> anyhow::Result<Duration> {
    let path = format!("/proc/{pid}/stat");
    let stat = fs::read_to_string(&path).with_context(|| format!("read {path}"))?;
    let ticks = parse_children_time(&stat).with_context(|| format!("{path} has no time of children"))?;
    let per_second = sysconf(SysconfVar::CLK_TCK).context("ask how long a tick is")?;
    let per_second = per_second.context("a tick has no length")?;
    Ok(Duration::from_secs_f64(ticks as f64 / per_second as f64))
}

/// In clock ticks, of the children that were waited for.
fn parse_children_time(stat: &str) -> Option<u64> {
    let fields: Vec<&str> = fields(stat)?.collect();
    let [user, kernel] = fields.get(13..15)?.try_into().ok()?;
    Some(user.parse::<u64>().ok()? + kernel.parse::<u64>().ok()?)
}

/// The CPU time of several processes together.
pub(crate) fn cpu_time_of(pids: &[u32]) -> anyhow::Result<Duration> {
    pids.iter().map(|pid| cpu_time(*pid)).sum()
}

/// The most memory that several processes have had resident since their peaks were reset, in MiB. The peaks need not have
/// been at the same time, so it is the most that it can have been.
pub(crate) fn peak_of(pids: &[u32]) -> anyhow::Result<f64> {
    pids.iter().map(|pid| peak(*pid)).sum()
}

/// Begins to look for the peak of resident memory anew. Root's, or the owner's, to do.
pub(crate) fn reset_peaks(pids: &[u32]) -> anyhow::Result<()> {
    for pid in pids {
        let path = format!("/proc/{pid}/clear_refs");
        fs::write(&path, RESET_PEAK).with_context(|| format!("write {path}"))?;
    }
    Ok(())
}

fn peak(pid: u32) -> anyhow::Result<f64> {
    let path = format!("/proc/{pid}/status");
    let text = fs::read_to_string(&path).with_context(|| format!("read {path}"))?;
    kibibytes(&text, "VmHWM:")
        .map(|peak| peak / 1024.0)
        .with_context(|| format!("{path} has no VmHWM"))
}

fn kibibytes(text: &str, name: &str) -> Option<f64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.trim().strip_suffix(" kB")?.parse().ok()
}

/// Some processes with all their descendants.
pub(crate) fn families(roots: &[u32]) -> anyhow::Result<Vec<u32>> {
    let mut children: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
    for entry in fs::read_dir("/proc").context("list processes")? {
        let entry = entry.context("list processes")?;
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        // A process may end while it is looked at.
        let stat = fs::read_to_string(entry.path().join("stat"));
        if let Some(parent) = stat.ok().as_deref().and_then(parse_parent) {
            children.entry(parent).or_default().push(pid);
        }
    }
    let mut found = roots.to_vec();
    let mut next = 0;
    while let Some(pid) = found.get(next) {
        found.extend(children.remove(pid).unwrap_or_default());
        next += 1;
    }
    Ok(found)
}

fn parse_parent(stat: &str) -> Option<u32> {
    fields(stat)?.nth(1)?.parse().ok()
}

/// The fields of a process's `stat` from its state on, which is the third (proc(5)).
fn fields(stat: &str) -> Option<impl Iterator<Item = &str>> {
    // The name in parentheses, before them, may hold anything.
    let (_, after_name) = stat.rsplit_once(')')?;
    Some(after_name.split_ascii_whitespace())
}

/// What a process is: its program, and the subcommand where there is one.
pub(crate) fn name(pid: u32) -> anyhow::Result<String> {
    let path = format!("/proc/{pid}/cmdline");
    let line = fs::read(&path).with_context(|| format!("read {path}"))?;
    Ok(parse_name(&String::from_utf8_lossy(&line)))
}

fn parse_name(command_line: &str) -> String {
    let mut words = command_line.split('\0');
    let program = words.next().unwrap_or_default();
    let program = program.rsplit('/').next().unwrap_or_default();
    match words.next() {
        Some(word) if !word.is_empty() && word.chars().all(|c| c.is_ascii_lowercase()) => {
            format!("{program} {word}")
        }
        _ => program.to_owned(),
    }
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
    fn a_name_tells_the_subcommand() {
        assert_eq!(
            parse_name("/usr/bin/coracle\0node\0--kubeconfig\0/x"),
            "coracle node"
        );
        assert_eq!(parse_name("containerd\0--config\0/x"), "containerd");
        assert_eq!(parse_name(""), "");
    }

    #[test]
    fn the_parent_stands_after_a_name_of_any_form() {
        assert_eq!(parse_parent("42 (odd) name) S 17 42 42 0"), Some(17));
        assert_eq!(parse_parent("42 (cut"), None);
    }

    #[test]
    fn the_time_of_children_is_what_they_took_in_user_and_kernel() {
        let stat = "42 (odd) name) S 17 42 42 0 -1 0 1 2 3 4 500 600 30 4 20 0 1 0 9 9";
        assert_eq!(parse_children_time(stat), Some(34));
        assert_eq!(parse_children_time("42 (name) S 17 42"), None);
    }

    #[test]
    fn a_child_belongs_to_the_family() {
        let mut child = std::process::Command::new("cat")
            .stdin(std::process::Stdio::piped())
            .spawn()
            .expect("a child");
        let family = families(&[std::process::id()]).expect("processes");
        assert!(family.starts_with(&[std::process::id()]));
        assert!(family.contains(&child.id()));
        assert!(
            !families(&[child.id()])
                .expect("processes")
                .contains(&std::process::id())
        );
        drop(child.stdin.take());
        child.wait().expect("it ends");
    }

    #[test]
    fn this_process_takes_time_and_memory() {
        let pid = std::process::id();
        let before = cpu_time(pid).expect("a clock");
        let filled = vec![1_u8; 32 << 20];
        assert!(filled.iter().all(|byte| *byte == 1));
        assert!(cpu_time(pid).expect("a clock") > before);
        let with = peak_of(&[pid]).expect("a peak");
        assert!(with > 32.0);
        drop(filled);
        reset_peaks(&[pid]).expect("peaks can be reset");
        assert!(peak_of(&[pid]).expect("a peak") < with);
        assert!(memory(pid).expect("memory").resident > 0.0);
    }
}
