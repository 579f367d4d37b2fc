//! The plugins around certificates: whoever approves, signs or attests must be allowed to for the signer in question, and
//! nobody gets a client certificate for `system:masters`.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use coracle_api::object::{Fields, same};
use coracle_api::quote::quote;
use coracle_api::status::ApiError;
use serde_json::Value;
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::pem::parse_x509_pem;
use x509_parser::prelude::FromDer;

use super::{Attributes, Cluster, Operation};
use crate::authz::{self, MASTERS};

const GROUP: &str = "certificates.k8s.io";
const REQUESTS: &str = "certificatesigningrequests";
const CLIENT_SIGNER: &str = "kubernetes.io/kube-apiserver-client";

/// What a request for a certificate says of its subject.
pub(super) struct Subject {
    pub(super) common_name: String,
    pub(super) organizations: Vec<String>,
}

/// The subject of a CertificateSigningRequest.
///
/// # Errors
/// Why its `spec.request` cannot be read.
pub(super) fn subject_of(object: &Value) -> Result<Subject, String> {
    let bytes = STANDARD
        .decode(object["spec"].text("request"))
        .map_err(|error| error.to_string())?;
    let other = || "PEM block type must be CERTIFICATE REQUEST".to_owned();
    let (_, pem) = parse_x509_pem(&bytes).map_err(|_| other())?;
    if pem.label != "CERTIFICATE REQUEST" {
        return Err(other());
    }
    let (_, parsed) = X509CertificationRequest::from_der(&pem.contents).map_err(|error| error.to_string())?;
    let subject = &parsed.certification_request_info.subject;
    let texts = |entries: Vec<&str>| entries.into_iter().map(str::to_owned).collect::<Vec<_>>();
    let names = subject.iter_common_name().filter_map(|name| name.as_str().ok());
    let organizations = subject
        .iter_organization()
        .filter_map(|name| name.as_str().ok())
        .collect();
    Ok(Subject {
        // Of several, the last counts, as Go reads them.
        common_name: names.last().unwrap_or_default().to_owned(),
        organizations: texts(organizations),
    })
}

/// Whether a user may do something with a signer, or with all of its domain.
fn may(cluster: &Cluster<'_>, attributes: &Attributes<'_>, verb: &str, signer: &str) -> bool {
    let domain = signer.split('/').next().unwrap_or_default();
    let all = format!("{domain}/*");
    [signer, &all].into_iter().any(|name| {
        let question = authz::Attributes::resource(attributes.user, verb, GROUP, "signers").named(name);
        cluster.questions.allow(&question)
    })
}

/// `CertificateApproval`.
pub(super) fn approval(
    attributes: &Attributes<'_>,
    _object: Option<&Value>,
    old: Option<&Value>,
    cluster: &Cluster<'_>,
) -> Result<(), ApiError> {
    let updated = attributes.operation == Operation::Update;
    let concerned = updated && attributes.is_of(GROUP, REQUESTS) && attributes.subresource == "approval";
    let Some(old) = old.filter(|_| concerned) else {
        return Ok(());
    };
    // Of the signer that was asked for: whoever changes it now is told of that elsewhere.
    let signer = old["spec"].text("signerName");
    if may(cluster, attributes, "approve", signer) {
        return Ok(());
    }
    let signer = quote(signer);
    Err(attributes.forbidden(&format!(
        "user not permitted to approve requests with signerName {signer}"
    )))
}

/// `CertificateSigning`.
pub(super) fn signing(
    attributes: &Attributes<'_>,
    object: Option<&Value>,
    old: Option<&Value>,
    cluster: &Cluster<'_>,
) -> Result<(), ApiError> {
    let updated = attributes.operation == Operation::Update;
    let concerned = updated && attributes.is_of(GROUP, REQUESTS) && attributes.subresource == "status";
    let (Some(object), Some(old)) = (object, old.filter(|_| concerned)) else {
        return Ok(());
    };
    let (new_status, old_status) = (&object["status"], &old["status"]);
    let signed = new_status.text("certificate") != old_status.text("certificate");
    if !signed && same(new_status.get("conditions"), old_status.get("conditions")) {
        return Ok(());
    }
    let signer = old["spec"].text("signerName");
    if may(cluster, attributes, "sign", signer) {
        return Ok(());
    }
    let signer = quote(signer);
    Err(attributes.forbidden(&format!(
        "user not permitted to sign requests with signerName {signer}"
    )))
}

/// `CertificateSubjectRestriction`.
pub(super) fn subject(
    attributes: &Attributes<'_>,
    object: Option<&Value>,
    _old: Option<&Value>,
    _cluster: &Cluster<'_>,
) -> Result<(), ApiError> {
    let created = attributes.operation == Operation::Create && attributes.is(GROUP, REQUESTS);
    let Some(request) = object.filter(|object| created && object["spec"].text("signerName") == CLIENT_SIGNER)
    else {
        return Ok(());
    };
    let subject =
        subject_of(request).map_err(|why| attributes.forbidden(&format!("failed to parse CSR: {why}")))?;
    if subject.organizations.iter().any(|group| group == MASTERS) {
        return Err(attributes.forbidden(&format!(
            "use of {CLIENT_SIGNER} signer with {MASTERS} group is not allowed"
        )));
    }
    Ok(())
}

/// `ClusterTrustBundleAttest`.
pub(super) fn attest(
    attributes: &Attributes<'_>,
    object: Option<&Value>,
    old: Option<&Value>,
    cluster: &Cluster<'_>,
) -> Result<(), ApiError> {
    let Some(bundle) = object.filter(|_| attributes.is_of(GROUP, "clustertrustbundles")) else {
        return Ok(());
    };
    let signer = bundle["spec"].text("signerName");
    let unchanged = old.is_some_and(|old| same(Some(&bare(bundle)), Some(&bare(old))));
    if signer.is_empty() || unchanged || may(cluster, attributes, "attest", signer) {
        return Ok(());
    }
    let signer = quote(signer);
    Err(attributes.forbidden(&format!("user not permitted to attest for signerName {signer}")))
}

/// An object without what garbage collection and storage migration change.
fn bare(object: &Value) -> Value {
    let mut object = object.clone();
    if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        for field in ["ownerReferences", "finalizers", "managedFields"] {
            metadata.remove(field);
        }
    }
    object
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, DnType, KeyPair};
    use serde_json::json;

    use super::*;

    #[test]
    fn the_subject_of_a_request_is_read() {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "jane");
        params.distinguished_name.push(DnType::OrganizationName, MASTERS);
        let key = KeyPair::generate().unwrap();
        let pem = params.serialize_request(&key).unwrap().pem().unwrap();
        let request = json!({"spec": {"request": STANDARD.encode(pem)}});
        let subject = subject_of(&request).unwrap();
        assert_eq!(subject.common_name, "jane");
        assert_eq!(subject.organizations, [MASTERS]);
        let other = json!({"spec": {"request": STANDARD.encode("nothing")}});
        assert_eq!(
            subject_of(&other).err().as_deref(),
            Some("PEM block type must be CERTIFICATE REQUEST")
        );
    }
}
