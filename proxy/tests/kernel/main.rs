//! The proxy against a real kernel: a node with two pods and a client, each a network namespace of its own, and an API
//! that the test plays. Needs root and the programs `ip` and `iptables`.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod api;
mod edits;
mod net;

use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::net::UdpSocket;
use std::ops::Range;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;

use api::{Objects, RunningProxy};
use net::{DEADLINE, Net, run};

fn port(node_port: Option<u16>) -> Value {
    json!([{"name": "http", "port": 80, "nodePort": node_port}])
}

fn plain(node_port: Option<u16>) -> (&'static str, Value) {
    (
        "plain",
        json!({"clusterIP": "10.96.0.5", "ports": port(node_port)}),
    )
}

fn sticky() -> (&'static str, Value) {
    (
        "sticky",
        json!({"clusterIP": "10.96.0.6", "sessionAffinity": "ClientIP", "ports": port(None)}),
    )
}

fn saved(net: &Net) -> String {
    net.within("node", || {
        run("iptables-save -t nat") + &run("iptables-save -t filter")
    })
    .join()
    .unwrap()
}

/// Looks at the rules until they are as wanted.
fn await_saved(net: &Net, wanted: impl Fn(&str) -> bool) {
    let start = Instant::now();
    loop {
        let rules = saved(net);
        if wanted(&rules) {
            return;
        }
        assert!(start.elapsed() < DEADLINE, "{rules}");
    }
}

#[test]
fn services_work_in_a_real_kernel() {
    let net = Net::new();
    net.serve("pod1");
    net.serve("pod2");
    let proxy = RunningProxy::start(&net);
    let both = ["10.244.1.2", "10.244.2.2"];
    let names = |hosts: &[&str]| {
        hosts
            .iter()
            .map(|host| (*host).to_owned())
            .collect::<BTreeSet<_>>()
    };

    proxy
        .objects
        .send_replace(Objects::of(1, &[plain(Some(30080)), sticky()], &both));
    net.await_answerers("client", "10.96.0.5:80", &names(&["pod1", "pod2"]));
    assert_eq!(
        net.answerers("client", "192.0.2.1:30080"),
        names(&["pod1", "pod2"]),
        "so does a node port"
    );
    assert_eq!(
        net.answerers("node", "10.96.0.5:80"),
        names(&["pod1", "pod2"]),
        "and the node itself reaches them"
    );
    assert_eq!(
        net.answerers("client", "10.96.0.6:80").len(),
        1,
        "affinity keeps a client with one pod"
    );

    proxy
        .objects
        .send_replace(Objects::of(2, &[plain(None)], &both[..1]));
    net.await_answer("client", "192.0.2.1:30080", |answer| {
        *answer == Err(ErrorKind::ConnectionRefused)
    });
    net.await_answerers("client", "10.96.0.5:80", &names(&["pod1"]));
    assert_eq!(
        net.ask("pod2", "10.96.0.5:80"),
        Ok("pod1 10.244.2.2".into()),
        "pods are seen by their own address"
    );
    assert_eq!(
        net.ask("pod1", "10.96.0.5:80"),
        Ok("pod1 10.244.1.1".into()),
        "save by themselves"
    );

    proxy.objects.send_replace(Objects::of(3, &[plain(None)], &[]));
    net.await_answer("client", "10.96.0.5:80", |answer| {
        *answer == Err(ErrorKind::ConnectionRefused)
    });

    proxy.stop();
}

#[test]
fn rules_outlive_the_process_and_cleanup_takes_them_away() {
    let net = Net::new();
    net.serve("pod1");
    let proxy = RunningProxy::start(&net);
    proxy
        .objects
        .send_replace(Objects::of(1, &[plain(None)], &["10.244.1.2"]));
    net.await_answer("client", "10.96.0.5:80", |answer| answer.is_ok());
    proxy.stop();
    assert!(
        net.ask("client", "10.96.0.5:80").is_ok(),
        "rules outlive the process"
    );

    let again = RunningProxy::start(&net);
    again
        .objects
        .send_replace(Objects::of(2, &[plain(None)], &["10.244.2.2"]));
    net.await_answer("client", "10.96.0.5:80", |answer| answer.is_err());
    let rules = saved(&net);
    assert_eq!(
        rules.matches("-A PREROUTING").count(),
        1,
        "no jump is there twice:\n{rules}"
    );
    again.stop();
    let cleanup = || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(coracle_proxy::cleanup()).unwrap();
    };
    net.within("node", cleanup).join().unwrap();
    let rules = saved(&net);
    assert!(
        !rules.contains("KUBE-") && !rules.contains("CORACLE-"),
        "nothing is left:\n{rules}"
    );
}

#[test]
fn outside_the_cluster_pods_are_seen_by_their_nodes_address() {
    let net = Net::new();
    net.serve("client");
    let proxy = RunningProxy::start(&net);
    proxy.objects.send_replace(Objects::of(1, &[], &[]));
    let by_node = |answer: &Result<String, ErrorKind>| *answer == Ok("client 192.0.2.1".into());
    net.await_answer("pod1", "192.0.2.2:8080", by_node);
    proxy.stop();
}

/// A UDP client that never changes its port keeps the kernel's memory of its flow alive.
#[test]
fn udp_flows_follow_the_endpoints() {
    let net = Net::new();
    net.serve_udp("pod1");
    net.serve_udp("pod2");
    let proxy = RunningProxy::start(&net);
    let ports = json!([{"name": "http", "port": 53, "protocol": "UDP"}]);
    let service = [("names", json!({"clusterIP": "10.96.0.7", "ports": ports}))];
    let client = net.within("client", || {
        let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
        socket.connect("10.96.0.7:53").unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
        socket
    });
    let client = client.join().unwrap();
    let await_answer = |wanted: &str| {
        let (start, mut buffer) = (Instant::now(), [0; 16]);
        loop {
            // A refusal comes back as an error of the next call; it ends with the refusing rule.
            let received = client.send(b"who?").and_then(|_| client.recv(&mut buffer));
            if received.is_ok_and(|length| buffer[..length] == *wanted.as_bytes()) {
                return;
            }
            assert!(start.elapsed() < DEADLINE, "no answer from {wanted}");
        }
    };
    proxy
        .objects
        .send_replace(Objects::of(1, &service, &["10.244.1.2"]));
    await_answer("pod1");
    proxy
        .objects
        .send_replace(Objects::of(2, &service, &["10.244.2.2"]));
    await_answer("pod2");
    proxy.stop();
}

/// A service with an address and an endpoint of its own, beside many.
fn numbered(index: u8) -> (String, Value) {
    let spec = json!({"clusterIP": format!("10.96.1.{index}"), "ports": port(None)});
    (format!("many-{index}"), spec)
}

fn many(version: u32, services: Range<u8>) -> Objects {
    let services: Vec<_> = services.map(numbered).collect();
    let services: Vec<_> = services
        .iter()
        .map(|(name, spec)| (name.as_str(), spec.clone()))
        .collect();
    Objects::of(version, &services, &["10.244.1.2"])
}

#[test]
fn a_change_that_the_kernel_refuses_is_made_good_by_writing_everything() {
    let net = Net::new();
    net.serve("pod1");
    let proxy = RunningProxy::start(&net);
    proxy.objects.send_replace(many(1, 0..80));
    net.await_answer("client", "10.96.1.79:80", |answer| answer.is_ok());

    // A rule more is put into the long chain, one less is taken out. A service and its slice come by watches of their own, each
    // in its own time.
    let holds = |services: usize, gone: &str| {
        await_saved(&net, |rules| {
            rules.matches("-A KUBE-SERVICES").count() == services + 1 && !rules.contains(gone)
        });
    };
    proxy.objects.send_replace(many(2, 1..81));
    holds(80, "many-0:http");
    net.await_answer("client", "10.96.1.80:80", |answer| answer.is_ok());
    assert!(net.ask("client", "10.96.1.0:80").is_err());

    // Somebody empties the chain. The next change wants to take a rule out of it that is not there any more.
    net.within("node", || run("iptables -t nat -F KUBE-SERVICES"))
        .join()
        .unwrap();
    assert!(net.ask("client", "10.96.1.80:80").is_err());
    proxy.objects.send_replace(many(3, 2..81));
    holds(79, "many-1:http");
    net.await_answer("client", "10.96.1.80:80", |answer| answer.is_ok());
    proxy.stop();
}
