//! The verbs that look after local clusters.

pub(crate) mod down;
pub(crate) mod inspect;
pub(crate) mod up;

use anyhow::{Context, Result};

use crate::cluster::state::{ClusterName, Paths, State};

/// The name of the context that `up` puts into the kubeconfig.
pub(crate) fn context_name(name: &ClusterName) -> String {
    format!("coracle-{name}")
}

/// Reads the state of a cluster that has to exist.
///
/// # Errors
/// When it does not, with what to type.
pub(crate) fn existing(name: &ClusterName) -> Result<(Paths, State)> {
    let paths = Paths::of(name);
    let state = paths
        .read()?
        .with_context(|| format!("there is no cluster {name}: make it with `coracle up --name {name}`"))?;
    Ok((paths, state))
}

/// Writes a result to standard output.
///
/// # Errors
/// When nobody reads it.
pub(crate) fn print(text: &str) -> Result<()> {
    use std::io::Write;
    let mut output = std::io::stdout().lock();
    output.write_all(text.as_bytes())?;
    output.flush()?;
    Ok(())
}
