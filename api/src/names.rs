//! What names may look like: labels, subdomains, qualified names, ports, keys, and the random end of a generated name.
//!
//! Each check gives the faults that upstream would report, in its words and order (`util/validation` and
//! `api/validate/content` of apimachinery); no fault means that the name is fine.

const LABEL_FORMAT: &str = "[a-z0-9]([-a-z0-9]*[a-z0-9])?";
const SUBDOMAIN_FORMAT: &str = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*";
const DNS1035_FORMAT: &str = "[a-z]([-a-z0-9]*[a-z0-9])?";
const QUALIFIED_FORMAT: &str = "([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]";
const QUALIFIED_RULE: &str = "must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character";

/// The most bytes of a DNS label and of a label's value.
pub const LABEL_MAX: usize = 63;
/// The most bytes of a DNS subdomain and of a config key.
pub const SUBDOMAIN_MAX: usize = 253;

/// The letters that a generated name may end in: no vowels and nothing that looks like another letter, so that no words come out.
const SUFFIX_ALPHABET: &[u8; 27] = b"bcdfghjklmnpqrstvwxz2456789";
/// How many random letters `generateName` gets.
pub const SUFFIX_LENGTH: usize = 5;

fn too_long(most: usize) -> String {
    format!("must be no more than {most} characters")
}

/// Upstream's newer checks count in bytes.
fn too_many_bytes(most: usize) -> String {
    format!("must be no more than {most} bytes")
}

fn pattern(rule: &str, format: &str, examples: &[&str]) -> String {
    let examples: Vec<String> = examples.iter().map(|example| format!("'{example}', ")).collect();
    if examples.is_empty() {
        format!("{rule} (regex used for validation is '{format}')")
    } else {
        format!(
            "{rule} (e.g. {}regex used for validation is '{format}')",
            examples.join(" or ")
        )
    }
}

fn checks<const N: usize>(rules: [(bool, String); N]) -> Vec<String> {
    rules
        .into_iter()
        .filter_map(|(fine, message)| (!fine).then_some(message))
        .collect()
}

fn lower_or_digit(byte: u8) -> bool {
    byte.is_ascii_lowercase() || byte.is_ascii_digit()
}

fn is_label(text: &str) -> bool {
    let bytes = text.as_bytes();
    bytes.first().is_some_and(|&b| lower_or_digit(b))
        && bytes.last().is_some_and(|&b| lower_or_digit(b))
        && bytes.iter().all(|&b| lower_or_digit(b) || b == b'-')
}

fn is_subdomain(text: &str) -> bool {
    text.split('.').all(is_label)
}

/// RFC 1123 label: lower case letters, digits, dashes; the name of a namespace or container.
pub fn dns1123_label(name: &str) -> Vec<String> {
    if name.len() <= LABEL_MAX && is_label(name) {
        return Vec::new();
    }
    let mut faults = checks([(name.len() <= LABEL_MAX, too_long(LABEL_MAX))]);
    if is_label(name) {
        return faults;
    }
    faults.push(if is_subdomain(name) {
        "must not contain dots".into()
    } else {
        pattern(
            "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character",
            LABEL_FORMAT,
            &["my-name", "123-abc"],
        )
    });
    faults
}

/// RFC 1123 subdomain: labels joined by dots; the name of most objects.
pub fn dns1123_subdomain(name: &str) -> Vec<String> {
    if name.len() <= SUBDOMAIN_MAX && is_subdomain(name) {
        return Vec::new();
    }
    let message = pattern(
        "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character",
        SUBDOMAIN_FORMAT,
        &["example.com"],
    );
    checks([
        (name.len() <= SUBDOMAIN_MAX, too_long(SUBDOMAIN_MAX)),
        (is_subdomain(name), message),
    ])
}

/// A subdomain whose labels may begin with `_` or have it within, as those of service records do.
pub fn dns1123_subdomain_with_underscore(name: &str) -> Vec<String> {
    let label = |label: &str| {
        let rest = label.strip_prefix('_').unwrap_or(label);
        !rest.starts_with(['_', '-']) && is_subdomain(&rest.replace('_', "-")) && !rest.contains('.')
    };
    let fine = name.split('.').all(label);
    let message = pattern(
        "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '_', '-' or '.', and must start and end with an alphanumeric character",
        r"_?[a-z0-9]([-_a-z0-9]*[a-z0-9])?(\._?[a-z0-9]([-_a-z0-9]*[a-z0-9])?)*",
        &["example.com"],
    );
    checks([
        (name.len() <= SUBDOMAIN_MAX, too_long(SUBDOMAIN_MAX)),
        (fine, message),
    ])
}

/// A subdomain whose first label is `*`; the host of an Ingress rule.
pub fn wildcard_dns1123_subdomain(name: &str) -> Vec<String> {
    let fine = name.strip_prefix("*.").is_some_and(is_subdomain);
    let format = format!(r"\*\.{SUBDOMAIN_FORMAT}");
    let message = pattern(
        "a wildcard DNS-1123 subdomain must start with '*.', followed by a valid DNS subdomain, which must consist of lower case alphanumeric characters, '-' or '.' and end with an alphanumeric character",
        &format,
        &["*.example.com"],
    );
    checks([
        (name.len() <= SUBDOMAIN_MAX, too_long(SUBDOMAIN_MAX)),
        (fine, message),
    ])
}

/// RFC 1035 label: as an RFC 1123 label, but starting with a letter; the name of a Service.
pub fn dns1035_label(name: &str) -> Vec<String> {
    let fine = is_label(name) && name.as_bytes()[0].is_ascii_lowercase();
    let message = pattern(
        "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, and end with an alphanumeric character",
        DNS1035_FORMAT,
        &["my-name", "abc-123"],
    );
    checks([(name.len() <= LABEL_MAX, too_long(LABEL_MAX)), (fine, message)])
}

fn is_qualified_part(name: &str) -> bool {
    let bytes = name.as_bytes();
    bytes.first().is_some_and(u8::is_ascii_alphanumeric)
        && bytes.last().is_some_and(u8::is_ascii_alphanumeric)
        && bytes
            .iter()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
}

/// The key of a label or annotation, a finalizer, a resource's name: `name` or `example.com/name`.
pub fn qualified_name(text: &str) -> Vec<String> {
    let mut faults = Vec::new();
    let examples = ["MyName", "my.name", "123-abc"];
    let name = match text.split('/').collect::<Vec<_>>()[..] {
        [name] => name,
        [prefix, name] => {
            if prefix.is_empty() {
                faults.push("prefix part must be non-empty".into());
            } else {
                faults.extend(
                    dns1123_subdomain(prefix)
                        .into_iter()
                        .map(|fault| format!("prefix part {fault}")),
                );
            }
            name
        }
        _ => {
            let rule = pattern(
                &format!("a valid label key {QUALIFIED_RULE}"),
                QUALIFIED_FORMAT,
                &examples,
            );
            return vec![format!(
                "{rule} with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')"
            )];
        }
    };
    if name.is_empty() {
        faults.push("name part must be non-empty".into());
    } else if name.len() > LABEL_MAX {
        faults.push(format!("name part {}", too_many_bytes(LABEL_MAX)));
    }
    if !is_qualified_part(name) {
        faults.push(format!(
            "name part {}",
            pattern(QUALIFIED_RULE, QUALIFIED_FORMAT, &examples)
        ));
    }
    faults
}

/// The value of a label; may be empty.
pub fn label_value(value: &str) -> Vec<String> {
    let fine = value.is_empty() || is_qualified_part(value);
    if fine && value.len() <= LABEL_MAX {
        return Vec::new();
    }
    let rule = "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character";
    let message = pattern(
        rule,
        &format!("({QUALIFIED_FORMAT})?"),
        &["MyValue", "my_value", "12345"],
    );
    checks([
        (value.len() <= LABEL_MAX, too_many_bytes(LABEL_MAX)),
        (fine, message),
    ])
}

/// The key of a ConfigMap or Secret: a file's name.
pub fn config_map_key(key: &str) -> Vec<String> {
    let fine = !key.is_empty()
        && key
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'));
    let message = pattern(
        "a valid config key must consist of alphanumeric characters, '-', '_' or '.'",
        "[-._a-zA-Z0-9]+",
        &["key.name", "KEY_NAME", "key-name"],
    );
    let mut faults = checks([
        (key.len() <= SUBDOMAIN_MAX, too_long(SUBDOMAIN_MAX)),
        (fine, message),
    ]);
    match key {
        "." => faults.push("must not be '.'".into()),
        ".." => faults.push("must not be '..'".into()),
        _ if key.starts_with("..") => faults.push("must not start with '..'".into()),
        _ => {}
    }
    faults
}

/// An identifier as C has it.
pub fn c_identifier(text: &str) -> Vec<String> {
    let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    let fine = text.bytes().all(word) && text.bytes().next().is_some_and(|b| !b.is_ascii_digit());
    let rule = "a valid C identifier must start with alphabetic character or '_', followed by a string of alphanumeric characters or '_'";
    let examples = ["my_name", "MY_NAME", "MyName"];
    checks([(fine, pattern(rule, "[A-Za-z_][A-Za-z0-9_]*", &examples))])
}

/// An environment variable's name, as of Kubernetes 1.30 any printable ASCII but `=`.
pub fn env_var_name(name: &str) -> Vec<String> {
    let printable = name.chars().all(|c| matches!(c, ' '..='~') && c != '=');
    let rule =
        "a valid environment variable name must consist only of printable ASCII characters other than '='";
    checks([
        (
            !name.is_empty(),
            "environment variable name must be non-empty".into(),
        ),
        (printable, rule.into()),
    ])
}

/// A port's name (RFC 6335 service name, lower case).
pub fn port_name(name: &str) -> Vec<String> {
    let charset = !name.is_empty() && name.bytes().all(|b| lower_or_digit(b) || b == b'-');
    checks([
        (name.len() <= 15, too_long(15)),
        (
            charset,
            "must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)".into(),
        ),
        (
            name.bytes().any(|b| b.is_ascii_lowercase()),
            "must contain at least one letter (a-z)".into(),
        ),
        (
            !name.contains("--"),
            "must not contain consecutive hyphens".into(),
        ),
        (
            !name.starts_with('-') && !name.ends_with('-'),
            "must not begin or end with a hyphen".into(),
        ),
    ])
}

/// A TCP, UDP or SCTP port's number.
pub fn port_number(port: i64) -> Vec<String> {
    in_range(port, 1, 65535)
}

/// A number between `least` and `most`, both allowed.
pub fn in_range(number: i64, least: i64, most: i64) -> Vec<String> {
    checks([(
        (least..=most).contains(&number),
        format!("must be between {least} and {most}, inclusive"),
    )])
}

/// A percentage such as `25%`.
pub fn percent(text: &str) -> Vec<String> {
    let fine = text
        .strip_suffix('%')
        .is_some_and(|n| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()));
    let rule = "a valid percent string must be a numeric string followed by an ending '%'";
    checks([(fine, pattern(rule, "[0-9]+%", &["1%", "93%"]))])
}

/// The name of an HTTP header.
pub fn http_header_name(name: &str) -> Vec<String> {
    let fine = !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    let rule = "a valid HTTP header must consist of alphanumeric characters or '-'";
    checks([(fine, pattern(rule, "[-A-Za-z0-9]+", &["X-Header-Name"]))])
}

/// A name that can stand alone in a URL's path; names of RBAC objects.
pub fn path_segment(name: &str) -> Vec<String> {
    match name {
        "." | ".." => vec![format!("may not be '{name}'")],
        _ => path_segment_prefix(name),
    }
}

/// The beginning of a name that can stand alone in a URL's path.
pub fn path_segment_prefix(name: &str) -> Vec<String> {
    ["/", "%"]
        .iter()
        .filter(|bad| name.contains(**bad))
        .map(|bad| format!("may not contain '{bad}'"))
        .collect()
}

/// A domain with at least two dots: signer and condition names.
pub fn fully_qualified_name(name: &str) -> Vec<String> {
    let faults = dns1123_subdomain(name);
    if !faults.is_empty() {
        return vec![faults.join(",")];
    }
    let fine = name.split('.').count() >= 3;
    checks([(
        fine,
        "should be a domain with at least three segments separated by dots".into(),
    )])
}

/// The name for `generate_name`: its beginning, cut so that the whole has at most 63 bytes, and five letters made of
/// `random`.
pub fn generated_name(generate_name: &str, random: [u8; SUFFIX_LENGTH]) -> String {
    let mut end = generate_name.len().min(LABEL_MAX - SUFFIX_LENGTH);
    while !generate_name.is_char_boundary(end) {
        end -= 1;
    }
    let mut name = generate_name[..end].to_owned();
    let letters = random
        .iter()
        .map(|&byte| SUFFIX_ALPHABET[usize::from(byte) % SUFFIX_ALPHABET.len()]);
    name.extend(letters.map(char::from));
    name
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn rules_accept_and_refuse_as_upstream_does() {
        type Rule = fn(&str) -> Vec<String>;
        let long = "x".repeat(64);
        let cases: [(&str, Rule, &[&str], &[&str]); 8] = [
            (
                "label",
                dns1123_label,
                &["a", "0a-b"],
                &["", "A", "-a", "a-", "a.b", &long],
            ),
            (
                "subdomain",
                dns1123_subdomain,
                &["a.b-c.1", &long],
                &["", "a..b", ".a", "a_b"],
            ),
            ("1035", dns1035_label, &["a1"], &["1a", "", "a-"]),
            (
                "qualified",
                qualified_name,
                &["a", "A_b.c", "example.com/A"],
                &["", "/a", "a/", "a/b/c", "A.b/c d"],
            ),
            ("label value", label_value, &["", "a_B.1"], &["-a", "a b", &long]),
            (
                "config key",
                config_map_key,
                &["a", ".a", "A_b-c"],
                &["", ".", "..", "..a", "a/b"],
            ),
            (
                "port",
                port_name,
                &["http", "a1-b"],
                &["", "1", "a--b", "-a", "A", "sixteen-letters-"],
            ),
            (
                "path segment",
                path_segment,
                &["a:b", "A B"],
                &[".", "..", "a/b", "a%b"],
            ),
        ];
        for (what, rule, good, bad) in cases {
            for name in good {
                assert_eq!(rule(name), Vec::<String>::new(), "{what} {name:?}");
            }
            for name in bad {
                assert_ne!(rule(name), Vec::<String>::new(), "{what} {name:?}");
            }
        }
    }

    #[test]
    fn wording_names_rule_examples_and_pattern() {
        assert_eq!(dns1123_label("a.b"), ["must not contain dots"]);
        assert_eq!(
            dns1123_subdomain("A"),
            [
                "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"
            ]
        );
        assert_eq!(
            qualified_name("a b"),
            [
                "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')"
            ]
        );
    }

    proptest! {
        #[test]
        fn a_generated_name_of_a_label_is_a_label(base in "[a-z][a-z0-9-]{0,80}", random: [u8; 5]) {
            let name = generated_name(&base, random);
            prop_assert_eq!(dns1123_label(&name), Vec::<String>::new());
            let kept = &name[..name.len() - SUFFIX_LENGTH];
            prop_assert!(base.starts_with(kept));
        }

        #[test]
        fn no_rule_panics(text in ".{0,70}") {
            for rule in [dns1123_label, dns1123_subdomain, dns1035_label, qualified_name, label_value, config_map_key,
                env_var_name, port_name, percent, http_header_name, path_segment, wildcard_dns1123_subdomain, fully_qualified_name] {
                prop_assert!(rule(&text).iter().all(|message| !message.is_empty()));
            }
            prop_assert!(generated_name(&text, [0; 5]).len() <= LABEL_MAX);
        }
    }
}
