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

/// The first /24 that overlaps no address or route in use, given as `ip -4 -o addr` or `ip -4 route` print them.
pub(crate) fn free_subnet(in_use: &str) -> Option<Ipv4Addr> {
    let [a, b] = NODE_NETS;
    let taken = |third: u8| {
        let prefix = format!("{a}.{b}.{third}.");
        in_use.split_whitespace().any(|word| word.starts_with(&prefix))
    };
    (0..=u8::MAX)
        .find(|third| !taken(*third))
        .map(|third| Ipv4Addr::new(a, b, third, 0))
}

/// Asks the kernel which /24 is free.
///
/// # Errors
/// When `ip` is missing, or every net is taken.
pub(crate) fn choose_subnet() -> Result<Ipv4Addr> {
    let mut in_use = String::new();
    for arguments in [["-4", "-o", "addr"].as_slice(), &["-4", "route"]] {
        let output = Command::new("ip")
            .args(arguments)
            .output()
            .context("cannot run ip: install iproute2")?;
        in_use.push_str(&String::from_utf8_lossy(&output.stdout));
    }
    free_subnet(&in_use)
        .context("every net from 10.89.0.0/24 on is taken; remove a cluster with `coracle down`")
}

/// What makes the bridge.
pub(crate) fn make_bridge(name: &ClusterName, subnet: Ipv4Addr) -> String {
    let bridge = bridge(name);
    format!(
        "link add {bridge} type bridge\naddress add {}/24 dev {bridge}\nlink set {bridge} up\n",
        gateway(subnet)
    )
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
    std::path::Path::new("/sys/class/net").join(bridge(name)).exists()
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
        with_target(
            rule("nat", "POSTROUTING", &["-s", &net, "!", "-d", &net]),
            "MASQUERADE",
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
    fn the_first_net_that_nobody_uses_is_taken() {
        assert_eq!(free_subnet(""), Some(Ipv4Addr::new(10, 89, 0, 0)));
        let in_use = "2: eth0 inet 10.89.0.1/24 brd 10.89.0.255\n10.89.1.0/24 dev x proto kernel";
        assert_eq!(free_subnet(in_use), Some(Ipv4Addr::new(10, 89, 2, 0)));
        let all: String = (0..=255).map(|third| format!("10.89.{third}.0/24 ")).collect();
        assert_eq!(free_subnet(&all), None);
    }

    #[test]
    fn nodes_and_machine_have_addresses_of_one_net() {
        let subnet = Ipv4Addr::new(10, 89, 3, 0);
        assert_eq!(gateway(subnet).to_string(), "10.89.3.1");
        assert_eq!(node_address(subnet, 1).to_string(), "10.89.3.11");
        assert!(inside_node(node_address(subnet, 0)).contains("default via 10.89.3.1"));
    }
}
