//! Which streams are logged, how and where to, and which replies are mapped (`envoy.config.accesslog.v3`).

mod filter;
mod log;

pub use filter::{AccessLogFilter, Comparison, ComparisonOp};
pub use log::{AccessLog, LogSink, LogTarget};
