//! Gives back the pages of the program that only its start needed.
//!
//! A start runs through most of the program once: every flag, every kind, every controller. The kernel maps what is touched,
//! and sixteen pages around it, and never takes a mapping back while memory is plenty; so an idle control plane would hold five times the
//! program that it uses. Once the start is over, those mappings are dropped. The pages stay in the page cache, where the
//! kernel takes them first when memory is short, and what is needed again is mapped again without a read.

use std::ops::Range;
use std::path::Path;
use std::time::Duration;

/// How long after the process began its start is over: its parts are ready in a second, on a slow machine in a few.
const START: Duration = Duration::from_secs(10);

/// Waits until the start is over, then gives its pages back.
pub(super) async fn give_back_after_start() {
    tokio::time::sleep(START).await;
    give_back();
}

/// Gives back all pages of the program that are as its file has them. Where that cannot be done nothing is lost but memory.
pub(crate) fn give_back() {
    let (Ok(program), Ok(smaps)) = (
        std::env::current_exe(),
        std::fs::read_to_string("/proc/self/smaps"),
    ) else {
        return;
    };
    for range in unwritten(&smaps, &program) {
        if let Err(error) = forget(&range) {
            tracing::debug!(%error, ?range, "cannot give back pages of the program");
        }
    }
}

/// Has the kernel forget that it mapped a range, which is one of [`unwritten`].
#[allow(
    unsafe_code,
    reason = "no safe wrapper can know that a range is as its file has it"
)]
fn forget(range: &Range<usize>) -> std::io::Result<()> {
    let start = std::ptr::with_exposed_provenance_mut(range.start);
    // SAFETY: `MADV_DONTNEED` on a private mapping of a file puts back what the file has. The range is of this program's own file,
    // which is mapped as long as the process lives and which the kernel lets nobody write meanwhile; it cannot be written
    // through, and no page of it ever was. So whoever reads it sees the same bytes before and after.
    match unsafe { libc::madvise(start, range.len(), libc::MADV_DONTNEED) } {
        0 => Ok(()),
        _ => Err(std::io::Error::last_os_error()),
    }
}

/// The address ranges of a process that map a file privately, cannot be written and never were: no page of them is anonymous.
/// `smaps` is the process' `/proc/PID/smaps` (proc_pid_smaps(5)).
fn unwritten(smaps: &str, file: &Path) -> Vec<Range<usize>> {
    let mut ranges = Vec::new();
    let mut mapping = None;
    for line in smaps.lines() {
        if let Some(value) = line.strip_prefix("Anonymous:") {
            ranges.extend(mapping.take().filter(|_| value.trim() == "0 kB"));
        } else if let Some((range, permissions, path)) = header(line) {
            let candidate =
                permissions.ends_with('p') && !permissions.contains('w') && Path::new(path) == file;
            mapping = candidate.then_some(range);
        }
    }
    ranges
}

/// What the first line of a mapping says: its addresses, its permissions, its file.
fn header(line: &str) -> Option<(Range<usize>, &str, &str)> {
    let (addresses, rest) = line.split_once(' ')?;
    let (start, end) = addresses.split_once('-')?;
    let address = |text| usize::from_str_radix(text, 16).ok();
    let range = address(start)?..address(end)?;
    let (permissions, rest) = rest.split_once(' ')?;
    // Offset, device and inode, then spaces up to the path.
    let path = rest.splitn(4, ' ').nth(3)?.trim_start();
    Some((range, permissions, path))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMAPS: &str = "\
1000-3000 r--p 00000000 fe:00 17                         /opt/a program
Size:                  8 kB
Anonymous:             0 kB
3000-9000 r-xp 00002000 fe:00 17                         /opt/a program
Anonymous:             0 kB
9000-a000 r--p 00008000 fe:00 17                         /opt/a program
Anonymous:             4 kB
a000-b000 rw-p 00009000 fe:00 17                         /opt/a program
Anonymous:             0 kB
b000-c000 r-xp 00000000 fe:00 18                         /opt/another
Anonymous:             0 kB
c000-d000 r--s 00000000 fe:00 17                         /opt/a program
Anonymous:             0 kB
d000-e000 rw-p 00000000 00:00 0
Anonymous:             0 kB
";

    #[test]
    fn only_what_the_file_has_as_it_is_may_be_forgotten() {
        let ranges = unwritten(SMAPS, Path::new("/opt/a program"));
        assert_eq!(ranges, [0x1000..0x3000, 0x3000..0x9000]);
        assert!(unwritten("no\nsmaps 1-2\n", Path::new("/opt/a program")).is_empty());
    }

    /// Kibibytes of the test's own file that are mapped at the moment.
    fn resident() -> usize {
        let smaps = std::fs::read_to_string("/proc/self/smaps").expect("smaps");
        let program = std::env::current_exe().expect("a program");
        let mut ours = false;
        let mut total = 0;
        for line in smaps.lines() {
            if let Some((_, permissions, path)) = header(line) {
                ours = !permissions.contains('w') && Path::new(path) == program;
            } else if let Some(value) = line.strip_prefix("Rss:").filter(|_| ours) {
                let value: usize = value.trim().trim_end_matches(" kB").parse().expect("a number");
                total += value;
            }
        }
        total
    }

    #[test]
    fn the_program_runs_on_with_less_of_it_resident() {
        use clap::CommandFactory;
        let help = || crate::cli::Cli::command().render_long_help().to_string();
        let (before, said) = (resident(), help());
        let touched = resident();
        // Other tests run meanwhile and touch pages of their own.
        let given_back = (0..20).any(|_| {
            give_back();
            resident() < touched * 3 / 4
        });
        assert!(
            given_back,
            "{before} kB, then {touched} kB, and {} kB after giving back",
            resident()
        );
        assert_eq!(help(), said);
    }
}
