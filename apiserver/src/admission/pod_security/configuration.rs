//! What the plugin is told: `PodSecurityConfiguration`.

use std::collections::BTreeSet;
use std::str::FromStr;

use coracle_api::names;
use coracle_api::object::Fields;
use coracle_api::pod_security::{Level, LevelVersion, Policy, Version};
use coracle_api::validation::{FieldErrors, Path};
use serde_json::Value;

use crate::admission::configuration::{expect_kind, only};

const VERSIONS: [&str; 3] = [
    "pod-security.admission.config.k8s.io/v1",
    "pod-security.admission.config.k8s.io/v1beta1",
    "pod-security.admission.config.k8s.io/v1alpha1",
];

/// What counts where labels say nothing, and for whom nothing counts.
#[derive(Debug, Default)]
pub(super) struct Configuration {
    pub(super) defaults: Policy,
    namespaces: BTreeSet<String>,
    users: BTreeSet<String>,
    runtime_classes: BTreeSet<String>,
}

impl Configuration {
    /// Reads it, strictly.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub(super) fn read(told: Option<&Value>) -> Result<Self, String> {
        let Some(told) = told else {
            return Ok(Self::default());
        };
        expect_kind(told, &VERSIONS, "PodSecurityConfiguration")?;
        only(told, &["apiVersion", "kind", "defaults", "exemptions"], "")?;
        let nothing = Value::Object(Default::default());
        let of = |name: &str| told.field(name).unwrap_or(&nothing).clone();
        let (defaults, exemptions) = (of("defaults"), of("exemptions"));
        let modes = [
            "enforce",
            "enforce-version",
            "audit",
            "audit-version",
            "warn",
            "warn-version",
        ];
        only(&defaults, &modes, "defaults.")?;
        only(
            &exemptions,
            &["usernames", "namespaces", "runtimeClasses"],
            "exemptions.",
        )?;
        let mut errors = FieldErrors::new();
        let read = Self {
            defaults: Policy {
                enforce: mode(&defaults, "enforce", "enforce-version", &mut errors),
                warn: mode(&defaults, "warn", "warn-version", &mut errors),
                audit: mode(&defaults, "audit", "audit-version", &mut errors),
            },
            namespaces: names_in(&exemptions, "namespaces", names::dns1123_label, &mut errors),
            runtime_classes: names_in(
                &exemptions,
                "runtimeClasses",
                names::dns1123_subdomain,
                &mut errors,
            ),
            users: names_in(&exemptions, "usernames", user_name, &mut errors),
        };
        if errors.is_empty() {
            Ok(read)
        } else {
            Err(errors.aggregate())
        }
    }

    pub(super) fn exempts_namespace(&self, name: &str) -> bool {
        self.namespaces.contains(name)
    }

    pub(super) fn exempts_user(&self, name: &str) -> bool {
        self.users.contains(name)
    }

    pub(super) fn exempts_runtime_class(&self, name: &str) -> bool {
        self.runtime_classes.contains(name)
    }
}

fn user_name(name: &str) -> Vec<String> {
    let empty = name.is_empty().then(|| "username must not be empty".to_owned());
    empty.into_iter().collect()
}

fn mode(defaults: &Value, level: &str, version: &str, errors: &mut FieldErrors) -> LevelVersion {
    LevelVersion {
        level: parsed(defaults, level, Level::Privileged, errors),
        version: parsed(defaults, version, Version::Latest, errors),
    }
}

fn parsed<T: FromStr>(defaults: &Value, field: &str, default: T, errors: &mut FieldErrors) -> T
where
    T::Err: std::fmt::Display,
{
    let text = defaults.text(field);
    if text.is_empty() {
        return default;
    }
    text.parse().unwrap_or_else(|error: T::Err| {
        let place = Path::new("defaults");
        errors.invalid(&place.child(field), text, error.to_string());
        default
    })
}

fn names_in(
    exemptions: &Value,
    field: &str,
    rule: fn(&str) -> Vec<String>,
    errors: &mut FieldErrors,
) -> BTreeSet<String> {
    let (place, mut found) = (Path::new("exemptions"), BTreeSet::new());
    let place = place.child(field);
    for (index, name) in exemptions.items(field).iter().enumerate() {
        let name = name.as_str().unwrap_or_default();
        let faults = rule(name);
        if !faults.is_empty() {
            errors.invalid(&place.index(index), name, faults.join(", "));
        } else if !found.insert(name.to_owned()) {
            errors.duplicate(&place.index(index), name);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn of(defaults: Value, exemptions: Value) -> Result<Configuration, String> {
        Configuration::read(Some(
            &json!({"apiVersion": VERSIONS[0], "kind": "PodSecurityConfiguration", "defaults": defaults,
                "exemptions": exemptions}),
        ))
    }

    #[test]
    fn defaults_and_exemptions_are_read() {
        let read = of(
            json!({"enforce": "baseline", "enforce-version": "v1.30", "warn": "restricted"}),
            json!({"usernames": ["jane"], "namespaces": ["kube-system"], "runtimeClasses": ["kata"]}),
        )
        .unwrap();
        assert_eq!(read.defaults.enforce.to_string(), "baseline:v1.30");
        assert_eq!(read.defaults.warn.to_string(), "restricted:latest");
        assert!(read.exempts_user("jane") && read.exempts_namespace("kube-system"));
        assert!(read.exempts_runtime_class("kata") && !read.exempts_runtime_class(""));
    }

    #[test]
    fn everything_that_is_wrong_is_told() {
        let error = of(
            json!({"warn-version": "1.2"}),
            json!({"usernames": [""], "namespaces": ["a", "a"]}),
        )
        .unwrap_err();
        assert_eq!(
            error,
            "[defaults.warn-version: Invalid value: \"1.2\": must be \"latest\" or \"v1.x\", exemptions.namespaces[1]: \
             Duplicate value: \"a\", exemptions.usernames[0]: Invalid value: \"\": username must not be empty]"
        );
        let unknown = of(json!({"deny": "baseline"}), json!({})).unwrap_err();
        assert_eq!(unknown, "strict decoding error: unknown field \"defaults.deny\"");
    }
}
