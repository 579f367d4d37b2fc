//! Admission: what may still change or refuse a write after it was authorized and decoded.
//!
//! A plugin is a decision over the request, the object and what the cluster looks like. The [`Chain`] holds those that are
//! switched on, in upstream's order: mutating ones run on every write, validating ones after the object has been checked
//! against its kind's rules. `order` has the names and which are on by default, `configuration` reads what plugins are
//! told, `registered` makes them. Webhooks and admission policies are asked after the plugins of their sort, and quotas are
//! charged last, by the registry; the chain only says whether they are switched on.

mod anti_affinity;
mod bound_pods;
mod certificates;
mod chain;
mod configuration;
mod declared_features;
mod default_classes;
#[cfg(test)]
mod each;
mod event_rate_limit;
mod extended_resources;
mod external_ips;
mod image_policy;
mod images;
mod limit_ranger;
mod namespace_exists;
mod namespace_lifecycle;
mod node_restriction;
mod node_selector;
mod order;
mod owner_references;
mod pod_resize;
mod pod_security;
pub(crate) mod policy;
mod priority;
mod registered;
mod runtime_class;
mod service_account;
mod storage_protection;
mod toleration_restriction;
mod tolerations;
mod topology_labels;

use coracle_api::resources::Resource;
use coracle_api::status::ApiError;
use jiff::Timestamp;
use serde_json::Value;

pub(crate) use self::chain::Chain;
pub use self::configuration::{AdmissionError, AdmissionOptions};
use crate::authz::{Authorizer, Questions};
use crate::reader::ObjectReader;
use crate::request::{UserInfo, Warnings};

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
    /// Who asks.
    pub user: &'a UserInfo,
    /// What the client is warned of.
    pub warnings: &'a Warnings,
    /// Whether nothing will come of it.
    pub dry_run: bool,
    /// When it is done, for plugins that count by time.
    pub now: Timestamp,
}

/// What plugins may look at besides the write.
pub(crate) struct Cluster<'a> {
    /// What is stored.
    pub reader: &'a dyn ObjectReader,
    /// What users may do.
    pub questions: Questions<'a>,
}

impl<'a> Cluster<'a> {
    /// Of what is stored there; without an authorizer as long as only the server itself writes.
    pub(crate) fn new(reader: &'a dyn ObjectReader, authorizer: Option<&'a Authorizer>) -> Self {
        Self {
            reader,
            questions: Questions::new(authorizer),
        }
    }
}

/// What may change or refuse a write. On a deletion there is no object, and nothing to change.
pub(crate) trait Plugin: Send + Sync {
    /// Whether it asks what users may do. Such a one is run again when a service elsewhere has answered, so it must not do
    /// anything but judge and change the object.
    fn asks(&self) -> bool {
        false
    }

    /// Changes an object that is created or updated, or refuses it.
    ///
    /// # Errors
    /// The refusal.
    fn mutate(
        &self,
        _attributes: &Attributes<'_>,
        _object: &mut Value,
        _old: Option<&Value>,
        _cluster: &Cluster<'_>,
    ) -> Result<(), ApiError> {
        Ok(())
    }

    /// Refuses an object as it is going to be stored, or a deletion.
    ///
    /// # Errors
    /// The refusal.
    fn validate(
        &self,
        _attributes: &Attributes<'_>,
        _object: Option<&Value>,
        _old: Option<&Value>,
        _cluster: &Cluster<'_>,
    ) -> Result<(), ApiError> {
        Ok(())
    }
}

impl Attributes<'_> {
    /// Whether the object itself, not a part of it, of this resource is written.
    pub(crate) fn is(&self, group: &str, resource: &str) -> bool {
        self.subresource.is_empty() && self.resource.group == group && self.resource.resource == resource
    }

    /// Whether it is of this resource, or of a part of it.
    pub(crate) fn is_of(&self, group: &str, resource: &str) -> bool {
        self.resource.group == group && self.resource.resource == resource
    }

    /// Notes something for the audit log under a key of the plugin's own.
    pub(crate) fn annotate(&self, key: &str, value: &str) {
        self.warnings.audit().annotate(key, value);
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

#[cfg(test)]
pub(crate) mod tests {
    use std::sync::LazyLock;

    use super::*;

    static USER: LazyLock<UserInfo> = LazyLock::new(UserInfo::server);
    static WARNINGS: LazyLock<Warnings> = LazyLock::new(Warnings::default);

    /// A write of the server itself, for the tests of plugins.
    pub(crate) fn attributes(operation: Operation, resource: &'static Resource) -> Attributes<'static> {
        Attributes {
            operation,
            resource,
            subresource: "",
            namespace: "",
            name: "",
            generate_name: "",
            chance: 0,
            user: &USER,
            warnings: &WARNINGS,
            dry_run: false,
            now: Timestamp::UNIX_EPOCH,
        }
    }
}
