//! Admission webhooks: servers outside that are asked about a write, or about a connection, before it happens.
//!
//! What is configured (`hook`), which webhooks a request concerns (`matching`), what they are told and what an answer means
//! (`review`, `refusal`), who was asked already (`reinvocation`), which objects are seen as they were sent (`sent`): all pure. `call` asks one of them, `dispatch` the ones
//! that are concerned. `convert` asks those of definitions, which convert custom resources.
//!
//! Always holds: where nothing is configured, a write pays an atomic load; where something is, it is seen by the first
//! request that comes after the configuration was answered. Webhooks are never asked about what configures admission.

mod call;
mod conditions;
mod connect;
mod convert;
mod dispatch;
mod hook;
pub(crate) mod matching;
mod refusal;
mod reinvocation;
pub(crate) mod review;
mod sent;

#[cfg(test)]
pub(crate) mod stand_in;

use std::sync::Arc;

use async_trait::async_trait;
use coracle_api::object::Fields;
use coracle_api::status::ApiError;
use serde_json::Value;

use self::call::Caller;
pub(crate) use self::dispatch::shown;
pub(crate) use self::hook::Rule;
use self::hook::{Hook, Sort};
pub(crate) use self::reinvocation::Rounds;
pub(crate) use self::sent::{AsSent, options_head, query_options};
use crate::admission::policy::Policies;
use crate::admission::{Chain, Cluster, Operation};
use crate::authz::Authorizer;
use crate::reader::{ObjectReader, Prepared};
use crate::request::{UserInfo, Warnings};

const GROUP: &str = "admissionregistration.k8s.io";

/// A resource in one version, and the kind that it is written as.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Version {
    /// The group of the resource.
    pub group: String,
    /// Its version.
    pub version: String,
    /// Its plural name.
    pub resource: String,
    /// The kind's group, which is another for some subresources.
    pub kind_group: String,
    /// The kind's version.
    pub kind_version: String,
    /// The kind.
    pub kind: String,
}

/// What webhooks are asked about, besides the object.
#[derive(Debug)]
pub(crate) struct Asked<'a> {
    /// What is done.
    pub operation: Operation,
    /// The version that the request names, and then the others in which the same objects are served.
    pub versions: Vec<Version>,
    /// Empty for the object itself.
    pub subresource: &'a str,
    /// Empty for cluster-scoped objects, save namespaces, which are in themselves.
    pub namespace: &'a str,
    /// Empty where the name is still to be made, and for the objects of a collection that is deleted.
    pub name: &'a str,
    /// Whether nothing will come of it.
    pub dry_run: bool,
    /// The request's options, as their kind has them; null for connections.
    pub options: Value,
    /// Who asks.
    pub user: &'a UserInfo,
    /// What the client is warned of.
    pub warnings: &'a Warnings,
}

/// The object in the versions that webhooks want to see.
#[async_trait]
pub(crate) trait Shapes: Send + Sync {
    /// The object in a version.
    ///
    /// # Errors
    /// Where it has no such version.
    async fn shown(&self, object: &Value, version: &Version) -> Result<Value, ApiError>;

    /// What becomes of `object` once a webhook has made `shown` of it, with defaults filled in.
    ///
    /// # Errors
    /// Where what the webhook made is no object of its kind.
    async fn taken(&self, object: &Value, shown: Value, version: &Version) -> Result<Value, ApiError>;
}

/// Everything that is configured, and the connections to it.
pub(crate) struct Webhooks {
    reader: Arc<dyn ObjectReader>,
    mutating: Prepared<Vec<Hook>>,
    validating: Prepared<Vec<Hook>>,
    caller: Caller,
    /// They come before webhooks of their sort.
    policies: Policies,
    /// They come before all of these.
    plugins: Arc<Chain>,
}

impl Webhooks {
    /// Of what is configured there, with the plugins that are on by default.
    pub(crate) fn new(reader: Arc<dyn ObjectReader>) -> Self {
        Self::with(reader, Arc::default())
    }

    /// Of what is configured there, as far as these plugins let it count.
    pub(crate) fn with(reader: Arc<dyn ObjectReader>, plugins: Arc<Chain>) -> Self {
        let hooks = |sort: Sort| {
            let counts = plugins.is_enabled(sort.plugin());
            Prepared::new(&[sort.resource()], &*reader, move |reader| {
                if counts {
                    configured(sort, reader)
                } else {
                    Vec::new()
                }
            })
        };
        Self {
            mutating: hooks(Sort::Mutating),
            validating: hooks(Sort::Validating),
            caller: Caller::new(reader.clone()),
            policies: Policies::new(reader.clone(), &plugins),
            plugins,
            reader,
        }
    }

    /// What plugins may look at.
    fn cluster(&self) -> Cluster<'_> {
        Cluster::new(&*self.reader, self.policies.authorizer())
    }

    /// Whether there is nobody to ask about writes of a resource of this group and kind.
    pub(crate) fn is_idle(&self, group: &str, kind: &str) -> bool {
        let none = |source: &Prepared<Vec<Hook>>| source.with(&*self.reader, Vec::is_empty);
        is_exempt(group, kind) || none(&self.mutating) && none(&self.validating) && self.policies.is_idle()
    }

    /// Says who answers what expressions ask about users.
    pub(crate) fn answer_with(&self, authorizer: Arc<Authorizer>) {
        self.policies.answer_with(authorizer);
    }
}

/// What configures admission is not subject to it: whoever locked themselves out could not get in again.
fn is_exempt(group: &str, kind: &str) -> bool {
    group == GROUP
        && matches!(
            kind,
            "ValidatingWebhookConfiguration"
                | "MutatingWebhookConfiguration"
                | "ValidatingAdmissionPolicy"
                | "ValidatingAdmissionPolicyBinding"
                | "MutatingAdmissionPolicy"
                | "MutatingAdmissionPolicyBinding"
        )
}

/// The webhooks of every configuration of a kind, by the names of the configurations.
fn configured(sort: Sort, reader: &dyn ObjectReader) -> Vec<Hook> {
    let mut configurations = reader.list(&sort.resource(), "");
    configurations.sort_by(|a, b| a["metadata"].text("name").cmp(b["metadata"].text("name")));
    let hooks = configurations
        .iter()
        .flat_map(|configuration| Hook::all_of(sort, configuration));
    hooks.collect()
}
