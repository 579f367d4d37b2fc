//! What Linux has and Windows has not.

use serde_json::Value;

use super::container::each;
use crate::object::Fields;
use crate::validation::field::{FieldErrors, Path};

const RULE: &str = "cannot be set for a windows pod";

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
