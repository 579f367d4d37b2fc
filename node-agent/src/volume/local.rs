//! Local volumes: a folder of this node, shown to a pod below the pod's own folder. Blocking.

use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt, lchown};
use std::path::Path;

use nix::mount::{MsFlags, mount};

use super::tmpfs::is_mounted;

/// What a group gets of files, and beside that of folders.
const READ_WRITE: u32 = 0o660;
const READ: u32 = 0o440;
const FOLDER: u32 = 0o2110;

/// Who is to own the files of a volume.
#[derive(Clone, Copy)]
pub(super) struct Ownership {
    pub(super) group: u32,
    /// Nothing is touched where the root of the volume is as it should be (`fsGroupChangePolicy: OnRootMismatch`).
    pub(super) only_on_mismatch: bool,
    pub(super) read_only: bool,
}

/// Shows `folder` at `target`, unless that has been done, and hands it to whom it is to belong.
pub(super) fn show(folder: &Path, target: &Path, ownership: Option<Ownership>) -> io::Result<()> {
    if is_mounted(target)? {
        return Ok(());
    }
    fs::create_dir_all(target)?;
    let none: Option<&str> = None;
    // What is mounted below the folder stays out, and what is unmounted here is unmounted nowhere else.
    mount(Some(folder), target, none, MsFlags::MS_BIND, none)?;
    mount(none, target, none, MsFlags::MS_SLAVE, none)?;
    match ownership.filter(|ownership| !ownership.read_only) {
        Some(ownership) if !(ownership.only_on_mismatch && stands(target, ownership)?) => {
            hand_over(target, ownership)
        }
        _ => Ok(()),
    }
}

fn mask(is_folder: bool, ownership: Ownership) -> u32 {
    let files = if ownership.read_only { READ } else { READ_WRITE };
    if is_folder { files | FOLDER } else { files }
}

/// Whether the root of the volume is as it should be.
fn stands(root: &Path, ownership: Ownership) -> io::Result<bool> {
    let meta = fs::symlink_metadata(root)?;
    let wanted = mask(true, ownership);
    Ok(meta.is_dir() && meta.gid() == ownership.group && meta.mode() & wanted == wanted)
}

/// Gives all files at and below `path` to the group. A link is given, not what it leads to.
fn hand_over(path: &Path, ownership: Ownership) -> io::Result<()> {
    let meta = fs::symlink_metadata(path)?;
    lchown(path, None, Some(ownership.group))?;
    if meta.is_symlink() {
        return Ok(());
    }
    let mode = meta.mode() | mask(meta.is_dir(), ownership);
    fs::set_permissions(path, fs::Permissions::from_mode(mode & 0o7777))?;
    if meta.is_dir() {
        for entry in fs::read_dir(path)? {
            hand_over(&entry?.path(), ownership)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_come_to_belong_to_the_group() {
        let all = tempfile::tempdir().unwrap();
        let (volume, outside) = (all.path().join("volume"), all.path().join("outside"));
        fs::create_dir_all(volume.join("deep")).unwrap();
        fs::write(&outside, "").unwrap();
        fs::write(volume.join("deep/file"), "").unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().mode() & 0o7777;
        let plain = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        plain(&outside, 0o600);
        plain(&volume.join("deep/file"), 0o600);
        plain(&volume, 0o700);
        std::os::unix::fs::symlink(&outside, volume.join("link")).unwrap();
        // Whose group they are already: anybody may give those away.
        let group = fs::metadata(&volume).unwrap().gid();
        let ownership = Ownership {
            group,
            only_on_mismatch: true,
            read_only: false,
        };
        assert!(!stands(&volume, ownership).unwrap());
        hand_over(&volume, ownership).unwrap();
        assert!(stands(&volume, ownership).unwrap());
        assert_eq!(mode(&volume), 0o2770);
        assert_eq!(mode(&volume.join("deep/file")), 0o660);
        assert_eq!(mode(&outside), 0o600);
    }
}
