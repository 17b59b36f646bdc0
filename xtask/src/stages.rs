//! `cargo verify`: the stages, their times and the final table.

use std::time::{Duration, Instant};

use crate::args::{Need, Options};
use crate::tests_run::{self, Tally};
use crate::workspace::Workspace;
use crate::{cost, oracles, process, rules, tools};

/// Library crates, each of which must build without the others' features.
const ALONE: [&str; 7] = [
    "mesh-core",
    "mesh-proto",
    "mesh-xds",
    "mesh-tower",
    "mesh-control",
    "proxyless",
    "mesh-testkit",
];

/// One part of verify.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Stage {
    /// Programs that must be there.
    Tools,
    /// The real systems that judge us.
    Oracles,
    /// Formatting.
    Fmt,
    /// Rules that no compiler checks.
    Rules,
    /// Each library crate by itself, without optional features.
    Alone,
    /// Lints.
    Clippy,
    /// Tests in debug, what they start in release.
    Build,
    /// All tests.
    Test,
    /// Documentation.
    Doc,
    /// Allocations, instructions and sizes against their limits.
    Cost,
}

impl Stage {
    /// Every stage in the order in which they run, cheap ones first.
    pub(crate) const ALL: [(&'static str, Stage); 10] = [
        ("tools", Stage::Tools),
        ("oracles", Stage::Oracles),
        ("fmt", Stage::Fmt),
        ("rules", Stage::Rules),
        ("alone", Stage::Alone),
        ("clippy", Stage::Clippy),
        ("build", Stage::Build),
        ("test", Stage::Test),
        ("doc", Stage::Doc),
        ("cost", Stage::Cost),
    ];
}

/// How a stage ended.
struct Report {
    name: &'static str,
    took: Duration,
    wrong: Option<String>,
}

/// Runs the stages that were asked for. A failed stage does not stop the later
/// ones, so that one run tells all, except where nothing after it could work.
pub(crate) fn run(workspace: &Workspace, options: &Options) -> bool {
    let mut reports = Vec::new();
    let mut tally = Tally::default();
    for (name, stage) in Stage::ALL {
        if !options.only.is_empty() && !options.only.contains(&stage) {
            continue;
        }
        println!("\n== {name}");
        let begin = Instant::now();
        let wrong = start(stage, workspace, options, &mut tally).err();
        let took = begin.elapsed();
        match &wrong {
            None => println!("== {name}: ok, {}", seconds(took)),
            Some(wrong) => println!("== {name}: FAILED, {}: {wrong}", seconds(took)),
        }
        let stop = wrong.is_some() && matches!(stage, Stage::Tools | Stage::Build);
        reports.push(Report { name, took, wrong });
        if stop {
            break;
        }
    }
    summary(&reports, options, &tally)
}

fn start(
    stage: Stage,
    workspace: &Workspace,
    options: &Options,
    tally: &mut Tally,
) -> Result<(), String> {
    let cargo = |args: &str| process::run(&mut workspace.cargo(args));
    match stage {
        Stage::Tools => match tools::missing(options) {
            missing if missing.is_empty() => Ok(()),
            missing => Err(missing.join("\n")),
        },
        Stage::Oracles => oracles::get(workspace, options),
        Stage::Fmt => process::run(&mut workspace.plain_cargo("fmt --all --check")),
        Stage::Rules => rules::check(workspace),
        Stage::Alone => {
            let lint = |name: &&str| {
                let args = format!("clippy --quiet --no-deps -p {name} -- -D warnings");
                cargo(&args).err()
            };
            let wrong: Vec<_> = ALONE.iter().filter_map(lint).collect();
            match wrong.is_empty() {
                true => Ok(()),
                false => Err(wrong.join("; ")),
            }
        }
        Stage::Clippy => cargo(
            "clippy --workspace --all-targets --all-features --quiet --keep-going -- -D warnings",
        ),
        Stage::Build => tests_run::build(workspace),
        Stage::Test => tests_run::run(workspace, options, tally),
        Stage::Doc => process::run(
            workspace
                .cargo("doc --workspace --no-deps --all-features --quiet --keep-going")
                .env("RUSTDOCFLAGS", "-Dwarnings"),
        ),
        Stage::Cost => cost::run(workspace, options, tally),
    }
}

fn summary(reports: &[Report], options: &Options, tally: &Tally) -> bool {
    println!("\nstage        time  result");
    for report in reports {
        let result = report.wrong.as_deref().map_or("ok", |_| "FAILED");
        println!("{:<9} {:>7}  {result}", report.name, seconds(report.took));
    }
    let total = reports.iter().map(|report| report.took).sum();
    println!("{:<9} {:>7}", "total", seconds(total));
    for (name, need) in Need::ALL {
        if !options.with(need) {
            println!("without {name}");
        }
    }
    for report in reports {
        if let Some(wrong) = &report.wrong {
            println!("FAILED {}: {wrong}", report.name);
        }
    }
    for name in &tally.failures {
        println!("FAILED test {name}");
    }
    println!(
        "{} passed, {} failed, {} skipped",
        tally.passed, tally.failed, tally.skipped
    );
    reports.iter().all(|report| report.wrong.is_none()) && tally.failed == 0
}

fn seconds(took: Duration) -> String {
    format!("{:.1}s", took.as_secs_f64())
}
