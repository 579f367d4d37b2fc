use super::*;

fn accept(value: &str, purpose: Purpose) -> Option<(Format, View)> {
    let mut headers = HeaderMap::new();
    headers.insert(header::ACCEPT, value.parse().unwrap());
    negotiated(&headers, None, purpose, true)
        .ok()
        .map(|accepted| (accepted.format, accepted.view))
}

#[test]
fn accept_header_table() {
    use Purpose::{Answer, List, Object, Watch};
    let table = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json;as=Table;v=v1beta1;g=meta.k8s.io,application/json";
    for (value, purpose, want) in [
        ("application/json", Object, Some((Format::Json, View::Object))),
        ("*/*", Object, Some((Format::Json, View::Object))),
        ("application/json, */*", List, Some((Format::Json, View::Object))),
        ("application/yaml", Object, Some((Format::Yaml, View::Object))),
        ("application/yaml", Watch, None),
        ("application/*", Object, None),
        ("application/JSON", Object, None),
        ("application/json;q=0", Object, Some((Format::Json, View::Object))),
        (
            "application/yaml;q=0, application/json",
            Object,
            Some((Format::Json, View::Object)),
        ),
        (
            "application/*;q=0.3,application/yaml;q=0.2",
            Object,
            Some((Format::Yaml, View::Object)),
        ),
        (
            "application/vnd.kubernetes.protobuf;stream=watch",
            Object,
            Some((Format::Protobuf, View::Object)),
        ),
        ("application/yaml;stream=watch", Object, None),
        (
            "application/vnd.kubernetes.protobuf;as=Table;v=v1;g=meta.k8s.io",
            List,
            None,
        ),
        (
            "application/vnd.kubernetes.protobuf, application/json",
            Object,
            Some((Format::Protobuf, View::Object)),
        ),
        (
            "application/json;q=0.5,application/yaml",
            Object,
            Some((Format::Yaml, View::Object)),
        ),
        (
            "application/cbor,application/json",
            Object,
            Some((Format::Json, View::Object)),
        ),
        (table, List, Some((Format::Json, View::Table))),
        (table, Watch, Some((Format::Json, View::Table))),
        ("application/json;as=Table;v=v9;g=meta.k8s.io", List, None),
        (
            "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io",
            List,
            Some((Format::Json, View::Metadata)),
        ),
        (
            "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io",
            Watch,
            Some((Format::Json, View::Metadata)),
        ),
        (
            "application/vnd.kubernetes.protobuf;stream=watch",
            Watch,
            Some((Format::Protobuf, View::Object)),
        ),
        (table, Answer, Some((Format::Json, View::Object))),
        ("application/json;as=Table;v=v1;g=meta.k8s.io", Answer, None),
        ("text/html-not", Object, None),
    ] {
        assert_eq!(accept(value, purpose), want, "{value} for {purpose:?}");
    }
}

#[test]
fn refusals_in_upstream_s_words() {
    let refusal = |value: &str, purpose| {
        let headers = HeaderMap::from_iter([(header::ACCEPT, value.parse().unwrap())]);
        negotiated(&headers, None, purpose, true)
            .unwrap_err()
            .message()
            .to_owned()
    };
    let three = "application/json, application/yaml, application/vnd.kubernetes.protobuf";
    let streams = "application/json;stream=watch, application/vnd.kubernetes.protobuf;stream=watch";
    let routed = format!("406: Not Acceptable\n\nAvailable representations: {three}");
    let handled = format!("only the following media types are accepted: {three}");
    assert_eq!(refusal("text/html", Purpose::Object), routed);
    assert_eq!(
        refusal("text/html", Purpose::List),
        format!("{routed}, {streams}")
    );
    assert_eq!(
        refusal("text/html", Purpose::Watch),
        format!("{routed}, {streams}")
    );
    assert_eq!(
        refusal("application/json;as=Other;v=v1;g=meta.k8s.io", Purpose::List),
        handled
    );
    assert_eq!(
        refusal("application/yaml", Purpose::Watch),
        format!("only the following media types are accepted: {streams}")
    );
}

#[test]
fn failures_come_as_they_are_accepted_and_else_in_json() {
    for (value, want) in [
        ("application/yaml", Format::Yaml),
        (
            "application/vnd.kubernetes.protobuf;as=Table;v=v1;g=meta.k8s.io",
            Format::Json,
        ),
        ("application/yaml;q=0.1, application/json;q=0.9", Format::Json),
        ("text/html", Format::Json),
    ] {
        let headers = HeaderMap::from_iter([(header::ACCEPT, value.parse().unwrap())]);
        assert_eq!(format_of_failure(&headers), want, "{value}");
    }
}

#[test]
fn browsers_and_the_query_ask_for_indentation() {
    let mut headers = HeaderMap::new();
    assert!(!negotiated(&headers, None, Purpose::Object, true).unwrap().pretty);
    assert!(
        negotiated(&headers, Some("true"), Purpose::Object, true)
            .unwrap()
            .pretty
    );
    headers.insert(header::USER_AGENT, "curl/8.0".parse().unwrap());
    assert!(negotiated(&headers, None, Purpose::Object, true).unwrap().pretty);
    assert!(
        !negotiated(&headers, Some("false"), Purpose::Object, true)
            .unwrap()
            .pretty
    );
}
