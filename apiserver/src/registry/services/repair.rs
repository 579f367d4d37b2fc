//! What is amiss between services and IPAddresses: each address of a service has an IPAddress that names the service, and
//! each IPAddress of the allocator's stands for an address that its service has. Pure; upstream's `RepairIPAddress`.
//!
//! Whatever writes here holds to that, in one transaction. It comes apart where data is older than IPAddresses, where somebody
//! changes an IPAddress by hand, and where another kind of server works on the same store.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;
use std::sync::Arc;

use coracle_api::object::Fields;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::addresses::Cidr;
use super::ledger::{self, FAMILY, MANAGED_BY, MANAGER};
use super::{families, ranges};
use crate::registry::meta;

/// How long an IPAddress may be there without the service that it was made for: servers of another make write it first.
const LEAKED_AFTER: SignedDuration = SignedDuration::from_secs(60);
/// How long an IPAddress may be there that its service does not have.
const WRONG_AFTER: SignedDuration = SignedDuration::from_secs(5);

/// What is to be done about it.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Plan {
    /// IPAddresses that are missing.
    pub make: Vec<Value>,
    /// Those that say something else than they should: they go, and these come.
    pub remake: Vec<Value>,
    /// The names of those that stand for nothing.
    pub remove: Vec<String>,
    /// What is told of it.
    pub findings: Vec<Finding>,
    /// When it is to be looked at again, though nothing changes.
    pub again: Option<SignedDuration>,
}

/// Something amiss, as an event tells it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Finding {
    /// `apiVersion`, kind, namespace, name and uid of what it is about.
    pub about: [String; 5],
    pub reason: &'static str,
    pub action: &'static str,
    pub note: String,
    /// Who tells it, by upstream's name.
    pub controller: &'static str,
}

impl Finding {
    fn new(about: &Value, reason: &'static str, action: &'static str, note: String) -> Self {
        let is_service = about["kind"] == "Service";
        let version = if is_service { "v1" } else { "networking.k8s.io/v1" };
        let kind = if is_service { "Service" } else { "IPAddress" };
        let [namespace, name, uid] = ["namespace", "name", "uid"].map(|field| meta::text(about, field));
        Self {
            about: [version, kind, namespace, name, uid].map(str::to_owned),
            reason,
            action,
            note,
            controller: "ipallocator-repair-controller",
        }
    }

    /// Something about a node port of a service.
    pub(super) fn of_port(service: &Value, reason: &'static str, note: String) -> Self {
        Self {
            controller: "portallocator-repair-controller",
            ..Self::new(service, reason, "PortAllocation", note)
        }
    }
}

/// Everything that is stored of it.
struct Seen<'a> {
    services: HashMap<(&'a str, &'a str), &'a Value>,
    addresses: HashMap<&'a str, &'a Value>,
    ranges: Vec<Cidr>,
    now: Timestamp,
}

/// What is to be done, by all services, IPAddresses and ServiceCIDRs.
pub(super) fn plan(
    services: &[Arc<Value>],
    addresses: &[Arc<Value>],
    service_cidrs: &[Arc<Value>],
    now: Timestamp,
) -> Plan {
    let seen = Seen {
        services: services
            .iter()
            .map(|service| {
                (
                    (meta::text(service, "namespace"), meta::text(service, "name")),
                    &**service,
                )
            })
            .collect(),
        addresses: addresses
            .iter()
            .map(|address| (meta::text(address, "name"), &**address))
            .collect(),
        ranges: service_cidrs
            .iter()
            .flat_map(|object| ranges::of(object))
            .collect(),
        now,
    };
    let mut plan = Plan::default();
    for service in services {
        for address in addresses_of(service) {
            seen.check_service(service, address, &mut plan);
        }
    }
    once_each(&mut plan.make);
    // What is made anew for a service is not looked at again for what it says now.
    let remade = once_each(&mut plan.remake);
    for address in addresses {
        let name = meta::text(address, "name");
        if address["metadata"]["labels"].text(MANAGED_BY) == MANAGER && !remade.contains(name) {
            seen.check_address(address, &mut plan);
        }
    }
    plan
}

/// Of two services with one address, the first gets it. Answers the names that are left.
fn once_each(objects: &mut Vec<Value>) -> HashSet<String> {
    let mut names = HashSet::new();
    objects.retain(|object| names.insert(meta::text(object, "name").to_owned()));
    names
}

/// The addresses of a service, as it writes them.
fn addresses_of(service: &Value) -> Vec<&str> {
    let spec = &service["spec"];
    let has_some = spec.text("type") != "ExternalName" && !matches!(spec.text("clusterIP"), "" | "None");
    let listed = spec.items("clusterIPs").iter().filter_map(Value::as_str);
    if has_some { listed.collect() } else { Vec::new() }
}

impl Seen<'_> {
    fn check_service(&self, service: &Value, text: &str, plan: &mut Plan) {
        let mut tell = |reason, action, note| plan.findings.push(Finding::new(service, reason, action, note));
        let Ok(address) = text.parse::<IpAddr>() else {
            let note = format!("Cluster IP {text} is not a valid IP; please recreate Service");
            return tell("ClusterIPNotValid", "ClusterIPValidation", note);
        };
        let family = families::name(address.is_ipv6());
        let mut tell = |reason, note| tell(reason, "ClusterIPAllocation", note);
        if !ranges::give(&self.ranges, address) {
            let note = format!(
                "Cluster IP [{family}]: {address} is not within any configured Service CIDR; please recreate service"
            );
            return tell("ClusterIPOutOfRange", note);
        }
        let (namespace, name) = (meta::text(service, "namespace"), meta::text(service, "name"));
        let wanted = ledger::ip_address(address, namespace, name);
        let Some(current) = self.addresses.get(address.to_string().as_str()).copied() else {
            tell(
                "ClusterIPNotAllocated",
                format!("Cluster IP [{family}]: {address} is not allocated; repairing"),
            );
            plan.make.push(wanted);
            return;
        };
        let wrong = format!(
            "the ClusterIP [{family}]: {address} for Service {namespace}/{name} has a wrong reference; repairing"
        );
        match self.holder(current) {
            _ if ledger::is_of(current, namespace, name) => {
                if !is_labelled(current, family) {
                    plan.remake.push(wanted);
                }
            }
            Holder::Service(other) if addresses_of(other).contains(&text) => {
                let note = format!(
                    "Cluster IP [{family}]:{address} was assigned to multiple services; please recreate service"
                );
                tell("ClusterIPAlreadyAllocated", note);
            }
            Holder::Service(_) | Holder::Gone | Holder::Other => {
                tell("ClusterIPNotAllocated", wrong);
                plan.remake.push(wanted);
            }
        }
    }

    fn holder(&self, ip_address: &Value) -> Holder<'_> {
        if !ledger::is_of_a_service(ip_address) {
            return Holder::Other;
        }
        let parent = &ip_address["spec"]["parentRef"];
        let found = self
            .services
            .get(&(parent.text("namespace"), parent.text("name")));
        found.map_or(Holder::Gone, |service| Holder::Service(service))
    }

    /// An IPAddress that the allocator made and that may stand for nothing.
    fn check_address(&self, object: &Value, plan: &mut Plan) {
        let (name, parent) = (meta::text(object, "name"), &object["spec"]["parentRef"]);
        let of = format!("{}/{}", parent.text("namespace"), parent.text("name"));
        let age = self.age(object);
        let (patience, reason, note) = match self.holder(object) {
            Holder::Service(service) if addresses_of(service).contains(&name) => return,
            Holder::Service(service) => {
                // A service that has just become one with an address gets it a moment later from servers of another make.
                let awaits = service["spec"].text("type") == "ExternalName";
                let patience = if awaits { LEAKED_AFTER } else { WRONG_AFTER };
                let note = format!("IPAddress: {name} for Service {of} has a wrong reference; cleaning up");
                (patience, "IPAddressWrongReference", note)
            }
            Holder::Gone => {
                let note = format!("IPAddress: {name} for Service {of} appears to have leaked: cleaning up");
                (LEAKED_AFTER, "IPAddressNotAllocated", note)
            }
            Holder::Other => {
                let note = format!(
                    "IPAddress {name} appears to have been modified, not referencing a Service {}: cleaning up",
                    go_reference(parent)
                );
                (SignedDuration::ZERO, "IPAddressNotAllocated", note)
            }
        };
        if age < patience {
            let left = patience - age;
            plan.again = Some(plan.again.map_or(left, |other| other.min(left)));
            return;
        }
        plan.findings
            .push(Finding::new(object, reason, "IPAddressAllocation", note));
        plan.remove.push(name.to_owned());
    }

    fn age(&self, object: &Value) -> SignedDuration {
        let created = meta::text(object, "creationTimestamp").parse::<Timestamp>();
        created.map_or(SignedDuration::MAX, |created| self.now.duration_since(created))
    }
}

/// Whom an IPAddress stands for.
enum Holder<'a> {
    Service(&'a Value),
    /// A service that is not there.
    Gone,
    /// Something that is no service.
    Other,
}

fn is_labelled(ip_address: &Value, family: &str) -> bool {
    let labels = &ip_address["metadata"]["labels"];
    labels.text(FAMILY) == family && labels.text(MANAGED_BY) == MANAGER
}

/// A reference as Go prints a pointer to a struct of it.
fn go_reference(parent: &Value) -> String {
    let [group, resource, namespace, name] =
        ["group", "resource", "namespace", "name"].map(|field| parent.text(field).to_owned());
    format!("&ParentReference{{Group:{group},Resource:{resource},Namespace:{namespace},Name:{name},}}")
}

/// The event that tells of a finding, as upstream's recorder for `events.k8s.io` writes it.
pub(super) fn event(finding: &Finding, now: Timestamp) -> Value {
    let [version, kind, namespace, name, uid] = &finding.about;
    let home = if namespace.is_empty() {
        "default"
    } else {
        namespace
    };
    json!({
        "apiVersion": "v1", "kind": "Event",
        "metadata": {"name": format!("{name}.{:x}", now.as_nanosecond()), "namespace": home},
        "involvedObject": {"apiVersion": version, "kind": kind, "namespace": namespace, "name": name, "uid": uid},
        "reason": finding.reason, "message": finding.note, "type": "Warning", "action": finding.action,
        "eventTime": now.strftime("%Y-%m-%dT%H:%M:%S.%6fZ").to_string(),
        "reportingComponent": finding.controller, "reportingInstance": finding.controller, "source": {},
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const BORN: &str = "2026-01-01T00:00:00Z";

    fn service(name: &str, address: &str) -> Arc<Value> {
        Arc::new(json!({
            "apiVersion": "v1", "kind": "Service", "metadata": {"name": name, "namespace": "default", "uid": name},
            "spec": {"type": "ClusterIP", "clusterIP": address, "clusterIPs": [address]},
        }))
    }

    fn address(text: &str, service: &str) -> Value {
        let mut object = ledger::ip_address(text.parse().unwrap(), "default", service);
        object["metadata"]["creationTimestamp"] = json!(BORN);
        object
    }

    /// The plan some seconds after the IPAddresses were made.
    fn planned(services: &[Arc<Value>], addresses: Vec<Value>, seconds: i64) -> Plan {
        let addresses: Vec<_> = addresses.into_iter().map(Arc::new).collect();
        let cidr = Arc::new(json!({"spec": {"cidrs": ["10.0.0.0/24"]}}));
        let now = BORN.parse::<Timestamp>().unwrap() + SignedDuration::from_secs(seconds);
        plan(services, &addresses, &[cidr], now)
    }

    fn told(plan: &Plan) -> Vec<(&str, &str)> {
        plan.findings
            .iter()
            .map(|finding| (finding.reason, finding.note.as_str()))
            .collect()
    }

    #[test]
    fn where_all_is_well_there_is_nothing_to_do() {
        let services = [service("a", "10.0.0.9"), service("none", "None")];
        assert_eq!(
            planned(&services, vec![address("10.0.0.9", "a")], 3600),
            Plan::default()
        );
    }

    #[test]
    fn a_missing_address_is_made_once() {
        let plan = planned(
            &[service("a", "10.0.0.9"), service("b", "10.0.0.9")],
            Vec::new(),
            0,
        );
        assert_eq!(plan.make.len(), 1);
        assert_eq!(plan.make[0]["spec"]["parentRef"]["name"], "a");
        let note = "Cluster IP [IPv4]: 10.0.0.9 is not allocated; repairing";
        assert_eq!(told(&plan)[0], ("ClusterIPNotAllocated", note));
    }

    #[test]
    fn an_address_of_somebody_else_is_made_anew_unless_that_one_has_it() {
        let services = [service("a", "10.0.0.9"), service("b", "10.0.0.9")];
        let plan = planned(&services, vec![address("10.0.0.9", "b")], 0);
        let note = "Cluster IP [IPv4]:10.0.0.9 was assigned to multiple services; please recreate service";
        assert_eq!(told(&plan), [("ClusterIPAlreadyAllocated", note)]);
        assert!(plan.remake.is_empty() && plan.remove.is_empty());

        let mut foreign = address("10.0.0.9", "a");
        foreign["spec"]["parentRef"]["resource"] = json!("gateways");
        let mut bare = address("10.0.0.9", "a");
        bare["metadata"]["labels"] = json!({});
        for (wrong, tells) in [(address("10.0.0.9", "gone"), 1), (foreign, 1), (bare, 0)] {
            let plan = planned(&services[..1], vec![wrong], 0);
            assert_eq!(
                plan.remake,
                [ledger::ip_address("10.0.0.9".parse().unwrap(), "default", "a")]
            );
            assert_eq!((plan.findings.len(), plan.remove.len()), (tells, 0));
        }
    }

    #[test]
    fn what_stands_for_nothing_goes_after_a_while() {
        let leaked = || vec![address("10.0.0.7", "gone")];
        let early = planned(&[], leaked(), 20);
        assert_eq!(
            (early.again, early.remove.len()),
            (Some(SignedDuration::from_secs(40)), 0)
        );
        let late = planned(&[], leaked(), 61);
        let note = "IPAddress: 10.0.0.7 for Service default/gone appears to have leaked: cleaning up";
        assert_eq!(
            (told(&late), late.remove.clone()),
            (vec![("IPAddressNotAllocated", note)], vec!["10.0.0.7".to_owned()])
        );

        let services = [service("a", "10.0.0.9")];
        let both = || vec![address("10.0.0.9", "a"), address("10.0.0.7", "a")];
        assert!(planned(&services, both(), 4).remove.is_empty());
        let plan = planned(&services, both(), 6);
        assert_eq!(plan.remove, ["10.0.0.7"]);
        assert_eq!(plan.findings[0].reason, "IPAddressWrongReference");
        let mut of_others = address("10.0.0.7", "gone");
        of_others["metadata"]["labels"][MANAGED_BY] = json!("me");
        assert_eq!(planned(&[], vec![of_others], 3600), Plan::default());
    }

    #[test]
    fn what_lies_outside_is_told_and_left_alone() {
        let plan = planned(&[service("a", "10.9.0.9")], Vec::new(), 0);
        let note =
            "Cluster IP [IPv4]: 10.9.0.9 is not within any configured Service CIDR; please recreate service";
        assert_eq!(
            (told(&plan), plan.make.len()),
            (vec![("ClusterIPOutOfRange", note)], 0)
        );
    }
}
