//! Container logs: the CRI line format (pure), reading and following, rotation.

mod follow;
mod line;
mod rotate;

pub(crate) use follow::{LogOptions, stream};
pub(crate) use line::{last_lines, stream_named};
pub(crate) use rotate::rotate;
