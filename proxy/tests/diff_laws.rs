//! A batch leads from any rule set to any other: held against a model of what `iptables-restore --noflush` does.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::collections::BTreeMap;

use coracle_proxy::facts::cidr::Family;
use coracle_proxy::facts::endpoint::{Endpoint, Endpoints};
use coracle_proxy::facts::service::{Protocol, ServicePort, ServicePortName, Services, TrafficPolicy};
use coracle_proxy::rules::chain::Chain;
use coracle_proxy::rules::compile::{Compiler, NodeView, compile};
use coracle_proxy::rules::diff::{Installed, diff};
use coracle_proxy::rules::{JUMPS, Rules, Table};
use proptest::prelude::*;

/// Tables as the kernel has them: chains with their rules in order.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Kernel(BTreeMap<(String, String), Vec<String>>);

impl Kernel {
    /// The chains that exist from the start, and somebody else's.
    fn new() -> Self {
        let mut chains = BTreeMap::new();
        for jump in &JUMPS {
            chains.insert((jump.table.to_string(), jump.from.to_owned()), Vec::new());
        }
        let foreign = ("nat".to_owned(), "CNI-HOSTPORT-DNAT".to_owned());
        chains.insert(foreign, vec!["-j RETURN".to_owned()]);
        Self(chains)
    }

    /// What a restore does, with the complaints that iptables would have. Before its table's last commit it changes nothing that
    /// was there.
    fn restore(&mut self, input: &str) {
        let mut table: Option<String> = None;
        let mut before = self.clone();
        let commits = |table: &str| input.matches(&format!("*{table}\n")).count();
        let mut left: BTreeMap<_, _> = ["filter", "nat"]
            .map(|table| (table.to_owned(), commits(table)))
            .into();
        for line in input.lines() {
            let (command, rest) =
                line.split_at(line.find([' ', '*', ':']).map_or(line.len(), |at| at.max(1)));
            let (name, rule) = rest
                .trim_start()
                .split_once(' ')
                .unwrap_or((rest.trim_start(), ""));
            let key = |name: &str| (table.clone().expect("a table is open"), name.to_owned());
            match command {
                "*" => table = Some(rest.to_owned()),
                ":" => drop(self.0.insert(key(name), Vec::new())),
                "-A" => self
                    .0
                    .get_mut(&key(name))
                    .expect("the chain exists")
                    .push(rule.to_owned()),
                "-I" => self
                    .0
                    .get_mut(&key(name))
                    .expect("the chain exists")
                    .insert(0, rule.to_owned()),
                "-D" => {
                    let rules = self.0.get_mut(&key(name)).expect("the chain exists");
                    rules.remove(
                        rules
                            .iter()
                            .position(|found| found == rule)
                            .expect("the rule exists"),
                    );
                }
                "-X" => assert_eq!(
                    self.0.remove(&key(name)),
                    Some(Vec::new()),
                    "a deleted chain is there and empty"
                ),
                "COMMIT" => {
                    self.assert_targets_exist();
                    let left = left
                        .get_mut(&table.take().expect("a table is open"))
                        .expect("a table");
                    *left -= 1;
                    if *left > 0 {
                        for (chain, rules) in &before.0 {
                            assert_eq!(self.0.get(chain), Some(rules), "{chain:?} is as it was");
                        }
                    } else {
                        before = self.clone();
                    }
                }
                _ => panic!("{line}"),
            }
        }
        assert_eq!(table, None, "every table is committed");
    }

    fn assert_targets_exist(&self) {
        for ((table, _), rules) in &self.0 {
            for rule in rules {
                let target = rule
                    .rsplit_once("-j ")
                    .map(|(_, target)| target.split(' ').next().unwrap());
                if let Some(chain) = target.and_then(Chain::recognise) {
                    assert!(self.0.contains_key(&(table.clone(), chain.to_string())), "{rule}");
                }
            }
        }
    }

    /// Our chains, as a rule set would hold them.
    fn ours(&self) -> Rules {
        let mut rules = Rules::default();
        for ((table, name), lines) in &self.0 {
            let table = *Table::ALL.iter().find(|known| known.as_str() == table).unwrap();
            if let Some(chain) = Chain::recognise(name) {
                let body: String = lines.iter().map(|line| format!("-A {chain} {line}\n")).collect();
                rules.table_mut(table).insert(chain, body.into());
            }
        }
        rules
    }

    /// As `iptables-save` shows it.
    fn saved(&self, table: Table) -> String {
        let of_table = || self.0.iter().filter(move |((of, _), _)| of == table.as_str());
        let mut text: String = of_table()
            .map(|((_, name), _)| format!(":{name} - [0:0]\n"))
            .collect();
        for ((_, name), rules) in of_table() {
            text.extend(rules.iter().map(|rule| format!("-A {name} {rule}\n")));
        }
        text
    }

    fn observed(&self) -> Installed {
        let mut installed = Installed::default();
        for table in Table::ALL {
            installed.observe(table, &self.saved(table));
        }
        installed
    }
}

/// A rule set in which rules that are for packets of their own stand in the order of those. Others keep theirs, at the end.
fn settled(rules: &Rules) -> Rules {
    let packets = |line: &str| {
        let matches = line
            .rsplit_once("\" ")
            .and_then(|(_, rest)| rest.split_once(" -j "));
        let matches = matches.map(|(matches, _)| matches.to_owned());
        let own = matches.filter(|matches| matches.contains("--dport"));
        (own.is_none(), own)
    };
    let mut settled = rules.clone();
    for table in Table::ALL {
        for (chain, body) in settled.table_mut(table) {
            if chain.is_shared() {
                let mut lines: Vec<_> = body.lines().map(|line| format!("{line}\n")).collect();
                lines.sort_by_key(|line| packets(line));
                *body = lines.concat().into();
            }
        }
    }
    settled
}

fn policy() -> impl Strategy<Value = TrafficPolicy> {
    prop_oneof![Just(TrafficPolicy::Cluster), Just(TrafficPolicy::Local)]
}

prop_compose! {
    fn service_port()(
        udp in any::<bool>(), host in 1_u8..6, port in 1_u16..4, node_port in prop::option::of(30000_u16..30003),
        external in 0..2_usize, balanced in 0..3_usize, ranges in 0..2_usize, affinity in any::<bool>(),
        internal_policy in policy(), external_policy in policy(), check in prop::option::of(31000_u16..31002),
    ) -> ServicePort {
        ServicePort {
            protocol: if udp { Protocol::Udp } else { Protocol::Tcp },
            cluster_ip: [10, 96, 0, host].into(),
            port, node_port, internal_policy, external_policy,
            external_ips: vec![[198, 51, 100, host].into(); external],
            load_balancer_ips: (0..balanced).map(|at| [203, 0, 113, host + at as u8].into()).collect(),
            source_ranges: vec!["192.0.2.0/24".parse().unwrap(); ranges],
            affinity_seconds: affinity.then_some(60),
            health_check_node_port: check,
        }
    }
}

prop_compose! {
    fn endpoint()(host in 1_u8..8, ready in any::<bool>(), serving in any::<bool>(), terminating in any::<bool>(),
                  local in any::<bool>()) -> Endpoint {
        Endpoint { address: ([10, 244, 0, host], 8080).into(), ready, serving, terminating, local }
    }
}

type Cluster = (Services, Endpoints);

prop_compose! {
    fn cluster()(ports in prop::collection::btree_map(0_u8..5, (service_port(), prop::collection::vec(endpoint(), 0..5)), 0..5))
        -> Cluster
    {
        let (mut services, mut endpoints) = (Services::new(), Endpoints::new());
        for (index, (port, mut found)) in ports {
            let name = ServicePortName::new("ns", &format!("web-{index}"), "http");
            found.sort_by_key(|endpoint| endpoint.address);
            found.dedup_by_key(|endpoint| endpoint.address);
            services.insert(name.clone(), port);
            endpoints.insert(name, found);
        }
        (services, endpoints)
    }
}

/// Enough services to make the shared chains long.
fn long((mut services, mut endpoints): Cluster) -> Cluster {
    for host in 0..60 {
        let name = ServicePortName::new("long", &format!("web-{host}"), "");
        let port = ServicePort {
            protocol: Protocol::Tcp,
            cluster_ip: [10, 97, 0, host].into(),
            port: 80,
            node_port: Some(31100 + u16::from(host)),
            internal_policy: TrafficPolicy::Cluster,
            external_policy: TrafficPolicy::Cluster,
            external_ips: Vec::new(),
            load_balancer_ips: Vec::new(),
            source_ranges: Vec::new(),
            affinity_seconds: None,
            health_check_node_port: None,
        };
        services.insert(name.clone(), port);
        let address = ([10, 244, 1, host], 8080).into();
        let endpoint = Endpoint {
            address,
            ready: true,
            serving: true,
            terminating: false,
            local: false,
        };
        endpoints.insert(name, vec![endpoint]);
    }
    (services, endpoints)
}

prop_compose! {
    fn long_rules()((services, endpoints) in cluster().prop_map(long), view in view()) -> Rules {
        compile(&services, &endpoints, &view)
    }
}

prop_compose! {
    fn view()(masquerade_pods in any::<bool>(), masquerade_all in any::<bool>()) -> NodeView {
        let (node_ips, cidr) = (vec![[192, 0, 2, 1].into()], "10.244.0.0/16".parse().unwrap());
        NodeView { family: Family::V4, node_ips, cluster_cidr: Some(cidr), masquerade_all, masquerade_pods }
    }
}

prop_compose! {
    fn rules()((services, endpoints) in cluster(), view in view()) -> Rules {
        compile(&services, &endpoints, &view)
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_batch_leads_from_the_old_rules_to_the_new(old in rules(), new in rules()) {
        let mut kernel = Kernel::new();
        kernel.restore(&diff(&Installed::default(), &old).to_string());
        prop_assert_eq!(kernel.ours(), old.clone());
        let installed = Installed::after(old);
        kernel.restore(&diff(&installed, &new).to_string());
        prop_assert_eq!(kernel.ours(), new.clone());
        prop_assert!(diff(&Installed::after(new.clone()), &new).is_empty());
    }

    #[test]
    fn long_chains_come_to_hold_the_new_rules_by_edits(states in prop::collection::vec(long_rules(), 2..6)) {
        let (mut kernel, mut installed) = (Kernel::new(), Installed::default());
        for rules in states {
            kernel.restore(&diff(&installed, &rules).to_string());
            prop_assert_eq!(settled(&kernel.ours()), settled(&rules));
            let services = kernel.ours().nat[&Chain::SERVICES].clone();
            prop_assert!(services.trim_end().ends_with("-j KUBE-NODEPORTS"), "{}", services);
            installed = Installed::after(rules);
            for (table, chain, amount) in installed.edited_chains() {
                prop_assert_eq!(kernel.ours().table(table)[chain].lines().count(), amount);
            }
        }
    }

    #[test]
    fn stages_come_to_the_same_as_one_commit(old in rules(), new in long_rules()) {
        let mut kernel = Kernel::new();
        kernel.restore(&diff(&Installed::default(), &old).to_string());
        let (mut at_once, mut by_and_by) = (kernel.clone(), kernel);
        let installed = Installed::after(old);
        let batch = diff(&installed, &new);
        at_once.restore(&batch.to_string());
        by_and_by.restore(&batch.in_stages().to_string());
        prop_assert!(batch.in_stages().to_string().matches("*nat").count() > 1);
        prop_assert_eq!(at_once, by_and_by);
    }

    #[test]
    fn a_new_process_takes_over_and_leaves_no_double(old in rules(), new in rules()) {
        let mut kernel = Kernel::new();
        kernel.restore(&diff(&Installed::default(), &old).to_string());
        kernel.restore(&diff(&kernel.observed(), &new).to_string());
        prop_assert_eq!(kernel.ours(), new.clone());
        let mut fresh = Kernel::new();
        fresh.restore(&diff(&Installed::default(), &new).to_string());
        prop_assert_eq!(kernel, fresh);
    }

    #[test]
    fn removal_leaves_the_kernel_as_it_was(old in rules()) {
        let mut kernel = Kernel::new();
        kernel.restore(&diff(&Installed::default(), &old).to_string());
        kernel.restore(&kernel.observed().removal().unwrap());
        prop_assert_eq!(&kernel, &Kernel::new());
        prop_assert_eq!(kernel.observed().removal(), None);
    }

    #[test]
    fn what_a_compiler_remembers_changes_nothing(clusters in prop::collection::vec(cluster(), 1..5), view in view()) {
        let mut compiler = Compiler::new(view.clone());
        for (services, endpoints) in clusters {
            prop_assert_eq!(compiler.compile(&services, &endpoints), compile(&services, &endpoints, &view));
        }
    }
}
