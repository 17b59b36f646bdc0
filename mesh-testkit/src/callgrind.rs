//! Instructions counted by callgrind: a program runs itself under valgrind.

use std::process::{Command, ExitCode};

/// Measures every arm and fails if one is beyond its limit or cannot be measured; `passes` prints what it saw.
///
/// `MESH_WITHOUT_VALGRIND` in the environment skips all, and says so.
pub fn gates<T>(arms: &[T], passes: impl FnMut(&T) -> Result<bool, String>) -> ExitCode {
    if std::env::var_os("MESH_WITHOUT_VALGRIND").is_some() {
        println!("skipped: instructions are counted by valgrind");
        return ExitCode::SUCCESS;
    }
    match arms.iter().map(passes).collect::<Result<Vec<bool>, _>>() {
        Ok(passed) if passed.iter().all(|passed| *passed) => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(failed) => {
            eprintln!("{failed}");
            ExitCode::FAILURE
        }
    }
}

/// Instructions of one step: what a run of many steps has more than one of few, so that everything that happens once is
/// left out. `args` make this program take so many steps.
///
/// # Errors
/// Valgrind is not there, or counted nothing.
pub fn per_step(args: impl Fn(u64) -> Vec<String>, [few, many]: [u64; 2]) -> Result<f64, String> {
    let difference = instructions(&args(many))? - instructions(&args(few))?;
    Ok(difference as f64 / (many - few) as f64)
}

fn instructions(args: &[String]) -> Result<i64, String> {
    let own = std::env::current_exe().map_err(|e| e.to_string())?;
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(own)
        .args(args)
        .output()
        .map_err(|e| format!("valgrind does not start: {e}; apt-get install valgrind"))?;
    let text = String::from_utf8_lossy(&output.stderr);
    let collected = text
        .lines()
        .find_map(|line| line.split_once("Collected :")?.1.trim().parse().ok());
    collected.ok_or_else(|| format!("valgrind counted nothing:\n{text}"))
}
