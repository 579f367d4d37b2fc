//! What a namespace's labels ask of its pods.

use serde_json::Value;

use super::level::{Level, LevelVersion, Unknown, Version};
use crate::object::Fields;
use crate::validation::{FieldErrors, Path};

const ENFORCE: &str = "pod-security.kubernetes.io/enforce";
const ENFORCE_VERSION: &str = "pod-security.kubernetes.io/enforce-version";
const AUDIT: &str = "pod-security.kubernetes.io/audit";
const AUDIT_VERSION: &str = "pod-security.kubernetes.io/audit-version";
const WARN: &str = "pod-security.kubernetes.io/warn";
const WARN_VERSION: &str = "pod-security.kubernetes.io/warn-version";

/// What is refused, what is noted in the audit log, and what is warned of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Pods beyond it are refused.
    pub enforce: LevelVersion,
    /// What is beyond it is noted.
    pub audit: LevelVersion,
    /// Who asks for what is beyond it is warned.
    pub warn: LevelVersion,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            enforce: LevelVersion::PRIVILEGED,
            audit: LevelVersion::PRIVILEGED,
            warn: LevelVersion::PRIVILEGED,
        }
    }
}

impl Policy {
    /// What the labels of a namespace (its `metadata.labels`) say, and `defaults` where they say nothing.
    ///
    /// There is always an answer. What cannot be read is told with it, and counts as the strictest where it would be
    /// enforced and as nothing where it would be noted or warned of. Who enforces a level without saying what to warn of is
    /// warned by the same level.
    pub fn of_labels(labels: &Value, defaults: Self) -> (Self, FieldErrors) {
        let mut errors = FieldErrors::new();
        let mut policy = defaults;
        let enforced = read(labels, ENFORCE, &mut errors);
        take(&mut policy.enforce.level, enforced, Level::Restricted);
        let version = read(labels, ENFORCE_VERSION, &mut errors);
        take(&mut policy.enforce.version, version, Version::Latest);
        let audited = read(labels, AUDIT, &mut errors);
        take(&mut policy.audit.level, audited, Level::Privileged);
        let version = read(labels, AUDIT_VERSION, &mut errors);
        take(&mut policy.audit.version, version, Version::Latest);
        let warned = read(labels, WARN, &mut errors);
        take(&mut policy.warn.level, warned, Level::Privileged);
        let warn_version = read(labels, WARN_VERSION, &mut errors);
        take(&mut policy.warn.version, warn_version, Version::Latest);
        let (level, says) = (policy.enforce.level, matches!(enforced, Some(Ok(_))));
        if warned.is_none() && says && level > policy.warn.level {
            policy.warn.level = level;
            if warn_version.is_none() {
                policy.warn.version = policy.enforce.version;
            }
        }
        (policy, errors)
    }

    /// Whether nothing is asked of anybody.
    pub fn is_privileged(&self) -> bool {
        [self.enforce, self.audit, self.warn]
            .iter()
            .all(|mode| mode.level == Level::Privileged)
    }

    /// Whether both come to the same.
    pub fn is_equivalent(&self, other: &Self) -> bool {
        self.enforce.is_equivalent(other.enforce)
            && self.audit.is_equivalent(other.audit)
            && self.warn.is_equivalent(other.warn)
    }

    /// The modes that a namespace's own labels set to more than nothing, such as `enforce=baseline:latest, warn=…`.
    pub fn told_by(&self, labels: &Value) -> String {
        let modes = [
            ("enforce", self.enforce, [ENFORCE, ENFORCE_VERSION]),
            ("audit", self.audit, [AUDIT, AUDIT_VERSION]),
            ("warn", self.warn, [WARN, WARN_VERSION]),
        ];
        let told = modes.into_iter().filter(|(_, mode, keys)| {
            mode.level != Level::Privileged && keys.iter().any(|key| labels.get(key).is_some())
        });
        told.map(|(name, mode, _)| format!("{name}={mode}"))
            .collect::<Vec<_>>()
            .join(", ")
    }
}

/// What a label says, where it is there.
fn read<T: std::str::FromStr<Err = Unknown>>(
    labels: &Value,
    label: &str,
    errors: &mut FieldErrors,
) -> Option<Result<T, Unknown>> {
    labels.get(label)?;
    let text = labels.text(label);
    let read = text.parse::<T>();
    if let Err(unknown) = &read {
        let (metadata, labels) = (Path::new("metadata"), "labels");
        errors.invalid(&metadata.child(labels).key(label), text, unknown.to_string());
    }
    Some(read)
}

fn take<T: Copy>(place: &mut T, said: Option<Result<T, Unknown>>, unreadable: T) {
    match said {
        Some(Ok(value)) => *place = value,
        Some(Err(_)) => *place = unreadable,
        None => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn shown(policy: Policy) -> String {
        format!("{} {} {}", policy.enforce, policy.audit, policy.warn)
    }

    #[test]
    fn labels_and_defaults_make_a_policy() {
        let label = |name: &str| format!("pod-security.kubernetes.io/{name}");
        let table = [
            (
                json!({}),
                "privileged:latest privileged:latest privileged:latest",
                0,
            ),
            (
                json!({label("enforce"): "baseline"}),
                "baseline:latest privileged:latest baseline:latest",
                0,
            ),
            (
                json!({label("enforce"): "baseline", label("enforce-version"): "v1.20", label("warn"): "privileged"}),
                "baseline:v1.20 privileged:latest privileged:latest",
                0,
            ),
            (
                json!({label("enforce"): "restricted", label("enforce-version"): "v1.20", label("warn-version"): "v1.21"}),
                "restricted:v1.20 privileged:latest restricted:v1.21",
                0,
            ),
            (
                json!({label("enforce"): "x", label("audit"): "y", label("warn"): "z"}),
                "restricted:latest privileged:latest privileged:latest",
                3,
            ),
            (
                json!({label("enforce"): "x", label("enforce-version"): "1"}),
                "restricted:latest privileged:latest privileged:latest",
                2,
            ),
        ];
        for (labels, want, faults) in table {
            let (policy, errors) = Policy::of_labels(&labels, Policy::default());
            assert_eq!((shown(policy).as_str(), errors.len()), (want, faults), "{labels}");
        }
    }

    #[test]
    fn what_cannot_be_read_is_told_with_its_place() {
        let labels = json!({"pod-security.kubernetes.io/warn": "strict"});
        let (_, errors) = Policy::of_labels(&labels, Policy::default());
        assert_eq!(
            errors.aggregate(),
            "metadata.labels[pod-security.kubernetes.io/warn]: Invalid value: \"strict\": must be one of privileged, \
             baseline, restricted"
        );
    }

    #[test]
    fn only_what_the_labels_themselves_say_is_told() {
        let labels = json!({"pod-security.kubernetes.io/enforce": "baseline"});
        let (policy, _) = Policy::of_labels(&labels, Policy::default());
        assert_eq!(policy.told_by(&labels), "enforce=baseline:latest");
        assert!(!policy.is_privileged() && !policy.is_equivalent(&Policy::default()));
    }
}
