//! The verbs that look after a cluster (`status`, `list`, `logs`, `kubeconfig`, `load`), and attaching to its containers.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use coracle_e2e::cluster::Cluster;
use coracle_e2e::image::{self, Form};
use coracle_e2e::kubectl_binaries;
use coracle_e2e::program::Program;
use coracle_e2e::wait::{DEADLINE, await_condition};
use coracle_images::programs::HELLO;
use tokio::io::{AsyncBufReadExt, BufReader};

#[tokio::test]
async fn a_cluster_is_looked_after() -> Result<()> {
    let mut cluster = Cluster::new()?;
    cluster.up().await?;
    status_is_told(&cluster).await.context("status")?;
    clusters_are_listed(&cluster).await.context("list")?;
    logs_are_printed(&cluster).await.context("logs")?;
    for binary in kubectl_binaries() {
        the_kubeconfig_leads_there(&cluster, &binary)
            .await
            .context("kubeconfig")?;
    }
    images_are_loaded(&cluster).await.context("load")?;
    for binary in kubectl_binaries() {
        let kubectl = cluster.kubectl(&binary, "default");
        input_reaches_the_container(&kubectl)
            .await
            .with_context(|| format!("attach -i with {}", binary.display()))?;
        output_is_followed(&kubectl)
            .await
            .with_context(|| format!("attach with {}", binary.display()))?;
    }
    what_is_no_image_is_refused(&cluster)
        .await
        .context("load of nonsense")?;
    cluster.down().await?;
    let listed = cluster.coracle().text(&["list"]).await?;
    ensure!(!listed.contains(cluster.name()), "it is gone: {listed}");
    Ok(())
}

async fn status_is_told(cluster: &Cluster) -> Result<()> {
    let status = cluster.status().await?;
    ensure!(
        status["name"] == cluster.name() && status["running"] == true,
        "{status}"
    );
    ensure!(
        status["controlPlane"]["residentBytes"].as_u64() > Some(1 << 20),
        "{status}"
    );
    ensure!(
        status["nodes"].as_array().is_some_and(|nodes| nodes.len() == 1),
        "{status}"
    );
    let server = status["server"].as_str().context("where the API is")?;
    let pid = status["controlPlane"]["pid"].to_string();
    let node = &status["nodes"][0];
    let (node_name, address) = (node["name"].as_str(), node["address"].as_str());
    let text = cluster
        .coracle()
        .text(&["status", "--name", cluster.name()])
        .await?;
    let lines: Vec<&str> = text.lines().collect();
    ensure!(
        lines.len() == 3,
        "a line for the cluster, one for each part: {text}"
    );
    for (line, words) in lines.iter().zip([
        [Some(cluster.name()), Some(server), None],
        [
            Some("control-plane"),
            Some("running"),
            Some(&format!("process {pid}")),
        ],
        [node_name, Some("running"), address],
    ]) {
        for word in words.into_iter().flatten() {
            ensure!(line.contains(word), "{word:?} in {line:?}");
        }
    }
    Ok(())
}

async fn clusters_are_listed(cluster: &Cluster) -> Result<()> {
    let text = cluster.coracle().text(&["list"]).await?;
    ensure!(text.lines().any(|line| line == cluster.name()), "{text}");
    let names = cluster.coracle().json(&["list", "--output", "json"]).await?;
    let names = names.as_array().context("a list of names")?;
    ensure!(names.iter().any(|name| *name == cluster.name()), "{names:?}");
    Ok(())
}

async fn logs_are_printed(cluster: &Cluster) -> Result<()> {
    let logs = async |more: &[&str]| {
        cluster
            .coracle()
            .run(&[&["logs", "--name", cluster.name()], more].concat())
            .await
    };
    let all = logs(&["--tail", "1000"]).await?;
    ensure!(all.stdout.contains("serving on https://"), "{all:?}");
    let last = logs(&["control-plane", "--tail", "1"]).await?;
    ensure!(last.stdout.lines().count() == 1, "{last:?}");
    let node = format!("{}-node-1", cluster.name());
    let containerd = logs(&[&format!("{node}/containerd"), "--tail", "1000"]).await?;
    ensure!(containerd.stdout.contains("containerd"), "{containerd:?}");
    ensure!(logs(&[&node]).await?.code == Some(0), "the node's own log");
    let none = logs(&["nobody"]).await?;
    ensure!(
        none.code == Some(1) && none.stderr.contains(&node),
        "what there is, is told: {none:?}"
    );
    Ok(())
}

async fn the_kubeconfig_leads_there(cluster: &Cluster, binary: &Path) -> Result<()> {
    let printed = cluster
        .coracle()
        .text(&["kubeconfig", "--name", cluster.name()])
        .await?;
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("config");
    std::fs::write(&file, printed)?;
    let kubectl = Program::new(binary)
        .with("HOME", folder.path())
        .with("KUBECONFIG", &file);
    let who = kubectl.text(&["auth", "whoami"]).await?;
    ensure!(who.contains("kubernetes-admin"), "{who}");
    let nodes = kubectl.text(&["get", "nodes"]).await?;
    ensure!(nodes.contains("Ready"), "{nodes}");
    Ok(())
}

/// An archive in each form, and a pod from each, which no registry could give.
async fn images_are_loaded(cluster: &Cluster) -> Result<()> {
    let binary = kubectl_binaries().into_iter().next().context("a kubectl")?;
    let kubectl = cluster.kubectl(&binary, "default");
    let folder = tempfile::tempdir()?;
    for (form, pod, name) in [
        (Form::Docker, "from-docker", "example.test/from-docker:1"),
        (Form::Oci, "from-oci", "example.test/from-oci:1"),
    ] {
        let archive = folder.path().join(format!("{pod}.tar"));
        image::write(&archive, form, name, HELLO)?;
        let archive = archive.to_str().context("the path is text")?;
        let loaded = cluster
            .coracle()
            .run(&["load", "--name", cluster.name(), archive])
            .await?;
        ensure!(
            loaded.code == Some(0) && loaded.stderr.contains('✓'),
            "{loaded:?}"
        );
        let run = ["run", pod, "--image", name, "--image-pull-policy=Never"];
        kubectl.text(&run).await?;
        let ready = format!("pod/{pod}");
        kubectl
            .text(&["wait", "--for=condition=Ready", &ready, "--timeout=60s"])
            .await
            .with_context(|| format!("a pod from the {form:?} archive"))?;
        let log = kubectl.text(&["logs", pod]).await?;
        ensure!(
            log.contains(&format!("hello {name} listens on")),
            "its own image runs: {log}"
        );
    }
    Ok(())
}

async fn what_is_no_image_is_refused(cluster: &Cluster) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let nonsense = folder.path().join("nonsense.tar");
    std::fs::write(&nonsense, "this is no archive")?;
    for file in [nonsense, folder.path().join("missing.tar")] {
        let file = file.to_str().context("the path is text")?;
        let outcome = cluster
            .coracle()
            .run(&["load", "--name", cluster.name(), file])
            .await?;
        let last = outcome.stderr.lines().last().unwrap_or_default();
        ensure!(
            outcome.code == Some(1) && last.starts_with("coracle: "),
            "{outcome:?}"
        );
        ensure!(last.contains(file), "the file is named: {last}");
    }
    Ok(())
}

/// A program that repeats what it reads: by hand, and by `kubectl run` in one go.
async fn input_reaches_the_container(kubectl: &Program) -> Result<()> {
    let repeats = ["--image=coracle.dev/hello:1", "--restart=Never"];
    let create = [
        &["run", "repeats", "--stdin", "--attach=false"],
        &repeats[..],
        &["--", "cat"],
    ]
    .concat();
    kubectl.text(&create).await?;
    kubectl
        .text(&["wait", "--for=condition=Ready", "pod/repeats", "--timeout=60s"])
        .await?;
    let attached = kubectl
        .run_with_input(&["attach", "repeats", "--stdin", "--quiet"], "there and back\n")
        .await?;
    ensure!(
        attached.code == Some(0) && attached.stdout == "there and back\n",
        "it is repeated: {attached:?}"
    );
    // stdinOnce: whoever attached first has ended the input.
    let ended = "--for=jsonpath={.status.phase}=Succeeded";
    kubectl
        .text(&["wait", ended, "pod/repeats", "--timeout=60s"])
        .await?;
    ensure!(
        kubectl.text(&["logs", "repeats"]).await? == "there and back\n",
        "and logged"
    );
    kubectl.text(&["delete", "pod", "repeats"]).await?;

    let once = [
        &["run", "once", "--stdin", "--rm", "--quiet"],
        &repeats[..],
        &["--", "cat"],
    ]
    .concat();
    let outcome = kubectl.run_with_input(&once, "in one go\n").await?;
    ensure!(
        outcome.code == Some(0) && outcome.stdout.contains("in one go\n"),
        "kubectl run attaches: {outcome:?}"
    );
    Ok(())
}

/// What a container says while somebody is attached to it.
async fn output_is_followed(kubectl: &Program) -> Result<()> {
    let run = [
        "run",
        "page",
        "--image=coracle.dev/hello:1",
        "--restart=Never",
        "--",
        "serve",
    ];
    kubectl.text(&run).await?;
    kubectl
        .text(&["wait", "--for=condition=Ready", "pod/page", "--timeout=60s"])
        .await?;
    let mut attached = kubectl.start(&["attach", "page", "--quiet"])?;
    let output = attached.stdout.take().context("the output is a pipe")?;
    let mut lines = BufReader::new(output).lines();
    let followed = async {
        while let Some(line) = lines.next_line().await? {
            if line == "/ 200 OK" {
                return Ok(());
            }
        }
        anyhow::bail!("the output ends without a word of the page")
    };
    // Asked again and again, because only what is said after the container was attached to is heard.
    let page = async || {
        kubectl
            .text(&["exec", "page", "--", "/hello", "get", "http://127.0.0.1:8080/"])
            .await?;
        Ok(None::<()>)
    };
    tokio::select! {
        followed = followed => followed?,
        never = await_condition("the page is told of", DEADLINE, page) => never?,
    }
    attached.kill().await.context("attach is ended")?;
    kubectl.text(&["delete", "pod", "page"]).await.map(drop)
}
