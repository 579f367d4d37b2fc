//! Whether a webhook is concerned by a request, and in which version it wants to see the object. Pure, over a reader.
//!
//! As upstream's `generic.Webhook.ShouldCallHook` and the matchers below it decide.

use coracle_api::selector::LabelSelector;
use coracle_api::status::ApiError;
use serde_json::Value;

use super::hook::{Hook, Rule};
use super::{Asked, Version};
use crate::admission::Operation;
use crate::reader::{GroupResource, ObjectReader};

/// What a request is about: the object as it will be and as it was.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Subject<'a> {
    pub(crate) object: Option<&'a Value>,
    pub(crate) old: Option<&'a Value>,
}

/// The version of `asked` that the webhook is concerned by, if it is.
///
/// # Errors
/// 404 where the namespace's labels decide and there is no such namespace, 500 where a selector cannot be read.
pub(super) fn concerned<'v>(
    hook: &Hook,
    asked: &'v Asked<'_>,
    subject: Subject<'_>,
    reader: &dyn ObjectReader,
) -> Result<Option<&'v Version>, ApiError> {
    // A webhook that a request does not concern must not make it fail.
    let namespace = namespace_selected(&hook.namespace_selector, asked, subject, reader);
    if matches!(namespace, Ok(false)) {
        return Ok(None);
    }
    let object = object_selected(&hook.object_selector, subject);
    if matches!(object, Ok(false)) {
        return Ok(None);
    }
    let Some(version) = version(hook, asked) else {
        return Ok(None);
    };
    namespace?;
    object?;
    Ok(Some(version))
}

/// The version that a rule names: the request's own, or, unless only that counts, another in which the objects are served.
fn version<'v>(hook: &Hook, asked: &'v Asked<'_>) -> Option<&'v Version> {
    let (own, others) = asked.versions.split_first()?;
    if hook.rules.iter().any(|rule| covers(rule, asked, own)) {
        return Some(own);
    }
    if hook.exact {
        return None;
    }
    // Earlier rules come first.
    hook.rules
        .iter()
        .find_map(|rule| others.iter().find(|other| covers(rule, asked, other)))
}

/// Whether a rule names what is asked about in that version.
pub(crate) fn covers(rule: &Rule, asked: &Asked<'_>, version: &Version) -> bool {
    in_scope(rule, asked, version)
        && names(&rule.operations, asked.operation.as_str())
        && names(&rule.groups, &version.group)
        && names(&rule.versions, &version.version)
        && names_resource(&rule.resources, &version.resource, asked.subresource)
}

/// Namespaces are in themselves, and yet cluster-scoped.
fn in_scope(rule: &Rule, asked: &Asked<'_>, version: &Version) -> bool {
    let of_cluster = asked.namespace.is_empty() || is_namespaces(version);
    match rule.scope.as_str() {
        "*" => true,
        "Cluster" => of_cluster,
        "Namespaced" => !of_cluster,
        _ => false,
    }
}

fn is_namespaces(version: &Version) -> bool {
    version.group.is_empty() && version.resource == "namespaces"
}

fn names(words: &[String], wanted: &str) -> bool {
    words.iter().any(|word| word == "*" || word == wanted)
}

fn names_resource(patterns: &[String], resource: &str, subresource: &str) -> bool {
    patterns.iter().any(|pattern| {
        let (of, sub) = pattern.split_once('/').unwrap_or((pattern, ""));
        (of == "*" || of == resource) && (sub == "*" || sub == subresource)
    })
}

/// Whether a selector selects the namespace of what is asked about. What is in none is selected by any.
///
/// # Errors
/// 404 where there is no such namespace, 500 where the selector cannot be read.
pub(crate) fn namespace_selected(
    selector: &Result<LabelSelector, String>,
    asked: &Asked<'_>,
    subject: Subject<'_>,
    reader: &dyn ObjectReader,
) -> Result<bool, ApiError> {
    let of_namespace = asked.versions.first().is_some_and(is_namespaces);
    if asked.namespace.is_empty() && !of_namespace {
        return Ok(true);
    }
    let selector = selector.as_ref().map_err(ApiError::internal)?;
    if selector.is_everything() {
        return Ok(true);
    }
    // What is written now is newer than what can be read.
    let written = of_namespace
        && asked.subresource.is_empty()
        && matches!(asked.operation, Operation::Create | Operation::Update);
    if written {
        return Ok(selector.matches_labels(subject.object.and_then(labels)));
    }
    let namespace = reader.get(&GroupResource::new("", "namespaces"), "", asked.namespace);
    let namespace = namespace.ok_or_else(|| ApiError::not_found("", "namespaces", asked.namespace))?;
    Ok(selector.matches_labels(labels(&namespace)))
}

/// Whether a selector selects the object. Either of the two states counts. What has no metadata (the options of a connection)
/// has no labels to select by.
///
/// # Errors
/// 500 where the selector cannot be read.
pub(crate) fn object_selected(
    selector: &Result<LabelSelector, String>,
    subject: Subject<'_>,
) -> Result<bool, ApiError> {
    let selector = selector.as_ref().map_err(ApiError::internal)?;
    if selector.is_everything() {
        return Ok(true);
    }
    let states = [subject.object, subject.old].into_iter().flatten();
    Ok(states
        .filter(|state| state.get("metadata").is_some())
        .any(|state| selector.matches_labels(labels(state))))
}

fn labels(object: &Value) -> Option<&Value> {
    object.pointer("/metadata/labels")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::reader::memory::MemoryReader;
    use crate::request::{UserInfo, Warnings};
    use crate::webhook::hook::Sort;

    fn version(group: &str, version: &str, resource: &str) -> Version {
        Version {
            group: group.to_owned(),
            version: version.to_owned(),
            resource: resource.to_owned(),
            kind_group: group.to_owned(),
            kind_version: version.to_owned(),
            kind: String::new(),
        }
    }

    fn hook(mut fields: Value) -> Hook {
        fields["name"] = json!("a.example.com");
        // As defaults fill them in.
        for selector in ["namespaceSelector", "objectSelector"] {
            if fields.get(selector).is_none() {
                fields[selector] = json!({});
            }
        }
        let configuration = json!({"metadata": {"name": "c"}, "webhooks": [fields]});
        Hook::all_of(Sort::Validating, &configuration).remove(0)
    }

    fn rule(operations: &str, group: &str, versions: &str, resource: &str, scope: &str) -> Value {
        json!({"operations": [operations], "apiGroups": [group], "apiVersions": [versions],
            "resources": [resource], "scope": scope})
    }

    struct Request {
        operation: Operation,
        versions: Vec<Version>,
        subresource: &'static str,
        namespace: &'static str,
        object: Option<Value>,
        old: Option<Value>,
    }

    impl Request {
        fn new(operation: Operation, versions: &[Version], namespace: &'static str) -> Self {
            Self {
                operation,
                versions: versions.to_vec(),
                subresource: "",
                namespace,
                object: Some(json!({"metadata": {"labels": {"a": "1"}}})),
                old: None,
            }
        }

        /// Which resource it concerns the webhook as; what went wrong otherwise.
        fn ask(&self, hook: &Hook) -> Result<Option<String>, String> {
            let reader = MemoryReader::default();
            let namespaces = GroupResource::new("", "namespaces");
            reader.put(
                &namespaces,
                json!({"metadata": {"name": "n", "labels": {"env": "prod"}}}),
            );
            let (user, warnings) = (UserInfo::default(), Warnings::default());
            let asked = Asked {
                operation: self.operation,
                versions: self.versions.clone(),
                subresource: self.subresource,
                namespace: self.namespace,
                name: "",
                dry_run: false,
                options: Value::Null,
                user: &user,
                warnings: &warnings,
            };
            let subject = Subject {
                object: self.object.as_ref(),
                old: self.old.as_ref(),
            };
            concerned(hook, &asked, subject, &reader)
                .map(|found| found.map(|version| format!("{}/{}", version.group, version.version)))
                .map_err(|error| error.to_string())
        }
    }

    #[test]
    fn rules_name_operation_group_version_resource_and_scope() {
        let pods = Request::new(Operation::Create, &[version("", "v1", "pods")], "n");
        let nodes = Request::new(Operation::Create, &[version("", "v1", "nodes")], "");
        let space = Request::new(Operation::Create, &[version("", "v1", "namespaces")], "n");
        let status = Request {
            subresource: "status",
            ..Request::new(Operation::Update, &[version("", "v1", "pods")], "n")
        };
        let table = [
            (&pods, rule("CREATE", "", "v1", "pods", "*"), true),
            (&pods, rule("*", "*", "*", "*", "*"), true),
            (&pods, rule("*", "*", "*", "*/*", "*"), true),
            (&pods, rule("UPDATE", "", "v1", "pods", "*"), false),
            (&pods, rule("CREATE", "apps", "v1", "pods", "*"), false),
            (&pods, rule("CREATE", "", "v2", "pods", "*"), false),
            (&pods, rule("CREATE", "", "v1", "pods/status", "*"), false),
            (&pods, rule("CREATE", "", "v1", "pods", "Cluster"), false),
            (&pods, rule("CREATE", "", "v1", "pods", "Namespaced"), true),
            (&nodes, rule("CREATE", "", "v1", "nodes", "Cluster"), true),
            (&nodes, rule("CREATE", "", "v1", "nodes", "Namespaced"), false),
            (&space, rule("CREATE", "", "v1", "namespaces", "Cluster"), true),
            (
                &space,
                rule("CREATE", "", "v1", "namespaces", "Namespaced"),
                false,
            ),
            (&status, rule("UPDATE", "", "v1", "pods", "*"), false),
            (&status, rule("UPDATE", "", "v1", "pods/*", "*"), true),
            (&status, rule("UPDATE", "", "v1", "*/status", "*"), true),
            (&status, rule("UPDATE", "", "v1", "*", "*"), false),
        ];
        for (request, rule, want) in table {
            let hook = hook(json!({"rules": [rule]}));
            assert_eq!(
                request.ask(&hook).map(|found| found.is_some()),
                Ok(want),
                "{rule}"
            );
        }
    }

    #[test]
    fn another_version_of_the_same_objects_counts_unless_it_must_be_exact() {
        let both = [
            version("autoscaling", "v2", "horizontalpodautoscalers"),
            version("autoscaling", "v1", "horizontalpodautoscalers"),
        ];
        let request = Request::new(Operation::Update, &both, "n");
        let rules = json!([rule("*", "autoscaling", "v1", "*", "*")]);
        let equivalent = hook(json!({"rules": rules, "matchPolicy": "Equivalent"}));
        assert_eq!(request.ask(&equivalent), Ok(Some("autoscaling/v1".to_owned())));
        let exact = hook(json!({"rules": rules, "matchPolicy": "Exact"}));
        assert_eq!(request.ask(&exact), Ok(None));
        let all = hook(json!({"rules": [rule("*", "autoscaling", "*", "*", "*")]}));
        assert_eq!(request.ask(&all), Ok(Some("autoscaling/v2".to_owned())));
    }

    #[test]
    fn namespaces_are_selected_by_their_labels() {
        let any = json!([rule("*", "*", "*", "*/*", "*")]);
        let production = hook(json!({"rules": any, "namespaceSelector": {"matchLabels": {"env": "prod"}}}));
        let pods = [version("", "v1", "pods")];
        let spaces = [version("", "v1", "namespaces")];
        let found = |request: &Request| request.ask(&production).map(|found| found.is_some());
        assert_eq!(found(&Request::new(Operation::Create, &pods, "n")), Ok(true));
        let missing = Request::new(Operation::Create, &pods, "none");
        assert_eq!(found(&missing), Err("namespaces \"none\" not found".to_owned()));
        let elsewhere = hook(
            json!({"rules": [rule("*", "apps", "*", "*", "*")], "namespaceSelector": {"matchLabels": {"a": "b"}}}),
        );
        assert_eq!(missing.ask(&elsewhere), Ok(None));
        assert_eq!(
            found(&Request::new(
                Operation::Create,
                &[version("", "v1", "nodes")],
                ""
            )),
            Ok(true)
        );
        let labelled = |labels: Value, operation| Request {
            object: Some(json!({"metadata": {"labels": labels}})),
            ..Request::new(operation, &spaces, "n")
        };
        assert_eq!(
            found(&labelled(json!({"env": "test"}), Operation::Update)),
            Ok(false)
        );
        assert_eq!(
            found(&labelled(json!({"env": "prod"}), Operation::Create)),
            Ok(true)
        );
        // What is deleted is as it can be read.
        assert_eq!(found(&labelled(json!({}), Operation::Delete)), Ok(true));
    }

    #[test]
    fn objects_are_selected_by_what_they_are_or_were() {
        let any = json!([rule("*", "*", "*", "*/*", "*")]);
        let hook = hook(json!({"rules": any, "objectSelector": {"matchExpressions": [
            {"key": "skip", "operator": "DoesNotExist"}]}}));
        let labelled = |labels: Value| Some(json!({"metadata": {"labels": labels}}));
        let with = |object, old| Request {
            object,
            old,
            ..Request::new(Operation::Update, &[version("", "v1", "pods")], "n")
        };
        let skipped = || labelled(json!({"skip": "1"}));
        let table = [
            (with(skipped(), None), false),
            (with(skipped(), skipped()), false),
            (with(skipped(), labelled(json!({}))), true),
            (with(labelled(json!({})), skipped()), true),
            (with(None, labelled(json!({}))), true),
            (with(Some(json!({"kind": "PodExecOptions"})), None), false),
        ];
        for (request, want) in table {
            assert_eq!(request.ask(&hook).map(|found| found.is_some()), Ok(want));
        }
    }
}
