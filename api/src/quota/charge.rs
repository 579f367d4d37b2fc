//! What a write is charged to the quotas of its namespace, or why they do not allow it.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde_json::Value;

use super::{Counted, applies, scopes, tracked, usage};
use crate::amounts::{self, Amounts};
use crate::object::Fields;
use crate::quantity::Quantity;

/// A write, as quotas see it. Without an old object it makes a new one.
#[derive(Clone, Copy, Debug)]
pub struct Write<'a> {
    /// What is written.
    pub counted: Counted<'a>,
    /// To which part of it; empty for the object itself.
    pub subresource: &'a str,
    /// The object as it is to be.
    pub object: &'a Value,
    /// The object as it is.
    pub old: Option<&'a Value>,
    /// Now.
    pub now: Timestamp,
}

/// What one quota's `status.used` becomes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Charge {
    /// Which of the quotas that were looked at.
    pub quota: usize,
    /// What is used then.
    pub used: Amounts,
}

impl Write<'_> {
    /// Whether such a write can use more than before.
    pub fn is_charged(&self) -> bool {
        let Counted { group, resource } = self.counted;
        match (group, resource, self.subresource, self.old) {
            ("", "pods", "", Some(old)) => scopes::is_terminating(old) != scopes::is_terminating(self.object),
            ("", "pods", "resize", Some(_)) | ("", "persistentvolumeclaims", "status", Some(_)) => true,
            ("", "services" | "persistentvolumeclaims", "", _)
            | ("resource.k8s.io", "resourceclaims", "", _) => true,
            (_, _, "", None) => self.counted.is_countable(),
            _ => false,
        }
    }

    /// What the write uses besides what the quota counts already.
    fn delta(&self, quota: &Value) -> Amounts {
        let mut delta = usage(self.counted, self.object, self.now);
        if let Some(old) = self.old.filter(|old| applies(quota, self.counted, old)) {
            let before = usage(self.counted, old, self.now);
            for (name, amount) in &mut delta {
                if let Some(before) = before.get(name) {
                    *amount = amount.minus(before).max(Quantity::ZERO);
                }
            }
        }
        delta.retain(|_, amount| !amount.is_zero());
        delta
    }
}

/// The charges of a write.
///
/// # Errors
/// Why the first quota that does not allow it does not, in upstream's words.
pub fn charge(write: &Write<'_>, quotas: &[&Value]) -> Result<Vec<Charge>, String> {
    if !write.is_charged() {
        return Ok(Vec::new());
    }
    let mut concerned = Vec::new();
    for (index, quota) in quotas.iter().enumerate() {
        let names = tracked(write.counted, &amounts::read(&quota["status"]["hard"]));
        if names.is_empty() || !applies(quota, write.counted, write.object) {
            continue;
        }
        let name = quota["metadata"].text("name");
        if let Some(missing) = missing(write, &names) {
            return Err(format!("failed quota: {name}: must specify {missing}"));
        }
        if !names.iter().all(|name| quota["status"]["used"].has(name)) {
            let names = joined(names.iter().map(String::as_str));
            return Err(format!("status unknown for quota: {name}, resources: {names}"));
        }
        concerned.push(index);
    }
    let mut charges = Vec::new();
    for index in concerned {
        if let Some(used) = charged(write, quotas[index])? {
            charges.push(Charge { quota: index, used });
        }
    }
    Ok(charges)
}

/// What is used of a quota after the write; none where that is what is used already.
fn charged(write: &Write<'_>, quota: &Value) -> Result<Option<Amounts>, String> {
    let status = &quota["status"];
    let (hard, used) = (amounts::read(&status["hard"]), amounts::read(&status["used"]));
    let mut delta = write.delta(quota);
    if let Some((name, _)) = delta.iter().find(|(_, amount)| **amount < Quantity::ZERO) {
        return Err(format!("quota usage is negative for resource(s): {name}"));
    }
    delta.retain(|name, _| hard.contains_key(name));
    if delta.is_empty() {
        return Ok(None);
    }
    let mut total = used.clone();
    amounts::add(&mut total, &delta);
    let exceeded: BTreeSet<&String> = delta.keys().filter(|name| total[*name] > hard[*name]).collect();
    if exceeded.is_empty() || write.subresource == "status" {
        return Ok(Some(total));
    }
    let shown = |amounts: &Amounts| {
        let of = amounts.iter().filter(|(name, _)| exceeded.contains(name));
        let parts: Vec<String> = of.map(|(name, amount)| format!("{name}={amount}")).collect();
        parts.join(",")
    };
    Err(format!(
        "exceeded quota: {}, requested: {}, used: {}, limited: {}",
        quota["metadata"].text("name"),
        shown(&delta),
        shown(&used),
        shown(&hard)
    ))
}

/// Which amounts containers of a pod would have to state for quotas to count them, and which containers do not.
fn missing(write: &Write<'_>, names: &BTreeSet<String>) -> Option<String> {
    const STATED: [&str; 6] = [
        "cpu",
        "limits.cpu",
        "limits.memory",
        "memory",
        "requests.cpu",
        "requests.memory",
    ];
    let spec = &write.object["spec"];
    let whole = ["requests", "limits"].iter().any(|kind| {
        spec["resources"]
            .entries(kind)
            .any(|(name, _)| amounts::is_of_pods(name))
    });
    if write.counted != Counted::new("", "pods") || whole {
        return None;
    }
    let mut missing: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    let init = spec.items("initContainers");
    for container in spec.items("containers").iter().chain(init) {
        let [requests, limits] =
            ["requests", "limits"].map(|kind| amounts::read(&container["resources"][kind]));
        let stated = usage::by_names(&requests, &limits);
        for name in STATED {
            if names.contains(name) && !stated.contains_key(name) {
                missing.entry(name).or_default().insert(container.text("name"));
            }
        }
    }
    let told = |(name, containers): (&str, BTreeSet<&str>)| format!("{name} for: {}", joined(containers));
    let told: Vec<String> = missing.into_iter().map(told).collect();
    (!told.is_empty()).then(|| told.join("; "))
}

fn joined<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    names.into_iter().collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn write<'a>(resource: &'a str, object: &'a Value, old: Option<&'a Value>) -> Write<'a> {
        Write {
            counted: Counted::new("", resource),
            subresource: "",
            object,
            old,
            now: Timestamp::UNIX_EPOCH,
        }
    }

    fn quota(hard: &Value, used: &Value) -> Value {
        json!({"metadata": {"name": "q"}, "spec": {"hard": hard}, "status": {"hard": hard, "used": used}})
    }

    fn pod(cpu: &str) -> Value {
        json!({"spec": {"containers": [{"name": "c", "resources": {"requests": {"cpu": cpu}}}]}})
    }

    #[test]
    fn what_fits_is_charged_and_what_does_not_is_refused() {
        let quota = quota(
            &json!({"pods": "2", "requests.cpu": "1"}),
            &json!({"pods": "1", "requests.cpu": "500m"}),
        );
        let charges = charge(&write("pods", &pod("500m"), None), &[&quota]).unwrap();
        assert_eq!(
            amounts::write(&charges[0].used),
            json!({"pods": "2", "requests.cpu": "1"})
        );
        assert_eq!(
            charge(&write("pods", &pod("600m"), None), &[&quota]),
            Err("exceeded quota: q, requested: requests.cpu=600m, used: requests.cpu=500m, limited: requests.cpu=1".to_owned())
        );
        assert_eq!(charge(&write("secrets", &json!({}), None), &[&quota]), Ok(vec![]));
    }

    #[test]
    fn pods_must_state_what_is_counted() {
        let hard = json!({"limits.cpu": "1", "limits.memory": "1Gi"});
        let quota = quota(&hard, &json!({"limits.cpu": "0", "limits.memory": "0"}));
        assert_eq!(
            charge(&write("pods", &pod("1"), None), &[&quota]),
            Err("failed quota: q: must specify limits.cpu for: c; limits.memory for: c".to_owned())
        );
    }

    #[test]
    fn nothing_is_written_before_the_usage_is_known() {
        let quota = quota(&json!({"secrets": "1"}), &json!({}));
        assert_eq!(
            charge(&write("secrets", &json!({}), None), &[&quota]),
            Err("status unknown for quota: q, resources: secrets".to_owned())
        );
    }

    #[test]
    fn updates_are_charged_for_what_they_add() {
        let quota = quota(
            &json!({"services.nodeports": "2"}),
            &json!({"services.nodeports": "1"}),
        );
        let service = |ports: &[i64]| {
            let ports: Vec<Value> = ports.iter().map(|port| json!({ "port": port })).collect();
            json!({"spec": {"type": "NodePort", "ports": ports}})
        };
        let (one, two) = (service(&[1]), service(&[1, 2]));
        let charges = charge(&write("services", &two, Some(&one)), &[&quota]).unwrap();
        assert_eq!(
            amounts::write(&charges[0].used),
            json!({"services.nodeports": "2"})
        );
        assert_eq!(
            charge(&write("services", &one, Some(&two)), &[&quota]),
            Ok(vec![])
        );
        assert_eq!(
            charge(&write("pods", &pod("1"), Some(&pod("2"))), &[&quota]),
            Ok(vec![])
        );
    }
}
