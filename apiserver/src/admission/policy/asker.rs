//! What expressions ask of the authorizer. Pure: what only a service elsewhere can answer is noted, and the expression evaluated
//! again once it has been asked (`crate::authz::Questions`).

use coracle_api::cel::{self, Decision, Question};

use crate::authn::service_account_groups;
use crate::authz::{Attributes, Questions};
use crate::request::UserInfo;

/// Answers for whoever sent a request.
pub(crate) struct Asker<'a> {
    questions: &'a Questions<'a>,
    user: &'a UserInfo,
}

impl<'a> Asker<'a> {
    /// Answers for this user.
    pub(crate) fn new(questions: &'a Questions<'a>, user: &'a UserInfo) -> Self {
        Self { questions, user }
    }
}

impl cel::Authorizer for Asker<'_> {
    fn check(&self, service_account: Option<(&str, &str)>, verb: &str, question: Question<'_>) -> Decision {
        let account = service_account.map(|(namespace, name)| account(namespace, name));
        let user = account.as_ref().unwrap_or(self.user);
        let attributes = match question {
            Question::Path(path) => Attributes::path(user, verb, path),
            Question::Resource(check) => Attributes {
                namespace: &check.namespace,
                subresource: &check.subresource,
                name: &check.name,
                field_selector: &check.field_selector,
                label_selector: &check.label_selector,
                ..Attributes::resource(user, verb, &check.group, &check.resource)
            },
        };
        let verdict = self.questions.ask(&attributes);
        Decision {
            allowed: verdict.is_allowed(),
            reason: verdict.reason,
            error: Some(verdict.error).filter(|error| !error.is_empty()),
        }
    }
}

fn account(namespace: &str, name: &str) -> UserInfo {
    let mut groups = service_account_groups(namespace).to_vec();
    groups.push("system:authenticated".to_owned());
    UserInfo {
        name: format!("system:serviceaccount:{namespace}:{name}"),
        groups,
        ..UserInfo::default()
    }
}
