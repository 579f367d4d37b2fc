//! Create, of every kind that it has, run and expose.

use anyhow::{Context, Result, ensure};
use coracle_e2e::script::Script;

pub(crate) async fn walk(kubectl: &Script) -> Result<()> {
    from_files(kubectl).await?;
    configuration(kubectl).await?;
    access(kubectl).await?;
    workloads(kubectl).await?;
    network(kubectl).await?;
    run(kubectl).await?;
    exposed(kubectl).await?;
    for kind in [
        "namespace @ns-more",
        "clusterrole @ns-reads",
        "clusterrolebinding @ns-reads",
        "priorityclass @ns",
    ] {
        kubectl.text(&format!("delete {kind} --wait=false")).await?;
    }
    Ok(())
}

async fn from_files(kubectl: &Script) -> Result<()> {
    kubectl.write("map.yaml", crate::SETTINGS)?;
    kubectl.write(
        "map.json",
        r#"{"apiVersion":"v1","kind":"ConfigMap","metadata":{"generateName":"made-"}}"#,
    )?;
    kubectl
        .says(&[
            ("create -f map.yaml --save-config", "configmap/settings created"),
            ("create -f map.json", "configmap/made-"),
            (
                "create --raw /api/v1/namespaces/@ns/configmaps -f map.json",
                "\"name\":\"made-",
            ),
        ])
        .await
}

async fn configuration(kubectl: &Script) -> Result<()> {
    kubectl.write("words", "some words")?;
    kubectl.write("variables", "A=1\nB=2\n")?;
    let key = rcgen::KeyPair::generate()?;
    let certificate = rcgen::CertificateParams::new(vec!["test".to_owned()])?.self_signed(&key)?;
    kubectl.write("tls.key", &key.serialize_pem())?;
    kubectl.write("tls.crt", &certificate.pem())?;
    kubectl
        .says(&[
            ("create namespace @ns-more", "namespace/@ns-more created"),
            ("create configmap three --from-literal=a=b --from-file=words --from-file=other=words", "configmap/three created"),
            ("create configmap env --from-env-file=variables", "configmap/env created"),
            ("get configmap env -o jsonpath={.data}", r#"{"A":"1","B":"2"}"#),
            ("create secret generic word --from-literal=a=b --type=example.test/own", "secret/word created"),
            ("create secret docker-registry pull --docker-server=example.test --docker-username=u --docker-password=p", "secret/pull created"),
            ("get secret pull -o jsonpath={.type}", "kubernetes.io/dockerconfigjson"),
            ("create secret tls pair --cert=tls.crt --key=tls.key", "secret/pair created"),
            ("create quota few --hard=pods=20 --scopes=NotTerminating --dry-run=server", "resourcequota/few created (server dry run)"),
            ("create quota many --hard=configmaps=50,services=20", "resourcequota/many created"),
            ("create priorityclass @ns --value=10 --description=test --preemption-policy=Never", "priorityclass.scheduling.k8s.io/@ns created"),
        ])
        .await
}

async fn access(kubectl: &Script) -> Result<()> {
    kubectl
        .says(&[
            ("create serviceaccount robot", "serviceaccount/robot created"),
            (
                "create role reads --verb=get,list --resource=pods,deployments.apps/scale",
                "role.rbac.authorization.k8s.io/reads created",
            ),
            (
                "create role one --verb=get --resource=configmaps --resource-name=settings",
                "role.rbac.authorization.k8s.io/one created",
            ),
            (
                "create rolebinding reads --role=reads --serviceaccount=@ns:robot --user=joe --group=g",
                "rolebinding.rbac.authorization.k8s.io/reads created",
            ),
            (
                "create clusterrole @ns-reads --verb=get --non-resource-url=/logs/*",
                "clusterrole.rbac.authorization.k8s.io/@ns-reads created",
            ),
            (
                "create clusterrole @ns-sum --aggregation-rule=of=@ns --dry-run=server",
                "created (server dry run)",
            ),
            (
                "create clusterrolebinding @ns-reads --clusterrole=@ns-reads --user=joe",
                "clusterrolebinding.rbac.authorization.k8s.io/@ns-reads created",
            ),
            ("auth can-i list pods --as=system:serviceaccount:@ns:robot", "yes"),
            ("auth can-i get /logs/today --as=joe", "yes"),
        ])
        .await?;
    let token = kubectl
        .text("create token robot --audience=https://example.test --duration=20m --bound-object-kind=Secret --bound-object-name=word")
        .await?;
    ensure!(token.split('.').count() == 3, "a token: {token}");
    Ok(())
}

async fn workloads(kubectl: &Script) -> Result<()> {
    kubectl
        .says(&[
            ("create deployment web --image=coracle.dev/hello:1 --replicas=2 --port=8080 -- hello serve", "deployment.apps/web created"),
            ("create cronjob often --image=coracle.dev/hello:1 --schedule='*/5 * * * *' --restart=Never -- hello env", "cronjob.batch/often created"),
            ("create job once --image=coracle.dev/hello:1 -- hello env", "job.batch/once created"),
            ("create job now --from=cronjob/often", "job.batch/now created"),
            ("create poddisruptionbudget some --selector=app=web --min-available=50%", "poddisruptionbudget.policy/some created"),
            ("create pdb most --selector=app=web --max-unavailable=1 --dry-run=server", "(server dry run)"),
            ("rollout status deployment/web --timeout=90s", "successfully rolled out"),
        ])
        .await
}

async fn network(kubectl: &Script) -> Result<()> {
    kubectl
        .says(&[
            ("create service clusterip web --tcp=80:8080", "service/web created"),
            ("create service clusterip headless --clusterip=None", "service/headless created"),
            ("create service nodeport port --tcp=80:8080", "service/port created"),
            ("create service loadbalancer balanced --tcp=80", "service/balanced created"),
            ("create service externalname elsewhere --external-name=example.test", "service/elsewhere created"),
            ("create ingress site --class=any --rule='example.test/*=web:80,tls=pair' --default-backend=web:80 --annotation=a=b", "ingress.networking.k8s.io/site created"),
            ("get ingress", "example.test"),
            ("describe ingress site", "pair terminates example.test"),
            ("get services balanced", "<pending>"),
        ])
        .await
}

async fn run(kubectl: &Script) -> Result<()> {
    kubectl
        .says(&[
            ("run page --image=coracle.dev/hello:1 --labels=app=page --env=PORT=8080 --port=8080 --expose --restart=Never -- serve", "pod/page created"),
            ("get service page", "8080/TCP"),
            ("run dry --image=coracle.dev/hello:1 --dry-run=client -o yaml", "image: coracle.dev/hello:1"),
            (r#"run over --image=coracle.dev/hello:1 --restart=Never --overrides='{"spec":{"terminationGracePeriodSeconds":1}}' --command -- hello env"#, "pod/over created"),
            ("wait --for=jsonpath={.status.phase}=Succeeded pod/over --timeout=90s", "condition met"),
            ("wait --for=condition=Ready pod/page --timeout=90s", "condition met"),
        ])
        .await?;
    // The container reads before it writes, so what it writes comes after kubectl is attached: what was
    // written earlier is not shown to who attaches to a container that still runs.
    let passing = kubectl
        .run_with_input(
            "run passing --image=coracle.dev/hello:1 --restart=Never --rm -i --quiet -- cat",
            "words\n",
        )
        .await?;
    ensure!(
        passing.code == Some(0) && passing.stdout.contains("words"),
        "what goes in comes out: {passing:?}"
    );
    let failing = "run failing --image=coracle.dev/hello:1 --restart=Never --rm -i --quiet -- fail 7";
    let outcome = kubectl.run(failing).await?;
    ensure!(
        outcome.code == Some(7),
        "the exit code is the container's: {outcome:?}"
    );
    Ok(())
}

async fn exposed(kubectl: &Script) -> Result<()> {
    kubectl
        .says(&[
            ("expose deployment web --name=exposed --port=80 --target-port=8080", "service/exposed exposed"),
            ("expose pod page --name=of-pod --port=80 --target-port=8080 --type=NodePort --session-affinity=ClientIP", "service/of-pod exposed"),
            ("expose service exposed --name=again --port=81 --target-port=8080", "service/again exposed"),
            ("wait --for=jsonpath={.endpoints[0].conditions.ready}=true endpointslices -l kubernetes.io/service-name=exposed --timeout=90s", "condition met"),
        ])
        .await?;
    let address = kubectl
        .text("get service exposed -o jsonpath={.spec.clusterIP}")
        .await?;
    let page = format!("exec page -- hello get http://{address}/");
    let read = async || {
        let page = kubectl.text(&page).await?;
        Ok(page.contains("Hello from Coracle!").then_some(()))
    };
    coracle_e2e::wait::await_condition("the page through the service", coracle_e2e::wait::DEADLINE, read)
        .await
        .context("exposed")
}
