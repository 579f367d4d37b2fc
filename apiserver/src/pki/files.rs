//! Files that appear whole or not at all, readable by their owner only.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use super::PkiError;

/// Readable and writable by the owner.
const OWNER_ONLY: u32 = 0o600;

/// The whole file as text.
pub(super) fn read(path: &Path) -> Result<String, PkiError> {
    let bytes = fs::read(path).map_err(at(path))?;
    String::from_utf8(bytes).map_err(|_| PkiError::Damaged {
        path: path.to_owned(),
        reason: "it is not text".to_owned(),
    })
}

/// Replaces a file by another with these bytes, in one step that survives loss of power.
pub(super) fn write(path: &Path, contents: &[u8]) -> Result<(), PkiError> {
    let fresh = beside(path);
    write_new(&fresh, contents)?.sync_all().map_err(at(&fresh))?;
    fs::rename(&fresh, path).map_err(at(path))?;
    sync_parent(path)
}

/// Writes a file where nothing is to be replaced; the system may still hold the bytes back.
fn write_new(path: &Path, contents: &[u8]) -> Result<File, PkiError> {
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(OWNER_ONLY)
        .open(path)
        .map_err(at(path))?;
    // The mode above counts for new files only; one that an interrupted write left keeps its own.
    file.set_permissions(Permissions::from_mode(OWNER_ONLY))
        .map_err(at(path))?;
    file.write_all(contents).map_err(at(path))?;
    Ok(file)
}

/// Whether there is nothing to lose in a directory.
pub(super) fn is_absent_or_empty(directory: &Path) -> Result<bool, PkiError> {
    match fs::read_dir(directory) {
        Ok(mut entries) => Ok(entries.next().is_none()),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(true),
        Err(error) => Err(at(directory)(error)),
    }
}

/// Makes a directory with these files, which appears under its name once it is complete.
pub(super) fn create_whole(directory: &Path, files: &[(String, String)]) -> Result<(), PkiError> {
    let fresh = beside(directory);
    if let Some(parent) = directory.parent() {
        fs::create_dir_all(parent).map_err(at(parent))?;
    }
    match fs::remove_dir_all(&fresh) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(at(&fresh)(error)),
        _ => {}
    }
    fs::create_dir(&fresh).map_err(at(&fresh))?;
    fs::set_permissions(&fresh, Permissions::from_mode(0o700)).map_err(at(&fresh))?;
    let write = |(name, contents): &(String, String)| write_new(&fresh.join(name), contents.as_bytes());
    let written: Vec<_> = files.iter().map(write).collect::<Result<_, _>>()?;
    // All are written before the first is waited for: one flush of the disk then serves most of them.
    for file in written {
        file.sync_all().map_err(at(&fresh))?;
    }
    File::open(&fresh)
        .and_then(|opened| opened.sync_all())
        .map_err(at(&fresh))?;
    fs::rename(&fresh, directory).map_err(at(directory))?;
    sync_parent(directory)
}

fn beside(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    path.with_file_name(name)
}

fn sync_parent(path: &Path) -> Result<(), PkiError> {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => File::open(parent)
            .and_then(|directory| directory.sync_all())
            .map_err(at(parent)),
        _ => Ok(()),
    }
}

fn at(path: &Path) -> impl Fn(std::io::Error) -> PkiError {
    let path = path.to_owned();
    move |source| PkiError::Io {
        path: path.clone(),
        source,
    }
}
