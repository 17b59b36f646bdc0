//! `cargo demo`.

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::process::Command;

use crate::process;
use crate::workspace::Workspace;

/// Builds all that the demo starts, then becomes `meshctl demo`. Returns only
/// if that fails.
pub(crate) fn run(workspace: &Workspace, args: &[OsString]) -> Result<(), String> {
    // Both in one build: meshctl takes mesh-proxy from beside itself.
    process::quietly(&mut workspace.cargo("build --release -p mesh-cli -p mesh-proxy"))?;
    let meshctl = workspace.release().join("meshctl");
    // Replaces this process, so that signals reach the demo itself.
    let wrong = Command::new(&meshctl).arg("demo").args(args).exec();
    Err(format!("{}: {wrong}", meshctl.display()))
}
