//! Evaluating the policies and asking every webhook that a request concerns: mutating ones one after the other, each with what the one before made of
//! the object, validating ones all at a time.

use std::sync::Arc;

use coracle_api::cel::policy::Inputs;
use coracle_api::patch::json as json_patch;
use coracle_api::status::ApiError;
use futures::future::join_all;
use serde_json::{Value, json};
use tracing::{debug, warn};

use super::hook::Hook;
use super::matching::{self, Subject};
use super::refusal::{self, No};
use super::review::{self, Verdict};
use super::{Asked, Rounds, Shapes, Version, Webhooks, call, is_exempt};
use crate::admission::policy::Asker;
use crate::audit::Recorder;
use crate::authz::Questions;
use crate::reader::Prepared;

/// A webhook that is to be asked, and what it is to see.
struct Question<'a> {
    hook: &'a Hook,
    version: &'a Version,
    uid: String,
    request: Value,
    /// The object as it stands in the request.
    object: Option<Value>,
}

impl Webhooks {
    /// Asks the mutating webhooks, and makes of the object what they want. `object` is absent where something is deleted.
    ///
    /// # Errors
    /// The first refusal, or failure of one that must not fail.
    pub(crate) async fn mutate(
        &self,
        asked: &Asked<'_>,
        shapes: &dyn Shapes,
        mut object: Option<&mut Value>,
        old: Option<&Value>,
        rounds: &mut Rounds,
    ) -> Result<(), ApiError> {
        let hooks = self.hooks(&self.mutating, asked);
        if hooks.is_some() {
            self.policies
                .mutate(asked, shapes, object.as_deref_mut(), old, rounds)
                .await?;
        }
        for (index, hook) in hooks.iter().flat_map(|hooks| hooks.iter()).enumerate() {
            if !rounds.asks(&hook.id) {
                continue;
            }
            let subject = Subject {
                object: object.as_deref(),
                old,
            };
            let Some(question) = self.question(hook, asked, shapes, subject).await? else {
                continue;
            };
            let answer = self.ask(&question, asked).await;
            let note = Note {
                audit: asked.warnings.audit(),
                hook,
                place: format!("round_{}_index_{index}", rounds.number()),
            };
            match excused(hook, answer)? {
                None => note.failed_open("mutation"),
                Some(verdict) => {
                    let patch = Value::Array(verdict.patch.clone());
                    let changed = change(&question, verdict, shapes, object.as_deref_mut()).await?;
                    note.mutated(changed, patch);
                    if changed {
                        rounds.changed();
                    }
                }
            }
            if hook.reinvoked {
                rounds.was_asked(&hook.id);
            }
        }
        rounds.end(object.as_deref());
        Ok(())
    }

    /// Asks the validating webhooks. `object` is absent where something is deleted.
    ///
    /// # Errors
    /// The first refusal, or failure of one that must not fail, in the order of the configurations.
    pub(crate) async fn validate(
        &self,
        asked: &Asked<'_>,
        shapes: &dyn Shapes,
        object: Option<&Value>,
        old: Option<&Value>,
    ) -> Result<(), ApiError> {
        let Some(hooks) = self.hooks(&self.validating, asked) else {
            return Ok(());
        };
        self.policies.validate(asked, shapes, object, old).await?;
        let mut questions = Vec::new();
        for hook in hooks.iter() {
            questions.extend(
                self.question(hook, asked, shapes, Subject { object, old })
                    .await?,
            );
        }
        let answers = join_all(questions.iter().map(|question| self.ask(question, asked))).await;
        for (index, (question, answer)) in questions.iter().zip(answers).enumerate() {
            let hook = question.hook;
            if excused(hook, answer)?.is_none() {
                let (audit, place) = (asked.warnings.audit(), format!("round_0_index_{index}"));
                Note { audit, hook, place }.failed_open("validating");
            }
        }
        Ok(())
    }

    /// The webhooks of a source, where the request is one that they may be asked about.
    fn hooks(&self, source: &Prepared<Vec<Hook>>, asked: &Asked<'_>) -> Option<Arc<Vec<Hook>>> {
        let own = asked.versions.first()?;
        (!is_exempt(&own.kind_group, &own.kind)).then(|| source.now(&*self.reader))
    }

    /// What a webhook is to be asked, where the request concerns it and its conditions hold.
    async fn question<'a>(
        &self,
        hook: &'a Hook,
        asked: &'a Asked<'_>,
        shapes: &dyn Shapes,
        subject: Subject<'_>,
    ) -> Result<Option<Question<'a>>, ApiError> {
        let Some(version) = matching::concerned(hook, asked, subject, &*self.reader)? else {
            return Ok(None);
        };
        let object = shown(shapes, subject.object, version).await?;
        let old = shown(shapes, subject.old, version).await?;
        let uid = call::uid();
        let request = review::request(asked, version, &uid, object.as_ref(), old.as_ref());
        let authorizer = self.policies.authorizer();
        let questions = Questions::new(authorizer);
        let asker = authorizer.map(|_| Asker::new(&questions, asked.user));
        let inputs = Inputs {
            object: object.as_ref(),
            old: old.as_ref(),
            params: None,
            request: &request,
            namespace: None,
            authorizer: asker.as_ref().map(|asker| asker as _),
        };
        let holds = if hook.conditions.is_empty() {
            Ok(true)
        } else {
            questions.settle(|| hook.conditions.hold(&inputs)).await
        };
        match holds {
            Ok(true) => {}
            Ok(false) => return Ok(None),
            Err(why) if hook.fails_open => {
                debug!(hook = hook.name, why, "a webhook was passed over");
                return Ok(None);
            }
            Err(why) => {
                let own = asked.versions.first().unwrap_or(version);
                return Err(ApiError::forbidden(&own.group, &own.resource, asked.name, &why));
            }
        }
        Ok(Some(Question {
            hook,
            version,
            uid,
            request,
            object,
        }))
    }

    async fn ask(&self, question: &Question<'_>, asked: &Asked<'_>) -> Result<Verdict, No> {
        let hook = question.hook;
        if asked.dry_run {
            match hook.dry_runs {
                None => return Err(No::Failed("Webhook SideEffects is nil".to_owned())),
                Some(false) => return Err(No::Refused(refusal::no_dry_run(hook))),
                Some(true) => {}
            }
        }
        let unknown = || {
            let why = "webhook does not accept known AdmissionReview versions (v1, v1beta1)";
            No::Failed(format!("could not create admission objects: {why}"))
        };
        let version = hook.review.ok_or_else(unknown)?;
        let verdict = self
            .caller
            .ask(hook, version, &question.uid, question.request.clone())
            .await?;
        for (name, value) in &verdict.audit_annotations {
            asked
                .warnings
                .audit()
                .annotate(&format!("{}/{name}", hook.name), value);
        }
        for warning in &verdict.warnings {
            asked.warnings.add(warning);
        }
        if verdict.allowed {
            Ok(verdict)
        } else {
            Err(No::Refused(refusal::refused(hook, verdict.result.as_ref())))
        }
    }
}

/// A state of the object in a version.
pub(crate) async fn shown(
    shapes: &dyn Shapes,
    state: Option<&Value>,
    version: &Version,
) -> Result<Option<Value>, ApiError> {
    match state {
        Some(state) => shapes.shown(state, version).await.map(Some),
        None => Ok(None),
    }
}

/// What the audit log is told of a webhook that was asked.
struct Note<'a> {
    audit: &'a Recorder,
    hook: &'a Hook,
    place: String,
}

impl Note<'_> {
    /// It failed and was passed over.
    fn failed_open(&self, sort: &str) {
        let key = format!("failed-open.{sort}.webhook.admission.k8s.io/{}", self.place);
        self.audit.annotate(&key, &self.hook.name);
    }

    /// It answered, and whether that made a difference.
    fn mutated(&self, mutated: bool, patch: Value) {
        if !self.audit.is_on() {
            return;
        }
        let (configuration, webhook) = (&self.hook.configuration, &self.hook.name);
        let told = json!({"configuration": configuration, "webhook": webhook, "mutated": mutated});
        let key = format!("mutation.webhook.admission.k8s.io/{}", self.place);
        self.audit.annotate(&key, &told.to_string());
        if mutated {
            let told = json!({"configuration": configuration, "webhook": webhook, "patch": patch, "patchType": "JSONPatch"});
            let key = format!("patch.webhook.admission.k8s.io/{}", self.place);
            self.audit.annotate_request(&key, &told.to_string());
        }
    }
}

/// Changes the object as an answer wants it, and says whether that made a difference.
async fn change(
    question: &Question<'_>,
    verdict: Verdict,
    shapes: &dyn Shapes,
    object: Option<&mut Value>,
) -> Result<bool, ApiError> {
    if verdict.patch.is_empty() {
        return Ok(false);
    }
    let (Some(object), Some(shown)) = (object, &question.object) else {
        return Err(refusal::nothing_to_change(question.hook));
    };
    let mut patched = shown.clone();
    json_patch::apply(&mut patched, &Value::Array(verdict.patch)).map_err(ApiError::internal)?;
    if patched == *shown {
        return Ok(false);
    }
    *object = shapes.taken(object, patched, question.version).await?;
    Ok(true)
}

/// What was answered; nothing where the webhook failed and may fail.
fn excused(hook: &Hook, answer: Result<Verdict, No>) -> Result<Option<Verdict>, ApiError> {
    match answer {
        Ok(verdict) => Ok(Some(verdict)),
        Err(No::Refused(error)) => Err(error),
        Err(No::Failed(why)) if hook.fails_open => {
            warn!(
                hook = hook.name,
                configuration = hook.configuration,
                why,
                "a webhook failed and was passed over"
            );
            Ok(None)
        }
        Err(No::Failed(why)) => {
            warn!(
                hook = hook.name,
                configuration = hook.configuration,
                why,
                "a webhook failed"
            );
            Err(refusal::failed(hook, &why))
        }
    }
}
