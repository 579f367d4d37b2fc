//! URLs: `url('https://example.com:80/a?b=c').getHostname()`. Read as Go's `url.ParseRequestURI` reads them.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::ty::{self, Bool, String, URL};
use super::{EvalError, Functions, Type, Value, no_such_overload, text};
use crate::cel::functions::{Op, cost};
use crate::cel::value::{Key, Text};
use crate::cel::world::Opaque;

pub(super) fn declare(functions: &mut Functions) {
    functions.global("url", &[String], URL, cost::first, |_, args| {
        Url::parse(text(args, 0)?)
            .map(|url| Value::Opaque(Opaque::Url(Arc::new(url))))
            .map_err(|error| {
                EvalError::new(format!("URL parse error during conversion from string: {error}"))
            })
    });
    functions.global("isURL", &[String], Bool, cost::one, |_, args| {
        Ok(Value::Bool(Url::parse(text(args, 0)?).is_ok()))
    });
    let parts: [(&'static str, Op); 5] = [
        ("getScheme", |_, args| Ok(Value::text(url(args)?.scheme.as_str()))),
        ("getHost", |_, args| Ok(Value::text(url(args)?.host.as_str()))),
        ("getHostname", |_, args| Ok(Value::text(url(args)?.hostname()))),
        ("getPort", |_, args| Ok(Value::text(url(args)?.port()))),
        ("getEscapedPath", |_, args| {
            Ok(Value::text(url(args)?.path.as_str()))
        }),
    ];
    for (name, op) in parts {
        functions.member(name, &[URL], String, cost::one, op);
    }
    let query = Type::map(String, ty::list(String));
    functions.member("getQuery", &[URL], query, cost::one, |meter, args| {
        let url = url(args)?;
        meter.allocate(4 * url.query.len())?;
        let mut all: BTreeMap<Key<'_>, Vec<Value<'_>>> = BTreeMap::new();
        for (name, value) in url.pairs() {
            all.entry(Key::String(Text::Shared(name.into())))
                .or_default()
                .push(Value::text(value));
        }
        let lists = all.into_iter().map(|(name, values)| (name, Value::list(values)));
        Ok(Value::map(lists.collect()))
    });
}

/// The parts of a URL.
#[derive(Clone, Debug)]
pub struct Url {
    /// The whole.
    pub text: std::string::String,
    scheme: std::string::String,
    host: std::string::String,
    path: std::string::String,
    query: std::string::String,
}

fn url<'a>(args: &'a [Value<'_>]) -> Result<&'a Url, EvalError> {
    match args.first() {
        Some(Value::Opaque(Opaque::Url(url))) => Ok(url),
        _ => Err(no_such_overload("url", args)),
    }
}

impl Url {
    /// Reads an absolute URL, or an absolute path.
    pub(crate) fn parse(text: &str) -> Result<Self, std::string::String> {
        let wrong = |why: &str| format!("parse {text:?}: {why}");
        if text.is_empty() {
            return Err(wrong("empty url"));
        }
        if text.chars().any(|c| c.is_ascii_control()) {
            return Err(wrong("net/url: invalid control character in URL"));
        }
        let (scheme, rest) = split_scheme(text).map_err(wrong)?;
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        let is_path = rest.starts_with('/') || (scheme.is_empty() && rest == "*");
        if !is_path {
            // Opaque URLs (`mailto:a`) pass as long as they have a scheme.
            if scheme.is_empty() {
                return Err(wrong("invalid URI for request"));
            }
            return Ok(Self::of(text, scheme, "", "", query));
        }
        let (host, path) = match rest.strip_prefix("//") {
            Some(after) if !scheme.is_empty() || !rest.starts_with("///") => {
                let end = after.find('/').unwrap_or(after.len());
                let (authority, path) = after.split_at(end);
                let (user, host) = authority.rsplit_once('@').unwrap_or(("", authority));
                check_host(scheme, host).map_err(|why| wrong(&why))?;
                check_user(user).map_err(|why| wrong(&why))?;
                (host, path)
            }
            _ => ("", rest),
        };
        check_escapes(path).map_err(|why| wrong(&why))?;
        Ok(Self::of(text, scheme, host, &escaped(path), query))
    }

    fn of(text: &str, scheme: &str, host: &str, path: &str, query: &str) -> Self {
        Self {
            text: text.to_owned(),
            scheme: scheme.to_ascii_lowercase(),
            host: host.to_owned(),
            path: path.to_owned(),
            query: query.to_owned(),
        }
    }

    fn hostname(&self) -> &str {
        match self.host.strip_prefix('[') {
            Some(inner) => inner.split(']').next().unwrap_or(inner),
            None => self.host.split(':').next().unwrap_or(&self.host),
        }
    }

    fn port(&self) -> &str {
        let after = match self.host.rsplit_once(']') {
            Some((_, after)) => after,
            None => &self.host,
        };
        after.rsplit_once(':').map_or("", |(_, port)| port)
    }

    fn pairs(&self) -> impl Iterator<Item = (std::string::String, std::string::String)> + '_ {
        self.query
            .split('&')
            .filter(|pair| !pair.is_empty())
            .filter_map(|pair| {
                let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
                Some((unescaped(name)?, unescaped(value)?))
            })
    }
}

fn split_scheme(text: &str) -> Result<(&str, &str), &'static str> {
    let end = text.find(|c: char| !c.is_ascii_alphanumeric() && !matches!(c, '+' | '-' | '.'));
    match end {
        Some(0) if text.starts_with(':') => Err("missing protocol scheme"),
        Some(end) if text[end..].starts_with(':') && text.starts_with(|c: char| c.is_ascii_alphabetic()) => {
            Ok((&text[..end], &text[end + 1..]))
        }
        _ => Ok(("", text)),
    }
}

/// A host and its port, as Go takes them: an address of version 6 stands in brackets, and only there.
fn check_host(scheme: &str, host: &str) -> Result<(), std::string::String> {
    let (literal, port) = match host.rfind('[') {
        Some(0) => {
            let end = host.rfind(']').ok_or("missing ']' in host")?;
            (Some(&host[1..end]), &host[end + 1..])
        }
        Some(_) => return Err("invalid IP-literal".to_owned()),
        None => {
            let strict = ["http", "https"]
                .iter()
                .any(|known| scheme.eq_ignore_ascii_case(known));
            let colon = if strict { host.find(':') } else { host.rfind(':') };
            (None, colon.map_or("", |at| &host[at..]))
        }
    };
    let digits = port.strip_prefix(':').unwrap_or(port);
    if port.len() == 1 + digits.len() && !digits.bytes().all(|b| b.is_ascii_digit())
        || port.len() == digits.len() && !port.is_empty()
    {
        return Err(format!("invalid port {port:?} after host"));
    }
    let Some(literal) = literal else {
        return check_host_letters(host);
    };
    let (address, zone) = literal.split_once("%25").unwrap_or((literal, ""));
    check_host_letters(address)?;
    check_escapes(zone)?;
    match address.parse() {
        Ok(std::net::IpAddr::V6(_)) => Ok(()),
        Ok(std::net::IpAddr::V4(_)) => Err("invalid IP-literal".to_owned()),
        Err(_) => Err(format!(
            "invalid host: ParseAddr({literal:?}): unable to parse IP"
        )),
    }
}

/// In a host only letters beyond ASCII are written as escapes, and the sign of escapes itself.
fn check_host_letters(host: &str) -> Result<(), std::string::String> {
    check_escapes(host)?;
    let mut escapes = host.split('%').skip(1);
    if let Some(plain) =
        escapes.find(|rest| rest.starts_with(|c| ('0'..'8').contains(&c)) && !rest.starts_with("25"))
    {
        return Err(format!("invalid URL escape {:?}", format!("%{}", &plain[..2])));
    }
    let odd =
        |c: &char| c.is_ascii() && !c.is_ascii_alphanumeric() && !"!\"$%&'()*+,-.:;<=>[]_~".contains(*c);
    match host.chars().find(odd) {
        Some(c) => Err(format!("invalid character {:?} in host name", c.to_string())),
        None => Ok(()),
    }
}

fn check_user(user: &str) -> Result<(), std::string::String> {
    let fine = |c: char| c.is_ascii_alphanumeric() || "-._:~!$&'()*+,;=%@".contains(c);
    if user.chars().all(fine) {
        check_escapes(user)
    } else {
        Err("net/url: invalid userinfo".to_owned())
    }
}

fn check_escapes(text: &str) -> Result<(), std::string::String> {
    let mut rest = text;
    while let Some(at) = rest.find('%') {
        let escape: std::string::String = rest[at..].chars().take(3).collect();
        let hex = escape.len() == 3 && escape[1..].bytes().all(|b| b.is_ascii_hexdigit());
        if !hex {
            return Err(format!("invalid URL escape {escape:?}"));
        }
        rest = &rest[at + 3..];
    }
    Ok(())
}

/// A path with what may not stand in it escaped.
fn escaped(path: &str) -> std::string::String {
    let mut escaped = std::string::String::with_capacity(path.len());
    for byte in path.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~$&+,/:;=@!'()*%".contains(&byte) {
            escaped.push(char::from(byte));
        } else {
            escaped.push_str(&format!("%{byte:02X}"));
        }
    }
    escaped
}

/// A part of a query; none where its escapes are broken.
fn unescaped(text: &str) -> Option<std::string::String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        rest = after;
        match first {
            b'+' => bytes.push(b' '),
            b'%' => {
                let digits = std::str::from_utf8(rest.get(..2)?).ok()?;
                bytes.push(u8::from_str_radix(digits, 16).ok()?);
                rest = &rest[2..];
            }
            other => bytes.push(other),
        }
    }
    Some(std::string::String::from_utf8_lossy(&bytes).into_owned())
}
