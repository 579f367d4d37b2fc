//! ResourceSlices: the devices that a driver offers on a node, or on several.

use std::sync::LazyLock;

use regex::Regex;
use serde_json::Value;

use super::{EFFECTS, bounded, label, pool_name, qualified, text, unique};
use crate::names;
use crate::object::{Fields, same};
use crate::quantity::Quantity;
use crate::validation::core::storage::driver_name;
use crate::validation::field::{FieldErrors, Path};
use crate::validation::internal;
use crate::validation::meta::{faults, immutable, immutable_text};
use crate::validation::pod::amount;
use crate::validation::selector::node_selector;

const DEVICES_MAX: usize = 128;
/// With taints, counters or lists of values, devices are larger, so there may be fewer.
const LARGE_DEVICES_MAX: usize = 64;
const COUNTER_SETS_MAX: usize = 8;
const COUNTERS_MAX: usize = 32;
const CONSUMPTIONS_MAX: usize = 2;
const TAINTS_MAX: usize = 16;
const PROPERTIES_MAX: usize = 32;
const VALUES_MAX: usize = 48;
const VALUE_MAX: usize = 64;
const CONDITIONS_MAX: usize = 4;
const CHOICES_MAX: usize = 10;
/// The longest key that a path shows whole: a domain, a slash, an identifier.
const KEY_SHOWN_MAX: usize = 63 + 1 + 32;
const VALUES: [&str; 4] = ["bool", "int", "string", "version"];
const LISTS: [&str; 4] = ["bools", "ints", "strings", "versions"];

static VERSION: LazyLock<Regex> = LazyLock::new(|| {
    let number = r"(0|[1-9][0-9]*)";
    let before = r"(0|[1-9][0-9]*|[0-9]*[a-zA-Z-][0-9a-zA-Z-]*)";
    let build = r"[0-9a-zA-Z-]+";
    Regex::new(&format!(
        r"^{number}\.{number}\.{number}(-{before}(\.{before})*)?(\+{build}(\.{build})*)?$"
    ))
    .expect("a constant pattern")
});

pub(in crate::validation) fn slice(slice: &Value, errors: &mut FieldErrors) {
    spec(&slice["spec"], None, errors);
}

pub(in crate::validation) fn slice_update(new: &Value, old: &Value, errors: &mut FieldErrors) {
    spec(&new["spec"], Some(&old["spec"]), errors);
}

fn spec(spec: &Value, before: Option<&Value>, errors: &mut FieldErrors) {
    let at = Path::new("spec");
    driver_name(spec.text("driver"), &at.child("driver"), errors);
    pool(&spec["pool"], &at.child("pool"), errors);
    if let Some(before) = before {
        let (name, was) = (spec["pool"].field("name"), before["pool"].field("name"));
        immutable_text(name, was, &at.child("pool.name"), errors);
        for name in ["driver", "nodeName"] {
            immutable(spec.field(name), before.field(name), &at.child(name), errors);
        }
    }
    let all = "exactly one of `nodeName`, `nodeSelector`, `allNodes`, `perDeviceNodeSelection` is required";
    let several = format!("{all}, but multiple fields are set");
    one_placement(
        spec,
        "must be either unset or set to a non-empty string",
        (all, &several),
        &at,
        errors,
    );
    if spec.has("sharedCounters") && spec.has("devices") {
        errors.invalid(&at, "", "only one of `sharedCounters` or `devices` is allowed");
    }
    devices(spec, before, &at.child("devices"), errors);
    let (sets, list) = (spec.items("sharedCounters"), at.child("sharedCounters"));
    bounded(sets, COUNTER_SETS_MAX, &list, errors, |set, at, errors| {
        required_label(set.text("name"), &at.child("name"), errors);
        counters(set, &at.child("counters"), errors);
    });
    if sets.len() <= COUNTER_SETS_MAX {
        unique(sets, &list, errors, |set| set.text("name"));
    }
}

fn pool(pool: &Value, at: &Path<'_>, errors: &mut FieldErrors) {
    pool_name(pool.text("name"), &at.child("name"), errors);
    let count = pool.number("resourceSliceCount").unwrap_or_default();
    if count <= 0 {
        errors.invalid(
            &at.child("resourceSliceCount"),
            count,
            "must be greater than zero",
        );
    }
    if let Some(generation) = pool.number("generation").filter(|&number| number < 0) {
        let rule = "must be greater than or equal to zero";
        errors.invalid(&at.child("generation"), generation, rule);
    }
}

/// Where devices are: said in one way. `rules` are for none and for several.
fn one_placement(
    object: &Value,
    no_name: &str,
    rules: (&str, &str),
    at: &Path<'_>,
    errors: &mut FieldErrors,
) {
    let mut set = Vec::new();
    match object.field("nodeName").map(text) {
        Some("") => errors.invalid(&at.child("nodeName"), "", no_name),
        Some(name) => {
            set.push("`nodeName`");
            faults(
                &at.child("nodeName"),
                name,
                names::dns1123_subdomain(name),
                errors,
            );
        }
        None => {}
    }
    if let Some(selector) = object.field("nodeSelector") {
        set.push("`nodeSelector`");
        let at = at.child("nodeSelector");
        node_selector(selector, &at, errors);
        // Selectors of slices are merged, which is simple for one term.
        if object.has("pool") && selector.count("nodeSelectorTerms") != 1 {
            let terms = internal::shown_items(selector, "nodeSelectorTerms", internal::NODE_TERM);
            let at = at.child("nodeSelectorTerms");
            errors.invalid(&at, terms, "must have exactly one node selector term");
        }
    }
    for (name, shown) in [
        ("allNodes", "`allNodes`"),
        ("perDeviceNodeSelection", "`perDeviceNodeSelection`"),
    ] {
        match object.field(name).and_then(Value::as_bool) {
            Some(true) => set.push(shown),
            Some(false) => errors.invalid(&at.child(name), false, "must be either unset or set to true"),
            None => {}
        }
    }
    match set.len() {
        0 => errors.required(at, rules.0),
        1 => {}
        _ => errors.invalid(at, format!("{{{}}}", set.join(", ")).as_str(), rules.1),
    }
}

fn devices(spec: &Value, before: Option<&Value>, list: &Path<'_>, errors: &mut FieldErrors) {
    let devices = spec.items("devices");
    let has_lists = |device: &Value| {
        let mut attributes = device.entries("attributes");
        attributes.any(|(_, attribute)| LISTS.iter().any(|name| attribute.has(name)))
    };
    let large = |device: &Value| {
        device.count("taints") > 0 || device.count("consumesCounters") > 0 || has_lists(device)
    };
    let most = if devices.iter().any(large) {
        LARGE_DEVICES_MAX
    } else {
        DEVICES_MAX
    };
    let placed_alone = spec.flag("perDeviceNodeSelection");
    bounded(devices, most, list, errors, |one, at, errors| {
        let same_name = |other: &&Value| other.text("name") == one.text("name");
        let was = before.and_then(|spec| spec.items("devices").iter().find(same_name));
        device(one, was, placed_alone, at, errors);
    });
    if devices.len() <= most {
        unique(devices, list, errors, |one| one.text("name"));
    }
}

fn device(device: &Value, was: Option<&Value>, placed_alone: bool, at: &Path<'_>, errors: &mut FieldErrors) {
    label(device.text("name"), &at.child("name"), errors);
    sizes(device, at, errors);
    let list = at.child("attributes");
    for (name, attribute) in device.entries("attributes") {
        qualified(name, &list, errors);
        self::attribute(attribute, &list.key(&shown_key(name)), errors);
    }
    let list = at.child("capacity");
    for (name, capacity) in device.entries("capacity") {
        qualified(name, &list, errors);
        let shared = device.flag("allowMultipleAllocations");
        self::capacity(capacity, shared, &list.key(&shown_key(name)), errors);
    }
    if was.is_none_or(|was| !same(was.get("taints"), device.get("taints"))) {
        bounded(
            device.items("taints"),
            TAINTS_MAX,
            &at.child("taints"),
            errors,
            taint,
        );
    }
    let (consumptions, list) = (device.items("consumesCounters"), at.child("consumesCounters"));
    bounded(
        consumptions,
        CONSUMPTIONS_MAX,
        &list,
        errors,
        |one, at, errors| {
            required_label(one.text("counterSet"), &at.child("counterSet"), errors);
            counters(one, &at.child("counters"), errors);
        },
    );
    if consumptions.len() <= CONSUMPTIONS_MAX {
        unique(consumptions, &list, errors, |one| one.text("counterSet"));
    }
    if placed_alone {
        let rule = "exactly one of `nodeName`, `nodeSelector`, or `allNodes` is required when `perDeviceNodeSelection` is set to true in the ResourceSlice spec";
        one_placement(device, "must not be empty", (rule, rule), at, errors);
    } else if ["nodeName", "nodeSelector", "allNodes"]
        .iter()
        .any(|name| device.has(name))
    {
        let rule = "`nodeName`, `nodeSelector` and `allNodes` can only be set if `perDeviceNodeSelection` is set to true in the ResourceSlice spec";
        errors.invalid(at, &Value::Null, rule);
    }
    binding_conditions(device, at, errors);
}

/// A key in a path, without its middle when it is too long.
fn shown_key(key: &str) -> String {
    if key.len() <= KEY_SHOWN_MAX || !key.is_ascii() {
        return key.to_owned();
    }
    let rest = KEY_SHOWN_MAX - "...".len();
    format!("{}...{}", &key[..rest.div_ceil(2)], &key[key.len() - rest / 2..])
}

fn number_shown(number: usize) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn sizes(device: &Value, at: &Path<'_>, errors: &mut FieldErrors) {
    let properties = device.count("attributes") + device.count("capacity");
    if properties > PROPERTIES_MAX {
        let rule = format!("the total number of attributes and capacities must not exceed {PROPERTIES_MAX}");
        errors.invalid(at, number_shown(properties), rule);
    }
    let values_of = |attribute: &Value| {
        LISTS
            .iter()
            .map(|name| attribute.count(name))
            .sum::<usize>()
            .max(1)
    };
    let values: usize = device.entries("attributes").map(|(_, one)| values_of(one)).sum();
    if values > VALUES_MAX {
        let rule = format!("the total number of attribute values must not exceed {VALUES_MAX}");
        errors.invalid(at, number_shown(values), rule);
    }
}

fn required_label(name: &str, at: &Path<'_>, errors: &mut FieldErrors) {
    match name {
        "" => errors.required(at, ""),
        name => label(name, at, errors),
    }
}

fn counters(object: &Value, at: &Path<'_>, errors: &mut FieldErrors) {
    match object.count("counters") {
        0 => errors.required(at, ""),
        found if found > COUNTERS_MAX => errors.too_many(at, found, COUNTERS_MAX),
        _ => {
            for (name, _) in object.entries("counters") {
                label(name, at, errors);
            }
        }
    }
}

fn attribute(attribute: &Value, at: &Path<'_>, errors: &mut FieldErrors) {
    for (name, is_version) in [("string", false), ("version", true)] {
        if let Some(value) = attribute.field(name) {
            attribute_text(text(value), is_version, &at.child(name), errors);
        }
    }
    for (name, is_version) in [
        ("bools", None),
        ("ints", None),
        ("strings", Some(false)),
        ("versions", Some(true)),
    ] {
        let at = at.child(name);
        if attribute.has(name) && attribute.count(name) == 0 {
            errors.invalid(&at, &attribute[name], "must not be empty if specified");
        }
        let Some(is_version) = is_version else { continue };
        for (index, value) in attribute.items(name).iter().enumerate() {
            attribute_text(text(value), is_version, &at.index(index), errors);
        }
    }
    let set = VALUES.iter().chain(&LISTS).filter(|name| attribute.has(name));
    match set.count() {
        1 => {}
        0 => errors.invalid(at, "", "exactly one value must be specified"),
        _ => errors.invalid(at, attribute, "exactly one value must be specified"),
    }
}

fn attribute_text(value: &str, is_version: bool, at: &Path<'_>, errors: &mut FieldErrors) {
    if is_version && !VERSION.is_match(value) {
        let rule = "must be a string compatible with semver.org spec 2.0.0";
        errors.invalid(at, value, rule);
    }
    if value.len() > VALUE_MAX {
        errors.too_long(at, VALUE_MAX);
    }
}

fn capacity(capacity: &Value, shared: bool, at: &Path<'_>, errors: &mut FieldErrors) {
    let Some(policy) = capacity.field("requestPolicy") else {
        return;
    };
    let at = at.child("requestPolicy");
    if !shared {
        return errors.forbidden(&at, "allowMultipleAllocations must be true");
    }
    let most = &capacity["value"];
    let choices = policy.count("validValues") > 0;
    match policy.field("validRange") {
        Some(_) if choices => errors.forbidden(
            &at,
            "exactly one policy can be specified, cannot specify \"validValues\" and \"validRange\" at the same time",
        ),
        Some(range) => match policy.field("default") {
            Some(default) => self::range(range, default, most, &at.child("validRange"), errors),
            None => errors.required(&at.child("default"), "required when validRange is defined"),
        },
        None if choices => match policy.field("default") {
            Some(default) => choice(policy.items("validValues"), default, most, &at.child("validValues"), errors),
            None => errors.required(&at.child("default"), "required when validValues is defined"),
        },
        None => {}
    }
}

fn choice(choices: &[Value], default: &Value, most: &Value, at: &Path<'_>, errors: &mut FieldErrors) {
    for (index, pair) in choices.windows(2).enumerate() {
        if amount(&pair[0]) > amount(&pair[1]) {
            let rule = "values must be sorted in ascending order";
            errors.invalid(&at.index(index + 1), &pair[1], rule);
        }
    }
    bounded(choices, CHOICES_MAX, at, errors, |one, at, errors| {
        if amount(one) > amount(most) {
            let rule = format!("option is larger than capacity value: {}", text(most));
            errors.invalid(at, one, rule);
        }
    });
    unique(choices, at, errors, text);
    if !choices.iter().any(|one| amount(one) == amount(default)) {
        errors.invalid(
            at,
            default,
            "default value is not valid according to the requestPolicy",
        );
    }
}

fn range(range: &Value, default: &Value, most: &Value, at: &Path<'_>, errors: &mut FieldErrors) {
    let Some(min) = range.field("min") else {
        return errors.required(&at.child("min"), "required when validRange is defined");
    };
    let at_min = at.child("min");
    if amount(min) > amount(most) {
        errors.invalid(
            &at_min,
            min,
            format!("min is larger than capacity value: {}", text(most)),
        );
    }
    if amount(default) < amount(min) {
        errors.invalid(
            &at_min,
            default,
            format!("default is less than min: {}", text(min)),
        );
    }
    let max = range.field("max");
    if let Some(max) = max {
        let at = at.child("max");
        if amount(min) > amount(max) {
            errors.invalid(&at, min, format!("min is larger than max: {}", text(max)));
        }
        if amount(max) > amount(most) {
            errors.invalid(
                &at,
                max,
                format!("max is larger than capacity value: {}", text(most)),
            );
        }
        if amount(default) > amount(max) {
            errors.invalid(&at, default, format!("default is more than max: {}", text(max)));
        }
    }
    let Some(step) = range.field("step") else {
        return;
    };
    let at = at.child("step");
    for value in [Some(default), max].into_iter().flatten() {
        if !is_step(amount(value), amount(min), amount(step)) {
            let rule = format!(
                "value is not a multiple of a given step ({}) from ({})",
                text(step),
                text(min)
            );
            errors.invalid(&at, value, rule);
        }
    }
}

fn is_step(value: Quantity, min: Quantity, step: Quantity) -> bool {
    let step = step.value();
    step != 0 && (value.value() - min.value()) % step == 0
}

fn taint(taint: &Value, at: &Path<'_>, errors: &mut FieldErrors) {
    let (key, value) = (taint.text("key"), taint.text("value"));
    faults(&at.child("key"), key, names::qualified_name(key), errors);
    faults(&at.child("value"), value, names::label_value(value), errors);
    match taint.text("effect") {
        "" => errors.required(&at.child("effect"), ""),
        effect if EFFECTS.contains(&effect) => {}
        effect => errors.not_supported(&at.child("effect"), effect, &EFFECTS),
    }
}

fn binding_conditions(device: &Value, at: &Path<'_>, errors: &mut FieldErrors) {
    let names = ["bindingConditions", "bindingFailureConditions"];
    let lists = names.map(|name| device.items(name));
    for (name, list) in names.into_iter().zip(lists) {
        bounded(
            list,
            CONDITIONS_MAX,
            &at.child(name),
            errors,
            |one, at, errors| {
                faults(at, text(one), names::qualified_name(text(one)), errors);
            },
        );
        unique(list, &at.child(name), errors, text);
    }
    let [conditions, failures] = lists;
    for (index, condition) in failures
        .iter()
        .enumerate()
        .filter(|(_, one)| conditions.contains(one))
    {
        let rule = "bindingFailureConditions must not overlap with bindingConditions";
        errors.invalid(&at.child(names[1]).index(index), condition, rule);
    }
    let missing = |name: &str, other: &str| format!("{name} are required to use {other}");
    if conditions.is_empty() != failures.is_empty() {
        let (name, other) = if conditions.is_empty() {
            (names[0], names[1])
        } else {
            (names[1], names[0])
        };
        errors.invalid(&at.child(name), &device[name], missing(name, other));
    }
}
