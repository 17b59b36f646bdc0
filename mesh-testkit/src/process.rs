//! Real processes: Envoy and mesh-proxy on the same bootstrap.

use std::{
    fs::File,
    io,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use bytes::Bytes;
use tempfile::TempDir;

use crate::exchange::{Answer, get};

/// How long a process may take to be ready.
const READY_LIMIT: Duration = Duration::from_secs(30);

/// Which program runs a bootstrap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Program {
    /// The real Envoy, of `MESH_ENVOY`.
    Envoy,
    /// mesh-proxy, of `MESH_BIN_DIR`.
    MeshProxy,
}

impl Program {
    /// Where it is.
    ///
    /// # Panics
    /// If its environment variable is not set: tests that need it are ignored without `cargo verify`.
    pub fn path(self) -> PathBuf {
        match self {
            Self::Envoy => var("MESH_ENVOY"),
            Self::MeshProxy => var("MESH_BIN_DIR").join("mesh-proxy"),
        }
    }
}

fn var(name: &str) -> PathBuf {
    std::env::var_os(name)
        .unwrap_or_else(|| panic!("{name} is not set: run cargo verify"))
        .into()
}

/// A running proxy; killed when dropped.
#[derive(Debug)]
pub struct Proxy {
    program: Program,
    child: Child,
    admin: SocketAddr,
    dir: TempDir,
}

impl Proxy {
    /// Starts a program on a bootstrap and waits until its admin port says LIVE.
    ///
    /// # Panics
    /// If it does not start, ends, or is not ready in time; with what it logged.
    pub async fn start(program: Program, bootstrap: &str, admin: SocketAddr) -> Self {
        let dir = tempfile::tempdir().expect("a temporary folder can be made");
        let file = dir.path().join("bootstrap.yaml");
        std::fs::write(&file, bootstrap).expect("the bootstrap can be written");
        let child = spawn(program, &file, dir.path())
            .unwrap_or_else(|e| panic!("{program:?} does not start: {e}"));
        let mut proxy = Self {
            program,
            child,
            admin,
            dir,
        };
        proxy.ready().await;
        proxy
    }

    /// A page of the admin port.
    ///
    /// # Errors
    /// Nobody answers.
    pub async fn admin(&self, path: &str) -> io::Result<Answer> {
        get(self.admin, path).await
    }

    /// The process's number.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it has logged so far.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("log")).unwrap_or_default()
    }

    async fn ready(&mut self) {
        let start = Instant::now();
        loop {
            if let Ok(Some(status)) = self.child.try_wait() {
                panic!("{:?} ended with {status}:\n{}", self.program, self.log());
            }
            if let Ok(answer) = self.admin("/ready").await
                && answer.body == Bytes::from_static(b"LIVE\n")
            {
                return;
            }
            assert!(
                start.elapsed() < READY_LIMIT,
                "{:?} is not ready:\n{}",
                self.program,
                self.log()
            );
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn spawn(program: Program, bootstrap: &Path, dir: &Path) -> io::Result<Child> {
    let log = File::create(dir.join("log"))?;
    let mut command = Command::new(program.path());
    command
        .arg("-c")
        .arg(bootstrap)
        .args(["--concurrency", "1", "-l", "warning"]);
    if program == Program::Envoy {
        command.args(["--disable-hot-restart", "--drain-time-s", "1"]);
    }
    command
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .spawn()
}
