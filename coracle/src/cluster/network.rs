//! The network between this machine and its nodes: one bridge a cluster, a veth pair a node.
//!
//! What is asked of the kernel is text for `ip -batch` and `iptables`, made purely; [`ip`] and [`iptables`] hand it over.

use std::io::Write;
use std::net::Ipv4Addr;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use sha2::{Digest, Sha256};

use super::state::{ClusterName, State};

/// The nets of which a cluster takes one /24 for its nodes.
const NODE_NETS: [u8; 2] = [10, 89];
/// The addresses of Services, by the default of `coracle server --service-cluster-ip-range`.
const SERVICES: &str = "10.96.0.0/12";
/// Node addresses start here; .1 is the machine itself.
const FIRST_NODE: u8 = 10;

/// A short tag that follows from the cluster's name: interface names have at most 15 characters.
fn tag(name: &ClusterName) -> String {
    Sha256::digest(name.to_string().as_bytes())
        .iter()
        .take(4)
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

/// The name of the cluster's bridge.
pub(crate) fn bridge(name: &ClusterName) -> String {
    format!("cor-{}", tag(name))
}

/// The name of the machine's end of a node's veth pair.
fn veth(name: &ClusterName, index: usize) -> String {
    format!("cv{}-{index}", tag(name))
}

/// The machine's own address in the cluster's net.
pub(crate) fn gateway(subnet: Ipv4Addr) -> Ipv4Addr {
    host(subnet, 1)
}

/// How many nodes a cluster's net has addresses for.
pub(crate) const MOST_NODES: usize = (u8::MAX - FIRST_NODE) as usize;

/// The address of the node at `index`.
pub(crate) fn node_address(subnet: Ipv4Addr, index: usize) -> Ipv4Addr {
    host(
        subnet,
        FIRST_NODE.saturating_add(u8::try_from(index).unwrap_or(u8::MAX)),
    )
}

fn host(subnet: Ipv4Addr, last: u8) -> Ipv4Addr {
    let [a, b, c, _] = subnet.octets();
    Ipv4Addr::new(a, b, c, last)
}

/// The networks that a new cluster takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Networks {
    /// The /24 of its nodes.
    pub(crate) nodes: Ipv4Addr,
    /// The /16 of its pods. It is the cluster's alone on this machine, so that the control plane, which runs outside the
    /// nodes, reaches pods by plain routes.
    pub(crate) pods: Ipv4Addr,
}

/// The first networks that overlap no address or route in use, given as `ip -4 -o addr` or `ip -4 route` print them.
pub(crate) fn free_networks(in_use: &str) -> Option<Networks> {
    let taken = |prefix: String| in_use.split_whitespace().any(|word| word.starts_with(&prefix));
    let [a, b] = NODE_NETS;
    let third = (0..=u8::MAX).find(|third| !taken(format!("{a}.{b}.{third}.")))?;
    let second = pod_nets().find(|second| !taken(format!("10.{second}.")))?;
    Some(Networks {
        nodes: Ipv4Addr::new(a, b, third, 0),
        pods: Ipv4Addr::new(10, second, 0, 0),
    })
}

/// The second octets of the nets 10.x.0.0/16 of which a cluster takes one for its pods, the first choice first.
fn pod_nets() -> impl Iterator<Item = u8> {
    (244..=255).chain(200..=243)
}

/// Asks the kernel which networks are free. Those of `others` count as taken, also while these are stopped.
///
/// # Errors
/// When `ip` is missing, or every network is taken.
pub(crate) fn choose(others: &[State]) -> Result<Networks> {
    let mut in_use: String = others
        .iter()
        .map(|state| format!("{} {}\n", state.subnet, state.pod_network))
        .collect();
    for arguments in [["-4", "-o", "addr"].as_slice(), &["-4", "route"]] {
        let output = Command::new("ip")
            .args(arguments)
            .output()
            .context("cannot run ip: install iproute2")?;
        in_use.push_str(&String::from_utf8_lossy(&output.stdout));
    }
    free_networks(&in_use).context(
        "every network from 10.89.0.0/24 or from 10.244.0.0/16 on is taken; remove a cluster with `coracle down`",
    )
}

/// The pods' network of a state file that names none.
pub(crate) fn default_pod_network() -> Ipv4Addr {
    Ipv4Addr::new(10, 244, 0, 0)
}

/// The pods' network as flags take it.
pub(crate) fn pod_cidr(state: &State) -> String {
    format!("{}/16", state.pod_network)
}

/// What makes the bridge.
pub(crate) fn make_bridge(name: &ClusterName, subnet: Ipv4Addr) -> String {
    let bridge = bridge(name);
    format!(
        "link add {bridge} type bridge\naddress add {}/24 dev {bridge}\nlink set {bridge} up\n",
        gateway(subnet)
    )
}

/// What takes away a veth pair that an earlier life of the node has left: the kernel does so itself, but not at once.
pub(crate) fn disconnect_node(name: &ClusterName, index: usize) -> String {
    format!("link delete {}\n", veth(name, index))
}

/// Whether the machine's end of a node's veth pair exists.
pub(crate) fn is_connected(name: &ClusterName, index: usize) -> bool {
    interface_exists(&veth(name, index))
}

/// What connects a node, whose first process is `pid`, to the bridge.
pub(crate) fn connect_node(name: &ClusterName, index: usize, pid: i32) -> String {
    let veth = veth(name, index);
    let peer = format!("cp{}-{index}", tag(name));
    format!(
        "link add {veth} type veth peer name {peer}\nlink set {veth} master {} up\nlink set {peer} netns {pid} name eth0\n",
        bridge(name)
    )
}

/// What a node sets up inside its own namespace once `eth0` is there.
pub(crate) fn inside_node(address: Ipv4Addr) -> String {
    format!(
        "link set lo up\naddress add {address}/24 dev eth0\nlink set eth0 up\nroute add default via {}\n",
        gateway(address)
    )
}

/// Whether the cluster's bridge exists.
pub(crate) fn bridge_exists(name: &ClusterName) -> bool {
    interface_exists(&bridge(name))
}

fn interface_exists(name: &str) -> bool {
    std::path::Path::new("/sys/class/net").join(name).exists()
}

/// Runs a batch of `ip` commands; the first that fails ends it.
///
/// # Errors
/// When `ip` is missing or refuses a line; its words are part of the error.
pub(crate) fn ip(batch: &str) -> Result<()> {
    let mut child = Command::new("ip")
        .args(["-batch", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .context("cannot run ip: install iproute2")?;
    child
        .stdin
        .take()
        .expect("stdin is piped")
        .write_all(batch.as_bytes())?;
    let output = child.wait_with_output()?;
    if !output.status.success() {
        bail!("ip refuses: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}

/// The machine's own rules that let nodes reach what the machine reaches (registries, say): each without its verb.
pub(crate) fn host_rules(state: &State) -> Vec<Vec<String>> {
    let bridge = bridge(&state.name);
    let net = format!("{}/24", state.subnet);
    let comment = format!("coracle {}", state.name);
    let rule = |table: &str, chain: &str, words: &[&str]| {
        let mut rule: Vec<String> = ["-t", table, chain].iter().map(ToString::to_string).collect();
        rule.extend(words.iter().map(ToString::to_string));
        rule.extend(
            ["-m", "comment", "--comment", &comment]
                .iter()
                .map(ToString::to_string),
        );
        rule
    };
    let with_target = |mut rule: Vec<String>, target: &str| {
        rule.extend(["-j".to_owned(), target.to_owned()]);
        rule
    };
    vec![
        // What goes to another node, or to its pods, stays on the bridge and keeps its sender.
        with_target(
            rule(
                "nat",
                "POSTROUTING",
                &["-s", &net, "!", "-d", &net, "!", "-o", &bridge],
            ),
            "MASQUERADE",
        ),
        // What a node's proxy has not translated is for a port that no Service has. It must not go astray.
        with_target(
            rule("filter", "FORWARD", &["-i", &bridge, "-d", SERVICES]),
            "REJECT",
        ),
        with_target(rule("filter", "FORWARD", &["-i", &bridge]), "ACCEPT"),
        with_target(rule("filter", "FORWARD", &["-o", &bridge]), "ACCEPT"),
    ]
}

/// Runs iptables with a verb (`-A`, `-C`, `-D`) and a rule of [`host_rules`]; says whether it agreed.
///
/// # Errors
/// When iptables is missing.
pub(crate) fn iptables(verb: &str, rule: &[String]) -> Result<bool> {
    let (table, rest) = rule.split_at(2);
    let status = Command::new("iptables")
        .arg("--wait")
        .args(table)
        .arg(verb)
        .args(rest)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .context("cannot run iptables: install it, for example with `apt-get install iptables`")?;
    Ok(status.success())
}

const FORWARDING: &str = "/proc/sys/net/ipv4/ip_forward";

/// Whether this machine forwards IPv4 packets.
///
/// # Errors
/// When the kernel does not say.
pub(crate) fn forwards() -> Result<bool> {
    let text = std::fs::read_to_string(FORWARDING).with_context(|| format!("cannot read {FORWARDING}"))?;
    Ok(text.trim() == "1")
}

/// Switches this machine's IPv4 forwarding.
///
/// # Errors
/// When the kernel does not let us.
pub(crate) fn set_forwarding(on: bool) -> Result<()> {
    std::fs::write(FORWARDING, if on { "1" } else { "0" })
        .with_context(|| format!("cannot write {FORWARDING}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> ClusterName {
        text.parse().unwrap()
    }

    #[test]
    fn interface_names_fit_the_kernel_and_follow_from_the_cluster() {
        for cluster in ["coracle", "a-rather-long-name-of-forty-characters-x"] {
            let cluster = name(cluster);
            assert!(bridge(&cluster).len() <= 15);
            assert!(veth(&cluster, 200).len() <= 15);
        }
        assert_ne!(bridge(&name("one")), bridge(&name("two")));
    }

    #[test]
    fn the_first_networks_that_nobody_uses_are_taken() {
        let shown =
            |in_use: &str| free_networks(in_use).map(|found| format!("{} {}", found.nodes, found.pods));
        assert_eq!(shown("").unwrap(), "10.89.0.0 10.244.0.0");
        let in_use = "2: eth0 inet 10.89.0.1/24 brd 10.89.0.255\n10.89.1.0/24 dev x proto kernel\n\
                      10.244.1.0/24 via 10.89.0.10";
        assert_eq!(shown(in_use).unwrap(), "10.89.2.0 10.245.0.0");
        let all_nodes: String = (0..=255).map(|third| format!("10.89.{third}.0/24 ")).collect();
        assert_eq!(shown(&all_nodes), None);
        let pods = |range: std::ops::RangeInclusive<u8>| -> String {
            range.map(|second| format!("10.{second}.0.0/16 ")).collect()
        };
        assert_eq!(shown(&pods(244..=255)).unwrap(), "10.89.0.0 10.200.0.0");
        assert_eq!(shown(&pods(200..=255)), None);
    }

    #[test]
    fn nodes_and_machine_have_addresses_of_one_net() {
        let subnet = Ipv4Addr::new(10, 89, 3, 0);
        assert_eq!(gateway(subnet).to_string(), "10.89.3.1");
        assert_eq!(node_address(subnet, 1).to_string(), "10.89.3.11");
        assert!(inside_node(node_address(subnet, 0)).contains("default via 10.89.3.1"));
    }
}
