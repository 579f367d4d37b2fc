//! The store's one clock.

use std::fmt;

/// A point in the store's history. Ordered, global to the store, never reused.
///
/// It is what Kubernetes shows as `resourceVersion`, in decimal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Revision(pub u64);

impl Revision {
    /// No revision at all: as the mod revision of a comparison, "the key does not exist".
    pub const ABSENT: Revision = Revision(0);

    /// The revision of a store to which nothing has been written, as in etcd.
    pub const FIRST: Revision = Revision(1);

    /// The revision that follows this one.
    #[must_use]
    pub fn next(self) -> Revision {
        Revision(self.0 + 1)
    }
}

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl From<u64> for Revision {
    fn from(value: u64) -> Revision {
        Revision(value)
    }
}
