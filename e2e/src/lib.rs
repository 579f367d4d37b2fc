//! What tests that need a kernel, containerd and kubectl have in common.
//!
//! A [`cluster::Cluster`] is brought up by the `coracle` binary and taken down when it is dropped, whatever became of the
//! test. Stock programs are run as a user would run them ([`program`]); what they bring about is awaited by [`wait`], never
//! slept for; a [`parts::Parts`] is a control plane in the foreground, without nodes. [`machine`] tells what a machine had before and
//! has after. [`crash`] kills an apiserver by hundreds.
//!
//! Where the programs are: `CORACLE_BIN` names the `coracle` binary; `KUBECTLS` names kubectl binaries with colons between, each
//! of which walks every test; else `KUBECTL` names one, else it is the one on the `PATH`. `HELMS` names helm binaries likewise.

use std::env;
use std::path::PathBuf;

use anyhow::{Context, Result};

pub mod cluster;
pub mod crash;
pub mod image;
pub mod leftovers;
pub mod machine;
pub mod page;
pub mod parts;
pub mod program;
pub mod script;
pub mod toolbox;
pub mod wait;

/// The `coracle` binary under test.
///
/// # Errors
/// When `CORACLE_BIN` does not name one.
pub fn coracle_binary() -> Result<PathBuf> {
    let path = env::var_os("CORACLE_BIN").map(PathBuf::from);
    path.filter(|path| path.is_file())
        .context("CORACLE_BIN must name a coracle binary; `make e2e` sees to that")
}

/// Every kubectl to walk the tests with.
pub fn kubectl_binaries() -> Vec<PathBuf> {
    let listed = env::var_os("KUBECTLS").map(|list| env::split_paths(&list).collect::<Vec<_>>());
    let listed = listed.filter(|list| !list.is_empty());
    listed.unwrap_or_else(|| vec![env::var_os("KUBECTL").map_or_else(|| "kubectl".into(), PathBuf::from)])
}

/// Helm of each major version, as `HELMS` names them with colons between.
///
/// # Errors
/// When it names none.
pub fn helm_binaries() -> Result<Vec<PathBuf>> {
    let listed = env::var_os("HELMS").map(|list| env::split_paths(&list).collect::<Vec<_>>());
    listed
        .filter(|list| !list.is_empty())
        .context("HELMS must name helm binaries; `make e2e` sees to that")
}

/// The folder of the charts that Helm is tried with.
pub fn charts() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("charts")
}

/// The folder of the manifests that come with Coracle.
pub fn manifests() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../manifests")
}

/// A short text that no other test run has.
pub fn unique() -> String {
    let mut text = uuid::Uuid::new_v4().simple().to_string();
    text.truncate(8);
    text
}
