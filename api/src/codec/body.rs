//! The body of a request, in any of the encodings, as an object of the kind that its address asks for.
//!
//! The order of the checks and the words of the failures are those of upstream's decoder for request bodies.

use std::fmt::Write;

use serde_json::Value;

use super::json::Parsed;
use super::{DecodeError, Decoded, FieldValidation, json, protobuf, yaml};
use crate::quote::quote;
use crate::resources;
use crate::status::ApiError;
use crate::table::{self, Gvk, Type};

/// What upstream prints for the place where its scheme was made.
pub const SCHEME: &str = "pkg/runtime/scheme.go:111";

/// How many bytes of a body that cannot be understood are shown.
const SUMMARY_BYTES: usize = 30;

/// An encoding of objects.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MediaType {
    /// `application/json`.
    Json,
    /// `application/yaml`.
    Yaml,
    /// `application/vnd.kubernetes.protobuf`.
    Protobuf,
}

impl MediaType {
    /// Every encoding by name, as upstream lists them.
    pub const NAMES: [&'static str; 3] = [
        "application/json",
        "application/yaml",
        "application/vnd.kubernetes.protobuf",
    ];

    /// The encoding that a `Content-Type` header names; JSON where there is none.
    pub fn of_content_type(header: &str) -> Option<MediaType> {
        match header.split(';').next().unwrap_or_default().trim() {
            "" | "application/json" => Some(MediaType::Json),
            "application/yaml" => Some(MediaType::Yaml),
            "application/vnd.kubernetes.protobuf" => Some(MediaType::Protobuf),
            _ => None,
        }
    }

    /// The name of the encoding.
    pub fn name(self) -> &'static str {
        Self::NAMES[self as usize]
    }
}

/// Reads a body as an object of the kind `expected`; `apiVersion` and `kind` may be left out.
///
/// Returns the object, with `apiVersion` and `kind` set, and the warnings to send with the answer. Every failure is a
/// `BadRequest`.
pub fn decode(
    body: &[u8],
    media_type: MediaType,
    expected: Gvk,
    validation: FieldValidation,
) -> Result<(Value, Vec<String>), ApiError> {
    let unrecognized = |error: &dyn std::fmt::Display| unrecognized(body, expected.kind, error);
    let text = body;
    let body = Body::open(body, media_type).map_err(|error| unrecognized(&error))?;
    let (api_version, kind) = body.type_meta().map_err(|error| unrecognized(&error))?;
    let said = Said::with_defaults(&api_version, &kind, expected).map_err(|error| unrecognized(&error))?;

    let cannot = |why: &dyn std::fmt::Display| {
        let version = quote(&said.version);
        ApiError::bad_request(format!(
            "{} in version {version} cannot be handled as a {}: {why}",
            said.kind, expected.kind
        ))
    };
    let ty = table::by_gvk(&said.group, &said.version, &said.kind).ok_or_else(|| {
        let (kind, version) = (quote(&said.kind), quote(&said.api_version()));
        cannot(&format!(
            "no kind {kind} is registered for version {version} in scheme \"{SCHEME}\""
        ))
    })?;
    let mut decoded = body.into_type(ty).map_err(|error| cannot(&error))?;
    if media_type == MediaType::Json && decoded.findings.len() > 1 {
        super::json::put_in_order(text, &mut decoded.findings);
    }
    let validated = decoded.validated(validation);
    let (mut value, warnings) = validated.map_err(|error| cannot(&error))?;
    if said.kind != expected.kind {
        let expected = internal_name(expected);
        return Err(cannot(&format!(
            "converting ({}) to ({expected}): unknown conversion",
            ty.go_name()
        )));
    }
    let is_expected = said.group == expected.group && said.version == expected.version;
    if !is_expected && ty.gvk.is_some() {
        return Err(bad_version(&said.api_version(), &expected.api_version()));
    }
    if let Value::Object(object) = &mut value {
        object.insert("apiVersion".to_owned(), said.api_version().into());
        object.insert("kind".to_owned(), said.kind.into());
    }
    Ok((value, warnings))
}

/// Reads a body as options of this kind, which are of `meta.k8s.io/v1` where they do not say of which group they are.
///
/// # Errors
/// 400, in the words of upstream's decoder as they are: options are no object that a resource could have.
pub fn decode_options(body: &[u8], media_type: MediaType, kind: &'static str) -> Result<Value, ApiError> {
    let expected = Gvk {
        group: "meta.k8s.io",
        version: "v1",
        kind,
    };
    let refused = |error: &dyn std::fmt::Display| ApiError::bad_request(error.to_string());
    let body = Body::open(body, media_type).map_err(|error| refused(&error))?;
    let (api_version, said) = body.type_meta().map_err(|error| refused(&error))?;
    let said = Said::with_defaults(&api_version, &said, expected).map_err(|error| refused(&error))?;
    let known = said.api_version() == expected.api_version()
        || table::by_gvk(&said.group, &said.version, kind).is_some();
    let ty = table::by_name(&format!("io.k8s.apimachinery.pkg.apis.meta.v1.{kind}"))
        .filter(|_| known && said.kind == kind)
        .ok_or_else(|| {
            let (kind, version) = (quote(&said.kind), quote(&said.api_version()));
            refused(&format!(
                "no kind {kind} is registered for version {version} in scheme \"{SCHEME}\""
            ))
        })?;
    let decoded = body.into_type(ty).map_err(|error| refused(&error))?;
    let (value, _) = decoded
        .validated(FieldValidation::Ignore)
        .map_err(|error| refused(&error))?;
    Ok(value)
}

/// The failure of a body that cannot be understood, whatever it is.
pub(crate) fn unrecognized(body: &[u8], kind: &str, error: &dyn std::fmt::Display) -> ApiError {
    let summary = summary(body);
    ApiError::bad_request(format!(
        "the object provided is unrecognized (must be of type {kind}): {error} ({summary})"
    ))
}

/// The failure of an object of another version than that of its address.
pub(crate) fn bad_version(found: &str, expected: &str) -> ApiError {
    ApiError::bad_request(format!(
        "the API version in the data ({found}) does not match the expected API version ({expected})"
    ))
}

/// A body of which the encoding is understood, and the type not yet known.
pub(crate) enum Body<'a> {
    Text(Parsed),
    Protobuf(&'a [u8], protobuf::Envelope<'a>),
}

/// Group, version and kind that a body says it is, what it leaves out filled in.
struct Said {
    group: String,
    version: String,
    kind: String,
}

impl<'a> Body<'a> {
    /// Reads a body of an encoding.
    ///
    /// # Errors
    /// Why it is not of it.
    pub(crate) fn open(body: &'a [u8], media_type: MediaType) -> Result<Self, String> {
        match media_type {
            MediaType::Json => json::parse(body)
                .map(Body::Text)
                .map_err(|error| format!("couldn't get version/kind; json parse error: {error}")),
            MediaType::Yaml => yaml::parse(body)
                .map(Body::Text)
                .map_err(|error| error.to_string()),
            MediaType::Protobuf => protobuf::open(body)
                .map(|envelope| Body::Protobuf(body, envelope))
                .map_err(|error| error.to_string()),
        }
    }

    /// The version and kind that it says it is; empty where it does not.
    ///
    /// # Errors
    /// Where it cannot say so, being no object or no text in their places.
    pub(crate) fn type_meta(&self) -> Result<(String, String), String> {
        let parsed = match self {
            Body::Text(parsed) => parsed,
            Body::Protobuf(_, envelope) => {
                return Ok((envelope.api_version.to_owned(), envelope.kind.to_owned()));
            }
        };
        let fault = |what: &str, of: &str| {
            format!("couldn't get version/kind; json parse error: json: cannot unmarshal {what} into Go {of}")
        };
        let object = match &parsed.value {
            Value::Object(object) => object,
            Value::Null => return Ok((String::new(), String::new())),
            other => {
                let of = "value of type struct { APIVersion string \"json:\\\"apiVersion,omitempty\\\"\"; Kind string \
                          \"json:\\\"kind,omitempty\\\"\" }";
                return Err(fault(json_kind(other), of));
            }
        };
        let text = |name: &str| match object.get(name) {
            None | Some(Value::Null) => Ok(String::new()),
            Some(Value::String(text)) => Ok(text.clone()),
            Some(other) => Err(fault(
                json_kind(other),
                &format!("struct field .{name} of type string"),
            )),
        };
        Ok((text("apiVersion")?, text("kind")?))
    }

    /// What was read; none where the encoding needs a type to be read by.
    pub(crate) fn into_parsed(self) -> Option<Parsed> {
        match self {
            Body::Text(parsed) => Some(parsed),
            Body::Protobuf(..) => None,
        }
    }

    fn into_type(self, ty: &'static Type) -> Result<Decoded, DecodeError> {
        match self {
            Body::Text(parsed) => parsed.into_type(ty),
            Body::Protobuf(body, _) => protobuf::decode(body, ty),
        }
    }
}

impl Said {
    fn with_defaults(api_version: &str, kind: &str, expected: Gvk) -> Result<Self, String> {
        let (group, version) = match api_version.split('/').collect::<Vec<_>>()[..] {
            [version] => ("", version),
            [group, version] => (group, version),
            _ => return Err(format!("unexpected GroupVersion string: {api_version}")),
        };
        let nothing = group.is_empty() && version.is_empty();
        let group = if nothing { expected.group } else { group };
        let version = if version.is_empty() && group == expected.group {
            expected.version
        } else {
            version
        };
        let kind = if kind.is_empty() { expected.kind } else { kind };
        Ok(Self {
            group: group.to_owned(),
            version: version.to_owned(),
            kind: kind.to_owned(),
        })
    }

    fn api_version(&self) -> String {
        if self.group.is_empty() {
            self.version.clone()
        } else {
            format!("{}/{}", self.group, self.version)
        }
    }
}

/// What Go's JSON decoder calls a value in its errors.
pub fn json_kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

/// Go's name of the internal type of a kind: `core.Pod`.
pub fn internal_name(gvk: Gvk) -> String {
    // What is stored as a kind of another group is that kind inside.
    let stored =
        resources::by_kind(gvk.group, gvk.version, gvk.kind).map_or(gvk, |found| found.stored_as().gvk());
    let name = table::by_gvk(stored.group, stored.version, stored.kind).map_or("", |ty| ty.name);
    let package = name.rsplit('.').nth(2).unwrap_or_default();
    format!("{package}.{}", gvk.kind)
}

/// The start of a body for a message: as text where it looks like JSON, in hexadecimal otherwise.
fn summary(body: &[u8]) -> String {
    let shown = &body[..body.len().min(SUMMARY_BYTES)];
    let mut text = match shown.first() {
        None => return "<empty>".to_owned(),
        Some(b'{') => String::from_utf8_lossy(shown).into_owned(),
        Some(_) => shown.iter().fold(String::new(), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        }),
    };
    if body.len() > SUMMARY_BYTES {
        text.push_str(" ...");
    }
    text
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const SERVICE: Gvk = Gvk {
        group: "",
        version: "v1",
        kind: "Service",
    };

    fn read(body: &str) -> Result<(Value, Vec<String>), ApiError> {
        decode(body.as_bytes(), MediaType::Json, SERVICE, FieldValidation::Strict)
    }

    #[test]
    fn kind_and_version_may_be_left_out() {
        let (value, _) = read(r#"{"metadata": {"name": "a"}}"#).unwrap();
        assert_eq!(value["apiVersion"], "v1");
        assert_eq!(value["kind"], "Service");
        assert_eq!(value["status"], json!({"loadBalancer": {}}));
    }

    #[test]
    fn failures_in_upstream_s_words() {
        let table = [
            (
                r#"{"kind":"#,
                "the object provided is unrecognized (must be of type Service): couldn't get version/kind; json parse error: \
                 unexpected end of JSON input ({\"kind\":)",
            ),
            (
                r#"{"kind": "Wrong", "apiVersion": "v1"}"#,
                "Wrong in version \"v1\" cannot be handled as a Service: no kind \"Wrong\" is registered for version \"v1\" \
                 in scheme \"pkg/runtime/scheme.go:111\"",
            ),
            (
                r#"{"kind": "Pod", "apiVersion": "v1"}"#,
                "Pod in version \"v1\" cannot be handled as a Service: converting (v1.Pod) to (core.Service): unknown \
                 conversion",
            ),
            (
                r#"{"spec": {"ports": [{"bogus": 1}]}}"#,
                "Service in version \"v1\" cannot be handled as a Service: strict decoding error: unknown field \
                 \"spec.ports[0].bogus\"",
            ),
            (
                r#"{"spec": {"b": 1}, "a": 1}"#,
                "Service in version \"v1\" cannot be handled as a Service: strict decoding error: unknown field \"spec.b\", \
                 unknown field \"a\"",
            ),
            (
                r#"{"spec": {"type": 5}}"#,
                "Service in version \"v1\" cannot be handled as a Service: json: cannot unmarshal number into Go struct \
                 field ServiceSpec.spec.type of type v1.ServiceType",
            ),
        ];
        for (body, message) in table {
            let error = read(body).unwrap_err();
            assert_eq!((error.code(), error.message()), (400, message), "{body}");
        }
    }

    #[test]
    fn failures_of_yaml_in_upstream_s_words() {
        let read = |body: &str| decode(body.as_bytes(), MediaType::Yaml, SERVICE, FieldValidation::Strict);
        let table = [
            (
                "a: b: c",
                "the object provided is unrecognized (must be of type Service): yaml: mapping values are not allowed in this \
                 context (613a20623a2063)",
            ),
            (
                "metadata: {name: a, name: b}",
                "Service in version \"v1\" cannot be handled as a Service: strict decoding error: yaml: unmarshal errors:\n  \
                 line 1: key \"name\" already set in map",
            ),
            (
                "metadata: {labels: {a: yes}}",
                "Service in version \"v1\" cannot be handled as a Service: json: cannot unmarshal bool into Go struct field \
                 ObjectMeta.metadata.labels of type string",
            ),
        ];
        for (body, message) in table {
            let error = read(body).unwrap_err();
            assert_eq!((error.code(), error.message()), (400, message), "{body}");
        }
        assert!(read("metadata: {labels: {a: \"yes\"}}").is_ok());
    }

    #[test]
    fn another_version_is_refused() {
        let v2 = Gvk {
            group: "autoscaling",
            version: "v2",
            kind: "HorizontalPodAutoscaler",
        };
        let body = br#"{"apiVersion": "autoscaling/v1", "kind": "HorizontalPodAutoscaler"}"#;
        let error = decode(body, MediaType::Json, v2, FieldValidation::Warn).unwrap_err();
        assert_eq!(
            error.message(),
            "the API version in the data (autoscaling/v1) does not match the expected API version (autoscaling/v2)"
        );
    }

    #[test]
    fn what_is_no_delete_options() {
        let read = |body: &str| decode_options(body.as_bytes(), MediaType::Json, "DeleteOptions");
        let scheme = "in scheme \"pkg/runtime/scheme.go:111\"";
        for (body, want) in [
            (
                r#"{"a":"#,
                "couldn't get version/kind; json parse error: unexpected end of JSON input".to_owned(),
            ),
            (
                r#"{"kind": "Pod"}"#,
                format!("no kind \"Pod\" is registered for version \"meta.k8s.io/v1\" {scheme}"),
            ),
            (
                r#"{"kind": "Pod", "apiVersion": "v1"}"#,
                format!("no kind \"Pod\" is registered for version \"v1\" {scheme}"),
            ),
        ] {
            let error = read(body).unwrap_err();
            assert_eq!((error.code(), error.message()), (400, want.as_str()), "{body}");
        }
        for body in [
            "null",
            "{}",
            r#"{"kind": "DeleteOptions", "apiVersion": "apps/v1"}"#,
        ] {
            assert!(read(body).is_ok(), "{body}");
        }
    }

    #[test]
    fn delete_options_of_any_group() {
        let expected = Gvk {
            group: "",
            version: "v1",
            kind: "DeleteOptions",
        };
        for body in [
            r#"{"apiVersion": "apps/v1", "kind": "DeleteOptions", "gracePeriodSeconds": 0}"#,
            r#"{"gracePeriodSeconds": 0}"#,
        ] {
            let (value, _) =
                decode(body.as_bytes(), MediaType::Json, expected, FieldValidation::Warn).unwrap();
            assert_eq!(value["gracePeriodSeconds"], 0);
        }
    }

    #[test]
    fn the_same_object_in_every_encoding() {
        let yaml = b"metadata: {name: a}\nspec: {ports: [{port: 80, targetPort: web}]}\n";
        let (from_yaml, _) = decode(yaml, MediaType::Yaml, SERVICE, FieldValidation::Strict).unwrap();
        let bytes = protobuf::encode_any(&from_yaml).unwrap();
        let (from_protobuf, _) =
            decode(&bytes, MediaType::Protobuf, SERVICE, FieldValidation::Strict).unwrap();
        let (from_json, _) = decode(
            &json::encode(&from_yaml),
            MediaType::Json,
            SERVICE,
            FieldValidation::Strict,
        )
        .unwrap();
        assert_eq!(from_yaml, from_protobuf);
        assert_eq!(from_yaml, from_json);
    }

    #[test]
    fn media_types() {
        assert_eq!(
            MediaType::of_content_type("application/json; charset=utf-8"),
            Some(MediaType::Json)
        );
        assert_eq!(MediaType::of_content_type("application/xml"), None);
        assert_eq!(MediaType::Protobuf.name(), "application/vnd.kubernetes.protobuf");
    }
}
