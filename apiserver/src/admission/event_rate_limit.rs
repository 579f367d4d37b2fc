//! `EventRateLimit`: no more events than a server, a namespace, a user, or one source about one object may write in a time.
//!
//! Each limit is a bucket of tokens per key; the keys that are kept are bounded, and of too many the one that was used
//! longest ago is forgotten, as upstream's cache does.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use coracle_api::object::Fields;
use coracle_api::status::{ApiError, Reason};
use coracle_api::validation::{BadValue, FieldErrors, Path};
use jiff::Timestamp;
use serde_json::Value;

use super::configuration::{expect_kind, only};
use super::{Attributes, Cluster, Operation, Plugin};

/// How many keys a limit keeps where nobody says.
const KEYS: usize = 4096;
const TYPES: [&str; 4] = ["Namespace", "Server", "SourceAndObject", "User"];

/// What a limit is counted by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Server,
    Namespace,
    User,
    SourceAndObject,
}

/// A limit, and what was used of it.
struct Limit {
    kind: Kind,
    per_second: f64,
    burst: f64,
    keys: usize,
    buckets: Mutex<HashMap<String, Bucket>>,
}

/// What is left for a key.
#[derive(Clone, Copy, Debug)]
struct Bucket {
    tokens: f64,
    used: Timestamp,
}

/// The plugin.
pub(super) struct EventRateLimit {
    limits: Vec<Limit>,
}

impl EventRateLimit {
    /// By its configuration, which it cannot do without.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub(super) fn new(told: Option<&Value>) -> Result<Self, String> {
        let mut errors = FieldErrors::new();
        let limits = told.map_or(&[][..], |told| told.items("limits"));
        if let Some(told) = told {
            expect_kind(
                told,
                &["eventratelimit.admission.k8s.io/v1alpha1"],
                "Configuration",
            )?;
            only(told, &["apiVersion", "kind", "limits"], "")?;
        }
        let place = Path::new("limits");
        if limits.is_empty() {
            errors.invalid(&place, BadValue::rendered("null"), "must not be empty");
        }
        let read = limits
            .iter()
            .enumerate()
            .filter_map(|(index, limit)| Limit::read(limit, &place.index(index), &mut errors))
            .collect();
        if errors.is_empty() {
            Ok(Self { limits: read })
        } else {
            Err(errors.aggregate())
        }
    }
}

impl Limit {
    fn read(limit: &Value, place: &Path<'_>, errors: &mut FieldErrors) -> Option<Self> {
        let number = |field| limit.number(field).unwrap_or_default();
        let name = limit.text("type");
        let kind = match name {
            "Server" => Some(Kind::Server),
            "Namespace" => Some(Kind::Namespace),
            "User" => Some(Kind::User),
            "SourceAndObject" => Some(Kind::SourceAndObject),
            _ => None,
        };
        if kind.is_none() {
            errors.not_supported(&place.child("type"), name, &TYPES);
        }
        for field in ["burst", "qps"] {
            if number(field) <= 0 {
                errors.invalid(&place.child(field), number(field), "must be positive");
            }
        }
        if kind != Some(Kind::Server) && number("cacheSize") < 0 {
            errors.invalid(
                &place.child("cacheSize"),
                number("cacheSize"),
                "must not be negative",
            );
        }
        let whole = |field| f64::from(i32::try_from(number(field)).unwrap_or(i32::MAX));
        Some(Self {
            kind: kind?,
            per_second: whole("qps"),
            burst: whole("burst"),
            keys: match usize::try_from(number("cacheSize")) {
                Ok(0) | Err(_) => KEYS,
                Ok(size) => size,
            },
            buckets: Mutex::default(),
        })
    }

    fn key(&self, attributes: &Attributes<'_>, event: &Value) -> String {
        match self.kind {
            Kind::Server => String::new(),
            Kind::Namespace => attributes.namespace.to_owned(),
            Kind::User => attributes.user.name.clone(),
            Kind::SourceAndObject => {
                let (source, object) = (&event["source"], &event["involvedObject"]);
                let parts =
                    ["kind", "namespace", "name", "uid", "apiVersion"].map(|field| object.text(field));
                let from = [source.text("component"), source.text("host")];
                from.into_iter().chain(parts).collect()
            }
        }
    }

    /// Takes a token for a key, if there is one.
    fn takes(&self, key: &str, now: Timestamp) -> bool {
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        if !buckets.contains_key(key) {
            if buckets.len() >= self.keys
                && let Some(oldest) = oldest(&buckets)
            {
                buckets.remove(&oldest);
            }
            let full = Bucket {
                tokens: self.burst,
                used: now,
            };
            buckets.insert(key.to_owned(), full);
        }
        let bucket = buckets.get_mut(key).expect("it was put there if it was not");
        let seconds = now.duration_since(bucket.used).as_secs_f64().max(0.0);
        bucket.tokens = (bucket.tokens + seconds * self.per_second).min(self.burst);
        bucket.used = now;
        let has = bucket.tokens >= 1.0;
        if has {
            bucket.tokens -= 1.0;
        }
        has
    }
}

fn oldest(buckets: &HashMap<String, Bucket>) -> Option<String> {
    let oldest = buckets.iter().min_by_key(|(_, bucket)| bucket.used);
    oldest.map(|(key, _)| key.clone())
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Server => "Server",
            Self::Namespace => "Namespace",
            Self::User => "User",
            Self::SourceAndObject => "SourceAndObject",
        }
    }
}

impl Plugin for EventRateLimit {
    fn validate(
        &self,
        attributes: &Attributes<'_>,
        object: Option<&Value>,
        _old: Option<&Value>,
        _cluster: &Cluster<'_>,
    ) -> Result<(), ApiError> {
        let written = matches!(attributes.operation, Operation::Create | Operation::Update);
        let counted = written && !attributes.dry_run && attributes.is_of("", "events");
        let Some(event) = object.filter(|_| counted) else {
            return Ok(());
        };
        let mut refused = Vec::new();
        for limit in &self.limits {
            let key = limit.key(attributes, event);
            if !limit.takes(&key, attributes.now) {
                let kind = limit.kind.name();
                refused.push(format!("limit reached on type {kind} for key {key}"));
            }
        }
        let told = match refused.as_slice() {
            [] => return Ok(()),
            [one] => one.clone(),
            several => format!("[{}]", several.join(", ")),
        };
        let message = format!("Too many requests: {told}");
        Err(ApiError::new(429, Reason::TooManyRequests, message, None))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn of(limits: Value) -> Result<EventRateLimit, String> {
        EventRateLimit::new(Some(
            &json!({"apiVersion": "eventratelimit.admission.k8s.io/v1alpha1", "kind": "Configuration", "limits": limits}),
        ))
    }

    #[test]
    fn a_bucket_is_emptied_at_once_and_filled_in_time() {
        let plugin = of(json!([{"type": "User", "qps": 2, "burst": 3}])).unwrap();
        let limit = &plugin.limits[0];
        let at = |millis: i64| Timestamp::from_millisecond(millis).unwrap();
        let taken: Vec<bool> = (0..5).map(|_| limit.takes("jane", at(0))).collect();
        assert_eq!(taken, [true, true, true, false, false]);
        assert!(limit.takes("john", at(0)), "each key has its own");
        assert!(!limit.takes("jane", at(400)));
        assert!(limit.takes("jane", at(900)), "what was refused costs nothing");
    }

    #[test]
    fn the_key_that_was_used_longest_ago_is_forgotten() {
        let plugin = of(json!([{"type": "Namespace", "qps": 1, "burst": 1, "cacheSize": 2}])).unwrap();
        let limit = &plugin.limits[0];
        let at = |nanos: i64| Timestamp::from_nanosecond(nanos.into()).unwrap();
        assert!(limit.takes("a", at(1)) && limit.takes("b", at(2)));
        assert!(!limit.takes("a", at(3)));
        assert!(limit.takes("c", at(4)));
        assert!(!limit.takes("a", at(5)), "a is kept, b is not");
        assert!(limit.takes("b", at(6)));
    }

    #[test]
    fn everything_that_is_wrong_is_told() {
        assert_eq!(
            of(json!([])).err().as_deref(),
            Some("limits: Invalid value: null: must not be empty")
        );
        let error = of(json!([{"type": "Pod", "burst": 1}])).err().unwrap();
        assert_eq!(
            error,
            "[limits[0].type: Unsupported value: \"Pod\": supported values: \"Namespace\", \"Server\", \
             \"SourceAndObject\", \"User\", limits[0].qps: Invalid value: 0: must be positive]"
        );
        assert!(EventRateLimit::new(None).is_err());
    }
}
