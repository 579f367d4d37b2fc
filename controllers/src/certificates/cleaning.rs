//! Deletes requests that nobody will come back to: an hour after they were signed, denied or failed, a day after nothing happened,
//! and once their certificate has ended.

use super::{conditions, follow, is_issued};
use crate::Clock;
use crate::run::{Context, Informers};
use crate::runtime::{Cache, ObjectKey, Queue, Reconcile, ReconcileError, write};
use crate::target::Target;
use k8s_openapi::api::certificates::v1::CertificateSigningRequest;
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use kube::api::Api;
use std::sync::Arc;
use std::time::Duration;
use x509_parser::pem::parse_x509_pem;

/// How long a request stays after it was decided on.
const DECIDED: SignedDuration = SignedDuration::from_hours(1);
/// How long it stays while it waits.
const WAITING: SignedDuration = SignedDuration::from_hours(24);

pub(crate) struct Cleaning {
    client: kube::Client,
    requests: Arc<Cache<CertificateSigningRequest>>,
    clock: Clock,
}

/// Builds the controller and its queue, fed by the informers.
pub(crate) fn start(context: &Context, informers: &Informers) -> (Arc<Cleaning>, Arc<Queue<ObjectKey>>) {
    let controller = Cleaning {
        client: context.client.clone(),
        requests: informers.certificate_requests.cache().clone(),
        clock: context.config.clock,
    };
    (Arc::new(controller), follow(informers))
}

/// When a request is to go; none if that is not known yet.
fn due(request: &CertificateSigningRequest) -> Option<Timestamp> {
    let issued = is_issued(request);
    let decided = conditions(request).iter().filter_map(|condition| {
        let stays = match condition.type_.as_str() {
            "Approved" if !issued => WAITING,
            "Approved" | "Denied" | "Failed" => DECIDED,
            _ => return None,
        };
        condition.last_update_time.as_ref()?.0.checked_add(stays).ok()
    });
    let ends = || {
        let certificate = request.status.as_ref()?.certificate.as_ref()?;
        let (_, pem) = parse_x509_pem(&certificate.0).ok()?;
        let parsed = pem.parse_x509().ok()?;
        Timestamp::from_second(parsed.validity().not_after.timestamp()).ok()
    };
    let waited = || {
        let created = request.metadata.creation_timestamp.as_ref()?.0;
        let undecided = conditions(request).is_empty();
        undecided.then(|| created.checked_add(WAITING).ok())?
    };
    decided.chain(ends()).chain(waited()).min()
}

impl Reconcile for Cleaning {
    type Key = ObjectKey;

    async fn reconcile(&self, key: &ObjectKey) -> Result<Option<Duration>, ReconcileError> {
        let Some(request) = self.requests.get(key) else {
            return Ok(None);
        };
        let Some(due) = due(&request) else {
            return Ok(None);
        };
        let left = due.duration_since(self.clock.now());
        if left.is_positive() {
            // A little later, so that the time has come for certain.
            return Ok(Some(left.unsigned_abs() + Duration::from_secs(1)));
        }
        let api: Api<CertificateSigningRequest> = Api::all(self.client.clone());
        let deleted = write::delete(&api, &Target::of(&request.metadata), None).await;
        deleted.map_err(ReconcileError::request(format!("deleting {key}")))?;
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixtures::{request, with_condition};
    use super::*;
    use k8s_openapi::ByteString;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

    #[test]
    fn decided_requests_go_sooner() {
        let mut waiting = request("example.com/own", Vec::new(), &[]);
        waiting.metadata.creation_timestamp = Some(Time(Timestamp::UNIX_EPOCH));
        let hours = |request: &CertificateSigningRequest| due(request).map(|due| due.as_second() / 3600);
        assert_eq!(hours(&waiting), Some(24));
        let decided = |kind: &str| {
            let mut decided = with_condition(waiting.clone(), kind);
            for condition in decided
                .status
                .iter_mut()
                .flat_map(|status| status.conditions.iter_mut().flatten())
            {
                condition.last_update_time = Some(Time(Timestamp::from_second(7200).unwrap()));
            }
            decided
        };
        assert_eq!(hours(&decided("Denied")), Some(3));
        assert_eq!(hours(&decided("Failed")), Some(3));
        let mut approved = decided("Approved");
        assert_eq!(hours(&approved), Some(26));
        approved.status.get_or_insert_default().certificate = Some(ByteString(b"unreadable".to_vec()));
        assert_eq!(hours(&approved), Some(3));
        assert_eq!(hours(&with_condition(waiting, "Own")), None);
    }
}
