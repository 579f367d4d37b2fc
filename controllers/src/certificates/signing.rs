//! Signs what was approved, for the signers that are Kubernetes' own.

use super::request;
use super::{
    API_CLIENT, NODE_CLIENT, NODE_SERVING, UNKNOWN, approving, follow, has_condition, is_issued, untyped,
};
use crate::Clock;
use crate::run::{Context, Informers};
use crate::runtime::write::{self, Part};
use crate::runtime::{Cache, ObjectKey, Queue, Reconcile, ReconcileError};
use crate::target::Target;
use k8s_openapi::ByteString;
use k8s_openapi::api::certificates::v1::CertificateSigningRequest;
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use kube::api::DynamicObject;
use serde_json::json;
use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

/// How far back a certificate counts, so that a clock that is a little behind takes it.
const BACKDATE: SignedDuration = SignedDuration::from_mins(5);
/// A certificate that lives no longer than this ends when it was asked to, whenever it begins.
const SHORT: SignedDuration = SignedDuration::from_hours(8);
/// The longest and the shortest life (`--cluster-signing-duration`, and upstream's lower bound).
const LIFE: (SignedDuration, SignedDuration) = (
    SignedDuration::from_hours(365 * 24),
    SignedDuration::from_mins(10),
);

/// What is to be signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SigningOrder {
    /// The request, in PEM.
    pub request: Vec<u8>,
    /// What the certificate may be used for, in the words of the certificates API: `client auth`.
    pub usages: Vec<String>,
    /// From when it counts.
    pub not_before: Timestamp,
    /// Until when, unless the authority itself ends sooner.
    pub not_after: Timestamp,
}

/// Has the cluster's authority sign certificates.
pub trait CertificateSigner: Debug + Send + Sync {
    /// The certificate in PEM.
    ///
    /// # Errors
    /// Why it cannot be signed, such as a request whose own signature is wrong.
    fn sign(&self, order: &SigningOrder) -> Result<String, String>;
}

pub(crate) struct Signing {
    client: kube::Client,
    requests: Arc<Cache<CertificateSigningRequest>>,
    signer: Arc<dyn CertificateSigner>,
    clock: Clock,
}

/// Builds the controller and its queue, fed by the informers; none where there is no authority to sign with.
pub(crate) fn start(
    context: &Context,
    informers: &Informers,
) -> Option<(Arc<Signing>, Arc<Queue<ObjectKey>>)> {
    let controller = Signing {
        client: context.client.clone(),
        requests: informers.certificate_requests.cache().clone(),
        signer: context.config.signer.clone()?,
        clock: context.config.clock,
    };
    Some((Arc::new(controller), follow(informers)))
}

/// What is to be done about a request.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Verdict {
    Sign(SigningOrder),
    /// It will never be signed, for this reason.
    Fail(String),
}

fn plan(request: &CertificateSigningRequest, now: Timestamp) -> Option<Verdict> {
    let signer = request.spec.signer_name.as_str();
    let waits = has_condition(request, "Approved")
        && !has_condition(request, "Denied")
        && !has_condition(request, "Failed")
        && !is_issued(request);
    if !waits || ![API_CLIENT, NODE_CLIENT, NODE_SERVING, UNKNOWN].contains(&signer) {
        return None;
    }
    if let Err(reason) = request::check(signer, &request::read(request)?) {
        return Some(Verdict::Fail(reason));
    }
    let life = match request.spec.expiration_seconds {
        Some(seconds) => SignedDuration::from_secs(seconds.into()).clamp(LIFE.1, LIFE.0),
        None => LIFE.0,
    };
    let not_before = now.saturating_sub(BACKDATE).ok()?;
    let from = if life < SHORT { now } else { not_before };
    Some(Verdict::Sign(SigningOrder {
        request: request.spec.request.0.clone(),
        usages: request.spec.usages.clone().unwrap_or_default(),
        not_before,
        not_after: from.saturating_add(life).ok()?,
    }))
}

impl Reconcile for Signing {
    type Key = ObjectKey;

    async fn reconcile(&self, key: &ObjectKey) -> Result<Option<Duration>, ReconcileError> {
        let Some(request) = self.requests.get(key) else {
            return Ok(None);
        };
        let now = self.clock.now();
        let Some(verdict) = plan(&request, now) else {
            return Ok(None);
        };
        let certificate = match &verdict {
            Verdict::Sign(order) => {
                let signed = self.signer.sign(order);
                let why = |error| ReconcileError::Unexpected(format!("signing {key}: {error}"));
                Some(ByteString(signed.map_err(why)?.into_bytes()))
            }
            Verdict::Fail(_) => None,
        };
        let change = |object: &mut DynamicObject| match verdict {
            Verdict::Sign(_) => object.data["status"]["certificate"] = json!(certificate),
            Verdict::Fail(reason) => {
                let now = now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
                let failure = json!({
                    "type": "Failed", "status": "True", "reason": "SignerValidationFailure", "message": reason,
                    "lastUpdateTime": now,
                });
                approving::add_condition(object, failure);
            }
        };
        let target = Target::of(&request.metadata);
        match write::update(&untyped(&self.client), &target, Part::Status, change).await {
            Err(error) if !error.is_gone() => Err(error),
            _ => Ok(None),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixtures::{pem, request, with_condition};
    use super::*;

    fn life_of(seconds: Option<i32>) -> (i64, i64) {
        let now = Timestamp::from_second(1_000_000_000).unwrap();
        let mut wanted = request(API_CLIENT, pem("jane", "developers", &[]), &["client auth"]);
        wanted.spec.expiration_seconds = seconds;
        match plan(&with_condition(wanted, "Approved"), now) {
            Some(Verdict::Sign(order)) => (
                order.not_before.as_second() - now.as_second(),
                order.not_after.as_second() - now.as_second(),
            ),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn lives_are_as_long_as_asked_within_bounds() {
        let year = 365 * 24 * 3600;
        assert_eq!(life_of(None), (-300, year - 300));
        assert_eq!(life_of(Some(i32::MAX)), (-300, year - 300));
        assert_eq!(life_of(Some(3600)), (-300, 3600));
        assert_eq!(life_of(Some(1)), (-300, 600));
    }

    #[test]
    fn only_what_is_approved_and_in_order_is_signed() {
        let now = Timestamp::UNIX_EPOCH;
        let wanted = request(API_CLIENT, pem("jane", "developers", &[]), &["client auth"]);
        assert_eq!(plan(&wanted, now), None);
        let approved = with_condition(wanted.clone(), "Approved");
        assert_eq!(plan(&with_condition(approved.clone(), "Denied"), now), None);
        assert_eq!(plan(&with_condition(approved.clone(), "Failed"), now), None);
        let mut foreign = approved.clone();
        foreign.spec.signer_name = "example.com/own".to_owned();
        assert_eq!(plan(&foreign, now), None);
        let mut odd = approved.clone();
        odd.spec.usages = Some(vec!["server auth".to_owned()]);
        assert!(matches!(plan(&odd, now), Some(Verdict::Fail(_))));
        let mut issued = approved;
        issued.status.get_or_insert_default().certificate = Some(ByteString(b"x".to_vec()));
        assert_eq!(plan(&issued, now), None);
    }
}
