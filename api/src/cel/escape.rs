//! Names of properties as expressions write them: what is no identifier of CEL is escaped.

use std::borrow::Cow;

const RESERVED: &[&str] = &[
    "true",
    "false",
    "null",
    "in",
    "as",
    "break",
    "const",
    "continue",
    "else",
    "for",
    "function",
    "if",
    "import",
    "let",
    "loop",
    "package",
    "namespace",
    "return",
    "var",
    "void",
    "while",
];

const SYMBOLS: &[(&str, &str)] = &[("underscores", "__"), ("dot", "."), ("dash", "-"), ("slash", "/")];

/// The name by which expressions reach a property; none where they cannot.
pub fn escape(name: &str) -> Option<Cow<'_, str>> {
    if !name.starts_with(|c: char| c.is_ascii_alphabetic() || matches!(c, '_' | '-' | '.' | '/')) {
        return None;
    }
    if RESERVED.contains(&name) {
        return Some(Cow::Owned(format!("__{name}__")));
    }
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '_';
    if !name.chars().all(|c| plain(c) || matches!(c, '-' | '.' | '/')) {
        return None;
    }
    if name.chars().all(plain) && !name.contains("__") {
        return Some(Cow::Borrowed(name));
    }
    let mut escaped = String::with_capacity(name.len() + 16);
    let mut rest = name;
    while !rest.is_empty() {
        match SYMBOLS.iter().find(|(_, symbol)| rest.starts_with(symbol)) {
            Some((word, symbol)) => {
                escaped.push_str("__");
                escaped.push_str(word);
                escaped.push_str("__");
                rest = &rest[symbol.len()..];
            }
            None => {
                escaped.push_str(&rest[..1]);
                rest = &rest[1..];
            }
        }
    }
    Some(Cow::Owned(escaped))
}

/// The property that an escaped name means.
pub fn unescape(name: &str) -> Cow<'_, str> {
    if !name.contains("__") {
        return Cow::Borrowed(name);
    }
    if let Some(word) = name.strip_prefix("__").and_then(|rest| rest.strip_suffix("__"))
        && RESERVED.contains(&word)
    {
        return Cow::Owned(word.to_owned());
    }
    let mut plain = String::with_capacity(name.len());
    let mut rest = name;
    while let Some(first) = rest.chars().next() {
        let symbol = rest.strip_prefix("__").and_then(|after| {
            let (word, symbol) = SYMBOLS
                .iter()
                .find(|(word, _)| after.strip_prefix(word).is_some_and(|end| end.starts_with("__")))?;
            Some((*symbol, &after[word.len() + 2..]))
        });
        if let Some((symbol, after)) = symbol {
            plain.push_str(symbol);
            rest = after;
        } else {
            plain.push(first);
            rest = &rest[first.len_utf8()..];
        }
    }
    Cow::Owned(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escaped_names_mean_what_they_were_made_from() {
        for (name, escaped) in [
            ("replicas", "replicas"),
            ("namespace", "__namespace__"),
            ("a-b", "a__dash__b"),
            ("a.b/c", "a__dot__b__slash__c"),
            ("a__b", "a__underscores__b"),
            ("_a_b", "_a_b"),
        ] {
            assert_eq!(escape(name).as_deref(), Some(escaped));
            assert_eq!(unescape(escaped), name);
        }
        for name in ["", "1a", "a b", "ä", "a$"] {
            assert_eq!(escape(name), None, "{name}");
        }
    }
}
