//! Tests that need a kernel, containerd and kubectl.
