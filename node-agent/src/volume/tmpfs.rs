//! Mounts below a pod's directory. Blocking.

use std::io;
use std::path::{Path, PathBuf};

use nix::mount::{MntFlags, MsFlags, mount as sys_mount, umount2};

/// Mounts a tmpfs unless something is mounted there already; 0 bytes leaves the size to the kernel.
pub(super) fn mount(path: &Path, bytes: i64) -> io::Result<()> {
    if is_mounted(path)? {
        return Ok(());
    }
    let options = if bytes > 0 {
        format!("size={bytes}")
    } else {
        String::new()
    };
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    sys_mount(Some("tmpfs"), path, Some("tmpfs"), flags, Some(options.as_str())).map_err(io::Error::from)
}

/// Shows `from` (a file or a directory) at `to`, unless something is mounted there already.
pub(super) fn bind(from: &Path, to: &Path) -> io::Result<()> {
    if is_mounted(to)? {
        return Ok(());
    }
    sys_mount(
        Some(from),
        to,
        None::<&str>,
        MsFlags::MS_BIND | MsFlags::MS_REC,
        None::<&str>,
    )
    .map_err(io::Error::from)
}

/// Whether something is mounted just there.
pub(super) fn is_mounted(path: &Path) -> io::Result<bool> {
    Ok(mount_points()?.iter().any(|p| p == path))
}

/// Whether anything is mounted below `dir`.
pub(super) fn is_mounted_below(dir: &Path) -> io::Result<bool> {
    Ok(mount_points()?.iter().any(|p| p.starts_with(dir)))
}

/// Unmounts everything below `dir`, deepest first.
pub(super) fn unmount_below(dir: &Path) -> io::Result<()> {
    let mut below: Vec<PathBuf> = mount_points()?
        .into_iter()
        .filter(|p| p.starts_with(dir))
        .collect();
    below.sort_by_key(|p| std::cmp::Reverse(p.as_os_str().len()));
    for path in below {
        umount2(&path, MntFlags::MNT_DETACH).map_err(io::Error::from)?;
    }
    Ok(())
}

fn mount_points() -> io::Result<Vec<PathBuf>> {
    let text = std::fs::read_to_string("/proc/self/mountinfo")?;
    Ok(text
        .lines()
        .filter_map(|line| line.split(' ').nth(4))
        .map(|p| PathBuf::from(unescape(p)))
        .collect())
}

/// mountinfo writes blanks and backslashes as `\ooo`.
fn unescape(text: &str) -> String {
    let mut out = Vec::with_capacity(text.len());
    let bytes = text.as_bytes();
    let mut i = 0;
    while i < bytes.len() {
        let octal = bytes.get(i + 1..i + 4).filter(|_| bytes[i] == b'\\');
        match octal
            .and_then(|o| std::str::from_utf8(o).ok())
            .and_then(|o| u8::from_str_radix(o, 8).ok())
        {
            Some(byte) => {
                out.push(byte);
                i += 4;
            }
            None => {
                out.push(bytes[i]);
                i += 1;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mountinfo_escapes() {
        for (text, want) in [
            ("/a", "/a"),
            ("/a\\040b", "/a b"),
            ("/a\\134", "/a\\"),
            ("/a\\", "/a\\"),
            ("/a\\9zz", "/a\\9zz"),
        ] {
            assert_eq!(unescape(text), want);
        }
    }

    #[test]
    fn the_root_is_a_mount_point() {
        assert!(mount_points().unwrap().contains(&PathBuf::from("/")));
    }
}
