//! What a request's first line says: a path and, perhaps, a query.

use coracle_apiserver::http::request_info::{exact_field, parse, parse_query};
use http::Method;

/// A request for a resource names one, and what it names stands in the path.
pub fn check(input: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(input) else {
        return false;
    };
    let (path, query) = text
        .split_once('?')
        .map_or((text, None), |(path, query)| (path, Some(query)));
    let query = parse_query(query);
    for (_, value) in &query {
        let _ = exact_field(value, "metadata.name");
    }
    let mut taken = false;
    for method in [Method::GET, Method::POST, Method::DELETE] {
        let Ok(info) = parse(&method, path, &query) else {
            continue;
        };
        if info.is_resource_request {
            taken = true;
            assert!(
                info.resource.is_empty() || info.path.contains(&info.resource),
                "{info:?}"
            );
            assert!(info.path.contains(&info.namespace), "{info:?}");
            assert!(!info.verb.is_empty(), "{info:?}");
        }
    }
    taken
}
