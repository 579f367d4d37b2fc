//! Taints of nodes and what pods tolerate of them. Pure.

use k8s_openapi::api::core::v1::{PodSpec, Taint, Toleration};

/// Whether no taint keeps the pod off the node: every NoSchedule and NoExecute one is tolerated.
#[must_use]
pub(crate) fn admit(spec: &PodSpec, taints: &[Taint]) -> bool {
    let keeping = taints
        .iter()
        .filter(|taint| matches!(taint.effect.as_str(), "NoSchedule" | "NoExecute"));
    keeping.into_iter().all(|taint| tolerated(spec, taint))
}

/// How many PreferNoSchedule taints the pod does not tolerate.
#[must_use]
pub(crate) fn disliked(spec: &PodSpec, taints: &[Taint]) -> usize {
    let soft = taints.iter().filter(|taint| taint.effect == "PreferNoSchedule");
    soft.filter(|taint| !tolerated(spec, taint)).count()
}

fn tolerated(spec: &PodSpec, taint: &Taint) -> bool {
    spec.tolerations
        .iter()
        .flatten()
        .any(|toleration| tolerates(toleration, taint))
}

fn tolerates(toleration: &Toleration, taint: &Taint) -> bool {
    let rule = coracle_api::taints::Toleration {
        key: toleration.key.as_deref().unwrap_or_default(),
        operator: toleration.operator.as_deref().unwrap_or_default(),
        value: toleration.value.as_deref().unwrap_or_default(),
        effect: toleration.effect.as_deref().unwrap_or_default(),
    };
    rule.covers(&coracle_api::taints::Taint {
        key: &taint.key,
        value: taint.value.as_deref().unwrap_or_default(),
        effect: &taint.effect,
    })
}
