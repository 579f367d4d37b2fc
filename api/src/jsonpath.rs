//! JSON paths as kubectl and custom resource definitions write them: `.spec.size`, `.a[0].b`, `.a[*]`, `.a['b.c']`,
//! `.conditions[?(@.type=="Ready")].status`, `..name`. Names that are not there lead nowhere and are no fault.

use serde_json::Value;

/// A path that was read.
#[derive(Clone, Debug, PartialEq)]
pub struct JsonPath(Vec<Step>);

#[derive(Clone, Debug, PartialEq)]
enum Step {
    Field(String),
    /// From, to, step; negative ones count from the end.
    Slice(Option<i64>, Option<i64>, i64),
    Index(i64),
    Every,
    Deep,
    Filter(Box<Filter>),
    Union(Vec<Vec<Step>>),
}

#[derive(Clone, Debug, PartialEq)]
struct Filter {
    left: Operand,
    test: Test,
}

#[derive(Clone, Debug, PartialEq)]
enum Test {
    Exists,
    Compare(Order, Operand),
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Order {
    Equal,
    Unequal,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

#[derive(Clone, Debug, PartialEq)]
enum Operand {
    Path(Vec<Step>),
    Literal(Value),
}

/// Why a text is no path.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct JsonPathError(String);

impl JsonPath {
    /// Reads a path, with or without the `$` in front.
    ///
    /// # Errors
    /// Where it is none.
    pub fn parse(text: &str) -> Result<Self, JsonPathError> {
        let mut reader = Reader { rest: text };
        reader.rest = reader.rest.strip_prefix('$').unwrap_or(reader.rest);
        let steps = reader.steps(false)?;
        if reader.rest.is_empty() {
            Ok(Self(steps))
        } else {
            Err(JsonPathError(format!(
                "unrecognized character in action: {}",
                reader.rest
            )))
        }
    }

    /// Everything that the path leads to.
    pub fn find<'v>(&self, value: &'v Value) -> Vec<&'v Value> {
        follow(&self.0, value)
    }
}

fn follow<'v>(steps: &[Step], value: &'v Value) -> Vec<&'v Value> {
    let mut found = vec![value];
    for step in steps {
        let mut next = Vec::new();
        for value in found {
            take(step, value, &mut next);
        }
        found = next;
    }
    found
}

fn take<'v>(step: &Step, value: &'v Value, out: &mut Vec<&'v Value>) {
    match step {
        Step::Field(name) => out.extend(value.get(name)),
        Step::Every => match value {
            Value::Array(items) => out.extend(items),
            Value::Object(fields) => out.extend(fields.values()),
            _ => {}
        },
        Step::Index(index) => {
            let items = value.as_array().map_or(&[][..], Vec::as_slice);
            out.extend(place(*index, items.len()).and_then(|at| items.get(at)));
        }
        Step::Slice(from, to, by) => {
            let items = value.as_array().map_or(&[][..], Vec::as_slice);
            let bound = |bound: Option<i64>, otherwise: usize| match bound {
                None => otherwise,
                Some(bound) => place(bound, items.len()).unwrap_or(0).min(items.len()),
            };
            let (from, to) = (bound(*from, 0), bound(*to, items.len()));
            let by = usize::try_from(*by).unwrap_or(1).max(1);
            out.extend(items.get(from..to).unwrap_or_default().iter().step_by(by));
        }
        Step::Deep => deep(value, out),
        Step::Filter(filter) => {
            let items = value.as_array().map_or(&[][..], Vec::as_slice);
            out.extend(items.iter().filter(|item| filter.lets_through(item)));
        }
        Step::Union(paths) => out.extend(paths.iter().flat_map(|path| follow(path, value))),
    }
}

fn place(index: i64, len: usize) -> Option<usize> {
    if index >= 0 {
        usize::try_from(index).ok()
    } else {
        len.checked_sub(usize::try_from(index.unsigned_abs()).ok()?)
    }
}

fn deep<'v>(value: &'v Value, out: &mut Vec<&'v Value>) {
    out.push(value);
    match value {
        Value::Array(items) => items.iter().for_each(|item| deep(item, out)),
        Value::Object(fields) => fields.values().for_each(|value| deep(value, out)),
        _ => {}
    }
}

impl Filter {
    fn lets_through(&self, item: &Value) -> bool {
        let left = self.left.values(item);
        match &self.test {
            Test::Exists => !left.is_empty(),
            Test::Compare(order, right) => {
                let right = right.values(item);
                match (&left[..], &right[..]) {
                    ([left, ..], [right, ..]) => order.holds(left, right),
                    _ => false,
                }
            }
        }
    }
}

impl Operand {
    fn values<'v>(&'v self, item: &'v Value) -> Vec<&'v Value> {
        match self {
            Self::Path(steps) => follow(steps, item),
            Self::Literal(value) => vec![value],
        }
    }
}

impl Order {
    fn holds(self, left: &Value, right: &Value) -> bool {
        let order = match (left, right) {
            (Value::Number(a), Value::Number(b)) => a.as_f64().partial_cmp(&b.as_f64()),
            (Value::String(a), Value::String(b)) => Some(a.cmp(b)),
            (Value::Bool(a), Value::Bool(b)) => Some(a.cmp(b)),
            _ => None,
        };
        match self {
            Self::Equal => order.is_some_and(std::cmp::Ordering::is_eq),
            Self::Unequal => order.is_some_and(std::cmp::Ordering::is_ne),
            Self::Less => order.is_some_and(std::cmp::Ordering::is_lt),
            Self::LessOrEqual => order.is_some_and(std::cmp::Ordering::is_le),
            Self::Greater => order.is_some_and(std::cmp::Ordering::is_gt),
            Self::GreaterOrEqual => order.is_some_and(std::cmp::Ordering::is_ge),
        }
    }
}

struct Reader<'t> {
    rest: &'t str,
}

impl<'t> Reader<'t> {
    /// Steps up to the end of the text, or of the operand of a filter.
    fn steps(&mut self, in_filter: bool) -> Result<Vec<Step>, JsonPathError> {
        let mut steps = Vec::new();
        loop {
            if let Some(rest) = self.rest.strip_prefix("..") {
                self.rest = rest;
                steps.push(Step::Deep);
                if !self.rest.starts_with('[') {
                    self.name(&mut steps, in_filter);
                }
            } else if let Some(rest) = self.rest.strip_prefix('.') {
                self.rest = rest;
                self.name(&mut steps, in_filter);
            } else if let Some(rest) = self.rest.strip_prefix('[') {
                self.rest = rest;
                steps.push(self.brackets()?);
            } else {
                return Ok(steps);
            }
        }
    }

    /// A name after a dot; a backslash takes the next character as it is.
    fn name(&mut self, steps: &mut Vec<Step>, in_filter: bool) {
        let mut name = String::new();
        let mut letters = self.rest.char_indices();
        let mut end = self.rest.len();
        while let Some((at, letter)) = letters.next() {
            let ends = matches!(letter, '.' | '[')
                || in_filter && (letter.is_whitespace() || matches!(letter, '=' | '!' | '<' | '>' | ')'));
            match letter {
                '\\' => name.extend(letters.next().map(|(_, letter)| letter)),
                _ if ends => {
                    end = at;
                    break;
                }
                _ => name.push(letter),
            }
        }
        self.rest = &self.rest[end..];
        match name.as_str() {
            "" => {}
            "*" => steps.push(Step::Every),
            _ => steps.push(Step::Field(name)),
        }
    }

    fn brackets(&mut self) -> Result<Step, JsonPathError> {
        if let Some(rest) = self.rest.strip_prefix("?(") {
            self.rest = rest;
            let filter = self.filter()?;
            self.expect(")]")?;
            return Ok(Step::Filter(Box::new(filter)));
        }
        let mut parts = vec![self.selector()?];
        while self.eat(",") {
            parts.push(self.selector()?);
        }
        self.expect("]")?;
        Ok(if parts.len() == 1 {
            parts.remove(0)
        } else {
            Step::Union(parts.into_iter().map(|part| vec![part]).collect())
        })
    }

    fn selector(&mut self) -> Result<Step, JsonPathError> {
        self.rest = self.rest.trim_start();
        if self.eat("*") {
            return Ok(Step::Every);
        }
        if let Some(text) = self.quoted() {
            return Ok(Step::Field(text));
        }
        let end = self.rest.find([',', ']']).unwrap_or(self.rest.len());
        let (text, rest) = self.rest.split_at(end);
        self.rest = rest;
        let wrong = || JsonPathError(format!("invalid array index {text}"));
        let parts: Vec<&str> = text.trim().split(':').collect();
        let number = |text: &str| match text {
            "" => Ok(None),
            text => text.parse().map(Some).map_err(|_| wrong()),
        };
        match parts[..] {
            [index] => Ok(Step::Index(number(index)?.ok_or_else(wrong)?)),
            [from, to] => Ok(Step::Slice(number(from)?, number(to)?, 1)),
            [from, to, by] => Ok(Step::Slice(number(from)?, number(to)?, number(by)?.unwrap_or(1))),
            _ => Err(wrong()),
        }
    }

    /// Text between quotes of either kind.
    fn quoted(&mut self) -> Option<String> {
        let quote = self
            .rest
            .chars()
            .next()
            .filter(|first| matches!(first, '\'' | '"'))?;
        let mut text = String::new();
        let mut letters = self.rest[1..].char_indices();
        while let Some((at, letter)) = letters.next() {
            match letter {
                '\\' => text.extend(letters.next().map(|(_, letter)| letter)),
                letter if letter == quote => {
                    self.rest = &self.rest[1 + at + quote.len_utf8()..];
                    return Some(text);
                }
                letter => text.push(letter),
            }
        }
        None
    }

    fn filter(&mut self) -> Result<Filter, JsonPathError> {
        let left = self.operand()?;
        self.rest = self.rest.trim_start();
        let orders = [
            ("==", Order::Equal),
            ("!=", Order::Unequal),
            ("<=", Order::LessOrEqual),
            (">=", Order::GreaterOrEqual),
            ("<", Order::Less),
            (">", Order::Greater),
        ];
        for (sign, order) in orders {
            if self.eat(sign) {
                let right = self.operand()?;
                self.rest = self.rest.trim_start();
                let test = Test::Compare(order, right);
                return Ok(Filter { left, test });
            }
        }
        Ok(Filter {
            left,
            test: Test::Exists,
        })
    }

    fn operand(&mut self) -> Result<Operand, JsonPathError> {
        self.rest = self.rest.trim_start();
        if self.eat("@") {
            return Ok(Operand::Path(self.steps(true)?));
        }
        if let Some(text) = self.quoted() {
            return Ok(Operand::Literal(text.into()));
        }
        let end = self
            .rest
            .find(|letter: char| letter.is_whitespace() || ")=!<>".contains(letter))
            .unwrap_or(self.rest.len());
        let (text, rest) = self.rest.split_at(end);
        self.rest = rest;
        match text {
            "true" => Ok(Operand::Literal(true.into())),
            "false" => Ok(Operand::Literal(false.into())),
            text => match serde_json::from_str(text) {
                Ok(number @ Value::Number(_)) => Ok(Operand::Literal(number)),
                _ => Err(JsonPathError(format!("unrecognized identifier {text}"))),
            },
        }
    }

    fn eat(&mut self, text: &str) -> bool {
        match self.rest.strip_prefix(text) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    fn expect(&mut self, text: &str) -> Result<(), JsonPathError> {
        if self.eat(text) {
            Ok(())
        } else {
            Err(JsonPathError("unterminated array or filter".to_owned()))
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_paths_lead_to() {
        let object = json!({
            "spec": {"size": 7, "a.b": 1, "list": [1, 2, 3], "deep": {"name": "x"}},
            "status": {"conditions": [{"type": "Ready", "status": "True", "n": 1}, {"type": "Other", "status": "False", "n": 5}]},
        });
        let table = [
            (".spec.size", json!([7])),
            ("$.spec.size", json!([7])),
            (".spec.gone.more", json!([])),
            (".spec.list[0]", json!([1])),
            (".spec.list[-1]", json!([3])),
            (".spec.list[0:2]", json!([1, 2])),
            (".spec.list[*]", json!([1, 2, 3])),
            (".spec.list[0,2]", json!([1, 3])),
            (".spec['a.b']", json!([1])),
            (r".spec.a\.b", json!([1])),
            (
                r#".status.conditions[?(@.type=="Ready")].status"#,
                json!(["True"]),
            ),
            (
                ".status.conditions[?(@.type == 'Other')].status",
                json!(["False"]),
            ),
            (".status.conditions[?(@.n>2)].type", json!(["Other"])),
            (".status.conditions[?(@.gone)].type", json!([])),
            ("..name", json!(["x"])),
            (".status.conditions.*.type", json!(["Ready", "Other"])),
        ];
        for (path, want) in table {
            let found = JsonPath::parse(path).unwrap();
            assert_eq!(json!(found.find(&object)), want, "{path}");
        }
    }

    #[test]
    fn what_is_no_path() {
        for text in [".a[", ".a[x]", ".a[?(@.b==)]", "a b"] {
            assert!(JsonPath::parse(text).is_err(), "{text}");
        }
    }
}
