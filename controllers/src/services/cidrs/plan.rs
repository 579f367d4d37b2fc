//! What a ServiceCIDR needs: a finalizer and a condition, or to be let go. Pure.

use ipnet::IpNet;
use jiff::Timestamp;
use k8s_openapi::api::networking::v1::{IPAddress, ServiceCIDR};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

/// What keeps a ServiceCIDR while addresses need it.
const FINALIZER: &str = "networking.k8s.io/service-cidr-finalizer";

/// How long one that nothing needs is kept: until API servers are certain to know that it goes, so that none allocates from it
/// any more.
const GRACE: Duration = Duration::from_secs(10);

const READY: Condition = Condition {
    ready: true,
    reason: "",
    message: "Kubernetes Service CIDR is ready",
};

const NEEDED: Condition = Condition {
    ready: false,
    reason: "Terminating",
    message: "There are still IPAddresses referencing the ServiceCIDR, please remove them or create a new ServiceCIDR",
};

/// What its `Ready` condition is to say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Condition {
    pub ready: bool,
    pub reason: &'static str,
    pub message: &'static str,
}

/// What is to be done.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Plan {
    /// Its finalizers, where they change.
    pub finalizers: Option<Vec<String>>,
    /// What its condition is to say, where it does not yet.
    pub condition: Option<Condition>,
    /// When it is to be looked at again though nothing changes.
    pub again: Option<Duration>,
}

pub(super) fn is_going(cidr: &ServiceCIDR) -> bool {
    cidr.metadata.deletion_timestamp.is_some()
}

/// Whether two of them share addresses.
pub(super) fn overlap(one: &ServiceCIDR, other: &ServiceCIDR) -> bool {
    networks(one)
        .any(|network| networks(other).any(|other| network.contains(&other) || other.contains(&network)))
}

/// Whether an address of a service lies in one of them.
pub(super) fn holds(cidr: &ServiceCIDR, address: &IPAddress) -> bool {
    service_address(address).is_some_and(|address| gives(cidr, address))
}

/// What is to be done for one of all ServiceCIDRs, by the addresses that there are.
pub(super) fn plan(
    cidr: &ServiceCIDR,
    all: &[Arc<ServiceCIDR>],
    addresses: &[Arc<IPAddress>],
    now: Timestamp,
) -> Plan {
    let mut finalizers = cidr.metadata.finalizers.clone().unwrap_or_default();
    let guarded = finalizers.iter().any(|finalizer| finalizer == FINALIZER);
    let tell = |condition| (!says(cidr, condition)).then_some(condition);
    let Some(deleted) = &cidr.metadata.deletion_timestamp else {
        finalizers.push(FINALIZER.to_owned());
        return Plan {
            finalizers: (!guarded).then_some(finalizers),
            condition: tell(READY),
            again: None,
        };
    };
    if is_needed(cidr, all, addresses) {
        return Plan {
            condition: tell(NEEDED),
            ..Plan::default()
        };
    }
    let gone_for = now.duration_since(deleted.0);
    let left = GRACE.saturating_sub(Duration::try_from(gone_for).unwrap_or_default());
    if !left.is_zero() {
        return Plan {
            again: Some(left),
            ..Plan::default()
        };
    }
    finalizers.retain(|finalizer| finalizer != FINALIZER);
    Plan {
        finalizers: guarded.then_some(finalizers),
        ..Plan::default()
    }
}

/// Whether addresses of services would lie in none were it gone.
fn is_needed(cidr: &ServiceCIDR, all: &[Arc<ServiceCIDR>], addresses: &[Arc<IPAddress>]) -> bool {
    let others: Vec<&ServiceCIDR> = all
        .iter()
        .map(|other| &**other)
        .filter(|other| other.metadata.name != cidr.metadata.name)
        .collect();
    let is_covered = |network: IpNet| {
        let mut networks = others.iter().flat_map(|other| networks(other));
        networks.any(|other| other.contains(&network))
    };
    if networks(cidr).all(is_covered) {
        return false;
    }
    let mut addresses = addresses.iter().filter_map(|address| service_address(address));
    addresses.any(|address| gives(cidr, address) && !others.iter().any(|other| gives(other, address)))
}

/// The address of an IPAddress that the API server made for a service.
fn service_address(address: &IPAddress) -> Option<IpAddr> {
    let labels = address.metadata.labels.as_ref()?;
    let managed = labels.get("ipaddress.kubernetes.io/managed-by")?;
    let name = address.metadata.name.as_ref()?;
    (managed == "ipallocator.k8s.io").then(|| name.parse().ok())?
}

fn networks(cidr: &ServiceCIDR) -> impl Iterator<Item = IpNet> {
    let texts = cidr.spec.iter().flat_map(|spec| spec.cidrs.iter().flatten());
    texts.filter_map(|text| text.parse().ok())
}

/// Whether an address can be had from it: neither the network's own nor IPv4's broadcast address can.
fn gives(cidr: &ServiceCIDR, address: IpAddr) -> bool {
    networks(cidr).any(|network| {
        let is_last = address.is_ipv4() && address == network.broadcast();
        network.contains(&address) && address != network.network() && !is_last
    })
}

fn says(cidr: &ServiceCIDR, wanted: Condition) -> bool {
    let conditions = cidr
        .status
        .iter()
        .flat_map(|status| status.conditions.iter().flatten());
    let mut ready = conditions.filter(|condition| condition.type_ == "Ready");
    ready.any(|condition| {
        condition.status == if wanted.ready { "True" } else { "False" }
            && condition.reason == wanted.reason
            && condition.message == wanted.message
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    const DELETED: &str = "2026-01-01T00:00:00Z";

    fn cidr(name: &str, range: &str) -> ServiceCIDR {
        let object = json!({
            "metadata": {"name": name, "finalizers": [FINALIZER]}, "spec": {"cidrs": [range]},
            "status": {"conditions": [{"type": "Ready", "status": "True", "reason": "", "message": READY.message,
                                       "lastTransitionTime": DELETED}]},
        });
        serde_json::from_value(object).unwrap()
    }

    fn going(name: &str, range: &str) -> ServiceCIDR {
        let mut cidr = cidr(name, range);
        cidr.metadata.deletion_timestamp = serde_json::from_value(json!(DELETED)).unwrap();
        cidr
    }

    fn address(name: &str, labels: Value) -> Arc<IPAddress> {
        let object = json!({"metadata": {"name": name, "labels": labels},
                            "spec": {"parentRef": {"resource": "services", "name": "a", "namespace": "b"}}});
        Arc::new(serde_json::from_value(object).unwrap())
    }

    fn ours(name: &str) -> Arc<IPAddress> {
        address(
            name,
            json!({"ipaddress.kubernetes.io/managed-by": "ipallocator.k8s.io"}),
        )
    }

    fn planned(own: &ServiceCIDR, others: &[ServiceCIDR], addresses: &[Arc<IPAddress>], after: i64) -> Plan {
        let all: Vec<_> = others.iter().chain([own]).cloned().map(Arc::new).collect();
        let now = DELETED.parse::<Timestamp>().unwrap() + jiff::SignedDuration::from_secs(after);
        plan(own, &all, addresses, now)
    }

    #[test]
    fn a_new_one_is_guarded_and_ready_and_then_left_alone() {
        let mut new = cidr("a", "10.0.0.0/24");
        new.status = None;
        new.metadata.finalizers = Some(vec!["mine".to_owned()]);
        let plan = planned(&new, &[], &[], 0);
        assert_eq!(
            plan.finalizers,
            Some(vec!["mine".to_owned(), FINALIZER.to_owned()])
        );
        assert_eq!(plan.condition, Some(READY));
        assert_eq!(planned(&cidr("a", "10.0.0.0/24"), &[], &[], 0), Plan::default());
    }

    #[test]
    fn one_in_use_stays_and_says_so() {
        let own = going("a", "10.0.0.0/24");
        let plan = planned(&own, &[], &[ours("10.0.0.7")], 3600);
        assert_eq!(
            (plan.condition, plan.finalizers, plan.again),
            (Some(NEEDED), None, None)
        );
        // Part of it lies elsewhere, but not the address.
        let part = cidr("b", "10.0.0.128/25");
        assert_eq!(
            planned(&own, &[part], &[ours("10.0.0.7")], 3600).condition,
            Some(NEEDED)
        );
    }

    #[test]
    fn one_that_nothing_needs_goes_after_a_while() {
        let own = going("a", "10.0.0.0/24");
        let nobody_s = address("10.0.0.7", json!({}));
        for (others, addresses) in [
            (vec![], vec![nobody_s, ours("10.1.0.7"), ours("10.0.0.255")]),
            (vec![cidr("b", "10.0.0.0/16")], vec![ours("10.0.0.7")]),
            (vec![cidr("b", "10.0.0.0/24")], vec![ours("10.0.0.7")]),
            (vec![cidr("b", "10.0.0.0/25")], vec![ours("10.0.0.7")]),
        ] {
            let early = planned(&own, &others, &addresses, 4);
            assert_eq!(
                (early.again, early.finalizers),
                (Some(Duration::from_secs(6)), None)
            );
            let late = planned(&own, &others, &addresses, 10);
            assert_eq!((late.again, late.finalizers), (None, Some(Vec::new())));
        }
    }

    #[test]
    fn what_lies_in_another_concerns_it() {
        assert!(overlap(&cidr("a", "10.0.0.0/24"), &cidr("b", "10.0.0.0/8")));
        assert!(!overlap(&cidr("a", "10.0.0.0/24"), &cidr("b", "10.0.1.0/24")));
        assert!(holds(&cidr("a", "10.0.0.0/24"), &ours("10.0.0.7")));
        assert!(!holds(&cidr("a", "10.0.0.0/24"), &address("10.0.0.7", json!({}))));
    }
}
