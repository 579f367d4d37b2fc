//! The pod that is judged, and words for those in it that break a rule.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::object::Fields;

/// A pod, or the pod that a template makes.
pub(super) struct Subject<'a> {
    /// Its metadata.
    pub(super) metadata: &'a Value,
    /// Its spec.
    pub(super) spec: &'a Value,
}

/// What breaks a rule: always a short reason, and details that name containers and values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Violation {
    pub(super) reason: String,
    pub(super) detail: String,
}

impl Violation {
    /// Of a reason and what there is to say about it.
    #[allow(clippy::unnecessary_wraps, reason = "it is the answer of a check")]
    pub(super) fn because(reason: &str, detail: String) -> Option<Self> {
        Some(Self {
            reason: reason.to_owned(),
            detail,
        })
    }
}

impl<'a> Subject<'a> {
    /// Init containers, containers, ephemeral containers.
    pub(super) fn containers(&self) -> impl Iterator<Item = &'a Value> {
        ["initContainers", "containers", "ephemeralContainers"]
            .into_iter()
            .flat_map(|list| self.spec.items(list))
    }

    /// The names of the containers of which something holds.
    pub(super) fn which(&self, mut holds: impl FnMut(&Value) -> bool) -> Vec<&'a str> {
        self.containers()
            .filter(|container| holds(container))
            .map(|container| container.text("name"))
            .collect()
    }

    /// Whether it is for Windows, where Linux's rules mean nothing.
    pub(super) fn is_windows(&self) -> bool {
        self.spec["os"].text("name") == "windows"
    }

    /// Whether its root is nobody on the node (`hostUsers: false`).
    pub(super) fn has_own_users(&self) -> bool {
        self.spec.field("hostUsers").and_then(Value::as_bool) == Some(false)
    }
}

/// The security context of a pod's spec or of a container; null where there is none.
pub(super) fn context(holder: &Value) -> &Value {
    &holder["securityContext"]
}

/// A flag that may be unset.
pub(super) fn flag(object: &Value, name: &str) -> Option<bool> {
    object.field(name).and_then(Value::as_bool)
}

/// `one` or `many`, by a count.
pub(super) fn plural<'a>(one: &'a str, many: &'a str, count: usize) -> &'a str {
    if count == 1 { one } else { many }
}

/// Each in double quotes, without escapes, as upstream writes them.
pub(super) fn quoted<S: AsRef<str>>(items: impl IntoIterator<Item = S>) -> String {
    let quoted = items.into_iter().map(|item| format!("\"{}\"", item.as_ref()));
    quoted.collect::<Vec<_>>().join(", ")
}

/// `container "a"`, `containers "a", "b"`.
pub(super) fn containers(names: &[&str]) -> String {
    let word = plural("container", "containers", names.len());
    format!("{word} {}", quoted(names))
}

/// Who sets something: the pod, these containers, or both. None where nobody does.
pub(super) fn setters(pod: bool, names: &[&str]) -> Option<String> {
    match (pod, names.is_empty()) {
        (false, true) => None,
        (true, true) => Some("pod".to_owned()),
        (false, false) => Some(containers(names)),
        (true, false) => Some(format!("pod and {}", containers(names))),
    }
}

/// Who has a value that is not allowed in `field` of the security context, and all those values.
pub(super) fn bad_values(
    subject: &Subject<'_>,
    bad: impl Fn(&Value) -> Option<String>,
) -> Option<(String, BTreeSet<String>)> {
    let mut values = BTreeSet::new();
    let mut is_bad = |holder: &Value| match bad(context(holder)) {
        Some(value) => {
            values.insert(value);
            true
        }
        None => false,
    };
    let pod = is_bad(subject.spec);
    let names = subject.which(is_bad);
    setters(pod, &names).map(|who| (who, values))
}
