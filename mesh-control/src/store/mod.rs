//! The verbs of kubectl on a folder: apply, get, delete.

mod columns;
mod edit;

use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

pub use columns::table;

use crate::folder::{self, Validated, validate_documents};
use crate::model::{Kind, ObjectId};
use crate::problem::Problem;
use crate::yaml::{Node, split};

/// A folder as a store of objects. Files are replaced atomically; nothing is cached.
#[derive(Clone, Debug)]
pub struct Store {
    dir: PathBuf,
    default_namespace: String,
}

/// What [`Store::apply`] did with a document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Action {
    /// It is new.
    Created,
    /// It replaced an older version.
    Configured,
    /// It was there already, word for word.
    Unchanged,
    /// It is wrong and was not written.
    Refused,
}

/// The result of applying one document.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Applied {
    /// Which object, if that could be read.
    pub id: Option<ObjectId>,
    /// What was done.
    pub action: Action,
    /// What is wrong with it; a document with problems that are no refusals is applied.
    pub problems: Vec<Problem>,
}

/// An object as it stands in the folder.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Stored {
    /// Which object.
    pub id: ObjectId,
    /// Its file, relative to the folder.
    pub file: String,
    /// Its YAML, as written.
    pub text: String,
    /// When its file was written last.
    pub modified: Option<SystemTime>,
    /// The document.
    pub(crate) node: Node,
    offset: usize,
}

impl Store {
    /// The store in a folder; objects that name no namespace are in `default_namespace`.
    pub fn new(dir: impl Into<PathBuf>, default_namespace: &str) -> Self {
        Store {
            dir: dir.into(),
            default_namespace: default_namespace.to_owned(),
        }
    }

    /// Checks the documents of a text (`file` names it in problems) and writes those that are right: where the
    /// object stands already, else into `KIND-NAMESPACE-NAME.yaml`.
    ///
    /// # Errors
    /// If files cannot be read or written.
    pub fn apply(&self, text: &str, file: &str) -> io::Result<Vec<Applied>> {
        let documents = validate_documents(text, file, &self.default_namespace);
        documents
            .into_iter()
            .map(|document| self.apply_one(document))
            .collect()
    }

    fn apply_one(&self, document: Validated) -> io::Result<Applied> {
        if !document.is_accepted() {
            return Ok(Applied {
                id: document.id,
                action: Action::Refused,
                problems: document.problems,
            });
        }
        let Some(id) = document.id else {
            let mut problems = document.problems;
            problems.push(crate::Problem::of_file(
                "",
                "a List cannot be applied as one".to_owned(),
                "write its items as documents, or put the file into the folder",
            ));
            return Ok(Applied {
                id: None,
                action: Action::Refused,
                problems,
            });
        };
        let stored = self.all()?.into_iter().find(|stored| stored.id == id);
        let action = match stored {
            Some(stored)
                if Node::parse(&document.text, 0).is_ok_and(|node| same(&node, &stored.node)) =>
            {
                Action::Unchanged
            }
            Some(stored) => {
                let path = self.dir.join(&stored.file);
                let whole = std::fs::read_to_string(&path)?;
                let range = stored.range_in(&whole)?;
                edit::write(&path, &edit::replaced(&whole, range, &document.text))?;
                Action::Configured
            }
            None => {
                let name = format!(
                    "{}-{}-{}.yaml",
                    id.kind.to_lowercase(),
                    id.namespace,
                    id.name
                );
                let path = self.dir.join(name);
                let before = match std::fs::read_to_string(&path) {
                    Ok(text) => text,
                    Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
                    Err(error) => return Err(error),
                };
                edit::write(&path, &edit::appended(&before, &document.text))?;
                Action::Created
            }
        };
        Ok(Applied {
            id: Some(id),
            action,
            problems: document.problems,
        })
    }

    /// The objects of a kind, of one namespace or all, by name or all; sorted by namespace and name.
    ///
    /// # Errors
    /// If the folder cannot be read.
    pub fn get(
        &self,
        kind: &Kind,
        namespace: Option<&str>,
        name: Option<&str>,
    ) -> io::Result<Vec<Stored>> {
        let mut found = self.all()?;
        found.retain(|stored| {
            stored.id.kind == kind.identity()
                && namespace.is_none_or(|namespace| stored.id.namespace == namespace)
                && name.is_none_or(|name| stored.id.name == name)
        });
        found.sort_by(|a, b| a.id.cmp(&b.id));
        Ok(found)
    }

    /// Removes an object; a file that holds nothing else goes too. Returns whether it was there.
    ///
    /// # Errors
    /// If files cannot be read or written, or if the object is a report of the local runner.
    pub fn delete(&self, kind: &Kind, namespace: &str, name: &str) -> io::Result<bool> {
        let Some(stored) = self.get(kind, Some(namespace), Some(name))?.pop() else {
            return Ok(false);
        };
        if stored.file.starts_with(folder::STATUS_FOLDER) {
            return Err(io::Error::other(format!(
                "{} is what the local runner reports; change its Deployment instead",
                stored.id
            )));
        }
        let path = self.dir.join(&stored.file);
        let whole = std::fs::read_to_string(&path)?;
        match edit::without(&whole, stored.range_in(&whole)?) {
            Some(rest) => edit::write(&path, &rest)?,
            None => std::fs::remove_file(&path)?,
        }
        Ok(true)
    }

    /// The folder's path.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Every object of the folder, also wrong ones; of duplicates the first.
    fn all(&self) -> io::Result<Vec<Stored>> {
        let mut all: Vec<Stored> = Vec::new();
        for file in folder::list(&self.dir)? {
            if folder::is_no_objects(&file) {
                continue;
            }
            let path = self.dir.join(&*file);
            let text = match std::fs::read_to_string(&path) {
                Ok(text) => text,
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(error),
            };
            let modified = std::fs::metadata(&path).and_then(|m| m.modified()).ok();
            for document in split(&text) {
                let Ok(node) = Node::parse(document.text, document.lines_before) else {
                    continue;
                };
                let read = crate::model::read(node.clone(), &file, &self.default_namespace);
                if let Some(id) = read.id
                    && all.iter().all(|stored| stored.id != id)
                {
                    let (text, offset) = (document.text.to_owned(), document.offset);
                    all.push(Stored {
                        id,
                        file: file.to_string(),
                        text,
                        modified,
                        node,
                        offset,
                    });
                }
            }
        }
        Ok(all)
    }
}

impl Stored {
    /// Where it stands in its file, unless somebody has written the file in between.
    fn range_in(&self, whole: &str) -> io::Result<std::ops::Range<usize>> {
        let range = self.offset..self.offset + self.text.len();
        match whole.get(range.clone()) == Some(self.text.as_str()) {
            true => Ok(range),
            false => Err(io::Error::other(format!(
                "{} has just been changed; try again",
                self.file
            ))),
        }
    }
}

/// Whether two documents say the same; places and comments do not count.
fn same(a: &Node, b: &Node) -> bool {
    use crate::yaml::Value;
    match (&a.value, &b.value) {
        (Value::List(a), Value::List(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b))
        }
        (Value::Map(a), Value::Map(b)) => {
            a.len() == b.len()
                && a.iter().all(|entry| {
                    b.iter()
                        .any(|e| e.key == entry.key && same(&e.value, &entry.value))
                })
        }
        (a, b) => a == b,
    }
}
