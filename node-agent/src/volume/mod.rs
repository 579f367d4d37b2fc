//! Volumes of a pod: what their files say (pure), and the shells that write, mount and take them away.

mod claim;
pub(crate) mod content;
mod host_path;
mod image;
mod local;
mod mounts;
mod subpath;
mod tmpfs;
mod writer;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use k8s_openapi::api::core::v1::{HostPathVolumeSource, Pod, PodSpec, Volume};

pub(crate) use claim::{Claimed, Found, claimed, origin, volume_of};
pub(crate) use content::{ContentError, Payload, Sources};
pub(crate) use mounts::container_mounts;

use claim::Origin;

use crate::resources;

/// How the folder of volumes from images is named.
const IMAGE_PLUGIN: &str = "image";

/// Where a volume lies on the node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mounted {
    pub(crate) path: PathBuf,
    /// Containers may not write to it whatever their mount says.
    pub(crate) read_only: bool,
}

/// The volumes of one pod, by name.
pub(crate) type MountedVolumes = BTreeMap<String, Mounted>;

/// A volume that cannot be made ready; events show it as `FailedMount`.
#[derive(Debug, thiserror::Error)]
pub(crate) enum VolumeError {
    #[error("MountVolume.SetUp failed for volume \"{volume}\" : {source}")]
    Content { volume: String, source: ContentError },
    #[error("MountVolume.SetUp failed for volume \"{volume}\" : hostPath type check failed: {reason}")]
    HostPath { volume: String, reason: String },
    #[error("MountVolume.SetUp failed for volume \"{volume}\" : {source}")]
    Io { volume: String, source: std::io::Error },
    #[error("MountVolume.NewMounter initialization failed for volume \"{volume}\" : {reason}")]
    Local { volume: String, reason: String },
    #[error("volume \"{volume}\" has a source that this node does not support")]
    Unsupported { volume: String },
    #[error("failed to prepare subPath for volumeMount \"{volume}\" of container \"{container}\": {source}")]
    SubPath {
        volume: String,
        container: String,
        source: std::io::Error,
    },
    #[error("container \"{container}\" mounts volume \"{volume}\", which the pod does not have")]
    Unknown { volume: String, container: String },
}

/// Facts of the pod that set a volume's size and ownership.
pub(crate) struct PodFacts<'a> {
    pub(crate) spec: &'a PodSpec,
    pub(crate) pod_dir: &'a Path,
    pub(crate) node_memory: i64,
    /// Where the container runtime listens.
    pub(crate) runtime_socket: &'a Path,
}

impl PodFacts<'_> {
    fn fs_group(&self) -> Option<u32> {
        self.spec
            .security_context
            .as_ref()?
            .fs_group
            .and_then(|g| u32::try_from(g).ok())
    }

    fn volume_dir(&self, plugin: &str, volume: &str) -> PathBuf {
        self.pod_dir
            .join("volumes")
            .join(format!("kubernetes.io~{plugin}"))
            .join(volume)
    }
}

/// Makes every volume of the pod ready and its files current. Doing it again writes only what changed. Blocking.
pub(crate) fn set_up(
    pod: &Pod,
    facts: &PodFacts<'_>,
    sources: &Sources<'_>,
) -> Result<MountedVolumes, VolumeError> {
    // What is claimed and used by no container has not been asked for.
    let unused = |v: &&Volume| claim::is_claimed(v) && !sources.claims.contains_key(&v.name);
    let volumes = facts.spec.volumes.iter().flatten().filter(|v| !unused(v));
    volumes
        .map(|v| set_up_one(pod, v, facts, sources).map(|m| (v.name.clone(), m)))
        .collect()
}

fn set_up_one(
    pod: &Pod,
    volume: &Volume,
    facts: &PodFacts<'_>,
    sources: &Sources<'_>,
) -> Result<Mounted, VolumeError> {
    let io = |source| VolumeError::Io {
        volume: volume.name.clone(),
        source,
    };
    if let Some(found) = sources.claims.get(&volume.name) {
        return set_up_claimed(found, facts);
    }
    if let Some(source) = &volume.host_path {
        return set_up_host_path(&volume.name, source, false);
    }
    if let Some(source) = &volume.empty_dir {
        let path = facts.volume_dir("empty-dir", &volume.name);
        let memory = source.medium.as_deref() == Some("Memory");
        let bytes = memory.then(|| {
            resources::memory_volume_bytes(facts.spec, source.size_limit.as_ref(), facts.node_memory)
        });
        empty_dir(&path, bytes, facts.fs_group()).map_err(io)?;
        return Ok(Mounted {
            path,
            read_only: false,
        });
    }
    if volume.image.is_some() {
        let path = image_dir(facts.pod_dir, &volume.name);
        let image = sources
            .images
            .get(&volume.name)
            .map(String::as_str)
            .unwrap_or_default();
        image::mount(facts.runtime_socket, image, &path).map_err(io)?;
        return Ok(Mounted {
            path,
            read_only: true,
        });
    }
    let plugin = match volume {
        Volume {
            config_map: Some(_), ..
        } => "configmap",
        Volume { secret: Some(_), .. } => "secret",
        Volume {
            downward_api: Some(_),
            ..
        } => "downward-api",
        Volume {
            projected: Some(_), ..
        } => "projected",
        _ => {
            return Err(VolumeError::Unsupported {
                volume: volume.name.clone(),
            });
        }
    };
    let payload = content::payload(pod, volume, sources).map_err(|source| VolumeError::Content {
        volume: volume.name.clone(),
        source,
    })?;
    let path = facts.volume_dir(plugin, &volume.name);
    write_files(&path, &payload, plugin != "configmap", facts.fs_group()).map_err(io)?;
    Ok(Mounted {
        path,
        read_only: true,
    })
}

fn set_up_host_path(
    volume: &str,
    source: &HostPathVolumeSource,
    read_only: bool,
) -> Result<Mounted, VolumeError> {
    host_path::check(source).map_err(|reason| VolumeError::HostPath {
        volume: volume.to_owned(),
        reason,
    })?;
    Ok(Mounted {
        path: PathBuf::from(&source.path),
        read_only,
    })
}

fn set_up_claimed(found: &Found, facts: &PodFacts<'_>) -> Result<Mounted, VolumeError> {
    let (name, origin, read_only) = match found {
        Found::Ready(mounted) => return Ok(mounted.clone()),
        Found::Persistent {
            name,
            origin,
            read_only,
        } => (name, origin, *read_only),
    };
    let folder = match origin {
        Origin::HostPath(source) => return set_up_host_path(name, source, read_only),
        Origin::Local(folder) => folder,
    };
    let local = |reason: String| VolumeError::Local {
        volume: name.clone(),
        reason,
    };
    match std::fs::metadata(folder) {
        Ok(meta) if meta.is_dir() => {}
        Ok(_) => return Err(local(format!("{} is no directory", folder.display()))),
        Err(_) => return Err(local(format!("path \"{}\" does not exist", folder.display()))),
    }
    let path = facts.volume_dir("local-volume", name);
    let policy = facts.spec.security_context.as_ref();
    let policy = policy.and_then(|context| context.fs_group_change_policy.as_deref());
    let ownership = facts.fs_group().map(|group| local::Ownership {
        group,
        only_on_mismatch: policy == Some("OnRootMismatch"),
        read_only,
    });
    local::show(folder, &path, ownership).map_err(|source| VolumeError::Io {
        volume: name.clone(),
        source,
    })?;
    Ok(Mounted { path, read_only })
}

fn empty_dir(path: &Path, memory_bytes: Option<i64>, fs_group: Option<u32>) -> std::io::Result<()> {
    let fresh = !path.exists();
    std::fs::create_dir_all(path)?;
    if let Some(bytes) = memory_bytes {
        tmpfs::mount(path, bytes)?;
    }
    if fresh {
        writer::open_for_all(path, fs_group)?;
    }
    Ok(())
}

/// Secrets and tokens live in memory only.
fn write_files(
    path: &Path,
    payload: &Payload,
    in_memory: bool,
    fs_group: Option<u32>,
) -> std::io::Result<()> {
    std::fs::create_dir_all(path)?;
    if in_memory {
        tmpfs::mount(path, 0)?;
    }
    writer::write(path, payload, fs_group)
}

fn image_dir(pod_dir: &Path, volume: &str) -> PathBuf {
    let plugin = format!("kubernetes.io~{IMAGE_PLUGIN}");
    pod_dir.join("volumes").join(plugin).join(volume)
}

/// The pod's volumes from images that are not there yet. Blocking.
pub(crate) fn missing_images(spec: &PodSpec, pod_dir: &Path) -> std::io::Result<Vec<Volume>> {
    let mut missing = Vec::new();
    for volume in spec.volumes.iter().flatten().filter(|v| v.image.is_some()) {
        if !tmpfs::is_mounted(&image_dir(pod_dir, &volume.name))? {
            missing.push(volume.clone());
        }
    }
    Ok(missing)
}

/// Takes away what the runtime keeps for a pod's volumes from images, once they are unmounted. Blocking.
pub(crate) fn remove_image_views(spec: &PodSpec, pod_dir: &Path, runtime_socket: &Path) {
    for volume in spec.volumes.iter().flatten().filter(|v| v.image.is_some()) {
        image::remove_view(runtime_socket, &image_dir(pod_dir, &volume.name));
    }
}

/// Takes away everything below the pod's directory: mounts first, then files. Blocking; doing it again is harmless.
pub(crate) fn tear_down(pod_dir: &Path) -> std::io::Result<()> {
    tmpfs::unmount_below(pod_dir)?;
    // Whatever still shows here is not the pod's to be deleted.
    if tmpfs::is_mounted_below(pod_dir)? {
        let why = format!("something is still mounted below {}", pod_dir.display());
        return Err(std::io::Error::other(why));
    }
    match std::fs::remove_dir_all(pod_dir) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(e),
        _ => Ok(()),
    }
}
