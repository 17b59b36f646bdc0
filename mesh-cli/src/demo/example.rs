//! The example's files, inside the binary, so that `meshctl demo` works anywhere.

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

macro_rules! files {
    ($($name:literal),* $(,)?) => {
        /// Name and text of every file of `examples/bookinfo`.
        const FILES: &[(&str, &str)] =
            &[$(($name, include_str!(concat!("../../../examples/bookinfo/", $name)))),*];
    };
}

files![
    "details.yaml",
    "gateway.yaml",
    "inventory.yaml",
    "productpage.yaml",
    "ratings.yaml",
    "reviews.yaml",
    "rules.yaml",
    "scenarios/ratings-abort.yaml",
    "scenarios/ratings-delay.yaml",
    "scenarios/reviews-50-50.yaml",
    "scenarios/reviews-jason-v2.yaml",
];

/// Makes a fresh copy in `parent`: `bookinfo`, or `bookinfo-2` and so on where another demo runs.
pub(super) fn fresh_copy(parent: &Path) -> io::Result<PathBuf> {
    for number in 1_u32.. {
        let name = if number == 1 {
            "bookinfo".to_owned()
        } else {
            format!("bookinfo-{number}")
        };
        let dir = parent.join(name);
        if is_in_use(&dir)? {
            continue;
        }
        match fs::remove_dir_all(&dir) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        for (file, text) in FILES {
            let path = dir.join(file);
            fs::create_dir_all(path.parent().unwrap_or(&dir))?;
            fs::write(path, text)?;
        }
        return Ok(dir);
    }
    Err(io::Error::other("every copy of the example is in use"))
}

/// Whether a runner holds the folder's lock.
fn is_in_use(dir: &Path) -> io::Result<bool> {
    match File::open(dir.join(".status/lock")) {
        Ok(lock) => match lock.try_lock() {
            Ok(()) => Ok(false),
            Err(TryLockError::WouldBlock) => Ok(true),
            Err(TryLockError::Error(error)) => Err(error),
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn no_file_of_the_example_is_forgotten() {
        let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/bookinfo");
        let mut found = BTreeSet::new();
        for sub in ["", "scenarios/"] {
            for entry in fs::read_dir(example.join(sub)).unwrap() {
                let name = entry.unwrap().file_name().into_string().unwrap();
                if name.ends_with(".yaml") {
                    found.insert(format!("{sub}{name}"));
                }
            }
        }
        let known: BTreeSet<_> = FILES.iter().map(|(name, _)| (*name).to_owned()).collect();
        assert_eq!(known, found);
    }

    #[test]
    fn a_copy_in_use_is_left_alone() {
        let parent = tempfile::tempdir().unwrap();
        let first = fresh_copy(parent.path()).unwrap();
        fs::write(first.join("extra.yaml"), "").unwrap();
        fs::create_dir(first.join(".status")).unwrap();
        let lock = File::create(first.join(".status/lock")).unwrap();
        lock.lock().unwrap();
        assert_eq!(
            fresh_copy(parent.path()).unwrap(),
            parent.path().join("bookinfo-2")
        );
        drop(lock);
        assert_eq!(fresh_copy(parent.path()).unwrap(), first);
        assert!(!first.join("extra.yaml").exists() && first.join("rules.yaml").exists());
    }
}
