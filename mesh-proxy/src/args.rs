//! Envoy's command line: what it means here works, what means nothing here warns by name, all else is an error.

use std::{num::NonZeroUsize, path::PathBuf, time::Duration};

use clap::{Parser, ValueEnum};
use proxyless::{Bootstrap, InvalidBootstrap, NodeOverrides};

/// A service-mesh proxy that takes Envoy's bootstrap.
#[derive(Debug, Parser)]
#[command(name = "mesh-proxy", version)]
pub(crate) struct Args {
    /// Bootstrap file, Envoy v3, YAML or JSON.
    #[arg(
        short,
        long,
        value_name = "FILE",
        required_unless_present = "config_yaml"
    )]
    config_path: Option<PathBuf>,

    /// Bootstrap as text; not together with a file.
    #[arg(long, value_name = "YAML", conflicts_with = "config_path")]
    config_yaml: Option<String>,

    /// Worker threads; the default is the number of cores.
    #[arg(long, value_name = "N")]
    concurrency: Option<usize>,

    /// serve, or validate the bootstrap and exit.
    #[arg(long, value_enum, default_value_t = Mode::Serve)]
    pub(crate) mode: Mode,

    /// Log level.
    #[arg(short, long, value_enum, default_value_t = LogLevel::Info)]
    pub(crate) log_level: LogLevel,

    /// Overrides node.id of the bootstrap.
    #[arg(long, value_name = "ID")]
    service_node: Option<String>,

    /// Overrides node.cluster of the bootstrap.
    #[arg(long, value_name = "NAME")]
    service_cluster: Option<String>,

    /// Longest time for requests in flight after SIGTERM.
    #[arg(long, value_name = "SECONDS", default_value_t = 600)]
    drain_time_s: u64,

    #[command(flatten)]
    ignored: Ignored,
}

/// Flags of Envoy that mean nothing here.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Envoy's flags without effect here")]
struct Ignored {
    /// There is no shared memory.
    #[arg(long, value_name = "N")]
    base_id: Option<u32>,
    /// There is no hot restart.
    #[arg(long)]
    disable_hot_restart: bool,
    /// There is no hot restart.
    #[arg(long, value_name = "N")]
    restart_epoch: Option<u32>,
    /// There is no hot restart.
    #[arg(long, value_name = "SECONDS")]
    parent_shutdown_time_s: Option<u64>,
    /// Connections are asked to end at once.
    #[arg(long, value_name = "gradual|immediate")]
    drain_strategy: Option<String>,
    /// Addresses are taken from the bootstrap.
    #[arg(long, value_name = "v4|v6")]
    local_address_ip_version: Option<String>,
    /// Nothing is buffered for files.
    #[arg(long, value_name = "MS")]
    file_flush_interval_msec: Option<u64>,
    /// Unknown fields are always errors.
    #[arg(long)]
    allow_unknown_static_fields: bool,
    /// Unknown fields of dynamic resources are always reported.
    #[arg(long)]
    ignore_unknown_dynamic_fields: bool,
    /// Deprecated fields are not logged.
    #[arg(long)]
    skip_deprecated_logs: bool,
    /// Levels are not set by component.
    #[arg(long, value_name = "C:L,…")]
    component_log_level: Option<String>,
    /// The log's format is fixed.
    #[arg(long, value_name = "FORMAT")]
    log_format: Option<String>,
    /// The log goes to standard error.
    #[arg(long, value_name = "FILE")]
    log_path: Option<PathBuf>,
}

/// `--mode`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Mode {
    Serve,
    Validate,
}

/// `-l`.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum LogLevel {
    Trace,
    Debug,
    Info,
    #[value(alias = "warn")]
    Warning,
    #[value(alias = "critical")]
    Error,
    Off,
}

impl LogLevel {
    pub(crate) fn filter(self) -> &'static str {
        match self {
            Self::Trace => "trace",
            Self::Debug => "debug",
            Self::Info => "info",
            Self::Warning => "warn",
            Self::Error => "error",
            Self::Off => "off",
        }
    }
}

impl Args {
    /// The bootstrap, read and checked.
    pub(crate) fn bootstrap(&self) -> Result<Bootstrap, InvalidBootstrap> {
        let node = NodeOverrides {
            service_node: self.service_node.clone(),
            service_cluster: self.service_cluster.clone(),
        };
        match (&self.config_path, &self.config_yaml) {
            (Some(path), _) => Bootstrap::from_envoy_file(path, &node),
            (None, text) => Bootstrap::from_envoy(text.as_deref().unwrap_or_default(), &node),
        }
    }

    /// What the bootstrap is called in messages.
    pub(crate) fn config_name(&self) -> String {
        self.config_path.as_ref().map_or_else(
            || "--config-yaml".to_owned(),
            |path| path.display().to_string(),
        )
    }

    /// Workers: at least one.
    pub(crate) fn concurrency(&self) -> NonZeroUsize {
        let cores = std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
        match self.concurrency {
            None => cores,
            Some(n) => NonZeroUsize::new(n).unwrap_or(NonZeroUsize::MIN),
        }
    }

    pub(crate) fn drain_time(&self) -> Duration {
        Duration::from_secs(self.drain_time_s)
    }

    /// Flags that were given and do nothing, each with the reason.
    pub(crate) fn warnings(&self) -> Vec<String> {
        let ignored = &self.ignored;
        let given = [
            (
                ignored.base_id.is_some(),
                "--base-id",
                "there is no shared memory",
            ),
            (
                ignored.restart_epoch.is_some(),
                "--restart-epoch",
                "there is no hot restart",
            ),
            (
                ignored.parent_shutdown_time_s.is_some(),
                "--parent-shutdown-time-s",
                "there is no hot restart",
            ),
            (
                ignored.drain_strategy.is_some(),
                "--drain-strategy",
                "connections are asked to end at once",
            ),
            (
                ignored.local_address_ip_version.is_some(),
                "--local-address-ip-version",
                "addresses are taken from the bootstrap",
            ),
            (
                ignored.file_flush_interval_msec.is_some(),
                "--file-flush-interval-msec",
                "no file is buffered",
            ),
            (
                ignored.allow_unknown_static_fields,
                "--allow-unknown-static-fields",
                "unknown fields are always errors",
            ),
            (
                ignored.ignore_unknown_dynamic_fields,
                "--ignore-unknown-dynamic-fields",
                "unknown fields are always reported",
            ),
            (
                ignored.component_log_level.is_some(),
                "--component-log-level",
                "levels are not set by component",
            ),
            (
                ignored.log_format.is_some(),
                "--log-format",
                "the format is fixed",
            ),
            (
                ignored.log_path.is_some(),
                "--log-path",
                "the log goes to standard error",
            ),
        ];
        // Asking for what is always so deserves no warning.
        let _ = (ignored.disable_hot_restart, ignored.skip_deprecated_logs);
        given
            .iter()
            .filter(|(is, ..)| *is)
            .map(|(_, flag, why)| format!("{flag} has no effect: {why}"))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_flags_of_istios_agent_are_taken_and_those_without_effect_named() {
        let args = Args::try_parse_from(
            "mesh-proxy -c envoy-rev.json --drain-time-s 45 --drain-strategy immediate --local-address-ip-version v4 \
             --file-flush-interval-msec 1000 --disable-hot-restart --allow-unknown-static-fields -l warning \
             --skip-deprecated-logs --concurrency 1"
                .split_whitespace(),
        )
        .unwrap();
        assert_eq!(
            (
                args.concurrency().get(),
                args.drain_time().as_secs(),
                args.log_level.filter()
            ),
            (1, 45, "warn")
        );
        let warnings = args.warnings();
        assert_eq!(
            warnings[0],
            "--drain-strategy has no effect: connections are asked to end at once"
        );
        assert_eq!(warnings.len(), 4);
    }

    #[test]
    fn an_unknown_flag_is_an_error_that_names_it() {
        let error = Args::try_parse_from(["mesh-proxy", "-c", "x", "--enable-magic"]).unwrap_err();
        assert!(error.to_string().contains("--enable-magic"), "{error}");
    }

    #[test]
    fn a_bootstrap_is_required() {
        assert!(Args::try_parse_from(["mesh-proxy"]).is_err());
    }
}
