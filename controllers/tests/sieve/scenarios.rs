//! What users do, step by step; after each the controllers settle. Every scenario ends in a state that does not depend on how
//! they came there.

use crate::world::{ENDS, World};
use serde_json::{Value, json};
use std::time::Duration;

const DEFAULT: &str = "/api/v1/namespaces/default";
const DEPLOYMENTS: &str = "/apis/apps/v1/namespaces/default/deployments";

pub(crate) async fn play(name: &str, world: &mut World) {
    match name {
        "rollout" => rollout(world).await,
        "service" => service(world).await,
        "namespace" => namespace(world).await,
        "owners" => owners(world).await,
        "silence" => silence(world).await,
        "numbered" => numbered(world).await,
        "jobs" => jobs(world).await,
        "claims" => claims(world).await,
        "everywhere" => everywhere(world).await,
        "scheduled" => scheduled(world).await,
        "guarded" => guarded(world).await,
        "mirrored" => mirrored(world).await,
        other => panic!("no scenario is called {other}"),
    }
}

/// A Deployment is made, rolled out, scaled, deleted, and made anew under its name.
async fn rollout(world: &mut World) {
    let web = format!("{DEPLOYMENTS}/web");
    world.create(DEPLOYMENTS, deployment("web", 3)).await;
    world.settle().await;
    let image = json!({"spec": {"template": {"metadata": {"annotations": {"version": "2"}}}}});
    world.patch(&web, image).await;
    world.settle().await;
    world.patch(&web, json!({"spec": {"replicas": 5}})).await;
    world.settle().await;
    world.patch(&web, json!({"spec": {"replicas": 2}})).await;
    world.settle().await;
    world.delete(&web, "Background").await;
    world.settle().await;
    world.create(DEPLOYMENTS, deployment("web", 2)).await;
    world.settle().await;
}

/// Pods stand behind a Service, go, and come again; so does the Service.
async fn service(world: &mut World) {
    let (services, web) = (format!("{DEFAULT}/services"), format!("{DEFAULT}/services/web"));
    world.create(&services, service_object()).await;
    world.create(DEPLOYMENTS, deployment("web", 2)).await;
    world.settle().await;
    world
        .patch(&format!("{DEPLOYMENTS}/web"), json!({"spec": {"replicas": 4}}))
        .await;
    world.settle().await;
    world.delete(&web, "Background").await;
    world.settle().await;
    world.create(&services, service_object()).await;
    world.settle().await;
    world
        .patch(&format!("{DEPLOYMENTS}/web"), json!({"spec": {"replicas": 1}}))
        .await;
    world.settle().await;
}

/// A namespace is filled, deleted, and made and filled anew under its name.
async fn namespace(world: &mut World) {
    for _ in 0..2 {
        fill_namespace(world).await;
        world.settle().await;
        world.delete("/api/v1/namespaces/brief", "Background").await;
        world.settle().await;
    }
    fill_namespace(world).await;
    world.settle().await;
}

async fn fill_namespace(world: &mut World) {
    let object = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "brief"}});
    world.create("/api/v1/namespaces", object).await;
    world.settle().await;
    let brief = "/api/v1/namespaces/brief";
    world
        .create(&format!("{brief}/configmaps"), config_map("kept", &[]))
        .await;
    let deployments = "/apis/apps/v1/namespaces/brief/deployments";
    world.create(deployments, deployment("web", 1)).await;
}

/// Owners go in each of the three ways, and one comes again under its name.
async fn owners(world: &mut World) {
    let maps = format!("{DEFAULT}/configmaps");
    for policy in ["Background", "Foreground", "Orphan"] {
        let owner = format!("owner-{}", policy.to_lowercase());
        world.create(&maps, config_map(&owner, &[])).await;
        let uid = uid(world, &owner).await;
        for number in 0..2 {
            let name = format!("{owner}-{number}");
            world.create(&maps, config_map(&name, &[(&owner, &uid)])).await;
        }
        world.settle().await;
        world.delete(&format!("{maps}/{owner}"), policy).await;
        world.settle().await;
        world.create(&maps, config_map(&owner, &[])).await;
        let uid = self::uid(world, &owner).await;
        let name = format!("{owner}-again");
        world.create(&maps, config_map(&name, &[(&owner, &uid)])).await;
        world.settle().await;
    }
}

/// A node falls silent, its pods go elsewhere, and it comes back.
async fn silence(world: &mut World) {
    world.create(DEPLOYMENTS, deployment("web", 2)).await;
    world.settle().await;
    world.silence("n2", true);
    world.settle().await;
    world.settle().await;
    world.silence("n2", false);
    world.settle().await;
    world.delete("/api/v1/nodes/n1", "Background").await;
    world.settle().await;
    // A node comes anew just as its pods do, and takes them in before everyone has seen it.
    world.silence("n2", true);
    let more = json!({"spec": {"replicas": 3}});
    world.patch(&format!("{DEPLOYMENTS}/web"), more).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let node = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n1"}});
    world.create("/api/v1/nodes", node).await;
    world.settle().await;
    world.silence("n2", false);
    world.settle().await;
}

/// A StatefulSet is made, rolled out, scaled down, deleted, and made anew under its name.
async fn numbered(world: &mut World) {
    let sets = "/apis/apps/v1/namespaces/default/statefulsets";
    let web = format!("{sets}/web");
    let set = |replicas| of_kind("StatefulSet", "web", replicas);
    world.create(sets, set(2)).await;
    world.settle().await;
    let change = json!({"spec": {"template": {"metadata": {"annotations": {"version": "2"}}}}});
    world.patch(&web, change).await;
    world.settle().await;
    world.patch(&web, json!({"spec": {"replicas": 1}})).await;
    world.settle().await;
    world.delete(&web, "Background").await;
    world.settle().await;
    world.create(sets, set(1)).await;
    world.settle().await;
}

/// A Job whose pods never end is made, suspended, resumed with more of them, deleted, and made anew under its name. One that
/// completes goes by itself.
async fn jobs(world: &mut World) {
    let jobs = "/apis/batch/v1/namespaces/default/jobs";
    let long = format!("{jobs}/long");
    let job = || {
        json!({
            "apiVersion": "batch/v1",
            "kind": "Job",
            "metadata": {"name": "long"},
            "spec": {"parallelism": 2, "completions": 3, "template": one_container("Never", &json!({}))},
        })
    };
    let brief = json!({
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": "brief"},
        "spec": {
            "completions": 2,
            "ttlSecondsAfterFinished": 5,
            "template": one_container("Never", &json!({ENDS: "true"})),
        },
    });
    world.create(jobs, brief).await;
    world.settle().await;
    world.create(jobs, job()).await;
    world.settle().await;
    world.patch(&long, json!({"spec": {"suspend": true}})).await;
    world.settle().await;
    let more = json!({"spec": {"suspend": false, "parallelism": 3}});
    world.patch(&long, more).await;
    world.settle().await;
    world.delete(&long, "Background").await;
    world.settle().await;
    world.create(jobs, job()).await;
    world.settle().await;
}

/// A DaemonSet is made, rolled out, misses a node that falls silent, is deleted, and made anew under its name.
async fn everywhere(world: &mut World) {
    let sets = "/apis/apps/v1/namespaces/default/daemonsets";
    let each = format!("{sets}/each");
    let set = || {
        let mut template = one_container("Always", &json!({}));
        template["metadata"]["labels"] = json!({"app": "each"});
        json!({
            "apiVersion": "apps/v1",
            "kind": "DaemonSet",
            "metadata": {"name": "each"},
            "spec": {"selector": {"matchLabels": {"app": "each"}}, "template": template},
        })
    };
    world.create(sets, set()).await;
    world.settle().await;
    let change = json!({"spec": {"template": {"metadata": {"annotations": {"version": "2"}}}}});
    world.patch(&each, change).await;
    world.settle().await;
    world.silence("n2", true);
    world.settle().await;
    world.silence("n2", false);
    world.settle().await;
    world.delete(&each, "Background").await;
    world.settle().await;
    world.create(sets, set()).await;
    world.settle().await;
}

/// A CronJob starts one Job, which does not end; it is suspended, deleted, and made anew under its name.
async fn scheduled(world: &mut World) {
    let crons = "/apis/batch/v1/namespaces/default/cronjobs";
    let every = format!("{crons}/every");
    let cron = || {
        json!({
            "apiVersion": "batch/v1",
            "kind": "CronJob",
            "metadata": {"name": "every"},
            "spec": {
                "schedule": "* * * * *",
                "concurrencyPolicy": "Forbid",
                "jobTemplate": {"spec": {"template": one_container("Never", &json!({}))}},
            },
        })
    };
    for _ in 0..2 {
        world.create(crons, cron()).await;
        world.settle().await;
        world.patch(&every, json!({"spec": {"suspend": true}})).await;
        world.settle().await;
        world.delete(&every, "Background").await;
        world.settle().await;
    }
    world.create(crons, cron()).await;
    world.settle().await;
}

/// Pods are counted by a budget and by a quota, which change, go, and come anew under their names.
async fn guarded(world: &mut World) {
    let budgets = "/apis/policy/v1/namespaces/default/poddisruptionbudgets";
    let quotas = format!("{DEFAULT}/resourcequotas");
    let (budget, quota) = (format!("{budgets}/web"), format!("{quotas}/few"));
    let new_budget = |least: i32| {
        json!({
            "apiVersion": "policy/v1",
            "kind": "PodDisruptionBudget",
            "metadata": {"name": "web"},
            "spec": {"minAvailable": least, "selector": {"matchLabels": {"app": "web"}}},
        })
    };
    let new_quota = || {
        json!({
            "apiVersion": "v1",
            "kind": "ResourceQuota",
            "metadata": {"name": "few"},
            "spec": {"hard": {"pods": "20", "count/deployments.apps": "3"}},
        })
    };
    world.create(budgets, new_budget(1)).await;
    world.create(&quotas, new_quota()).await;
    world.create(DEPLOYMENTS, deployment("web", 3)).await;
    world.settle().await;
    world
        .patch(&format!("{DEPLOYMENTS}/web"), json!({"spec": {"replicas": 2}}))
        .await;
    world.settle().await;
    let more = json!({"spec": {"hard": {"configmaps": "9"}}});
    world.patch(&quota, more).await;
    world.patch(&budget, json!({"spec": {"minAvailable": 2}})).await;
    world.settle().await;
    for path in [&budget, &quota] {
        world.delete(path, "Background").await;
    }
    world.settle().await;
    world.create(budgets, new_budget(1)).await;
    world.create(&quotas, new_quota()).await;
    world.settle().await;
}

/// Endpoints that a user keeps are shown as slices; they change, go, and come anew under their name, as does their Service.
async fn mirrored(world: &mut World) {
    let (services, endpoints) = (format!("{DEFAULT}/services"), format!("{DEFAULT}/endpoints"));
    let (service, kept) = (format!("{services}/far"), format!("{endpoints}/far"));
    let service_object = || {
        json!({
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": "far"},
            "spec": {"ports": [{"port": 80}]},
        })
    };
    let subsets = |ips: &[&str]| {
        let addresses: Vec<_> = ips.iter().map(|ip| json!({"ip": ip})).collect();
        json!([{"addresses": addresses, "ports": [{"port": 8080}]}])
    };
    let endpoints_object = |ips: &[&str]| {
        json!({
            "apiVersion": "v1",
            "kind": "Endpoints",
            "metadata": {"name": "far"},
            "subsets": subsets(ips),
        })
    };
    world.create(&services, service_object()).await;
    for ips in [&["192.0.2.1"][..], &["192.0.2.1", "2001:db8::1"]] {
        world.create(&endpoints, endpoints_object(ips)).await;
        world.settle().await;
        for ips in [&["192.0.2.2", "2001:db8::2"][..], &["192.0.2.3", "192.0.2.4"]] {
            world.patch(&kept, json!({"subsets": subsets(ips)})).await;
            world.settle().await;
        }
        world.delete(&kept, "Background").await;
        world.settle().await;
    }
    world
        .create(&endpoints, endpoints_object(&["192.0.2.5", "2001:db8::5"]))
        .await;
    world.settle().await;
    // The Endpoints go with the Service.
    world.delete(&service, "Background").await;
    world.settle().await;
    world.create(&services, service_object()).await;
    world.create(&endpoints, endpoints_object(&["192.0.2.6"])).await;
    world.settle().await;
}

/// A template of pods with one container.
fn one_container(restart: &str, annotations: &Value) -> Value {
    json!({
        "metadata": {"annotations": annotations},
        "spec": {"restartPolicy": restart, "containers": [{"name": "c", "image": "c:1"}]},
    })
}

/// Claims get the volumes that suit them, let go of them in each way, and come anew under their names, as do those of a
/// StatefulSet.
async fn claims(world: &mut World) {
    let (claims, volumes) = (
        format!("{DEFAULT}/persistentvolumeclaims"),
        "/api/v1/persistentvolumes",
    );
    for (name, size, policy) in [
        ("small", "1Gi", "Retain"),
        ("brief", "2Gi", "Delete"),
        ("numbered", "3Gi", "Retain"),
    ] {
        world.create(volumes, volume(name, size, policy)).await;
    }
    for (name, size) in [("small", "1Gi"), ("brief", "2Gi")] {
        world.create(&claims, claim(name, size)).await;
        world.settle().await;
    }
    let sets = "/apis/apps/v1/namespaces/default/statefulsets";
    let mut set = of_kind("StatefulSet", "web", 1);
    let mut template = claim("data", "3Gi");
    template["metadata"] = json!({"name": "data"});
    set["spec"]["volumeClaimTemplates"] = json!([template]);
    set["spec"]["template"]["spec"]["containers"][0]["volumeMounts"] =
        json!([{"name": "data", "mountPath": "/data"}]);
    world.create(sets, set).await;
    world.settle().await;
    for name in ["small", "brief"] {
        world.delete(&format!("{claims}/{name}"), "Background").await;
    }
    world.settle().await;
    // Whoever looks after the cluster gives the volume that was kept to the next one.
    world
        .patch(&format!("{volumes}/small"), json!({"spec": {"claimRef": null}}))
        .await;
    world.settle().await;
    world.create(&claims, claim("small", "1Gi")).await;
    world.create(volumes, volume("brief", "2Gi", "Retain")).await;
    world.create(&claims, claim("brief", "2Gi")).await;
    world.settle().await;
    world.delete(&format!("{sets}/web"), "Background").await;
    world.settle().await;
}

fn claim(name: &str, size: &str) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": name},
        "spec": {
            "accessModes": ["ReadWriteOnce"],
            "storageClassName": size.to_lowercase(),
            "resources": {"requests": {"storage": size}},
        },
    })
}

/// A volume that only claims of its size ask for.
fn volume(name: &str, size: &str, policy: &str) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": name},
        "spec": {
            "accessModes": ["ReadWriteOnce"],
            "capacity": {"storage": size},
            "hostPath": {"path": format!("/tmp/volumes/{name}")},
            "persistentVolumeReclaimPolicy": policy,
            "storageClassName": size.to_lowercase(),
        },
    })
}

async fn uid(world: &World, name: &str) -> String {
    let all = world.list(&format!("{DEFAULT}/configmaps")).await;
    let found = all.iter().find(|one| one["metadata"]["name"] == name).unwrap();
    found["metadata"]["uid"].as_str().unwrap().to_owned()
}

fn config_map(name: &str, owners: &[(&str, &str)]) -> Value {
    let owners: Vec<_> = owners
        .iter()
        .map(|(name, uid)| {
            json!({
                "apiVersion": "v1", "kind": "ConfigMap", "name": name, "uid": uid, "blockOwnerDeletion": true,
            })
        })
        .collect();
    json!({
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": name, "ownerReferences": owners},
    })
}

fn service_object() -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "web"},
        "spec": {"selector": {"app": "web"}, "ports": [{"port": 80, "targetPort": 8080}]},
    })
}

fn deployment(name: &str, replicas: i32) -> Value {
    of_kind("Deployment", name, replicas)
}

/// Its pods leave a silent node soon.
fn of_kind(kind: &str, name: &str, replicas: i32) -> Value {
    let tolerate =
        |key: &str| json!({"key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 20});
    json!({
        "apiVersion": "apps/v1",
        "kind": kind,
        "metadata": {"name": name},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": name}},
            "template": {
                "metadata": {"labels": {"app": name}},
                "spec": {
                    "containers": [{"name": "web", "image": "web:1", "ports": [{"containerPort": 8080}]}],
                    "tolerations": [
                        tolerate("node.kubernetes.io/unreachable"),
                        tolerate("node.kubernetes.io/not-ready"),
                    ],
                },
            },
        },
    })
}
