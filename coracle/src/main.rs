//! Coracle: Kubernetes in one binary.

fn main() {}
