//! A question to an authorizer as the `spec` of a SubjectAccessReview, and what conditions may refer to in it. Pure.

use coracle_api::cel::{self, Environment, Listed, Program, Type};
use coracle_api::object::Fields;
use coracle_api::selector::label::Operator;
use coracle_api::selector::{FieldSelector, LabelSelector};
use serde_json::{Map, Value, json};

use super::Attributes;

/// The question, with the fields that say something.
pub(super) fn spec(asked: &Attributes<'_>) -> Value {
    let user = asked.user;
    let mut spec = Map::new();
    let about = if asked.is_resource {
        let mut about = filled(&[
            ("namespace", asked.namespace),
            ("verb", asked.verb),
            ("group", asked.group),
            ("version", asked.version),
            ("resource", asked.resource),
            ("subresource", asked.subresource),
            ("name", asked.name),
        ]);
        for (name, requirements) in [
            ("fieldSelector", field_requirements(asked.field_selector)),
            ("labelSelector", label_requirements(asked.label_selector)),
        ] {
            if !requirements.is_empty() {
                about.insert(name.to_owned(), json!({"requirements": requirements}));
            }
        }
        ("resourceAttributes", about)
    } else {
        (
            "nonResourceAttributes",
            filled(&[("path", asked.path), ("verb", asked.verb)]),
        )
    };
    spec.insert(about.0.to_owned(), about.1.into());
    spec.extend(filled(&[("user", &user.name), ("uid", &user.uid)]));
    if !user.groups.is_empty() {
        spec.insert("groups".to_owned(), json!(user.groups));
    }
    if !user.extra.is_empty() {
        spec.insert("extra".to_owned(), json!(user.extra));
    }
    spec.into()
}

fn filled(fields: &[(&str, &str)]) -> Map<String, Value> {
    let stated = fields.iter().filter(|(_, value)| !value.is_empty());
    stated
        .map(|(name, value)| ((*name).to_owned(), (*value).into()))
        .collect()
}

/// What cannot be read narrows nothing that is asked.
fn field_requirements(selector: &str) -> Vec<Value> {
    let terms = FieldSelector::parse(selector)
        .map(|selector| selector.terms)
        .unwrap_or_default();
    let requirement = |term: &coracle_api::selector::field::Term| {
        let operator = if term.equal { "In" } else { "NotIn" };
        json!({"key": term.field, "operator": operator, "values": [term.value]})
    };
    terms.iter().map(requirement).collect()
}

fn label_requirements(selector: &str) -> Vec<Value> {
    let Ok(LabelSelector::All(requirements)) = LabelSelector::parse(selector) else {
        return Vec::new();
    };
    let known = requirements.iter().filter_map(|requirement| {
        let operator = match requirement.operator {
            Operator::In | Operator::Equals | Operator::DoubleEquals => "In",
            Operator::NotIn | Operator::NotEquals => "NotIn",
            Operator::Exists => "Exists",
            Operator::DoesNotExist => "DoesNotExist",
            Operator::GreaterThan | Operator::LessThan => return None,
        };
        let mut said = json!({"key": requirement.key, "operator": operator});
        if !requirement.values.is_empty() {
            said["values"] = json!(requirement.values);
        }
        Some(said)
    });
    known.collect()
}

/// The question with every field that it may have, so that expressions need not ask whether one is there; but for the
/// selectors, and for the part that it is not about.
pub(super) fn with_all_fields(spec: &Value) -> Value {
    let mut full = json!({
        "user": spec.text("user"), "uid": spec.text("uid"), "groups": spec.items("groups"),
        "extra": spec.field("extra").cloned().unwrap_or_else(|| json!({})),
    });
    let parts: [(&str, &[&str]); 2] = [
        (
            "resourceAttributes",
            &[
                "namespace",
                "verb",
                "group",
                "version",
                "resource",
                "subresource",
                "name",
            ],
        ),
        ("nonResourceAttributes", &["path", "verb"]),
    ];
    for (part, fields) in parts {
        let Some(stated) = spec.field(part) else {
            continue;
        };
        let mut about = stated.clone();
        for field in fields {
            about[*field] = stated.text(field).into();
        }
        full[part] = about;
    }
    full
}

/// What conditions may refer to: `request`.
pub(super) fn environment() -> Environment {
    let text = || Type::String;
    let texts = || Type::list(Type::String);
    let requirement = Listed::object(
        "kubernetes.SelectorRequirement",
        &[("key", text()), ("operator", text()), ("values", texts())],
    );
    let selector = |name: &str| {
        let fields = [
            ("rawSelector", text()),
            ("requirements", Type::list(requirement.clone())),
        ];
        Listed::object(name, &fields)
    };
    let resource = Listed::object(
        "kubernetes.ResourceAttributes",
        &[
            ("namespace", text()),
            ("verb", text()),
            ("group", text()),
            ("version", text()),
            ("resource", text()),
            ("subresource", text()),
            ("name", text()),
            ("fieldSelector", selector("kubernetes.FieldSelectorAttributes")),
            ("labelSelector", selector("kubernetes.LabelSelectorAttributes")),
        ],
    );
    let other = Listed::object(
        "kubernetes.NonResourceAttributes",
        &[("path", text()), ("verb", text())],
    );
    let request = Listed::object(
        "kubernetes.SubjectAccessReviewSpec",
        &[
            ("resourceAttributes", resource),
            ("nonResourceAttributes", other),
            ("user", text()),
            ("groups", texts()),
            ("extra", Type::map(text(), texts())),
            ("uid", text()),
        ],
    );
    Environment::with(&[("request", request)])
}

/// Compiles a condition.
///
/// # Errors
/// What is wrong with it, in upstream's words.
pub(super) fn compile(source: &str, environment: &Environment) -> Result<Program, String> {
    cel::compile_as(source, environment, &[Type::Bool])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::UserInfo;

    #[test]
    fn a_question_says_what_it_is_about() {
        let user = UserInfo {
            name: "jane".to_owned(),
            groups: vec!["devs".to_owned()],
            ..UserInfo::default()
        };
        let asked = Attributes {
            version: "v1",
            field_selector: "spec.nodeName=n1,status.phase!=Failed",
            label_selector: "app in (a,b),!old,n>1",
            ..Attributes::resource(&user, "list", "", "pods").in_namespace("a")
        };
        let spec = spec(&asked);
        let want = json!({
            "user": "jane", "groups": ["devs"],
            "resourceAttributes": {"namespace": "a", "verb": "list", "version": "v1", "resource": "pods",
                "fieldSelector": {"requirements": [
                    {"key": "spec.nodeName", "operator": "In", "values": ["n1"]},
                    {"key": "status.phase", "operator": "NotIn", "values": ["Failed"]}]},
                "labelSelector": {"requirements": [
                    {"key": "app", "operator": "In", "values": ["a", "b"]},
                    {"key": "old", "operator": "DoesNotExist"}]}},
        });
        assert_eq!(spec, want);
        let full = with_all_fields(&spec);
        assert_eq!(full["resourceAttributes"]["subresource"], "");
        assert_eq!((&full["uid"], &full["extra"]), (&json!(""), &json!({})));
        let path = super::spec(&Attributes::path(&user, "get", "/livez"));
        assert_eq!(
            path["nonResourceAttributes"],
            json!({"path": "/livez", "verb": "get"})
        );
        assert!(with_all_fields(&path).get("resourceAttributes").is_none());
    }

    #[test]
    fn conditions_are_checked() {
        let environment = environment();
        let check = |source: &str| compile(source, &environment).map(drop);
        for source in [
            "has(request.resourceAttributes) && request.resourceAttributes.namespace == 'a'",
            "request.resourceAttributes.?labelSelector.requirements.orValue([]).exists(r, r.key == 'x' && 'y' in r.values)",
            "!('system:masters' in request.groups)",
        ] {
            assert_eq!(check(source), Ok(()), "{source}");
        }
        assert_eq!(
            check("request.user"),
            Err("must evaluate to bool but got string".to_owned())
        );
        assert!(
            check("request.nothing")
                .unwrap_err()
                .starts_with("compilation failed: ")
        );
    }
}
