//! Which program an image is on this machine.

use std::collections::BTreeMap;
use std::path::Path;

use crate::problem::Problem;
use crate::yaml::{Node, Report};

/// What is started for an image.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Program {
    /// The program and its arguments; never empty.
    pub command: Vec<String>,
    /// Environment that comes with the image; the container's own wins.
    pub env: BTreeMap<String, String>,
}

impl Program {
    /// A program with its arguments.
    pub fn new(command: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Program {
            command: command.into_iter().map(Into::into).collect(),
            env: BTreeMap::new(),
        }
    }

    fn with_env(mut self, name: &str, value: &str) -> Self {
        self.env.insert(name.to_owned(), value.to_owned());
        self
    }
}

/// Images and their programs: `local.yaml` of the folder first, then those that are built in.
///
/// ```yaml
/// # local.yaml
/// images:
///   docker.io/me/shop:        # with or without registry, path and tag
///     command: [./target/debug/shop, --verbose]
///     env: {COLOR: blue}
/// ```
///
/// Built in are Istio's bookinfo images and `proxyless/inventory`, from any registry and with any tag.
#[derive(Clone, Debug, Default)]
pub struct ImageTable {
    meshctl: String,
    own: BTreeMap<String, Program>,
}

impl ImageTable {
    /// The built-in table; `meshctl` is the program that has the example's services.
    pub fn new(meshctl: &Path) -> Self {
        ImageTable {
            meshctl: meshctl.to_string_lossy().into_owned(),
            own: BTreeMap::new(),
        }
    }

    /// Takes the entries of a `local.yaml` in place of earlier ones. Wrong entries are left out and reported.
    pub fn read_local(&mut self, text: &str, file: &str) -> Vec<Problem> {
        self.own.clear();
        let node = match Node::parse(text, 0) {
            Ok(node) => node,
            Err(error) => {
                let mut problem = Problem::of_file(
                    file,
                    format!("is no YAML: {}", error.message),
                    "correct its syntax",
                );
                problem.line = error.mark.line;
                return vec![problem];
            }
        };
        let report = Report::new(file, "");
        let fields = report.at(&node, "").fields();
        for (image, at) in fields
            .get("images")
            .map(|at| at.entries())
            .unwrap_or_default()
        {
            let entry = at.fields();
            let program = Program {
                command: entry.strings("command"),
                env: entry.string_map("env"),
            };
            entry.finish();
            if program.command.is_empty() {
                at.refuse("has no command", "write command: [PROGRAM, ARGUMENT]");
            } else {
                self.own.insert(image.to_owned(), program);
            }
        }
        fields.finish();
        report.into_problems()
    }

    /// The program of an image.
    pub fn program(&self, image: &str) -> Option<Program> {
        let without_tag = repository(image);
        let own = self.own.get(image).or_else(|| self.own.get(without_tag));
        own.cloned()
            .or_else(|| self.built_in(last_segment(without_tag)))
    }

    fn built_in(&self, name: &str) -> Option<Program> {
        let service = |name: &str| Program::new([self.meshctl.as_str(), "demo-service", name]);
        if name == "inventory" {
            return Some(service("inventory").with_env("SERVICE_VERSION", "v1"));
        }
        let (service_name, version) = name.strip_prefix("examples-bookinfo-")?.rsplit_once('-')?;
        let known = match service_name {
            "productpage" | "details" | "ratings" => version == "v1",
            "reviews" => matches!(version, "v1" | "v2" | "v3"),
            _ => false,
        };
        known.then(|| service(service_name).with_env("SERVICE_VERSION", version))
    }
}

/// An image without its tag and digest.
fn repository(image: &str) -> &str {
    let image = image.split_once('@').map_or(image, |(image, _)| image);
    match image.rsplit_once(':') {
        // a colon before the last slash belongs to the registry's port
        Some((name, tag)) if !tag.contains('/') => name,
        _ => image,
    }
}

fn last_segment(repository: &str) -> &str {
    repository
        .rsplit_once('/')
        .map_or(repository, |(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> ImageTable {
        ImageTable::new(Path::new("/bin/meshctl"))
    }

    #[test]
    fn bookinfo_from_any_registry() {
        for image in [
            "docker.io/istio/examples-bookinfo-reviews-v3:1.20.3",
            "registry.example:5000/release/examples-bookinfo-reviews-v3",
            "examples-bookinfo-reviews-v3@sha256:12",
        ] {
            let program = table().program(image).unwrap();
            assert_eq!(program.command, ["/bin/meshctl", "demo-service", "reviews"]);
            assert_eq!(program.env["SERVICE_VERSION"], "v3");
        }
        assert!(table().program("proxyless/inventory:v1").is_some());
        for unknown in [
            "nginx",
            "examples-bookinfo-ratings-v9",
            "examples-bookinfo-mongodb:1.20.3",
            "",
        ] {
            assert_eq!(table().program(unknown), None, "{unknown}");
        }
    }

    #[test]
    fn local_yaml_wins() {
        let mut table = table();
        let text = "images:\n  me/shop:\n    command: [./shop, -v]\n    env: {A: b}\n  inventory:\n    command: [x]\n";
        assert_eq!(table.read_local(text, "local.yaml"), []);
        assert_eq!(
            table.program("me/shop:1").unwrap().command,
            ["./shop", "-v"]
        );
        assert_eq!(table.program("inventory:2").unwrap().command, ["x"]);
        assert_eq!(table.program("shop"), None);
    }

    #[test]
    fn wrong_entries_are_reported_with_their_place() {
        let mut table = table();
        let problems = table.read_local("images:\n  shop:\n    comand: [x]\n", "local.yaml");
        let texts: Vec<_> = problems.iter().map(ToString::to_string).collect();
        assert!(
            texts
                .iter()
                .any(|t| t.starts_with("local.yaml:2:3: images.shop: has no command")),
            "{texts:?}"
        );
        assert!(
            texts
                .iter()
                .any(|t| t.starts_with("local.yaml:3:5: ") && t.contains("comand")),
            "{texts:?}"
        );
        let problems = table.read_local("images: [", "local.yaml");
        assert!(
            problems[0].to_string().starts_with("local.yaml:"),
            "{problems:?}"
        );
    }
}
