//! Which streams are logged, and which replies are mapped (`envoy.config.accesslog.v3`).

mod filter;

pub use filter::{AccessLogFilter, Comparison, ComparisonOp};
