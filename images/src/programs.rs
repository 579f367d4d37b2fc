//! The static programs of the pause and example images, compiled from `images/programs`.

/// Holds a pod's namespaces open.
pub const PAUSE: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/pause"));

/// Serves the example's page.
pub const HELLO: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/hello"));
