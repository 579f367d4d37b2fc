//! `LimitRanger`: containers of a namespace get the requests and limits that its LimitRanges say, and pods and claims stay
//! within their bounds.

use std::sync::Arc;

use coracle_api::amounts::{self, Amounts, Counting};
use coracle_api::object::Fields;
use coracle_api::quantity::Quantity;
use coracle_api::status::ApiError;
use serde_json::{Map, Value, json};

use super::{Attributes, Operation};
use crate::reader::{GroupResource, ObjectReader};

const ANNOTATION: &str = "kubernetes.io/limit-ranger";
/// Above it, amounts are compared as whole numbers.
const MILLI_MAX: i64 = i64::MAX / 1000;

fn ranges(attributes: &Attributes<'_>, reader: &dyn ObjectReader) -> Vec<Arc<Value>> {
    reader.list(&GroupResource::new("", "limitranges"), attributes.namespace)
}

/// Fills in what containers of a new pod do not say.
pub(super) fn admit(
    attributes: &Attributes<'_>,
    object: &mut Value,
    _old: Option<&Value>,
    reader: &dyn ObjectReader,
) -> Result<(), ApiError> {
    if !attributes.is("", "pods") || attributes.operation != Operation::Create {
        return Ok(());
    }
    for range in ranges(attributes, reader) {
        fill(object, &range);
    }
    Ok(())
}

/// Holds a new pod, or a claim, within the bounds.
pub(super) fn validate(
    attributes: &Attributes<'_>,
    object: Option<&Value>,
    old: Option<&Value>,
    reader: &dyn ObjectReader,
) -> Result<(), ApiError> {
    let of_pod = attributes.is("", "pods") && attributes.operation == Operation::Create;
    let of_claim = attributes.is("", "persistentvolumeclaims") && attributes.operation != Operation::Delete;
    let going = old.is_some_and(|old| old["metadata"].has("deletionTimestamp"));
    let Some(object) = object.filter(|_| (of_pod || of_claim) && !going) else {
        return Ok(());
    };
    for range in ranges(attributes, reader) {
        let mut faults = Vec::new();
        for limit in range["spec"].items("limits") {
            match limit.text("type") {
                "PersistentVolumeClaim" if of_claim => claim(limit, &object["spec"], &mut faults),
                "Container" if of_pod => {
                    for container in containers(&object["spec"]) {
                        let amounts = |name: &str| amounts::read(&container["resources"][name]);
                        bounds(limit, &amounts("requests"), &amounts("limits"), &mut faults);
                    }
                }
                "Pod" if of_pod => {
                    let total = |name: &str| amounts::of_pod(object, name, Counting::default());
                    bounds(limit, &total("requests"), &total("limits"), &mut faults);
                }
                _ => {}
            }
        }
        let mut seen = Vec::new();
        faults.retain(|fault| {
            !seen.contains(fault) && {
                seen.push(fault.clone());
                true
            }
        });
        match faults.as_slice() {
            [] => {}
            [only] => return Err(attributes.forbidden(only)),
            several => return Err(attributes.forbidden(&format!("[{}]", several.join(", ")))),
        }
    }
    Ok(())
}

fn containers(spec: &Value) -> impl Iterator<Item = &Value> {
    spec.items("containers")
        .iter()
        .chain(spec.items("initContainers"))
}

fn fill(pod: &mut Value, range: &Value) {
    let defaults = |name: &str| {
        let mut all = Map::new();
        for limit in range["spec"].items("limits") {
            if limit.text("type") == "Container" {
                all.extend(
                    limit
                        .entries(name)
                        .map(|(name, value)| (name.to_owned(), value.clone())),
                );
            }
        }
        all
    };
    let (requests, limits) = (defaults("defaultRequest"), defaults("default"));
    let mut told = Vec::new();
    for (list, what) in [("containers", "container"), ("initContainers", "init container")] {
        let items = pod["spec"].get_mut(list).and_then(Value::as_array_mut);
        for container in items.into_iter().flatten() {
            for (name, word, defaults) in [("requests", "request", &requests), ("limits", "limit", &limits)] {
                let set = fill_amounts(container, name, defaults);
                if !set.is_empty() {
                    let container = container.text("name");
                    told.push(format!("{} {word} for {what} {container}", set.join(", ")));
                }
            }
        }
    }
    if !told.is_empty() {
        if !pod["metadata"]["annotations"].is_object() {
            pod["metadata"]["annotations"] = json!({});
        }
        let told = format!("LimitRanger plugin set: {}", told.join("; "));
        pod["metadata"]["annotations"][ANNOTATION] = told.into();
    }
}

/// The names of those amounts that were not there and are now.
fn fill_amounts(container: &mut Value, name: &str, defaults: &Map<String, Value>) -> Vec<String> {
    let missing: Vec<_> = defaults
        .iter()
        .filter(|(resource, _)| !container["resources"][name].has(resource))
        .collect();
    for (resource, value) in &missing {
        container["resources"][name][resource.as_str()] = (*value).clone();
    }
    missing
        .into_iter()
        .map(|(resource, _)| resource.clone())
        .collect()
}

/// A bound and the amounts that are held against it, in a unit that all of them fit.
struct Bound<'a> {
    kind: &'a str,
    resource: &'a str,
    /// As the LimitRange writes it.
    enforced: &'a str,
    value: i64,
    request: Option<(&'a Quantity, i64)>,
    limit: Option<(&'a Quantity, i64)>,
}

impl<'a> Bound<'a> {
    fn new(
        limit: &'a Value,
        resource: &'a str,
        enforced: &'a Value,
        requests: &'a Amounts,
        limits: &'a Amounts,
    ) -> Self {
        let text = enforced.as_str().unwrap_or_default();
        let value: Quantity = text.parse().unwrap_or(Quantity::ZERO);
        let (request, limit_amount) = (requests.get(resource), limits.get(resource));
        let all = [Some(&value), request, limit_amount];
        let fine = all.iter().flatten().all(|amount| amount.value() <= MILLI_MAX);
        let number = |amount: &Quantity| {
            if fine {
                amount.milli_value()
            } else {
                amount.value()
            }
        };
        Self {
            kind: limit.text("type"),
            resource,
            enforced: text,
            value: number(&value),
            request: request.map(|amount| (amount, number(amount))),
            limit: limit_amount.map(|amount| (amount, number(amount))),
        }
    }

    fn says(&self, bound: &str) -> String {
        format!(
            "{bound} {} usage per {} is {}",
            self.resource, self.kind, self.enforced
        )
    }

    fn min(&self) -> Option<String> {
        let says = self.says("minimum");
        match (self.request, self.limit) {
            (None, _) => Some(format!("{says}.  No request is specified")),
            (Some((request, value)), _) if value < self.value => {
                Some(format!("{says}, but request is {request}"))
            }
            (_, Some((limit, value))) if value < self.value => Some(format!("{says}, but limit is {limit}")),
            _ => None,
        }
    }

    fn max(&self) -> Option<String> {
        let says = self.says("maximum");
        match (self.limit, self.request) {
            (None, _) => Some(format!("{says}.  No limit is specified")),
            (Some((limit, value)), _) if value > self.value => Some(format!("{says}, but limit is {limit}")),
            (_, Some((request, value))) if value > self.value => {
                Some(format!("{says}, but request is {request}"))
            }
            _ => None,
        }
    }

    /// Of claims, which have no limits.
    fn max_request(&self) -> Option<String> {
        let says = self.says("maximum");
        match self.request {
            None => Some(format!("{says}.  No request is specified")),
            Some((request, value)) if value > self.value => Some(format!("{says}, but request is {request}")),
            Some(_) => None,
        }
    }

    fn ratio(&self) -> Option<String> {
        let says = format!(
            "{} max limit to request ratio per {} is {}",
            self.resource, self.kind, self.enforced
        );
        let number = |side: Option<(&Quantity, i64)>| side.map_or(0, |(_, value)| value);
        let (request, limit) = (number(self.request), number(self.limit));
        if request == 0 {
            return Some(format!("{says}, but no request is specified or request is 0"));
        }
        if limit == 0 {
            return Some(format!("{says}, but no limit is specified or limit is 0"));
        }
        #[allow(clippy::cast_precision_loss, reason = "upstream compares as floating numbers")]
        let ratio = limit as f64 / request as f64;
        let most = self
            .enforced
            .parse::<Quantity>()
            .map_or(0.0, |most| most.as_f64());
        (ratio > most).then(|| format!("{says}, but provided ratio is {ratio:.6}"))
    }
}

fn bounds(limit: &Value, requests: &Amounts, limits: &Amounts, faults: &mut Vec<String>) {
    let bound = |resource, enforced| Bound::new(limit, resource, enforced, requests, limits);
    for (resource, enforced) in limit.entries("min") {
        faults.extend(bound(resource, enforced).min());
    }
    for (resource, enforced) in limit.entries("max") {
        faults.extend(bound(resource, enforced).max());
    }
    for (resource, enforced) in limit.entries("maxLimitRequestRatio") {
        faults.extend(bound(resource, enforced).ratio());
    }
}

fn claim(limit: &Value, spec: &Value, faults: &mut Vec<String>) {
    let (requests, none) = (amounts::read(&spec["resources"]["requests"]), Amounts::new());
    for (resource, enforced) in limit.entries("min") {
        faults.extend(Bound::new(limit, resource, enforced, &requests, &none).min());
    }
    for (resource, enforced) in limit.entries("max") {
        faults.extend(Bound::new(limit, resource, enforced, &requests, &none).max_request());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range() -> Value {
        json!({"spec": {"limits": [
            {"type": "Container", "default": {"cpu": "500m"}, "defaultRequest": {"cpu": "100m"},
             "max": {"cpu": "2"}, "min": {"cpu": "10m"}, "maxLimitRequestRatio": {"cpu": "10"}},
            {"type": "PersistentVolumeClaim", "max": {"storage": "10Gi"}, "min": {"storage": "1Gi"}}]}})
    }

    #[test]
    fn containers_are_filled_in_and_it_is_told() {
        let mut pod = json!({"metadata": {}, "spec": {"containers": [
            {"name": "a"}, {"name": "b", "resources": {"requests": {"cpu": "1"}, "limits": {"cpu": "1"}}}]}});
        fill(&mut pod, &range());
        assert_eq!(
            pod["spec"]["containers"][0]["resources"],
            json!({"requests": {"cpu": "100m"}, "limits": {"cpu": "500m"}})
        );
        assert_eq!(
            pod["spec"]["containers"][1]["resources"],
            json!({"requests": {"cpu": "1"}, "limits": {"cpu": "1"}})
        );
        assert_eq!(
            pod["metadata"]["annotations"][ANNOTATION],
            "LimitRanger plugin set: cpu request for container a; cpu limit for container a"
        );
    }

    #[test]
    fn bounds_are_worded_as_upstream_words_them() {
        let limit = &range()["spec"]["limits"][0];
        let mut faults = Vec::new();
        let of = |cpu: &str| amounts::read(&json!({ "cpu": cpu }));
        bounds(limit, &of("5m"), &of("3"), &mut faults);
        bounds(limit, &Amounts::new(), &Amounts::new(), &mut faults);
        assert_eq!(
            faults,
            [
                "minimum cpu usage per Container is 10m, but request is 5m",
                "maximum cpu usage per Container is 2, but limit is 3",
                "cpu max limit to request ratio per Container is 10, but provided ratio is 600.000000",
                "minimum cpu usage per Container is 10m.  No request is specified",
                "maximum cpu usage per Container is 2.  No limit is specified",
                "cpu max limit to request ratio per Container is 10, but no request is specified or request is 0",
            ]
        );
        let mut faults = Vec::new();
        let spec = json!({"resources": {"requests": {"storage": "5"}}});
        claim(&range()["spec"]["limits"][1], &spec, &mut faults);
        assert_eq!(
            faults,
            ["minimum storage usage per PersistentVolumeClaim is 1Gi, but request is 5"]
        );
    }
}
