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
    plugins: Vec<(&'static str, Box<dyn Plugin>)>,
    /// The service that is asked about images, where one is, and before which plugin.
    image_policy: Option<(usize, ImagePolicy)>,
}

impl Chain {
    /// Makes the plugins that these flags leave, as they are told.
    ///
    /// # Errors
    /// Flags that name what there is not, or a configuration that a plugin cannot take.
    pub(super) fn new(enable: &[String], disable: &[String], told: &Told) -> Result<Self, AdmissionError> {
        let enabled = order::selected(enable, disable)?;
        let (mut plugins, mut image_policy) = (Vec::new(), None);
        for &name in &enabled {
            let failed = |why| AdmissionError::Plugin {
                name: name.to_owned(),
                why,
            };
            if name == image_policy::NAME {
                let policy = ImagePolicy::new(told.of(name)).map_err(failed)?;
                image_policy = Some((plugins.len(), policy));
                continue;
            }
            let made = registered::make(name, told.of(name)).map_err(failed)?;
            plugins.extend(made.map(|plugin| (name, plugin)));
        }
        Ok(Self {
            enabled,
            plugins,
            image_policy,
        })
    }

    /// Whether a plugin is switched on.
    pub(crate) fn is_enabled(&self, name: &str) -> bool {
        self.enabled.contains(&name)
    }

    /// Runs the mutating plugins. `old` is the object as it was, on update.
    ///
    /// # Errors
    /// The first refusal.
    pub(crate) fn mutate(
        &self,
        attributes: &Attributes<'_>,
        object: &mut Value,
        old: Option<&Value>,
        cluster: Cluster<'_>,
    ) -> Result<(), ApiError> {
        for (name, plugin) in &self.plugins {
            plugin
                .mutate(attributes, object, old, cluster)
                .inspect_err(|error| refused(name, error))?;
        }
        Ok(())
    }

    /// Runs the validating plugins, those included that ask others.
    ///
    /// # Errors
    /// The first refusal.
    pub(crate) async fn validate_asking(
        &self,
        attributes: &Attributes<'_>,
        object: &Value,
        old: Option<&Value>,
        cluster: Cluster<'_>,
    ) -> Result<(), ApiError> {
        let Some((place, policy)) = &self.image_policy else {
            return self.validate(attributes, Some(object), old, cluster);
        };
        let (before, after) = self.plugins.split_at(*place);
        validate(before, attributes, Some(object), old, cluster)?;
        policy
            .validate(attributes, object)
            .await
            .inspect_err(|error| refused(image_policy::NAME, error))?;
        validate(after, attributes, Some(object), old, cluster)
    }

    /// Runs the validating plugins that ask nobody.
    ///
    /// # Errors
    /// The first refusal.
    pub(crate) fn validate(
        &self,
        attributes: &Attributes<'_>,
        object: Option<&Value>,
        old: Option<&Value>,
        cluster: Cluster<'_>,
    ) -> Result<(), ApiError> {
        validate(&self.plugins, attributes, object, old, cluster)
    }
}

fn validate(
    plugins: &[(&'static str, Box<dyn Plugin>)],
    attributes: &Attributes<'_>,
    object: Option<&Value>,
    old: Option<&Value>,
    cluster: Cluster<'_>,
) -> Result<(), ApiError> {
    for (name, plugin) in plugins {
        plugin
            .validate(attributes, object, old, cluster)
            .inspect_err(|error| refused(name, error))?;
    }
    Ok(())
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
        _cluster: Cluster<'_>,
    ) -> Result<(), ApiError> {
        Err(attributes.forbidden(DENIED))
    }

    fn validate(
        &self,
        attributes: &Attributes<'_>,
        _object: Option<&Value>,
        _old: Option<&Value>,
        _cluster: Cluster<'_>,
    ) -> Result<(), ApiError> {
        // What is created or changed did not come so far.
        match attributes.operation {
            Operation::Delete | Operation::Connect => Err(attributes.forbidden(DENIED)),
            Operation::Create | Operation::Update => Ok(()),
        }
    }
}
