//! All controllers and the scheduler against an apiserver on the model store, in one process, with a node that only says
//! what a kubelet would say. Nothing is slept for: every expectation is a watch that ends when it holds.

#![allow(
    clippy::unwrap_used,
    reason = "in a test a panic is the report; clippy knows only functions marked as tests"
)]

mod kubelet;
mod storage;
mod world;

use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use k8s_openapi::api::core::v1::{
    ConfigMap, Endpoints, Event, Namespace, Node, Pod, ResourceQuota, Service, ServiceAccount,
};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, PostParams};
use serde_json::json;
use world::World;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deployment_lives_and_dies() {
    let world = World::start().await;
    let namespace = world.namespace("life").await;
    let deployments: Api<Deployment> = world.api(&namespace);
    let sets: Api<ReplicaSet> = world.api(&namespace);
    let pods: Api<Pod> = world.api(&namespace);
    world.apply(&deployments, world::deployment("web", 3)).await;
    world
        .apply(&world.api::<Service>(&namespace), world::service("web"))
        .await;

    let available = |count| {
        move |deployment: &Deployment| {
            let status = deployment.status.clone().unwrap_or_default();
            status.observed_generation == deployment.metadata.generation
                && status.available_replicas == Some(count)
                && status.updated_replicas == Some(count)
                && status.replicas == Some(count)
        }
    };
    world.until(&deployments, "web", available(3)).await;
    for pod in pods.list(&ListParams::default()).await.unwrap() {
        assert_eq!(pod.spec.unwrap().node_name.as_deref(), Some("n1"));
    }

    pods_stand_behind_the_service(&world, &namespace, 3).await;

    // A new template is rolled out over a second ReplicaSet, which is revision 2.
    let image = json!({"spec": {"template": {"spec": {"containers": [{"name": "web", "image": "web:2"}]}}}});
    deployments
        .patch("web", &PatchParams::default(), &Patch::Strategic(image))
        .await
        .unwrap();
    let rolled = world.until(&deployments, "web", available(3)).await;
    assert_eq!(
        rolled.metadata.annotations.unwrap()["deployment.kubernetes.io/revision"],
        "2"
    );
    let sets_now = sets.list(&ListParams::default()).await.unwrap().items;
    let mut sizes: Vec<_> = sets_now
        .iter()
        .map(|set| set.spec.as_ref().unwrap().replicas)
        .collect();
    sizes.sort();
    assert_eq!(sizes, [Some(0), Some(3)]);

    // A pod that is deleted is replaced.
    let victim = pods.list(&ListParams::default()).await.unwrap().items.remove(0);
    pods.delete(victim.metadata.name.as_ref().unwrap(), &DeleteParams::default())
        .await
        .unwrap();
    world.until_gone(&pods, &victim).await;
    world.until(&deployments, "web", available(3)).await;

    // What it owns goes with it.
    deployments
        .delete("web", &DeleteParams::background())
        .await
        .unwrap();
    for set in &sets_now {
        world.until_gone(&sets, set).await;
    }
    world.until_none(&pods).await;
    world.stop().await;
}

/// In slices and in the legacy form.
async fn pods_stand_behind_the_service(world: &World, namespace: &str, count: usize) {
    let slices: Api<EndpointSlice> = world.api(namespace);
    world
        .until_any(&slices, |slice| {
            let endpoints = slice.endpoints.iter().flatten();
            let ready = |e: &&k8s_openapi::api::discovery::v1::Endpoint| {
                e.conditions.as_ref().is_some_and(|c| c.ready == Some(true))
            };
            endpoints.filter(ready).count() == count
        })
        .await;
    world
        .until(&world.api::<Endpoints>(namespace), "web", |endpoints| {
            let subsets = endpoints.subsets.iter().flatten();
            subsets
                .map(|subset| subset.addresses.iter().flatten().count())
                .sum::<usize>()
                == count
        })
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn endpoints_that_a_user_keeps_go_with_their_service() {
    let world = World::start().await;
    let namespace = world.namespace("kept").await;
    let subsets = json!([{"addresses": [{"ip": "192.0.2.1"}], "ports": [{"port": 80}]}]);
    let endpoints = |name: &str| -> Endpoints {
        let object = json!({"metadata": {"name": name}, "subsets": subsets});
        serde_json::from_value(object).unwrap()
    };
    let service = json!({"metadata": {"name": "kept"}, "spec": {"ports": [{"port": 80}]}});
    let service: Service = serde_json::from_value(service).unwrap();
    let (api, services) = (
        world.api::<Endpoints>(&namespace),
        world.api::<Service>(&namespace),
    );
    let params = PostParams::default();
    services.create(&params, &service).await.unwrap();
    let kept = api.create(&params, &endpoints("kept")).await.unwrap();
    // Once its addresses are shown as a slice, the controllers know of it.
    world
        .until_any(&world.api::<EndpointSlice>(&namespace), |slice| {
            let labels = slice.metadata.labels.iter().flatten();
            let mut named = labels.filter(|(name, _)| *name == "kubernetes.io/service-name");
            named.any(|(_, service)| service == "kept")
        })
        .await;
    // Only what stood here before they began would be taken for what a Service has left.
    api.create(&params, &endpoints("lone")).await.unwrap();
    services.delete("kept", &DeleteParams::default()).await.unwrap();
    world.until_gone(&api, &kept).await;
    assert!(api.get("lone").await.is_ok(), "what never had a Service stays");
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_namespace_gets_its_defaults_and_goes_with_all_it_holds() {
    let world = World::start().await;
    let namespace = world.namespace("brief").await;
    world
        .until(&world.api::<ServiceAccount>(&namespace), "default", |_| true)
        .await;
    let root = world
        .until(&world.api::<ConfigMap>(&namespace), "kube-root-ca.crt", |_| true)
        .await;
    assert_eq!(root.data.unwrap()["ca.crt"], world::ROOT_CA);

    world
        .apply(&world.api::<Deployment>(&namespace), world::deployment("web", 2))
        .await;
    world
        .until(&world.api::<Deployment>(&namespace), "web", |deployment| {
            deployment
                .status
                .as_ref()
                .and_then(|status| status.ready_replicas)
                == Some(2)
        })
        .await;
    let namespaces: Api<Namespace> = Api::all(world.admin.clone());
    let doomed = namespaces.get(&namespace).await.unwrap();
    namespaces
        .delete(&namespace, &DeleteParams::default())
        .await
        .unwrap();
    world.until_gone(&namespaces, &doomed).await;
    world.until_none(&world.api::<Pod>(&namespace)).await;
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pod_that_fits_nowhere_says_why_and_is_placed_when_it_fits() {
    let world = World::start().await;
    let namespace = world.namespace("tight").await;
    let pods: Api<Pod> = world.api(&namespace);
    world.apply(&pods, world::pod("large", "64")).await;
    // While the node is not ready its taint is the reason; the pod is looked at again when that goes.
    world
        .until(&pods, "large", |pod| {
            let conditions = pod
                .status
                .iter()
                .flat_map(|status| status.conditions.iter().flatten());
            conditions
                .filter(|condition| condition.type_ == "PodScheduled")
                .any(|condition| {
                    condition.reason.as_deref() == Some("Unschedulable")
                        && condition.message.as_deref().is_some_and(|message| {
                            message.starts_with("0/1 nodes are available: 1 Insufficient cpu.")
                        })
                })
        })
        .await;
    world
        .until_any(&world.api::<Event>(&namespace), |event| {
            event.reason.as_deref() == Some("FailedScheduling")
        })
        .await;

    let nodes: Api<Node> = Api::all(world.admin.clone());
    let larger = json!({"status": {"allocatable": {"cpu": "128", "memory": "64Gi", "pods": "110"}}});
    nodes
        .patch_status("n1", &PatchParams::default(), &Patch::Merge(larger))
        .await
        .unwrap();
    world
        .until(&pods, "large", |pod| {
            pod.spec.as_ref().unwrap().node_name.is_some()
        })
        .await;
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_gets_a_network_and_loses_its_taint() {
    let world = World::start().await;
    let nodes: Api<Node> = Api::all(world.admin.clone());
    let node = world
        .until(&nodes, "n1", |node| {
            let spec = node.spec.clone().unwrap_or_default();
            spec.pod_cidr.is_some() && spec.taints.unwrap_or_default().is_empty()
        })
        .await;
    assert_eq!(node.spec.unwrap().pod_cidr.as_deref(), Some("10.244.0.0/24"));
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_quota_knows_what_its_namespace_uses() {
    let world = World::start().await;
    let namespace = world.namespace("counted").await;
    let quotas: Api<ResourceQuota> = world.api(&namespace);
    let pods: Api<Pod> = world.api(&namespace);
    world.apply(&pods, world::pod("before", "100m")).await;
    let hard = json!({"pods": "2", "requests.cpu": "1", "count/replicasets.apps": "1", "configmaps": "10"});
    let quota = json!({"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "q"}, "spec": {"hard": hard}});
    world.apply(&quotas, quota).await;
    let uses = |wanted: serde_json::Value| {
        move |quota: &ResourceQuota| {
            let status = quota.status.clone().unwrap_or_default();
            serde_json::to_value(status.used.unwrap_or_default()).unwrap() == wanted
        }
    };
    // The root CA is in every namespace.
    let used = |pods: &str, cpu: &str, sets: &str| json!({"pods": pods, "requests.cpu": cpu, "count/replicasets.apps": sets, "configmaps": "1"});
    world.until(&quotas, "q", uses(used("1", "100m", "0"))).await;
    world.apply(&pods, world::pod("after", "200m")).await;
    world.until(&quotas, "q", uses(used("2", "300m", "0"))).await;

    pods.delete("before", &DeleteParams::default().grace_period(0))
        .await
        .unwrap();
    world.until(&quotas, "q", uses(used("1", "200m", "0"))).await;
    let deployments: Api<Deployment> = world.api(&namespace);
    world.apply(&deployments, world::deployment("web", 0)).await;
    world.until(&quotas, "q", uses(used("1", "200m", "1"))).await;
    deployments
        .delete("web", &DeleteParams::background())
        .await
        .unwrap();
    world.until(&quotas, "q", uses(used("1", "200m", "0"))).await;
    world.stop().await;
}
