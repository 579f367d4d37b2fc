//! The apiserver's flags of the audit log, as kube-apiserver's.

use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgAction, Args};
use coracle_apiserver::{AuditFlags, BatchLimits, Format, LogFlags, Mode, Truncation, WebhookFlags};

use super::duration;

/// What is recorded of requests, and where.
#[derive(Clone, Debug, Args)]
pub(crate) struct Audit {
    /// What is recorded of which requests: an audit Policy; nothing is without one
    #[arg(long)]
    audit_policy_file: Option<PathBuf>,
    /// The file that records are appended to; - is standard output
    #[arg(long)]
    audit_log_path: Option<PathBuf>,
    /// How records are written: json or legacy
    #[arg(long, default_value = "json")]
    audit_log_format: Format,
    /// How many days old files are kept; 0 keeps all
    #[arg(long, default_value_t = 366)]
    audit_log_maxage: u32,
    /// How many old files are kept; 0 keeps all
    #[arg(long, default_value_t = 100)]
    audit_log_maxbackup: usize,
    /// At how many megabytes a file is put aside; 0 never does
    #[arg(long, default_value_t = 100)]
    audit_log_maxsize: u64,
    /// Compress old files
    #[arg(long)]
    audit_log_compress: bool,
    /// Whether answers wait for their records: batch, blocking or blocking-strict
    #[arg(long, default_value = "blocking")]
    audit_log_mode: Mode,
    /// How many records wait to be written, in batch mode
    #[arg(long, default_value_t = 10_000)]
    audit_log_batch_buffer_size: usize,
    /// How many records are written at once, in batch mode
    #[arg(long, default_value_t = 1)]
    audit_log_batch_max_size: usize,
    /// How long a record waits for others, in batch mode
    #[arg(long, default_value = "0s", value_parser = duration)]
    audit_log_batch_max_wait: Duration,
    /// Whether writing is slowed down, in batch mode
    #[arg(long)]
    audit_log_batch_throttle_enable: bool,
    /// How many times a second records are written, where it is
    #[arg(long, default_value_t = 0.0)]
    audit_log_batch_throttle_qps: f64,
    /// How many times at once after a pause, where it is
    #[arg(long, default_value_t = 0)]
    audit_log_batch_throttle_burst: u32,
    /// The form of records
    #[arg(long, default_value = "audit.k8s.io/v1", value_parser = ["audit.k8s.io/v1"])]
    audit_log_version: String,
    /// Cut records that are too long
    #[arg(long)]
    audit_log_truncate_enabled: bool,
    /// The longest record, in bytes
    #[arg(long, default_value_t = 102_400)]
    audit_log_truncate_max_event_size: usize,
    /// The most bytes of records that are written at once
    #[arg(long, default_value_t = 10_485_760)]
    audit_log_truncate_max_batch_size: usize,
    /// The server that records are sent to: a kubeconfig
    #[arg(long)]
    audit_webhook_config_file: Option<PathBuf>,
    /// How long to wait before a failed sending is tried again
    #[arg(long, default_value = "10s", value_parser = duration)]
    audit_webhook_initial_backoff: Duration,
    /// How many records wait to be sent
    #[arg(long, default_value_t = 10_000)]
    audit_webhook_batch_buffer_size: usize,
    /// How many records are sent at once
    #[arg(long, default_value_t = 400)]
    audit_webhook_batch_max_size: usize,
    /// How long a record waits for others
    #[arg(long, default_value = "30s", value_parser = duration)]
    audit_webhook_batch_max_wait: Duration,
    /// Whether answers wait for their records: batch, blocking or blocking-strict
    #[arg(long, default_value = "batch")]
    audit_webhook_mode: Mode,
    /// The form of records
    #[arg(long, default_value = "audit.k8s.io/v1", value_parser = ["audit.k8s.io/v1"])]
    audit_webhook_version: String,
    /// Whether sending is slowed down
    #[arg(long, value_name = "BOOL", action = ArgAction::Set, num_args = 0..=1, require_equals = true,
        default_value_t = true, default_missing_value = "true")]
    audit_webhook_batch_throttle_enable: bool,
    /// How many times a second records are sent
    #[arg(long, default_value_t = 10.0)]
    audit_webhook_batch_throttle_qps: f64,
    /// How many times at once after a pause
    #[arg(long, default_value_t = 15)]
    audit_webhook_batch_throttle_burst: u32,
    /// Cut records that are too long
    #[arg(long)]
    audit_webhook_truncate_enabled: bool,
    /// The longest record, in bytes
    #[arg(long, default_value_t = 102_400)]
    audit_webhook_truncate_max_event_size: usize,
    /// The most bytes of records that are sent at once
    #[arg(long, default_value_t = 10_485_760)]
    audit_webhook_truncate_max_batch_size: usize,
}

impl Audit {
    /// What the apiserver is told.
    pub(crate) fn flags(&self) -> AuditFlags {
        AuditFlags {
            policy_file: self.audit_policy_file.clone(),
            log: self.audit_log_path.as_ref().map(|path| self.log(path)),
            webhook: self
                .audit_webhook_config_file
                .as_ref()
                .map(|path| self.webhook(path)),
        }
    }

    fn log(&self, path: &PathBuf) -> LogFlags {
        LogFlags {
            format: self.audit_log_format,
            max_age_days: self.audit_log_maxage,
            max_backups: self.audit_log_maxbackup,
            max_megabytes: self.audit_log_maxsize,
            compress: self.audit_log_compress,
            mode: self.audit_log_mode,
            limits: BatchLimits {
                buffer_size: self.audit_log_batch_buffer_size,
                max_size: self.audit_log_batch_max_size,
                max_wait: self.audit_log_batch_max_wait,
                throttle: self.audit_log_batch_throttle_enable.then_some((
                    self.audit_log_batch_throttle_qps,
                    self.audit_log_batch_throttle_burst,
                )),
            },
            truncation: Truncation {
                enabled: self.audit_log_truncate_enabled,
                max_event_size: self.audit_log_truncate_max_event_size,
                max_batch_size: self.audit_log_truncate_max_batch_size,
            },
            ..LogFlags::new(path)
        }
    }

    fn webhook(&self, path: &PathBuf) -> WebhookFlags {
        WebhookFlags {
            initial_backoff: self.audit_webhook_initial_backoff,
            mode: self.audit_webhook_mode,
            limits: BatchLimits {
                buffer_size: self.audit_webhook_batch_buffer_size,
                max_size: self.audit_webhook_batch_max_size,
                max_wait: self.audit_webhook_batch_max_wait,
                throttle: self.audit_webhook_batch_throttle_enable.then_some((
                    self.audit_webhook_batch_throttle_qps,
                    self.audit_webhook_batch_throttle_burst,
                )),
            },
            truncation: Truncation {
                enabled: self.audit_webhook_truncate_enabled,
                max_event_size: self.audit_webhook_truncate_max_event_size,
                max_batch_size: self.audit_webhook_truncate_max_batch_size,
            },
            ..WebhookFlags::new(path)
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Alone {
        #[command(flatten)]
        audit: Audit,
    }

    fn flags(given: &[&str]) -> AuditFlags {
        let given = ["apiserver"].into_iter().chain(given.iter().copied());
        Alone::try_parse_from(given).unwrap().audit.flags()
    }

    #[test]
    fn batches_are_made_as_flags_say() {
        assert!(flags(&[]).log.is_none() && flags(&[]).webhook.is_none());
        let log = |more: &[&str]| flags(&[&["--audit-log-path=-"], more].concat()).log.unwrap();
        assert_eq!(
            (log(&[]).mode, log(&[]).limits),
            (Mode::Blocking, BatchLimits::of_log())
        );
        let told = log(&[
            "--audit-log-mode=batch",
            "--audit-log-batch-buffer-size=7",
            "--audit-log-batch-max-size=3",
            "--audit-log-batch-max-wait=2s",
            "--audit-log-batch-throttle-enable",
            "--audit-log-batch-throttle-qps=0.5",
            "--audit-log-batch-throttle-burst=4",
        ]);
        let limits = BatchLimits {
            buffer_size: 7,
            max_size: 3,
            max_wait: Duration::from_secs(2),
            throttle: Some((0.5, 4)),
        };
        assert_eq!((told.mode, told.limits), (Mode::Batch, limits));
        let webhook = |more: &[&str]| {
            let given = [&["--audit-webhook-config-file=w.conf"], more].concat();
            flags(&given).webhook.unwrap()
        };
        let usual = webhook(&[]);
        assert_eq!(
            (usual.mode, usual.limits),
            (Mode::Batch, BatchLimits::of_webhook())
        );
        let told = webhook(&[
            "--audit-webhook-batch-throttle-enable=false",
            "--audit-webhook-mode=blocking-strict",
        ]);
        assert_eq!((told.mode, told.limits.throttle), (Mode::BlockingStrict, None));
    }
}
