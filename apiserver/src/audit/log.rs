//! The audit log: a file that is put aside when it is long, and removed when it is old (as upstream's `lumberjack` does).

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::{Mutex, PoisonError};

use flate2::Compression;
use flate2::write::GzEncoder;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

use super::AuditError;
use super::batch::{BatchLimits, Mode};
use super::event::Event;
use super::sink::Truncation;

const MEGABYTE: u64 = 1 << 20;
/// The time in the name of a file that was put aside.
const ASIDE: &str = "%Y-%m-%dT%H-%M-%S%.3f";

/// `--audit-log-format`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// An object a line.
    Json,
    /// Words.
    Legacy,
}

impl FromStr for Format {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "json" => Ok(Self::Json),
            "legacy" => Ok(Self::Legacy),
            other => Err(format!(
                "invalid audit log format {other}, allowed formats are \"legacy,json\""
            )),
        }
    }
}

/// How the log is kept.
#[derive(Clone, Debug)]
pub struct LogFlags {
    /// `--audit-log-path`; `-` is standard output.
    pub path: PathBuf,
    /// `--audit-log-format`.
    pub format: Format,
    /// `--audit-log-maxage`, in days; no limit where 0.
    pub max_age_days: u32,
    /// `--audit-log-maxbackup`: how many files that were put aside are kept; all where 0.
    pub max_backups: usize,
    /// `--audit-log-maxsize`, in megabytes; never put aside where 0.
    pub max_megabytes: u64,
    /// `--audit-log-compress`.
    pub compress: bool,
    /// `--audit-log-mode`.
    pub mode: Mode,
    /// `--audit-log-batch-*`.
    pub limits: BatchLimits,
    /// `--audit-log-truncate-*`.
    pub truncation: Truncation,
}

impl LogFlags {
    /// Upstream's defaults.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            format: Format::Json,
            max_age_days: 366,
            max_backups: 100,
            max_megabytes: 100,
            compress: false,
            mode: Mode::Blocking,
            limits: BatchLimits::of_log(),
            truncation: Truncation::default(),
        }
    }
}

/// The open log.
pub(super) struct Log {
    flags: LogFlags,
    /// None where events go to standard output.
    file: Option<Mutex<Open>>,
}

struct Open {
    file: File,
    bytes: u64,
}

impl Log {
    pub(super) fn open(flags: &LogFlags) -> Result<Self, AuditError> {
        let failed = |source| AuditError::Log {
            path: flags.path.clone(),
            source,
        };
        let file = if flags.path == Path::new("-") {
            None
        } else {
            if let Some(folder) = flags.path.parent() {
                fs::create_dir_all(folder).map_err(failed)?;
            }
            Some(Mutex::new(Open::at(&flags.path).map_err(failed)?))
        };
        Ok(Self {
            flags: flags.clone(),
            file,
        })
    }

    /// Appends an event. False where that failed, which is said.
    pub(super) fn write(&self, event: &Event) -> bool {
        let line = match self.flags.format {
            Format::Json => event.json(),
            Format::Legacy => event.legacy(),
        };
        let written = match &self.file {
            None => io::stdout().lock().write_all(&line),
            Some(open) => {
                let mut open = open.lock().unwrap_or_else(PoisonError::into_inner);
                self.append(&mut open, &line, Timestamp::now())
            }
        };
        if let Err(error) = &written {
            tracing::error!(%error, "an audit event was not written");
        }
        written.is_ok()
    }

    fn append(&self, open: &mut Open, line: &[u8], now: Timestamp) -> io::Result<()> {
        let most = self.flags.max_megabytes * MEGABYTE;
        if most > 0 && open.bytes > 0 && open.bytes + line.len() as u64 > most {
            let aside = aside(&self.flags.path, now);
            fs::rename(&self.flags.path, &aside)?;
            *open = Open::at(&self.flags.path)?;
            self.tidy(now);
        }
        open.file.write_all(line)?;
        open.bytes += line.len() as u64;
        Ok(())
    }

    /// Removes what is old or too much, and compresses the rest where that is wanted. What fails is tried again next time.
    fn tidy(&self, now: Timestamp) {
        let mut kept = aside_files(&self.flags.path);
        kept.sort_by(|(one, _), (other, _)| other.cmp(one));
        let oldest = (self.flags.max_age_days > 0)
            .then(|| now - SignedDuration::from_hours(24 * i64::from(self.flags.max_age_days)));
        for (index, (at, path)) in kept.into_iter().enumerate() {
            let too_many = self.flags.max_backups > 0 && index >= self.flags.max_backups;
            let done = if too_many || oldest.is_some_and(|oldest| at < oldest) {
                fs::remove_file(&path)
            } else if self.flags.compress && path.extension().is_none_or(|extension| extension != "gz") {
                compress(&path)
            } else {
                Ok(())
            };
            if let Err(error) = done {
                tracing::warn!(path = %path.display(), %error, "an old audit log could not be put away");
            }
        }
    }
}

impl Open {
    fn at(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new()
            .create(true)
            .append(true)
            .mode(0o600)
            .open(path)?;
        let bytes = file.metadata()?.len();
        Ok(Self { file, bytes })
    }
}

/// `audit.log` put aside at a time is `audit-2026-01-02T03-04-05.678.log`.
fn aside(path: &Path, now: Timestamp) -> PathBuf {
    let text = |part: Option<&std::ffi::OsStr>| part.unwrap_or_default().to_string_lossy().into_owned();
    let (stem, extension) = (text(path.file_stem()), text(path.extension()));
    let dot = if extension.is_empty() { "" } else { "." };
    path.with_file_name(format!("{stem}-{}{dot}{extension}", now.strftime(ASIDE)))
}

/// The files that were put aside, with when.
fn aside_files(path: &Path) -> Vec<(Timestamp, PathBuf)> {
    let text = |part: Option<&std::ffi::OsStr>| part.unwrap_or_default().to_string_lossy().into_owned();
    let (start, end) = (format!("{}-", text(path.file_stem())), text(path.extension()));
    let end = if end.is_empty() { end } else { format!(".{end}") };
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let entries = fs::read_dir(folder.unwrap_or(Path::new(".")))
        .into_iter()
        .flatten()
        .flatten();
    let aside = entries.filter_map(|entry| {
        let name = entry.file_name().to_string_lossy().into_owned();
        let name = name.strip_suffix(".gz").unwrap_or(&name);
        let time = name.strip_prefix(&start)?.strip_suffix(&end)?;
        let at = DateTime::strptime(ASIDE, time)
            .ok()?
            .to_zoned(TimeZone::UTC)
            .ok()?;
        Some((at.timestamp(), entry.path()))
    });
    aside.collect()
}

fn compress(path: &Path) -> io::Result<()> {
    let mut name = path.as_os_str().to_owned();
    name.push(".gz");
    let to = OpenOptions::new()
        .create(true)
        .truncate(true)
        .write(true)
        .mode(0o600)
        .open(&name)?;
    let mut encoder = GzEncoder::new(to, Compression::default());
    io::copy(&mut File::open(path)?, &mut encoder)?;
    encoder.finish()?.sync_all()?;
    fs::remove_file(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_log_is_put_aside_and_old_ones_go() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("audit.log");
        let flags = LogFlags {
            max_megabytes: 1,
            max_backups: 2,
            compress: true,
            ..LogFlags::new(&path)
        };
        let log = Log::open(&flags).unwrap();
        let mut open = log.file.as_ref().unwrap().lock().unwrap();
        let line = vec![b'x'; 700 << 10];
        let start: Timestamp = "2026-01-02T03:04:05.678Z".parse().unwrap();
        for minute in 0..5 {
            log.append(&mut open, &line, start + SignedDuration::from_mins(minute))
                .unwrap();
        }
        let mut names: Vec<String> = fs::read_dir(home.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        let kept = [
            "audit-2026-01-02T03-07-05.678.log.gz",
            "audit-2026-01-02T03-08-05.678.log.gz",
            "audit.log",
        ];
        assert_eq!(names, kept);
        assert_eq!(fs::metadata(&path).unwrap().len(), line.len() as u64);
        // A year later the others are too old.
        let later = start + SignedDuration::from_hours(24 * 400);
        log.append(&mut open, &line, later).unwrap();
        let aside: Vec<_> = aside_files(&path).into_iter().map(|(at, _)| at).collect();
        assert_eq!(aside, [later]);
    }
}
