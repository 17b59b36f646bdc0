//! Files that are read again when they change.

use std::{
    fs, io,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use mesh_proto::{
    descriptor_pool,
    envoy::{
        config::core::v3::{DataSource, data_source::Specifier},
        extensions::transport_sockets::tls::v3::{Secret, secret::Type},
        service::discovery::v3::DiscoveryResponse,
    },
};
use prost::Message;
use prost_reflect::DynamicMessage;
use prost_types::Any;

use crate::bootstrap::yaml_options;

/// How often files are looked at. Through links, so that it does not matter how one is replaced: written anew, renamed,
/// or one of the links to it swapped, as Kubernetes does.
const PERIOD: Duration = Duration::from_millis(500);

/// Files, as they were when they were last looked at.
#[derive(Debug, Default)]
pub(super) struct Watched(Vec<(PathBuf, Option<Seen>)>);

/// What tells a file from the one before.
#[derive(Debug, PartialEq, Eq)]
struct Seen {
    file: (u64, u64),
    length: u64,
    modified: Option<SystemTime>,
}

impl Watched {
    /// Also this one, from now on: call it before reading.
    pub(super) fn add(&mut self, path: &Path) {
        self.0.push((path.to_owned(), seen(path)));
    }

    /// The files that a secret refers to.
    pub(super) fn of(secret: &Any) -> Self {
        let mut watched = Self::default();
        let secret = crate::decode::unwrapped(secret);
        let Ok(secret) = Secret::decode(secret.value.as_slice()) else {
            return watched;
        };
        let sources: Vec<Option<DataSource>> = match secret.r#type {
            Some(Type::TlsCertificate(c)) => vec![c.certificate_chain, c.private_key],
            Some(Type::ValidationContext(v)) => vec![v.trusted_ca, v.crl],
            _ => Vec::new(),
        };
        for source in sources.into_iter().flatten() {
            if let Some(Specifier::Filename(path)) = source.specifier {
                watched.add(Path::new(&path));
            }
        }
        watched
    }

    /// Ready once one of them has changed; never, where there are none. Cancel safe.
    pub(super) async fn changed(&mut self) {
        if self.0.is_empty() {
            return std::future::pending().await;
        }
        loop {
            tokio::time::sleep(PERIOD).await;
            let mut changed = false;
            for (path, before) in &mut self.0 {
                let seen = seen(path);
                changed |= seen != *before;
                *before = seen;
            }
            if changed {
                return;
            }
        }
    }
}

fn seen(path: &Path) -> Option<Seen> {
    let found = fs::metadata(path).ok()?;
    #[cfg(unix)]
    let file = {
        use std::os::unix::fs::MetadataExt;
        (found.dev(), found.ino())
    };
    #[cfg(not(unix))]
    let file = (0, 0);
    Some(Seen {
        file,
        length: found.len(),
        modified: found.modified().ok(),
    })
}

/// The resources of a file that holds a `DiscoveryResponse`, as YAML, JSON or (`.pb`) bytes, and their version.
pub(super) fn read_response(path: &Path) -> Result<DiscoveryResponse, String> {
    let read = |e: io::Error| format!("{}: {e}", path.display());
    if path.extension().is_some_and(|ending| ending == "pb") {
        let bytes = fs::read(path).map_err(read)?;
        return DiscoveryResponse::decode(bytes.as_slice())
            .map_err(|e| format!("{}: {e}", path.display()));
    }
    let text = fs::read_to_string(path).map_err(read)?;
    let name = "envoy.service.discovery.v3.DiscoveryResponse";
    let Some(descriptor) = descriptor_pool().get_message_by_name(name) else {
        return Err("the descriptor of responses is missing".to_owned());
    };
    // The parser's own words could quote what is secret.
    let message =
        serde_saphyr::with_deserializer_from_str_with_options(&text, yaml_options(), |yaml| {
            DynamicMessage::deserialize(descriptor, yaml)
        });
    let message = message.ok().and_then(|message| message.transcode_to().ok());
    message.ok_or_else(|| format!("{}: is not a {name} in YAML or JSON", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(unix)]
    #[tokio::test(start_paused = true)]
    async fn a_swapped_link_and_a_file_that_comes_are_changes() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        for version in ["1", "2"] {
            fs::create_dir(at(version)).unwrap();
            fs::write(at(version).join("cert.pem"), version).unwrap();
        }
        std::os::unix::fs::symlink("1", at("data")).unwrap();
        std::os::unix::fs::symlink("data/cert.pem", at("cert.pem")).unwrap();
        let mut watched = Watched::default();
        watched.add(&at("cert.pem"));
        watched.add(&at("other"));
        let unchanged = tokio::time::timeout(PERIOD * 10, watched.changed()).await;
        assert!(unchanged.is_err());
        std::os::unix::fs::symlink("2", at("new")).unwrap();
        fs::rename(at("new"), at("data")).unwrap();
        tokio::time::timeout(PERIOD * 2, watched.changed())
            .await
            .expect("the swap is seen");
        fs::write(at("other"), "").unwrap();
        tokio::time::timeout(PERIOD * 2, watched.changed())
            .await
            .expect("the new file is seen");
    }
}
