//! What is asked for: paths and parameters, as upstream's kubelet takes them. Pure.

use std::borrow::Cow;

use http::{Method, StatusCode};
use jiff::Timestamp;
use percent_encoding::percent_decode_str;

/// A request that is understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Route {
    Health,
    Pods,
    Metrics,
    ResourceMetrics,
    Summary,
    Logs {
        namespace: String,
        pod: String,
        container: String,
        query: LogQuery,
    },
    Exec {
        namespace: String,
        pod: String,
        container: String,
        command: Vec<String>,
        streams: Streams,
    },
    Attach {
        namespace: String,
        pod: String,
        container: String,
        streams: Streams,
    },
    PortForward {
        namespace: String,
        pod: String,
        ports: Vec<i32>,
    },
}

/// Parameters of a log request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct LogQuery {
    pub(super) follow: bool,
    pub(super) previous: bool,
    pub(super) timestamps: bool,
    pub(super) tail_lines: Option<u64>,
    pub(super) limit_bytes: Option<u64>,
    pub(super) since_seconds: Option<i64>,
    pub(super) since_time: Option<Timestamp>,
    /// `Stdout`, `Stderr` or `All`.
    pub(super) stream: Option<String>,
}

/// Which streams an exec or attach session has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Streams {
    pub(super) stdin: bool,
    pub(super) stdout: bool,
    pub(super) stderr: bool,
    pub(super) tty: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum RouteError {
    #[error("404 page not found")]
    NotFound,
    #[error("405 method not allowed")]
    Method,
    #[error("invalid value {value:?} of parameter {name}")]
    Parameter { name: &'static str, value: String },
    #[error("at least one of stdin, stdout and stderr must be asked for")]
    NoStream,
    #[error("a command must be given")]
    NoCommand,
}

impl RouteError {
    pub(super) fn code(&self) -> StatusCode {
        match self {
            RouteError::NotFound => StatusCode::NOT_FOUND,
            RouteError::Method => StatusCode::METHOD_NOT_ALLOWED,
            _ => StatusCode::BAD_REQUEST,
        }
    }
}

/// Understands a request, or says what is wrong with it.
pub(super) fn parse(method: &Method, path: &str, query: &str) -> Result<Route, RouteError> {
    let decode = |part| percent_decode_str(part).decode_utf8_lossy();
    let parts: Vec<Cow<'_, str>> = path.trim_matches('/').split('/').map(decode).collect();
    let parts: Vec<&str> = parts.iter().map(AsRef::as_ref).collect();
    let query = Query::parse(query);
    let own = |s: &str| s.to_owned();
    let streaming = matches!(parts.first(), Some(&("exec" | "attach" | "portForward")));
    if !(method == Method::GET || streaming && method == Method::POST) {
        return Err(RouteError::Method);
    }
    match parts.as_slice() {
        ["healthz"] => Ok(Route::Health),
        ["pods"] => Ok(Route::Pods),
        ["metrics"] => Ok(Route::Metrics),
        ["metrics", "resource"] => Ok(Route::ResourceMetrics),
        ["stats", "summary"] => Ok(Route::Summary),
        ["containerLogs", namespace, pod, container] => Ok(Route::Logs {
            namespace: own(namespace),
            pod: own(pod),
            container: own(container),
            query: log_query(&query)?,
        }),
        ["exec", namespace, pod, container] | ["exec", namespace, pod, _, container] => {
            let command = query.all("command");
            if command.is_empty() {
                return Err(RouteError::NoCommand);
            }
            let streams = streams(&query)?;
            Ok(Route::Exec {
                namespace: own(namespace),
                pod: own(pod),
                container: own(container),
                command,
                streams,
            })
        }
        ["attach", namespace, pod, container] | ["attach", namespace, pod, _, container] => {
            let streams = streams(&query)?;
            Ok(Route::Attach {
                namespace: own(namespace),
                pod: own(pod),
                container: own(container),
                streams,
            })
        }
        ["portForward", namespace, pod] | ["portForward", namespace, pod, _] => Ok(Route::PortForward {
            namespace: own(namespace),
            pod: own(pod),
            ports: ports(&query)?,
        }),
        _ => Err(RouteError::NotFound),
    }
}

fn ports(query: &Query) -> Result<Vec<i32>, RouteError> {
    let texts = query.all("port");
    let numbers = texts.iter().flat_map(|t| t.split(','));
    numbers
        .map(|t| match t.parse::<u16>() {
            Ok(port) if port > 0 => Ok(i32::from(port)),
            _ => Err(RouteError::Parameter {
                name: "port",
                value: t.to_owned(),
            }),
        })
        .collect()
}

fn streams(query: &Query) -> Result<Streams, RouteError> {
    let on = |names: [&'static str; 2]| names.iter().any(|n| query.flag(n));
    let streams = Streams {
        stdin: on(["input", "stdin"]),
        stdout: on(["output", "stdout"]),
        // With a terminal both outputs are one.
        stderr: on(["error", "stderr"]) && !query.flag("tty"),
        tty: query.flag("tty"),
    };
    if streams.stdin || streams.stdout || streams.stderr {
        Ok(streams)
    } else {
        Err(RouteError::NoStream)
    }
}

fn log_query(query: &Query) -> Result<LogQuery, RouteError> {
    Ok(LogQuery {
        follow: query.flag("follow"),
        previous: query.flag("previous"),
        timestamps: query.flag("timestamps"),
        tail_lines: query.number("tailLines")?,
        limit_bytes: query.number("limitBytes")?,
        since_seconds: query.number("sinceSeconds")?,
        since_time: query.number("sinceTime")?,
        stream: query.first("stream"),
    })
}

struct Query {
    pairs: Vec<(String, String)>,
}

impl Query {
    fn parse(text: &str) -> Self {
        Self {
            pairs: form_urlencoded::parse(text.as_bytes()).into_owned().collect(),
        }
    }

    fn first(&self, name: &str) -> Option<String> {
        self.pairs
            .iter()
            .find(|(n, _)| n == name)
            .map(|(_, v)| v.clone())
            .filter(|v| !v.is_empty())
    }

    fn all(&self, name: &str) -> Vec<String> {
        self.pairs
            .iter()
            .filter(|(n, _)| n == name)
            .map(|(_, v)| v.clone())
            .collect()
    }

    fn flag(&self, name: &str) -> bool {
        self.first(name)
            .is_some_and(|v| v == "1" || v.eq_ignore_ascii_case("true"))
    }

    fn number<T: std::str::FromStr>(&self, name: &'static str) -> Result<Option<T>, RouteError> {
        let Some(value) = self.first(name) else {
            return Ok(None);
        };
        value
            .parse()
            .map(Some)
            .map_err(|_| RouteError::Parameter { name, value })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn get(uri: &str) -> Result<Route, RouteError> {
        let (path, query) = uri.split_once('?').unwrap_or((uri, ""));
        parse(&Method::GET, path, query)
    }

    #[test]
    fn routes() {
        assert_eq!(get("/healthz"), Ok(Route::Health));
        assert_eq!(get("/pods/"), Ok(Route::Pods));
        assert_eq!(get("/nothing"), Err(RouteError::NotFound));
        assert_eq!(parse(&Method::POST, "/pods", ""), Err(RouteError::Method));
        let streams = Streams {
            stdin: true,
            stdout: true,
            stderr: false,
            tty: true,
        };
        let command = vec!["sh".to_owned(), "-c".to_owned(), "echo a b".to_owned()];
        let (namespace, pod, container) = ("ns".to_owned(), "web".to_owned(), "c".to_owned());
        let exec = Route::Exec {
            namespace,
            pod,
            container,
            command,
            streams,
        };
        let query = "command=sh&command=-c&command=echo+a%20b&input=1&output=1&error=1&tty=1";
        assert_eq!(get(&format!("/exec/ns/web/c?{query}")), Ok(exec.clone()));
        assert_eq!(parse(&Method::POST, "/exec/ns/web/uid/c", query), Ok(exec));
        assert_eq!(get("/exec/ns/web/c?output=1"), Err(RouteError::NoCommand));
        assert_eq!(get("/attach/ns/web/c"), Err(RouteError::NoStream));
        let (namespace, pod) = ("ns".to_owned(), "web".to_owned());
        assert_eq!(
            get("/portForward/ns/web?port=80"),
            Ok(Route::PortForward {
                namespace,
                pod,
                ports: vec![80]
            })
        );
        assert!(matches!(
            get("/portForward/ns/web?port=0"),
            Err(RouteError::Parameter { name: "port", .. })
        ));
    }

    #[test]
    fn log_parameters() {
        let uri = "/containerLogs/ns/web/c?follow=true&tailLines=5&sinceSeconds=60&limitBytes=9&timestamps=true&previous=true";
        let Ok(Route::Logs { query, .. }) = get(uri) else {
            panic!("not a log route")
        };
        let want = LogQuery {
            follow: true,
            previous: true,
            timestamps: true,
            tail_lines: Some(5),
            limit_bytes: Some(9),
            since_seconds: Some(60),
            since_time: None,
            stream: None,
        };
        assert_eq!(query, want);
        let bad = get("/containerLogs/ns/web/c?tailLines=-1");
        assert_eq!(
            bad,
            Err(RouteError::Parameter {
                name: "tailLines",
                value: "-1".into()
            })
        );
        assert!(get("/containerLogs/ns/web/c?sinceTime=2026-01-02T03:04:05Z").is_ok());
    }

    proptest! {
        #[test]
        fn any_request_is_answered(path in "[/a-zA-Z%0-9é]{0,40}", query in "[&=a-z%+0-9é]{0,40}") {
            let _ = parse(&Method::GET, &path, &query);
        }
    }
}
