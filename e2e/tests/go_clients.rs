//! Programs over client-go and controller-runtime, as `e2e/clients` has them.

use anyhow::{Context, Result, ensure};
use coracle_e2e::cluster::Cluster;
use coracle_e2e::program::Program;
use coracle_e2e::{kubectl_binaries, unique};

/// What the program tries, one after the other or beside each other as it likes.
const CHAPTERS: [&str; 8] = [
    "informers",
    "protobuf",
    "leaders",
    "apply",
    "dynamic",
    "lists",
    "streams",
    "controller",
];

#[tokio::test]
async fn programs_of_client_go_and_controller_runtime_work() -> Result<()> {
    let program =
        std::env::var_os("GO_CLIENTS").context("GO_CLIENTS must name a program; `make e2e` sees to that")?;
    let mut cluster = Cluster::new()?;
    cluster.up().await?;
    let namespace = format!("go-{}", unique());
    let kubectl = kubectl_binaries().into_iter().next().context("a kubectl")?;
    let kubectl = cluster.kubectl(&kubectl, &namespace);
    kubectl.text(&["create", "namespace", &namespace]).await?;
    let clients = cluster.at_home(Program::new(program));
    let done = clients.text(&["-namespace", &namespace]).await?;
    for chapter in CHAPTERS {
        ensure!(
            done.lines().any(|line| line == format!("done {chapter}")),
            "{chapter} is done: {done}"
        );
    }
    cluster.down().await
}
