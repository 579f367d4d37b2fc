//! Which requests a policy or a binding concerns: `MatchResources`. Pure, over a reader.
//!
//! As upstream's `policy/matching` decides; rules and selectors are those of webhooks, and rules may name objects.

use coracle_api::object::Fields;
use coracle_api::selector::LabelSelector;
use coracle_api::status::ApiError;
use serde_json::{Value, json};

use crate::reader::ObjectReader;
use crate::webhook::matching::{self, Subject};
use crate::webhook::{Asked, Rule, Version};

/// A rule, and the objects that it is about; all where none are named.
#[derive(Debug)]
struct NamedRule {
    rule: Rule,
    names: Vec<String>,
}

/// What a policy or a binding is about.
#[derive(Debug)]
pub(super) struct Scope {
    rules: Vec<NamedRule>,
    excluded: Vec<NamedRule>,
    /// Whether only the version that the request names counts.
    exact: bool,
    namespace_selector: Result<LabelSelector, String>,
    object_selector: Result<LabelSelector, String>,
}

impl Scope {
    /// Reads `matchConstraints` or `matchResources`.
    pub(super) fn read(scope: &Value) -> Self {
        let rules = |name: &str| scope.items(name).iter().map(NamedRule::read).collect();
        // Defaults fill both in: an absent selector selects everything here.
        let everything = json!({});
        let selector = |name: &str| {
            let selector = scope.field(name).unwrap_or(&everything);
            LabelSelector::from_object(Some(selector)).map_err(|error| error.to_string())
        };
        Self {
            rules: rules("resourceRules"),
            excluded: rules("excludeResourceRules"),
            exact: scope.text("matchPolicy") == "Exact",
            namespace_selector: selector("namespaceSelector"),
            object_selector: selector("objectSelector"),
        }
    }

    /// The version of `asked` that it is about, if it is about any.
    ///
    /// # Errors
    /// As `matching::namespace_selected` and `matching::object_selected`; only where the request concerns it otherwise.
    pub(super) fn concerned<'v>(
        &self,
        asked: &'v Asked<'_>,
        subject: Subject<'_>,
        reader: &dyn ObjectReader,
    ) -> Result<Option<&'v Version>, ApiError> {
        let namespace = matching::namespace_selected(&self.namespace_selector, asked, subject, reader);
        if matches!(namespace, Ok(false)) {
            return Ok(None);
        }
        let object = matching::object_selected(&self.object_selector, subject);
        if matches!(object, Ok(false)) || self.find(&self.excluded, asked).is_some() {
            return Ok(None);
        }
        let version = if self.rules.is_empty() {
            asked.versions.first()
        } else {
            self.find(&self.rules, asked)
        };
        let Some(version) = version else {
            return Ok(None);
        };
        namespace?;
        object?;
        Ok(Some(version))
    }

    fn find<'v>(&self, rules: &[NamedRule], asked: &'v Asked<'_>) -> Option<&'v Version> {
        let (own, others) = asked.versions.split_first()?;
        if rules.iter().any(|rule| rule.covers(asked, own)) {
            return Some(own);
        }
        if self.exact {
            return None;
        }
        rules
            .iter()
            .find_map(|rule| others.iter().find(|other| rule.covers(asked, other)))
    }
}

impl NamedRule {
    fn read(rule: &Value) -> Self {
        let names = rule.items("resourceNames").iter();
        Self {
            rule: Rule::read(rule),
            names: names
                .filter_map(|name| name.as_str().map(ToOwned::to_owned))
                .collect(),
        }
    }

    fn covers(&self, asked: &Asked<'_>, version: &Version) -> bool {
        let named = self.names.is_empty() || self.names.iter().any(|name| name == asked.name);
        named && matching::covers(&self.rule, asked, version)
    }
}
