//! From a path to what it asks for, by the rules of upstream's `RequestInfoFactory`.
//!
//! Pure. Authorization and routing both go by the outcome, so a path must never mean one thing to one and another thing
//! to the other: nothing past this module looks at the path of a resource request again.

use http::Method;
use percent_encoding::percent_decode_str;

use crate::request::RequestInfo;

/// Why a path could not be understood.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum RequestInfoError {
    /// `/api/v1/watch` and the like: a verb without a resource.
    #[error("unable to determine kind and namespace from url, {path}")]
    VerbWithoutResource {
        /// The decoded path.
        path: String,
    },
    /// The percent-decoded path is not UTF-8.
    #[error("the path is not valid UTF-8 once decoded")]
    NotUtf8,
}

/// Verbs that may stand in the path, before the resource (`/api/v1/watch/pods`).
const PATH_VERBS: [&str; 2] = ["proxy", "watch"];

/// What may follow a namespace's name without being a resource in it.
const NAMESPACE_SUBRESOURCES: [&str; 2] = ["status", "finalize"];

/// Reads a request line. `path` is as it came, still percent-encoded; `query` is decoded.
pub fn parse(
    method: &Method,
    path: &str,
    query: &[(String, String)],
) -> Result<RequestInfo, RequestInfoError> {
    let path = percent_decode_str(path)
        .decode_utf8()
        .map_err(|_| RequestInfoError::NotUtf8)?
        .into_owned();
    let mut info = RequestInfo {
        path: path.clone(),
        verb: method.as_str().to_ascii_lowercase(),
        ..RequestInfo::default()
    };
    let parts = split(&path);
    let Some(rest) = resource_parts(&parts, &mut info) else {
        return Ok(info);
    };
    let (rest, verb_in_path) = take_verb(rest, method, &mut info)?;
    take_resource(rest, &mut info);
    settle_verb(query, verb_in_path, &mut info);
    Ok(info)
}

/// Splits a query string into decoded pairs, in the order given.
pub fn parse_query(query: Option<&str>) -> Vec<(String, String)> {
    // Go passes over a part with a semicolon in it, which once parted parameters too.
    let parts = query.unwrap_or_default().split('&');
    parts
        .filter(|part| !part.contains(';'))
        .flat_map(|part| form_urlencoded::parse(part.as_bytes()).into_owned())
        .collect()
}

/// Whether a boolean query parameter is on: anything but `false` and `0` is, the empty string included.
pub fn is_true(value: &str) -> bool {
    !(value == "0" || value.eq_ignore_ascii_case("false"))
}

fn split(path: &str) -> Vec<&str> {
    let trimmed = path.trim_matches('/');
    if trimmed.is_empty() {
        Vec::new()
    } else {
        trimmed.split('/').collect()
    }
}

/// What follows the version, where the path is deep enough to name a resource.
fn resource_parts<'p, 's>(parts: &'p [&'s str], info: &mut RequestInfo) -> Option<&'p [&'s str]> {
    let (group, version, rest) = match parts {
        ["api", version, rest @ ..] => ("", *version, rest),
        ["apis", group, version, rest @ ..] => (*group, *version, rest),
        _ => return None,
    };
    if rest.is_empty() {
        return None;
    }
    info.is_resource_request = true;
    info.api_prefix = parts[0].to_owned();
    info.api_group = group.to_owned();
    info.api_version = version.to_owned();
    Some(rest)
}

fn take_verb<'p, 's>(
    rest: &'p [&'s str],
    method: &Method,
    info: &mut RequestInfo,
) -> Result<(&'p [&'s str], bool), RequestInfoError> {
    if PATH_VERBS.contains(&rest[0]) {
        if rest.len() < 2 {
            return Err(RequestInfoError::VerbWithoutResource {
                path: info.path.clone(),
            });
        }
        info.verb = rest[0].to_owned();
        return Ok((&rest[1..], true));
    }
    info.verb = match *method {
        Method::POST => "create",
        Method::GET | Method::HEAD => "get",
        Method::PUT => "update",
        Method::PATCH => "patch",
        Method::DELETE => "delete",
        _ => "",
    }
    .to_owned();
    Ok((rest, false))
}

fn take_resource(rest: &[&str], info: &mut RequestInfo) {
    let rest = match rest {
        ["namespaces", namespace, tail @ ..] => {
            info.namespace = (*namespace).to_owned();
            match tail {
                [first, ..] if !NAMESPACE_SUBRESOURCES.contains(first) => tail,
                _ => rest,
            }
        }
        _ => rest,
    };
    info.parts = rest.iter().map(|part| (*part).to_owned()).collect();
    info.resource = rest.first().copied().unwrap_or_default().to_owned();
    info.name = rest.get(1).copied().unwrap_or_default().to_owned();
    // `proxy` in the path swallows everything after the name: there is no subresource behind it.
    if info.verb != "proxy" {
        info.subresource = rest.get(2).copied().unwrap_or_default().to_owned();
    }
}

/// Without a name a get is a list or a watch, and a delete a deletecollection.
fn settle_verb(query: &[(String, String)], verb_in_path: bool, info: &mut RequestInfo) {
    if !info.name.is_empty() || verb_in_path {
        return;
    }
    match info.verb.as_str() {
        "get" => {
            let watch = first(query, "watch").is_some_and(is_true);
            info.verb = if watch { "watch" } else { "list" }.to_owned();
            // A list of the one object with this name is authorized as a request for that name.
            if let Some(name) = first(query, "fieldSelector").and_then(exact_name) {
                info.name = name;
            }
        }
        "delete" => info.verb = "deletecollection".to_owned(),
        _ => {}
    }
}

fn first<'q>(query: &'q [(String, String)], name: &str) -> Option<&'q str> {
    query
        .iter()
        .find(|(key, _)| key == name)
        .map(|(_, value)| value.as_str())
}

/// The name that a field selector asks for, where it asks for exactly one that may stand in a path.
fn exact_name(selector: &str) -> Option<String> {
    let value = exact_field(selector, "metadata.name")?;
    let sound = !value.is_empty() && value != "." && value != ".." && !value.contains(['/', '%']);
    sound.then_some(value)
}

/// The value a field selector requires a field to equal. None where the selector does not parse or does not name it.
pub fn exact_field(selector: &str, field: &str) -> Option<String> {
    let mut found = None;
    for term in terms(selector) {
        if term.is_empty() {
            continue;
        }
        let at = term.find(['=', '!'])?;
        let (name, operation) = term.split_at(at);
        let value = match operation.as_bytes() {
            [b'!', b'=', ..] => {
                continue;
            }
            [b'=', b'=', ..] => &operation[2..],
            [b'=', ..] => &operation[1..],
            _ => return None,
        };
        if name == field && found.is_none() {
            found = Some(unescape(value)?);
        }
    }
    found
}

/// Splits at commas that no backslash precedes.
fn terms(selector: &str) -> Vec<&str> {
    let mut out = Vec::new();
    let mut start = 0;
    let mut escaped = false;
    for (at, c) in selector.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            ',' => {
                out.push(&selector[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    out.push(&selector[start..]);
    out
}

/// Only `\\`, `\,` and `\=` are escapes; a bare comma or equals sign in a value is an error.
fn unescape(value: &str) -> Option<String> {
    let mut out = String::with_capacity(value.len());
    let mut chars = value.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => match chars.next()? {
                escaped @ ('\\' | ',' | '=') => out.push(escaped),
                _ => return None,
            },
            ',' | '=' => return None,
            _ => out.push(c),
        }
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `verb prefix group version namespace resource subresource name`, dashes for what is empty.
    fn summary(method: Method, target: &str) -> String {
        let (path, query) = target
            .split_once('?')
            .map_or((target, None), |(path, query)| (path, Some(query)));
        match parse(&method, path, &parse_query(query)) {
            Ok(info) if !info.is_resource_request => format!("{} {}", info.verb, info.path),
            Ok(info) => [
                &info.verb,
                &info.api_prefix,
                &info.api_group,
                &info.api_version,
                &info.namespace,
                &info.resource,
                &info.subresource,
                &info.name,
            ]
            .map(|field| {
                if field.is_empty() {
                    "-".to_owned()
                } else {
                    field.clone()
                }
            })
            .join(" "),
            Err(error) => error.to_string(),
        }
    }

    fn check(cases: &[(Method, &str, &str)]) {
        for (method, target, want) in cases {
            assert_eq!(summary(method.clone(), target), *want, "{target}");
        }
    }

    #[test]
    fn paths_of_resources() {
        check(&[
            (
                Method::GET,
                "/api/v1/namespaces/other/pods",
                "list api - v1 other pods - -",
            ),
            (
                Method::HEAD,
                "/api/v1/namespaces/other/pods/foo",
                "get api - v1 other pods - foo",
            ),
            (
                Method::GET,
                "/api/v1/namespaces/other/pods/foo/log",
                "get api - v1 other pods log foo",
            ),
            (
                Method::GET,
                "/api/v1/namespaces/other/pods/foo/proxy/a/b",
                "get api - v1 other pods proxy foo",
            ),
            (Method::GET, "/api/v1/pods", "list api - v1 - pods - -"),
            (
                Method::POST,
                "/apis/apps/v1/namespaces/a/deployments",
                "create apis apps v1 a deployments - -",
            ),
            (
                Method::PATCH,
                "/apis/apps/v1/namespaces/a/deployments/b/scale",
                "patch apis apps v1 a deployments scale b",
            ),
            (
                Method::DELETE,
                "/api/v1/namespaces/other/pods",
                "deletecollection api - v1 other pods - -",
            ),
            (
                Method::DELETE,
                "/api/v1/namespaces/other/pods/foo",
                "delete api - v1 other pods - foo",
            ),
            (Method::OPTIONS, "/api/v1/pods", "- api - v1 - pods - -"),
        ]);
    }

    #[test]
    fn paths_of_namespaces() {
        check(&[
            (
                Method::GET,
                "/api/v1/namespaces",
                "list api - v1 - namespaces - -",
            ),
            (
                Method::GET,
                "/api/v1/namespaces/other",
                "get api - v1 other namespaces - other",
            ),
            (
                Method::PUT,
                "/api/v1/namespaces/other/finalize",
                "update api - v1 other namespaces finalize other",
            ),
            (
                Method::PUT,
                "/api/v1/namespaces/other/status",
                "update api - v1 other namespaces status other",
            ),
        ]);
    }

    #[test]
    fn watches_are_asked_by_query_or_by_path() {
        check(&[
            (
                Method::GET,
                "/api/v1/pods?watch=true",
                "watch api - v1 - pods - -",
            ),
            (Method::GET, "/api/v1/pods?watch", "watch api - v1 - pods - -"),
            (
                Method::GET,
                "/api/v1/pods?watch=False",
                "list api - v1 - pods - -",
            ),
            (Method::GET, "/api/v1/pods?watch=0", "list api - v1 - pods - -"),
            (
                Method::GET,
                "/api/v1/watch/namespaces/other/pods",
                "watch api - v1 other pods - -",
            ),
            (Method::GET, "/api/v1/watch/pods", "watch api - v1 - pods - -"),
            (
                Method::GET,
                "/api/v1/proxy/namespaces/other/pods/foo/a/b",
                "proxy api - v1 other pods - foo",
            ),
        ]);
    }

    #[test]
    fn paths_of_no_resource() {
        for target in [
            "/",
            "/version",
            "/api",
            "/api/v1",
            "/apis",
            "/apis/apps",
            "/apis/apps/v1",
            "/api/v1/",
            "//",
        ] {
            assert_eq!(summary(Method::GET, target), format!("get {target}"));
        }
        assert_eq!(
            summary(Method::GET, "/other/api/v1/pods"),
            "get /other/api/v1/pods"
        );
    }

    #[test]
    fn a_verb_in_the_path_needs_a_resource() {
        let want = "unable to determine kind and namespace from url, /api/v1/watch";
        assert_eq!(summary(Method::GET, "/api/v1/watch"), want);
    }

    #[test]
    fn a_field_selector_for_one_name_is_a_request_for_that_name() {
        let cases = [
            ("metadata.name%3Dfoo", "foo"),
            ("metadata.name==foo", "foo"),
            ("spec.nodeName=a,metadata.name=foo", "foo"),
            ("metadata.name!=foo", "-"),
            ("metadata.name=a/b", "-"),
            ("metadata.name=a%25b", "-"),
            ("metadata.name=..", "-"),
            ("metadata.name=", "-"),
            ("metadata.name=a\\,b", "a,b"),
            ("metadata.name=foo,nonsense", "-"),
        ];
        for (selector, name) in cases {
            let target = format!("/api/v1/pods?fieldSelector={selector}");
            assert_eq!(
                summary(Method::GET, &target),
                format!("list api - v1 - pods - {name}"),
                "{selector}"
            );
        }
    }

    #[test]
    fn encoded_slashes_are_slashes_to_router_and_authorizer_alike() {
        assert_eq!(
            summary(Method::GET, "/api/v1/namespaces%2Fa/pods"),
            "list api - v1 a pods - -"
        );
        assert_eq!(
            parse(&Method::GET, "/api/%ff", &[]),
            Err(RequestInfoError::NotUtf8)
        );
    }

    #[test]
    fn queries_keep_order_and_repeats() {
        let parsed = parse_query(Some("command=ls&command=-l&container=a%20b+c"));
        let parsed: Vec<_> = parsed.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
        assert_eq!(
            parsed,
            [("command", "ls"), ("command", "-l"), ("container", "a b c")]
        );
    }
}
