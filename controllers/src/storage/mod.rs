//! Controllers of volumes and claims.

pub(crate) mod protection;
