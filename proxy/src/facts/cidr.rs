//! Address families and address blocks.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

/// An IP family. Each has its own kernel tables, and is compiled and applied on its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Family {
    /// IPv4, applied with `iptables`.
    V4,
    /// IPv6, applied with `ip6tables`.
    V6,
}

impl Family {
    /// The family of an address.
    pub fn of(address: IpAddr) -> Self {
        if address.is_ipv4() { Self::V4 } else { Self::V6 }
    }

    /// How EndpointSlice spells this family in `addressType`.
    pub fn address_type(self) -> &'static str {
        match self {
            Self::V4 => "IPv4",
            Self::V6 => "IPv6",
        }
    }

    /// The loopback block, whose addresses no node port answers on (`route_localnet` stays off).
    pub fn loopback(self) -> &'static str {
        match self {
            Self::V4 => "127.0.0.0/8",
            Self::V6 => "::1/128",
        }
    }
}

/// An address block such as `10.244.0.0/16`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Cidr {
    address: IpAddr,
    prefix: u8,
}

/// A text that is not an address block.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not an address block like 10.244.0.0/16")]
pub struct CidrError(String);

impl Cidr {
    /// The family of the block's addresses.
    pub fn family(&self) -> Family {
        Family::of(self.address)
    }

    /// Whether an address of the same family lies in the block.
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.address, address) {
            (IpAddr::V4(block), IpAddr::V4(address)) => {
                let differ = u128::from(block.to_bits() ^ address.to_bits());
                leading_bits_equal(differ << 96, self.prefix)
            }
            (IpAddr::V6(block), IpAddr::V6(address)) => {
                leading_bits_equal(block.to_bits() ^ address.to_bits(), self.prefix)
            }
            _ => false,
        }
    }
}

/// Whether the first `prefix` bits of a difference are zero.
fn leading_bits_equal(differ: u128, prefix: u8) -> bool {
    differ.leading_zeros() >= u32::from(prefix)
}

impl FromStr for Cidr {
    type Err = CidrError;

    fn from_str(text: &str) -> Result<Self, CidrError> {
        let fault = || CidrError(text.to_owned());
        let (address, prefix) = text.trim().split_once('/').ok_or_else(fault)?;
        let address: IpAddr = address.parse().map_err(|_| fault())?;
        let prefix: u8 = prefix.parse().map_err(|_| fault())?;
        let widest = if address.is_ipv4() { 32 } else { 128 };
        if prefix > widest {
            return Err(fault());
        }
        Ok(Self { address, prefix })
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_contain_their_addresses() {
        for (block, address, expected) in [
            ("10.244.0.0/16", "10.244.3.4", true),
            ("10.244.0.0/16", "10.245.3.4", false),
            ("0.0.0.0/0", "203.0.113.9", true),
            ("192.168.0.1/32", "192.168.0.1", true),
            ("192.168.0.1/32", "192.168.0.2", false),
            ("fd00::/64", "fd00::5", true),
            ("fd00::/64", "fd00:0:0:1::5", false),
            ("::/0", "fd00::5", true),
            ("::/0", "10.0.0.1", false),
        ] {
            let block: Cidr = block.parse().unwrap();
            assert_eq!(
                block.contains(address.parse().unwrap()),
                expected,
                "{block} {address}"
            );
        }
    }

    #[test]
    fn what_is_no_block_is_refused() {
        for text in [
            "",
            "10.0.0.0",
            "10.0.0.0/33",
            "fd00::/129",
            "10.0.0/8",
            "10.0.0.0/-1",
            "a/8",
        ] {
            assert!(text.parse::<Cidr>().is_err(), "{text}");
        }
    }
}
