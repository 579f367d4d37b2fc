//! Conversion by webhook: what is sent in a `ConversionReview`, and what of its answer is taken.
//!
//! Follows upstream's `webhookConverter`, in its words. An answer may change an object as it likes, but for its kind and its
//! metadata: of those only labels and annotations are taken from it.

use serde_json::{Map, Value, json};

use super::scale::go_type;
use crate::codec::json;
use crate::object::Fields;
use crate::quote::quote;
use crate::validation::{FieldErrors, Path, meta};

/// How a definition says that its versions are converted.
#[derive(Clone, Debug, PartialEq)]
pub struct Conversion {
    /// `clientConfig`: where the webhook is reached.
    pub client: Value,
    /// The first version of reviews that is known of those it takes.
    pub review: Option<ReviewVersion>,
}

/// The versions in which reviews are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReviewVersion {
    /// `apiextensions.k8s.io/v1`.
    V1,
    /// `apiextensions.k8s.io/v1beta1`, whose answers are taken less strictly.
    V1beta1,
}

impl ReviewVersion {
    fn api_version(self) -> &'static str {
        match self {
            Self::V1 => "apiextensions.k8s.io/v1",
            Self::V1beta1 => "apiextensions.k8s.io/v1beta1",
        }
    }
}

impl Conversion {
    /// What the `spec` of a definition says; nothing where no webhook is asked.
    pub(super) fn read(spec: &Value) -> Option<Self> {
        let conversion = &spec["conversion"];
        if conversion.text("strategy") != "Webhook" {
            return None;
        }
        let webhook = &conversion["webhook"];
        let mut versions = webhook.items("conversionReviewVersions").iter();
        Some(Self {
            client: webhook["clientConfig"].clone(),
            review: versions.find_map(|version| match version.as_str() {
                Some("v1") => Some(ReviewVersion::V1),
                Some("v1beta1") => Some(ReviewVersion::V1beta1),
                _ => None,
            }),
        })
    }
}

/// The review that asks for objects in a version, `group/version`.
pub fn review(version: ReviewVersion, uid: &str, wanted: &str, objects: &[Value]) -> Value {
    json!({
        "kind": "ConversionReview", "apiVersion": version.api_version(),
        "request": {"uid": uid, "desiredAPIVersion": wanted, "objects": objects},
        "response": {"uid": "", "convertedObjects": null, "result": {"metadata": {}}},
    })
}

/// What is said of objects whose webhook did not answer.
pub fn failed(sent: &[Value], why: &str) -> String {
    format!("conversion webhook for {} failed: {why}", shown(sent))
}

/// What a webhook made of the objects that it was sent, in their order.
///
/// # Errors
/// What is wrong with the answer.
pub fn converted(
    version: ReviewVersion,
    uid: &str,
    wanted: &str,
    sent: &[Value],
    answer: &[u8],
) -> Result<Vec<Value>, String> {
    let objects = objects_in(version, uid, answer).map_err(|why| failed(sent, &why))?;
    if objects.len() != sent.len() {
        let (found, expected) = (objects.len(), sent.len());
        return Err(format!(
            "conversion webhook for {} returned {found} objects, expected {expected}",
            shown(sent)
        ));
    }
    let pairs = sent.iter().zip(objects).enumerate();
    pairs
        .map(|(index, (original, object))| {
            taken(original, object, wanted).map_err(|fault| fault.told(sent, index))
        })
        .collect()
}

/// What is wrong with one of the objects.
enum Fault {
    /// It is of another kind or version, or no object.
    Object(String),
    /// It is another object.
    Identity(String),
    /// Its metadata cannot be taken.
    Metadata(String),
}

impl Fault {
    fn told(&self, sent: &[Value], index: usize) -> String {
        let single = sent.len() == 1;
        let (what, why) = match self {
            Self::Object(why) if single => ("object at index 0".to_owned(), why),
            Self::Identity(why) if single => ("object".to_owned(), why),
            Self::Metadata(why) if single => ("metadata".to_owned(), why),
            Self::Object(why) | Self::Identity(why) => (format!("converted object at index {index}"), why),
            Self::Metadata(why) => (format!("metadata in object at index {index}"), why),
        };
        format!(
            "conversion webhook for {} returned invalid {what}: {why}",
            shown(sent)
        )
    }
}

/// The kind of what was sent, as Go prints it.
fn shown(sent: &[Value]) -> String {
    let first = sent.first().unwrap_or(&Value::Null);
    format!("{}, Kind={}", first.text("apiVersion"), first.text("kind"))
}

fn objects_in(version: ReviewVersion, uid: &str, answer: &[u8]) -> Result<Vec<Value>, String> {
    let mut read = json::parse(answer)
        .map_err(|error| format!("couldn't get version/kind; json parse error: {error}"))?
        .value;
    if version == ReviewVersion::V1 {
        check_kind(version, &read)?;
    }
    let Some(response) = read.get_mut("response").filter(|response| response.is_object()) else {
        return Err("no response provided".to_owned());
    };
    let answered = response.text("uid");
    if version == ReviewVersion::V1 && answered != uid {
        return Err(format!(
            "expected response.uid={}, got {}",
            quote(uid),
            quote(answered)
        ));
    }
    let result = &response["result"];
    match (result.text("status"), result.text("message")) {
        ("Success", _) => {}
        (status, "") => return Err(format!("response.result.status was '{status}', not 'Success'")),
        (_, message) => return Err(message.to_owned()),
    }
    match response["convertedObjects"].take() {
        Value::Array(objects) => Ok(objects),
        _ => Ok(Vec::new()),
    }
}

fn check_kind(version: ReviewVersion, review: &Value) -> Result<(), String> {
    let (api_version, kind) = (review.text("apiVersion"), review.text("kind"));
    if api_version == version.api_version() && kind == "ConversionReview" {
        return Ok(());
    }
    let slash = if api_version.contains('/') { "" } else { "/" };
    Err(format!(
        "expected webhook response of {}, Kind=ConversionReview, got {slash}{api_version}, Kind={kind}",
        version.api_version()
    ))
}

/// One object of an answer, with the metadata that it had.
fn taken(original: &Value, mut object: Value, wanted: &str) -> Result<Value, Fault> {
    if object.text("kind").is_empty() {
        return Err(Fault::Object(format!("Object 'Kind' is missing in '{object}'")));
    }
    let (version, kind) = (object.text("apiVersion"), object.text("kind"));
    if version != wanted {
        return Err(Fault::Object(format!(
            "invalid groupVersion (expected {wanted}, received {version})"
        )));
    }
    let own = original.text("kind");
    if kind != own {
        return Err(Fault::Object(format!(
            "invalid kind (expected {own}, received {kind})"
        )));
    }
    for (field, name) in [("name", "name"), ("namespace", "namespace"), ("uid", "UID")] {
        let (before, after) = (original["metadata"].text(field), object["metadata"].text(field));
        if before != after {
            return Err(Fault::Identity(format!(
                "must have the same {name}: {before} != {after}"
            )));
        }
    }
    let metadata = metadata(original, &object).map_err(Fault::Metadata)?;
    object["metadata"] = Value::Object(metadata);
    Ok(object)
}

/// The metadata of the original, with the labels and annotations of the answer.
fn metadata(original: &Value, object: &Value) -> Result<Map<String, Value>, String> {
    let answered = match object.get("metadata") {
        None => return Err("missing metadata in converted object".to_owned()),
        Some(Value::Object(metadata)) => metadata,
        Some(other) => {
            let ty = go_type(other);
            return Err(format!("invalid metadata of type {ty} in converted object"));
        }
    };
    let mut metadata = original["metadata"].as_object().cloned().unwrap_or_default();
    for field in ["labels", "annotations"] {
        match answered.get(field) {
            None | Some(Value::Null) => {
                metadata.remove(field);
            }
            Some(value) if Some(value) == metadata.get(field) => {}
            Some(value) => {
                check_texts(field, value)?;
                metadata.insert(field.to_owned(), value.clone());
            }
        }
    }
    Ok(metadata)
}

/// Whether labels or annotations that a webhook changed are such.
fn check_texts(field: &str, value: &Value) -> Result<(), String> {
    let Value::Object(texts) = value else {
        let ty = go_type(value);
        return Err(format!(
            "invalid metadata.{field} of type {ty} in converted object"
        ));
    };
    if let Some((key, other)) = texts.iter().find(|(_, text)| !text.is_string()) {
        let ty = go_type(other);
        return Err(format!(
            "metadata.{field}[{key}] must be a string, but is {ty} in converted object"
        ));
    }
    let mut errors = FieldErrors::new();
    let (at, holder) = (Path::new("metadata"), json!({field: value}));
    if field == "labels" {
        meta::labels(&holder, field, &at, &mut errors);
    } else {
        meta::annotations(&holder, &at, &mut errors);
    }
    if errors.is_empty() {
        Ok(())
    } else {
        Err(errors.aggregate())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const V1: ReviewVersion = ReviewVersion::V1;

    fn sent() -> Value {
        json!({"apiVersion": "example.com/v1", "kind": "Widget", "hostPort": "a:1",
            "metadata": {"name": "a", "namespace": "n", "uid": "u", "labels": {"x": "y"}, "generation": 3}})
    }

    fn made() -> Value {
        json!({"apiVersion": "example.com/v2", "kind": "Widget", "host": "a", "port": "1",
            "metadata": {"name": "a", "namespace": "n", "uid": "u", "labels": {"x": "z"}, "generation": 9}})
    }

    fn answer(objects: Value) -> Value {
        json!({"kind": "ConversionReview", "apiVersion": "apiextensions.k8s.io/v1",
            "response": {"uid": "1", "convertedObjects": objects, "result": {"status": "Success"}}})
    }

    fn read(version: ReviewVersion, sent: &[Value], answer: &Value) -> Result<Vec<Value>, String> {
        converted(
            version,
            "1",
            "example.com/v2",
            sent,
            answer.to_string().as_bytes(),
        )
    }

    #[test]
    fn an_answer_changes_all_but_the_metadata() {
        let read = read(V1, &[sent()], &answer(json!([made()]))).unwrap();
        let wanted =
            json!({"name": "a", "namespace": "n", "uid": "u", "labels": {"x": "z"}, "generation": 3});
        assert_eq!((&read[0]["host"], &read[0]["metadata"]), (&json!("a"), &wanted));
        let mut bare = made();
        bare["metadata"].as_object_mut().unwrap().remove("labels");
        let read = super::tests::read(V1, &[sent()], &answer(json!([bare]))).unwrap();
        assert_eq!(read[0]["metadata"].get("labels"), None);
    }

    #[test]
    fn answers_that_are_not_taken() {
        let with = |path: &str, value: Value| {
            let mut object = made();
            *object.pointer_mut(path).unwrap() = value;
            answer(json!([object]))
        };
        let failing = |result: Value| {
            json!({"kind": "ConversionReview", "apiVersion": "apiextensions.k8s.io/v1",
                "response": {"uid": "1", "result": result}})
        };
        let mut other_uid = answer(json!([made()]));
        other_uid["response"]["uid"] = json!("2");
        let table = [
            (
                json!({}),
                "failed: expected webhook response of apiextensions.k8s.io/v1, Kind=ConversionReview, got /, Kind=",
            ),
            (
                json!({"kind": "ConversionReview", "apiVersion": "apiextensions.k8s.io/v1"}),
                "failed: no response provided",
            ),
            (other_uid, "failed: expected response.uid=\"1\", got \"2\""),
            (
                failing(json!({"status": "Failure", "message": "no way"})),
                "failed: no way",
            ),
            (
                failing(json!({"status": "Failure"})),
                "failed: response.result.status was 'Failure', not 'Success'",
            ),
            (answer(json!([])), "returned 0 objects, expected 1"),
            (
                with("/apiVersion", json!("example.com/v1")),
                "returned invalid object at index 0: invalid groupVersion (expected example.com/v2, received example.com/v1)",
            ),
            (
                with("/kind", json!("Gadget")),
                "returned invalid object at index 0: invalid kind (expected Widget, received Gadget)",
            ),
            (
                with("/metadata/name", json!("b")),
                "returned invalid object: must have the same name: a != b",
            ),
            (
                with("/metadata/uid", json!("w")),
                "returned invalid object: must have the same UID: u != w",
            ),
            (
                with("/metadata/labels/x", json!(1)),
                "returned invalid metadata: metadata.labels[x] must be a string, but is int64 in converted object",
            ),
        ];
        for (answer, why) in table {
            let fault = read(V1, &[sent()], &answer).unwrap_err();
            assert_eq!(
                fault,
                format!("conversion webhook for example.com/v1, Kind=Widget {why}")
            );
        }
        let bad = with("/metadata/labels/x", json!("not a label"));
        let fault = read(V1, &[sent()], &bad).unwrap_err();
        assert!(
            fault.contains("returned invalid metadata: metadata.labels: Invalid value: \"not a label\""),
            "{fault}"
        );
    }

    #[test]
    fn objects_of_several_are_told_apart() {
        let mut other = made();
        other["kind"] = json!("Gadget");
        let fault = read(V1, &[sent(), sent()], &answer(json!([made(), other]))).unwrap_err();
        assert_eq!(
            fault,
            "conversion webhook for example.com/v1, Kind=Widget returned invalid converted object at index 1: invalid kind \
             (expected Widget, received Gadget)"
        );
    }

    #[test]
    fn the_older_review_is_taken_less_strictly() {
        let mut lax = answer(json!([made()]));
        lax["response"]["uid"] = json!("other");
        lax["apiVersion"] = json!("apiextensions.k8s.io/v1beta1");
        assert!(read(ReviewVersion::V1beta1, &[sent()], &lax).is_ok());
        let spec = json!({"conversion": {"strategy": "Webhook", "webhook": {"conversionReviewVersions": ["v9", "v1beta1", "v1"]}}});
        assert_eq!(
            Conversion::read(&spec).unwrap().review,
            Some(ReviewVersion::V1beta1)
        );
        assert_eq!(
            Conversion::read(&json!({"conversion": {"strategy": "None"}})),
            None
        );
        let review = review(V1, "1", "example.com/v2", &[sent()]);
        assert_eq!(review["request"]["desiredAPIVersion"], "example.com/v2");
        assert_eq!(review["request"]["objects"][0], sent());
    }
}
