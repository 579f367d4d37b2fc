//! What machine this is: figures mean nothing without it.

use anyhow::Context;
use std::fs;
use std::io::Write;
use std::path::Path;
use std::time::Duration;
use tokio::time::Instant;

/// How many syncs are timed.
const SYNCS: usize = 200;

/// A list of facts, as Markdown.
pub(crate) fn describe(disk: &Path) -> anyhow::Result<String> {
    let cores = std::thread::available_parallelism().context("count the cores")?;
    let sync = sync_time(disk)?;
    Ok(format!(
        "- {} × {}, {} memory, Linux {}\n- appending 4 KiB to a file and `fdatasync`: {:.2} ms (median of {SYNCS}), \
         where the stores' files were\n",
        cores,
        field("/proc/cpuinfo", "model name")?,
        field("/proc/meminfo", "MemTotal")?,
        fs::read_to_string("/proc/sys/kernel/osrelease")
            .context("read the kernel's release")?
            .trim(),
        sync.as_secs_f64() * 1e3,
    ))
}

/// The first value of a name in a file of the form `name : value`.
fn field(path: &str, name: &str) -> anyhow::Result<String> {
    let text = fs::read_to_string(path).with_context(|| format!("read {path}"))?;
    let named = |line: &str| {
        Some(
            line.split_once(':')
                .filter(|(found, _)| found.trim() == name)?
                .1
                .trim()
                .to_owned(),
        )
    };
    Ok(text
        .lines()
        .find_map(named)
        .unwrap_or_else(|| "unknown".to_owned()))
}

/// How long the disk takes to make a small write durable: the floor under every synced create.
fn sync_time(dir: &Path) -> anyhow::Result<Duration> {
    let mut file = tempfile::tempfile_in(dir).context("make a file to sync")?;
    let mut times = Vec::with_capacity(SYNCS);
    for _ in 0..SYNCS {
        let started = Instant::now();
        file.write_all(&[7; 4096])
            .and_then(|()| file.sync_data())
            .context("sync")?;
        times.push(started.elapsed());
    }
    times.sort_unstable();
    Ok(times[SYNCS / 2])
}
