//! Volumes of pods and of clusters, as upstream's internal structs order their fields.

use super::Form::{Flag, List, Metadata, Number, Plain, Pointer, Quantity, Selector, Struct, Text};
use super::Shape;

const HOST_PATH_VOLUME_SOURCE: Shape = &[("Path", Text), ("Type", Plain)];
const EMPTY_DIR_VOLUME_SOURCE: Shape = &[("Medium", Text), ("SizeLimit", Plain)];
const GCE_PERSISTENT_DISK_VOLUME_SOURCE: Shape = &[
    ("PDName", Text),
    ("FSType", Text),
    ("Partition", Number),
    ("ReadOnly", Flag),
];
const AWS_ELASTIC_BLOCK_STORE_VOLUME_SOURCE: Shape = &[
    ("VolumeID", Text),
    ("FSType", Text),
    ("Partition", Number),
    ("ReadOnly", Flag),
];
const GIT_REPO_VOLUME_SOURCE: Shape = &[("Repository", Text), ("Revision", Text), ("Directory", Text)];
const KEY_TO_PATH: Shape = &[("Key", Text), ("Path", Text), ("Mode", Plain)];
const SECRET_VOLUME_SOURCE: Shape = &[
    ("SecretName", Text),
    ("Items", List(KEY_TO_PATH)),
    ("DefaultMode", Plain),
    ("Optional", Plain),
];
const NFS_VOLUME_SOURCE: Shape = &[("Server", Text), ("Path", Text), ("ReadOnly", Flag)];
pub(super) const LOCAL_OBJECT_REFERENCE: Shape = &[("Name", Text)];
const ISCSI_VOLUME_SOURCE: Shape = &[
    ("TargetPortal", Text),
    ("IQN", Text),
    ("Lun", Number),
    ("ISCSIInterface", Text),
    ("FSType", Text),
    ("ReadOnly", Flag),
    ("Portals", Plain),
    ("DiscoveryCHAPAuth:chapAuthDiscovery", Flag),
    ("SessionCHAPAuth:chapAuthSession", Flag),
    ("SecretRef", Pointer(LOCAL_OBJECT_REFERENCE)),
    ("InitiatorName", Plain),
];
const GLUSTERFS_VOLUME_SOURCE: Shape = &[
    ("EndpointsName:endpoints", Text),
    ("Path", Text),
    ("ReadOnly", Flag),
];
const PERSISTENT_VOLUME_CLAIM_VOLUME_SOURCE: Shape = &[("ClaimName", Text), ("ReadOnly", Flag)];
const RBD_VOLUME_SOURCE: Shape = &[
    ("CephMonitors:monitors", Plain),
    ("RBDImage:image", Text),
    ("FSType", Text),
    ("RBDPool:pool", Text),
    ("RadosUser:user", Text),
    ("Keyring", Text),
    ("SecretRef", Pointer(LOCAL_OBJECT_REFERENCE)),
    ("ReadOnly", Flag),
];
const QUOBYTE_VOLUME_SOURCE: Shape = &[
    ("Registry", Text),
    ("Volume", Text),
    ("ReadOnly", Flag),
    ("User", Text),
    ("Group", Text),
    ("Tenant", Text),
];
const FLEX_VOLUME_SOURCE: Shape = &[
    ("Driver", Text),
    ("FSType", Text),
    ("SecretRef", Pointer(LOCAL_OBJECT_REFERENCE)),
    ("ReadOnly", Flag),
    ("Options", Plain),
];
const CINDER_VOLUME_SOURCE: Shape = &[
    ("VolumeID", Text),
    ("FSType", Text),
    ("ReadOnly", Flag),
    ("SecretRef", Pointer(LOCAL_OBJECT_REFERENCE)),
];
const CEPH_FS_VOLUME_SOURCE: Shape = &[
    ("Monitors", Plain),
    ("Path", Text),
    ("User", Text),
    ("SecretFile", Text),
    ("SecretRef", Pointer(LOCAL_OBJECT_REFERENCE)),
    ("ReadOnly", Flag),
];
const FLOCKER_VOLUME_SOURCE: Shape = &[("DatasetName", Text), ("DatasetUUID", Text)];
pub(super) const OBJECT_FIELD_SELECTOR: Shape = &[("APIVersion", Text), ("FieldPath", Text)];
pub(super) const RESOURCE_FIELD_SELECTOR: Shape =
    &[("ContainerName", Text), ("Resource", Text), ("Divisor", Quantity)];
const DOWNWARD_API_VOLUME_FILE: Shape = &[
    ("Path", Text),
    ("FieldRef", Pointer(OBJECT_FIELD_SELECTOR)),
    ("ResourceFieldRef", Pointer(RESOURCE_FIELD_SELECTOR)),
    ("Mode", Plain),
];
const DOWNWARD_API_VOLUME_SOURCE: Shape =
    &[("Items", List(DOWNWARD_API_VOLUME_FILE)), ("DefaultMode", Plain)];
const FC_VOLUME_SOURCE: Shape = &[
    ("TargetWWNs", Plain),
    ("Lun", Plain),
    ("FSType", Text),
    ("ReadOnly", Flag),
    ("WWIDs:wwids", Plain),
];
const AZURE_FILE_VOLUME_SOURCE: Shape = &[("SecretName", Text), ("ShareName", Text), ("ReadOnly", Flag)];
const CONFIG_MAP_VOLUME_SOURCE: Shape = &[
    ("Name", Text),
    ("Items", List(KEY_TO_PATH)),
    ("DefaultMode", Plain),
    ("Optional", Plain),
];
const VSPHERE_VIRTUAL_DISK_VOLUME_SOURCE: Shape = &[
    ("VolumePath", Text),
    ("FSType", Text),
    ("StoragePolicyName", Text),
    ("StoragePolicyID", Text),
];
const AZURE_DISK_VOLUME_SOURCE: Shape = &[
    ("DiskName", Text),
    ("DataDiskURI:diskURI", Text),
    ("CachingMode", Plain),
    ("FSType", Plain),
    ("ReadOnly", Plain),
    ("Kind", Plain),
];
const PHOTON_PERSISTENT_DISK_VOLUME_SOURCE: Shape = &[("PdID", Text), ("FSType", Text)];
const SECRET_PROJECTION: Shape = &[("Name", Text), ("Items", List(KEY_TO_PATH)), ("Optional", Plain)];
const DOWNWARD_API_PROJECTION: Shape = &[("Items", List(DOWNWARD_API_VOLUME_FILE))];
const CONFIG_MAP_PROJECTION: Shape = &[("Name", Text), ("Items", List(KEY_TO_PATH)), ("Optional", Plain)];
const SERVICE_ACCOUNT_TOKEN_PROJECTION: Shape =
    &[("Audience", Text), ("ExpirationSeconds", Number), ("Path", Text)];
const CLUSTER_TRUST_BUNDLE_PROJECTION: Shape = &[
    ("Name", Plain),
    ("SignerName", Plain),
    ("LabelSelector", Selector),
    ("Optional", Plain),
    ("Path", Text),
];
const POD_CERTIFICATE_PROJECTION: Shape = &[
    ("SignerName", Text),
    ("KeyType", Text),
    ("MaxExpirationSeconds", Plain),
    ("CredentialBundlePath", Text),
    ("KeyPath", Text),
    ("CertificateChainPath", Text),
    ("UserAnnotations", Plain),
];
const VOLUME_PROJECTION: Shape = &[
    ("Secret", Pointer(SECRET_PROJECTION)),
    ("DownwardAPI", Pointer(DOWNWARD_API_PROJECTION)),
    ("ConfigMap", Pointer(CONFIG_MAP_PROJECTION)),
    ("ServiceAccountToken", Pointer(SERVICE_ACCOUNT_TOKEN_PROJECTION)),
    ("ClusterTrustBundle", Pointer(CLUSTER_TRUST_BUNDLE_PROJECTION)),
    ("PodCertificate", Pointer(POD_CERTIFICATE_PROJECTION)),
];
const PROJECTED_VOLUME_SOURCE: Shape = &[("Sources", List(VOLUME_PROJECTION)), ("DefaultMode", Plain)];
const PORTWORX_VOLUME_SOURCE: Shape = &[("VolumeID", Text), ("FSType", Text), ("ReadOnly", Flag)];
const SCALE_IO_VOLUME_SOURCE: Shape = &[
    ("Gateway", Text),
    ("System", Text),
    ("SecretRef", Pointer(LOCAL_OBJECT_REFERENCE)),
    ("SSLEnabled", Flag),
    ("ProtectionDomain", Text),
    ("StoragePool", Text),
    ("StorageMode", Text),
    ("VolumeName", Text),
    ("FSType", Text),
    ("ReadOnly", Flag),
];
const STORAGE_OS_VOLUME_SOURCE: Shape = &[
    ("VolumeName", Text),
    ("VolumeNamespace", Text),
    ("FSType", Text),
    ("ReadOnly", Flag),
    ("SecretRef", Pointer(LOCAL_OBJECT_REFERENCE)),
];
const CSI_VOLUME_SOURCE: Shape = &[
    ("Driver", Text),
    ("ReadOnly", Plain),
    ("FSType", Plain),
    ("VolumeAttributes", Plain),
    ("NodePublishSecretRef", Pointer(LOCAL_OBJECT_REFERENCE)),
];
const VOLUME_RESOURCE_REQUIREMENTS: Shape = &[("Limits", Plain), ("Requests", Plain)];
const TYPED_LOCAL_OBJECT_REFERENCE: Shape = &[("APIGroup", Plain), ("Kind", Text), ("Name", Text)];
const TYPED_OBJECT_REFERENCE: Shape = &[
    ("APIGroup", Plain),
    ("Kind", Text),
    ("Name", Text),
    ("Namespace", Plain),
];
pub(in crate::validation) const PERSISTENT_VOLUME_CLAIM_SPEC: Shape = &[
    ("AccessModes", Plain),
    ("Selector", Selector),
    ("Resources", Struct(VOLUME_RESOURCE_REQUIREMENTS)),
    ("VolumeName", Text),
    ("StorageClassName", Plain),
    ("VolumeMode", Plain),
    ("DataSource", Pointer(TYPED_LOCAL_OBJECT_REFERENCE)),
    ("DataSourceRef", Pointer(TYPED_OBJECT_REFERENCE)),
    ("VolumeAttributesClassName", Plain),
];
const PERSISTENT_VOLUME_CLAIM_TEMPLATE: Shape =
    &[("", Metadata), ("Spec", Struct(PERSISTENT_VOLUME_CLAIM_SPEC))];
const EPHEMERAL_VOLUME_SOURCE: Shape = &[("VolumeClaimTemplate", Pointer(PERSISTENT_VOLUME_CLAIM_TEMPLATE))];
const IMAGE_VOLUME_SOURCE: Shape = &[("Reference", Text), ("PullPolicy", Text)];
pub(super) const VOLUME: Shape = &[
    ("Name", Text),
    ("HostPath", Pointer(HOST_PATH_VOLUME_SOURCE)),
    ("EmptyDir", Pointer(EMPTY_DIR_VOLUME_SOURCE)),
    ("GCEPersistentDisk", Pointer(GCE_PERSISTENT_DISK_VOLUME_SOURCE)),
    (
        "AWSElasticBlockStore",
        Pointer(AWS_ELASTIC_BLOCK_STORE_VOLUME_SOURCE),
    ),
    ("GitRepo", Pointer(GIT_REPO_VOLUME_SOURCE)),
    ("Secret", Pointer(SECRET_VOLUME_SOURCE)),
    ("NFS", Pointer(NFS_VOLUME_SOURCE)),
    ("ISCSI", Pointer(ISCSI_VOLUME_SOURCE)),
    ("Glusterfs", Pointer(GLUSTERFS_VOLUME_SOURCE)),
    (
        "PersistentVolumeClaim",
        Pointer(PERSISTENT_VOLUME_CLAIM_VOLUME_SOURCE),
    ),
    ("RBD", Pointer(RBD_VOLUME_SOURCE)),
    ("Quobyte", Pointer(QUOBYTE_VOLUME_SOURCE)),
    ("FlexVolume", Pointer(FLEX_VOLUME_SOURCE)),
    ("Cinder", Pointer(CINDER_VOLUME_SOURCE)),
    ("CephFS:cephfs", Pointer(CEPH_FS_VOLUME_SOURCE)),
    ("Flocker", Pointer(FLOCKER_VOLUME_SOURCE)),
    ("DownwardAPI", Pointer(DOWNWARD_API_VOLUME_SOURCE)),
    ("FC", Pointer(FC_VOLUME_SOURCE)),
    ("AzureFile", Pointer(AZURE_FILE_VOLUME_SOURCE)),
    ("ConfigMap", Pointer(CONFIG_MAP_VOLUME_SOURCE)),
    ("VsphereVolume", Pointer(VSPHERE_VIRTUAL_DISK_VOLUME_SOURCE)),
    ("AzureDisk", Pointer(AZURE_DISK_VOLUME_SOURCE)),
    (
        "PhotonPersistentDisk",
        Pointer(PHOTON_PERSISTENT_DISK_VOLUME_SOURCE),
    ),
    ("Projected", Pointer(PROJECTED_VOLUME_SOURCE)),
    ("PortworxVolume", Pointer(PORTWORX_VOLUME_SOURCE)),
    ("ScaleIO", Pointer(SCALE_IO_VOLUME_SOURCE)),
    ("StorageOS:storageos", Pointer(STORAGE_OS_VOLUME_SOURCE)),
    ("CSI", Pointer(CSI_VOLUME_SOURCE)),
    ("Ephemeral", Pointer(EPHEMERAL_VOLUME_SOURCE)),
    ("Image", Pointer(IMAGE_VOLUME_SOURCE)),
];
const GLUSTERFS_PERSISTENT_VOLUME_SOURCE: Shape = &[
    ("EndpointsName:endpoints", Text),
    ("Path", Text),
    ("ReadOnly", Flag),
    ("EndpointsNamespace", Plain),
];
const SECRET_REFERENCE: Shape = &[("Name", Text), ("Namespace", Text)];
const RBD_PERSISTENT_VOLUME_SOURCE: Shape = &[
    ("CephMonitors:monitors", Plain),
    ("RBDImage:image", Text),
    ("FSType", Text),
    ("RBDPool:pool", Text),
    ("RadosUser:user", Text),
    ("Keyring", Text),
    ("SecretRef", Pointer(SECRET_REFERENCE)),
    ("ReadOnly", Flag),
];
const ISCSI_PERSISTENT_VOLUME_SOURCE: Shape = &[
    ("TargetPortal", Text),
    ("IQN", Text),
    ("Lun", Number),
    ("ISCSIInterface", Text),
    ("FSType", Text),
    ("ReadOnly", Flag),
    ("Portals", Plain),
    ("DiscoveryCHAPAuth:chapAuthDiscovery", Flag),
    ("SessionCHAPAuth:chapAuthSession", Flag),
    ("SecretRef", Pointer(SECRET_REFERENCE)),
    ("InitiatorName", Plain),
];
const FLEX_PERSISTENT_VOLUME_SOURCE: Shape = &[
    ("Driver", Text),
    ("FSType", Text),
    ("SecretRef", Pointer(SECRET_REFERENCE)),
    ("ReadOnly", Flag),
    ("Options", Plain),
];
const CINDER_PERSISTENT_VOLUME_SOURCE: Shape = &[
    ("VolumeID", Text),
    ("FSType", Text),
    ("ReadOnly", Flag),
    ("SecretRef", Pointer(SECRET_REFERENCE)),
];
const CEPH_FS_PERSISTENT_VOLUME_SOURCE: Shape = &[
    ("Monitors", Plain),
    ("Path", Text),
    ("User", Text),
    ("SecretFile", Text),
    ("SecretRef", Pointer(SECRET_REFERENCE)),
    ("ReadOnly", Flag),
];
const AZURE_FILE_PERSISTENT_VOLUME_SOURCE: Shape = &[
    ("SecretName", Text),
    ("ShareName", Text),
    ("ReadOnly", Flag),
    ("SecretNamespace", Plain),
];
const SCALE_IO_PERSISTENT_VOLUME_SOURCE: Shape = &[
    ("Gateway", Text),
    ("System", Text),
    ("SecretRef", Pointer(SECRET_REFERENCE)),
    ("SSLEnabled", Flag),
    ("ProtectionDomain", Text),
    ("StoragePool", Text),
    ("StorageMode", Text),
    ("VolumeName", Text),
    ("FSType", Text),
    ("ReadOnly", Flag),
];
const LOCAL_VOLUME_SOURCE: Shape = &[("Path", Text), ("FSType", Plain)];
const OBJECT_REFERENCE: Shape = &[
    ("Kind", Text),
    ("Namespace", Text),
    ("Name", Text),
    ("UID", Text),
    ("APIVersion", Text),
    ("ResourceVersion", Text),
    ("FieldPath", Text),
];
const STORAGE_OS_PERSISTENT_VOLUME_SOURCE: Shape = &[
    ("VolumeName", Text),
    ("VolumeNamespace", Text),
    ("FSType", Text),
    ("ReadOnly", Flag),
    ("SecretRef", Pointer(OBJECT_REFERENCE)),
];
const CSI_PERSISTENT_VOLUME_SOURCE: Shape = &[
    ("Driver", Text),
    ("VolumeHandle", Text),
    ("ReadOnly", Flag),
    ("FSType", Text),
    ("VolumeAttributes", Plain),
    ("ControllerPublishSecretRef", Pointer(SECRET_REFERENCE)),
    ("NodeStageSecretRef", Pointer(SECRET_REFERENCE)),
    ("NodePublishSecretRef", Pointer(SECRET_REFERENCE)),
    ("ControllerExpandSecretRef", Pointer(SECRET_REFERENCE)),
    ("NodeExpandSecretRef", Pointer(SECRET_REFERENCE)),
];
pub(in crate::validation) const PERSISTENT_VOLUME_SOURCE: Shape = &[
    ("GCEPersistentDisk", Pointer(GCE_PERSISTENT_DISK_VOLUME_SOURCE)),
    (
        "AWSElasticBlockStore",
        Pointer(AWS_ELASTIC_BLOCK_STORE_VOLUME_SOURCE),
    ),
    ("HostPath", Pointer(HOST_PATH_VOLUME_SOURCE)),
    ("Glusterfs", Pointer(GLUSTERFS_PERSISTENT_VOLUME_SOURCE)),
    ("NFS", Pointer(NFS_VOLUME_SOURCE)),
    ("RBD", Pointer(RBD_PERSISTENT_VOLUME_SOURCE)),
    ("Quobyte", Pointer(QUOBYTE_VOLUME_SOURCE)),
    ("ISCSI", Pointer(ISCSI_PERSISTENT_VOLUME_SOURCE)),
    ("FlexVolume", Pointer(FLEX_PERSISTENT_VOLUME_SOURCE)),
    ("Cinder", Pointer(CINDER_PERSISTENT_VOLUME_SOURCE)),
    ("CephFS:cephfs", Pointer(CEPH_FS_PERSISTENT_VOLUME_SOURCE)),
    ("FC", Pointer(FC_VOLUME_SOURCE)),
    ("Flocker", Pointer(FLOCKER_VOLUME_SOURCE)),
    ("AzureFile", Pointer(AZURE_FILE_PERSISTENT_VOLUME_SOURCE)),
    ("VsphereVolume", Pointer(VSPHERE_VIRTUAL_DISK_VOLUME_SOURCE)),
    ("AzureDisk", Pointer(AZURE_DISK_VOLUME_SOURCE)),
    (
        "PhotonPersistentDisk",
        Pointer(PHOTON_PERSISTENT_DISK_VOLUME_SOURCE),
    ),
    ("PortworxVolume", Pointer(PORTWORX_VOLUME_SOURCE)),
    ("ScaleIO", Pointer(SCALE_IO_PERSISTENT_VOLUME_SOURCE)),
    ("Local", Pointer(LOCAL_VOLUME_SOURCE)),
    (
        "StorageOS:storageos",
        Pointer(STORAGE_OS_PERSISTENT_VOLUME_SOURCE),
    ),
    ("CSI", Pointer(CSI_PERSISTENT_VOLUME_SOURCE)),
];
