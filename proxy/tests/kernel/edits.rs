//! What a batch does to real tables, by the programs alone.

use coracle_proxy::facts::cidr::Family;
use coracle_proxy::facts::endpoint::{Endpoint, Endpoints};
use coracle_proxy::facts::service::{Protocol, ServicePort, ServicePortName, Services, TrafficPolicy};
use coracle_proxy::kernel::iptables::Iptables;
use coracle_proxy::rules::Rules;
use coracle_proxy::rules::chain::Chain;
use coracle_proxy::rules::compile::{NodeView, compile};
use coracle_proxy::rules::diff::{Installed, diff};

use crate::net::{Net, run};

/// Rules for these services, each with two endpoints; every fifth has none, and every third a node port and an external address.
fn rules(services: impl Iterator<Item = u8>) -> Rules {
    let (mut ports, mut endpoints) = (Services::new(), Endpoints::new());
    for index in services {
        let name = ServicePortName::new("ns", &format!("web-{index}"), "http");
        let is_external = index % 3 == 0;
        let port = ServicePort {
            protocol: Protocol::Tcp,
            cluster_ip: [10, 96, 0, index].into(),
            port: 80,
            node_port: is_external.then_some(30000 + u16::from(index)),
            internal_policy: TrafficPolicy::Cluster,
            external_policy: TrafficPolicy::Local,
            external_ips: is_external
                .then(|| [198, 51, 100, index].into())
                .into_iter()
                .collect(),
            load_balancer_ips: Vec::new(),
            source_ranges: Vec::new(),
            affinity_seconds: None,
            health_check_node_port: is_external.then_some(31000 + u16::from(index)),
        };
        ports.insert(name.clone(), port);
        if index % 5 != 0 {
            let endpoint = |block: u8| Endpoint {
                address: ([10, 244, block, index], 8080).into(),
                ready: true,
                serving: true,
                terminating: false,
                local: false,
            };
            endpoints.insert(name, vec![endpoint(1), endpoint(2)]);
        }
    }
    let view = NodeView {
        family: Family::V4,
        node_ips: vec![[192, 0, 2, 1].into()],
        cluster_cidr: Some("10.244.0.0/16".parse().unwrap()),
        masquerade_all: false,
        masquerade_pods: true,
    };
    compile(&ports, &endpoints, &view)
}

/// Has something done on the node with the programs of the first family.
fn with_iptables<T: Send + 'static>(net: &Net, act: impl AsyncFnOnce(Iptables) -> T + Send + 'static) -> T {
    let act = move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            let mut iptables = Iptables::new(Family::V4);
            iptables.probe().await.unwrap();
            act(iptables).await
        })
    };
    net.within("node", act).join().unwrap()
}

/// Chains and rules, in an order that does not depend on how they came about.
fn tables(net: &Net) -> Vec<String> {
    let saved = net.within("node", || {
        ["filter", "nat"]
            .map(|table| run(&format!("iptables-save -t {table}")))
            .concat()
    });
    let saved = saved.join().unwrap();
    let mut lines: Vec<_> = saved
        .lines()
        .filter(|line| line.starts_with([':', '-']))
        .map(|line| line.split(" [").next().unwrap().to_owned())
        .collect();
    lines.sort();
    lines
}

#[test]
fn edits_come_to_the_same_as_a_whole_write() {
    let (edited, whole) = (Net::new(), Net::new());
    for net in [&edited, &whole] {
        let foreign = || {
            run("iptables -t nat -N CNI-DN-1");
            run("iptables -t nat -A OUTPUT -j CNI-DN-1")
        };
        net.within("node", foreign).join().unwrap();
    }
    with_iptables(&edited, async |iptables| {
        let mut installed = Installed::default();
        for services in [0..250_u8, 4..253, 2..251] {
            let rules = rules(services);
            let batch = diff(&installed, &rules);
            let is_first = installed == Installed::default();
            assert_eq!(batch.rules_edited() > 0, !is_first);
            iptables.apply(&batch).await.unwrap();
            installed = Installed::after(rules);
        }
    });
    with_iptables(&whole, async |iptables| {
        iptables
            .apply(&diff(&Installed::default(), &rules(2..251)))
            .await
            .unwrap();
    });
    assert_eq!(tables(&edited), tables(&whole));
}

#[test]
fn rules_that_are_missing_from_a_long_chain_are_noticed() {
    let net = Net::new();
    with_iptables(&net, async |iptables| {
        let rules = rules(0..100);
        iptables
            .apply(&diff(&Installed::default(), &rules))
            .await
            .unwrap();
        let installed = Installed::after(rules.clone());
        assert!(iptables.still_has(&installed).await.unwrap());
        run("iptables -t nat -D KUBE-SERVICES 7");
        assert!(!iptables.still_has(&installed).await.unwrap());

        let found = iptables.read().await.unwrap();
        iptables.apply(&diff(&found, &rules)).await.unwrap();
        assert!(iptables.still_has(&installed).await.unwrap());
        run("iptables -t nat -F KUBE-SERVICES");
        run("iptables -t nat -D OUTPUT 1");
        assert!(!iptables.still_has(&installed).await.unwrap());
    });
    assert!(tables(&net).contains(&format!(":{} -", Chain::SERVICES)));
}
