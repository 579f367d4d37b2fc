use serde_json::json;

use super::*;

fn rules(config: Json) -> Result<Rules, Vec<String>> {
    let mut errors = FieldErrors::new();
    let config = serde_json::from_value(config).unwrap();
    let rules = compile_rules(
        config,
        &["https://own".to_owned()],
        &Path::new("jwt"),
        &mut errors,
    );
    let told: Vec<String> = errors.iter().map(ToString::to_string).collect();
    if told.is_empty() { Ok(rules) } else { Err(told) }
}

fn config(change: impl Fn(&mut Json)) -> Json {
    let mut config = json!({
        "issuer": {"url": "https://issuer", "audiences": ["us"]},
        "claimMappings": {"username": {"claim": "sub", "prefix": "oidc:"}, "groups": {"claim": "groups", "prefix": "g:"}},
    });
    change(&mut config);
    config
}

fn ask(config: Json, claims: Json) -> Result<UserInfo, String> {
    rules(config).unwrap().user(claims.as_object().unwrap())
}

#[test]
fn claims_name_a_user() {
    let user = ask(
        config(|_| {}),
        json!({"sub": "jane", "groups": ["a", "b"], "jti": "1"}),
    )
    .unwrap();
    assert_eq!(
        (user.name.as_str(), user.groups.join("+")),
        ("oidc:jane", "g:a+g:b".to_owned())
    );
    assert_eq!(user.extra[CREDENTIAL_ID], ["JTI=1"]);
    let one = ask(config(|_| {}), json!({"sub": "jane", "groups": "a"})).unwrap();
    assert_eq!(one.groups, ["g:a"]);
    assert_eq!(
        ask(config(|_| {}), json!({})),
        Err("oidc: parse username claims \"sub\": claim not present".to_owned())
    );
    let mail = |config: &mut Json| config["claimMappings"]["username"]["claim"] = json!("email");
    assert!(ask(config(mail), json!({"email": "a@b"})).is_ok());
    assert_eq!(
        ask(config(mail), json!({"email": "a@b", "email_verified": false})),
        Err("oidc: email not verified".to_owned())
    );
}

#[test]
fn claims_can_be_required() {
    let with = config(|config| {
        config["claimValidationRules"] = json!([{"claim": "hd", "requiredValue": "example.com"},
            {"expression": "claims.exp - claims.nbf <= 86400", "message": "too long a life"}]);
    });
    let ask = |claims| ask(with.clone(), claims).map(|user| user.name);
    assert_eq!(
        ask(json!({"sub": "a", "hd": "example.com", "exp": 10, "nbf": 0})),
        Ok("oidc:a".to_owned())
    );
    assert_eq!(
        ask(json!({"sub": "a"})),
        Err("oidc: required claim hd not present in ID token".to_owned())
    );
    assert_eq!(
        ask(json!({"sub": "a", "hd": "other"})),
        Err("oidc: required claim hd value does not match. Got = other, want = example.com".to_owned())
    );
    assert_eq!(
        ask(json!({"sub": "a", "hd": "example.com", "exp": 100_000, "nbf": 0})),
        Err("oidc: error evaluating claim validation expression: validation expression 'claims.exp - claims.nbf <= \
             86400' failed: too long a life"
            .to_owned())
    );
}

#[test]
fn expressions_name_a_user() {
    let with = config(|config| {
        config["claimMappings"] = json!({
            "username": {"expression": "claims.username + ':external'"},
            "groups": {"expression": "claims.roles.split(',')"},
            "uid": {"expression": "claims.sub"},
            "extra": [{"key": "example.com/tenant", "valueExpression": "claims.tenant"},
                {"key": "example.com/none", "valueExpression": "''"}],
        });
        config["userValidationRules"] = json!([{"expression": "!user.username.startsWith('system:')", "message": "reserved"},
            {"expression": "user.groups.all(group, !group.startsWith('system:'))"}]);
    });
    let claims = json!({"username": "jane", "roles": "a,b", "sub": "7", "tenant": "t"});
    let user = ask(with.clone(), claims.clone()).unwrap();
    assert_eq!((user.name.as_str(), user.uid.as_str()), ("jane:external", "7"));
    assert_eq!(user.groups, ["a", "b"]);
    assert_eq!(
        user.extra,
        [("example.com/tenant".to_owned(), vec!["t".to_owned()])].into()
    );
    let mut reserved = claims.clone();
    reserved["username"] = json!("system:admin");
    assert_eq!(
        ask(with.clone(), reserved),
        Err(
            "oidc: error evaluating user info validation rule: validation expression \
             '!user.username.startsWith('system:')' failed: reserved"
                .to_owned()
        )
    );
    let mut odd = claims;
    odd["username"] = json!(7);
    assert!(ask(with, odd).is_err());
}

#[test]
fn what_cannot_be_meant_is_told() {
    type Change = fn(&mut Json);
    let fault = |change: Change| rules(config(change)).unwrap_err().join("; ");
    let cases: [(Change, &str); 9] = [
        (
            |config| config["issuer"]["url"] = json!("http://issuer"),
            "jwt.issuer.url: Invalid value: \"http://issuer\": URL scheme must be https",
        ),
        (
            |config| config["issuer"]["url"] = json!("https://own"),
            "jwt.issuer.url: Invalid value: \"https://own\": URL must not overlap with disallowed issuers: [https://own]",
        ),
        (
            |config| config["issuer"]["discoveryURL"] = json!("https://issuer/"),
            "discoveryURL must be different from URL",
        ),
        (
            |config| config["issuer"]["audiences"] = json!([]),
            "jwt.issuer.audiences: Required value: at least one jwt.issuer.audiences is required",
        ),
        (
            |config| config["issuer"]["audiences"] = json!(["a", "b"]),
            "audienceMatchPolicy must be MatchAny for multiple audiences",
        ),
        (
            |config| config["claimMappings"]["username"] = json!({"claim": "sub"}),
            "jwt.claimMappings.username.prefix: Required value: prefix is required when claim is set",
        ),
        (
            |config| config["claimMappings"]["username"] = json!({"expression": "claims.email"}),
            "claims.email_verified must be used in",
        ),
        (
            |config| {
                config["claimMappings"]["extra"] =
                    json!([{"key": "kubernetes.io/x", "valueExpression": "'a'"}])
            },
            "are reserved for Kubernetes use",
        ),
        (
            |config| config["userValidationRules"] = json!([{"expression": "user.username"}]),
            "jwt.userValidationRules[0].expression: Invalid value: \"user.username\": must evaluate to bool",
        ),
    ];
    for (change, want) in cases {
        let told = fault(change);
        assert!(told.contains(want), "{told}");
    }
}
