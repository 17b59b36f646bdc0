//! Where things are: the repository, its target folder, its packages.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::process;

/// The repository.
#[derive(Debug)]
pub(crate) struct Workspace {
    /// Folder of the root `Cargo.toml`.
    pub(crate) root: PathBuf,
    /// Cargo's target folder.
    pub(crate) target: PathBuf,
    /// Bench targets as (package, name).
    pub(crate) benches: Vec<(String, String)>,
}

impl Workspace {
    /// Asks cargo.
    pub(crate) fn find() -> Result<Self, String> {
        // The folder that this program was built from, wherever it is run.
        let here = Path::new(env!("CARGO_MANIFEST_DIR"));
        let text = process::read(
            Command::new(cargo_program())
                .args(["metadata", "--locked", "--no-deps", "--format-version", "1"])
                .current_dir(here),
        )?;
        let metadata: Value =
            serde_json::from_str(&text).map_err(|wrong| format!("cargo metadata: {wrong}"))?;
        let folder = |key: &str| match metadata[key].as_str() {
            Some(path) => Ok(PathBuf::from(path)),
            None => Err(format!("cargo metadata: no {key}")),
        };
        Ok(Self {
            root: folder("workspace_root")?,
            target: folder("target_directory")?,
            benches: benches(&metadata),
        })
    }

    /// `cargo` in the repository, with the committed lock file.
    pub(crate) fn cargo(&self, args: &str) -> Command {
        let (subcommand, rest) = args.split_once(' ').unwrap_or((args, ""));
        let mut command = self.plain_cargo(subcommand);
        command.arg("--locked").args(rest.split_whitespace());
        command
    }

    /// `cargo` in the repository, for subcommands that resolve nothing.
    pub(crate) fn plain_cargo(&self, args: &str) -> Command {
        let mut command = Command::new(cargo_program());
        command.args(args.split_whitespace());
        command.current_dir(&self.root);
        command
    }

    /// Where the real systems that judge us are kept.
    pub(crate) fn oracles(&self) -> PathBuf {
        self.target.join("oracles")
    }

    /// Where `cargo build --release` leaves meshctl and mesh-proxy.
    pub(crate) fn release(&self) -> PathBuf {
        self.target.join("release")
    }
}

fn cargo_program() -> std::ffi::OsString {
    std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into())
}

fn benches(metadata: &Value) -> Vec<(String, String)> {
    let list = |value: &Value, key: &str| value[key].as_array().cloned().unwrap_or_default();
    let mut found = Vec::new();
    for package in list(metadata, "packages") {
        for target in list(&package, "targets") {
            if list(&target, "kind").iter().any(|kind| kind == "bench") {
                let name = |of: &Value| of["name"].as_str().unwrap_or_default().to_owned();
                found.push((name(&package), name(&target)));
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bench_targets_are_found_by_kind() {
        let metadata = serde_json::json!({"packages": [
            {"name": "mesh", "targets": [
                {"name": "mesh", "kind": ["lib"]},
                {"name": "cost", "kind": ["bench"]},
            ]},
        ]});
        assert_eq!(benches(&metadata), [("mesh".to_owned(), "cost".to_owned())]);
    }
}
