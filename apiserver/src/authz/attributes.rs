//! What an authorizer is told of a request, and how a refusal is worded.

use coracle_api::quote::quote;
use coracle_api::status::ApiError;

use super::Verdict;
use crate::http::request_info::exact_field;
use crate::request::{RequestContext, RequestInfo, UserInfo};

/// One question: may this user do this to that? Borrowed from the request it is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attributes<'a> {
    /// Who asks.
    pub user: &'a UserInfo,
    /// The verb: of the API for resources, of HTTP in lower case for other paths.
    pub verb: &'a str,
    /// False for paths such as `/metrics`.
    pub is_resource: bool,
    /// The path, where it is no resource.
    pub path: &'a str,
    /// The namespace; empty at the cluster scope.
    pub namespace: &'a str,
    /// The API group; empty for core.
    pub group: &'a str,
    /// The API version; empty where none was named.
    pub version: &'a str,
    /// The plural name.
    pub resource: &'a str,
    /// Empty for the object itself.
    pub subresource: &'a str,
    /// Empty for collections and for objects not yet named.
    pub name: &'a str,
    /// The field selector of a list or watch, as it came.
    pub field_selector: &'a str,
    /// The label selector of a list or watch, as it came.
    pub label_selector: &'a str,
}

impl<'a> Attributes<'a> {
    /// The question that a request poses by itself; `query` are its decoded parameters.
    pub fn of(info: &'a RequestInfo, user: &'a UserInfo, query: &'a [(String, String)]) -> Self {
        let selects = matches!(info.verb.as_str(), "list" | "watch" | "deletecollection");
        let selector = |name| {
            let mut named = query.iter().filter(|(key, _)| selects && key == name);
            named.next().map_or("", |(_, value)| value.as_str())
        };
        Self {
            user,
            verb: &info.verb,
            is_resource: info.is_resource_request,
            path: &info.path,
            namespace: &info.namespace,
            group: &info.api_group,
            version: &info.api_version,
            resource: &info.resource,
            subresource: &info.subresource,
            name: &info.name,
            field_selector: selector("fieldSelector"),
            label_selector: selector("labelSelector"),
        }
    }

    /// The question that a request poses by itself.
    pub fn of_context(context: &'a RequestContext) -> Self {
        Self::of(&context.info, &context.user, &context.query)
    }

    /// A question about a resource that no request path stands for.
    pub fn resource(user: &'a UserInfo, verb: &'a str, group: &'a str, resource: &'a str) -> Self {
        Self {
            user,
            verb,
            is_resource: true,
            path: "",
            namespace: "",
            group,
            version: "",
            resource,
            subresource: "",
            name: "",
            field_selector: "",
            label_selector: "",
        }
    }

    /// A question about a path that is no resource.
    pub fn path(user: &'a UserInfo, verb: &'a str, path: &'a str) -> Self {
        Self {
            is_resource: false,
            path,
            ..Self::resource(user, verb, "", "")
        }
    }

    /// The same question for a namespace.
    pub fn in_namespace(self, namespace: &'a str) -> Self {
        Self { namespace, ..self }
    }

    /// The same question for an object.
    pub fn named(self, name: &'a str) -> Self {
        Self { name, ..self }
    }

    /// The same question for a subresource.
    pub fn subresource(self, subresource: &'a str) -> Self {
        Self { subresource, ..self }
    }

    /// How much of it is of the asker's choice, in bytes.
    pub(super) fn length(&self) -> usize {
        let parts = [
            self.namespace,
            self.verb,
            self.group,
            self.version,
            self.resource,
            self.subresource,
            self.name,
            self.path,
        ];
        parts.iter().map(|part| part.len()).sum()
    }

    /// Whether the request can change nothing.
    pub fn is_read_only(&self) -> bool {
        matches!(self.verb, "get" | "list" | "watch")
    }

    /// The value that the field selector pins a field to.
    pub fn selected(&self, field: &str) -> Option<String> {
        exact_field(self.field_selector, field)
    }

    /// What a verdict on this means for who asks.
    ///
    /// # Errors
    /// Forbidden, or that it could not be found out.
    pub fn required(&self, verdict: Verdict) -> Result<(), ApiError> {
        if verdict.is_allowed() {
            Ok(())
        } else if verdict.error.is_empty() {
            Err(self.forbidden(&verdict.reason))
        } else {
            Err(ApiError::internal(verdict.error))
        }
    }

    /// The answer to a request that may not be made, in upstream's words.
    pub fn forbidden(&self, reason: &str) -> ApiError {
        let mut detail = escape(&self.refusal());
        if !reason.is_empty() {
            detail = format!("{detail}: {reason}");
        }
        ApiError::forbidden(self.group, self.resource, self.name, &detail)
    }

    fn refusal(&self) -> String {
        let user = quote(&self.user.name);
        let verb = self.verb;
        if !self.is_resource {
            return format!("User {user} cannot {verb} path {}", quote(self.path));
        }
        let resource = match self.subresource {
            "" => self.resource.to_owned(),
            subresource => format!("{}/{subresource}", self.resource),
        };
        let place = match self.namespace {
            "" => "at the cluster scope".to_owned(),
            namespace => format!("in the namespace {}", quote(namespace)),
        };
        let (resource, group) = (quote(&resource), quote(self.group));
        format!("User {user} cannot {verb} resource {resource} in API group {group} {place}")
    }
}

/// The path is the asker's own text: an answer that a browser may render must not carry markup.
fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user() -> UserInfo {
        UserInfo {
            name: "jane".to_owned(),
            ..UserInfo::default()
        }
    }

    #[test]
    fn refusals_are_worded_as_upstream_words_them() {
        let user = user();
        let pods = Attributes::resource(&user, "list", "", "pods");
        let cases = [
            (
                Attributes::path(&user, "get", "/metrics"),
                "forbidden: User \"jane\" cannot get path \"/metrics\"",
            ),
            (
                pods,
                "pods is forbidden: User \"jane\" cannot list resource \"pods\" in API group \"\" at the cluster scope",
            ),
            (
                pods.in_namespace("a"),
                "pods is forbidden: User \"jane\" cannot list resource \"pods\" in API group \"\" in the namespace \"a\"",
            ),
            (
                Attributes::resource(&user, "get", "apps", "deployments")
                    .in_namespace("a")
                    .named("b")
                    .subresource("scale"),
                "deployments.apps \"b\" is forbidden: User \"jane\" cannot get resource \"deployments/scale\" in API group \
                 \"apps\" in the namespace \"a\"",
            ),
            (
                Attributes::path(&user, "get", "/<script>"),
                "forbidden: User \"jane\" cannot get path \"/&lt;script&gt;\"",
            ),
        ];
        for (attributes, want) in cases {
            assert_eq!(attributes.forbidden("").to_string(), want);
        }
        let with_reason = Attributes::path(&user, "get", "/").forbidden("because");
        assert_eq!(
            with_reason.to_string(),
            "forbidden: User \"jane\" cannot get path \"/\": because"
        );
    }
}
