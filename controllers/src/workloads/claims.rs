//! Which pods belong to an owner: those it keeps, those it takes in, those it lets go. Pure.

use crate::labels;
use crate::observed::Pod;
use crate::owners::{Claim, claim};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};
use std::sync::Arc;

/// What becomes of the pods that an owner may have.
#[derive(Clone, Debug, Default)]
pub(crate) struct Claims {
    /// They match and nobody has them.
    pub(crate) adopt: Vec<Arc<Pod>>,
    /// They are the owner's and match no longer.
    pub(crate) release: Vec<Arc<Pod>>,
    /// The owner's: those it keeps and those it adopts.
    pub(crate) claimed: Vec<Arc<Pod>>,
}

impl Claims {
    /// Whether nothing is to be done.
    #[cfg(test)]
    pub(crate) fn is_settled(&self) -> bool {
        self.adopt.is_empty() && self.release.is_empty()
    }
}

/// Judges each pod by upstream's rule for adoption and release. A selector that cannot be compiled claims nothing.
pub(crate) fn claims<'p>(
    owner: &ObjectMeta,
    selector: &LabelSelector,
    pods: impl IntoIterator<Item = &'p Arc<Pod>>,
) -> Claims {
    let mut claims = Claims::default();
    let Some(selector) = labels::compile(selector) else {
        return claims;
    };
    for pod in pods {
        let matches = labels::matches(&selector, pod.metadata.labels.as_ref());
        match claim(owner, &pod.metadata, matches) {
            Claim::Keep => claims.claimed.push(pod.clone()),
            Claim::Adopt => {
                claims.adopt.push(pod.clone());
                claims.claimed.push(pod.clone());
            }
            Claim::Release => claims.release.push(pod.clone()),
            Claim::Ignore => {}
        }
    }
    claims
}
