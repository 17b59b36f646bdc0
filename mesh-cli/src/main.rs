//! meshctl: the mesh on one machine, and the verbs of istioctl and kubectl that it needs.

mod analyze;
mod args;
mod columns;
mod demo;
mod describe;
mod explain;
mod last;
mod proxy_config;
mod proxy_status;
mod refused;
mod request;
mod route_check;
mod run_pod;
mod serve;
mod service;
mod token;
mod validate;
mod verbs;

use std::process::ExitCode;

use clap::Parser as _;
use tracing_subscriber::EnvFilter;

use args::{Args, Command};

/// What a subcommand fails with: a sentence for the terminal.
type Error = Box<dyn std::error::Error + Send + Sync>;

fn main() -> ExitCode {
    let args = Args::parse();
    match run(args.command) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> Result<ExitCode, Error> {
    match command {
        // first: it becomes another program, so nothing else may have been started
        Command::RunPod(args) => return Err(run_pod::exec(&args)),
        Command::Apply(args) => return verbs::apply(&args),
        Command::Get(args) => return verbs::get(&args),
        Command::Delete(args) => return verbs::delete(&args),
        Command::RouteCheck(args) => return route_check::run(&args),
        Command::Token(args) => return token::run(&args),
        Command::Analyze(args) => return analyze::run(&args),
        Command::Validate(args) => return validate::run(&args),
        Command::Describe(args) => return describe::run(&args),
        _ => {}
    }
    // Processes that this one starts end with the thread that started them: everything stays on this thread.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    match command {
        Command::Demo(args) => {
            // the table has the terminal; what goes wrong is shown below it
            log_to_stderr("error");
            runtime.block_on(demo::run(args))
        }
        Command::DemoService(args) => {
            log_to_stderr("warn");
            runtime.block_on(service::run(&args))
        }
        Command::Serve(args) => {
            log_to_stderr("info");
            runtime.block_on(serve::run(&args))
        }
        Command::Explain(args) => {
            log_to_stderr("error");
            runtime.block_on(explain::run(args))
        }
        Command::ProxyConfig(args) => {
            log_to_stderr("error");
            runtime.block_on(proxy_config::run(args))
        }
        Command::ProxyStatus(args) => {
            log_to_stderr("error");
            runtime.block_on(proxy_status::run(&args))
        }
        Command::RunPod(_)
        | Command::Describe(_)
        | Command::Apply(_)
        | Command::Get(_)
        | Command::Delete(_)
        | Command::RouteCheck(_)
        | Command::Token(_)
        | Command::Analyze(_)
        | Command::Validate(_) => Ok(ExitCode::SUCCESS),
    }
}

/// Logs at `level`, or as `RUST_LOG` says.
fn log_to_stderr(level: &str) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(level));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .init();
}
