//! What the process takes, under the names every Prometheus client library gives it. Read from `/proc` when asked for.

use std::fmt::Write;
use std::fs;

/// Ticks of the kernel's clock in a second, as it shows them to programs: 100 on every Linux.
const TICKS_PER_SECOND: f64 = 100.0;

/// All series that can be read; none where there is no `/proc`.
pub(super) fn sample() -> String {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let mut out = String::new();
    let mut series = |name: &str, kind: &str, help: &str, value: Option<f64>| {
        out.push_str(&written(name, kind, help, value));
    };
    let stat = read("/proc/self/stat");
    let status = read("/proc/self/status");
    let open = fs::read_dir("/proc/self/fd")
        .ok()
        .map(|entries| entries.count() as f64);
    let limit = max_open_files(&read("/proc/self/limits"));
    series(
        "process_cpu_seconds_total",
        "counter",
        "Total user and system CPU time spent in seconds.",
        cpu_seconds(&stat),
    );
    series(
        "process_max_fds",
        "gauge",
        "Maximum number of open file descriptors.",
        limit,
    );
    series(
        "process_open_fds",
        "gauge",
        "Number of open file descriptors.",
        open,
    );
    series(
        "process_resident_memory_bytes",
        "gauge",
        "Resident memory size in bytes.",
        kilobytes(&status, "VmRSS:"),
    );
    series(
        "process_virtual_memory_bytes",
        "gauge",
        "Virtual memory size in bytes.",
        kilobytes(&status, "VmSize:"),
    );
    out.push_str(&start());
    out
}

/// The series that tells when the process began.
pub(super) fn start() -> String {
    written(
        "process_start_time_seconds",
        "gauge",
        "Start time of the process since unix epoch in seconds.",
        started_at(),
    )
}

/// When the process began, in seconds since 1970; unknown where there is no `/proc`.
pub(crate) fn started_at() -> Option<f64> {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    start_seconds(&read("/proc/self/stat"), &read("/proc/stat"))
}

fn written(name: &str, kind: &str, help: &str, value: Option<f64>) -> String {
    let mut out = String::new();
    if let Some(value) = value {
        writeln!(out, "# HELP {name} {help}\n# TYPE {name} {kind}\n{name} {value}")
            .expect("writing to a String does not fail");
    }
    out
}

/// The fields of `/proc/PID/stat` from the third on: the second, the program's name, may hold anything.
fn field(stat: &str, number: usize) -> Option<f64> {
    let (_, rest) = stat.rsplit_once(')')?;
    rest.split_whitespace().nth(number.checked_sub(3)?)?.parse().ok()
}

fn cpu_seconds(stat: &str) -> Option<f64> {
    Some((field(stat, 14)? + field(stat, 15)?) / TICKS_PER_SECOND)
}

fn start_seconds(stat: &str, system: &str) -> Option<f64> {
    let boot = system.lines().find_map(|line| line.strip_prefix("btime "))?;
    Some(boot.trim().parse::<f64>().ok()? + field(stat, 22)? / TICKS_PER_SECOND)
}

fn kilobytes(status: &str, name: &str) -> Option<f64> {
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    Some(line.split_whitespace().next()?.parse::<f64>().ok()? * 1024.0)
}

fn max_open_files(limits: &str) -> Option<f64> {
    let line = limits
        .lines()
        .find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_files_are_read() {
        let stat = "42 (a) b) S 1 42 42 0 -1 4194560 100 0 0 0 150 50 0 0 20 0 4 0 1000 123 45 6";
        assert_eq!(cpu_seconds(stat), Some(2.0));
        assert_eq!(start_seconds(stat, "cpu 1\nbtime 5000\n"), Some(5010.0));
        assert_eq!(kilobytes("Name:\tx\nVmRSS:\t   12 kB\n", "VmRSS:"), Some(12288.0));
        assert_eq!(
            max_open_files("Max open files            1024                 4096                 files\n"),
            Some(1024.0)
        );
        assert_eq!(cpu_seconds("nonsense"), None);
    }
}
