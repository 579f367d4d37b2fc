//! Cluster addresses: which are free, which is next.
//!
//! Pure: chance is an argument. Follows KEP-3070: the lowest part of a range is left to those who ask for an address by
//! name, and is handed out on its own only when the rest is used up.

use std::collections::BTreeSet;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// A range of addresses in CIDR form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cidr {
    base: IpAddr,
    length: u8,
}

/// Why an address cannot be had. The texts are upstream's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// Somebody has it.
    #[error("provided IP is already allocated")]
    Allocated,
    /// It lies outside.
    #[error("the provided IP ({address}) is not in the valid range. The range of valid IPs is {range}")]
    OutOfRange {
        /// The address asked for.
        address: IpAddr,
        /// The range it is not in.
        range: Cidr,
    },
    /// None is left.
    #[error("range is full")]
    Full,
}

/// Why a text is no CIDR.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a range of addresses such as 10.96.0.0/12")]
pub struct CidrError(String);

impl FromStr for Cidr {
    type Err = CidrError;

    fn from_str(text: &str) -> Result<Self, CidrError> {
        let fault = || CidrError(text.to_owned());
        let (address, length) = text.split_once('/').ok_or_else(fault)?;
        let address: IpAddr = address.parse().map_err(|_| fault())?;
        let length: u8 = length.parse().map_err(|_| fault())?;
        if length > bits(address) {
            return Err(fault());
        }
        let cidr = Self {
            base: address,
            length,
        };
        Ok(Self {
            base: from_number(number(address) & !cidr.host_mask(), address.is_ipv4()),
            length,
        })
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.base, self.length)
    }
}

impl Cidr {
    /// Whether an address lies in it.
    pub fn contains(&self, address: IpAddr) -> bool {
        address.is_ipv4() == self.base.is_ipv4() && number(address) & !self.host_mask() == number(self.base)
    }

    /// Whether it is a range of IPv4 addresses.
    pub fn is_ipv4(&self) -> bool {
        self.base.is_ipv4()
    }

    /// The first address that a service may have: the one of `kubernetes` in `default`.
    pub fn first(&self) -> IpAddr {
        from_number(number(self.base) + 1, self.is_ipv4())
    }

    fn host_mask(&self) -> u128 {
        let host_bits = bits(self.base) - self.length;
        if host_bits == 128 {
            u128::MAX
        } else {
            (1 << host_bits) - 1
        }
    }

    /// How many addresses may be used: not the network's own, and not IPv4's broadcast address. Upstream bounds IPv6
    /// ranges to 2^16 likewise.
    fn usable(&self) -> u128 {
        let size = self.host_mask().min(0xffff_ffff);
        if self.is_ipv4() {
            size.saturating_sub(1)
        } else {
            size.min(0xffff)
        }
    }
}

/// The addresses of one range that are in use.
#[derive(Debug)]
pub struct Addresses {
    range: Cidr,
    /// As offsets from the range's base.
    used: BTreeSet<u128>,
}

impl Addresses {
    /// A range with every address free.
    pub fn new(range: Cidr) -> Self {
        Self {
            range,
            used: BTreeSet::new(),
        }
    }

    /// The range.
    pub fn range(&self) -> Cidr {
        self.range
    }

    /// Takes one address.
    ///
    /// # Errors
    /// Where it is taken or cannot be had.
    pub fn take(&mut self, address: IpAddr) -> Result<(), AddressError> {
        let out = AddressError::OutOfRange {
            address,
            range: self.range,
        };
        if !self.range.contains(address) {
            return Err(out);
        }
        let offset = number(address) - number(self.range.base);
        if offset == 0 || offset > self.range.usable() {
            return Err(out);
        }
        if self.used.insert(offset) {
            Ok(())
        } else {
            Err(AddressError::Allocated)
        }
    }

    /// Takes the next free address from a place that `chance` picks.
    ///
    /// # Errors
    /// Where none is left.
    pub fn take_any(&mut self, chance: u64) -> Result<IpAddr, AddressError> {
        let size = self.range.usable();
        let reserved = reserved_below(size);
        let offset = free_in(&self.used, reserved + 1, size, chance)
            .or_else(|| free_in(&self.used, 1, reserved, chance))
            .ok_or(AddressError::Full)?;
        self.used.insert(offset);
        Ok(from_number(
            number(self.range.base) + offset,
            self.range.is_ipv4(),
        ))
    }

    /// Gives an address back.
    pub fn release(&mut self, address: IpAddr) {
        if self.range.contains(address) {
            self.used.remove(&(number(address) - number(self.range.base)));
        }
    }
}

/// How many of the lowest addresses are left to those who ask by name: `min(max(16, size / 16), 256)`, none of a range
/// that small.
fn reserved_below(size: u128) -> u128 {
    let wanted = (size / 16).clamp(16, 256);
    if wanted >= size { 0 } else { wanted }
}

/// A free number from `low` to `high`, looked for upwards from where `chance` says and then around.
pub(super) fn free_in(used: &BTreeSet<u128>, low: u128, high: u128, chance: u64) -> Option<u128> {
    if low > high {
        return None;
    }
    let start = low + u128::from(chance) % (high - low + 1);
    first_gap(used, start, high).or_else(|| first_gap(used, low, start))
}

fn first_gap(used: &BTreeSet<u128>, low: u128, high: u128) -> Option<u128> {
    let mut candidate = low;
    for &taken in used.range(low..=high) {
        if taken != candidate {
            break;
        }
        candidate += 1;
    }
    (candidate <= high).then_some(candidate)
}

fn bits(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(v4) => u128::from(u32::from(v4)),
        IpAddr::V6(v6) => u128::from(v6),
    }
}

fn from_number(number: u128, v4: bool) -> IpAddr {
    if v4 {
        IpAddr::V4(Ipv4Addr::from(
            u32::try_from(number).expect("numbers of IPv4 addresses stay within 32 bits"),
        ))
    } else {
        IpAddr::V6(Ipv6Addr::from(number))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn cidr(text: &str) -> Cidr {
        text.parse().unwrap()
    }

    #[test]
    fn ranges() {
        assert_eq!(cidr("10.96.3.1/12").to_string(), "10.96.0.0/12");
        assert_eq!(cidr("10.96.0.0/12").first().to_string(), "10.96.0.1");
        assert_eq!(cidr("fd00::/108").first().to_string(), "fd00::1");
        assert_eq!(cidr("0.0.0.0/0").usable(), 0xffff_fffe);
        for bad in ["", "10.0.0.0", "10.0.0.0/33", "a/8"] {
            assert!(bad.parse::<Cidr>().is_err(), "{bad}");
        }
    }

    #[test]
    fn faults_are_worded_as_upstream_words_them() {
        let mut addresses = Addresses::new(cidr("10.96.0.0/16"));
        let mut take = |text: &str| {
            addresses
                .take(text.parse().unwrap())
                .map_err(|error| error.to_string())
        };
        assert_eq!(take("10.96.0.10"), Ok(()));
        assert_eq!(
            take("10.96.0.10"),
            Err("provided IP is already allocated".to_owned())
        );
        let out = |ip| {
            Err(format!(
                "the provided IP ({ip}) is not in the valid range. The range of valid IPs is 10.96.0.0/16"
            ))
        };
        for ip in ["10.97.0.1", "10.96.0.0", "10.96.255.255", "fd00::1"] {
            assert_eq!(take(ip), out(ip));
        }
    }

    proptest! {
        #[test]
        fn every_address_is_handed_out_once_and_the_low_ones_last(chances in prop::collection::vec(any::<u64>(), 62)) {
            let mut addresses = Addresses::new(cidr("10.0.0.0/26"));
            let mut seen = BTreeSet::new();
            for (i, chance) in chances.iter().enumerate() {
                let address = addresses.take_any(*chance).unwrap();
                prop_assert!(seen.insert(address));
                prop_assert_eq!(number(address) & 63 > 16, i < 46);
            }
            prop_assert_eq!(addresses.take_any(0), Err(AddressError::Full));
            let back = *seen.first().unwrap();
            addresses.release(back);
            prop_assert_eq!(addresses.take_any(5), Ok(back));
        }
    }
}
