//! Tables of expressions and what they are.

use std::fmt::Write;

use serde_json::json;

use super::*;

fn environment() -> Environment {
    Environment::with(&[("object", Type::Dyn), ("x", Type::Int)])
}

fn show(value: &Value<'_>) -> String {
    match value {
        Value::Optional(Some(value)) => format!("some({})", show(value)),
        Value::Optional(None) => "none".to_owned(),
        Value::Opaque(opaque) => format!("{opaque:?}"),
        other => to_json(other).map_or_else(|error| error.to_string(), |json| json.to_string()),
    }
}

fn eval(source: &str) -> String {
    let object = json!({
        "spec": {"replicas": 3, "names": ["a", "b"], "ratio": 1.5, "empty": {}, "none": null},
        "metadata": {"labels": {"app": "web", "tier": "front"}}});
    let environment = environment();
    let program = match compile(source, &environment) {
        Ok(program) => program,
        Err(issues) => {
            let messages: Vec<String> = issues.issues.into_iter().map(|issue| issue.message).collect();
            return format!("compile: {}", messages.join("; "));
        }
    };
    let mut activation = Activation::new(&environment, &[]);
    activation.set(&environment, "object", Value::json(&object));
    activation.set(&environment, "x", Value::Int(5));
    match program.evaluate(&activation, PER_CALL_LIMIT) {
        (Ok(value), _) => show(&value),
        (Err(error), _) => format!("error: {error}"),
    }
}

fn hold(table: &[(&str, &str)]) {
    let mut wrong = String::new();
    for (source, wanted) in table {
        let got = eval(source);
        if got != *wanted {
            let _ = writeln!(wrong, "{source}\n  wanted {wanted}\n  got    {got}");
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

#[test]
fn operators() {
    hold(&[
        ("1 + 2 * 3", "7"),
        ("7 / 2", "3"),
        ("-7 % 3", "-1"),
        ("1u + 2u", "3"),
        ("1.5 + 1.5", "3.0"),
        ("'a' + 'b'", "\"ab\""),
        ("[1] + [2]", "[1,2]"),
        ("1 < 2 && 'a' < 'b' || false", "true"),
        ("1 / 0 == 1 || true", "true"),
        ("1 / 0 == 1 && false", "false"),
        ("1 / 0", "error: division by zero"),
        ("9223372036854775807 + 1", "error: integer overflow"),
        ("x > 3 ? 'big' : 'small'", "\"big\""),
        ("2 in [1, 2]", "true"),
        ("'a' in {'a': 1}", "true"),
        ("size('äöü')", "3"),
        ("1 < 1.5", "true"),
        ("dyn(1) == 1.0", "true"),
        ("type(1) == int", "true"),
        ("int('12') + int(3.9)", "15"),
        ("string(1.0) + string(1e100) + string(true)", "\"11e+100true\""),
        ("duration('1h') + duration('30m') == duration('5400s')", "true"),
        ("timestamp('2026-01-02T03:04:05Z').getFullYear()", "2026"),
        ("timestamp('2026-01-01T00:30:00Z').getHours('Europe/Berlin')", "1"),
        ("timestamp('2026-01-01T00:30:00Z').getHours('-01:00')", "23"),
    ]);
}

#[test]
fn objects_are_looked_into() {
    hold(&[
        ("object.spec.replicas + x", "8"),
        ("object.metadata.labels['app']", "\"web\""),
        ("has(object.spec.replicas) && !has(object.spec.other)", "true"),
        ("object.spec.other", "error: no such key: other"),
        ("object.spec.none", "null"),
        ("object.spec.names[5]", "error: index out of bounds: 5"),
        ("object.spec.names.exists(n, n == 'b')", "true"),
        ("object.metadata.labels.all(k, k != '')", "true"),
        (
            "object.metadata.labels.map(k, k + '=' + object.metadata.labels[k])",
            "[\"app=web\",\"tier=front\"]",
        ),
        ("object.?spec.?other.orValue('none')", "\"none\""),
        ("object.?spec.?replicas.optMap(r, r * 2)", "some(6)"),
        ("object.spec.names[?0].value()", "\"a\""),
        ("object == object", "true"),
    ]);
}

#[test]
fn macros_expand() {
    hold(&[
        ("[1, 2, 3].filter(i, i > 1).map(i, i * i)", "[4,9]"),
        ("[1, 2, 3].map(i, i > 1, i * 10)", "[20,30]"),
        ("[1, 2, 3].exists_one(i, i == 2)", "true"),
        ("[1, 2, 3].all(i, [4, 5].all(j, j > i))", "true"),
        ("[1, 2].all(i, v, v > i)", "true"),
        ("{'a': 1}.transformMap(k, v, v + 1)", "{\"a\":2}"),
        ("{'a': 1, 'b': 2}.transformList(k, v, v > 1, k)", "[\"b\"]"),
        ("['a'].transformMapEntry(i, v, {v: i})", "{\"a\":0}"),
        ("[3, 1, 2].sortBy(i, -i)", "[3,2,1]"),
        (
            "lists.range(100).map(i, i % 3 == 1 ? double('NaN') : double(100 - i)).sortBy(d, d).size()",
            "100",
        ),
        ("[1, 0].exists(i, 1 / i == 1)", "true"),
        ("[0, 1].all(i, 1 / i == 2)", "false"),
    ]);
}

#[test]
fn libraries() {
    hold(&[
        (
            "[1, 2].isSorted() && [2, 1].max() == 2 && [1, 2].sum() == 3",
            "true",
        ),
        ("['a', 'b', 'a'].lastIndexOf('a')", "2"),
        ("[].max()", "error: max called on empty list"),
        ("'abc 123'.find('[0-9]+')", "\"123\""),
        ("'1 2 3'.findAll('[0-9]', 2)", "[\"1\",\"2\"]"),
        (
            "'a'.matches('[')",
            "compile: invalid matches argument: error parsing regexp: unclosed character class: `[`",
        ),
        (
            "url('https://u@example.com:80/a b?c=d&c=e').getHostname()",
            "\"example.com\"",
        ),
        (
            "url('https://example.com:80/p?c=d&c=e').getQuery()",
            "{\"c\":[\"d\",\"e\"]}",
        ),
        ("isURL('../a')", "false"),
        ("ip('10.0.0.1').family()", "4"),
        ("isIP('::ffff:1.2.3.4')", "false"),
        (
            "cidr('10.0.0.0/8').containsIP('10.1.2.3') && !cidr('10.0.0.0/8').containsCIDR('0.0.0.0/0')",
            "true",
        ),
        ("string(cidr('10.1.2.3/8').masked())", "\"10.0.0.0/8\""),
        ("quantity('1Gi').isGreaterThan(quantity('500Mi'))", "true"),
        ("quantity('1').add(2).asInteger()", "3"),
        ("quantity('50k') == quantity('50000')", "true"),
        ("semver('1.2.3').isLessThan(semver('v1.3', true))", "true"),
        ("format.dns1123Label().validate('Up').hasValue()", "true"),
        ("format.named('uuid').hasValue()", "true"),
        ("sets.equivalent([1, 2], [2, 1, 1])", "true"),
        ("'a,b,c'.split(',')", "[\"a\",\"b\",\"c\"]"),
        ("['a', 'b'].join('-')", "\"a-b\""),
        ("'Hello'.substring(1, 3) + 'x'.upperAscii()", "\"elX\""),
        (
            "'%s: %d %.2f'.format([dyn('a'), dyn(1), dyn(2.0)])",
            "\"a: 1 2.00\"",
        ),
        ("jsonpatch.escapeKey('k8s.io/a~b')", "\"k8s.io~1a~0b\""),
        ("lists.range(3).reverse()", "[2,1,0]"),
    ]);
}

#[test]
fn what_cannot_be_is_told() {
    hold(&[
        ("y", "compile: undeclared reference to 'y' (in container '')"),
        ("f(1)", "compile: undeclared reference to 'f' (in container '')"),
        (
            "'x' - 2",
            "compile: found no matching overload for '_-_' applied to '(string, int)'",
        ),
        ("x.foo", "compile: type 'int' does not support field selection"),
        (
            "'a'.size(1)",
            "compile: found no matching overload for 'size' applied to 'string.(int)'",
        ),
        ("[1, 'a']", "compile: expected type 'int' but found 'string'"),
        (
            "x == 'a'",
            "compile: found no matching overload for '_==_' applied to '(int, string)'",
        ),
        (
            "x.all(i, true)",
            "compile: expression of type 'int' cannot be range of a comprehension (must be list, map, or dynamic)",
        ),
        ("dyn('a') + 1", "error: no such overload: _+_(string, int)"),
    ]);
}

#[test]
fn faults_have_places() {
    for (source, wanted) in [
        (
            "'x'-2",
            "ERROR: <input>:1:4: found no matching overload for '_-_' applied to '(string, int)'\n | 'x'-2\n | ...^",
        ),
        (
            "Bad_Value!",
            "ERROR: <input>:1:10: Syntax error: extraneous input '!' expecting <EOF>\n | Bad_Value!\n | .........^",
        ),
        (
            "",
            "ERROR: <input>:1:0: Syntax error: mismatched input '<EOF>' expecting {'[', '{', '(', '.', '-', '!', 'true', 'false', 'null', NUM_FLOAT, NUM_INT, NUM_UINT, STRING, BYTES, IDENTIFIER}",
        ),
    ] {
        let issues = compile(source, &environment()).expect_err("it is wrong");
        assert_eq!(issues.to_string(), wanted);
    }
    let schema = json!({"type": "object", "properties": {"a": {"type": "string"}}});
    let environment = Environment::with(&[("self", type_of(&schema, "self", true).expect("it has a type"))]);
    let issues = compile("self.size < 100 || self.color == 'red'", &environment).expect_err("it is wrong");
    assert_eq!(
        issues.to_string(),
        "ERROR: <input>:1:5: undefined field 'size'\n | self.size < 100 || self.color == 'red'\n | ....^\n\
         ERROR: <input>:1:24: undefined field 'color'\n | self.size < 100 || self.color == 'red'\n | .......................^"
    );
}

#[test]
fn what_costs_too_much_is_given_up() {
    let list: Vec<i64> = (0..1000).collect();
    let object = json!({"list": list, "text": "a".repeat(100_000)});
    let environment = environment();
    for source in [
        "object.list.all(a, object.list.all(b, object.list.all(c, true)))",
        "object.list.map(a, object.text + object.text).size() > 0",
        "object.list.map(a, object.list.map(b, object.list)).size() > 0",
        "object.text.replace('', object.text).size() > 0",
        "object.list.all(a, object.list.all(b, object == object))",
    ] {
        let program = compile(source, &environment).expect("it compiles");
        let mut activation = Activation::new(&environment, &[]);
        activation.set(&environment, "object", Value::json(&object));
        let (result, _) = program.evaluate(&activation, PER_CALL_LIMIT);
        assert_eq!(result.expect_err(source), EvalError::TooCostly);
    }
}

#[test]
fn expressions_may_not_be_deep() {
    for source in [
        "(".repeat(10_000),
        format!("{}1{}", "[".repeat(500), "]".repeat(500)),
        "!".repeat(10_000),
        format!("1{}", " + 1".repeat(20_000)),
        format!("a{}", ".a".repeat(20_000)),
        format!("{}1", "true ? 1 : ".repeat(5_000)),
    ] {
        assert!(compile(&source, &environment()).is_err());
    }
}

/// What may be is read, checked and evaluated on the stack that a thread has.
#[test]
fn expressions_may_be_as_deep_as_they_may() {
    let nested =
        |open: &str, close: &str, count: usize| format!("{}1{}", open.repeat(count), close.repeat(count));
    for source in [
        nested("(", ")", 30),
        nested("[", "][0]", 30),
        nested("(1 + ", ")", 30),
        nested("(", " + 1 + 1 + 1)", 30),
        nested("[2].map(x, ", ")", 15),
        nested("(true ? ", " : 0)", 30),
        nested("-(", ")", 30),
        format!("1{}", " + 1".repeat(150)),
        format!("dyn({{}}){}.x", ".?a".repeat(70)),
        format!("{}1", "false ? 1 : ".repeat(80)),
        format!("true{}", " && true".repeat(2000)),
        format!("[1{}]", ", 1".repeat(2000)),
        r#"'((((((((((((((((((((((((((((((((((((((((((' == """'(((((((((((((((((((((((((((((((((((((((((""""#
            .to_owned(),
    ] {
        let environment = environment();
        match compile(&source, &environment) {
            Ok(program) => drop(program.evaluate(&Activation::new(&environment, &[]), PER_CALL_LIMIT)),
            Err(issues) => panic!("{source}: {issues}"),
        }
    }
}

#[test]
fn variables_of_a_policy_are_computed_once() {
    let object = json!({"n": 2});
    let mut environment = Environment::with(&[("object", Type::Dyn)]);
    environment.composed = Some(Vec::new());
    let mut variables = Vec::new();
    for (name, source) in [
        ("double", "object.n * 2"),
        ("more", "variables.double + 1"),
        ("wrong", "object.x"),
    ] {
        let program = compile(source, &environment).map_err(|issues| issues.to_string());
        let output = program
            .as_ref()
            .map_or(Type::Dyn, |program| program.output().clone());
        environment
            .composed
            .get_or_insert_default()
            .push((name.to_owned(), output));
        variables.push(Variable {
            name: name.to_owned(),
            program,
        });
    }
    let mut activation = Activation::new(&environment, &variables);
    activation.set(&environment, "object", Value::json(&object));
    let eval = |source: &str| {
        let program = compile(source, &environment).expect("it compiles");
        let (result, _) = program.evaluate(&activation, PER_CALL_LIMIT);
        result.map_or_else(|error| error.to_string(), |value| show(&value))
    };
    assert_eq!(eval("variables.more"), "5");
    assert!(activation.take_cost() > 0);
    assert_eq!(eval("variables.more + variables.double"), "9");
    assert_eq!(activation.take_cost(), 0);
    assert_eq!(
        eval("variables.wrong"),
        "composited variable \"wrong\" fails to evaluate: no such key: x"
    );
    assert!(compile("variables.other", &environment).is_err());
}

#[test]
fn costs_are_those_of_upstream() {
    let object = json!({"list": [1, 2, 3], "text": "0123456789"});
    let environment = environment();
    for (source, wanted) in [
        ("1 + 1", 1),
        ("object.list", 2),
        ("object.list.size() > 0", 4),
        ("[1, 2]", 10),
        ("object.text == object.text", 5),
        ("object.list.all(i, true)", 12),
    ] {
        let program = compile(source, &environment).expect("it compiles");
        let mut activation = Activation::new(&environment, &[]);
        activation.set(&environment, "object", Value::json(&object));
        let (_, cost) = program.evaluate(&activation, PER_CALL_LIMIT);
        assert_eq!(cost, wanted, "{source}");
    }
}

struct Friend;

impl Authorizer for Friend {
    fn check(&self, service_account: Option<(&str, &str)>, verb: &str, question: Question<'_>) -> Decision {
        let resource = matches!(question, Question::Resource(check) if check.resource == "pods" && check.group.is_empty());
        Decision {
            allowed: resource && verb == "get" && service_account.is_none(),
            reason: "a friend".to_owned(),
            error: None,
        }
    }
}

#[test]
fn the_authorizer_is_asked() {
    let environment = Environment::admission(Type::Dyn, None, true);
    let friend = Friend;
    let mut activation = Activation::new(&environment, &[]);
    let asker = Asker {
        authorizer: &friend,
        service_account: None,
    };
    activation.set(
        &environment,
        "authorizer",
        Value::Opaque(Opaque::Authorizer(asker)),
    );
    for (source, wanted) in [
        (
            "authorizer.group('').resource('pods').check('get').allowed()",
            "true",
        ),
        (
            "authorizer.serviceAccount('a', 'b').group('').resource('pods').check('get').allowed()",
            "false",
        ),
        ("authorizer.path('/x').check('get').reason()", "\"a friend\""),
        ("authorizer.group('').resource(' ')", "resource must not be empty"),
    ] {
        let program = compile(source, &environment).expect("it compiles");
        let (result, _) = program.evaluate(&activation, PER_CALL_LIMIT);
        assert_eq!(
            result.map_or_else(|error| error.to_string(), |value| show(&value)),
            wanted
        );
    }
    // Three questions would cost more than one expression may.
    let ask = "authorizer.path('/x').check('get').allowed()";
    let program = compile(&format!("{ask} || {ask} || {ask}"), &environment).expect("it compiles");
    assert_eq!(
        program.evaluate(&activation, PER_CALL_LIMIT).0.err(),
        Some(EvalError::TooCostly)
    );
}

#[test]
fn the_types_of_results_are_told() {
    let environment = Environment::admission(Type::Dyn, Some(Type::Dyn), true);
    let told = |source: &str, wanted: &[Type]| compile_as(source, &environment, wanted).err();
    assert_eq!(told("object.a == params.b", &[Type::Bool]), None);
    assert_eq!(
        told("object.a", &[Type::Bool]).as_deref(),
        Some("must evaluate to bool but got dyn")
    );
    assert_eq!(
        told("1", &[Type::String, Type::Null]).as_deref(),
        Some("must evaluate to one of [string null_type] but got int")
    );
    assert_eq!(
        told("Object{}", &[Type::Bool]).as_deref(),
        Some(
            "compilation failed: ERROR: <input>:1:7: undeclared reference to 'Object' (in container '')\n | Object{}\n | ......^"
        )
    );
}

#[test]
fn objects_are_made() {
    let mut environment = Environment::admission(Type::Dyn, None, false);
    environment.patches = true;
    let program = compile(
        "Object{spec: Object.spec{replicas: 1, ?other: optional.none()}}",
        &environment,
    )
    .expect("it compiles");
    assert_eq!(program.output().to_string(), "Object");
    let activation = Activation::new(&environment, &[]);
    let (result, _) = program.evaluate(&activation, PER_CALL_LIMIT);
    assert_eq!(show(&result.expect("it is made")), "{\"spec\":{\"replicas\":1}}");
    let wrong = compile_as("[JSONPatch{op: 1}]", &environment, &[]).expect_err("op is text");
    assert!(
        wrong.contains("expected type of field 'op' is 'string' but provided type is 'int'"),
        "{wrong}"
    );
}

#[test]
fn a_program_tells_which_fields_it_looks_at() {
    let environment = Environment::with(&[
        ("claims", Type::map(Type::String, Type::Dyn)),
        ("other", Type::Dyn),
    ]);
    let selects = |source: &str| compile(source, &environment).unwrap().selects(0, "email");
    for source in [
        "claims.email",
        "has(claims.email)",
        "claims.?email.orValue('')",
        "['a'].all(x, claims.email == x)",
        "{'a': [claims.email]}",
    ] {
        assert!(selects(source), "{source}");
    }
    for source in ["claims.name", "other.email", "claims['email']", "claims.a.email"] {
        assert!(!selects(source), "{source}");
    }
}
