//! What is read: get in every output and with -w, describe, explain, wait, events, api-resources, cluster-info.

use anyhow::{Context, Result, ensure};
use coracle_e2e::script::Script;

use crate::{SETTINGS, WEB};

pub(crate) async fn walk(kubectl: &Script) -> Result<()> {
    kubectl.write("settings.yaml", SETTINGS)?;
    kubectl.write("web.yaml", WEB)?;
    kubectl.text("apply -f settings.yaml -f web.yaml").await?;
    printed(kubectl).await?;
    selected(kubectl).await?;
    watched(kubectl).await?;
    waited_for(kubectl).await?;
    explained(kubectl).await?;
    described(kubectl).await?;
    what_happened(kubectl).await?;
    the_server_itself(kubectl).await
}

async fn printed(kubectl: &Script) -> Result<()> {
    kubectl.write("path", "{.data.b}")?;
    kubectl.write("template", "{{range $k, $v := .data}}{{$k}}={{$v}};{{end}}")?;
    kubectl.write("columns", "NAME          B\nmetadata.name data.b\n")?;
    kubectl
        .says(&[
            ("get configmap settings", "NAME       DATA   AGE\nsettings   2 "),
            (
                "get configmap settings --no-headers --show-kind --show-labels",
                "configmap/settings   2",
            ),
            ("get configmap settings -o wide", "settings   2"),
            ("get configmap settings -o name", "configmap/settings\n"),
            ("get configmap settings -o json", "\"b\": \"2\""),
            ("get configmap settings -o yaml", "  b: \"2\"\n"),
            ("get configmap settings -o jsonpath='{.data.a}-{.data.b}'", "1-2"),
            (
                "get configmap settings -o jsonpath-as-json={.data.b}",
                "[\n    \"2\"\n]",
            ),
            ("get configmap settings -o jsonpath-file=path", "2"),
            ("get configmap settings -o go-template='{{.data.b}}'", "2"),
            ("get configmap settings -o go-template-file=template", "a=1;b=2;"),
            ("get configmap settings -o templatefile=template", "a=1;b=2;"),
            (
                "get configmap settings -o custom-columns=N:.metadata.name,B:.data.b",
                "N          B\nsettings   2\n",
            ),
            (
                "get configmap settings -o custom-columns-file=columns",
                "NAME       B\nsettings   2\n",
            ),
            ("get configmap settings -o kyaml", "    b: \"2\",\n"),
            (
                "get -f settings.yaml -f web.yaml -o name",
                "deployment.apps/web\n",
            ),
            ("get all", "deployment.apps/web"),
            (
                "get deployment web --subresource=scale -o jsonpath={.spec.replicas}",
                "1",
            ),
            (
                "get --raw /api/v1/namespaces/@ns/configmaps/settings",
                "\"kind\":\"ConfigMap\"",
            ),
            ("get deployment -L app", "APP"),
            ("get pods -A -o wide", "NOMINATED NODE"),
        ])
        .await
}

async fn selected(kubectl: &Script) -> Result<()> {
    kubectl
        .says(&[
            ("get configmaps --chunk-size=1", "settings"),
            (
                "get configmaps --field-selector=metadata.name=settings -o name",
                "configmap/settings\n",
            ),
            (
                "get deployments -l 'app in (web, other)' -o name",
                "deployment.apps/web\n",
            ),
            (
                "get configmaps --sort-by=.metadata.name -o name",
                "configmap/kube-root-ca.crt\nconfigmap/settings\n",
            ),
            ("get cm,deploy -o name", "deployment.apps/web\n"),
            ("get cm/settings deploy/web -o name", "deployment.apps/web\n"),
            ("get configmap none --ignore-not-found", ""),
            ("get secrets", "No resources found in @ns namespace."),
        ])
        .await?;
    kubectl
        .refuses(&[
            (
                "get configmap none",
                "Error from server (NotFound): configmaps \"none\" not found",
            ),
            (
                "get nothing",
                "the server doesn't have a resource type \"nothing\"",
            ),
            (
                "get pods --field-selector=spec.none=x",
                "field label not supported: spec.none",
            ),
        ])
        .await
}

async fn watched(kubectl: &Script) -> Result<()> {
    let mut events = kubectl.follow("get configmaps -w --output-watch-events -o wide")?;
    let mut names = kubectl.follow("get configmaps --watch-only -o name")?;
    let mut one = kubectl.follow("get configmap settings -w -o jsonpath='{.data.w}{\"\\n\"}'")?;
    events.until("settings").await?;
    one.until("").await?;
    // A watch that shows nothing at first cannot be seen to have begun: what is made until it shows something is for it.
    kubectl
        .text("create configmap watched-0 --from-literal=a=b")
        .await?;
    let added = events.until("watched-0").await?;
    ensure!(added.starts_with("ADDED"), "{added}");
    let mut made = 0;
    let seen = async {
        loop {
            made += 1;
            let create = format!("create configmap watched-{made} --from-literal=a=b");
            kubectl.text(&create).await?;
            kubectl.text("get configmaps").await?;
            if made == 50 {
                return Ok::<(), anyhow::Error>(());
            }
        }
    };
    tokio::select! {
        line = names.until("configmap/watched-") => line.map(drop)?,
        made = seen => {
            made?;
            names.until("configmap/watched-").await?;
        }
    }
    kubectl
        .says(&[
            (
                "patch configmap watched-0 -p '{\"data\":{\"a\":\"c\"}}'",
                "patched",
            ),
            ("delete configmap watched-0", "deleted"),
            (
                "patch configmap settings -p '{\"data\":{\"w\":\"seen\"}}'",
                "patched",
            ),
        ])
        .await?;
    let modified = events.until("watched-0").await?;
    ensure!(modified.starts_with("MODIFIED"), "{modified}");
    let deleted = events.until("watched-0").await?;
    ensure!(deleted.starts_with("DELETED"), "{deleted}");
    one.until("seen").await?;
    for followed in [events, names, one] {
        followed.end().await?;
    }
    Ok(())
}

async fn waited_for(kubectl: &Script) -> Result<()> {
    kubectl
        .says(&[
            (
                "wait --for=condition=Available deployment/web --timeout=90s",
                "deployment.apps/web condition met",
            ),
            (
                "wait --for=jsonpath={.status.readyReplicas}=1 deployment/web --timeout=90s",
                "condition met",
            ),
            (
                "wait --for=jsonpath={.metadata.uid} deployment/web",
                "condition met",
            ),
            (
                "wait --for=create configmap/settings",
                "configmap/settings condition met",
            ),
            (
                "wait --for=condition=Ready pods -l app=web --timeout=90s",
                "condition met",
            ),
            ("wait --for=delete configmap/never --timeout=1s", ""),
        ])
        .await?;
    kubectl
        .refuses(&[(
            "wait --for=condition=Never deployment/web --timeout=1s",
            "timed out waiting for the condition on deployments/web",
        )])
        .await?;
    let gone = kubectl.run("wait --for=delete configmap/settings --timeout=60s");
    let (gone, deleted) = tokio::join!(gone, kubectl.text("delete configmap settings"));
    ensure!(
        gone?.code == Some(0) && deleted?.contains("deleted"),
        "a deletion is waited for"
    );
    Ok(())
}

async fn explained(kubectl: &Script) -> Result<()> {
    kubectl
        .says(&[
            (
                "explain deployment.spec.strategy",
                "FIELD: strategy <DeploymentStrategy>",
            ),
            (
                "explain deployment.spec.strategy.type",
                "ENUM:\n    Recreate\n    RollingUpdate\n",
            ),
            ("explain pods --recursive", "readOnlyRootFilesystem\t<boolean>"),
            ("explain hpa --api-version=autoscaling/v1", "VERSION:    v1"),
            (
                "explain cronjob.spec.jobTemplate -o plaintext-openapiv2",
                "RESOURCE: jobTemplate <Object>",
            ),
        ])
        .await?;
    for resource in kubectl.text("api-resources --verbs=list -o name").await?.lines() {
        // Where the core has a resource of that name, kubectl takes the group for a field.
        let resource = match resource {
            "events.events.k8s.io" => "events --api-version=events.k8s.io/v1",
            "nodes.metrics.k8s.io" => "nodes --api-version=metrics.k8s.io/v1beta1",
            "pods.metrics.k8s.io" => "pods --api-version=metrics.k8s.io/v1beta1",
            other => other,
        };
        kubectl
            .says(&[(&format!("explain {resource} --recursive"), "DESCRIPTION:")])
            .await?;
    }
    kubectl
        .refuses(&[("explain pods.spec.none", "field \"none\" does not exist")])
        .await
}

async fn described(kubectl: &Script) -> Result<()> {
    kubectl
        .says(&[
            ("describe deployment web", "Scaled up replica set web-"),
            ("describe pods -l app=web", "Successfully assigned @ns/web-"),
            ("describe namespace @ns", "Status:       Active"),
            ("describe nodes", "Allocated resources:"),
            (
                "describe replicasets",
                "1 Running / 0 Waiting / 0 Succeeded / 0 Failed",
            ),
            ("describe service kubernetes -n default", "Endpoints:"),
        ])
        .await
}

async fn what_happened(kubectl: &Script) -> Result<()> {
    kubectl
        .says(&[
            ("events", "ScalingReplicaSet"),
            ("events --for=deployment/web --types=Normal", "Deployment/web"),
            ("events -o json", "\"reason\": \"ScalingReplicaSet\""),
            (
                "get events --field-selector=reason=ScalingReplicaSet,involvedObject.name=web",
                "deployment/web",
            ),
            (
                "get events.v1.events.k8s.io -o jsonpath={.items[*].reason}",
                "ScalingReplicaSet",
            ),
        ])
        .await?;
    let mut events = kubectl.follow("events --watch")?;
    events.until("ScalingReplicaSet").await?;
    kubectl.text("scale deployment web --replicas=2").await?;
    events.until("from 1 to 2").await?;
    events.end().await
}

async fn the_server_itself(kubectl: &Script) -> Result<()> {
    kubectl
        .says(&[
            ("version", "Server Version: v1.36."),
            ("api-versions", "apps/v1\n"),
            (
                "api-resources",
                "deployments                         deploy       apps/v1",
            ),
            (
                "api-resources --api-group=apps --namespaced -o wide",
                "create,delete,deletecollection,get,list,patch,update,watch   all",
            ),
            (
                "api-resources --verbs=create -o name",
                "tokenreviews.authentication.k8s.io",
            ),
            (
                "api-resources --categories=all -o name",
                "horizontalpodautoscalers.autoscaling",
            ),
            ("cluster-info", "Kubernetes control plane is running at https://"),
            ("cluster-info dump -n @ns", "\"kind\": \"NodeList\""),
            (
                "cluster-info dump -n @ns --output-directory=dump",
                "Cluster info dumped to dump",
            ),
            ("get --raw '/livez?verbose'", "livez check passed"),
            ("get --raw '/readyz?verbose'", "readyz check passed"),
            ("get componentstatuses", "scheduler            Healthy   ok"),
            ("get --raw /statusz", "apiserver statusz"),
            ("get --raw /flagz", "service-cluster-ip-range"),
            ("get --raw /metrics/slis", "kubernetes_healthcheck{"),
        ])
        .await?;
    let logs = kubectl.folder().join("dump").join(kubectl.namespace());
    let pods = std::fs::read_dir(&logs).with_context(|| logs.display().to_string())?;
    let pods = pods
        .flatten()
        .filter(|entry| entry.path().join("logs.txt").is_file());
    ensure!(pods.count() >= 1, "the logs of pods are dumped");
    Ok(())
}
