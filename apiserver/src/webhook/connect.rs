//! Connections to and through pods, services and nodes: webhooks see the options of the connection, and may change them.
//!
//! The options stand in the query of such a request. Which is which is decided purely.

use std::collections::BTreeMap;

use async_trait::async_trait;
use coracle_api::object::Fields;
use coracle_api::resources;
use coracle_api::status::ApiError;
use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::{Asked, Shapes, Version, Webhooks};
use crate::admission::{Attributes, Operation};
use crate::http::request_info::is_true;
use crate::request::RequestContext;

/// How many parts of a path of a proxied request come before what is passed on: resource, name, `proxy`.
const PARTS_BEFORE: usize = 3;
const FLAGS: [&str; 4] = ["stdin", "stdout", "stderr", "tty"];

/// Options have one version.
struct AsTheyAre;

#[async_trait]
impl Shapes for AsTheyAre {
    async fn shown(&self, object: &Value, _: &Version) -> Result<Value, ApiError> {
        Ok(object.clone())
    }

    async fn taken(&self, _: &Value, shown: Value, _: &Version) -> Result<Value, ApiError> {
        Ok(shown)
    }
}

impl Webhooks {
    /// Asks about a connection, and writes into the request what becomes of its options.
    ///
    /// # Errors
    /// A refusal, or the failure of a webhook that must not fail.
    pub(crate) async fn connect(&self, context: &mut RequestContext) -> Result<(), ApiError> {
        let info = &context.info;
        let known = resources::find(&info.api_group, &info.api_version, &info.resource)
            .and_then(|resource| Some((resource, resource.subresource(&info.subresource)?)));
        let Some((resource, part)) = known else {
            return Ok(());
        };
        let write = Attributes {
            operation: Operation::Connect,
            resource,
            subresource: &info.subresource,
            namespace: &info.namespace,
            name: &info.name,
            generate_name: "",
            chance: 0,
            user: &context.user,
            warnings: &context.warnings,
            dry_run: false,
            now: Timestamp::now(),
        };
        let before = options(context, part.gvk.kind);
        if self.is_idle(part.gvk.group, part.gvk.kind) {
            return self.check_by_plugins(Some(&write), &before).await;
        }
        let asked = Asked {
            operation: Operation::Connect,
            versions: vec![Version {
                group: resource.group.to_owned(),
                version: resource.version.to_owned(),
                resource: resource.resource.to_owned(),
                kind_group: part.gvk.group.to_owned(),
                kind_version: part.gvk.version.to_owned(),
                kind: part.gvk.kind.to_owned(),
            }],
            subresource: &info.subresource,
            namespace: &info.namespace,
            name: &info.name,
            dry_run: false,
            options: Value::Null,
            user: &context.user,
            warnings: &context.warnings,
        };
        let mut options = before.clone();
        self.settle(&asked, &AsTheyAre, &mut options, Some(&write))
            .await?;
        if options != before {
            take(context, &options);
        }
        Ok(())
    }
}

/// The options of a connection as an object of their kind.
fn options(context: &RequestContext, kind: &str) -> Value {
    let mut options = Map::new();
    options.insert("kind".to_owned(), json!(kind));
    options.insert("apiVersion".to_owned(), json!("v1"));
    let all = |name: &str| {
        let found = context.query.iter().filter(|(key, _)| key == name);
        found.map(|(_, value)| value.as_str()).collect::<Vec<_>>()
    };
    match kind {
        "PodExecOptions" | "PodAttachOptions" => {
            for flag in FLAGS {
                if context.query(flag).is_some_and(is_true) {
                    options.insert(flag.to_owned(), json!(true));
                }
            }
            if let Some(container) = context.query("container").filter(|name| !name.is_empty()) {
                options.insert("container".to_owned(), json!(container));
            }
            if kind == "PodExecOptions" {
                options.insert("command".to_owned(), json!(all("command")));
            }
        }
        "PodPortForwardOptions" => {
            let ports: Vec<u16> = all("ports").iter().filter_map(|port| port.parse().ok()).collect();
            if !ports.is_empty() {
                options.insert("ports".to_owned(), json!(ports));
            }
        }
        _ => {
            if let Some(path) = path_behind(context) {
                options.insert("path".to_owned(), json!(path));
            }
        }
    }
    Value::Object(options)
}

/// What stands behind `…/proxy`, with its slashes.
fn path_behind(context: &RequestContext) -> Option<String> {
    let rest = context
        .info
        .parts
        .get(PARTS_BEFORE..)
        .unwrap_or_default()
        .join("/");
    let slash = context.info.path.ends_with('/');
    match (rest.is_empty(), slash) {
        (true, false) => None,
        (true, true) => Some("/".to_owned()),
        (false, true) => Some(format!("/{rest}/")),
        (false, false) => Some(format!("/{rest}")),
    }
}

/// Writes changed options back into the request.
fn take(context: &mut RequestContext, options: &Value) {
    let mut written: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    match options.text("kind") {
        "PodExecOptions" | "PodAttachOptions" => {
            for flag in FLAGS {
                let value = options.flag(flag).then(|| "true".to_owned());
                written.insert(flag, value.into_iter().collect());
            }
            let container = options.text("container");
            let container = (!container.is_empty()).then(|| container.to_owned());
            written.insert("container", container.into_iter().collect());
            let command = options.items("command").iter().filter_map(Value::as_str);
            written.insert("command", command.map(str::to_owned).collect());
        }
        "PodPortForwardOptions" => {
            let ports = options.items("ports").iter().map(Value::to_string);
            written.insert("ports", ports.collect());
        }
        _ => take_path(context, options.text("path")),
    }
    context
        .query
        .retain(|(name, _)| !written.contains_key(name.as_str()));
    for (name, values) in written {
        let values = values.into_iter().map(|value| (name.to_owned(), value));
        context.query.extend(values);
    }
}

fn take_path(context: &mut RequestContext, path: &str) {
    let info = &mut context.info;
    let before = match path_length(info.parts.get(PARTS_BEFORE..).unwrap_or_default(), &info.path) {
        Some(length) => info.path[..length].to_owned(),
        None => return,
    };
    info.parts.truncate(PARTS_BEFORE);
    let segments = path.split('/').filter(|segment| !segment.is_empty());
    info.parts.extend(segments.map(str::to_owned));
    info.path = format!("{before}{path}");
}

/// How long the part of a path is that comes before these last segments.
fn path_length(rest: &[String], path: &str) -> Option<usize> {
    let bare = path.strip_suffix('/').unwrap_or(path);
    if rest.is_empty() {
        return Some(bare.len());
    }
    Some(bare.strip_suffix(&rest.join("/"))?.trim_end_matches('/').len())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::reader::GroupResource;
    use crate::reader::memory::MemoryReader;
    use crate::webhook::stand_in::{HookServer, allowed, context, denied, patched};

    #[test]
    fn options_are_an_object_of_their_kind() {
        let pod = "/api/v1/namespaces/n/pods/p";
        let table = [
            (
                format!("{pod}/exec?command=sh&command=-c&stdin=true&tty=0&container=c"),
                "PodExecOptions",
                json!({"kind": "PodExecOptions", "apiVersion": "v1", "stdin": true, "container": "c",
                    "command": ["sh", "-c"]}),
            ),
            (
                format!("{pod}/attach?stdout=true"),
                "PodAttachOptions",
                json!({"kind": "PodAttachOptions", "apiVersion": "v1", "stdout": true}),
            ),
            (
                format!("{pod}/portforward?ports=80&ports=81"),
                "PodPortForwardOptions",
                json!({"kind": "PodPortForwardOptions", "apiVersion": "v1", "ports": [80, 81]}),
            ),
            (
                format!("{pod}/proxy/a/b/"),
                "PodProxyOptions",
                json!({"kind": "PodProxyOptions", "apiVersion": "v1", "path": "/a/b/"}),
            ),
            (
                format!("{pod}/proxy"),
                "PodProxyOptions",
                json!({"kind": "PodProxyOptions", "apiVersion": "v1"}),
            ),
        ];
        for (target, kind, want) in table {
            let mut context = context(&target);
            let found = options(&context, kind);
            assert_eq!(found, want, "{target}");
            // What is written back is what was read.
            take(&mut context, &found);
            assert_eq!(options(&context, kind), want, "{target}");
        }
    }

    #[tokio::test]
    async fn webhooks_may_refuse_a_connection_and_change_its_options() {
        let server = HookServer::start(|path, request| match (path, request["name"].as_str()) {
            ("/refuse", Some("secret")) => denied("attaching to pod 'secret' is not allowed"),
            ("/change", _) => patched(&json!([{"op": "replace", "path": "/command", "value": ["true"]}])),
            _ => allowed(),
        })
        .await;
        let reader = Arc::new(MemoryReader::default());
        let rule = json!({"operations": ["CONNECT"], "apiGroups": ["*"], "apiVersions": ["*"], "resources": ["pods/*"]});
        for (sort, path) in [("validating", "/refuse"), ("mutating", "/change")] {
            let hook = json!({"name": format!("{sort}.example.com"), "rules": [rule], "sideEffects": "None",
                "clientConfig": server.client_config(path), "admissionReviewVersions": ["v1"],
                "namespaceSelector": {}, "objectSelector": {}});
            let resource = GroupResource::new(super::super::GROUP, &format!("{sort}webhookconfigurations"));
            reader.put(&resource, json!({"metadata": {"name": "c"}, "webhooks": [hook]}));
        }
        let webhooks = Webhooks::new(reader);
        let mut exec = context("/api/v1/namespaces/n/pods/p/exec?command=sh&tty=true");
        webhooks.connect(&mut exec).await.unwrap();
        assert_eq!(exec.query("command"), Some("true"));
        let mut secret = context("/api/v1/namespaces/n/pods/secret/exec?command=sh");
        let refused = webhooks.connect(&mut secret).await.unwrap_err();
        assert_eq!(
            refused.message(),
            "admission webhook \"validating.example.com\" denied the request: attaching to pod 'secret' is not allowed"
        );
        let (_, review) = server.calls().pop().unwrap();
        let request = &review["request"];
        assert_eq!(
            (request["operation"].as_str(), request["subResource"].as_str()),
            (Some("CONNECT"), Some("exec"))
        );
        assert_eq!(request["object"]["kind"], "PodExecOptions");
        assert_eq!(
            (&request["options"], &request["oldObject"]),
            (&Value::Null, &Value::Null)
        );
    }

    #[test]
    fn changed_options_are_taken_over() {
        let mut exec = context("/api/v1/namespaces/n/pods/p/exec?command=sh&tty=true&x=1");
        take(
            &mut exec,
            &json!({"kind": "PodExecOptions", "command": ["ls", "/"], "stdout": true}),
        );
        let query: Vec<_> = exec
            .query
            .iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        assert_eq!(query, ["x=1", "command=ls", "command=/", "stdout=true"]);
        let mut proxy = context("/api/v1/namespaces/n/services/s/proxy/a/b");
        take(&mut proxy, &json!({"kind": "ServiceProxyOptions", "path": "/c/"}));
        assert_eq!(proxy.info.path, "/api/v1/namespaces/n/services/s/proxy/c/");
        assert_eq!(proxy.info.parts, ["services", "s", "proxy", "c"]);
    }
}
