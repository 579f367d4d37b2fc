//! Services and endpoints to the complete rule set of a family.
//!
//! Each service port's part is compiled on its own (module `port`) and kept until the port or its endpoints change: what a change
//! costs follows from what changed, not from how many services there are.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::port::PortCompiler;
use crate::facts::cidr::{Cidr, Family};
use crate::facts::endpoint::{Endpoint, Endpoints};
use crate::facts::service::{ServicePort, ServicePortName, Services};
use crate::rules::chain::Chain;
use crate::rules::{Draft, Rules, Table};

/// The mark of packets that leave with the node's address (upstream's `--iptables-masquerade-bit` 14).
const MASQUERADE_MARK: &str = "0x4000";

/// What the rules depend on besides services and endpoints.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeView {
    /// The family to compile for.
    pub family: Family,
    /// The node's addresses of that family.
    pub node_ips: Vec<IpAddr>,
    /// The block of all pods' addresses: who comes from elsewhere is masqueraded on its way to a cluster IP.
    pub cluster_cidr: Option<Cidr>,
    /// Masquerade everything sent to a cluster IP.
    pub masquerade_all: bool,
    /// Masquerade what pods send to places outside `cluster_cidr` (where the CNI plugin does not).
    pub masquerade_pods: bool,
}

/// The complete rule set for one family.
pub fn compile(services: &Services, endpoints: &Endpoints, view: &NodeView) -> Rules {
    Compiler::new(view.clone()).compile(services, endpoints)
}

/// Compiles rule sets one after the other, and remembers parts that stay the same. What it gives depends on its arguments
/// alone, not on what came before.
#[derive(Debug)]
pub struct Compiler {
    view: NodeView,
    parts: BTreeMap<ServicePortName, Part>,
}

/// What a service port adds to the rule set, and from what that was made.
#[derive(Debug)]
struct Part {
    port: ServicePort,
    endpoints: Vec<Endpoint>,
    rules: Rules,
}

impl Compiler {
    /// A compiler for one family on one node.
    pub fn new(view: NodeView) -> Self {
        Self {
            view,
            parts: BTreeMap::new(),
        }
    }

    /// The family that this compiler makes rules for.
    pub fn family(&self) -> Family {
        self.view.family
    }

    /// The complete rule set.
    pub fn compile(&mut self, services: &Services, endpoints: &Endpoints) -> Rules {
        self.parts.retain(|name, _| services.contains_key(name));
        let mut rules = Rules::default();
        let mut shared = fixed_chains(&self.view);
        for (name, port) in services {
            let endpoints = endpoints.get(name).map(Vec::as_slice).unwrap_or_default();
            self.part(name, port, endpoints).join(&mut rules, &mut shared);
        }
        // After every service, so that a node port never hides another destination.
        let (loopback, node_ports) = (self.view.family.loopback(), Chain::NODE_PORTS);
        shared.nat_rule(
            &Chain::SERVICES,
            format_args!(
                "-m comment --comment \"kubernetes service nodeports; \
                 NOTE: this must be the last rule in this chain\" \
                 -m addrtype --dst-type LOCAL ! -d {loopback} -j {node_ports}"
            ),
        );
        rules.extend(shared.finish());
        rules
    }

    fn part(&mut self, name: &ServicePortName, port: &ServicePort, endpoints: &[Endpoint]) -> &Part {
        let known = self.parts.get(name);
        if !known.is_some_and(|part| part.port == *port && part.endpoints == endpoints) {
            let rules = PortCompiler::new(name, port, endpoints, &self.view).compile();
            let part = Part {
                port: port.clone(),
                endpoints: endpoints.to_vec(),
                rules,
            };
            self.parts.insert(name.clone(), part);
        }
        &self.parts[name]
    }
}

impl Part {
    /// Puts the part's own chains into the rule set, and its rules for chains that all ports share at the end of those.
    fn join(&self, rules: &mut Rules, shared: &mut Draft) {
        for table in Table::ALL {
            for (chain, body) in self.rules.table(table) {
                if chain.is_shared() {
                    shared.append(table, chain, body);
                } else {
                    rules.table_mut(table).insert(chain.clone(), body.clone());
                }
            }
        }
    }
}

/// The chains that exist without any service.
fn fixed_chains(view: &NodeView) -> Draft {
    let mut rules = Draft::default();
    for chain in [
        Chain::SERVICES,
        Chain::EXTERNAL_SERVICES,
        Chain::NODE_PORTS,
        Chain::FIREWALL,
    ] {
        rules.append(Table::Filter, &chain, "");
    }
    for chain in [Chain::SERVICES, Chain::NODE_PORTS, Chain::POD_MASQUERADE] {
        rules.append(Table::Nat, &chain, "");
    }
    let mark = MASQUERADE_MARK;
    // A packet that conntrack cannot place would leave untranslated and reset the connection at its peer.
    rules.filter_rule(
        &Chain::FORWARD,
        format_args!("-m conntrack --ctstate INVALID -j DROP"),
    );
    rules.filter_rule(
        &Chain::FORWARD,
        format_args!(
            "-m comment --comment \"kubernetes forwarding rules\" -m mark --mark {mark}/{mark} -j ACCEPT"
        ),
    );
    rules.filter_rule(
        &Chain::FORWARD,
        format_args!(
            "-m comment --comment \"kubernetes forwarding conntrack rule\" \
             -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT"
        ),
    );
    rules.nat_rule(&Chain::MARK_MASQ, format_args!("-j MARK --or-mark {mark}"));
    rules.nat_rule(
        &Chain::POSTROUTING,
        format_args!("-m mark ! --mark {mark}/{mark} -j RETURN"),
    );
    // The mark must not be seen again when the packet passes the stack a second time (a tunnel, an IPsec transform).
    rules.nat_rule(&Chain::POSTROUTING, format_args!("-j MARK --xor-mark {mark}"));
    rules.nat_rule(
        &Chain::POSTROUTING,
        format_args!(
            "-m comment --comment \"kubernetes service traffic requiring SNAT\" -j MASQUERADE --random-fully"
        ),
    );
    if let Some(cidr) = view.cluster_cidr.filter(|_| view.masquerade_pods) {
        rules.nat_rule(
            &Chain::POD_MASQUERADE,
            format_args!("-s {cidr} ! -d {cidr} -m addrtype ! --dst-type LOCAL -j MASQUERADE --random-fully"),
        );
    }
    rules
}
