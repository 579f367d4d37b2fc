//! Approves, without a person's word, requests of nodes for the certificates with which they call the API server, where the one
//! who asks may create the subresource that stands for it.
//!
//! Beyond upstream, where somebody else has to do so: those for the certificates with which nodes are called, where a node asks
//! for itself, may create `selfnodeserver`, and asks for no name or address but those of its Node; and those of whoever asks for
//! the same name and groups that it has, to go on calling the API server with, where it may create `selfclient`. Nobody may who
//! was not let by a role for that.

use super::request::{self, Asked};
use super::{API_CLIENT, NODE_CLIENT, NODE_SERVING, follow, has_condition, is_issued, untyped};
use crate::run::{Context, Informers};
use crate::runtime::write::{self, Part};
use crate::runtime::{Cache, ObjectKey, Queue, Reconcile, ReconcileError};
use crate::target::Target;
use k8s_openapi::api::authorization::v1::{ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec};
use k8s_openapi::api::certificates::v1::CertificateSigningRequest;
use k8s_openapi::api::core::v1::Node;
use kube::api::{Api, DynamicObject, PostParams};
use serde_json::{Value, json};
use std::net::IpAddr;
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

const OWN_SERVER: Entitlement = Entitlement {
    subresource: "selfnodeserver",
    message: "Auto approving self kubelet serving certificate after SubjectAccessReview.",
};

const OWN_CLIENT: Entitlement = Entitlement {
    subresource: "selfclient",
    message: "Auto approving self client certificate after SubjectAccessReview.",
};

/// Whether who asks is to be certified as what it is: by its own name, with groups that it has.
fn is_of_asker(request: &CertificateSigningRequest, asked: &Asked) -> bool {
    let groups = request.spec.groups.as_deref().unwrap_or_default();
    request.spec.username.as_deref() == Some(&asked.common_name)
        && asked.organizations.iter().all(|group| groups.contains(group))
        && request::is_plain_client(asked)
}

/// What could entitle the one who asks to what is asked for.
fn entitlements(request: &CertificateSigningRequest, asked: &Asked) -> &'static [Entitlement] {
    let decided = has_condition(request, "Approved") || has_condition(request, "Denied");
    if decided || is_issued(request) {
        return &[];
    }
    let signer = request.spec.signer_name.as_str();
    let own = request.spec.username.as_deref() == Some(&asked.common_name);
    match (signer, request::check(signer, asked)) {
        (NODE_CLIENT, Ok(())) if own => &[OWN, ANY],
        (NODE_CLIENT, Ok(())) => &[ANY],
        (NODE_SERVING, Ok(())) if own => &[OWN_SERVER],
        (API_CLIENT, Ok(())) if is_of_asker(request, asked) => &[OWN_CLIENT],
        _ => &[],
    }
}

/// Whether a node is known by every name and address that is asked for.
fn is_known_by(node: &Node, asked: &Asked) -> bool {
    let addresses = node.status.as_ref().and_then(|status| status.addresses.as_ref());
    let known: Vec<&str> = addresses
        .into_iter()
        .flatten()
        .map(|address| address.address.as_str())
        .chain(node.metadata.name.as_deref())
        .collect();
    let names = asked.dns_names.iter().all(|name| known.contains(&name.as_str()));
    let parsed: Vec<IpAddr> = known.iter().filter_map(|text| text.parse().ok()).collect();
    names && asked.addresses.iter().all(|address| parsed.contains(address))
}

/// The name of the node that asks, of a user who is one.
fn node_name(asked: &Asked) -> &str {
    asked.common_name.strip_prefix("system:node:").unwrap_or_default()
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
            if *entitlement == OWN_SERVER {
                let nodes: Api<Node> = Api::all(self.client.clone());
                let node = nodes.get_opt(node_name(&asked)).await;
                let doing = format!("looking for the node of {key}");
                let node = node.map_err(ReconcileError::request(doing))?;
                if !node.is_some_and(|node| is_known_by(&node, &asked)) {
                    continue;
                }
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

    #[test]
    fn whoever_calls_is_certified_as_what_it_is_and_nothing_more() {
        let wanted = |name: &str, group: &str, names: &[&str], usages: &[&str]| {
            let mut wanted = request(API_CLIENT, pem(name, group, names), usages);
            wanted.spec.username = Some("proxy".to_owned());
            wanted.spec.groups = Some(vec!["proxies".to_owned(), "system:authenticated".to_owned()]);
            let asked = request::read(&wanted).unwrap();
            entitlements(&wanted, &asked).to_vec()
        };
        let usages = ["digital signature", "client auth"];
        assert_eq!(wanted("proxy", "proxies", &[], &usages), [OWN_CLIENT]);
        assert_eq!(wanted("another", "proxies", &[], &usages), []);
        assert_eq!(wanted("proxy", "system:masters", &[], &usages), []);
        assert_eq!(wanted("proxy", "proxies", &["proxy.example.com"], &usages), []);
        assert_eq!(
            wanted("proxy", "proxies", &[], &["client auth", "server auth"]),
            []
        );
    }

    #[test]
    fn a_node_is_certified_for_its_own_names_alone() {
        let server = ["digital signature", "server auth"];
        let asked = |names: &[&str]| {
            let mut asking = request(
                NODE_SERVING,
                pem("system:node:n1", "system:nodes", names),
                &server,
            );
            asking.spec.username = Some("system:node:n1".to_owned());
            let asked = request::read(&asking).unwrap();
            (entitlements(&asking, &asked).to_vec(), asked)
        };
        let node: Node = serde_json::from_value(json!({"metadata": {"name": "n1"},
            "status": {"addresses": [{"type": "InternalIP", "address": "10.0.0.1"}]}}))
        .unwrap();
        let (entitled, own) = asked(&["n1"]);
        assert_eq!(entitled, [OWN_SERVER]);
        assert_eq!(node_name(&own), "n1");
        assert!(is_known_by(&node, &own));
        assert!(!is_known_by(&node, &asked(&["n1", "other"]).1));
        let mut with_address = own;
        with_address.addresses = vec![[10, 0, 0, 1].into()];
        assert!(is_known_by(&node, &with_address));
        with_address.addresses.push([10, 0, 0, 2].into());
        assert!(!is_known_by(&node, &with_address));
        let mut for_another = request(
            NODE_SERVING,
            pem("system:node:n2", "system:nodes", &["n2"]),
            &server,
        );
        for_another.spec.username = Some("system:node:n1".to_owned());
        let asked = request::read(&for_another).unwrap();
        assert!(entitlements(&for_another, &asked).is_empty());
    }
}
