//! Development tasks: `cargo demo` builds and starts the demo, `cargo verify`
//! gets the real systems that judge us and runs every check and all tests.

mod args;
mod cost;
mod demo;
mod oracles;
mod process;
mod rules;
mod sources;
mod stages;
mod tests_run;
mod tools;
mod workspace;

use std::process::ExitCode;

use args::Task;
use workspace::Workspace;

const USAGE: &str = "\
usage: cargo demo [ARGS of meshctl demo]
       cargo verify [--without envoy,go,valgrind] [--only STAGE[,STAGE]]

demo    builds meshctl and mesh-proxy in release, then runs `meshctl demo`
verify  runs every check and all tests; its stages, in order:
          tools oracles fmt rules alone clippy build test doc cost
        --without leaves out what needs a tool that this machine lacks;
        the tests that this skips are counted";

fn main() -> ExitCode {
    let task = match args::parse(std::env::args().skip(1)) {
        Ok(task) => task,
        Err(wrong) => {
            eprintln!("error: {wrong}\n\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    let done = Workspace::find().and_then(|workspace| match task {
        Task::Help => {
            println!("{USAGE}");
            Ok(true)
        }
        Task::Demo(args) => demo::run(&workspace, &args).map(|()| true),
        Task::Verify(options) => Ok(stages::run(&workspace, &options)),
    });
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(wrong) => {
            eprintln!("error: {wrong}");
            ExitCode::FAILURE
        }
    }
}
