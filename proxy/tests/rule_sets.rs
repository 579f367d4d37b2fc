//! The rules that services lead to, kept as snapshots, and what must hold for every rule set.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use coracle_proxy::facts::cidr::Family;
use coracle_proxy::facts::endpoint::{Endpoints, merge, slice_endpoints};
use coracle_proxy::facts::service::{Services, service_ports};
use coracle_proxy::rules::chain::Chain;
use coracle_proxy::rules::compile::{NodeView, compile};
use coracle_proxy::rules::diff::{Installed, diff};
use coracle_proxy::rules::{Rules, Table};
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use serde_json::{Value, json};

/// A service named `ns/web` and its endpoints.
struct Case {
    service: Value,
    endpoints: Value,
    family: Family,
}

fn case(spec: Value, endpoints: Value) -> Case {
    let service = json!({"metadata": {"namespace": "ns", "name": "web"}, "spec": spec});
    Case {
        service,
        endpoints,
        family: Family::V4,
    }
}

fn here(address: &str) -> Value {
    json!({"addresses": [address], "nodeName": "here"})
}

fn there(address: &str) -> Value {
    json!({"addresses": [address], "nodeName": "there"})
}

fn leaving(mut endpoint: Value) -> Value {
    endpoint["conditions"] = json!({"ready": false, "serving": true, "terminating": true});
    endpoint
}

fn view(family: Family) -> NodeView {
    let (node, cluster) = match family {
        Family::V4 => ("192.0.2.10", "10.244.0.0/16"),
        Family::V6 => ("2001:db8::10", "fd00:10::/56"),
    };
    NodeView {
        family,
        node_ips: vec![node.parse().unwrap()],
        cluster_cidr: Some(cluster.parse().unwrap()),
        masquerade_all: false,
        masquerade_pods: false,
    }
}

impl Case {
    fn load_balancer(mut self, ingress: Value) -> Self {
        self.service["status"] = json!({"loadBalancer": {"ingress": ingress}});
        self
    }

    fn v6(mut self) -> Self {
        self.family = Family::V6;
        self
    }

    fn facts(&self) -> (Services, Endpoints) {
        let service: Service = serde_json::from_value(self.service.clone()).unwrap();
        let ports: Vec<Value> = self.service["spec"]["ports"]
            .as_array()
            .unwrap()
            .iter()
            .map(|port| json!({"name": port["name"], "port": port["targetPort"], "protocol": port["protocol"]}))
            .collect();
        let slice: EndpointSlice = serde_json::from_value(json!({
            "metadata": {"namespace": "ns", "name": "web-1", "labels": {"kubernetes.io/service-name": "web"}},
            "addressType": self.family.address_type(), "ports": ports, "endpoints": self.endpoints}))
        .unwrap();
        let services = service_ports(&service, self.family).into_iter().collect();
        (
            services,
            merge(slice_endpoints(&slice, self.family, "here").iter()),
        )
    }

    fn compile(&self, view: &NodeView) -> Rules {
        let (services, endpoints) = self.facts();
        let rules = compile(&services, &endpoints, view);
        assert_jumps_lead_somewhere(&rules);
        rules
    }

    /// What the service adds to the rules of a node without services.
    fn added(&self) -> String {
        let view = view(self.family);
        let empty = compile(&Services::new(), &Endpoints::new(), &view);
        diff(&Installed::after(empty), &self.compile(&view)).to_string()
    }
}

/// iptables-restore refuses a rule whose target chain does not exist, and with it the whole input.
fn assert_jumps_lead_somewhere(rules: &Rules) {
    for table in Table::ALL {
        for line in rules.table(table).values().flat_map(|body| body.lines()) {
            let target = line
                .rsplit_once(" -j ")
                .map(|(_, target)| target.split(' ').next().unwrap());
            if let Some(chain) = target.and_then(Chain::recognise) {
                assert!(rules.table(table).contains_key(&chain), "{line}");
            }
        }
    }
}

fn http() -> Value {
    json!([{"name": "http", "port": 80, "targetPort": 8080, "protocol": "TCP"}])
}

fn http_and_node_port() -> Value {
    json!([{"name": "http", "port": 80, "targetPort": 8080, "nodePort": 30080, "protocol": "TCP"}])
}

#[test]
fn a_node_without_services() {
    let view = NodeView {
        masquerade_pods: true,
        ..view(Family::V4)
    };
    insta::assert_snapshot!(compile(&Services::new(), &Endpoints::new(), &view));
}

#[test]
fn first_restore_puts_the_jumps_in_place() {
    let rules = compile(&Services::new(), &Endpoints::new(), &view(Family::V4));
    insta::assert_snapshot!(diff(&Installed::default(), &rules));
}

#[test]
fn cluster_ip() {
    let case = case(
        json!({"clusterIP": "10.96.0.5", "ports": http()}),
        json!([here("10.244.0.2"), there("10.244.1.2"), there("10.244.1.3")]),
    );
    insta::assert_snapshot!(case.added());
}

#[test]
fn cluster_ip_without_endpoints() {
    let unready = json!({"addresses": ["10.244.0.2"], "conditions": {"ready": false}});
    let case = case(
        json!({"clusterIP": "10.96.0.5", "ports": http()}),
        json!([unready]),
    );
    insta::assert_snapshot!(case.added());
}

#[test]
fn cluster_ip_for_local_endpoints_only() {
    let spec = json!({"clusterIP": "10.96.0.5", "internalTrafficPolicy": "Local", "ports": http()});
    let elsewhere = case(spec.clone(), json!([there("10.244.1.2")])).added();
    let here = case(spec, json!([here("10.244.0.2"), there("10.244.1.2")])).added();
    insta::assert_snapshot!(format!("## none here\n{elsewhere}## one here\n{here}"));
}

#[test]
fn terminating_endpoints_serve_when_there_is_no_other() {
    let spec = json!({"clusterIP": "10.96.0.5", "ports": http()});
    let last = case(spec.clone(), json!([leaving(here("10.244.0.2"))])).added();
    assert!(last.contains("--to-destination 10.244.0.2:8080"), "{last}");
    let replaced = case(spec, json!([leaving(here("10.244.0.2")), there("10.244.1.2")])).added();
    assert!(!replaced.contains("10.244.0.2"), "{replaced}");
    assert!(
        replaced.contains("--to-destination 10.244.1.2:8080"),
        "{replaced}"
    );
}

#[test]
fn terminating_endpoints_of_this_node_serve_local_traffic_while_others_are_ready() {
    let case = case(
        json!({"type": "NodePort", "clusterIP": "10.96.0.5", "externalTrafficPolicy": "Local",
               "ports": http_and_node_port()}),
        json!([leaving(here("10.244.0.2")), there("10.244.1.2")]),
    );
    insta::assert_snapshot!(case.added());
}

#[test]
fn node_port_and_external_ip_with_affinity() {
    let case = case(
        json!({"type": "NodePort", "clusterIP": "10.96.0.5", "externalIPs": ["198.51.100.4"],
               "sessionAffinity": "ClientIP", "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 600}},
               "ports": http_and_node_port()}),
        json!([here("10.244.0.2"), there("10.244.1.2")]),
    );
    insta::assert_snapshot!(case.added());
}

#[test]
fn node_port_for_local_endpoints_only_and_none_here() {
    let case = case(
        json!({"type": "NodePort", "clusterIP": "10.96.0.5", "externalTrafficPolicy": "Local",
               "externalIPs": ["198.51.100.4"], "ports": http_and_node_port()}),
        json!([there("10.244.1.2")]),
    );
    insta::assert_snapshot!(case.added());
}

#[test]
fn load_balancer_with_source_ranges_and_health_check() {
    let case = case(
        json!({"type": "LoadBalancer", "clusterIP": "10.96.0.5", "externalTrafficPolicy": "Local",
               "healthCheckNodePort": 31000, "loadBalancerSourceRanges": ["203.0.113.0/24", "192.0.2.0/24"],
               "ports": http_and_node_port()}),
        json!([here("10.244.0.2"), there("10.244.1.2")]),
    );
    insta::assert_snapshot!(case.load_balancer(json!([{"ip": "198.51.100.9"}])).added());
}

#[test]
fn load_balancer_without_endpoints() {
    let case = case(
        json!({"type": "LoadBalancer", "clusterIP": "10.96.0.5", "loadBalancerSourceRanges": ["203.0.113.0/24"],
               "ports": http_and_node_port()}),
        json!([]),
    );
    insta::assert_snapshot!(case.load_balancer(json!([{"ip": "198.51.100.9"}])).added());
}

#[test]
fn several_ports_and_protocols() {
    let ports = json!([{"name": "dns", "port": 53, "targetPort": 53, "protocol": "UDP"},
                       {"name": "dns-tcp", "port": 53, "targetPort": 53, "protocol": "TCP"},
                       {"name": "sig", "port": 3868, "targetPort": 3868, "protocol": "SCTP"}]);
    let case = case(
        json!({"clusterIP": "10.96.0.10", "ports": ports}),
        json!([here("10.244.0.2")]),
    );
    insta::assert_snapshot!(case.added());
}

#[test]
fn ipv6() {
    let case = case(
        json!({"type": "NodePort", "clusterIP": "10.96.0.5", "clusterIPs": ["10.96.0.5", "fd00:96::5"],
               "ports": http_and_node_port()}),
        json!([here("fd00:10::2"), there("fd00:10:0:1::2")]),
    );
    insta::assert_snapshot!(case.v6().added());
}

#[test]
fn masquerade_all_spares_nobody() {
    let case = case(
        json!({"clusterIP": "10.96.0.5", "ports": http()}),
        json!([here("10.244.0.2")]),
    );
    let view = NodeView {
        masquerade_all: true,
        ..view(Family::V4)
    };
    let rules = case.compile(&view).to_string();
    assert!(
        rules.contains("-d 10.96.0.5 --dport 80 -j KUBE-MARK-MASQ\n"),
        "{rules}"
    );
    assert!(!rules.contains("! -s"), "{rules}");
}

#[test]
fn an_endpoint_change_writes_few_of_many_chains() {
    let name = |index: usize| format!("web-{index}");
    let mut services = Services::new();
    let mut parts = Vec::new();
    for index in 0..1_000 {
        let service = json!({"metadata": {"namespace": "ns", "name": name(index)},
            "spec": {"clusterIP": format!("10.96.{}.{}", index / 250, index % 250 + 1), "ports": http()}});
        services.extend(service_ports(
            &serde_json::from_value(service).unwrap(),
            Family::V4,
        ));
        let slice = json!({"metadata": {"namespace": "ns", "name": name(index),
                "labels": {"kubernetes.io/service-name": name(index)}}, "addressType": "IPv4",
            "ports": [{"name": "http", "port": 8080}],
            "endpoints": [here(&format!("10.244.{}.{}", index / 250, index % 250 + 1))]});
        parts.extend(slice_endpoints(
            &serde_json::from_value(slice).unwrap(),
            Family::V4,
            "here",
        ));
    }
    let view = view(Family::V4);
    let before = Installed::after(compile(&services, &merge(parts.iter()), &view));
    let moved = json!({"metadata": {"namespace": "ns", "labels": {"kubernetes.io/service-name": name(500)}},
        "addressType": "IPv4", "ports": [{"name": "http", "port": 8080}], "endpoints": [there("10.244.200.1")]});
    parts[500] = slice_endpoints(&serde_json::from_value(moved).unwrap(), Family::V4, "here").remove(0);
    let after = compile(&services, &merge(parts.iter()), &view);
    let batch = diff(&before, &after);
    assert_eq!(
        batch.chains_written(),
        2,
        "the service's chain and the new endpoint's:\n{batch}"
    );
    assert!(batch.to_string().len() < 1_500, "{batch}");
}
