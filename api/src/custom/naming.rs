//! Which names a definition gets: those that no other of its group has.

use std::collections::BTreeSet;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::approval;
use super::conditions::{self, Condition, ESTABLISHED, NAMES_ACCEPTED};
use crate::object::{Fields, object_in};
use crate::quote::quote;

/// The names that definitions of a group have been given.
#[derive(Debug, Default)]
pub struct Taken {
    resources: BTreeSet<String>,
    kinds: BTreeSet<String>,
}

impl Taken {
    /// Adds the names of a definition.
    pub fn add(&mut self, definition: &Value) {
        let names = &definition["status"]["acceptedNames"];
        let short = names.items("shortNames").iter().filter_map(Value::as_str);
        let resources = [names.text("plural"), names.text("singular")];
        self.resources
            .extend(resources.into_iter().chain(short).map(str::to_owned));
        let kinds = [names.text("kind"), names.text("listKind")];
        self.kinds.extend(kinds.map(str::to_owned));
    }
}

/// The definition with the names that it may have, and what is said about them; nothing where that is so already.
///
/// `taken` are the names of all definitions of its group. Upstream calls a definition established a moment after its names
/// are accepted, so that every server has come to serve it; here it is served by whoever writes this.
pub fn settle(definition: &Value, taken: &Taken, now: Timestamp) -> Option<Value> {
    let (names, fault) = accepted(definition, taken);
    // Only the status may change: the rest can be large, and is copied where something has.
    let mut settled = json!({"status": definition.get("status").unwrap_or(&Value::Null)});
    let (reason, message) = fault.unwrap_or(("NoConflicts", "no conflicts found".to_owned()));
    let accepted = reason == "NoConflicts";
    let named = Condition {
        ty: NAMES_ACCEPTED,
        status: accepted,
        reason,
        message,
    };
    if let Some(status) = settled.as_object_mut().and_then(|o| object_in(o, "status")) {
        status.insert("acceptedNames".to_owned(), names);
    }
    conditions::set(&mut settled, &named, now);
    if !conditions::is_true(definition, ESTABLISHED) {
        conditions::set(&mut settled, &established(accepted), now);
    }
    if let Some(condition) = approval::condition(definition) {
        conditions::set(&mut settled, &condition, now);
    }
    let status = settled["status"].take();
    (Some(&status) != definition.get("status")).then(|| with_status(definition, status))
}

fn with_status(definition: &Value, status: Value) -> Value {
    let fields = definition.as_object().into_iter().flatten();
    let others = fields.filter(|(name, _)| *name != "status");
    let others = others.map(|(name, value)| (name.clone(), value.clone()));
    others.chain([("status".to_owned(), status)]).collect()
}

fn established(accepted: bool) -> Condition {
    let (reason, message) = if accepted {
        ("InitialNamesAccepted", "the initial names have been accepted")
    } else {
        ("NotAccepted", "not all names are accepted")
    };
    Condition {
        ty: ESTABLISHED,
        status: accepted,
        reason,
        message: message.to_owned(),
    }
}

/// The names that it has from now on, and the last reason why it does not have all that it asks for.
fn accepted(definition: &Value, taken: &Taken) -> (Value, Option<(&'static str, String)>) {
    let (wanted, own) = (
        &definition["spec"]["names"],
        &definition["status"]["acceptedNames"],
    );
    let mut names = own.as_object().cloned().unwrap_or_default();
    let mut fault = None;
    let mut claim = |field: &str, used: &BTreeSet<String>, reason: &'static str| {
        let name = wanted.text(field);
        if name == own.text(field) || !used.contains(name) {
            names.insert(field.to_owned(), name.into());
        } else {
            fault = Some((reason, in_use(name)));
        }
    };
    claim("plural", &taken.resources, "PluralConflict");
    claim("singular", &taken.resources, "SingularConflict");
    let short_names = short_names(wanted, own, taken);
    claim("kind", &taken.kinds, "KindConflict");
    claim("listKind", &taken.kinds, "ListKindConflict");
    let lists: &[&str] = match short_names {
        None => &["shortNames", "categories"],
        Some(_) => &["categories"],
    };
    for field in lists {
        match wanted.field(field) {
            Some(list) => names.insert((*field).to_owned(), list.clone()),
            None => names.remove(*field),
        };
    }
    let is_of_kind = |(reason, _): &(&str, String)| reason.contains("Kind");
    let short_names = short_names.map(|why| ("ShortNamesConflict", why));
    let fault = match fault {
        Some(fault) if is_of_kind(&fault) => Some(fault),
        fault => short_names.or(fault),
    };
    (Value::Object(names), fault)
}

fn in_use(name: &str) -> String {
    format!("{} is already in use", quote(name))
}

/// Which short names belong to somebody else.
fn short_names(wanted: &Value, own: &Value, taken: &Taken) -> Option<String> {
    let own = own.items("shortNames");
    let new = wanted
        .items("shortNames")
        .iter()
        .filter(|name| !own.contains(name));
    let faults: Vec<String> = new
        .filter_map(Value::as_str)
        .filter(|name| taken.resources.contains(*name))
        .map(in_use)
        .collect();
    match &faults[..] {
        [] => None,
        [only] => Some(only.clone()),
        several => Some(format!("[{}]", several.join(", "))),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn definition(plural: &str, kind: &str, short: &[&str]) -> Value {
        json!({"spec": {"group": "example.com", "names": {"plural": plural, "singular": kind.to_lowercase(), "kind": kind,
            "listKind": format!("{kind}List"), "shortNames": short}}})
    }

    fn settle_with(definition: &Value, others: &[Value]) -> Option<Value> {
        let mut taken = Taken::default();
        others
            .iter()
            .chain([definition])
            .for_each(|other| taken.add(other));
        settle(definition, &taken, "2026-11-22T06:22:39Z".parse().unwrap())
    }

    fn condition(definition: &Value, ty: &str) -> (String, String, String) {
        let conditions = definition["status"].items("conditions");
        let found = conditions.iter().find(|other| other.text("type") == ty).unwrap();
        let text = |name: &str| found.text(name).to_owned();
        (text("status"), text("reason"), text("message"))
    }

    #[test]
    fn free_names_are_accepted_once() {
        let settled = settle_with(&definition("widgets", "Widget", &["wd"]), &[]).unwrap();
        assert_eq!(settled["status"]["acceptedNames"], settled["spec"]["names"]);
        let (status, reason, message) = condition(&settled, NAMES_ACCEPTED);
        assert_eq!(
            (status.as_str(), reason.as_str(), message.as_str()),
            ("True", "NoConflicts", "no conflicts found")
        );
        assert_eq!(condition(&settled, ESTABLISHED).1, "InitialNamesAccepted");
        assert_eq!(settle_with(&settled, &[]), None);
    }

    #[test]
    fn names_of_others_are_not() {
        let first = settle_with(&definition("widgets", "Widget", &["wd"]), &[]).unwrap();
        let table = [
            (
                definition("others", "Other", &["wd"]),
                "ShortNamesConflict",
                "\"wd\" is already in use",
            ),
            (
                definition("others", "Widget", &[]),
                "ListKindConflict",
                "\"WidgetList\" is already in use",
            ),
            (
                definition("widgets", "Other", &[]),
                "PluralConflict",
                "\"widgets\" is already in use",
            ),
        ];
        for (second, reason, message) in table {
            let settled = settle_with(&second, std::slice::from_ref(&first)).unwrap();
            let found = condition(&settled, NAMES_ACCEPTED);
            assert_eq!(found, ("False".to_owned(), reason.to_owned(), message.to_owned()));
            assert_eq!(condition(&settled, ESTABLISHED).1, "NotAccepted");
        }
    }

    #[test]
    fn a_definition_once_established_stays_so() {
        let first = settle_with(&definition("widgets", "Widget", &["wd"]), &[]).unwrap();
        let mut second = settle_with(&definition("gadgets", "Gadget", &["gd"]), &[]).unwrap();
        second["spec"]["names"]["shortNames"] = json!(["wd"]);
        let settled = settle_with(&second, &[first]).unwrap();
        assert_eq!(condition(&settled, NAMES_ACCEPTED).0, "False");
        assert_eq!(condition(&settled, ESTABLISHED).0, "True");
        assert_eq!(settled["status"]["acceptedNames"]["shortNames"], json!(["gd"]));
    }
}
