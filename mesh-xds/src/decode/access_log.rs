//! `AccessLog`, its filter, and formats of lines.

use std::{path::Path, sync::Arc};

use mesh_core::{
    access_log::{AccessLog, LogTarget},
    route::SubstitutionFormat,
};
use mesh_proto::envoy::{
    config::accesslog::v3::{self as proto, access_log::ConfigType},
    extensions::access_loggers::{
        file::v3::{FileAccessLog, file_access_log::AccessLogFormat as FileFormat},
        stream::v3::{
            StderrAccessLog, StdoutAccessLog, stderr_access_log::AccessLogFormat as StderrFormat,
            stdout_access_log::AccessLogFormat as StdoutFormat,
        },
    },
};
use prost_types::{Any, Struct};

use super::{
    access_log_filter::access_log_filter,
    any::{extension_name, unpack_checked},
    metadata,
    substitution_format::substitution_format,
};
use crate::problems::Problems;

const FILE: &str = "envoy.extensions.access_loggers.file.v3.FileAccessLog";
const STDOUT: &str = "envoy.extensions.access_loggers.stream.v3.StdoutAccessLog";
const STDERR: &str = "envoy.extensions.access_loggers.stream.v3.StderrAccessLog";

/// A list of access logs.
pub(super) fn access_logs(p: &mut Problems, list: &[proto::AccessLog]) -> Arc<Vec<AccessLog>> {
    Arc::new(p.each("access_log", list, access_log))
}

fn access_log(p: &mut Problems, value: &proto::AccessLog) -> Option<AccessLog> {
    let filter = match &value.filter {
        Some(filter) => p.field("filter", |p| access_log_filter(p, filter)),
        None => None,
    };
    let Some(ConfigType::TypedConfig(config)) = &value.config_type else {
        p.require("typed_config", None::<()>);
        return None;
    };
    let mut apart = Problems::default();
    let made = target(&mut apart, config);
    // Envoy knows these operators: a line that nobody can write yet must not cost the listener.
    apart.warn_instead("the log is not written", |message| {
        message.ends_with("is not supported yet")
    });
    p.field("typed_config", |p| p.absorb(apart));
    let (target, format) = made?;
    Some(AccessLog::new(target, format?, filter))
}

/// None: it is not known, which changes no answer.
fn target(p: &mut Problems, config: &Any) -> Option<(LogTarget, Option<SubstitutionFormat>)> {
    match extension_name(config).as_str() {
        FILE => {
            let file: FileAccessLog = unpack_checked(p, config)?;
            let path = p.require_text("path", &file.path)?;
            let format = match &file.access_log_format {
                None => AccessLog::default_format().ok(),
                Some(FileFormat::Format(text)) if text.is_empty() => {
                    AccessLog::default_format().ok()
                }
                Some(FileFormat::Format(text)) => p.field("format", |p| {
                    p.check(SubstitutionFormat::text(text, false, &[]))
                }),
                Some(FileFormat::JsonFormat(fields)) => p.field("json_format", |p| json(p, fields)),
                Some(FileFormat::TypedJsonFormat(fields)) => {
                    p.field("typed_json_format", |p| json(p, fields))
                }
                Some(FileFormat::LogFormat(format)) => {
                    p.field("log_format", |p| substitution_format(p, format))
                }
            };
            // The process's own streams under the names that istiod gives them.
            let target = match path {
                "/dev/stdout" => LogTarget::Stdout,
                "/dev/stderr" => LogTarget::Stderr,
                path => LogTarget::File(Path::new(path).into()),
            };
            Some((target, format))
        }
        STDOUT => {
            let stdout: StdoutAccessLog = unpack_checked(p, config)?;
            let format = match &stdout.access_log_format {
                Some(StdoutFormat::LogFormat(format)) => {
                    p.field("log_format", |p| substitution_format(p, format))
                }
                None => AccessLog::default_format().ok(),
            };
            Some((LogTarget::Stdout, format))
        }
        STDERR => {
            let stderr: StderrAccessLog = unpack_checked(p, config)?;
            let format = match &stderr.access_log_format {
                Some(StderrFormat::LogFormat(format)) => {
                    p.field("log_format", |p| substitution_format(p, format))
                }
                None => AccessLog::default_format().ok(),
            };
            Some((LogTarget::Stderr, format))
        }
        other => {
            p.warn(format!(
                "access logger {other} is not supported yet; ignored"
            ));
            None
        }
    }
}

fn json(p: &mut Problems, fields: &Struct) -> Option<SubstitutionFormat> {
    p.check(SubstitutionFormat::json(
        &metadata::struct_of(fields),
        false,
        &[],
    ))
}
