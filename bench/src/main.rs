//! Benchmarks side by side with upstream.

fn main() {}
