//! Who may do what, and by what way: auth, certificate, config, proxy.

use anyhow::{Context, Result, ensure};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use coracle_e2e::page;
use coracle_e2e::script::Script;
use coracle_e2e::wait::{DEADLINE, await_condition};

use crate::WEB;

pub(crate) async fn walk(kubectl: &Script) -> Result<()> {
    asked(kubectl).await?;
    reconciled(kubectl).await?;
    certified(kubectl).await?;
    configured(kubectl).await?;
    proxied(kubectl).await
}

async fn asked(kubectl: &Script) -> Result<()> {
    kubectl
        .says(&[
            ("auth whoami", "kubernetes-admin"),
            (
                "auth whoami --as=jane --as-group=dev -o jsonpath={.status.userInfo.groups}",
                r#"["dev","system:authenticated"]"#,
            ),
            ("auth can-i create deployments.apps", "yes"),
            ("auth can-i '*' '*' --all-namespaces", "yes"),
            ("auth can-i get pods --subresource=log", "yes"),
            (
                "auth can-i --list --as=jane",
                "selfsubjectreviews.authentication.k8s.io",
            ),
        ])
        .await?;
    let outcome = kubectl.run("auth can-i get secrets --as=jane").await?;
    ensure!(
        outcome.code == Some(1) && outcome.stdout == "no\n",
        "no is told by the exit code too: {outcome:?}"
    );
    kubectl
        .refuses(&[(
            "get secrets --as=jane",
            "Error from server (Forbidden): secrets is forbidden: User \"jane\" cannot list resource \"secrets\" in API group \"\" in the namespace \"@ns\"",
        )])
        .await
}

const ROLE: &str = "
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: reads, namespace: @ns}
rules: [{apiGroups: [\"\"], resources: [pods], verbs: [get]}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: reads, namespace: @ns}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: reads}
subjects: [{apiGroup: rbac.authorization.k8s.io, kind: User, name: \"@ns-jane\"}]
";

async fn reconciled(kubectl: &Script) -> Result<()> {
    kubectl.write("role.yaml", ROLE)?;
    kubectl
        .says(&[
            (
                "auth reconcile -f role.yaml",
                "role.rbac.authorization.k8s.io/reads reconciled",
            ),
            (
                "auth reconcile -f role.yaml",
                "rolebinding.rbac.authorization.k8s.io/reads reconciled",
            ),
            ("auth can-i get pods --as=@ns-jane", "yes"),
        ])
        .await
}

/// A user of a certificate that the cluster signed, with a kubeconfig made by `kubectl config`.
async fn certified(kubectl: &Script) -> Result<()> {
    let user = format!("{}-jane", kubectl.namespace());
    let key = rcgen::KeyPair::generate()?;
    let mut asked = rcgen::CertificateParams::default();
    asked
        .distinguished_name
        .push(rcgen::DnType::CommonName, user.as_str());
    asked
        .distinguished_name
        .push(rcgen::DnType::OrganizationName, "dev");
    let request = BASE64_STANDARD.encode(asked.serialize_request(&key)?.pem()?);
    for name in ["jane", "joe"] {
        let asking = REQUEST.replace("NAME", name).replace("REQUEST", &request);
        kubectl.write(&format!("{name}.yaml"), &asking)?;
    }
    kubectl
        .says(&[
            (
                "create -f jane.yaml -f joe.yaml",
                "certificatesigningrequest.certificates.k8s.io/@ns-jane created",
            ),
            ("get csr @ns-jane", "Pending"),
            (
                "certificate deny @ns-joe",
                "certificatesigningrequest.certificates.k8s.io/@ns-joe denied",
            ),
            ("get csr @ns-joe", "Denied"),
            (
                "certificate approve @ns-jane",
                "certificatesigningrequest.certificates.k8s.io/@ns-jane approved",
            ),
            (
                "wait --for=jsonpath={.status.certificate} csr/@ns-jane --timeout=60s",
                "condition met",
            ),
            ("get csr @ns-jane", "Approved,Issued"),
            ("describe csr @ns-jane", "Organization:   dev"),
        ])
        .await?;
    let certificate = kubectl
        .text("get csr @ns-jane -o jsonpath={.status.certificate}")
        .await?;
    kubectl.write("jane.crt", &decoded(&certificate)?)?;
    kubectl.write("jane.key", &key.serialize_pem())?;
    known_by_a_kubeconfig(kubectl, &user).await?;
    kubectl.text("delete csr @ns-jane @ns-joe").await.map(drop)
}

const REQUEST: &str = "
apiVersion: certificates.k8s.io/v1
kind: CertificateSigningRequest
metadata: {name: \"@ns-NAME\"}
spec:
  request: REQUEST
  signerName: kubernetes.io/kube-apiserver-client
  expirationSeconds: 3600
  usages: [client auth]
";

fn decoded(text: &str) -> Result<String> {
    Ok(String::from_utf8(BASE64_STANDARD.decode(text.trim())?)?)
}

async fn known_by_a_kubeconfig(kubectl: &Script, user: &str) -> Result<()> {
    let of = |path: &str| format!("config view --raw --minify -o jsonpath={{.clusters[0].cluster.{path}}}");
    let server = kubectl.text(&of("server")).await?;
    let authority = kubectl.text(&of("certificate-authority-data")).await?;
    kubectl.write("ca.crt", &decoded(&authority)?)?;
    let config = "--kubeconfig=jane.conf";
    kubectl
        .says(&[
            (&format!("{config} config set-cluster there --server={server} --certificate-authority=ca.crt --embed-certs"), "Cluster \"there\" set."),
            (&format!("{config} config set-credentials jane --client-certificate=jane.crt --client-key=jane.key --embed-certs"), "User \"jane\" set."),
            (&format!("{config} config set-context jane --cluster=there --user=jane --namespace=@ns"), "Context \"jane\" created."),
            (&format!("{config} config use-context jane"), "Switched to context \"jane\"."),
            (&format!("{config} auth whoami"), user),
            (&format!("{config} auth can-i get pods"), "yes"),
        ])
        .await?;
    kubectl
        .refuses(&[(&format!("{config} get pods"), "cannot list resource \"pods\"")])
        .await
}

async fn configured(kubectl: &Script) -> Result<()> {
    kubectl
        .says(&[
            ("config current-context", "coracle-"),
            ("config get-contexts", "@ns"),
            ("config get-clusters", "coracle-"),
            ("config get-users", "coracle-"),
            ("config view", "DATA+OMITTED"),
            (
                "config set clusters.far.server https://example.test",
                "Property \"clusters.far.server\" set.",
            ),
            ("config set-context far --cluster=far", "Context \"far\" created."),
            (
                "config rename-context far away",
                "Context \"far\" renamed to \"away\".",
            ),
            (
                "config unset contexts.away.cluster",
                "Property \"contexts.away.cluster\" unset.",
            ),
            ("config delete-context away", "deleted context away"),
            ("config delete-cluster far", "deleted cluster far"),
            ("config set-credentials nobody --token=t", "User \"nobody\" set."),
            ("config delete-user nobody", "deleted user nobody"),
        ])
        .await
}

async fn proxied(kubectl: &Script) -> Result<()> {
    kubectl.write("web.yaml", WEB)?;
    kubectl
        .says(&[
            ("apply -f web.yaml", "created"),
            ("expose deployment web --port=80 --target-port=http", "exposed"),
            ("rollout status deployment/web --timeout=90s", "rolled out"),
            ("wait --for=jsonpath={.endpoints[0].conditions.ready}=true endpointslices -l kubernetes.io/service-name=web --timeout=90s", "condition met"),
        ])
        .await?;
    let mut proxy = kubectl.follow("proxy --port=0 --www=. --www-prefix=/files/")?;
    let line = proxy.until("Starting to serve on ").await?;
    let address = line.rsplit(' ').next().context("an address")?;
    let pod = kubectl
        .text("get pods -l app=web -o jsonpath={.items[0].metadata.name}")
        .await?;
    let namespace = kubectl.namespace();
    let within = format!("/api/v1/namespaces/{namespace}");
    for (path, expected) in [
        ("/version".to_owned(), "gitVersion"),
        (format!("{within}/pods/{pod}"), "\"kind\":\"Pod\""),
        (format!("{within}/services/web:80/proxy/"), "Hello from Coracle!"),
        (format!("{within}/pods/{pod}:8080/proxy/"), "Hello from Coracle!"),
        ("/files/web.yaml".to_owned(), "kind: Deployment"),
    ] {
        // That a pod is ready is seen by the API before the machine has a way to it.
        let read = async || {
            let page = page::read_path(address, &path).await?;
            ensure!(page.contains(expected), "{path} gives {page}");
            Ok(Some(()))
        };
        await_condition(&path, DEADLINE, read).await?;
    }
    proxy.end().await
}
