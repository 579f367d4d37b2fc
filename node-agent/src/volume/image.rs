//! Images as volumes (KEP-4639): the files of an image, read-only. Blocking.
//!
//! CRI mounts images only from containerd 2.1 on, so `ctr`, which comes with every containerd, does it here: it makes a view of
//! the image's layers and mounts it. The view bears the name of its mount point.

use std::io;
use std::path::Path;
use std::process::{Command, Stdio};

use super::tmpfs::is_mounted;

/// Where CRI keeps its images.
const NAMESPACE: &str = "k8s.io";

/// Mounts an image that the runtime has, unless something is mounted there already.
pub(super) fn mount(socket: &Path, image: &str, target: &Path) -> io::Result<()> {
    if is_mounted(target)? {
        return Ok(());
    }
    std::fs::create_dir_all(target)?;
    // What an earlier attempt, or the node's life before, has left.
    remove_view(socket, target);
    let target = target.to_string_lossy();
    let output = ctr(socket, &["images", "mount", image, &target]).output()?;
    if output.status.success() {
        return Ok(());
    }
    let words = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(io::Error::other(format!("cannot mount image {image}: {words}")))
}

/// Takes away the view behind a mount point that is no longer mounted; one that is not there is none.
pub(super) fn remove_view(socket: &Path, target: &Path) {
    let target = target.to_string_lossy();
    let mut remove = ctr(socket, &["snapshots", "remove", &target]);
    // It fails where there is none; one that stays goes with its lease, after a day.
    let _ = remove.stdout(Stdio::null()).stderr(Stdio::null()).status();
}

fn ctr(socket: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new("ctr");
    command
        .arg("--address")
        .arg(socket)
        .args(["--namespace", NAMESPACE])
        .args(arguments)
        .stdin(Stdio::null());
    command
}
