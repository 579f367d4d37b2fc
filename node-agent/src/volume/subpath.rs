//! Parts of a volume, found without following symbolic links that the pod may have planted. Blocking.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::path::{Component, Path, PathBuf};

use nix::fcntl::{OFlag, open, openat};
use nix::sys::stat::{Mode, mkdirat};

use super::tmpfs;

/// Binds `part` of the volume at `target` and returns that path, for the runtime to mount. A missing directory is made.
pub(super) fn expose(volume: &Path, part: &Path, target: &Path) -> io::Result<PathBuf> {
    let fd = open_below(volume, part)?;
    let source = PathBuf::from(format!("/proc/self/fd/{}", fd.as_raw_fd()));
    let is_dir = std::fs::metadata(&source)?.is_dir();
    if let Some(parent) = target.parent() {
        std::fs::create_dir_all(parent)?;
    }
    if is_dir {
        std::fs::create_dir_all(target)?;
    } else if !target.exists() {
        std::fs::File::create(target)?;
    }
    tmpfs::bind(&source, target)?;
    Ok(target.to_owned())
}

/// Opens `part` below `volume`, component by component; links inside the volume end the walk, except the ones that the
/// atomic writer makes, which are resolved and must stay inside.
fn open_below(volume: &Path, part: &Path) -> io::Result<OwnedFd> {
    let part = resolve_writer_links(volume, part)?;
    // What is made is as open as the volume itself, whatever this process's mask says: those who may write to it may write there.
    let mode = std::fs::metadata(volume)?.permissions().mode() & 0o777;
    let walk = OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let mut fd = open(volume, OFlag::O_PATH | OFlag::O_CLOEXEC, Mode::empty())?;
    for component in part.components() {
        let Component::Normal(name) = component else {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "subPath must not leave its volume",
            ));
        };
        fd = match openat(&fd, name, walk, Mode::empty()) {
            Err(nix::errno::Errno::ENOENT) => {
                mkdirat(&fd, name, Mode::from_bits_truncate(0o700))?;
                let made = openat(&fd, name, walk | OFlag::O_DIRECTORY, Mode::empty())?;
                let path = format!("/proc/self/fd/{}", made.as_raw_fd());
                // A folder of a volume for a group is the group's by inheritance; that stays.
                let inherited = std::fs::metadata(&path)?.permissions().mode() & 0o7000;
                std::fs::set_permissions(&path, std::fs::Permissions::from_mode(inherited | mode))?;
                made
            }
            other => other?,
        };
        let here = PathBuf::from(format!("/proc/self/fd/{}", fd.as_raw_fd()));
        if std::fs::read_link(&here).is_ok_and(|p| p.is_symlink()) {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "subPath leads through a symbolic link",
            ));
        }
    }
    Ok(fd)
}

/// Files of configMaps and the like are links through `..data`: take the file that they mean now.
fn resolve_writer_links(volume: &Path, part: &Path) -> io::Result<PathBuf> {
    if !volume.join("..data").is_symlink() {
        return Ok(part.to_owned());
    }
    let Ok(resolved) = volume.join(part).canonicalize() else {
        return Ok(part.to_owned());
    };
    let root = volume.canonicalize()?;
    resolved
        .strip_prefix(&root)
        .map(Path::to_owned)
        .map_err(|_| io::Error::new(io::ErrorKind::InvalidInput, "subPath leaves its volume"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn walks_stay_inside() {
        let dir = tempfile::tempdir().unwrap();
        let volume = dir.path().join("v");
        std::fs::create_dir_all(volume.join("a/b")).unwrap();
        std::os::unix::fs::symlink("/etc", volume.join("evil")).unwrap();
        for (part, ok) in [
            ("a/b", true),
            ("new/deep", true),
            ("evil", false),
            ("evil/passwd", false),
            ("../x", false),
            ("/etc", false),
        ] {
            assert_eq!(open_below(&volume, Path::new(part)).is_ok(), ok, "{part}");
        }
        assert!(volume.join("new/deep").is_dir());
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&volume.join("new/deep")), mode(&volume));
    }
}
