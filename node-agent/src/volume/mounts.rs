//! What is mounted into one container: its volumes, the hosts file, the file for its last words. Blocking.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use k8s_cri::v1::{Mount, MountPropagation};
use k8s_openapi::api::core::v1::{Container, VolumeMount};

use super::{Mounted, MountedVolumes, VolumeError, subpath};
use crate::env::expand;
use crate::spec::container::termination_path;

/// The mounts of a container, in the order of its spec, then the agent's own.
pub(crate) fn container_mounts(
    container: &Container,
    volumes: &MountedVolumes,
    env: &[(String, String)],
    pod_dir: &Path,
    attempt: u32,
) -> Result<Vec<Mount>, VolumeError> {
    let mut mounts = Vec::new();
    for (index, mount) in container.volume_mounts.iter().flatten().enumerate() {
        let volume = volumes.get(&mount.name).ok_or_else(|| VolumeError::Unknown {
            volume: mount.name.clone(),
            container: container.name.clone(),
        })?;
        let host_path = host_path(container, mount, index, volume, env, pod_dir)?;
        mounts.push(cri_mount(mount, volume, &host_path));
    }
    let covered = |path: &str| {
        container
            .volume_mounts
            .iter()
            .flatten()
            .any(|m| m.mount_path == path)
    };
    if !covered("/etc/hosts") {
        mounts.push(plain_mount("/etc/hosts", &pod_dir.join("etc-hosts")));
    }
    let last_words = termination_file(pod_dir, &container.name, attempt);
    make_empty_file(&last_words).map_err(|source| VolumeError::Io {
        volume: "termination-log".into(),
        source,
    })?;
    mounts.push(plain_mount(termination_path(container), &last_words));
    Ok(mounts)
}

/// The file behind a container's `terminationMessagePath`.
fn termination_file(pod_dir: &Path, container: &str, attempt: u32) -> PathBuf {
    pod_dir
        .join("containers")
        .join(container)
        .join(attempt.to_string())
}

fn host_path(
    container: &Container,
    mount: &VolumeMount,
    index: usize,
    volume: &Mounted,
    env: &[(String, String)],
    pod_dir: &Path,
) -> Result<PathBuf, VolumeError> {
    let lookup = |name: &str| env.iter().find(|(k, _)| k == name).map(|(_, v)| v.clone());
    let part = match (&mount.sub_path_expr, &mount.sub_path) {
        (Some(expr), _) if !expr.is_empty() => expand(expr, lookup),
        (_, Some(part)) if !part.is_empty() => part.clone(),
        _ => return Ok(volume.path.clone()),
    };
    let target = pod_dir
        .join("volume-subpaths")
        .join(&mount.name)
        .join(&container.name)
        .join(index.to_string());
    subpath::expose(&volume.path, Path::new(&part), &target).map_err(|source| VolumeError::SubPath {
        volume: mount.name.clone(),
        container: container.name.clone(),
        source,
    })
}

fn cri_mount(mount: &VolumeMount, volume: &Mounted, host_path: &Path) -> Mount {
    let propagation = match mount.mount_propagation.as_deref() {
        Some("HostToContainer") => MountPropagation::PropagationHostToContainer,
        Some("Bidirectional") => MountPropagation::PropagationBidirectional,
        _ => MountPropagation::PropagationPrivate,
    };
    Mount {
        container_path: absolute(&mount.mount_path),
        host_path: host_path.to_string_lossy().into_owned(),
        readonly: volume.read_only || mount.read_only == Some(true),
        propagation: propagation as i32,
        ..Mount::default()
    }
}

fn plain_mount(container_path: &str, host_path: &Path) -> Mount {
    Mount {
        container_path: container_path.into(),
        host_path: host_path.to_string_lossy().into_owned(),
        ..Mount::default()
    }
}

fn absolute(path: &str) -> String {
    if path.starts_with('/') {
        path.to_owned()
    } else {
        format!("/{path}")
    }
}

/// Any user of the container may write its last words.
fn make_empty_file(path: &Path) -> io::Result<()> {
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent)?;
    }
    fs::File::create(path)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o666))
}
