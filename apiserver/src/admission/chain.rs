//! The plugins that run, in their order.

use std::fmt;

use coracle_api::status::ApiError;
use serde_json::Value;

use super::configuration::{AdmissionError, Told};
use super::image_policy::{self, ImagePolicy};
use super::{Attributes, Cluster, Operation, Plugin, order, registered};

/// The plugins that are switched on.
pub(crate) struct Chain {
    /// The names of all that are on, those included that are somebody else's to run.
    enabled: Vec<&'static str>,
    members: Vec<(&'static str, Member)>,
}

enum Member {
    Plugin(Box<dyn Plugin>),
    /// The service that is asked about images.
    Images(Box<ImagePolicy>),
}

impl Chain {
    /// Makes the plugins that these flags leave, as they are told.
    ///
    /// # Errors
    /// Flags that name what there is not, or a configuration that a plugin cannot take.
    pub(super) fn new(enable: &[String], disable: &[String], told: &Told) -> Result<Self, AdmissionError> {
        let enabled = order::selected(enable, disable)?;
        let mut members = Vec::new();
        for &name in &enabled {
            let failed = |why| AdmissionError::Plugin {
                name: name.to_owned(),
                why,
            };
            let member = if name == image_policy::NAME {
                let policy = ImagePolicy::new(told.of(name)).map_err(failed)?;
                Some(Member::Images(Box::new(policy)))
            } else {
                let made = registered::make(name, told.of(name)).map_err(failed)?;
                made.map(Member::Plugin)
            };
            members.extend(member.map(|member| (name, member)));
        }
        Ok(Self { enabled, members })
    }

    /// Whether a plugin is switched on.
    pub(crate) fn is_enabled(&self, name: &str) -> bool {
        self.enabled.contains(&name)
    }

    /// Runs the mutating plugins. `old` is the object as it was, on update.
    ///
    /// # Errors
    /// The first refusal.
    pub(crate) async fn mutate(
        &self,
        attributes: &Attributes<'_>,
        object: &mut Value,
        old: Option<&Value>,
        cluster: Cluster<'_>,
    ) -> Result<(), ApiError> {
        for (name, member) in &self.members {
            let Member::Plugin(plugin) = member else {
                continue;
            };
            let mut run = || plugin.mutate(attributes, object, old, &cluster);
            let judged = if plugin.asks() {
                cluster.questions.settle(run).await
            } else {
                run()
            };
            judged.inspect_err(|error| refused(name, error))?;
        }
        Ok(())
    }

    /// Runs the validating plugins. There is no object on delete.
    ///
    /// # Errors
    /// The first refusal.
    pub(crate) async fn validate(
        &self,
        attributes: &Attributes<'_>,
        object: Option<&Value>,
        old: Option<&Value>,
        cluster: Cluster<'_>,
    ) -> Result<(), ApiError> {
        for (name, member) in &self.members {
            let judged = match member {
                Member::Plugin(plugin) => {
                    let run = || plugin.validate(attributes, object, old, &cluster);
                    if plugin.asks() {
                        cluster.questions.settle(run).await
                    } else {
                        run()
                    }
                }
                Member::Images(policy) => match object {
                    Some(object) => policy.validate(attributes, object).await,
                    None => Ok(()),
                },
            };
            judged.inspect_err(|error| refused(name, error))?;
        }
        Ok(())
    }
}

impl Default for Chain {
    /// Upstream's defaults.
    fn default() -> Self {
        Self::new(&[], &[], &Told::default()).expect("the defaults need no configuration")
    }
}

impl fmt::Debug for Chain {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_tuple("Chain").field(&self.enabled).finish()
    }
}

fn refused(plugin: &str, error: &ApiError) {
    tracing::debug!(plugin, %error, "admission refused a write");
}

/// Lets nothing pass that would change anything.
pub(super) struct AlwaysDeny;

const DENIED: &str = "admission control is denying all modifications";

impl Plugin for AlwaysDeny {
    fn mutate(
        &self,
        attributes: &Attributes<'_>,
        _object: &mut Value,
        _old: Option<&Value>,
        _cluster: &Cluster<'_>,
    ) -> Result<(), ApiError> {
        Err(attributes.forbidden(DENIED))
    }

    fn validate(
        &self,
        attributes: &Attributes<'_>,
        _object: Option<&Value>,
        _old: Option<&Value>,
        _cluster: &Cluster<'_>,
    ) -> Result<(), ApiError> {
        // What is created or changed did not come so far.
        match attributes.operation {
            Operation::Delete | Operation::Connect => Err(attributes.forbidden(DENIED)),
            Operation::Create | Operation::Update => Ok(()),
        }
    }
}
