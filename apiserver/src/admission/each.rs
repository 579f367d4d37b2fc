//! Plugins one by one, each alone in a chain and by the name by which it is switched on.

use coracle_api::resources;
use serde_json::{Value, json};

use super::configuration::Told;
use super::tests::attributes;
use super::{Attributes, Chain, Cluster, Operation, order};
use crate::reader::GroupResource;
use crate::reader::memory::MemoryReader;
use crate::request::UserInfo;

const DELETE: Operation = Operation::Delete;
const CREATE: Operation = Operation::Create;
const UPDATE: Operation = Operation::Update;

/// One plugin, and what there is.
struct Alone {
    chain: Chain,
    name: &'static str,
    reader: MemoryReader,
}

/// A write.
struct Write<'a> {
    operation: Operation,
    resource: (&'a str, &'a str),
    subresource: &'a str,
    object: Value,
    old: Value,
}

fn write<'a>(operation: Operation, resource: (&'a str, &'a str), object: Value) -> Write<'a> {
    Write {
        operation,
        resource,
        subresource: "",
        object,
        old: Value::Null,
    }
}

impl Write<'_> {
    fn over(self, old: Value) -> Self {
        Self { old, ..self }
    }
}

impl Alone {
    fn of(name: &'static str) -> Self {
        let usual = order::ORDER.iter().filter(|(other, on)| *on && *other != name);
        let others: Vec<String> = usual.map(|(other, _)| (*other).to_owned()).collect();
        let chain = Chain::new(&[name.to_owned()], &others, &Told::default()).unwrap();
        let reader = MemoryReader::default();
        Self { chain, name, reader }
    }

    fn among(self, group: &str, resource: &str, object: Value) -> Self {
        self.reader.put(&GroupResource::new(group, resource), object);
        self
    }

    /// What becomes of an object in the namespace `n`, or why nothing does.
    async fn admit(&self, write: Write<'_>) -> Result<Value, String> {
        let (group, resource) = write.resource;
        let resource = resources::versions(group, resource).next().unwrap();
        let user = UserInfo {
            name: "jane".to_owned(),
            ..UserInfo::default()
        };
        let own_name = |object: &Value| object["metadata"]["name"].as_str().unwrap_or_default().to_owned();
        let name = own_name(if write.object.is_null() {
            &write.old
        } else {
            &write.object
        });
        let attributes = Attributes {
            subresource: write.subresource,
            namespace: if resource.namespaced { "n" } else { "" },
            name: &name,
            user: &user,
            ..attributes(write.operation, resource)
        };
        let old = Some(&write.old).filter(|old| !old.is_null());
        let mut object = Some(write.object).filter(|object| !object.is_null());
        let cluster = || Cluster::new(&self.reader, None);
        let admitted = async {
            if let Some(object) = &mut object {
                self.chain.mutate(&attributes, object, old, cluster()).await?;
            }
            self.chain
                .validate(&attributes, object.as_ref(), old, cluster())
                .await
        };
        match admitted.await {
            Ok(()) => Ok(object.unwrap_or_default()),
            Err(error) => Err(error.to_string()),
        }
    }

    async fn takes(&self, write: Write<'_>) -> Value {
        let admitted = self.admit(write).await;
        admitted.unwrap_or_else(|why| panic!("{}: {why}", self.name))
    }

    async fn refuses(&self, write: Write<'_>, why: &str) {
        let told = self.admit(write).await.unwrap_err();
        assert!(told.ends_with(why), "{}: {told}", self.name);
    }
}

const PODS: (&str, &str) = ("", "pods");
const CLAIMS: (&str, &str) = ("", "persistentvolumeclaims");

fn pod(spec: Value) -> Value {
    json!({"metadata": {"name": "p", "namespace": "n"}, "spec": spec})
}

#[tokio::test]
async fn always_admit_admits_and_always_deny_denies() {
    let object = pod(json!({}));
    let admit = Alone::of("AlwaysAdmit");
    assert_eq!(admit.takes(write(CREATE, PODS, object.clone())).await, object);
    let deny = Alone::of("AlwaysDeny");
    let why = "admission control is denying all modifications";
    deny.refuses(write(CREATE, PODS, object.clone()), why).await;
    deny.refuses(write(DELETE, PODS, Value::Null).over(object), why)
        .await;
}

#[tokio::test]
async fn namespaces_have_to_be_there() {
    let plugin = Alone::of("NamespaceExists").among("", "namespaces", json!({"metadata": {"name": "other"}}));
    let why = "namespaces \"n\" not found";
    plugin.refuses(write(CREATE, PODS, pod(json!({}))), why).await;
    let plugin = plugin.among("", "namespaces", json!({"metadata": {"name": "n"}}));
    plugin.takes(write(CREATE, PODS, pod(json!({})))).await;
}

#[tokio::test]
async fn hard_anti_affinity_is_by_host_alone() {
    let plugin = Alone::of("LimitPodHardAntiAffinityTopology");
    let by = |key: &str| {
        let required = json!([{"topologyKey": key}]);
        pod(
            json!({"affinity": {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": required}}}),
        )
    };
    plugin
        .takes(write(CREATE, PODS, by("kubernetes.io/hostname")))
        .await;
    let why = "has TopologyKey zone but only key kubernetes.io/hostname is allowed";
    plugin.refuses(write(CREATE, PODS, by("zone")), why).await;
}

#[tokio::test]
async fn new_nodes_are_tainted_once() {
    let plugin = Alone::of("TaintNodesByCondition");
    let taints = json!([{"key": "node.kubernetes.io/not-ready", "effect": "NoSchedule"}]);
    for spec in [json!({}), json!({"taints": taints})] {
        let node = json!({"metadata": {"name": "n1"}, "spec": spec});
        let made = plugin.takes(write(CREATE, ("", "nodes"), node.clone())).await;
        assert_eq!(made["spec"]["taints"], taints);
        let kept = plugin
            .takes(write(UPDATE, ("", "nodes"), node.clone()).over(node.clone()))
            .await;
        assert_eq!(kept, node);
    }
}

#[tokio::test]
async fn images_are_pulled_for_every_pod() {
    let plugin = Alone::of("AlwaysPullImages");
    let asked = pod(
        json!({"containers": [{"image": "a", "imagePullPolicy": "Never"}], "initContainers": [{"image": "b"}],
        "volumes": [{"image": {"reference": "c"}}]}),
    );
    let made = plugin.takes(write(CREATE, PODS, asked.clone())).await;
    assert_eq!(made["spec"]["containers"][0]["imagePullPolicy"], "Always");
    assert_eq!(made["spec"]["initContainers"][0]["imagePullPolicy"], "Always");
    assert_eq!(made["spec"]["volumes"][0]["image"]["pullPolicy"], "Always");
    // Who brings no new image is left alone.
    let kept = plugin
        .takes(write(UPDATE, PODS, asked.clone()).over(asked.clone()))
        .await;
    assert_eq!(kept, asked);
}

#[tokio::test]
async fn pods_are_put_where_their_namespace_says() {
    let annotations = json!({"scheduler.alpha.kubernetes.io/node-selector": "env=test"});
    let namespace = json!({"metadata": {"name": "n", "annotations": annotations}});
    let plugin = Alone::of("PodNodeSelector").among("", "namespaces", namespace);
    let made = plugin.takes(write(CREATE, PODS, pod(json!({})))).await;
    assert_eq!(made["spec"]["nodeSelector"], json!({"env": "test"}));
    let other = pod(json!({"nodeSelector": {"env": "production"}}));
    let why = "pod node label selector conflicts with its namespace node label selector";
    plugin.refuses(write(CREATE, PODS, other), why).await;
}

#[tokio::test]
async fn pods_tolerate_what_their_namespace_allows() {
    let tolerations = |key: &str| json!([{"key": key, "operator": "Exists", "effect": "NoSchedule"}]);
    let annotations = json!({
        "scheduler.alpha.kubernetes.io/defaultTolerations": tolerations("given").to_string(),
        "scheduler.alpha.kubernetes.io/tolerationsWhitelist": tolerations("given").to_string(),
    });
    let namespace = json!({"metadata": {"name": "n", "annotations": annotations}});
    let plugin = Alone::of("PodTolerationRestriction").among("", "namespaces", namespace);
    let made = plugin.takes(write(CREATE, PODS, pod(json!({})))).await;
    assert_eq!(made["spec"]["tolerations"], tolerations("given"));
    let other = pod(json!({"tolerations": tolerations("taken")}));
    let why = "pod tolerations (possibly merged with namespace default tolerations) conflict with its namespace whitelist";
    plugin.refuses(write(CREATE, PODS, other), why).await;
}

#[tokio::test]
async fn pods_stay_five_minutes_unless_they_say_otherwise() {
    let plugin = Alone::of("DefaultTolerationSeconds");
    let own = json!({"key": "node.kubernetes.io/not-ready", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 7});
    let made = plugin
        .takes(write(CREATE, PODS, pod(json!({"tolerations": [own]}))))
        .await;
    let unreachable = json!({"key": "node.kubernetes.io/unreachable", "operator": "Exists", "effect": "NoExecute",
        "tolerationSeconds": 300});
    assert_eq!(made["spec"]["tolerations"], json!([own, unreachable]));
}

#[tokio::test]
async fn storage_in_use_is_protected() {
    let plugin = Alone::of("StorageObjectInUseProtection");
    for (resource, finalizer) in [
        (CLAIMS, "kubernetes.io/pvc-protection"),
        (("", "persistentvolumes"), "kubernetes.io/pv-protection"),
        (
            ("storage.k8s.io", "volumeattributesclasses"),
            "kubernetes.io/vac-protection",
        ),
    ] {
        let object = json!({"metadata": {"name": "a"}});
        let made = plugin.takes(write(CREATE, resource, object)).await;
        assert_eq!(made["metadata"]["finalizers"], json!([finalizer]));
    }
}

#[tokio::test]
async fn whoever_names_no_class_gets_the_default() {
    let class = |mark: &str| json!({"metadata": {"name": "usual", "annotations": {mark: "true"}}});
    let cases = [
        (
            Alone::of("DefaultStorageClass").among(
                "storage.k8s.io",
                "storageclasses",
                class("storageclass.kubernetes.io/is-default-class"),
            ),
            CLAIMS,
            "storageClassName",
        ),
        (
            Alone::of("DefaultIngressClass").among(
                "networking.k8s.io",
                "ingressclasses",
                class("ingressclass.kubernetes.io/is-default-class"),
            ),
            ("networking.k8s.io", "ingresses"),
            "ingressClassName",
        ),
    ];
    for (plugin, resource, field) in cases {
        for (named, expected) in [(json!({}), "usual"), (json!({field: "own"}), "own")] {
            let object = json!({"metadata": {"name": "a"}, "spec": named});
            let made = plugin.takes(write(CREATE, resource, object)).await;
            assert_eq!(made["spec"][field], expected);
        }
    }
}

#[tokio::test]
async fn claims_grow_where_their_class_allows_it() {
    let claim = |size: &str, class: &str, phase: &str| {
        json!({"metadata": {"name": "c"}, "status": {"phase": phase},
            "spec": {"storageClassName": class, "resources": {"requests": {"storage": size}}}})
    };
    let growing = json!({"metadata": {"name": "growing"}, "allowVolumeExpansion": true});
    let plugin = Alone::of("PersistentVolumeClaimResize").among("storage.k8s.io", "storageclasses", growing);
    let grown = |class: &str, phase: &str| {
        let old = claim("1Gi", class, phase);
        write(UPDATE, CLAIMS, claim("2Gi", class, phase)).over(old)
    };
    plugin.takes(grown("growing", "Bound")).await;
    let why = "Only bound persistent volume claims can be expanded";
    plugin.refuses(grown("growing", "Pending"), why).await;
    let why = "only dynamically provisioned pvc can be resized and the storageclass that provisions the pvc must support resize";
    plugin.refuses(grown("other", "Bound"), why).await;
}

#[tokio::test]
async fn addresses_outside_are_not_taken() {
    let plugin = Alone::of("DenyServiceExternalIPs");
    let service = json!({"metadata": {"name": "s"}, "spec": {"externalIPs": ["192.0.2.1"]}});
    let services = ("", "services");
    let why = "Use of external IPs is denied by admission control";
    plugin
        .refuses(write(CREATE, services, service.clone()), why)
        .await;
    plugin
        .takes(write(UPDATE, services, service.clone()).over(service))
        .await;
}

#[tokio::test]
async fn who_may_not_set_finalizers_lets_no_owner_wait() {
    let plugin = Alone::of("OwnerReferencesPermissionEnforcement");
    let owned = |waits: bool| {
        json!({"metadata": {"name": "a", "ownerReferences": [
            {"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": "u", "blockOwnerDeletion": waits}]}})
    };
    plugin.takes(write(CREATE, PODS, owned(false))).await;
    let why = "cannot set blockOwnerDeletion if an ownerReference refers to a resource you can't set finalizers on: , <nil>";
    plugin.refuses(write(CREATE, PODS, owned(true)), why).await;
    let old = json!({"metadata": {"name": "a"}});
    let why = "cannot set an ownerRef on a resource you can't delete: , <nil>";
    plugin
        .refuses(write(UPDATE, PODS, owned(false)).over(old), why)
        .await;
}

#[tokio::test]
async fn pods_change_only_as_their_node_knows() {
    let node = json!({"metadata": {"name": "n1"}, "status": {"declaredFeatures": ["InPlacePodVerticalScalingInitContainers"]}});
    let plugin = Alone::of("NodeDeclaredFeatureValidator").among("", "nodes", node);
    let on = |node: &str, generation: u64, own: &str, init: &str| {
        let mut pod = pod(json!({"nodeName": node, "resources": {"requests": {"cpu": own}},
            "initContainers": [{"name": "i", "resources": {"requests": {"cpu": init}}}]}));
        pod["metadata"]["generation"] = generation.into();
        pod
    };
    let resized = |node: &str, own: &str, init: &str| {
        let write = write(UPDATE, PODS, on(node, 2, own, init)).over(on(node, 1, "1", "1"));
        Write {
            subresource: "resize",
            ..write
        }
    };
    for (own, init) in [("1", "1"), ("1000m", "2")] {
        plugin.takes(resized("n1", own, init)).await;
    }
    let why = "pod update requires features InPlacePodLevelResourcesVerticalScaling which are not available on node \"n1\"";
    plugin.refuses(resized("n1", "2", "2"), why).await;
    plugin
        .refuses(resized("gone", "2", "1"), "node \"gone\" not found")
        .await;
    plugin.takes(resized("", "2", "2")).await;
    let same = write(UPDATE, PODS, on("n1", 1, "2", "2")).over(on("n1", 1, "1", "1"));
    plugin.takes(same).await;
    let status = Write {
        subresource: "status",
        ..resized("n1", "2", "2")
    };
    plugin.takes(status).await;
}
