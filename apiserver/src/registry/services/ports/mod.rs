//! Node ports: which are free, which is next.
//!
//! Pure: chance is an argument. Follows KEP-3668: the lowest ports are left to those who ask for one by number. A port
//! may be used by TCP and by UDP of the same service at once, so a service counts as one owner.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use super::addresses::free_in;

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

/// The ports of a range that are in use.
#[derive(Debug)]
pub struct Ports {
    range: PortRange,
    used: BTreeSet<u128>,
}

impl Ports {
    /// A range with every port free.
    pub fn new(range: PortRange) -> Self {
        Self {
            range,
            used: BTreeSet::new(),
        }
    }

    /// Takes one port.
    ///
    /// # Errors
    /// Where it is taken or cannot be had.
    pub fn take(&mut self, port: u16) -> Result<(), PortError> {
        if port < self.range.low || port > self.range.high {
            return Err(PortError::OutOfRange(self.range));
        }
        if self.used.insert(u128::from(port)) {
            Ok(())
        } else {
            Err(PortError::Allocated)
        }
    }

    /// Takes the next free port from a place that `chance` picks.
    ///
    /// # Errors
    /// Where none is left.
    pub fn take_any(&mut self, chance: u64) -> Result<u16, PortError> {
        let (low, high) = (u128::from(self.range.low), u128::from(self.range.high));
        let reserved = reserved_below(high - low + 1);
        let port = free_in(&self.used, low + reserved, high, chance)
            .or_else(|| free_in(&self.used, low, (low + reserved).saturating_sub(1), chance))
            .ok_or(PortError::Full)?;
        self.used.insert(port);
        Ok(u16::try_from(port).expect("the range's ends are ports"))
    }

    /// Gives a port back.
    pub fn release(&mut self, port: u16) {
        self.used.remove(&u128::from(port));
    }
}

/// `min(max(16, size / 32), 128)`, none of a range that small.
fn reserved_below(size: u128) -> u128 {
    let wanted = (size / 32).clamp(16, 128);
    if wanted >= size { 0 } else { wanted }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_port_is_handed_out_once_and_the_low_ones_last() {
        let mut ports = Ports::new("30000-30063".parse().unwrap());
        let taken: Vec<u16> = (0..64)
            .map(|chance| ports.take_any(chance * 7).unwrap())
            .collect();
        assert!(taken[..48].iter().all(|port| *port >= 30016));
        assert_eq!(taken.iter().collect::<BTreeSet<_>>().len(), 64);
        assert_eq!(ports.take_any(0), Err(PortError::Full));
        ports.release(30020);
        assert_eq!(ports.take_any(0), Ok(30020));
    }

    #[test]
    fn faults_are_worded_as_upstream_words_them() {
        let mut ports = Ports::new(PortRange::default());
        assert_eq!(ports.take(30080), Ok(()));
        assert_eq!(
            ports.take(30080).unwrap_err().to_string(),
            "provided port is already allocated"
        );
        assert_eq!(
            ports.take(80).unwrap_err().to_string(),
            "provided port is not in the valid range. The range of valid ports is 30000-32767"
        );
        for bad in ["", "1", "2-1", "0-5", "1-70000"] {
            assert!(bad.parse::<PortRange>().is_err(), "{bad}");
        }
    }
}
