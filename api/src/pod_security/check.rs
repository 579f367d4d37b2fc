//! Which checks there are, since which version, and how their answers become one.

use serde_json::Value;

use super::level::{Level, LevelVersion, Version};
use super::subject::{Subject, Violation};
use super::{baseline, restricted};

/// Judges a pod by one rule.
pub(super) type Judge = fn(&Subject<'_>) -> Option<Violation>;

/// A rule, as it changed over the versions.
pub(super) struct Check {
    /// Upstream's name of it; checks of a level come in the order of their names.
    pub(super) id: &'static str,
    /// From which minor version on it judges how, oldest first.
    pub(super) since: &'static [(u64, Judge)],
    /// The baseline check that is left out at the restricted level because this one asks for more.
    pub(super) replaces: Option<&'static str>,
}

impl Check {
    fn judge(&self, minor: u64) -> Option<Judge> {
        let past = self.since.iter().rev();
        past.filter(|(since, _)| *since <= minor)
            .map(|(_, judge)| *judge)
            .next()
    }
}

/// What came of judging a pod.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    violations: Vec<Violation>,
}

impl Verdict {
    /// Whether nothing is broken.
    pub fn is_allowed(&self) -> bool {
        self.violations.is_empty()
    }

    /// What is broken, in short: `host namespaces, privileged`.
    pub fn reasons(&self) -> String {
        let reasons = self.violations.iter().map(|violation| violation.reason.as_str());
        reasons.collect::<Vec<_>>().join(", ")
    }

    /// What is broken, and by whom: `host namespaces (hostNetwork=true), privileged (container "a" …)`.
    pub fn details(&self) -> String {
        let details = self.violations.iter().map(|violation| {
            if violation.detail.is_empty() {
                violation.reason.clone()
            } else {
                format!("{} ({})", violation.reason, violation.detail)
            }
        });
        details.collect::<Vec<_>>().join(", ")
    }
}

/// The last version in which a rule changed: later ones judge as it does.
fn newest() -> u64 {
    let checks = baseline::CHECKS.iter().chain(restricted::CHECKS);
    let versions = checks.flat_map(|check| check.since.iter().map(|(since, _)| *since));
    versions.max().unwrap_or_default()
}

/// Judges a pod, given by its metadata and its spec as they are or as a template has them.
pub fn evaluate(standard: LevelVersion, metadata: &Value, spec: &Value) -> Verdict {
    if standard.level == Level::Privileged {
        return Verdict::default();
    }
    let minor = match standard.version {
        Version::Minor(minor) => minor,
        Version::Latest => newest(),
    };
    let restricted: &[Check] = if standard.level == Level::Restricted {
        restricted::CHECKS
    } else {
        &[]
    };
    let is_replaced = |id: &str| {
        let active = restricted.iter().filter(|check| check.judge(minor).is_some());
        active.into_iter().any(|check| check.replaces == Some(id))
    };
    let kept = baseline::CHECKS.iter().filter(|check| !is_replaced(check.id));
    let subject = Subject { metadata, spec };
    let judges = kept.chain(restricted).filter_map(|check| check.judge(minor));
    Verdict {
        violations: judges.filter_map(|judge| judge(&subject)).collect(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn told(level: Level, minor: u64, pod: &Value) -> String {
        let version = Version::Minor(minor);
        evaluate(LevelVersion { level, version }, &pod["metadata"], &pod["spec"]).details()
    }

    #[test]
    fn checks_stand_in_the_order_of_their_names_and_change_forwards() {
        for checks in [baseline::CHECKS, restricted::CHECKS] {
            assert!(checks.is_sorted_by(|a, b| a.id < b.id));
            for check in checks {
                assert!(check.since.is_sorted_by(|a, b| a.0 < b.0), "{}", check.id);
                let known = |id: &str| baseline::CHECKS.iter().any(|other| other.id == id);
                assert!(check.replaces.is_none_or(known), "{}", check.id);
            }
        }
    }

    #[test]
    fn a_plain_pod_is_beyond_restricted_only() {
        let pod =
            json!({"metadata": {}, "spec": {"containers": [{"name": "a", "image": "i"}, {"name": "b"}]}});
        assert_eq!(told(Level::Privileged, 36, &pod), "");
        assert_eq!(told(Level::Baseline, 36, &pod), "");
        assert_eq!(
            told(Level::Restricted, 36, &pod),
            "allowPrivilegeEscalation != false (containers \"a\", \"b\" must set \
             securityContext.allowPrivilegeEscalation=false), unrestricted capabilities (containers \"a\", \"b\" must set \
             securityContext.capabilities.drop=[\"ALL\"]), runAsNonRoot != true (pod or containers \"a\", \"b\" must set \
             securityContext.runAsNonRoot=true), seccompProfile (pod or containers \"a\", \"b\" must set \
             securityContext.seccompProfile.type to \"RuntimeDefault\" or \"Localhost\")"
        );
        assert_eq!(
            told(Level::Restricted, 7, &pod),
            "runAsNonRoot != true (pod or containers \"a\", \"b\" must set securityContext.runAsNonRoot=true)"
        );
    }

    #[test]
    fn a_rule_is_what_it_was_in_its_version() {
        let with = |spec: Value| json!({"metadata": {}, "spec": spec});
        let sysctl = with(json!({"securityContext": {"sysctls": [{"name": "net.ipv4.tcp_rmem"}]}}));
        let engine = with(json!({"securityContext": {"seLinuxOptions": {"type": "container_engine_t"}}}));
        let probe = with(json!({"containers": [{"name": "a", "livenessProbe": {"httpGet": {"host": "h"}}}]}));
        let mount = with(
            json!({"hostUsers": false, "containers": [{"name": "a", "securityContext": {"procMount": "Unmasked"}}]}),
        );
        let seccomp = with(json!({"securityContext": {"seccompProfile": {"type": "Unconfined"}}}));
        let table: [(&Value, &[(u64, bool)]); 5] = [
            (&sysctl, &[(0, false), (31, false), (32, true), (99, true)]),
            (&engine, &[(30, false), (31, true)]),
            (&probe, &[(33, true), (34, false), (99, false)]),
            (&mount, &[(34, false), (35, true)]),
            (&seccomp, &[(18, true), (19, false)]),
        ];
        for (pod, versions) in table {
            for (minor, allowed) in versions {
                let told = told(Level::Baseline, *minor, pod);
                assert_eq!(told.is_empty(), *allowed, "v1.{minor}: {told}");
            }
        }
        assert!(told(Level::Restricted, 35, &mount).contains("procMount"));
    }

    #[test]
    fn restricted_asks_for_more_in_place_of_baseline() {
        let pod = json!({"metadata": {}, "spec": {
            "volumes": [{"name": "v", "hostPath": {"path": "/"}}, {"name": "w", "nfs": {}}],
            "containers": [{"name": "a", "securityContext": {"capabilities": {"add": ["SYS_ADMIN"], "drop": ["ALL"]}}}]}});
        let details = told(Level::Restricted, 22, &pod);
        assert!(
            !details.contains("hostPath volumes") && !details.contains("non-default"),
            "{details}"
        );
        assert!(
            details.contains("restricted volume types (volumes \"v\", \"w\" use restricted volume types \"hostPath\", \"nfs\")"),
            "{details}"
        );
        let before = told(Level::Restricted, 21, &pod);
        assert!(
            before.contains(
                "non-default capabilities (container \"a\" must not include \"SYS_ADMIN\" in \
                 securityContext.capabilities.add)"
            ),
            "{before}"
        );
    }
}
