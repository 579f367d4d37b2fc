//! Certificates by request: approved by an administrator, or, for nodes, by the cluster itself.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use coracle_e2e::kubectl_binaries;
use coracle_e2e::parts::Parts;
use coracle_e2e::program::Program;
use coracle_e2e::wait::{DEADLINE, await_condition};
use rcgen::{CertificateParams, DnType, KeyPair};
use serde_json::json;

#[tokio::test]
async fn who_asks_is_certified_once_that_was_approved() -> Result<()> {
    for binary in kubectl_binaries() {
        let folder = tempfile::tempdir()?;
        let parts = Parts::in_folder(&folder.path().join("data"))?;
        let kubectl = parts.kubectl(&binary);
        let server = parts.start_server("server", &binary).await?;

        let jane = Request::new("jane", "developers")?;
        jane.create(
            &kubectl,
            folder.path(),
            "kubernetes.io/kube-apiserver-client",
            &[],
        )
        .await?;
        kubectl.text(&["certificate", "approve", "jane"]).await?;
        ensure!(jane.user(&kubectl, folder.path()).await? == ("jane".to_owned(), "developers".to_owned()));

        let entitled = [
            "create",
            "clusterrolebinding",
            "own-certificates",
            "--clusterrole=system:certificates.k8s.io:certificatesigningrequests:selfnodeclient",
            "--group=system:nodes",
        ];
        kubectl.text(&entitled).await?;
        let node = Request::new("system:node:a", "system:nodes")?;
        let as_node = ["--as=system:node:a", "--as-group=system:nodes"];
        node.create(
            &kubectl,
            folder.path(),
            "kubernetes.io/kube-apiserver-client-kubelet",
            &as_node,
        )
        .await?;
        ensure!(
            node.user(&kubectl, folder.path()).await?
                == ("system:node:a".to_owned(), "system:nodes".to_owned())
        );
        server.end().await?;
    }
    Ok(())
}

/// A key whose holder asks for a certificate.
struct Request {
    name: String,
    common_name: String,
    key: KeyPair,
    pem: String,
}

impl Request {
    fn new(common_name: &str, organization: &str) -> Result<Self> {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, common_name);
        params
            .distinguished_name
            .push(DnType::OrganizationName, organization);
        let key = KeyPair::generate()?;
        Ok(Self {
            name: common_name.replace(':', "-"),
            common_name: common_name.to_owned(),
            pem: params.serialize_request(&key)?.pem()?,
            key,
        })
    }

    async fn create(&self, kubectl: &Program, folder: &Path, signer: &str, flags: &[&str]) -> Result<()> {
        let request = json!({
            "apiVersion": "certificates.k8s.io/v1",
            "kind": "CertificateSigningRequest",
            "metadata": {"name": self.name},
            "spec": {
                "request": STANDARD.encode(&self.pem),
                "signerName": signer,
                "expirationSeconds": 3600,
                "usages": ["digital signature", "client auth"],
            },
        });
        let file = folder.join("request.json");
        fs::write(&file, request.to_string())?;
        let file = file.to_str().context("the file's path is text")?;
        kubectl
            .text(&[&["create", "--filename", file], flags].concat())
            .await
            .map(drop)
    }

    /// Waits for the certificate, and tells as whom and in which group the API knows its holder.
    async fn user(&self, kubectl: &Program, folder: &Path) -> Result<(String, String)> {
        let look = async || {
            let request = kubectl
                .json(&["get", "certificatesigningrequest", &self.name, "--output", "json"])
                .await?;
            let certificate = request["status"]["certificate"].as_str();
            let certificate = certificate.with_context(|| format!("its status is {}", request["status"]))?;
            Ok(Some(STANDARD.decode(certificate)?))
        };
        let what = format!("a certificate for {}", self.common_name);
        let certificate = await_condition(what, DEADLINE, look).await?;
        let (certificate_file, key_file) = (folder.join("own.crt"), folder.join("own.key"));
        fs::write(&certificate_file, certificate)?;
        fs::write(&key_file, self.key.serialize_pem())?;
        let answer = kubectl
            .json(&[
                &format!("--client-certificate={}", certificate_file.display()),
                &format!("--client-key={}", key_file.display()),
                "auth",
                "whoami",
                "--output=json",
            ])
            .await?;
        let user = &answer["status"]["userInfo"];
        let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
        Ok((text(&user["username"]), text(&user["groups"][0])))
    }
}
