//! OpenAPI 2 as gnostic's `openapi.v2.Document` message, the only form that client-go's `OpenAPISchema` reads.
//!
//! Numbers are those of gnostic's OpenAPIv2.proto. Only what our own documents hold is written: this encodes the JSON of
//! [`super::v2`], it does not translate OpenAPI at large. It does so in parts, which are put together when asked for.

use coracle_api::codec::protobuf::field_head;
use serde_json::{Map, Value};

/// A message under way.
#[derive(Default)]
struct Message(Vec<u8>);

impl Message {
    fn text(mut self, field: u32, text: &str) -> Self {
        self.0.extend_from_slice(&field_head(field, text.len()));
        self.0.extend(text.as_bytes());
        self
    }

    fn message(mut self, field: u32, message: Message) -> Self {
        self.0.extend_from_slice(&field_head(field, message.0.len()));
        self.0.extend(message.0);
        self
    }

    /// A boolean that is true.
    fn yes(mut self, field: u32) -> Self {
        let tag = field << 3;
        if let Ok(tag @ ..0x80) = u8::try_from(tag) {
            self.0.extend([tag, 1]);
        } else {
            let [low, high] = [tag & 0x7f | 0x80, tag >> 7].map(|part| part.to_le_bytes()[0]);
            self.0.extend([low, high, 1]);
        }
        self
    }

    /// A boolean of the object's, where it is true.
    fn yes_of(self, field: u32, object: &Value, name: &str) -> Self {
        if object[name] == true {
            self.yes(field)
        } else {
            self
        }
    }

    /// A field of the object's, where it has it, as text.
    fn text_of(self, field: u32, object: &Value, name: &str) -> Self {
        match object[name].as_str() {
            Some(text) => self.text(field, text),
            None => self,
        }
    }

    fn texts_of(self, field: u32, object: &Value, name: &str) -> Self {
        let texts = object[name]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(Value::as_str);
        texts.fold(self, |message, text| message.text(field, text))
    }

    fn message_of(self, field: u32, object: &Value, name: &str, encode: impl Fn(&Value) -> Message) -> Self {
        match object.get(name) {
            Some(value) => self.message(field, encode(value)),
            None => self,
        }
    }

    fn messages_of(self, field: u32, object: &Value, name: &str, encode: impl Fn(&Value) -> Message) -> Self {
        let values = object[name].as_array().into_iter().flatten();
        values.fold(self, |message, value| message.message(field, encode(value)))
    }

    /// Each entry of an object as a message of its name and value.
    fn named(self, field: u32, entries: &Value, encode: impl Fn(&Value) -> Message) -> Self {
        let entries = entries.as_object().into_iter().flatten();
        entries.fold(self, |message, (name, value)| {
            message.message(field, Message::default().text(1, name).message(2, encode(value)))
        })
    }

    /// The `x-` entries of an object.
    fn extensions(self, field: u32, object: &Value) -> Self {
        let entries = object
            .as_object()
            .into_iter()
            .flatten()
            .filter(|(name, _)| name.starts_with("x-"));
        let extensions: Map<String, Value> = entries
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect();
        self.named(field, &Value::Object(extensions), any)
    }
}

/// What stands before paths and definitions.
pub(super) fn before(frame: &Value) -> Vec<u8> {
    let info = |info: &Value| {
        Message::default()
            .text_of(1, info, "title")
            .text_of(2, info, "version")
    };
    Message::default()
        .text_of(1, frame, "swagger")
        .message_of(2, frame, "info", info)
        .0
}

/// Some paths: what follows [`PATHS`].
pub(super) fn paths(paths: &Value) -> Vec<u8> {
    Message::default().named(2, paths, path_item).0
}

/// Some definitions: what follows [`DEFINITIONS`].
pub(super) fn definitions(definitions: &Value) -> Vec<u8> {
    Message::default().named(1, definitions, schema).0
}

/// The field of all paths.
pub(super) const PATHS: u32 = 8;
/// The field of all definitions.
pub(super) const DEFINITIONS: u32 = 9;

/// What stands behind them.
pub(super) fn after(frame: &Value) -> Vec<u8> {
    Message::default()
        .messages_of(12, frame, "security", requirement)
        .message_of(13, frame, "securityDefinitions", |of| {
            Message::default().named(1, of, api_key)
        })
        .0
}

/// Schemes by name, each with its scopes.
fn requirement(value: &Value) -> Message {
    Message::default().named(1, value, |scopes| {
        let scopes = scopes.as_array().into_iter().flatten().filter_map(Value::as_str);
        scopes.fold(Message::default(), |message, scope| message.text(1, scope))
    })
}

fn api_key(value: &Value) -> Message {
    let key = Message::default()
        .text_of(1, value, "type")
        .text_of(2, value, "name")
        .text_of(3, value, "in")
        .text_of(4, value, "description");
    Message::default().message(2, key)
}

/// `Any`: the value as YAML, of which JSON is a part.
fn any(value: &Value) -> Message {
    Message::default().text(2, &value.to_string())
}

fn schema(value: &Value) -> Message {
    let kinds = |kind: &Value| match kind.as_str() {
        Some(kind) => Message::default().text(1, kind),
        None => Message::default(),
    };
    let mut message = Message::default()
        .text_of(1, value, "$ref")
        .text_of(2, value, "format")
        .text_of(3, value, "title")
        .text_of(4, value, "description")
        .message_of(5, value, "default", any)
        .text_of(13, value, "pattern")
        .texts_of(19, value, "required");
    for allowed in value["enum"].as_array().into_iter().flatten() {
        message = message.message(20, any(allowed));
    }
    message
        .message_of(21, value, "additionalProperties", |of| match of {
            Value::Bool(true) => Message::default().yes(2),
            Value::Bool(false) => Message::default(),
            of => Message::default().message(1, schema(of)),
        })
        .message_of(22, value, "type", kinds)
        .message_of(23, value, "items", |items| {
            Message::default().message(1, schema(items))
        })
        .message_of(25, value, "properties", |properties| {
            Message::default().named(1, properties, schema)
        })
        .extensions(31, value)
}

fn path_item(item: &Value) -> Message {
    let methods = [
        (2, "get"),
        (3, "put"),
        (4, "post"),
        (5, "delete"),
        (6, "options"),
        (7, "head"),
        (8, "patch"),
    ];
    let message = methods
        .into_iter()
        .fold(Message::default(), |message, (field, method)| {
            message.message_of(field, item, method, operation)
        });
    parameters(message, 9, item)
}

fn operation(value: &Value) -> Message {
    let message = Message::default()
        .texts_of(1, value, "tags")
        .text_of(3, value, "description")
        .text_of(5, value, "operationId")
        .texts_of(6, value, "produces")
        .texts_of(7, value, "consumes");
    parameters(message, 8, value)
        .message_of(9, value, "responses", |responses| {
            Message::default().named(1, responses, |value| {
                Message::default().message(1, response(value))
            })
        })
        .texts_of(10, value, "schemes")
        .extensions(13, value)
}

fn response(value: &Value) -> Message {
    Message::default()
        .text_of(1, value, "description")
        .message_of(2, value, "schema", |of| Message::default().message(1, schema(of)))
}

/// The parameters of a path or an operation.
fn parameters(message: Message, field: u32, owner: &Value) -> Message {
    let parameters = owner["parameters"].as_array().into_iter().flatten();
    parameters.fold(message, |message, value| {
        message.message(field, Message::default().message(1, parameter(value)))
    })
}

fn parameter(value: &Value) -> Message {
    let required = |message: Message, field: u32| message.yes_of(field, value, "required");
    match value["in"].as_str() {
        Some("body") => {
            let body = Message::default().text_of(2, value, "name").text(3, "body");
            let body = required(body, 4);
            Message::default().message(1, body.message_of(5, value, "schema", schema))
        }
        Some("path") => {
            let path = required(Message::default(), 1).text(2, "path");
            let path = path
                .text_of(3, value, "description")
                .text_of(4, value, "name")
                .text_of(5, value, "type")
                .yes_of(19, value, "uniqueItems");
            Message::default().message(2, Message::default().message(4, path))
        }
        _ => {
            let query = Message::default()
                .text(2, "query")
                .text_of(3, value, "description")
                .text_of(4, value, "name")
                .text_of(6, value, "type")
                .yes_of(20, value, "uniqueItems");
            Message::default().message(2, Message::default().message(3, query))
        }
    }
}
