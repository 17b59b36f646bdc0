//! The files of the repository.

use std::path::Path;
use std::process::Command;

use crate::process;

/// A text file that is or will be committed.
#[derive(Debug)]
pub(crate) struct Source {
    /// Path from the repository's root, with `/`.
    pub(crate) path: String,
    pub(crate) text: String,
}

impl Source {
    /// Whether this is Rust written by hand.
    pub(crate) fn is_rust(&self) -> bool {
        self.path.ends_with(".rs") && !self.path.starts_with("mesh-proto/src/generated/")
    }
}

/// Every text file that git tracks or would add.
pub(crate) fn read(root: &Path) -> Result<Vec<Source>, String> {
    let list = process::read(
        Command::new("git")
            .args([
                "ls-files",
                "-z",
                "--cached",
                "--others",
                "--exclude-standard",
            ])
            .current_dir(root),
    )?;
    let paths = list.split('\0').filter(|path| !path.is_empty());
    // Deleted files are still listed, and binary ones are no text: both fail to read.
    Ok(paths
        .filter_map(|path| {
            let text = std::fs::read_to_string(root.join(path)).ok()?;
            let path = path.to_owned();
            Some(Source { path, text })
        })
        .collect())
}
