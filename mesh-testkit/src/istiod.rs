//! The real istiod over a folder of YAML.

use std::{net::SocketAddr, path::Path, process::Stdio};

use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines},
    process::{Child, ChildStdin, ChildStdout, Command},
};

/// A running istiod, the program of `tests/oracles/istiod` in `MESH_ISTIOD`; ended when dropped.
#[derive(Debug)]
pub struct Istiod {
    _process: Child,
    commands: ChildStdin,
    answers: Lines<BufReader<ChildStdout>>,
    address: SocketAddr,
}

impl Istiod {
    /// Starts it and waits until it listens. `flags` are those of its `main.go`, such as `-stock`.
    ///
    /// # Panics
    /// If it does not start, or refuses a document of the folder.
    pub async fn start(folder: &Path, flags: &[&str]) -> Self {
        let program =
            std::env::var_os("MESH_ISTIOD").expect("MESH_ISTIOD is not set: run cargo verify");
        let mut process = Command::new(program)
            .arg("-dir")
            .arg(folder)
            .args(flags)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .expect("istiod starts");
        let stdout = process.stdout.take().expect("its output is a pipe");
        let commands = process.stdin.take().expect("its input is a pipe");
        let mut lines = BufReader::new(stdout).lines();
        while let Some(line) = lines.next_line().await.expect("its output is text") {
            assert!(!line.starts_with("refused"), "istiod: {line}");
            if let Some(address) = line.strip_prefix("listening ") {
                let address = address.parse().expect("an address");
                return Self {
                    _process: process,
                    commands,
                    answers: lines,
                    address,
                };
            }
        }
        panic!("istiod ended before it listened");
    }

    /// Makes a change, such as `apply FILE`; returns when later pushes have it.
    ///
    /// # Panics
    /// If it cannot.
    pub async fn command(&mut self, command: &str) {
        let line = format!("{command}\n");
        let told = self.commands.write_all(line.as_bytes()).await;
        told.expect("istiod reads its input");
        let answer = self.answers.next_line().await.expect("its output is text");
        assert_eq!(answer, Some(format!("done {command}")));
    }

    /// Where it serves plaintext ADS.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}
