//! The `token` subresource of service accounts: asking for a token (KEP-1205).
//!
//! [`plan`] decides; the handler around it reads the clock, makes the token's id, looks objects up and signs.

use std::sync::Arc;

use coracle_api::quote::quote;
use coracle_api::status::ApiError;
use coracle_api::table::{self, Gvk};
use coracle_api::validation::{FieldErrors, Path};
use http::Response;
use jiff::Timestamp;
use serde_json::{Value, json};
use uuid::Uuid;

use super::{Claims, KubernetesClaims, ObjectClaim, TokenKeys};
use crate::http::document::{self, Wish};
use crate::reader::{GroupResource, ObjectReader};
use crate::registry::track_answered;
use crate::request::{RequestBody, RequestContext, ResponseBody};
use crate::webhook::Webhooks;

/// The kind that is asked and answered.
const KIND: Gvk = Gvk {
    group: "authentication.k8s.io",
    version: "v1",
    kind: "TokenRequest",
};

/// The shortest life that may be asked for, in seconds.
const SHORTEST: i64 = 10 * 60;

/// The longest life that may be asked for, in seconds.
const LONGEST: i64 = 1 << 32;

/// The life that pods ask for when nobody chose one: such a token goes on counting after its end, with a warning, because
/// old clients do not read their token again. Upstream's `WarnOnlyBoundTokenExpirationSeconds`.
const EXTENDABLE: i64 = 60 * 60 + 7;

/// How long such a token counts in the end, in seconds: a year.
const EXTENDED: i64 = 365 * 24 * 60 * 60;

/// What tokens may be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TokenLimits {
    /// The longest life that is given, in seconds; None for no limit.
    pub max_expiration: Option<i64>,
    /// Whether pods' hourly tokens go on counting for a year.
    pub extend: bool,
    /// The audiences of the apiserver: those of a token for which none are asked.
    pub api_audiences: Vec<String>,
}

/// Answers requests for tokens.
pub struct TokenRequests {
    keys: Arc<TokenKeys>,
    limits: TokenLimits,
    reader: Arc<dyn ObjectReader>,
    webhooks: Arc<Webhooks>,
}

/// What a token is to be bound to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Bound {
    pod: Option<ObjectClaim>,
    secret: Option<ObjectClaim>,
    node: Option<ObjectClaim>,
}

/// What was decided about a request.
#[derive(Debug, PartialEq)]
struct Plan {
    claims: Claims,
    /// The answer, without the token.
    answer: Value,
    /// Said to the client.
    warning: Option<String>,
}

/// What is known besides the request itself.
struct Circumstances<'a> {
    account: &'a Value,
    bound: Bound,
    limits: &'a TokenLimits,
    issuer: &'a str,
    now: Timestamp,
    id: String,
}

impl TokenRequests {
    /// Signs with `keys` whatever `limits` and webhooks allow.
    pub(crate) fn new(
        keys: Arc<TokenKeys>,
        limits: TokenLimits,
        reader: Arc<dyn ObjectReader>,
        webhooks: Arc<Webhooks>,
    ) -> Self {
        Self {
            keys,
            limits,
            reader,
            webhooks,
        }
    }

    /// Answers one request.
    pub(crate) async fn answer(
        &self,
        context: &RequestContext,
        body: RequestBody,
    ) -> Result<Response<ResponseBody>, ApiError> {
        if context.info.verb != "create" {
            return Err(ApiError::generic(405, ""));
        }
        let mut asked = document::read(context, body, KIND).await?;
        let (namespace, name) = (&context.info.namespace, &context.info.name);
        check_names(&asked.object, namespace, name)?;
        let account = self
            .reader
            .get(&GroupResource::new("", "serviceaccounts"), namespace, name)
            .ok_or_else(|| ApiError::not_found("", "serviceaccounts", name))?;
        check_uid(&asked.object, &account)?;
        self.webhooks.create(context, KIND, &mut asked.object).await?;
        let now = Timestamp::now();
        if let Some(ty) = table::by_gvk(KIND.group, KIND.version, KIND.kind) {
            let now = now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
            track_answered(context, ty, &mut asked.object, &now);
        }
        validate(&asked.object)?;
        let plan = plan(
            &asked.object,
            Circumstances {
                account: &account,
                bound: self.bound(&asked.object, namespace, name)?,
                limits: &self.limits,
                issuer: self.keys.issuer(),
                now,
                id: Uuid::new_v4().to_string(),
            },
        );
        let mut answer = plan.answer;
        answer["metadata"]["managedFields"] = asked.object["metadata"]["managedFields"].take();
        answer["status"]["token"] = self.keys.sign(&plan.claims).into();
        let mut warnings = asked.warnings;
        warnings.extend(plan.warning);
        Ok(document::answer(Wish::of(context), 201, answer, &warnings))
    }

    /// Looks up what the token is to be bound to.
    fn bound(&self, asked: &Value, namespace: &str, account: &str) -> Result<Bound, ApiError> {
        let Some(reference) = asked
            .pointer("/spec/boundObjectRef")
            .filter(|reference| !reference.is_null())
        else {
            return Ok(Bound::default());
        };
        let text = |field: &str| reference.get(field).and_then(Value::as_str).unwrap_or_default();
        let (kind, name, api_version) = (text("kind"), text("name"), text("apiVersion"));
        // Upstream looks at the group, whatever the version.
        let (resource, home) = match kind {
            _ if api_version.contains('/') => return Err(unbindable(api_version, kind)),
            "Pod" => ("pods", namespace),
            "Secret" => ("secrets", namespace),
            "Node" => ("nodes", ""),
            _ => return Err(unbindable(api_version, kind)),
        };
        if name.is_empty() {
            return Err(ApiError::bad_request("Name parameter required."));
        }
        let found = self.reader.get(&GroupResource::new("", resource), home, name);
        let found = found.ok_or_else(|| ApiError::not_found("", resource, name))?;
        let uid = string_at(&found, "/metadata/uid");
        let asked_uid = text("uid");
        if !asked_uid.is_empty() && asked_uid != uid {
            let why = format!(
                "the UID in the bound object reference ({asked_uid}) does not match the UID in record. The object might \
                 have been deleted and then recreated"
            );
            return Err(ApiError::conflict("", kind, name, &why));
        }
        let claim = Some(ObjectClaim::new(name, uid));
        match kind {
            "Secret" => Ok(Bound {
                secret: claim,
                ..Bound::default()
            }),
            "Node" => Ok(Bound {
                node: claim,
                ..Bound::default()
            }),
            _ => self.bound_to_pod(&found, claim, account),
        }
    }

    fn bound_to_pod(
        &self,
        pod: &Value,
        claim: Option<ObjectClaim>,
        account: &str,
    ) -> Result<Bound, ApiError> {
        if string_at(pod, "/spec/serviceAccountName") != account {
            return Err(ApiError::bad_request(format!(
                "cannot bind token for serviceaccount {} to pod running with different serviceaccount name.",
                quote(account)
            )));
        }
        let node = string_at(pod, "/spec/nodeName");
        let node = (!node.is_empty()).then(|| {
            let found = self.reader.get(&GroupResource::new("", "nodes"), "", node);
            ObjectClaim::new(
                node,
                found
                    .as_deref()
                    .map_or("", |found| string_at(found, "/metadata/uid")),
            )
        });
        Ok(Bound {
            pod: claim,
            node,
            ..Bound::default()
        })
    }
}

fn unbindable(api_version: &str, kind: &str) -> ApiError {
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    ApiError::bad_request(format!(
        "cannot bind token to object of type {group}/{version}, Kind={kind}"
    ))
}

fn check_names(asked: &Value, namespace: &str, name: &str) -> Result<(), ApiError> {
    let own = |field: &str| string_at(asked, &format!("/metadata/{field}"));
    if !matches!(own("namespace"), "") && own("namespace") != namespace {
        let why = "the namespace of the provided object does not match the namespace sent on the request";
        return Err(ApiError::bad_request(why));
    }
    if own("name").is_empty() || own("name") == name {
        return Ok(());
    }
    let mut errors = FieldErrors::new();
    let detail = "must match the service account name if specified";
    errors.invalid(&Path::new("metadata").child("name"), own("name"), detail);
    Err(ApiError::invalid(KIND.group, KIND.kind, name, &errors))
}

/// Whether the account is the one that is meant.
fn check_uid(asked: &Value, account: &Value) -> Result<(), ApiError> {
    let (meant, found) = (
        string_at(asked, "/metadata/uid"),
        string_at(account, "/metadata/uid"),
    );
    if meant.is_empty() || meant == found {
        return Ok(());
    }
    let why = format!(
        "the UID in the token request ({meant}) does not match the UID of the service account ({found})"
    );
    let name = string_at(account, "/metadata/name");
    Err(ApiError::conflict(KIND.group, KIND.kind, name, &why))
}

fn validate(asked: &Value) -> Result<(), ApiError> {
    let seconds = expiration(asked);
    let detail = match seconds {
        ..SHORTEST => "may not specify a duration less than 10 minutes",
        SHORTEST..=LONGEST => return Ok(()),
        _ => "may not specify a duration larger than 2^32 seconds",
    };
    let mut errors = FieldErrors::new();
    errors.invalid(&Path::new("spec").child("expirationSeconds"), seconds, detail);
    Err(ApiError::invalid(KIND.group, KIND.kind, "", &errors))
}

fn expiration(asked: &Value) -> i64 {
    asked
        .pointer("/spec/expirationSeconds")
        .and_then(Value::as_i64)
        .unwrap_or(60 * 60)
}

/// Decides what the token says and what is answered.
fn plan(asked: &Value, circumstances: Circumstances<'_>) -> Plan {
    let Circumstances {
        account,
        bound,
        limits,
        issuer,
        now,
        id,
    } = circumstances;
    let wanted = expiration(asked);
    let seconds = limits.max_expiration.map_or(wanted, |most| wanted.min(most));
    let warning = (seconds < wanted)
        .then(|| format!("requested expiration of {wanted} seconds shortened to {seconds} seconds"));
    let audiences: Vec<String> = match asked.pointer("/spec/audiences").and_then(Value::as_array) {
        Some(list) if !list.is_empty() => list.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
        _ => limits.api_audiences.clone(),
    };
    let ours = audiences
        .iter()
        .all(|audience| limits.api_audiences.contains(audience));
    let extend = limits.extend && bound.pod.is_some() && seconds == EXTENDABLE && ours;
    let issued = now.as_second();
    let (namespace, name) = (
        string_at(account, "/metadata/namespace"),
        string_at(account, "/metadata/name"),
    );
    let claims = Claims {
        expires: issued + if extend { EXTENDED } else { seconds },
        issued,
        issuer: issuer.to_owned(),
        id,
        not_before: issued,
        subject: format!("system:serviceaccount:{namespace}:{name}"),
        kubernetes: KubernetesClaims {
            namespace: namespace.to_owned(),
            node: bound.node,
            pod: bound.pod,
            secret: bound.secret,
            service_account: ObjectClaim::new(name, string_at(account, "/metadata/uid")),
            warn_after: extend.then_some(issued + seconds),
        },
        audiences: audiences.clone(),
    };
    let whole_second = |second: i64| Timestamp::from_second(second).unwrap_or(now).to_string();
    let mut spec = json!({"audiences": audiences, "expirationSeconds": seconds});
    spec["boundObjectRef"] = asked.pointer("/spec/boundObjectRef").cloned().unwrap_or_default();
    let answer = json!({
        "kind": KIND.kind,
        "apiVersion": "authentication.k8s.io/v1",
        "metadata": {
            "name": name, "namespace": namespace, "uid": string_at(account, "/metadata/uid"),
            "creationTimestamp": whole_second(issued),
        },
        "spec": spec,
        "status": {"token": "", "expirationTimestamp": whole_second(issued + seconds)},
    });
    Plan {
        claims,
        answer,
        warning,
    }
}

fn string_at<'v>(value: &'v Value, pointer: &str) -> &'v str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reader::memory::MemoryReader;

    const US: &str = "https://kubernetes.default.svc.cluster.local";

    fn account() -> Value {
        json!({"metadata": {"namespace": "a", "name": "bot", "uid": "uid-bot"}})
    }

    fn decide(spec: Value, bound: Bound, max_expiration: Option<i64>) -> Plan {
        let limits = TokenLimits {
            max_expiration,
            extend: true,
            api_audiences: vec![US.to_owned()],
        };
        let now = Timestamp::from_second(1_000_000).unwrap();
        let account = account();
        let circumstances = Circumstances {
            account: &account,
            bound,
            limits: &limits,
            issuer: US,
            now,
            id: "t".to_owned(),
        };
        plan(&json!({"spec": spec}), circumstances)
    }

    fn pod() -> Bound {
        Bound {
            pod: Some(ObjectClaim::new("web", "uid-web")),
            ..Bound::default()
        }
    }

    #[test]
    fn a_token_lives_as_long_as_asked_and_allowed() {
        let plain = decide(json!({"expirationSeconds": 7200}), Bound::default(), None);
        assert_eq!(plain.claims.expires - plain.claims.issued, 7200);
        assert_eq!(plain.claims.audiences, [US]);
        assert_eq!(
            plain.answer["status"]["expirationTimestamp"],
            "1970-01-12T15:46:40Z"
        );
        assert_eq!(plain.claims.subject, "system:serviceaccount:a:bot");
        let capped = decide(json!({"expirationSeconds": 7200}), Bound::default(), Some(3600));
        assert_eq!(capped.claims.expires - capped.claims.issued, 3600);
        assert_eq!(capped.answer["spec"]["expirationSeconds"], 3600);
        let want = "requested expiration of 7200 seconds shortened to 3600 seconds";
        assert_eq!(capped.warning.as_deref(), Some(want));
    }

    #[test]
    fn a_pods_own_token_counts_on_with_a_warning() {
        let own = decide(json!({"expirationSeconds": EXTENDABLE}), pod(), None);
        assert_eq!(own.claims.expires - own.claims.issued, EXTENDED);
        assert_eq!(
            own.claims.kubernetes.warn_after,
            Some(own.claims.issued + EXTENDABLE)
        );
        let others = [
            decide(json!({"expirationSeconds": EXTENDABLE}), Bound::default(), None),
            decide(json!({"expirationSeconds": 3600}), pod(), None),
            decide(
                json!({"expirationSeconds": EXTENDABLE, "audiences": ["vault"]}),
                pod(),
                None,
            ),
        ];
        for plan in others {
            assert_eq!(plan.claims.kubernetes.warn_after, None);
            assert!(plan.claims.expires - plan.claims.issued <= EXTENDABLE);
        }
    }

    #[test]
    fn lives_out_of_bounds_are_refused() {
        let refusal = |seconds: i64| {
            validate(&json!({"spec": {"expirationSeconds": seconds}}))
                .err()
                .map(|error| error.message().to_owned())
        };
        assert_eq!(refusal(600), None);
        assert_eq!(refusal(1 << 32), None);
        let short = "TokenRequest.authentication.k8s.io \"\" is invalid: spec.expirationSeconds: Invalid value: 599: may not \
                     specify a duration less than 10 minutes";
        assert_eq!(refusal(599).as_deref(), Some(short));
        assert!(refusal((1 << 32) + 1).is_some());
    }

    #[test]
    fn what_a_token_is_bound_to_must_stand_and_fit() {
        let reader = MemoryReader::default();
        let pods = GroupResource::new("", "pods");
        let web = json!({"metadata": {"namespace": "a", "name": "web", "uid": "u1"},
            "spec": {"serviceAccountName": "bot", "nodeName": "n1"}});
        reader.put(&pods, web);
        reader.put(
            &GroupResource::new("", "nodes"),
            json!({"metadata": {"name": "n1", "uid": "un"}}),
        );
        let reader = Arc::new(reader);
        let requests = TokenRequests::new(
            Arc::new(TokenKeys::generate(US)),
            TokenLimits::default(),
            reader.clone(),
            Arc::new(Webhooks::new(reader)),
        );
        let bind = |reference: Value, account: &str| {
            let asked = json!({"spec": {"boundObjectRef": reference}});
            requests
                .bound(&asked, "a", account)
                .map_err(|error| error.message().to_owned())
        };
        let found = bind(
            json!({"kind": "Pod", "apiVersion": "v1", "name": "web", "uid": "u1"}),
            "bot",
        )
        .unwrap();
        assert_eq!(found.pod, Some(ObjectClaim::new("web", "u1")));
        assert_eq!(found.node, Some(ObjectClaim::new("n1", "un")));
        assert_eq!(bind(Value::Null, "bot"), Ok(Bound::default()));
        let refusals = [
            (
                json!({"kind": "Pod", "apiVersion": "v1", "name": "none"}),
                "bot",
                "pods \"none\" not found",
            ),
            (
                json!({"kind": "Pod", "apiVersion": "v1", "name": "web"}),
                "other",
                "cannot bind token for serviceaccount \"other\" to pod running with different serviceaccount name.",
            ),
            (
                json!({"kind": "Pod", "apiVersion": "", "name": "none"}),
                "bot",
                "pods \"none\" not found",
            ),
            (
                json!({"kind": "Pod", "apiVersion": "v1"}),
                "bot",
                "Name parameter required.",
            ),
            (
                json!({"kind": "Deployment", "apiVersion": "apps/v1", "name": "web"}),
                "bot",
                "cannot bind token to object of type apps/v1, Kind=Deployment",
            ),
        ];
        for (reference, account, want) in refusals {
            assert_eq!(bind(reference, account), Err(want.to_owned()));
        }
        let stale = bind(
            json!({"kind": "Pod", "apiVersion": "v1", "name": "web", "uid": "u0"}),
            "bot",
        )
        .unwrap_err();
        assert!(stale.contains("does not match the UID in record"), "{stale}");
    }
}
