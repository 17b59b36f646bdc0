//! `DataSource`: the one place where decoding reads files and the environment, when configuration comes, as Envoy does.

use std::io::Read;

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
            p.check(read(path).map_err(|e| format!("{path:?} cannot be read: {e}")))
        })?,
        Some(Specifier::EnvironmentVariable(name)) => p.field("environment_variable", |p| {
            let value = std::env::var(name).map(String::into_bytes);
            p.check(value.map_err(|_| format!("there is no variable {name:?}")))
        })?,
        None => Vec::new(),
    };
    Some(bytes.into())
}

/// Largest file that is read, in bytes.
const MOST_BYTES: u64 = 64 << 20;

/// A regular file: others may have no end, or wait for somebody who writes.
fn read(path: &str) -> std::io::Result<Vec<u8>> {
    if !std::fs::metadata(path)?.is_file() {
        return Err(std::io::Error::other("not a regular file"));
    }
    let mut bytes = Vec::new();
    let mut file = std::fs::File::open(path)?.take(MOST_BYTES + 1);
    file.read_to_end(&mut bytes)?;
    match bytes.len() as u64 > MOST_BYTES {
        true => Err(std::io::Error::other("larger than 64 MiB")),
        false => Ok(bytes),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_regular_files_are_read() {
        let file = |path: &str| {
            let mut p = Problems::default();
            let specifier = Some(Specifier::Filename(path.to_owned()));
            let source = DataSource {
                specifier,
                ..DataSource::default()
            };
            data(&mut p, &source).ok_or(p.to_string())
        };
        assert!(file(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml")).is_ok());
        for path in ["/dev/zero", "/"] {
            let expected = format!("filename: \"{path}\" cannot be read: not a regular file");
            assert_eq!(file(path), Err(expected));
        }
    }
}
