//! `/metrics/slis`: how health checks came out, as service level indicators (KEP-3466). A check is counted whenever one of the
//! three questions about health is asked that it has a part in.

use prometheus::{Encoder, GaugeVec, IntCounterVec, Opts, Registry, TextEncoder};

use super::process;

/// The series.
pub(crate) struct Slis {
    registry: Registry,
    last: GaugeVec,
    total: IntCounterVec,
}

impl Default for Slis {
    fn default() -> Self {
        let valid = "names and labels are constants that Prometheus takes";
        let last = GaugeVec::new(
            Opts::new(
                "kubernetes_healthcheck",
                "[STABLE] This metric records the result of a single healthcheck.",
            ),
            &["name", "type"],
        )
        .expect(valid);
        let total = IntCounterVec::new(
            Opts::new(
                "kubernetes_healthchecks_total",
                "[STABLE] This metric records the results of all healthcheck.",
            ),
            &["name", "type", "status"],
        )
        .expect(valid);
        let registry = Registry::new();
        registry.register(Box::new(last.clone())).expect(valid);
        registry.register(Box::new(total.clone())).expect(valid);
        Self {
            registry,
            last,
            total,
        }
    }
}

impl Slis {
    /// Counts how a check came out for a question (`livez`).
    pub(crate) fn observe(&self, check: &str, question: &str, is_well: bool) {
        let (value, status) = if is_well { (1.0, "success") } else { (0.0, "error") };
        self.last.with_label_values(&[check, question]).set(value);
        self.total.with_label_values(&[check, question, status]).inc();
    }

    /// Forgets everything.
    pub(crate) fn reset(&self) {
        self.last.reset();
        self.total.reset();
    }

    /// Everything, as Prometheus reads it.
    pub(crate) fn text(&self) -> Vec<u8> {
        let mut text = Vec::new();
        if let Err(error) = TextEncoder::new().encode(&self.registry.gather(), &mut text) {
            tracing::error!(%error, "metrics could not be written");
        }
        text.extend(process::start().into_bytes());
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checks_are_counted_by_question_and_outcome() {
        let slis = Slis::default();
        slis.observe("etcd", "livez", false);
        slis.observe("etcd", "livez", true);
        let text = String::from_utf8(slis.text()).unwrap();
        for line in [
            "kubernetes_healthcheck{name=\"etcd\",type=\"livez\"} 1\n",
            "kubernetes_healthchecks_total{name=\"etcd\",status=\"error\",type=\"livez\"} 1\n",
            "kubernetes_healthchecks_total{name=\"etcd\",status=\"success\",type=\"livez\"} 1\n",
        ] {
            assert!(text.contains(line), "{line} in {text}");
        }
    }
}
