//! `OwnerReferencesPermissionEnforcement`: who says that an object belongs to another may delete the object; who says that
//! the other must wait for it may set the other's finalizers.

use coracle_api::object::{Fields, same};
use coracle_api::resources;
use coracle_api::status::ApiError;
use serde_json::Value;

use super::{Attributes, Cluster, Operation};
use crate::authz;
use crate::reader::{GroupResource, ObjectReader};

pub(super) fn validate(
    attributes: &Attributes<'_>,
    object: Option<&Value>,
    old: Option<&Value>,
    cluster: &Cluster<'_>,
) -> Result<(), ApiError> {
    let written = matches!(attributes.operation, Operation::Create | Operation::Update);
    let pod_status = attributes.is_of("", "pods") && attributes.subresource == "status";
    let Some(object) = object.filter(|_| written && !pod_status) else {
        return Ok(());
    };
    let owners = |object: &Value| object["metadata"].field("ownerReferences").cloned();
    let (new, before) = (owners(object), old.and_then(owners));
    if same(new.as_ref(), before.as_ref()) {
        return Ok(());
    }
    if attributes.operation != Operation::Create {
        may_delete(attributes, cluster)?;
    }
    let blocking = newly_blocking(object, old);
    let anything = authz::Attributes::resource(attributes.user, "update", "*", "*")
        .subresource("finalizers")
        .named("*");
    if blocking.is_empty() || cluster.questions.allow(&anything) {
        return Ok(());
    }
    for owner in blocking {
        may_finalize(attributes, owner, cluster)?;
    }
    Ok(())
}

fn may_delete(attributes: &Attributes<'_>, cluster: &Cluster<'_>) -> Result<(), ApiError> {
    let resource = attributes.resource;
    let question = authz::Attributes::resource(attributes.user, "delete", resource.group, resource.resource)
        .in_namespace(attributes.namespace)
        .subresource(attributes.subresource)
        .named(attributes.name);
    let verdict = cluster.questions.ask(&question);
    if verdict.is_allowed() {
        return Ok(());
    }
    let reason = verdict.reason;
    Err(attributes.forbidden(&format!(
        "cannot set an ownerRef on a resource you can't delete: {reason}, <nil>"
    )))
}

fn may_finalize(attributes: &Attributes<'_>, owner: &Value, cluster: &Cluster<'_>) -> Result<(), ApiError> {
    let (version, kind) = (owner.text("apiVersion"), owner.text("kind"));
    let group = version.split_once('/').map_or("", |(group, _)| group);
    let resources = of_kind(cluster.reader, group, kind);
    if resources.is_empty() {
        return Err(attributes.forbidden(&format!(
            "cannot set blockOwnerDeletion in this case because cannot find RESTMapping for APIVersion {version} Kind \
             {kind}: no matches for kind \"{kind}\" in version \"{version}\""
        )));
    }
    for (resource, namespaced) in resources {
        let namespace = if namespaced { attributes.namespace } else { "" };
        let question = authz::Attributes::resource(attributes.user, "update", group, &resource)
            .in_namespace(namespace)
            .subresource("finalizers")
            .named(owner.text("name"));
        let verdict = cluster.questions.ask(&question);
        if !verdict.is_allowed() {
            let reason = verdict.reason;
            return Err(attributes.forbidden(&format!(
                "cannot set blockOwnerDeletion if an ownerReference refers to a resource you can't set finalizers on: \
                 {reason}, <nil>"
            )));
        }
    }
    Ok(())
}

/// The resources whose objects are of a kind, and whether they are namespaced.
fn of_kind(reader: &dyn ObjectReader, group: &str, kind: &str) -> Vec<(String, bool)> {
    if let Some(resource) = resources::by_group_kind(group, kind) {
        return vec![(resource.resource.to_owned(), resource.namespaced)];
    }
    let definitions = GroupResource::new("apiextensions.k8s.io", "customresourcedefinitions");
    let definitions = reader.list(&definitions, "");
    let specs = definitions.iter().map(|definition| &definition["spec"]);
    specs
        .filter(|spec| spec.text("group") == group && spec["names"].text("kind") == kind)
        .map(|spec| {
            (
                spec["names"].text("plural").to_owned(),
                spec.text("scope") == "Namespaced",
            )
        })
        .collect()
}

/// The owners that are to wait for the object and were not before.
fn newly_blocking<'v>(object: &'v Value, old: Option<&Value>) -> Vec<&'v Value> {
    let before = old.map_or(&[][..], |old| old["metadata"].items("ownerReferences"));
    let waited = |owner: &Value| {
        let mut same = before
            .iter()
            .filter(|before| before.text("uid") == owner.text("uid"));
        same.any(|before| before.flag("blockOwnerDeletion"))
    };
    let owners = object["metadata"].items("ownerReferences").iter();
    owners
        .filter(|owner| owner.flag("blockOwnerDeletion") && !waited(owner))
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_owners_that_newly_wait_are_looked_at() {
        let with = |owners: Value| json!({"metadata": {"ownerReferences": owners}});
        let new = with(json!([{"uid": "1", "blockOwnerDeletion": true}, {"uid": "2"}]));
        assert_eq!(newly_blocking(&new, None).len(), 1);
        let waiting = with(json!([{"uid": "1", "blockOwnerDeletion": true}]));
        assert!(newly_blocking(&new, Some(&waiting)).is_empty());
        let idle = with(json!([{"uid": "1"}]));
        assert_eq!(newly_blocking(&new, Some(&idle)).len(), 1);
    }
}
