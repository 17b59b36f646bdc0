//! Rules of the house that no compiler checks.

mod dependencies;
mod lengths;
mod words;

use crate::sources;
use crate::workspace::Workspace;

/// Checks every rule and prints each breach as `path:line: what is wrong`.
pub(crate) fn check(workspace: &Workspace) -> Result<(), String> {
    let sources = sources::read(&workspace.root)?;
    let mut breaches = lengths::breaches(&sources);
    breaches.extend(words::breaches(&sources));
    breaches.extend(dependencies::breaches(workspace, &sources)?);
    for breach in &breaches {
        println!("{breach}");
    }
    match breaches.len() {
        0 => Ok(()),
        1 => Err("1 rule is broken".to_owned()),
        n => Err(format!("{n} rules are broken")),
    }
}
