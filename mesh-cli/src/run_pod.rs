//! The wrapper of every program that this machine's mesh starts: nothing outlives the one who started it.

use std::os::unix::process::CommandExt as _;
use std::process::Command;

use rustix::process::{Signal, getppid, set_parent_process_death_signal};

use crate::Error;
use crate::args::RunPodArgs;

/// Becomes the program. Returns only if that fails.
pub(crate) fn exec(args: &RunPodArgs) -> Error {
    if let Err(error) = set_parent_process_death_signal(Some(Signal::KILL)) {
        return format!("the parent's end cannot be followed: {error}").into();
    }
    // it may have ended before the signal was set
    if getppid().map(|pid| pid.as_raw_nonzero().get()) != Some(args.parent) {
        return "the process that wanted this program has ended".into();
    }
    let Some((program, arguments)) = args.command.split_first() else {
        return "no program is given".into();
    };
    let error = Command::new(program).args(arguments).exec();
    format!("{}: {error}", program.display()).into()
}
