//! A disk that fills up under a running control plane: writes are refused in words, reads go on, nothing is lost, and with
//! space it goes on by itself.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use coracle_e2e::kubectl_binaries;
use coracle_e2e::machine::SmallDisk;
use coracle_e2e::parts::Parts;
use coracle_e2e::program::Program;
use coracle_e2e::wait::{DEADLINE, await_condition};

/// More than the store keeps free for itself.
const DISK_MEBIBYTES: usize = 160;

#[tokio::test]
async fn a_full_disk_is_told_and_nothing_is_lost() -> Result<()> {
    let binary = kubectl_binaries().into_iter().next().context("a kubectl")?;
    let disk = SmallDisk::new(DISK_MEBIBYTES).await?;
    let parts = Parts::in_folder(&disk.path().join("data"))?;
    let kubectl = parts.kubectl(&binary);
    let mut server = parts.start_server("server", &binary).await?;
    create(&kubectl, "before").await?;

    let ballast = disk.fill()?;
    writes_are_refused(&kubectl, disk.path()).await?;
    ensure!(names(&kubectl).await? == ["before"], "reads go on");
    ensure!(server.runs()?, "the server goes on: {}", server.log()?);
    server.kill().await?;
    let mut server = parts.start_server("server", &binary).await?;
    writes_are_refused(&kubectl, disk.path())
        .await
        .context("after a restart on the full disk")?;
    ensure!(names(&kubectl).await? == ["before"], "nothing is lost by that");

    std::fs::remove_file(&ballast)?;
    let again = async || Ok(create(&kubectl, "after").await.is_ok().then_some(()));
    await_condition("writes go on once there is space", DEADLINE, again).await?;
    ensure!(server.runs()?, "without a restart: {}", server.log()?);
    server.kill().await?;
    let server = parts.start_server("server", &binary).await?;
    ensure!(
        names(&kubectl).await? == ["after", "before"],
        "everything acknowledged is there, and nothing refused"
    );
    let log = server.log()?;
    ensure!(!log.contains("panicked"), "a panic: {log}");
    server.end().await
}

async fn create(kubectl: &Program, name: &str) -> Result<()> {
    let word = format!("--from-literal=word={name}");
    kubectl
        .text(&["create", "configmap", name, &word])
        .await
        .map(drop)
}

/// What a user has made, in order.
async fn names(kubectl: &Program) -> Result<Vec<String>> {
    let names = kubectl.text(&["get", "configmaps", "--output", "name"]).await?;
    let names = names.lines().filter_map(|line| line.strip_prefix("configmap/"));
    Ok(names
        .filter(|name| *name != "kube-root-ca.crt")
        .map(str::to_owned)
        .collect())
}

/// Creates, changes and deletes: each is an error that names the disk, and changes nothing.
async fn writes_are_refused(kubectl: &Program, disk: &Path) -> Result<()> {
    let patch = r#"{"data":{"word":"lost"}}"#;
    for arguments in [
        ["create", "configmap", "refused", "--from-literal=word=lost"].as_slice(),
        ["patch", "configmap", "before", "--type=merge", "--patch", patch].as_slice(),
        ["delete", "configmap", "before", "--wait=false"].as_slice(),
    ] {
        let outcome = kubectl.run(arguments).await?;
        let said = &outcome.stderr;
        ensure!(outcome.code == Some(1), "{arguments:?}: {outcome:?}");
        let full = format!("Internal error occurred: the disk that holds {}", disk.display());
        ensure!(
            said.contains(&full) && said.contains("is full"),
            "{arguments:?}: {said}"
        );
    }
    let word = kubectl
        .json(&["get", "configmap", "before", "--output", "json"])
        .await?;
    ensure!(word["data"]["word"] == "before", "nothing was changed: {word}");
    Ok(())
}
