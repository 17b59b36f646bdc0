//! A folder of YAML as the source of configuration.

mod document;

pub(crate) use document::read_document;
pub use document::{Validated, validate_documents};

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rustc_hash::FxHashMap;

use crate::config::Config;
use crate::jwks::{Jwks, Wanted};
use crate::model::{MeshConfig, Object, ObjectId, ReadObject, RemoteJwks};
use crate::problem::{Problem, Severity};
use crate::yaml::{Node, Report, split};

/// Files of the folder that hold no objects: mesh configuration, and the local runner's table.
const MESH_FILE: &str = "mesh.yaml";
const RUNNER_FILE: &str = "local.yaml";
/// Where the local runner reports pods and endpoints.
pub(crate) const STATUS_FOLDER: &str = ".status";

/// A folder: its `*.yaml` at the top level and in `.status/`, read into one [`Config`].
///
/// An object that becomes wrong keeps its last good version until the file is right again or the object is removed.
#[derive(Debug)]
pub struct Folder {
    dir: PathBuf,
    default_namespace: String,
    read: BTreeMap<Arc<str>, FileRead>,
    /// A file could not be read the last time.
    has_unreadable: bool,
    /// There is a file of mesh configuration.
    config_is_of_mesh_file: bool,
    in_force: BTreeMap<ObjectId, Object>,
    mesh: MeshConfig,
    jwks: Jwks,
    config: Arc<Config>,
    problems: Vec<Problem>,
}

/// A file as it was read.
#[derive(Debug)]
struct FileRead {
    /// Objects by document; a document is read again only if it or its place changes.
    documents: FxHashMap<DocumentKey, Vec<Arc<ReadObject>>>,
    /// The same, in the order of the file.
    order: Vec<Arc<ReadObject>>,
    stamp: Option<Stamp>,
}

/// By this a file is known to be the same without reading it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    modified: SystemTime,
    length: u64,
}

impl Stamp {
    /// A time within this of now says nothing: another edit may leave the same one.
    const GRAIN: Duration = Duration::from_millis(100);

    fn of(path: &Path) -> Option<Stamp> {
        let metadata = std::fs::metadata(path).ok()?;
        let stamp = Stamp {
            modified: metadata.modified().ok()?,
            length: metadata.len(),
        };
        let age = SystemTime::now().duration_since(stamp.modified);
        age.is_ok_and(|age| age > Stamp::GRAIN).then_some(stamp)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct DocumentKey {
    hash: u64,
    lines_before: u32,
}

/// What a [`Folder::reload`] brought.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Changes {
    /// Whether the configuration is another one than before.
    pub config_changed: bool,
    /// Problems that were not there before.
    pub new_problems: Vec<Problem>,
}

impl Folder {
    /// Reads the folder for the first time. Wrong objects are [problems](Folder::problems), not errors.
    ///
    /// # Errors
    /// If the folder cannot be listed.
    pub fn open(dir: impl Into<PathBuf>, default_namespace: &str) -> io::Result<Folder> {
        let mut folder = Folder {
            dir: dir.into(),
            default_namespace: default_namespace.to_owned(),
            read: BTreeMap::new(),
            has_unreadable: false,
            config_is_of_mesh_file: false,
            in_force: BTreeMap::new(),
            mesh: MeshConfig::default(),
            jwks: Jwks::default(),
            config: Arc::default(),
            problems: Vec::new(),
        };
        folder.reload()?;
        Ok(folder)
    }

    /// Reads what changed since the last time.
    ///
    /// # Errors
    /// If the folder cannot be listed; everything stays as it was.
    pub fn reload(&mut self) -> io::Result<Changes> {
        let files = list(&self.dir)?;
        let mut problems = Vec::new();
        let mut read = BTreeMap::new();
        // files with other objects than before
        let mut changed = Vec::new();
        let mut mesh = None;
        for file in &files {
            let path = self.dir.join(&**file);
            let stamp = Stamp::of(&path);
            let is_same = |before: &FileRead| stamp.is_some() && before.stamp == stamp;
            if let Some(before) = self.read.remove(file) {
                if is_same(&before) {
                    read.insert(file.clone(), before);
                    continue;
                }
                self.read.insert(file.clone(), before);
            }
            let text = match std::fs::read_to_string(&path) {
                Ok(text) => text,
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => {
                    problems.push(Problem::of_file(
                        file,
                        format!("cannot be read: {error}"),
                        "make it readable UTF-8",
                    ));
                    // as if nothing in it had changed
                    if let Some(before) = self.read.remove(file) {
                        read.insert(file.clone(), before);
                    }
                    continue;
                }
            };
            match &**file {
                RUNNER_FILE => {}
                MESH_FILE => mesh = Some(read_mesh(&text, file)),
                _ => {
                    let now = self.read_file(file, &text, stamp);
                    let before = self.read.remove(file);
                    if before
                        .as_ref()
                        .is_none_or(|before| !same_objects(before, &now))
                    {
                        changed.push((file.clone(), before));
                    }
                    read.insert(file.clone(), now);
                }
            }
        }
        let gone = std::mem::replace(&mut self.read, read);
        let had_unreadable = self.has_unreadable;
        self.has_unreadable = !problems.is_empty();
        let is_mesh_same = match &mesh {
            None => !self.config_is_of_mesh_file,
            Some((Some(mesh), found)) => {
                self.config_is_of_mesh_file
                    && *mesh == self.mesh
                    && found.iter().all(|problem| self.problems.contains(problem))
            }
            Some((None, _)) => false,
        };
        if gone.is_empty() && is_mesh_same && !had_unreadable && !self.has_unreadable {
            if changed.is_empty() {
                return Ok(Changes::default());
            }
            if let Some(changes) = self.put_slices_in_force(&changed) {
                return Ok(changes);
            }
        }
        self.config_is_of_mesh_file = mesh.is_some();
        let order = files.iter().filter_map(|file| {
            let objects = self.read.get(file)?.order.iter();
            Some(objects.map(|object| (file.clone(), object.clone())))
        });
        let order: Vec<_> = order.flatten().collect();
        let changed = self.put_in_force(order, &mut problems);
        let mesh = mesh
            .or_else(|| self.mesh_of_config_map())
            .unwrap_or_else(|| (Some(MeshConfig::default()), Vec::new()));
        problems.extend(mesh.1);
        let changed = self.put_mesh_in_force(mesh.0) | changed;
        let new_problems = problems
            .iter()
            .filter(|p| !self.problems.contains(p))
            .cloned()
            .collect();
        self.problems = problems;
        if changed {
            let objects = self.in_force.iter();
            self.config = Arc::new(Config::new(
                self.mesh.clone(),
                self.jwks.clone(),
                objects,
                &self.config,
            ));
        }
        Ok(Changes {
            config_changed: changed,
            new_problems,
        })
    }

    /// Takes keys that were fetched; returns whether the configuration is another one now.
    pub(crate) fn set_keys(&mut self, remote: RemoteJwks, keys: &str) -> bool {
        if !self.jwks.set(remote, keys) {
            return false;
        }
        self.config = Arc::new(self.config.with_jwks(self.jwks.clone()));
        true
    }

    /// Forgets fetched keys that are not wanted any more.
    pub(crate) fn retain_keys(&mut self, wanted: &Wanted) {
        self.jwks.retain(wanted);
    }

    /// The configuration in force.
    pub fn config(&self) -> Arc<Config> {
        self.config.clone()
    }

    /// Everything that is wrong in the folder now.
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }

    /// The folder's path.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    fn read_file(&self, file: &Arc<str>, text: &str, stamp: Option<Stamp>) -> FileRead {
        let before = self.read.get(file).map(|before| &before.documents);
        let mut now = FileRead {
            documents: FxHashMap::default(),
            order: Vec::new(),
            stamp,
        };
        for document in split(text) {
            let key = DocumentKey {
                hash: document.hash,
                lines_before: document.lines_before,
            };
            let objects: Vec<_> = match before.and_then(|before| before.get(&key)) {
                Some(objects) => objects.clone(),
                None => read_document(
                    document.text,
                    document.lines_before,
                    file,
                    &self.default_namespace,
                )
                .into_iter()
                .map(Arc::new)
                .collect(),
            };
            now.order.extend(objects.iter().cloned());
            now.documents.insert(key, objects);
        }
        now
    }

    /// Where only EndpointSlices have other endpoints than before, everything else stays as it is made; `None` if it is
    /// not so.
    fn put_slices_in_force(&mut self, changed: &[(Arc<str>, Option<FileRead>)]) -> Option<Changes> {
        let mut slices = Vec::new();
        for (file, before) in changed {
            let (before, now) = (before.as_ref()?, self.read.get(file)?);
            if before.order.len() != now.order.len() {
                return None;
            }
            for (old, new) in before.order.iter().zip(&now.order) {
                if Arc::ptr_eq(old, new) {
                    continue;
                }
                let (Some(Object::EndpointSlice(_)), Some(Object::EndpointSlice(slice))) =
                    (&old.object, &new.object)
                else {
                    return None;
                };
                let id = new.id.clone()?;
                let is_in_force = |held: &Object| held.metadata().provenance.file == *file;
                let is_plain = old.id.as_ref() == Some(&id)
                    && old.problems.is_empty()
                    && new.problems.is_empty()
                    && self.in_force.get(&id).is_some_and(is_in_force);
                if !is_plain {
                    return None;
                }
                slices.push((id, slice.clone()));
            }
        }
        let new: Vec<_> = slices.iter().map(|(_, slice)| slice.clone()).collect();
        let config = self.config.with_slices(&new)?;
        self.config = Arc::new(config);
        for (id, slice) in slices {
            self.in_force.insert(id, Object::EndpointSlice(slice));
        }
        Some(Changes {
            config_changed: true,
            new_problems: Vec::new(),
        })
    }

    /// Chooses the objects in force: what is right, else its last good version. Returns whether anything changed.
    fn put_in_force(
        &mut self,
        order: Vec<(Arc<str>, Arc<ReadObject>)>,
        problems: &mut Vec<Problem>,
    ) -> bool {
        let mut in_force: BTreeMap<ObjectId, Object> = BTreeMap::new();
        let mut places: BTreeMap<ObjectId, String> = BTreeMap::new();
        let mut unreadable: BTreeSet<Arc<str>> = BTreeSet::new();
        for (file, read) in &order {
            problems.extend(read.problems.iter().cloned());
            let Some(id) = &read.id else {
                unreadable.insert(file.clone());
                continue;
            };
            if let Some(first) = places.get(id) {
                problems.push(duplicate(file, read, id, first));
                continue;
            }
            places.insert(id.clone(), place(file, read));
            match (&read.object, self.in_force.get(id)) {
                (Some(object), _) => in_force.insert(id.clone(), object.clone()),
                (None, Some(last_good)) => in_force.insert(id.clone(), last_good.clone()),
                (None, None) => None,
            };
        }
        // a document that cannot even be named may be any object that was in its file
        for (id, object) in &self.in_force {
            if unreadable.contains(&object.metadata().provenance.file) && !in_force.contains_key(id)
            {
                in_force.insert(id.clone(), object.clone());
            }
        }
        let same = in_force.len() == self.in_force.len()
            && in_force
                .iter()
                .zip(&self.in_force)
                .all(|(a, b)| a.0 == b.0 && a.1.is_same(b.1));
        self.in_force = in_force;
        !same
    }

    /// What the ConfigMap `istio` says, where there is no file `mesh.yaml`.
    fn mesh_of_config_map(&self) -> Option<(Option<MeshConfig>, Vec<Problem>)> {
        let id = ObjectId {
            kind: "ConfigMap",
            namespace: "istio-system".to_owned(),
            name: "istio".to_owned(),
        };
        let Some(Object::Other(map)) = self.in_force.get(&id) else {
            return None;
        };
        let mesh = map.document.get("data")?.get("mesh")?;
        let (read, mut problems) = read_mesh(mesh.as_str()?, &map.metadata.provenance.file);
        // lines of the text count from 1
        problems
            .iter_mut()
            .for_each(|p| p.line += mesh.mark.line.saturating_sub(1));
        Some((read, problems))
    }

    fn put_mesh_in_force(&mut self, mesh: Option<MeshConfig>) -> bool {
        match mesh {
            Some(mesh) if mesh != self.mesh => {
                self.mesh = mesh;
                true
            }
            _ => false,
        }
    }
}

fn same_objects(a: &FileRead, b: &FileRead) -> bool {
    let same = |(a, b): (&Arc<ReadObject>, &Arc<ReadObject>)| Arc::ptr_eq(a, b);
    a.order.len() == b.order.len() && a.order.iter().zip(&b.order).all(same)
}

/// Whether a file of the folder is for others: mesh configuration, the local runner's table.
pub(crate) fn is_no_objects(file: &str) -> bool {
    matches!(file, MESH_FILE | RUNNER_FILE)
}

/// The YAML files of a folder, relative to it, in the order in which they are read.
pub(crate) fn list(dir: &Path) -> io::Result<Vec<Arc<str>>> {
    let mut files = Vec::new();
    for (folder, prefix) in [
        (dir.to_owned(), String::new()),
        (dir.join(STATUS_FOLDER), format!("{STATUS_FOLDER}/")),
    ] {
        let entries = match std::fs::read_dir(&folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound && !prefix.is_empty() => continue,
            Err(error) => return Err(error),
        };
        let mut names = Vec::new();
        for entry in entries {
            let name = entry?.file_name();
            match name.to_str() {
                // editors and atomic writers keep files beside it whose names start with a dot
                Some(name) if name.ends_with(".yaml") && !name.starts_with('.') => {
                    names.push(name.to_owned())
                }
                _ => {}
            }
        }
        names.sort();
        files.extend(
            names
                .into_iter()
                .map(|name| format!("{prefix}{name}").into()),
        );
    }
    Ok(files)
}

fn read_mesh(text: &str, file: &str) -> (Option<MeshConfig>, Vec<Problem>) {
    let node = match Node::parse(text, 0) {
        Ok(node) => node,
        Err(error) => {
            let mut problem = Problem::of_file(
                file,
                format!("is no YAML: {}", error.message),
                "correct its syntax",
            );
            problem.line = error.mark.line;
            return (None, vec![problem]);
        }
    };
    let report = Report::new(file, "MeshConfig");
    let mesh = MeshConfig::read(&report.at(&node, ""));
    let refused = report.is_refused();
    ((!refused).then_some(mesh), report.into_problems())
}

fn place(file: &str, read: &ReadObject) -> String {
    match &read.object {
        Some(object) => format!("{file}:{}", object.metadata().provenance.line),
        None => file.to_owned(),
    }
}

fn duplicate(file: &str, read: &ReadObject, id: &ObjectId, first: &str) -> Problem {
    Problem {
        file: file.to_owned(),
        line: read
            .object
            .as_ref()
            .map_or(0, |o| o.metadata().provenance.line),
        column: 0,
        object: id.to_string(),
        field: String::new(),
        message: format!("is there twice, first at {first}"),
        suggestion: "remove one of the two".to_owned(),
        severity: Severity::Refused,
        code: "duplicate",
    }
}
