//! `meshctl analyze`: what `istioctl analyze` finds in files.

use std::io::IsTerminal as _;
use std::process::ExitCode;

use mesh_control::{Level, analyze};

use crate::Error;
use crate::args::{AnalyzeArgs, AnalyzeLevel, AnalyzeOutput};
use crate::validate::files;

/// istioctl's code for findings at the failure threshold.
const FOUND: u8 = 79;

pub(crate) fn run(args: &AnalyzeArgs) -> Result<ExitCode, Error> {
    let mut texts = Vec::new();
    for (path, name) in files(&args.paths)? {
        let text = std::fs::read_to_string(&path).map_err(|error| format!("{name}: {error}"))?;
        texts.push((name, text));
    }
    let mesh = match &args.mesh_config_file {
        Some(path) => Some(path.clone()),
        None => args
            .paths
            .iter()
            .map(|path| path.join("mesh.yaml"))
            .find(|path| path.is_file()),
    };
    let mesh = mesh
        .map(|path| {
            std::fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))
        })
        .transpose()?;
    let analysis = analyze(&texts, mesh.as_deref(), &args.namespace);
    for problem in &analysis.unreadable {
        eprintln!("{problem}");
    }
    let threshold = level(args.output_threshold);
    let shown: Vec<_> = analysis
        .findings
        .iter()
        .filter(|f| f.level >= threshold)
        .collect();
    match args.output {
        AnalyzeOutput::Json => {
            let all: Vec<_> = shown.iter().map(|finding| finding.to_json()).collect();
            println!("{}", serde_json::to_string_pretty(&all)?);
        }
        AnalyzeOutput::Log => shown.iter().for_each(|finding| println!("{finding}")),
    }
    if shown.is_empty() && analysis.unreadable.is_empty() && std::io::stderr().is_terminal() {
        eprintln!("\u{2714} No validation issues found.");
    }
    let failure = level(args.failure_threshold);
    Ok(
        match analysis
            .findings
            .iter()
            .any(|finding| finding.level >= failure)
        {
            true => ExitCode::from(FOUND),
            false if !analysis.unreadable.is_empty() => ExitCode::FAILURE,
            false => ExitCode::SUCCESS,
        },
    )
}

fn level(level: AnalyzeLevel) -> Level {
    match level {
        AnalyzeLevel::Info => Level::Info,
        AnalyzeLevel::Warning => Level::Warning,
        AnalyzeLevel::Error => Level::Error,
    }
}
