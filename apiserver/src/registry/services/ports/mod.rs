//! Node ports: which there are, and which are held.
//!
//! Who holds one is said by upstream's `RangeAllocation`, one key with a bit for each port of the range (`stored`), which is
//! written in one transaction with the service: so no port is given twice, however many servers share a store, upstream's
//! among them. What a service takes and gives back is decided by `settle`, by way of an `operation`;
//! `repair` finds where services and the bits disagree. All are pure but `stored`.

pub(super) mod operation;
pub(super) mod repair;
pub(super) mod settle;
pub(super) mod stored;

use std::fmt;
use std::str::FromStr;

/// The ports that may be handed out, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PortRange {
    low: u16,
    high: u16,
}

/// Why a port cannot be had. The texts are upstream's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PortError {
    /// Somebody has it.
    #[error("provided port is already allocated")]
    Allocated,
    /// It lies outside.
    #[error("provided port is not in the valid range. The range of valid ports is {0}")]
    OutOfRange(PortRange),
    /// None is left.
    #[error("range is full")]
    Full,
    /// What is stored is of another range: another server of the store has another flag.
    #[error("the provided range does not match the current range")]
    OtherRange,
}

/// Why a text is no range of ports.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a range of ports such as 30000-32767")]
pub struct PortRangeError(String);

impl Default for PortRange {
    fn default() -> Self {
        Self {
            low: 30000,
            high: 32767,
        }
    }
}

impl FromStr for PortRange {
    type Err = PortRangeError;

    fn from_str(text: &str) -> Result<Self, PortRangeError> {
        let parsed = text
            .split_once('-')
            .and_then(|(low, high)| Some((low.parse().ok()?, high.parse().ok()?)));
        match parsed {
            Some((low, high)) if 0 < low && low <= high => Ok(Self { low, high }),
            _ => Err(PortRangeError(text.to_owned())),
        }
    }
}

impl fmt::Display for PortRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.low, self.high)
    }
}

impl PortRange {
    fn size(self) -> usize {
        usize::from(self.high - self.low) + 1
    }

    /// Which of its ports a number is, if it is one.
    fn offset(self, port: i64) -> Option<usize> {
        let inside = (i64::from(self.low)..=i64::from(self.high)).contains(&port);
        inside.then(|| usize::try_from(port - i64::from(self.low)).expect("no port lies below the lowest"))
    }

    fn at(self, offset: usize) -> u16 {
        self.low + u16::try_from(offset).expect("the range's ends are ports")
    }

    /// How many of the lowest ports are left to those who ask by number (KEP-3668): `min(max(16, size / 32), 128)`, none of
    /// a range that small.
    fn reserved(self) -> usize {
        if self.size() <= 16 {
            0
        } else {
            (self.size() / 32).clamp(16, 128)
        }
    }
}

/// The ports of a range that are held.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct HeldPorts {
    range: PortRange,
    /// One for each port, the lowest first.
    bits: Vec<bool>,
}

impl HeldPorts {
    /// A range with every port free.
    pub(super) fn none_of(range: PortRange) -> Self {
        Self {
            range,
            bits: vec![false; range.size()],
        }
    }

    pub(super) fn range(&self) -> PortRange {
        self.range
    }

    pub(super) fn has(&self, port: i64) -> bool {
        self.range.offset(port).is_some_and(|offset| self.bits[offset])
    }

    /// Takes one port.
    ///
    /// # Errors
    /// Where it is taken or cannot be had.
    pub(super) fn take(&mut self, port: i64) -> Result<(), PortError> {
        let offset = self.range.offset(port);
        let bit = &mut self.bits[offset.ok_or(PortError::OutOfRange(self.range))?];
        if std::mem::replace(bit, true) {
            Err(PortError::Allocated)
        } else {
            Ok(())
        }
    }

    /// Gives a port back; one that lies outside is nobody's.
    pub(super) fn release(&mut self, port: u16) {
        if let Some(offset) = self.range.offset(port.into()) {
            self.bits[offset] = false;
        }
    }

    /// Those that are held.
    pub(super) fn iter(&self) -> impl Iterator<Item = u16> {
        let held = self.bits.iter().enumerate().filter(|(_, held)| **held);
        held.map(|(offset, _)| self.range.at(offset))
    }

    /// From one big number, its highest byte first, whose bits are the ports: as Go's `big.Int` has its bytes.
    fn from_number(range: PortRange, number: &[u8]) -> Self {
        let bit = |offset: usize| {
            let byte = number.iter().rev().nth(offset / 8);
            byte.is_some_and(|byte| byte >> (offset % 8) & 1 == 1)
        };
        let bits = (0..range.size()).map(bit).collect();
        Self { range, bits }
    }

    /// As one big number, without zeros before it.
    fn to_number(&self) -> Vec<u8> {
        let byte = |bits: &[bool]| bits.iter().rev().fold(0, |byte, bit| byte << 1 | u8::from(*bit));
        let lowest_first: Vec<u8> = self.bits.chunks(8).map(byte).collect();
        lowest_first
            .into_iter()
            .rev()
            .skip_while(|byte| *byte == 0)
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_are_worded_as_upstream_words_them() {
        let mut ports = HeldPorts::none_of(PortRange::default());
        assert_eq!(ports.take(30080), Ok(()));
        let told = |error: Result<(), PortError>| error.unwrap_err().to_string();
        assert_eq!(told(ports.take(30080)), "provided port is already allocated");
        for outside in [80, -1, 70000] {
            assert_eq!(
                told(ports.take(outside)),
                "provided port is not in the valid range. The range of valid ports is 30000-32767"
            );
        }
        for bad in ["", "1", "2-1", "0-5", "1-70000"] {
            assert!(bad.parse::<PortRange>().is_err(), "{bad}");
        }
    }

    #[test]
    fn held_ports_are_the_bits_of_one_number() {
        let range: PortRange = "30000-30017".parse().unwrap();
        let mut ports = HeldPorts::none_of(range);
        assert!(ports.to_number().is_empty());
        for port in [30000, 30009, 30017] {
            ports.take(port).unwrap();
        }
        assert_eq!(ports.to_number(), [0b10, 0b10, 0b1]);
        assert_eq!(HeldPorts::from_number(range, &ports.to_number()), ports);
        assert_eq!(ports.iter().collect::<Vec<_>>(), [30000, 30009, 30017]);
        ports.release(30017);
        ports.release(80);
        assert_eq!(ports.to_number(), [0b10, 0b1]);
        assert!(ports.has(30009) && !ports.has(30017) && !ports.has(-1));
    }
}
