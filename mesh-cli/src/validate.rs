//! `meshctl validate`: what Istio's webhook would say of files, and where.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use mesh_control::verdicts;

use crate::Error;
use crate::args::{ValidateArgs, ValidateOutput};

pub(crate) fn run(args: &ValidateArgs) -> Result<ExitCode, Error> {
    let mut code = ExitCode::SUCCESS;
    let (mut objects, mut wrong) = (0, 0);
    for (path, name) in files(&args.paths)? {
        let text = std::fs::read_to_string(&path).map_err(|error| format!("{name}: {error}"))?;
        for verdict in verdicts(&text, &name, &args.namespace) {
            objects += 1;
            if verdict.has_errors() {
                wrong += 1;
                code = ExitCode::FAILURE;
            }
            match args.output {
                Some(ValidateOutput::Json) if verdict.kind.is_some() => {
                    println!("{}", verdict.to_json());
                }
                Some(ValidateOutput::Json) => {}
                None => verdict
                    .problems
                    .iter()
                    .for_each(|problem| println!("{problem}")),
            }
        }
    }
    if args.output.is_none() {
        match wrong {
            0 => println!("{objects} objects, no errors"),
            wrong => println!("{objects} objects, {wrong} with errors"),
        }
    }
    Ok(code)
}

/// Files that hold objects and what messages call them; of a folder its YAML at the top level, as `serve` reads it.
///
/// # Errors
/// If something cannot be listed.
pub(crate) fn files(paths: &[PathBuf]) -> Result<Vec<(PathBuf, String)>, Error> {
    let mut found = Vec::new();
    for path in paths {
        if !path.is_dir() {
            found.push((path.clone(), path.display().to_string()));
            continue;
        }
        let entries =
            std::fs::read_dir(path).map_err(|error| format!("{}: {error}", path.display()))?;
        let mut names = Vec::new();
        for entry in entries {
            let file = entry?.path();
            if is_objects(&file) {
                names.push(file);
            }
        }
        names.sort();
        found.extend(names.into_iter().map(|file| {
            let name = file.display().to_string();
            (file, name)
        }));
    }
    Ok(found)
}

fn is_objects(file: &Path) -> bool {
    let name = file
        .file_name()
        .and_then(|name| name.to_str())
        .unwrap_or_default();
    let is_yaml = name.ends_with(".yaml") || name.ends_with(".yml");
    is_yaml && !name.starts_with('.') && !matches!(name, "mesh.yaml" | "local.yaml")
}
