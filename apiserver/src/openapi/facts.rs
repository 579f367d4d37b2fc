//! What the documents say of types and nothing else needs to know: facts that the table does not have.

use coracle_api::validation::CERTIFICATE_USAGES;

/// The values that items of a list, or of a map, may have: by type and field.
const ITEMS: [(&str, &str, &[&str]); 11] = [
    (
        "io.k8s.api.admissionregistration.v1.NamedRuleWithOperations",
        "operations",
        OPERATIONS,
    ),
    (
        "io.k8s.api.admissionregistration.v1.RuleWithOperations",
        "operations",
        OPERATIONS,
    ),
    (
        "io.k8s.api.admissionregistration.v1.ValidatingAdmissionPolicyBindingSpec",
        "validationActions",
        &["Audit", "Deny", "Warn"],
    ),
    (
        "io.k8s.api.certificates.v1.CertificateSigningRequestSpec",
        "usages",
        &CERTIFICATE_USAGES,
    ),
    (
        "io.k8s.api.core.v1.PersistentVolumeClaimSpec",
        "accessModes",
        ACCESS_MODES,
    ),
    (
        "io.k8s.api.core.v1.PersistentVolumeClaimStatus",
        "accessModes",
        ACCESS_MODES,
    ),
    (
        "io.k8s.api.core.v1.PersistentVolumeClaimStatus",
        "allocatedResourceStatuses",
        &[
            "ControllerResizeInProgress",
            "ControllerResizeInfeasible",
            "NodeResizeInProgress",
            "NodeResizeInfeasible",
            "NodeResizePending",
        ],
    ),
    (
        "io.k8s.api.core.v1.PersistentVolumeSpec",
        "accessModes",
        ACCESS_MODES,
    ),
    (
        "io.k8s.api.core.v1.ResourceQuotaSpec",
        "scopes",
        &[
            "BestEffort",
            "CrossNamespacePodAffinity",
            "NotBestEffort",
            "NotTerminating",
            "PriorityClass",
            "Terminating",
            "VolumeAttributesClass",
        ],
    ),
    (
        "io.k8s.api.core.v1.ServiceSpec",
        "ipFamilies",
        &["", "IPv4", "IPv6"],
    ),
    (
        "io.k8s.api.networking.v1.NetworkPolicySpec",
        "policyTypes",
        &["Egress", "Ingress"],
    ),
];

const OPERATIONS: &[&str] = &["*", "CONNECT", "CREATE", "DELETE", "UPDATE"];
const ACCESS_MODES: &[&str] = &[
    "ReadOnlyMany",
    "ReadWriteMany",
    "ReadWriteOnce",
    "ReadWriteOncePod",
];

/// Fields that are left out where they are zero, and have zero for their default nevertheless.
const ZERO_BY_DEFAULT: [(&str, &str); 13] = [
    ("io.k8s.api.autoscaling.v1.ScaleSpec", "replicas"),
    ("io.k8s.api.core.v1.AzureDiskVolumeSource", "readOnly"),
    ("io.k8s.api.core.v1.ConfigMapEnvSource", "name"),
    ("io.k8s.api.core.v1.ConfigMapKeySelector", "name"),
    ("io.k8s.api.core.v1.ConfigMapProjection", "name"),
    ("io.k8s.api.core.v1.ConfigMapVolumeSource", "name"),
    ("io.k8s.api.core.v1.FileKeySelector", "optional"),
    ("io.k8s.api.core.v1.GRPCAction", "service"),
    ("io.k8s.api.core.v1.LocalObjectReference", "name"),
    ("io.k8s.api.core.v1.ReplicationControllerSpec", "minReadySeconds"),
    ("io.k8s.api.core.v1.SecretEnvSource", "name"),
    ("io.k8s.api.core.v1.SecretKeySelector", "name"),
    ("io.k8s.api.core.v1.SecretProjection", "name"),
];

/// The group versions that upstream knows and does not serve; options may be sent in any that it knows.
const KNOWN_ONLY: [(&str, &str); 38] = [
    ("admission.k8s.io", "v1"),
    ("admission.k8s.io", "v1beta1"),
    ("admissionregistration.k8s.io", "v1alpha1"),
    ("admissionregistration.k8s.io", "v1beta1"),
    ("apiextensions.k8s.io", "v1beta1"),
    ("apiregistration.k8s.io", "v1beta1"),
    ("apps", "v1beta1"),
    ("apps", "v1beta2"),
    ("authentication.k8s.io", "v1alpha1"),
    ("authentication.k8s.io", "v1beta1"),
    ("authorization.k8s.io", "v1beta1"),
    ("batch", "v1beta1"),
    ("certificates.k8s.io", "v1alpha1"),
    ("certificates.k8s.io", "v1beta1"),
    ("coordination.k8s.io", "v1alpha2"),
    ("coordination.k8s.io", "v1beta1"),
    ("discovery.k8s.io", "v1beta1"),
    ("events.k8s.io", "v1beta1"),
    ("extensions", "v1beta1"),
    ("flowcontrol.apiserver.k8s.io", "v1beta1"),
    ("flowcontrol.apiserver.k8s.io", "v1beta2"),
    ("flowcontrol.apiserver.k8s.io", "v1beta3"),
    ("imagepolicy.k8s.io", "v1alpha1"),
    ("internal.apiserver.k8s.io", "v1alpha1"),
    ("networking.k8s.io", "v1beta1"),
    ("node.k8s.io", "v1alpha1"),
    ("node.k8s.io", "v1beta1"),
    ("policy", "v1beta1"),
    ("rbac.authorization.k8s.io", "v1alpha1"),
    ("rbac.authorization.k8s.io", "v1beta1"),
    ("resource.k8s.io", "v1alpha3"),
    ("resource.k8s.io", "v1beta1"),
    ("resource.k8s.io", "v1beta2"),
    ("scheduling.k8s.io", "v1alpha2"),
    ("scheduling.k8s.io", "v1beta1"),
    ("storage.k8s.io", "v1alpha1"),
    ("storage.k8s.io", "v1beta1"),
    ("storagemigration.k8s.io", "v1beta1"),
];

/// The values that what a list or map holds may have; empty where any will do.
pub(super) fn values_of_items(ty: &str, field: &str) -> &'static [&'static str] {
    let found = ITEMS.iter().find(|(of, name, _)| (*of, *name) == (ty, field));
    found.map(|(.., values)| *values).unwrap_or_default()
}

/// Whether a field that may be left out has zero for its default.
pub(super) fn is_zero_by_default(ty: &str, field: &str) -> bool {
    ZERO_BY_DEFAULT.contains(&(ty, field))
}

/// What a field is for that nothing else describes, in our words.
pub(super) fn about(ty: &str, field: &str) -> Option<&'static str> {
    ((ty, field) == ("io.k8s.apimachinery.pkg.apis.meta.v1.WatchEvent", "object")).then_some(
        "What the event is about: an object as it is now, or as it was before it was deleted; for a bookmark no more of one than \
         its revision; for an error a Status.",
    )
}

/// Those group versions, with the ones that are served, sorted.
pub(super) fn with_known<'v>(
    served: impl IntoIterator<Item = (&'v str, &'v str)>,
) -> Vec<(&'v str, &'v str)> {
    let mut versions: Vec<(&str, &str)> = served.into_iter().chain(KNOWN_ONLY).collect();
    versions.sort_unstable();
    versions.dedup();
    versions
}

#[cfg(test)]
mod tests {
    use coracle_api::table;

    use super::*;

    #[test]
    fn facts_are_about_fields_that_there_are() {
        let of_items = ITEMS.iter().map(|(ty, field, _)| (*ty, *field));
        for (ty, field) in of_items.chain(ZERO_BY_DEFAULT) {
            let known = table::by_name(ty).is_some_and(|ty| ty.field(field).is_some());
            assert!(known, "{ty}.{field}");
        }
    }
}
