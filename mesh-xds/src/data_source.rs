//! `DataSource`: the one place where decoding reads files and the environment, when configuration comes, as Envoy does.

use bytes::Bytes;
use mesh_proto::envoy::config::core::v3::{DataSource, data_source::Specifier};

use crate::problems::Problems;

/// The bytes of a `DataSource`, of which there must be some. Files are read when configuration comes, as Envoy does.
pub(crate) fn data(p: &mut Problems, source: &DataSource) -> Option<Bytes> {
    let bytes = body(p, source)?;
    if bytes.is_empty() {
        p.error("must not be empty");
        return None;
    }
    Some(bytes)
}

/// The same for what may be empty: a reply's body.
pub(crate) fn body(p: &mut Problems, source: &DataSource) -> Option<Bytes> {
    let bytes = match source.specifier.as_ref() {
        Some(Specifier::InlineBytes(bytes)) => bytes.clone(),
        Some(Specifier::InlineString(text)) => text.clone().into_bytes(),
        Some(Specifier::Filename(path)) => p.field("filename", |p| {
            p.check(std::fs::read(path).map_err(|e| format!("{path:?} cannot be read: {e}")))
        })?,
        Some(Specifier::EnvironmentVariable(name)) => p.field("environment_variable", |p| {
            let value = std::env::var(name).map(String::into_bytes);
            p.check(value.map_err(|_| format!("there is no variable {name:?}")))
        })?,
        None => Vec::new(),
    };
    Some(bytes.into())
}
