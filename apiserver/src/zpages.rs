//! `/statusz` and `/flagz`: what runs here, since when, and how it was started (KEP-4827, KEP-4828).
//!
//! As text for people, and as objects of `config.k8s.io` for whoever asks for one by `as`, `g` and `v` in `Accept`. Pure but
//! for the clock. The text is not meant for programs, and upstream sees to that by another delimiter in every process.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use coracle_api::codec::yaml;
use coracle_api::status::ApiError;
use http::{HeaderValue, Response, header};
use jiff::Timestamp;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::discovery::accepted;
use crate::http::respond;
use crate::metrics::started_at;
use crate::registry::negotiate::wants_pretty;
use crate::request::{RequestContext, ResponseBody};
use crate::version;

/// Where it is told what runs.
pub(crate) const STATUS_PATH: &str = "/statusz";
/// Where it is told how it was started.
pub(crate) const FLAGS_PATH: &str = "/flagz";

const GROUP: &str = "config.k8s.io";
/// The versions of the objects, the one that is not deprecated first.
const VERSIONS: [&str; 2] = ["v1beta1", "v1alpha1"];
const COMPONENT: &str = "apiserver";
const DELIMITERS: [&str; 4] = [":", ": ", "=", " "];
const JSON: &str = "application/json";
const YAML: &str = "application/yaml";
const TEXT: &str = "text/plain";
/// What lies below these is not for looking into the server.
const NOT_FOR_DEBUGGING: [&str; 5] = ["/apis", "/api", "/openid", "/openapi", "/.well-known"];

/// Tells of this process.
pub(crate) struct Pages {
    /// By name, without dashes.
    flags: BTreeMap<String, String>,
    delimiter: &'static str,
}

/// The form of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Text,
    Json(&'static str),
    Yaml(&'static str),
}

impl Pages {
    /// Of a process that was started with these flags, by name without dashes.
    pub(crate) fn new(flags: BTreeMap<String, String>) -> Self {
        let chance = Uuid::new_v4().as_u128();
        let at = usize::from(u8::try_from(chance % DELIMITERS.len() as u128).unwrap_or_default());
        Self {
            flags,
            delimiter: DELIMITERS[at],
        }
    }

    /// `/flagz`.
    ///
    /// # Errors
    /// 406 where nothing is accepted that can be made.
    pub(crate) fn flags(&self, context: &RequestContext) -> Result<Response<ResponseBody>, ApiError> {
        let text = || {
            let mut text = heading("flagz");
            for (name, value) in &self.flags {
                writeln!(text, "{name}{}{value}", self.delimiter).expect("writing to a String does not fail");
            }
            text
        };
        answer(context, "Flagz", json!({"flags": self.flags}), text)
    }

    /// `/statusz`; `paths` are all that the server answers at.
    ///
    /// # Errors
    /// 406 where nothing is accepted that can be made.
    pub(crate) fn status(
        &self,
        context: &RequestContext,
        paths: &[&str],
    ) -> Result<Response<ResponseBody>, ApiError> {
        let (now, folders) = (Timestamp::now(), folders(paths));
        let started = started_at().and_then(|seconds| Timestamp::from_second(seconds as i64).ok());
        let status = Status {
            started: started.unwrap_or(now),
            now,
            folders,
        };
        answer(context, "Statusz", status.object(), || {
            status.text(self.delimiter)
        })
    }
}

/// What runs.
struct Status {
    started: Timestamp,
    now: Timestamp,
    folders: Vec<String>,
}

impl Status {
    fn up_seconds(&self) -> i64 {
        self.now.duration_since(self.started).as_secs().max(0)
    }

    fn object(&self) -> Value {
        let version = version::document();
        json!({
            "startTime": self.started.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
            "uptimeSeconds": self.up_seconds(),
            "goVersion": version["goVersion"],
            "binaryVersion": version::API_VERSION,
            "emulationVersion": version::emulated(),
            "paths": self.folders,
        })
    }

    fn text(&self, delimiter: &str) -> String {
        let (up, version) = (self.up_seconds(), version::document());
        let lines = [
            (
                "Started",
                self.started.strftime("%a %b %e %H:%M:%S UTC %Y").to_string(),
            ),
            (
                "Up",
                format!("{} hr {:02} min {:02} sec", up / 3600, up / 60 % 60, up % 60),
            ),
            (
                "Go version",
                version["goVersion"].as_str().unwrap_or_default().to_owned(),
            ),
            ("Binary version", version::API_VERSION.to_owned()),
            ("Emulation version", version::emulated()),
            ("Paths", self.folders.join(" ")),
        ];
        let mut text = heading("statusz");
        text.push('\n');
        for (name, value) in lines {
            writeln!(text, "{name}{delimiter} {value}").expect("writing to a String does not fail");
        }
        text
    }
}

fn heading(page: &str) -> String {
    format!(
        "\n{COMPONENT} {page}\nWarning: This endpoint is not meant to be machine parseable, has no formatting \
         compatibility guarantees and is for debugging purposes only.\n"
    )
}

/// The first parts of paths, sorted, each once.
fn folders(paths: &[&str]) -> Vec<String> {
    let first = paths.iter().filter_map(|path| path.split('/').nth(1));
    let mut folders: Vec<String> = first
        .filter(|first| !first.is_empty())
        .map(|first| format!("/{first}"))
        .filter(|folder| !NOT_FOR_DEBUGGING.contains(&folder.as_str()))
        .collect();
    folders.sort_unstable();
    folders.dedup();
    folders
}

/// The answer with an object of `config.k8s.io`, or with text in place of it.
fn answer(
    context: &RequestContext,
    kind: &str,
    told: Value,
    text: impl FnOnce() -> String,
) -> Result<Response<ResponseBody>, ApiError> {
    let accept = context.headers.get(header::ACCEPT);
    let accept = accept.and_then(|value| value.to_str().ok()).unwrap_or_default();
    let form = form(accept, kind).ok_or_else(|| ApiError::not_acceptable(&[JSON, YAML, TEXT]))?;
    let (Form::Json(version) | Form::Yaml(version)) = form else {
        let text_plain = HeaderValue::from_static("text/plain; charset=utf-8");
        return Ok(respond::bytes(200, text_plain, text()));
    };
    if version != VERSIONS[0] {
        let page = kind.to_lowercase();
        context.warnings.add(&format!(
            "This version of the {page} endpoint is deprecated. Please use a newer version."
        ));
    }
    let mut object = json!({
        "kind": kind, "apiVersion": format!("{GROUP}/{version}"), "metadata": {"name": COMPONENT},
    });
    if let (Some(object), Value::Object(told)) = (object.as_object_mut(), told) {
        object.extend(told);
    }
    let pretty = wants_pretty(&context.headers, context.query("pretty"));
    let (media_type, body) = match form {
        Form::Yaml(_) => (YAML, yaml::encode(&object)),
        _ if pretty => (JSON, format!("{object:#}").into_bytes()),
        _ => (JSON, format!("{object}\n").into_bytes()),
    };
    let media_type = format!("{media_type};g={GROUP};v={version};as={kind}");
    let media_type = HeaderValue::from_str(&media_type).map_err(ApiError::internal)?;
    Ok(respond::bytes(200, media_type, body))
}

/// The first form that an `Accept` header likes; text where there is none.
fn form(accept: &str, kind: &str) -> Option<Form> {
    accepted(accept).iter().find_map(|element| {
        let (main, sub) = element.media_type.split_once('/')?;
        let likes = |media_type: &str| {
            let (other_main, other_sub) = media_type.split_once('/').unwrap_or_default();
            (main == "*" || main == other_main) && (sub == "*" || sub == other_sub)
        };
        let asked = ["as", "g", "v"].map(|name| element.parameter(name));
        if asked == [None; 3] {
            return likes(TEXT).then_some(Form::Text);
        }
        let version = match asked {
            [Some(wanted), Some(GROUP), Some(version)] if wanted == kind => {
                VERSIONS.into_iter().find(|known| *known == version)?
            }
            _ => return None,
        };
        let forms = [(JSON, Form::Json(version)), (YAML, Form::Yaml(version))];
        let mut liked = forms.into_iter().filter(|(media_type, _)| likes(media_type));
        liked.next().map(|(_, form)| form)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_are_told_to_whoever_names_their_kind() {
        for (accept, wanted) in [
            ("", Some(Form::Text)),
            ("application/json, */*", Some(Form::Text)),
            ("text/plain", Some(Form::Text)),
            ("application/json", None),
            (
                "application/json;g=config.k8s.io;v=v1beta1;as=Flagz",
                Some(Form::Json("v1beta1")),
            ),
            (
                "application/yaml;as=Flagz;g=config.k8s.io;v=v1alpha1",
                Some(Form::Yaml("v1alpha1")),
            ),
            ("application/json;g=config.k8s.io;v=v1;as=Flagz", None),
            ("application/json;g=config.k8s.io;v=v1beta1;as=Statusz", None),
            ("text/plain;g=config.k8s.io;v=v1beta1;as=Flagz", None),
            (
                "application/vnd.kubernetes.protobuf;g=config.k8s.io;v=v1beta1;as=Flagz",
                None,
            ),
        ] {
            assert_eq!(form(accept, "Flagz"), wanted, "{accept}");
        }
    }

    #[test]
    fn what_runs_is_told_in_a_few_lines() {
        let at = |text: &str| text.parse::<Timestamp>().unwrap();
        let status = Status {
            started: at("2026-01-02T03:04:05Z"),
            now: at("2026-01-02T05:05:06Z"),
            folders: folders(&["/", "/healthz", "/livez/ping", "/livez", "/apis/apps", "/metrics"]),
        };
        let text = status.text("=");
        assert!(text.starts_with("\napiserver statusz\nWarning: "), "{text}");
        for line in [
            "\n\nStarted= Fri Jan  2 03:04:05 UTC 2026\n",
            "\nUp= 2 hr 01 min 01 sec\n",
            "\nEmulation version= 1.36\n",
            "\nPaths= /healthz /livez /metrics\n",
        ] {
            assert!(text.contains(line), "{line} in {text}");
        }
        assert_eq!(status.object()["startTime"], "2026-01-02T03:04:05Z");
        assert_eq!(status.object()["uptimeSeconds"], 7261);
    }
}
