//! What the tests with a real runtime need: an API in memory, a containerd of their own, images made on the spot.

pub(crate) mod api;
pub(crate) mod cluster;
pub(crate) mod images;
pub(crate) mod pki;
pub(crate) mod runtime;
