//! Policies and their bindings as they are stored, compiled once per generation.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use coracle_api::cel::policy::Policy;
use coracle_api::object::Fields;
use serde_json::Value;

use super::name_of;
use super::params::{ParamKind, ParamRef};
use super::scope::Scope;
use crate::reader::{GroupResource, ObjectReader, Prepared};

/// The two kinds of policies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sort {
    Validating,
    Mutating,
}

/// A policy that is bound.
#[derive(Debug)]
pub(super) struct Installed {
    pub(super) name: String,
    pub(super) policy: Arc<Policy>,
    pub(super) scope: Scope,
    /// Whether what goes wrong counts as a yes.
    pub(super) fails_open: bool,
    pub(super) param_kind: Option<ParamKind>,
    /// Whether it wants to see what others changed after it.
    pub(super) reinvoked: bool,
    pub(super) bindings: Vec<Binding>,
}

/// A binding of a policy.
#[derive(Debug)]
pub(super) struct Binding {
    pub(super) name: String,
    /// None where it concerns whatever its policy does.
    pub(super) scope: Option<Scope>,
    pub(super) params: Option<ParamRef>,
    /// `Deny`, `Warn`, `Audit`.
    pub(super) actions: Vec<String>,
}

impl Sort {
    /// The plugin that has to be on for them to count.
    pub(super) fn plugin(self) -> &'static str {
        match self {
            Self::Validating => "ValidatingAdmissionPolicy",
            Self::Mutating => "MutatingAdmissionPolicy",
        }
    }

    fn resources(self) -> [GroupResource; 2] {
        let of = |resource| GroupResource::new("admissionregistration.k8s.io", resource);
        match self {
            Self::Validating => [
                of("validatingadmissionpolicies"),
                of("validatingadmissionpolicybindings"),
            ],
            Self::Mutating => [
                of("mutatingadmissionpolicies"),
                of("mutatingadmissionpolicybindings"),
            ],
        }
    }
}

/// What was compiled, by uid and generation.
type Compiled = HashMap<(String, i64), Arc<Policy>>;

/// The policies of a kind that are bound, by name; none where they do not count.
pub(super) fn prepared(sort: Sort, counts: bool, reader: &dyn ObjectReader) -> Prepared<Vec<Installed>> {
    let compiled = Mutex::new(Compiled::new());
    Prepared::new(&sort.resources(), reader, move |reader| {
        if !counts {
            return Vec::new();
        }
        let mut compiled = compiled.lock().unwrap_or_else(PoisonError::into_inner);
        installed(sort, reader, &mut compiled)
    })
}

fn installed(sort: Sort, reader: &dyn ObjectReader, compiled: &mut Compiled) -> Vec<Installed> {
    let [policies, bindings] = sort.resources();
    let mut bound: HashMap<String, Vec<Binding>> = HashMap::new();
    for binding in reader.list(&bindings, "") {
        let policy = binding["spec"].text("policyName").to_owned();
        bound.entry(policy).or_default().push(Binding::read(&binding));
    }
    let mut known = std::mem::take(compiled);
    let mut all = Vec::new();
    for policy in reader.list(&policies, "") {
        let Some(mut bindings) = bound.remove(name_of(&policy)) else {
            continue;
        };
        bindings.sort_by(|a, b| a.name.cmp(&b.name));
        let metadata = &policy["metadata"];
        let key = (
            metadata.text("uid").to_owned(),
            metadata.number("generation").unwrap_or_default(),
        );
        let made = known
            .remove(&key)
            .unwrap_or_else(|| Arc::new(Policy::compile(&policy["spec"])));
        compiled.insert(key, Arc::clone(&made));
        all.push(Installed::read(&policy, made, bindings));
    }
    all.sort_by(|a, b| a.name.cmp(&b.name));
    all
}

impl Installed {
    fn read(policy: &Value, compiled: Arc<Policy>, bindings: Vec<Binding>) -> Self {
        let spec = &policy["spec"];
        Self {
            name: name_of(policy).to_owned(),
            policy: compiled,
            scope: Scope::read(&spec["matchConstraints"]),
            fails_open: spec.text("failurePolicy") == "Ignore",
            param_kind: spec.field("paramKind").map(ParamKind::read),
            reinvoked: spec.text("reinvocationPolicy") == "IfNeeded",
            bindings,
        }
    }
}

impl Binding {
    fn read(binding: &Value) -> Self {
        let spec = &binding["spec"];
        let actions = spec.items("validationActions").iter();
        Self {
            name: name_of(binding).to_owned(),
            scope: spec.field("matchResources").map(Scope::read),
            params: spec.field("paramRef").map(ParamRef::read),
            actions: actions
                .filter_map(|action| action.as_str().map(ToOwned::to_owned))
                .collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::reader::memory::MemoryReader;

    #[test]
    fn policies_are_compiled_once_per_generation() {
        let reader = MemoryReader::default();
        let [policies, bindings] = Sort::Validating.resources();
        let put = |name: &str, generation: i64, status: &str| {
            let metadata = json!({"name": name, "uid": name, "generation": generation});
            let validations = json!([{"expression": "true"}]);
            let object =
                json!({"metadata": metadata, "spec": {"validations": validations}, "status": status});
            reader.put(&policies, object);
        };
        let all = prepared(Sort::Validating, true, &reader);
        put("a", 1, "");
        put("unbound", 1, "");
        assert!(all.now(&reader).is_empty());
        let binding =
            json!({"metadata": {"name": "b"}, "spec": {"policyName": "a", "validationActions": ["Deny"]}});
        reader.put(&bindings, binding);
        let first = all.now(&reader);
        assert_eq!(first.len(), 1);
        put("a", 1, "looked at");
        let again = all.now(&reader);
        assert!(!Arc::ptr_eq(&first, &again));
        assert!(Arc::ptr_eq(&first[0].policy, &again[0].policy));
        put("a", 2, "");
        assert!(!Arc::ptr_eq(&first[0].policy, &all.now(&reader)[0].policy));
    }
}
