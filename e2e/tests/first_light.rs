//! First light: a Deployment behind a Service on real containers, under stock kubectl, from `coracle up` to `coracle down`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use coracle_e2e::cluster::Cluster;
use coracle_e2e::leftovers::nothing_is_left;
use coracle_e2e::machine::{Belongings, Process, kill};
use coracle_e2e::program::{Outcome, Program};
use coracle_e2e::wait::{DEADLINE, await_condition};
use coracle_e2e::{kubectl_binaries, manifests, page, unique};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, BufReader};

/// What the example's page greets with.
const GREETING: &str = "Hello from Coracle!";

/// The node port of the example.
const NODE_PORT: u16 = 30080;

/// The example's image, of which there are two versions.
const IMAGE: &str = "coracle.dev/hello";

#[tokio::test]
async fn a_deployment_behind_a_service_under_stock_kubectl() -> Result<()> {
    let before = Belongings::look().await?;
    let kubectls = kubectls_by_version().await?;
    let mut cluster = Cluster::new()?;
    cluster.up().await?;
    for (version, binary) in &kubectls {
        walk(&mut cluster, binary)
            .await
            .with_context(|| format!("with kubectl {version}"))?;
        eprintln!("walked with kubectl {version}");
    }
    cluster.down().await?;
    nothing_is_left(&cluster, &before).await
}

/// Every kubectl that is to be walked with, by the version that it says it has: no two may be of one minor version.
async fn kubectls_by_version() -> Result<BTreeMap<String, PathBuf>> {
    let (mut found, binaries) = (BTreeMap::new(), kubectl_binaries());
    for binary in &binaries {
        let version = Program::new(binary)
            .json(&["version", "--client", "--output", "json"])
            .await?;
        let version = &version["clientVersion"];
        let of = |name: &str| version[name].as_str().context("kubectl tells its version");
        found.insert(format!("{}.{}", of("major")?, of("minor")?), binary.clone());
    }
    ensure!(
        found.len() == binaries.len(),
        "{binaries:?} are but {} minor versions",
        found.len()
    );
    Ok(found)
}

/// The whole walk with one kubectl, in a namespace of its own.
async fn walk(cluster: &mut Cluster, binary: &Path) -> Result<()> {
    let namespace = format!("first-light-{}", unique());
    let kubectl = cluster.kubectl(binary, &namespace);
    let node_port = format!("{}:{NODE_PORT}", cluster.node_address().await?);
    let walk = Walk {
        kubectl,
        namespace,
        node_port,
    };
    walk.example_is_applied()
        .await
        .context("the example is applied")?;
    walk.page_is_read_through_the_service()
        .await
        .context("the page is read through the service")?;
    walk.logs_are_read().await.context("logs are read")?;
    walk.commands_run_in_containers()
        .await
        .context("commands run in containers")?;
    walk.ports_are_forwarded().await.context("ports are forwarded")?;
    walk.deployment_is_scaled()
        .await
        .context("the deployment is scaled")?;
    walk.image_is_updated_and_rolled_back()
        .await
        .context("the image is updated and rolled back")?;
    walk.deleted_pod_is_replaced()
        .await
        .context("a deleted pod is replaced")?;
    walk.killed_container_is_restarted()
        .await
        .context("a killed container is restarted")?;
    walk.controller_of_a_user_works(cluster)
        .await
        .context("a user's controller works")?;
    walk.killed_control_plane_comes_back(cluster)
        .await
        .context("a killed control plane comes back")?;
    walk.namespace_is_deleted()
        .await
        .context("the namespace is deleted")
}

struct Walk {
    kubectl: Program,
    namespace: String,
    node_port: String,
}

/// What of a pod must not change while the control plane is away.
type PodIdentity = (String, String, u64);

impl Walk {
    async fn run(&self, command: &str) -> Result<String> {
        self.kubectl.text(&command.split(' ').collect::<Vec<_>>()).await
    }

    async fn get(&self, command: &str) -> Result<Value> {
        self.kubectl
            .json(&format!("get {command} -o json").split(' ').collect::<Vec<_>>())
            .await
    }

    async fn rolled_out(&self) -> Result<()> {
        self.run("rollout status deployment/hello --timeout=120s")
            .await
            .map(drop)
    }

    /// Runs the image's own program in one of the pods.
    async fn hello(&self, arguments: &[&str]) -> Result<Outcome> {
        self.kubectl
            .run(&[&["exec", "deployment/hello", "--", "hello"], arguments].concat())
            .await
    }

    async fn hello_says(&self, arguments: &[&str]) -> Result<String> {
        let outcome = self.hello(arguments).await?;
        ensure!(
            outcome.code == Some(0),
            "hello {}: {}",
            arguments.join(" "),
            outcome.stderr
        );
        Ok(outcome.stdout)
    }

    /// Pods of the example that are not on their way out.
    async fn pods(&self) -> Result<Vec<Value>> {
        let pods = self.get("pods -l app=hello").await?;
        let pods = pods["items"].as_array().context("a list of pods")?.iter();
        Ok(pods
            .filter(|pod| pod["metadata"]["deletionTimestamp"].is_null())
            .cloned()
            .collect())
    }

    async fn ready_pods(&self) -> Result<Vec<PodIdentity>> {
        Ok(self
            .pods()
            .await?
            .iter()
            .filter(|pod| is_ready(pod))
            .map(identity)
            .collect())
    }

    /// Ready addresses behind the service.
    async fn endpoints(&self) -> Result<BTreeSet<String>> {
        let slices = self
            .get("endpointslices -l kubernetes.io/service-name=hello")
            .await?;
        let slices = slices["items"].as_array().context("a list of slices")?;
        let endpoints = slices
            .iter()
            .flat_map(|slice| slice["endpoints"].as_array().into_iter().flatten());
        let ready = endpoints.filter(|endpoint| endpoint["conditions"]["ready"] == true);
        Ok(ready
            .filter_map(|endpoint| endpoint["addresses"][0].as_str().map(str::to_owned))
            .collect())
    }

    async fn await_endpoints(&self, count: usize) -> Result<()> {
        let look = async || Ok((self.endpoints().await?.len() == count).then_some(()));
        await_condition(format!("{count} endpoints"), DEADLINE, look).await
    }

    /// Reads the page through the node port until it says something.
    async fn await_page(&self, text: &str) -> Result<()> {
        let look = async || Ok(page::read(&self.node_port).await?.contains(text).then_some(()));
        await_condition(
            format!("{text:?} on the page at {}", self.node_port),
            DEADLINE,
            look,
        )
        .await
    }

    async fn example_is_applied(&self) -> Result<()> {
        self.run(&format!("create namespace {}", self.namespace)).await?;
        let example = manifests().join("examples/hello.yaml");
        let example = example.to_str().context("the path of the example is text")?;
        let applied = self.kubectl.text(&["apply", "-f", example]).await?;
        for object in [
            "configmap/hello",
            "secret/hello",
            "service/hello",
            "deployment.apps/hello",
        ] {
            ensure!(
                applied.contains(&format!("{object} created")),
                "{object} is not created: {applied}"
            );
        }
        self.rolled_out().await?;
        ensure!(self.ready_pods().await?.len() == 3, "three pods are ready");
        let again = self.kubectl.text(&["apply", "-f", example]).await?;
        // A Secret's stringData is never read back, so kubectl sends that again.
        for object in ["configmap/hello", "service/hello", "deployment.apps/hello"] {
            ensure!(
                again.contains(&format!("{object} unchanged")),
                "applying again changes {object}: {again}"
            );
        }
        let table = self.run("get pods -l app=hello").await?;
        ensure!(
            table.lines().filter(|line| line.contains("Running")).count() == 3,
            "the table shows them: {table}"
        );
        self.run("wait --for=condition=Available deployment/hello --timeout=60s")
            .await
            .map(drop)
    }

    async fn page_is_read_through_the_service(&self) -> Result<()> {
        let service = self.get("service hello").await?;
        let cluster_ip = service["spec"]["clusterIP"]
            .as_str()
            .context("the service has a cluster IP")?;
        let name = format!("hello.{}.svc.cluster.local", self.namespace);
        for name in [name.as_str(), "hello"] {
            let resolved = self.hello_says(&["resolve", name]).await?;
            ensure!(
                resolved.lines().any(|line| line == cluster_ip),
                "{name} is {resolved}, not {cluster_ip}"
            );
        }
        let through_dns = self.hello_says(&["get", &format!("http://{name}/")]).await?;
        ensure!(
            through_dns.contains(GREETING),
            "a pod reads the page by name: {through_dns}"
        );
        self.await_page(GREETING).await
    }

    async fn logs_are_read(&self) -> Result<()> {
        let logs = self.run("logs deployment/hello").await?;
        ensure!(logs.contains("listens on"), "a pod's logs tell its start: {logs}");
        let last = self.run("logs -l app=hello --tail=1 --prefix").await?;
        ensure!(last.lines().count() == 3, "one line of each pod: {last}");
        Ok(())
    }

    async fn commands_run_in_containers(&self) -> Result<()> {
        let variables = self.hello_says(&["env"]).await?;
        ensure!(
            variables.contains(&format!("GREETING={GREETING}")),
            "the ConfigMap is in the environment: {variables}"
        );
        ensure!(
            variables.contains("HELLO_SERVICE_HOST="),
            "and so is the service: {variables}"
        );
        let token = self.hello_says(&["cat", "/etc/hello/token"]).await?;
        ensure!(token == "not-a-secret-at-all", "the Secret is a file: {token}");
        let failed = self.hello(&["fail", "7"]).await?;
        ensure!(
            failed.code == Some(7),
            "the command's exit code is kubectl's: {failed:?}"
        );
        let words = "exec -i deployment/hello -- hello cat"
            .split(' ')
            .collect::<Vec<_>>();
        let echoed = self.kubectl.run_with_input(&words, "through and back\n").await?;
        ensure!(
            echoed.stdout == "through and back\n",
            "input reaches the command: {echoed:?}"
        );
        Ok(())
    }

    async fn ports_are_forwarded(&self) -> Result<()> {
        let mut forward = self
            .kubectl
            .start(&["port-forward", "deployment/hello", ":8080"])?;
        let output = forward.stdout.take().context("the output is a pipe")?;
        let mut lines = BufReader::new(output).lines();
        let first = tokio::time::timeout(DEADLINE, lines.next_line())
            .await
            .context("port-forward says nothing")??;
        let first = first.context("port-forward ends at once")?;
        let address = first
            .strip_prefix("Forwarding from ")
            .and_then(|rest| rest.split(' ').next());
        let address = address.with_context(|| format!("port-forward says {first:?}"))?;
        for _ in 0..2 {
            let page = page::read(address).await?;
            ensure!(page.contains(GREETING), "the forwarded port gives {page}");
        }
        forward.kill().await.context("port-forward is ended")
    }

    async fn deployment_is_scaled(&self) -> Result<()> {
        self.run("scale deployment/hello --replicas=5").await?;
        self.rolled_out().await?;
        ensure!(self.ready_pods().await?.len() == 5, "five pods are ready");
        self.await_endpoints(5).await
    }

    async fn image_is_updated_and_rolled_back(&self) -> Result<()> {
        self.await_page("version 1").await?;
        self.run(&format!("set image deployment/hello hello={IMAGE}:2"))
            .await?;
        self.rolled_out().await?;
        self.await_page("version 2").await?;
        let history = self.run("rollout history deployment/hello").await?;
        ensure!(
            history
                .lines()
                .filter(|line| line.starts_with(['1', '2']))
                .count()
                == 2,
            "two revisions: {history}"
        );
        self.run("rollout undo deployment/hello").await?;
        self.rolled_out().await?;
        self.await_page("version 1").await?;
        let deployment = self.get("deployment hello").await?;
        let image = &deployment["spec"]["template"]["spec"]["containers"][0]["image"];
        ensure!(*image == format!("{IMAGE}:1"), "the first image is back: {image}");
        self.await_endpoints(5).await
    }

    async fn deleted_pod_is_replaced(&self) -> Result<()> {
        let pods = self.ready_pods().await?;
        let (name, uid, _) = pods.first().context("there is a pod to delete")?;
        self.run(&format!("delete pod {name} --timeout=120s")).await?;
        let replaced = async || {
            let pods = self.ready_pods().await?;
            Ok((pods.len() == 5 && pods.iter().all(|(_, other, _)| other != uid)).then_some(()))
        };
        await_condition("another pod in its place", DEADLINE, replaced).await
    }

    async fn killed_container_is_restarted(&self) -> Result<()> {
        let pods = self.ready_pods().await?;
        let (name, uid, restarts) = pods.first().context("there is a pod")?;
        let processes = Process::all()?;
        let process = processes
            .iter()
            .find(|process| process.has_variable("POD_NAME", name));
        process
            .with_context(|| format!("{name} has a process"))?
            .kill()
            .await?;
        let restarted = async || {
            let pods = self.ready_pods().await?;
            let again = pods.iter().find(|(_, other, _)| other == uid);
            Ok(again.filter(|(_, _, count)| *count == restarts + 1).map(drop))
        };
        await_condition("the same pod with one restart more", DEADLINE, restarted).await?;
        let log = self.run(&format!("logs {name} --previous")).await?;
        ensure!(
            log.contains("listens on"),
            "the log of the container before is kept: {log}"
        );
        self.await_endpoints(5).await
    }

    async fn controller_of_a_user_works(&self, cluster: &Cluster) -> Result<()> {
        let _controller = cluster
            .at_home(Program::new(env!("CARGO_BIN_EXE_shout")))
            .start(&[])?;
        self.run("create configmap words --from-literal=word=quiet")
            .await?;
        self.run("label configmap words shout=yes").await?;
        self.await_shout("QUIET").await?;
        self.run(r#"patch configmap words --type=merge -p {"data":{"word":"louder"}}"#)
            .await?;
        self.await_shout("LOUDER").await?;
        self.run("delete configmap words-shouted").await?;
        self.await_shout("LOUDER").await?;
        self.run("delete configmap words").await?;
        let gone = async || Ok(self.get("configmap words-shouted").await.is_err().then_some(()));
        await_condition("the copy goes with its original", DEADLINE, gone).await
    }

    async fn await_shout(&self, word: &str) -> Result<()> {
        let look = async || {
            let copy = self.get("configmap words-shouted").await?;
            Ok((copy["data"]["word"] == word).then_some(()))
        };
        await_condition(format!("a copy that says {word}"), DEADLINE, look).await
    }

    async fn killed_control_plane_comes_back(&self, cluster: &mut Cluster) -> Result<()> {
        let identities =
            async || Ok::<_, anyhow::Error>(self.ready_pods().await?.into_iter().collect::<BTreeSet<_>>());
        let (pods, secret) = (identities().await?, self.get("secret hello").await?);
        kill(cluster.control_plane_process().await?).await?;
        let refused = async || {
            Ok(self
                .run("get pods --request-timeout=2s")
                .await
                .is_err()
                .then_some(()))
        };
        await_condition("the API is gone", DEADLINE, refused).await?;
        for _ in 0..5 {
            let page = page::read(&self.node_port).await?;
            ensure!(
                page.contains(GREETING),
                "pods serve on without a control plane: {page}"
            );
        }
        cluster.up().await?;
        ensure!(
            self.get("secret hello").await? == secret,
            "objects are as they were"
        );
        let same = async || Ok((identities().await? == pods).then_some(()));
        await_condition("the same pods, none restarted", DEADLINE, same).await?;
        self.run("scale deployment/hello --replicas=2").await?;
        self.rolled_out().await?;
        self.await_endpoints(2).await
    }

    async fn namespace_is_deleted(&self) -> Result<()> {
        let pods = self.pods().await?;
        self.run(&format!("delete namespace {} --timeout=180s", self.namespace))
            .await?;
        for kind in [
            "pods",
            "services",
            "deployments",
            "replicasets",
            "configmaps",
            "secrets",
            "endpointslices",
        ] {
            let left = self.get(kind).await?;
            ensure!(
                left["items"].as_array().is_some_and(Vec::is_empty),
                "{kind} are left: {left}"
            );
        }
        let silent = async || Ok(page::read(&self.node_port).await.is_err().then_some(()));
        await_condition("the node port is closed", DEADLINE, silent).await?;
        let names: Vec<&str> = pods
            .iter()
            .filter_map(|pod| pod["metadata"]["name"].as_str())
            .collect();
        let ended = async || {
            let of_pod = |process: &Process| names.iter().any(|name| process.has_variable("POD_NAME", name));
            Ok((!Process::all()?.iter().any(of_pod)).then_some(()))
        };
        await_condition("no process of its pods", DEADLINE, ended).await
    }
}

fn is_ready(pod: &Value) -> bool {
    let conditions = pod["status"]["conditions"].as_array().into_iter().flatten();
    conditions
        .into_iter()
        .any(|condition| condition["type"] == "Ready" && condition["status"] == "True")
}

fn identity(pod: &Value) -> PodIdentity {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let restarts = pod["status"]["containerStatuses"][0]["restartCount"]
        .as_u64()
        .unwrap_or_default();
    (
        text(&pod["metadata"]["name"]),
        text(&pod["metadata"]["uid"]),
        restarts,
    )
}
