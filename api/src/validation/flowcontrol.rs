//! FlowSchemas and PriorityLevelConfigurations.

mod mandatory;

use serde_json::Value;

use super::field::{FieldErrors, Path};
use super::internal;
use super::meta::faults;
use crate::names;
use crate::object::Fields;

const PRECEDENCE_MAX: i64 = 10_000;
const QUEUES_MAX: i64 = 10_000_000;
/// How many bits of a hash there are to deal hands of queues from.
const HASH_BITS: f64 = 60.0;
const VERBS: [&str; 9] = [
    "create",
    "delete",
    "deletecollection",
    "get",
    "list",
    "patch",
    "proxy",
    "update",
    "watch",
];

pub(super) fn flow_schema(schema: &Value, errors: &mut FieldErrors) {
    let (spec, at) = (&schema["spec"], Path::new("spec"));
    precedence(schema, &at.child("matchingPrecedence"), errors);
    if let Some(method) = spec.field("distinguisherMethod")
        && !matches!(method.text("type"), "ByNamespace" | "ByUser")
    {
        errors.not_supported(
            &at.child("distinguisherMethod.type"),
            internal::shown(method, internal::DISTINGUISHER),
            &["ByNamespace", "ByUser"],
        );
    }
    let level = at.child("priorityLevelConfiguration.name");
    match spec["priorityLevelConfiguration"].text("name") {
        "" => errors.required(&level, "must reference a priority level"),
        name => faults(&level, name, names::dns1123_subdomain(name), errors),
    }
    let list = at.child("rules");
    for (index, rule) in spec.items("rules").iter().enumerate() {
        policy_rule(rule, &list.index(index), errors);
    }
    mandatory::flow_schema(schema, errors);
}

/// Conditions in a status, each of which is told once.
pub(super) fn status(object: &Value, errors: &mut FieldErrors) {
    let list = Path::new("status.conditions");
    let conditions = object["status"].items("conditions");
    for (index, condition) in conditions.iter().enumerate() {
        let (kind, at) = (condition.text("type"), list.index(index));
        if conditions[..index].iter().any(|other| other.text("type") == kind) {
            errors.duplicate(&at.child("type"), kind);
        }
        if kind.is_empty() {
            errors.required(&at.child("type"), "");
        }
    }
}

fn precedence(schema: &Value, at: &Path<'_>, errors: &mut FieldErrors) {
    let number = schema["spec"].number("matchingPrecedence").unwrap_or_default();
    if number <= 0 {
        errors.invalid(at, number, "must be a positive value");
    }
    if number > PRECEDENCE_MAX {
        errors.invalid(at, number, format!("must not be greater than {PRECEDENCE_MAX}"));
    }
    if number == 1 && schema["metadata"].text("name") != "exempt" {
        errors.invalid(
            at,
            number,
            "only the schema named 'exempt' may have matchingPrecedence 1",
        );
    }
}

fn policy_rule(rule: &Value, at: &Path<'_>, errors: &mut FieldErrors) {
    let subjects = at.child("subjects");
    if rule.count("subjects") == 0 {
        errors.required(&subjects, "subjects must contain at least one value");
    }
    for (index, one) in rule.items("subjects").iter().enumerate() {
        subject(one, &subjects.index(index), errors);
    }
    if rule.count("resourceRules") == 0 && rule.count("nonResourceRules") == 0 {
        errors.required(
            at,
            "at least one of resourceRules and nonResourceRules has to be non-empty",
        );
    }
    let list = at.child("resourceRules");
    for (index, one) in rule.items("resourceRules").iter().enumerate() {
        resource_rule(one, &list.index(index), errors);
    }
    let list = at.child("nonResourceRules");
    for (index, one) in rule.items("nonResourceRules").iter().enumerate() {
        let at = list.index(index);
        verbs(one, &at.child("verbs"), errors);
        urls(one, &at.child("nonResourceURLs"), errors);
    }
}

fn subject(subject: &Value, at: &Path<'_>, errors: &mut FieldErrors) {
    let kinds = [
        ("ServiceAccount", "serviceAccount"),
        ("User", "user"),
        ("Group", "group"),
    ];
    let kind = subject.text("kind");
    let Some((_, own)) = kinds.iter().find(|(name, _)| *name == kind) else {
        errors.not_supported(&at.child("kind"), kind, &["Group", "ServiceAccount", "User"]);
        return;
    };
    match subject.field(own) {
        None => errors.required(
            &at.child(own),
            format!("{own} is required when subject kind is '{kind}'"),
        ),
        Some(named) => subject_name(named, kind, &at.child(own), errors),
    }
    for (other_kind, other) in kinds.iter().filter(|(_, name)| name != own && subject.has(name)) {
        let rule = format!("{other} is forbidden when subject kind is not '{other_kind}'");
        errors.forbidden(&at.child(other), rule);
    }
}

fn subject_name(named: &Value, kind: &str, at: &Path<'_>, errors: &mut FieldErrors) {
    let name = named.text("name");
    if name.is_empty() {
        errors.required(&at.child("name"), "");
    }
    if kind != "ServiceAccount" {
        return;
    }
    if !matches!(name, "" | "*") {
        faults(&at.child("name"), name, names::dns1123_subdomain(name), errors);
    }
    match named.text("namespace") {
        "" => errors.required(
            &at.child("namespace"),
            "must specify namespace for service account",
        ),
        namespace => faults(
            &at.child("namespace"),
            namespace,
            names::dns1123_label(namespace),
            errors,
        ),
    }
}

/// Whether a list names everything by `*`; it must then name nothing else.
fn wildcard(rule: &Value, name: &str, what: &str, at: &Path<'_>, errors: &mut FieldErrors) -> bool {
    let found = rule.items(name).iter().any(|item| item == "*");
    if found && rule.count(name) > 1 {
        errors.invalid(
            at,
            &rule[name],
            format!("if '*' is present, must not specify other {what}"),
        );
    }
    found
}

fn verbs(rule: &Value, at: &Path<'_>, errors: &mut FieldErrors) {
    if rule.count("verbs") == 0 {
        errors.required(at, "verbs must contain at least one value");
    } else if !wildcard(rule, "verbs", "verbs", at, errors)
        && !rule
            .items("verbs")
            .iter()
            .all(|verb| verb.as_str().is_some_and(|verb| VERBS.contains(&verb)))
    {
        errors.not_supported(at, &rule["verbs"], &VERBS);
    }
}

fn urls(rule: &Value, at: &Path<'_>, errors: &mut FieldErrors) {
    if rule.count("nonResourceURLs") == 0 {
        errors.required(at, "nonResourceURLs must contain at least one value");
    } else if !wildcard(rule, "nonResourceURLs", "non-resource URLs", at, errors) {
        for (index, url) in rule.items("nonResourceURLs").iter().enumerate() {
            let url = url.as_str().unwrap_or_default();
            if let Some(fault) = url_fault(url) {
                errors.invalid(&at.index(index), url, fault);
            }
        }
    }
}

fn url_fault(url: &str) -> Option<&'static str> {
    match url {
        "" => Some("must not be empty"),
        "/" => None,
        _ if !url.starts_with('/') => Some("must start with slash"),
        _ if url.contains(' ') => Some("must not contain white-space"),
        _ if url.contains("//") => Some("must not contain double slash"),
        _ => match url.matches('*').count() {
            0 => None,
            1 if url.ends_with("/*") => None,
            _ => Some("wildcard can only do suffix matching"),
        },
    }
}

fn resource_rule(rule: &Value, at: &Path<'_>, errors: &mut FieldErrors) {
    verbs(rule, &at.child("verbs"), errors);
    for (name, one, several) in [
        ("apiGroups", "api group", "api groups"),
        ("resources", "resource", "resources"),
    ] {
        if rule.count(name) == 0 {
            errors.required(
                &at.child(name),
                format!("resource rules must supply at least one {one}"),
            );
        }
        wildcard(rule, name, several, &at.child(name), errors);
    }
    let at = at.child("namespaces");
    if rule.count("namespaces") == 0 && !rule.flag("clusterScope") {
        errors.required(
            &at,
            "resource rules that are not cluster scoped must supply at least one namespace",
        );
    } else if !wildcard(rule, "namespaces", "namespaces", &at, errors) {
        for (index, namespace) in rule.items("namespaces").iter().enumerate() {
            let namespace = namespace.as_str().unwrap_or_default();
            for fault in names::dns1123_label(namespace) {
                let rule = format!("each member of this list must be '*' or a DNS-1123 label; {fault}");
                errors.invalid(&at.index(index), namespace, rule);
            }
        }
    }
}

pub(super) fn priority_level(level: &Value, errors: &mut FieldErrors) {
    let (spec, at) = (&level["spec"], Path::new("spec"));
    let kind = spec.text("type");
    if (level["metadata"].text("name") == "exempt") != (kind == "Exempt") {
        errors.invalid(
            &at.child("type"),
            kind,
            "must be 'Exempt' if and only if `name` is 'exempt'",
        );
    }
    let (at_limited, at_exempt) = (at.child("limited"), at.child("exempt"));
    match (kind, spec.field("limited"), spec.field("exempt")) {
        ("Exempt", limited, exempt) => {
            if limited.is_some() {
                errors.forbidden(&at_limited, "must be nil if the type is not Limited");
            }
            if let Some(exempt) = exempt {
                shares(exempt, &at_exempt, errors);
            }
        }
        ("Limited", limited, exempt) => {
            if exempt.is_some() {
                errors.forbidden(&at_exempt, "must be nil if the type is Limited");
            }
            match limited {
                None => errors.required(&at_limited, "must not be empty when type is Limited"),
                Some(limited) => self::limited(limited, &at_limited, errors),
            }
        }
        ("", ..) => errors.required(&at.child("type"), ""),
        (other, ..) => errors.not_supported(&at.child("type"), other, &["Exempt", "Limited"]),
    }
    mandatory::priority_level(level, errors);
}

fn shares(level: &Value, at: &Path<'_>, errors: &mut FieldErrors) {
    if let Some(shares) = level
        .number("nominalConcurrencyShares")
        .filter(|&shares| shares < 0)
    {
        errors.invalid(
            &at.child("nominalConcurrencyShares"),
            shares,
            "must be a non-negative integer",
        );
    }
    if let Some(percent) = level
        .number("lendablePercent")
        .filter(|percent| !(0..=100).contains(percent))
    {
        errors.invalid(
            &at.child("lendablePercent"),
            percent,
            "must be between 0 and 100, inclusive",
        );
    }
}

fn limited(limited: &Value, at: &Path<'_>, errors: &mut FieldErrors) {
    shares(limited, at, errors);
    let response = &limited["limitResponse"];
    let at_response = at.child("limitResponse");
    match (response.text("type"), response.field("queuing")) {
        ("Reject", Some(_)) => {
            let rule = "must be nil if limited.limitResponse.type is not Limited";
            errors.forbidden(&at_response.child("queuing"), rule);
        }
        ("Reject", None) => {}
        ("Queue", None) => {
            let rule = "must not be empty if limited.limitResponse.type is Limited";
            errors.required(&at_response.child("queuing"), rule);
        }
        ("Queue", Some(queuing)) => self::queuing(queuing, &at_response.child("queuing"), errors),
        ("", _) => errors.required(&at_response.child("type"), ""),
        (other, _) => errors.not_supported(&at_response.child("type"), other, &["Queue", "Reject"]),
    }
    if let Some(percent) = limited
        .number("borrowingLimitPercent")
        .filter(|&percent| percent < 0)
    {
        let rule = "if specified, must be a non-negative integer";
        errors.invalid(&at.child("borrowingLimitPercent"), percent, rule);
    }
}

fn queuing(queuing: &Value, at: &Path<'_>, errors: &mut FieldErrors) {
    let number = |name: &str| queuing.number(name).unwrap_or_default();
    let (queues, hand) = (number("queues"), number("handSize"));
    for name in ["queueLengthLimit", "queues", "handSize"]
        .into_iter()
        .filter(|name| number(name) <= 0)
    {
        errors.invalid(&at.child(name), number(name), "must be positive");
    }
    if queues > QUEUES_MAX {
        errors.invalid(
            &at.child("queues"),
            queues,
            format!("must not be greater than {QUEUES_MAX}"),
        );
    }
    if hand <= 0 {
        return;
    }
    let at = at.child("handSize");
    if hand > queues {
        errors.invalid(&at, hand, format!("should not be greater than queues ({queues})"));
    } else if entropy_bits(queues, hand) > HASH_BITS {
        let rule = format!(
            "required entropy bits of deckSize {queues} and handSize {hand} should not be greater than {HASH_BITS}"
        );
        errors.invalid(&at, hand, rule);
    }
}

/// How many bits it takes to deal `hand` of `queues` without order.
fn entropy_bits(queues: i64, hand: i64) -> f64 {
    #[allow(clippy::cast_precision_loss, reason = "numbers of queues are far below 2^52")]
    let bits = |n: i64| (n as f64).log2();
    (0..hand).map(|dealt| bits(queues - dealt)).sum::<f64>().ceil()
}
