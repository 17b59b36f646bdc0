//! Regenerates `mesh-proto/src/generated` and `mesh-proto/descriptors.bin`.
//!
//! `cargo proto` writes them; `cargo proto --check` only compares and fails
//! when the committed files are stale. The sources are the .proto files that
//! ship in the package `envoy-types` (version pinned in this crate's manifest)
//! and those under `mesh-proto/proto/extra`. No `protoc` is needed.

mod roots;

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use prost::Message as _;
use prost_types::{DescriptorProto, FileDescriptorSet};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// Folders of the package `envoy-types` that imports are relative to.
const INCLUDES: &[&str] = &[
    "data-plane-api",
    "xds",
    "googleapis",
    "protoc-gen-validate",
    "cel-spec/proto",
    "client_model",
    "opentelemetry-proto",
];

fn main() -> Result<()> {
    let check = match std::env::args().nth(1).as_deref() {
        None => false,
        Some("--check") => true,
        Some(other) => {
            return Err(format!("unknown argument {other:?}, expected nothing or --check").into());
        }
    };
    let crate_dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../mesh-proto");
    let protos = envoy_protos()?;
    let mut includes = vec![crate_dir.join("proto/extra")];
    includes.extend(INCLUDES.iter().map(|folder| protos.join(folder)));

    let fresh = generate(&includes)?;
    let committed = committed(&crate_dir)?;
    if check {
        return compare(&fresh, &committed);
    }
    for stale in committed.keys().filter(|path| !fresh.contains_key(*path)) {
        fs::remove_file(crate_dir.join(stale))?;
    }
    fs::create_dir_all(crate_dir.join(GENERATED))?;
    for (path, bytes) in &fresh {
        fs::write(crate_dir.join(path), bytes)?;
    }
    println!("wrote {} files", fresh.len());
    Ok(())
}

/// The contents of the generated files by their path in `mesh-proto`.
type Files = BTreeMap<PathBuf, Vec<u8>>;

const GENERATED: &str = "src/generated";
const DESCRIPTORS: &str = "descriptors.bin";

fn generate(includes: &[PathBuf]) -> Result<Files> {
    let overlay = tempfile::tempdir()?;
    with_full_names(includes, overlay.path())?;
    let roots = files(includes)?;
    let includes = std::iter::once(overlay.path()).chain(includes.iter().map(PathBuf::as_path));
    let mut compiler = protox::Compiler::new(includes)?;
    compiler.include_imports(true).include_source_info(false);
    for file in roots {
        compiler.open_file(&file)?;
    }
    let mut set = compiler.file_descriptor_set();
    without_options_only_files(&mut set);

    let mut files = Files::from([(PathBuf::from(DESCRIPTORS), set.encode_to_vec())]);
    set.file
        .iter_mut()
        .flat_map(|file| &mut file.message_type)
        .for_each(without_deprecation);
    set.file
        .iter_mut()
        .flat_map(|file| &mut file.enum_type)
        .for_each(|declared| {
            declared.options = None;
            declared
                .value
                .iter_mut()
                .for_each(|value| value.options = None);
        });

    let out = tempfile::tempdir()?;
    let mut config = tonic_prost_build::Config::new();
    config
        .enable_type_names()
        .type_name_domain(["."], "type.googleapis.com")
        // equal policies must have equal bytes, also inside of an `Any`
        .btree_map([
            ".envoy.config.rbac.v3",
            ".envoy.extensions.filters.http.jwt_authn.v3",
        ]);
    tonic_prost_build::configure()
        .build_transport(false)
        .client_mod_attribute(".", "#[cfg(feature = \"grpc\")]")
        .server_mod_attribute(".", "#[cfg(feature = \"grpc\")]")
        .out_dir(out.path())
        .include_file("mod.rs")
        .emit_rerun_if_changed(false)
        .compile_fds_with_config(set, config)?;
    read_into(out.path(), &mut files)?;
    Ok(files)
}

/// Writes the files of [`roots::RELATIVE_COMMON`] with full type names to
/// `overlay`, an include folder that comes before the others.
fn with_full_names(includes: &[PathBuf], overlay: &Path) -> Result<()> {
    for file in roots::RELATIVE_COMMON {
        let source = includes
            .iter()
            .map(|include| include.join(file))
            .find(|path| path.is_file());
        let text = fs::read_to_string(source.ok_or_else(|| format!("no file {file}"))?)?;
        let text = text.replace(" common.", " .envoy.extensions.common.");
        let target = overlay.join(file);
        fs::create_dir_all(target.parent().ok_or("a root without a folder")?)?;
        fs::write(target, text)?;
    }
    Ok(())
}

/// The roots with their folders expanded, relative to an include folder.
fn files(includes: &[PathBuf]) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for root in roots::ROOTS {
        let before = found.len();
        for include in includes {
            let path = include.join(root);
            if path.is_file() {
                found.push(PathBuf::from(root));
            } else if path.is_dir() {
                let mut below = BTreeSet::new();
                walk(&path, &mut below)?;
                for file in below {
                    found.push(file.strip_prefix(include)?.to_path_buf());
                }
            }
        }
        if found.len() == before {
            return Err(format!("no .proto file at {root}, wanted by roots.rs").into());
        }
    }
    Ok(found)
}

fn walk(folder: &Path, found: &mut BTreeSet<PathBuf>) -> Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            walk(&path, found)?;
        } else if path
            .extension()
            .is_some_and(|extension| extension == "proto")
        {
            found.insert(path);
        }
    }
    Ok(())
}

fn without_options_only_files(set: &mut FileDescriptorSet) {
    let dropped = |name: &str| {
        roots::OPTIONS_ONLY
            .iter()
            .any(|prefix| name.starts_with(prefix))
    };
    set.file.retain(|file| !dropped(file.name()));
    for file in &mut set.file {
        file.dependency.retain(|name| !dropped(name));
    }
}

/// A mesh has to read the deprecated fields that control planes still send:
/// `#[deprecated]` on them would only be noise at every use.
fn without_deprecation(message: &mut DescriptorProto) {
    if let Some(options) = &mut message.options {
        options.deprecated = None;
    }
    for options in message
        .field
        .iter_mut()
        .filter_map(|field| field.options.as_mut())
    {
        options.deprecated = None;
    }
    for declared in &mut message.enum_type {
        declared.options = None;
        declared
            .value
            .iter_mut()
            .for_each(|value| value.options = None);
    }
    message.nested_type.iter_mut().for_each(without_deprecation);
}

fn committed(crate_dir: &Path) -> Result<Files> {
    let mut files = Files::new();
    if crate_dir.join(DESCRIPTORS).exists() {
        files.insert(DESCRIPTORS.into(), fs::read(crate_dir.join(DESCRIPTORS))?);
    }
    if crate_dir.join(GENERATED).exists() {
        read_into(&crate_dir.join(GENERATED), &mut files)?;
    }
    Ok(files)
}

fn read_into(folder: &Path, files: &mut Files) -> Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        files.insert(
            Path::new(GENERATED).join(entry.file_name()),
            fs::read(entry.path())?,
        );
    }
    Ok(())
}

fn compare(fresh: &Files, committed: &Files) -> Result<()> {
    let paths: BTreeSet<_> = fresh.keys().chain(committed.keys()).collect();
    let stale: Vec<_> = paths
        .into_iter()
        .filter(|path| fresh.get(*path) != committed.get(*path))
        .collect();
    if stale.is_empty() {
        return Ok(());
    }
    Err(format!("mesh-proto is stale, run `cargo proto`: {stale:?}").into())
}

/// The `proto` folder of the package `envoy-types`, wherever cargo keeps it.
fn envoy_protos() -> Result<PathBuf> {
    let output = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .args([
            "metadata",
            "--format-version",
            "1",
            "--locked",
            "--manifest-path",
        ])
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml"))
        .output()?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned().into());
    }
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout)?;
    metadata["packages"]
        .as_array()
        .into_iter()
        .flatten()
        .find(|package| package["name"] == "envoy-types")
        .and_then(|package| Path::new(package["manifest_path"].as_str()?).parent())
        .map(|folder| folder.join("proto"))
        .ok_or_else(|| "cargo metadata lists no package envoy-types".into())
}
