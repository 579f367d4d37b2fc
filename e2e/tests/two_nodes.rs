//! A cluster of two nodes: pods reach each other wherever they run, a node that dies is missed and comes back, more nodes
//! can be added, and nothing is left in the end.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use coracle_e2e::cluster::{Cluster, RunningNode};
use coracle_e2e::image::{self, Form};
use coracle_e2e::leftovers::nothing_is_left;
use coracle_e2e::machine::{Belongings, kill};
use coracle_e2e::program::Program;
use coracle_e2e::wait::{DEADLINE, await_condition};
use coracle_e2e::{kubectl_binaries, page};
use coracle_images::programs::HELLO;
use serde_json::{Value, json};

/// Where the pod on the node's own network listens.
const HOST_PORT: u16 = 18080;

/// How long a silent node counts as alive, with room for a busy machine.
const NODE_IS_MISSED: Duration = Duration::from_secs(150);

#[tokio::test]
async fn pods_of_two_nodes_reach_each_other() -> Result<()> {
    let before = Belongings::look().await?;
    let mut cluster = Cluster::new()?;
    cluster.up_with(&["--nodes", "2"]).await?;
    let walk = Walk::begin(&cluster).await?;
    walk.pods_run_where_they_are_pinned()
        .await
        .context("pods run where they are pinned")?;
    walk.pods_see_each_others_addresses()
        .await
        .context("pods see each other's addresses")?;
    walk.services_answer_everywhere()
        .await
        .context("services answer everywhere")?;
    walk.names_are_resolved_on_every_node()
        .await
        .context("names are resolved on every node")?;
    walk.pods_on_the_hosts_network_take_part()
        .await
        .context("pods on the host's network take part")?;
    walk.control_plane_reaches_pods()
        .await
        .context("the control plane reaches pods")?;
    walk.images_are_loaded_into_every_node(&cluster)
        .await
        .context("images are loaded into every node")?;
    walk.logs_tell_of_every_node(&cluster)
        .await
        .context("logs tell of every node")?;
    walk.fewer_nodes_are_refused(&cluster)
        .await
        .context("fewer nodes are refused")?;
    walk.killed_node_is_missed(&cluster)
        .await
        .context("a killed node is missed")?;
    cluster
        .up_with(&["--nodes", "3"])
        .await
        .context("`up` brings it back and adds one")?;
    walk.killed_node_serves_again(&cluster)
        .await
        .context("a killed node serves again")?;
    cluster.down().await?;
    nothing_is_left(&cluster, &before).await
}

struct Walk {
    kubectl: Program,
    nodes: Vec<RunningNode>,
}

impl Walk {
    async fn begin(cluster: &Cluster) -> Result<Self> {
        let binary = kubectl_binaries()
            .into_iter()
            .next()
            .context("there is a kubectl")?;
        let nodes = cluster.nodes().await?;
        let names: Vec<&str> = nodes.iter().map(|node| node.name.as_str()).collect();
        let wanted = [1, 2].map(|number| format!("{}-node-{number}", cluster.name()));
        ensure!(names == wanted, "the nodes are {names:?}, not {wanted:?}");
        Ok(Self {
            kubectl: cluster.kubectl(&binary, "default"),
            nodes,
        })
    }

    async fn run(&self, command: &str) -> Result<String> {
        self.kubectl.text(&command.split(' ').collect::<Vec<_>>()).await
    }

    async fn get(&self, what: &str) -> Result<Value> {
        self.kubectl
            .json(&format!("get {what} -o json").split(' ').collect::<Vec<_>>())
            .await
    }

    /// What the example's program reads from a URL inside a pod.
    async fn read_in(&self, pod: &str, url: &str) -> Result<String> {
        self.run(&format!("exec {pod} -- hello get {url}")).await
    }

    async fn address_of(&self, pod: &str) -> Result<String> {
        let pod = self.get(&format!("pod {pod}")).await?;
        let address = pod["status"]["podIP"].as_str().map(str::to_owned);
        address.with_context(|| format!("it has an address: {}", pod["status"]))
    }

    async fn service(&self, name: &str) -> Result<(String, u64)> {
        let service = self.get(&format!("service {name}")).await?;
        let address = service["spec"]["clusterIP"].as_str().map(str::to_owned);
        let address = address.context("the service has an address")?;
        let port = service["spec"]["ports"][0]["nodePort"].as_u64();
        Ok((address, port.context("the service has a node port")?))
    }

    async fn pods_run_where_they_are_pinned(&self) -> Result<()> {
        let mut objects = Vec::new();
        for (pod, node) in ["one", "two"].iter().zip(&self.nodes) {
            objects.push(pinned_pod(pod, node, false));
            objects.push(service_of(pod));
        }
        objects.push(pinned_pod("host", &self.nodes[1], true));
        let list = json!({"apiVersion": "v1", "kind": "List", "items": objects}).to_string();
        let applied = self.kubectl.run_with_input(&["apply", "-f", "-"], &list).await?;
        ensure!(applied.code == Some(0), "{}", applied.stderr);
        self.run("wait --for=condition=Ready pod/one pod/two pod/host --timeout=120s")
            .await?;
        for (pod, node) in ["one", "two"].iter().zip(&self.nodes) {
            let pod = self.get(&format!("pod {pod}")).await?;
            ensure!(
                pod["spec"]["nodeName"] == node.name.as_str(),
                "{}",
                pod["spec"]["nodeName"]
            );
        }
        Ok(())
    }

    async fn pods_see_each_others_addresses(&self) -> Result<()> {
        for (from, to) in [("one", "two"), ("two", "one")] {
            let (own, other) = (self.address_of(from).await?, self.address_of(to).await?);
            let seen = self
                .read_in(from, &format!("http://{other}:8080/clientip"))
                .await?;
            ensure!(seen.trim() == own, "{to} sees {from} ({own}) as {seen}");
        }
        Ok(())
    }

    async fn services_answer_everywhere(&self) -> Result<()> {
        for to in ["one", "two"] {
            let (address, port) = self.service(to).await?;
            for from in ["one", "two"] {
                let said = self.read_in(from, &format!("http://{address}/")).await?;
                ensure!(
                    said.contains(&format!("pod {to} ")),
                    "from {from} to service {to}: {said}"
                );
            }
            let from = if to == "one" { "two" } else { "one" };
            let seen = self.read_in(from, &format!("http://{address}/clientip")).await?;
            ensure!(
                seen.trim() == self.address_of(from).await?,
                "service {to} hides {from}: {seen}"
            );
            for node in &self.nodes {
                let node_port = format!("{}:{port}", node.address);
                self.await_page(&node_port, &format!("pod {to} ")).await?;
            }
        }
        Ok(())
    }

    async fn await_page(&self, authority: &str, words: &str) -> Result<()> {
        let look = async || Ok(page::read(authority).await?.contains(words).then_some(()));
        await_condition(format!("{words:?} at {authority}"), DEADLINE, look).await
    }

    async fn names_are_resolved_on_every_node(&self) -> Result<()> {
        for (from, to) in [("one", "two"), ("two", "one")] {
            let (address, _) = self.service(to).await?;
            for name in [to.to_owned(), format!("{to}.default.svc.cluster.local")] {
                let found = self.run(&format!("exec {from} -- hello resolve {name}")).await?;
                ensure!(found.trim() == address, "{from} finds {name} at {found}");
            }
            let said = self.read_in(from, &format!("http://{to}/")).await?;
            ensure!(
                said.contains(&format!("pod {to} ")),
                "{from} reads {to} by name: {said}"
            );
        }
        let slices = self
            .get("endpointslices -n kube-system -l kubernetes.io/service-name=kube-dns")
            .await?;
        let slices = slices["items"].as_array().context("a list of slices")?;
        for node in &self.nodes {
            let served = slices
                .iter()
                .any(|slice| slice["endpoints"][0]["nodeName"] == node.name.as_str());
            ensure!(served, "no DNS on {}", node.name);
        }
        Ok(())
    }

    async fn pods_on_the_hosts_network_take_part(&self) -> Result<()> {
        let node = &self.nodes[1].address;
        ensure!(
            self.address_of("host").await? == *node,
            "it has its node's address"
        );
        for from in ["one", "two"] {
            let said = self.read_in(from, &format!("http://{node}:{HOST_PORT}/")).await?;
            ensure!(said.contains("pod host "), "{from} reaches it: {said}");
        }
        let one = self.address_of("one").await?;
        let seen = self
            .read_in("host", &format!("http://{one}:8080/clientip"))
            .await?;
        ensure!(seen.trim() == node, "a pod of another node sees it as {seen}");
        let said = self
            .read_in("host", &format!("http://{}/", self.service("one").await?.0))
            .await?;
        ensure!(said.contains("pod one "), "it reaches services: {said}");
        Ok(())
    }

    async fn control_plane_reaches_pods(&self) -> Result<()> {
        for pod in ["one", "two"] {
            for path in [format!("pods/{pod}:8080"), format!("services/{pod}:80")] {
                let path = format!("/api/v1/namespaces/default/{path}/proxy/");
                let said = self.run(&format!("get --raw {path}")).await?;
                ensure!(said.contains(&format!("pod {pod} ")), "{path}: {said}");
            }
        }
        Ok(())
    }

    async fn images_are_loaded_into_every_node(&self, cluster: &Cluster) -> Result<()> {
        const NAME: &str = "coracle.test/loaded:1";
        let archive = tempfile::NamedTempFile::new().context("an archive")?;
        image::write(archive.path(), Form::Oci, NAME, HELLO)?;
        let path = archive.path().to_str().context("its path is text")?;
        cluster
            .coracle()
            .text(&["load", "--name", cluster.name(), path])
            .await?;
        for node in &self.nodes {
            let known = async || {
                let node = self.get(&format!("node {}", node.name)).await?;
                let images = node["status"]["images"].as_array().into_iter().flatten();
                let names = images.flat_map(|image| image["names"].as_array().into_iter().flatten());
                Ok(names.into_iter().any(|name| name == NAME).then_some(()))
            };
            await_condition(format!("{NAME} on {}", node.name), DEADLINE, known).await?;
        }
        Ok(())
    }

    async fn logs_tell_of_every_node(&self, cluster: &Cluster) -> Result<()> {
        for (pod, node) in ["one", "two"].iter().zip(&self.nodes) {
            let said = self.run(&format!("logs {pod}")).await?;
            ensure!(said.contains("listens on"), "{pod} tells its start: {said}");
            let said = cluster
                .coracle()
                .text(&["logs", "--name", cluster.name(), &node.name])
                .await?;
            ensure!(
                said.contains("node registered"),
                "{} tells its own: {said}",
                node.name
            );
        }
        Ok(())
    }

    async fn fewer_nodes_are_refused(&self, cluster: &Cluster) -> Result<()> {
        let outcome = cluster
            .coracle()
            .run(&["up", "--name", cluster.name(), "--nodes", "1"])
            .await?;
        ensure!(
            outcome.code == Some(1) && outcome.stderr.contains("has 2 nodes"),
            "{outcome:?}"
        );
        Ok(())
    }

    async fn killed_node_is_missed(&self, cluster: &Cluster) -> Result<()> {
        let lost = &self.nodes[1];
        kill(lost.first_process).await?;
        let told = async || {
            let outcome = cluster
                .coracle()
                .run(&["status", "--name", cluster.name()])
                .await?;
            Ok((outcome.code == Some(1) && outcome.stdout.contains("stopped")).then_some(()))
        };
        await_condition("the status tells of a stopped node", DEADLINE, told).await?;
        let missed = async || {
            let node = self.get(&format!("node {}", lost.name)).await?;
            Ok((condition(&node, "Ready") == Some("Unknown")).then_some(()))
        };
        await_condition(format!("{} is not ready", lost.name), NODE_IS_MISSED, missed).await?;
        let said = self
            .read_in("one", &format!("http://{}/", self.service("one").await?.0))
            .await?;
        ensure!(said.contains("pod one "), "the other node serves on: {said}");
        Ok(())
    }

    async fn killed_node_serves_again(&self, cluster: &Cluster) -> Result<()> {
        let nodes = cluster.nodes().await?;
        ensure!(nodes.len() == 3, "there are three nodes: {nodes:?}");
        let listed = self.get("nodes").await?;
        for node in listed["items"].as_array().context("a list of nodes")? {
            ensure!(
                condition(node, "Ready") == Some("True"),
                "{}",
                node["metadata"]["name"]
            );
        }
        let (_, port) = self.service("two").await?;
        for node in &nodes {
            self.await_page(&format!("{}:{port}", node.address), "pod two ")
                .await?;
        }
        let two = self.address_of("two").await?;
        let seen = self.read_in("one", &format!("http://{two}:8080/")).await?;
        ensure!(seen.contains("pod two "), "{seen}");
        Ok(())
    }
}

fn condition<'v>(object: &'v Value, kind: &str) -> Option<&'v str> {
    let conditions = object["status"]["conditions"].as_array()?.iter();
    let found = conditions.into_iter().find(|condition| condition["type"] == kind);
    found?["status"].as_str()
}

/// A pod of the example's program on one node, which waits out the node's absence.
fn pinned_pod(name: &str, node: &RunningNode, on_the_hosts_network: bool) -> Value {
    let port = if on_the_hosts_network { HOST_PORT } else { 8080 };
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": {"pod": name}},
        "spec": {
            "nodeSelector": {"kubernetes.io/hostname": node.name},
            "hostNetwork": on_the_hosts_network,
            "tolerations": [{"operator": "Exists"}],
            "terminationGracePeriodSeconds": 1,
            "containers": [{
                "name": "hello",
                "image": "coracle.dev/hello:1",
                "args": ["serve"],
                "ports": [{"name": "http", "containerPort": port}],
                "env": [{"name": "POD_NAME", "value": name}, {"name": "PORT", "value": port.to_string()}],
                "readinessProbe": {"httpGet": {"path": "/healthz", "port": "http"}, "periodSeconds": 1},
            }],
        },
    })
}

/// A service for one pod, on every node's port too.
fn service_of(pod: &str) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": pod},
        "spec": {"type": "NodePort", "selector": {"pod": pod}, "ports": [{"port": 80, "targetPort": "http"}]},
    })
}
