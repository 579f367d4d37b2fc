//! The options of a request, from its query or its body: decoded and checked as upstream decodes and checks them.

use coracle_api::codec::FieldValidation;
use coracle_api::status::ApiError;
use coracle_api::validation::{FieldErrors, Path};
use serde_json::Value;

use crate::request::RequestContext;

/// How a list's or watch's `resourceVersion` is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum VersionMatch {
    /// At least that revision.
    NotOlderThan,
    /// Exactly that revision.
    Exact,
}

/// `metav1.ListOptions`.
#[derive(Clone, Debug, Default)]
pub(super) struct ListOptions {
    /// As sent; empty where not.
    pub label_selector: String,
    /// As sent; empty where not.
    pub field_selector: String,
    /// As sent; empty where not.
    pub resource_version: String,
    /// How it is meant, where that is said.
    pub version_match: Option<VersionMatch>,
    /// The most items; 0 for all.
    pub limit: usize,
    /// Where the list goes on.
    pub continuation: String,
    /// After how many seconds a watch ends.
    pub timeout_seconds: Option<u64>,
    /// Whether a watch is told of progress.
    pub bookmarks: bool,
    /// Whether a watch begins with the current state.
    pub send_initial_events: Option<bool>,
}

/// What `create`, `update` and `patch` have in common.
#[derive(Clone, Debug, Default)]
pub(super) struct WriteOptions {
    /// Everything is done but the write itself.
    pub dry_run: bool,
    /// What happens to unknown and duplicate fields.
    pub field_validation: FieldValidation,
}

/// What becomes of the objects that an object owns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Propagation {
    /// They lose their owner.
    Orphan,
    /// They are deleted after it.
    Background,
    /// They are deleted before it.
    Foreground,
}

/// `metav1.DeleteOptions`.
#[derive(Clone, Debug, Default)]
pub(super) struct DeleteOptions {
    /// Seconds until the object is gone; none for the kind's own default.
    pub grace_period_seconds: Option<i64>,
    /// The object must have this uid.
    pub uid: Option<String>,
    /// The object must be at this revision.
    pub resource_version: Option<String>,
    /// What becomes of dependents.
    pub propagation: Option<Propagation>,
    /// The older way to say `Orphan` or not.
    pub orphan_dependents: Option<bool>,
    /// Everything is done but the write itself.
    pub dry_run: bool,
}

/// The type whose rules [`DeleteOptions::read`] was told to follow.
const META_GROUP: &str = "meta.k8s.io";

impl ListOptions {
    /// From the query of a list (or of the collection that is to be deleted), or of a watch.
    ///
    /// # Errors
    /// 400 for what is no number, 422 for what does not go together.
    pub(super) fn read(ctx: &RequestContext, watch: bool) -> Result<Self, ApiError> {
        let text = |name| ctx.query(name).unwrap_or_default().to_owned();
        let version_match = text("resourceVersionMatch");
        let send_initial_events = ctx.query("sendInitialEvents").map(is_true);
        let options = Self {
            label_selector: text("labelSelector"),
            field_selector: text("fieldSelector"),
            resource_version: text("resourceVersion"),
            version_match: match version_match.as_str() {
                "NotOlderThan" => Some(VersionMatch::NotOlderThan),
                "Exact" => Some(VersionMatch::Exact),
                _ => None,
            },
            limit: integer(ctx, "limit")?
                .and_then(|limit| usize::try_from(limit).ok())
                .unwrap_or(0),
            continuation: text("continue"),
            timeout_seconds: integer(ctx, "timeoutSeconds")?.and_then(|seconds| u64::try_from(seconds).ok()),
            bookmarks: ctx.query("allowWatchBookmarks").is_some_and(is_true),
            send_initial_events,
        };
        let errors = if watch {
            options.watch_errors(&version_match)
        } else {
            options.list_errors(&version_match)
        };
        invalid_options("ListOptions", &errors)?;
        Ok(options)
    }

    /// The revision that is asked for.
    ///
    /// # Errors
    /// 400 where it is no number.
    pub(super) fn revision(&self) -> Result<Option<u64>, ApiError> {
        parse_revision(&self.resource_version)
    }

    /// The revision that a watch is to begin after.
    ///
    /// # Errors
    /// 500 where it is no number.
    pub(super) fn watched_revision(&self) -> Result<Option<u64>, ApiError> {
        parse_bare_revision(&self.resource_version)
    }

    fn list_errors(&self, version_match: &str) -> FieldErrors {
        let mut errors = FieldErrors::new();
        let at = Path::new("resourceVersionMatch");
        if !version_match.is_empty() {
            if self.resource_version.is_empty() {
                errors.forbidden(
                    &at,
                    "resourceVersionMatch is forbidden unless resourceVersion is provided",
                );
            }
            if !self.continuation.is_empty() {
                errors.forbidden(&at, "resourceVersionMatch is forbidden when continue is provided");
            }
            if self.version_match.is_none() {
                errors.not_supported(&at, version_match, &["Exact", "NotOlderThan", ""]);
            }
            if self.version_match == Some(VersionMatch::Exact) && self.resource_version == "0" {
                let why = "resourceVersionMatch \"exact\" is forbidden for resourceVersion \"0\"";
                errors.forbidden(&at, why);
            }
        }
        if self.send_initial_events.is_some() {
            errors.forbidden(
                &Path::new("sendInitialEvents"),
                "sendInitialEvents is forbidden for list",
            );
        }
        errors
    }

    fn watch_errors(&self, version_match: &str) -> FieldErrors {
        let mut errors = FieldErrors::new();
        let at = Path::new("resourceVersionMatch");
        let not_older = self.version_match == Some(VersionMatch::NotOlderThan);
        if self.send_initial_events.is_some() && !not_older {
            errors.forbidden(
                &at,
                "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan",
            );
        }
        // A watch from no version begins with the current state, as if that had been asked for.
        let from_the_start = version_match.is_empty()
            && self.send_initial_events.is_none()
            && matches!(self.resource_version.as_str(), "" | "0");
        if from_the_start && !self.continuation.is_empty() {
            errors.forbidden(&at, "resourceVersionMatch is forbidden when continue is provided");
        }
        if !version_match.is_empty() {
            if self.send_initial_events.is_none() {
                let why = "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided";
                errors.forbidden(&at, why);
            }
            if !not_older {
                errors.not_supported(&at, version_match, &["NotOlderThan"]);
            }
            if !self.continuation.is_empty() {
                errors.forbidden(&at, "resourceVersionMatch is forbidden when continue is provided");
            }
        }
        errors
    }
}

impl WriteOptions {
    /// From the query. `kind` is `CreateOptions`, `UpdateOptions` or `PatchOptions`.
    ///
    /// # Errors
    /// 422 for values that are not known.
    pub(super) fn read(ctx: &RequestContext, kind: &str) -> Result<Self, ApiError> {
        let mut errors = FieldErrors::new();
        let dry_run = dry_run_of(&all(ctx, "dryRun"), &mut errors);
        check_field_manager(ctx.query("fieldManager").unwrap_or_default(), &mut errors);
        let sent = ctx.query("fieldValidation").unwrap_or_default();
        if kind == "PatchOptions"
            && ctx.query("force").is_some_and(|force| !force.is_empty())
            && !applies(ctx)
        {
            errors.forbidden(&Path::new("force"), "may not be specified for non-apply patch");
        }
        let field_validation = FieldValidation::parse(sent).unwrap_or_else(|| {
            errors.not_supported(
                &Path::new("fieldValidation"),
                sent,
                &["", "Ignore", "Strict", "Warn"],
            );
            FieldValidation::default()
        });
        invalid_options(kind, &errors)?;
        Ok(Self {
            dry_run,
            field_validation,
        })
    }
}

impl DeleteOptions {
    /// From the body where there is one, and from the query where there is none.
    ///
    /// # Errors
    /// 400 for what is no number, 422 for values that are not known.
    pub(super) fn read(ctx: &RequestContext, body: Option<&Value>) -> Result<Self, ApiError> {
        let mut errors = FieldErrors::new();
        let options = match body {
            Some(body) => Self::from_body(body, &mut errors),
            None => Self::from_query(ctx, &mut errors)?,
        };
        if options.propagation.is_some() && options.orphan_dependents.is_some() {
            let why = "orphanDependents and deletionPropagation cannot be both set";
            let value = options.propagation.map(Propagation::as_str).unwrap_or_default();
            errors.invalid(&Path::new("propagationPolicy"), value, why);
        }
        invalid_options("DeleteOptions", &errors)?;
        Ok(options)
    }

    fn from_body(body: &Value, errors: &mut FieldErrors) -> Self {
        let text = |pointer: &str| body.pointer(pointer).and_then(Value::as_str).map(str::to_owned);
        let dry_run: Vec<String> = match body.get("dryRun") {
            Some(Value::Array(items)) => items
                .iter()
                .filter_map(|v| v.as_str().map(str::to_owned))
                .collect(),
            _ => Vec::new(),
        };
        Self {
            grace_period_seconds: body.get("gracePeriodSeconds").and_then(Value::as_i64),
            uid: text("/preconditions/uid"),
            resource_version: text("/preconditions/resourceVersion"),
            propagation: propagation_of(text("/propagationPolicy").as_deref(), errors),
            orphan_dependents: body.get("orphanDependents").and_then(Value::as_bool),
            dry_run: dry_run_of(&dry_run, errors),
        }
    }

    fn from_query(ctx: &RequestContext, errors: &mut FieldErrors) -> Result<Self, ApiError> {
        Ok(Self {
            grace_period_seconds: integer(ctx, "gracePeriodSeconds")?,
            uid: None,
            resource_version: None,
            propagation: propagation_of(ctx.query("propagationPolicy"), errors),
            orphan_dependents: ctx.query("orphanDependents").map(is_true),
            dry_run: dry_run_of(&all(ctx, "dryRun"), errors),
        })
    }
}

impl Propagation {
    /// The wire's word.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Orphan => "Orphan",
            Self::Background => "Background",
            Self::Foreground => "Foreground",
        }
    }
}

/// A `resourceVersion` as a revision; `None` where it is not set.
///
/// # Errors
/// 400 where it is no number.
pub(super) fn parse_revision(text: &str) -> Result<Option<u64>, ApiError> {
    if text.is_empty() {
        return Ok(None);
    }
    text.parse().map(Some).map_err(|_| {
        ApiError::bad_request(format!(
            "invalid resource version: resourceVersion: Invalid value: {text:?}: strconv.ParseUint: parsing {text:?}: invalid syntax"
        ))
    })
}

/// The same where upstream does not say what it is about.
///
/// # Errors
/// 500 where it is no number.
pub(super) fn parse_bare_revision(text: &str) -> Result<Option<u64>, ApiError> {
    parse_revision(text).map_err(|error| {
        let why = error.message().strip_prefix("invalid resource version: ");
        ApiError::unknown(why.unwrap_or(error.message()).to_owned())
    })
}

fn applies(ctx: &RequestContext) -> bool {
    super::patch::media_type(ctx) == super::ownership::APPLY
}

/// Upstream's conversion of a query parameter to a truth: only `0` and `false` are false.
pub(super) fn is_true(value: &str) -> bool {
    !(value == "0" || value.eq_ignore_ascii_case("false"))
}

fn integer(ctx: &RequestContext, name: &str) -> Result<Option<i64>, ApiError> {
    match ctx.query(name) {
        None | Some("") => Ok(None),
        Some(text) => text.parse().map(Some).map_err(|_| {
            ApiError::bad_request(format!("strconv.ParseInt: parsing {text:?}: invalid syntax"))
        }),
    }
}

fn all(ctx: &RequestContext, name: &str) -> Vec<String> {
    ctx.query
        .iter()
        .filter(|(key, _)| key == name)
        .map(|(_, value)| value.clone())
        .collect()
}

fn dry_run_of(values: &[String], errors: &mut FieldErrors) -> bool {
    if values.iter().any(|value| value != "All") {
        errors.not_supported(&Path::new("dryRun"), &Value::from(values), &["All"]);
    }
    !values.is_empty()
}

fn propagation_of(value: Option<&str>, errors: &mut FieldErrors) -> Option<Propagation> {
    match value {
        None | Some("") => None,
        Some("Orphan") => Some(Propagation::Orphan),
        Some("Background") => Some(Propagation::Background),
        Some("Foreground") => Some(Propagation::Foreground),
        Some(other) => {
            let known = ["Foreground", "Background", "Orphan", "nil"];
            errors.not_supported(&Path::new("propagationPolicy"), other, &known);
            None
        }
    }
}

fn check_field_manager(manager: &str, errors: &mut FieldErrors) {
    let at = Path::new("fieldManager");
    if manager.len() > 128 {
        errors.too_long(&at, 128);
    }
    for (position, letter) in manager.char_indices().filter(|(_, letter)| letter.is_control()) {
        let code = u32::from(letter);
        errors.invalid(
            &at,
            manager,
            format!("invalid character U+{code:04X} (at position {position})"),
        );
    }
}

fn invalid_options(kind: &str, errors: &FieldErrors) -> Result<(), ApiError> {
    if errors.is_empty() {
        Ok(())
    } else {
        Err(ApiError::invalid(META_GROUP, kind, "", errors))
    }
}
