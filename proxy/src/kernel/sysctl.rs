//! The kernel settings that service traffic needs, in the network namespace of this process.

use std::fs;
use std::path::Path;

use tracing::warn;

use crate::facts::cidr::Family;

/// Forwarding between interfaces, and iptables for what passes a bridge.
fn wanted(family: Family) -> [&'static str; 2] {
    match family {
        Family::V4 => ["net/ipv4/ip_forward", "net/bridge/bridge-nf-call-iptables"],
        Family::V6 => [
            "net/ipv6/conf/all/forwarding",
            "net/bridge/bridge-nf-call-ip6tables",
        ],
    }
}

/// Turns the settings on. One that cannot be is a warning: the machine's owner may have forbidden it, or the kernel may
/// lack the bridge module, and most traffic flows all the same.
pub(crate) fn enable(family: Family) {
    for name in wanted(family) {
        let path = Path::new("/proc/sys").join(name);
        let current = fs::read_to_string(&path).unwrap_or_default();
        if current.trim() == "1" {
            continue;
        }
        if let Err(error) = fs::write(&path, "1") {
            warn!(setting = name, %error, "kernel setting stays off; traffic between pods and services may be lost");
        }
    }
}
