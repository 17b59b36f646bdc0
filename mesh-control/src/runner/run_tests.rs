use std::os::unix::fs::PermissionsExt;

use super::*;
use crate::runner::AddressBlock;

/// A stand-in for meshctl: `run-pod --parent=N -- COMMAND…` becomes the command.
fn wrapper(dir: &Path) -> PathBuf {
    let file = dir.join("wrapper");
    std::fs::write(&file, "#!/bin/sh\nshift 3\nexec \"$@\"\n").unwrap();
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o755)).unwrap();
    file
}

fn deployment(replicas: u32, script: &str) -> String {
    format!(
        "apiVersion: apps/v1\nkind: Deployment\nmetadata: {{name: web}}\nspec:\n  replicas: {replicas}\n  template:\n    \
         metadata: {{labels: {{app: web}}}}\n    spec:\n      terminationGracePeriodSeconds: 1\n      \
         containers: [{{name: c, image: x, command: [/bin/sh, -c, {script:?}]}}]\n\
         ---\napiVersion: v1\nkind: Service\nmetadata: {{name: web}}\nspec:\n  selector: {{app: web}}\n  ports: [{{name: http, port: 80}}]\n"
    )
}

struct Case {
    dir: tempfile::TempDir,
    state: watch::Receiver<State>,
    runner: Runner,
}

impl Case {
    fn new(text: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mesh = dir.path().join("mesh");
        std::fs::create_dir(&mesh).unwrap();
        std::fs::write(mesh.join("web.yaml"), text).unwrap();
        let block = AddressBlock::claim().unwrap();
        let options = Options::new(&mesh, block, wrapper(dir.path()), "mesh-proxy".into());
        let runner = Runner::open(options).unwrap();
        let state = runner.state();
        Case { dir, state, runner }
    }

    fn mesh(&self) -> PathBuf {
        self.dir.path().join("mesh")
    }

    /// Runs until the state is such.
    async fn until(&mut self, is: impl Fn(&State) -> bool) -> State {
        tokio::select! {
            () = self.runner.run() => unreachable!(),
            state = self.state.wait_for(|state| state.read && is(state)) => state.unwrap().clone(),
        }
    }

    fn reported(&self) -> String {
        std::fs::read_to_string(self.mesh().join(".status/pods.yaml")).unwrap()
    }
}

fn ready(state: &State) -> usize {
    state.pods.iter().filter(|pod| pod.ready).count()
}

fn is_alive(pid: u32) -> bool {
    Path::new(&format!("/proc/{pid}")).exists()
}

#[tokio::test]
async fn pods_start_scale_and_stop() {
    let mut case = Case::new(&deployment(1, "sleep 100"));
    let state = case.until(|s| ready(s) == 1).await;
    let pid = state.pods[0].pid.unwrap();
    assert!(is_alive(pid));
    assert!(case.reported().contains("kind: EndpointSlice"));
    std::fs::write(case.mesh().join("web.yaml"), deployment(3, "sleep 100")).unwrap();
    let state = case.until(|s| ready(s) == 3).await;
    let addresses: BTreeSet<_> = state.pods.iter().map(|pod| pod.address).collect();
    assert_eq!(addresses.len(), 3);
    // down: reported as leaving first, then gone
    std::fs::write(case.mesh().join("web.yaml"), deployment(1, "sleep 100")).unwrap();
    case.until(|s| ready(s) == 1 && s.pods.len() == 3).await;
    assert_eq!(case.reported().matches("terminating: true").count(), 2);
    let state = case.until(|s| s.pods.len() == 1).await;
    assert_eq!(state.pods[0].pid, Some(pid));
    let status = case.mesh().join(".status/pods.yaml");
    case.runner.stop(Duration::from_secs(5)).await;
    assert!(!is_alive(pid) && !status.exists());
}

#[tokio::test]
async fn what_is_killed_stays_dead_and_is_noticed() {
    let mut case = Case::new(&deployment(2, "sleep 100"));
    let state = case.until(|s| ready(s) == 2).await;
    let pid = i32::try_from(state.pods[0].pid.unwrap()).unwrap();
    let pid = rustix::process::Pid::from_raw(pid).unwrap();
    let killed = Instant::now();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
    case.until(|s| s.pods.iter().any(|pod| pod.dead)).await;
    assert!(!case.reported().contains("phase: Failed"));
    let state = tokio::select! {
        () = case.runner.run() => unreachable!(),
        state = async {
            // the report follows a second later, without a change of the state that is published
            loop {
                if std::fs::read_to_string(case.dir.path().join("mesh/.status/pods.yaml")).unwrap().contains("phase: Failed") {
                    return case.state.borrow().clone();
                }
                tokio::task::yield_now().await;
            }
        } => state,
    };
    assert!(killed.elapsed() >= RELIST);
    assert_eq!(state.pods.len(), 2);
    assert_eq!(ready(&state), 1);
}

#[tokio::test]
async fn who_does_not_end_is_killed() {
    let mut case = Case::new(&deployment(1, "trap '' TERM; while :; do sleep 1; done"));
    let state = case.until(|s| ready(s) == 1).await;
    let pid = state.pods[0].pid.unwrap();
    case.runner.stop(Duration::from_millis(50)).await;
    assert!(!is_alive(pid));
}

#[tokio::test]
async fn one_runner_per_folder() {
    let case = Case::new("");
    let block = AddressBlock::claim().unwrap();
    let options = Options::new(case.mesh(), block, "meshctl".into(), "mesh-proxy".into());
    let error = Runner::open(options).unwrap_err();
    assert!(error.to_string().contains("another runner"), "{error}");
}
