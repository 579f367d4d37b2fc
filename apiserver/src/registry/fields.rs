//! The fields that a field selector may name: a table, per stored resource.
//!
//! As upstream's `AddFieldLabelConversionFunc`s have it: most resources know name and namespace, a few know more, and
//! each is refused in its own words.

use serde_json::Value;

use crate::cache::entry::Fields;

/// A field that selectors may name.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SelectableField {
    /// The name in a selector, which is also what the object's field is called inside.
    pub name: &'static str,
    /// The value in an object; absent ones are empty.
    pub value: fn(&Value) -> String,
}

/// How an unknown field is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// `"x" is not a known field selector: only "metadata.name", "metadata.namespace"`
    OnlyMetadata,
    /// `field label not supported: x`
    NotSupported,
    /// `field label "x" not supported for Job`
    NotSupportedFor(&'static str),
    /// `field label not supported for resource.k8s.io/v1, Kind=ResourceSlice: x`
    NotSupportedForKind(&'static str),
}

impl Refusal {
    /// The words.
    pub(crate) fn message(self, field: &str) -> String {
        match self {
            Self::OnlyMetadata => format!(
                "{field:?} is not a known field selector: only \"metadata.name\", \"metadata.namespace\""
            ),
            Self::NotSupported => format!("field label not supported: {field}"),
            Self::NotSupportedFor(kind) => format!("field label {field:?} not supported for {kind}"),
            Self::NotSupportedForKind(kind) => format!("field label not supported for {kind}: {field}"),
        }
    }
}

/// What selectors may name in objects of one resource.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Selectable {
    /// Beyond name and namespace.
    pub fields: &'static [SelectableField],
    /// Other names of the same fields, in some served versions.
    pub aliases: &'static [(&'static str, &'static str)],
    /// Whether only these names count, and those of no field.
    pub renamed: bool,
    /// Whether `metadata.namespace` may be named.
    pub namespace: bool,
    /// How others are refused.
    pub refusal: Refusal,
    /// Takes the values from an object.
    pub extract: fn(&Value) -> Fields,
}

/// The fields of a resource, by group and plural name.
pub(crate) fn selectable(group: &str, resource: &str) -> Selectable {
    match (group, resource) {
        ("", "pods") => PODS,
        ("", "nodes") => NODES,
        ("", "namespaces") => NAMESPACES,
        ("", "services") => SERVICES,
        ("", "secrets") => SECRETS,
        ("", "replicationcontrollers") => CONTROLLERS,
        ("", "events") => EVENTS,
        ("events.k8s.io", "events") => NEW_EVENTS,
        ("batch", "jobs") => JOBS,
        ("certificates.k8s.io", "certificatesigningrequests") => REQUESTS,
        ("resource.k8s.io", "resourceslices") => SLICES,
        _ => METADATA,
    }
}

impl Selectable {
    /// The field that a selector's term means, by the name it has inside.
    ///
    /// # Errors
    /// The words of the refusal.
    pub(crate) fn resolve(&self, name: &str) -> Result<&'static str, String> {
        match name {
            "metadata.name" => return Ok("metadata.name"),
            "metadata.namespace" if self.namespace => return Ok("metadata.namespace"),
            _ => {}
        }
        if let Some((_, inside)) = self.aliases.iter().find(|(alias, _)| *alias == name) {
            return Ok(inside);
        }
        let mut own = self.fields.iter().filter(|_| !self.renamed);
        match own.find(|field| field.name == name) {
            Some(field) => Ok(field.name),
            None => Err(self.refusal.message(name)),
        }
    }
}

macro_rules! fields {
    ($($name:literal => $value:expr),* $(,)?) => {
        &[$(SelectableField { name: $name, value: $value }),*]
    };
}

const METADATA: Selectable = Selectable {
    fields: &[],
    aliases: &[],
    renamed: false,
    namespace: true,
    refusal: Refusal::OnlyMetadata,
    extract: |object| take(&[], object),
};

const POD_FIELDS: &[SelectableField] = fields! {
    "spec.nodeName" => |pod| text(pod, "/spec/nodeName"),
    "spec.restartPolicy" => |pod| text(pod, "/spec/restartPolicy"),
    "spec.schedulerName" => |pod| text(pod, "/spec/schedulerName"),
    "spec.serviceAccountName" => |pod| text(pod, "/spec/serviceAccountName"),
    "spec.hostNetwork" => |pod| flag(pod, "/spec/hostNetwork"),
    "status.phase" => |pod| text(pod, "/status/phase"),
    "status.podIP" => |pod| text(pod, "/status/podIP"),
    "status.podIPs" => |pod| text(pod, "/status/podIP"),
    "status.nominatedNodeName" => |pod| text(pod, "/status/nominatedNodeName"),
};
const PODS: Selectable = Selectable {
    fields: POD_FIELDS,
    aliases: &[("spec.host", "spec.nodeName")],
    refusal: Refusal::NotSupported,
    extract: |pod| take(POD_FIELDS, pod),
    ..METADATA
};

const NODE_FIELDS: &[SelectableField] =
    fields! { "spec.unschedulable" => |node| flag(node, "/spec/unschedulable") };
const NODES: Selectable = Selectable {
    fields: NODE_FIELDS,
    namespace: false,
    refusal: Refusal::NotSupported,
    extract: |node| take(NODE_FIELDS, node),
    ..METADATA
};

const NAMESPACE_FIELDS: &[SelectableField] =
    fields! { "status.phase" => |namespace| text(namespace, "/status/phase") };
const NAMESPACES: Selectable = Selectable {
    fields: NAMESPACE_FIELDS,
    namespace: false,
    refusal: Refusal::NotSupported,
    extract: |namespace| take(NAMESPACE_FIELDS, namespace),
    ..METADATA
};

const SERVICE_FIELDS: &[SelectableField] = fields! {
    "spec.clusterIP" => |service| text(service, "/spec/clusterIP"),
    "spec.type" => |service| text(service, "/spec/type"),
};
const SERVICES: Selectable = Selectable {
    fields: SERVICE_FIELDS,
    refusal: Refusal::NotSupported,
    extract: |service| take(SERVICE_FIELDS, service),
    ..METADATA
};

const SECRET_FIELDS: &[SelectableField] = fields! { "type" => |secret| text(secret, "/type") };
const SECRETS: Selectable = Selectable {
    fields: SECRET_FIELDS,
    refusal: Refusal::NotSupported,
    extract: |secret| take(SECRET_FIELDS, secret),
    ..METADATA
};

const CONTROLLER_FIELDS: &[SelectableField] =
    fields! { "status.replicas" => |controller| number(controller, "/status/replicas") };
const CONTROLLERS: Selectable = Selectable {
    fields: CONTROLLER_FIELDS,
    refusal: Refusal::NotSupported,
    extract: |controller| take(CONTROLLER_FIELDS, controller),
    ..METADATA
};

const EVENT_FIELDS: &[SelectableField] = fields! {
    "involvedObject.kind" => |event| text(event, "/involvedObject/kind"),
    "involvedObject.namespace" => |event| text(event, "/involvedObject/namespace"),
    "involvedObject.name" => |event| text(event, "/involvedObject/name"),
    "involvedObject.uid" => |event| text(event, "/involvedObject/uid"),
    "involvedObject.apiVersion" => |event| text(event, "/involvedObject/apiVersion"),
    "involvedObject.resourceVersion" => |event| text(event, "/involvedObject/resourceVersion"),
    "involvedObject.fieldPath" => |event| text(event, "/involvedObject/fieldPath"),
    "reason" => |event| text(event, "/reason"),
    "reportingComponent" => |event| text(event, "/reportingComponent"),
    "source" => |event| match text(event, "/source/component") {
        source if source.is_empty() => text(event, "/reportingComponent"),
        source => source,
    },
    "type" => |event| text(event, "/type"),
};
const EVENTS: Selectable = Selectable {
    fields: EVENT_FIELDS,
    refusal: Refusal::NotSupported,
    extract: |event| take(EVENT_FIELDS, event),
    ..METADATA
};
const NEW_EVENTS: Selectable = Selectable {
    renamed: true,
    aliases: &[
        ("reason", "reason"),
        ("type", "type"),
        ("regarding.kind", "involvedObject.kind"),
        ("regarding.namespace", "involvedObject.namespace"),
        ("regarding.name", "involvedObject.name"),
        ("regarding.uid", "involvedObject.uid"),
        ("regarding.apiVersion", "involvedObject.apiVersion"),
        ("regarding.resourceVersion", "involvedObject.resourceVersion"),
        ("regarding.fieldPath", "involvedObject.fieldPath"),
        ("reportingController", "reportingComponent"),
    ],
    ..EVENTS
};

const JOB_FIELDS: &[SelectableField] =
    fields! { "status.successful" => |job| number(job, "/status/succeeded") };
const JOBS: Selectable = Selectable {
    fields: JOB_FIELDS,
    refusal: Refusal::NotSupportedFor("Job"),
    extract: |job| take(JOB_FIELDS, job),
    ..METADATA
};

const REQUEST_FIELDS: &[SelectableField] =
    fields! { "spec.signerName" => |request| text(request, "/spec/signerName") };
const REQUESTS: Selectable = Selectable {
    fields: REQUEST_FIELDS,
    namespace: false,
    refusal: Refusal::NotSupported,
    extract: |request| take(REQUEST_FIELDS, request),
    ..METADATA
};

const SLICE_FIELDS: &[SelectableField] = fields! {
    "spec.nodeName" => |slice| text(slice, "/spec/nodeName"),
    "spec.driver" => |slice| text(slice, "/spec/driver"),
};
const SLICES: Selectable = Selectable {
    fields: SLICE_FIELDS,
    namespace: false,
    refusal: Refusal::NotSupportedForKind("resource.k8s.io/v1, Kind=ResourceSlice"),
    extract: |slice| take(SLICE_FIELDS, slice),
    ..METADATA
};

/// Name and namespace are not taken: an entry's key has them.
fn take(fields: &'static [SelectableField], object: &Value) -> Fields {
    fields
        .iter()
        .map(|field| (field.name, (field.value)(object)))
        .collect()
}

fn text(object: &Value, pointer: &str) -> String {
    object
        .pointer(pointer)
        .and_then(Value::as_str)
        .unwrap_or_default()
        .to_owned()
}

fn flag(object: &Value, pointer: &str) -> String {
    object
        .pointer(pointer)
        .and_then(Value::as_bool)
        .unwrap_or_default()
        .to_string()
}

fn number(object: &Value, pointer: &str) -> String {
    object
        .pointer(pointer)
        .and_then(Value::as_i64)
        .unwrap_or_default()
        .to_string()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn unknown_fields_are_refused_in_each_resources_words() {
        for (group, resource, want) in [
            ("", "pods", "field label not supported: spec.bogus"),
            ("", "nodes", "field label not supported: spec.bogus"),
            (
                "apps",
                "deployments",
                "\"spec.bogus\" is not a known field selector: only \"metadata.name\", \"metadata.namespace\"",
            ),
            (
                "batch",
                "jobs",
                "field label \"spec.bogus\" not supported for Job",
            ),
        ] {
            assert_eq!(
                selectable(group, resource).resolve("spec.bogus"),
                Err(want.to_owned()),
                "{resource}"
            );
            assert_eq!(
                selectable(group, resource).resolve("metadata.name"),
                Ok("metadata.name")
            );
        }
        assert!(selectable("", "nodes").resolve("metadata.namespace").is_err());
        assert_eq!(
            selectable("events.k8s.io", "events").resolve("regarding.name"),
            Ok("involvedObject.name")
        );
    }

    #[test]
    fn absent_values_are_those_of_an_empty_object() {
        let fields = (selectable("", "pods").extract)(&json!({"spec": {"nodeName": "n1"}}));
        let value = |name| {
            fields
                .iter()
                .find(|(field, _)| *field == name)
                .map(|(_, value)| value.as_str())
        };
        assert_eq!(value("spec.nodeName"), Some("n1"));
        assert_eq!(value("spec.hostNetwork"), Some("false"));
        assert_eq!(value("status.phase"), Some(""));
    }
}
