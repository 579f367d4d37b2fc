//! What the plugins that are built in can do with volumes, and which of them have become drivers of their own. Pure.

use coracle_api::object::Fields;
use coracle_api::volumes::{PROVISIONED_BY, Volume, annotation};
use serde_json::Value;

/// Makes volumes of folders of this machine, for trying things out on a single node (`--enable-hostpath-provisioner`).
pub(super) const HOST_PATH: &str = "kubernetes.io/host-path";
const NFS: &str = "kubernetes.io/nfs";

/// What a plugin of the binder's own is called.
const OWN: &str = "kubernetes.io/";

/// Plugins that were built in once, and the drivers that do their work now.
const MIGRATED: [(&str, &str); 7] = [
    ("kubernetes.io/aws-ebs", "ebs.csi.aws.com"),
    ("kubernetes.io/azure-disk", "disk.csi.azure.com"),
    ("kubernetes.io/azure-file", "file.csi.azure.com"),
    ("kubernetes.io/cinder", "cinder.csi.openstack.org"),
    ("kubernetes.io/gce-pd", "pd.csi.storage.gke.io"),
    ("kubernetes.io/portworx-volume", "pxd.portworx.com"),
    ("kubernetes.io/vsphere-volume", "csi.vsphere.vmware.com"),
];

/// The driver that does the work of this plugin now.
pub(super) fn driver_of(plugin: &str) -> Option<&'static str> {
    let found = MIGRATED.iter().find(|(old, _)| *old == plugin);
    found.map(|(_, driver)| *driver)
}

/// Who makes, or takes away, a volume.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Who {
    /// The binder itself, with the plugin for folders of this machine.
    HostPath,
    /// A program outside; by its driver's name.
    Outside(String),
    /// Nobody, for this reason.
    Nobody(String),
}

/// Who makes volumes for this provisioner.
pub(super) fn maker(provisioner: &str) -> Who {
    match provisioner {
        HOST_PATH => Who::HostPath,
        NFS => Who::Nobody("no provisionable volume plugin matched".to_owned()),
        other => match driver_of(other) {
            Some(driver) => Who::Outside(driver.to_owned()),
            None if other.starts_with(OWN) => Who::Nobody(unmatched(other)),
            None => Who::Outside(other.to_owned()),
        },
    }
}

fn unmatched(name: &str) -> String {
    format!("no volume plugin matched name: {name}")
}

/// Who takes a volume away, once it is released.
pub(super) fn remover(volume: Volume<'_>) -> Who {
    let spec = &volume.0["spec"];
    let outside = || Who::Outside(String::new());
    match annotation(volume.0, PROVISIONED_BY).filter(|by| !by.is_empty()) {
        Some(HOST_PATH) if !spec.has("hostPath") => {
            let why = "spec.PersistentVolumeSource.HostPath is nil";
            Who::Nobody(format!(
                "failed to create deleter for volume \"{}\": {why}",
                volume.name()
            ))
        }
        Some(HOST_PATH) => Who::HostPath,
        Some(NFS) => Who::Nobody("no deletable volume plugin matched".to_owned()),
        Some(by) if by.starts_with(OWN) => Who::Nobody(unmatched(by)),
        Some(_) => outside(),
        None if spec.has("csi") => outside(),
        None if spec.has("hostPath") => Who::HostPath,
        None => {
            let why = if spec.has("nfs") {
                "no deletable volume plugin matched"
            } else {
                "no volume plugin matched"
            };
            let head = "error getting deleter volume plugin for volume";
            Who::Nobody(format!("{head} \"{}\": {why}", volume.name()))
        }
    }
}

/// Where a folder lies that the plugin for folders may delete: below `/tmp`, and nowhere else.
pub(super) fn removable(volume: Volume<'_>) -> Result<String, String> {
    let path = volume.0["spec"]["hostPath"].text("path");
    let below = path.strip_prefix("/tmp/").is_some_and(|rest| {
        rest.split('/').any(|part| !part.is_empty()) && rest.split('/').all(|part| part != "..")
    });
    if below {
        Ok(path.to_owned())
    } else {
        Err(format!(
            "host_path deleter only supports /tmp/.+ but received provided {path}"
        ))
    }
}

/// The source of a volume that can be emptied and used again, and how many seconds that may take at least.
pub(super) fn recyclable(volume: Volume<'_>) -> Option<(Value, i64)> {
    let spec = &volume.0["spec"];
    if let Some(source) = spec.field("hostPath") {
        return Some((serde_json::json!({"hostPath": {"path": source["path"]}}), 60));
    }
    let source = spec.field("nfs")?;
    let source = serde_json::json!({"nfs": {"server": source["server"], "path": source["path"]}});
    Some((source, 300))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn who_makes_volumes() {
        let outside = |name: &str| Who::Outside(name.to_owned());
        assert_eq!(maker("kubernetes.io/host-path"), Who::HostPath);
        assert_eq!(maker("example.test/disks"), outside("example.test/disks"));
        assert_eq!(maker("kubernetes.io/aws-ebs"), outside("ebs.csi.aws.com"));
        let none = "no volume plugin matched name: kubernetes.io/no-provisioner";
        assert_eq!(
            maker("kubernetes.io/no-provisioner"),
            Who::Nobody(none.to_owned())
        );
    }

    #[test]
    fn who_takes_them_away() {
        let of = |spec: Value, by: Option<&str>| {
            let volume =
                json!({"metadata": {"name": "v", "annotations": {PROVISIONED_BY: by}}, "spec": spec});
            remover(Volume(&volume))
        };
        assert_eq!(of(json!({"hostPath": {"path": "/tmp/a"}}), None), Who::HostPath);
        assert_eq!(of(json!({"csi": {}}), None), Who::Outside(String::new()));
        assert_eq!(
            of(json!({"csi": {}}), Some("example.test/disks")),
            Who::Outside(String::new())
        );
        assert_eq!(
            of(json!({"local": {}}), None),
            Who::Nobody(
                "error getting deleter volume plugin for volume \"v\": no volume plugin matched".to_owned()
            )
        );
    }

    #[test]
    fn only_what_lies_below_tmp_is_deleted() {
        let of = |path: &str| removable(Volume(&json!({"spec": {"hostPath": {"path": path}}})));
        assert_eq!(of("/tmp/hostpath_pv/a"), Ok("/tmp/hostpath_pv/a".to_owned()));
        for path in [
            "/tmp",
            "/tmp/",
            "/tmp//",
            "/tmp/../etc",
            "/tmp/a/../../etc",
            "/var/tmp/a",
            "/data",
        ] {
            assert!(of(path).is_err(), "{path}");
        }
    }
}
