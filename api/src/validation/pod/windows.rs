//! What Linux has and Windows has not, and the other way round.

use serde_json::Value;

use super::container::each;
use crate::names;
use crate::object::Fields;
use crate::validation::field::{FieldErrors, Path};
use crate::validation::meta::faults;

const RULE: &str = "cannot be set for a windows pod";
const SPEC_MAX_KIB: usize = 64;
const DOMAIN_MAX: usize = 256;
const USER_MAX: usize = 104;

/// What a pod for Windows does not set: fields of its own, and of its security context, in upstream's order.
const OF_POD: [(&str, bool); 15] = [
    ("appArmorProfile", true),
    ("seLinuxOptions", true),
    ("hostUsers", false),
    ("hostPID", false),
    ("hostIPC", false),
    ("seccompProfile", true),
    ("fsGroup", true),
    ("fsGroupChangePolicy", true),
    ("sysctls", true),
    ("shareProcessNamespace", false),
    ("runAsUser", true),
    ("runAsGroup", true),
    ("supplementalGroups", true),
    ("supplementalGroupsPolicy", true),
    ("seLinuxChangePolicy", true),
];
const OF_CONTAINER: [&str; 10] = [
    "appArmorProfile",
    "seLinuxOptions",
    "seccompProfile",
    "capabilities",
    "readOnlyRootFilesystem",
    "privileged",
    "allowPrivilegeEscalation",
    "procMount",
    "runAsUser",
    "runAsGroup",
];

pub(super) fn pod(spec: &Value, at: &Path<'_>, errors: &mut FieldErrors) {
    let at_security = at.child("securityContext");
    for (name, of_security) in OF_POD {
        let (holder, at) = if of_security {
            (&spec["securityContext"], &at_security)
        } else {
            (spec, at)
        };
        let set = match name {
            "hostPID" | "hostIPC" => holder.flag(name),
            "sysctls" => holder.count(name) > 0,
            name => holder.has(name),
        };
        if set {
            errors.forbidden(&at.child(name), RULE);
        }
    }
    each(spec, at, |container, at| {
        let at = at.child("securityContext");
        for name in OF_CONTAINER
            .iter()
            .filter(|name| container["securityContext"].has(name))
        {
            errors.forbidden(&at.child(name), RULE);
        }
    });
}

/// A pod for Linux sets nothing of Windows.
pub(super) fn linux_pod(spec: &Value, at: &Path<'_>, errors: &mut FieldErrors) {
    let check = |holder: &Value, at: &Path<'_>, errors: &mut FieldErrors| {
        if holder["securityContext"].has("windowsOptions") {
            let rule = "windows options cannot be set for a linux pod";
            errors.forbidden(&at.child("securityContext.windowsOptions"), rule);
        }
    };
    check(spec, at, errors);
    each(spec, at, |container, at| check(container, at, errors));
}

/// A `core.WindowsSecurityContextOptions`.
pub(super) fn options(context: &Value, at: &Path<'_>, errors: &mut FieldErrors) {
    let options = &context["windowsOptions"];
    let at = at.child("windowsOptions");
    if options.has("gmsaCredentialSpecName") {
        let name = options.text("gmsaCredentialSpecName");
        faults(
            &at.child("gmsaCredentialSpecName"),
            name,
            names::dns1123_subdomain(name),
            errors,
        );
    }
    if options.has("gmsaCredentialSpec") {
        let (spec, at) = (options.text("gmsaCredentialSpec"), at.child("gmsaCredentialSpec"));
        if spec.is_empty() {
            errors.invalid(&at, spec, "gmsaCredentialSpec cannot be an empty string");
        } else if spec.len() > SPEC_MAX_KIB * 1024 {
            let rule = format!("gmsaCredentialSpec size must be under {SPEC_MAX_KIB} KiB");
            errors.invalid(&at, spec, rule);
        }
    }
    if options.has("runAsUserName") {
        let name = options.text("runAsUserName");
        for fault in user_name(name) {
            errors.invalid(&at.child("runAsUserName"), name, fault);
        }
    }
}

/// What is wrong with the name of a user, which may have a domain before it.
fn user_name(name: &str) -> Vec<String> {
    let one = |fault: &str| vec![format!("runAsUserName {fault}")];
    if name.is_empty() {
        return one("cannot be an empty string");
    }
    if name.contains(|letter: char| letter.is_ascii_control()) {
        return one("cannot contain control characters");
    }
    let (domain, user) = match name.split('\\').collect::<Vec<_>>()[..] {
        [user] => (None, user),
        [domain, user] => (Some(domain), user),
        _ => return one("cannot contain more than one backslash"),
    };
    let within = |text: &str, set: &str| text.chars().any(|letter| set.contains(letter));
    let domain_fits = |domain: &str| is_net_bios(domain) || is_dns(domain);
    let faults = [
        (
            domain.is_some_and(|domain| domain.len() >= DOMAIN_MAX),
            format!("Domain length must be under {DOMAIN_MAX} characters"),
        ),
        (
            domain.is_some_and(|domain| !domain_fits(domain)),
            "Domain doesn't match the NetBios nor the DNS format".to_owned(),
        ),
        (user.is_empty(), "User cannot be empty".to_owned()),
        (
            user.len() > USER_MAX,
            format!("User length must not be longer than {USER_MAX} characters"),
        ),
        (
            !user.is_empty() && user.chars().all(|letter| matches!(letter, '.' | ' ')),
            "User cannot contain only periods or spaces".to_owned(),
        ),
        (
            within(user, "\"/\\:;|=,+*?<>@[]"),
            "User cannot contain the following characters: \"/\\:;|=,+*?<>@[]".to_owned(),
        ),
    ];
    let told = faults.into_iter().filter(|(broken, _)| *broken);
    told.map(|(_, fault)| format!("runAsUserName's {fault}"))
        .collect()
}

fn is_net_bios(domain: &str) -> bool {
    let odd = "\\/:*?\"<>|";
    (1..=15).contains(&domain.chars().count())
        && !domain.starts_with('.')
        && !domain.chars().any(|letter| odd.contains(letter))
}

fn is_dns(domain: &str) -> bool {
    let label = |label: &str| {
        let letters = label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
        (1..=63).contains(&label.len()) && letters && !label.starts_with('-') && !label.ends_with('-')
    };
    domain.split('.').all(label)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_may_have_a_domain() {
        for fine in ["ContainerUser", "NT AUTHORITY\\System", "corp.example.com\\jane"] {
            assert_eq!(user_name(fine), [""; 0], "{fine}");
        }
        let table = [
            ("", "runAsUserName cannot be an empty string"),
            ("a\\b\\c", "runAsUserName cannot contain more than one backslash"),
            ("corp\\", "runAsUserName's User cannot be empty"),
            (
                "...",
                "runAsUserName's User cannot contain only periods or spaces",
            ),
        ];
        for (name, want) in table {
            assert_eq!(user_name(name), [want], "{name}");
        }
    }
}
