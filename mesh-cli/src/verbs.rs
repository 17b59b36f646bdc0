//! `apply`, `get`, `delete`: what kubectl does, on the folder of a mesh.

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::SystemTime;

use mesh_control::model::{Kind, ObjectId, kinds};
use mesh_control::{Action, Applied, ControlPlane, Options, Store, table};

use crate::args::{ApplyArgs, DeleteArgs, GetArgs, GetOutput, Place};
use crate::refused::refused;
use crate::{Error, last};

pub(crate) fn apply(args: &ApplyArgs) -> Result<ExitCode, Error> {
    let store = store(&args.place)?;
    let mut code = ExitCode::SUCCESS;
    for file in &args.files {
        let (text, name) = read(file)?;
        let applied = store.apply(&text, &name)?;
        if applied.is_empty() {
            return Err(format!(
                "{name}: there is no object in it; write YAML documents with apiVersion and kind"
            )
            .into());
        }
        for one in applied {
            if one.action == Action::Refused {
                code = ExitCode::FAILURE;
            }
            report(&one);
        }
    }
    if let Ok(control) = ControlPlane::open(store.dir(), Options::default()) {
        for line in refused(&control.config()) {
            eprintln!("warning: this mesh's data plane refuses {line}");
        }
    }
    Ok(code)
}

pub(crate) fn get(args: &GetArgs) -> Result<ExitCode, Error> {
    let kind = kind(&args.kind)?;
    let namespace = (!args.all_namespaces).then_some(&*args.place.namespace);
    let found = store(&args.place)?.get(kind, namespace, args.name.as_deref())?;
    if let (Some(name), true) = (&args.name, found.is_empty()) {
        return Err(format!("{} {name:?} not found", resource(kind)).into());
    }
    match args.output {
        Some(GetOutput::Yaml) => {
            let texts: Vec<_> = found
                .iter()
                .map(|stored| stored.text.trim_matches('\n'))
                .collect();
            if !texts.is_empty() {
                println!("{}", texts.join("\n---\n"));
            }
        }
        None if found.is_empty() => match namespace {
            Some(namespace) => eprintln!("No resources found in {namespace} namespace."),
            None => eprintln!("No resources found"),
        },
        None => print!("{}", table(&found, SystemTime::now(), args.all_namespaces)),
    }
    Ok(ExitCode::SUCCESS)
}

pub(crate) fn delete(args: &DeleteArgs) -> Result<ExitCode, Error> {
    let kind = kind(&args.kind)?;
    if !store(&args.place)?.delete(kind, &args.place.namespace, &args.name)? {
        return Err(format!("{} {:?} not found", resource(kind), args.name).into());
    }
    println!("{} {:?} deleted", resource(kind), args.name);
    Ok(ExitCode::SUCCESS)
}

fn store(place: &Place) -> Result<Store, Error> {
    let dir = match &place.dir {
        Some(dir) if dir.is_dir() => dir.clone(),
        Some(dir) => return Err(format!("{}: no such folder", dir.display()).into()),
        None => last::read()
            .ok_or("no mesh runs or ran on this machine; start one, or say --dir DIR")?,
    };
    Ok(Store::new(dir, &place.namespace))
}

fn read(file: &Path) -> Result<(String, String), Error> {
    if file == Path::new("-") {
        let mut text = String::new();
        std::io::stdin().read_to_string(&mut text)?;
        return Ok((text, "stdin".to_owned()));
    }
    let name = file.display().to_string();
    let text = std::fs::read_to_string(file).map_err(|error| {
        let hint = suggestion(file)
            .map(|path| format!("; did you mean {}", path.display()))
            .unwrap_or_default();
        format!("{name}: {error}{hint}")
    })?;
    Ok((text, name))
}

/// The example's scenarios lie in the running mesh's folder, too.
fn suggestion(file: &Path) -> Option<PathBuf> {
    let path = last::read()?.join("scenarios").join(file.file_name()?);
    path.is_file().then_some(path)
}

fn kind(name: &str) -> Result<&'static Kind, Error> {
    Kind::by_command_name(name).ok_or_else(|| {
        format!(
            "the mesh has no kind {name:?}; write one such as virtualservice, destinationrule, pod"
        )
        .into()
    })
}

fn report(applied: &Applied) {
    for problem in &applied.problems {
        eprintln!("{problem}");
    }
    let verb = match applied.action {
        Action::Created => "created",
        Action::Configured => "configured",
        Action::Unchanged => "unchanged",
        _ => return,
    };
    if let Some(id) = &applied.id {
        println!("{}/{} {verb}", resource_of(id), id.name);
    }
}

/// `virtualservice.networking.istio.io`, `pod`.
fn resource(kind: &Kind) -> String {
    let name = kind.name.to_lowercase();
    if kind.group.is_empty() {
        name
    } else {
        format!("{name}.{}", kind.group)
    }
}

fn resource_of(id: &ObjectId) -> String {
    kinds()
        .iter()
        .find(|kind| kind.identity() == id.kind)
        .map_or_else(|| id.kind.to_lowercase(), resource)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resources_are_named_as_kubectl_names_them() {
        let name = |command| kind(command).map(resource).unwrap();
        assert_eq!(name("vs"), "virtualservice.networking.istio.io");
        assert_eq!(name("Pods"), "pod");
        assert_eq!(name("deploy"), "deployment.apps");
        assert!(
            kind("nonsense")
                .unwrap_err()
                .to_string()
                .contains("nonsense")
        );
    }
}
