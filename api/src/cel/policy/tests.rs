//! Policies, compiled and evaluated.

use super::*;

fn inputs<'v>(object: &'v Json, request: &'v Json) -> Inputs<'v> {
    Inputs {
        object: Some(object),
        old: None,
        params: None,
        request,
        namespace: None,
        authorizer: None,
    }
}

#[test]
fn validations_say_what_does_not_hold() {
    let policy = Policy::compile(&json!({
        "variables": [{"name": "many", "expression": "object.spec.replicas > 5"}],
        "matchConditions": [{"name": "named", "expression": "request.operation == 'CREATE'"}],
        "validations": [
            {"expression": "!variables.many", "messageExpression": "'there are ' + string(object.spec.replicas)"},
            {"expression": "object.spec.replicas < 5", "message": " too many "},
            {"expression": "object.spec.replicas < 4", "reason": "Forbidden"},
            {"expression": "object.spec.other"},
            {"expression": "object.spec.other == 1"},
            {"expression": "true"}],
        "auditAnnotations": [{"key": "k", "valueExpression": "'v'"}, {"key": "n", "valueExpression": "null"}]}));
    let (object, request) = (json!({"spec": {"replicas": 7}}), json!({"operation": "CREATE"}));
    let inputs = inputs(&object, &request);
    assert_eq!(policy.matches(&inputs), Ok(true));
    let deny = |message: &str, reason: &str| Decision::Deny(message.to_owned(), reason.to_owned());
    assert_eq!(
        policy.validate(&inputs),
        [
            deny("there are 7", ""),
            deny("too many", ""),
            deny("failed expression: object.spec.replicas < 4", "Forbidden"),
            Decision::Fail("compilation error: must evaluate to bool but got dyn".to_owned()),
            Decision::Fail(
                "expression 'object.spec.other == 1' resulted in error: no such key: other".to_owned()
            ),
            Decision::Admit,
        ]
    );
    assert_eq!(policy.annotate(&inputs), [("k", Ok("v".to_owned()))]);
}

#[test]
fn a_condition_that_is_false_decides() {
    let policy = |expressions: &[&str]| {
        let conditions: Vec<Json> = expressions
            .iter()
            .map(|expression| json!({"name": "a", "expression": expression}))
            .collect();
        let (object, request) = (json!({}), json!({}));
        Policy::compile(&json!({"matchConditions": conditions})).matches(&inputs(&object, &request))
    };
    assert_eq!(policy(&[]), Ok(true));
    assert_eq!(policy(&["object.a == 1", "false"]), Ok(false));
    assert_eq!(
        policy(&["object.a == 1", "true"]),
        Err("expression 'object.a == 1' resulted in error: no such key: a".to_owned())
    );
}

#[test]
fn mutations_make_objects_and_operations() {
    let policy = Policy::compile(&json!({"mutations": [
        {"patchType": "ApplyConfiguration", "applyConfiguration": {"expression":
            "Object{metadata: Object.metadata{labels: {'a': 'b'}}}"}},
        {"patchType": "JSONPatch", "jsonPatch": {"expression":
            "[JSONPatch{op: 'add', path: '/metadata/labels/' + jsonpatch.escapeKey('x/y'), value: 1}]"}},
        {"patchType": "ApplyConfiguration", "applyConfiguration": {"expression": "Object{spec: Object.wrong{}}"}}]}));
    let (object, request) = (json!({}), json!({}));
    let inputs = inputs(&object, &request);
    assert_eq!(
        policy.mutate(0, &inputs),
        Ok(Change::Merge(json!({"metadata": {"labels": {"a": "b"}}})))
    );
    assert_eq!(
        policy.mutate(1, &inputs),
        Ok(Change::Patch(vec![
            json!({"op": "add", "path": "/metadata/labels/x~1y", "value": 1})
        ]))
    );
    let wrong = policy.mutate(2, &inputs).expect_err("the names do not fit");
    assert!(
        wrong.starts_with("type mismatch: unexpected type name"),
        "{wrong}"
    );
}

#[test]
fn types_are_looked_at() {
    let spec = json!({"validations": [{"expression": "object.spec.replicas > 1"},
        {"expression": "object.foo < object.metadata.name", "messageExpression": "object.bar"}]});
    let deployment = crate::table::by_gvk("apps", "v1", "Deployment").expect("it is known");
    let object = super::super::of_table(deployment);
    let warnings = Policy::type_warnings(&spec, &object, &Type::Dyn);
    let fields: Vec<&str> = warnings.iter().map(|(field, _)| field.as_str()).collect();
    assert_eq!(
        fields,
        [
            "spec.validations[1].expression",
            "spec.validations[1].messageExpression"
        ]
    );
    assert!(warnings[0].1.contains("undefined field 'foo'"));
}

#[test]
fn expressions_about_custom_resources_are_checked_by_what_is_published() {
    let schemas = json!({
        "com.example.v1.Widget": {"type": "object",
            "x-kubernetes-group-version-kind": [{"group": "example.com", "version": "v1", "kind": "Widget"}],
            "properties": {
                "metadata": {"allOf": [{"$ref": "#/components/schemas/ObjectMeta"}], "description": "d"},
                "spec": {"type": "object", "properties": {
                    "size": {"type": "integer"}, "names": {"type": "array", "items": {"type": "string"}},
                    "any": {"type": "object", "additionalProperties": {"$ref": "#/components/schemas/Part"}}}}}},
        "Loop": {"type": "object", "properties": {"next": {"$ref": "#/components/schemas/Loop"}},
            "x-kubernetes-group-version-kind": [{"group": "example.com", "version": "v1", "kind": "Loop"}]},
        "ObjectMeta": {"type": "object", "properties": {"name": {"type": "string"},
            "labels": {"type": "object", "additionalProperties": {"type": "string", "default": ""}}}},
        "Part": {"type": "object", "properties": {"weight": {"type": "number"}}},
    });
    let resources = json!({"resources": [{"name": "widgets", "kind": "Widget"}, {"name": "widgets/status", "kind": "Widget"},
        {"name": "loops", "kind": "Loop"}]});
    let spec = |expression: &str| {
        json!({"paramKind": {"apiVersion": "example.com/v1", "kind": "Widget"},
            "matchConstraints": {"resourceRules": [
                {"apiGroups": ["example.com"], "apiVersions": ["v1"], "resources": ["widgets", "loops", "widgets/status"]}]},
            "validations": [{"expression": expression}]})
    };
    let wanted: Vec<String> = Published::wanted(&spec("true")).into_iter().collect();
    assert_eq!(wanted, ["example.com/v1"]);
    let mut published = Published::default();
    published.add(
        wanted[0].clone(),
        &resources,
        &json!({"components": {"schemas": schemas}}),
    );
    let warned = |expression: &str| Policy::expression_warnings(&spec(expression), &published);
    for fine in [
        "object.spec.size > params.spec.size",
        "object.metadata.labels['a'] == 'b' && object.spec.any['a'].weight > 1.0",
        "object.spec.names.all(name, name.startsWith('a'))",
    ] {
        assert_eq!(warned(fine), [], "{fine}");
    }
    for (odd, want) in [
        ("object.spec.sise > 1", "undefined field 'sise'"),
        ("object.metadata.lables.size() > 1", "undefined field 'lables'"),
        ("object.spec.any['a'].wait > 1.0", "undefined field 'wait'"),
        ("params.spec.size == 'a'", "no matching overload for '_==_'"),
    ] {
        let (field, told) = warned(odd).remove(0);
        assert_eq!(field, "spec.validations[0].expression");
        assert!(
            told.starts_with("example.com/v1, Kind=Widget: ") && told.contains(want),
            "{told}"
        );
    }
    let built_in = json!({"matchConstraints": {"resourceRules": [
        {"apiGroups": ["apps", "*"], "apiVersions": ["v1"], "resources": ["deployments"]}]}});
    assert!(Published::wanted(&built_in).is_empty());
}

#[test]
fn a_variable_without_an_expression_is_none() {
    let why = |variables: Json| {
        let policy = Policy::compile(&json!({
            "variables": variables, "auditAnnotations": [{"key": "k", "valueExpression": "string(variables.v)"}]}));
        let (_, expression) = &policy.annotations[0];
        expression
            .program
            .as_ref()
            .map(|_| ())
            .map_err(|why| why.lines().next().unwrap_or_default().to_owned())
    };
    let other = json!({"name": "w", "expression": "1"});
    assert_eq!(why(json!([other, {"name": "v", "expression": "2"}])), Ok(()));
    let unknown = why(json!([other, {"name": "v", "expression": " "}])).unwrap_err();
    assert!(unknown.ends_with("undefined field 'v'"), "{unknown}");
    let undeclared = why(json!([])).unwrap_err();
    assert!(
        undeclared.ends_with("undeclared reference to 'variables' (in container '')"),
        "{undeclared}"
    );
}
