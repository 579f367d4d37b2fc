//! A pod's spec, as upstream's internal structs order their fields.

use serde_json::Value;

use super::Form::{Flag, List, Metadata, Number, Plain, Pointer, Selector, Struct, Text};
use super::volumes::{LOCAL_OBJECT_REFERENCE, OBJECT_FIELD_SELECTOR, RESOURCE_FIELD_SELECTOR, VOLUME};
use super::{Shape, TOLERATION};

/// What the API has beside a pod's security context and upstream's structs have in it.
const WITHIN_SECURITY: [&str; 5] = [
    "hostNetwork",
    "hostPID",
    "hostIPC",
    "shareProcessNamespace",
    "hostUsers",
];

/// A pod's spec with what upstream's structs have elsewhere put there.
pub(in crate::validation) fn pod_spec(spec: &Value) -> Value {
    let mut fields = spec.as_object().cloned().unwrap_or_default();
    let mut security = fields
        .get("securityContext")
        .and_then(Value::as_object)
        .cloned()
        .unwrap_or_default();
    for name in WITHIN_SECURITY {
        security.extend(fields.remove(name).map(|value| (name.to_owned(), value)));
    }
    fields.insert("securityContext".into(), Value::Object(security));
    Value::Object(fields)
}

/// A pod's template with its spec as [`pod_spec`] makes it.
pub(in crate::validation) fn template(template: &Value) -> Value {
    let mut fields = template.as_object().cloned().unwrap_or_default();
    fields.insert("spec".into(), pod_spec(&template["spec"]));
    Value::Object(fields)
}

/// A pod's template.
pub(in crate::validation) const TEMPLATE: Shape = &[("", Metadata), ("Spec", Struct(POD_SPEC))];
const CONTAINER_PORT: Shape = &[
    ("Name", Text),
    ("HostPort", Number),
    ("ContainerPort", Number),
    ("Protocol", Text),
    ("HostIP", Text),
];
const CONFIG_MAP_ENV_SOURCE: Shape = &[("Name", Text), ("Optional", Plain)];
const SECRET_ENV_SOURCE: Shape = &[("Name", Text), ("Optional", Plain)];
const ENV_FROM_SOURCE: Shape = &[
    ("Prefix", Text),
    ("ConfigMapRef", Pointer(CONFIG_MAP_ENV_SOURCE)),
    ("SecretRef", Pointer(SECRET_ENV_SOURCE)),
];
const CONFIG_MAP_KEY_SELECTOR: Shape = &[("Name", Text), ("Key", Text), ("Optional", Plain)];
const SECRET_KEY_SELECTOR: Shape = &[("Name", Text), ("Key", Text), ("Optional", Plain)];
const FILE_KEY_SELECTOR: Shape = &[
    ("VolumeName", Text),
    ("Path", Text),
    ("Key", Text),
    ("Optional", Plain),
];
const ENV_VAR_SOURCE: Shape = &[
    ("FieldRef", Pointer(OBJECT_FIELD_SELECTOR)),
    ("ResourceFieldRef", Pointer(RESOURCE_FIELD_SELECTOR)),
    ("ConfigMapKeyRef", Pointer(CONFIG_MAP_KEY_SELECTOR)),
    ("SecretKeyRef", Pointer(SECRET_KEY_SELECTOR)),
    ("FileKeyRef", Pointer(FILE_KEY_SELECTOR)),
];
const ENV_VAR: Shape = &[
    ("Name", Text),
    ("Value", Text),
    ("ValueFrom", Pointer(ENV_VAR_SOURCE)),
];
const RESOURCE_CLAIM: Shape = &[("Name", Text), ("Request", Text)];
const RESOURCE_REQUIREMENTS: Shape = &[
    ("Limits", Plain),
    ("Requests", Plain),
    ("Claims", List(RESOURCE_CLAIM)),
];
const CONTAINER_RESIZE_POLICY: Shape = &[("ResourceName", Text), ("RestartPolicy", Text)];
const CONTAINER_RESTART_RULE_ON_EXIT_CODES: Shape = &[("Operator", Text), ("Values", Plain)];
const CONTAINER_RESTART_RULE: Shape = &[
    ("Action", Text),
    ("ExitCodes", Pointer(CONTAINER_RESTART_RULE_ON_EXIT_CODES)),
];
const VOLUME_MOUNT: Shape = &[
    ("Name", Text),
    ("ReadOnly", Flag),
    ("RecursiveReadOnly", Plain),
    ("MountPath", Text),
    ("SubPath", Text),
    ("MountPropagation", Plain),
    ("SubPathExpr", Text),
];
const VOLUME_DEVICE: Shape = &[("Name", Text), ("DevicePath", Text)];
const EXEC_ACTION: Shape = &[("Command", Plain)];
const HTTP_HEADER: Shape = &[("Name", Text), ("Value", Text)];
const HTTP_GET_ACTION: Shape = &[
    ("Path", Text),
    ("Port", Number),
    ("Host", Text),
    ("Scheme", Text),
    ("HTTPHeaders", List(HTTP_HEADER)),
];
const TCP_SOCKET_ACTION: Shape = &[("Port", Number), ("Host", Text)];
const GRPC_ACTION: Shape = &[("Port", Number), ("Service", Plain)];
const PROBE: Shape = &[
    ("Exec", Pointer(EXEC_ACTION)),
    ("HTTPGet", Pointer(HTTP_GET_ACTION)),
    ("TCPSocket", Pointer(TCP_SOCKET_ACTION)),
    ("GRPC", Pointer(GRPC_ACTION)),
    ("InitialDelaySeconds", Number),
    ("TimeoutSeconds", Number),
    ("PeriodSeconds", Number),
    ("SuccessThreshold", Number),
    ("FailureThreshold", Number),
    ("TerminationGracePeriodSeconds", Plain),
];
const SLEEP_ACTION: Shape = &[("Seconds", Number)];
const LIFECYCLE_HANDLER: Shape = &[
    ("Exec", Pointer(EXEC_ACTION)),
    ("HTTPGet", Pointer(HTTP_GET_ACTION)),
    ("TCPSocket", Pointer(TCP_SOCKET_ACTION)),
    ("Sleep", Pointer(SLEEP_ACTION)),
];
const LIFECYCLE: Shape = &[
    ("PostStart", Pointer(LIFECYCLE_HANDLER)),
    ("PreStop", Pointer(LIFECYCLE_HANDLER)),
    ("StopSignal", Plain),
];
const CAPABILITIES: Shape = &[("Add", Plain), ("Drop", Plain)];
const SE_LINUX_OPTIONS: Shape = &[("User", Text), ("Role", Text), ("Type", Text), ("Level", Text)];
const WINDOWS_SECURITY_CONTEXT_OPTIONS: Shape = &[
    ("GMSACredentialSpecName", Plain),
    ("GMSACredentialSpec", Plain),
    ("RunAsUserName", Plain),
    ("HostProcess", Plain),
];
const SECCOMP_PROFILE: Shape = &[("Type", Text), ("LocalhostProfile", Plain)];
const APP_ARMOR_PROFILE: Shape = &[("Type", Text), ("LocalhostProfile", Plain)];
pub(in crate::validation) const SECURITY_CONTEXT: Shape = &[
    ("Capabilities", Pointer(CAPABILITIES)),
    ("Privileged", Plain),
    ("SELinuxOptions", Pointer(SE_LINUX_OPTIONS)),
    ("WindowsOptions", Pointer(WINDOWS_SECURITY_CONTEXT_OPTIONS)),
    ("RunAsUser", Plain),
    ("RunAsGroup", Plain),
    ("RunAsNonRoot", Plain),
    ("ReadOnlyRootFilesystem", Plain),
    ("AllowPrivilegeEscalation", Plain),
    ("ProcMount", Plain),
    ("SeccompProfile", Pointer(SECCOMP_PROFILE)),
    ("AppArmorProfile", Pointer(APP_ARMOR_PROFILE)),
];
const CONTAINER: Shape = &[
    ("Name", Text),
    ("Image", Text),
    ("Command", Plain),
    ("Args", Plain),
    ("WorkingDir", Text),
    ("Ports", List(CONTAINER_PORT)),
    ("EnvFrom", List(ENV_FROM_SOURCE)),
    ("Env", List(ENV_VAR)),
    ("Resources", Struct(RESOURCE_REQUIREMENTS)),
    ("ResizePolicy", List(CONTAINER_RESIZE_POLICY)),
    ("RestartPolicy", Plain),
    ("RestartPolicyRules", List(CONTAINER_RESTART_RULE)),
    ("VolumeMounts", List(VOLUME_MOUNT)),
    ("VolumeDevices", List(VOLUME_DEVICE)),
    ("LivenessProbe", Pointer(PROBE)),
    ("ReadinessProbe", Pointer(PROBE)),
    ("StartupProbe", Pointer(PROBE)),
    ("Lifecycle", Pointer(LIFECYCLE)),
    ("TerminationMessagePath", Text),
    ("TerminationMessagePolicy", Text),
    ("ImagePullPolicy", Text),
    ("SecurityContext", Pointer(SECURITY_CONTEXT)),
    ("Stdin", Flag),
    ("StdinOnce", Flag),
    ("TTY", Flag),
];
/// A container that was put into a pod that runs.
pub(in crate::validation) const EPHEMERAL_CONTAINER: Shape = &[
    ("Name", Text),
    ("Image", Text),
    ("Command", Plain),
    ("Args", Plain),
    ("WorkingDir", Text),
    ("Ports", List(CONTAINER_PORT)),
    ("EnvFrom", List(ENV_FROM_SOURCE)),
    ("Env", List(ENV_VAR)),
    ("Resources", Struct(RESOURCE_REQUIREMENTS)),
    ("ResizePolicy", List(CONTAINER_RESIZE_POLICY)),
    ("RestartPolicy", Plain),
    ("RestartPolicyRules", List(CONTAINER_RESTART_RULE)),
    ("VolumeMounts", List(VOLUME_MOUNT)),
    ("VolumeDevices", List(VOLUME_DEVICE)),
    ("LivenessProbe", Pointer(PROBE)),
    ("ReadinessProbe", Pointer(PROBE)),
    ("StartupProbe", Pointer(PROBE)),
    ("Lifecycle", Pointer(LIFECYCLE)),
    ("TerminationMessagePath", Text),
    ("TerminationMessagePolicy", Text),
    ("ImagePullPolicy", Text),
    ("SecurityContext", Pointer(SECURITY_CONTEXT)),
    ("Stdin", Flag),
    ("StdinOnce", Flag),
    ("TTY", Flag),
    ("TargetContainerName", Text),
];
const SYSCTL: Shape = &[("Name", Text), ("Value", Text)];
const POD_SECURITY_CONTEXT: Shape = &[
    ("HostNetwork", Flag),
    ("HostPID", Flag),
    ("HostIPC", Flag),
    ("ShareProcessNamespace", Plain),
    ("HostUsers", Plain),
    ("SELinuxOptions", Pointer(SE_LINUX_OPTIONS)),
    ("WindowsOptions", Pointer(WINDOWS_SECURITY_CONTEXT_OPTIONS)),
    ("RunAsUser", Plain),
    ("RunAsGroup", Plain),
    ("RunAsNonRoot", Plain),
    ("SupplementalGroups", Plain),
    ("SupplementalGroupsPolicy", Plain),
    ("FSGroup", Plain),
    ("FSGroupChangePolicy", Plain),
    ("Sysctls", List(SYSCTL)),
    ("SeccompProfile", Pointer(SECCOMP_PROFILE)),
    ("AppArmorProfile", Pointer(APP_ARMOR_PROFILE)),
    ("SELinuxChangePolicy", Plain),
];
const NODE_SELECTOR_REQUIREMENT: Shape = &[("Key", Text), ("Operator", Text), ("Values", Plain)];
const NODE_SELECTOR_TERM: Shape = &[
    ("MatchExpressions", List(NODE_SELECTOR_REQUIREMENT)),
    ("MatchFields", List(NODE_SELECTOR_REQUIREMENT)),
];
const NODE_SELECTOR: Shape = &[("NodeSelectorTerms", List(NODE_SELECTOR_TERM))];
const PREFERRED_SCHEDULING_TERM: Shape = &[("Weight", Number), ("Preference", Struct(NODE_SELECTOR_TERM))];
const NODE_AFFINITY: Shape = &[
    (
        "RequiredDuringSchedulingIgnoredDuringExecution",
        Pointer(NODE_SELECTOR),
    ),
    (
        "PreferredDuringSchedulingIgnoredDuringExecution",
        List(PREFERRED_SCHEDULING_TERM),
    ),
];
const POD_AFFINITY_TERM: Shape = &[
    ("LabelSelector", Selector),
    ("Namespaces", Plain),
    ("TopologyKey", Text),
    ("NamespaceSelector", Selector),
    ("MatchLabelKeys", Plain),
    ("MismatchLabelKeys", Plain),
];
const WEIGHTED_POD_AFFINITY_TERM: Shape =
    &[("Weight", Number), ("PodAffinityTerm", Struct(POD_AFFINITY_TERM))];
const POD_AFFINITY: Shape = &[
    (
        "RequiredDuringSchedulingIgnoredDuringExecution",
        List(POD_AFFINITY_TERM),
    ),
    (
        "PreferredDuringSchedulingIgnoredDuringExecution",
        List(WEIGHTED_POD_AFFINITY_TERM),
    ),
];
const POD_ANTI_AFFINITY: Shape = &[
    (
        "RequiredDuringSchedulingIgnoredDuringExecution",
        List(POD_AFFINITY_TERM),
    ),
    (
        "PreferredDuringSchedulingIgnoredDuringExecution",
        List(WEIGHTED_POD_AFFINITY_TERM),
    ),
];
const AFFINITY: Shape = &[
    ("NodeAffinity", Pointer(NODE_AFFINITY)),
    ("PodAffinity", Pointer(POD_AFFINITY)),
    ("PodAntiAffinity", Pointer(POD_ANTI_AFFINITY)),
];
const HOST_ALIAS: Shape = &[("IP", Text), ("Hostnames", Plain)];
const POD_DNS_CONFIG_OPTION: Shape = &[("Name", Text), ("Value", Plain)];
const POD_DNS_CONFIG: Shape = &[
    ("Nameservers", Plain),
    ("Searches", Plain),
    ("Options", List(POD_DNS_CONFIG_OPTION)),
];
const POD_READINESS_GATE: Shape = &[("ConditionType", Text)];
const TOPOLOGY_SPREAD_CONSTRAINT: Shape = &[
    ("MaxSkew", Number),
    ("TopologyKey", Text),
    ("WhenUnsatisfiable", Text),
    ("LabelSelector", Selector),
    ("MinDomains", Plain),
    ("NodeAffinityPolicy", Plain),
    ("NodeTaintsPolicy", Plain),
    ("MatchLabelKeys", Plain),
];
const POD_OS: Shape = &[("Name", Text)];
const POD_SCHEDULING_GATE: Shape = &[("Name", Text)];
const POD_RESOURCE_CLAIM: Shape = &[
    ("Name", Text),
    ("ResourceClaimName", Plain),
    ("ResourceClaimTemplateName", Plain),
];
const POD_SCHEDULING_GROUP: Shape = &[("PodGroupName", Plain)];
pub(in crate::validation) const POD_SPEC: Shape = &[
    ("Volumes", List(VOLUME)),
    ("InitContainers", List(CONTAINER)),
    ("Containers", List(CONTAINER)),
    ("EphemeralContainers", List(EPHEMERAL_CONTAINER)),
    ("RestartPolicy", Text),
    ("TerminationGracePeriodSeconds", Plain),
    ("ActiveDeadlineSeconds", Plain),
    ("DNSPolicy", Text),
    ("NodeSelector", Plain),
    ("ServiceAccountName", Text),
    ("AutomountServiceAccountToken", Plain),
    ("NodeName", Text),
    ("SecurityContext", Pointer(POD_SECURITY_CONTEXT)),
    ("ImagePullSecrets", List(LOCAL_OBJECT_REFERENCE)),
    ("Hostname", Text),
    ("Subdomain", Text),
    ("SetHostnameAsFQDN", Plain),
    ("Affinity", Pointer(AFFINITY)),
    ("SchedulerName", Text),
    ("Tolerations", List(TOLERATION)),
    ("HostAliases", List(HOST_ALIAS)),
    ("PriorityClassName", Text),
    ("Priority", Plain),
    ("PreemptionPolicy", Plain),
    ("DNSConfig", Pointer(POD_DNS_CONFIG)),
    ("ReadinessGates", List(POD_READINESS_GATE)),
    ("RuntimeClassName", Plain),
    ("Overhead", Plain),
    ("EnableServiceLinks", Plain),
    ("TopologySpreadConstraints", List(TOPOLOGY_SPREAD_CONSTRAINT)),
    ("OS", Pointer(POD_OS)),
    ("SchedulingGates", List(POD_SCHEDULING_GATE)),
    ("ResourceClaims", List(POD_RESOURCE_CLAIM)),
    ("Resources", Pointer(RESOURCE_REQUIREMENTS)),
    ("HostnameOverride", Plain),
    ("SchedulingGroup", Pointer(POD_SCHEDULING_GROUP)),
];
