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

/// Whether this toleration covers this taint: same effect or any, same key or any, and what the operator asks of the value.
#[must_use]
pub(crate) fn tolerates(toleration: &Toleration, taint: &Taint) -> bool {
    let effect = toleration.effect.as_deref().unwrap_or_default();
    let key = toleration.key.as_deref().unwrap_or_default();
    if !(effect.is_empty() || effect == taint.effect) || !(key.is_empty() || key == taint.key) {
        return false;
    }
    let value = toleration.value.as_deref().unwrap_or_default();
    let tainted = taint.value.as_deref().unwrap_or_default();
    let numbers = || value.parse::<i64>().ok().zip(tainted.parse::<i64>().ok());
    match toleration.operator.as_deref().unwrap_or("Equal") {
        "" | "Equal" => value == tainted,
        "Exists" => true,
        // KEP-5471: the taint's value compared with the toleration's as numbers.
        "Lt" => numbers().is_some_and(|(value, tainted)| tainted < value),
        "Gt" => numbers().is_some_and(|(value, tainted)| tainted > value),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn toleration(key: &str, operator: &str, value: &str, effect: &str) -> Toleration {
        let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        Toleration {
            key: some(key),
            operator: some(operator),
            value: some(value),
            effect: some(effect),
            toleration_seconds: None,
        }
    }

    #[test]
    fn tolerations_cover_taints() {
        let taint = Taint {
            key: "dedicated".to_owned(),
            value: Some("gpu".to_owned()),
            effect: "NoSchedule".to_owned(),
            time_added: None,
        };
        let cases = [
            (toleration("dedicated", "Equal", "gpu", "NoSchedule"), true),
            (toleration("dedicated", "", "gpu", ""), true),
            (toleration("dedicated", "Equal", "cpu", ""), false),
            (toleration("dedicated", "Exists", "", "NoExecute"), false),
            (toleration("dedicated", "Exists", "", ""), true),
            (toleration("", "Exists", "", ""), true),
            (toleration("other", "Exists", "", ""), false),
        ];
        for (toleration, expected) in cases {
            assert_eq!(tolerates(&toleration, &taint), expected, "{toleration:?}");
        }
    }
}
