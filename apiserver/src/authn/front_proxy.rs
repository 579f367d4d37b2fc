//! A proxy in front of the server that says in headers on whose behalf it asks (`--requestheader-*`).
//!
//! The headers count only over a connection whose certificate an authority of the proxy's own vouches for, under a name that
//! is let: anybody can write headers. Pure.

use std::collections::BTreeMap;

use http::{HeaderMap, HeaderName};
use jiff::Timestamp;
use percent_encoding::percent_decode_str;

use super::client_certificate::{ClientIdentity, Peer};
use crate::request::UserInfo;

/// The headers of the aggregation layer, which never reach anybody behind the front.
const STANDARD: [&str; 3] = ["x-remote-user", "x-remote-uid", "x-remote-group"];
const STANDARD_EXTRA: &str = "x-remote-extra-";

/// Which headers say who asks, and who may send them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FrontProxyHeaders {
    /// Common names of certificates; any where empty.
    pub allowed_names: Vec<String>,
    /// Headers with the user's name; the first that has a value counts.
    pub username: Vec<String>,
    /// Headers with the user's uid; the first that has a value counts.
    pub uid: Vec<String>,
    /// Headers with groups; all values of all of them count.
    pub group: Vec<String>,
    /// Beginnings of headers whose rest is a key of `extra`.
    pub extra_prefix: Vec<String>,
}

/// A setting that cannot be meant.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum FrontProxyError {
    /// A name of nothing but blanks.
    #[error("empty value in {0:?}")]
    Empty(&'static str),
    /// Aggregated servers could not be told the uid.
    #[error(
        "--requestheader-uid-headers is set without specifying the standard X-Remote-Uid header - API aggregation will not work"
    )]
    WithoutUid,
}

impl FrontProxyHeaders {
    /// Whether the settings can be meant.
    ///
    /// # Errors
    /// Names the flag, in upstream's words.
    pub fn check(&self) -> Result<(), FrontProxyError> {
        let flags: [(&'static str, &[String]); 5] = [
            ("requestheader-username-headers", &self.username),
            ("requestheader-group-headers", &self.group),
            ("requestheader-extra-headers-prefix", &self.extra_prefix),
            ("requestheader-allowed-names", &self.allowed_names),
            ("requestheader-uid-headers", &self.uid),
        ];
        for (flag, values) in flags {
            if values.iter().any(|value| value.trim().is_empty()) {
                return Err(FrontProxyError::Empty(flag));
            }
        }
        let standard = |value: &String| value.eq_ignore_ascii_case("X-Remote-Uid");
        if !self.uid.is_empty() && !self.uid.iter().any(standard) {
            return Err(FrontProxyError::WithoutUid);
        }
        Ok(())
    }

    /// On whose behalf a proxy asks; None where nobody says so.
    pub(super) fn authenticate(
        &self,
        headers: &HeaderMap,
        peer: &Peer,
        now: Timestamp,
    ) -> Result<Option<UserInfo>, String> {
        let Some(proxy) = &peer.front_proxy else {
            return Ok(None);
        };
        let proxy: &ClientIdentity = proxy.as_ref().map_err(Clone::clone)?;
        proxy.check_time(now)?;
        if !self.allowed_names.is_empty() && !self.allowed_names.iter().any(|name| name == proxy.name()) {
            let name = proxy.name();
            return Err(format!("x509: subject with cn={name} is not in the allowed list"));
        }
        let name = first(headers, &self.username);
        if name.is_empty() {
            return Ok(None);
        }
        Ok(Some(UserInfo {
            name,
            uid: first(headers, &self.uid),
            groups: all(headers, &self.group),
            extra: self.extra(headers),
        }))
    }

    fn extra(&self, headers: &HeaderMap) -> BTreeMap<String, Vec<String>> {
        let mut extra: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for prefix in &self.extra_prefix {
            for (name, value) in headers {
                let Some(key) = rest_after(name, prefix) else {
                    continue;
                };
                let decoded = percent_decode_str(key).decode_utf8();
                let key = decoded.map_or_else(|_| key.to_owned(), |key| key.into_owned());
                extra
                    .entry(key)
                    .or_default()
                    .push(String::from_utf8_lossy(value.as_bytes()).into_owned());
            }
        }
        extra
    }
}

/// Takes out of a request whatever says on whose behalf it is made: who asks is known by now, and nobody further on is to
/// read it another way.
pub(super) fn strip(headers: &mut HeaderMap, configured: Option<&FrontProxyHeaders>) {
    let own = |name: &HeaderName| {
        configured.is_some_and(|headers| {
            let mut named = headers.username.iter().chain(&headers.uid).chain(&headers.group);
            named.any(|known| name.as_str().eq_ignore_ascii_case(known.trim()))
                || headers
                    .extra_prefix
                    .iter()
                    .any(|prefix| rest_after(name, prefix).is_some())
        })
    };
    let names: Vec<HeaderName> = headers
        .keys()
        .filter(|name| {
            STANDARD.contains(&name.as_str()) || name.as_str().starts_with(STANDARD_EXTRA) || own(name)
        })
        .cloned()
        .collect();
    for name in names {
        headers.remove(name);
    }
}

/// What follows a beginning, whatever its case; header names are in lower case here.
fn rest_after<'n>(name: &'n HeaderName, prefix: &str) -> Option<&'n str> {
    let (name, prefix) = (name.as_str(), prefix.trim());
    let start = name.get(..prefix.len())?;
    start.eq_ignore_ascii_case(prefix).then(|| &name[prefix.len()..])
}

fn first(headers: &HeaderMap, names: &[String]) -> String {
    let found = names
        .iter()
        .filter_map(|name| headers.get(name.trim()))
        .map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned())
        .find(|value| !value.is_empty());
    found.unwrap_or_default()
}

fn all(headers: &HeaderMap, names: &[String]) -> Vec<String> {
    let values = names.iter().flat_map(|name| headers.get_all(name.trim()));
    values
        .map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned())
        .filter(|value| !value.is_empty())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn configured() -> FrontProxyHeaders {
        let list = |values: &[&str]| values.iter().map(|value| (*value).to_owned()).collect();
        FrontProxyHeaders {
            allowed_names: list(&["front"]),
            username: list(&["X-Remote-User"]),
            uid: list(&["X-Remote-Uid"]),
            group: list(&["X-Remote-Group", "X-More-Groups"]),
            extra_prefix: list(&["X-Remote-Extra-"]),
        }
    }

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, value.parse().unwrap());
        }
        headers
    }

    fn now() -> Timestamp {
        Timestamp::from_second(1_800_000_000).unwrap()
    }

    fn peer(name: &str) -> Peer {
        Peer {
            client: Err("x509: certificate signed by unknown authority".to_owned()),
            front_proxy: Some(Ok(ClientIdentity::named(name, now()))),
        }
    }

    #[test]
    fn an_allowed_proxy_says_who_asks() {
        let asked = headers(&[
            ("x-remote-user", "jane"),
            ("x-remote-uid", "7"),
            ("x-remote-group", "a"),
            ("x-remote-group", ""),
            ("x-more-groups", "b"),
            ("x-remote-extra-example.com%2fscopes", "x"),
            ("x-remote-extra-example.com%2fscopes", "y"),
            ("accept", "text/html"),
        ]);
        let user = configured()
            .authenticate(&asked, &peer("front"), now())
            .unwrap()
            .unwrap();
        assert_eq!((user.name.as_str(), user.uid.as_str()), ("jane", "7"));
        assert_eq!(user.groups, ["a", "b"]);
        assert_eq!(user.extra["example.com/scopes"], ["x", "y"]);
        let mut left = asked;
        strip(&mut left, Some(&configured()));
        assert_eq!(left.len(), 1);
    }

    #[test]
    fn others_say_nothing() {
        let asked = headers(&[("x-remote-user", "root")]);
        let refused = configured().authenticate(&asked, &peer("other"), now());
        assert_eq!(
            refused,
            Err("x509: subject with cn=other is not in the allowed list".to_owned())
        );
        let stranger = Peer {
            front_proxy: None,
            ..peer("front")
        };
        assert_eq!(configured().authenticate(&asked, &stranger, now()), Ok(None));
        assert_eq!(
            configured().authenticate(&HeaderMap::new(), &peer("front"), now()),
            Ok(None)
        );
        let late = now() + jiff::SignedDuration::from_secs(1);
        assert!(configured().authenticate(&asked, &peer("front"), late).is_err());
        let mut left = asked;
        strip(&mut left, None);
        assert!(left.is_empty(), "the usual headers are taken out in any case");
    }

    #[test]
    fn settings_are_checked() {
        assert_eq!(configured().check(), Ok(()));
        let blank = FrontProxyHeaders {
            group: vec![" ".to_owned()],
            ..configured()
        };
        assert_eq!(
            blank.check(),
            Err(FrontProxyError::Empty("requestheader-group-headers"))
        );
        let odd = FrontProxyHeaders {
            uid: vec!["X-Uid".to_owned()],
            ..configured()
        };
        assert_eq!(odd.check(), Err(FrontProxyError::WithoutUid));
    }
}
