//! Builders for tests.

use k8s_openapi::api::core::v1::{
    Container, ContainerPort, Node, NodeSpec, NodeStatus, Pod, PodSpec, ResourceRequirements, Taint,
};
use k8s_openapi::api::policy::v1::{PodDisruptionBudget, PodDisruptionBudgetSpec, PodDisruptionBudgetStatus};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, Time};
use k8s_openapi::jiff::Timestamp;

/// A node with 4 CPUs, 16 GiB and room for 110 pods, unless said otherwise.
#[derive(Clone)]
pub(crate) struct NodeBuilder(Node);

impl NodeBuilder {
    pub(crate) fn new(name: &str) -> Self {
        let mut node = Node::default();
        node.metadata.name = Some(name.to_owned());
        node.spec = Some(NodeSpec::default());
        node.status = Some(NodeStatus::default());
        Self(node).cpu("4").offer("memory", "16Gi").pods("110")
    }

    fn offer(mut self, resource: &str, amount: &str) -> Self {
        let allocatable = self
            .0
            .status
            .as_mut()
            .unwrap()
            .allocatable
            .get_or_insert_default();
        allocatable.insert(resource.to_owned(), Quantity(amount.to_owned()));
        self
    }

    pub(crate) fn cpu(self, amount: &str) -> Self {
        self.offer("cpu", amount)
    }

    pub(crate) fn pods(self, amount: &str) -> Self {
        self.offer("pods", amount)
    }

    pub(crate) fn taint(mut self, key: &str, effect: &str) -> Self {
        let taint = Taint {
            key: key.to_owned(),
            effect: effect.to_owned(),
            ..Taint::default()
        };
        self.0
            .spec
            .as_mut()
            .unwrap()
            .taints
            .get_or_insert_default()
            .push(taint);
        self
    }

    pub(crate) fn unschedulable(mut self) -> Self {
        self.0.spec.as_mut().unwrap().unschedulable = Some(true);
        self
    }

    pub(crate) fn build(self) -> Node {
        self.0
    }
}

/// A pod of one container that asks for nothing, unless said otherwise.
#[derive(Clone)]
pub(crate) struct PodBuilder(Pod);

impl PodBuilder {
    pub(crate) fn new(name: &str) -> Self {
        let mut pod = Pod::default();
        pod.metadata.namespace = Some("default".to_owned());
        pod.metadata.name = Some(name.to_owned());
        pod.metadata.uid = Some(format!("uid-{name}"));
        pod.spec = Some(PodSpec {
            containers: vec![Container::default()],
            ..PodSpec::default()
        });
        Self(pod)
    }

    fn container(&mut self) -> &mut Container {
        &mut self.0.spec.as_mut().unwrap().containers[0]
    }

    fn ask(mut self, resource: &str, amount: &str) -> Self {
        let resources = self
            .container()
            .resources
            .get_or_insert_with(ResourceRequirements::default);
        let requests = resources.requests.get_or_insert_default();
        requests.insert(resource.to_owned(), Quantity(amount.to_owned()));
        self
    }

    pub(crate) fn cpu(self, amount: &str) -> Self {
        self.ask("cpu", amount)
    }

    pub(crate) fn memory(self, amount: &str) -> Self {
        self.ask("memory", amount)
    }

    pub(crate) fn selector(mut self, key: &str, value: &str) -> Self {
        let selector = self
            .0
            .spec
            .as_mut()
            .unwrap()
            .node_selector
            .get_or_insert_default();
        selector.insert(key.to_owned(), value.to_owned());
        self
    }

    pub(crate) fn host_port(mut self, port: i32) -> Self {
        let port = ContainerPort {
            container_port: port,
            host_port: Some(port),
            ..ContainerPort::default()
        };
        self.container().ports = Some(vec![port]);
        self
    }

    pub(crate) fn priority(mut self, priority: i32) -> Self {
        self.0.spec.as_mut().unwrap().priority = Some(priority);
        self
    }

    pub(crate) fn label(mut self, key: &str, value: &str) -> Self {
        let labels = self.0.metadata.labels.get_or_insert_default();
        labels.insert(key.to_owned(), value.to_owned());
        self
    }

    pub(crate) fn on(mut self, node: &str) -> Self {
        self.0.spec.as_mut().unwrap().node_name = Some(node.to_owned());
        self
    }

    pub(crate) fn started(mut self, second: i64) -> Self {
        let at = Timestamp::from_second(second).unwrap();
        self.0.status.get_or_insert_default().start_time = Some(Time(at));
        self
    }

    pub(crate) fn nominated(mut self, node: &str) -> Self {
        self.0.status.get_or_insert_default().nominated_node_name = Some(node.to_owned());
        self
    }

    pub(crate) fn never_preempts(mut self) -> Self {
        self.0.spec.as_mut().unwrap().preemption_policy = Some("Never".to_owned());
        self
    }

    pub(crate) fn build(self) -> Pod {
        self.0
    }
}

/// A budget in the namespace `default` that allows so many disruptions of the pods with these labels.
pub(crate) fn budget(name: &str, labels: &[(&str, &str)], allowed: i32) -> PodDisruptionBudget {
    let labels = labels
        .iter()
        .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
    let mut budget = PodDisruptionBudget::default();
    budget.metadata.namespace = Some("default".to_owned());
    budget.metadata.name = Some(name.to_owned());
    budget.spec = Some(PodDisruptionBudgetSpec {
        selector: Some(LabelSelector {
            match_labels: Some(labels.collect()),
            match_expressions: None,
        }),
        ..PodDisruptionBudgetSpec::default()
    });
    budget.status = Some(PodDisruptionBudgetStatus {
        disruptions_allowed: Some(allowed),
        ..PodDisruptionBudgetStatus::default()
    });
    budget
}
