//! What the controllers are told at start.

use crate::Clock;
use crate::certificates::CertificateSigner;
use crate::cluster::tokens::TokenSigner;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

/// A controller as `--controllers` names it (kube-controller-manager's own names).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ControllerName {
    /// Rolls Deployments out over ReplicaSets.
    Deployment,
    /// Keeps the number of a ReplicaSet's pods.
    ReplicaSet,
    /// Keeps the number of a ReplicationController's pods.
    ReplicationController,
    /// Keeps the named pods of a StatefulSet.
    StatefulSet,
    /// Keeps a pod of a DaemonSet on every node that is meant.
    DaemonSet,
    /// Runs pods until as many have succeeded as a Job asks for.
    Job,
    /// Starts Jobs at the times of CronJobs.
    CronJob,
    /// Deletes Jobs some time after they finished.
    TtlAfterFinished,
    /// Counts how many pods of PodDisruptionBudgets may be disrupted.
    Disruption,
    /// Keeps the EndpointSlices of Services.
    EndpointSlice,
    /// Shows Endpoints that users keep as EndpointSlices.
    EndpointSliceMirroring,
    /// Keeps the legacy Endpoints of Services.
    Endpoints,
    /// Has ServiceCIDRs ready, and keeps them while addresses belong only to them.
    ServiceCidr,
    /// Empties and finalizes namespaces that are being deleted.
    Namespace,
    /// Makes the `default` ServiceAccount of every namespace.
    ServiceAccount,
    /// Keeps the tokens in secrets of ServiceAccounts.
    ServiceAccountToken,
    /// Publishes the cluster's CA bundle into every namespace.
    RootCaPublisher,
    /// Gives every node a pod CIDR.
    NodeIpam,
    /// Watches node leases, marks nodes unready and taints them.
    NodeLifecycle,
    /// Evicts pods that do not tolerate their node's NoExecute taints.
    TaintEviction,
    /// Deletes dependents whose owners are gone.
    GarbageCollector,
    /// Deletes pods that are finished in excess or whose node is gone.
    PodGarbageCollector,
    /// Fills ClusterRoles that have an aggregation rule.
    ClusterRoleAggregation,
    /// Counts what is used of ResourceQuotas.
    ResourceQuota,
    /// Approves certificates that nodes ask for.
    CertificateApproving,
    /// Signs certificates that were approved.
    CertificateSigning,
    /// Deletes requests for certificates that are done with.
    CertificateCleaning,
    /// Binds claims and volumes to each other.
    VolumeBinder,
    /// Makes the claims of pods' ephemeral volumes.
    EphemeralVolume,
    /// Keeps claims that pods use.
    ClaimProtection,
    /// Keeps volumes that are bound.
    VolumeProtection,
    /// Keeps volume attributes classes that claims or volumes have.
    AttributesClassProtection,
    /// Checks the types of ValidatingAdmissionPolicies' expressions.
    ValidatingAdmissionPolicyStatus,
}

impl ControllerName {
    /// All of them, in the order they start.
    pub const ALL: [Self; 33] = [
        Self::ServiceAccountToken,
        Self::ServiceAccount,
        Self::RootCaPublisher,
        Self::ClusterRoleAggregation,
        Self::NodeIpam,
        Self::NodeLifecycle,
        Self::TaintEviction,
        Self::ReplicaSet,
        Self::ReplicationController,
        Self::Deployment,
        Self::StatefulSet,
        Self::DaemonSet,
        Self::Job,
        Self::CronJob,
        Self::TtlAfterFinished,
        Self::Disruption,
        Self::EndpointSlice,
        Self::EndpointSliceMirroring,
        Self::Endpoints,
        Self::ServiceCidr,
        Self::ResourceQuota,
        Self::CertificateApproving,
        Self::CertificateSigning,
        Self::CertificateCleaning,
        Self::VolumeBinder,
        Self::EphemeralVolume,
        Self::ClaimProtection,
        Self::VolumeProtection,
        Self::AttributesClassProtection,
        Self::ValidatingAdmissionPolicyStatus,
        Self::Namespace,
        Self::GarbageCollector,
        Self::PodGarbageCollector,
    ];

    /// The name `--controllers` knows it by.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Deployment => "deployment-controller",
            Self::ReplicaSet => "replicaset-controller",
            Self::ReplicationController => "replicationcontroller-controller",
            Self::StatefulSet => "statefulset-controller",
            Self::DaemonSet => "daemonset-controller",
            Self::Job => "job-controller",
            Self::CronJob => "cronjob-controller",
            Self::TtlAfterFinished => "ttl-after-finished-controller",
            Self::Disruption => "disruption-controller",
            Self::EndpointSlice => "endpointslice-controller",
            Self::EndpointSliceMirroring => "endpointslice-mirroring-controller",
            Self::Endpoints => "endpoints-controller",
            Self::ServiceCidr => "service-cidr-controller",
            Self::Namespace => "namespace-controller",
            Self::ServiceAccountToken => "serviceaccount-token-controller",
            Self::ServiceAccount => "serviceaccount-controller",
            Self::RootCaPublisher => "root-ca-certificate-publisher-controller",
            Self::NodeIpam => "node-ipam-controller",
            Self::NodeLifecycle => "node-lifecycle-controller",
            Self::TaintEviction => "taint-eviction-controller",
            Self::GarbageCollector => "garbage-collector-controller",
            Self::PodGarbageCollector => "pod-garbage-collector-controller",
            Self::ClusterRoleAggregation => "clusterrole-aggregation-controller",
            Self::ResourceQuota => "resourcequota-controller",
            Self::CertificateApproving => "certificatesigningrequest-approving-controller",
            Self::CertificateSigning => "certificatesigningrequest-signing-controller",
            Self::CertificateCleaning => "certificatesigningrequest-cleaner-controller",
            Self::VolumeBinder => "persistentvolume-binder-controller",
            Self::EphemeralVolume => "ephemeral-volume-controller",
            Self::ClaimProtection => "persistentvolumeclaim-protection-controller",
            Self::VolumeProtection => "persistentvolume-protection-controller",
            Self::AttributesClassProtection => "volumeattributesclass-protection-controller",
            Self::ValidatingAdmissionPolicyStatus => "validatingadmissionpolicy-status-controller",
        }
    }

    /// The service account in `kube-system` it acts as; that which keeps the tokens of accounts acts as the process itself does.
    #[must_use]
    pub fn service_account(self) -> &'static str {
        match self {
            Self::Deployment => "deployment-controller",
            Self::ReplicaSet => "replicaset-controller",
            Self::ReplicationController => "replication-controller",
            Self::StatefulSet => "statefulset-controller",
            Self::DaemonSet => "daemon-set-controller",
            Self::Job => "job-controller",
            Self::CronJob => "cronjob-controller",
            Self::TtlAfterFinished => "ttl-after-finished-controller",
            Self::Disruption => "disruption-controller",
            Self::EndpointSlice => "endpointslice-controller",
            Self::EndpointSliceMirroring => "endpointslicemirroring-controller",
            Self::Endpoints => "endpoint-controller",
            Self::ServiceCidr => "service-cidrs-controller",
            Self::Namespace => "namespace-controller",
            Self::ServiceAccountToken => "token-controller",
            Self::ServiceAccount => "service-account-controller",
            Self::RootCaPublisher => "root-ca-cert-publisher",
            Self::NodeIpam | Self::NodeLifecycle | Self::TaintEviction => "node-controller",
            Self::GarbageCollector => "generic-garbage-collector",
            Self::PodGarbageCollector => "pod-garbage-collector",
            Self::ClusterRoleAggregation => "clusterrole-aggregation-controller",
            Self::ResourceQuota => "resourcequota-controller",
            Self::CertificateApproving | Self::CertificateSigning | Self::CertificateCleaning => {
                "certificate-controller"
            }
            Self::VolumeBinder => "persistent-volume-binder",
            Self::EphemeralVolume => "ephemeral-volume-controller",
            Self::ClaimProtection => "pvc-protection-controller",
            Self::VolumeProtection => "pv-protection-controller",
            Self::AttributesClassProtection => "volumeattributesclass-protection-controller",
            Self::ValidatingAdmissionPolicyStatus => "validatingadmissionpolicy-status-controller",
        }
    }

    /// As whom it tells of events.
    #[must_use]
    pub fn component(self) -> &'static str {
        match self {
            Self::VolumeBinder => "persistentvolume-controller",
            Self::EphemeralVolume => "ephemeral_volume",
            Self::ServiceCidr => "service-cidr-controller",
            other => other.service_account(),
        }
    }
}

/// An IPv4 or IPv6 network that pod addresses come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClusterCidr {
    /// The network's first address.
    pub network: IpAddr,
    /// The length of its prefix in bits.
    pub prefix: u8,
    /// The length of the prefix each node gets a network of.
    pub node_prefix: u8,
}

/// What the controllers are told at start.
#[derive(Clone, Debug)]
pub struct Config {
    /// Which controllers run: entries as in `--controllers` (`*` for all, `name`, `-name` to leave one out).
    pub controllers: Vec<String>,
    /// The PEM bundle that clients in pods verify the API server with. Without one, nothing is published.
    pub root_ca: Option<String>,
    /// Signs certificates that were approved. Without one, none is signed.
    pub signer: Option<Arc<dyn CertificateSigner>>,
    /// Signs the tokens in secrets of ServiceAccounts. Without one, none is made.
    pub token_signer: Option<Arc<dyn TokenSigner>>,
    /// The network that node networks are cut from. Without one, nodes get none.
    pub cluster_cidr: Option<ClusterCidr>,
    /// Reconciles that one controller may run at once.
    pub workers: usize,
    /// How long a node may stay silent before it counts as unreachable (`--node-monitor-grace-period`).
    pub node_grace_period: Duration,
    /// How many finished pods may stay (`--terminated-pod-gc-threshold`); 0 keeps all.
    pub terminated_pod_threshold: usize,
    /// Whether volumes are made of folders of this machine where a class asks for it (`--enable-hostpath-provisioner`), for trying
    /// things out on a single node.
    pub enable_host_path_provisioner: bool,
    /// Where they ask for the time.
    pub clock: Clock,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            controllers: vec!["*".to_owned()],
            root_ca: None,
            signer: None,
            token_signer: None,
            cluster_cidr: None,
            workers: 5,
            node_grace_period: Duration::from_secs(50),
            terminated_pod_threshold: 12_500,
            enable_host_path_provisioner: false,
            clock: Clock::system(),
        }
    }
}

impl Config {
    /// Whether `--controllers` lets this one run: an entry of its own wins over `*`.
    #[must_use]
    pub fn enables(&self, name: ControllerName) -> bool {
        for entry in &self.controllers {
            if entry == name.as_str() {
                return true;
            }
            if entry.strip_prefix('-') == Some(name.as_str()) {
                return false;
            }
        }
        self.controllers.iter().any(|entry| entry == "*")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_of_its_own_wins_over_the_star() {
        let with = |entries: &[&str]| Config {
            controllers: entries.iter().map(|e| (*e).to_owned()).collect(),
            ..Config::default()
        };
        let deployment = ControllerName::Deployment;
        assert!(with(&["*"]).enables(deployment));
        assert!(with(&["deployment-controller"]).enables(deployment));
        assert!(!with(&["*", "-deployment-controller"]).enables(deployment));
        assert!(with(&["*", "-deployment-controller"]).enables(ControllerName::ReplicaSet));
        assert!(!with(&[]).enables(deployment));
    }
}
