//! Pod templates, and how they fit the selectors of their controllers.

use serde_json::Value;

use super::spec::pod_spec;
use crate::object::Fields;
use crate::selector::LabelSelector;
use crate::validation::field::{FieldErrors, Path};
use crate::validation::meta::{annotations, labels};

/// A `core.PodTemplateSpec`.
pub(in crate::validation) fn template_spec(template: &Value, at: &Path<'_>, errors: &mut FieldErrors) {
    let meta = &template["metadata"];
    labels(meta, "labels", at, errors);
    annotations(meta, at, errors);
    pod_spec(&template["spec"], None, &at.child("spec"), errors);
    if template["spec"].count("ephemeralContainers") > 0 {
        let rule = "ephemeral containers not allowed in pod template";
        errors.forbidden(&at.child("spec.ephemeralContainers"), rule);
    }
}

/// A `core.PodTemplate` object.
pub(in crate::validation) fn pod_template(object: &Value, errors: &mut FieldErrors) {
    template_spec(&object["template"], &Path::new("template"), errors);
}

/// A template of pods that run on and on, made by a controller of this `kind`, which selects them.
pub(in crate::validation) fn for_controller(
    template: &Value,
    selector: &LabelSelector,
    kind: &str,
    at: &Path<'_>,
    errors: &mut FieldErrors,
) {
    selected(template, selector, at, errors);
    template_spec(template, at, errors);
    runs_on(template, kind, at, errors);
}

/// The selector selects the template's labels.
pub(in crate::validation) fn selected(
    template: &Value,
    selector: &LabelSelector,
    at: &Path<'_>,
    errors: &mut FieldErrors,
) {
    let labels = template["metadata"].field("labels");
    if !selector.is_everything() && !selector.matches_labels(labels) {
        let rule = "`selector` does not match template `labels`";
        errors.invalid(&at.child("metadata.labels"), labels.unwrap_or(&Value::Null), rule);
    }
}

/// The pods are restarted for ever.
pub(in crate::validation) fn runs_on(template: &Value, kind: &str, at: &Path<'_>, errors: &mut FieldErrors) {
    let spec = &template["spec"];
    if spec.text("restartPolicy") != "Always" {
        errors.not_supported(
            &at.child("spec.restartPolicy"),
            spec.text("restartPolicy"),
            &["Always"],
        );
    }
    if spec.has("activeDeadlineSeconds") {
        let rule = format!("activeDeadlineSeconds in {kind} is not Supported");
        errors.forbidden(&at.child("spec.activeDeadlineSeconds"), rule);
    }
}
