//! APIServices: which server answers for a group and version.

use serde_json::Value;

use super::field::{FieldErrors, Path};
use super::meta::faults;
use crate::names;
use crate::object::Fields;
use crate::quote::quote;

const GROUP_PRIORITY_MAX: i64 = 20000;
const VERSION_PRIORITY_MAX: i64 = 1000;
/// How many bytes four characters of base64 stand for.
const BYTES_OF_FOUR: usize = 3;

pub(super) fn api_service(object: &Value, errors: &mut FieldErrors) {
    let (spec, at) = (&object["spec"], Path::new("spec"));
    let (group, version) = (spec.text("group"), spec.text("version"));
    let wanted = format!("{version}.{group}");
    for field in ["generateName", "name"] {
        let name = object["metadata"].text(field);
        if !name.is_empty() && names::path_segment(name).is_empty() && name != wanted {
            let rule = format!("must be `spec.version+\".\"+spec.group`: {}", quote(&wanted));
            errors.invalid(&Path::new("metadata").child(field), name, rule);
        }
    }
    match group {
        "" if version == "v1" => {}
        "" => errors.required(
            &at.child("group"),
            "only v1 may have an empty group and it better be legacy kube",
        ),
        group => faults(&at.child("group"), group, names::dns1123_subdomain(group), errors),
    }
    faults(
        &at.child("version"),
        version,
        names::dns1035_label(version),
        errors,
    );
    for (field, most) in [
        ("groupPriorityMinimum", GROUP_PRIORITY_MAX),
        ("versionPriority", VERSION_PRIORITY_MAX),
    ] {
        let priority = spec.number(field).unwrap_or_default();
        if !(1..=most).contains(&priority) {
            let rule = format!("must be positive and less than {most}");
            errors.invalid(&at.child(field), priority, rule);
        }
    }
    match spec.field("service") {
        Some(service) => remote(spec, service, &at, errors),
        None => local(spec, &at, errors),
    }
}

fn local(spec: &Value, at: &Path<'_>, errors: &mut FieldErrors) {
    let bundle = spec.text("caBundle");
    if !bundle.is_empty() {
        let padding = bundle.bytes().rev().take_while(|&b| b == b'=').count();
        let bytes = bundle.len() / 4 * BYTES_OF_FOUR - padding;
        let rule = "local APIServices may not have a caBundle";
        errors.invalid(&at.child("caBundle"), format!("{bytes} bytes").as_str(), rule);
    }
    if spec.flag("insecureSkipTLSVerify") {
        let rule = "local APIServices may not have insecureSkipTLSVerify";
        errors.invalid(&at.child("insecureSkipTLSVerify"), true, rule);
    }
}

fn remote(spec: &Value, service: &Value, at: &Path<'_>, errors: &mut FieldErrors) {
    let at_service = at.child("service");
    for name in ["namespace", "name"] {
        if service.text(name).is_empty() {
            errors.required(&at_service.child(name), "");
        }
    }
    let port = service.number("port").unwrap_or_default();
    for fault in names::port_number(port) {
        let rule = format!("port is not valid: {fault}");
        errors.invalid(&at_service.child("port"), port, rule);
    }
    if spec.flag("insecureSkipTLSVerify") && !spec.text("caBundle").is_empty() {
        let rule = "may not be true if caBundle is present";
        errors.invalid(&at.child("insecureSkipTLSVerify"), true, rule);
    }
}

pub(super) fn api_service_update(new: &Value, _: &Value, errors: &mut FieldErrors) {
    api_service(new, errors);
}

/// A condition holds, does not, or nobody knows.
pub(super) fn api_service_status(new: &Value, _: &Value, errors: &mut FieldErrors) {
    let (status, known) = (Path::new("status"), ["True", "False", "Unknown"]);
    let list = status.child("conditions");
    for (index, condition) in new["status"].items("conditions").iter().enumerate() {
        let found = condition.text("status");
        if !known.contains(&found) {
            errors.not_supported(&list.index(index).child("status"), found, &known);
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn names_are_those_of_group_and_version() {
        let mut errors = FieldErrors::new();
        let service = json!({"metadata": {"generateName": "a-", "name": "a-1"}, "spec": {
            "group": "example.com", "version": "v1", "groupPriorityMinimum": 1, "versionPriority": 1}});
        api_service(&service, &mut errors);
        let rule = r#"must be `spec.version+"."+spec.group`: "v1.example.com""#;
        let want = format!(
            "[metadata.generateName: Invalid value: \"a-\": {rule}, metadata.name: Invalid value: \"a-1\": {rule}]"
        );
        assert_eq!(errors.aggregate(), want);
    }

    #[test]
    fn conditions_have_one_of_three_statuses() {
        let mut errors = FieldErrors::new();
        let service = json!({"status": {"conditions": [{"status": "False"}, {}]}});
        api_service_status(&service, &Value::Null, &mut errors);
        assert_eq!(
            errors.aggregate(),
            r#"status.conditions[1].status: Unsupported value: "": supported values: "True", "False", "Unknown""#
        );
    }
}
