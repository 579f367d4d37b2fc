//! Links in what a proxied server answers: those that lead to the server itself lead through the proxy afterwards, in HTML and in
//! redirects (upstream's `proxy.Transport`).

use std::io::{Read, Write};

use bytes::{Bytes, BytesMut};
use coracle_api::status::ApiError;
use flate2::Compression;
use flate2::read::MultiGzDecoder;
use flate2::write::GzEncoder;
use html5gum::emitters::default::DefaultEmitter;
use html5gum::{StartTag, Token, Tokenizer};
use http::{HeaderMap, HeaderValue, Response, header};
use http_body_util::BodyExt;
use hyper::body::Incoming as TheirBody;

use super::destination::Destination;
use crate::request::{RequestContext, ResponseBody, full_body};

/// The largest page whose links are looked at, in bytes; a larger one is passed on as it is.
const MAX_PAGE_BYTES: usize = 8 << 20;

/// The page on which links stand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Page {
    /// The path that leads to the server's root.
    prefix: String,
    /// The names under which the server is known: its own address, and what the client asked for.
    hosts: [String; 2],
}

impl Page {
    /// The page that a request asks for, if it is one behind a proxy.
    pub(super) fn of(context: &RequestContext, destination: &Destination) -> Option<Self> {
        let info = &context.info;
        if info.subresource != "proxy" {
            return None;
        }
        let mut rest = format!("/{}", info.parts.get(3..).unwrap_or_default().join("/"));
        if info.path.ends_with('/') && rest.len() > 1 {
            rest.push('/');
        }
        let asked = context
            .headers
            .get(header::HOST)
            .and_then(|host| host.to_str().ok());
        Some(Self {
            prefix: info.path.strip_suffix(&rest).unwrap_or(&info.path).to_owned(),
            hosts: [destination.authority(), asked.unwrap_or_default().to_owned()],
        })
    }

    /// A link as it has to read on the client's side.
    fn link(&self, text: &str) -> String {
        let Link {
            scheme,
            host,
            path,
            tail,
        } = Link::read(text);
        let elsewhere = !host.is_empty() && !self.hosts.iter().any(|own| own == host);
        if elsewhere || !path.starts_with('/') {
            return text.to_owned();
        }
        let path = if path.starts_with(&self.prefix) {
            path.to_owned()
        } else {
            format!("{}{}", self.prefix, cleaned(path))
        };
        // A link that names the host as the client knows it keeps it.
        let origin = if host == self.hosts[1] && !host.is_empty() {
            format!("{scheme}//{host}")
        } else {
            String::new()
        };
        format!("{origin}{path}{tail}")
    }

    /// HTML whose links are mended.
    fn html(&self, text: &[u8]) -> Vec<u8> {
        let mut mended = Vec::with_capacity(text.len() + text.len() / 8);
        let mut copied = 0;
        let mut emitter = DefaultEmitter::<usize>::new_with_span();
        emitter.naively_switch_states(true);
        for Ok(token) in Tokenizer::new_with_emitter(text, emitter) {
            let Token::StartTag(tag) = token else { continue };
            if let Some(new) = self.tag(&tag) {
                mended.extend_from_slice(text.get(copied..tag.span.start).unwrap_or_default());
                mended.extend_from_slice(&new);
                copied = tag.span.end;
            }
        }
        mended.extend_from_slice(text.get(copied..).unwrap_or_default());
        mended
    }

    /// A tag written anew, if it has links that change.
    fn tag(&self, tag: &StartTag<usize>) -> Option<Vec<u8>> {
        let links = links_of(&tag.name);
        let mut changed = false;
        let mut attributes: Vec<_> = tag.attributes.iter().collect();
        attributes.sort_by_key(|(_, value)| value.span.start);
        let mut text = [b"<", tag.name.as_slice()].concat();
        for (name, value) in attributes {
            let mut value = value.value.to_vec();
            if let (true, Ok(link)) = (
                links.iter().any(|link| link.as_bytes() == name.as_slice()),
                str::from_utf8(&value),
            ) {
                let new = self.link(link).into_bytes();
                changed |= new != value;
                value = new;
            }
            text.extend([b" ", name.as_slice(), b"=\"", &escaped(&value), b"\""].concat());
        }
        text.extend_from_slice(if tag.self_closing { b"/>" } else { b">" });
        changed.then_some(text)
    }

    /// The answer with its links mended.
    ///
    /// # Errors
    /// Where its body cannot be read.
    pub(super) async fn mend(
        &self,
        headers: &mut HeaderMap,
        mut body: TheirBody,
    ) -> Result<ResponseBody, ApiError> {
        let text = |headers: &HeaderMap, name| {
            let value = headers
                .get(name)
                .and_then(|value: &HeaderValue| value.to_str().ok());
            value.unwrap_or_default().to_owned()
        };
        let target = text(headers, header::LOCATION);
        if !target.is_empty() {
            if let Ok(target) = HeaderValue::from_str(&self.link(&target)) {
                headers.insert(header::LOCATION, target);
            }
            return Ok(super::relay::body_of(body));
        }
        let kind = text(headers, header::CONTENT_TYPE);
        let gzip = match text(headers, header::CONTENT_ENCODING).as_str() {
            "" => false,
            "gzip" => true,
            _ => return Ok(super::relay::body_of(body)),
        };
        if kind.split(';').next().map(str::trim) != Some("text/html") {
            return Ok(super::relay::body_of(body));
        }
        let mut read = BytesMut::new();
        while let Some(frame) = body.frame().await {
            let frame =
                frame.map_err(|error| ApiError::unknown(format!("error reading the answer: {error}")))?;
            read.extend_from_slice(frame.data_ref().map(Bytes::as_ref).unwrap_or_default());
            if read.len() > MAX_PAGE_BYTES {
                return Ok(begun(read.freeze(), body));
            }
        }
        let read = read.freeze();
        let page = if gzip {
            self.gzip(&read)
        } else {
            Some(self.html(&read))
        };
        let page = page.map_or(read, Bytes::from);
        headers.insert(header::CONTENT_LENGTH, HeaderValue::from(page.len()));
        Ok(full_body(page))
    }

    /// The same for HTML in gzip; none for what is too large or no gzip.
    fn gzip(&self, packed: &[u8]) -> Option<Vec<u8>> {
        let mut page = Vec::new();
        let limit = MAX_PAGE_BYTES as u64 + 1;
        MultiGzDecoder::new(packed)
            .take(limit)
            .read_to_end(&mut page)
            .ok()?;
        if page.len() > MAX_PAGE_BYTES {
            return None;
        }
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(&self.html(&page)).ok()?;
        encoder.finish().ok()
    }
}

/// Answers without a body have nothing to mend but their redirect.
pub(super) async fn mended(
    page: Option<Page>,
    answer: Response<TheirBody>,
) -> Result<Response<ResponseBody>, ApiError> {
    let (mut head, body) = answer.into_parts();
    let body = match page {
        Some(page) => page.mend(&mut head.headers, body).await?,
        None => super::relay::body_of(body),
    };
    Ok(Response::from_parts(head, body))
}

/// A body of which the beginning has been read already.
fn begun(read: Bytes, rest: TheirBody) -> ResponseBody {
    let begin = futures::stream::once(async move { Ok(http_body::Frame::data(read)) });
    let rest = http_body_util::BodyStream::new(super::relay::body_of(rest));
    http_body_util::StreamBody::new(futures::StreamExt::chain(begin, rest)).boxed_unsync()
}

/// A link, taken apart (RFC 3986, appendix B).
struct Link<'a> {
    /// With its colon.
    scheme: &'a str,
    host: &'a str,
    path: &'a str,
    /// Query and fragment.
    tail: &'a str,
}

impl<'a> Link<'a> {
    fn read(text: &'a str) -> Self {
        let ends = |text: &str, marks: &[char]| text.find(marks).unwrap_or(text.len());
        let (scheme, rest) = match text.find(':') {
            Some(at) if at < ends(text, &['/', '?', '#']) => text.split_at(at + 1),
            _ => ("", text),
        };
        let (host, rest) = match rest.strip_prefix("//") {
            Some(rest) => rest.split_at(ends(rest, &['/', '?', '#'])),
            None => ("", rest),
        };
        let (path, tail) = rest.split_at(ends(rest, &['?', '#']));
        Self {
            scheme,
            host,
            path,
            tail,
        }
    }
}

/// A path without empty parts, `.` and `..`; a slash at its end stays.
fn cleaned(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    let mut clean = String::new();
    for part in &parts {
        clean.push('/');
        clean.push_str(part);
    }
    if path.ends_with('/') {
        clean.push('/');
    }
    clean
}

/// Text as it may stand in an attribute.
fn escaped(text: &[u8]) -> Vec<u8> {
    let mut safe = Vec::with_capacity(text.len());
    for byte in text {
        match byte {
            b'&' => safe.extend_from_slice(b"&amp;"),
            b'"' => safe.extend_from_slice(b"&#34;"),
            b'<' => safe.extend_from_slice(b"&lt;"),
            b'>' => safe.extend_from_slice(b"&gt;"),
            byte => safe.push(*byte),
        }
    }
    safe
}

/// Which attributes of an element are links (HTML 4.01's index of attributes, and HTML 5's).
fn links_of(element: &[u8]) -> &'static [&'static str] {
    match element {
        b"a" | b"area" | b"base" | b"link" => &["href"],
        b"applet" => &["codebase"],
        b"audio" | b"embed" | b"script" | b"source" => &["src"],
        b"blockquote" | b"del" | b"ins" | b"q" => &["cite"],
        b"body" => &["background"],
        b"button" => &["formaction"],
        b"command" => &["icon"],
        b"form" => &["action"],
        b"frame" | b"iframe" => &["longdesc", "src"],
        b"head" => &["profile"],
        b"html" => &["manifest"],
        b"img" => &["longdesc", "src", "usemap"],
        b"input" => &["src", "usemap", "formaction"],
        b"object" => &["classid", "codebase", "data", "usemap"],
        b"video" => &["poster", "src"],
        _ => &[],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page() -> Page {
        Page {
            prefix: "/api/v1/namespaces/a/pods/web/proxy".to_owned(),
            hosts: ["10.0.0.1:80".to_owned(), "api.example.com".to_owned()],
        }
    }

    #[test]
    fn links_to_the_server_lead_through_the_proxy() {
        let through = "/api/v1/namespaces/a/pods/web/proxy";
        for (link, want) in [
            ("/x/y/?a=1#b", format!("{through}/x/y/?a=1#b")),
            ("/", format!("{through}/")),
            ("http://10.0.0.1:80/x", format!("{through}/x")),
            (
                "https://api.example.com/x",
                format!("https://api.example.com{through}/x"),
            ),
            ("/a/../b", format!("{through}/b")),
            ("x/y", "x/y".to_owned()),
            ("?page=2", "?page=2".to_owned()),
            ("mailto:me@example.com", "mailto:me@example.com".to_owned()),
            (
                "https://elsewhere.example.com/x",
                "https://elsewhere.example.com/x".to_owned(),
            ),
            (&format!("{through}/x"), format!("{through}/x")),
        ] {
            assert_eq!(page().link(link), want, "{link}");
        }
    }

    #[test]
    fn only_tags_with_links_are_written_anew() {
        let html = "<!doctype html><P class=x>1 < 2 & 3<a title='\"' HREF=/x>go</a><img src=\"/i.png\"/>\
                    <script>if (a<b) \"<a href='/no'>\"</script><a href=there>";
        let mended = page().html(html.as_bytes());
        let through = "/api/v1/namespaces/a/pods/web/proxy";
        assert_eq!(
            String::from_utf8(mended).unwrap(),
            format!(
                "<!doctype html><P class=x>1 < 2 & 3<a title=\"&#34;\" href=\"{through}/x\">go</a>\
                 <img src=\"{through}/i.png\"/><script>if (a<b) \"<a href='/no'>\"</script><a href=there>"
            )
        );
    }

    proptest::proptest! {
        #[test]
        fn whatever_has_no_links_stays_as_it_is(text in "[a-z <>/='\"!&\\-]{0,64}", bytes: Vec<u8>) {
            let without = text.replace(['a', 'b', 'i'], "");
            proptest::prop_assert_eq!(page().html(without.as_bytes()), without.as_bytes());
            page().html(&bytes);
            page().gzip(&bytes);
        }
    }

    #[test]
    fn packed_pages_are_mended_too() {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(b"<a href=/x>").unwrap();
        let mended = page().gzip(&encoder.finish().unwrap()).unwrap();
        let mut text = String::new();
        MultiGzDecoder::new(mended.as_slice())
            .read_to_string(&mut text)
            .unwrap();
        assert_eq!(text, "<a href=\"/api/v1/namespaces/a/pods/web/proxy/x\">");
        assert_eq!(page().gzip(b"no gzip"), None);
    }
}
