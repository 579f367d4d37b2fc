//! Admission: what may still change or refuse a write after it was authorized and decoded.
//!
//! A plugin is a pure decision over the request, the object and what the cluster looks like. Mutating plugins run in
//! order on every write, validating ones after the object has been checked against its kind's rules.

mod default_classes;
mod limit_ranger;
mod namespace_lifecycle;
pub(crate) mod policy;
mod priority;
mod runtime_class;
mod service_account;
mod storage_protection;
mod tolerations;

use coracle_api::resources::Resource;
use coracle_api::status::ApiError;
use serde_json::Value;

use crate::reader::ObjectReader;

/// What is being done to an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operation {
    /// It is new.
    Create,
    /// It is changed, by an update or a patch.
    Update,
    /// It is to go.
    Delete,
    /// Somebody connects to it, or through it. Only webhooks are asked about that.
    Connect,
}

impl Operation {
    /// The word that webhooks and their rules have for it.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Create => "CREATE",
            Self::Update => "UPDATE",
            Self::Delete => "DELETE",
            Self::Connect => "CONNECT",
        }
    }
}

/// What is known of a write besides the object.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Attributes<'a> {
    /// What is being done.
    pub operation: Operation,
    /// To which resource.
    pub resource: &'a Resource,
    /// To which part of it; empty for the object itself.
    pub subresource: &'a str,
    /// Empty for cluster-scoped objects.
    pub namespace: &'a str,
    /// Empty where a name is still to be made.
    pub name: &'a str,
    /// What the name is made of where it is still to be made.
    pub generate_name: &'a str,
    /// Something random, for plugins that make up names.
    pub chance: u64,
}

impl Attributes<'_> {
    /// Whether the object itself, not a part of it, of this resource is written.
    pub(crate) fn is(&self, group: &str, resource: &str) -> bool {
        self.subresource.is_empty() && self.resource.group == group && self.resource.resource == resource
    }

    /// The error that upstream's plugins answer a refusal with.
    pub(crate) fn forbidden(&self, why: &str) -> ApiError {
        let name = match self.name {
            "" => self.generate_name,
            name => name,
        };
        ApiError::forbidden(self.resource.group, self.resource.resource, name, why)
    }
}

/// A plugin that may change the object.
pub(crate) type Mutate =
    fn(&Attributes<'_>, &mut Value, Option<&Value>, &dyn ObjectReader) -> Result<(), ApiError>;

/// A plugin that may only refuse. The object is absent on delete.
pub(crate) type Validate =
    fn(&Attributes<'_>, Option<&Value>, Option<&Value>, &dyn ObjectReader) -> Result<(), ApiError>;

/// In upstream's order.
const MUTATING: &[(&str, Mutate)] = &[
    ("NamespaceLifecycle", namespace_lifecycle::admit),
    ("LimitRanger", limit_ranger::admit),
    ("ServiceAccount", service_account::admit),
    ("TaintNodesByCondition", tolerations::taint_new_nodes),
    ("Priority", priority::admit),
    ("DefaultTolerationSeconds", tolerations::default_seconds),
    ("DefaultStorageClass", default_classes::storage),
    ("StorageObjectInUseProtection", storage_protection::admit),
    ("RuntimeClass", runtime_class::admit),
    ("DefaultIngressClass", default_classes::ingress),
];

const VALIDATING: &[(&str, Validate)] = &[
    ("NamespaceLifecycle", namespace_lifecycle::validate),
    ("LimitRanger", limit_ranger::validate),
    ("ServiceAccount", service_account::validate),
    ("Priority", priority::validate),
    ("PersistentVolumeClaimResize", default_classes::resize),
    ("RuntimeClass", runtime_class::validate),
];

/// Runs the mutating plugins. `old` is the object as it was, on update.
///
/// # Errors
/// The first refusal.
pub(crate) fn mutate(
    attributes: &Attributes<'_>,
    object: &mut Value,
    old: Option<&Value>,
    reader: &dyn ObjectReader,
) -> Result<(), ApiError> {
    for (name, plugin) in MUTATING {
        plugin(attributes, object, old, reader).inspect_err(|error| refused(name, error))?;
    }
    Ok(())
}

/// Runs the validating plugins.
///
/// # Errors
/// The first refusal.
pub(crate) fn validate(
    attributes: &Attributes<'_>,
    object: Option<&Value>,
    old: Option<&Value>,
    reader: &dyn ObjectReader,
) -> Result<(), ApiError> {
    for (name, plugin) in VALIDATING {
        plugin(attributes, object, old, reader).inspect_err(|error| refused(name, error))?;
    }
    Ok(())
}

fn refused(plugin: &str, error: &ApiError) {
    tracing::debug!(plugin, %error, "admission refused a write");
}
