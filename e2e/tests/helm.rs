//! Helm 4 and Helm 3 with charts that use what public charts use: a library chart, a subchart, lookups, capabilities, hooks,
//! custom resources, and most kinds that a web site wants.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use coracle_e2e::cluster::Cluster;
use coracle_e2e::program::Program;
use coracle_e2e::script::Script;
use coracle_e2e::{charts, helm_binaries, kubectl_binaries, unique};
use futures::future::try_join_all;
use serde_json::json;

#[tokio::test]
async fn charts_live_their_lives() -> Result<()> {
    let mut cluster = Cluster::new()?;
    cluster.up().await?;
    let helms = helm_binaries()?;
    try_join_all(helms.iter().map(|helm| life(&cluster, helm))).await?;
    cluster.down().await
}

/// The whole life of a release with one Helm.
async fn life(cluster: &Cluster, binary: &Path) -> Result<()> {
    let namespace = format!("charts-{}", unique());
    let of_home = |program: Program| cluster.at_home(program);
    let helm = Script::new(
        of_home(Program::new(binary)).first(&["--namespace", &namespace]),
        &namespace,
    )?;
    let kubectl = kubectl_binaries().into_iter().next().context("a kubectl")?;
    let kubectl = Script::new(cluster.kubectl(&kubectl, &namespace), &namespace)?;
    let version = helm.text("version --short").await?;
    let life = Life {
        four: version.starts_with("v4."),
        helm,
        kubectl,
    };
    life.volumes_are_offered().await.context("volumes")?;
    life.charts_are_packed().await.context("packed")?;
    life.release_is_installed().await.context("installed")?;
    life.release_is_told_of().await.context("told of")?;
    life.data_outlives_pods().await.context("kept data")?;
    life.release_is_upgraded().await.context("upgraded")?;
    life.failed_upgrade_is_rolled_back()
        .await
        .context("failed and rolled back")?;
    life.release_is_rolled_back().await.context("rolled back")?;
    life.others_changes_are_noticed()
        .await
        .context("changed by others")?;
    life.release_is_uninstalled().await.context("uninstalled")?;
    life.fresh_chart_is_installed()
        .await
        .with_context(|| format!("a fresh chart with Helm {version}"))
}

struct Life {
    helm: Script,
    kubectl: Script,
    /// Whether this Helm applies on the server, as Helm 4 does.
    four: bool,
}

impl Life {
    /// Folders of the node, made by a pod, as volumes of a class of the release's own: bound once a pod wants them, on the node
    /// where they are.
    async fn volumes_are_offered(&self) -> Result<()> {
        let node = self
            .kubectl
            .text("get nodes -o jsonpath={.items[0].metadata.name}")
            .await?;
        self.kubectl.write("volumes.yaml", &volumes(node.trim()))?;
        self.kubectl
            .says(&[
                ("create namespace @ns", "created"),
                ("apply -f volumes.yaml", "created"),
                (
                    "wait --for=jsonpath={.status.phase}=Succeeded pod/folders --timeout=90s",
                    "condition met",
                ),
                (
                    "wait --for=jsonpath={.status.phase}=Available pv/@ns-0 pv/@ns-1 --timeout=30s",
                    "condition met",
                ),
                ("delete pod folders", "deleted"),
            ])
            .await
    }

    /// The charts as they would come from a repository. Definitions belong to the whole cluster, so each release's are of a
    /// group of their own.
    async fn charts_are_packed(&self) -> Result<()> {
        copy(&self.helm, &charts(), "")?;
        self.helm
            .says(&[
                ("dependency build cache", "Saving 1 charts"),
                ("dependency update site", "Saving 2 charts"),
                ("dependency list site", "ok"),
                ("lint site", "1 chart(s) linted, 0 chart(s) failed"),
                (
                    "template x site --include-crds --kube-version=1.36.3",
                    "kind: NetworkPolicy",
                ),
                ("show values site", "greeting: first words"),
                ("package site", "Successfully packaged chart"),
            ])
            .await?;
        self.helm
            .refuses(&[("lint site --set greeting=", "minLength")])
            .await
    }

    async fn release_is_installed(&self) -> Result<()> {
        self.helm
            .says(&[
                // What is looked up is seen in a dry run too, and what no controller has to do with is accepted by the server.
                (
                    "install one site-1.2.0.tgz --create-namespace --dry-run=server --skip-crds --set page.enabled=false",
                    "kind: StatefulSet",
                ),
                (
                    "install one site-1.2.0.tgz --create-namespace --wait --wait-for-jobs --timeout=180s --set page.title=One,store.storageClass=@ns",
                    "site 1.2.0 greets with \"first words\" as release one, revision 1.",
                ),
            ])
            .await?;
        self.kubectl
            .says(&[
                ("get crd pages.@ns.example.test -o jsonpath={.status.conditions[*].type}", "Established"),
                ("get pages.@ns.example.test one-site", "One"),
                ("get configmap one-site -o jsonpath={.data.hasAutoscaling}-{.data.hasNothing}-{.data.cachePort}", "true-false-8080"),
                ("get configmap one-site -o jsonpath='{.data.page\\.txt}'", "A file of the chart's own."),
                ("wait --for=condition=Available deployment/one-site --timeout=90s",
                    "condition met"),
                ("wait --for=condition=Available deployment/one-proxy --timeout=90s",
                    "condition met"),
                ("get pod one-site-before -o jsonpath={.status.phase}", "Succeeded"),
                ("logs one-site-before", "before 1"),
                ("get job one-site-seed-1 -o jsonpath={.status.succeeded}", "1"),
                ("logs job/one-site-seed-1", "seeded"),
                ("get cronjob one-site-sweep -o jsonpath={.spec.schedule}", "@daily"),
                ("get persistentvolumeclaims -o jsonpath={.items[*].status.phase}", "Bound Bound"),
                ("rollout status statefulset/one-site-store --timeout=90s", "roll"),
                ("get horizontalpodautoscaler,poddisruptionbudget,networkpolicy,ingress,role,rolebinding one-site -o name", "ingress.networking.k8s.io/one-site"),
                ("auth can-i list configmaps --as=system:serviceaccount:@ns:one-site-server", "yes"),
                ("auth can-i list nodes --as=system:serviceaccount:@ns:one-site-server", "yes"),
                ("get configmap one-site -o jsonpath={.metadata.labels}", r#""app.kubernetes.io/managed-by":"Helm""#),
            ])
            .await?;
        self.kubectl
            .refuses(&[
                ("get pod one-site-after", "NotFound"),
                ("get job one-site-prepare", "NotFound"),
            ])
            .await?;
        self.helm
            .says(&[("test one --logs --timeout=120s", "first words")])
            .await?;
        self.helm
            .refuses(&[
                ("install one site", "a name that is still in use"),
                ("upgrade none site", "\"none\" has no deployed releases"),
            ])
            .await
    }

    async fn release_is_told_of(&self) -> Result<()> {
        self.helm
            .says(&[
                ("list", "site-1.2.0"),
                ("list --all-namespaces -o json", "\"status\":\"deployed\""),
                ("status one", "STATUS: deployed"),
                ("get values one", "title: One"),
                ("get values one --all", "cachePort: 8080"),
                ("get manifest one", "kind: PodDisruptionBudget"),
                ("get hooks one", "kind: Pod"),
                ("get notes one", "greets with"),
                ("get metadata one", "VERSION: 1.2.0"),
                ("history one", "Install complete"),
            ])
            .await
    }

    /// What a pod has written is there for the one that takes its place, also for one of another revision.
    async fn data_outlives_pods(&self) -> Result<()> {
        let starts = "exec one-site-store-0 -- hello cat /data/starts";
        let once = self.kubectl.text(starts).await?;
        self.kubectl
            .says(&[
                ("exec one-site-store-0 -- hello append /own/word kept", ""),
                ("delete pod one-site-store-0 --timeout=60s", "deleted"),
                (
                    "wait --for=create pod/one-site-store-0 --timeout=60s",
                    "condition met",
                ),
                (
                    "wait --for=condition=Ready pod/one-site-store-0 --timeout=90s",
                    "condition met",
                ),
                ("exec one-site-store-0 -- hello cat /data/part/word", "kept"),
            ])
            .await?;
        let twice = self.kubectl.text(starts).await?;
        ensure!(
            twice == format!("{once}{once}"),
            "one start more: {once:?}, then {twice:?}"
        );
        Ok(())
    }

    async fn release_is_upgraded(&self) -> Result<()> {
        let word = "get secret one-site -o jsonpath={.data.word}";
        let before = self.kubectl.text(word).await?;
        self.helm
            .says(&[(
                "upgrade one site --reuse-values --set greeting='second words',proxy.enabled=false --wait --timeout=120s",
                "revision 2.",
            )])
            .await?;
        ensure!(
            self.kubectl.text(word).await? == before,
            "the word that was looked up is kept"
        );
        self.kubectl
            .says(&[
                (
                    "get pages.@ns.example.test one-site -o jsonpath={.spec.paragraphs[0]}",
                    "second words",
                ),
                ("logs one-site-before", "before 2"),
                ("exec deployment/one-site -- hello env", "GREETING=second words"),
                (
                    "exec one-site-store-0 -- hello cat /data/starts",
                    "first words\nfirst words\nsecond words",
                ),
            ])
            .await?;
        self.kubectl
            .refuses(&[("get deployment one-proxy", "NotFound")])
            .await?;
        self.helm
            .says(&[("test one --logs --timeout=120s", "second words")])
            .await
    }

    async fn failed_upgrade_is_rolled_back(&self) -> Result<()> {
        let undone = if self.four {
            "--rollback-on-failure"
        } else {
            "--atomic"
        };
        let upgrade = format!("upgrade one site --reuse-values --set image.tag=none {undone} --timeout=30s");
        self.helm.refuses(&[(&upgrade, "has been rolled back")]).await?;
        self.helm.says(&[("history one", "Rollback to 2")]).await?;
        self.helm
            .refuses(&[(
                "upgrade one site --reuse-values --set page.title=",
                "spec.title: Required value",
            )])
            .await?;
        self.kubectl
            .says(&[("rollout status deployment/one-site --timeout=90s", "rolled out")])
            .await
    }

    async fn release_is_rolled_back(&self) -> Result<()> {
        self.helm
            .says(&[
                (
                    "rollback one 1 --wait --timeout=120s",
                    "Rollback was a success! Happy Helming!",
                ),
                ("get values one", "title: One"),
            ])
            .await?;
        self.kubectl
            .says(&[
                ("exec deployment/one-site -- hello env", "GREETING=first words"),
                (
                    "wait --for=condition=Available deployment/one-proxy --timeout=90s",
                    "condition met",
                ),
            ])
            .await
    }

    async fn others_changes_are_noticed(&self) -> Result<()> {
        self.kubectl
            .says(&[(
                "set image deployment/one-site site=coracle.dev/hello:2",
                "image updated",
            )])
            .await?;
        let mut upgrade =
            "upgrade one site --reuse-values --set greeting=third --wait --timeout=120s".to_owned();
        if self.four {
            self.helm
                .refuses(&[(&upgrade, "conflict with \"kubectl-set\" using apps/v1: .spec.template.spec.containers[name=\"site\"].image")])
                .await?;
            upgrade.push_str(" --force-conflicts");
        }
        self.helm.says(&[(&upgrade, "greets with \"third\"")]).await?;
        let scaled = "upgrade --install one site --reuse-values --set autoscaling.enabled=false,replicas=3 --wait --timeout=120s";
        self.helm.says(&[(scaled, "STATUS: deployed")]).await?;
        self.kubectl
            .says(&[("get deployment one-site -o jsonpath={.status.readyReplicas}", "3")])
            .await
    }

    async fn release_is_uninstalled(&self) -> Result<()> {
        // A pod that names a claim keeps it, though it is finished.
        self.kubectl
            .says(&[("delete pod one-site-test-store", "deleted")])
            .await?;
        self.helm
            .says(&[
                (
                    "uninstall one --keep-history --wait --timeout=120s",
                    "[ConfigMap] one-site-kept",
                ),
                ("list --uninstalled", "uninstalled"),
                ("uninstall one", "release \"one\" uninstalled"),
            ])
            .await?;
        self.kubectl
            .says(&[
                (
                    "get configmap one-site-kept one-site-farewell -o name",
                    "configmap/one-site-farewell",
                ),
                (
                    "get secrets,deployments,services,ingresses,roles,statefulsets,cronjobs",
                    "No resources found",
                ),
                (
                    "wait --for=jsonpath={.status.phase}=Released pv/@ns-0 pv/@ns-1 --timeout=60s",
                    "condition met",
                ),
                ("get persistentvolumeclaims", "No resources found"),
                ("delete pv @ns-0 @ns-1 --timeout=30s", "deleted"),
                ("delete storageclass @ns", "deleted"),
                ("delete crd pages.@ns.example.test", "deleted"),
                ("delete configmap one-site-kept", "deleted"),
            ])
            .await?;
        self.kubectl
            .refuses(&[("get clusterrole @ns-one-site", "NotFound")])
            .await
    }

    /// What `helm create` makes is the head of most charts.
    async fn fresh_chart_is_installed(&self) -> Result<()> {
        let values = "--set image.repository=coracle.dev/hello,image.tag=1,service.port=8080,livenessProbe.httpGet.port=8080,readinessProbe.httpGet.port=8080,ingress.enabled=true";
        self.helm
            .says(&[
                ("create fresh", "Creating fresh"),
                (
                    &format!("install two fresh {values} --wait --timeout=120s"),
                    "STATUS: deployed",
                ),
                ("uninstall two --wait", "uninstalled"),
            ])
            .await?;
        self.kubectl
            .text("delete namespace @ns --timeout=120s")
            .await
            .map(drop)
    }
}

/// A class, two volumes of folders of a node, and a pod that makes the folders.
fn volumes(node: &str) -> String {
    let class = json!({
        "apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "metadata": {"name": "@ns"},
        "provisioner": "kubernetes.io/no-provisioner", "volumeBindingMode": "WaitForFirstConsumer",
    });
    let path = |number: u8| format!("/tmp/@ns/{number}");
    let here = json!({"key": "kubernetes.io/hostname", "operator": "In", "values": [node]});
    let volume = |number: u8| {
        json!({
            "apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": format!("@ns-{number}")},
            "spec": {
                "storageClassName": "@ns", "capacity": {"storage": "16Mi"}, "accessModes": ["ReadWriteOnce"],
                "persistentVolumeReclaimPolicy": "Retain", "local": {"path": path(number)},
                "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": [here]}]}},
            },
        })
    };
    let folder = |number: u8| json!({"name": format!("n{number}"), "hostPath": {"path": path(number), "type": "DirectoryOrCreate"}});
    let mount = |number: u8| json!({"name": format!("n{number}"), "mountPath": format!("/n{number}")});
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "folders"},
        "spec": {
            "restartPolicy": "Never", "terminationGracePeriodSeconds": 1,
            "containers": [{"name": "folders", "image": "coracle.dev/hello:1", "args": ["echo", "made"],
                "volumeMounts": [mount(0), mount(1)]}],
            "volumes": [folder(0), folder(1)],
        },
    });
    json!({"apiVersion": "v1", "kind": "List", "items": [class, volume(0), volume(1), pod]}).to_string()
}

/// Copies charts into the script's folder, with the group of their definition made its own.
fn copy(script: &Script, from: &Path, to: &str) -> Result<()> {
    for entry in fs::read_dir(from).with_context(|| from.display().to_string())? {
        let entry = entry?;
        let name = entry.file_name();
        let path = format!("{to}{}", name.to_str().context("a name is text")?);
        if entry.file_type()?.is_dir() {
            copy(script, &entry.path(), &format!("{path}/"))?;
        } else {
            let text = fs::read_to_string(entry.path())?;
            let own = text
                .replace("pages.example.test", "pages.@ns.example.test")
                .replace("group: example.test", "group: @ns.example.test")
                .replace("apiVersion: example.test/", "apiVersion: @ns.example.test/");
            script.write(&path, &own)?;
        }
    }
    Ok(())
}
