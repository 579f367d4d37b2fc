//! What a Job's policies make of failed pods and of indexes that succeeded. Pure.

use super::indexes::Indexes;
use crate::observed::{ContainerStatus, Pod};
use k8s_openapi::api::batch::v1::{
    PodFailurePolicy, PodFailurePolicyOnExitCodesRequirement, PodFailurePolicyOnPodConditionsPattern,
    PodFailurePolicyRule, SuccessPolicy,
};

/// What becomes of a failed pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It counts towards the limits, as where no rule matches.
    Count,
    /// It does not count.
    Ignore,
    /// Its index has failed.
    FailIndex,
    /// The Job has failed, for this reason.
    FailJob(String),
}

/// Judges a failed pod by the first rule that matches it.
pub(crate) fn judge(policy: Option<&PodFailurePolicy>, pod: &Pod) -> Verdict {
    let rules = policy.map_or(&[][..], |policy| &policy.rules);
    for (number, rule) in rules.iter().enumerate() {
        let Some(why) = matching(rule, number, pod) else {
            continue;
        };
        return match rule.action.as_str() {
            "Ignore" => Verdict::Ignore,
            "FailIndex" => Verdict::FailIndex,
            "FailJob" => Verdict::FailJob(why),
            _ => Verdict::Count,
        };
    }
    Verdict::Count
}

/// How the rule matches, in the words of the Job's condition.
fn matching(rule: &PodFailurePolicyRule, number: usize, pod: &Pod) -> Option<String> {
    let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
    let name = pod.metadata.name.as_deref().unwrap_or_default();
    let action = &rule.action;
    if let Some(codes) = &rule.on_exit_codes {
        let (container, code) = exited(pod, codes)?;
        return Some(format!(
            "Container {container} for pod {namespace}/{name} failed with exit code {code} matching {action} rule at index {number}"
        ));
    }
    let condition = conditioned(pod, rule.on_pod_conditions.as_deref()?)?;
    Some(format!(
        "Pod {namespace}/{name} has condition {condition} matching {action} rule at index {number}"
    ))
}

/// The container that failed with such a code, and the code. Init containers come last.
fn exited<'p>(pod: &'p Pod, wanted: &PodFailurePolicyOnExitCodesRequirement) -> Option<(&'p str, i32)> {
    let status = pod.status.as_ref()?;
    let containers = status.container_statuses.iter();
    let mut all = containers.chain(&status.init_container_statuses).flatten();
    all.find_map(|container: &ContainerStatus| {
        let code = container.state.as_ref()?.terminated.as_ref()?.exit_code;
        let named = wanted
            .container_name
            .as_ref()
            .is_none_or(|name| *name == container.name);
        let listed = wanted.values.contains(&code);
        let matches = match wanted.operator.as_str() {
            "In" => listed,
            "NotIn" => !listed,
            _ => false,
        };
        (code != 0 && named && matches).then_some((container.name.as_str(), code))
    })
}

fn conditioned<'p>(pod: &'p Pod, patterns: &[PodFailurePolicyOnPodConditionsPattern]) -> Option<&'p str> {
    let mut conditions = pod.status.as_ref()?.conditions.iter().flatten();
    let found = conditions.find(|condition| {
        patterns.iter().any(|pattern| {
            pattern.type_ == condition.type_
                && pattern.status.as_deref().unwrap_or("True") == condition.status
        })
    });
    found.map(|condition| condition.type_.as_str())
}

/// The rule by which these indexes are success enough, in the words of the Job's condition.
pub(crate) fn succeeded(policy: Option<&SuccessPolicy>, completions: i32, done: &Indexes) -> Option<String> {
    if done.count() == 0 {
        return None;
    }
    let matches = |wanted: &Option<String>, count: Option<i32>| match wanted {
        Some(text) => {
            let wanted = Indexes::parse(text, completions);
            let met = wanted.shared(done);
            wanted.count() > 0 && (met == wanted.count() || count.is_some_and(|count| met >= count))
        }
        None => count.is_some_and(|count| done.count() >= count),
    };
    let rules = policy.map_or(&[][..], |policy| &policy.rules);
    let met = rules
        .iter()
        .position(|rule| matches(&rule.succeeded_indexes, rule.succeeded_count))?;
    Some(format!("Matched rules at index {met}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn failed(code: i32) -> Pod {
        serde_json::from_value(json!({
            "metadata": {"name": "p", "namespace": "ns"},
            "status": {
                "phase": "Failed",
                "containerStatuses": [{"name": "main", "image": "", "imageID": "", "ready": false, "restartCount": 0,
                    "state": {"terminated": {"exitCode": code}}}],
                "conditions": [{"type": "DisruptionTarget", "status": "True"}],
            },
        }))
        .unwrap()
    }

    fn judged(rules: Value, code: i32) -> Verdict {
        let policy: PodFailurePolicy = serde_json::from_value(json!({"rules": rules})).unwrap();
        judge(Some(&policy), &failed(code))
    }

    #[test]
    fn the_first_rule_that_matches_decides() {
        let rules = json!([
            {"action": "FailJob", "onExitCodes": {"containerName": "main", "operator": "In", "values": [42]}},
            {"action": "FailIndex", "onExitCodes": {"operator": "In", "values": [7]}},
            {"action": "Count", "onExitCodes": {"operator": "In", "values": [8]}},
            {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]},
        ]);
        let why = "Container main for pod ns/p failed with exit code 42 matching FailJob rule at index 0";
        assert_eq!(judged(rules.clone(), 42), Verdict::FailJob(why.to_owned()));
        assert_eq!(judged(rules.clone(), 7), Verdict::FailIndex);
        assert_eq!(judged(rules.clone(), 8), Verdict::Count);
        assert_eq!(judged(rules, 1), Verdict::Ignore);
        let by_condition = json!([{"action": "FailJob", "onPodConditions": [{"type": "DisruptionTarget"}]}]);
        let why = "Pod ns/p has condition DisruptionTarget matching FailJob rule at index 0";
        assert_eq!(judged(by_condition, 1), Verdict::FailJob(why.to_owned()));
        let other = json!([{"action": "FailJob", "onExitCodes": {"containerName": "side", "operator": "NotIn", "values": [0]}}]);
        assert_eq!(judged(other, 1), Verdict::Count);
    }

    #[test]
    fn success_is_indexes_or_a_number_of_them() {
        let met = |rules: Value, done: &str| {
            let policy: SuccessPolicy = serde_json::from_value(json!({"rules": rules})).unwrap();
            succeeded(Some(&policy), 10, &Indexes::parse(done, 10))
        };
        let both = json!([{"succeededIndexes": "0,2-4"}, {"succeededCount": 5}]);
        assert_eq!(met(both.clone(), "0-3"), None);
        assert_eq!(
            met(both.clone(), "0-4").as_deref(),
            Some("Matched rules at index 0")
        );
        assert_eq!(met(both, "5-9").as_deref(), Some("Matched rules at index 1"));
        let some = json!([{"succeededIndexes": "0-4", "succeededCount": 2}]);
        assert_eq!(met(some.clone(), "1,7,8"), None);
        assert_eq!(met(some, "1,2,8").as_deref(), Some("Matched rules at index 0"));
    }
}
