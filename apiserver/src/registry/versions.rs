//! The versions of a resource, for ownership: a manager owns fields of the version that it wrote in.
//!
//! Deciding who owns what is pure and does not wait. Where a webhook converts, it says which conversion it lacks, and is done anew
//! once the webhook was asked; what was asked once is known from then on.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use coracle_api::apply::{Model, Versions};
use coracle_api::object::Fields as _;
use coracle_api::schema::Schema;
use coracle_api::status::ApiError;
use serde_json::Value;

use super::served::{Catalog, Handle, Served};
use super::{conversion, rules};
use crate::webhook::Webhooks;

/// How many conversions are asked for in the course of one write, at most: two for each version that somebody owns fields of are the
/// rule.
pub(super) const QUESTIONS_MAX: usize = 64;

/// The versions of the resource of one request. Nothing is looked up before somebody asks for another version.
#[derive(Debug)]
pub(super) struct Known<'r> {
    served: &'r Served,
    catalog: &'r Catalog,
    versions: OnceLock<Vec<Version>>,
    /// What a webhook made of which object.
    made: Mutex<Vec<(Question, Value)>>,
    lacking: Mutex<Option<Question>>,
}

/// A version of the resource.
#[derive(Debug)]
struct Version {
    api_version: String,
    handle: Handle,
    /// Of a custom resource, once it was asked for.
    schema: OnceLock<Arc<Schema>>,
}

/// An object, and the version in which it is wanted.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Question {
    object: Value,
    api_version: String,
}

impl<'r> Known<'r> {
    pub(super) fn new(served: &'r Served, catalog: &'r Catalog) -> Self {
        Self {
            served,
            catalog,
            versions: OnceLock::new(),
            made: Mutex::default(),
            lacking: Mutex::default(),
        }
    }

    /// The conversion that was asked for and is not known yet.
    pub(super) fn lacking(&self) -> Option<Question> {
        self.lacking.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Has the webhook answer a question.
    ///
    /// # Errors
    /// Where it does not convert the object.
    pub(super) async fn learn(&self, webhooks: &Webhooks, question: Question) -> Result<(), ApiError> {
        let version = self.find(&question.api_version);
        let (Some(custom), Some(version)) = (&self.served.custom, version) else {
            return Err(no_version(&question.api_version));
        };
        let made = conversion::to(webhooks, custom, &version.handle, question.object.clone()).await?;
        let mut all = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        all.push((question, made));
        Ok(())
    }

    fn find(&self, api_version: &str) -> Option<&Version> {
        let versions = self.versions.get_or_init(|| self.all());
        versions.iter().find(|version| version.api_version == api_version)
    }

    fn all(&self) -> Vec<Version> {
        let version = |handle: Handle| Version {
            api_version: handle.api_version(),
            handle,
            schema: OnceLock::new(),
        };
        match &self.served.custom {
            Some(custom) => {
                let versions = custom.definition.versions.iter();
                versions
                    .map(|known| version(Handle::Custom(Arc::clone(known))))
                    .collect()
            }
            None => {
                let alike = self.catalog.served_alike(self.served);
                let others = alike.iter().map(|served| served.resource.clone());
                let own = [self.served.resource.clone(), self.served.stored.clone()];
                own.into_iter().chain(others).map(version).collect()
            }
        }
    }

    fn schema<'v>(&'v self, version: &'v Version) -> Option<&'v Arc<Schema>> {
        let custom = self.served.custom.as_ref()?;
        let read = || custom.schemas.get(version.handle.version);
        Some(version.schema.get_or_init(read))
    }

    /// What the webhook made of an object; where it was not asked yet, that is noted.
    fn made(&self, question: Question) -> Result<Value, ApiError> {
        let made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, made)) = made.iter().find(|(asked, _)| *asked == question) {
            return Ok(made.clone());
        }
        let missing = ApiError::internal(format!(
            "an object is wanted in {} that was not converted",
            question.api_version
        ));
        *self.lacking.lock().unwrap_or_else(PoisonError::into_inner) = Some(question);
        Err(missing)
    }
}

impl Versions for Known<'_> {
    fn model(&self, api_version: &str) -> Option<Model<'_>> {
        let version = self.find(api_version)?;
        match self.schema(version) {
            Some(schema) => Some(Model::Custom(schema, version.handle.gvk())),
            None => Some(Model::Type(version.handle.ty())),
        }
    }

    fn convert(&self, object: &Value, api_version: &str) -> Result<Value, ApiError> {
        let to = self.find(api_version).ok_or_else(|| no_version(api_version))?;
        if conversion::asks(self.served) {
            return self.made(Question {
                object: object.clone(),
                api_version: api_version.to_owned(),
            });
        }
        let mut object = object.clone();
        if self.served.custom.is_some() {
            // What the version does not know stays, as upstream has it: ownership does not go by halves of an object.
            object["apiVersion"] = api_version.into();
            return Ok(object);
        }
        let from = object.text("apiVersion");
        let from = self.find(from).ok_or_else(|| no_version(from))?;
        rules::convert(object, &from.handle, &to.handle)
    }
}

fn no_version(api_version: &str) -> ApiError {
    ApiError::internal(format!("no kind is registered for version {api_version:?}"))
}
