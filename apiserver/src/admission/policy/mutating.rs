//! Policies that change what is written.

use std::sync::Arc;

use coracle_api::apply;
use coracle_api::cel::policy::Change;
use coracle_api::patch::{PatchError, json};
use coracle_api::status::{ApiError, Cause, Details, Reason};
use coracle_api::table;
use serde_json::Value;
use tracing::debug;

use super::installed::{Binding, Installed};
use super::{Asker, Policies, States, inputs, misconfigured, name_of, params, request, subject};
use crate::authz::Questions;
use crate::webhook::matching::Subject;
use crate::webhook::{Asked, Rounds, Shapes, Version};

/// A policy that is to be evaluated with a parameter.
struct Invocation<'a> {
    installed: &'a Installed,
    binding: &'a Binding,
    version: &'a Version,
    param: Option<Arc<Value>>,
}

/// Something that went wrong, and whether that is the fault of the request.
struct Fault {
    message: String,
    invalid: bool,
}

impl Policies {
    /// Evaluates the mutating policies that concern a request, one after the other, and makes of the object what they want.
    ///
    /// # Errors
    /// What went wrong with those that must not fail; 404 where the namespace is not there.
    pub(crate) async fn mutate(
        &self,
        asked: &Asked<'_>,
        shapes: &dyn Shapes,
        object: Option<&mut Value>,
        old: Option<&Value>,
        rounds: &mut Rounds,
    ) -> Result<(), ApiError> {
        let all = self.mutating.now(&*self.reader);
        let mut faults = Vec::new();
        let subject = Subject {
            object: object.as_deref(),
            old,
        };
        let mut invocations = Vec::new();
        for installed in all.iter() {
            self.invocations(installed, asked, subject, &mut invocations, &mut faults);
        }
        if let Some(object) = object.filter(|_| !invocations.is_empty()) {
            let namespace = self.namespace(asked)?;
            for invocation in &invocations {
                let id = invocation.id();
                if !rounds.asks(&id) {
                    continue;
                }
                let changed = self.invoke(
                    invocation,
                    asked,
                    shapes,
                    object,
                    old,
                    namespace.as_deref(),
                    &mut faults,
                );
                if changed.await? {
                    rounds.changed();
                }
                if invocation.installed.reinvoked {
                    rounds.was_asked(&id);
                }
            }
        }
        refuse(asked, faults)
    }

    /// What is to be evaluated of a policy.
    fn invocations<'a>(
        &self,
        installed: &'a Installed,
        asked: &'a Asked<'_>,
        subject: Subject<'_>,
        invocations: &mut Vec<Invocation<'a>>,
        faults: &mut Vec<Fault>,
    ) {
        let reader = &*self.reader;
        let version = match installed.scope.concerned(asked, subject, reader) {
            Ok(None) => return,
            Ok(Some(version)) => version,
            Err(error) => {
                let why = misconfigured(None, error.message());
                return installed.fault(None, why, false, faults);
            }
        };
        for binding in &installed.bindings {
            let mut misconfigured = |why: &str| {
                let why = misconfigured(Some(&binding.name), why);
                installed.fault(Some(binding), why, false, faults);
            };
            match binding
                .scope
                .as_ref()
                .map(|scope| scope.concerned(asked, subject, reader))
            {
                None | Some(Ok(Some(_))) => {}
                Some(Ok(None)) => continue,
                Some(Err(error)) => {
                    misconfigured(error.message());
                    continue;
                }
            }
            let kind = installed.param_kind.as_ref();
            match params::collect(kind, binding.params.as_ref(), asked.namespace, reader) {
                Ok(params) => invocations.extend(params.into_iter().map(|param| Invocation {
                    installed,
                    binding,
                    version,
                    param,
                })),
                Err(why) => misconfigured(&why),
            }
        }
    }

    /// Carries out the mutations of a policy, and says whether they made a difference.
    #[allow(clippy::too_many_arguments, reason = "what there is to know of a request")]
    async fn invoke(
        &self,
        invocation: &Invocation<'_>,
        asked: &Asked<'_>,
        shapes: &dyn Shapes,
        object: &mut Value,
        old: Option<&Value>,
        namespace: Option<&Value>,
        faults: &mut Vec<Fault>,
    ) -> Result<bool, ApiError> {
        let Invocation {
            installed,
            binding,
            version,
            param,
        } = invocation;
        let request = request(asked, version);
        let questions = Questions::new(self.authorizer());
        let asker = self.authorizer().map(|_| Asker::new(&questions, asked.user));
        let mut states = States::shown(shapes, version, Some(&*object), old).await?;
        let conditions = inputs(&states, param.as_deref(), &request, namespace, asker.as_ref());
        match questions.settle(|| installed.policy.matches(&conditions)).await {
            Ok(true) => {}
            Ok(false) => return Ok(false),
            Err(why) => {
                installed.fault(Some(binding), why, true, faults);
                return Ok(false);
            }
        }
        let mut changed = false;
        for index in 0..installed.policy.mutations.len() {
            let inputs = inputs(&states, param.as_deref(), &request, namespace, asker.as_ref());
            let change = questions.settle(|| installed.policy.mutate(index, &inputs)).await;
            let Some(shown) = &states.object else { break };
            let made = change.and_then(|change| carry_out(shown, change, version));
            match made {
                Err(why) => installed.fault(Some(binding), why, true, faults),
                Ok(made) if made == *shown => {}
                Ok(made) => {
                    let taken = shapes.taken(object, made, version).await?;
                    changed |= taken != *object;
                    *object = taken;
                    states = States::shown(shapes, version, Some(&*object), old).await?;
                }
            }
        }
        Ok(changed)
    }
}

impl Invocation<'_> {
    /// Differs from that of every other evaluation, and of every webhook: those have no space in theirs.
    fn id(&self) -> String {
        let param = self.param.as_ref().map_or("", |param| name_of(param));
        format!("policy {} {} {param}", self.installed.name, self.binding.name)
    }
}

/// What becomes of an object by a change.
fn carry_out(shown: &Value, change: Change, version: &Version) -> Result<Value, String> {
    match change {
        Change::Merge(config) => {
            let ty = table::by_gvk(&version.kind_group, &version.kind_version, &version.kind);
            let ty = ty.ok_or_else(|| format!("Resource kind {} has no schema to merge by", version.kind))?;
            apply::merge(shown, &config, ty).map_err(|why| format!("error applying patch: {why}"))
        }
        Change::Patch(operations) => {
            let mut patched = shown.clone();
            match json::apply(&mut patched, &Value::Array(operations)) {
                Ok(()) => Ok(patched),
                // A test that fails is a condition of the policy's own.
                Err(PatchError::DoesNotApply(why)) if why.contains("testing") => Ok(shown.clone()),
                Err(error) => Err(format!("JSON Patch: {error}")),
            }
        }
    }
}

impl Installed {
    fn fault(&self, binding: Option<&Binding>, why: String, invalid: bool, faults: &mut Vec<Fault>) {
        if self.fails_open {
            debug!(policy = self.name, why, "a policy failed and was passed over");
            return;
        }
        let name = &self.name;
        let message = match binding {
            Some(binding) => format!(
                "policy '{name}' with binding '{}' denied request: {why}",
                binding.name
            ),
            None => format!("policy {name:?} denied request: {why}"),
        };
        faults.push(Fault { message, invalid });
    }
}

/// Refuses a request with all that went wrong. Upstream leaves the code of a forbidden request whatever the reason.
fn refuse(asked: &Asked<'_>, faults: Vec<Fault>) -> Result<(), ApiError> {
    let Some(first) = faults.first() else {
        return Ok(());
    };
    let (group, resource) = subject(asked);
    let reason = if first.invalid {
        Reason::Invalid
    } else {
        Reason::Forbidden
    };
    let message = first.message.clone();
    let causes = faults.into_iter().map(|fault| Cause {
        message: fault.message,
        ..Cause::default()
    });
    let forbidden = ApiError::forbidden(group, resource, asked.name, &message);
    let details = Details {
        causes: causes.collect(),
        ..forbidden.details().cloned().unwrap_or_default()
    };
    Err(ApiError::new(403, reason, message, Some(details)))
}
