//! Claims and volumes, from the pod that wants them to what becomes of them.

use crate::world::World;
use k8s_openapi::api::core::v1::{Event, PersistentVolume, PersistentVolumeClaim, Pod};
use k8s_openapi::api::storage::v1::StorageClass;
use kube::api::{Api, DeleteParams};
use serde_json::{Value, json};

fn volume(name: &str, class: &str, policy: &str) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": name},
        "spec": {
            "accessModes": ["ReadWriteOnce"], "capacity": {"storage": "1Gi"}, "storageClassName": class,
            "hostPath": {"path": format!("/tmp/volumes-of-a-test/{name}")},
            "persistentVolumeReclaimPolicy": policy,
        },
    })
}

fn wanted(class: &str) -> Value {
    json!({"accessModes": ["ReadWriteOnce"], "storageClassName": class, "resources": {"requests": {"storage": "1Gi"}}})
}

fn is_bound(claim: &PersistentVolumeClaim) -> bool {
    claim.status.as_ref().and_then(|status| status.phase.as_deref()) == Some("Bound")
}

fn phase(volume: &PersistentVolume) -> &str {
    volume
        .status
        .as_ref()
        .and_then(|status| status.phase.as_deref())
        .unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pod_gets_its_volumes_and_leaves_what_is_to_stay() {
    let world = World::start().await;
    let namespace = world.namespace("storage").await;
    let (claims, volumes): (Api<PersistentVolumeClaim>, Api<PersistentVolume>) =
        (world.api(&namespace), Api::all(world.admin.clone()));
    let class = json!({
        "apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "metadata": {"name": "late"},
        "provisioner": "kubernetes.io/no-provisioner", "volumeBindingMode": "WaitForFirstConsumer",
    });
    world
        .apply(&Api::<StorageClass>::all(world.admin.clone()), class)
        .await;
    world.apply(&volumes, volume("lasting", "late", "Delete")).await;
    world.apply(&volumes, volume("brief", "", "Retain")).await;
    let claim = json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "data"}, "spec": wanted("late")});
    world.apply(&claims, claim).await;
    world
        .until_any(&world.api::<Event>(&namespace), |event| {
            event.reason.as_deref() == Some("WaitForFirstConsumer")
        })
        .await;
    pod_uses_both(&world, &namespace).await;

    // The pod goes with its own claim; the other stays, until somebody deletes it.
    let own = claims.get("web-own").await.unwrap();
    world
        .api::<Pod>(&namespace)
        .delete("web", &DeleteParams::default())
        .await
        .unwrap();
    world.until_gone(&claims, &own).await;
    world
        .until(&volumes, "brief", |volume| phase(volume) == "Released")
        .await;
    assert!(is_bound(&claims.get("data").await.unwrap()));
    let lasting = volumes.get("lasting").await.unwrap();
    claims.delete("data", &DeleteParams::default()).await.unwrap();
    world.until_gone(&volumes, &lasting).await;
    world.stop().await;
}

async fn pod_uses_both(world: &World, namespace: &str) {
    let pods: Api<Pod> = world.api(namespace);
    let claims: Api<PersistentVolumeClaim> = world.api(namespace);
    let mut pod = crate::world::pod("web", "100m");
    pod["spec"]["volumes"] = json!([
        {"name": "data", "persistentVolumeClaim": {"claimName": "data"}},
        {"name": "own", "ephemeral": {"volumeClaimTemplate": {"spec": wanted("")}}},
    ]);
    world.apply(&pods, pod).await;
    let runs = |pod: &Pod| pod.status.as_ref().and_then(|status| status.phase.as_deref()) == Some("Running");
    world.until(&pods, "web", runs).await;
    for (claim, volume) in [("data", "lasting"), ("web-own", "brief")] {
        let claim = world.until(&claims, claim, is_bound).await;
        let spec = claim.spec.unwrap();
        assert_eq!(spec.volume_name.as_deref(), Some(volume));
    }
}
