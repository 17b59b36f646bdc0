//! The cost gates: bench targets that fail when a figure passes its limit.

use crate::args::{Need, Options};
use crate::process;
use crate::tests_run::Tally;
use crate::workspace::Workspace;

/// One set of packages and features for every release build of verify, so that
/// nothing is compiled twice.
const RELEASE: &str = "-p mesh -p mesh-cli -p mesh-proxy --all-features";

/// The build of the binaries that tests start, and of the benches.
pub(crate) fn release_build(workspace: &Workspace) -> String {
    let mut args = format!("build --release {RELEASE} --bins");
    for name in gates(workspace) {
        args += " --bench ";
        args += name;
    }
    args
}

/// Runs every gate; says which failed. They count instructions, so without
/// valgrind they are skipped.
pub(crate) fn run(
    workspace: &Workspace,
    options: &Options,
    tally: &mut Tally,
) -> Result<(), String> {
    let mut failed = Vec::new();
    for name in gates(workspace) {
        if !options.with(Need::Valgrind) {
            tally.skipped += 1;
            continue;
        }
        let args = format!("bench --profile release {RELEASE} --bench {name}");
        match process::run(&mut workspace.cargo(&args)) {
            Ok(()) => tally.passed += 1,
            Err(wrong) => {
                tally.failed += 1;
                failed.push(wrong);
            }
        }
    }
    match failed.is_empty() {
        true => Ok(()),
        false => Err(failed.join("; ")),
    }
}

/// The benches of the workspace's own package that hold a limit: by their name.
fn gates(workspace: &Workspace) -> impl Iterator<Item = &str> {
    let own = workspace
        .benches
        .iter()
        .filter(|(of, name)| of == "mesh" && name.starts_with("cost"));
    own.map(|(_, name)| name.as_str())
}
