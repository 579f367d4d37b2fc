//! What users may do: `authorizer.group('apps').resource('deployments').check('create').allowed()`.

use std::sync::Arc;

use super::ty::{AUTHORIZER, Bool, DECISION, GROUP_CHECK, PATH_CHECK, RESOURCE_CHECK, String};
use super::{Eval, EvalError, Functions, Value, no_such_overload, text};
use crate::cel::functions::{Op, cost};
use crate::cel::meter::Meter;
use crate::cel::world::{Asker, Decision, Opaque, Question, ResourceCheck};
use crate::names;

pub(super) fn declare(functions: &mut Functions) {
    functions.member("path", &[AUTHORIZER, String], PATH_CHECK, cost::one, |_, args| {
        let path = filled(args, "path must not be empty")?;
        Ok(Value::Opaque(Opaque::PathCheck(asker(args)?, path.into())))
    });
    functions.member(
        "group",
        &[AUTHORIZER, String],
        GROUP_CHECK,
        cost::one,
        |_, args| {
            Ok(Value::Opaque(Opaque::GroupCheck(
                asker(args)?,
                text(args, 1)?.into(),
            )))
        },
    );
    functions.member(
        "serviceAccount",
        &[AUTHORIZER, String, String],
        AUTHORIZER,
        cost::one,
        service_account,
    );
    functions.member(
        "resource",
        &[GROUP_CHECK, String],
        RESOURCE_CHECK,
        cost::one,
        |_, args| {
            let Some(Value::Opaque(Opaque::GroupCheck(asker, group))) = args.first() else {
                return Err(no_such_overload("resource", args));
            };
            let check = ResourceCheck {
                group: group.to_string(),
                resource: filled(args, "resource must not be empty")?.to_owned(),
                ..ResourceCheck::default()
            };
            Ok(Value::Opaque(Opaque::ResourceCheck(
                asker.clone(),
                Arc::new(check),
            )))
        },
    );
    let refinements: [(&'static str, Op); 5] = [
        ("subresource", |_, args| {
            refined(args, |check, text| check.subresource = text)
        }),
        ("namespace", |_, args| {
            refined(args, |check, text| check.namespace = text)
        }),
        ("name", |_, args| refined(args, |check, text| check.name = text)),
        ("fieldSelector", |_, args| {
            refined(args, |check, text| check.field_selector = text)
        }),
        ("labelSelector", |_, args| {
            refined(args, |check, text| check.label_selector = text)
        }),
    ];
    for (name, op) in refinements {
        let cost = if name.ends_with("Selector") {
            cost::selector
        } else {
            cost::one
        };
        functions.member(name, &[RESOURCE_CHECK, String], RESOURCE_CHECK, cost, op);
    }
    decisions(functions);
}

fn decisions(functions: &mut Functions) {
    functions.member("check", &[PATH_CHECK, String], DECISION, cost::check, check);
    functions.member("check", &[RESOURCE_CHECK, String], DECISION, cost::check, check);
    functions.member("allowed", &[DECISION], Bool, cost::one, |_, args| {
        Ok(Value::Bool(decision(args)?.allowed))
    });
    functions.member("reason", &[DECISION], String, cost::one, |_, args| {
        Ok(Value::text(decision(args)?.reason.as_str()))
    });
    functions.member("errored", &[DECISION], Bool, cost::one, |_, args| {
        Ok(Value::Bool(decision(args)?.error.is_some()))
    });
    functions.member("error", &[DECISION], String, cost::one, |_, args| {
        Ok(Value::text(decision(args)?.error.as_deref().unwrap_or_default()))
    });
}

fn asker<'v>(args: &[Value<'v>]) -> Result<Asker<'v>, EvalError> {
    match args.first() {
        Some(Value::Opaque(Opaque::Authorizer(asker))) => Ok(asker.clone()),
        _ => Err(no_such_overload("authorizer", args)),
    }
}

fn filled<'a>(args: &'a [Value<'_>], rule: &str) -> Result<&'a str, EvalError> {
    let text = text(args, 1)?;
    if text.trim().is_empty() {
        return Err(EvalError::new(rule));
    }
    Ok(text)
}

fn service_account<'v>(_: &Meter, args: &[Value<'v>]) -> Eval<'v> {
    let (namespace, name) = (text(args, 1)?, text(args, 2)?);
    if !names::dns1123_subdomain(name).is_empty() {
        return Err(EvalError::new("Invalid service account name"));
    }
    if !names::dns1123_label(namespace).is_empty() {
        return Err(EvalError::new("Invalid service account namespace"));
    }
    Ok(Value::Opaque(Opaque::Authorizer(Asker {
        service_account: Some(Arc::new((namespace.to_owned(), name.to_owned()))),
        ..asker(args)?
    })))
}

fn refined<'v>(args: &[Value<'v>], set: impl Fn(&mut ResourceCheck, std::string::String)) -> Eval<'v> {
    let Some(Value::Opaque(Opaque::ResourceCheck(asker, check))) = args.first() else {
        return Err(no_such_overload("name", args));
    };
    let mut check = (**check).clone();
    set(&mut check, text(args, 1)?.to_owned());
    Ok(Value::Opaque(Opaque::ResourceCheck(
        asker.clone(),
        Arc::new(check),
    )))
}

fn check<'v>(_: &Meter, args: &[Value<'v>]) -> Eval<'v> {
    let verb = text(args, 1)?;
    let (asker, question) = match args.first() {
        Some(Value::Opaque(Opaque::PathCheck(asker, path))) => (asker, Question::Path(path)),
        Some(Value::Opaque(Opaque::ResourceCheck(asker, check))) => (asker, Question::Resource(check)),
        _ => return Err(no_such_overload("check", args)),
    };
    let account = asker.service_account.as_deref();
    let account = account.map(|(namespace, name)| (namespace.as_str(), name.as_str()));
    let decision = asker.authorizer.check(account, verb, question);
    Ok(Value::Opaque(Opaque::Decision(Arc::new(decision))))
}

fn decision<'a>(args: &'a [Value<'_>]) -> Result<&'a Decision, EvalError> {
    match args.first() {
        Some(Value::Opaque(Opaque::Decision(decision))) => Ok(decision),
        _ => Err(no_such_overload("allowed", args)),
    }
}
