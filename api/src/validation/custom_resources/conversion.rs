//! How a definition says that its versions are converted. Paths are those of upstream's own form of it.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use super::options::Options;
use crate::names;
use crate::object::Fields;
use crate::validation::admission::{service_path, webhook_url};
use crate::validation::field::{BadValue, FieldErrors, Path};

/// The versions of reviews that are known.
const KNOWN: [&str; 2] = ["v1", "v1beta1"];
const STRATEGIES: [&str; 2] = ["None", "Webhook"];

/// Judges `spec.conversion`.
pub(super) fn validate(spec: &Value, options: Options, at: &Path<'_>, errors: &mut FieldErrors) {
    let Some(conversion) = spec.field("conversion") else {
        return;
    };
    let (strategy, webhook) = (conversion.text("strategy"), &conversion["webhook"]);
    let at_strategy = at.child("strategy");
    if strategy != "None" && spec.flag("preserveUnknownFields") {
        let rule = "must be None if spec.preserveUnknownFields is true";
        errors.invalid(&at_strategy, strategy, rule);
    }
    match strategy {
        "" => errors.required(&at_strategy, ""),
        known if STRATEGIES.contains(&known) => {}
        other => errors.not_supported(&at_strategy, other, &STRATEGIES),
    }
    let (client, versions) = (
        at.child("webhookClientConfig"),
        at.child("conversionReviewVersions"),
    );
    if strategy == "Webhook" {
        match webhook.field("clientConfig") {
            None => errors.required(&client, "required when strategy is set to Webhook"),
            Some(config) => reached(config, webhook, options, &client, errors),
        }
        review_versions(webhook, options, &versions, errors);
        return;
    }
    let rule = "should not be set when strategy is not set to Webhook";
    if webhook.has("clientConfig") {
        errors.forbidden(&client, rule);
    }
    if !webhook.items("conversionReviewVersions").is_empty() {
        errors.forbidden(&versions, rule);
    }
}

fn reached(config: &Value, webhook: &Value, options: Options, at: &Path<'_>, errors: &mut FieldErrors) {
    match (config.field("url"), config.field("service")) {
        (Some(url), None) => webhook_url(url.as_str().unwrap_or_default(), &at.child("url"), errors),
        (None, Some(service)) => {
            let at = at.child("service");
            // Upstream takes the one for the other where it says which is missing.
            for (name, told) in [("namespace", "name"), ("name", "namespace")] {
                if service.text(name).is_empty() {
                    errors.required(&at.child(told), "");
                }
            }
            let port = service.number("port").unwrap_or(443);
            for fault in names::port_number(port) {
                errors.invalid(&at.child("port"), port, format!("port is not valid: {fault}"));
            }
            service_path(service.text("path"), &at.child("path"), errors);
        }
        _ => errors.required(at, "exactly one of url or service is required"),
    }
    if let Some(why) = unreadable_authorities(webhook).filter(|_| options.authorities) {
        let shown = BadValue::from(config.text("caBundle"));
        errors.invalid(&at.child("caBundle"), shown, why);
    }
}

/// Why nobody can be told by the authorities that a webhook names.
pub(super) fn unreadable_authorities(webhook: &Value) -> Option<&'static str> {
    let bundle = webhook["clientConfig"].text("caBundle");
    if bundle.is_empty() {
        return None;
    }
    let text = STANDARD.decode(bundle).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let Some((_, rest)) = text.split_once("-----BEGIN ") else {
        return Some("unable to load root certificates: unable to parse bytes as PEM block");
    };
    let is_certificate = |block: &str| {
        let body = block.strip_prefix("CERTIFICATE-----")?;
        let (body, _) = body.split_once("-----END CERTIFICATE-----")?;
        let body: String = body.split_ascii_whitespace().collect();
        let der = STANDARD.decode(body).ok()?;
        // A certificate is a sequence.
        (der.first() == Some(&0x30)).then_some(())
    };
    let mut blocks = rest.split("-----BEGIN ");
    if blocks.any(|block| is_certificate(block).is_some()) {
        return None;
    }
    Some("unable to load root certificates: no valid certificate authority data seen")
}

/// Whether a webhook takes reviews of a version that is known, or says nothing of versions.
pub(super) fn is_known_or_none(webhook: &Value) -> bool {
    let versions = webhook.items("conversionReviewVersions");
    versions.is_empty() || versions.iter().any(is_known)
}

fn is_known(version: &Value) -> bool {
    KNOWN.iter().any(|known| version == known)
}

fn review_versions(webhook: &Value, options: Options, at: &Path<'_>, errors: &mut FieldErrors) {
    let versions = webhook.items("conversionReviewVersions");
    if versions.is_empty() {
        return errors.required(at, "");
    }
    for (index, version) in versions.iter().enumerate() {
        let (at, text) = (at.index(index), version.as_str().unwrap_or_default());
        if versions[..index].contains(version) {
            errors.invalid(&at, text, "duplicate version");
            continue;
        }
        for fault in names::dns1035_label(text) {
            errors.invalid(&at, text, fault);
        }
    }
    if options.review_versions && !versions.iter().any(is_known) {
        let rule = format!("must include at least one of {}", KNOWN.join(", "));
        errors.invalid(at, &webhook["conversionReviewVersions"], rule);
    }
}
