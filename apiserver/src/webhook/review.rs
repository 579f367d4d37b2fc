//! `AdmissionReview`: what a webhook is told, and what its answer says. Pure.
//!
//! Both versions have the same fields; they differ in how strictly an answer is taken.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use coracle_api::codec::json;
use coracle_api::object::Fields;
use coracle_api::quote::quote;
use serde_json::{Map, Value, json};

use super::hook::{ReviewVersion, Sort};
use super::{Asked, Version};
use crate::request::UserInfo;

/// What an answer says.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Verdict {
    pub(super) allowed: bool,
    /// The `Status` of a refusal, where there is one.
    pub(super) result: Option<Value>,
    pub(super) warnings: Vec<String>,
    /// Name and value.
    pub(super) audit_annotations: Vec<(String, String)>,
    /// The operations of a JSON patch; empty where nothing is to change.
    pub(super) patch: Vec<Value>,
}

/// Why an answer is none.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// It is no review.
    Unreadable(String),
    /// It is a review that breaks the rules.
    Invalid(String),
}

impl ReviewVersion {
    fn as_str(self) -> &'static str {
        match self {
            Self::V1 => "v1",
            Self::V1beta1 => "v1beta1",
        }
    }

    fn api_version(self) -> String {
        format!("admission.k8s.io/{}", self.as_str())
    }
}

/// The `request` of a review. `object` and `old` are shown in `version`.
pub(crate) fn request(
    asked: &Asked<'_>,
    version: &Version,
    uid: &str,
    object: Option<&Value>,
    old: Option<&Value>,
) -> Value {
    let own = asked.versions.first().unwrap_or(version);
    let mut request = Map::new();
    let mut put = |name: &str, value: Value| request.insert(name.to_owned(), value);
    put("uid", json!(uid));
    put("kind", kind(version));
    put("resource", resource(version));
    put("requestKind", kind(own));
    put("requestResource", resource(own));
    for (name, text) in [
        ("subResource", asked.subresource),
        ("requestSubResource", asked.subresource),
        ("name", asked.name),
        ("namespace", asked.namespace),
    ] {
        if !text.is_empty() {
            put(name, json!(text));
        }
    }
    put("operation", json!(asked.operation.as_str()));
    put("userInfo", user_info(asked.user));
    put("object", object.cloned().unwrap_or_default());
    put("oldObject", old.cloned().unwrap_or_default());
    put("dryRun", json!(asked.dry_run));
    put("options", asked.options.clone());
    Value::Object(request)
}

/// The whole review.
pub(super) fn review(version: ReviewVersion, request: Value) -> Value {
    json!({"kind": "AdmissionReview", "apiVersion": version.api_version(), "request": request})
}

fn kind(version: &Version) -> Value {
    json!({"group": version.kind_group, "version": version.kind_version, "kind": version.kind})
}

fn resource(version: &Version) -> Value {
    json!({"group": version.group, "version": version.version, "resource": version.resource})
}

fn user_info(user: &UserInfo) -> Value {
    let mut info = Map::new();
    for (name, value, empty) in [
        ("username", json!(user.name), user.name.is_empty()),
        ("uid", json!(user.uid), user.uid.is_empty()),
        ("groups", json!(user.groups), user.groups.is_empty()),
        ("extra", json!(user.extra), user.extra.is_empty()),
    ] {
        if !empty {
            info.insert(name.to_owned(), value);
        }
    }
    Value::Object(info)
}

/// Reads the answer to the review with this uid.
pub(super) fn verdict(
    version: ReviewVersion,
    sort: Sort,
    uid: &str,
    answer: &[u8],
) -> Result<Verdict, Fault> {
    let read = json::parse(answer).map_err(|error| {
        Fault::Unreadable(format!("couldn't get version/kind; json parse error: {error}"))
    })?;
    let Some(response) = read
        .value
        .field("response")
        .filter(|response| response.is_object())
    else {
        return Err(Fault::Invalid("webhook response was absent".to_owned()));
    };
    if version == ReviewVersion::V1 {
        check_envelope(version, uid, &read.value, response).map_err(Fault::Invalid)?;
        check_patch_type(sort, response).map_err(Fault::Invalid)?;
    }
    let patch = match sort {
        Sort::Mutating => patch(response)?,
        Sort::Validating => Vec::new(),
    };
    let warnings = response.items("warnings").iter().filter_map(Value::as_str);
    let annotations = response.entries("auditAnnotations");
    Ok(Verdict {
        allowed: response.flag("allowed"),
        result: response.field("status").cloned(),
        warnings: warnings.map(str::to_owned).collect(),
        audit_annotations: annotations
            .map(|(name, value)| (name.to_owned(), value.as_str().unwrap_or_default().to_owned()))
            .collect(),
        patch,
    })
}

fn check_envelope(version: ReviewVersion, uid: &str, review: &Value, response: &Value) -> Result<(), String> {
    let answered = response.text("uid");
    if answered != uid {
        return Err(format!(
            "expected response.uid={}, got {}",
            quote(uid),
            quote(answered)
        ));
    }
    let (api_version, kind) = (review.text("apiVersion"), review.text("kind"));
    if api_version == version.api_version() && kind == "AdmissionReview" {
        return Ok(());
    }
    let got = if api_version.contains('/') {
        api_version.to_owned()
    } else {
        format!("/{api_version}")
    };
    Err(format!(
        "expected webhook response of {}, Kind=AdmissionReview, got {got}, Kind={kind}",
        version.api_version()
    ))
}

fn check_patch_type(sort: Sort, response: &Value) -> Result<(), String> {
    let (patch, kind) = (!response.text("patch").is_empty(), response.has("patchType"));
    let why = match (sort, patch, kind) {
        (Sort::Mutating, true, false) => "webhook returned response.patch but not response.patchType",
        (Sort::Mutating, false, true) => "webhook returned response.patchType but not response.patch",
        (Sort::Validating, true, _) => "validating webhook may not return response.patch",
        (Sort::Validating, false, true) => "validating webhook may not return response.patchType",
        _ => return known_patch_type(response),
    };
    Err(why.to_owned())
}

fn known_patch_type(response: &Value) -> Result<(), String> {
    match response.text("patchType") {
        "" if response.has("patchType") => {
            Err("webhook returned invalid response.patchType of \"\"".to_owned())
        }
        "" | "JSONPatch" => Ok(()),
        other => Err(format!("unsupported patch type {}", quote(other))),
    }
}

fn patch(response: &Value) -> Result<Vec<Value>, Fault> {
    let undecodable =
        |why: String| Fault::Invalid(format!("received undecodable patch in webhook response: {why}"));
    let text = response.text("patch");
    if text.is_empty() {
        return Ok(Vec::new());
    }
    let bytes = STANDARD
        .decode(text)
        .map_err(|error| Fault::Unreadable(error.to_string()))?;
    let read = json::parse(&bytes).map_err(|error| undecodable(error.to_string()))?;
    match read.value {
        Value::Array(operations) => Ok(operations),
        Value::Null => Ok(Vec::new()),
        _ => Err(undecodable("it is no list of operations".to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admission::Operation;
    use crate::request::Warnings;

    fn read(version: ReviewVersion, sort: Sort, answer: Value) -> Result<Verdict, String> {
        verdict(version, sort, "u1", answer.to_string().as_bytes()).map_err(|fault| match fault {
            Fault::Unreadable(why) | Fault::Invalid(why) => why,
        })
    }

    fn v1(response: Value) -> Value {
        json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": response})
    }

    #[test]
    fn a_review_says_what_upstreams_says() {
        let version = |group: &str, version: &str| Version {
            group: group.to_owned(),
            version: version.to_owned(),
            resource: "things".to_owned(),
            kind_group: group.to_owned(),
            kind_version: version.to_owned(),
            kind: "Thing".to_owned(),
        };
        let user = UserInfo {
            name: "jane".to_owned(),
            groups: vec!["devs".to_owned()],
            ..UserInfo::default()
        };
        let warnings = Warnings::default();
        let asked = Asked {
            operation: Operation::Delete,
            versions: vec![version("g", "v2"), version("g", "v1")],
            subresource: "",
            namespace: "n",
            name: "",
            dry_run: true,
            options: json!({"kind": "DeleteOptions", "apiVersion": "meta.k8s.io/v1"}),
            user: &user,
            warnings: &warnings,
        };
        let old = json!({"kind": "Thing"});
        let request = request(&asked, &asked.versions[1], "u1", None, Some(&old));
        assert_eq!(
            review(ReviewVersion::V1, request),
            json!({
                "kind": "AdmissionReview", "apiVersion": "admission.k8s.io/v1", "request": {
                    "uid": "u1",
                    "kind": {"group": "g", "version": "v1", "kind": "Thing"},
                    "resource": {"group": "g", "version": "v1", "resource": "things"},
                    "requestKind": {"group": "g", "version": "v2", "kind": "Thing"},
                    "requestResource": {"group": "g", "version": "v2", "resource": "things"},
                    "namespace": "n", "operation": "DELETE",
                    "userInfo": {"username": "jane", "groups": ["devs"]},
                    "object": null, "oldObject": {"kind": "Thing"}, "dryRun": true,
                    "options": {"kind": "DeleteOptions", "apiVersion": "meta.k8s.io/v1"},
                },
            })
        );
    }

    #[test]
    fn an_answer_may_refuse_warn_and_change() {
        let patch = STANDARD.encode(r#"[{"op": "add", "path": "/a", "value": 1}]"#);
        let answer = v1(
            json!({"uid": "u1", "allowed": true, "warnings": ["careful"], "patch": patch,
            "patchType": "JSONPatch", "auditAnnotations": {"k": "v"}}),
        );
        let read_as = read(ReviewVersion::V1, Sort::Mutating, answer).unwrap();
        assert_eq!(
            read_as,
            Verdict {
                allowed: true,
                result: None,
                warnings: vec!["careful".to_owned()],
                audit_annotations: vec![("k".to_owned(), "v".to_owned())],
                patch: vec![json!({"op": "add", "path": "/a", "value": 1})],
            }
        );
        let refusal = v1(json!({"uid": "u1", "allowed": false, "status": {"message": "no"}}));
        let read_as = read(ReviewVersion::V1, Sort::Validating, refusal).unwrap();
        assert_eq!(
            (read_as.allowed, read_as.result),
            (false, Some(json!({"message": "no"})))
        );
    }

    #[test]
    fn answers_that_break_the_rules_are_none() {
        use Sort::{Mutating, Validating};
        let patch = STANDARD.encode("[]");
        let table = [
            (Mutating, json!({}), "webhook response was absent"),
            (
                Mutating,
                v1(json!({"uid": "u2", "allowed": true})),
                "expected response.uid=\"u1\", got \"u2\"",
            ),
            (
                Mutating,
                json!({"response": {"uid": "u1"}}),
                "expected webhook response of admission.k8s.io/v1, Kind=AdmissionReview, got /, Kind=",
            ),
            (
                Mutating,
                v1(json!({"uid": "u1", "patch": patch})),
                "webhook returned response.patch but not response.patchType",
            ),
            (
                Mutating,
                v1(json!({"uid": "u1", "patchType": "JSONPatch"})),
                "webhook returned response.patchType but not response.patch",
            ),
            (
                Mutating,
                v1(json!({"uid": "u1", "patch": patch, "patchType": "Merge"})),
                "unsupported patch type \"Merge\"",
            ),
            (
                Validating,
                v1(json!({"uid": "u1", "patch": patch})),
                "validating webhook may not return response.patch",
            ),
            (
                Mutating,
                v1(json!({"uid": "u1", "patch": STANDARD.encode("{}"), "patchType": "JSONPatch"})),
                "received undecodable patch in webhook response: it is no list of operations",
            ),
        ];
        for (sort, answer, want) in table {
            assert_eq!(read(ReviewVersion::V1, sort, answer), Err(want.to_owned()));
        }
        // The older version takes any envelope.
        let loose = json!({"response": {"allowed": true, "patch": patch}});
        assert!(read(ReviewVersion::V1beta1, Mutating, loose).unwrap().allowed);
    }
}
