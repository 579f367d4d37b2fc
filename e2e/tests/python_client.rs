//! A program over the Python client, as `e2e/python` has it.

use anyhow::{Context, Result, ensure};
use coracle_e2e::cluster::Cluster;
use coracle_e2e::program::Program;
use coracle_e2e::{kubectl_binaries, unique};

#[tokio::test]
async fn a_program_of_the_python_client_works() -> Result<()> {
    let python = std::env::var_os("PYTHON").context("PYTHON must name a python; `make e2e` sees to that")?;
    let mut cluster = Cluster::new()?;
    cluster.up().await?;
    let namespace = format!("python-{}", unique());
    let kubectl = kubectl_binaries().into_iter().next().context("a kubectl")?;
    let kubectl = cluster.kubectl(&kubectl, &namespace);
    kubectl.text(&["create", "namespace", &namespace]).await?;
    let program = concat!(env!("CARGO_MANIFEST_DIR"), "/python/clients.py");
    let done = cluster
        .at_home(Program::new(python))
        .text(&["-u", program, &namespace])
        .await?;
    for chapter in ["watched", "reached", "applied"] {
        ensure!(
            done.lines().any(|line| line == format!("done {chapter}")),
            "{chapter} is done: {done}"
        );
    }
    cluster.down().await
}
