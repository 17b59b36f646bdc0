//! Starting other programs.

use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};

/// Runs `command` to its end, its output going where ours goes.
pub(crate) fn run(command: &mut Command) -> Result<(), String> {
    show(command);
    quietly(command)
}

/// As [`run`], without naming the command: standard output stays clean.
pub(crate) fn quietly(command: &mut Command) -> Result<(), String> {
    let status = command.stdin(Stdio::null()).status();
    finished(command, status)
}

/// Runs `command` and returns what it wrote to standard output.
pub(crate) fn read(command: &mut Command) -> Result<String, String> {
    let output = command
        .stdin(Stdio::null())
        .stderr(Stdio::piped())
        .output()
        .map_err(|wrong| format!("{}: {wrong}", name(command)))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        return Err(format!(
            "{}: {}: {}",
            name(command),
            output.status,
            said.trim()
        ));
    }
    String::from_utf8(output.stdout).map_err(|_| format!("{}: output is not UTF-8", name(command)))
}

/// Runs `command`, handing each line of its standard output to `line`, which
/// says whether the line is worth printing.
pub(crate) fn watch(
    command: &mut Command,
    mut line: impl FnMut(&str) -> bool,
) -> Result<(), String> {
    show(command);
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|wrong| format!("{}: {wrong}", name(command)))?;
    if let Some(stdout) = child.stdout.take() {
        let mut reader = BufReader::new(stdout);
        let mut bytes = Vec::new();
        // By bytes: a test may print what is not UTF-8.
        while reader.read_until(b'\n', &mut bytes).is_ok_and(|n| n > 0) {
            let text = String::from_utf8_lossy(&bytes);
            if line(text.trim_end_matches('\n')) {
                // A closed standard output must not stop the checks.
                _ = std::io::stdout().write_all(text.as_bytes());
            }
            bytes.clear();
        }
    }
    let status = child.wait();
    finished(command, status)
}

/// Whether `program args` can be run and succeeds.
pub(crate) fn works(program: &str, args: &[&str]) -> bool {
    Command::new(program)
        .args(args)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

fn finished(
    command: &Command,
    status: std::io::Result<std::process::ExitStatus>,
) -> Result<(), String> {
    match status {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("{}: {status}", name(command))),
        Err(wrong) => Err(format!("{}: {wrong}", name(command))),
    }
}

fn show(command: &Command) {
    println!("$ {}", name(command));
}

/// The command line as a person would write it, without folders of the program.
fn name(command: &Command) -> String {
    let program = std::path::Path::new(command.get_program());
    let mut line = program.file_name().map_or_else(
        || command.get_program().to_string_lossy().into_owned(),
        |file| file.to_string_lossy().into_owned(),
    );
    for arg in command.get_args() {
        line.push(' ');
        line.push_str(&arg.to_string_lossy());
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn read_names_the_command_and_what_it_said() {
        let wrong = read(Command::new("sh").args(["-c", "echo no >&2; exit 3"])).unwrap_err();
        assert_eq!(wrong, "sh -c echo no >&2; exit 3: exit status: 3: no");
    }

    #[test]
    fn watch_sees_every_line_and_reports_failure() {
        let mut seen = Vec::new();
        let done = watch(
            Command::new("sh").args(["-c", "printf 'a\\nb'; exit 1"]),
            |line| {
                seen.push(line.to_owned());
                false
            },
        );
        assert_eq!(seen, ["a", "b"]);
        assert!(done.is_err());
    }
}
