//! What one write takes of the node ports. Pure: chance is an argument, and so is who has what.

use super::{HeldPorts, PortError, PortRange};

/// What upstream begins to count from where nothing is to be written.
const DUMMY: i64 = 32768;

/// Who has which port, and whose turn it is.
pub(in crate::registry::services) struct Operation<'a> {
    /// Where this server's ports come from.
    pub range: PortRange,
    /// What is stored; nothing where this write was thought to take none.
    pub stored: Option<&'a HeldPorts>,
    /// What is held besides: by writes under way, and by services that are stored without it.
    pub aside: &'a dyn Fn(u16) -> bool,
    pub chance: u64,
    /// Whether nothing will be written.
    pub dry_run: bool,
    /// What has been taken.
    pub taken: Vec<i64>,
}

impl Operation<'_> {
    /// Takes a port that is asked for. A dry run is only told what somebody has.
    ///
    /// # Errors
    /// Where it cannot be had.
    pub(super) fn take(&mut self, port: i64) -> Result<(), PortError> {
        if !self.dry_run {
            self.check_range()?;
            if self.range.offset(port).is_none() {
                return Err(PortError::OutOfRange(self.range));
            }
        }
        if self.is_held(port) {
            return Err(PortError::Allocated);
        }
        self.taken.push(port);
        Ok(())
    }

    /// Takes a free port from a place that chance picks. A dry run gets upstream's stand-in, which need not be free.
    ///
    /// # Errors
    /// Where none is left.
    pub(super) fn take_any(&mut self) -> Result<i64, PortError> {
        let port = if self.dry_run {
            self.taken.iter().copied().max().map_or(DUMMY, |last| last.max(0)) + 1
        } else {
            self.check_range()?;
            let (reserved, size) = (self.range.reserved(), self.range.size());
            let upper = self.free_between(reserved, size);
            upper
                .or_else(|| self.free_between(0, reserved))
                .ok_or(PortError::Full)?
        };
        self.taken.push(port);
        Ok(port)
    }

    fn free_between(&mut self, low: usize, high: usize) -> Option<i64> {
        let span = high - low;
        let start = usize::try_from(self.chance % (span.max(1) as u64)).unwrap_or_default();
        self.chance = self.chance.rotate_left(17);
        let mut tried = (0..span).map(|step| i64::from(self.range.at(low + (start + step) % span)));
        tried.find(|port| !self.is_held(*port))
    }

    fn is_held(&self, port: i64) -> bool {
        self.stored.is_some_and(|stored| stored.has(port))
            || self.taken.contains(&port)
            || u16::try_from(port).is_ok_and(self.aside)
    }

    fn check_range(&self) -> Result<(), PortError> {
        match self.stored {
            Some(stored) if stored.range() != self.range => Err(PortError::OtherRange),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn on<'a>(stored: &'a HeldPorts, aside: &'a dyn Fn(u16) -> bool) -> Operation<'a> {
        Operation {
            range: stored.range(),
            stored: Some(stored),
            aside,
            chance: 0x0123_4567_89ab_cdef,
            dry_run: false,
            taken: Vec::new(),
        }
    }

    #[test]
    fn every_port_is_handed_out_once_and_the_low_ones_last() {
        let mut stored = HeldPorts::none_of("30000-30063".parse().unwrap());
        stored.take(30020).unwrap();
        let mut operation = on(&stored, &|port| port == 30021);
        let taken: Vec<i64> = (0..62).map(|_| operation.take_any().unwrap()).collect();
        assert!(taken[..46].iter().all(|port| *port >= 30016));
        assert_eq!(taken.iter().collect::<BTreeSet<_>>().len(), 62);
        assert!(!taken.contains(&30020) && !taken.contains(&30021));
        assert_eq!(operation.take_any(), Err(PortError::Full));
    }

    #[test]
    fn a_dry_run_gets_a_stand_in() {
        let mut stored = HeldPorts::none_of(PortRange::default());
        stored.take(30080).unwrap();
        let mut operation = Operation {
            dry_run: true,
            ..on(&stored, &|_| false)
        };
        assert_eq!(operation.take_any(), Ok(32769));
        assert_eq!(operation.take_any(), Ok(32770));
        assert_eq!(operation.take(30080), Err(PortError::Allocated));
        assert_eq!(operation.take(80), Ok(()));
    }

    #[test]
    fn a_server_with_another_flag_has_to_wait() {
        let stored = HeldPorts::none_of(PortRange::default());
        let mut operation = Operation {
            range: "30000-40000".parse().unwrap(),
            ..on(&stored, &|_| false)
        };
        assert_eq!(operation.take(30080), Err(PortError::OtherRange));
        assert_eq!(operation.take_any(), Err(PortError::OtherRange));
    }
}
