//! The proxy against a real kernel: a node with two pods and a client, each a network namespace of its own, and an API
//! that the test plays. Needs root and the programs `ip` and `iptables`.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::Duration;

use bytes::Bytes;
use coracle_proxy::Config;
use futures::stream;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::Frame;
use hyper::{Request, Response};
use kube::Client;
use nix::sched::{CloneFlags, setns};
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

const DEADLINE: Duration = Duration::from_secs(20);

/// Runs a program to its end, which must be a good one.
fn run(command: &str) -> String {
    let mut words = command.split_whitespace();
    let output = Command::new(words.next().unwrap()).args(words).output().unwrap();
    assert!(
        output.status.success(),
        "{command}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}

/// Network namespaces joined at the first one, the node. All go when this is dropped, and with them every link and rule.
struct Net {
    prefix: String,
}

impl Net {
    const HOSTS: [&'static str; 4] = ["node", "pod1", "pod2", "client"];

    /// The node is `.1` in each host's own /24.
    fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let net = Self {
            prefix: format!("cpx{}-{count}", std::process::id()),
        };
        for host in Self::HOSTS {
            run(&format!("ip netns add {}", net.name(host)));
            run(&format!("ip -n {} link set lo up", net.name(host)));
        }
        net.join("pod1", "10.244.1");
        net.join("pod2", "10.244.2");
        net.join("client", "192.0.2");
        // What the node itself sends to a cluster IP is routed before it is translated.
        run(&format!(
            "ip -n {} route add default via 192.0.2.2",
            net.name("node")
        ));
        net
    }

    fn name(&self, host: &str) -> String {
        format!("{}-{host}", self.prefix)
    }

    fn join(&self, host: &str, block: &str) {
        let (node, host_ns) = (self.name("node"), self.name(host));
        run(&format!(
            "ip link add {host} netns {node} type veth peer name eth0 netns {host_ns}"
        ));
        run(&format!("ip -n {node} addr add {block}.1/24 dev {host}"));
        run(&format!("ip -n {node} link set {host} up"));
        run(&format!("ip -n {host_ns} addr add {block}.2/24 dev eth0"));
        run(&format!("ip -n {host_ns} link set eth0 up"));
        run(&format!("ip -n {host_ns} route add default via {block}.1"));
    }

    /// Runs a closure on a thread of its own inside a host. A namespace belongs to a thread, and so do the programs that
    /// the thread starts.
    fn within<T: Send + 'static>(
        &self,
        host: &str,
        act: impl FnOnce() -> T + Send + 'static,
    ) -> thread::JoinHandle<T> {
        let namespace = File::open(format!("/run/netns/{}", self.name(host))).unwrap();
        thread::spawn(move || {
            setns(&namespace, CloneFlags::CLONE_NEWNET).unwrap();
            act()
        })
    }

    /// A server that tells its name and who asks, until the test ends.
    fn serve(&self, host: &'static str) {
        let listener = self
            .within(host, || TcpListener::bind("0.0.0.0:8080").unwrap())
            .join()
            .unwrap();
        thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let peer = stream.peer_addr().unwrap().ip();
                // A client that went away is no concern of the server's.
                let _ = stream.write_all(format!("{host} {peer}").as_bytes());
            }
        });
    }

    /// A server that answers datagrams with its name, until the test ends.
    fn serve_udp(&self, host: &'static str) {
        let socket = self
            .within(host, || UdpSocket::bind("0.0.0.0:8080").unwrap())
            .join()
            .unwrap();
        thread::spawn(move || {
            let mut buffer = [0; 16];
            while let Ok((_, client)) = socket.recv_from(&mut buffer) {
                // A client that is out of reach is no concern of the server's.
                let _ = socket.send_to(host.as_bytes(), client);
            }
        });
    }

    /// What a server answers to a connection from a host.
    fn ask(&self, host: &str, address: &str) -> Result<String, ErrorKind> {
        let address: SocketAddr = address.parse().unwrap();
        let ask = move || {
            let mut stream = TcpStream::connect_timeout(&address, Duration::from_millis(500))?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer).map(|_| answer)
        };
        self.within(host, ask)
            .join()
            .unwrap()
            .map_err(|error| error.kind())
    }

    /// Asks until the answer is as wanted; rules follow the API a moment later.
    fn await_answer(&self, host: &str, address: &str, wanted: impl Fn(&Result<String, ErrorKind>) -> bool) {
        let start = Instant::now();
        loop {
            let answer = self.ask(host, address);
            if wanted(&answer) {
                return;
            }
            assert!(start.elapsed() < DEADLINE, "{host} asks {address}: {answer:?}");
            thread::yield_now();
        }
    }

    /// Asks until these servers, and no other, answer.
    fn await_answerers(&self, host: &str, address: &str, wanted: &BTreeSet<String>) {
        let start = Instant::now();
        self.await_answer(host, address, |answer| answer.is_ok());
        loop {
            let found = self.answerers(host, address);
            if found == *wanted {
                return;
            }
            assert!(
                start.elapsed() < DEADLINE,
                "{host} asks {address} and hears {found:?}, not {wanted:?}"
            );
        }
    }

    /// Names of the servers that answer to twenty connections.
    fn answerers(&self, host: &str, address: &str) -> BTreeSet<String> {
        let answers = (0..20).map(|_| self.ask(host, address).unwrap());
        answers
            .map(|answer| answer.split(' ').next().unwrap().to_owned())
            .collect()
    }
}

impl Drop for Net {
    fn drop(&mut self) {
        for host in Self::HOSTS {
            // The rest must go even when one is not there.
            let _ = Command::new("ip")
                .args(["netns", "del", &self.name(host)])
                .output();
        }
    }
}

/// Services and slices as an API server would serve them.
#[derive(Clone, Default)]
struct Objects {
    version: u32,
    services: Vec<Value>,
    slices: Vec<Value>,
}

impl Objects {
    /// Services of namespace `ns`, all with the same endpoints.
    fn of(version: u32, services: &[(&str, Value)], endpoints: &[&str]) -> Self {
        let mut objects = Self {
            version,
            ..Self::default()
        };
        for (name, spec) in services {
            let metadata =
                json!({"namespace": "ns", "name": name, "labels": {"kubernetes.io/service-name": name}});
            objects.services.push(json!({"metadata": metadata, "spec": spec}));
            let endpoints: Vec<Value> = endpoints
                .iter()
                .map(|address| json!({"addresses": [address], "nodeName": "node"}))
                .collect();
            objects
                .slices
                .push(json!({"metadata": metadata, "addressType": "IPv4",
                "ports": [{"name": "http", "port": 8080}], "endpoints": endpoints}));
        }
        objects
    }

    fn list(&self, path: &str) -> Value {
        let (kind, api_version, items) = match path.ends_with("/services") {
            true => ("ServiceList", "v1", &self.services),
            false => ("EndpointSliceList", "discovery.k8s.io/v1", &self.slices),
        };
        json!({"kind": kind, "apiVersion": api_version, "items": items,
               "metadata": {"resourceVersion": self.version.to_string()}})
    }
}

type Body = http_body_util::combinators::UnsyncBoxBody<Bytes, std::io::Error>;

/// Lists what is there; a watch ends with "gone" as soon as that changed, so that the client lists anew.
fn respond(mut objects: watch::Receiver<Objects>, request: &Request<kube::client::Body>) -> Response<Body> {
    let query = request.uri().query().unwrap_or_default();
    if !query.contains("watch=true") {
        let list = objects.borrow().list(request.uri().path()).to_string();
        return Response::new(Full::from(list).map_err(|never| match never {}).boxed_unsync());
    }
    let seen = query
        .split('&')
        .find_map(|pair| pair.strip_prefix("resourceVersion="))
        .unwrap()
        .to_owned();
    let gone = json!({"type": "ERROR", "object": {"kind": "Status", "apiVersion": "v1", "metadata": {}, "code": 410,
                      "status": "Failure", "reason": "Expired", "message": "too old resource version"}});
    let event = async move {
        let changed = objects
            .wait_for(|objects| objects.version.to_string() != seen)
            .await;
        changed.map_err(std::io::Error::other)?;
        Ok(Frame::data(Bytes::from(format!("{gone}\n"))))
    };
    Response::new(StreamBody::new(stream::once(event)).boxed_unsync())
}

/// A proxy inside the node that follows the test's objects.
struct RunningProxy {
    objects: watch::Sender<Objects>,
    shutdown: CancellationToken,
    thread: Option<thread::JoinHandle<()>>,
}

impl RunningProxy {
    fn start(net: &Net) -> Self {
        let (objects, served) = watch::channel(Objects::default());
        let shutdown = CancellationToken::new();
        let stop = shutdown.clone();
        let cidr = "10.244.0.0/16".parse().unwrap();
        let config = Config::new("node", vec!["192.0.2.1".parse().unwrap()], vec![cidr]);
        let thread = net.within("node", move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(async {
                let service = tower::service_fn(move |request| {
                    std::future::ready(Ok::<_, std::io::Error>(respond(served.clone(), &request)))
                });
                coracle_proxy::run(Client::new(service, "default"), config, stop)
                    .await
                    .unwrap();
            });
        });
        Self {
            objects,
            shutdown,
            thread: Some(thread),
        }
    }

    fn stop(mut self) {
        self.shutdown.cancel();
        self.thread.take().unwrap().join().unwrap();
    }
}

impl Drop for RunningProxy {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}

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
