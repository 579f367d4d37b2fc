//! Approves, without a person's word, requests of nodes for the certificates with which they call the API server, where the one
//! who asks may create the subresource that stands for it.

use super::request::{self, Asked};
use super::{NODE_CLIENT, follow, has_condition, is_issued, untyped};
use crate::run::{Context, Informers};
use crate::runtime::write::{self, Part};
use crate::runtime::{Cache, ObjectKey, Queue, Reconcile, ReconcileError};
use crate::target::Target;
use k8s_openapi::api::authorization::v1::{ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec};
use k8s_openapi::api::certificates::v1::CertificateSigningRequest;
use kube::api::{Api, DynamicObject, PostParams};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;

pub(crate) struct Approving {
    client: kube::Client,
    requests: Arc<Cache<CertificateSigningRequest>>,
}

/// Builds the controller and its queue, fed by the informers.
pub(crate) fn start(context: &Context, informers: &Informers) -> (Arc<Approving>, Arc<Queue<ObjectKey>>) {
    let controller = Approving {
        client: context.client.clone(),
        requests: informers.certificate_requests.cache().clone(),
    };
    (Arc::new(controller), follow(informers))
}

/// Something that entitles to a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Entitlement {
    /// Of `certificatesigningrequests`, which the one who asks must be allowed to create.
    subresource: &'static str,
    /// What the approval says.
    message: &'static str,
}

const OWN: Entitlement = Entitlement {
    subresource: "selfnodeclient",
    message: "Auto approving self kubelet client certificate after SubjectAccessReview.",
};
const ANY: Entitlement = Entitlement {
    subresource: "nodeclient",
    message: "Auto approving kubelet client certificate after SubjectAccessReview.",
};

/// What could entitle the one who asks to what is asked for.
fn entitlements(request: &CertificateSigningRequest, asked: &Asked) -> &'static [Entitlement] {
    let decided = has_condition(request, "Approved") || has_condition(request, "Denied");
    if decided || is_issued(request) || request.spec.signer_name != NODE_CLIENT {
        return &[];
    }
    match request::check(NODE_CLIENT, asked) {
        Err(_) => &[],
        Ok(()) if request.spec.username.as_deref() == Some(&asked.common_name) => &[OWN, ANY],
        Ok(()) => &[ANY],
    }
}

fn review(request: &CertificateSigningRequest, entitlement: Entitlement) -> SubjectAccessReview {
    SubjectAccessReview {
        spec: SubjectAccessReviewSpec {
            user: request.spec.username.clone(),
            uid: request.spec.uid.clone(),
            groups: request.spec.groups.clone(),
            extra: request.spec.extra.clone(),
            resource_attributes: Some(ResourceAttributes {
                group: Some("certificates.k8s.io".to_owned()),
                resource: Some("certificatesigningrequests".to_owned()),
                subresource: Some(entitlement.subresource.to_owned()),
                verb: Some("create".to_owned()),
                version: Some("*".to_owned()),
                ..ResourceAttributes::default()
            }),
            ..SubjectAccessReviewSpec::default()
        },
        ..SubjectAccessReview::default()
    }
}

/// Adds a condition to the request.
pub(super) fn add_condition(object: &mut DynamicObject, condition: Value) {
    let conditions = &mut object.data["status"]["conditions"];
    match conditions.as_array_mut() {
        Some(conditions) => conditions.push(condition),
        None => *conditions = json!([condition]),
    }
}

impl Reconcile for Approving {
    type Key = ObjectKey;

    async fn reconcile(&self, key: &ObjectKey) -> Result<Option<Duration>, ReconcileError> {
        let Some(request) = self.requests.get(key) else {
            return Ok(None);
        };
        let Some(asked) = request::read(&request) else {
            return Ok(None);
        };
        for entitlement in entitlements(&request, &asked) {
            let reviews: Api<SubjectAccessReview> = Api::all(self.client.clone());
            let answer = reviews
                .create(&PostParams::default(), &review(&request, *entitlement))
                .await;
            let doing = format!("asking whether {key} may be approved");
            let answer = answer.map_err(ReconcileError::request(doing))?;
            if !answer.status.is_some_and(|status| status.allowed) {
                continue;
            }
            let approval = json!({
                "type": "Approved", "status": "True", "reason": "AutoApproved", "message": entitlement.message,
            });
            let change = |object: &mut DynamicObject| add_condition(object, approval);
            let target = Target::of(&request.metadata);
            match write::update(&untyped(&self.client), &target, Part::Approval, change).await {
                Err(error) if !error.is_gone() => return Err(error),
                _ => return Ok(None),
            }
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixtures::{pem, request, with_condition};
    use super::*;

    #[test]
    fn only_nodes_are_entitled_and_only_once() {
        let usages = ["digital signature", "client auth"];
        let wanted = |name: &str, user: &str| {
            let mut wanted = request(NODE_CLIENT, pem(name, "system:nodes", &[]), &usages);
            wanted.spec.username = Some(user.to_owned());
            wanted
        };
        let found = |wanted: &CertificateSigningRequest| {
            entitlements(wanted, &request::read(wanted).unwrap())
                .iter()
                .map(|entitlement| entitlement.subresource)
                .collect::<Vec<_>>()
        };
        let own = wanted("system:node:a", "system:node:a");
        assert_eq!(found(&own), ["selfnodeclient", "nodeclient"]);
        assert_eq!(found(&wanted("system:node:a", "bootstrap")), ["nodeclient"]);
        assert_eq!(found(&wanted("jane", "jane")), [""; 0]);
        assert_eq!(found(&with_condition(own.clone(), "Denied")), [""; 0]);
        assert_eq!(found(&with_condition(own, "Approved")), [""; 0]);
    }
}
