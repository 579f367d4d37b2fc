//! Makes plugins by their names.

use coracle_api::status::ApiError;
use serde_json::Value;

use super::chain::AlwaysDeny;
use super::event_rate_limit::EventRateLimit;
use super::node_selector::NodeSelectors;
use super::pod_security::PodSecurity;
use super::toleration_restriction::TolerationRestriction;
use super::{
    Attributes, Cluster, Plugin, anti_affinity, certificates, declared_features, default_classes,
    extended_resources, external_ips, images, limit_ranger, namespace_exists, namespace_lifecycle,
    node_restriction, owner_references, pod_resize, priority, runtime_class, service_account,
    storage_protection, tolerations, topology_labels,
};
use crate::reader::ObjectReader;

/// A function that may change the object.
type Mutate = fn(&Attributes<'_>, &mut Value, Option<&Value>, &dyn ObjectReader) -> Result<(), ApiError>;

/// A function that may only refuse. The object is absent on delete.
type Validate =
    fn(&Attributes<'_>, Option<&Value>, Option<&Value>, &dyn ObjectReader) -> Result<(), ApiError>;

/// A function that may only refuse, and asks the authorizer.
type Guard = fn(&Attributes<'_>, Option<&Value>, Option<&Value>, &Cluster<'_>) -> Result<(), ApiError>;

/// A plugin that changes.
struct Mutating(Mutate);

/// A plugin that refuses.
struct Validating(Validate);

/// A plugin that does both.
struct Both(Mutate, Validate);

/// A plugin that refuses by what users may do.
struct Guarding(Guard);

impl Plugin for Mutating {
    fn mutate(
        &self,
        attributes: &Attributes<'_>,
        object: &mut Value,
        old: Option<&Value>,
        cluster: &Cluster<'_>,
    ) -> Result<(), ApiError> {
        (self.0)(attributes, object, old, cluster.reader)
    }
}

impl Plugin for Validating {
    fn validate(
        &self,
        attributes: &Attributes<'_>,
        object: Option<&Value>,
        old: Option<&Value>,
        cluster: &Cluster<'_>,
    ) -> Result<(), ApiError> {
        (self.0)(attributes, object, old, cluster.reader)
    }
}

impl Plugin for Both {
    fn mutate(
        &self,
        attributes: &Attributes<'_>,
        object: &mut Value,
        old: Option<&Value>,
        cluster: &Cluster<'_>,
    ) -> Result<(), ApiError> {
        (self.0)(attributes, object, old, cluster.reader)
    }

    fn validate(
        &self,
        attributes: &Attributes<'_>,
        object: Option<&Value>,
        old: Option<&Value>,
        cluster: &Cluster<'_>,
    ) -> Result<(), ApiError> {
        (self.1)(attributes, object, old, cluster.reader)
    }
}

impl Plugin for Guarding {
    fn asks(&self) -> bool {
        true
    }

    fn validate(
        &self,
        attributes: &Attributes<'_>,
        object: Option<&Value>,
        old: Option<&Value>,
        cluster: &Cluster<'_>,
    ) -> Result<(), ApiError> {
        (self.0)(attributes, object, old, cluster)
    }
}

/// Makes the plugin of a name; none where somebody else does its part, or where nothing is served that it is about.
///
/// # Errors
/// What is wrong with what the plugin is told.
pub(super) fn make(name: &str, told: Option<&Value>) -> Result<Option<Box<dyn Plugin>>, String> {
    if let Some(plugin) = configured(name, told)? {
        return Ok(Some(plugin));
    }
    if told.is_some() {
        return Err("it takes no configuration here".to_owned());
    }
    Ok(plain(name))
}

/// Plugins that can be told something.
fn configured(name: &str, told: Option<&Value>) -> Result<Option<Box<dyn Plugin>>, String> {
    Ok(Some(match name {
        "PodSecurity" => Box::new(PodSecurity::new(told)?),
        "PodNodeSelector" => Box::new(NodeSelectors::new(told)?),
        "PodTolerationRestriction" => Box::new(TolerationRestriction::new(told)?),
        "EventRateLimit" => Box::new(EventRateLimit::new(told)?),
        _ => return Ok(None),
    }))
}

fn plain(name: &str) -> Option<Box<dyn Plugin>> {
    Some(match name {
        "NamespaceLifecycle" => Box::new(Both(namespace_lifecycle::admit, namespace_lifecycle::validate)),
        "NamespaceExists" => Box::new(Validating(namespace_exists::validate)),
        "LimitPodHardAntiAffinityTopology" => Box::new(Validating(anti_affinity::validate)),
        "LimitRanger" => Box::new(Both(limit_ranger::admit, limit_ranger::validate)),
        "ServiceAccount" => Box::new(Both(service_account::admit, service_account::validate)),
        "NodeRestriction" => Box::new(node_restriction::NodeRestriction),
        "TaintNodesByCondition" => Box::new(Mutating(tolerations::taint_new_nodes)),
        "AlwaysPullImages" => Box::new(Both(images::admit, images::validate)),
        "Priority" => Box::new(Both(priority::admit, priority::validate)),
        "DefaultTolerationSeconds" => Box::new(Mutating(tolerations::default_seconds)),
        "ExtendedResourceToleration" => Box::new(Mutating(extended_resources::admit)),
        "DefaultStorageClass" => Box::new(Mutating(default_classes::storage)),
        "StorageObjectInUseProtection" => Box::new(Mutating(storage_protection::admit)),
        "OwnerReferencesPermissionEnforcement" => Box::new(Guarding(owner_references::validate)),
        "PersistentVolumeClaimResize" => Box::new(Validating(default_classes::resize)),
        "RuntimeClass" => Box::new(Both(runtime_class::admit, runtime_class::validate)),
        "CertificateApproval" => Box::new(Guarding(certificates::approval)),
        "CertificateSigning" => Box::new(Guarding(certificates::signing)),
        "ClusterTrustBundleAttest" => Box::new(Guarding(certificates::attest)),
        "CertificateSubjectRestriction" => Box::new(Guarding(certificates::subject)),
        "DefaultIngressClass" => Box::new(Mutating(default_classes::ingress)),
        "DenyServiceExternalIPs" => Box::new(Validating(external_ips::validate)),
        "PodTopologyLabels" => Box::new(Mutating(topology_labels::admit)),
        "NodeDeclaredFeatureValidator" => Box::new(Validating(declared_features::validate)),
        "PodResizeValidator" => Box::new(Validating(pod_resize::validate)),
        "AlwaysDeny" => Box::new(AlwaysDeny),
        // Webhooks, policies, quotas, the service that is asked about images and the making of namespaces are the registry's; nothing is served of pod groups.
        _ => return None,
    })
}
