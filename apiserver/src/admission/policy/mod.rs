//! Admission policies: expressions that refuse or change a write (`ValidatingAdmissionPolicy`, `MutatingAdmissionPolicy`).
//!
//! `installed` reads policies and their bindings and keeps what was compiled, once per generation; `scope` says which requests
//! concern them, `params` what their parameters are, `asker` answers what expressions ask of the authorizer. `validating` and
//! `mutating` evaluate. All but the shell around it is pure: expressions have no clock and no network.
//!
//! Always holds: where no policy is bound, a write pays an atomic load. They are evaluated before webhooks of their sort are
//! asked, as upstream's chain has it, so `crate::webhook` calls them.

mod asker;
mod installed;
mod mutating;
mod params;
mod scope;
mod validating;

use std::sync::{Arc, OnceLock};

use coracle_api::cel::policy::Inputs;
use coracle_api::object::Fields;
use coracle_api::status::ApiError;
use serde_json::{Map, Value};

pub(crate) use self::asker::Asker;
use self::installed::{Installed, Sort};
use crate::admission::Chain;
use crate::authz::Authorizer;
use crate::reader::{GroupResource, ObjectReader, Prepared};
use crate::webhook::{Asked, Shapes, Version, review, shown};

/// The policies of the cluster.
pub(crate) struct Policies {
    reader: Arc<dyn ObjectReader>,
    validating: Prepared<Vec<Installed>>,
    mutating: Prepared<Vec<Installed>>,
    /// Set once, before anybody writes.
    authorizer: OnceLock<Arc<Authorizer>>,
}

impl Policies {
    /// Of what is stored there, as far as plugins let it count.
    pub(crate) fn new(reader: Arc<dyn ObjectReader>, plugins: &Chain) -> Self {
        let of = |sort: Sort| installed::prepared(sort, plugins.is_enabled(sort.plugin()), &*reader);
        Self {
            validating: of(Sort::Validating),
            mutating: of(Sort::Mutating),
            authorizer: OnceLock::new(),
            reader,
        }
    }

    /// Says who answers what expressions ask about users. Only the first counts: there is one authorizer in a server.
    pub(crate) fn answer_with(&self, authorizer: Arc<Authorizer>) {
        let _ = self.authorizer.set(authorizer);
    }

    /// Who answers.
    pub(crate) fn authorizer(&self) -> Option<&Authorizer> {
        self.authorizer.get().map(AsRef::as_ref)
    }

    /// Whether no policy is bound.
    pub(crate) fn is_idle(&self) -> bool {
        let none = |source: &Prepared<Vec<Installed>>| source.with(&*self.reader, Vec::is_empty);
        none(&self.validating) && none(&self.mutating)
    }

    /// The namespace that expressions see: none at the cluster scope, and none of a namespace itself.
    fn namespace(&self, asked: &Asked<'_>) -> Result<Option<Arc<Value>>, ApiError> {
        let of_itself = asked
            .versions
            .first()
            .is_some_and(|own| own.kind_group.is_empty() && own.kind == "Namespace");
        if asked.namespace.is_empty() || of_itself {
            return Ok(None);
        }
        let namespaces = GroupResource::new("", "namespaces");
        let found = self.reader.get(&namespaces, "", asked.namespace);
        found
            .map(Some)
            .ok_or_else(|| ApiError::not_found("", "namespaces", asked.namespace))
    }
}

/// An object and what it was, in the version that a policy names.
struct States {
    object: Option<Value>,
    old: Option<Value>,
}

impl States {
    async fn shown(
        shapes: &dyn Shapes,
        version: &Version,
        object: Option<&Value>,
        old: Option<&Value>,
    ) -> Result<Self, ApiError> {
        let (object, old) = (
            shown(shapes, object, version).await?,
            shown(shapes, old, version).await?,
        );
        Ok(Self {
            object: object.map(|state| named(state, version)),
            old: old.map(|state| named(state, version)),
        })
    }
}

/// With `apiVersion` and `kind`, which stored objects may leave out.
fn named(mut object: Value, version: &Version) -> Value {
    if let Some(fields) = object.as_object_mut() {
        let api_version = match version.kind_group.as_str() {
            "" => version.kind_version.clone(),
            group => format!("{group}/{}", version.kind_version),
        };
        fields.entry("apiVersion").or_insert_with(|| api_version.into());
        fields
            .entry("kind")
            .or_insert_with(|| version.kind.clone().into());
    }
    object
}

/// The variable `request`: a review's request without the objects.
fn request(asked: &Asked<'_>, version: &Version) -> Value {
    let mut request = review::request(asked, version, "", None, None);
    if let Some(fields) = request.as_object_mut() {
        for name in ["uid", "object", "oldObject"] {
            fields.remove(name);
        }
    }
    request
}

/// What an expression is given, put together.
fn inputs<'v>(
    states: &'v States,
    params: Option<&'v Value>,
    request: &'v Value,
    namespace: Option<&'v Value>,
    asker: Option<&'v Asker<'_>>,
) -> Inputs<'v> {
    Inputs {
        object: states.object.as_ref(),
        old: states.old.as_ref(),
        params,
        request,
        namespace,
        authorizer: asker.map(|asker| asker as _),
    }
}

/// What messages call an error that is about how a policy or a binding is set up.
fn misconfigured(binding: Option<&str>, why: &str) -> String {
    let what = if binding.is_some() { "binding" } else { "policy" };
    format!("failed to configure {what}: {why}")
}

/// Group and resource of what a refusal is about.
fn subject<'a>(asked: &'a Asked<'_>) -> (&'a str, &'a str) {
    asked
        .versions
        .first()
        .map_or(("", ""), |own| (own.group.as_str(), own.resource.as_str()))
}

/// The fields of an object; none of what is no object.
fn fields(value: &Value) -> Map<String, Value> {
    value.as_object().cloned().unwrap_or_default()
}

/// The name of an object.
fn name_of(object: &Value) -> &str {
    object["metadata"].text("name")
}
