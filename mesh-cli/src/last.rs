//! Which mesh runs or ran last on this machine, so that `meshctl apply` needs no folder.

use std::io;
use std::path::{Path, PathBuf};

/// The file that names it: in XDG_RUNTIME_DIR, else per user in the folder for temporary files.
fn file() -> PathBuf {
    // set, but not there: so in containers and after su
    match std::env::var_os("XDG_RUNTIME_DIR")
        .map(PathBuf::from)
        .filter(|dir| dir.is_dir())
    {
        Some(dir) => dir.join("meshctl-last"),
        None => std::env::temp_dir().join(format!(
            "meshctl-last-{}",
            rustix::process::getuid().as_raw()
        )),
    }
}

/// Notes a folder as the last one.
pub(crate) fn write(dir: &Path) -> io::Result<()> {
    let file = file();
    let temporary = file.with_extension(std::process::id().to_string());
    std::fs::write(
        &temporary,
        std::path::absolute(dir)?.as_os_str().as_encoded_bytes(),
    )?;
    std::fs::rename(&temporary, &file)
}

/// The last folder, if it is still there.
pub(crate) fn read() -> Option<PathBuf> {
    let text = std::fs::read_to_string(file()).ok()?;
    let dir = PathBuf::from(text);
    dir.is_dir().then_some(dir)
}
