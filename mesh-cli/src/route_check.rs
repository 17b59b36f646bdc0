//! `route-check`: the cases of Envoy's router_check_tool on our own routes.

use std::path::Path;
use std::process::ExitCode;

use mesh_xds::route_check::{Coverage, Report, RouteCheck};

use crate::Error;
use crate::args::RouteCheckArgs;

pub(crate) fn run(args: &RouteCheckArgs) -> Result<ExitCode, Error> {
    let (config, tests) = (read(&args.config_path)?, read(&args.test_path)?);
    let check = RouteCheck::new((&config.0, &config.1), (&tests.0, &tests.1))?;
    if !args.disable_deprecation_check {
        for field in check.deprecated() {
            eprintln!("warning: {field} is deprecated");
        }
    }
    for warning in check.warnings() {
        eprintln!("warning: {warning}");
    }
    let report = check.run();
    show(&report, args);
    let percent = match args.covall {
        true => report.coverage.comprehensive_percent(),
        false => report.coverage.percent(),
    };
    show_missing(&report.coverage, args);
    println!("Current route coverage: {}%", significant(percent));
    if percent < args.fail_under {
        eprintln!(
            "Failed to meet coverage requirement: {}%",
            significant(args.fail_under)
        );
        return Ok(ExitCode::FAILURE);
    }
    match report.passed() {
        true => Ok(ExitCode::SUCCESS),
        false => Ok(ExitCode::FAILURE),
    }
}

/// A file's name and text.
fn read(path: &Path) -> Result<(String, String), Error> {
    let name = path.display().to_string();
    match std::fs::read_to_string(path) {
        Ok(text) => Ok((name, text)),
        Err(error) => Err(format!("{name}: {error}").into()),
    }
}

fn show(report: &Report, args: &RouteCheckArgs) {
    for result in &report.results {
        if result.passed() {
            if !args.only_show_failures {
                println!("pass: {}", result.name);
            }
            continue;
        }
        println!("FAIL: {}", result.name);
        if args.details || args.only_show_failures {
            for failure in &result.failures {
                println!("  {failure}");
            }
        }
    }
}

fn show_missing(coverage: &Coverage, args: &RouteCheckArgs) {
    if args.covall {
        for (host, matched) in coverage.missing_matches() {
            println!("Missing test for host: {host}, route: {matched}");
        }
    } else if args.detailed_coverage {
        for (host, route) in coverage.missing_names() {
            println!("Missing test for host: {host}, route name: {route}");
        }
    }
}

/// Six significant digits, as C++ prints numbers.
fn significant(number: f64) -> String {
    let digits = 5 - number.abs().max(1.0).log10().floor() as i32;
    let text = format!("{number:.*}", usize::try_from(digits).unwrap_or(0));
    match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
        false => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short() {
        let shown = [100.0, 37.5, 200.0 / 3.0, 0.0, 1.0 / 3.0].map(significant);
        assert_eq!(shown, ["100", "37.5", "66.6667", "0", "0.33333"]);
    }
}
