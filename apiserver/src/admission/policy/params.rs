//! The parameters of a binding: the objects that its policy is evaluated with, one after the other. Pure, over a reader.

use std::sync::Arc;

use coracle_api::object::Fields;
use coracle_api::resources;
use coracle_api::selector::LabelSelector;
use serde_json::Value;

use super::name_of;
use crate::reader::{GroupResource, ObjectReader};

/// `paramKind`.
#[derive(Clone, Debug)]
pub(super) struct ParamKind {
    api_version: String,
    kind: String,
}

/// `paramRef`.
#[derive(Debug)]
pub(super) struct ParamRef {
    name: String,
    namespace: String,
    selector: Option<Result<LabelSelector, String>>,
    denies: bool,
}

impl ParamKind {
    pub(super) fn read(kind: &Value) -> Self {
        Self {
            api_version: kind.text("apiVersion").to_owned(),
            kind: kind.text("kind").to_owned(),
        }
    }

    fn group(&self) -> &str {
        self.api_version.split_once('/').map_or("", |(group, _)| group)
    }

    /// The resource of the kind, and whether it is namespaced.
    fn resource(&self, reader: &dyn ObjectReader) -> Option<(GroupResource, bool)> {
        let group = self.group();
        let version = self
            .api_version
            .split_once('/')
            .map_or(self.api_version.as_str(), |(_, version)| version);
        if let Some(found) = resources::by_kind(group, version, &self.kind) {
            return Some((GroupResource::new(group, found.resource), found.namespaced));
        }
        let definitions = GroupResource::new("apiextensions.k8s.io", "customresourcedefinitions");
        let found = reader.list(&definitions, "").into_iter().find(|definition| {
            let spec = &definition["spec"];
            spec.text("group") == group && spec["names"].text("kind") == self.kind
        })?;
        let spec = &found["spec"];
        let resource = GroupResource::new(group, spec["names"].text("plural"));
        Some((resource, spec.text("scope") == "Namespaced"))
    }

    /// As Go prints it.
    fn shown(&self) -> String {
        format!(
            "&ParamKind{{APIVersion:{},Kind:{},}}",
            self.api_version, self.kind
        )
    }

    /// With `apiVersion` and `kind`.
    fn named(&self, param: &Arc<Value>) -> Arc<Value> {
        if param.has("kind") && param.has("apiVersion") {
            return Arc::clone(param);
        }
        let mut fields = super::fields(param);
        fields.insert("apiVersion".to_owned(), self.api_version.clone().into());
        fields.insert("kind".to_owned(), self.kind.clone().into());
        Arc::new(Value::Object(fields))
    }
}

impl ParamRef {
    pub(super) fn read(reference: &Value) -> Self {
        let selector = reference
            .field("selector")
            .map(|selector| LabelSelector::from_object(Some(selector)).map_err(|error| error.to_string()));
        Self {
            name: reference.text("name").to_owned(),
            namespace: reference.text("namespace").to_owned(),
            selector,
            denies: reference.text("parameterNotFoundAction") == "Deny",
        }
    }
}

/// The parameters; one that is absent where the policy has none, or the binding names none.
///
/// # Errors
/// Why there are none, in upstream's words.
pub(super) fn collect(
    kind: Option<&ParamKind>,
    reference: Option<&ParamRef>,
    namespace: &str,
    reader: &dyn ObjectReader,
) -> Result<Vec<Option<Arc<Value>>>, String> {
    let (Some(kind), Some(reference)) = (kind, reference) else {
        return Ok(vec![None]);
    };
    let Some((resource, namespaced)) = kind.resource(reader) else {
        return Err(format!("paramKind kind `{}` not known", kind.shown()));
    };
    let place = match (namespaced, reference.namespace.as_str()) {
        (true, "") if namespace.is_empty() => {
            let why =
                "cannot use namespaced paramRef in policy binding that matches cluster-scoped resources";
            return Err(why.to_owned());
        }
        (true, "") => namespace,
        (true, own) => own,
        (false, "") => "",
        (false, _) => {
            let why = "paramRef.namespace must not be provided for a cluster-scoped `paramKind`";
            return Err(why.to_owned());
        }
    };
    let mut found = match &reference.selector {
        None => reader
            .get(&resource, place, &reference.name)
            .into_iter()
            .collect(),
        Some(Err(why)) => return Err(why.clone()),
        Some(Ok(selector)) => {
            let mut all = reader.list(&resource, place);
            all.retain(|param| selector.matches_labels(param.pointer("/metadata/labels")));
            all
        }
    };
    if found.is_empty() && reference.denies {
        return Err("no params found for policy binding with `Deny` parameterNotFoundAction".to_owned());
    }
    found.sort_by(|a, b| name_of(a).cmp(name_of(b)));
    Ok(found.iter().map(|param| Some(kind.named(param))).collect())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::reader::memory::MemoryReader;

    #[test]
    fn parameters_are_found_by_name_and_by_labels() {
        let reader = MemoryReader::default();
        let maps = GroupResource::new("", "configmaps");
        for (namespace, name) in [("n", "a"), ("n", "b"), ("m", "c")] {
            let labels = json!({"app": name});
            let object = json!({"metadata": {"name": name, "namespace": namespace, "labels": labels}});
            reader.put(&maps, object);
        }
        let kind = ParamKind::read(&json!({"apiVersion": "v1", "kind": "ConfigMap"}));
        let collect = |reference: Value, namespace: &str| {
            let reference = ParamRef::read(&reference);
            super::collect(Some(&kind), Some(&reference), namespace, &reader).map(|found| {
                let names = found.iter().flatten().map(|param| name_of(param).to_owned());
                names.collect::<Vec<_>>()
            })
        };
        assert_eq!(collect(json!({"name": "a"}), "n"), Ok(vec!["a".to_owned()]));
        assert_eq!(collect(json!({"name": "a"}), "m"), Ok(Vec::new()));
        assert_eq!(
            collect(json!({"name": "c", "namespace": "m"}), "n"),
            Ok(vec!["c".to_owned()])
        );
        assert_eq!(
            collect(json!({"selector": {}}), "n"),
            Ok(vec!["a".to_owned(), "b".to_owned()])
        );
        let denied = collect(json!({"name": "x", "parameterNotFoundAction": "Deny"}), "n");
        assert!(denied.is_err_and(|why| why.contains("no params found")));
        assert!(collect(json!({"name": "a"}), "").is_err());
        let unknown = ParamKind::read(&json!({"apiVersion": "a/v1", "kind": "B"}));
        let reference = ParamRef::read(&json!({"name": "a"}));
        assert_eq!(
            super::collect(Some(&unknown), Some(&reference), "n", &reader),
            Err("paramKind kind `&ParamKind{APIVersion:a/v1,Kind:B,}` not known".to_owned())
        );
        assert_eq!(super::collect(None, None, "", &reader), Ok(vec![None]));
    }
}
