//! A running `meshctl demo`, as its user sees it.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde_json::Value;

/// How long anything may take before a test gives up.
const LIMIT: Duration = Duration::from_secs(60);

/// One mesh at a time: what is said of a second needs the machine.
static ALONE: Mutex<()> = Mutex::new(());

pub(crate) fn alone() -> MutexGuard<'static, ()> {
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

pub(crate) struct Demo {
    process: Child,
    records: Receiver<Value>,
    pub(crate) state: Value,
    /// From the command to the state file.
    pub(crate) started_in: Duration,
    place: tempfile::TempDir,
    _alone: MutexGuard<'static, ()>,
}

impl Demo {
    /// Starts it in a folder of its own and waits until it is ready.
    pub(crate) fn start(args: &[&str]) -> Demo {
        let alone = alone();
        let place = tempfile::tempdir().unwrap();
        let begin = Instant::now();
        let mut process = command(place.path(), "demo")
            .args(args)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (sender, records) = channel();
        let lines = BufReader::new(process.stdout.take().unwrap()).lines();
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                let _ = sender.send(serde_json::from_str(&line).unwrap());
            }
        });
        let file = place.path().join("state.json");
        let state = wait_for("the demo to be ready", || {
            assert!(
                process.try_wait().unwrap().is_none(),
                "the demo ended while it started"
            );
            serde_json::from_str(&fs::read_to_string(&file).ok()?).ok()
        });
        Demo {
            process,
            records,
            state,
            started_in: begin.elapsed(),
            place,
            _alone: alone,
        }
    }

    /// The next line of output.
    pub(crate) fn record(&self) -> Value {
        self.records.recv_timeout(LIMIT).expect("a line of output")
    }

    /// The remaining lines; the last one is the total.
    pub(crate) fn rest(mut self) -> Vec<Value> {
        let mut rest: Vec<Value> = Vec::new();
        while rest.last().is_none_or(|record| record["total"] != true) {
            rest.push(self.record());
        }
        assert!(self.process.wait().unwrap().success());
        assert_eq!(processes_of(self.place.path()), Vec::<String>::new());
        rest
    }

    /// The folder of the mesh.
    pub(crate) fn dir(&self) -> PathBuf {
        self.state["dir"].as_str().unwrap().into()
    }

    /// `meshctl` on this mesh, without saying which.
    pub(crate) fn meshctl(&self, verb: &str) -> Command {
        command(self.place.path(), verb)
    }

    pub(crate) fn apply(&self, scenario: &str) {
        let file = self.dir().join("scenarios").join(scenario);
        let applied = self.meshctl("apply").arg("-f").arg(file).output().unwrap();
        assert!(applied.status.success(), "{applied:?}");
    }

    /// Processes of a workload.
    pub(crate) fn pids(&self, workload: &str) -> Vec<u64> {
        let pods = self.state["pods"].as_array().unwrap().iter();
        pods.filter(|pod| pod["workload"] == workload)
            .map(|pod| pod["pid"].as_u64().unwrap())
            .collect()
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// `meshctl VERB` in a place of its own: its folder, and its memory of the last mesh.
pub(crate) fn command(place: &Path, verb: &str) -> Command {
    let bin =
        std::env::var("MESH_BIN_DIR").expect("MESH_BIN_DIR is the folder (run by cargo verify)");
    let mut command = Command::new(Path::new(&bin).join("meshctl"));
    command
        .arg(verb)
        .current_dir(place)
        .env("XDG_RUNTIME_DIR", place)
        .env_remove("MESH_CONFIG_DIR");
    if verb == "demo" {
        command.args(["-o", "json", "--state", "state.json"]);
    }
    command
}

pub(crate) fn kill(pid: u64, signal: &str) {
    let killed = Command::new("kill")
        .args([signal, &pid.to_string()])
        .status()
        .unwrap();
    assert!(killed.success());
}

/// Command lines of processes that work in a place.
pub(crate) fn processes_of(place: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let is_there =
            fs::read_link(entry.path().join("cwd")).is_ok_and(|cwd| cwd.starts_with(place));
        let command = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        // a process that has ended and was not waited for has no command line
        if is_there && !command.is_empty() {
            found.push(String::from_utf8_lossy(&command).replace('\0', " "));
        }
    }
    found
}

/// Asks again and again until there is an answer.
pub(crate) fn wait_for<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let begin = Instant::now();
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(begin.elapsed() < LIMIT, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Requests on an edge in a record, by the destination's version.
pub(crate) fn versions(record: &Value, service: &str) -> (f64, f64) {
    let edge = edge(record, service);
    let of = |version| edge["destination_versions"][version].as_u64().unwrap_or(0) as f64;
    (of("v1"), of("v3"))
}

pub(crate) fn edge<'a>(record: &'a Value, service: &str) -> &'a Value {
    let host = format!("{service}.default.svc.cluster.local");
    let edges = record["edges"].as_array().unwrap().iter();
    edges
        .clone()
        .find(|edge| edge["destination_service"] == *host)
        .unwrap_or(&Value::Null)
}

/// Failures that a record tells of, the users' included.
pub(crate) fn errors(record: &Value) -> u64 {
    let of_edges = record["edges"]
        .as_array()
        .unwrap()
        .iter()
        .map(|edge| edge["errors"].as_u64().unwrap());
    of_edges.sum::<u64>() + record["load"]["errors"].as_u64().unwrap()
}

/// Whether the second of two counts is as large as its share says, within 4.9 standard deviations.
pub(crate) fn is_split((first, second): (f64, f64), share: f64) -> bool {
    let total = first + second;
    let deviation = (total * share * (1.0 - share)).sqrt();
    total > 0.0 && (second - total * share).abs() <= 4.9 * deviation
}
