//! A node with two pods and a client, each a network namespace of its own.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::Duration;

use nix::sched::{CloneFlags, setns};
use tokio::time::Instant;

pub(crate) const DEADLINE: Duration = Duration::from_secs(20);

/// Runs a program to its end, which must be a good one.
pub(crate) fn run(command: &str) -> String {
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
pub(crate) struct Net {
    prefix: String,
}

impl Net {
    const HOSTS: [&'static str; 4] = ["node", "pod1", "pod2", "client"];

    /// The node is `.1` in each host's own /24.
    pub(crate) fn new() -> Self {
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

    pub(crate) fn name(&self, host: &str) -> String {
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
    pub(crate) fn within<T: Send + 'static>(
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
    pub(crate) fn serve(&self, host: &'static str) {
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
    pub(crate) fn serve_udp(&self, host: &'static str) {
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
    pub(crate) fn ask(&self, host: &str, address: &str) -> Result<String, ErrorKind> {
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
    pub(crate) fn await_answer(
        &self,
        host: &str,
        address: &str,
        wanted: impl Fn(&Result<String, ErrorKind>) -> bool,
    ) {
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
    pub(crate) fn await_answerers(&self, host: &str, address: &str, wanted: &BTreeSet<String>) {
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
    pub(crate) fn answerers(&self, host: &str, address: &str) -> BTreeSet<String> {
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
