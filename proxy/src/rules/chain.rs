//! Names of chains, as kube-proxy gives them, so that every tool and every reader that knows its rules knows these.

use std::borrow::Cow;
use std::fmt;

use sha2::{Digest, Sha256};

use crate::facts::service::{Protocol, ServicePortName};

/// The name of an iptables chain (at most 28 characters).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Chain(Cow<'static, str>);

/// Prefixes of the chains that exist per service port or per endpoint.
const PER_SERVICE: [&str; 5] = ["KUBE-SVC-", "KUBE-SVL-", "KUBE-EXT-", "KUBE-FW-", "KUBE-SEP-"];

impl Chain {
    /// Every service destination, in nat; those that are refused, in filter.
    pub const SERVICES: Self = Self::fixed("KUBE-SERVICES");
    /// Refused destinations outside the cluster IPs: external IPs, load balancers, node ports.
    pub const EXTERNAL_SERVICES: Self = Self::fixed("KUBE-EXTERNAL-SERVICES");
    /// Node ports, in nat; health check ports that must be let in, in filter.
    pub const NODE_PORTS: Self = Self::fixed("KUBE-NODEPORTS");
    /// Masquerades what [`Chain::MARK_MASQ`] marked.
    pub const POSTROUTING: Self = Self::fixed("KUBE-POSTROUTING");
    /// Marks a packet for masquerading.
    pub const MARK_MASQ: Self = Self::fixed("KUBE-MARK-MASQ");
    /// Lets service traffic pass where forwarding is refused by default.
    pub const FORWARD: Self = Self::fixed("KUBE-FORWARD");
    /// Drops what `loadBalancerSourceRanges` does not admit.
    pub const FIREWALL: Self = Self::fixed("KUBE-PROXY-FIREWALL");
    /// Masquerades traffic from pods to places outside the cluster. Not one of kube-proxy's chains: there another
    /// program does this.
    pub const POD_MASQUERADE: Self = Self::fixed("CORACLE-POSTROUTING");

    const FIXED: [Self; 8] = [
        Self::SERVICES,
        Self::EXTERNAL_SERVICES,
        Self::NODE_PORTS,
        Self::POSTROUTING,
        Self::MARK_MASQ,
        Self::FORWARD,
        Self::FIREWALL,
        Self::POD_MASQUERADE,
    ];

    const fn fixed(name: &'static str) -> Self {
        Self(Cow::Borrowed(name))
    }

    /// Spreads over all endpoints of a service port (traffic policy Cluster).
    pub fn cluster_policy(name: &ServicePortName, protocol: Protocol) -> Self {
        Self::hashed("KUBE-SVC-", &format!("{name}{protocol}"))
    }

    /// Spreads over this node's endpoints of a service port (traffic policy Local).
    pub fn local_policy(name: &ServicePortName, protocol: Protocol) -> Self {
        Self::hashed("KUBE-SVL-", &format!("{name}{protocol}"))
    }

    /// Takes what came from outside for a service port, before a policy chain spreads it.
    pub fn external(name: &ServicePortName, protocol: Protocol) -> Self {
        Self::hashed("KUBE-EXT-", &format!("{name}{protocol}"))
    }

    /// Admits the load balancer sources of a service port.
    pub fn firewall(name: &ServicePortName, protocol: Protocol) -> Self {
        Self::hashed("KUBE-FW-", &format!("{name}{protocol}"))
    }

    /// Translates to one endpoint, given as `address:port`.
    pub fn endpoint(name: &ServicePortName, protocol: Protocol, endpoint: &str) -> Self {
        Self::hashed("KUBE-SEP-", &format!("{name}{protocol}{endpoint}"))
    }

    fn hashed(prefix: &str, seed: &str) -> Self {
        let digest = Sha256::digest(seed.as_bytes());
        Self(Cow::Owned(format!("{prefix}{}", base32(&digest[..10]))))
    }

    /// A chain found in the kernel, when it is one that this crate makes.
    pub fn recognise(name: &str) -> Option<Self> {
        if let Some(fixed) = Self::FIXED.into_iter().find(|chain| chain.as_str() == name) {
            return Some(fixed);
        }
        PER_SERVICE
            .iter()
            .any(|prefix| name.starts_with(prefix))
            .then(|| Self(Cow::Owned(name.to_owned())))
    }

    /// Whether rules of several service ports stand in this chain.
    pub fn is_shared(&self) -> bool {
        Self::FIXED.contains(self)
    }

    /// How many chains a packet meets at most from here on; none for chains that the kernel's own lead to. A chain leads only to
    /// chains of less depth.
    pub(super) fn depth(&self) -> Option<u8> {
        const DEPTHS: [(&str, u8); 6] = [
            ("KUBE-MARK-MASQ", 0),
            ("KUBE-SEP-", 1),
            ("KUBE-SVC-", 2),
            ("KUBE-SVL-", 2),
            ("KUBE-EXT-", 3),
            ("KUBE-FW-", 4),
        ];
        let mut depths = DEPTHS.iter();
        let found = depths.find(|(prefix, _)| self.0.starts_with(prefix));
        found.map(|(_, depth)| *depth)
    }

    /// The name as iptables reads it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Chain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Base32 (RFC 4648) of bytes whose number is a multiple of five.
fn base32(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
    let mut text = String::with_capacity(bytes.len() * 8 / 5);
    for group in bytes.chunks_exact(5) {
        let bits = group
            .iter()
            .fold(0_u64, |bits, byte| (bits << 8) | u64::from(*byte));
        for position in (0..8).rev() {
            text.push(char::from(ALPHABET[((bits >> (position * 5)) & 31) as usize]));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Names that kube-proxy gives to the same service ports.
    #[test]
    fn names_are_those_of_kube_proxy() {
        let name = ServicePortName::new("ns1", "svc1", "p80");
        assert_eq!(
            Chain::cluster_policy(&name, Protocol::Tcp).as_str(),
            "KUBE-SVC-XPGD46QRK7WJZT7O"
        );
        assert_eq!(
            Chain::endpoint(&name, Protocol::Tcp, "10.180.0.1:80").as_str(),
            "KUBE-SEP-SXIVWICOYRO3J4NJ"
        );
        let name = ServicePortName::new("ns2", "svc2", "p80");
        assert_eq!(
            Chain::external(&name, Protocol::Tcp).as_str(),
            "KUBE-EXT-GNZBNJ2PO5MGZ6GT"
        );
        assert_eq!(
            Chain::local_policy(&name, Protocol::Tcp).as_str(),
            "KUBE-SVL-GNZBNJ2PO5MGZ6GT"
        );
    }

    #[test]
    fn only_own_chains_are_recognised() {
        for (name, own) in [
            ("KUBE-SERVICES", true),
            ("KUBE-SEP-SXIVWICOYRO3J4NJ", true),
            ("CORACLE-POSTROUTING", true),
            ("KUBE-KUBELET-CANARY", false),
            ("PREROUTING", false),
            ("CNI-HOSTPORT-DNAT", false),
        ] {
            assert_eq!(Chain::recognise(name).is_some(), own, "{name}");
        }
    }

    #[test]
    fn names_fit_the_kernel() {
        let name = ServicePortName::new(&"n".repeat(63), &"s".repeat(63), "port");
        assert!(
            Chain::endpoint(&name, Protocol::Sctp, "[fd00::1]:65535")
                .as_str()
                .len()
                <= 28
        );
    }
}
