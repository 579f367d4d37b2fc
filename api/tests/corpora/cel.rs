//! CEL's conformance files (google/cel-spec): each test's expression is compiled and evaluated, and its value compared.
//!
//! Kubernetes has no protobuf messages in expressions and not all of the libraries that the files test. A test that needs such
//! and fails is counted as one that nothing answers; every other failure is named.

use std::collections::BTreeMap;

use coracle_api::cel::{Activation, Environment, Key, Moment, Text, Type, Value, compile};

use crate::archive::files;
use crate::outcome::Outcome;
use crate::text_proto::{Node, parse};

/// Tests that fail although Kubernetes has what they need.
const KNOWN: &[&str] = &[
    // Kubernetes refuses IPv4 addresses inside of IPv6 ones, where the files compare them.
    "network_ext/ipv4/ipv4_equals_ipv6",
    "network_ext/ipv4/ipv4_not_equals_ipv6",
];

/// Libraries that Kubernetes leaves out, by their files.
const LEFT_OUT: [(&str, &str); 5] = [
    ("math_ext", "the math library, which Kubernetes leaves out"),
    (
        "encoders_ext",
        "the encoders library, which Kubernetes leaves out",
    ),
    ("block_ext", "cel.block, which Kubernetes leaves out"),
    ("proto2_ext", "protobuf messages, which Kubernetes leaves out"),
    ("enums", "protobuf messages, which Kubernetes leaves out"),
];

#[test]
fn conformance() {
    let Some(files) = files("cel-conformance.tar.gz") else {
        return;
    };
    let mut outcome = Outcome::default();
    for (path, bytes) in files {
        if path.ends_with(".textproto") {
            file(&parse(&String::from_utf8(bytes).unwrap()), &mut outcome);
        }
    }
    outcome.conclude("CEL, conformance files", 1800, KNOWN);
}

fn file(file: &Node, outcome: &mut Outcome) {
    let name = file.get("name").map(Node::text).unwrap_or_default();
    let mut seen = BTreeMap::new();
    for section in file.all("section") {
        let of = section.get("name").map(Node::text).unwrap_or_default();
        for test in section.all("test") {
            let mut whole = format!(
                "{name}/{of}/{}",
                test.get("name").map(Node::text).unwrap_or_default()
            );
            let times = seen.entry(whole.clone()).or_insert(0);
            *times += 1;
            if *times > 1 {
                whole = format!("{whole}#{times}");
            }
            match (verdict(test), left_out(&name, test)) {
                (Some(_), Some(why)) => outcome.unanswered(why, 1),
                (wrong, _) => outcome.count(&whole, wrong),
            }
        }
    }
}

/// What a test needs that Kubernetes leaves out.
fn left_out(file: &str, test: &Node) -> Option<&'static str> {
    if let Some((_, why)) = LEFT_OUT.iter().find(|(name, _)| *name == file) {
        return Some(why);
    }
    let all = format!("{test:?}");
    let expr = test.get("expr").map(Node::text).unwrap_or_default();
    let messages = [
        "TestAllTypes",
        "google.protobuf.",
        "NestedTestAllTypes",
        "GlobalEnum",
    ];
    // Bindings show as bytes in the debug form, so their types are looked for in the names of their fields.
    if messages.iter().any(|name| expr.contains(name))
        || all.contains("type.googleapis.com")
        || test.get("container").is_some()
        || all.contains("message_type")
    {
        return Some("protobuf messages, which Kubernetes leaves out");
    }
    if test.get("disable_check").is_some_and(|off| off.text() == "true") {
        return Some("expressions evaluated without a check, which Kubernetes never does");
    }
    if test
        .all("type_env")
        .any(|declared| declared.get("function").is_some())
    {
        return Some("functions that a test declares");
    }
    let functions = [
        ".reverse()",
        "strings.quote",
        "base64.",
        "math.",
        "cel.block",
        "proto.",
    ];
    (functions.iter().any(|name| expr.contains(name))).then_some("functions that Kubernetes leaves out")
}

/// What is wrong with the outcome of a test.
fn verdict(test: &Node) -> Option<String> {
    let expr = test.get("expr").map(Node::text).unwrap_or_default();
    let mut environment = Environment {
        mixed: true,
        ..Environment::default()
    };
    let bindings: Vec<(String, Option<Value<'_>>)> = test
        .all("bindings")
        .map(|binding| {
            let name = binding.get("key").map(Node::text).unwrap_or_default();
            let value = binding.get("value").and_then(|value| value.get("value"));
            (name, value.and_then(self::value))
        })
        .collect();
    for declared in test.all("type_env") {
        let name = declared.get("name").map(Node::text).unwrap_or_default();
        environment.variables.push((name, Type::Dyn));
    }
    for (name, _) in &bindings {
        if environment.place(name).is_none() {
            environment.variables.push((name.clone(), Type::Dyn));
        }
    }
    let fails = test.get("eval_error").is_some() || test.get("any_eval_errors").is_some();
    let program = match compile(&expr, &environment) {
        Ok(program) => program,
        Err(_) if fails => return None,
        Err(issues) => return Some(format!("{expr}: {issues}")),
    };
    if test.get("check_only").is_some() {
        return None;
    }
    let mut activation = Activation::new(&environment, &[]);
    for (name, value) in bindings {
        activation.set(&environment, &name, value?);
    }
    let (result, _) = program.evaluate(&activation, u64::MAX);
    let wanted = test
        .get("value")
        .or_else(|| test.get("typed_result").and_then(|result| result.get("result")));
    match (result, fails) {
        (Err(_), true) => None,
        (Err(error), false) => Some(format!("{expr}: {error}")),
        (Ok(got), true) => Some(format!("{expr}: {} instead of an error", written(&got))),
        (Ok(got), false) => {
            let wanted = match wanted {
                Some(wanted) => value(wanted).map(|wanted| written(&wanted)),
                None => Some(written(&Value::Bool(true))),
            };
            let got = written(&got);
            (wanted.as_deref() != Some(got.as_str())).then(|| format!("{expr}: {got} instead of {wanted:?}"))
        }
    }
}

/// A value of the files; none where it is a protobuf message.
fn value(node: &Node) -> Option<Value<'static>> {
    let (kind, value) = node.fields().first()?;
    let text = value.text();
    Some(match kind.as_str() {
        "null_value" => Value::Null,
        "bool_value" => Value::Bool(text == "true"),
        "int64_value" => Value::Int(text.parse().ok()?),
        "uint64_value" => Value::Uint(text.parse().ok()?),
        "double_value" => Value::Double(match text.as_str() {
            "inf" | "Infinity" => f64::INFINITY,
            "-inf" | "-Infinity" => f64::NEG_INFINITY,
            other => other.parse().ok()?,
        }),
        "string_value" => Value::text(text),
        "bytes_value" => Value::Bytes(value.bytes().into()),
        "list_value" => Value::list(value.all("values").map(self::value).collect::<Option<_>>()?),
        "map_value" => {
            let entries = value.all("entries").map(|entry| {
                let key = Key::of(&self::value(entry.get("key")?)?)?;
                Some((key, self::value(entry.get("value")?)?))
            });
            Value::map(entries.collect::<Option<_>>()?)
        }
        "type_value" => Value::Type(match text.as_str() {
            "bool" => Type::Bool,
            "int" => Type::Int,
            "uint" => Type::Uint,
            "double" => Type::Double,
            "string" => Type::String,
            "bytes" => Type::Bytes,
            "null_type" => Type::Null,
            "list" => Type::list(Type::Dyn),
            "map" => Type::map(Type::Dyn, Type::Dyn),
            "type" => Type::Type(None),
            "google.protobuf.Timestamp" => Type::Timestamp,
            "google.protobuf.Duration" => Type::Duration,
            "optional_type" => Type::optional(Type::Dyn),
            _ => return None,
        }),
        "object_value" => return message(value),
        _ => return None,
    })
}

/// The messages that CEL itself knows.
fn message(node: &Node) -> Option<Value<'static>> {
    let (name, fields) = node.fields().first()?;
    let number = |field: &str| -> Option<i64> {
        fields
            .get(field)
            .map_or(Some(0), |field| field.text().parse().ok())
    };
    match name.as_str() {
        "type.googleapis.com/google.protobuf.Duration" => Some(Value::Duration(
            number("seconds")?.checked_mul(1_000_000_000)? + number("nanos")?,
        )),
        "type.googleapis.com/google.protobuf.Timestamp" => {
            let nanos = i128::from(number("seconds")?) * 1_000_000_000 + i128::from(number("nanos")?);
            Moment::of_nanos(nanos).map(Value::Timestamp)
        }
        _ => None,
    }
}

/// A value with the types of all that it holds.
fn written(value: &Value<'_>) -> String {
    match value {
        Value::Double(number) if number.is_nan() => "NaN".to_owned(),
        Value::List(list) => {
            let items: Vec<String> = list.iter().map(|item| written(&item.unwrap())).collect();
            format!("[{}]", items.join(", "))
        }
        Value::Map(map) => {
            let entries = map.entries().unwrap();
            let entries: Vec<String> = entries
                .iter()
                .map(|(key, value)| format!("{}: {}", written(&key.value()), written(value)))
                .collect();
            format!("{{{}}}", entries.join(", "))
        }
        Value::String(Text::Borrowed(text)) => format!("{text:?}"),
        Value::String(Text::Shared(text)) => format!("{text:?}"),
        Value::Type(ty) => format!("type {}", ty.bare_name()),
        other => format!("{other:?}"),
    }
}
