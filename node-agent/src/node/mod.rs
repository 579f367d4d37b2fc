//! The node itself: its Node object, its Lease, its CNI configuration.

mod cni;
mod facts;
mod lease;
mod machine;
mod register;

pub(crate) use lease::renew;
pub(crate) use machine::{MachineFacts, read as read_machine};
pub(crate) use register::{Registrar, keep_current};
