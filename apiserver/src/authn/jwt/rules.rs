//! What the tokens of an issuer say of a user: claims to a user, by names or by expressions. Pure.

use std::collections::{BTreeMap, BTreeSet};

use coracle_api::cel::{Activation, Environment, Listed, PER_CALL_LIMIT, Program, Type, Value, compile};
use coracle_api::validation::{FieldErrors, Path, domain_prefixed_path};
use serde_json::{Map, Value as Json, json};

use super::config::{ClaimMappings, ClaimValidationRule, Issuer, JwtIssuer, Mapping};
use crate::request::UserInfo;

/// How many issuers there may be.
pub(super) const ISSUERS_MAX: usize = 64;
/// Where a user's extra values say which credential was used.
const CREDENTIAL_ID: &str = "authentication.kubernetes.io/credential-id";

/// The claims of a token.
pub(super) type Claims = Map<String, Json>;

/// The rules of one issuer, compiled.
#[derive(Debug)]
pub(super) struct Rules {
    pub(super) config: JwtIssuer,
    claims: Environment,
    users: Environment,
    username: Option<Program>,
    groups: Option<Program>,
    uid: Option<Program>,
    /// Keys with their expressions.
    extra: Vec<(String, String, Program)>,
    /// Expressions and messages.
    claim_rules: Vec<(String, String, Program)>,
    user_rules: Vec<(String, String, Program)>,
}

/// Compiles what one issuer's tokens say, and adds all that is wrong with it to `errors`.
pub(super) fn compile_rules(
    config: JwtIssuer,
    disallowed: &[String],
    at: &Path<'_>,
    errors: &mut FieldErrors,
) -> Rules {
    check_issuer(&config.issuer, disallowed, &at.child("issuer"), errors);
    let text = || Type::String;
    let user = Listed::object(
        "kubernetes.UserInfo",
        &[
            ("username", text()),
            ("uid", text()),
            ("groups", Type::list(text())),
            ("extra", Type::map(text(), Type::list(text()))),
        ],
    );
    let mut rules = Rules {
        claims: Environment::with(&[("claims", Type::map(text(), Type::Dyn))]),
        users: Environment::with(&[("user", user)]),
        username: None,
        groups: None,
        uid: None,
        extra: Vec::new(),
        claim_rules: Vec::new(),
        user_rules: Vec::new(),
        config: JwtIssuer::default(),
    };
    rules.read_claim_rules(
        &config.claim_validation_rules,
        &at.child("claimValidationRules"),
        errors,
    );
    rules.read_mappings(&config.claim_mappings, &at.child("claimMappings"), errors);
    let list = at.child("userValidationRules");
    let mut seen = BTreeSet::new();
    for (index, rule) in config.user_validation_rules.iter().enumerate() {
        let place = list.index(index);
        let at = place.child("expression");
        if rule.expression.is_empty() {
            errors.required(&at, "");
        } else if !seen.insert(&rule.expression) {
            errors.duplicate(&at, rule.expression.as_str());
        } else if let Some(program) = condition(&rule.expression, &rules.users, &at, errors) {
            rules
                .user_rules
                .push((rule.expression.clone(), rule.message.clone(), program));
        }
    }
    rules.config = config;
    rules
}

impl Rules {
    fn read_claim_rules(&mut self, list: &[ClaimValidationRule], at: &Path<'_>, errors: &mut FieldErrors) {
        let (mut claims, mut expressions) = (BTreeSet::new(), BTreeSet::new());
        for (index, rule) in list.iter().enumerate() {
            let at = at.index(index);
            match (rule.claim.is_empty(), rule.expression.is_empty()) {
                (false, false) => {
                    errors.invalid(&at, rule.claim.as_str(), "claim and expression can't both be set")
                }
                (true, true) => errors.required(&at, "claim or expression is required"),
                (false, true) => {
                    if !rule.message.is_empty() {
                        errors.invalid(
                            &at.child("message"),
                            rule.message.as_str(),
                            "may not be specified when claim is set",
                        );
                    }
                    if !claims.insert(&rule.claim) {
                        errors.duplicate(&at.child("claim"), rule.claim.as_str());
                    }
                }
                (true, false) => {
                    if !rule.required_value.is_empty() {
                        let told = "may not be specified when expression is set";
                        errors.invalid(&at.child("requiredValue"), rule.required_value.as_str(), told);
                    }
                    let at = at.child("expression");
                    if !expressions.insert(&rule.expression) {
                        errors.duplicate(&at, rule.expression.as_str());
                    } else if let Some(program) = condition(&rule.expression, &self.claims, &at, errors) {
                        self.claim_rules
                            .push((rule.expression.clone(), rule.message.clone(), program));
                    }
                }
            }
        }
    }

    fn read_mappings(&mut self, mappings: &ClaimMappings, at: &Path<'_>, errors: &mut FieldErrors) {
        self.username = self.prefixed(&mappings.username, &at.child("username"), true, errors);
        self.groups = self.prefixed(&mappings.groups, &at.child("groups"), false, errors);
        let uid = at.child("uid");
        match (mappings.uid.claim.is_empty(), mappings.uid.expression.as_str()) {
            (_, "") => {}
            (false, _) => errors.invalid(&uid, "", "claim and expression can't both be set"),
            (true, source) => self.uid = program(source, &self.claims, &uid.child("expression"), errors),
        }
        let list = at.child("extra");
        let mut keys = BTreeSet::new();
        for (index, mapping) in mappings.extra.iter().enumerate() {
            let at = list.index(index);
            check_extra_key(&mapping.key, &at.child("key"), errors);
            let value = at.child("valueExpression");
            if !keys.insert(&mapping.key) {
                errors.duplicate(&at.child("key"), mapping.key.as_str());
            } else if mapping.value_expression.is_empty() {
                errors.required(&value, "");
            } else if let Some(program) = program(&mapping.value_expression, &self.claims, &value, errors) {
                self.extra
                    .push((mapping.key.clone(), mapping.value_expression.clone(), program));
            }
        }
        self.check_email(&mappings.username.expression, at, errors);
    }

    /// A mail address names somebody only where it was verified.
    fn check_email(&self, expression: &str, at: &Path<'_>, errors: &mut FieldErrors) {
        let uses = |program: &Program, field: &str| program.selects(0, field);
        let names_by_mail = self
            .username
            .as_ref()
            .is_some_and(|program| uses(program, "email"));
        let extra = self.extra.iter().map(|(_, _, program)| program);
        let rules = self.claim_rules.iter().map(|(_, _, program)| program);
        let mut others = self.username.iter().chain(extra).chain(rules);
        if names_by_mail && !others.any(|program| uses(program, "email_verified")) {
            let told = "claims.email_verified must be used in claimMappings.username.expression or \
                        claimMappings.extra[*].valueExpression or claimValidationRules[*].expression when claims.email is used in \
                        claimMappings.username.expression";
            errors.invalid(&at.child("username").child("expression"), expression, told);
        }
    }

    fn prefixed(
        &self,
        mapping: &Mapping,
        at: &Path<'_>,
        required: bool,
        errors: &mut FieldErrors,
    ) -> Option<Program> {
        match (mapping.claim.is_empty(), mapping.expression.is_empty()) {
            (false, false) => errors.invalid(at, "", "claim and expression can't both be set"),
            (true, true) if required => errors.required(at, "claim or expression is required"),
            (true, true) => {}
            (true, false) => {
                if let Some(prefix) = &mapping.prefix {
                    let told = "may not be specified when expression is set";
                    errors.invalid(&at.child("prefix"), prefix.as_str(), told);
                }
                return program(&mapping.expression, &self.claims, &at.child("expression"), errors);
            }
            (false, true) if mapping.prefix.is_none() => {
                let told = "prefix is required when claim is set. It can be set to an empty string to disable prefixing";
                errors.required(&at.child("prefix"), told);
            }
            (false, true) => {}
        }
        None
    }

    /// The user that verified claims speak of.
    ///
    /// # Errors
    /// Why they speak of nobody, in upstream's words.
    pub(super) fn user(&self, claims: &Claims) -> Result<UserInfo, String> {
        let user = UserInfo {
            name: self.username(claims)?,
            groups: self.groups(claims)?,
            uid: self.uid(claims)?,
            extra: self.extra(claims)?,
        };
        for rule in &self.config.claim_validation_rules {
            check_required(rule, claims)?;
        }
        let told = |error| format!("oidc: error evaluating claim validation expression: {error}");
        self.hold(&self.claim_rules, &self.claims, claims, "claims")
            .map_err(told)?;
        let as_json =
            json!({"username": user.name, "uid": user.uid, "groups": user.groups, "extra": user.extra});
        let fields = as_json.as_object().cloned().unwrap_or_default();
        let told = |error| format!("oidc: error evaluating user info validation rule: {error}");
        self.hold(&self.user_rules, &self.users, &fields, "user")
            .map_err(told)?;
        Ok(user)
    }

    fn username(&self, claims: &Claims) -> Result<String, String> {
        let mapping = &self.config.claim_mappings.username;
        if let Some(program) = &self.username {
            let told = |error| format!("oidc: error evaluating username claim expression: {error}");
            let name = self
                .text(program, &mapping.expression, claims, "username")
                .map_err(told)?;
            if name.is_empty() {
                return Err("oidc: empty username via CEL expression is not allowed".to_owned());
            }
            return Ok(name);
        }
        let claim = &mapping.claim;
        let name = claimed_text(claims, claim)
            .map_err(|why| format!("oidc: parse username claims {claim:?}: {why}"))?;
        if claim == "email" {
            match claims.get("email_verified") {
                None | Some(Json::Bool(true)) => {}
                Some(Json::Bool(false) | Json::Null) => return Err("oidc: email not verified".to_owned()),
                Some(_) => {
                    return Err(format!(
                        "oidc: parse 'email_verified' claim: {}",
                        wrong_type(&claims["email_verified"], "bool")
                    ));
                }
            }
        }
        Ok(format!("{}{name}", mapping.prefix.as_deref().unwrap_or_default()))
    }

    fn groups(&self, claims: &Claims) -> Result<Vec<String>, String> {
        let mapping = &self.config.claim_mappings.groups;
        if let Some(program) = &self.groups {
            let listed = self.texts(program, &mapping.expression, claims);
            return listed.map_err(|error| format!("oidc: error evaluating group claim expression: {error}"));
        }
        let Some(value) = claims.get(&mapping.claim).filter(|_| !mapping.claim.is_empty()) else {
            return Ok(Vec::new());
        };
        let fault = || {
            let why = wrong_type(value, "string");
            format!("oidc: parse groups claim {:?}: {why}", mapping.claim)
        };
        let groups = match value {
            Json::String(one) => vec![one.clone()],
            Json::Array(list) => {
                let texts: Option<Vec<String>> =
                    list.iter().map(|one| one.as_str().map(str::to_owned)).collect();
                texts.ok_or_else(fault)?
            }
            Json::Null => Vec::new(),
            _ => return Err(fault()),
        };
        let prefix = mapping.prefix.as_deref().unwrap_or_default();
        Ok(groups
            .into_iter()
            .map(|group| format!("{prefix}{group}"))
            .collect())
    }

    fn uid(&self, claims: &Claims) -> Result<String, String> {
        let mapping = &self.config.claim_mappings.uid;
        if !mapping.claim.is_empty() {
            return claimed_text(claims, &mapping.claim)
                .map_err(|why| format!("oidc: parse uid claim {:?}: {why}", mapping.claim));
        }
        let Some(program) = &self.uid else {
            return Ok(String::new());
        };
        self.text(program, &mapping.expression, claims, "uid")
            .map_err(|error| format!("oidc: error evaluating uid claim expression: {error}"))
    }

    fn extra(&self, claims: &Claims) -> Result<BTreeMap<String, Vec<String>>, String> {
        let mut extra = BTreeMap::new();
        if let Some(id) = claims
            .get("jti")
            .and_then(Json::as_str)
            .filter(|id| !id.is_empty())
        {
            extra.insert(CREDENTIAL_ID.to_owned(), vec![format!("JTI={id}")]);
        }
        for (key, source, program) in &self.extra {
            let values = self.texts(program, source, claims);
            let values = values.map_err(|error| {
                format!("oidc: error evaluating extra claim expression: {source}: {error}")
            })?;
            if !values.is_empty() {
                extra.insert(key.clone(), values);
            }
        }
        Ok(extra)
    }

    fn text(&self, program: &Program, source: &str, claims: &Claims, what: &str) -> Result<String, String> {
        evaluate(program, source, &self.claims, claims, "claims", |value| {
            let text = value.as_str().map(str::to_owned);
            text.ok_or_else(|| format!("{what} claim expression must return a string"))
        })
    }

    fn texts(&self, program: &Program, source: &str, claims: &Claims) -> Result<Vec<String>, String> {
        evaluate(program, source, &self.claims, claims, "claims", texts)
    }

    fn hold(
        &self,
        rules: &[(String, String, Program)],
        environment: &Environment,
        fields: &Claims,
        variable: &str,
    ) -> Result<(), String> {
        for (source, message, program) in rules {
            let holds = evaluate(
                program,
                source,
                environment,
                fields,
                variable,
                |value| match value {
                    Value::Bool(holds) => Ok(*holds),
                    _ => Err("validation expression must return a boolean".to_owned()),
                },
            )?;
            if !holds {
                return Err(format!("validation expression '{source}' failed: {message}"));
            }
        }
        Ok(())
    }
}

fn evaluate<T>(
    program: &Program,
    source: &str,
    environment: &Environment,
    fields: &Claims,
    variable: &str,
    read: impl Fn(&Value<'_>) -> Result<T, String>,
) -> Result<T, String> {
    let object = Json::Object(fields.clone());
    let mut activation = Activation::new(environment, &[]);
    activation.set(environment, variable, Value::json(&object));
    let (value, _) = program.evaluate(&activation, PER_CALL_LIMIT);
    let value = value.map_err(|error| format!("expression '{source}' resulted in error: {error}"))?;
    read(&value)
}

/// Text, or a list of texts; those that are empty are left out.
fn texts(value: &Value<'_>) -> Result<Vec<String>, String> {
    let fault = || "expression must return a string or a list of strings".to_owned();
    let all = match value {
        Value::Null => Vec::new(),
        Value::String(one) => vec![one.to_string()],
        Value::List(list) => {
            let mut all = Vec::new();
            for item in list.iter() {
                let item = item.map_err(|error| error.to_string())?;
                all.push(item.as_str().map(str::to_owned).ok_or_else(fault)?);
            }
            all
        }
        _ => return Err(fault()),
    };
    Ok(all.into_iter().filter(|text| !text.is_empty()).collect())
}

fn claimed_text(claims: &Claims, claim: &str) -> Result<String, String> {
    match claims.get(claim) {
        None => Err("claim not present".to_owned()),
        Some(Json::String(text)) => Ok(text.clone()),
        Some(Json::Null) => Ok(String::new()),
        Some(other) => Err(wrong_type(other, "string")),
    }
}

/// As Go's JSON decoder tells it.
fn wrong_type(value: &Json, wanted: &str) -> String {
    let found = match value {
        Json::Null => "null",
        Json::Bool(_) => "bool",
        Json::Number(_) => "number",
        Json::String(_) => "string",
        Json::Array(_) => "array",
        Json::Object(_) => "object",
    };
    format!("json: cannot unmarshal {found} into Go value of type {wanted}")
}

fn check_required(rule: &ClaimValidationRule, claims: &Claims) -> Result<(), String> {
    let claim = &rule.claim;
    if claim.is_empty() {
        return Ok(());
    }
    if !claims.contains_key(claim) {
        return Err(format!("oidc: required claim {claim} not present in ID token"));
    }
    let found = claimed_text(claims, claim).map_err(|why| format!("oidc: parse claim {claim}: {why}"))?;
    if found != rule.required_value {
        return Err(format!(
            "oidc: required claim {claim} value does not match. Got = {found}, want = {}",
            rule.required_value
        ));
    }
    Ok(())
}

fn program(
    source: &str,
    environment: &Environment,
    at: &Path<'_>,
    errors: &mut FieldErrors,
) -> Option<Program> {
    match compile(source, environment) {
        Ok(program) => Some(program),
        Err(issues) => {
            errors.invalid(at, source, format!("compilation failed: {issues}"));
            None
        }
    }
}

fn condition(
    source: &str,
    environment: &Environment,
    at: &Path<'_>,
    errors: &mut FieldErrors,
) -> Option<Program> {
    let program = program(source, environment, at, errors)?;
    if *program.output() == Type::Bool {
        return Some(program);
    }
    errors.invalid(at, source, "must evaluate to bool");
    None
}

fn check_issuer(issuer: &Issuer, disallowed: &[String], at: &Path<'_>, errors: &mut FieldErrors) {
    let (url, discovery) = (at.child("url"), at.child("discoveryURL"));
    if issuer.url.is_empty() {
        errors.required(&url, "");
    } else {
        if disallowed.contains(&issuer.url) {
            let told = format!(
                "URL must not overlap with disallowed issuers: [{}]",
                disallowed.join(" ")
            );
            errors.invalid(&url, issuer.url.as_str(), told);
        }
        check_url(&issuer.url, &url, errors);
    }
    if !issuer.discovery_url.is_empty() {
        if issuer.url.trim_end_matches('/') == issuer.discovery_url.trim_end_matches('/') {
            errors.invalid(
                &discovery,
                issuer.discovery_url.as_str(),
                "discoveryURL must be different from URL",
            );
        }
        check_url(&issuer.discovery_url, &discovery, errors);
    }
    check_audiences(issuer, at, errors);
    match issuer.egress_selector_type.as_str() {
        "" | "controlplane" | "cluster" => {}
        other => errors.invalid(
            &at.child("egressSelectorType"),
            other,
            "egress selector must be either controlplane or cluster",
        ),
    }
}

fn check_url(url: &str, at: &Path<'_>, errors: &mut FieldErrors) {
    let (scheme, rest) = url.split_once("://").unwrap_or(("", url));
    if scheme != "https" {
        errors.invalid(at, url, "URL scheme must be https");
    }
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    if authority.contains('@') {
        errors.invalid(at, url, "URL must not contain a username or password");
    }
    let (before, fragment) = rest.split_once('#').unwrap_or((rest, ""));
    if before.split_once('?').is_some_and(|(_, query)| !query.is_empty()) {
        errors.invalid(at, url, "URL must not contain a query");
    }
    if !fragment.is_empty() {
        errors.invalid(at, url, "URL must not contain a fragment");
    }
}

fn check_audiences(issuer: &Issuer, at: &Path<'_>, errors: &mut FieldErrors) {
    let list = at.child("audiences");
    if issuer.audiences.is_empty() {
        errors.required(&list, format!("at least one {list} is required"));
        return;
    }
    let mut seen = BTreeSet::new();
    for (index, audience) in issuer.audiences.iter().enumerate() {
        let at = list.index(index);
        if audience.is_empty() {
            errors.required(&at, "");
        }
        if !seen.insert(audience) {
            errors.duplicate(&at, audience.as_str());
        }
    }
    let policy = issuer.audience_match_policy.as_str();
    let at = at.child("audienceMatchPolicy");
    match (issuer.audiences.len(), policy) {
        (_, "MatchAny") | (1, "") => {}
        (1, _) => errors.invalid(
            &at,
            policy,
            "audienceMatchPolicy must be empty or MatchAny for single audience",
        ),
        _ => errors.invalid(
            &at,
            policy,
            "audienceMatchPolicy must be MatchAny for multiple audiences",
        ),
    }
}

fn check_extra_key(key: &str, at: &Path<'_>, errors: &mut FieldErrors) {
    domain_prefixed_path(key, at, errors);
    if key != key.to_lowercase() {
        errors.invalid(at, key, "must be lowercase");
    }
    let domain = key.split('/').next().unwrap_or_default();
    let reserved = ["kubernetes.io", "k8s.io"];
    let is_below = |own: &str| domain == own || domain.ends_with(&format!(".{own}"));
    if key.contains('/') && reserved.iter().any(|own| is_below(own)) {
        let told = "k8s.io, kubernetes.io and their subdomains are reserved for Kubernetes use";
        errors.invalid(at, key, told);
    }
}

#[cfg(test)]
mod tests;
