//! An apiserver on the model store with all controllers, the scheduler and one node, and how tests wait for what they expect.

use crate::kubelet;
use async_trait::async_trait;
use coracle_apiserver::request::UserInfo;
use coracle_apiserver::{ApiServer, Running};
use coracle_controllers::config::ClusterCidr;
use coracle_controllers::{ClientError, ClientFactory};
use coracle_store::model::ModelStore;
use futures::{StreamExt, TryStreamExt};
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::core::v1::Namespace;
use kube::api::{Api, PostParams};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Resource, ResourceExt};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::fmt::Debug;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub(crate) const ROOT_CA: &str = "-----BEGIN CERTIFICATE-----";
/// How long anything may take before the test fails.
const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) struct World {
    pub(crate) admin: kube::Client,
    clients: Arc<InProcess>,
    shutdown: CancellationToken,
    tasks: TaskTracker,
    _data: tempfile::TempDir,
}

/// Clients in the same process, each in the name of a controller's service account.
struct InProcess {
    server: Running,
}

impl InProcess {
    fn client(&self, name: &str, groups: &[&str]) -> kube::Client {
        let groups = groups
            .iter()
            .chain(&["system:authenticated"])
            .map(|group| (*group).to_owned())
            .collect();
        self.server.client(UserInfo {
            name: name.to_owned(),
            groups,
            ..UserInfo::default()
        })
    }
}

#[async_trait]
impl ClientFactory for InProcess {
    async fn shared(&self) -> Result<kube::Client, ClientError> {
        Ok(self.client("system:kube-controller-manager", &[]))
    }

    async fn client(&self, controller: &str) -> Result<kube::Client, ClientError> {
        let name = format!("system:serviceaccount:kube-system:{controller}");
        Ok(self.client(
            &name,
            &["system:serviceaccounts", "system:serviceaccounts:kube-system"],
        ))
    }
}

impl World {
    pub(crate) async fn start() -> Self {
        let data = tempfile::tempdir().unwrap();
        let mut config = coracle_apiserver::Config::new(data.path());
        config.listen = vec!["127.0.0.1:0".parse().unwrap()];
        let (shutdown, tasks) = (CancellationToken::new(), TaskTracker::new());
        let server = ApiServer::start(config, Arc::new(ModelStore::new()))
            .await
            .unwrap();
        let clients = Arc::new(InProcess { server });
        let admin = clients.client("admin", &["system:masters"]);
        let world = Self {
            admin,
            clients,
            shutdown,
            tasks,
            _data: data,
        };
        world.start_parts();
        world
    }

    fn start_parts(&self) {
        let config = coracle_controllers::Config {
            root_ca: Some(ROOT_CA.to_owned()),
            cluster_cidr: Some(ClusterCidr {
                network: "10.244.0.0".parse().unwrap(),
                prefix: 16,
                node_prefix: 24,
            }),
            ..coracle_controllers::Config::default()
        };
        let controllers = coracle_controllers::run(self.clients.clone(), config, self.shutdown.clone());
        self.tasks.spawn(async { controllers.await.unwrap() });
        let client = self.clients.client("system:kube-scheduler", &[]);
        let scheduler = coracle_scheduler::run(
            client,
            coracle_scheduler::Config::default(),
            self.shutdown.clone(),
        );
        self.tasks.spawn(async { scheduler.await.unwrap() });
        let (client, shutdown) = (self.admin.clone(), self.shutdown.clone());
        self.tasks
            .spawn(async move { shutdown.run_until_cancelled(kubelet::run(client)).await });
    }

    /// Ends every part, and the server after them.
    pub(crate) async fn stop(self) {
        self.shutdown.cancel();
        self.tasks.close();
        tokio::time::timeout(PATIENCE, self.tasks.wait())
            .await
            .expect("every part ends when it is told to");
    }

    pub(crate) async fn namespace(&self, name: &str) -> String {
        let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
        self.apply(&Api::<Namespace>::all(self.admin.clone()), namespace)
            .await;
        name.to_owned()
    }

    pub(crate) fn api<K>(&self, namespace: &str) -> Api<K>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
    {
        Api::namespaced(self.admin.clone(), namespace)
    }

    pub(crate) async fn apply<K>(&self, api: &Api<K>, object: Value)
    where
        K: Clone + Debug + DeserializeOwned + Serialize,
    {
        let object: K = serde_json::from_value(object).unwrap();
        api.create(&PostParams::default(), &object).await.unwrap();
    }

    /// Waits until the named object is as expected.
    pub(crate) async fn until<K>(&self, api: &Api<K>, name: &str, expected: impl Fn(&K) -> bool) -> K
    where
        K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + 'static,
    {
        self.until_any(api, |object| object.name_any() == name && expected(object))
            .await
    }

    /// Waits until some object is as expected.
    pub(crate) async fn until_any<K>(&self, api: &Api<K>, expected: impl Fn(&K) -> bool) -> K
    where
        K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + 'static,
    {
        let mut last = None;
        let found = async {
            let mut objects = pin!(watcher(api.clone(), watcher::Config::default()).applied_objects());
            while let Some(object) = objects.next().await {
                let object = object.unwrap();
                if expected(&object) {
                    return object;
                }
                last = Some(object);
            }
            unreachable!("a watch is resumed for ever")
        };
        match tokio::time::timeout(PATIENCE, found).await {
            Ok(found) => found,
            Err(_) => panic!("never came to be as expected; last seen: {last:#?}"),
        }
    }

    /// Waits until this very object is gone.
    pub(crate) async fn until_gone<K>(&self, api: &Api<K>, object: &K)
    where
        K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + 'static,
    {
        let (name, uid) = (object.name_any(), object.uid().unwrap());
        let deleted = kube::runtime::conditions::is_deleted(&uid);
        let gone = kube::runtime::wait::await_condition(api.clone(), &name, deleted);
        let waited = tokio::time::timeout(PATIENCE, gone).await;
        waited
            .unwrap_or_else(|_| panic!("{name} is still there"))
            .unwrap();
    }

    /// Waits until there is none left.
    pub(crate) async fn until_none<K>(&self, api: &Api<K>)
    where
        K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + 'static,
    {
        let none = async {
            let config = watcher::Config::default();
            let mut events = pin!(watcher(api.clone(), config));
            while events.try_next().await.unwrap().is_some() {
                if api.list(&Default::default()).await.unwrap().items.is_empty() {
                    return;
                }
            }
        };
        tokio::time::timeout(PATIENCE, none)
            .await
            .expect("some are still there");
    }
}

pub(crate) fn deployment(name: &str, replicas: i32) -> Value {
    json!({
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": name}},
            "template": {
                "metadata": {"labels": {"app": name}},
                "spec": {"containers": [{"name": "web", "image": "web:1", "ports": [{"name": "http", "containerPort": 8080}]}]},
            },
        },
    })
}

pub(crate) fn service(name: &str) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name},
        "spec": {"selector": {"app": name}, "ports": [{"port": 80, "targetPort": "http"}]},
    })
}

pub(crate) fn pod(name: &str, cpu: &str) -> Value {
    let resources = json!({"requests": {"cpu": cpu}});
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name},
        "spec": {"containers": [{"name": "web", "image": "web:1", "resources": resources}]},
    })
}
