//! Envoy's xDS messages, generated and committed.
#![deny(missing_docs)]
