//! The structs of several kinds, of which some message shows one whole.

use super::Form::{Given, Inline, List, Metadata, Number, Plain, Pointer, Struct, Text};
use super::{Form, PERSISTENT_VOLUME_SOURCE, Shape};

pub(in crate::validation) const ATTACHMENT: Shape = &[
    ("Attacher", Text),
    (
        "Source",
        Struct(&[
            ("PersistentVolumeName", Plain),
            ("InlineVolumeSpec", Pointer(VOLUME_SPEC)),
        ]),
    ),
    ("NodeName", Text),
];
pub(in crate::validation) const ROLE_REF: Shape = &[("APIGroup", Text), ("Kind", Text), ("Name", Text)];
pub(in crate::validation) const PARENT: Shape = &[
    ("Group", Text),
    ("Resource", Text),
    ("Namespace", Text),
    ("Name", Text),
];
pub(in crate::validation) const DISTINGUISHER: Shape = &[("Type", Text)];
pub(in crate::validation) const DEPLOYMENT_STRATEGY: Shape =
    &[("Type", Text), ("RollingUpdate", Pointer(ROLLING))];
pub(in crate::validation) const STATEFUL_STRATEGY: Shape = &[
    ("Type", Text),
    (
        "RollingUpdate",
        Pointer(&[("Partition", Number), ("MaxUnavailable", Plain)]),
    ),
];
const ROLLING: Shape = &[("MaxUnavailable", Plain), ("MaxSurge", Plain)];
pub(in crate::validation) const OBJECT_REFERENCE: Shape = &[
    ("Kind", Text),
    ("Namespace", Text),
    ("Name", Text),
    ("UID", Text),
    ("APIVersion", Text),
    ("ResourceVersion", Text),
    ("FieldPath", Text),
];
pub(in crate::validation) const TOLERATION: Shape = &[
    ("Key", Text),
    ("Operator", Text),
    ("Value", Text),
    ("Effect", Text),
    ("TolerationSeconds", Plain),
];
const REQUIREMENT: Shape = &[("Key", Text), ("Operator", Text), ("Values", Plain)];
pub(in crate::validation) const NODE_TERM: Shape = &[
    ("MatchExpressions", List(REQUIREMENT)),
    ("MatchFields", List(REQUIREMENT)),
];
pub(in crate::validation) const VOLUME_AFFINITY: Shape =
    &[("Required", Pointer(&[("NodeSelectorTerms", List(NODE_TERM))]))];
pub(in crate::validation) const POD_CLAIM: Shape = &[
    ("Name", Text),
    ("ResourceClaimName", Plain),
    ("ResourceClaimTemplateName", Plain),
];
pub(in crate::validation) const CSI_NODE_DRIVER: Shape = &[
    ("Name", Text),
    ("NodeID", Text),
    ("TopologyKeys", Plain),
    ("Allocatable", Plain),
];
pub(in crate::validation) const SUCCESS_POLICY: Shape = &[(
    "Rules",
    List(&[("SucceededIndexes", Plain), ("SucceededCount", Plain)]),
)];
pub(in crate::validation) const FAILURE_POLICY: Shape = &[(
    "Rules",
    List(&[
        ("Action", Text),
        (
            "OnExitCodes",
            Pointer(&[("ContainerName", Plain), ("Operator", Text), ("Values", Plain)]),
        ),
        ("OnPodConditions", List(&[("Type", Text), ("Status", Text)])),
    ]),
)];
const SELECTORS: Form = List(&[("CEL", Pointer(&[("Expression", Text)]))]);
const CAPACITY: Form = Pointer(&[("Requests", Plain)]);
const EXACTLY: Shape = &[
    ("DeviceClassName", Text),
    ("Selectors", SELECTORS),
    ("AllocationMode", Text),
    ("Count", Number),
    ("AdminAccess", Plain),
    ("Tolerations", List(TOLERATION)),
    ("Capacity", CAPACITY),
];
const ALTERNATIVE: Shape = &[
    ("Name", Text),
    ("DeviceClassName", Text),
    ("Selectors", SELECTORS),
    ("AllocationMode", Text),
    ("Count", Number),
    ("Tolerations", List(TOLERATION)),
    ("Capacity", CAPACITY),
];
const REQUEST: Shape = &[
    ("Name", Text),
    ("Exactly", Pointer(EXACTLY)),
    ("FirstAvailable", List(ALTERNATIVE)),
];
const CONSTRAINT: Shape = &[
    ("Requests", Plain),
    ("MatchAttribute", Plain),
    ("DistinctAttribute", Plain),
];
const OPAQUE: Shape = &[("Driver", Text), ("Parameters", Plain)];
pub(in crate::validation) const CLAIM_SPEC: Shape = &[(
    "Devices",
    Struct(&[
        ("Requests", List(REQUEST)),
        ("Constraints", List(CONSTRAINT)),
        (
            "Config",
            List(&[("Requests", Plain), ("Opaque", Pointer(OPAQUE))]),
        ),
    ]),
)];

pub(in crate::validation) const SERVICE_PORT: Shape = &[
    ("Name", Text),
    ("Protocol", Text),
    ("AppProtocol", Plain),
    ("Port", Number),
    ("TargetPort", Number),
    ("NodePort", Number),
];
const VOLUME_SPEC: Shape = &[
    ("Capacity", Plain),
    ("", Inline(PERSISTENT_VOLUME_SOURCE)),
    ("AccessModes", Plain),
    ("ClaimRef", Pointer(OBJECT_REFERENCE)),
    ("PersistentVolumeReclaimPolicy", Text),
    ("StorageClassName", Text),
    ("MountOptions", Plain),
    ("VolumeMode", Plain),
    ("NodeAffinity", Pointer(VOLUME_AFFINITY)),
    ("VolumeAttributesClassName", Plain),
];
pub(in crate::validation) const CLAIM_TEMPLATE: Shape = &[("", Metadata), ("Spec", Struct(CLAIM_SPEC))];
pub(in crate::validation) const SECCOMP: Shape = &[("Type", Text), ("LocalhostProfile", Plain)];
pub(in crate::validation) const OWNER: Shape = &[
    ("apiVersion", Text),
    ("kind", Text),
    ("name", Text),
    ("uid", Text),
    ("controller", Given),
    ("blockOwnerDeletion", Given),
];
pub(in crate::validation) const DISRUPTION_BUDGET: Shape = &[
    ("MinAvailable", Plain),
    ("Selector", Form::Selector),
    ("MaxUnavailable", Plain),
    ("UnhealthyPodEvictionPolicy", Plain),
];
pub(in crate::validation) const UNCOUNTED_PODS: Shape = &[("Succeeded", Plain), ("Failed", Plain)];
pub(in crate::validation) const NODE_ADDRESS: Shape = &[("Type", Text), ("Address", Text)];
pub(in crate::validation) const EVENT_SOURCE: Shape = &[("Component", Text), ("Host", Text)];
