//! Controllers that clean up: dependents whose owners are gone, and pods that nobody will end.

pub(crate) mod collector;
mod graph;
pub(crate) mod pods;
