//! Questions to the authorizer that come up in the middle of something that cannot wait: an expression that is evaluated, a
//! rule that is applied.
//!
//! Whatever asks is pure, so that it may be done twice. Where only a service elsewhere knows the answer, the question is noted
//! and provisionally answered with no opinion; then the service is asked, during which nobody's thread is held up, and what was
//! done is done again with its answer. Nearly always there is nothing to note and all is done once.

use std::sync::{Mutex, MutexGuard, PoisonError};

use futures::future::join_all;

use super::{Attributes, Authorizer, Decision, Verdict, is_master};
use crate::request::UserInfo;

/// What is asked on behalf of one request, and what was answered.
pub(crate) struct Questions<'a> {
    authorizer: Option<&'a Authorizer>,
    noted: Mutex<Vec<(Question, Option<Verdict>)>>,
}

impl<'a> Questions<'a> {
    /// Without an authorizer (only the server itself writes as yet) masters may everything and nobody else anything.
    pub(crate) fn new(authorizer: Option<&'a Authorizer>) -> Self {
        Self {
            authorizer,
            noted: Mutex::default(),
        }
    }

    /// What is decided, as far as that is known. Only within [`Self::settle`] does it count.
    pub(crate) fn ask(&self, question: &Attributes<'_>) -> Verdict {
        let Some(authorizer) = self.authorizer else {
            let decision = if is_master(question.user) {
                Decision::Allow
            } else {
                Decision::NoOpinion
            };
            return Verdict::new(decision, "");
        };
        let noted = self.noted();
        let known = noted.iter().find(|(known, _)| known.attributes() == *question);
        let is_noted = known.is_some();
        if let Some(verdict) = known.and_then(|(_, verdict)| verdict.clone()) {
            return verdict;
        }
        drop(noted);
        authorizer.known(question).unwrap_or_else(|| {
            if !is_noted {
                self.noted().push((Question::of(question), None));
            }
            Verdict::new(Decision::NoOpinion, "")
        })
    }

    /// Whether the answer to a question is yes.
    pub(crate) fn allow(&self, question: &Attributes<'_>) -> bool {
        self.ask(question).is_allowed()
    }

    /// What comes of an attempt once all that it asks is answered. It is repeated after questions that had to be passed on, and
    /// each time at least one more is answered; how many it may ask is limited by what it is (the cost of an expression, the
    /// length of an object).
    pub(crate) async fn settle<T>(&self, mut attempt: impl FnMut() -> T) -> T {
        loop {
            {
                let outcome = attempt();
                if self.open().is_empty() {
                    return outcome;
                }
            }
            self.pass_on().await;
        }
    }

    /// Has all questions answered that are not.
    async fn pass_on(&self) {
        let Some(authorizer) = self.authorizer else {
            return;
        };
        let open = self.open();
        let asking = open.iter().map(|(place, question)| async move {
            let verdict = authorizer.decide(&question.attributes()).await;
            (*place, verdict)
        });
        let answers = join_all(asking).await;
        let mut noted = self.noted();
        for (place, verdict) in answers {
            noted[place].1 = Some(verdict);
        }
    }

    /// The questions without an answer, and their places.
    fn open(&self) -> Vec<(usize, Question)> {
        let noted = self.noted();
        let open = noted
            .iter()
            .enumerate()
            .filter(|(_, (_, verdict))| verdict.is_none());
        open.map(|(place, (question, _))| (place, question.clone()))
            .collect()
    }

    fn noted(&self) -> MutexGuard<'_, Vec<(Question, Option<Verdict>)>> {
        self.noted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// [`Attributes`] that outlive what they are about.
#[derive(Clone)]
struct Question {
    user: UserInfo,
    is_resource: bool,
    texts: [String; 10],
}

impl Question {
    fn of(asked: &Attributes<'_>) -> Self {
        let texts = [
            asked.verb,
            asked.path,
            asked.namespace,
            asked.group,
            asked.version,
            asked.resource,
            asked.subresource,
            asked.name,
            asked.field_selector,
            asked.label_selector,
        ];
        Self {
            user: asked.user.clone(),
            is_resource: asked.is_resource,
            texts: texts.map(str::to_owned),
        }
    }

    fn attributes(&self) -> Attributes<'_> {
        let [
            verb,
            path,
            namespace,
            group,
            version,
            resource,
            subresource,
            name,
            field_selector,
            label_selector,
        ] = &self.texts;
        Attributes {
            user: &self.user,
            verb,
            is_resource: self.is_resource,
            path,
            namespace,
            group,
            version,
            resource,
            subresource,
            name,
            field_selector,
            label_selector,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::authz::AuthorizationMode;
    use crate::reader::memory::MemoryReader;

    #[test]
    fn what_is_noted_is_what_was_asked() {
        let user = UserInfo {
            name: "jane".to_owned(),
            ..UserInfo::default()
        };
        let asked = Attributes {
            version: "v1",
            path: "/p",
            field_selector: "a=b",
            label_selector: "c=d",
            ..Attributes::resource(&user, "get", "g", "r")
                .in_namespace("n")
                .named("o")
                .subresource("s")
        };
        assert_eq!(Question::of(&asked).attributes(), asked);
    }

    #[tokio::test]
    async fn what_is_known_is_done_once() {
        let authorizer = Authorizer::new(
            vec![AuthorizationMode::AlwaysAllow],
            Arc::new(MemoryReader::default()),
        );
        let user = UserInfo::default();
        let asked = Attributes::resource(&user, "get", "", "pods");
        for (authorizer, expected) in [(Some(&authorizer), true), (None, false)] {
            let questions = Questions::new(authorizer);
            let mut times = 0;
            let allowed = questions.settle(|| {
                times += 1;
                questions.allow(&asked)
            });
            assert_eq!((allowed.await, times), (expected, 1));
        }
    }
}
