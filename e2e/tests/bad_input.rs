//! What goes wrong at the command line is told in one sentence that says what to do.

use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use coracle_e2e::cluster::{Cluster, free_port};
use coracle_e2e::coracle_binary;
use coracle_e2e::program::{Outcome, Program};
use coracle_e2e::wait::{DEADLINE, await_condition};
use tokio::net::TcpStream;

/// Checks that a run failed with one sentence that has these words in it.
fn ensure_refused(outcome: &Outcome, words: &[&str]) -> Result<()> {
    let Outcome { code, stderr, .. } = outcome;
    ensure!(*code == Some(1), "exit code {code:?}: {stderr}");
    ensure!(!stderr.contains("panicked"), "a panic: {stderr}");
    let last = stderr.lines().last().unwrap_or_default();
    ensure!(
        last.starts_with("coracle: "),
        "the last line says who complains: {stderr}"
    );
    for word in words {
        ensure!(last.contains(word), "{word:?} is not said: {last}");
    }
    Ok(())
}

#[tokio::test]
async fn a_wrong_flag_is_a_usage_error() -> Result<()> {
    let coracle = Program::new(coracle_binary()?);
    for arguments in [
        ["up", "--name", "NOT_A_NAME"],
        ["up", "--api-port", "99999"],
        ["status", "--output", "sideways"],
    ] {
        let outcome = coracle.run(&arguments).await?;
        ensure!(outcome.code == Some(2), "{arguments:?}: {outcome:?}");
    }
    Ok(())
}

#[tokio::test]
async fn a_taken_port_is_told_before_anything_is_made() -> Result<()> {
    let cluster = Cluster::new()?;
    let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let port = taken.local_addr()?.port().to_string();
    let outcome = cluster
        .coracle()
        .run(&["up", "--name", cluster.name(), "--api-port", &port])
        .await?;
    ensure_refused(&outcome, &[&port, "--api-port"])?;
    let listed = cluster.coracle().json(&["list", "--output", "json"]).await?;
    let listed = listed.as_array().context("a list of names")?;
    ensure!(
        !listed.iter().any(|name| *name == cluster.name()),
        "nothing was made: {listed:?}"
    );
    Ok(())
}

#[tokio::test]
async fn a_missing_containerd_is_told_with_its_package() -> Result<()> {
    let cluster = Cluster::new()?;
    let path = tempfile::tempdir()?;
    for program in ["ip", "iptables", "runc", "ctr"] {
        if let Some(found) = find_program(program) {
            symlink(found, path.path().join(program))?;
        }
    }
    let coracle = cluster.coracle().with("PATH", path.path());
    let outcome = coracle.run(&["up", "--name", cluster.name()]).await?;
    ensure_refused(&outcome, &["containerd", "apt-get install containerd"])
}

fn find_program(name: &str) -> Option<PathBuf> {
    let folders = std::env::var_os("PATH")?;
    std::env::split_paths(&folders)
        .map(|folder| folder.join(name))
        .find(|path| path.is_file())
}

#[tokio::test]
async fn a_cluster_that_is_not_there_is_told() -> Result<()> {
    let cluster = Cluster::new()?;
    let outcome = cluster
        .coracle()
        .run(&["status", "--name", cluster.name()])
        .await?;
    ensure_refused(&outcome, &[cluster.name()])?;
    let outcome = cluster.coracle().run(&["down", "--name", cluster.name()]).await?;
    ensure!(
        outcome.code == Some(0),
        "there is nothing to take down, and that is well: {outcome:?}"
    );
    Ok(())
}

#[tokio::test]
async fn a_corrupt_data_directory_is_told_and_left_alone() -> Result<()> {
    let coracle = Program::new(coracle_binary()?);
    let folder = tempfile::tempdir()?;
    let data = folder.path().to_str().context("the folder's path is text")?;
    let port = free_port()?;
    let arguments = ["server", "--data-dir", data, "--secure-port", &port.to_string()].map(str::to_owned);
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let mut server = coracle.start(&arguments)?;
    let listens = async || {
        Ok(TcpStream::connect((Ipv4Addr::LOCALHOST, port))
            .await
            .ok()
            .map(drop))
    };
    await_condition("a server that listens", DEADLINE, listens).await?;
    server.kill().await?;

    let manifests = files_of_the_store(folder.path())?;
    ensure!(!manifests.is_empty(), "the store has files");
    for manifest in &manifests {
        std::fs::write(manifest, "this is not what was written here")?;
    }
    let outcome = coracle.run(&arguments).await?;
    ensure_refused(&outcome, &[data])?;
    for manifest in &manifests {
        ensure!(
            std::fs::read(manifest)?.starts_with(b"this is not"),
            "{} is left alone",
            manifest.display()
        );
    }
    Ok(())
}

/// RocksDB's own tables of contents, wherever below the data directory the store is.
fn files_of_the_store(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        let name = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        if path.is_dir() {
            found.extend(files_of_the_store(&path)?);
        } else if name.starts_with("MANIFEST") || name == "CURRENT" {
            found.push(path);
        }
    }
    Ok(found)
}

#[tokio::test]
async fn a_server_whose_port_is_taken_says_so() -> Result<()> {
    let coracle = Program::new(coracle_binary()?);
    let folder = tempfile::tempdir()?;
    let data = folder.path().to_str().context("the folder's path is text")?;
    let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let port = taken.local_addr()?.port().to_string();
    let outcome = coracle
        .run(&["server", "--data-dir", data, "--secure-port", &port])
        .await?;
    ensure_refused(&outcome, &[&port])
}
