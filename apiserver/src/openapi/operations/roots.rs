//! Paths that are about no resource: what is served, and by whom.

use std::collections::BTreeSet;

use coracle_api::resources;
use coracle_api::table::{self, Type};

use super::{Model, OBJECTS, Operation, Path, camel, meta, tag};

const JSON: &[&str] = &["application/json"];

/// The documents that have only such paths.
pub(super) fn documents() -> BTreeSet<String> {
    let groups = resources::groups().into_iter();
    let groups = groups.filter(|(group, _)| !group.is_empty());
    let mut documents: BTreeSet<String> = groups.map(|(group, _)| format!("apis/{group}")).collect();
    let others = [
        "api",
        "apis",
        "version",
        ".well-known/openid-configuration",
        "openid/v1/jwks",
    ];
    documents.extend(others.map(str::to_owned));
    documents
}

/// The one path of a document that is its own root.
pub(super) fn paths(document: &str) -> Vec<Path> {
    let operation = match document.split('/').collect::<Vec<_>>()[..] {
        ["api"] => told(
            "getCoreAPIVersions",
            "core".to_owned(),
            "get available API versions",
            meta("APIVersions"),
        ),
        ["apis"] => told(
            "getAPIVersions",
            "apis".to_owned(),
            "get available API versions",
            meta("APIGroupList"),
        ),
        ["apis", group] => told(
            &format!("get{}APIGroup", camel(group)),
            tag(group, None),
            "get information of a group",
            meta("APIGroup"),
        ),
        ["api", version] => resources_of("", version),
        ["apis", group, version] => resources_of(group, version),
        ["version"] => Operation {
            consumes: JSON,
            produces: JSON,
            ..told(
                "getCodeVersion",
                "version".to_owned(),
                "get the version information for this server",
                table::by_name("io.k8s.apimachinery.pkg.version.Info").expect("the table has the version"),
            )
        },
        [".well-known", "openid-configuration"] => issuer(
            "getServiceAccountIssuerOpenIDConfiguration",
            "WellKnown",
            "get service account issuer OpenID configuration, also known as the 'OIDC discovery doc'",
            JSON,
        ),
        ["openid", "v1", "jwks"] => issuer(
            "getServiceAccountIssuerOpenIDKeyset",
            "openid",
            "get service account issuer OpenID JSON Web Key Set (contains public token verification keys)",
            &["application/jwk-set+json"],
        ),
        _ => return Vec::new(),
    };
    vec![Path {
        path: format!("/{document}/"),
        parameters: Vec::new(),
        operations: vec![operation],
    }]
}

fn resources_of(group: &str, version: &str) -> Operation {
    let id = format!("get{}{}APIResources", camel(group), super::upper_first(version));
    told(
        &id,
        tag(group, Some(version)),
        "get available resources",
        meta("APIResourceList"),
    )
}

fn told(id: &str, tag: String, description: &str, response: &'static Type) -> Operation {
    Operation {
        method: "get",
        id: id.to_owned(),
        tag,
        description: description.to_owned(),
        about: None,
        body: None,
        response: Some(Model::Type(response)),
        codes: &[200],
        consumes: OBJECTS,
        produces: OBJECTS,
        parameters: Vec::new(),
    }
}

fn issuer(id: &str, tag: &str, description: &str, produces: &'static [&'static str]) -> Operation {
    Operation {
        response: None,
        consumes: &[],
        produces,
        ..told(id, tag.to_owned(), description, meta("Status"))
    }
}
