use serde_json::json;

use super::super::HeldPorts;
use super::*;

const TAKEN: i64 = 30099;

/// What a service's ports are after it has been settled, where one port is somebody else's.
fn settled(mut service: Value, old: Option<&Value>) -> Result<Value, Refusal> {
    let mut stored = HeldPorts::none_of("30000-30099".parse().unwrap());
    stored.take(TAKEN).unwrap();
    for port in old.into_iter().flat_map(holdings) {
        stored.take(port.into()).unwrap();
    }
    let mut operation = Operation {
        range: stored.range(),
        stored: Some(&stored),
        aside: &|_| false,
        chance: 0,
        dry_run: false,
        taken: Vec::new(),
    };
    settle(&mut service, old, &mut operation)?;
    Ok(service["spec"].take())
}

fn port(number: i64, protocol: &str, node_port: i64) -> Value {
    json!({"port": number, "protocol": protocol, "nodePort": node_port})
}

fn exposed(ports: &[Value]) -> Value {
    json!({"spec": {"type": "NodePort", "ports": ports}})
}

fn numbers(spec: &Value) -> Vec<i64> {
    spec.items("ports").iter().map(node_port).collect()
}

#[test]
fn protocols_of_one_port_share_what_any_of_them_asks_for() {
    let of = |ports: &[Value]| settled(exposed(ports), None).map(|spec| numbers(&spec));
    assert_eq!(
        of(&[port(80, "TCP", 0), port(80, "UDP", 30005)]),
        Ok(vec![30005, 30005])
    );
    assert_eq!(
        of(&[port(80, "TCP", 30005), port(80, "UDP", 0)]),
        Ok(vec![30005, 30005])
    );
    let given = of(&[port(80, "TCP", 0), port(80, "UDP", 0), port(81, "TCP", 0)]).unwrap();
    assert!(given[0] == given[1] && given[1] != given[2], "{given:?}");
    assert_eq!(
        of(&[port(80, "TCP", 30005), port(80, "UDP", 30006)]),
        Ok(vec![30005, 30006])
    );
    // Only ports of one number share.
    assert_eq!(
        of(&[port(80, "TCP", 30005), port(81, "UDP", 30005)]),
        Err(Refusal::Port {
            index: 1,
            port: 30005,
            why: PortError::Allocated
        })
    );
}

#[test]
fn what_cannot_be_had_is_told_as_upstream_tells_it() {
    let refused = |service| settled(service, None).unwrap_err().status("a").to_status()["message"].clone();
    assert_eq!(
        refused(exposed(&[port(80, "TCP", 0), port(81, "TCP", TAKEN)])),
        "Service \"a\" is invalid: spec.ports[1].nodePort: Invalid value: 30099: provided port is already allocated"
    );
    assert_eq!(
        refused(exposed(&[port(80, "TCP", -5)])),
        "Service \"a\" is invalid: spec.ports[0].nodePort: Invalid value: -5: provided port is not in the valid range. The \
         range of valid ports is 30000-30099"
    );
    let checked = |asked: i64| {
        json!({"spec": {"type": "LoadBalancer", "externalTrafficPolicy": "Local", "healthCheckNodePort": asked,
                        "ports": [port(80, "TCP", 30001)]}})
    };
    for asked in [TAKEN, 30001] {
        assert_eq!(
            refused(checked(asked)),
            format!(
                "Internal error occurred: failed to allocate requested HealthCheck NodePort {asked}: provided port is already \
                 allocated"
            )
        );
    }
    let many: Vec<Value> = (0..100).map(|number| port(number, "TCP", 0)).collect();
    assert_eq!(
        refused(exposed(&many)),
        "Internal error occurred: failed to allocate a nodePort: range is full"
    );
    let all_but_one =
        json!({"spec": {"type": "LoadBalancer", "externalTrafficPolicy": "Local", "ports": many[..99]}});
    assert_eq!(
        refused(all_but_one),
        "Internal error occurred: failed to allocate a HealthCheck NodePort 0: range is full"
    );
}

#[test]
fn a_change_keeps_what_there_was_and_shares_nothing_new() {
    let old = exposed(&[port(80, "TCP", 30001)]);
    let of = |ports: &[Value]| settled(exposed(ports), Some(&old));
    assert_eq!(numbers(&of(&[port(81, "TCP", 30001)]).unwrap()), [30001]);
    let given = numbers(&of(&[port(80, "TCP", 30001), port(80, "UDP", 0)]).unwrap());
    assert!(given[0] == 30001 && given[1] != 30001, "{given:?}");
    let both = [port(80, "TCP", 30002), port(80, "UDP", 30002)];
    assert_eq!(numbers(&of(&both).unwrap()), [30002, 30002]);
    let twice = of(&[port(80, "TCP", 30002), port(81, "TCP", 30002)]).unwrap_err();
    assert_eq!(
        twice.status("a").to_status()["message"],
        "duplicate nodePort: {TCP 30002}"
    );
}

#[test]
fn a_balancer_without_node_ports_gets_only_what_it_asks_for() {
    let balancer = |ports: &[Value]| json!({"spec": {"type": "LoadBalancer", "allocateLoadBalancerNodePorts": false, "ports": ports}});
    let ports = [port(80, "TCP", 0), port(81, "TCP", 30007)];
    for old in [None, Some(&json!({"spec": {"type": "ClusterIP"}}))] {
        let spec = settled(balancer(&ports), old).unwrap();
        assert_eq!(numbers(&spec), [0, 30007]);
    }
    assert!(!takes(&balancer(&ports[..1]), Some(&balancer(&ports[..1]))));
}

#[test]
fn what_needs_no_port_does_not_ask_who_has_which() {
    let of = |kind: &str| json!({"spec": {"type": kind, "ports": [port(80, "TCP", 30001)]}});
    assert!(!takes(&of("ClusterIP"), None) && !takes(&of("ExternalName"), Some(&of("NodePort"))));
    assert!(takes(&of("NodePort"), None) && !takes(&of("NodePort"), Some(&of("NodePort"))));
    assert!(!takes(&of("LoadBalancer"), Some(&of("NodePort"))));
    let mut local = of("LoadBalancer");
    local["spec"]["externalTrafficPolicy"] = json!("Local");
    assert!(takes(&local, Some(&of("LoadBalancer"))) && !takes(&local, Some(&local)));
}

#[test]
fn only_exposed_services_hold_ports() {
    let both = exposed(&[port(80, "TCP", 30001), port(80, "UDP", 30001), port(81, "TCP", 0)]);
    assert_eq!(holdings(&both), [30001]);
    let mut inner = both;
    inner["spec"]["type"] = json!("ClusterIP");
    assert!(holdings(&inner).is_empty());
    let local = json!({"spec": {"type": "LoadBalancer", "healthCheckNodePort": 30009, "ports": []}});
    assert_eq!(holdings(&local), [30009]);
}
