//! Where the configuration comes from when nothing is said in code.

use std::{ffi::OsString, path::PathBuf};

/// The variable that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// `ENVOY_BOOTSTRAP`: an Envoy v3 bootstrap file.
    EnvoyFile(PathBuf),
    /// `GRPC_XDS_BOOTSTRAP`: gRPC's bootstrap file.
    GrpcFile(PathBuf),
    /// `GRPC_XDS_BOOTSTRAP_CONFIG`: gRPC's bootstrap itself.
    GrpcText(String),
    /// `MESH_CONFIG_DIR`: a folder of YAML (feature `control`).
    Folder(PathBuf),
}

/// The variables, in order: the first one set wins.
pub(crate) const VARIABLES: [&str; 4] = [
    "ENVOY_BOOTSTRAP",
    "GRPC_XDS_BOOTSTRAP",
    "GRPC_XDS_BOOTSTRAP_CONFIG",
    "MESH_CONFIG_DIR",
];

/// The first variable that is set and not empty, with its name.
pub(crate) fn source(var: impl Fn(&str) -> Option<OsString>) -> Option<(&'static str, Source)> {
    VARIABLES.into_iter().find_map(|name| {
        let value = var(name).filter(|value| !value.is_empty())?;
        let source = match name {
            "ENVOY_BOOTSTRAP" => Source::EnvoyFile(value.into()),
            "GRPC_XDS_BOOTSTRAP" => Source::GrpcFile(value.into()),
            "GRPC_XDS_BOOTSTRAP_CONFIG" => Source::GrpcText(value.to_string_lossy().into_owned()),
            _ => Source::Folder(value.into()),
        };
        Some((name, source))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_variable_set_wins_and_an_empty_one_counts_as_unset() {
        let of = |set: &[(&str, &str)]| {
            let set: Vec<_> = set
                .iter()
                .map(|(n, v)| (n.to_string(), OsString::from(v)))
                .collect();
            source(move |name| set.iter().find(|(n, _)| n == name).map(|(_, v)| v.clone()))
        };
        assert_eq!(of(&[]), None);
        assert_eq!(
            of(&[
                ("MESH_CONFIG_DIR", "d"),
                ("GRPC_XDS_BOOTSTRAP", "g"),
                ("ENVOY_BOOTSTRAP", "")
            ]),
            Some(("GRPC_XDS_BOOTSTRAP", Source::GrpcFile("g".into())))
        );
        assert_eq!(
            of(&[("MESH_CONFIG_DIR", "d")]),
            Some(("MESH_CONFIG_DIR", Source::Folder("d".into())))
        );
    }
}
