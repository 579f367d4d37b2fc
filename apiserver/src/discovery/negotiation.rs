//! What an `Accept` header asks for (RFC 9110, 12.5.1), with upstream's parameters `g`, `v` and `as`.

use coracle_api::codec::body::MediaType;

/// One element of an `Accept` header.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Accepted<'a> {
    /// `application/json`, `application/*`, `*/*`.
    pub(crate) media_type: &'a str,
    /// Parameters other than the weight, in the order given.
    pub(crate) parameters: Vec<(&'a str, &'a str)>,
    weight: f32,
}

impl Accepted<'_> {
    /// The value of a parameter.
    pub(crate) fn parameter(&self, name: &str) -> Option<&str> {
        self.parameters
            .iter()
            .find(|(key, _)| *key == name)
            .map(|(_, value)| *value)
    }
}

/// The elements of a header, those that are liked best first; anything at all where the header is empty.
pub(crate) fn accepted(header: &str) -> Vec<Accepted<'_>> {
    if header.trim().is_empty() {
        return vec![Accepted {
            media_type: "*/*",
            parameters: Vec::new(),
            weight: 1.0,
        }];
    }
    let mut elements: Vec<Accepted<'_>> = header
        .split(',')
        .map(element)
        .filter(|e| e.weight > 0.0)
        .collect();
    elements.sort_by(|a, b| b.weight.total_cmp(&a.weight));
    elements
}

fn element(text: &str) -> Accepted<'_> {
    let mut parts = text.split(';').map(str::trim);
    let mut element = Accepted {
        media_type: parts.next().unwrap_or_default(),
        parameters: Vec::new(),
        weight: 1.0,
    };
    for part in parts {
        let (key, value) = part.split_once('=').unwrap_or((part, ""));
        let value = value.trim().trim_matches('"');
        match key.trim() {
            "q" => element.weight = value.parse().unwrap_or(0.0),
            key => element.parameters.push((key, value)),
        }
    }
    element
}

/// The form in which a document is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Form {
    pub(super) media_type: MediaType,
    /// The version of apidiscovery.k8s.io for the aggregated form.
    pub(super) aggregated: Option<&'static str>,
}

impl Form {
    pub(super) fn content_type(self) -> String {
        match self.aggregated {
            Some(version) => {
                let name = self.media_type.name();
                format!("{name};g=apidiscovery.k8s.io;v={version};as=APIGroupDiscoveryList")
            }
            None => self.media_type.name().to_owned(),
        }
    }
}

/// The best form that a header accepts; nothing where there is none.
pub(super) fn form(accept: &str, may_aggregate: bool) -> Option<Form> {
    accepted(accept).iter().find_map(|element| {
        let media_type = match element.media_type {
            "*/*" | "application/*" | "application/json" => MediaType::Json,
            "application/yaml" => MediaType::Yaml,
            "application/vnd.kubernetes.protobuf" => MediaType::Protobuf,
            _ => return None,
        };
        let asked = (
            element.parameter("g"),
            element.parameter("as"),
            element.parameter("v"),
        );
        let aggregated = match asked {
            (None, None, _) => None,
            (Some("apidiscovery.k8s.io"), Some("APIGroupDiscoveryList"), Some(version)) if may_aggregate => {
                Some(["v2", "v2beta1"].into_iter().find(|known| *known == version)?)
            }
            _ => return None,
        };
        Some(Form {
            media_type,
            aggregated,
        })
    })
}
