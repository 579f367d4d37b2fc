//! What is amiss between services and the node ports that are held: each that a service names is held, each that is held is
//! named by a service, and by one alone. Pure; upstream's `portallocator.Repair`.

use std::collections::HashMap;
use std::sync::Arc;

use coracle_api::object::Fields;
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use super::settle::node_port;
use super::{HeldPorts, PortError, PortRange};
use crate::registry::services::repair::Finding;

/// How long a port may be held without a service that names it: a server of upstream's takes it first. That frees it at its
/// third look, of one every three minutes.
const LEAKED_AFTER: SignedDuration = SignedDuration::from_mins(6);

/// Ports that nobody names, and since when.
pub(in crate::registry::services) type Leaks = HashMap<u16, Timestamp>;

/// What is to be done about it.
#[derive(Debug, PartialEq)]
pub(in crate::registry::services) struct Plan {
    /// What should be stored.
    pub held: HeldPorts,
    pub leaks: Leaks,
    /// What is told of it.
    pub findings: Vec<Finding>,
    /// When it is to be looked at again, though nothing changes.
    pub again: Option<SignedDuration>,
}

/// What should be held of this server's range, by all services and by what is stored.
pub(in crate::registry::services) fn plan(
    services: &[Arc<Value>],
    stored: &HeldPorts,
    range: PortRange,
    known: &Leaks,
    now: Timestamp,
) -> Plan {
    let mut plan = Plan {
        held: HeldPorts::none_of(range),
        leaks: Leaks::new(),
        findings: Vec::new(),
        again: None,
    };
    for service in services {
        for port in claims(service) {
            plan.hold(service, port, stored);
        }
    }
    let unnamed: Vec<u16> = stored
        .iter()
        .filter(|port| !plan.held.has((*port).into()))
        .collect();
    for port in unnamed {
        plan.suspect(port, known, now);
    }
    plan
}

impl Plan {
    fn hold(&mut self, service: &Value, port: i64, stored: &HeldPorts) {
        let (reason, note) = match self.held.take(port) {
            Ok(()) if stored.has(port) => return,
            Ok(()) => (
                "PortNotAllocated",
                format!("Port {port} is not allocated; repairing"),
            ),
            Err(PortError::OutOfRange(range)) => (
                "PortOutOfRange",
                format!("Port {port} is not within the port range {range}; please recreate service"),
            ),
            Err(PortError::Allocated | PortError::Full | PortError::OtherRange) => (
                "PortAlreadyAllocated",
                format!("Port {port} was assigned to multiple services; please recreate service"),
            ),
        };
        self.findings.push(Finding::of_port(service, reason, note));
    }

    /// What nobody names stays held for a while.
    fn suspect(&mut self, port: u16, known: &Leaks, now: Timestamp) {
        let since = known.get(&port).copied().unwrap_or(now);
        let age = now.duration_since(since);
        if age >= LEAKED_AFTER {
            tracing::warn!(port, "a node port appears to have leaked and is free again");
            return;
        }
        // One that lies outside this server's range is none of its business.
        if self.held.take(port.into()).is_ok() {
            let left = LEAKED_AFTER - age;
            self.leaks.insert(port, since);
            self.again = Some(self.again.map_or(left, |other| other.min(left)));
        }
    }
}

/// The ports that a service claims: one claim for a number that several protocols share, two for one that is named twice.
fn claims(service: &Value) -> Vec<i64> {
    let mut claims = Vec::new();
    let mut seen: Vec<(i64, &str)> = Vec::new();
    for entry in service["spec"].items("ports") {
        let named = (node_port(entry), entry.text("protocol"));
        if named.0 == 0 {
            continue;
        }
        if seen.contains(&named) || !seen.iter().any(|(port, _)| *port == named.0) {
            claims.push(named.0);
        }
        seen.push(named);
    }
    let check = service["spec"].number("healthCheckNodePort").unwrap_or_default();
    let of_check = || seen.iter().filter(|(port, _)| *port == check);
    if check != 0 && (of_check().next().is_none() || of_check().any(|(_, protocol)| *protocol == "TCP")) {
        claims.push(check);
    }
    claims
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const NOW: &str = "2026-01-01T00:00:00Z";

    fn service(name: &str, ports: &[i64]) -> Arc<Value> {
        let ports: Vec<Value> = ports
            .iter()
            .map(|port| json!({"protocol": "TCP", "nodePort": port}))
            .collect();
        Arc::new(json!({
            "apiVersion": "v1", "kind": "Service", "metadata": {"name": name, "namespace": "default", "uid": name},
            "spec": {"type": "NodePort", "ports": ports},
        }))
    }

    fn range() -> PortRange {
        "30000-30063".parse().unwrap()
    }

    fn held(ports: &[i64]) -> HeldPorts {
        let mut held = HeldPorts::none_of(range());
        ports.iter().for_each(|port| held.take(*port).unwrap());
        held
    }

    fn planned(services: &[Arc<Value>], stored: &HeldPorts, known: &Leaks, seconds: i64) -> Plan {
        let now = NOW.parse::<Timestamp>().unwrap() + SignedDuration::from_secs(seconds);
        plan(services, stored, range(), known, now)
    }

    fn told(plan: &Plan) -> Vec<(&str, &str)> {
        let told = plan.findings.iter();
        told.map(|finding| (finding.reason, finding.note.as_str()))
            .collect()
    }

    #[test]
    fn where_all_is_well_nothing_changes() {
        let services = [service("a", &[30001, 30002]), service("none", &[0])];
        let stored = held(&[30001, 30002]);
        let plan = planned(&services, &stored, &Leaks::new(), 0);
        assert_eq!((plan.held, plan.findings.len(), plan.again), (stored, 0, None));
    }

    #[test]
    fn what_is_missing_or_double_or_outside_is_told() {
        let services = [service("a", &[30001, 80]), service("b", &[30001])];
        let plan = planned(&services, &held(&[]), &Leaks::new(), 0);
        assert_eq!(plan.held, held(&[30001]));
        assert_eq!(
            told(&plan),
            [
                ("PortNotAllocated", "Port 30001 is not allocated; repairing"),
                (
                    "PortOutOfRange",
                    "Port 80 is not within the port range 30000-30063; please recreate service"
                ),
                (
                    "PortAlreadyAllocated",
                    "Port 30001 was assigned to multiple services; please recreate service"
                ),
            ]
        );
        assert_eq!(plan.findings[2].about[3], "b");
    }

    #[test]
    fn what_nobody_names_is_free_after_a_while() {
        let stored = held(&[30005]);
        let first = planned(&[], &stored, &Leaks::new(), 0);
        assert_eq!((&first.held, first.again), (&stored, Some(LEAKED_AFTER)));
        let later = planned(&[], &stored, &first.leaks, 300);
        assert_eq!(
            (&later.held, later.again),
            (&stored, Some(SignedDuration::from_secs(60)))
        );
        let last = planned(&[], &stored, &later.leaks, 360);
        assert_eq!((last.held, last.leaks.len()), (held(&[]), 0));
        // Once it is named, it is forgotten that it was not.
        let named = planned(&[service("a", &[30005])], &stored, &later.leaks, 360);
        assert_eq!((named.held, named.leaks.len()), (stored, 0));
    }

    #[test]
    fn a_range_that_was_changed_is_taken_over() {
        let mut stored = HeldPorts::none_of("30000-40000".parse().unwrap());
        stored.take(30001).unwrap();
        stored.take(35000).unwrap();
        let plan = planned(&[service("a", &[30001])], &stored, &Leaks::new(), 0);
        assert_eq!((plan.held, plan.leaks.len()), (held(&[30001]), 0));
    }

    #[test]
    fn protocols_share_a_claim_and_health_checks_are_of_tcp() {
        let of = |spec: Value| claims(&json!({ "spec": spec }));
        let entry = |protocol: &str| json!({"protocol": protocol, "nodePort": 30001});
        assert_eq!(of(json!({"ports": [entry("TCP"), entry("UDP")]})), [30001]);
        assert_eq!(of(json!({"ports": [entry("TCP"), entry("TCP")]})), [30001, 30001]);
        assert_eq!(
            of(json!({"ports": [entry("UDP")], "healthCheckNodePort": 30001})),
            [30001]
        );
        assert_eq!(
            of(json!({"ports": [entry("TCP")], "healthCheckNodePort": 30001})),
            [30001, 30001]
        );
    }
}
