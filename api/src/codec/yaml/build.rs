//! What a tree of nodes means as JSON: as Go's `yaml.v2` decodes it and `sigs.k8s.io/yaml` turns it into JSON.

use serde_json::{Map, Number, Value};

use super::keys;
use super::resolve::{Scalar, resolve};
use super::tree::{Content, Node, Place};
use super::write::WHOLE_BELOW;
use crate::codec::json::Parsed;
use crate::codec::{DecodeError, MAX_BODY_BYTES};

/// How deep values may be nested, with what aliases stand for: as deep as JSON may be.
const MAX_DEPTH: usize = 128;

/// How many bytes of text aliases may repeat. Go shares them until it writes JSON; here they are copied at once.
const MAX_REPEATED: usize = 4 * MAX_BODY_BYTES;

/// The range of sizes over which aliases become suspicious: yaml.v2's decode.go.
const RATIO_RANGE: std::ops::Range<u32> = 400_000..4_000_000;

/// How many keys that stand twice are named; Go names all.
const MAX_FAULTS: usize = 100;

const MERGE_WANTS_MAPS: &str = "yaml: map merge requires map or sequence of maps as the value";
const EXCESSIVE: &str = "yaml: document contains excessive aliasing";

/// The value of a tree, which has a root.
pub(super) fn value(nodes: &[Node<'_>]) -> Result<Parsed, DecodeError> {
    let mut building = Building {
        nodes,
        decoded: 1,
        repeated: 0,
        repeated_bytes: 0,
        aliases: 0,
        faults: Vec::new(),
    };
    let value = building.value(0, 0)?;
    let faults = building.faults;
    let duplicates = if faults.is_empty() {
        Vec::new()
    } else {
        vec![format!("yaml: unmarshal errors:\n  {}", faults.join("\n  "))]
    };
    Ok(Parsed {
        value,
        duplicates,
        keys: Vec::new(),
        overlaid: Vec::new(),
    })
}

struct Building<'t> {
    nodes: &'t [Node<'t>],
    /// How many nodes were decoded, a node that aliases stand for as often as they do.
    decoded: u32,
    /// How many of these for aliases.
    repeated: u32,
    repeated_bytes: usize,
    /// How many aliases are being followed.
    aliases: u32,
    /// Keys that stand twice.
    faults: Vec<String>,
}

impl<'t> Building<'t> {
    fn value(&mut self, place: Place, depth: usize) -> Result<Value, DecodeError> {
        self.count()?;
        if depth > MAX_DEPTH {
            return Err(DecodeError::TooDeep);
        }
        match &self.nodes[place].content {
            Content::Scalar { .. } => json(self.scalar(place)?),
            Content::List(items) => {
                let items = items.iter().map(|item| self.value(*item, depth + 1));
                Ok(Value::Array(items.collect::<Result<_, _>>()?))
            }
            Content::Map(children) => {
                let mut map = Map::new();
                self.fill(&mut map, children, depth)?;
                Ok(Value::Object(map))
            }
            Content::Alias(target) => self.following(|building| building.value(*target, depth + 1)),
        }
    }

    /// Adds the entries of a mapping to a map; of keys that stand twice the last counts.
    fn fill(
        &mut self,
        map: &mut Map<String, Value>,
        children: &[Place],
        depth: usize,
    ) -> Result<(), DecodeError> {
        for pair in children.chunks_exact(2) {
            let (key, value) = (pair[0], pair[1]);
            if self.is_merge(key) {
                self.merge(map, value, depth)?;
                continue;
            }
            let scalar = self.key(key, depth)?;
            let decoded = self.value(value, depth + 1)?;
            let name = keys::name(&scalar, &decoded).map_err(DecodeError::Yaml)?;
            if map.insert(name, decoded).is_some() && self.faults.len() < MAX_FAULTS {
                let (line, key) = (self.nodes[value].line, keys::as_go(&scalar));
                self.faults
                    .push(format!("line {line}: key {key} already set in map"));
            }
        }
        Ok(())
    }

    fn is_merge(&self, place: Place) -> bool {
        match &self.nodes[place].content {
            Content::Scalar { text, tag, plain } => {
                text == "<<"
                    && match tag.as_deref() {
                        None => *plain,
                        Some(tag) => tag == "!" || tag == "tag:yaml.org,2002:merge",
                    }
            }
            _ => false,
        }
    }

    /// Adds the entries of one mapping, or of a list of them of which the first counts most.
    fn merge(&mut self, map: &mut Map<String, Value>, place: Place, depth: usize) -> Result<(), DecodeError> {
        if let Content::List(items) = &self.nodes[place].content {
            return items
                .iter()
                .rev()
                .try_for_each(|item| self.merge_one(map, *item, depth));
        }
        self.merge_one(map, place, depth)
    }

    fn merge_one(
        &mut self,
        map: &mut Map<String, Value>,
        place: Place,
        depth: usize,
    ) -> Result<(), DecodeError> {
        if depth > MAX_DEPTH {
            return Err(DecodeError::TooDeep);
        }
        let children_of = |place: Place| match &self.nodes[place].content {
            Content::Map(children) => Some(children),
            _ => None,
        };
        match &self.nodes[place].content {
            Content::Map(children) => {
                self.count()?;
                self.fill(map, children, depth + 1)
            }
            Content::Alias(target) => {
                let children =
                    children_of(*target).ok_or_else(|| DecodeError::Yaml(MERGE_WANTS_MAPS.to_owned()))?;
                self.count()?;
                self.following(|building| {
                    building.count()?;
                    building.fill(map, children, depth + 1)
                })
            }
            _ => Err(DecodeError::Yaml(MERGE_WANTS_MAPS.to_owned())),
        }
    }

    fn key(&mut self, place: Place, depth: usize) -> Result<Scalar, DecodeError> {
        match &self.nodes[place].content {
            Content::Scalar { .. } => {
                self.count()?;
                self.scalar(place)
            }
            Content::Alias(target) => {
                self.count()?;
                self.following(|building| building.key(*target, depth + 1))
            }
            Content::List(_) | Content::Map(_) => {
                let key = self.value(place, depth + 1)?;
                Err(DecodeError::Yaml(format!(
                    "yaml: invalid map key: {}",
                    keys::value_as_go(&key)
                )))
            }
        }
    }

    fn scalar(&mut self, place: Place) -> Result<Scalar, DecodeError> {
        let Content::Scalar { text, tag, plain } = &self.nodes[place].content else {
            return Ok(Scalar::Null);
        };
        if self.aliases > 0 {
            self.repeated_bytes += text.len();
            if self.repeated_bytes > MAX_REPEATED {
                return Err(DecodeError::Yaml(EXCESSIVE.to_owned()));
            }
        }
        if tag.is_none() && !plain {
            return Ok(Scalar::Text(text.clone().into_owned()));
        }
        resolve(tag.as_deref(), text).map_err(|fault| DecodeError::Yaml(format!("yaml: {fault}")))
    }

    fn following<T>(
        &mut self,
        follow: impl FnOnce(&mut Self) -> Result<T, DecodeError>,
    ) -> Result<T, DecodeError> {
        self.aliases += 1;
        let followed = follow(self);
        self.aliases -= 1;
        followed
    }

    /// Counts a node, and stops where too much of the document comes from aliases.
    fn count(&mut self) -> Result<(), DecodeError> {
        self.decoded += 1;
        if self.aliases > 0 {
            self.repeated += 1;
        }
        let suspicious = self.repeated > 100 && self.decoded > 1000;
        if suspicious && f64::from(self.repeated) / f64::from(self.decoded) > allowed_ratio(self.decoded) {
            return Err(DecodeError::Yaml(EXCESSIVE.to_owned()));
        }
        Ok(())
    }
}

/// Which part of the nodes may come from aliases: 99 % in small documents, 10 % in large ones.
fn allowed_ratio(decoded: u32) -> f64 {
    let above = f64::from(decoded.clamp(RATIO_RANGE.start, RATIO_RANGE.end) - RATIO_RANGE.start);
    0.99 - 0.89 * above / f64::from(RATIO_RANGE.end - RATIO_RANGE.start)
}

/// A scalar in JSON. Go writes whole numbers without a point, so that they are integers from then on.
fn json(scalar: Scalar) -> Result<Value, DecodeError> {
    Ok(match scalar {
        Scalar::Null => Value::Null,
        Scalar::Bool(flag) => flag.into(),
        Scalar::Int(number) => number.into(),
        Scalar::Uint(number) => number.into(),
        Scalar::Text(text) => text.into(),
        Scalar::Float(number) => match (whole(number), Number::from_f64(number)) {
            (Some(number), _) | (None, Some(number)) => Value::Number(number),
            (None, None) => {
                return Err(DecodeError::Yaml(format!(
                    "json: unsupported value: {}",
                    infinite(number)
                )));
            }
        },
    })
}

/// Makes integers of all whole floats in a value.
pub(super) fn whole_numbers(value: &mut Value) {
    match value {
        Value::Number(number) if number.is_f64() => {
            if let Some(number) = number.as_f64().and_then(whole) {
                *value = Value::Number(number);
            }
        }
        Value::Array(items) => items.iter_mut().for_each(whole_numbers),
        Value::Object(entries) => entries.values_mut().for_each(whole_numbers),
        _ => {}
    }
}

/// A whole number as Go's JSON has it, where that is an integer for whoever reads it: the digits that tell the float from others,
/// and zeros.
fn whole(number: f64) -> Option<Number> {
    if number.fract() != 0.0 || number.abs() >= WHOLE_BELOW {
        return None;
    }
    let digits = number.to_string();
    let signed = digits.parse::<i64>().map(Number::from);
    signed.or_else(|_| digits.parse::<u64>().map(Number::from)).ok()
}

fn infinite(number: f64) -> &'static str {
    if number.is_nan() {
        "NaN"
    } else if number > 0.0 {
        "+Inf"
    } else {
        "-Inf"
    }
}
