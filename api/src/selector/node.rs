//! Requirements that node selectors make of a node's labels and fields. Pure.

/// Whether a label or field that has this value, or is not there, is as the requirement wants it: `operator` is one of `In`,
/// `NotIn`, `Exists`, `DoesNotExist`, `Gt`, `Lt`; the last two compare integers. Any other operator holds of nothing.
#[must_use]
pub fn satisfies(operator: &str, values: &[String], value: Option<&str>) -> bool {
    let listed = value.is_some_and(|value| values.iter().any(|listed| listed == value));
    let number = |text: &str| text.parse::<i64>().ok();
    let numbers = || {
        value
            .and_then(number)
            .zip(values.first().and_then(|bound| number(bound)))
    };
    match operator {
        "In" => listed,
        "NotIn" => !listed,
        "Exists" => value.is_some(),
        "DoesNotExist" => value.is_none(),
        "Gt" => numbers().is_some_and(|(own, bound)| own > bound),
        "Lt" => numbers().is_some_and(|(own, bound)| own < bound),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operators() {
        let cases: [(&str, &[&str], Option<&str>, bool); 11] = [
            ("In", &["a", "b"], Some("a"), true),
            ("In", &["b"], Some("a"), false),
            ("In", &["b"], None, false),
            ("NotIn", &["a"], Some("a"), false),
            ("NotIn", &["a"], None, true),
            ("Exists", &[], Some("a"), true),
            ("DoesNotExist", &[], None, true),
            ("Gt", &["7"], Some("8"), true),
            ("Lt", &["8"], Some("8"), false),
            ("Gt", &["1"], Some("a"), false),
            ("Near", &["1"], Some("1"), false),
        ];
        for (operator, values, value, expected) in cases {
            let values: Vec<_> = values.iter().map(|value| (*value).to_owned()).collect();
            assert_eq!(
                satisfies(operator, &values, value),
                expected,
                "{value:?} {operator} {values:?}"
            );
        }
    }
}
