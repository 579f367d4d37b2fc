//! Taints of nodes, and which of them a pod's toleration covers. Pure.

/// A toleration's fields, each empty where it is not set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Toleration<'a> {
    /// The taint's key; any where empty.
    pub key: &'a str,
    /// How the values are compared: `Equal` where empty.
    pub operator: &'a str,
    /// The value to compare with.
    pub value: &'a str,
    /// The taint's effect; any where empty.
    pub effect: &'a str,
}

/// A taint's fields, each empty where it is not set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Taint<'a> {
    /// What it is about.
    pub key: &'a str,
    /// What of it.
    pub value: &'a str,
    /// What becomes of pods that do not tolerate it.
    pub effect: &'a str,
}

impl Toleration<'_> {
    /// Whether it covers this taint: same effect or any, same key or any, and what the operator asks of the value.
    pub fn covers(&self, taint: &Taint<'_>) -> bool {
        let any_or = |own: &str, other: &str| own.is_empty() || own == other;
        let numbers = || {
            self.value
                .parse::<i64>()
                .ok()
                .zip(taint.value.parse::<i64>().ok())
        };
        let agrees = match self.operator {
            "" | "Equal" => self.value == taint.value,
            "Exists" => true,
            // KEP-5471: the taint's value compared with the toleration's as numbers.
            "Lt" => numbers().is_some_and(|(value, tainted)| tainted < value),
            "Gt" => numbers().is_some_and(|(value, tainted)| tainted > value),
            _ => false,
        };
        any_or(self.effect, taint.effect) && any_or(self.key, taint.key) && agrees
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tolerations_cover_taints() {
        let gpu = Taint {
            key: "dedicated",
            value: "gpu",
            effect: "NoSchedule",
        };
        let seven = Taint { value: "7", ..gpu };
        for (taint, [key, operator, value, effect], covered) in [
            (gpu, ["dedicated", "Equal", "gpu", "NoSchedule"], true),
            (gpu, ["dedicated", "", "gpu", ""], true),
            (gpu, ["dedicated", "Equal", "cpu", ""], false),
            (gpu, ["dedicated", "Exists", "", "NoExecute"], false),
            (gpu, ["dedicated", "Exists", "", ""], true),
            (gpu, ["", "Exists", "", ""], true),
            (gpu, ["other", "Exists", "", ""], false),
            (gpu, ["dedicated", "Like", "gpu", ""], false),
            (gpu, ["dedicated", "Lt", "9", ""], false),
            (seven, ["dedicated", "Lt", "9", ""], true),
            (seven, ["dedicated", "Gt", "9", ""], false),
            (seven, ["dedicated", "Gt", "6", ""], true),
        ] {
            let toleration = Toleration {
                key,
                operator,
                value,
                effect,
            };
            assert_eq!(toleration.covers(&taint), covered, "{toleration:?} {taint:?}");
        }
    }
}
