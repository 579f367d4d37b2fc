//! What the columns of built-in tables are described as: mostly as the field that they show, in OpenAPI's words.
//!
//! Opened by the first table that is asked for; a server of which nobody asks any holds none of it.

use std::sync::OnceLock;

use coracle_api::resources::Resource;

use crate::openapi::Descriptions;

/// Where the description of a column comes from.
#[derive(Clone, Copy)]
enum Source {
    /// From a field of a type.
    Field(&'static str, &'static str),
    /// From nowhere else; the text is upstream's.
    Text(&'static str),
}

use Source::{Field, Text};

const METADATA: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta";

/// Columns that many tables have.
const COMMON: Columns = &[
    ("Name", Field(METADATA, "name")),
    ("Age", Field(METADATA, "creationTimestamp")),
    ("Created At", Field(METADATA, "creationTimestamp")),
    ("Containers", Text("Names of each container in the template.")),
    (
        "Images",
        Text("Images referenced by each container in the template."),
    ),
];

/// A scale is no resource of its own.
const SCALE: (&str, &str) = ("autoscaling", "scale");

/// Columns whose descriptions are opened.
struct Described {
    /// In the order of [`OF_COLUMNS`].
    own: Vec<Vec<String>>,
    /// In the order of [`COMMON`].
    common: Vec<String>,
}

static DESCRIBED: OnceLock<Described> = OnceLock::new();

impl Described {
    fn open() -> Self {
        let descriptions = Descriptions::open();
        let text = |source: &Source| match source {
            Text(text) => (*text).to_owned(),
            Field(ty, field) => descriptions.text(ty, field).unwrap_or_default().to_owned(),
        };
        let texts = |columns: Columns| columns.iter().map(|(_, source)| text(source)).collect();
        Self {
            own: OF_COLUMNS.iter().map(|(.., columns)| texts(columns)).collect(),
            common: texts(COMMON),
        }
    }
}

/// What a column of a resource's table is described as; empty where upstream says nothing.
pub(super) fn column(resource: &Resource, name: &str) -> &'static str {
    find((resource.group, resource.resource), name)
}

/// The same of the table of a scale.
pub(super) fn of_scale(name: &str) -> &'static str {
    find(SCALE, name)
}

fn find(table: (&str, &str), column: &str) -> &'static str {
    let described = DESCRIBED.get_or_init(Described::open);
    let mut tables = OF_COLUMNS.iter().zip(&described.own);
    let own = tables.find(|((group, resource, _), _)| (*group, *resource) == table);
    let text = own.and_then(|((.., columns), texts)| text_of(columns, texts, column));
    text.unwrap_or_else(|| common(column))
}

/// What a column is described as that many tables have; empty for another one.
pub(super) fn common(column: &str) -> &'static str {
    let described = DESCRIBED.get_or_init(Described::open);
    text_of(COMMON, &described.common, column).unwrap_or_default()
}

fn text_of<'a>(columns: Columns, texts: &'a [String], column: &str) -> Option<&'a str> {
    let place = columns.iter().position(|(name, _)| *name == column)?;
    Some(&texts[place])
}

/// The columns of a table.
type Columns = &'static [(&'static str, Source)];

/// Events have the same in both of their groups.
#[rustfmt::skip]
const EVENTS: Columns = &[
    ("Last Seen", Field("io.k8s.api.core.v1.Event", "lastTimestamp")),
    ("Type", Field("io.k8s.api.core.v1.Event", "type")),
    ("Reason", Field("io.k8s.api.core.v1.Event", "reason")),
    ("Object", Field("io.k8s.api.core.v1.Event", "involvedObject")),
    ("Subobject", Field("io.k8s.api.core.v1.ObjectReference", "fieldPath")),
    ("Source", Field("io.k8s.api.core.v1.Event", "source")),
    ("Message", Field("io.k8s.api.core.v1.Event", "message")),
    ("First Seen", Field("io.k8s.api.core.v1.Event", "firstTimestamp")),
    ("Count", Field("io.k8s.api.core.v1.Event", "count")),
];

/// By group, resource and column.
#[rustfmt::skip]
static OF_COLUMNS: &[(&str, &str, Columns)] = &[
    (SCALE.0, SCALE.1, &[
        ("Desired", Field("io.k8s.api.autoscaling.v1.ScaleSpec", "replicas")),
        ("Available", Field("io.k8s.api.autoscaling.v1.ScaleStatus", "replicas")),
    ]),
    ("", "componentstatuses", &[
        ("Status", Text("Status of the component conditions")),
        ("Message", Text("Message of the component conditions")),
        ("Error", Text("Error of the component conditions")),
    ]),
    ("", "configmaps", &[
        ("Data", Field("io.k8s.api.core.v1.ConfigMap", "data")),
    ]),
    ("", "endpoints", &[
        ("Endpoints", Field("io.k8s.api.core.v1.Endpoints", "subsets")),
    ]),
    ("", "events", EVENTS),
    ("", "namespaces", &[
        ("Status", Text("The status of the namespace")),
    ]),
    ("", "nodes", &[
        ("Status", Text("The status of the node")),
        ("Roles", Text("The roles of the node")),
        ("Version", Field("io.k8s.api.core.v1.NodeSystemInfo", "kubeletVersion")),
        ("Internal-IP", Field("io.k8s.api.core.v1.NodeStatus", "addresses")),
        ("External-IP", Field("io.k8s.api.core.v1.NodeStatus", "addresses")),
        ("OS-Image", Field("io.k8s.api.core.v1.NodeSystemInfo", "osImage")),
        ("Kernel-Version", Field("io.k8s.api.core.v1.NodeSystemInfo", "kernelVersion")),
        ("Container-Runtime", Field("io.k8s.api.core.v1.NodeSystemInfo", "containerRuntimeVersion")),
    ]),
    ("", "persistentvolumeclaims", &[
        ("Status", Field("io.k8s.api.core.v1.PersistentVolumeClaimStatus", "phase")),
        ("Volume", Field("io.k8s.api.core.v1.PersistentVolumeClaimSpec", "volumeName")),
        ("Capacity", Field("io.k8s.api.core.v1.PersistentVolumeClaimStatus", "capacity")),
        ("Access Modes", Field("io.k8s.api.core.v1.PersistentVolumeClaimStatus", "accessModes")),
        ("StorageClass", Text("StorageClass of the pvc")),
        ("VolumeAttributesClass", Text("VolumeAttributesClass of the pvc")),
        ("VolumeMode", Field("io.k8s.api.core.v1.PersistentVolumeClaimSpec", "volumeMode")),
    ]),
    ("", "persistentvolumes", &[
        ("Capacity", Field("io.k8s.api.core.v1.PersistentVolumeSpec", "capacity")),
        ("Access Modes", Field("io.k8s.api.core.v1.PersistentVolumeSpec", "accessModes")),
        ("Reclaim Policy", Field("io.k8s.api.core.v1.PersistentVolumeSpec", "persistentVolumeReclaimPolicy")),
        ("Status", Field("io.k8s.api.core.v1.PersistentVolumeStatus", "phase")),
        ("Claim", Field("io.k8s.api.core.v1.PersistentVolumeSpec", "claimRef")),
        ("StorageClass", Text("StorageClass of the pv")),
        ("VolumeAttributesClass", Text("VolumeAttributesClass of the pv")),
        ("Reason", Field("io.k8s.api.core.v1.PersistentVolumeStatus", "reason")),
        ("VolumeMode", Field("io.k8s.api.core.v1.PersistentVolumeSpec", "volumeMode")),
    ]),
    ("", "pods", &[
        ("Ready", Text("The aggregate readiness state of this pod for accepting traffic.")),
        ("Status", Text("The aggregate status of the containers in this pod.")),
        ("Restarts", Text("The number of times the containers in this pod have been restarted and when the last container in this pod has restarted.")),
        ("IP", Field("io.k8s.api.core.v1.PodStatus", "podIP")),
        ("Node", Field("io.k8s.api.core.v1.PodSpec", "nodeName")),
        ("Nominated Node", Field("io.k8s.api.core.v1.PodStatus", "nominatedNodeName")),
        ("Readiness Gates", Field("io.k8s.api.core.v1.PodSpec", "readinessGates")),
    ]),
    ("", "podtemplates", &[
        ("Pod Labels", Text("The labels for the pod template.")),
    ]),
    ("", "replicationcontrollers", &[
        ("Desired", Field("io.k8s.api.core.v1.ReplicationControllerSpec", "replicas")),
        ("Current", Field("io.k8s.api.core.v1.ReplicationControllerStatus", "replicas")),
        ("Ready", Field("io.k8s.api.core.v1.ReplicationControllerStatus", "readyReplicas")),
        ("Selector", Field("io.k8s.api.core.v1.ReplicationControllerSpec", "selector")),
    ]),
    ("", "resourcequotas", &[
        ("Request", Text("Request represents a minimum amount of cpu/memory that a container may consume.")),
        ("Limit", Text("Limits control the maximum amount of cpu/memory that a container may use independent of contention on the node.")),
    ]),
    ("", "secrets", &[
        ("Type", Field("io.k8s.api.core.v1.Secret", "type")),
        ("Data", Field("io.k8s.api.core.v1.Secret", "data")),
    ]),
    ("", "services", &[
        ("Type", Field("io.k8s.api.core.v1.ServiceSpec", "type")),
        ("Cluster-IP", Field("io.k8s.api.core.v1.ServiceSpec", "clusterIP")),
        ("External-IP", Field("io.k8s.api.core.v1.ServiceSpec", "externalIPs")),
        ("Port(s)", Field("io.k8s.api.core.v1.ServiceSpec", "ports")),
        ("Selector", Field("io.k8s.api.core.v1.ServiceSpec", "selector")),
    ]),
    ("apiregistration.k8s.io", "apiservices", &[
        ("Service", Text("The reference to the service that hosts this API endpoint.")),
        ("Available", Text("Whether this service is available.")),
    ]),
    ("apps", "controllerrevisions", &[
        ("Controller", Text("Controller of the object")),
        ("Revision", Field("io.k8s.api.apps.v1.ControllerRevision", "revision")),
    ]),
    ("apps", "daemonsets", &[
        ("Desired", Field("io.k8s.api.apps.v1.DaemonSetStatus", "desiredNumberScheduled")),
        ("Current", Field("io.k8s.api.apps.v1.DaemonSetStatus", "currentNumberScheduled")),
        ("Ready", Field("io.k8s.api.apps.v1.DaemonSetStatus", "numberReady")),
        ("Up-to-date", Field("io.k8s.api.apps.v1.DaemonSetStatus", "updatedNumberScheduled")),
        ("Available", Field("io.k8s.api.apps.v1.DaemonSetStatus", "numberAvailable")),
        ("Node Selector", Field("io.k8s.api.core.v1.PodSpec", "nodeSelector")),
        ("Selector", Field("io.k8s.api.apps.v1.DaemonSetSpec", "selector")),
    ]),
    ("apps", "deployments", &[
        ("Ready", Text("Number of the pod with ready state")),
        ("Up-to-date", Field("io.k8s.api.apps.v1.DeploymentStatus", "updatedReplicas")),
        ("Available", Field("io.k8s.api.apps.v1.DeploymentStatus", "availableReplicas")),
        ("Selector", Field("io.k8s.api.apps.v1.DeploymentSpec", "selector")),
    ]),
    ("apps", "replicasets", &[
        ("Desired", Field("io.k8s.api.apps.v1.ReplicaSetSpec", "replicas")),
        ("Current", Field("io.k8s.api.apps.v1.ReplicaSetStatus", "replicas")),
        ("Ready", Field("io.k8s.api.apps.v1.ReplicaSetStatus", "readyReplicas")),
        ("Selector", Field("io.k8s.api.apps.v1.ReplicaSetSpec", "selector")),
    ]),
    ("apps", "statefulsets", &[
        ("Ready", Text("Number of the pod with ready state")),
    ]),
    ("events.k8s.io", "events", EVENTS),
    ("autoscaling", "horizontalpodautoscalers", &[
        ("Reference", Field("io.k8s.api.autoscaling.v2.HorizontalPodAutoscalerSpec", "scaleTargetRef")),
        ("Targets", Field("io.k8s.api.autoscaling.v2.HorizontalPodAutoscalerSpec", "metrics")),
        ("MinPods", Field("io.k8s.api.autoscaling.v2.HorizontalPodAutoscalerSpec", "minReplicas")),
        ("MaxPods", Field("io.k8s.api.autoscaling.v2.HorizontalPodAutoscalerSpec", "maxReplicas")),
        ("Replicas", Field("io.k8s.api.autoscaling.v2.HorizontalPodAutoscalerStatus", "currentReplicas")),
    ]),
    ("batch", "cronjobs", &[
        ("Schedule", Field("io.k8s.api.batch.v1.CronJobSpec", "schedule")),
        ("Timezone", Field("io.k8s.api.batch.v1.CronJobSpec", "timeZone")),
        ("Suspend", Field("io.k8s.api.batch.v1.CronJobSpec", "suspend")),
        ("Active", Field("io.k8s.api.batch.v1.CronJobStatus", "active")),
        ("Last Schedule", Field("io.k8s.api.batch.v1.CronJobStatus", "lastScheduleTime")),
        ("Selector", Field("io.k8s.api.batch.v1.JobSpec", "selector")),
    ]),
    ("batch", "jobs", &[
        ("Status", Text("Status of the job.")),
        ("Completions", Field("io.k8s.api.batch.v1.JobStatus", "succeeded")),
        ("Duration", Text("Time required to complete the job.")),
        ("Selector", Field("io.k8s.api.batch.v1.JobSpec", "selector")),
    ]),
    ("certificates.k8s.io", "certificatesigningrequests", &[
        ("SignerName", Text("Requested signer for the request. It is a qualified name in the form: `scope-hostname.io/name`. If empty, it will be defaulted:\n 1. If it's a kubelet client certificate, it is assigned\n    \"kubernetes.io/kube-apiserver-client-kubelet\".\n 2. If it's a kubelet serving certificate, it is assigned\n    \"kubernetes.io/kubelet-serving\".\n 3. Otherwise, it is assigned \"kubernetes.io/legacy-unknown\".\nDistribution of trust for signers happens out of band. You can select on this field using `spec.signerName`.")),
        ("Requestor", Text("Base64-encoded PKCS#10 CSR data")),
        ("RequestedDuration", Field("io.k8s.api.certificates.v1.CertificateSigningRequestSpec", "expirationSeconds")),
        ("Condition", Text("Conditions applied to the request, such as approval or denial.")),
    ]),
    ("networking.k8s.io", "ingressclasses", &[
        ("Controller", Text("Controller that is responsible for handling this class")),
        ("Parameters", Text("A reference to a resource with additional parameters")),
    ]),
    ("networking.k8s.io", "ingresses", &[
        ("Class", Text("The name of the IngressClass resource that should be used for additional configuration")),
        ("Hosts", Text("Hosts that incoming requests are matched against before the ingress rule")),
        ("Address", Text("Address is a list containing ingress points for the load-balancer")),
        ("Ports", Text("Ports of TLS configurations that open")),
    ]),
    ("networking.k8s.io", "ipaddresses", &[
        ("ParentRef", Field("io.k8s.api.networking.v1.IPAddressSpec", "parentRef")),
    ]),
    ("networking.k8s.io", "networkpolicies", &[
        ("Pod-Selector", Field("io.k8s.api.networking.v1.NetworkPolicySpec", "podSelector")),
    ]),
    ("networking.k8s.io", "servicecidrs", &[
        ("CIDRs", Field("io.k8s.api.networking.v1.ServiceCIDRSpec", "cidrs")),
    ]),
    ("policy", "poddisruptionbudgets", &[
        ("Min Available", Text("The minimum number of pods that must be available.")),
        ("Max Unavailable", Text("The maximum number of pods that may be unavailable.")),
        ("Allowed Disruptions", Text("Calculated number of pods that may be disrupted at this time.")),
    ]),
    ("rbac.authorization.k8s.io", "clusterrolebindings", &[
        ("Role", Text("RoleRef can only reference a ClusterRole in the global namespace. If the RoleRef cannot be resolved, the Authorizer must return an error.")),
        ("Users", Text("Users in the clusterRoleBinding")),
        ("Groups", Text("Groups in the clusterRoleBinding")),
        ("ServiceAccounts", Text("ServiceAccounts in the clusterRoleBinding")),
    ]),
    ("rbac.authorization.k8s.io", "rolebindings", &[
        ("Role", Text("RoleRef can reference a Role in the current namespace or a ClusterRole in the global namespace. If the RoleRef cannot be resolved, the Authorizer must return an error.")),
        ("Users", Text("Users in the roleBinding")),
        ("Groups", Text("Groups in the roleBinding")),
        ("ServiceAccounts", Text("ServiceAccounts in the roleBinding")),
    ]),
    ("storage.k8s.io", "csidrivers", &[
        ("AttachRequired", Field("io.k8s.api.storage.v1.CSIDriverSpec", "attachRequired")),
        ("PodInfoOnMount", Field("io.k8s.api.storage.v1.CSIDriverSpec", "podInfoOnMount")),
        ("StorageCapacity", Field("io.k8s.api.storage.v1.CSIDriverSpec", "storageCapacity")),
        ("TokenRequests", Field("io.k8s.api.storage.v1.CSIDriverSpec", "tokenRequests")),
        ("RequiresRepublish", Field("io.k8s.api.storage.v1.CSIDriverSpec", "requiresRepublish")),
        ("Modes", Field("io.k8s.api.storage.v1.CSIDriverSpec", "volumeLifecycleModes")),
    ]),
    ("storage.k8s.io", "csinodes", &[
        ("Drivers", Text("Drivers indicates the number of CSI drivers registered on the node")),
    ]),
    ("storage.k8s.io", "storageclasses", &[
        ("Provisioner", Field("io.k8s.api.storage.v1.StorageClass", "provisioner")),
        ("ReclaimPolicy", Field("io.k8s.api.storage.v1.StorageClass", "reclaimPolicy")),
        ("VolumeBindingMode", Field("io.k8s.api.storage.v1.StorageClass", "volumeBindingMode")),
        ("AllowVolumeExpansion", Field("io.k8s.api.storage.v1.StorageClass", "allowVolumeExpansion")),
    ]),
    ("storage.k8s.io", "volumeattachments", &[
        ("Attacher", Field("io.k8s.api.storage.v1.VolumeAttachmentSpec", "attacher")),
        ("PV", Field("io.k8s.api.storage.v1.VolumeAttachmentSource", "persistentVolumeName")),
        ("Node", Field("io.k8s.api.storage.v1.VolumeAttachmentSpec", "nodeName")),
        ("Attached", Field("io.k8s.api.storage.v1.VolumeAttachmentStatus", "attached")),
    ]),
    ("storage.k8s.io", "volumeattributesclasses", &[
        ("DriverName", Field("io.k8s.api.storage.v1.VolumeAttributesClass", "driverName")),
    ]),
    ("admissionregistration.k8s.io", "mutatingadmissionpolicies", &[
        ("Mutations", Text("Mutation indicates the number of mutations rules defined in this configuration")),
        ("ParamKind", Text("ParamKind specifies the kind of resources used to parameterize this policy")),
    ]),
    ("admissionregistration.k8s.io", "mutatingadmissionpolicybindings", &[
        ("PolicyName", Text("PolicyName indicates the policy definition which the policy binding binded to")),
        ("ParamRef", Text("ParamRef indicates the param resource which sets the configuration param")),
    ]),
    ("admissionregistration.k8s.io", "mutatingwebhookconfigurations", &[
        ("Webhooks", Text("Webhooks indicates the number of webhooks registered in this configuration")),
    ]),
    ("admissionregistration.k8s.io", "validatingadmissionpolicies", &[
        ("Validations", Text("Validations indicates the number of validation rules defined in this configuration")),
        ("ParamKind", Text("ParamKind specifies the kind of resources used to parameterize this policy")),
    ]),
    ("admissionregistration.k8s.io", "validatingadmissionpolicybindings", &[
        ("PolicyName", Text("PolicyName indicates the policy definition which the policy binding binded to")),
        ("ParamRef", Text("ParamRef indicates the param resource which sets the configuration param")),
    ]),
    ("admissionregistration.k8s.io", "validatingwebhookconfigurations", &[
        ("Webhooks", Text("Webhooks indicates the number of webhooks registered in this configuration")),
    ]),
    ("scheduling.k8s.io", "priorityclasses", &[
        ("Value", Field("io.k8s.api.scheduling.v1.PriorityClass", "value")),
        ("Global-Default", Field("io.k8s.api.scheduling.v1.PriorityClass", "globalDefault")),
        ("PreemptionPolicy", Field("io.k8s.api.scheduling.v1.PriorityClass", "preemptionPolicy")),
    ]),
    ("coordination.k8s.io", "leases", &[
        ("Holder", Field("io.k8s.api.coordination.v1.LeaseSpec", "holderIdentity")),
    ]),
    ("discovery.k8s.io", "endpointslices", &[
        ("AddressType", Field("io.k8s.api.discovery.v1.EndpointSlice", "addressType")),
        ("Ports", Field("io.k8s.api.discovery.v1.EndpointSlice", "ports")),
        ("Endpoints", Field("io.k8s.api.discovery.v1.EndpointSlice", "endpoints")),
    ]),
    ("resource.k8s.io", "resourceclaims", &[
        ("State", Text("A summary of the current state (allocated, pending, reserved, etc.).")),
    ]),
    ("resource.k8s.io", "resourceslices", &[
        ("Node", Field("io.k8s.api.resource.v1.ResourceSliceSpec", "nodeName")),
        ("Driver", Field("io.k8s.api.resource.v1.ResourceSliceSpec", "driver")),
        ("Pool", Field("io.k8s.api.resource.v1.ResourcePool", "name")),
    ]),
    ("flowcontrol.apiserver.k8s.io", "flowschemas", &[
        ("PriorityLevel", Field("io.k8s.api.flowcontrol.v1.PriorityLevelConfigurationReference", "name")),
        ("MatchingPrecedence", Field("io.k8s.api.flowcontrol.v1.FlowSchemaSpec", "matchingPrecedence")),
        ("DistinguisherMethod", Field("io.k8s.api.flowcontrol.v1.FlowSchemaSpec", "distinguisherMethod")),
        ("MissingPL", Text("references a broken or non-existent PriorityLevelConfiguration")),
    ]),
    ("flowcontrol.apiserver.k8s.io", "prioritylevelconfigurations", &[
        ("Type", Field("io.k8s.api.flowcontrol.v1.PriorityLevelConfigurationSpec", "type")),
        ("NominalConcurrencyShares", Field("io.k8s.api.flowcontrol.v1.LimitedPriorityLevelConfiguration", "nominalConcurrencyShares")),
        ("Queues", Field("io.k8s.api.flowcontrol.v1.QueuingConfiguration", "queues")),
        ("HandSize", Field("io.k8s.api.flowcontrol.v1.QueuingConfiguration", "handSize")),
        ("QueueLengthLimit", Field("io.k8s.api.flowcontrol.v1.QueuingConfiguration", "queueLengthLimit")),
    ]),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_field_that_is_named_is_described_and_every_column_is_one() {
        let described = Described::open();
        for ((group, resource, columns), texts) in OF_COLUMNS.iter().zip(&described.own) {
            let all = coracle_api::resources::all().iter();
            let versions = all.filter(|r| r.group == *group && r.resource == *resource);
            let known: Vec<_> = versions
                .flat_map(|version| version.columns)
                .map(|own| own.name)
                .collect();
            for ((column, _), text) in columns.iter().zip(texts) {
                assert!(!text.is_empty(), "{resource}, {column}");
                assert!(
                    known.contains(column) || (*group, *resource) == SCALE,
                    "{resource}, {column}"
                );
            }
        }
    }

    #[test]
    fn few_columns_are_without_a_description() {
        let all = coracle_api::resources::all().iter();
        let bare: Vec<_> = all
            .flat_map(|resource| resource.columns.iter().map(move |own| (resource, own.name)))
            .filter(|(resource, name)| column(resource, name).is_empty())
            .map(|(resource, name)| format!("{}: {name}", resource.resource))
            .collect();
        // So it is upstream.
        assert_eq!(bare, ["runtimeclasses: Handler"]);
    }
}
