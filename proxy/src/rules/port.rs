//! One service port to rules: the decisions of kube-proxy's iptables mode.
//!
//! A packet to a service meets these chains in nat: `KUBE-SERVICES` (or `KUBE-NODEPORTS` after it) finds the service port;
//! the cluster IP leads straight to a policy chain (`KUBE-SVC-…` all endpoints, `KUBE-SVL-…` those of this node), every
//! other address first to `KUBE-EXT-…`, which decides about masquerading, and before that to `KUBE-FW-…` when a load
//! balancer admits only some sources; the policy chain picks one `KUBE-SEP-…`, which translates. Destinations that
//! nobody serves are rejected or dropped in the filter table.

use std::net::IpAddr;

use super::compile::NodeView;
use crate::facts::endpoint::{Choice, Endpoint};
use crate::facts::service::{ServicePort, ServicePortName, TrafficPolicy};
use crate::rules::chain::Chain;
use crate::rules::{Draft, Rules};

/// What becomes of packets to an address of a service port that nobody may answer.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Refusal {
    /// No endpoint in the cluster: the client hears of it.
    NoEndpoints,
    /// None on this node, where policy Local keeps traffic: silence, for another node may answer.
    NoLocalEndpoints,
}

impl Refusal {
    fn reason(self) -> &'static str {
        match self {
            Self::NoEndpoints => "has no endpoints",
            Self::NoLocalEndpoints => "has no local endpoints",
        }
    }

    fn target(self) -> &'static str {
        match self {
            Self::NoEndpoints => "REJECT",
            Self::NoLocalEndpoints => "DROP",
        }
    }
}

/// One service port on its way into the rule set.
pub(super) struct PortCompiler<'a> {
    name: String,
    port: &'a ServicePort,
    view: &'a NodeView,
    choice: Choice<'a>,
    /// The chain of each reachable endpoint, in their order.
    targets: Vec<(&'a Endpoint, Chain)>,
    cluster_chain: Chain,
    local_chain: Chain,
    external_chain: Chain,
    firewall_chain: Chain,
}

impl<'a> PortCompiler<'a> {
    pub(super) fn new(
        name: &'a ServicePortName,
        port: &'a ServicePort,
        endpoints: &'a [Endpoint],
        view: &'a NodeView,
    ) -> Self {
        let protocol = port.protocol;
        let choice = Choice::of(port, endpoints);
        let target =
            |endpoint: &&'a Endpoint| (*endpoint, Chain::endpoint(name, protocol, &endpoint.to_string()));
        Self {
            targets: choice.reachable.iter().map(target).collect(),
            name: name.to_string(),
            port,
            view,
            choice,
            cluster_chain: Chain::cluster_policy(name, protocol),
            local_chain: Chain::local_policy(name, protocol),
            external_chain: Chain::external(name, protocol),
            firewall_chain: Chain::firewall(name, protocol),
        }
    }

    /// The port's own chains, and its rules in the chains that all ports share.
    pub(super) fn compile(&self) -> Rules {
        let mut draft = Draft::default();
        let rules = &mut draft;
        self.capture_cluster_ip(rules);
        self.capture_external_ips(rules);
        self.capture_load_balancer_ips(rules);
        self.capture_node_port(rules);
        if self.choice.any && self.port.is_externally_accessible() {
            self.external(rules);
        }
        if self.has_firewall() {
            self.firewall(rules);
        }
        if self.port.uses_cluster_endpoints() && !self.choice.cluster.is_empty() {
            self.spread(rules, &self.cluster_chain, &self.choice.cluster);
        }
        if self.port.uses_local_endpoints() && !self.choice.local.is_empty() {
            self.spread(rules, &self.local_chain, &self.choice.local);
        }
        for (endpoint, chain) in &self.targets {
            self.translate(rules, endpoint, chain);
        }
        draft.finish()
    }

    /// Why traffic under a policy has nowhere to go, if so.
    fn refusal(&self, policy: TrafficPolicy) -> Option<Refusal> {
        if !self.choice.any {
            return Some(Refusal::NoEndpoints);
        }
        (policy == TrafficPolicy::Local && self.choice.local.is_empty()).then_some(Refusal::NoLocalEndpoints)
    }

    fn policy_chain(&self, policy: TrafficPolicy) -> &Chain {
        match policy {
            TrafficPolicy::Cluster => &self.cluster_chain,
            TrafficPolicy::Local => &self.local_chain,
        }
    }

    fn has_firewall(&self) -> bool {
        self.choice.any && !self.port.load_balancer_ips.is_empty() && !self.port.source_ranges.is_empty()
    }

    /// The match for one destination address and the service's port.
    fn destination(&self, address: IpAddr) -> String {
        let ServicePort { protocol, port, .. } = self.port;
        format!("-m {protocol} -p {protocol} -d {address} --dport {port}")
    }

    /// Rejects or drops packets that match.
    fn refuse(&self, rules: &mut Draft, chain: &Chain, refusal: Refusal, matches: &str) {
        let (name, reason, target) = (&self.name, refusal.reason(), refusal.target());
        rules.filter_rule(
            chain,
            format_args!("-m comment --comment \"{name} {reason}\" {matches} -j {target}"),
        );
    }

    fn capture_cluster_ip(&self, rules: &mut Draft) {
        let (name, destination) = (&self.name, self.destination(self.port.cluster_ip));
        if let Some(refusal) = self.refusal(self.port.internal_policy) {
            self.refuse(rules, &Chain::SERVICES, refusal, &destination);
            return;
        }
        let chain = self.policy_chain(self.port.internal_policy);
        let comment = format!("-m comment --comment \"{name} cluster IP\"");
        rules.nat_rule(
            &Chain::SERVICES,
            format_args!("{comment} {destination} -j {chain}"),
        );
        let mark = Chain::MARK_MASQ;
        if self.view.masquerade_all {
            rules.nat_rule(chain, format_args!("{comment} {destination} -j {mark}"));
        } else if let Some(cidr) = self.view.cluster_cidr {
            rules.nat_rule(
                chain,
                format_args!("{comment} {destination} ! -s {cidr} -j {mark}"),
            );
        }
    }

    fn capture_external_ips(&self, rules: &mut Draft) {
        for address in &self.port.external_ips {
            self.capture_external(rules, *address, "external IP", &self.external_chain);
        }
    }

    fn capture_load_balancer_ips(&self, rules: &mut Draft) {
        let (name, firewall) = (&self.name, &self.firewall_chain);
        let chain = if self.has_firewall() {
            firewall
        } else {
            &self.external_chain
        };
        for address in &self.port.load_balancer_ips {
            self.capture_external(rules, *address, "loadbalancer IP", chain);
            if self.has_firewall() {
                let destination = self.destination(*address);
                rules.filter_rule(&Chain::FIREWALL,
                    format_args!(
                        "-m comment --comment \"{name} traffic not accepted by {firewall}\" {destination} -j DROP"
                    ),
                );
            }
        }
    }

    /// An address outside the cluster IPs. With policy Local and no endpoint here both rules stand: pods and the node
    /// itself are still served through the external chain, and what it did not translate is dropped.
    fn capture_external(&self, rules: &mut Draft, address: IpAddr, kind: &str, chain: &Chain) {
        let (name, destination) = (&self.name, self.destination(address));
        if self.choice.any {
            rules.nat_rule(
                &Chain::SERVICES,
                format_args!("-m comment --comment \"{name} {kind}\" {destination} -j {chain}"),
            );
        }
        if let Some(refusal) = self.refusal(self.port.external_policy) {
            self.refuse(rules, &Chain::EXTERNAL_SERVICES, refusal, &destination);
        }
    }

    fn capture_node_port(&self, rules: &mut Draft) {
        let (name, protocol, chain) = (&self.name, self.port.protocol, &self.external_chain);
        if let Some(node_port) = self.port.node_port {
            let matches = format!("-m {protocol} -p {protocol} --dport {node_port}");
            if self.choice.any {
                rules.nat_rule(
                    &Chain::NODE_PORTS,
                    format_args!("-m comment --comment \"{name}\" {matches} -j {chain}"),
                );
            }
            if let Some(refusal) = self.refusal(self.port.external_policy) {
                let matches = format!("-m addrtype --dst-type LOCAL {matches}");
                self.refuse(rules, &Chain::EXTERNAL_SERVICES, refusal, &matches);
            }
        }
        if let Some(port) = self.port.health_check_node_port {
            rules.filter_rule(&Chain::NODE_PORTS,
                format_args!(
                    "-m comment --comment \"{name} health check node port\" -m tcp -p tcp --dport {port} -j ACCEPT"
                ),
            );
        }
    }

    /// Policy Cluster may cross nodes, so the answer must come back here: masquerade. Policy Local keeps the client's
    /// address, save for pods (which are sent to any endpoint, as if they had asked the cluster IP) and for the node
    /// itself, whose own address may be the one it asks.
    fn external(&self, rules: &mut Draft) {
        let (name, chain) = (&self.name, &self.external_chain);
        let (cluster, mark) = (&self.cluster_chain, Chain::MARK_MASQ);
        let mut add = |rule: std::fmt::Arguments<'_>| rules.nat_rule(chain, rule);
        match self.port.external_policy {
            TrafficPolicy::Cluster => {
                add(format_args!(
                    "-m comment --comment \"masquerade traffic for {name} external destinations\" -j {mark}"
                ));
            }
            TrafficPolicy::Local => {
                if let Some(cidr) = self.view.cluster_cidr {
                    add(format_args!(
                        "-m comment --comment \"pod traffic for {name} external destinations\" -s {cidr} -j {cluster}"
                    ));
                }
                let local = "-m addrtype --src-type LOCAL";
                add(format_args!(
                    "-m comment --comment \"masquerade LOCAL traffic for {name} external destinations\" {local} -j {mark}"
                ));
                add(format_args!(
                    "-m comment --comment \"route LOCAL traffic for {name} external destinations\" {local} -j {cluster}"
                ));
            }
        }
        if self.refusal(self.port.external_policy).is_none() {
            add(format_args!(
                "-j {}",
                self.policy_chain(self.port.external_policy)
            ));
        }
    }

    fn firewall(&self, rules: &mut Draft) {
        let (name, chain, external) = (&self.name, &self.firewall_chain, &self.external_chain);
        let comment = format!("-m comment --comment \"{name} loadbalancer IP\"");
        let ranges = &self.port.source_ranges;
        for range in ranges {
            rules.nat_rule(chain, format_args!("{comment} -s {range} -j {external}"));
        }
        // A node that holds the load balancer's address itself asks from that address.
        let admits_node = self
            .view
            .node_ips
            .iter()
            .any(|node| ranges.iter().any(|range| range.contains(*node)));
        if admits_node {
            for address in &self.port.load_balancer_ips {
                rules.nat_rule(chain, format_args!("{comment} -s {address} -j {external}"));
            }
        }
        rules.nat_rule(
            chain,
            format_args!(
                "-m comment --comment \"other traffic to {name} will be dropped by {}\"",
                Chain::FIREWALL
            ),
        );
    }

    /// Picks an endpoint: the one a client had before while affinity lasts, else each with the same probability.
    fn spread(&self, rules: &mut Draft, chain: &Chain, endpoints: &[&Endpoint]) {
        let name = &self.name;
        if let Some(seconds) = self.port.affinity_seconds {
            for endpoint in endpoints {
                let target = self.target(endpoint);
                rules.nat_rule(
                    chain,
                    format_args!(
                        "-m comment --comment \"{name} -> {endpoint}\" -m recent --name {target} \
                         --rcheck --seconds {seconds} --reap -j {target}"
                    ),
                );
            }
        }
        for (position, endpoint) in endpoints.iter().enumerate() {
            let target = self.target(endpoint);
            let comment = format!("-m comment --comment \"{name} -> {endpoint}\"");
            let left = endpoints.len() - position;
            if left > 1 {
                let probability = probability(left);
                rules.nat_rule(
                    chain,
                    format_args!(
                        "{comment} -m statistic --mode random --probability {probability} -j {target}"
                    ),
                );
            } else {
                rules.nat_rule(chain, format_args!("{comment} -j {target}"));
            }
        }
    }

    /// The chain of an endpoint, which is one of the reachable: both lists that traffic is spread over are part of that.
    fn target(&self, endpoint: &Endpoint) -> &Chain {
        let position = self
            .targets
            .binary_search_by_key(&endpoint.address, |(known, _)| known.address);
        &self.targets[position.expect("reachable endpoints are ordered by address and hold both lists")].1
    }

    /// Fills the chain of one endpoint. An endpoint that asks its own service must not see its own address as the source, or
    /// it would answer to itself past the translation.
    fn translate(&self, rules: &mut Draft, endpoint: &Endpoint, chain: &Chain) {
        let (name, protocol) = (&self.name, self.port.protocol);
        let comment = format!("-m comment --comment \"{name}\"");
        let (ip, mark) = (endpoint.address.ip(), Chain::MARK_MASQ);
        rules.nat_rule(chain, format_args!("{comment} -s {ip} -j {mark}"));
        let remember = match self.port.affinity_seconds {
            Some(_) => format!("-m recent --name {chain} --set "),
            None => String::new(),
        };
        rules.nat_rule(
            chain,
            format_args!(
                "{comment} {remember}-m {protocol} -p {protocol} -j DNAT --to-destination {endpoint}"
            ),
        );
    }
}

/// The chance of the first of `left` endpoints, so that in the end each has the same.
fn probability(left: usize) -> String {
    format!("{:.10}", 1.0 / left as f64)
}
