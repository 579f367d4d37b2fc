//! Services: what was allocated stays with a Service whose update does not speak of it, and goes with the type that
//! needed it (upstream's `patchAllocatedValues`, `normalizeClusterIPs` and `dropTypeDependentFields`).

use serde_json::{Map, Value, json};

use crate::object::{Fields, objects_in, same, set_if_absent, set_if_empty};

type Object = Map<String, Value>;

fn needs_cluster_ip(spec: &Object) -> bool {
    spec.text("type") != "ExternalName"
}

fn needs_node_port(spec: &Object) -> bool {
    match spec.text("type") {
        "NodePort" => true,
        "LoadBalancer" => spec
            .field("allocateLoadBalancerNodePorts")
            .is_none_or(|flag| flag == true),
        _ => false,
    }
}

fn needs_health_check(spec: &Object) -> bool {
    spec.text("type") == "LoadBalancer" && spec.text("externalTrafficPolicy") == "Local"
}

fn is_reachable(spec: &Object) -> bool {
    matches!(spec.text("type"), "NodePort" | "LoadBalancer")
        || spec.text("type") == "ClusterIP" && spec.count("externalIPs") > 0
}

/// The old field for one address is the first of the new field for several.
pub(super) fn new(service: &mut Object) {
    let Some(Value::Object(spec)) = service.get_mut("spec") else {
        return;
    };
    let address = spec.text("clusterIP").to_owned();
    if !address.is_empty() {
        set_if_empty(spec, "clusterIPs", json!([address]));
    }
}

pub(super) fn updated(service: &mut Object, old: &Value) {
    let (Some(Value::Object(spec)), Some(Value::Object(before))) = (service.get_mut("spec"), old.get("spec"))
    else {
        return;
    };
    keep_allocations(spec, before);
    follow_cluster_ip(spec, before);
    drop_what_the_type_does_not_need(spec, before);
}

fn keep_allocations(spec: &mut Object, before: &Object) {
    if needs_cluster_ip(spec) && needs_cluster_ip(before) {
        set_if_empty(spec, "clusterIP", before.text("clusterIP"));
        if spec.text("clusterIP") == before.text("clusterIP") {
            keep_if_empty(spec, before, "clusterIPs");
        }
        if let Some(policy) = before.field("ipFamilyPolicy") {
            set_if_absent(spec, "ipFamilyPolicy", policy.clone());
        }
        keep_if_empty(spec, before, "ipFamilies");
        let gives_up_one = before.count("ipFamilies") > 1 && spec.text("ipFamilyPolicy") == "SingleStack";
        for name in ["clusterIPs", "ipFamilies"].into_iter().filter(|_| gives_up_one) {
            if let Some(Value::Array(values)) = spec.get_mut(name) {
                values.truncate(1);
            }
        }
    }
    if needs_node_port(spec) && needs_node_port(before) {
        keep_node_ports(spec, before);
    }
    if needs_health_check(spec) && needs_health_check(before) {
        keep_if_empty(spec, before, "healthCheckNodePort");
    }
}

fn keep_if_empty(spec: &mut Object, before: &Object, name: &str) {
    if let Some(value) = before.field(name) {
        set_if_empty(spec, name, value.clone());
    }
}

/// A port without a node port gets that of the old port of its name, unless it stays with another port.
fn keep_node_ports(spec: &mut Object, before: &Object) {
    let node_port = |port: &Value| port.number("nodePort").filter(|&number| number != 0);
    let used = |spec: &Object| -> Vec<i64> { spec.items("ports").iter().filter_map(node_port).collect() };
    let (had, mut stay) = (used(before), used(spec));
    stay.retain(|number| had.contains(number));
    for port in objects_in(spec, "ports").filter(|port| port.number("nodePort").unwrap_or_default() == 0) {
        // Upstream maps numbers by name, so of several ports of one name the last counts.
        let mut of_name = before
            .items("ports")
            .iter()
            .rev()
            .filter(|old| old.text("name") == port.text("name"));
        let kept = of_name.next().and_then(node_port);
        if let Some(number) = kept.filter(|number| !stay.contains(number)) {
            port.insert("nodePort".into(), number.into());
        }
    }
}

/// A client that knows only `clusterIP` changes it there; the list follows.
fn follow_cluster_ip(spec: &mut Object, before: &Object) {
    let (now, then) = (spec.text("clusterIP").to_owned(), before.text("clusterIP"));
    if now == then || !same(spec.get("clusterIPs"), before.get("clusterIPs")) {
        if !now.is_empty() {
            set_if_empty(spec, "clusterIPs", json!([now]));
        }
        return;
    }
    if now.is_empty() {
        spec.remove("clusterIPs");
    } else {
        spec.insert("clusterIPs".into(), json!([now]));
    }
}

fn drop_what_the_type_does_not_need(spec: &mut Object, before: &Object) {
    let unchanged = |spec: &Object, name: &str| same(spec.get(name), before.get(name));
    if needs_cluster_ip(before) && !needs_cluster_ip(spec) && unchanged(spec, "clusterIPs") {
        for name in ["clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy"] {
            spec.remove(name);
        }
    }
    if needs_node_port(before) && !needs_node_port(spec) {
        let old: Vec<Option<i64>> = before
            .items("ports")
            .iter()
            .map(|port| port.number("nodePort"))
            .collect();
        for port in objects_in(spec, "ports").filter(|port| old.contains(&port.number("nodePort"))) {
            port.remove("nodePort");
        }
    }
    if needs_health_check(before) && !needs_health_check(spec) && unchanged(spec, "healthCheckNodePort") {
        spec.remove("healthCheckNodePort");
    }
    if before.text("type") == "LoadBalancer" && spec.text("type") != "LoadBalancer" {
        for name in ["allocateLoadBalancerNodePorts", "loadBalancerClass"] {
            if unchanged(spec, name) {
                spec.remove(name);
            }
        }
    }
    if is_reachable(before) && !is_reachable(spec) && unchanged(spec, "externalTrafficPolicy") {
        spec.remove("externalTrafficPolicy");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn update(spec: Value, before: Value) -> Value {
        let mut service = json!({ "spec": spec });
        updated(service.as_object_mut().unwrap(), &json!({ "spec": before }));
        service["spec"].take()
    }

    #[test]
    fn allocations_stay_with_the_service() {
        let before = json!({"type": "NodePort", "clusterIP": "10.0.0.1", "clusterIPs": ["10.0.0.1"],
            "ports": [{"name": "a", "port": 80, "nodePort": 30080}, {"name": "b", "port": 81, "nodePort": 30081}]});
        let ports = json!([{"name": "b", "port": 80}, {"name": "c", "port": 81}, {"name": "a", "port": 82}]);
        let after = update(json!({"type": "NodePort", "ports": ports}), before.clone());
        assert_eq!(after["clusterIPs"], json!(["10.0.0.1"]));
        // A port is known by its name, whatever its number.
        assert_eq!(after["ports"][0]["nodePort"], 30081);
        assert_eq!(after["ports"][1].get("nodePort"), None);
        assert_eq!(after["ports"][2]["nodePort"], 30080);
        let moved = json!([{"name": "b", "port": 81}, {"name": "c", "port": 82, "nodePort": 30081}]);
        let after = update(json!({"type": "NodePort", "ports": moved}), before.clone());
        assert_eq!(after["ports"][0].get("nodePort"), None);
        let mut plain = before.clone();
        plain["type"] = json!("ClusterIP");
        assert_eq!(update(plain, before)["ports"][0].get("nodePort"), None);
    }

    #[test]
    fn a_service_that_becomes_a_name_gives_up_its_address() {
        let before = json!({"type": "ClusterIP", "clusterIP": "10.0.0.1", "clusterIPs": ["10.0.0.1"]});
        let mut named = before.clone();
        named["type"] = json!("ExternalName");
        assert_eq!(update(named, before), json!({"type": "ExternalName"}));
    }
}
