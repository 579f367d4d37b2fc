//! Brings a value into the shape of a type, as reading it into Go's struct and writing it again would.
//!
//! Every decoder ends here, and so does whatever makes a new object from an old one (patches, apply): what upstream does by
//! converting to a typed struct and back is one walk in place. Unknown fields are dropped and reported; a value of a wrong
//! type ends the walk with Go's error.

use std::borrow::Cow;

use serde_json::{Map, Number, Value};

use super::path::{At, Step, go_type_within, mismatch, render};
use super::zero::{absent, counts_as_absent, empty, name_claim_templates, zero, zero_item};
use super::{DecodeError, base64, time};
use crate::quantity;
use crate::table::{self, Field, Item, Omit, Outer, Shape, Type};

/// Conforms `value` to `ty`; returns the unknown fields in upstream's wording: `unknown field "spec.foo"`.
pub fn conform(value: &mut Value, ty: &'static Type) -> Result<Vec<String>, DecodeError> {
    walk(value, ty, false)
}

/// As [`conform`], but empty lists and maps stay where they were given, as they do in Go's structs until these are stored:
/// rules about an object tell them from such as are absent. [`settle`] takes them away.
pub fn conform_as_given(value: &mut Value, ty: &'static Type) -> Result<Vec<String>, DecodeError> {
    walk(value, ty, true)
}

/// Takes away the empty lists and maps of an object that conforms to `ty` as it was given: it becomes what is read back
/// from the store, where protobuf knows no such thing.
pub fn settle(value: &mut Value, ty: &'static Type) {
    clear(value, ty, counts_as_absent);
}

/// An object that conforms to `ty` as it was given, as Go would write it: empty lists and maps are there where the type says
/// that they always are.
pub fn written<'a>(value: &'a Value, ty: &'static Type) -> Cow<'a, Value> {
    let goes = |field: &Field, value: &Value| field.omit != Omit::Never && counts_as_absent(field, value);
    if !holds(value, ty, goes) {
        return Cow::Borrowed(value);
    }
    let mut value = value.clone();
    clear(&mut value, ty, goes);
    Cow::Owned(value)
}

/// Whether there is anything that is to go.
fn holds(value: &Value, ty: &'static Type, goes: fn(&Field, &Value) -> bool) -> bool {
    let within = |name: &str, value: &Value| {
        let Some(field) = ty.field(name) else { return false };
        if field.ty.outer != Outer::Value && goes(field, value) {
            return true;
        }
        match (field.ty.item, field.ty.outer, value) {
            (Item::Type(inner), Outer::Value, value) => holds(value, inner, goes),
            (Item::Type(inner), Outer::List, Value::Array(items)) => {
                items.iter().any(|item| holds(item, inner, goes))
            }
            (Item::Type(inner), Outer::Map, Value::Object(map)) => {
                map.values().any(|value| holds(value, inner, goes))
            }
            _ => false,
        }
    };
    match (ty.shape, value) {
        (Shape::Struct, Value::Object(map)) => map.iter().any(|(name, value)| within(name, value)),
        (Shape::SchemaOrArray | Shape::SchemaOrBool | Shape::SchemaOrStrings, Value::Object(_)) => {
            holds(value, schema_type(), goes)
        }
        (Shape::SchemaOrArray, Value::Array(items)) => {
            items.iter().any(|item| holds(item, schema_type(), goes))
        }
        _ => false,
    }
}

/// Takes away what is one of the empty lists and maps that are to go.
fn clear(value: &mut Value, ty: &'static Type, goes: fn(&Field, &Value) -> bool) {
    match (ty.shape, value) {
        (Shape::Struct, Value::Object(map)) => clear_fields(map, ty, goes),
        (Shape::SchemaOrArray | Shape::SchemaOrBool | Shape::SchemaOrStrings, Value::Object(map)) => {
            clear_fields(map, schema_type(), goes);
        }
        (Shape::SchemaOrArray, Value::Array(items)) => {
            items.iter_mut().for_each(|item| clear(item, schema_type(), goes));
        }
        _ => {}
    }
}

fn clear_fields(map: &mut Map<String, Value>, ty: &'static Type, goes: fn(&Field, &Value) -> bool) {
    let mut dropped = Vec::new();
    for (name, value) in map.iter_mut() {
        let Some(field) = ty.field(name) else { continue };
        if let Item::Type(inner) = field.ty.item {
            match (field.ty.outer, &mut *value) {
                (Outer::Value, value) => clear(value, inner, goes),
                (Outer::List, Value::Array(items)) => {
                    items.iter_mut().for_each(|item| clear(item, inner, goes))
                }
                (Outer::Map, Value::Object(entries)) => {
                    entries.values_mut().for_each(|value| clear(value, inner, goes))
                }
                _ => {}
            }
        }
        if field.ty.outer != Outer::Value && goes(field, value) {
            match absent(field) {
                Some(zero) => *value = zero,
                None => dropped.push(name.clone()),
            }
        }
    }
    for name in dropped {
        map.remove(&name);
    }
}

fn walk(value: &mut Value, ty: &'static Type, as_given: bool) -> Result<Vec<String>, DecodeError> {
    let mut walk = Walk {
        findings: Vec::new(),
        quiet: false,
        as_given,
    };
    if value.is_null() {
        *value = zero(ty);
    }
    walk.typed(value, ty, None, &|| ty.go_name().to_owned())?;
    Ok(walk.findings)
}

struct Walk {
    findings: Vec<String>,
    /// Within types that decode themselves in Go nothing is reported.
    quiet: bool,
    /// Whether empty lists and maps stay.
    as_given: bool,
}

/// Go's name of the type that was expected, made only when it is needed.
type Expected<'a> = &'a dyn Fn() -> String;

impl Walk {
    fn object(
        &mut self,
        map: &mut Map<String, Value>,
        ty: &'static Type,
        at: Option<&At<'_>>,
    ) -> Result<(), DecodeError> {
        let mut fields = ty.fields.iter().peekable();
        let mut dropped: Vec<String> = Vec::new();
        let mut added: Vec<(&'static str, Value)> = Vec::new();
        for (key, value) in map.iter_mut() {
            while let Some(field) = fields.next_if(|field| field.name < key.as_str()) {
                added.extend(absent(field).map(|value| (field.name, value)));
            }
            let Some(field) = fields.next_if(|field| field.name == key) else {
                if !self.quiet {
                    self.findings
                        .push(format!("unknown field \"{}\"", render(at, key)));
                }
                dropped.push(key.clone());
                continue;
            };
            if !value.is_null() {
                self.field(
                    value,
                    field,
                    &At {
                        parent: at,
                        step: Step::Field(ty, field),
                    },
                )?;
            }
            let stays = self.as_given && field.ty.outer != Outer::Value && !value.is_null();
            if !stays && counts_as_absent(field, value) {
                match absent(field) {
                    Some(zero) => *value = zero,
                    None => dropped.push(key.clone()),
                }
            }
        }
        added.extend(fields.filter_map(|field| Some((field.name, absent(field)?))));
        for key in dropped {
            map.remove(&key);
        }
        map.extend(added.into_iter().map(|(name, value)| (name.to_owned(), value)));
        name_claim_templates(map, ty);
        Ok(())
    }

    fn field(&mut self, value: &mut Value, field: &'static Field, at: &At<'_>) -> Result<(), DecodeError> {
        match field.ty.outer {
            Outer::Value => self.item(value, field, 0, at),
            Outer::List => self.list(value, field, 0, at),
            Outer::Map | Outer::MapOfLists => {
                let Value::Object(map) = value else {
                    return Err(mismatch(value, &go_type_within(field, 0), Some(at)));
                };
                for (key, value) in map.iter_mut() {
                    let at = At {
                        parent: Some(at),
                        step: Step::Key(key),
                    };
                    if field.ty.outer == Outer::MapOfLists {
                        if !value.is_null() {
                            self.list(value, field, 1, &at)?;
                        }
                    } else if value.is_null() {
                        *value = zero_item(field.ty.item);
                    } else {
                        self.item(value, field, 1, &at)?;
                    }
                }
                Ok(())
            }
        }
    }

    fn list(
        &mut self,
        value: &mut Value,
        field: &'static Field,
        depth: usize,
        at: &At<'_>,
    ) -> Result<(), DecodeError> {
        let Value::Array(items) = value else {
            return Err(mismatch(value, &go_type_within(field, depth), Some(at)));
        };
        for (index, value) in items.iter_mut().enumerate() {
            if value.is_null() {
                *value = zero_item(field.ty.item);
            } else {
                self.item(
                    value,
                    field,
                    depth + 1,
                    &At {
                        parent: Some(at),
                        step: Step::Index(index),
                    },
                )?;
            }
        }
        Ok(())
    }

    /// A value that is not null and stands `depth` containers deep in a field.
    fn item(
        &mut self,
        value: &mut Value,
        field: &'static Field,
        depth: usize,
        at: &At<'_>,
    ) -> Result<(), DecodeError> {
        let expected = || go_type_within(field, depth);
        let fits = match field.ty.item {
            Item::Type(ty) => return self.typed(value, ty, Some(at), &expected),
            Item::Bytes => return bytes(value, at, &expected),
            Item::Double => {
                whole(value);
                value.is_number()
            }
            Item::String => value.is_string(),
            Item::Bool => value.is_boolean(),
            Item::Int64 => value.is_i64(),
            Item::Int32 => is_int32(value),
        };
        if fits {
            Ok(())
        } else {
            Err(mismatch(value, &expected(), Some(at)))
        }
    }

    /// A value that is not null and of another type.
    fn typed(
        &mut self,
        value: &mut Value,
        ty: &'static Type,
        at: Option<&At<'_>>,
        expected: Expected<'_>,
    ) -> Result<(), DecodeError> {
        match ty.shape {
            Shape::Struct => match value {
                Value::Object(map) => self.object(map, ty, at),
                _ => Err(mismatch(value, &expected(), at)),
            },
            Shape::Time => moment(value, at, time::parse, time::format),
            Shape::MicroTime => moment(value, at, time::parse_micro, time::format_micro),
            Shape::Quantity => quantity(value),
            Shape::IntOrString if value.is_string() || is_int32(value) => Ok(()),
            Shape::IntOrString => Err(mismatch(value, "int32", at)),
            Shape::Raw | Shape::FieldsV1 | Shape::Json => Ok(()),
            Shape::SchemaOrArray | Shape::SchemaOrBool | Shape::SchemaOrStrings => {
                let quiet = std::mem::replace(&mut self.quiet, true);
                let result = self.schema_or(value, ty.shape, at);
                self.quiet = quiet;
                result
            }
        }
    }

    fn schema_or(&mut self, value: &mut Value, shape: Shape, at: Option<&At<'_>>) -> Result<(), DecodeError> {
        let schema = schema_type();
        match (value, shape) {
            (Value::Object(map), _) => self.object(map, schema, at),
            (Value::Array(items), Shape::SchemaOrArray) => {
                for item in items {
                    if item.is_null() {
                        *item = Value::Object(empty(schema));
                    }
                    self.typed(item, schema, at, &|| "v1.JSONSchemaProps".to_owned())?;
                }
                Ok(())
            }
            (Value::Array(items), Shape::SchemaOrStrings) => {
                match items.iter().find(|item| !item.is_string()) {
                    Some(item) => Err(mismatch(item, "string", at)),
                    None => Ok(()),
                }
            }
            (Value::Bool(_), Shape::SchemaOrBool) => Ok(()),
            (_, Shape::SchemaOrBool) => Err(DecodeError::Type("boolean or JSON schema expected".to_owned())),
            // Go's decoder passes over anything else and leaves the field empty.
            (value, _) => {
                *value = Value::Null;
                Ok(())
            }
        }
    }
}

/// The type of JSON schemas in custom resource definitions, which three shapes wrap.
pub(super) fn schema_type() -> &'static Type {
    table::by_name("io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaProps")
        .expect("the table has the schemas of custom resource definitions")
}

fn is_int32(value: &Value) -> bool {
    value.as_i64().is_some_and(|number| i32::try_from(number).is_ok())
}

/// Go writes a whole float without a fraction.
fn whole(value: &mut Value) {
    const EXACT: f64 = 9_007_199_254_740_992.0;
    if let Some(number) = value.as_f64().filter(|_| value.is_f64())
        && number.fract() == 0.0
        && number.abs() < EXACT
    {
        #[allow(clippy::cast_possible_truncation, reason = "whole and within 53 bits")]
        let number = number as i64;
        *value = Value::Number(Number::from(number));
    }
}

fn bytes(value: &mut Value, at: &At<'_>, expected: Expected<'_>) -> Result<(), DecodeError> {
    let Value::String(text) = value else {
        return Err(mismatch(value, &expected(), Some(at)));
    };
    let decoded = base64::decode(text).map_err(|at| DecodeError::Type(base64::error(at)))?;
    let canonical = base64::encode(&decoded);
    if canonical != *text {
        *text = canonical;
    }
    Ok(())
}

fn moment(
    value: &mut Value,
    at: Option<&At<'_>>,
    parse: fn(&str) -> Result<time::Moment, String>,
    format: fn(time::Moment) -> Option<String>,
) -> Result<(), DecodeError> {
    let Value::String(text) = value else {
        return Err(mismatch(value, "string", at));
    };
    let moment = parse(text).map_err(DecodeError::Type)?;
    *value = match format(moment) {
        Some(_) if moment == time::ZERO => Value::Null,
        Some(text) => Value::String(text),
        None => {
            return Err(DecodeError::Type(
                "Time.MarshalJSON: year outside of range [0,9999]".to_owned(),
            ));
        }
    };
    Ok(())
}

fn quantity(value: &mut Value) -> Result<(), DecodeError> {
    let canonical = match &*value {
        Value::String(text) => quantity::canonical(text),
        other => quantity::canonical(&other.to_string()),
    };
    *value = Value::String(canonical.map_err(|error| DecodeError::Type(error.to_string()))?);
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn conformed(kind: &str, mut value: Value) -> Value {
        let ty = table::by_api_version(value["apiVersion"].as_str().unwrap(), kind).unwrap();
        conform(&mut value, ty).unwrap();
        value
    }

    fn error(api_version: &str, kind: &str, mut value: Value) -> String {
        let ty = table::by_api_version(api_version, kind).unwrap();
        conform(&mut value, ty).unwrap_err().to_string()
    }

    #[test]
    fn writes_what_go_writes() {
        let given = json!({
            "apiVersion": "apps/v1", "kind": "Deployment", "bogus": 1,
            "metadata": {"name": "web", "creationTimestamp": null, "labels": {}, "generation": 0},
            "spec": {"replicas": 0, "paused": false, "selector": null, "template": {"spec": {"containers": [
                {"name": "c", "resources": {"requests": {"cpu": "0.5", "memory": 1024}}, "env": [], "tty": false},
            ]}}}
        });
        let wanted = json!({
            "apiVersion": "apps/v1", "kind": "Deployment",
            "metadata": {"name": "web"},
            "spec": {"replicas": 0, "selector": null, "strategy": {}, "template": {
                "metadata": {},
                "spec": {"containers": [{"name": "c", "resources": {"requests": {"cpu": "500m", "memory": "1024"}}}]}
            }},
            "status": {}
        });
        assert_eq!(conformed("Deployment", given), wanted);
    }

    #[test]
    fn empty_lists_that_are_always_written_are_null() {
        let role = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "rules": []});
        assert_eq!(
            conformed("Role", role),
            json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": {}, "rules": null})
        );
    }

    #[test]
    fn what_was_given_empty_stays_until_it_is_settled() {
        let given = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"labels": {}}, "spec": {
            "containers": [{"name": "c", "env": [], "resources": {"limits": {}}}], "volumes": null,
        }});
        let (mut kept, mut settled) = (given.clone(), given);
        let ty = table::by_gvk("", "v1", "Pod").unwrap();
        conform_as_given(&mut kept, ty).unwrap();
        conform(&mut settled, ty).unwrap();
        assert_eq!(kept["metadata"]["labels"], json!({}));
        assert_eq!(kept["spec"]["containers"][0]["env"], json!([]));
        assert_eq!(kept["spec"]["containers"][0]["resources"]["limits"], json!({}));
        assert_eq!(kept["spec"].get("volumes"), None);
        settle(&mut kept, ty);
        assert_eq!(kept, settled);
    }

    #[test]
    fn unknown_fields_are_named_by_path() {
        let ty = table::by_gvk("", "v1", "Pod").unwrap();
        let mut pod = json!({"spec": {"containers": [{"name": "a"}, {"nmae": "b"}], "x": {"y": 1}}, "metadata": {"z": 1}});
        assert_eq!(
            conform(&mut pod, ty).unwrap(),
            [
                r#"unknown field "metadata.z""#,
                r#"unknown field "spec.containers[1].nmae""#,
                r#"unknown field "spec.x""#
            ]
        );
    }

    #[test]
    fn wrong_types_in_go_s_words() {
        let service = |spec: Value| error("v1", "Service", json!({"spec": spec}));
        let table = [
            (
                service(json!({"ports": [[]]})),
                "array into Go struct field ServiceSpec.spec.ports of type v1.ServicePort",
            ),
            (
                service(json!({"selector": {"app": 5}})),
                "number into Go struct field ServiceSpec.spec.selector of type string",
            ),
            (
                service(json!({"ports": "str"})),
                "string into Go struct field ServiceSpec.spec.ports of type []v1.ServicePort",
            ),
            (
                service(json!({"type": 5})),
                "number into Go struct field ServiceSpec.spec.type of type v1.ServiceType",
            ),
            (
                service(json!({"ports": [{"port": 2_147_483_648_u32}]})),
                "number 2147483648 into Go struct field ServicePort.spec.ports.port of type int32",
            ),
            (
                error("v1", "Secret", json!({"data": {"a": 1}})),
                "number into Go struct field Secret.data of type []uint8",
            ),
            (
                error(
                    "v1",
                    "Pod",
                    json!({"spec": {"volumes": [{"secret": {"defaultMode": "a"}}]}}),
                ),
                "string into Go struct field SecretVolumeSource.spec.volumes.VolumeSource.secret.defaultMode of type int32",
            ),
            (
                error("v1", "ResourceQuota", json!({"spec": {"hard": []}})),
                "array into Go struct field ResourceQuotaSpec.spec.hard of type v1.ResourceList",
            ),
            (
                error("v1", "Pod", json!([])),
                "array into Go value of type v1.Pod",
            ),
        ];
        for (error, end) in table {
            assert_eq!(error, format!("json: cannot unmarshal {end}"));
        }
        assert_eq!(
            error("v1", "Secret", json!({"data": {"a": "Bad_Value!"}})),
            "illegal base64 data at input byte 3"
        );
    }
}
