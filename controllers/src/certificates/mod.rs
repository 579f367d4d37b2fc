//! Certificates for whoever asks by a CertificateSigningRequest: who gets one without a person's word, what is signed, and when
//! requests go away.

pub(crate) mod approving;
pub(crate) mod cleaning;
mod request;
pub(crate) mod signing;

pub use signing::{CertificateSigner, SigningOrder};

use k8s_openapi::api::certificates::v1::{CertificateSigningRequest, CertificateSigningRequestCondition};
use kube::api::{Api, ApiResource, DynamicObject};

use crate::run::Informers;
use crate::runtime::{ObjectKey, Queue};
use std::sync::Arc;

/// Signs client certificates for anything but nodes.
const API_CLIENT: &str = "kubernetes.io/kube-apiserver-client";
/// Signs the certificates with which node agents call the API server.
const NODE_CLIENT: &str = "kubernetes.io/kube-apiserver-client-kubelet";
/// Signs the certificates with which node agents are called.
const NODE_SERVING: &str = "kubernetes.io/kubelet-serving";
/// Signs anything, with no promise of what it is good for.
const UNKNOWN: &str = "kubernetes.io/legacy-unknown";

/// A queue of the requests that change.
fn follow(informers: &Informers) -> Arc<Queue<ObjectKey>> {
    let queue = Arc::new(Queue::new());
    let own = queue.clone();
    informers
        .certificate_requests
        .subscribe(move |change| own.add(ObjectKey::of(&change.object().metadata)));
    queue
}

fn untyped(client: &kube::Client) -> Api<DynamicObject> {
    Api::all_with(
        client.clone(),
        &ApiResource::erase::<CertificateSigningRequest>(&()),
    )
}

fn conditions(request: &CertificateSigningRequest) -> &[CertificateSigningRequestCondition] {
    let status = request.status.as_ref();
    status
        .and_then(|status| status.conditions.as_deref())
        .unwrap_or_default()
}

fn has_condition(request: &CertificateSigningRequest, kind: &str) -> bool {
    conditions(request)
        .iter()
        .any(|condition| condition.type_ == kind)
}

fn is_issued(request: &CertificateSigningRequest) -> bool {
    let certificate = request
        .status
        .as_ref()
        .and_then(|status| status.certificate.as_ref());
    certificate.is_some_and(|certificate| !certificate.0.is_empty())
}

#[cfg(test)]
mod fixtures {
    use super::*;
    use k8s_openapi::ByteString;
    use rcgen::{CertificateParams, DnType, KeyPair, SanType};

    /// A request in PEM, with the subject and the names.
    pub(super) fn pem(common_name: &str, organization: &str, names: &[&str]) -> Vec<u8> {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, common_name);
        params
            .distinguished_name
            .push(DnType::OrganizationName, organization);
        let names = names
            .iter()
            .map(|name| SanType::DnsName((*name).try_into().unwrap()));
        params.subject_alt_names = names.collect();
        let key = KeyPair::generate().unwrap();
        params
            .serialize_request(&key)
            .unwrap()
            .pem()
            .unwrap()
            .into_bytes()
    }

    /// A request for a signer.
    pub(super) fn request(signer: &str, pem: Vec<u8>, usages: &[&str]) -> CertificateSigningRequest {
        let mut request = CertificateSigningRequest::default();
        request.spec.signer_name = signer.to_owned();
        request.spec.request = ByteString(pem);
        request.spec.usages = Some(usages.iter().map(|usage| (*usage).to_owned()).collect());
        request
    }

    pub(super) fn with_condition(
        mut request: CertificateSigningRequest,
        kind: &str,
    ) -> CertificateSigningRequest {
        let condition = CertificateSigningRequestCondition {
            type_: kind.to_owned(),
            status: "True".to_owned(),
            ..CertificateSigningRequestCondition::default()
        };
        let status = request.status.get_or_insert_default();
        status.conditions.get_or_insert_default().push(condition);
        request
    }
}
