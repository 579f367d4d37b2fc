//! Who asks, in headers that a server believes whoever shows the front proxy's certificate. Pure.

use http::{HeaderMap, HeaderName, HeaderValue};
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};

use crate::request::UserInfo;

pub(crate) const USER: &str = "X-Remote-User";
pub(crate) const UID: &str = "X-Remote-Uid";
pub(crate) const GROUP: &str = "X-Remote-Group";
pub(crate) const EXTRA_PREFIX: &str = "X-Remote-Extra-";

/// What cannot stand in a header's name, and the sign that escapes it (upstream's `headerKeyEscape`).
const NAME_ESCAPES: &AsciiSet = &CONTROLS
    .add(b' ')
    .add(b'"')
    .add(b'%')
    .add(b'(')
    .add(b')')
    .add(b',')
    .add(b'/')
    .add(b':')
    .add(b';')
    .add(b'<')
    .add(b'=')
    .add(b'>')
    .add(b'?')
    .add(b'@')
    .add(b'[')
    .add(b'\\')
    .add(b']')
    .add(b'{')
    .add(b'}');

/// Takes out whatever claims to say who asks.
pub(super) fn strip(headers: &mut HeaderMap) {
    let claims = |name: &HeaderName| {
        let name = name.as_str();
        [USER, UID, GROUP]
            .iter()
            .any(|known| name.eq_ignore_ascii_case(known))
            || name.starts_with(&EXTRA_PREFIX.to_ascii_lowercase())
    };
    let found: Vec<HeaderName> = headers.keys().filter(|name| claims(name)).cloned().collect();
    for name in found {
        headers.remove(name);
    }
}

/// Says who asks.
pub(super) fn write(user: &UserInfo, headers: &mut HeaderMap) {
    let mut add = |name: &str, value: &str| {
        let (name, value) = (
            name.parse::<HeaderName>(),
            HeaderValue::from_bytes(value.as_bytes()),
        );
        if let (Ok(name), Ok(value)) = (name, value) {
            headers.append(name, value);
        }
    };
    add(USER, &user.name);
    if !user.uid.is_empty() {
        add(UID, &user.uid);
    }
    for group in &user.groups {
        add(GROUP, group);
    }
    for (key, values) in &user.extra {
        let name = format!("{EXTRA_PREFIX}{}", utf8_percent_encode(key, NAME_ESCAPES));
        for value in values {
            add(&name, value);
        }
    }
}

/// This server itself, when it asks others how they are.
pub(super) fn aggregator() -> UserInfo {
    UserInfo {
        name: "system:kube-aggregator".to_owned(),
        groups: vec!["system:masters".to_owned()],
        ..UserInfo::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_this_server_says_who_asks() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("x-remote-user", "root"),
            ("X-Remote-Group", "system:masters"),
            ("x-remote-extra-scopes", "all"),
            ("x-remote-uid", "0"),
            ("accept", "text/html"),
        ] {
            headers.insert(
                name.parse::<HeaderName>().unwrap(),
                HeaderValue::from_static(value),
            );
        }
        strip(&mut headers);
        assert_eq!(headers.len(), 1);
        let user = UserInfo {
            name: "jane".to_owned(),
            uid: "7".to_owned(),
            groups: vec!["a".to_owned(), "b".to_owned()],
            extra: [(
                "example.com/scopes".to_owned(),
                vec!["x".to_owned(), "y".to_owned()],
            )]
            .into(),
        };
        write(&user, &mut headers);
        let all = |name: &str| {
            let values = headers.get_all(name).iter();
            values.map(|value| value.to_str().unwrap()).collect::<Vec<_>>()
        };
        assert_eq!(
            (all("x-remote-user"), all("x-remote-uid")),
            (vec!["jane"], vec!["7"])
        );
        assert_eq!(all("x-remote-group"), ["a", "b"]);
        assert_eq!(all("x-remote-extra-example.com%2fscopes"), ["x", "y"]);
    }
}
