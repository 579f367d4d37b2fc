//! `PodLogOptions`: read from a request, checked as upstream checks them, and passed on to the node agent.

use coracle_api::codec::time;
use coracle_api::quote::quote;
use coracle_api::status::ApiError;
use coracle_api::validation::{FieldErrors, Path};

use super::stream_options::encode;
use crate::http::request_info::is_true;

/// What part of a container's log is asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct LogOptions {
    pub(super) container: String,
    follow: bool,
    previous: bool,
    timestamps: bool,
    since_seconds: Option<i64>,
    since_time: Option<String>,
    tail_lines: Option<i64>,
    limit_bytes: Option<i64>,
    /// Whether one of the container's streams is asked for.
    stream: bool,
}

/// Reads the options; the first value counts where a parameter stands more than once.
pub(super) fn parse(query: &[(String, String)]) -> Result<LogOptions, ApiError> {
    let value = |name: &str| {
        query
            .iter()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.as_str())
    };
    let flag = |name: &str| value(name).is_some_and(is_true);
    let number = |name: &str| value(name).map(integer).transpose();
    let since_time = value("sinceTime").filter(|text| !text.is_empty());
    if let Some(text) = since_time {
        time::parse(text).map_err(ApiError::bad_request)?;
    }
    Ok(LogOptions {
        container: value("container").unwrap_or_default().to_owned(),
        follow: flag("follow"),
        previous: flag("previous"),
        timestamps: flag("timestamps"),
        since_seconds: number("sinceSeconds")?,
        since_time: since_time.map(str::to_owned),
        tail_lines: number("tailLines")?,
        limit_bytes: number("limitBytes")?,
        stream: value("stream").is_some(),
    })
}

fn integer(text: &str) -> Result<i64, ApiError> {
    text.parse().map_err(|_| {
        ApiError::bad_request(format!(
            "strconv.ParseInt: parsing {}: invalid syntax",
            quote(text)
        ))
    })
}

/// Checks the options of a request about the pod of this name.
pub(super) fn validate(options: &LogOptions, pod: &str) -> Result<(), ApiError> {
    let mut errors = FieldErrors::new();
    if let Some(lines) = options.tail_lines.filter(|lines| *lines < 0) {
        errors.invalid(
            &Path::new("tailLines"),
            lines,
            "must be greater than or equal to 0",
        );
    }
    if let Some(bytes) = options.limit_bytes.filter(|bytes| *bytes < 1) {
        errors.invalid(&Path::new("limitBytes"), bytes, "must be greater than 0");
    }
    if options.since_seconds.is_some() && options.since_time.is_some() {
        errors.forbidden(
            &Path::ROOT.key(""),
            "at most one of `sinceTime` or `sinceSeconds` may be specified",
        );
    } else if let Some(seconds) = options.since_seconds.filter(|seconds| *seconds < 1) {
        errors.invalid(&Path::new("sinceSeconds"), seconds, "must be greater than 0");
    }
    // `PodLogsQuerySplitStreams` is off.
    if options.stream {
        errors.forbidden(&Path::new("stream"), "may not be specified");
    }
    if errors.is_empty() {
        Ok(())
    } else {
        Err(ApiError::invalid("", "PodLogOptions", pod, &errors))
    }
}

/// The options as the node agent takes them.
pub(super) fn query(options: &LogOptions) -> String {
    let mut pairs: Vec<(&str, String)> = Vec::new();
    for (name, on) in [
        ("follow", options.follow),
        ("previous", options.previous),
        ("timestamps", options.timestamps),
    ] {
        if on {
            pairs.push((name, "true".to_owned()));
        }
    }
    let numbers = [
        ("sinceSeconds", options.since_seconds),
        ("tailLines", options.tail_lines),
        ("limitBytes", options.limit_bytes),
    ];
    pairs.extend(
        numbers
            .iter()
            .filter_map(|(name, number)| Some((*name, (*number)?.to_string()))),
    );
    pairs.extend(options.since_time.clone().map(|time| ("sinceTime", time)));
    encode(pairs.iter().map(|(name, value)| (*name, value.as_str())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::request_info::parse_query;

    fn options(text: &str) -> Result<LogOptions, String> {
        let options = parse(&parse_query(Some(text))).map_err(|error| error.message().to_owned())?;
        validate(&options, "x").map_err(|error| error.message().to_owned())?;
        Ok(options)
    }

    #[test]
    fn options_are_passed_on_as_they_were_asked() {
        let asked = "container=c&follow=true&previous=0&timestamps=1&tailLines=5&limitBytes=9&sinceTime=2026-01-01T00:00:00Z";
        let read = options(asked).unwrap();
        assert_eq!(read.container, "c");
        let want = "follow=true&timestamps=true&tailLines=5&limitBytes=9&sinceTime=2026-01-01T00%3A00%3A00Z";
        assert_eq!(query(&read), want);
        assert_eq!(query(&options("").unwrap()), "");
    }

    #[test]
    fn wrong_options_are_refused_in_upstreams_words() {
        let invalid = |rest: &str| format!("PodLogOptions \"x\" is invalid: {rest}");
        let cases = [
            (
                "tailLines=-1",
                invalid("tailLines: Invalid value: -1: must be greater than or equal to 0"),
            ),
            (
                "limitBytes=0",
                invalid("limitBytes: Invalid value: 0: must be greater than 0"),
            ),
            (
                "sinceSeconds=0",
                invalid("sinceSeconds: Invalid value: 0: must be greater than 0"),
            ),
            (
                "tailLines=x",
                "strconv.ParseInt: parsing \"x\": invalid syntax".to_owned(),
            ),
        ];
        for (asked, want) in cases {
            assert_eq!(options(asked), Err(want), "{asked}");
        }
        let both = options("sinceSeconds=1&sinceTime=2026-01-01T00:00:00Z").unwrap_err();
        assert!(
            both.contains("at most one of `sinceTime` or `sinceSeconds` may be specified"),
            "{both}"
        );
        let stream = options("stream=All").unwrap_err();
        assert!(
            stream.ends_with("stream: Forbidden: may not be specified"),
            "{stream}"
        );
    }
}
