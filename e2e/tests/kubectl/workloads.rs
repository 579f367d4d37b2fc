//! Set, scale, autoscale and rollout.

use anyhow::{Result, ensure};
use coracle_e2e::script::Script;

use crate::WEB;

pub(crate) async fn walk(kubectl: &Script) -> Result<()> {
    kubectl.write("web.yaml", WEB)?;
    kubectl
        .says(&[
            ("create -f web.yaml", "created"),
            (
                "rollout status deployment/web --timeout=90s",
                "deployment \"web\" successfully rolled out",
            ),
        ])
        .await?;
    set(kubectl).await?;
    scaled(kubectl).await?;
    rolled_out(kubectl).await?;
    autoscaled(kubectl).await
}

async fn set(kubectl: &Script) -> Result<()> {
    kubectl
        .says(&[
            ("create serviceaccount robot", "created"),
            ("create configmap words --from-literal=word=quiet", "created"),
            ("create role reads --verb=get --resource=pods", "created"),
            ("create rolebinding reads --role=reads --user=joe", "created"),
            ("create service clusterip web --tcp=80:8080", "created"),
            // Set together: each alone would roll out once more.
            ("rollout pause deployment/web", "deployment.apps/web paused"),
            (
                "set image deployment/web hello=coracle.dev/hello:2",
                "deployment.apps/web image updated",
            ),
            (
                "set env deployment/web A=B GREETING-",
                "deployment.apps/web env updated",
            ),
            (
                "set env deployment/web --from=configmap/words --prefix=W_",
                "deployment.apps/web env updated",
            ),
            ("set env deployment/web --list", "A=B"),
            ("set env deployment/web --list --resolve", "W_WORD=quiet"),
            (
                "set resources deployment/web --limits=cpu=200m,memory=128Mi --requests=cpu=10m,memory=16Mi",
                "deployment.apps/web resource requirements updated",
            ),
            (
                "set serviceaccount deployment web robot",
                "deployment.apps/web serviceaccount updated",
            ),
            ("set selector service web app=web", "service/web selector updated"),
            (
                "set subject rolebinding reads --user=ann --serviceaccount=@ns:robot",
                "rolebinding.rbac.authorization.k8s.io/reads subjects updated",
            ),
            ("auth can-i get pods --as=ann", "yes"),
            (
                "set image -f web.yaml hello=coracle.dev/hello:3 --local -o yaml",
                "coracle.dev/hello:3",
            ),
        ])
        .await?;
    kubectl
        .refuses(&[(
            "rollout restart deployment/web",
            "can't restart paused deployment (run rollout resume first)",
        )])
        .await?;
    kubectl
        .says(&[
            ("rollout resume deployment/web", "deployment.apps/web resumed"),
            (
                "rollout status deployment/web --timeout=90s",
                "successfully rolled out",
            ),
            ("exec deployment/web -- hello env", "W_WORD=quiet"),
        ])
        .await
}

async fn scaled(kubectl: &Script) -> Result<()> {
    kubectl
        .says(&[
            (
                "scale deployment/web --replicas=3 --current-replicas=1",
                "deployment.apps/web scaled",
            ),
            (
                "rollout status deployment/web --timeout=90s",
                "successfully rolled out",
            ),
            ("scale -f web.yaml --replicas=2", "deployment.apps/web scaled"),
        ])
        .await?;
    kubectl
        .refuses(&[
            (
                "scale deployment,replicaset -l app=none --replicas=1",
                "no objects passed to scale",
            ),
            (
                "scale deployment/web --replicas=5 --current-replicas=9",
                "Expected replicas to be 9, was 2",
            ),
            (
                "scale configmap words --replicas=1",
                "the server could not find the requested resource",
            ),
        ])
        .await
}

async fn rolled_out(kubectl: &Script) -> Result<()> {
    let revisions = async || {
        let history = kubectl.text("rollout history deployment/web").await?;
        Ok::<_, anyhow::Error>(
            history
                .lines()
                .filter(|line| line.starts_with(|c: char| c.is_ascii_digit()))
                .count(),
        )
    };
    ensure!(revisions().await? == 2, "two revisions");
    kubectl
        .says(&[
            (
                "annotate deployment web kubernetes.io/change-cause=because",
                "annotated",
            ),
            (
                "rollout status deployment/web --timeout=90s",
                "successfully rolled out",
            ),
            ("rollout history deployment/web", "because"),
            (
                "rollout history deployment/web --revision=1",
                "coracle.dev/hello:1",
            ),
            (
                "rollout undo deployment/web --to-revision=1 --dry-run=server",
                "deployment.apps/web rolled back (server dry run)",
            ),
            ("rollout undo deployment/web", "deployment.apps/web rolled back"),
            (
                "rollout status deployment/web --timeout=90s",
                "successfully rolled out",
            ),
            (
                "get deployment web -o jsonpath={.spec.template.spec.containers[*].image}",
                "coracle.dev/hello:1",
            ),
            ("rollout restart deployment/web", "deployment.apps/web restarted"),
            (
                "rollout status deployment/web --timeout=90s",
                "successfully rolled out",
            ),
            ("get deployment web -o yaml", "kubectl.kubernetes.io/restartedAt"),
            ("rollout history deployment -l app=web -o json", "\"kind\": "),
        ])
        .await?;
    ensure!(revisions().await? == 3, "an undone revision is the newest");
    kubectl
        .refuses(&[
            (
                "rollout undo deployment/web --to-revision=99",
                "unable to find specified revision 99 in history",
            ),
            (
                "rollout status deployment/none",
                "deployments.apps \"none\" not found",
            ),
        ])
        .await
}

async fn autoscaled(kubectl: &Script) -> Result<()> {
    kubectl
        .says(&[
            ("autoscale deployment web --min=1 --max=4 --cpu=70% --memory=100Mi", "horizontalpodautoscaler.autoscaling/web autoscaled"),
            ("get hpa web", "Deployment/web"),
            ("get horizontalpodautoscalers.v1.autoscaling web -o jsonpath={.spec.targetCPUUtilizationPercentage}", "70"),
            ("get horizontalpodautoscalers.v2.autoscaling web -o jsonpath={.spec.metrics[*].resource.name}", "cpu"),
            ("describe hpa web", "resource cpu on pods  (as a percentage of request)"),
        ])
        .await
}
