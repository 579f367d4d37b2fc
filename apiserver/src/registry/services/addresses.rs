//! Cluster addresses: which a range has, which is next.
//!
//! Pure: chance is an argument, and so is who has what. Follows KEP-3070: the lowest part of a range is left to those who
//! ask for an address by name, and is handed out on its own only when the rest is used up.

use std::collections::BTreeSet;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// How many addresses are tried one after another before all that are taken are looked at together.
const PROBES: u128 = 32;

/// The shortest prefix that a range of IPv6 addresses may have, as upstream's allocator has it.
const SHORTEST_V6: u8 = 64;

/// Who has which address.
pub(super) trait Occupied {
    /// Whether somebody has this one.
    fn is_taken(&self, address: IpAddr) -> bool;
    /// Every one that somebody has.
    fn all(&self) -> Vec<IpAddr>;
}

/// A range of addresses in CIDR form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cidr {
    base: IpAddr,
    length: u8,
}

/// Why an address cannot be had. The texts are upstream's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// Somebody has it.
    #[error("provided IP is already allocated")]
    Allocated,
    /// It lies in none of the ranges that are ready.
    #[error("the provided network does not match the current range")]
    NoRange,
    /// None is left.
    #[error("range is full")]
    Full,
}

/// Why a text is no CIDR.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a range of addresses such as 10.96.0.0/12")]
pub struct CidrError(String);

impl CidrError {
    pub(super) fn of(text: &str) -> Self {
        Self(text.to_owned())
    }
}

impl FromStr for Cidr {
    type Err = CidrError;

    fn from_str(text: &str) -> Result<Self, CidrError> {
        let fault = || CidrError::of(text);
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

    /// Whether a service may have an address of it: the network's own and IPv4's broadcast address are nobody's.
    pub(super) fn gives(&self, address: IpAddr) -> bool {
        self.contains(address) && (1..=self.usable()).contains(&(number(address) - number(self.base)))
    }

    /// Whether addresses can be allocated from it at all: upstream has no allocator for the widest IPv6 ranges.
    pub(super) fn is_allocatable(&self) -> bool {
        self.is_ipv4() || self.length >= SHORTEST_V6
    }

    /// A free address near a place that `chance` picks, if there is one.
    pub(super) fn next_free(&self, taken: &dyn Occupied, chance: u64) -> Option<IpAddr> {
        let (reserved, last) = (self.reserved_below(), self.usable());
        let upper = self.free_between(reserved + 1, last, taken, chance);
        upper.or_else(|| self.free_between(1, reserved.min(last), taken, chance))
    }

    fn free_between(&self, low: u128, high: u128, taken: &dyn Occupied, chance: u64) -> Option<IpAddr> {
        if low > high {
            return None;
        }
        let span = high - low + 1;
        let start = u128::from(chance) % span;
        let mut probed = (0..span.min(PROBES)).map(|step| self.at(low + (start + step) % span));
        let found = probed.find(|address| !taken.is_taken(*address));
        if found.is_some() || span <= PROBES {
            return found;
        }
        let within = taken.all().into_iter().filter(|address| self.contains(*address));
        let used = within
            .map(|address| number(address) - number(self.base))
            .collect();
        free_in(&used, low, high, chance).map(|offset| self.at(offset))
    }

    fn at(&self, offset: u128) -> IpAddr {
        from_number(number(self.base) + offset, self.is_ipv4())
    }

    /// The last offset that may be used: not IPv4's broadcast address.
    fn usable(&self) -> u128 {
        let last = self.host_mask();
        if self.is_ipv4() {
            last.saturating_sub(1)
        } else {
            last
        }
    }

    /// How many of the lowest addresses are left to those who ask by name: `min(max(16, size / 16), 256)` of a range's size,
    /// none of a range that small.
    fn reserved_below(&self) -> u128 {
        let size = self.host_mask().saturating_add(1);
        if size <= 16 { 0 } else { (size / 16).clamp(16, 256) }
    }
}

/// A free number from `low` to `high`, looked for upwards from where `chance` says and then around.
fn free_in(used: &BTreeSet<u128>, low: u128, high: u128, chance: u64) -> Option<u128> {
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

    impl Occupied for BTreeSet<IpAddr> {
        fn is_taken(&self, address: IpAddr) -> bool {
            self.contains(&address)
        }

        fn all(&self) -> Vec<IpAddr> {
            self.iter().copied().collect()
        }
    }

    #[test]
    fn the_part_for_those_who_ask_by_name_grows_with_the_range() {
        let reserved = |text: &str| cidr(text).reserved_below();
        let ranges = [
            "10.0.0.0/28",
            "10.0.0.0/27",
            "10.0.0.0/24",
            "10.0.0.0/23",
            "10.0.0.0/20",
            "10.0.0.0/8",
        ];
        assert_eq!(ranges.map(reserved), [0, 16, 16, 32, 256, 256]);
        assert_eq!(
            ["fd00::/124", "fd00::/108", "fd00::/64"].map(reserved),
            [0, 256, 256]
        );
    }

    #[test]
    fn the_ends_of_a_range_are_nobody_s() {
        let gives = |range: &str, address: &str| cidr(range).gives(address.parse().unwrap());
        assert!(gives("10.96.0.0/16", "10.96.0.1") && gives("10.96.0.0/16", "10.96.255.254"));
        for address in ["10.96.0.0", "10.96.255.255", "10.97.0.1", "fd00::1"] {
            assert!(!gives("10.96.0.0/16", address), "{address}");
        }
        assert!(gives("fd00::/120", "fd00::ff") && !gives("fd00::/120", "fd00::"));
        assert!(cidr("fd00::/64").is_allocatable() && !cidr("fd00::/48").is_allocatable());
        assert_eq!(cidr("10.0.0.0/32").next_free(&BTreeSet::new(), 7), None);
    }

    proptest! {
        #[test]
        fn every_address_is_handed_out_once_and_the_low_ones_last(chances in prop::collection::vec(any::<u64>(), 126)) {
            let range = cidr("10.0.0.0/25");
            let mut seen = BTreeSet::new();
            for (i, chance) in chances.iter().enumerate() {
                let address = range.next_free(&seen, *chance).unwrap();
                prop_assert!(range.gives(address) && seen.insert(address));
                prop_assert_eq!(number(address) & 127 > 16, i < 110);
            }
            prop_assert_eq!(range.next_free(&seen, 0), None);
            let back = *seen.first().unwrap();
            seen.remove(&back);
            prop_assert_eq!(range.next_free(&seen, 5), Some(back));
        }
    }
}
